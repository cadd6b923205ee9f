//! Uploads of blobs: not what is there already, not what another repository has.

use bytes::Bytes;
use futures::stream::BoxStream;
use reqwest::header::LOCATION;
use reqwest::{Method, Response, Url};

use crate::auth::Scopes;
use crate::client::Client;
use crate::digest;
use crate::endpoint::{Call, Endpoint, Payload, Place, header};
use crate::error::{Error, Result, Task};
use crate::reference::Reference;

/// The content of a blob on its way out.
pub type Body = BoxStream<'static, std::io::Result<Bytes>>;

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

/// A blob that is to be in a repository.
struct Upload<'a> {
    endpoint: &'a Endpoint,
    repository: &'a str,
    digest: &'a str,
    size: u64,
    from: Option<&'a str>,
    body: &'a (dyn Fn() -> Body + Send + Sync),
    scopes: Scopes,
    task: Task,
}

impl Client {
    /// Sees to it that a repository has a blob: looks, asks the registry to take it over from the
    /// repository `from` of the same registry, and sends it only if it must.
    ///
    /// `body` makes the content of `size` bytes anew for each try.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        from: Option<&str>,
        body: impl Fn() -> Body + Send + Sync,
    ) -> Result<Pushed> {
        let endpoint = self.upstream(reference.registry());
        let repository = reference.repository();
        let task = endpoint.task("push blob", format!("{digest} of {repository}"));
        digest::check(digest, &task)?;
        let from = from.filter(|&from| from != repository);
        let mut scopes = Scopes::push(repository);
        if let Some(from) = from {
            scopes = scopes.with(&format!("repository:{from}:pull"));
        }
        let upload = Upload {
            endpoint: &endpoint,
            repository,
            digest,
            size,
            from,
            body: &body,
            scopes,
            task,
        };
        let upload = &upload;
        self.retrying(|| async move { upload.run().await }).await
    }
}

impl Upload<'_> {
    async fn run(&self) -> Result<Pushed> {
        if self.endpoint.has(self.repository, self.digest, &self.scopes).await? {
            return Ok(Pushed::Existed);
        }
        let started = self.start().await?;
        if started.status() == 201 {
            return Ok(Pushed::Mounted);
        }
        self.send(self.session(&started)?).await?;
        Ok(Pushed::Sent)
    }

    /// Opens an upload. A registry that cannot take the blob over opens a plain one all the same.
    async fn start(&self) -> Result<Response> {
        let rest = match self.from {
            None => "blobs/uploads/".to_owned(),
            Some(from) => format!("blobs/uploads/?mount={}&from={from}", self.digest),
        };
        let expected: &[u16] = if self.from.is_some() { &[201, 202] } else { &[202] };
        let place = Place::Repository(self.repository, &rest);
        let call = Call::new(Method::POST, place, &self.scopes, &self.task);
        self.endpoint.expect(&call, expected).await
    }

    /// The address that the registry gives for the content.
    fn session(&self, started: &Response) -> Result<Url> {
        let location = header(started, LOCATION)
            .ok_or_else(|| Error::malformed(&self.task, "the registry opens an upload nowhere"))?;
        let mut url = started.url().join(location).map_err(|_| {
            Error::malformed(&self.task, "the registry's upload address is no address")
        })?;
        if started.url().scheme() == "https" && url.scheme() != "https" {
            // Behind a proxy that ends TLS a registry may not know its own scheme.
            if url.host_str() != started.url().host_str() {
                let reason = "the registry wants the content at a place without TLS";
                return Err(Error::malformed(&self.task, reason));
            }
            let own = started.url();
            url = started
                .url()
                .join(&format!("{}?{}", url.path(), url.query().unwrap_or_default()))
                .map_err(|_| {
                    Error::malformed(&self.task, format!("no address at {}", own.path()))
                })?;
        }
        url.query_pairs_mut().append_pair("digest", self.digest);
        Ok(url)
    }

    async fn send(&self, session: Url) -> Result<()> {
        let _slot = self.endpoint.upload().await;
        let mut call = Call::new(Method::PUT, Place::Url(session), &self.scopes, &self.task);
        call.payload = Some(Payload::Content(self.size, self.body));
        self.endpoint.expect(&call, &[201, 202, 204]).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
