//! OCI image layouts and archives for `docker load`: one tar, or a folder.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use rbuild_cache::{Blob, Digest, Layer, Store};
use rbuild_solver::{Events, StepId, What};
use serde_json::json;

use super::{Destination, Exporter, Finished, compress, manifest};
use crate::error::{Error, Result};
use crate::registries::Registries;
use crate::source;
use crate::worker::fetch::blocking;

/// The kinds of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// An OCI image layout.
    Oci,
    /// The same with the `manifest.json` that `docker load` reads.
    Docker,
}

/// One image of an archive, with its layers compressed.
#[derive(Debug, Clone)]
struct Entry {
    config: Vec<u8>,
    manifest: Vec<u8>,
    names: Vec<String>,
    layers: Vec<Blob>,
}

/// Writes the result of a build.
pub(super) async fn export(
    exporter: &Exporter,
    image: &Finished,
    to: &Destination,
    tar: bool,
    format: Format,
) -> Result<Digest> {
    let Exporter { store, registries, events, step } = exporter;
    let one = (image.config_bytes.clone(), image.names.clone(), image.snapshot.layers.to_vec());
    let digests = write(store, registries, vec![one], to, tar, format, events, *step).await?;
    Ok(digests[0])
}

/// Writes images (config, names, layers) as one archive; gives the digests of their manifests.
#[expect(clippy::too_many_arguments, reason = "an archive is written from two places only")]
pub(crate) async fn write(
    store: &Store,
    registries: &Registries,
    images: Vec<(Vec<u8>, Vec<String>, Vec<Layer>)>,
    to: &Destination,
    tar: bool,
    format: Format,
    events: &Events,
    step: StepId,
) -> Result<Vec<Digest>> {
    let tell = |done| {
        let part = "sending tarball".to_owned();
        events.emit(step, What::Progress { part, current: 0, total: None, done });
    };
    let mut entries = Vec::with_capacity(images.len());
    for (config, names, layers) in images {
        let blob = |layer| compress::blob(store, registries, layer, events, Some(step));
        let layers = try_join_all(layers.iter().map(blob)).await?;
        let manifest = manifest::manifest(&config, &layers);
        entries.push(Entry { config, manifest, names, layers });
    }
    let digests = entries.iter().map(|entry| manifest::digest(&entry.manifest)).collect();
    tell(false);
    let (store, to) = (store.clone(), to.clone());
    blocking(move || put(&store, &entries, &to, tar, format)).await?;
    tell(true);
    Ok(digests)
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
        Destination::Path(folder) if !tar => {
            put_all(store, entries, format, &mut Folder(folder)).map_err(failed)
        }
        Destination::Path(file) => {
            let aside = file.with_extension(format!("{}.partial", std::process::id()));
            let written = File::create(&aside).and_then(|out| {
                let mut tar = Tar(tar::Builder::new(BufWriter::new(out)));
                put_all(store, entries, format, &mut tar)?;
                tar.0.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
                fs::rename(&aside, file)
            });
            if written.is_err() {
                let _ = fs::remove_file(&aside);
            }
            written.map_err(failed)
        }
        Destination::Stdout => {
            let mut tar = Tar(tar::Builder::new(io::stdout().lock()));
            put_all(store, entries, format, &mut tar).map_err(failed)?;
            tar.0.into_inner().and_then(|mut out| out.flush()).map_err(failed)
        }
    }
}

/// Where the files of a layout go.
trait Sink {
    fn put(&mut self, name: &str, size: u64, contents: &mut dyn Read) -> io::Result<()>;
}

struct Folder<'a>(&'a Path);

impl Sink for Folder<'_> {
    fn put(&mut self, name: &str, _: u64, contents: &mut dyn Read) -> io::Result<()> {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap_or(self.0))?;
        let aside = path.with_extension("partial");
        io::copy(contents, &mut File::create(&aside)?)?;
        fs::rename(aside, path)
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
    for entry in entries {
        for layer in &entry.layers {
            let mut file = store.open_blob(&layer.digest).map_err(io::Error::other)?;
            blob(sink, layer.digest, layer.size, &mut file)?;
        }
        for document in [&entry.config, &entry.manifest] {
            let size = document.len() as u64;
            blob(sink, manifest::digest(document), size, &mut document.as_slice())?;
        }
    }
    let mut document = |name: &str, value: serde_json::Value| {
        let bytes = value.to_string().into_bytes();
        sink.put(name, bytes.len() as u64, &mut bytes.as_slice())
    };
    document("index.json", index(entries))?;
    document("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }))?;
    if format == Format::Docker {
        document("manifest.json", entries.iter().map(docker_entry).collect())?;
    }
    Ok(())
}

fn index(entries: &[Entry]) -> serde_json::Value {
    let manifests = entries.iter().flat_map(|entry| {
        let one = |name: Option<&String>| {
            let mut annotations = serde_json::Map::new();
            if let Some(name) = name {
                let tag = source::parse(name).ok().and_then(|name| name.tag().map(str::to_owned));
                annotations.insert("io.containerd.image.name".to_owned(), json!(name));
                let tag = tag.unwrap_or_else(|| "latest".to_owned());
                annotations.insert("org.opencontainers.image.ref.name".to_owned(), json!(tag));
            }
            let mut descriptor = json!({
                "mediaType": manifest::MANIFEST,
                "digest": manifest::digest(&entry.manifest),
                "size": entry.manifest.len(),
            });
            if !annotations.is_empty() {
                descriptor["annotations"] = annotations.into();
            }
            descriptor
        };
        if entry.names.is_empty() {
            vec![one(None)]
        } else {
            entry.names.iter().map(|name| one(Some(name))).collect()
        }
    });
    json!({
        "schemaVersion": 2,
        "mediaType": manifest::INDEX,
        "manifests": manifests.collect::<Vec<_>>(),
    })
}

fn docker_entry(entry: &Entry) -> serde_json::Value {
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let familiar = |name: &String| {
        source::parse(name).map_or_else(|_| name.clone(), |reference| reference.familiar())
    };
    json!({
        "Config": path(&manifest::digest(&entry.config)),
        "RepoTags": entry.names.iter().map(familiar).collect::<Vec<_>>(),
        "Layers": entry.layers.iter().map(|layer| path(&layer.digest)).collect::<Vec<_>>(),
    })
}
