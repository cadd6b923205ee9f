//! The cache service of GitHub Actions, version 2: an entry is reserved under its key, sent to an
//! address that the service gives, and ended. It never changes after that, and may vanish.
//!
//! The token goes to the service alone; the addresses that the service gives are signed, so no error
//! and no log names one.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt};
use futures::{FutureExt, stream};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Method, Response, Url};
use serde::{Deserialize, Serialize};

use crate::auth::Scopes;
use crate::blob::BlobStream;
use crate::client::Client;
use crate::endpoint::{Call, Endpoint, Payload, Place, authority, read};
use crate::error::{Error, Result, Task};
use crate::flow::Opened;
use crate::object;
use crate::push::Body;

/// Where the methods of the service are, below its address.
const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";
/// Keeps these entries apart from those of other programs: sha256 of `rbuild cache 1`.
const VERSION: &str = "dd59e801670154fd5371dbe6a3f58f2e6850aa9168b1c70369536c4cd81fd5d3";
/// The longest answer of the service, in bytes.
const ANSWER: u64 = 64 << 10;
/// What is sent at once, in bytes; longer entries are sent in blocks of this length.
const BLOCK: u64 = 32 << 20;
/// Blocks of one entry that are sent at the same time.
const AT_ONCE: usize = 4;

/// A cache service, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Actions {
    /// The address of the service, `ACTIONS_RESULTS_URL` in a workflow.
    pub url: String,
    /// What proves who asks, `ACTIONS_RUNTIME_TOKEN` in a workflow.
    pub token: String,
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actions").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What the service is asked.
#[derive(Debug, Serialize)]
struct Question<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_keys: Option<[&'a str; 1]>,
    /// A number of 64 bits is a text in such documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<String>,
    version: &'static str,
}

/// What it answers. Servers of others name the fields in camel case.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedUploadUrl")]
    signed_upload_url: String,
    #[serde(default, alias = "signedDownloadUrl")]
    signed_download_url: String,
    #[serde(default, alias = "matchedKey")]
    matched_key: String,
}

impl<'a> Question<'a> {
    fn new(key: &'a str) -> Self {
        Self { key, restore_keys: None, size_bytes: None, version: VERSION }
    }
}

/// An entry that is asked about.
struct Entry<'a> {
    actions: &'a Actions,
    task: Task,
}

impl<'a> Entry<'a> {
    fn new(actions: &'a Actions, key: &str, verb: &'static str) -> Self {
        Self { actions, task: Task::new(verb, key.to_owned(), &actions.url) }
    }

    /// The address of a method of the service.
    fn method(&self, name: &str) -> Result<Url> {
        let address = &self.actions.url;
        let refuse = |reason| Error::Setting { name: format!("cache service {address}"), reason };
        let url = Url::parse(&format!("{}/{SERVICE}/{name}", address.trim_end_matches('/')));
        let url = url.map_err(|error| refuse(error.to_string()))?;
        match url.scheme() {
            "http" | "https" if url.has_host() => Ok(url),
            scheme => Err(refuse(format!("`{scheme}` is not http or https"))),
        }
    }

    /// The headers that say who asks. Nobody asks without a token.
    fn headers(&self) -> Result<HeaderMap> {
        if self.actions.token.is_empty() {
            return Err(Error::malformed(&self.task, "no token for it is known"));
        }
        let value = HeaderValue::from_str(&format!("Bearer {}", self.actions.token));
        let mut value =
            value.map_err(|_| Error::malformed(&self.task, "the token is not printable"))?;
        value.set_sensitive(true);
        Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    /// An address that the service gave.
    fn given(&self, text: &str) -> Result<Url> {
        let url = Url::parse(text);
        let url = url.map_err(|_| Error::malformed(&self.task, "the address given is none"))?;
        let is_plain = self.actions.url.starts_with("http://");
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_plain => Ok(url),
            _ => Err(Error::malformed(&self.task, "the address given is one without TLS")),
        }
    }
}

impl Client {
    /// Reads a small entry, of at most `limit` bytes; there may be none. It is the one of the key,
    /// else the one that was made last of those whose keys begin so.
    pub async fn entry(&self, actions: &Actions, key: &str, limit: u64) -> Result<Option<Bytes>> {
        let entry = &Entry::new(actions, key, "fetch");
        self.retrying(|| async move {
            let Some(url) = self.find(entry, key).await? else { return Ok(None) };
            let endpoint = self.web(&authority(&url));
            let response = self.at(entry, &endpoint, &url, 0).await?;
            read(response, limit, &entry.task, &endpoint).await.map(Some)
        })
        .await
    }

    /// Whether there is an entry whose key begins so.
    pub async fn has_entry(&self, actions: &Actions, key: &str) -> Result<bool> {
        let entry = &Entry::new(actions, key, "look up");
        let find = || async move { self.find(entry, key).await };
        Ok(self.retrying(find).await?.is_some())
    }

    /// Makes an entry of `size` bytes, unless there is one whose key begins so. `body` gives a part
    /// of the bytes, anew for each try.
    pub async fn put_entry(
        &self,
        actions: &Actions,
        key: &str,
        size: u64,
        body: impl Fn(Range<u64>) -> Body + Send + Sync,
    ) -> Result<()> {
        let is_there = self.make_entry(actions, key, size, &body).await?
            || self.has_entry(actions, key).await?;
        if is_there {
            return Ok(());
        }
        // Whoever has reserved it may never send it. Entries are found by the beginnings of their
        // keys, and two that hold the same do no harm.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own = format!("{key}-{}", now.as_nanos());
        if self.make_entry(actions, &own, size, &body).await? {
            return Ok(());
        }
        let task = Entry::new(actions, key, "write").task;
        Err(Error::malformed(&task, "the service takes no such entry"))
    }

    /// Makes an entry; false where its key is taken.
    async fn make_entry(
        &self,
        actions: &Actions,
        key: &str,
        size: u64,
        body: &(impl Fn(Range<u64>) -> Body + Send + Sync),
    ) -> Result<bool> {
        let entry = &Entry::new(actions, key, "write");
        let (ask, ask_end) = (&Question::new(key), &Question::new(key));
        let reserve = || self.service(entry, "CreateCacheEntry", ask, &[200, 409]);
        let Some(reserved) = self.retrying(reserve).await? else { return Ok(false) };
        if !reserved.ok {
            return Err(Error::malformed(&entry.task, "the service takes no such entry"));
        }
        let url = entry.given(&reserved.signed_upload_url)?;
        self.send(entry, &url, size, body).await?;
        let end = &Question { size_bytes: Some(size.to_string()), ..*ask_end };
        let ended = self.retrying(|| self.service(entry, "FinalizeCacheEntryUpload", end, &[200]));
        match ended.await? {
            Some(Answer { ok: true, .. }) => Ok(true),
            _ => Err(Error::malformed(&entry.task, "the service did not take what was sent")),
        }
    }

    /// Downloads an entry of a known size and digest, verified while it passes.
    pub fn entry_blob(&self, actions: &Actions, key: &str, digest: &str, size: u64) -> BlobStream {
        let task = Entry::new(actions, key, "fetch").task;
        let (this, actions, key) = (self.clone(), actions.clone(), key.to_owned());
        let open = move |from| {
            let (this, actions, key) = (this.clone(), actions.clone(), key.clone());
            async move { this.open_entry(&actions, &key, from).await }.boxed()
        };
        object::download(self, task, digest, size, Box::new(open))
    }

    async fn open_entry(&self, actions: &Actions, key: &str, from: u64) -> Result<Opened> {
        let entry = &Entry::new(actions, key, "fetch");
        let Some(url) = self.find(entry, key).await? else {
            return Err(Error::malformed(&entry.task, "it is not there any more"));
        };
        let endpoint = self.web(&authority(&url));
        let slot = endpoint.download().await;
        let response = self.at(entry, &endpoint, &url, from).await?;
        Ok(Opened { response, endpoint, slot })
    }

    /// Asks where an entry is.
    async fn find(&self, entry: &Entry<'_>, key: &str) -> Result<Option<Url>> {
        let question = Question { restore_keys: Some([key]), ..Question::new(key) };
        let is_it = |found: &str| found.starts_with(key);
        let answer = self.service(entry, "GetCacheEntryDownloadURL", &question, &[200]).await?;
        // A service may take any key for a beginning.
        let answer =
            answer.filter(|it| it.ok && (it.matched_key.is_empty() || is_it(&it.matched_key)));
        answer.map(|answer| entry.given(&answer.signed_download_url)).transpose()
    }

    /// Asks the service; nothing where it answers 409, that there is such a thing already.
    async fn service(
        &self,
        entry: &Entry<'_>,
        method: &str,
        question: &Question<'_>,
        expected: &[u16],
    ) -> Result<Option<Answer>> {
        let url = entry.method(method)?;
        let (endpoint, scopes) = (self.web(&authority(&url)), Scopes::default());
        let mut call = Call::new(Method::POST, Place::Url(url), &scopes, &entry.task);
        call.headers = entry.headers()?;
        let question = serde_json::to_vec(question).expect("texts are always json");
        call.payload = Some(Payload::Document(question.into(), "application/json"));
        let response = endpoint.expect(&call, expected).await?;
        if response.status() == 409 {
            return Ok(None);
        }
        let bytes = read(response, ANSWER, &entry.task, &endpoint).await?;
        // What does not parse is not shown: an address may stand in it.
        let answer = serde_json::from_slice(&bytes);
        answer.map(Some).map_err(|_| Error::malformed(&entry.task, "the answer is not understood"))
    }

    /// Reads at an address that the service gave.
    async fn at(
        &self,
        entry: &Entry<'_>,
        endpoint: &Arc<Endpoint>,
        url: &Url,
        from: u64,
    ) -> Result<Response> {
        let scopes = Scopes::default();
        let mut call = Call::new(Method::GET, Place::Url(url.clone()), &scopes, &entry.task);
        call.headers.extend(object::range(from).map(|range| (RANGE, range)));
        endpoint.expect(&call, &[200, 206]).await
    }

    /// Sends the bytes of an entry to the address that the service gave: at once, or in blocks and
    /// then the list of the blocks.
    async fn send(
        &self,
        entry: &Entry<'_>,
        url: &Url,
        size: u64,
        body: &(impl Fn(Range<u64>) -> Body + Send + Sync),
    ) -> Result<()> {
        if size <= BLOCK {
            let kind = HeaderName::from_static("x-ms-blob-type");
            let headers = HeaderMap::from_iter([(kind, HeaderValue::from_static("BlockBlob"))]);
            let whole = || body(0..size);
            return self.put(entry, url, headers, Payload::Content(size, &whole)).await;
        }
        let blocks: Vec<Range<u64>> =
            (0..size.div_ceil(BLOCK)).map(|at| at * BLOCK..((at + 1) * BLOCK).min(size)).collect();
        let names = blocks.iter().map(|block| format!("<Latest>{}</Latest>", name(block)));
        let list = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{}</BlockList>",
            names.collect::<String>()
        );
        let sent = blocks.into_iter().map(|block| async move {
            let part = || body(block.clone());
            let url = with(url, &[("comp", "block"), ("blockid", &name(&block))]);
            let payload = Payload::Content(block.end - block.start, &part);
            self.put(entry, &url, HeaderMap::new(), payload).await
        });
        stream::iter(sent).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let payload = Payload::Document(list.into(), "application/xml");
        self.put(entry, &with(url, &[("comp", "blocklist")]), HeaderMap::new(), payload).await
    }

    async fn put(
        &self,
        entry: &Entry<'_>,
        url: &Url,
        headers: HeaderMap,
        payload: Payload<'_>,
    ) -> Result<()> {
        let (endpoint, scopes) = (&self.web(&authority(url)), &Scopes::default());
        let (headers, payload) = (&headers, &payload);
        self.retrying(|| async move {
            let _slot = endpoint.upload().await;
            let call = Call::new(Method::PUT, Place::Url(url.clone()), scopes, &entry.task);
            let call = Call { headers: headers.clone(), payload: Some(payload.clone()), ..call };
            endpoint.expect(&call, &[200, 201]).await.map(drop)
        })
        .await
    }
}

/// The name of a block; all are equally long, as the protocol wants it.
fn name(block: &Range<u64>) -> String {
    BASE64.encode(format!("{:015}", block.start))
}

/// A signed address with more in its query.
fn with(url: &Url, pairs: &[(&str, &str)]) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(pairs);
    url
}

#[cfg(test)]
mod tests;
