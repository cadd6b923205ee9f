//! Downloads: verified while they pass, resumed where a connection broke.

mod parts;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::auth::Scopes;
use crate::client::Client;
use crate::digest;
use crate::endpoint::{Call, Endpoint, Place, header};
use crate::error::{Error, Result, Task};
use crate::reference::Reference;

pub use parts::PartStream;

/// The bytes of a blob. It ends in an error unless it was complete and right. It asks the registry
/// only when it is first polled; dropping it ends the download.
pub type BlobStream = BoxStream<'static, Result<Bytes>>;

/// So many bytes must have come before earlier failures are forgotten: each byte alone as a
/// reason to go on would let a server hold a client for ever.
pub(crate) const HEADWAY: u64 = 256 * 1024;

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
        download.hash = (download.next == 0 && download.end == size).then(Sha256::new);
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
        let end = range.end.min(size);
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
            size,
            next: range.start.min(end),
            end,
            hash: None,
            open: None,
            failures: 0,
            gained: 0,
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
    size: u64,
    next: u64,
    end: u64,
    hash: Option<Sha256>,
    open: Option<Open>,
    /// Failures since there was headway.
    failures: u32,
    /// Bytes since the last failure.
    gained: u64,
}

/// A body that is coming in.
struct Open {
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    /// Bytes that a server sent from before the part that was asked for.
    skip: u64,
    /// Whether the server sends the part alone.
    is_part: bool,
    _slot: OwnedSemaphorePermit,
}

impl Download {
    /// The next bytes; none at the end, if all was right.
    async fn part(&mut self) -> Result<Option<Bytes>> {
        while self.next < self.end {
            let (source, task) = self.source();
            match self.step(&source, &task).await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return self.take(bytes, &task).map(Some),
                Err(error) => self.recover(error).await?,
            }
        }
        self.open = None;
        self.verify()?;
        Ok(None)
    }

    /// The server that is asked, and what for.
    fn source(&self) -> (Arc<Endpoint>, Task) {
        let source = self.sources[0].clone();
        let task = source.task("fetch blob", format!("{} of {}", self.digest, self.repository));
        (source, task)
    }

    fn take(&mut self, mut bytes: Bytes, task: &Task) -> Result<Bytes> {
        let left = self.end - self.next;
        if bytes.len() as u64 > left {
            if self.end == self.size {
                return Err(Error::too_long(task, self.size));
            }
            bytes.truncate(usize::try_from(left).expect("it is less than the chunk's length"));
        }
        self.next += bytes.len() as u64;
        self.gained += bytes.len() as u64;
        if self.gained >= HEADWAY {
            self.failures = 0;
        }
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes);
        }
        Ok(bytes)
    }

    fn verify(&mut self) -> Result<()> {
        let Some(hash) = self.hash.take() else {
            return Ok(());
        };
        let got = digest::written(hash);
        if got == self.digest {
            return Ok(());
        }
        let task = self.sources[0].task("fetch blob", format!("of {}", self.repository));
        let (task, expected) = (Box::new(task), self.digest.clone());
        Err(Error::Corrupt { task, expected, got })
    }

    /// The next bytes of the open body; opens one if there is none.
    async fn step(&mut self, source: &Arc<Endpoint>, task: &Task) -> Result<Bytes> {
        if self.open.is_none() {
            self.open = Some(self.open(source, task).await?);
        }
        let open = self.open.as_mut().expect("it was opened just now");
        let chunk = source.within_stall(open.body.next(), task).await?;
        let mut bytes = match chunk {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(source.failed(error, task)),
            None => {
                let (got, size) = (self.next, self.end);
                return Err(Error::Truncated { task: Box::new(task.clone()), got, size });
            }
        };
        let skipped = open.skip.min(bytes.len() as u64);
        open.skip -= skipped;
        drop(bytes.split_to(usize::try_from(skipped).expect("it is at most the chunk's length")));
        Ok(bytes)
    }

    async fn open(&mut self, source: &Arc<Endpoint>, task: &Task) -> Result<Open> {
        digest::check(&self.digest, task)?;
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        let slot = source.download().await;
        let scopes = Scopes::pull(&self.repository);
        let rest = format!("blobs/{}", self.digest);
        let place = Place::Repository(&self.repository, &rest);
        let mut call = Call::new(Method::GET, place, &scopes, task);
        if self.next > 0 || self.end < self.size {
            let range = format!("bytes={}-{}", self.next, self.end - 1);
            let range = HeaderValue::from_str(&range).expect("digits and a dash are a header");
            call.headers.insert(RANGE, range);
        }
        let response = source.expect(&call, &[200, 206]).await?;
        let is_part = response.status() == 206;
        let skip = if is_part {
            let range = header(&response, CONTENT_RANGE).unwrap_or_default();
            if range_start(range) != Some(self.next) {
                let reason = format!("the server sends another part than was asked for ({range})");
                return Err(Error::malformed(task, reason));
            }
            0
        } else {
            self.next
        };
        Ok(Open { body: response.bytes_stream().boxed(), skip, is_part, _slot: slot })
    }

    /// Waits until the download may go on, from another source where that is better.
    async fn recover(&mut self, error: Error) -> Result<()> {
        self.open = None;
        self.failures += 1;
        let flowing = std::mem::take(&mut self.gained) > 0;
        let more = self.sources.len() > 1;
        let pause = self.client.pause(self.failures, &error);
        match pause {
            Some(pause) if flowing || !more => {
                tracing::debug!(%error, at = self.next, ?pause, "the download is resumed");
                self.client.sleep(pause).await;
                Ok(())
            }
            _ if more => {
                tracing::debug!(%error, "the mirror is passed over");
                self.sources.remove(0);
                self.failures = 0;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// The first byte of `bytes 5-9/10`.
pub(crate) fn range_start(header: &str) -> Option<u64> {
    header.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests;
