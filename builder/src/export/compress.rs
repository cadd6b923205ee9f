//! Layers as compressed blobs: independent gzip members or zstd frames, so that all cores work on
//! one layer and the bytes do not depend on how many there are.

use std::io::{self, Write};

use rayon::prelude::*;
use rbuild_cache::{Blob, Layer, Store};

use super::manifest::{self, LAYER_GZIP, LAYER_PLAIN, LAYER_ZSTD};
use super::{Exporter, Packing};
use crate::error::{Error, Result};
use crate::worker::fetch::{self, blocking};

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// With gzip, at a level from 0 to 9.
    Gzip(u32),
    /// With zstd, at a level from 0 (the usual one) to 22.
    Zstd(i32),
    /// Not at all.
    None,
}

impl Default for Compression {
    /// As hard as gzip does where nothing is said.
    fn default() -> Self {
        Self::Gzip(flate2::Compression::default().level())
    }
}

impl Compression {
    /// OCI's name for a layer that is compressed so.
    fn media_type(self) -> &'static str {
        match self {
            Self::Gzip(_) => LAYER_GZIP,
            Self::Zstd(_) => LAYER_ZSTD,
            Self::None => LAYER_PLAIN,
        }
    }

    /// The name of the note beside a layer that says which blob it has become.
    fn note(self) -> String {
        match self {
            usual if usual == Self::default() => "blob.json".to_owned(),
            Self::Gzip(level) => format!("blob.gzip-{level}.json"),
            Self::Zstd(level) => format!("blob.zstd-{level}.json"),
            Self::None => "blob.plain.json".to_owned(),
        }
    }

    /// One member or frame.
    fn member(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(level) => {
                let out = Vec::with_capacity(bytes.len() / 2 + 64);
                let level = flate2::Compression::new(level);
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Zstd(level) => zstd::bulk::compress(bytes, level),
            Self::None => Ok(bytes.to_owned()),
        }
    }
}

/// The uncompressed bytes of one gzip member. Bigger ones compress hardly better.
const MEMBER: usize = 1 << 20;
/// Members that are compressed at the same time.
const AT_ONCE: usize = 8;

/// The compressed form of a layer. What was made here is compressed, if it was not before; what was
/// pulled stays as it is, and may be elsewhere, unless it has to be compressed otherwise.
pub(crate) async fn blob(exporter: &Exporter, layer: &Layer, packing: &Packing) -> Result<Blob> {
    let Exporter { store, registries, events, step } = exporter;
    match layer {
        Layer::Pulled { blob, .. } => match packing.compression {
            Some(how) if packing.force_compression => {
                fetch::blob(store, registries, blob, events, Some(*step)).await?;
                again(store, blob, how).await
            }
            _ => Ok(blob.clone()),
        },
        Layer::Made(_) => made(store, layer, packing.compression.unwrap_or_default()).await,
        Layer::Folder { name } => Err(Error::Usage(format!("the folder `{name}` is no layer"))),
    }
}

/// Compresses a layer that was made here, unless that was done before and its blob is still here.
pub(crate) async fn made(store: &Store, layer: &Layer, how: Compression) -> Result<Blob> {
    let (store, layer) = (store.clone(), layer.clone());
    blocking(move || compress(&store, &layer, how)).await
}

/// Compresses a layer otherwise than it was, from its blob, which is in the store.
pub(crate) async fn again(store: &Store, blob: &Blob, how: Compression) -> Result<Blob> {
    if manifest::oci_layer(&blob.media_type) == how.media_type() {
        return Ok(blob.clone());
    }
    let (store, blob) = (store.clone(), blob.clone());
    blocking(move || {
        let failed = |source| Error::Write { path: store.root().to_owned(), source };
        let file = store.open_blob(&blob.digest).map_err(Error::store("compress a layer"))?;
        let mut plain = fetch::plain(file, &blob.media_type).map_err(failed)?;
        let new = written(&store, how, |members| io::copy(&mut plain, members).map_err(failed))?;
        Ok(Blob { created: blob.created, ..new })
    })
    .await
}

fn compress(store: &Store, layer: &Layer, how: Compression) -> Result<Blob> {
    let (doing, note) = (|| Error::store("compress a layer"), how.note());
    let known: Option<Blob> = store.layer_note(layer, &note).map_err(doing())?;
    if let Some(blob) = known.filter(|blob| store.has_blob(&blob.digest)) {
        return Ok(blob);
    }
    let blob = written(store, how, |members| store.pack(layer, members).map_err(doing()))?;
    store.set_layer_note(layer, &note, &blob).map_err(doing())?;
    Ok(blob)
}

/// Writes what `fill` gives, compressed, as a blob.
fn written(
    store: &Store,
    how: Compression,
    fill: impl FnOnce(&mut dyn Write) -> Result<u64>,
) -> Result<Blob> {
    let doing = || Error::store("compress a layer");
    let mut writer = store.blob_writer(None).map_err(doing())?;
    let mut members = Members::new(&mut writer, how);
    fill(&mut members)?;
    members.finish().map_err(|source| Error::Write { path: store.root().to_owned(), source })?;
    let (digest, size) = writer.finish().map_err(doing())?;
    let media_type = how.media_type().to_owned();
    Ok(Blob { digest, size, media_type, from: None, created: None })
}

/// Compresses what is written to it, a few members at a time, in order.
struct Members<W> {
    out: W,
    how: Compression,
    pending: Vec<Vec<u8>>,
}

impl<W: Write> Members<W> {
    fn new(out: W, how: Compression) -> Self {
        Self { out, how, pending: vec![Vec::with_capacity(MEMBER)] }
    }

    fn flush_pending(&mut self) -> io::Result<()> {
        let how = self.how;
        let pending = std::mem::replace(&mut self.pending, vec![Vec::with_capacity(MEMBER)]);
        let compressed: Vec<io::Result<Vec<u8>>> = if pending.len() == 1 {
            pending.iter().map(|bytes| how.member(bytes)).collect()
        } else {
            pending.par_iter().map(|bytes| how.member(bytes)).collect()
        };
        compressed.into_iter().try_for_each(|bytes| self.out.write_all(&bytes?))
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush_pending()?;
        self.out.flush()
    }
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

    fn bytes() -> Vec<u8> {
        (0..3_500_000_u32).map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()[0]).collect()
    }

    #[test]
    fn members_read_back_as_one_stream() {
        let (bytes, store) = (bytes(), Store::temporary().unwrap());
        for how in [Compression::default(), Compression::Gzip(1), Compression::Zstd(3)] {
            let blob = written(&store, how, |members| {
                members.write_all(&bytes).unwrap();
                Ok(0)
            });
            let blob = blob.unwrap();
            assert!(blob.size < bytes.len() as u64, "{blob:?}");
            let mut back = Vec::new();
            let file = store.open_blob(&blob.digest).unwrap();
            fetch::plain(file, "").unwrap().read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{how:?}");
        }
    }

    #[tokio::test]
    async fn a_layer_is_compressed_in_more_than_one_way() {
        let store = Store::temporary().unwrap();
        let staged = store.stage().unwrap();
        std::fs::write(staged.files().join("file"), bytes()).unwrap();
        let layer = staged.commit(None).unwrap();
        let usual = made(&store, &layer, Compression::default()).await.unwrap();
        let zstd = made(&store, &layer, Compression::Zstd(3)).await.unwrap();
        assert_eq!(made(&store, &layer, Compression::Zstd(3)).await.unwrap(), zstd);
        let plain = again(&store, &usual, Compression::None).await.unwrap();
        assert_eq!(plain.digest, store.diff_id(&layer).unwrap());
        assert_eq!(again(&store, &plain, Compression::Zstd(3)).await.unwrap(), zstd);
        assert_eq!(again(&store, &zstd, Compression::Zstd(9)).await.unwrap(), zstd);
    }
}
