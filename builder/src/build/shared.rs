//! The caches that a build takes from others and makes for them.

use super::Build;
use super::run::Run;
use crate::registries::Registries;
use crate::share::{self, CacheFrom, CachePlace, CacheTo, Found};

/// The argument that asks for a cache in the image, as docker's builder does.
const INLINE: &str = "BUILDKIT_INLINE_CACHE";

impl Build {
    /// The registries, with the buckets of the caches.
    pub(super) fn with_buckets(&self) -> Registries {
        let read = self.cache_from.iter().filter_map(|cache| match cache {
            CacheFrom::S3(cache) => Some(&cache.bucket),
            _ => None,
        });
        read.fold(self.registries.clone(), |all, bucket| all.bucket(bucket.clone()))
    }
}

impl Run {
    /// Reads the caches that results may come from.
    pub(super) async fn import(&self) -> Vec<Found> {
        let build = &self.build;
        let platform = &build.request.platform;
        share::import(&self.store, &build.registries, &build.cache_from, platform, &self.events)
            .await
    }

    /// The caches that are made, that in the image among them if an argument asks for it.
    pub(super) fn exports(&self) -> Vec<CacheTo> {
        let mut caches = self.build.cache_to.clone();
        let is_on =
            |value: &String| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True");
        if self.build.request.arguments.get(INLINE).is_some_and(is_on) {
            caches.push(CacheTo::new(CachePlace::Inline));
        }
        caches
    }
}
