//! The bytes of a tar on their way to the writer, which may run a few buffers behind.

use std::fs::File;
use std::io::Write;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread;

use crate::error::{Error, Result};
use crate::tree::Node;

const BLOCK: usize = 512;
/// The size of one buffer, and how many of them are between the two threads.
const BUFFER: usize = 1 << 19;
const BUFFERS: usize = 16;

/// Takes a full buffer and gives an empty one; nothing once the writer is gone.
type Exchange<'a> = dyn FnMut(Vec<u8>) -> Result<Option<Vec<u8>>> + 'a;

/// Where entries are written to.
pub(super) struct Stream<'a> {
    /// Always as long as one buffer; what is not filled yet has any contents.
    buffer: Vec<u8>,
    filled: usize,
    length: u64,
    exchange: &'a mut Exchange<'a>,
}

/// Runs `render`, and writes what it makes on the same thread.
pub(super) fn here(
    out: &mut dyn Write,
    render: impl FnOnce(&mut Stream<'_>) -> Result<()>,
) -> Result<u64> {
    let mut exchange = |buffer: Vec<u8>| {
        out.write_all(&buffer).map_err(Error::WriteTar)?;
        Ok(Some(buffer))
    };
    Stream::run(1 << 15, &mut exchange, render)
}

/// Runs `render` on a second thread, at most a few buffers ahead of the writer.
pub(super) fn ahead(
    out: &mut dyn Write,
    render: impl FnOnce(&mut Stream<'_>) -> Result<()> + Send,
) -> Result<u64> {
    let (full, filled) = mpsc::sync_channel::<Vec<u8>>(BUFFERS);
    let (empty, emptied) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut exchange = |buffer| {
                let taken = full.send(buffer).is_ok();
                let next = || emptied.try_recv().unwrap_or_else(|_| vec![0; BUFFER]);
                Ok(taken.then(next))
            };
            Stream::run(BUFFER, &mut exchange, render)
        });
        let mut written = Ok(());
        for mut buffer in &filled {
            written = out.write_all(&buffer).map_err(Error::WriteTar);
            if written.is_err() {
                break;
            }
            buffer.resize(BUFFER, 0);
            let _ = empty.send(buffer);
        }
        // The reader stops when it finds that nobody takes its buffers.
        drop(filled);
        let length = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(length)
    })
}

impl<'a> Stream<'a> {
    fn run(
        size: usize,
        exchange: &'a mut Exchange<'a>,
        render: impl FnOnce(&mut Stream<'_>) -> Result<()>,
    ) -> Result<u64> {
        let mut stream = Stream { buffer: vec![0; size], filled: 0, length: 0, exchange };
        render(&mut stream)?;
        stream.flush()?;
        Ok(stream.length)
    }

    /// Writes bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let space = self.space()?;
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.advance(count);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Writes the data of a file, which must have the size of `node`, and fills up the last block.
    pub(super) fn file(&mut self, file: &File, node: &Node) -> Result<()> {
        let failed = |error| Error::file("read", &node.path)(error);
        let mut at = 0;
        while at < node.size {
            let space = self.space()?;
            let wanted = usize::try_from(node.size - at).unwrap_or(usize::MAX);
            let wanted = wanted.min(space.len());
            let count = match file.read_at(&mut space[..wanted], at) {
                Ok(0) => return Err(changed(node)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(failed(error)),
                Ok(count) => count,
            };
            self.advance(count);
            at += count as u64;
        }
        if file.read_at(&mut [0], node.size).map_err(failed)? > 0 {
            return Err(changed(node));
        }
        let padding = node.size.next_multiple_of(BLOCK as u64) - node.size;
        self.write(&[0; BLOCK][..usize::try_from(padding).unwrap_or(0)])
    }

    /// What of the buffer is free, which is at least one byte.
    fn space(&mut self) -> Result<&mut [u8]> {
        if self.filled == self.buffer.len() {
            self.flush()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    fn advance(&mut self, count: usize) {
        self.filled += count;
        self.length += count as u64;
    }

    fn flush(&mut self) -> Result<()> {
        let size = self.buffer.len();
        self.buffer.truncate(mem::take(&mut self.filled));
        let next = (self.exchange)(mem::take(&mut self.buffer))?;
        // The writer has failed and knows why, which is then the error that counts.
        self.buffer = next.ok_or(Error::Abandoned)?;
        self.buffer.resize(size, 0);
        Ok(())
    }
}

fn changed(node: &Node) -> Error {
    Error::Changed { path: node.path.to_path_buf() }
}
