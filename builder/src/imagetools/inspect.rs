//! What a name stands for at its registry.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use rbuild_registry::{Client, Reference};
use serde_json::{Map, Value, json};

use super::{ABOUT, KIND, described, fetch, is_image, listed, platform, read, text};
use crate::error::{Error, Result};
use crate::registries::Registries;
use crate::source;

/// The annotation that says what kind of statement a blob is.
const PREDICATE: &str = "in-toto.io/predicate-type";

/// A manifest or an index at its registry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspected {
    /// The full name.
    pub name: String,
    /// What it is, of OCI's or Docker's names.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// The document, byte for byte.
    pub bytes: Vec<u8>,
    /// The same, as a value.
    pub document: Value,
    reference: Reference,
}

/// What is known of the images behind a name; of several platforms by platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The configs.
    pub image: Value,
    /// How they were made, as far as that is attested.
    pub provenance: Value,
    /// What is in them, as far as that is attested.
    pub sbom: Value,
}

/// Looks up what a name stands for.
///
/// # Errors
/// A name that is none or that nobody knows, and what is no manifest.
pub async fn inspect(registries: &Registries, name: &str) -> Result<Inspected> {
    let reference = source::parse(name)?;
    let manifest = fetch(registries.client(), &reference).await?;
    Ok(Inspected {
        name: reference.to_string(),
        media_type: manifest.media_type.clone(),
        digest: manifest.digest.clone(),
        document: read(&reference, &manifest.bytes)?,
        bytes: manifest.bytes.to_vec(),
        reference,
    })
}

impl Inspected {
    /// What an index lists, each with the platform it is for; nothing for a manifest.
    pub fn manifests(&self) -> impl Iterator<Item = (&Value, Option<String>)> {
        listed(&self.document).iter().map(|part| (part, platform(part)))
    }

    /// The full name of something that is listed.
    pub fn name_of(&self, descriptor: &Value) -> String {
        let named = self.reference.with_digest(text(descriptor, "digest"));
        named.map_or_else(
            |_| self.name.clone(),
            |_| format!("{}@{}", self.name, text(descriptor, "digest")),
        )
    }

    /// Fetches the manifest of something that is listed.
    ///
    /// # Errors
    /// What the registry does not have.
    pub async fn listed(&self, registries: &Registries, descriptor: &Value) -> Result<Self> {
        let (digest, _) = described(&self.reference, descriptor)?;
        let reference = self.with_digest(&digest)?;
        inspect(registries, &reference.to_string()).await
    }

    /// Fetches configs and attestations.
    ///
    /// # Errors
    /// What the registry does not have, or is no such thing.
    pub async fn details(&self, registries: &Registries) -> Result<Details> {
        let client = registries.client();
        if !self.document["manifests"].is_array() {
            let image = self.config(client, &self.reference, &self.document).await?;
            return Ok(Details { image, ..Details::default() });
        }
        let images = self.manifests().filter(|(part, _)| is_image(part));
        let images = images.map(|(part, platform)| self.one(client, part, platform));
        let all: BTreeMap<String, Details> = try_join_all(images).await?.into_iter().collect();
        if all.len() == 1 {
            return Ok(all.into_values().next().unwrap_or_default());
        }
        let by = |field: fn(&Details) -> &Value| {
            let known = all.iter().filter(|(_, details)| !field(details).is_null());
            let known: Map<String, Value> = known
                .map(|(platform, details)| (platform.clone(), field(details).clone()))
                .collect();
            if known.is_empty() { Value::Null } else { known.into() }
        };
        Ok(Details {
            image: by(|details| &details.image),
            provenance: by(|details| &details.provenance),
            sbom: by(|details| &details.sbom),
        })
    }

    fn with_digest(&self, digest: &str) -> Result<Reference> {
        let failed = Error::registry(format!("look up {digest} of `{}`", self.name));
        self.reference.with_digest(digest).map_err(failed)
    }

    /// The config of an image of the index, and what is attested of it.
    async fn one(
        &self,
        client: &Client,
        part: &Value,
        platform: Option<String>,
    ) -> Result<(String, Details)> {
        let (digest, _) = described(&self.reference, part)?;
        let reference = self.with_digest(&digest)?;
        let manifest = read(&reference, &fetch(client, &reference).await?.bytes)?;
        let image = self.config(client, &reference, &manifest).await?;
        let mut details = Details { image, ..Details::default() };
        let is_about = |other: &&Value| {
            let annotations = &other["annotations"];
            text(annotations, KIND) == "attestation-manifest" && text(annotations, ABOUT) == digest
        };
        for beside in listed(&self.document).iter().filter(is_about) {
            self.attested(client, beside, &mut details).await?;
        }
        Ok((platform.unwrap_or(digest), details))
    }

    async fn attested(&self, client: &Client, beside: &Value, details: &mut Details) -> Result<()> {
        let reference = self.with_digest(&described(&self.reference, beside)?.0)?;
        let manifest = read(&reference, &fetch(client, &reference).await?.bytes)?;
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            let kind = text(&layer["annotations"], PREDICATE);
            let (slot, name) = match kind {
                kind if kind.starts_with("https://slsa.dev/provenance/") => {
                    (&mut details.provenance, "SLSA")
                }
                kind if kind.starts_with("https://spdx.dev/Document") => {
                    (&mut details.sbom, "SPDX")
                }
                _ => continue,
            };
            let mut statement = self.blob(client, &reference, layer).await?;
            *slot = json!({ name: statement["predicate"].take() });
        }
        Ok(())
    }

    async fn config(
        &self,
        client: &Client,
        reference: &Reference,
        manifest: &Value,
    ) -> Result<Value> {
        self.blob(client, reference, &manifest["config"]).await
    }

    /// A small document.
    async fn blob(
        &self,
        client: &Client,
        reference: &Reference,
        descriptor: &Value,
    ) -> Result<Value> {
        let (digest, size) = described(reference, descriptor)?;
        let bytes = client.config(reference, &digest, size).await;
        let bytes = bytes.map_err(Error::registry(format!("read {digest} of `{reference}`")))?;
        serde_json::from_slice(&bytes)
            .map_err(Error::malformed(format!("{digest} of `{reference}`")))
    }
}
