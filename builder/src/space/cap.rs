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

/// What stays besides that which somebody uses.
#[derive(Debug, Clone, Copy)]
enum Spared<'a> {
    None,
    /// What a build has made.
    Claim(&'a Claim),
    /// Images without a name.
    Unnamed,
}

impl Spared<'_> {
    fn claim(self) -> Option<Claim> {
        match self {
            Self::Claim(claim) => Some(claim.clone()),
            _ => None,
        }
    }
}

/// Enforces a cap of so many bytes once images have come into a store; returns what the user should
/// know if it cannot be kept.
pub fn keep_cap(store: &Store, max: u64) -> Option<String> {
    Cap::new(max).after_images(store).unwrap_or_else(|error| Some(failed(&error)))
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
        warnings.extend(self.enforce(store, total, &mut known, Spared::None)?);
        Ok(warnings)
    }

    /// Enforces the cap once a build uses nothing any more but the image that it has made.
    pub(crate) fn at_end(&self, store: &Store, made: Option<&Claim>) -> Option<String> {
        let mut known = self.known();
        let spared = made.map_or(Spared::None, Spared::Claim);
        let enforced =
            store.weigh().and_then(|total| self.enforce(store, total, &mut known, spared));
        enforced.unwrap_or_else(|error| Some(failed(&error)))
    }

    /// The same once images have come; those without a name stay, one of them may be what came.
    fn after_images(&self, store: &Store) -> rbuild_cache::Result<Option<String>> {
        let total = store.weigh()?;
        self.enforce(store, total, &mut self.known(), Spared::Unnamed)
    }

    fn enforce(
        &self,
        store: &Store,
        total: u64,
        known: &mut Known,
        spared: Spared<'_>,
    ) -> rbuild_cache::Result<Option<String>> {
        known.total = Some(total);
        if total <= self.max {
            return Ok(None);
        }
        let containers = containers(store);
        let others =
            || containers().map(|claims| claims.into_iter().chain(spared.claim()).collect());
        let keep = self.max / 10 * LEFT;
        let unnamed = !matches!(spared, Spared::Unnamed);
        let wish = Wish { over: self.max, keep, matches: &|_| true, unnamed, others: &others };
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
