//! The certificates of registries, in the folders where docker and podman look for them.
//!
//! `certs.d/HOST[:PORT]/` holds authorities as `*.crt`, and a client's own certificate as
//! `NAME.cert` with its key `NAME.key` (dockerd reference, "Verify repository client with
//! certificates").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rbuild::Registries;
use rbuild::registries::{Identity, Trust};

use super::ConfigError;

/// The folders of the machine.
const MACHINE: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// Trusts what the user's folder, then those of the machine, vouch for.
pub(super) fn apply(
    mut registries: Registries,
    user: Option<&Path>,
) -> Result<Registries, ConfigError> {
    let user = user.map(|folder| folder.join("certs.d"));
    let mut known = Vec::new();
    for folder in user.into_iter().chain(MACHINE.map(PathBuf::from)) {
        for host in entries(&folder)? {
            let Some(name) = host.file_name().and_then(|name| name.to_str()) else { continue };
            if host.is_dir() && !known.contains(&name.to_owned()) {
                known.push(name.to_owned());
                registries = registries.trust(name, trust(&host)?);
            }
        }
    }
    Ok(registries)
}

fn trust(folder: &Path) -> Result<Trust, ConfigError> {
    let mut trust = Trust::default();
    for path in entries(folder)? {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => trust.authorities.push(read(&path)?),
            Some("cert") => {
                let key = read(&path.with_extension("key"))?;
                trust.identity = Some(Identity { certificates: read(&path)?, key });
            }
            _ => {}
        }
    }
    Ok(trust)
}

/// The paths in a folder, sorted; none when it is not there.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read { path: folder.to_owned(), source };
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_vouches_for_its_registry() {
        let user = tempfile::tempdir().unwrap();
        let host = user.path().join("certs.d/registry.test:5000");
        fs::create_dir_all(&host).unwrap();
        fs::write(host.join("ca.crt"), "authority").unwrap();
        fs::write(host.join("client.cert"), "certificate").unwrap();
        fs::write(host.join("client.key"), "key").unwrap();
        fs::write(host.join("README"), "nothing").unwrap();
        let trust = trust(&host).unwrap();
        assert_eq!(trust.authorities, [b"authority"]);
        assert_eq!(trust.identity.unwrap().key, b"key");
        assert!(apply(Registries::new(), Some(user.path())).is_ok());
    }

    #[test]
    fn a_certificate_without_its_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("client.cert"), "certificate").unwrap();
        assert!(trust(folder.path()).is_err());
        assert!(entries(&folder.path().join("missing")).unwrap().is_empty());
    }
}
