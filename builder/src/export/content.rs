//! What an image is where it goes: documents that name one another by their digests, and layers.
//!
//! It is made of plain data, and is the same for a registry and for an archive. One platform is a
//! manifest; several, or anything that is attested, are an index.

use rbuild_cache::{Blob, Digest};
use serde_json::{Value, json};

use super::annotation::{self, Annotated, Annotation};
use super::manifest::{self, Annotations, CONFIG, Descriptor, IN_TOTO, INDEX, MANIFEST, named};
use crate::attest::{Attestation, purl};
use crate::error::{Error, Result};
use crate::platform::Platform;

/// The image of one platform whose layers are compressed.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) platform: Platform,
    /// The config as it is written.
    pub(crate) config: Vec<u8>,
    /// The layers, lowest first.
    pub(crate) layers: Vec<Blob>,
    pub(crate) attestations: Vec<Attestation>,
    /// The layers that are in the registry already to which the image goes.
    pub(crate) sent: Vec<Digest>,
}

impl Packed {
    /// The id of the image: the digest of its config.
    pub(crate) fn id(&self) -> Digest {
        manifest::digest(&self.config)
    }
}

/// A small blob of an image, and what others say of it.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

impl Document {
    fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self { descriptor: Descriptor::of(media_type, &bytes), bytes }
    }
}

/// All that an image is.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    /// The images of the platforms, in the order that was asked for.
    pub(crate) images: Vec<Packed>,
    /// Configs, manifests, attestations and the index, each after those that it names.
    pub(crate) documents: Vec<Document>,
    /// The manifest or index that is the whole.
    pub(crate) root: Descriptor,
}

/// How documents are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form<'a> {
    pub(crate) annotations: &'a [Annotation],
    /// With Docker's media types in place of OCI's.
    pub(crate) docker: bool,
    /// With an index though there is one platform only.
    pub(crate) index: bool,
}

impl Form<'_> {
    fn annotations(self, on: Annotated, platform: Option<&Platform>) -> Annotations {
        annotation::chosen(self.annotations, on, platform)
    }
}

impl Content {
    /// Puts the images of all platforms of a build together. The names are those that attestations
    /// are about.
    ///
    /// # Errors
    /// No image, or what this form has no place for.
    pub(crate) fn new(images: Vec<Packed>, names: &[String], form: Form<'_>) -> Result<Self> {
        let is_attested = images.iter().any(|image| !image.attestations.is_empty());
        let is_index = images.len() > 1 || is_attested || form.index;
        check(form, is_index, is_attested)?;
        let mut documents = Vec::new();
        let (mut manifests, mut attested) = (Vec::new(), Vec::new());
        for image in &images {
            let described = image_documents(image, form, &mut documents);
            attested.extend(attestation_documents(image, &described, names, &mut documents)?);
            manifests.push(described);
        }
        // All images come before what is said of them.
        manifests.extend(attested);
        let root = if is_index {
            let bytes =
                manifest::index(&manifests, &form.annotations(Annotated::Index, None), form.docker);
            let index = Document::new(named(INDEX, form.docker), bytes);
            let annotations = form.annotations(Annotated::IndexDescriptor, None);
            let root = Descriptor { annotations, ..index.descriptor.clone() };
            documents.push(index);
            root
        } else {
            let only = manifests.pop();
            only.ok_or_else(|| Error::Usage("an image is for one platform at least".to_owned()))?
        };
        Ok(Self { images, documents, root })
    }
}

/// Refuses what would have to be left out.
fn check(form: Form<'_>, is_index: bool, is_attested: bool) -> Result<()> {
    let on_index =
        |it: &Annotation| [Annotated::Index, Annotated::IndexDescriptor].contains(&it.on);
    let reason = if form.docker && !form.annotations.is_empty() {
        "annotations need OCI's media types: leave `oci-mediatypes=false` out"
    } else if form.docker && is_attested {
        "attestations need OCI's media types: leave `oci-mediatypes=false` out"
    } else if !is_index && form.annotations.iter().any(on_index) {
        "an image for one platform has no index that could be annotated"
    } else {
        return Ok(());
    };
    Err(Error::Usage(reason.to_owned()))
}

/// Writes the config and the manifest of one platform.
fn image_documents(image: &Packed, form: Form<'_>, documents: &mut Vec<Document>) -> Descriptor {
    let platform = Some(&image.platform);
    let config = Document::new(named(CONFIG, form.docker), image.config.clone());
    let layers: Vec<_> =
        image.layers.iter().map(|blob| Descriptor::layer(blob, form.docker)).collect();
    let annotations = form.annotations(Annotated::Manifest, platform);
    let bytes = manifest::manifest(&config.descriptor, &layers, &annotations, form.docker);
    let manifest = Document::new(named(MANIFEST, form.docker), bytes);
    let described = Descriptor {
        platform: platform.cloned(),
        annotations: form.annotations(Annotated::ManifestDescriptor, platform),
        ..manifest.descriptor.clone()
    };
    documents.extend([config, manifest]);
    described
}

/// Writes what is attested of one image as the manifest that goes beside the image's in an index:
/// its layers are the statements.
fn attestation_documents(
    image: &Packed,
    described: &Descriptor,
    names: &[String],
    documents: &mut Vec<Document>,
) -> Result<Option<Descriptor>> {
    if image.attestations.is_empty() {
        return Ok(None);
    }
    let subjects = subjects(names, &image.platform, &described.digest);
    let mut layers = Vec::with_capacity(image.attestations.len());
    for attestation in &image.attestations {
        let statement = Document::new(IN_TOTO, attestation.statement(&subjects)?);
        let kind = attestation.predicate_type.clone();
        let about = ("in-toto.io/predicate-type".to_owned(), kind);
        layers.push(Descriptor { annotations: [about].into(), ..statement.descriptor.clone() });
        documents.push(statement);
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.digest).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = Document::new(CONFIG, config.to_string().into_bytes());
    let bytes = manifest::manifest(&config.descriptor, &layers, &Annotations::new(), false);
    let manifest = Document::new(MANIFEST, bytes);
    let annotations = [
        ("vnd.docker.reference.type", "attestation-manifest".to_owned()),
        ("vnd.docker.reference.digest", described.digest.to_string()),
    ];
    let described = Descriptor {
        annotations: annotations.map(|(name, value)| (name.to_owned(), value)).into(),
        platform: Some(Platform::new("unknown", "unknown", None)),
        ..manifest.descriptor.clone()
    };
    documents.extend([config, manifest]);
    Ok(Some(described))
}

/// What a statement is about: the manifest, by every name of the image, as package URLs.
fn subjects(names: &[String], platform: &Platform, manifest: &Digest) -> Vec<Value> {
    let subject = |name: String| json!({ "name": name, "digest": { "sha256": manifest.hex() } });
    if names.is_empty() {
        return vec![subject("_".to_owned())];
    }
    names.iter().map(|name| subject(purl::image(name, platform))).collect()
}

#[cfg(test)]
mod tests;
