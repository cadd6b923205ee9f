//! Bytes that come in from one place to another, over as many connections as that takes: counted,
//! and verified where they are the whole.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::Response;
use reqwest::header::CONTENT_RANGE;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::digest;
use crate::endpoint::{Endpoint, header};
use crate::error::{Error, Result, Task};

/// So many bytes must have come before earlier failures are forgotten: each byte alone as a
/// reason to go on would let a server hold a client for ever.
pub(crate) const HEADWAY: u64 = 256 * 1024;

/// An answer whose body begins to come in.
pub(crate) struct Opened {
    pub(crate) response: Response,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// A body that is coming in.
struct Open {
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    endpoint: Arc<Endpoint>,
    /// Bytes that a server sent from before the part that was asked for.
    skip: u64,
    /// Whether the server sends the part alone.
    is_part: bool,
    _slot: OwnedSemaphorePermit,
}

/// What has come of a part of something, and what is still to come.
pub(crate) struct Flow {
    next: u64,
    end: u64,
    /// The size of the whole.
    size: u64,
    hash: Option<Sha256>,
    open: Option<Open>,
    /// Failures since there was headway.
    failures: u32,
    /// Bytes since the last failure.
    gained: u64,
}

impl Flow {
    /// A part of something of a known size, of which nothing has come yet.
    pub(crate) fn new(part: Range<u64>, size: u64) -> Self {
        let end = part.end.min(size);
        let next = part.start.min(end);
        Self { next, end, size, hash: None, open: None, failures: 0, gained: 0 }
    }

    /// The same, verified if it is the whole.
    pub(crate) fn verified(mut self) -> Self {
        self.hash = self.is_whole().then(Sha256::new);
        self
    }

    /// The place of the next byte.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The place behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether nothing has come of the whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.next == 0 && self.end == self.size
    }

    /// Goes on to the end of the whole.
    pub(crate) fn extend(&mut self) {
        self.end = self.size;
    }

    /// Whether all has come.
    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.end
    }

    /// Whether the server sends the part alone; none where no body is open.
    pub(crate) fn is_part(&self) -> Option<bool> {
        self.open.as_ref().map(|open| open.is_part)
    }

    /// Goes on with an answer: the part from the next byte on, or the whole.
    pub(crate) fn begin(&mut self, opened: Opened, task: &Task) -> Result<()> {
        let Opened { response, endpoint, slot } = opened;
        let is_part = response.status() == 206;
        if is_part {
            let range = header(&response, CONTENT_RANGE).unwrap_or_default();
            if range_start(range) != Some(self.next) {
                let reason = format!("the server sends another part than was asked for ({range})");
                return Err(Error::malformed(task, reason));
            }
        }
        let skip = if is_part { 0 } else { self.next };
        let body = response.bytes_stream().boxed();
        self.open = Some(Open { body, endpoint, skip, is_part, _slot: slot });
        Ok(())
    }

    /// The next bytes of the body that is open; there may be none of the part among them.
    pub(crate) async fn bytes(&mut self, task: &Task) -> Result<Bytes> {
        let (got, size) = (self.next, self.end);
        let truncated = || Error::Truncated { task: Box::new(task.clone()), got, size };
        let open = self.open.as_mut().ok_or_else(truncated)?;
        let mut bytes = match open.endpoint.within_stall(open.body.next(), task).await? {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(open.endpoint.failed(error, task)),
            None => return Err(truncated()),
        };
        let skipped = open.skip.min(bytes.len() as u64);
        open.skip -= skipped;
        drop(bytes.split_to(usize::try_from(skipped).expect("it is at most the chunk's length")));
        Ok(bytes)
    }

    /// Counts bytes that have come, and gives those that belong to the part.
    pub(crate) fn take(&mut self, mut bytes: Bytes, task: &Task) -> Result<Bytes> {
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

    /// Gives the connection up; says how many failures there were in a row, and whether bytes came
    /// before this one.
    pub(crate) fn broke(&mut self) -> (u32, bool) {
        self.open = None;
        self.failures += 1;
        (self.failures, std::mem::take(&mut self.gained) > 0)
    }

    /// Forgets failures: another server is asked.
    pub(crate) fn start_over(&mut self) {
        self.failures = 0;
    }

    /// Ends it: what was the whole must have the digest.
    pub(crate) fn finish(&mut self, expected: &str, task: &Task) -> Result<()> {
        self.open = None;
        let Some(hash) = self.hash.take() else {
            return Ok(());
        };
        let got = digest::written(hash);
        if got == expected {
            return Ok(());
        }
        let (task, expected) = (Box::new(task.clone()), expected.to_owned());
        Err(Error::Corrupt { task, expected, got })
    }
}

/// The first byte of `bytes 5-9/10`.
fn range_start(header: &str) -> Option<u64> {
    header.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_range_is_read() {
        assert_eq!(range_start("bytes 5-9/10"), Some(5));
        assert_eq!(range_start("bytes 5-9/*"), Some(5));
        for wrong in ["", "bytes */10", "5-9/10", "bytes -9/10", "bytes 99999999999999999999-"] {
            assert_eq!(range_start(wrong), None, "{wrong}");
        }
    }
}
