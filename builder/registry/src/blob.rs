//! Downloads: verified while they pass, resumed where a connection broke.

mod parts;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use reqwest::Method;
use reqwest::header::{HeaderValue, RANGE};

use crate::auth::Scopes;
use crate::client::Client;
use crate::digest;
use crate::endpoint::{Call, Endpoint, Place};
use crate::error::{Error, Result, Task};
use crate::flow::{Flow, Opened};
use crate::reference::Reference;

pub use parts::PartStream;

/// The bytes of a blob. It ends in an error unless it was complete and right. It asks the registry
/// only when it is first polled; dropping it ends the download.
pub type BlobStream = BoxStream<'static, Result<Bytes>>;

impl Client {
    /// Downloads a blob of a known size, from `offset` on.
    ///
    /// From the start the stream is verified against size and digest. Further on only the size
    /// can be: whoever holds the bytes before must verify the whole.
    pub fn blob(&self, reference: &Reference, digest: &str, size: u64, offset: u64) -> BlobStream {
        self.blob_range(reference, digest, size, offset..size)
    }

    /// Downloads a part of a blob of a known size; verified only where it is the whole.
    pub fn blob_range(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        range: std::ops::Range<u64>,
    ) -> BlobStream {
        let mut download = self.download(reference, digest, size, range);
        download.flow = download.flow.verified();
        try_unfold(download, |mut download| async move {
            Ok(download.part().await?.map(|bytes| (bytes, download)))
        })
        .boxed()
    }

    /// A download of a part, which is not begun and not verified.
    fn download(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        range: std::ops::Range<u64>,
    ) -> Download {
        let (sources, refused) = match self.sources(reference) {
            Ok(sources) => (sources, None),
            Err(error) => (vec![self.upstream(reference.registry())], Some(error)),
        };
        Download {
            client: self.clone(),
            sources,
            refused,
            repository: reference.repository().to_owned(),
            digest: digest.to_owned(),
            flow: Flow::new(range, size),
        }
    }

    /// Whether the registry has a blob in the repository.
    pub async fn has_blob(&self, reference: &Reference, digest: &str) -> Result<bool> {
        let endpoint = &self.upstream(reference.registry());
        let scopes = &Scopes::pull(reference.repository());
        self.retrying(|| async move { endpoint.has(reference.repository(), digest, scopes).await })
            .await
    }
}

impl Endpoint {
    /// Looks whether a blob is there.
    pub(crate) async fn has(
        &self,
        repository: &str,
        digest: &str,
        scopes: &Scopes,
    ) -> Result<bool> {
        let task = self.task("look up blob", format!("{digest} of {repository}"));
        digest::check(digest, &task)?;
        let rest = format!("blobs/{digest}");
        let place = Place::Repository(repository, &rest);
        let call = Call::new(Method::HEAD, place, scopes, &task);
        let response = self.expect(&call, &[200, 404]).await?;
        Ok(response.status() == 200)
    }
}

/// A download on its way.
struct Download {
    client: Client,
    /// Mirrors, then the registry; the first is the one that is asked.
    sources: Vec<Arc<Endpoint>>,
    /// Why nobody may be asked.
    refused: Option<Error>,
    repository: String,
    digest: String,
    flow: Flow,
}

impl Download {
    /// The next bytes; none at the end, if all was right.
    async fn part(&mut self) -> Result<Option<Bytes>> {
        while !self.flow.is_done() {
            let (source, task) = self.source();
            match self.step(&source, &task).await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return self.flow.take(bytes, &task).map(Some),
                Err(error) => self.recover(error).await?,
            }
        }
        let task = self.sources[0].task("fetch blob", format!("of {}", self.repository));
        self.flow.finish(&self.digest, &task)?;
        Ok(None)
    }

    /// The server that is asked, and what for.
    fn source(&self) -> (Arc<Endpoint>, Task) {
        let source = self.sources[0].clone();
        let task = source.task("fetch blob", format!("{} of {}", self.digest, self.repository));
        (source, task)
    }

    /// The next bytes of the open body; opens one if there is none.
    async fn step(&mut self, source: &Arc<Endpoint>, task: &Task) -> Result<Bytes> {
        if self.flow.is_part().is_none() {
            self.open(source, task).await?;
        }
        self.flow.bytes(task).await
    }

    async fn open(&mut self, source: &Arc<Endpoint>, task: &Task) -> Result<()> {
        digest::check(&self.digest, task)?;
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        let slot = source.download().await;
        let scopes = Scopes::pull(&self.repository);
        let rest = format!("blobs/{}", self.digest);
        let place = Place::Repository(&self.repository, &rest);
        let mut call = Call::new(Method::GET, place, &scopes, task);
        if !self.flow.is_whole() {
            let range = format!("bytes={}-{}", self.flow.next(), self.flow.end() - 1);
            let range = HeaderValue::from_str(&range).expect("digits and a dash are a header");
            call.headers.insert(RANGE, range);
        }
        let response = source.expect(&call, &[200, 206]).await?;
        self.flow.begin(Opened { response, endpoint: source.clone(), slot }, task)
    }

    /// Waits until the download may go on, from another source where that is better.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let (failures, flowing) = self.flow.broke();
        let more = self.sources.len() > 1;
        let pause = self.client.pause(failures, &error);
        match pause {
            Some(pause) if flowing || !more => {
                tracing::debug!(%error, at = self.flow.next(), ?pause, "the download is resumed");
                self.client.sleep(pause).await;
                Ok(())
            }
            _ if more => {
                tracing::debug!(%error, "the mirror is passed over");
                self.sources.remove(0);
                self.flow.start_over();
                Ok(())
            }
            _ => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
