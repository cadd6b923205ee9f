//! Attestations beside files: `provenance.json` and `sbom.spdx.json`, as in-toto's statements on
//! each of the files.

use std::os::fd::OwnedFd;

use rbuild_cache::tree::{Options, Tree};
use serde_json::{Value, json};

use super::{Attestation, provenance, spdx};
use crate::error::{Error, Result};
use crate::view::sha256;

/// What the statements are on: every regular file of a tree.
pub(crate) fn subjects(root: &OwnedFd) -> Result<Vec<Value>> {
    use std::os::fd::AsFd;
    let tree = Tree::read(root.as_fd(), &Options::default())
        .map_err(Error::store("read the files of the image"))?;
    let files = tree.nodes().iter().filter(|node| node.is_file());
    let subject = |node: &rbuild_cache::tree::Node| {
        let digest = sha256(root, &node.path)
            .map_err(|source| Error::Read { path: node.path.to_path_buf(), source })?;
        let digest = digest.split_once(':').map(|(_, hex)| hex.to_owned()).unwrap_or_default();
        Ok(json!({ "name": node.path.display().to_string(), "digest": { "sha256": digest } }))
    };
    files.map(subject).collect()
}

/// The files with what is attested, those left out that go with images only.
pub(crate) fn statements(
    attestations: &[Attestation],
    subjects: &[Value],
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    for attestation in attestations {
        let name = match attestation.predicate_type.as_str() {
            _ if attestation.inline_only => continue,
            provenance::PREDICATE => "provenance.json",
            spdx::PREDICATE => "sbom.spdx.json",
            _ => continue,
        };
        files.push((name, attestation.statement(subjects)?));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn statements_are_on_every_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(folder.path().join("d/a"), "one").unwrap();
        std::os::unix::fs::symlink("d/a", folder.path().join("link")).unwrap();
        let subjects = subjects(&File::open(folder.path()).unwrap().into()).unwrap();
        let one = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
        assert_eq!(subjects, [json!({ "name": "d/a", "digest": { "sha256": one } })]);
        let attestation = |predicate_type: &str, inline_only| Attestation {
            predicate_type: predicate_type.to_owned(),
            predicate: b"{}".to_vec(),
            inline_only,
        };
        let all = [attestation(provenance::PREDICATE, true), attestation(spdx::PREDICATE, false)];
        let files = statements(&all, &subjects).unwrap();
        let [(name, bytes)] = &files[..] else { panic!("{files:?}") };
        let statement: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!((*name, &statement["subject"]), ("sbom.spdx.json", &json!(subjects)));
    }
}
