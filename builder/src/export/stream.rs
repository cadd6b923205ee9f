//! A layer that is sent while it is compressed: it is read, packed, compressed, hashed and sent in one
//! pass, and kept in the store on the way.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt, unfold};
use rbuild_cache::{Blob, Layer};
use rbuild_registry::{Body, Reference};
use rbuild_solver::What;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;

use super::compress::{self, Compression};
use super::{Exporter, push};
use crate::error::{Error, Result};
use crate::worker::fetch::blocking;

/// Compressed pieces that wait to be sent.
const AHEAD: usize = 4;

/// What is written to it goes on to whoever sends it, as long as there is somebody.
#[derive(Debug)]
pub(super) struct Tap(Option<Sender<Bytes>>);

impl Tap {
    /// One that nobody listens at.
    pub(super) fn closed() -> Self {
        Self(None)
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(sender) = &self.0
            && sender.blocking_send(Bytes::copy_from_slice(bytes)).is_err()
        {
            self.0 = None;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The compressed form of a layer that was made here; true where it has come into the registry, since
/// it had to be compressed. A layer whose compressed form is known and here is left alone.
pub(super) async fn made(
    exporter: &Exporter,
    to: &Reference,
    layer: &Layer,
    how: Compression,
) -> Result<(Blob, bool)> {
    let Exporter { store, registries, events, step } = exporter;
    let _alone = compress::alone(store, layer, how).await?;
    if let Some(blob) = compress::known(store, layer, how)? {
        // Perhaps the registry has what is gone here.
        let digest = blob.digest.to_string();
        let there = registries.client().has_blob(to, &digest);
        if store.has_blob(&blob.digest) || there.await.unwrap_or(false) {
            return Ok((blob, false));
        }
    }
    let (tap, pieces) = channel(AHEAD);
    let (done, made) = watch::channel(None);
    let compressing = {
        let (store, layer) = (store.clone(), layer.clone());
        blocking(move || {
            let mut tap = Tap(Some(tap));
            let blob = compress::compress(&store, &layer, how, &mut tap)?;
            // It is known before the last piece has gone.
            done.send_replace(Some(blob.clone()));
            Ok(blob)
        })
    };
    let part = store.diff_id(layer).map_err(Error::store("push a layer"))?.to_string();
    let tell = {
        let (events, step, part) = (events.clone(), *step, part);
        move |current, done| {
            let part = part.clone();
            events.emit(step, What::Progress { part, current, total: None, done });
        }
    };
    let first = Mutex::new(Some(pieces));
    let body = |from| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first.filter(|_| from == 0) {
            Some(pieces) => live(pieces, tell.clone()),
            None => kept(exporter, made.clone(), from),
        }
    };
    let end = || made.borrow().as_ref().map(|blob: &Blob| (blob.digest.to_string(), blob.size));
    let sending = registries.client().push_growing(to, body, end);
    let (blob, sent) = futures::join!(compressing, sending);
    let blob = blob?;
    sent.map_err(Error::registry(format!("push the layer {} to `{to}`", blob.digest)))?;
    tell(blob.size, true);
    push::note_lender(store, to, &blob.digest.to_string());
    Ok((blob, true))
}

/// The pieces as they come.
fn live(pieces: Receiver<Bytes>, tell: impl Fn(u64, bool) + Send + 'static) -> Body {
    let start = (pieces, 0, tell);
    unfold(start, |(mut pieces, sent, tell)| async move {
        let piece = pieces.recv().await?;
        let sent = sent + piece.len() as u64;
        tell(sent, false);
        Some((Ok(piece), (pieces, sent, tell)))
    })
    .boxed()
}

/// What was kept, from a byte on, once all of it is there.
fn kept(exporter: &Exporter, mut made: watch::Receiver<Option<Blob>>, from: u64) -> Body {
    let store = exporter.store.clone();
    let stream = async move {
        let blob = made.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
        let blob = blob.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok::<_, io::Error>(push::file_part(store, blob.digest, from..blob.size))
    };
    futures::stream::once(stream).try_flatten().boxed()
}
