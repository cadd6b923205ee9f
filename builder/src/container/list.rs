//! What containers there are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use rbuild_cache::{Digest, Layer, Store};

use super::error::{Error, Result};
use super::folder::{Folder, Record};
use super::mounts::Source;
use super::names;
use super::network::{DEFAULT, all_exposed, shown};
use super::options::Network;
use super::remove::sweep;
use super::sandbox::argv;
use super::state::{State, Status};
use super::volumes;

/// One line of `ps`.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The id: 64 hexadecimal digits.
    pub id: String,
    /// The names, mostly one.
    pub names: Vec<String>,
    /// The image as it was asked for.
    pub image: String,
    /// The digest of the image's config.
    pub image_id: Digest,
    /// What runs, with its arguments, parted by spaces.
    pub command: String,
    /// When it was made.
    pub created: Timestamp,
    /// How it fares.
    pub state: State,
    /// The ports, as docker prints them.
    pub ports: String,
    /// The labels of the image and of the user.
    pub labels: BTreeMap<String, String>,
    /// The volumes by name, and the paths of the host.
    pub mounts: Vec<String>,
    /// Where all of these are in the container.
    pub targets: Vec<String>,
    /// The ports that the image and the user expose or publish, as `80/tcp`.
    pub exposed: Vec<String>,
    /// The names of the networks.
    pub networks: Vec<String>,
    /// The most memory that it may use, in bytes.
    pub memory: Option<u64>,
}

/// All containers, or those that run; the newest first.
///
/// What was left behind by a process that was killed is put right on the way.
pub fn list(store: &Store, all: bool) -> Result<Vec<Listed>> {
    let mut names = names::names(store)?;
    let mut listed = Vec::new();
    for folder in names::all(store)? {
        let Some(record) = folder.record()? else {
            sweep(store, &folder)?;
            continue;
        };
        let state = folder.state()?;
        if state.status == Status::Exited && record.options.remove {
            // Its monitor is removing it, or died before it could.
            sweep(store, &folder)?;
            continue;
        }
        if !all && !state.status.is_alive() {
            continue;
        }
        let options = &record.options;
        let mut labels = record.config.labels.clone();
        labels.extend(options.labels.clone());
        listed.push(Listed {
            names: names.remove(&folder.id).unwrap_or_default(),
            networks: networks(&folder, &record)?,
            id: folder.id,
            image_id: record.image,
            command: argv(&record).unwrap_or_default().join(" "),
            created: record.created,
            ports: ports(&record, &state),
            exposed: all_exposed(&record).iter().map(ToString::to_string).collect(),
            targets: options.mounts.iter().map(|mount| mount.target.clone()).collect(),
            memory: options.resources.memory,
            state,
            labels,
            mounts: options.mounts.iter().filter_map(|mount| source(&mount.source)).collect(),
            image: record.reference,
        });
    }
    listed.sort_by_key(|one| std::cmp::Reverse(one.created));
    Ok(listed)
}

/// The containers by id, and the images that they are made of.
pub fn images_in_use(store: &Store) -> Result<Vec<(String, Digest)>> {
    let mut used = Vec::new();
    for folder in names::all(store)? {
        if let Some(record) = folder.record()? {
            used.push((folder.id, record.image));
        }
    }
    Ok(used)
}

/// The containers by id, with the images that they are made of, and the layers of these.
pub(crate) fn layers_in_use(store: &Store) -> Result<Vec<(String, Digest, Vec<Layer>)>> {
    let mut used = Vec::new();
    for folder in names::all(store)? {
        if let Some(record) = folder.record()? {
            let mut layers = record.layers;
            layers.extend(volumes::layers(&record.options).flatten().cloned());
            used.push((folder.id, record.image, layers));
        }
    }
    Ok(used)
}

/// How many bytes a container has written to its files.
pub fn size(store: &Store, name: &str) -> Result<u64> {
    let files = names::find(store, name)?.files();
    size_of(&files).map_err(Error::file("measure", files))
}

/// How many bytes a container has written, and how many it has with its image.
pub fn sizes(store: &Store, name: &str) -> Result<(u64, u64)> {
    let own = size(store, name)?;
    let record = names::find(store, name)?.record()?;
    let mut all = own;
    for layer in record.into_iter().flat_map(|record| record.layers) {
        all += store.layer_size(&layer)?.unwrap_or_default();
    }
    Ok((own, all))
}

/// The bytes of the files in a folder.
pub(crate) fn size_of(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // A container that runs may remove files meanwhile.
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) if metadata.is_file() => size += metadata.size(),
                _ => {}
            }
        }
    }
    Ok(size)
}

fn source(source: &Source) -> Option<String> {
    match source {
        Source::Bind(bind) => Some(bind.path.display().to_string()),
        Source::Volume(volume) => volume.name.clone(),
        Source::Image(image) => Some(image.reference.clone()),
        Source::Tmpfs(_) => None,
    }
}

/// The ports as docker prints them. Those of a container in another's network are the other's.
fn ports(record: &Record, state: &State) -> String {
    let has_own = matches!(record.options.network, Network::Bridge | Network::Named(_));
    if has_own && state.status.is_alive() {
        shown(&state.published, &all_exposed(record))
    } else {
        String::new()
    }
}

fn networks(folder: &Folder, record: &Record) -> Result<Vec<String>> {
    Ok(match &record.options.network {
        Network::Bridge | Network::Named(_) => {
            let connections = folder.connections(record)?.into_iter();
            connections.map(|connection| connection.network).collect()
        }
        other => vec![network(other)],
    })
}

/// The name of a network, as docker has it.
pub(crate) fn network(network: &Network) -> String {
    match network {
        Network::Bridge => DEFAULT.to_owned(),
        Network::Host => "host".to_owned(),
        Network::None => "none".to_owned(),
        Network::Container(name) => format!("container:{name}"),
        Network::Named(name) => name.clone(),
    }
}
