//! Layers as compressed blobs, each compressed once.

mod members;

use std::io::{self, Write};

use rbuild_cache::{Blob, Digest, Hashed, Layer, Lock, Store};
use rbuild_registry::Reference;
use serde::{Deserialize, Serialize};

use super::manifest::{self, LAYER_GZIP, LAYER_PLAIN, LAYER_ZSTD};
use super::stream::{self, Tap};
use super::{Exporter, Packing};
use crate::error::{Error, Result};
use crate::worker::fetch::{self, blocking};
use members::Members;

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

/// The level of gzip where nothing is said. Libdeflate's 1 makes layers about 3 % larger than
/// zlib's 6 does, in less than half of its time.
const USUAL: u32 = 1;

impl Default for Compression {
    /// With gzip, in the time that fits a push.
    fn default() -> Self {
        Self::Gzip(USUAL)
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
}

/// A layer as it goes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    pub(crate) blob: Blob,
    /// The digest of its tar where that is not the layer's own.
    pub(crate) diff_id: Option<Digest>,
    /// Whether it is in the registry that it goes to already.
    #[serde(skip)]
    pub(crate) is_sent: bool,
}

/// The compressed form of a layer. What was made here is compressed, if it was not before; what was
/// pulled stays as it is, and may be elsewhere, unless it has to be compressed otherwise.
///
/// With `to`, what must be compressed is sent there at the same time. With `newest`, in seconds since 1970, no file of the layer is younger.
pub(crate) async fn outgoing(
    exporter: &Exporter,
    layer: &Layer,
    packing: &Packing,
    newest: Option<i64>,
    to: Option<&Reference>,
) -> Result<Outgoing> {
    let mut is_sent = false;
    let Exporter { store, registries, events, step } = exporter;
    let how = packing.compression.unwrap_or_default();
    let blob = match (layer, newest) {
        (Layer::Folder { name }, _) => {
            return Err(Error::Usage(format!("the folder `{name}` is no layer")));
        }
        (_, Some(newest)) => {
            fetch::layers(store, registries, &missing(store, layer), events, Some(*step)).await?;
            let (store, layer) = (store.clone(), layer.clone());
            return blocking(move || rewrite(&store, &layer, how, newest)).await;
        }
        (Layer::Pulled { blob, .. }, None) => match packing.compression {
            Some(how) if packing.force_compression => {
                fetch::blob(store, registries, blob, events, Some(*step)).await?;
                again(store, blob, how).await?
            }
            _ => blob.clone(),
        },
        (Layer::Made(_), None) => match to {
            None => made(store, layer, how).await?,
            Some(to) => {
                let (blob, sent) = stream::made(exporter, to, layer, how).await?;
                is_sent = sent;
                blob
            }
        },
    };
    Ok(Outgoing { blob, diff_id: None, is_sent })
}

/// The layer, where its files are not here.
fn missing(store: &Store, layer: &Layer) -> Vec<Layer> {
    store.layer_path(layer).is_none().then(|| layer.clone()).into_iter().collect()
}

/// Compresses a layer that was made here, unless that was done before and its blob is still here.
pub(crate) async fn made(store: &Store, layer: &Layer, how: Compression) -> Result<Blob> {
    let _alone = alone(store, layer, how).await?;
    let (store, layer) = (store.clone(), layer.clone());
    blocking(move || compress(&store, &layer, how, &mut Tap::closed())).await
}

/// The same on other threads than those that a build needs.
pub(crate) async fn made_aside(
    store: &Store,
    layer: &Layer,
    how: Compression,
    threads: &rayon::ThreadPool,
) -> Result<Blob> {
    let _alone = alone(store, layer, how).await?;
    let (store, layer) = (store.clone(), layer.clone());
    let (give, given) = tokio::sync::oneshot::channel();
    threads.spawn(move || drop(give.send(compress(&store, &layer, how, &mut Tap::closed()))));
    given.await.unwrap_or_else(|_| {
        let reason = "a thread that compresses has ended".to_owned();
        Err(Error::Malformed { what: "a layer".to_owned(), reason })
    })
}

/// Waits until nobody compresses the same layer in the same way.
pub(super) async fn alone(store: &Store, layer: &Layer, how: Compression) -> Result<Lock> {
    fetch::lock(store, format!("compress {layer:?} {}", how.note())).await
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
        let mut tap = Tap::closed();
        let new = written(&store, how, &mut tap, |members| {
            io::copy(&mut plain, members).map_err(failed)
        })?;
        Ok(Blob { created: blob.created, ..new })
    })
    .await
}

/// What a layer has become when it was compressed so; its blob may be gone.
pub(super) fn known(store: &Store, layer: &Layer, how: Compression) -> Result<Option<Blob>> {
    store.layer_note(layer, &how.note()).map_err(Error::store("compress a layer"))
}

/// Compresses a layer, unless that was done before; what becomes of it goes to the tap as well.
pub(super) fn compress(
    store: &Store,
    layer: &Layer,
    how: Compression,
    tap: &mut Tap,
) -> Result<Blob> {
    let doing = || Error::store("compress a layer");
    if let Some(blob) = known(store, layer, how)?.filter(|blob| store.has_blob(&blob.digest)) {
        return Ok(blob);
    }
    let pack = |members: &mut dyn Write| store.pack(layer, members).map_err(doing());
    let blob = written(store, how, tap, pack)?;
    store.set_layer_note(layer, &how.note(), &blob).map_err(doing())?;
    Ok(blob)
}

/// Compresses a layer none of whose files is younger than `newest`, unless that was done before.
fn rewrite(store: &Store, layer: &Layer, how: Compression, newest: i64) -> Result<Outgoing> {
    let doing = || Error::store("compress a layer");
    let note = format!("until-{newest}.{}", how.note());
    let known: Option<Outgoing> = store.layer_note(layer, &note).map_err(doing())?;
    if let Some(known) = known.filter(|known| store.has_blob(&known.blob.digest)) {
        return Ok(known);
    }
    let mut diff_id = None;
    let blob = written(store, how, &mut Tap::closed(), |members| {
        let mut hashed = Hashed::new(members);
        let size = store.pack_until(layer, Some(newest), &mut hashed).map_err(doing())?;
        diff_id = Some(hashed.digest());
        Ok(size)
    })?;
    let outgoing = Outgoing { blob, diff_id, is_sent: false };
    store.set_layer_note(layer, &note, &outgoing).map_err(doing())?;
    Ok(outgoing)
}

/// Writes to the store, and to whoever sends it at the same time.
struct Both<'a, W> {
    kept: &'a mut W,
    tap: &'a mut Tap,
}

impl<W: Write> Write for Both<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.kept.write(bytes)?;
        self.tap.write_all(&bytes[..length])?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.kept.flush()
    }
}

/// Writes what `fill` gives, compressed, as a blob.
fn written(
    store: &Store,
    how: Compression,
    tap: &mut Tap,
    fill: impl FnOnce(&mut dyn Write) -> Result<u64>,
) -> Result<Blob> {
    let doing = || Error::store("compress a layer");
    let mut writer = store.blob_writer(None).map_err(doing())?;
    let mut members = Members::new(Both { kept: &mut writer, tap }, how);
    fill(&mut members)?;
    members.finish().map_err(|source| Error::Write { path: store.root().to_owned(), source })?;
    let (digest, size) = writer.finish().map_err(doing())?;
    let media_type = how.media_type().to_owned();
    Ok(Blob { digest, size, media_type, from: None, created: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        (0..3_500_000_u32).map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()[0]).collect()
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
    #[test]
    fn a_layer_goes_out_without_young_files() {
        let store = Store::temporary().unwrap();
        let staged = store.stage().unwrap();
        std::fs::write(staged.files().join("file"), "x").unwrap();
        let layer = staged.commit(None).unwrap();
        let how = Compression::default();
        let old = rewrite(&store, &layer, how, 1_000).unwrap();
        assert_eq!(rewrite(&store, &layer, how, 1_000).unwrap(), old);
        assert_ne!(rewrite(&store, &layer, how, 2_000).unwrap(), old);
        let plain = fetch::plain(store.open_blob(&old.blob.digest).unwrap(), "").unwrap();
        let mut archive = tar::Archive::new(plain);
        let times =
            archive.entries().unwrap().map(|entry| entry.unwrap().header().mtime().unwrap());
        assert_eq!(times.collect::<Vec<_>>(), [1_000]);
        let plain = rewrite(&store, &layer, Compression::None, 1_000).unwrap();
        assert_eq!(Some(plain.blob.digest), old.diff_id);
        assert_ne!(old.diff_id, Some(store.diff_id(&layer).unwrap()));
    }
}
