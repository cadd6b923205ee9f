//! The looks at blobs, layers, names and rows.

use std::fs;
use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::{Finding, Thing, Verified};
use crate::claims::{Held, Others};
use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};
use crate::images::ImageEntry;
use crate::item::Item;
use crate::layers::{DIFF_ID, RECORD};
use crate::snapshot::{Layer, Outputs, Record};
use crate::store::Store;

/// What a look at one layer found.
struct Looked {
    was_packed: bool,
    problem: Option<String>,
}

impl Store {
    pub(super) fn check(&self, others: &Others<'_>) -> Result<Verified> {
        let held = self.held(others)?;
        let items = self.items()?;
        let blobs: Vec<Digest> = items.iter().filter_map(blob).collect();
        let layers: Vec<LayerId> = items.iter().filter_map(layer).collect();
        let mut verified =
            Verified { blobs: blobs.len(), layers: layers.len(), ..Verified::default() };
        let read = blobs.par_iter().map(|blob| (Item::Blob(*blob), self.problem_of_blob(blob)));
        for (item, problem) in read.collect::<Vec<_>>() {
            verified.findings.extend(problem.map(|problem| about(item, problem, &held)));
        }
        let looked = layers.par_iter().map(|id| Ok((Item::Layer(*id), self.check_layer(*id)?)));
        for (item, Looked { was_packed, problem }) in looked.collect::<Result<Vec<_>>>()? {
            verified.packed += usize::from(was_packed);
            verified.findings.extend(problem.map(|problem| about(item, problem, &held)));
        }
        self.check_names(&mut verified)?;
        self.check_rows(&mut verified)?;
        Ok(verified)
    }

    fn problem_of_blob(&self, digest: &Digest) -> Option<String> {
        match self.digest_of_blob(digest) {
            // It went meanwhile.
            Err(Error::NoBlob(_)) => None,
            // A disk may be broken.
            Err(error) => Some(format!("it cannot be read: {}", with_causes(&error))),
            Ok(found) => (found != *digest).then(|| format!("its content has the digest {found}")),
        }
    }

    fn check_layer(&self, id: LayerId) -> Result<Looked> {
        let folder = self.layer_folder(id);
        let wrong = |problem: String| Ok(Looked { was_packed: false, problem: Some(problem) });
        if !folder.is_dir() {
            // It went meanwhile.
            return Ok(Looked { was_packed: false, problem: None });
        }
        if !folder.join("files").is_dir() {
            return wrong("it has no files".to_owned());
        }
        let record = match read(&folder.join(RECORD))? {
            None => None,
            Some(text) => match serde_json::from_str::<Record>(&text) {
                Err(error) => return wrong(format!("its record is damaged: {error}")),
                Ok(record) => match self.check_record(id, &record) {
                    Some(problem) => return wrong(problem),
                    None => Some(record),
                },
            },
        };
        let in_doubt = "the machine went down before the disk had it";
        let unread = || Looked {
            was_packed: false,
            problem: self.is_in_doubt(id).then(|| in_doubt.to_owned()),
        };
        let text = read(&folder.join(DIFF_ID))?;
        let Some(text) = text else { return Ok(unread()) };
        let Ok(digest) = text.trim_end().parse::<Digest>() else {
            return wrong("the note of its digest is damaged".to_owned());
        };
        if record.is_none() {
            // A pulled layer packs into other bytes than those that were pulled.
            return Ok(unread());
        }
        Ok(Looked { was_packed: true, problem: self.check_packed(id, digest) })
    }

    fn check_packed(&self, id: LayerId, digest: Digest) -> Option<String> {
        match self.packed_digest(id) {
            Ok((found, _)) if found == digest => None,
            Ok((found, _)) => {
                Some(format!("its files have the digest {found}, and had {digest} when made"))
            }
            // It went meanwhile.
            Err(Error::NoLayer(_)) => None,
            Err(error) => Some(format!("its files cannot be read: {}", with_causes(&error))),
        }
    }

    /// Whether a record names its layer, and layers that are here.
    fn check_record(&self, id: LayerId, record: &Record) -> Option<String> {
        let layers = || record.outputs.iter().flat_map(|output| output.layers.iter());
        if !layers().any(|layer| *layer == Layer::Made(id)) {
            return Some("its record is that of another layer".to_owned());
        }
        let is_gone =
            |layer: &&Layer| matches!(layer, Layer::Made(id) if !self.layer_folder(*id).is_dir());
        match layers().find(is_gone) {
            Some(Layer::Made(gone)) => {
                Some(format!("it stands on the layer {gone}, which is gone"))
            }
            _ => None,
        }
    }

    fn check_names(&self, verified: &mut Verified) -> Result<()> {
        for path in self.damaged_names()? {
            let problem = "it is damaged, or the file of another name".to_owned();
            let thing = Thing::Name(path);
            verified.findings.push(Finding { thing, problem, users: Vec::new(), aside: None });
        }
        let images = self.images()?;
        verified.names = images.len() + self.all_resolved()?.len();
        for (name, image) in images {
            for problem in self.check_image(&image) {
                let thing = Thing::Image(name.clone());
                verified.findings.push(Finding { thing, problem, users: Vec::new(), aside: None });
            }
        }
        Ok(())
    }

    /// What an image lacks that cannot be fetched again.
    fn check_image(&self, image: &ImageEntry) -> Vec<String> {
        let mut lacks = Vec::new();
        for config in image.all_configs().filter(|config| !self.blob_path(config).exists()) {
            lacks.push(format!("its config {config} is gone"));
        }
        for layer in image.all_layers() {
            match layer {
                Layer::Made(id) if !self.layer_folder(*id).is_dir() => {
                    lacks.push(format!("its layer {id} is gone"));
                }
                Layer::Pulled { diff_id, blob } => {
                    let is_unpacked =
                        self.linked(diff_id).is_some_and(|id| self.layer_folder(id).is_dir());
                    let is_here = is_unpacked || self.blob_path(&blob.digest).exists();
                    if !is_here && blob.from.is_none() {
                        lacks.push(format!("its layer {diff_id} is gone"));
                    }
                }
                Layer::Made(_) | Layer::Folder { .. } => {}
            }
        }
        lacks
    }

    /// Whether the rows of results say what the records beside the layers say.
    fn check_rows(&self, verified: &mut Verified) -> Result<()> {
        let rows = self.all_results()?;
        verified.rows = rows.len();
        let mut damaged = 0;
        let mut others = 0;
        for (_, outputs) in rows {
            match outputs {
                None => damaged += 1,
                Some(outputs) => others += usize::from(!self.agrees(&outputs)),
            }
        }
        let mut say = |problem: String| {
            let thing = Thing::Index;
            verified.findings.push(Finding { thing, problem, users: Vec::new(), aside: None });
        };
        if damaged > 0 {
            say(format!("{damaged} of its rows cannot be read"));
        }
        if others > 0 {
            say(format!("{others} of its rows say otherwise than the records beside the layers"));
        }
        Ok(())
    }

    /// Whether the record of the topmost layer gives these contents too; a result that another store
    /// knew may have other layers below. Where there is no record, or a layer is gone, nothing is
    /// said: the row is dropped when somebody asks for it.
    fn agrees(&self, outputs: &Outputs) -> bool {
        outputs.iter().all(|output| {
            let Some(top @ Layer::Made(_)) = output.layers.last() else {
                return true;
            };
            let Ok(Some(record)) = self.record(top) else {
                return true;
            };
            record.outputs.iter().any(|known| known.content == output.content)
        })
    }
}

fn blob(item: &Item) -> Option<Digest> {
    match item {
        Item::Blob(digest) => Some(*digest),
        _ => None,
    }
}

fn layer(item: &Item) -> Option<LayerId> {
    match item {
        Item::Layer(id) => Some(*id),
        _ => None,
    }
}

fn about(item: Item, problem: String, held: &Held) -> Finding {
    let users = held.users_of(&item);
    Finding { thing: Thing::Item(item), problem, users, aside: None }
}

/// The text of a small file that may be missing.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

fn with_causes(error: &Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
