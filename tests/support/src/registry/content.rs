//! What a registry holds, and how it answers for it.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use crate::base::{BASE, Base, digest};
use crate::http::{Reply, Request};

/// Blobs, manifests and uploads under way.
#[derive(Debug, Default)]
pub(super) struct Content {
    blobs: HashMap<String, Vec<u8>>,
    /// Which repository may be asked for which blob.
    links: HashSet<(String, String)>,
    /// Media type and bytes, by repository and tag or digest.
    manifests: HashMap<(String, String), (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    begun: usize,
}

/// The repository of a path below `/v2/`; empty where it names none.
pub(super) fn repository(rest: &str) -> &str {
    let places = ["/manifests/", "/blobs/", "/tags/"];
    let end = places.iter().filter_map(|place| rest.rfind(place)).min();
    end.map_or("", |end| &rest[..end])
}

/// The first and the last byte that `bytes=5-9` or `bytes=5-` asks for, of so many.
fn part(range: &str, length: usize) -> Option<(usize, usize)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = start.parse().ok().filter(|start| *start < length)?;
    let end = if end.is_empty() { length - 1 } else { end.parse().ok()? };
    (end >= start).then_some((start, end.min(length - 1)))
}

impl Content {
    /// Holds the base image alone.
    pub(super) fn with_base() -> Self {
        let mut content = Self::default();
        let base = Base::get();
        let (repository, tag) = BASE.split_once(':').expect("the name has a tag");
        for blob in [&base.layer, &base.config] {
            content.add_blob(repository, blob.clone());
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        content.add_manifest(repository, tag, kind, &base.manifest);
        content
    }

    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        self.manifests.get(&(repository.to_owned(), reference.to_owned())).cloned()
    }

    pub(super) fn forget_blob(&mut self, repository: &str, name: &str) {
        self.links.remove(&(repository.to_owned(), name.to_owned()));
    }

    pub(super) fn add_blob(&mut self, repository: &str, bytes: Vec<u8>) -> String {
        let name = digest(&bytes);
        self.links.insert((repository.to_owned(), name.clone()));
        self.blobs.insert(name.clone(), bytes);
        name
    }

    pub(super) fn add_manifest(&mut self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) {
        for reference in [tag.to_owned(), digest(bytes)] {
            let value = (kind.to_owned(), bytes.to_owned());
            self.manifests.insert((repository.to_owned(), reference), value);
        }
    }

    /// What is not as it must be: a manifest that names what is not there, bytes of another digest.
    pub(super) fn damage(&self) -> Vec<String> {
        let wrong = self.blobs.iter().filter(|(name, bytes)| digest(bytes) != **name);
        let mut damage: Vec<String> = wrong.map(|(name, _)| name.clone()).collect();
        for ((repository, reference), (_, bytes)) in &self.manifests {
            let missing = self.missing(repository, bytes);
            damage.extend(missing.iter().map(|name| format!("{repository} {reference}: {name}")));
        }
        damage
    }

    /// Keeps what came of an upload whose connection broke.
    pub(super) fn keep_part(&mut self, request: &Request) {
        let upload = request.path.rsplit('/').next().unwrap_or_default();
        if let Some(bytes) = self.uploads.get_mut(upload).filter(|_| request.method == "PATCH") {
            bytes.extend_from_slice(&request.body);
        }
    }

    /// Answers a request whose path below `/v2/` is this.
    pub(super) fn answer(&mut self, request: &Request, rest: &str) -> Reply {
        let repository = repository(rest);
        if rest.is_empty() {
            return Reply::new(200);
        }
        let place = &rest[repository.len()..];
        if let Some(reference) = place.strip_prefix("/manifests/") {
            return self.answer_manifest(request, repository, reference);
        }
        if place == "/tags/list" {
            let tags = self.manifests.keys().filter(|(name, _)| name == repository);
            let tags: Vec<_> = tags.map(|(_, tag)| tag).filter(|tag| !tag.contains(':')).collect();
            return Reply::new(200).body(json!({ "name": repository, "tags": tags }).to_string());
        }
        if let Some(upload) = place.strip_prefix("/blobs/uploads/") {
            return self.answer_upload(request, repository, upload);
        }
        match place.strip_prefix("/blobs/") {
            Some(name) => self.answer_blob(request, repository, name),
            None => Reply::new(404),
        }
    }

    fn answer_manifest(&mut self, request: &Request, repository: &str, reference: &str) -> Reply {
        if request.method == "PUT" {
            let missing = self.missing(repository, &request.body);
            if !missing.is_empty() {
                let error = json!({ "errors": [{ "code": "MANIFEST_BLOB_UNKNOWN",
                    "message": missing.join(" ") }] });
                return Reply::new(400).body(error.to_string());
            }
            let name = digest(&request.body);
            let kind = request.header("content-type");
            self.add_manifest(repository, reference, kind, &request.body);
            return Reply::new(201).with("Docker-Content-Digest", name);
        }
        match self.manifest(repository, reference) {
            Some((kind, bytes)) => Reply::new(200)
                .with("Content-Type", kind)
                .with("Docker-Content-Digest", digest(&bytes))
                .body(bytes),
            None => Reply::new(404)
                .body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
        }
    }

    /// What a manifest names and the repository does not have.
    fn missing(&self, repository: &str, manifest: &[u8]) -> Vec<String> {
        let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(manifest) else {
            return vec!["not JSON".to_owned()];
        };
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let named = layers.chain(manifest.get("config"));
        let named = named.filter_map(|blob| blob["digest"].as_str().map(str::to_owned));
        named.filter(|name| !self.has(repository, name)).collect()
    }

    fn has(&self, repository: &str, name: &str) -> bool {
        self.links.contains(&(repository.to_owned(), name.to_owned()))
    }

    fn answer_blob(&self, request: &Request, repository: &str, name: &str) -> Reply {
        if !self.has(repository, name) {
            return Reply::new(404);
        }
        let bytes = &self.blobs[name];
        let reply = Reply::new(200).with("Docker-Content-Digest", name);
        match part(request.header("range"), bytes.len()) {
            Some((start, end)) => {
                let range = format!("bytes {start}-{end}/{}", bytes.len());
                Reply::new(206).with("Content-Range", range).body(&bytes[start..=end])
            }
            None => reply.body(bytes.as_slice()),
        }
    }

    fn answer_upload(&mut self, request: &Request, repository: &str, upload: &str) -> Reply {
        let place = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}");
        match request.method.as_str() {
            "POST" => {
                let (from, name) = (request.asks("from"), request.asks("mount"));
                if self.has(from, name) {
                    self.links.insert((repository.to_owned(), name.to_owned()));
                    return Reply::new(201).with("Docker-Content-Digest", name);
                }
                self.begun += 1;
                let id = self.begun.to_string();
                self.uploads.insert(id.clone(), Vec::new());
                Reply::new(202).with("Location", place(&id))
            }
            "GET" => match self.uploads.get(upload) {
                Some(bytes) => {
                    let range = format!("0-{}", bytes.len().saturating_sub(1));
                    Reply::new(204).with("Location", place(upload)).with("Range", range)
                }
                None => Reply::new(404),
            },
            "PATCH" => {
                let Some(bytes) = self.uploads.get_mut(upload) else {
                    return Reply::new(404);
                };
                bytes.extend_from_slice(&request.body);
                let range = format!("0-{}", bytes.len().saturating_sub(1));
                Reply::new(202).with("Location", place(upload)).with("Range", range)
            }
            "PUT" => {
                let Some(mut bytes) = self.uploads.remove(upload) else {
                    return Reply::new(404);
                };
                bytes.extend_from_slice(&request.body);
                if digest(&bytes) != request.asks("digest") {
                    return Reply::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
                }
                let name = self.add_blob(repository, bytes);
                Reply::new(201).with("Docker-Content-Digest", name)
            }
            _ => Reply::new(405),
        }
    }
}
