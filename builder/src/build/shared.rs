//! The caches that a build takes from others and makes for them.

use std::collections::HashSet;
use std::sync::Arc;

use rbuild_cache::Layer;
use rbuild_solver::Events;

use super::Build;
use super::run::Run;
use crate::export::Output;
use crate::lower::Lowered;
use crate::registries::Registries;
use crate::share::{self, CacheFrom, CachePlace, CacheTo, Early, Found};

/// The argument that asks for a cache in the image, as docker's builder does.
const INLINE: &str = "BUILDKIT_INLINE_CACHE";

impl Build {
    /// The registries, with the other places of the caches.
    pub(super) fn with_buckets(&self) -> Registries {
        self.cache_from.iter().fold(self.registries.clone(), |all, cache| match cache {
            CacheFrom::S3(cache) => all.bucket(cache.bucket.clone()),
            CacheFrom::Actions(cache) => all.actions(cache.service.clone()),
            _ => all,
        })
    }
}

impl Run {
    /// Reads the caches that results may come from. What a name stands for may be another image,
    /// with another cache, for each platform.
    pub(super) async fn import(&self) -> Vec<Found> {
        let build = &self.build;
        let mut all: Vec<Found> = Vec::new();
        for platform in build.platforms() {
            // They are shown once.
            let is_first = *platform == build.request.platform;
            let events = if is_first { self.events.clone() } else { Events::none() };
            let (store, registries, caches) = (&self.store, &build.registries, &build.cache_from);
            for found in share::import(store, registries, caches, platform, &events).await {
                if !all.contains(&found) {
                    all.push(found);
                }
            }
        }
        all
    }

    /// What sends layers to these caches while the build goes on.
    pub(super) fn early(&self, lowered: &Lowered, bases: &HashSet<Layer>) -> Option<Arc<Early>> {
        let exports = self.exports();
        if exports.iter().all(|cache| cache.place == CachePlace::Inline) {
            return None;
        }
        let targets: Vec<_> = lowered.targets.iter().map(|target| target.root).collect();
        let is_pushed = self.build.outputs.iter().any(Output::is_push);
        let pushed = if is_pushed { &*self.names } else { &[] };
        let place = (&self.store, &self.build.registries, &self.events);
        let graph = (&lowered.graph, &*targets);
        Some(Arc::new(Early::new(place, &exports, graph, bases.clone(), pushed)))
    }

    /// The caches that are made, that in the image among them if an argument asks for it.
    pub(super) fn exports(&self) -> Vec<CacheTo> {
        let mut caches = self.build.cache_to.clone();
        if self.build.is_on(INLINE) {
            caches.push(CacheTo::new(CachePlace::Inline));
        }
        caches
    }
}
