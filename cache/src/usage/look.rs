//! A look at all that is in the store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Entry, Usage};
use crate::blobs::BLOBS;
use crate::claims::{Held, Others};
use crate::earlier::DIGESTS;
use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};
use crate::item::{CACHE_MOUNTS, Item, REPOSITORIES, STAT_CACHES};
use crate::layers::{DIFF_ID, LAYERS, RECORD};
use crate::partial::PARTIAL;
use crate::records::COMPRESSED;
use crate::remove::list;
use crate::snapshot::{Blob, Layer, Record};
use crate::store::{Store, read_json};
use crate::weight::{Seen, weigh};

/// The folders of the store whose contents are told one by one, or are no cache but the user's.
const APART: [&str; 8] =
    [LAYERS, "blobs", PARTIAL, CACHE_MOUNTS, REPOSITORIES, STAT_CACHES, "containers", "volumes"];

/// How the name of a cache mount ends that is being made.
const UNFINISHED: &str = ".new";

/// What is known of the places from which layers came.
#[derive(Default)]
struct Origins {
    /// For each diff id, the compressed form and the reference.
    layers: HashMap<Digest, Blob>,
    /// For each compressed form, its diff id and the reference.
    blobs: HashMap<Digest, (Digest, Option<String>)>,
    /// For each compressed form of a layer that was made here, what the layer is.
    compressed: HashMap<Digest, String>,
    /// Manifests and configs, and of what.
    documents: HashMap<Digest, String>,
}

impl Origins {
    fn add(&mut self, layers: &[Layer]) {
        for layer in layers {
            if let Layer::Pulled { diff_id, blob } = layer {
                self.layers.entry(*diff_id).or_insert_with(|| blob.clone());
                self.blobs.entry(blob.digest).or_insert_with(|| (*diff_id, blob.from.clone()));
            }
        }
    }
}

/// A layer's folder as it was read.
struct Read {
    id: LayerId,
    record: Option<Record>,
    compressed: Option<Blob>,
}

impl Store {
    /// Looks at everything in the store.
    ///
    /// `others` are the claims of users that the store does not know. Where it is to be `exact`,
    /// files that layers share count once, for which large layers are read.
    pub fn usage(&self, others: &Others<'_>, exact: bool) -> Result<Usage> {
        let held = self.held(others)?;
        let items = self.items()?;
        let layers: Vec<LayerId> = items.iter().filter_map(layer_of).collect();
        let read = layers.par_iter().map(|id| self.read_layer(*id));
        let read: Vec<Read> = read.collect::<Result<_>>()?;
        let origins = self.origins(&read)?;
        let records: HashMap<LayerId, Read> =
            read.into_iter().map(|layer| (layer.id, layer)).collect();
        let entry = |item: &Item| self.entry(item, &records, &origins, &held);
        let mut entries: Vec<Entry> = items.par_iter().map(entry).collect::<Result<_>>()?;
        entries.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.item.cmp(&b.item)));
        if exact {
            self.count_shared_once(&mut entries)?;
        }
        let mut usage = Usage { entries, rest: self.rest()? };
        for place in usage.choose(&|_| true, false, u64::MAX) {
            usage.entries[place].is_reclaimable = true;
        }
        Ok(usage)
    }

    /// All items, in no order.
    pub(crate) fn items(&self) -> Result<Vec<Item>> {
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let of = |folder: &str, item: &dyn Fn(String) -> Option<Item>| -> Result<Vec<Item>> {
            let paths = list(&self.root().join(folder))?;
            Ok(paths.iter().filter_map(|path| name(path)).filter_map(item).collect())
        };
        let mut items = of(LAYERS, &|name| name.parse().ok().map(Item::Layer))?;
        items.extend(of(BLOBS, &|name| format!("sha256:{name}").parse().ok().map(Item::Blob))?);
        let partial = |name: String| format!("sha256:{name}").parse().ok().map(Item::Partial);
        items.extend(of(PARTIAL, &partial)?);
        // What is being seeded is no cache yet.
        let mount = |name: String| {
            let is_unfinished = name.ends_with(UNFINISHED);
            Some(Item::CacheMount(name)).filter(|_| !is_unfinished)
        };
        items.extend(of(CACHE_MOUNTS, &mount)?);
        items.extend(of(REPOSITORIES, &|name| Some(Item::Repository(name)))?);
        items.extend(of(STAT_CACHES, &|name| Some(Item::StatCache(name)))?);
        Ok(items)
    }

    /// The bytes of all else: the index, names, notes, what is being written.
    pub(crate) fn rest(&self) -> Result<u64> {
        let mut seen = Seen::new();
        let is_apart = |path: &PathBuf| APART.iter().any(|name| path.ends_with(name));
        let all = list(self.root())?.into_iter().filter(|path| !is_apart(path));
        all.map(|path| weigh(&path, &mut seen).map_err(Error::file("measure", &path))).sum()
    }

    fn read_layer(&self, id: LayerId) -> Result<Read> {
        let folder = self.layer_folder(id);
        let record = read_json(&folder.join(RECORD))?;
        Ok(Read { id, record, compressed: read_json(&folder.join(COMPRESSED))? })
    }

    fn origins(&self, layers: &[Read]) -> Result<Origins> {
        let mut origins = Origins::default();
        for (name, image) in self.images()?.into_iter().chain(self.all_resolved()?) {
            let platforms = image.platforms.iter().map(|one| &one.layers);
            platforms.chain([&image.layers]).for_each(|layers| origins.add(layers));
            for manifest in image.documents() {
                origins.documents.insert(manifest, format!("manifest of {name}"));
            }
            for config in image.all_configs() {
                origins.documents.insert(config, format!("config of {name}"));
            }
        }
        for Read { record, compressed, .. } in layers {
            let outputs = record.iter().flat_map(|record| record.outputs.iter());
            outputs.for_each(|output| origins.add(&output.layers));
            if let Some(blob) = compressed {
                let of = record.as_ref().map_or("a layer", |record| record.description.as_str());
                origins.compressed.insert(blob.digest, format!("compressed form of {of}"));
            }
        }
        Ok(origins)
    }

    fn entry(
        &self,
        item: &Item,
        layers: &HashMap<LayerId, Read>,
        origins: &Origins,
        held: &Held,
    ) -> Result<Entry> {
        let users = held.users_of(item);
        let in_use = users.iter().any(|user| matches!(user, crate::User::Process { .. }));
        let bytes = self.weight(item, in_use)?;
        let last_used = self.last_use(item);
        let mut entry = Entry {
            item: item.clone(),
            bytes,
            created: last_used,
            last_used,
            cost_ms: 0,
            description: String::new(),
            is_pulled: false,
            below: Vec::new(),
            is_stranded: false,
            users,
            is_reclaimable: false,
            keys: Vec::new(),
        };
        match item {
            Item::Layer(id) => match layers.get(id).and_then(|layer| layer.record.as_ref()) {
                Some(record) => describe_made(&mut entry, *id, record, layers),
                None => self.describe_pulled(&mut entry, *id, origins),
            },
            Item::Blob(digest) => self.describe_blob(&mut entry, *digest, origins),
            Item::Partial(_) => {
                "part of a layer that has come".clone_into(&mut entry.description);
                entry.is_pulled = true;
                entry.cost_ms = download(bytes);
            }
            Item::CacheMount(name) => {
                let known: Option<String> = read_json(&self.mount_note(name))?;
                entry.description = known.unwrap_or_else(|| "cache mount".to_owned());
                entry.cost_ms = download(bytes);
            }
            Item::Repository(_) => {
                let address = origin_of(&self.item_path(item).join("config"));
                entry.description = format!("git repository {}", address.unwrap_or_default());
                entry.cost_ms = download(bytes);
            }
            Item::StatCache(_) => {
                "digests of a folder's files".clone_into(&mut entry.description);
                entry.cost_ms = bytes / 1000;
            }
        }
        Ok(entry)
    }

    fn describe_pulled(&self, entry: &mut Entry, id: LayerId, origins: &Origins) {
        let text = std::fs::read_to_string(self.layer_folder(id).join(DIFF_ID)).ok();
        let diff_id: Option<Digest> = text.and_then(|text| text.trim_end().parse().ok());
        let blob = diff_id.and_then(|diff_id| origins.layers.get(&diff_id));
        entry.is_pulled = diff_id.is_some();
        entry.description = match blob.and_then(|blob| blob.from.as_deref()) {
            Some(from) => format!("pulled from {from}"),
            None => "layer of an image".to_owned(),
        };
        let is_compressed_here = match blob {
            Some(blob) => self.blob_path(&blob.digest).exists(),
            None => false,
        };
        entry.cost_ms =
            if is_compressed_here { entry.bytes / UNPACK } else { download(entry.bytes) };
    }

    fn describe_blob(&self, entry: &mut Entry, digest: Digest, origins: &Origins) {
        if let Some((diff_id, from)) = origins.blobs.get(&digest) {
            let is_unpacked = self.linked(diff_id).is_some_and(|id| self.layer_folder(id).exists());
            entry.is_pulled = true;
            entry.description = match from {
                Some(from) => format!("compressed layer of {from}"),
                None => "compressed layer of an image".to_owned(),
            };
            // Whoever has the files needs this only to send it elsewhere.
            entry.cost_ms = if is_unpacked { 0 } else { download(entry.bytes) };
        } else if let Some(text) = origins.compressed.get(&digest) {
            entry.description.clone_from(text);
            entry.cost_ms = entry.bytes / COMPRESS;
        } else {
            let known = origins.documents.get(&digest);
            entry.description = known.cloned().unwrap_or_else(|| "blob".to_owned());
            entry.is_pulled = known.is_some();
            entry.cost_ms = download(entry.bytes);
        }
    }

    /// Counts files that layers share for the oldest of them.
    fn count_shared_once(&self, entries: &mut [Entry]) -> Result<()> {
        let mut seen = Seen::new();
        for entry in entries {
            // Only layers with such a note share files: see `earlier`.
            if self.item_path(&entry.item).join(DIGESTS).exists() {
                entry.bytes = self.measure(&entry.item, &mut seen)?;
            }
        }
        Ok(())
    }
}

/// How many bytes are unpacked and compressed in a millisecond, about.
const UNPACK: u64 = 100_000;
const COMPRESS: u64 = 20_000;

/// About how many milliseconds a download takes.
fn download(bytes: u64) -> u64 {
    200 + bytes / 10_000
}

fn layer_of(item: &Item) -> Option<LayerId> {
    match item {
        Item::Layer(id) => Some(*id),
        _ => None,
    }
}

fn describe_made(entry: &mut Entry, id: LayerId, record: &Record, layers: &HashMap<LayerId, Read>) {
    for output in record.outputs.iter() {
        let made = output.layers.iter().filter_map(|layer| match layer {
            Layer::Made(id) => Some(*id),
            _ => None,
        });
        let below: Vec<LayerId> = made.take_while(|other| *other != id).collect();
        let is_part = output.layers.contains(&Layer::Made(id));
        for other in below.into_iter().filter(|_| is_part) {
            entry.is_stranded |= !layers.contains_key(&other);
            entry.below.push(Item::Layer(other));
        }
    }
    entry.created = record.created;
    entry.cost_ms = record.cost_ms;
    entry.description.clone_from(&record.description);
    entry.keys = vec![record.definition, record.content];
}

/// The address in the settings of a bare repository.
fn origin_of(config: &Path) -> Option<String> {
    let text = std::fs::read_to_string(config).ok()?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("url = "))?;
    Some(line.to_owned())
}
