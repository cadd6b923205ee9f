//! Layers as compressed blobs: gzip of independent members, so that all cores work on one layer
//! and the bytes do not depend on how many there are.

use std::io::{self, Write};

use rayon::prelude::*;
use rbuild_cache::{Blob, Layer, Store};

use super::manifest::LAYER_GZIP;
use crate::error::{Error, Result};
use crate::registries::Registries;
use crate::worker::fetch::{self, blocking};

/// The uncompressed bytes of one gzip member. Bigger ones compress hardly better.
const MEMBER: usize = 1 << 20;
/// Members that are compressed at the same time.
const AT_ONCE: usize = 8;

/// Sees to it that the compressed form of a layer is in the store, and describes it.
pub(crate) async fn blob(
    store: &Store,
    registries: &Registries,
    layer: &Layer,
    events: &rbuild_solver::Events,
    step: Option<rbuild_solver::StepId>,
) -> Result<Blob> {
    match layer {
        Layer::Pulled { blob, .. } => {
            fetch::blob(store, registries, blob, events, step).await?;
            Ok(blob.clone())
        }
        Layer::Made(_) => {
            let (store, layer) = (store.clone(), layer.clone());
            blocking(move || compress(&store, &layer)).await
        }
        Layer::Folder { name } => Err(Error::Usage(format!("the folder `{name}` is no layer"))),
    }
}

/// Compresses a layer, unless that was done before and its blob is still here.
fn compress(store: &Store, layer: &Layer) -> Result<Blob> {
    let doing = || Error::store("compress a layer");
    let known: Option<Blob> = store.layer_note(layer, "blob.json").map_err(doing())?;
    if let Some(blob) = known.filter(|blob| store.has_blob(&blob.digest)) {
        return Ok(blob);
    }
    let mut writer = store.blob_writer(None).map_err(doing())?;
    let mut members = Members::new(&mut writer);
    store.pack(layer, &mut members).map_err(doing())?;
    members.finish().map_err(|source| Error::Write { path: store.root().to_owned(), source })?;
    let (digest, size) = writer.finish().map_err(doing())?;
    let blob = Blob { digest, size, media_type: LAYER_GZIP.to_owned(), from: None, created: None };
    store.set_layer_note(layer, "blob.json", &blob).map_err(doing())?;
    Ok(blob)
}

/// Compresses what is written to it, a few members at a time, in order.
struct Members<W> {
    out: W,
    pending: Vec<Vec<u8>>,
}

impl<W: Write> Members<W> {
    fn new(out: W) -> Self {
        Self { out, pending: vec![Vec::with_capacity(MEMBER)] }
    }

    fn flush_pending(&mut self) -> io::Result<()> {
        let pending = std::mem::replace(&mut self.pending, vec![Vec::with_capacity(MEMBER)]);
        let compressed: Vec<io::Result<Vec<u8>>> = if pending.len() == 1 {
            pending.iter().map(|bytes| member(bytes)).collect()
        } else {
            pending.par_iter().map(|bytes| member(bytes)).collect()
        };
        compressed.into_iter().try_for_each(|bytes| self.out.write_all(&bytes?))
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush_pending()?;
        self.out.flush()
    }
}

fn member(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let out = Vec::with_capacity(bytes.len() / 2 + 64);
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

impl<W: Write> Write for Members<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let last = self.pending.last_mut().expect("there is always a member being filled");
        let taken = bytes.len().min(MEMBER - last.len());
        last.extend_from_slice(&bytes[..taken]);
        if last.len() == MEMBER {
            if self.pending.len() == AT_ONCE {
                self.flush_pending()?;
            } else {
                self.pending.push(Vec::with_capacity(MEMBER));
            }
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn members_read_back_as_one_stream() {
        let bytes: Vec<u8> =
            (0..3_500_000_u32).map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()[0]).collect();
        let mut out = Vec::new();
        let mut members = Members::new(&mut out);
        members.write_all(&bytes).unwrap();
        members.finish().unwrap();
        let mut back = Vec::new();
        flate2::read::MultiGzDecoder::new(&out[..]).read_to_end(&mut back).unwrap();
        assert!(back == bytes);
        assert!(out.len() < bytes.len());
    }
}
