//! Downloads of objects that lie at addresses of their own: verified while they pass, and gone on
//! with where a connection broke.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::try_unfold;
use reqwest::header::HeaderValue;

use crate::blob::BlobStream;
use crate::client::Client;
use crate::error::{Error, Result, Task};
use crate::flow::{Flow, Opened};

/// What opens an object from a byte on.
pub(crate) type Open = Box<dyn Fn(u64) -> BoxFuture<'static, Result<Opened>> + Send>;

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
        open,
        flow: Flow::new(0..size, size).verified(),
    };
    try_unfold(download, |mut download| async move {
        Ok(download.part().await?.map(|bytes| (bytes, download)))
    })
    .boxed()
}

struct Download {
    client: Client,
    task: Task,
    digest: String,
    open: Open,
    flow: Flow,
}

impl Download {
    /// The next bytes; none at the end, if all was right.
    async fn part(&mut self) -> Result<Option<Bytes>> {
        while !self.flow.is_done() {
            match self.step().await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return self.flow.take(bytes, &self.task).map(Some),
                Err(error) => self.recover(error).await?,
            }
        }
        self.flow.finish(&self.digest, &self.task)?;
        Ok(None)
    }

    /// The next bytes of the open body; opens one if there is none.
    async fn step(&mut self) -> Result<Bytes> {
        if self.flow.is_part().is_none() {
            let opened = (self.open)(self.flow.next()).await?;
            self.flow.begin(opened, &self.task)?;
        }
        self.flow.bytes(&self.task).await
    }

    /// Waits until the download may go on.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let (failures, _) = self.flow.broke();
        let Some(pause) = self.client.pause(failures, &error) else {
            return Err(error);
        };
        tracing::debug!(%error, at = self.flow.next(), ?pause, "the download is resumed");
        self.client.sleep(pause).await;
        Ok(())
    }
}
