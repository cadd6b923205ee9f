//! containers' `registries.conf`, version 2: where podman, buildah and skopeo find images.
//!
//! The user's file counts in place of the machine's, and what is in `registries.conf.d` beside either
//! comes on top (containers-registries.conf(5)). Names without a registry are always Docker Hub's
//! here, so `unqualified-search-registries` and aliases of short names say nothing to rbuild. The
//! files are others' own: what is not known in them is passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild::Registries;
use rbuild::registries::{Location, Rule, Serves};
use serde::Deserialize;

use super::certificates::entries;
use super::{ConfigError, read_if_there};

/// The folder of the machine.
const MACHINE: &str = "/etc/containers";

/// What a file says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Vec<Entry>,
}

/// What a file says of the names with a prefix.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    #[serde(rename = "mirror-by-digest-only")]
    by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mirror {
    location: String,
    insecure: bool,
    #[serde(rename = "pull-from-mirror")]
    serves: String,
}

/// The folders and the file in which rules are looked for.
#[derive(Debug)]
pub(super) struct Place {
    /// A file that counts in place of all others' main file.
    pub(super) typed: Option<PathBuf>,
    /// The user's folder.
    pub(super) user: Option<PathBuf>,
}

/// Finds images as the files say.
pub(super) fn apply(registries: Registries, place: &Place) -> Result<Registries, ConfigError> {
    let mut rules = BTreeMap::new();
    for path in files(place)? {
        // One who comes later says it anew.
        for rule in read(&path)? {
            rules.insert(rule.0.prefix.clone(), rule);
        }
    }
    Ok(rules.into_values().fold(registries, |registries, (rule, insecure)| {
        let host = rule.prefix.split('/').next().unwrap_or_default().to_owned();
        let registries = if insecure { registries.insecure(host) } else { registries };
        registries.rule(rule)
    }))
}

/// The files that count, in the order in which they are read.
fn files(place: &Place) -> Result<Vec<PathBuf>, ConfigError> {
    let machine = PathBuf::from(MACHINE);
    let user_file = place.user.as_ref().map(|folder| folder.join("registries.conf"));
    let main = place.typed.clone().or_else(|| user_file.filter(|file| file.exists()));
    let mut files = vec![main.unwrap_or_else(|| machine.join("registries.conf"))];
    for folder in [Some(&machine), place.user.as_ref()].into_iter().flatten() {
        let more = entries(&folder.join("registries.conf.d"))?;
        files.extend(more.into_iter().filter(|path| path.extension().is_some_and(|e| e == "conf")));
    }
    Ok(files)
}

/// The rules of a file, and whether the registry of each may be asked without TLS; none where the
/// file is not there.
fn read(path: &Path) -> Result<Vec<(Rule, bool)>, ConfigError> {
    let text = read_if_there(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let file: File = toml::from_str(&text.unwrap_or_default())
        .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
    let origin = path.display().to_string();
    Ok(file.registry.into_iter().map(|entry| entry.rule(&origin)).collect())
}

impl Entry {
    fn rule(self, origin: &str) -> (Rule, bool) {
        let prefix = if self.prefix.is_empty() { self.location.clone() } else { self.prefix };
        let is_elsewhere = !self.location.is_empty() && self.location != prefix;
        let location = is_elsewhere.then_some(Location {
            place: self.location,
            insecure: self.insecure,
            serves: Serves::All,
        });
        let mirrors = self.mirror.into_iter().map(|mirror| Location {
            serves: match mirror.serves.as_str() {
                "digest-only" => Serves::Digests,
                "tag-only" => Serves::Tags,
                _ if self.by_digest_only => Serves::Digests,
                _ => Serves::All,
            },
            place: mirror.location,
            insecure: mirror.insecure,
        });
        let (mirrors, origin) = (mirrors.collect(), format!("`{origin}`"));
        let insecure = self.insecure && location.is_none() && !prefix.starts_with('*');
        (Rule { prefix, location, mirrors, blocked: self.blocked, origin }, insecure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
unqualified-search-registries = ["other.test"]
[aliases]
"x" = "y.test/x"
[[registry]]
prefix = "docker.io/library"
location = "in.test:5000/hub"
mirror-by-digest-only = true
[[registry.mirror]]
location = "copy.test/hub"
insecure = true
[[registry.mirror]]
location = "tags.test"
pull-from-mirror = "tag-only"
[[registry]]
location = "plain.test:5000"
insecure = true
[[registry]]
prefix = "*.bad.test"
blocked = true
"#;

    #[test]
    fn a_file_of_podman_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.conf");
        assert!(read(&path).unwrap().is_empty());
        std::fs::write(&path, TEXT).unwrap();
        let rules = read(&path).unwrap();
        let place =
            |place: &str, insecure, serves| Location { place: place.to_owned(), insecure, serves };
        let (hub, insecure) = &rules[0];
        assert_eq!((hub.prefix.as_str(), *insecure), ("docker.io/library", false));
        assert_eq!(hub.location, Some(place("in.test:5000/hub", false, Serves::All)));
        assert_eq!(
            hub.mirrors,
            [
                place("copy.test/hub", true, Serves::Digests),
                place("tags.test", false, Serves::Tags)
            ]
        );
        let (plain, insecure) = &rules[1];
        assert_eq!((plain.prefix.as_str(), *insecure), ("plain.test:5000", true));
        assert_eq!(plain.location, None);
        assert!(rules[2].0.blocked);
        std::fs::write(&path, "[[registry]]\nprefix = 5\n").unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn the_users_file_counts_in_place_of_the_machines() {
        let folder = tempfile::tempdir().unwrap();
        let user = folder.path().to_owned();
        let place = Place { typed: None, user: Some(user.clone()) };
        assert_eq!(files(&place).unwrap()[0], Path::new("/etc/containers/registries.conf"));
        std::fs::write(user.join("registries.conf"), TEXT).unwrap();
        std::fs::create_dir(user.join("registries.conf.d")).unwrap();
        std::fs::write(user.join("registries.conf.d/1.conf"), "").unwrap();
        std::fs::write(user.join("registries.conf.d/README"), "").unwrap();
        let found = files(&place).unwrap();
        assert_eq!(found[0], user.join("registries.conf"));
        assert_eq!(*found.last().unwrap(), user.join("registries.conf.d/1.conf"));
        let typed = Place { typed: Some("/typed".into()), ..place };
        assert_eq!(files(&typed).unwrap()[0], Path::new("/typed"));
    }
}
