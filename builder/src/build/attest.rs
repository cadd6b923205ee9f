//! What a build attests of the images that it has made.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use jiff::Timestamp;
use rbuild_cache::{Blob, Layer};
use rbuild_solver::op::Source;
use rbuild_solver::{Graph, VertexId, What};

use super::DockerfileSource;
use super::run::Run;
use super::steps::begin;
use crate::attest::provenance::{self, Dependency, Made};
use crate::attest::{Attestation, Detail, Provenance, purl, spdx};
use crate::context::ContextSource;
use crate::diff;
use crate::dockerfile::Span;
use crate::error::{Error, Result};
use crate::export::{Finished, Output, OutputKind};
use crate::images;
use crate::layout;
use crate::lower::{Request, Wanted};
use crate::packages;
use crate::platform::Platform;
use crate::remote::{GitUrl, git_address};
use crate::source::ResolvedImage;
use crate::view;
use crate::worker::fetch::blocking;

/// How the image of a platform was made, as the predicate of SLSA's provenance.
pub(super) type Told = (Platform, Vec<u8>);

/// What the images of a build were made from, in the order of their platforms.
pub(super) struct Lineage<'a> {
    pub(super) graph: &'a Graph,
    pub(super) roots: &'a [VertexId],
    pub(super) story: &'a Story,
}

/// What is known of a build beside what it makes.
#[derive(Debug)]
pub(super) struct Story {
    /// An id that no other run of a build has.
    pub(super) invocation: String,
    pub(super) started: Timestamp,
    /// What was asked, for one platform after the other.
    pub(super) requests: Vec<Request>,
    pub(super) resolved: BTreeMap<Wanted, ResolvedImage>,
    /// Where steps stand in the Dockerfile, by their place.
    pub(super) spans: BTreeMap<String, Span>,
}

impl Story {
    /// The story of a build that has begun just now.
    pub(super) fn begin() -> Self {
        // It tells runs apart, and guards nothing: zeros do where the system has no other.
        let mut bytes = [0_u8; 16];
        let _ = getrandom::fill(&mut bytes);
        Self {
            invocation: diff::hex(&bytes),
            started: Timestamp::now(),
            requests: Vec::new(),
            resolved: BTreeMap::new(),
            spans: BTreeMap::new(),
        }
    }
}

impl Run {
    /// Adds what is to be attested to the images, and gives what the caller is told of how each of
    /// them was made.
    pub(super) async fn attest(
        &self,
        images: &mut [Finished],
        made: &Lineage<'_>,
        outputs: &[Output],
    ) -> Result<Vec<Told>> {
        let told = self.build.told.map(|detail| self.tell(images, made, detail));
        let wanted = &self.build.attest;
        if wanted.provenance.is_none() && !wanted.sbom {
            return Ok(told.unwrap_or_default());
        }
        let step = begin(&self.events, "attesting".to_owned());
        let stays =
            |output: &Output| matches!(output.kind, OutputKind::Store | OutputKind::CacheOnly);
        if outputs.iter().all(stays) {
            let text = "the store has no place for attestations: they go with an image that \
                        leaves it, as with `--push` or `-o type=oci`";
            self.events.emit(step, What::Warning { text: text.to_owned() });
            self.events.emit(step, What::Finished);
            return Ok(told.unwrap_or_default());
        }
        for (index, image) in images.iter_mut().enumerate() {
            if wanted.sbom {
                let bill = self.bill(image).await?;
                image.attestations.push(bill);
            }
            if let Some(wanted) = &wanted.provenance {
                image.attestations.push(self.provenance(made, index, wanted));
            }
        }
        self.events.emit(step, What::Finished);
        Ok(told.unwrap_or_default())
    }

    fn tell(&self, images: &[Finished], made: &Lineage<'_>, detail: Detail) -> Vec<Told> {
        let wanted = Provenance { detail, ..Provenance::default() };
        let tell = |(index, image): (usize, &Finished)| {
            (image.platform.clone(), self.provenance(made, index, &wanted).predicate)
        };
        images.iter().enumerate().map(tell).collect()
    }

    /// How the image of one of the platforms was made.
    fn provenance(&self, made: &Lineage<'_>, index: usize, wanted: &Provenance) -> Attestation {
        let story = made.story;
        let owned = self.made(&story.requests[index], made.graph, made.roots[index], story);
        provenance::statement(wanted, &owned.borrow(self, story))
    }

    /// Lists the packages of an image.
    async fn bill(&self, image: &Finished) -> Result<Attestation> {
        let (store, registries) = (&self.store, &self.build.registries);
        images::fetch_layers(store, registries, &image.layers, &self.events, None).await?;
        let (store, image) = (store.clone(), image.clone());
        let name = self.names.first().cloned().unwrap_or_else(|| image.id.to_string());
        blocking(move || {
            let root = view::open(&store, &image.layers)?;
            let found = packages::scan(root.as_fd())
                .map_err(|source| Error::Read { path: store.root().to_owned(), source })?;
            let epoch = image.epoch.and_then(|seconds| Timestamp::from_second(seconds).ok());
            let subject = spdx::Subject {
                name: &name,
                id: image.id,
                platform: &image.platform,
                created: epoch.unwrap_or_else(Timestamp::now),
            };
            Ok(spdx::bill(&subject, &found))
        })
        .await
    }

    /// What the image of one platform was made from.
    fn made<'a>(
        &self,
        request: &'a Request,
        graph: &'a Graph,
        root: VertexId,
        story: &Story,
    ) -> Owned<'a> {
        let context = self.context_address();
        let mut owned = Owned {
            request,
            graph,
            root,
            path: self.dockerfile_path(),
            dependencies: context.iter().filter_map(|uri| self.version(uri)).collect(),
            context,
            layers: BTreeMap::new(),
        };
        for source in provenance::sources(graph, root) {
            match source {
                Source::Image { reference, .. } => {
                    let is_it =
                        |(_, image): &(&Wanted, &ResolvedImage)| image.reference == *reference;
                    if let Some((wanted, image)) = story.resolved.iter().find(is_it) {
                        owned.dependencies.extend(dependency(wanted, image));
                        owned.layers.insert(reference.clone(), blobs(image));
                    }
                }
                Source::Http(file) => {
                    owned.dependencies.extend(self.version(&rbuild_registry::redacted(&file.url)));
                }
                Source::Git(checkout) => {
                    owned.dependencies.extend(self.version(&git_address(checkout)));
                }
                Source::Scratch | Source::Context { .. } => {}
            }
        }
        owned.dependencies.sort_unstable();
        owned.dependencies.dedup();
        owned
    }

    /// What the build was given of a source that is elsewhere.
    fn version(&self, address: &str) -> Option<Dependency> {
        let version = self.remotes.versions.get(address)?;
        let uri = address.to_owned();
        Some(Dependency { uri, algorithm: version.algorithm, digest: version.digest })
    }

    /// Where the context is, if it is elsewhere.
    fn context_address(&self) -> Option<String> {
        let ContextSource::Address(address) = &self.build.context else { return None };
        Some(match GitUrl::parse_context(address) {
            Some(Ok(url)) => git_address(&url.checkout(false, false)),
            _ => rbuild_registry::redacted(address),
        })
    }

    /// The path of the Dockerfile, as it was asked for; nothing that tells of this machine.
    fn dockerfile_path(&self) -> String {
        match &self.build.dockerfile {
            DockerfileSource::Path(path) if path.is_relative() => path.display().to_string(),
            DockerfileSource::Inside(path) => path.clone(),
            _ => self.prepared.file.name.clone(),
        }
    }
}

/// What is told of one platform.
struct Owned<'a> {
    request: &'a Request,
    graph: &'a Graph,
    root: VertexId,
    context: Option<String>,
    path: String,
    dependencies: Vec<Dependency>,
    layers: BTreeMap<String, Vec<Blob>>,
}

impl Owned<'_> {
    fn borrow<'a>(&'a self, run: &'a Run, story: &'a Story) -> Made<'a> {
        Made {
            request: self.request,
            context: self.context.as_deref(),
            file: &run.prepared.file,
            path: &self.path,
            graph: self.graph,
            root: self.root,
            spans: &story.spans,
            dependencies: &self.dependencies,
            layers: &self.layers,
            invocation: &story.invocation,
            started: story.started,
            finished: Timestamp::now(),
        }
    }
}

/// An image as one of the things that another was made from.
fn dependency(wanted: &Wanted, image: &ResolvedImage) -> Option<Dependency> {
    let digest = image.entry.manifest?.hex();
    let platform = image.config.platform();
    let uri = match wanted.reference.strip_prefix(layout::SCHEME) {
        // Where it lies on this machine is nobody's business.
        Some(place) => {
            let name = place.rsplit('/').next().unwrap_or_default();
            let name = name.split(['@', ':']).next().unwrap_or_default();
            purl::layout(name, &platform)
        }
        None => purl::image(&wanted.reference, &platform),
    };
    Some(Dependency { uri, algorithm: "sha256", digest })
}

fn blobs(image: &ResolvedImage) -> Vec<Blob> {
    let blob = |layer: &Layer| match layer {
        Layer::Pulled { blob, .. } => Some(blob.clone()),
        _ => None,
    };
    image.entry.layers.iter().filter_map(blob).collect()
}
