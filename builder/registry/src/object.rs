//! Downloads of objects that lie at addresses of their own: verified while they pass, and gone on
//! with where a connection broke.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, try_unfold};
use reqwest::Response;
use reqwest::header::{CONTENT_RANGE, HeaderValue};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::blob::{BlobStream, HEADWAY, range_start};
use crate::client::Client;
use crate::digest;
use crate::endpoint::{Endpoint, header};
use crate::error::{Error, Result, Task};

/// What opens an object from a byte on.
pub(crate) type Open = Box<dyn Fn(u64) -> BoxFuture<'static, Result<Opened>> + Send>;

/// An object that begins to come in.
pub(crate) struct Opened {
    pub(crate) response: Response,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// Asks for an object from a byte on; nothing is asked where that is its first.
pub(crate) fn range(from: u64) -> Option<HeaderValue> {
    let text = format!("bytes={from}-");
    (from > 0).then(|| HeaderValue::from_str(&text).expect("digits and a dash are a header"))
}

/// The bytes of an object of a known size and digest.
pub(crate) fn download(
    client: &Client,
    task: Task,
    digest: &str,
    size: u64,
    open: Open,
) -> BlobStream {
    let download = Download {
        client: client.clone(),
        task,
        digest: digest.to_owned(),
        size,
        next: 0,
        hash: Sha256::new(),
        open,
        coming: None,
        failures: 0,
        gained: 0,
    };
    try_unfold(download, |mut download| async move {
        Ok(download.part().await?.map(|bytes| (bytes, download)))
    })
    .boxed()
}

/// A body that is coming in.
struct Coming {
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    endpoint: Arc<Endpoint>,
    _slot: OwnedSemaphorePermit,
}

struct Download {
    client: Client,
    task: Task,
    digest: String,
    size: u64,
    next: u64,
    hash: Sha256,
    open: Open,
    coming: Option<Coming>,
    /// Failures since there was headway.
    failures: u32,
    /// Bytes since the last failure.
    gained: u64,
}

impl Download {
    /// The next bytes; none at the end, if all was right.
    async fn part(&mut self) -> Result<Option<Bytes>> {
        while self.next < self.size {
            match self.step().await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return self.take(bytes).map(Some),
                Err(error) => self.recover(error).await?,
            }
        }
        self.coming = None;
        let got = digest::written(std::mem::take(&mut self.hash));
        if got == self.digest {
            return Ok(None);
        }
        let (task, expected) = (Box::new(self.task.clone()), self.digest.clone());
        Err(Error::Corrupt { task, expected, got })
    }

    fn take(&mut self, bytes: Bytes) -> Result<Bytes> {
        let length = bytes.len() as u64;
        if length > self.size - self.next {
            return Err(Error::too_long(&self.task, self.size));
        }
        self.next += length;
        self.gained += length;
        if self.gained >= HEADWAY {
            self.failures = 0;
        }
        self.hash.update(&bytes);
        Ok(bytes)
    }

    /// The next bytes of the open body; opens one if there is none.
    async fn step(&mut self) -> Result<Bytes> {
        if self.coming.is_none() {
            let Opened { response, endpoint, slot } = (self.open)(self.next).await?;
            let part = header(&response, CONTENT_RANGE).and_then(range_start);
            if self.next > 0 && part != Some(self.next) {
                let reason = "the server sends another part than was asked for";
                return Err(Error::malformed(&self.task, reason));
            }
            let body = response.bytes_stream().boxed();
            self.coming = Some(Coming { body, endpoint, _slot: slot });
        }
        let coming = self.coming.as_mut().expect("it was opened just now");
        match coming.endpoint.within_stall(coming.body.next(), &self.task).await? {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(error)) => Err(coming.endpoint.failed(error, &self.task)),
            None => {
                let (got, size) = (self.next, self.size);
                Err(Error::Truncated { task: Box::new(self.task.clone()), got, size })
            }
        }
    }

    /// Waits until the download may go on.
    async fn recover(&mut self, error: Error) -> Result<()> {
        self.coming = None;
        self.gained = 0;
        self.failures += 1;
        let Some(pause) = self.client.pause(self.failures, &error) else {
            return Err(error);
        };
        tracing::debug!(%error, at = self.next, ?pause, "the download is resumed");
        self.client.sleep(pause).await;
        Ok(())
    }
}
