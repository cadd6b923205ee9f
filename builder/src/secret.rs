//! The secrets of a build: read when a step mounts them, never kept, logged or hashed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// The largest secret, in bytes: `BuildKit`'s limit.
const LARGEST: u64 = 500 << 10;

/// Where the value of a secret comes from.
#[derive(Clone)]
pub enum SecretSource {
    /// A file, read when a step needs it.
    File(PathBuf),
    /// The value itself, such as that of an environment variable.
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// The secrets of a build, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(BTreeMap<String, SecretSource>);

impl Secrets {
    /// Adds a secret, in place of one of the same name.
    pub(crate) fn insert(&mut self, id: String, source: SecretSource) {
        self.0.insert(id, source);
    }

    /// Reads the value of a secret; `None` when there is no secret of this name.
    pub(crate) fn read(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        let value = match self.0.get(id) {
            None => return Ok(None),
            Some(SecretSource::Value(value)) => value.clone(),
            Some(SecretSource::File(path)) => {
                let mut value = Vec::new();
                File::open(path)?.take(LARGEST + 1).read_to_end(&mut value)?;
                value
            }
        };
        if value.len() as u64 > LARGEST {
            return Err(io::Error::other(format!("it has more than {} KiB", LARGEST >> 10)));
        }
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_in_debug_output() {
        let mut secrets = Secrets::default();
        secrets.insert("token".to_owned(), SecretSource::Value(b"hunter2".to_vec()));
        assert!(!format!("{secrets:?}").contains("hunter2"));
        assert_eq!(secrets.read("token").unwrap(), Some(b"hunter2".to_vec()));
        assert_eq!(secrets.read("other").unwrap(), None);
        secrets.insert("large".to_owned(), SecretSource::File("/dev/zero".into()));
        assert!(secrets.read("large").is_err());
    }
}
