//! One request to a registry: authorised, restarted when a token ended, watched while it moves.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::{Endpoint, header};
use crate::auth::{self, Scopes};
use crate::error::{Error, Result, Task};
use crate::push::Body;

/// How many times longer than a stall a server may think about an upload.
const UPLOAD_PATIENCE: u32 = 5;

/// A request, to be sent as often as authorising takes.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) place: Place<'a>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Option<Payload<'a>>,
    pub(crate) scopes: &'a Scopes,
    pub(crate) task: &'a Task,
}

/// Where a request goes.
#[derive(Clone)]
pub(crate) enum Place<'a> {
    /// The protocol's root, which says whether there is a registry.
    Root,
    /// Something of a repository, such as `blobs/sha256:…`.
    Repository(&'a str, &'a str),
    /// An address that the registry gave.
    Url(Url),
}

/// What a request sends.
#[derive(Clone)]
pub(crate) enum Payload<'a> {
    /// A document, of a media type.
    Document(Bytes, &'a str),
    /// Content of a known size, made anew for each try.
    Content(u64, &'a (dyn Fn() -> Body + Send + Sync)),
    /// Content whose size nobody knows yet, made anew for each try.
    Growing(&'a (dyn Fn() -> Body + Send + Sync)),
}

/// What became of a body while it was sent.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    moved: AtomicU64,
    failure: Mutex<Option<std::io::Error>>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        method: Method,
        place: Place<'a>,
        scopes: &'a Scopes,
        task: &'a Task,
    ) -> Self {
        Self { method, place, headers: HeaderMap::new(), payload: None, scopes, task }
    }
}

impl Endpoint {
    /// Sends a request and answers the response, whatever its status; 401 only where nothing
    /// more can be proven.
    ///
    /// A refused token is dropped and the request goes out bare, so that the challenge to the
    /// bare request decides what comes next.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Response> {
        let url = self.url(call).await?;
        let own = self.is_own(&url);
        let mut authorization = if own { self.auth.ready(self, call.scopes).await? } else { None };
        let mut answered = false;
        loop {
            let response = self.send_once(call, &url, authorization.as_ref()).await?;
            let refused = response.status() == StatusCode::UNAUTHORIZED;
            if !refused || answered || !own || !self.is_own(response.url()) {
                return Ok(response);
            }
            if let Some(refused) = authorization.take() {
                self.auth.forget(&refused).await;
                continue;
            }
            let headers = response.headers().get_all(WWW_AUTHENTICATE);
            let headers = headers.iter().filter_map(|header| header.to_str().ok());
            let challenges = headers.flat_map(auth::parse).collect();
            authorization = self.auth.answer(self, challenges, call.scopes).await?;
            if authorization.is_none() {
                return Ok(response);
            }
            answered = true;
        }
    }

    /// Sends a request and answers the response if its status is one of those expected.
    pub(crate) async fn expect(&self, call: &Call<'_>, statuses: &[u16]) -> Result<Response> {
        let response = self.send(call).await?;
        let page =
            header(&response, CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
        if page && response.status().is_success() {
            let reason = "the answer is a web page, as a network's sign-in page is";
            return Err(Error::malformed(call.task, reason));
        }
        if statuses.contains(&response.status().as_u16()) {
            Ok(response)
        } else {
            let own = self.is_own(response.url());
            Err(self.refusal(response, call.task, own).await)
        }
    }

    async fn send_once(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response> {
        let mut request = self.http()?.request(call.method.clone(), url.clone());
        request = request.headers(call.headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        match &call.payload {
            None if call.method == Method::POST => {
                self.exchange(request.header(CONTENT_LENGTH, 0), None, call.task).await
            }
            None => self.exchange(request, None, call.task).await,
            Some(Payload::Document(bytes, media_type)) => {
                let request = request.header(CONTENT_TYPE, *media_type).body(bytes.clone());
                self.exchange(request, None, call.task).await
            }
            Some(Payload::Content(size, make)) => {
                let request = request.header(CONTENT_LENGTH, *size);
                self.stream(request, make(), Some(*size), call.task).await
            }
            Some(Payload::Growing(make)) => self.stream(request, make(), None, call.task).await,
        }
    }

    /// Sends a request with content, of a size if that is known.
    async fn stream(
        &self,
        request: RequestBuilder,
        body: Body,
        size: Option<u64>,
        task: &Task,
    ) -> Result<Response> {
        let progress = Arc::new(Progress::default());
        let body = reqwest::Body::wrap_stream(watched(body, size, progress.clone()));
        let request = request.header(CONTENT_TYPE, "application/octet-stream").body(body);
        self.exchange(request, Some(&progress), task).await
    }

    /// Sends a request that is ready, and gives it up when nothing moves.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        progress: Option<&Progress>,
        task: &Task,
    ) -> Result<Response> {
        if self.shared.settings.offline {
            return Err(Error::Offline { task: Box::new(task.clone()) });
        }
        let patience = if progress.is_some() { UPLOAD_PATIENCE } else { 1 };
        let moved = || progress.map_or(0, |progress| progress.moved.load(Ordering::Relaxed));
        let sent = self.watch(request.send(), moved, self.stall() * patience, task).await?;
        sent.map_err(|error| {
            let own = progress.and_then(|progress| {
                progress.failure.lock().ok().and_then(|mut failure| failure.take())
            });
            match own {
                Some(source) => Error::Body { task: Box::new(task.clone()), source },
                None => self.failed(error, task),
            }
        })
    }

    /// Awaits something that a server does, as long as it shows progress.
    pub(crate) async fn watch<T>(
        &self,
        work: impl Future<Output = T>,
        moved: impl Fn() -> u64,
        stall: Duration,
        task: &Task,
    ) -> Result<T> {
        let mut work = pin!(work);
        let mut seen = moved();
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.shared.clock.sleep(stall) => {
                    let now = moved();
                    if now == seen {
                        return Err(Error::Stalled { task: Box::new(task.clone()), after: stall });
                    }
                    seen = now;
                }
            }
        }
    }

    async fn url(&self, call: &Call<'_>) -> Result<Url> {
        let path = match &call.place {
            Place::Url(url) => return Ok(url.clone()),
            Place::Root => "v2/".to_owned(),
            Place::Repository(name, rest) => {
                let own = name.strip_prefix(&self.covered).unwrap_or(name);
                format!("v2/{}{own}/{rest}", self.prefix)
            }
        };
        let base = self.base(call.task).await?;
        base.join(&path).map_err(|error| Error::malformed(call.task, error.to_string()))
    }

    /// Whether an address is this endpoint's own, so that it may see the credentials.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        self.base.get().is_some_and(|base| base.origin() == url.origin())
    }
}

/// Passes a body on, counts it, keeps its failure, and ends it with one where it is not as long
/// as was said.
fn watched(
    body: Body,
    size: Option<u64>,
    progress: Arc<Progress>,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let ended = futures::stream::once(async { Ok(Bytes::new()) });
    let mut sent = 0_u64;
    body.map(|part| (false, part)).chain(ended.map(|part| (true, part))).map(move |(last, part)| {
        let part = part.and_then(|bytes| {
            sent += bytes.len() as u64;
            if let Some(size) = size
                && (sent > size || (last && sent < size))
            {
                let said = format!("the content has not the {size} bytes that it was said to have");
                return Err(std::io::Error::other(said));
            }
            Ok(bytes)
        });
        progress.moved.store(sent + u64::from(last), Ordering::Relaxed);
        part.map_err(|error| {
            let shown = std::io::Error::new(error.kind(), error.to_string());
            if let Ok(mut failure) = progress.failure.lock() {
                *failure = Some(error);
            }
            shown
        })
    })
}
