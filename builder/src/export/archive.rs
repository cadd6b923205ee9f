//! OCI image layouts and archives for `docker load`: one tar, or a folder.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use futures::future::try_join_all;
use rbuild_cache::{Digest, Store};
use rbuild_solver::What;
use serde_json::json;

use super::content::{Content, Document, Packed};
use super::manifest::{self, Annotations};
use super::{Destination, Exported, Exporter, Finished, Packing, packed};
use crate::error::{Error, Result};
use crate::layout::{NAME, WHOLE_NAME, Writer};
use crate::source;
use crate::worker::fetch::{self, blocking};

/// The kinds of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// An OCI image layout.
    Oci,
    /// The same with the `manifest.json` that `docker load` reads.
    Docker,
}

/// Where an archive goes, and what it is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Archive<'a> {
    pub(crate) to: &'a Destination,
    /// Whether it is one tar, and no folder.
    pub(crate) tar: bool,
    pub(crate) format: Format,
}

/// One image of an archive, with its names.
pub(super) type Entry = (Content, Vec<String>);

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

/// Writes the result of a build.
pub(super) async fn export(
    exporter: &Exporter,
    images: &[Finished],
    names: &[String],
    packing: &Packing,
    archive: Archive<'_>,
) -> Result<Exported> {
    let one = (images.to_vec(), names.to_vec());
    let exported = write(exporter, vec![one], packing, archive).await?;
    exported.into_iter().next().ok_or_else(|| Error::Usage("there is no image".to_owned()))
}

/// Writes images, each with its platforms and names, as one archive.
pub(crate) async fn write(
    exporter: &Exporter,
    images: Vec<(Vec<Finished>, Vec<String>)>,
    packing: &Packing,
    archive: Archive<'_>,
) -> Result<Vec<Exported>> {
    let mut entries = Vec::with_capacity(images.len());
    for (platforms, names) in images {
        entries.push(entry(exporter, &platforms, names, packing).await?);
    }
    let exported = entries.iter().map(|(content, _)| Exported::of(content)).collect();
    let (store, to) = (exporter.store.clone(), archive.to.clone());
    let Archive { tar, format, .. } = archive;
    sending(exporter, move || put(&store, &entries, &to, tar, format)).await?;
    Ok(exported)
}

/// Does what sends an archive, and says so.
pub(super) async fn sending(
    exporter: &Exporter,
    send: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    let tell = |done| {
        let part = "sending tarball".to_owned();
        let what = What::Progress { part, current: 0, total: None, done };
        exporter.events.emit(exporter.step, what);
    };
    tell(false);
    blocking(send).await?;
    tell(true);
    Ok(())
}

/// What an image is, all of whose layers are in the store.
pub(super) async fn entry(
    exporter: &Exporter,
    platforms: &[Finished],
    names: Vec<String>,
    packing: &Packing,
) -> Result<Entry> {
    let packed = platforms.iter().map(|image| here(exporter, image, packing));
    let packed = try_join_all(packed).await?;
    Ok((Content::new(packed, &names, packing.form())?, names))
}

/// The image of one platform, all of whose layers are in the store.
async fn here(exporter: &Exporter, image: &Finished, packing: &Packing) -> Result<Packed> {
    let Exporter { store, registries, events, step } = exporter;
    let packed = packed(exporter, image, packing, None).await?;
    let fetch = |blob| fetch::blob(store, registries, blob, events, Some(*step));
    try_join_all(packed.layers.iter().map(fetch)).await?;
    Ok(packed)
}

fn put(
    store: &Store,
    entries: &[Entry],
    to: &Destination,
    tar: bool,
    format: Format,
) -> Result<()> {
    let path = match to {
        Destination::Path(path) => path.clone(),
        Destination::Stdout => PathBuf::from("-"),
    };
    let failed = |source| Error::Write { path: path.clone(), source };
    match to {
        Destination::Path(folder) if !tar => Writer::open(folder)
            .and_then(|mut folder| put_all(store, entries, format, &mut folder))
            .map_err(failed),
        Destination::Path(file) => {
            let aside = file.with_extension(format!("{}.partial", std::process::id()));
            let written = File::create(&aside).and_then(|mut out| {
                stream(store, entries, format, &mut out)?;
                fs::rename(&aside, file)
            });
            if written.is_err() {
                let _ = fs::remove_file(&aside);
            }
            written.map_err(failed)
        }
        Destination::Stdout => {
            stream(store, entries, format, &mut io::stdout().lock()).map_err(failed)
        }
    }
}

/// Writes images as one tar.
pub(super) fn stream(
    store: &Store,
    entries: &[Entry],
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut tar = Tar(tar::Builder::new(BufWriter::with_capacity(BUFFER, out)));
    put_all(store, entries, format, &mut tar)?;
    tar.0.into_inner()?.flush()
}

/// Where the files of a layout go.
trait Sink {
    fn put(&mut self, name: &str, size: u64, contents: &mut dyn Read) -> io::Result<()>;

    /// Ends a layout by an index that names its images.
    fn name(&mut self, index: &[u8]) -> io::Result<()>;
}

impl Sink for Writer {
    fn put(&mut self, name: &str, size: u64, contents: &mut dyn Read) -> io::Result<()> {
        Self::put(self, name, size, contents)
    }

    fn name(&mut self, index: &[u8]) -> io::Result<()> {
        let index: serde_json::Value = serde_json::from_slice(index)?;
        let descriptors = index["manifests"].as_array().cloned().unwrap_or_default();
        Self::name(self, descriptors).map(drop)
    }
}

struct Tar<W: Write>(tar::Builder<W>);

impl<W: Write> Sink for Tar<W> {
    fn put(&mut self, name: &str, size: u64, contents: &mut dyn Read) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.0.append_data(&mut header, name, contents)
    }

    fn name(&mut self, index: &[u8]) -> io::Result<()> {
        self.put("index.json", index.len() as u64, &mut &*index)?;
        let version = br#"{"imageLayoutVersion":"1.0.0"}"#;
        self.put("oci-layout", version.len() as u64, &mut &version[..])
    }
}

fn put_all(
    store: &Store,
    entries: &[Entry],
    format: Format,
    sink: &mut dyn Sink,
) -> io::Result<()> {
    let mut written = std::collections::BTreeSet::new();
    let mut blob = |sink: &mut dyn Sink, digest: Digest, size: u64, contents: &mut dyn Read| {
        if written.insert(digest) {
            sink.put(&format!("blobs/sha256/{}", digest.hex()), size, contents)?;
        }
        Ok::<(), io::Error>(())
    };
    for (content, _) in entries {
        for layer in content.images.iter().flat_map(|image| &image.layers) {
            let mut file = store.open_blob(&layer.digest).map_err(io::Error::other)?;
            blob(sink, layer.digest, layer.size, &mut file)?;
        }
        for Document { descriptor, bytes } in &content.documents {
            blob(sink, descriptor.digest, descriptor.size, &mut bytes.as_slice())?;
        }
    }
    sink.name(&index(entries))?;
    if format == Format::Docker {
        let images: serde_json::Value = entries.iter().flat_map(docker_entries).collect();
        let images = images.to_string();
        sink.put("manifest.json", images.len() as u64, &mut images.as_bytes())?;
    }
    Ok(())
}

/// The index of the layout: each image under each of its names.
fn index(entries: &[Entry]) -> Vec<u8> {
    let named = |(content, names): &Entry| {
        let one = |name: Option<&String>| {
            let mut descriptor = content.root.clone();
            if let Some(name) = name {
                let tag = source::parse(name).ok().and_then(|name| name.tag().map(str::to_owned));
                let tag = tag.unwrap_or_else(|| "latest".to_owned());
                let names = [(WHOLE_NAME, name.clone()), (NAME, tag)];
                let names = names.map(|(key, value)| (key.to_owned(), value));
                descriptor.annotations.extend(names);
            }
            descriptor
        };
        match names.as_slice() {
            [] => vec![one(None)],
            names => names.iter().map(|name| one(Some(name))).collect(),
        }
    };
    let manifests: Vec<_> = entries.iter().flat_map(named).collect();
    manifest::index(&manifests, &Annotations::new(), false)
}

/// The images as `docker load` wants them listed. It knows no indexes: of several platforms the
/// first has the names.
fn docker_entries((content, names): &Entry) -> Vec<serde_json::Value> {
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let familiar = |name: &String| {
        source::parse(name).map_or_else(|_| name.clone(), |reference| reference.familiar())
    };
    let one = |(number, image): (usize, &Packed)| {
        let names = names.iter().filter(|_| number == 0);
        json!({
            "Config": path(&image.id()),
            "RepoTags": names.map(familiar).collect::<Vec<_>>(),
            "Layers": image.layers.iter().map(|layer| path(&layer.digest)).collect::<Vec<_>>(),
        })
    };
    content.images.iter().enumerate().map(one).collect()
}
