//! Where the result of a build goes, and in which form.

use std::path::PathBuf;

use super::annotation::Annotation;
use super::compress::Compression;
use super::content::Form;
use crate::error::Result;
use crate::source;

/// Where the result of a build goes, and in which form.
///
/// ```
/// use rbuild::{Compression, Output, OutputKind};
///
/// let mut output = Output::new(OutputKind::REGISTRY).name("registry.example.com/app:1");
/// output.packing.compression = Some(Compression::Zstd(3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// Where it goes.
    pub kind: OutputKind,
    /// The names that the image gets there besides those of the build.
    pub names: Vec<String>,
    /// How the image is written where it leaves the store.
    pub packing: Packing,
}

/// Where the result of a build goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputKind {
    /// Into the store, under the names.
    Store,
    /// To the registries of the names.
    Registry {
        /// Whether it gets no tag there, and is found by its digest only.
        by_digest: bool,
    },
    /// An OCI image layout, as a tar or a folder.
    Oci {
        /// Where to.
        to: Destination,
        /// Whether it is one tar.
        tar: bool,
    },
    /// An archive for `docker load`, which is an OCI image layout as well.
    Docker {
        /// Where to.
        to: Destination,
        /// Whether it is one tar.
        tar: bool,
    },
    /// Into a Docker daemon, by the socket that it listens at.
    Daemon(PathBuf),
    /// The files of the image in a folder.
    Local {
        /// The folder.
        to: PathBuf,
        /// Whether the files of each platform have a folder of their own in it, such as
        /// `linux_arm64`; so it is with several platforms if not said.
        split: Option<bool>,
        /// Whether what is there and not in the image is removed.
        delete: bool,
    },
    /// The files of the image as a tar.
    Tar {
        /// Where to.
        to: Destination,
        /// As with a folder.
        split: Option<bool>,
    },
    /// Nowhere: only the cache keeps the result.
    CacheOnly,
}

impl OutputKind {
    /// To the registries of the names, with their tags.
    pub const REGISTRY: Self = Self::Registry { by_digest: false };
}

/// Where an archive is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file or folder.
    Path(PathBuf),
    /// The standard output.
    Stdout,
}

/// How an image is written where it leaves the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that a caller may want or not"
)]
pub struct Packing {
    /// How layers are compressed; the usual way where nothing is said.
    pub compression: Option<Compression>,
    /// Whether that is true of layers too that came compressed otherwise.
    pub force_compression: bool,
    /// Whether no file of a layer of the build is younger than its `SOURCE_DATE_EPOCH`. The layers
    /// in the store stay as they are.
    pub rewrite_timestamp: bool,
    /// Whether the documents have Docker's media types in place of OCI's.
    pub docker_types: bool,
    /// Whether an image for one platform is an index of one too.
    pub index: bool,
    /// What manifests and indexes say besides.
    pub annotations: Vec<Annotation>,
}

impl Packing {
    /// How the documents are written.
    pub(crate) fn form(&self) -> Form<'_> {
        Form { annotations: &self.annotations, docker: self.docker_types, index: self.index }
    }
}

impl Output {
    /// The result as it is, with the names of the build.
    pub fn new(kind: OutputKind) -> Self {
        Self { kind, names: Vec::new(), packing: Packing::default() }
    }

    /// Gives the image one more name there.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Whether it goes to registries.
    pub(crate) fn is_push(&self) -> bool {
        matches!(self.kind, OutputKind::Registry { .. })
    }

    /// Whether the bytes of all layers must be here for it.
    pub(crate) fn is_written(&self) -> bool {
        !self.is_push() && !matches!(self.kind, OutputKind::Store | OutputKind::CacheOnly)
    }

    /// The full names of the image there, those of the build first, each once.
    ///
    /// # Errors
    /// A name that is none.
    pub(crate) fn all_names(&self, build: &[String]) -> Result<Vec<String>> {
        let mut all = build.to_vec();
        for name in &self.names {
            let name = source::parse(name)?.to_string();
            if !all.contains(&name) {
                all.push(name);
            }
        }
        Ok(all)
    }
}

impl From<OutputKind> for Output {
    fn from(kind: OutputKind) -> Self {
        Self::new(kind)
    }
}
