//! A hard cap on what the store takes, enforced while a build runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rbuild_cache::{Claim, Layer, Store, Wish};

use super::{containers, size};

/// How much of the cap a collection leaves, in tenths: not every step is to collect.
const LEFT: u64 = 9;

/// The most bytes that the store may take, for one build.
#[derive(Debug)]
pub(crate) struct Cap {
    max: u64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What the store takes, as far as this process knows.
    total: Option<u64>,
    /// Whether it was told that no more can be removed.
    was_told: bool,
}

impl Cap {
    pub(crate) fn new(max: u64) -> Self {
        Self { max, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the store takes more by something that was not measured.
    pub(crate) fn forget(&self) {
        self.known().total = None;
    }

    /// Enforces the cap after a step has made a layer; returns what the user should know.
    ///
    /// A build goes on though its cap cannot be kept.
    pub(crate) fn after(&self, store: &Store, layer: &Layer) -> Vec<String> {
        match self.enforce_after(store, layer) {
            Ok(warnings) => warnings,
            Err(error) => vec![failed(&error)],
        }
    }

    fn enforce_after(&self, store: &Store, layer: &Layer) -> rbuild_cache::Result<Vec<String>> {
        let mut warnings = Vec::new();
        let bytes = store.layer_bytes(layer)?;
        if bytes > self.max {
            warnings.push(format!(
                "this step's layer takes {}, more than the {} that the store may take",
                size(bytes),
                size(self.max)
            ));
        }
        let mut known = self.known();
        let total = match known.total {
            // Others may have added to it.
            Some(total) if store.is_alone()? => total + bytes,
            Some(_) => store.weigh()?,
            None => {
                store.sweep()?;
                store.weigh()?
            }
        };
        warnings.extend(self.enforce(store, total, &mut known, None)?);
        Ok(warnings)
    }

    /// Enforces the cap once a build uses nothing any more but the image that it has made.
    pub(crate) fn at_end(&self, store: &Store, made: Option<&Claim>) -> Option<String> {
        let mut known = self.known();
        let enforced = store.weigh().and_then(|total| self.enforce(store, total, &mut known, made));
        enforced.unwrap_or_else(|error| Some(failed(&error)))
    }

    fn enforce(
        &self,
        store: &Store,
        total: u64,
        known: &mut Known,
        made: Option<&Claim>,
    ) -> rbuild_cache::Result<Option<String>> {
        known.total = Some(total);
        if total <= self.max {
            return Ok(None);
        }
        let containers = containers(store);
        let others =
            || containers().map(|claims| claims.into_iter().chain(made.cloned()).collect());
        let keep = self.max / 10 * LEFT;
        let wish =
            Wish { over: self.max, keep, matches: &|_| true, unnamed: true, others: &others };
        let left = store.collect(&wish)?.left;
        let total = left.total();
        known.total = Some(total);
        if total <= self.max || known.was_told {
            return Ok(None);
        }
        known.was_told = true;
        Ok(Some(format!(
            "the store takes {}, more than the {} that it may take: builds that run, images and \
             containers use the rest (`rbuild cache du` lists it)",
            size(total),
            size(self.max)
        )))
    }
}

fn failed(error: &rbuild_cache::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("the cap on the store could not be kept: {error}: {cause}")
}
