//! What the user has manifests and indexes say besides what they are.

use super::manifest::Annotations;
use crate::platform::Platform;

/// What an annotation is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotated {
    /// The manifest of an image.
    Manifest,
    /// What the index, or an archive, says of a manifest.
    ManifestDescriptor,
    /// The index.
    Index,
    /// What an archive says of the index.
    IndexDescriptor,
}

/// One annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What it is written on.
    pub on: Annotated,
    /// The platform whose image it is about; all where there is none.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// Those that belong on one thing; the last of equal names counts, and one for a platform before
/// one for all.
pub(super) fn chosen(
    all: &[Annotation],
    on: Annotated,
    platform: Option<&Platform>,
) -> Annotations {
    let mut found: Vec<_> = all
        .iter()
        .filter(|it| it.on == on && (it.platform.is_none() || it.platform.as_ref() == platform))
        .collect();
    found.sort_by_key(|it| it.platform.is_some());
    found.into_iter().map(|it| (it.key.clone(), it.value.clone())).collect()
}
