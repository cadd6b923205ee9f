//! Results that another store knows, looked up after one's own.
//!
//! They lie in memory beside the store for as long as a build runs. What is found among them is
//! written into the index, so that the next build finds it without asking.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::{ContentId, Key};
use crate::portable::{Portable, PortableLayer};
use crate::snapshot::{Layer, Outputs, Snapshot};

/// The most layers that a tree from elsewhere may have. The kernel stacks fewer.
const DEEPEST: usize = 1000;

/// A document of another store, ready to be asked.
#[derive(Debug)]
pub struct Imported {
    /// The layers that can be had.
    layers: Vec<Option<Layer>>,
    /// As in the document; `None` for what is not whole, or leads nowhere.
    chains: Vec<Option<(Option<usize>, usize)>>,
    results: Vec<Vec<(ContentId, Option<usize>)>>,
    keys: HashMap<Key, usize>,
    parts: HashMap<(ContentId, Key), ContentId>,
    /// Keys whose results turned out to be gone.
    forgotten: Mutex<HashSet<Key>>,
}

impl Imported {
    /// Takes a document, whose layers `find` gives. A result that has a layer which can't be had,
    /// and whatever in the document makes no sense, is left out.
    pub fn new(document: Portable, find: impl Fn(&PortableLayer) -> Option<Layer>) -> Self {
        let layers: Vec<_> = document.layers.iter().map(find).collect();
        let mut chains: Vec<Option<(Option<usize>, usize)>> = Vec::new();
        let mut depths: Vec<usize> = Vec::new();
        for (below, layer) in document.chains {
            // Only what came before can be stood on: there are no circles.
            let ground = below.map_or(Some(0), |below| {
                chains.get(below).copied().flatten().map(|_| depths[below])
            });
            let has_layer = layers.get(layer).is_some_and(Option::is_some);
            let depth = ground.filter(|depth| has_layer && *depth < DEEPEST).map(|depth| depth + 1);
            chains.push(depth.map(|_| (below, layer)));
            depths.push(depth.unwrap_or_default());
        }
        let (mut results, mut keys) = (Vec::new(), HashMap::new());
        for result in document.results {
            let is_whole = |(_, chain): &(ContentId, Option<usize>)| {
                chain.is_none_or(|chain| chains.get(chain).is_some_and(Option::is_some))
            };
            if result.outputs.is_empty() || !result.outputs.iter().all(is_whole) {
                continue;
            }
            for key in result.keys {
                keys.entry(key).or_insert(results.len());
            }
            results.push(result.outputs);
        }
        let parts = document.parts.into_iter();
        let parts = parts.map(|(whole, select, part)| ((whole, select), part)).collect();
        Self { layers, chains, results, keys, parts, forgotten: Mutex::default() }
    }

    /// How many results can be found.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// The result of a key.
    pub(crate) fn find(&self, key: &Key) -> Option<Outputs> {
        let result = &self.results[*self.keys.get(key)?];
        if self.forgotten().contains(key) {
            return None;
        }
        let output = |(content, chain): &(ContentId, Option<usize>)| {
            Some(Snapshot { content: *content, layers: self.chain(*chain)?.into() })
        };
        result.iter().map(output).collect()
    }

    /// The digest of a part.
    pub(crate) fn part(&self, whole: ContentId, select: Key) -> Option<ContentId> {
        self.parts.get(&(whole, select)).copied()
    }

    /// Finds a result no more.
    pub(crate) fn forget(&self, key: Key) {
        self.forgotten().insert(key);
    }

    fn forgotten(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chain(&self, mut top: Option<usize>) -> Option<Vec<Layer>> {
        let mut layers = Vec::new();
        while let Some(chain) = top {
            let (below, layer) = self.chains[chain]?;
            layers.push(self.layers[layer].clone()?);
            top = below;
        }
        layers.reverse();
        Some(layers)
    }
}

#[cfg(test)]
mod tests;
