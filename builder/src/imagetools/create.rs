//! New indexes, of images that are in registries.

use std::collections::HashMap;

use rbuild_cache::Digest;
use rbuild_registry::{Client, MANIFEST_LIMIT, Reference};
use rbuild_solver::{Events, What};
use serde_json::{Map, Value, json};

use super::copy::Copies;
use super::{ABOUT, described, fetch, listed, platform, read, text};
use crate::build::steps::begin;
use crate::error::{Error, Result, with_causes};
use crate::export::manifest::{INDEX, digest, named};
use crate::export::{Annotated, Annotation};
use crate::platform::Platform;
use crate::registries::Registries;
use crate::source;

/// What an index is to be made of.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// The names that it gets; the first says which repository a bare digest is in.
    pub tags: Vec<String>,
    /// Images and indexes: names, or digests alone.
    pub sources: Vec<String>,
    /// Further sources, as JSON of their descriptors; they are in the repository of the first name.
    pub descriptors: Vec<Vec<u8>>,
    /// Whether what the first name stands for is a source too, before all others.
    pub append: bool,
    /// What the index, and its descriptors, say besides.
    pub annotations: Vec<Annotation>,
    /// Whether a lone image stays a manifest, and does not become an index of one.
    pub keep_manifest: bool,
    /// Only the images of these platforms; all where there are none.
    pub platforms: Vec<Platform>,
}

/// An index that was put together.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The document.
    pub bytes: Vec<u8>,
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    tags: Vec<Reference>,
    /// The manifests that it names, by their digests, and where they are.
    parts: Vec<(Reference, String)>,
}

/// A manifest or index of a registry.
struct Source {
    reference: Reference,
    bytes: Vec<u8>,
    document: Value,
    descriptor: Value,
}

impl Source {
    fn is_index(&self) -> bool {
        self.document["manifests"].is_array()
    }

    /// The manifests that it stands for.
    fn parts(&self) -> Vec<Value> {
        if self.is_index() {
            listed(&self.document).to_vec()
        } else {
            vec![self.descriptor.clone()]
        }
    }
}

impl Create {
    /// Puts the index together. Manifests and configs are read for it; nothing is written.
    ///
    /// # Errors
    /// Names that are none, sources that are nowhere, annotations that have no place.
    pub async fn merge(&self, registries: &Registries) -> Result<Merged> {
        let tags: Vec<_> = self.tags.iter().map(|tag| source::parse(tag)).collect::<Result<_>>()?;
        self.check()?;
        let client = registries.client();
        let references = self.references(&tags)?;
        let sources = references.iter().map(|reference| source(client, reference));
        let mut sources = futures::future::try_join_all(sources).await?;
        let is_kept = |source: &Source| source.is_index() || self.keep_manifest;
        let mut parts = Vec::new();
        let (bytes, media_type) = match sources.as_mut_slice() {
            // A lone source stays as it is, byte for byte.
            [only] if self.is_plain() && is_kept(only) => {
                for part in listed(&only.document) {
                    parts.push((only.reference.clone(), described(&only.reference, part)?.0));
                }
                if !only.is_index() {
                    parts.push((only.reference.clone(), text(&only.descriptor, "digest").into()));
                }
                (std::mem::take(&mut only.bytes), text(&only.descriptor, "mediaType").to_owned())
            }
            sources => {
                let manifests = self.manifests(sources, &mut parts)?;
                index(&manifests, &self.annotations)
            }
        };
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(Error::Usage("an index of so many images is too long".to_owned()));
        }
        Ok(Merged { digest: digest(&bytes), bytes, media_type, tags, parts })
    }

    /// Whether nothing is changed in what a source says.
    fn is_plain(&self) -> bool {
        self.annotations.is_empty() && self.platforms.is_empty()
    }

    fn check(&self) -> Result<()> {
        let count = self.sources.len() + self.descriptors.len() + usize::from(self.append);
        let has_place =
            |it: &Annotation| matches!(it.on, Annotated::Index | Annotated::ManifestDescriptor);
        let reason = if count == 0 {
            "there is nothing to make an index of: name images"
        } else if self.append && self.tags.is_empty() {
            "to append, name the index with `-t`"
        } else if !self.annotations.iter().all(has_place) {
            "annotations of an index begin with `index:` or `manifest-descriptor:`"
        } else {
            return Ok(());
        };
        Err(Error::Usage(reason.to_owned()))
    }

    /// The sources in order, each with a digest or a tag.
    fn references(&self, tags: &[Reference]) -> Result<Vec<Reference>> {
        let here = |digest: &str| {
            let first = tags.first().ok_or_else(|| {
                Error::Usage(format!("`{digest}` is in no repository: name one with `-t`"))
            })?;
            first.with_digest(digest).map_err(|error| Error::Reference {
                reference: digest.to_owned(),
                reason: error.to_string(),
            })
        };
        let mut all = Vec::new();
        all.extend(tags.first().filter(|_| self.append).cloned());
        for source in &self.sources {
            let is_bare = source.starts_with("sha256:");
            all.push(if is_bare { here(source)? } else { source::parse(source)? });
        }
        for bytes in &self.descriptors {
            let descriptor: Value =
                serde_json::from_slice(bytes).map_err(Error::malformed("a descriptor"))?;
            all.push(here(text(&descriptor, "digest"))?);
        }
        Ok(all)
    }

    /// The manifests of all sources, each once; the later of equal ones adds to what is said.
    fn manifests(
        &self,
        sources: &[Source],
        parts: &mut Vec<(Reference, String)>,
    ) -> Result<Vec<Value>> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut manifests: Vec<Value> = Vec::new();
        for source in sources {
            for mut part in self.wanted(source.parts()) {
                let (digest, _) = described(&source.reference, &part)?;
                self.annotate(&mut part);
                if let Some(&place) = places.get(&digest) {
                    add(&mut manifests[place], part);
                    continue;
                }
                places.insert(digest.clone(), manifests.len());
                parts.push((source.reference.clone(), digest));
                manifests.push(part);
            }
        }
        Ok(manifests)
    }

    /// Those for the platforms that are wanted, with what is said of them.
    fn wanted(&self, parts: Vec<Value>) -> Vec<Value> {
        if self.platforms.is_empty() {
            return parts;
        }
        let is_wanted = |part: &Value| {
            let platform = platform(part).and_then(|text| text.parse::<Platform>().ok());
            platform.is_some_and(|platform| self.platforms.contains(&platform))
        };
        let kept: Vec<String> = parts
            .iter()
            .filter(|part| is_wanted(part))
            .map(|it| text(it, "digest").into())
            .collect();
        let is_about = |part: &Value| {
            let about = part["annotations"][ABOUT].as_str();
            about.is_some_and(|about| kept.iter().any(|digest| digest == about))
        };
        parts.into_iter().filter(|part| is_wanted(part) || is_about(part)).collect()
    }

    fn annotate(&self, part: &mut Value) {
        let own = platform(part).and_then(|text| text.parse::<Platform>().ok());
        for annotation in &self.annotations {
            let is_meant = annotation.platform.is_none() || annotation.platform == own;
            if annotation.on == Annotated::ManifestDescriptor && is_meant {
                part["annotations"][&annotation.key] = annotation.value.clone().into();
            }
        }
    }
}

/// Adds what another descriptor of the same manifest says.
fn add(known: &mut Value, other: Value) {
    let Value::Object(fields) = other else { return };
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("annotations", Value::Object(annotations)) => {
                for (key, value) in annotations {
                    known["annotations"][key] = value;
                }
            }
            ("platform", value) if !value.is_null() => known["platform"] = value,
            _ => {}
        }
    }
}

/// Writes the index, with Docker's media type where all in it is Docker's.
fn index(manifests: &[Value], annotations: &[Annotation]) -> (Vec<u8>, String) {
    let is_docker = |it: &Value| text(it, "mediaType").starts_with("application/vnd.docker.");
    let own = annotations.iter().filter(|it| it.on == Annotated::Index);
    let own: Map<String, Value> = own.map(|it| (it.key.clone(), it.value.clone().into())).collect();
    let docker = own.is_empty() && manifests.iter().all(is_docker);
    let media_type = named(INDEX, docker);
    let mut index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
    if !own.is_empty() {
        index["annotations"] = own.into();
    }
    let bytes = serde_json::to_vec_pretty(&index).expect("an index has string keys only");
    (bytes, media_type.to_owned())
}

/// Looks up one source. The descriptor of a manifest tells the platform that its config names.
async fn source(client: &Client, reference: &Reference) -> Result<Source> {
    let manifest = fetch(client, reference).await?;
    let document = read(reference, &manifest.bytes)?;
    let mut descriptor = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.bytes.len(),
    });
    if !manifest.is_index() {
        let (digest, size) = described(reference, &document["config"])?;
        let config = client.config(reference, &digest, size).await;
        let config =
            config.map_err(Error::registry(format!("read the config of `{reference}`")))?;
        if let Ok(config) = serde_json::from_slice::<Value>(&config)
            && let Some(platform) = platform_of(&config)
        {
            descriptor["platform"] = platform;
        }
    }
    let (reference, bytes) = (reference.clone(), manifest.bytes.to_vec());
    Ok(Source { reference, bytes, document, descriptor })
}

/// The platform of a config, as a descriptor gives it.
fn platform_of(config: &Value) -> Option<Value> {
    let mut platform = Map::new();
    for field in ["architecture", "os", "os.version", "variant"] {
        if let Some(value) = config[field].as_str().filter(|value| !value.is_empty()) {
            platform.insert(field.to_owned(), value.into());
        }
    }
    let is_whole = platform.contains_key("os") && platform.contains_key("architecture");
    is_whole.then(|| platform.into())
}

impl Merged {
    /// Puts the index into the registries of its names: what it names first, where that is in
    /// another repository still.
    ///
    /// # Errors
    /// No name, or a registry that refuses.
    pub async fn push(&self, registries: &Registries, events: &Events) -> Result<()> {
        if self.tags.is_empty() {
            return Err(Error::Usage("a name is needed: give one with `-t`".to_owned()));
        }
        for tag in &self.tags {
            let step = begin(events, format!("pushing {tag}"));
            let tell = |part: String| {
                let what = What::Progress { part, current: 0, total: None, done: true };
                events.emit(step, what);
            };
            match self.push_one(registries.client(), tag, &tell).await {
                Ok(()) => events.emit(step, What::Finished),
                Err(error) => {
                    events.emit(step, What::Failed { error: with_causes(&error) });
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn push_one(
        &self,
        client: &Client,
        tag: &Reference,
        tell: &(dyn Fn(String) + Sync),
    ) -> Result<()> {
        let mut copies = Copies::default();
        for (from, digest) in &self.parts {
            copies.add(client, from, tag, digest, 0).await?;
        }
        copies.copy(client, tag, tell).await?;
        let bytes = self.bytes.clone().into();
        let pushed = client.push_manifest(tag, &self.media_type, bytes).await;
        pushed.map_err(Error::registry(format!("push `{tag}`")))?;
        tell(format!("pushing manifest {} for {tag}", self.digest));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(digest: char, platform: &str) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap();
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", digest.to_string().repeat(64)),
            "size": 7,
            "platform": { "architecture": architecture, "os": os },
        })
    }

    fn source_of(document: Value, descriptor: Value) -> Source {
        let reference = "host:5000/a".parse().unwrap();
        Source { reference, bytes: document.to_string().into_bytes(), document, descriptor }
    }

    fn index_of(parts: &[Value]) -> Source {
        source_of(json!({ "manifests": parts }), part('f', "none/none"))
    }

    #[test]
    fn equal_manifests_are_there_once_with_all_that_is_said_of_them() {
        let create = Create::default();
        let mut noted = part('a', "linux/amd64");
        noted["annotations"] = json!({ "x": "1" });
        let sources = [
            index_of(&[part('a', "linux/amd64"), part('b', "linux/arm64")]),
            source_of(json!({}), noted.clone()),
        ];
        let mut parts = Vec::new();
        let manifests = create.manifests(&sources, &mut parts).unwrap();
        assert_eq!(manifests, [noted, part('b', "linux/arm64")]);
        assert_eq!(parts.len(), 2);
    }

    #[test]
    fn platforms_are_chosen_with_what_is_said_of_them() {
        let mut about = part('c', "unknown/unknown");
        about["annotations"] = json!({ ABOUT: part('b', "x/y")["digest"] });
        let all = vec![part('a', "linux/amd64"), part('b', "linux/arm64"), about.clone()];
        let mut create =
            Create { platforms: vec!["linux/arm64".parse().unwrap()], ..Create::default() };
        assert_eq!(create.wanted(all.clone()), [part('b', "linux/arm64"), about]);
        create.platforms = vec!["linux/s390x".parse().unwrap()];
        assert_eq!(create.wanted(all), Vec::<Value>::new());
    }

    #[test]
    fn annotations_have_their_places() {
        let annotation = |on, platform: Option<&str>| Annotation {
            on,
            platform: platform.map(|text| text.parse().unwrap()),
            key: "k".to_owned(),
            value: "v".to_owned(),
        };
        let create = Create {
            sources: vec!["a".to_owned()],
            annotations: vec![
                annotation(Annotated::Index, None),
                annotation(Annotated::ManifestDescriptor, Some("linux/arm64")),
            ],
            ..Create::default()
        };
        create.check().unwrap();
        let sources = [index_of(&[part('a', "linux/amd64"), part('b', "linux/arm64")])];
        let manifests = create.manifests(&sources, &mut Vec::new()).unwrap();
        let (bytes, media_type) = index(&manifests, &create.annotations);
        let written: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(written["annotations"], json!({ "k": "v" }));
        assert_eq!(written["manifests"][0]["annotations"], Value::Null);
        assert_eq!(written["manifests"][1]["annotations"], json!({ "k": "v" }));
        assert_eq!(media_type, INDEX);
        let wrong = Create { annotations: vec![annotation(Annotated::Manifest, None)], ..create };
        assert!(wrong.check().unwrap_err().to_string().contains("manifest-descriptor:"));
    }

    #[test]
    fn what_is_all_docker_s_stays_so() {
        let mut docker = part('a', "linux/amd64");
        docker["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
        assert_eq!(index(&[docker.clone()], &[]).1, named(INDEX, true));
        assert_eq!(index(&[docker, part('b', "linux/arm64")], &[]).1, INDEX);
    }

    #[test]
    fn bare_digests_are_in_the_first_repository() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let create = Create { sources: vec![digest.clone(), "b:1".into()], ..Create::default() };
        let tags: Vec<Reference> = vec!["host:5000/a:1".parse().unwrap()];
        let names: Vec<_> =
            create.references(&tags).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names[0], format!("host:5000/a:1@{digest}"));
        assert!(names[1].ends_with("/b:1"), "{names:?}");
        assert!(create.references(&[]).is_err());
        assert!(Create::default().check().is_err());
        let append = Create { append: true, ..Create::default() };
        assert!(append.check().is_err());
    }
}
