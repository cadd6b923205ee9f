//! What is known of steps as one document, for those who share it with other stores.
//!
//! It names results by their keys and layers by their digests. It holds no file and no text of a
//! step, in which values of variables may stand. The layers themselves travel beside it.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::id::{ContentId, Digest, Key};
use crate::snapshot::{Layer, Outputs, Snapshot};

/// The version of the document that this code writes and reads.
const VERSION: u32 = 1;

/// Results of steps and digests of parts, without the layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Portable {
    #[serde(deserialize_with = "known_version")]
    version: u32,
    #[serde(default)]
    pub(crate) layers: Vec<PortableLayer>,
    /// Each is a layer, by its number, on a chain of a lower number.
    #[serde(default)]
    pub(crate) chains: Vec<(Option<usize>, usize)>,
    #[serde(default)]
    pub(crate) results: Vec<PortableResult>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<PartRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<PortableMount>,
}

/// The digest of a part of a tree: of which tree, which part, and what it holds.
pub type PartRow = (ContentId, Key, ContentId);

/// A layer by its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortableLayer {
    /// The sha256 of the uncompressed tar.
    pub diff_id: Digest,
    /// The sha256 of the compressed bytes that travel along. There are none of a layer that
    /// belongs to an image which the build stands on: whoever builds it has that image as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Digest>,
    /// When the step that made it ended, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
}

/// The folder of a cache mount, as a tar in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableMount {
    /// The name of the folder.
    pub name: String,
    /// The pieces, in order; each is compressed by itself.
    pub chunks: Vec<Digest>,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortableResult {
    pub(crate) keys: Vec<Key>,
    /// What each output holds, and the chain of its layers.
    pub(crate) outputs: Vec<(ContentId, Option<usize>)>,
}

fn known_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        VERSION => Ok(VERSION),
        other => Err(de::Error::custom(format_args!("version {other} is not known"))),
    }
}

impl Portable {
    /// Reads the document.
    ///
    /// # Errors
    /// What is no such document, or one of another version.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Writes the document.
    ///
    /// # Panics
    /// Never: the document has string keys only.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a document of texts and numbers is always json")
    }

    /// The layers that the results are made of.
    pub fn layers(&self) -> &[PortableLayer] {
        &self.layers
    }

    /// The cache mounts.
    pub fn mounts(&self) -> &[PortableMount] {
        &self.mounts
    }

    /// Whether nothing can be found in it.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty() && self.mounts.is_empty()
    }
}

/// Writes a document, result by result.
#[derive(Debug)]
pub struct Packer {
    document: Portable,
    layers: HashMap<Layer, usize>,
    chains: HashMap<(Option<usize>, usize), usize>,
}

impl Default for Packer {
    fn default() -> Self {
        let document = Portable {
            version: VERSION,
            layers: Vec::new(),
            chains: Vec::new(),
            results: Vec::new(),
            parts: Vec::new(),
            mounts: Vec::new(),
        };
        Self { document, layers: HashMap::new(), chains: HashMap::new() }
    }
}

impl Packer {
    /// Adds the result of a step, under the keys that find it; `names` tells how its layers are
    /// called. A result of which a layer has no name is left out.
    pub fn add(
        &mut self,
        keys: Vec<Key>,
        outputs: &Outputs,
        names: &HashMap<Layer, PortableLayer>,
    ) {
        let has_names = |output: &Snapshot| output.layers.iter().all(|it| names.contains_key(it));
        if !outputs.iter().all(has_names) {
            return;
        }
        let outputs = outputs.iter().map(|output| (output.content, self.chain(output, names)));
        let outputs = outputs.collect();
        self.document.results.push(PortableResult { keys, outputs });
    }

    /// Adds the digest of a part.
    pub fn add_part(&mut self, row: PartRow) {
        self.document.parts.push(row);
    }

    /// Adds a cache mount.
    pub fn add_mount(&mut self, mount: PortableMount) {
        self.document.mounts.push(mount);
    }

    /// Ends the document.
    pub fn finish(mut self) -> Portable {
        self.document.parts.sort_unstable();
        self.document.parts.dedup();
        self.document
    }

    /// The number of the chain of an output's layers.
    fn chain(&mut self, output: &Snapshot, names: &HashMap<Layer, PortableLayer>) -> Option<usize> {
        let mut below = None;
        for layer in output.layers.iter() {
            let layers = &mut self.document.layers;
            let number = *self.layers.entry(layer.clone()).or_insert_with(|| {
                layers.push(names[layer].clone());
                layers.len() - 1
            });
            let chains = &mut self.document.chains;
            below = Some(*self.chains.entry((below, number)).or_insert_with(|| {
                chains.push((below, number));
                chains.len() - 1
            }));
        }
        below
    }
}
