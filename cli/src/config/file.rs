//! The configuration file `config.toml`.
//!
//! ```toml
//! tag-ttl = "1h"
//!
//! [network]
//! retry = 5
//! retry-delay = "1s"
//! idle-timeout = "1m"
//!
//! [cache]
//! max = "20GB"
//!
//! [registry."docker.io"]
//! mirrors = ["127.0.0.1:5100"]
//!
//! [registry."registry.local:5000"]
//! insecure = true
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use rbuild::{Mirror, Registries};
use serde::Deserialize;

use super::{ConfigError, read_if_there};

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct File {
    /// How old a registry's answer for a tag may be, such as `1h`.
    pub(super) tag_ttl: Option<String>,
    registry: BTreeMap<String, Registry>,
    pub(super) cache: Cache,
    pub(super) network: Network,
}

/// What a file says of requests to registries and other servers.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Network {
    /// How many times more one is made that failed for the moment.
    pub(super) retry: Option<u32>,
    /// The pause before the second one, such as `1s`.
    pub(super) retry_delay: Option<String>,
    /// How long nothing may move, such as `1m`.
    pub(super) idle_timeout: Option<String>,
}

/// What a file says of the store.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cache {
    /// How much it may take, such as `20GB`.
    pub(super) max: Option<String>,
}

/// What a file says of one registry.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Registry {
    /// Hosts that are asked first, in this order.
    mirrors: Vec<String>,
    /// Whether plain HTTP, or TLS that nobody vouches for, will do; also for its mirrors.
    insecure: bool,
}

impl File {
    /// Reads a file; one that is not there says nothing.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        let path = || path.to_owned();
        let text =
            read_if_there(&path()).map_err(|source| ConfigError::Read { path: path(), source })?;
        let file = text.as_deref().map(toml::from_str).transpose();
        file.map_err(|source| ConfigError::Parse { path: path(), source: Box::new(source) })
    }

    /// Adds what it says.
    pub(super) fn apply(&self, mut registries: Registries) -> Registries {
        for (name, registry) in &self.registry {
            for endpoint in &registry.mirrors {
                let (registry, insecure) = (name.clone(), registry.insecure);
                let endpoint = endpoint.clone();
                registries = registries.mirror(Mirror { registry, endpoint, insecure });
            }
            if registry.insecure {
                registries = registries.insecure(name);
            }
        }
        registries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_mirrors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert!(File::read(&path).unwrap().is_none());
        std::fs::write(&path, "[registry.\"docker.io\"]\nmirrors = [\"a\", \"b\"]\n").unwrap();
        let file = File::read(&path).unwrap().unwrap();
        assert_eq!(file.registry["docker.io"].mirrors, ["a", "b"]);
        std::fs::write(&path, "[registry.\"docker.io\"]\nmirror = [\"a\"]\n").unwrap();
        std::fs::write(&path, "[cache]\nmax = \"20GB\"\n").unwrap();
        let file = File::read(&path).unwrap().unwrap();
        assert_eq!(file.cache.max.as_deref(), Some("20GB"));
        std::fs::write(&path, "[cache]\nmaximum = 20\n").unwrap();
        let error = File::read(&path).unwrap_err();
        assert!(error.to_string().contains("is no valid configuration"), "{error}");
    }
}
