//! What must stay, and for whom.

use std::collections::HashMap;

use crate::error::Result;
use crate::id::Digest;
use crate::images::{ImageEntry, UNNAMED};
use crate::item::Item;
use crate::snapshot::Layer;
use crate::store::Store;

/// Somebody for whom things stay in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum User {
    /// The image with this name.
    Image(String),
    /// A reference that a registry was asked for: what it stood for then.
    Reference(String),
    /// The container with this id.
    Container(String),
    /// A process that is at work.
    Process {
        /// Its id; 0 when it has not said so yet.
        pid: u32,
        /// Since when, in seconds since 1970.
        since: i64,
    },
}

impl User {
    /// Whether it is an image without a name.
    pub fn is_unnamed(&self) -> bool {
        matches!(self, Self::Image(name) if name.starts_with(UNNAMED))
    }
}

/// What one user needs.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who needs it.
    pub user: User,
    /// Layers, wherever they are.
    pub layers: Vec<Layer>,
    /// Blobs beside those of the layers.
    pub blobs: Vec<Digest>,
}

/// The claims of users that this crate does not know, such as containers.
pub type Others<'a> = dyn Fn() -> Result<Vec<Claim>> + 'a;

/// All that must stay.
#[derive(Debug, Default)]
pub(crate) struct Held {
    users: HashMap<Item, Vec<User>>,
    /// Those who need everything, since it is not known what they use.
    everything: Vec<User>,
}

impl Held {
    /// For whom an item stays.
    pub(crate) fn users_of(&self, item: &Item) -> Vec<User> {
        let known = self.users.get(item).into_iter().flatten();
        known.chain(&self.everything).cloned().collect()
    }

    /// Whether an item stays, though images without a name give way where `unnamed` says so.
    pub(crate) fn holds(&self, item: &Item, unnamed: bool) -> bool {
        let mut users = self.users.get(item).into_iter().flatten();
        !self.everything.is_empty() || users.any(|user| !(unnamed && user.is_unnamed()))
    }

    fn add(&mut self, item: Item, user: &User) {
        let users = self.users.entry(item).or_default();
        if !users.contains(user) {
            users.push(user.clone());
        }
    }
}

impl Store {
    /// Everything that somebody needs.
    ///
    /// The order matters: what a process makes gets a name before the process leaves, and a
    /// container of an image is there before the image may lose its name. So whoever is asked
    /// later knows of what an earlier one has let go.
    pub(crate) fn held(&self, others: &Others<'_>) -> Result<Held> {
        let mut held = Held::default();
        for process in self.users()? {
            let user = User::Process { pid: process.pid, since: process.since };
            match process.items {
                Some(items) => items.into_iter().for_each(|item| held.add(item, &user)),
                None => held.everything.push(user),
            }
        }
        let named = |(name, image): (String, ImageEntry)| {
            let (layers, blobs) =
                (image.all_layers().cloned().collect(), image.documents().collect());
            Claim { user: User::Image(name), layers, blobs }
        };
        // The layers of what was only asked for can be fetched again; its config is not worth it.
        let resolved = |claim: Claim| match claim {
            Claim { user: User::Image(name), blobs, .. } => {
                Claim { user: User::Reference(name), layers: Vec::new(), blobs }
            }
            other => other,
        };
        let images = self.images()?.into_iter().map(named);
        let references = self.all_resolved()?.into_iter().map(named).map(resolved);
        for claim in images.chain(references).chain(others()?) {
            for item in claim.layers.iter().flat_map(|layer| self.items_of(layer)) {
                held.add(item, &claim.user);
            }
            for blob in &claim.blobs {
                held.add(Item::Blob(*blob), &claim.user);
            }
        }
        Ok(held)
    }

    /// What a layer is in the store: its files, and its compressed form where it was pulled.
    pub(crate) fn items_of(&self, layer: &Layer) -> Vec<Item> {
        match layer {
            Layer::Made(id) => vec![Item::Layer(*id)],
            Layer::Pulled { diff_id, blob } => {
                let files = self.linked(diff_id).map(Item::Layer);
                files.into_iter().chain([Item::Blob(blob.digest)]).collect()
            }
            Layer::Folder { .. } => Vec::new(),
        }
    }
}
