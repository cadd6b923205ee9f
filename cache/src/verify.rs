//! Whether everything in the store is as it was written.

mod check;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;

use crate::claims::{Others, User};
use crate::collect::COLLECTING;
use crate::error::{Error, Result};
use crate::images::UNNAMED;
use crate::item::Item;
use crate::store::{Store, random_name};

/// Where damaged things are set aside.
const DAMAGED: &str = "damaged";

/// What a look at the whole store found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// How many blobs were read.
    pub blobs: usize,
    /// How many layers were looked at.
    pub layers: usize,
    /// How many of these were packed again and compared with their digest.
    pub packed: usize,
    /// How many names of images and references were looked at.
    pub names: usize,
    /// How many rows of the index were looked at.
    pub rows: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// With what.
    pub thing: Thing,
    /// What: `its content has the digest sha256:…`.
    pub problem: String,
    /// Who needs the thing.
    pub users: Vec<User>,
    /// Where it was set aside, if it was.
    pub aside: Option<PathBuf>,
}

/// What something can be wrong with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Thing {
    /// A blob or a layer.
    Item(Item),
    /// The file of an image's name, or of a reference.
    Name(PathBuf),
    /// An image, by its name.
    Image(String),
    /// The index of results.
    Index,
}

impl Store {
    /// Looks at everything in the store: reads every blob, packs every layer whose digest is known,
    /// and compares names, records and rows with what is there.
    ///
    /// Nothing is collected meanwhile. Where it is to `repair`, what is damaged is set aside, where
    /// nobody finds it and it is made or fetched again, and the index is made again.
    pub fn verify(&self, others: &Others<'_>, repair: bool) -> Result<Verified> {
        let _alone = self.lock_wait(COLLECTING, |_| {})?;
        let mut verified = self.check(others)?;
        if repair {
            self.add_stranded(others, &mut verified)?;
            self.repair(&mut verified)?;
        }
        Ok(verified)
    }

    /// Adds what stands on layers that are about to be set aside: nobody would find it any more.
    fn add_stranded(&self, others: &Others<'_>, verified: &mut Verified) -> Result<()> {
        let usage = self.usage(others, false)?;
        let mut stranded: Vec<Finding> = Vec::new();
        for finding in &verified.findings {
            let Thing::Item(item) = &finding.thing else { continue };
            for above in usage.above(item) {
                let thing = Thing::Item(above.item.clone());
                let mut known = verified.findings.iter().chain(&stranded);
                if !known.any(|known| known.thing == thing) {
                    let problem = format!("it stands on {item}");
                    let users = above.users.clone();
                    stranded.push(Finding { thing, problem, users, aside: None });
                }
            }
        }
        verified.findings.extend(stranded);
        Ok(())
    }

    fn repair(&self, verified: &mut Verified) -> Result<()> {
        let mut is_index_wrong = false;
        for finding in &mut verified.findings {
            match &finding.thing {
                Thing::Item(item) => {
                    let aside = self.damaged(&self.item_path(item))?;
                    if let (Item::Layer(id), Some(aside)) = (item, &aside) {
                        let text = fs::read_to_string(aside.join(crate::layers::DIFF_ID)).ok();
                        if let Some(diff_id) = text.and_then(|text| text.trim_end().parse().ok()) {
                            self.unlink_diff_id(&diff_id, *id)?;
                        }
                    }
                    finding.aside = aside;
                }
                Thing::Name(path) => finding.aside = self.damaged(path)?,
                Thing::Index => is_index_wrong = true,
                // Nobody asked for this one by a name. One with a name is the user's to remove.
                Thing::Image(name) if name.starts_with(UNNAMED) => {
                    self.untag(name)?;
                }
                Thing::Image(_) => {}
            }
        }
        if is_index_wrong {
            self.rebuild_index()?;
        }
        Ok(())
    }

    /// Moves something to the damaged things; none when it is gone.
    pub(crate) fn damaged(&self, path: &std::path::Path) -> Result<Option<PathBuf>> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut aside = self.folder(DAMAGED)?.join(&name);
        if aside.exists() {
            aside = aside.with_file_name(format!("{name}-{}", random_name()?));
        }
        match fs::rename(path, &aside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            moved => moved.map(|()| Some(aside)).map_err(Error::file("set aside", path)),
        }
    }
}
