//! Uploads of blobs: not what is there already, not what another repository has, and not again what
//! the registry got before a connection broke.

mod session;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use reqwest::Method;

use crate::auth::Scopes;
use crate::client::Client;
use crate::digest;
use crate::endpoint::{Call, Endpoint, Payload, Place};
use crate::error::{Error, Result, Task};
use crate::flow::HEADWAY;
use crate::reference::Reference;
use session::{Session, Started};

/// The content of a blob on its way out.
pub type Body = BoxStream<'static, std::io::Result<Bytes>>;

/// The content of a blob that is in memory, from a byte on.
pub fn in_memory(bytes: &Bytes, from: u64) -> Body {
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    let rest = bytes.slice(from..);
    futures::stream::once(async move { Ok(rest) }).boxed()
}

/// Makes the content of a blob from a byte on.
pub(crate) type MakeBody<'a> = &'a (dyn Fn(u64) -> Body + Send + Sync);

/// Blobs up to this size are sent in one request; of larger ones the registry keeps what came
/// before a connection broke.
const WHOLE: u64 = 1 << 20;

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it over from another repository.
    Mounted,
    /// It was sent.
    Sent,
}

/// What a blob is called, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    digest: String,
    size: u64,
}

/// A blob that is to be in a repository.
pub(crate) struct Upload<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    repository: &'a str,
    /// The repository that may lend it.
    from: Option<&'a str>,
    /// Nothing as long as the content is still being made.
    known: &'a (dyn Fn() -> Option<Known> + Send + Sync),
    body: MakeBody<'a>,
    scopes: Scopes,
    task: Task,
}

impl Client {
    /// Sees to it that a repository has a blob: looks, asks the registry to take it over from the
    /// repository `from` of the same registry, and sends it only if it must.
    ///
    /// `body` makes the content of `size` bytes anew for each try, from a byte on.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        from: Option<&str>,
        body: impl Fn(u64) -> Body + Send + Sync,
    ) -> Result<Pushed> {
        let endpoint = self.upstream(reference.registry());
        let repository = reference.repository();
        let task = endpoint.task("push blob", format!("{digest} of {repository}"));
        digest::check(digest, &task)?;
        let known = Known { digest: digest.to_owned(), size };
        let from = from.filter(|&from| from != repository);
        let mut scopes = Scopes::push(repository);
        if let Some(from) = from {
            scopes = scopes.with(&format!("repository:{from}:pull"));
        }
        let upload = Upload {
            client: self,
            endpoint: &endpoint,
            repository,
            from,
            known: &|| Some(known.clone()),
            body: &body,
            scopes,
            task,
        };
        if size > WHOLE {
            return upload.by_pieces().await;
        }
        let (upload, known) = (&upload, &known);
        self.retrying(|| async move { upload.whole(known).await }).await
    }

    /// Sends a blob while it is still being made: `end` says its digest and its size once the
    /// content from `body`, which begins at a byte, has ended.
    pub async fn push_growing(
        &self,
        reference: &Reference,
        body: impl Fn(u64) -> Body + Send + Sync,
        end: impl Fn() -> Option<(String, u64)> + Send + Sync,
    ) -> Result<Pushed> {
        let endpoint = self.upstream(reference.registry());
        let repository = reference.repository();
        let known = || end().map(|(digest, size)| Known { digest, size });
        let upload = Upload {
            client: self,
            endpoint: &endpoint,
            repository,
            from: None,
            known: &known,
            body: &body,
            scopes: Scopes::push(repository),
            task: endpoint.task("push blob", format!("a new one of {repository}")),
        };
        upload.by_pieces().await
    }
}

impl Upload<'_> {
    async fn is_there(&self, known: &Known) -> Result<bool> {
        self.endpoint.has(self.repository, &known.digest, &self.scopes).await
    }

    /// Sends it in one request.
    async fn whole(&self, known: &Known) -> Result<Pushed> {
        if self.is_there(known).await? {
            return Ok(Pushed::Existed);
        }
        match self.start(Some(known)).await? {
            Started::Mounted => Ok(Pushed::Mounted),
            Started::Open(session) => {
                let make = || (self.body)(0);
                self.put(&session, known, Some(Payload::Content(known.size, &make))).await
            }
        }
    }

    /// Sends it in requests that can be taken up again, and then names it.
    async fn by_pieces(&self) -> Result<Pushed> {
        let (mut session, mut failures, mut reached) = (None, 0, 0);
        loop {
            let error = match self.go_on(&mut session).await {
                Ok(pushed) => return Ok(pushed),
                Err(error) => error,
            };
            let at = session.as_ref().map_or(0, |session: &Session| session.offset);
            if session.as_ref().is_some_and(|session| session.is_resumed)
                && matches!(error.status(), Some(400 | 404 | 405 | 416))
            {
                // It has lost what it got.
                session = None;
                continue;
            }
            // As for downloads, a few bytes are no reason to go on for ever.
            let goes_on = at >= reached + HEADWAY;
            failures = if goes_on { 1 } else { failures + 1 };
            if goes_on {
                reached = at;
            }
            let Some(pause) = self.client.pause(failures, &error) else {
                return Err(error);
            };
            tracing::debug!(%error, at, ?pause, "the upload is resumed");
            self.client.sleep(pause).await;
            if let Some(session) = &mut session {
                session.is_lost = true;
            }
        }
    }

    /// Does what is left to be done.
    async fn go_on(&self, place: &mut Option<Session>) -> Result<Pushed> {
        if let Some(session) = place
            && session.is_lost
            && !self.resume(session).await?
        {
            *place = None;
        }
        if place.is_none() {
            let known = (self.known)();
            if let Some(known) = &known
                && self.is_there(known).await?
            {
                return Ok(Pushed::Existed);
            }
            match self.start(known.as_ref()).await? {
                Started::Mounted => return Ok(Pushed::Mounted),
                Started::Open(session) => *place = Some(session),
            }
        }
        let session = place.as_mut().expect("it was opened just now");
        let _slot = self.endpoint.upload().await;
        if (self.known)().is_none_or(|known| session.offset < known.size) {
            self.patch(session).await?;
        }
        let known = (self.known)()
            .ok_or_else(|| Error::malformed(&self.task, "the content ended before its end"))?;
        self.put(session, &known, None).await
    }

    async fn put(
        &self,
        session: &Session,
        known: &Known,
        payload: Option<Payload<'_>>,
    ) -> Result<Pushed> {
        let mut url = session.url.clone();
        url.query_pairs_mut().append_pair("digest", &known.digest);
        let _slot = match &payload {
            Some(_) => Some(self.endpoint.upload().await),
            None => None,
        };
        let mut call = Call::new(Method::PUT, Place::Url(url), &self.scopes, &self.task);
        call.payload = payload;
        self.endpoint.expect(&call, &[201, 202, 204]).await?;
        Ok(Pushed::Sent)
    }
}

#[cfg(test)]
mod tests;
