//! Large blobs come by parts, several at the same time, where the server can do that.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt, try_unfold};

use super::Download;
use crate::client::Client;
use crate::error::Result;
use crate::reference::Reference;

/// Bytes of a blob with the place at which the first of them belongs. Nothing is verified but the
/// size; dropping it ends the downloads.
pub type PartStream = BoxStream<'static, Result<(u64, Bytes)>>;

/// Parts of one blob that come in at the same time.
const AT_ONCE: usize = 4;

impl Client {
    /// Downloads parts of a blob of a known size, several at a time: those of one part come in
    /// order, those of several mixed.
    ///
    /// A server that sends no parts is asked once: it sends the whole, of which all comes from the
    /// start of the first part on.
    pub fn blob_parts(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        parts: Vec<Range<u64>>,
    ) -> PartStream {
        let download = |part| self.download(reference, digest, size, part);
        let mut downloads: VecDeque<Download> = parts.into_iter().map(download).collect();
        let begin = async move {
            if downloads.len() > 1 {
                let first = &mut downloads[0];
                if first.begin().await? {
                    // A mirror that does not have the blob is not asked for each part.
                    let sources = first.sources.clone();
                    for download in &mut downloads {
                        download.sources.clone_from(&sources);
                    }
                } else {
                    first.flow.extend();
                    downloads.truncate(1);
                }
            }
            let placed = stream::iter(downloads).map(Download::placed);
            Ok(placed.flatten_unordered(AT_ONCE))
        };
        stream::once(begin).try_flatten().boxed()
    }
}

impl Download {
    /// Asks for the part; says whether the server sends it alone.
    async fn begin(&mut self) -> Result<bool> {
        loop {
            if let Some(is_part) = self.flow.is_part() {
                return Ok(is_part);
            }
            let (source, task) = self.source();
            if let Err(error) = self.open(&source, &task).await {
                self.recover(error).await?;
            }
        }
    }

    fn placed(self) -> PartStream {
        try_unfold(self, |mut download| async move {
            let at = download.flow.next();
            Ok(download.part().await?.map(|bytes| ((at, bytes), download)))
        })
        .boxed()
    }
}
