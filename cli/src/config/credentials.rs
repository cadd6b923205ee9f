//! The credentials in docker's `config.json` and in its helpers: found, kept and forgotten, so
//! that a login of docker's is one of ours and the other way round.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild::Credential;
use rbuild::docker_config::{self, Lookup};
use serde_json::{Value, json};
use thiserror::Error;

use super::read_if_there;

/// Why credentials can't be read or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum CredentialError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` is no valid JSON object", path.display())]
    Parse { path: PathBuf },
    #[error("cannot run `{program}`")]
    Helper { program: String, source: io::Error },
    #[error("`{program} {verb}` failed: {output}")]
    HelperFailed { program: String, verb: &'static str, output: String },
}

/// Finds the credential of a registry.
pub(super) fn find(folder: &Path, registry: &str) -> Result<Option<Credential>, CredentialError> {
    let path = folder.join("config.json");
    let text = read_if_there(&path)
        .map_err(|source| CredentialError::Read { path: path.clone(), source })?;
    let Some(text) = text else { return Ok(None) };
    let Ok(config) = docker_config::parse(&text) else {
        return Err(CredentialError::Parse { path });
    };
    match config.lookup(registry, &path.display().to_string()) {
        Lookup::Found(credential) => Ok(Some(credential)),
        Lookup::Nothing => Ok(None),
        Lookup::Helper { name, key } => {
            let reply = ask(&name, "get", &key)?;
            Ok(docker_config::parse_helper(&reply, &format!("docker-credential-{name}")))
        }
    }
}

/// Keeps a user's password, or the identity token that a registry gave for it.
pub(crate) fn keep(
    folder: &Path,
    registry: &str,
    (user, password): (&str, &str),
    token: Option<&str>,
) -> Result<(), CredentialError> {
    let (path, mut config) = load(folder)?;
    let key = docker_config::key(registry);
    let entry = if let Some(helper) = helper(&config, key) {
        let (user, secret) = token.map_or((user, password), |token| ("<token>", token));
        let message = json!({ "ServerURL": key, "Username": user, "Secret": secret });
        ask(&helper, "store", &message.to_string())?;
        json!({})
    } else {
        // Beside a token the password is left out: the token stands for it.
        let password = if token.is_some() { "" } else { password };
        let pair = STANDARD.encode(format!("{user}:{password}"));
        match token {
            Some(token) => json!({ "auth": pair, "identitytoken": token }),
            None => json!({ "auth": pair }),
        }
    };
    let auths = config.as_object_mut().map(|config| config.entry("auths").or_insert(json!({})));
    match auths.and_then(Value::as_object_mut) {
        Some(auths) => auths.insert(key.to_owned(), entry),
        None => return Err(CredentialError::Parse { path }),
    };
    save(&path, &config)
}

/// Forgets a registry; returns whether it was known.
pub(crate) fn forget(folder: &Path, registry: &str) -> Result<bool, CredentialError> {
    let (path, mut config) = load(folder)?;
    let key = docker_config::key(registry);
    if let Some(helper) = helper(&config, key) {
        ask(&helper, "erase", key)?;
    }
    let auths = config.get_mut("auths").and_then(Value::as_object_mut);
    let known = auths.is_some_and(|auths| auths.remove(key).is_some());
    if known {
        save(&path, &config)?;
    }
    Ok(known)
}

fn load(folder: &Path) -> Result<(PathBuf, Value), CredentialError> {
    let path = folder.join("config.json");
    let text = read_if_there(&path)
        .map_err(|source| CredentialError::Read { path: path.clone(), source })?;
    let config: Value = match text {
        None => json!({}),
        Some(text) => serde_json::from_str(&text).unwrap_or_default(),
    };
    if config.is_object() { Ok((path, config)) } else { Err(CredentialError::Parse { path }) }
}

/// Writes beside the file and renames: whoever reads sees the old file or the new one. Only the
/// owner may read it.
fn save(path: &Path, config: &Value) -> Result<(), CredentialError> {
    let failed = |source| CredentialError::Write { path: path.to_owned(), source };
    // A link, such as one into a folder of settings, stays a link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let beside = target.with_extension(format!("json.{}", std::process::id()));
    let text = format!("{config:#}\n");
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, &target));
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written.map_err(failed)
}

/// The helper that keeps a registry's credential, if any.
fn helper(config: &Value, key: &str) -> Option<String> {
    let own = config.get("credHelpers").and_then(|helpers| helpers.get(key));
    let name = own.or_else(|| config.get("credsStore"))?.as_str()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!name.is_empty() && name.bytes().all(plain)).then(|| name.to_owned())
}

/// Runs a helper; returns what it printed.
fn ask(name: &str, verb: &'static str, question: &str) -> Result<String, CredentialError> {
    let program = format!("docker-credential-{name}");
    let failed = |source| CredentialError::Helper { program: program.clone(), source };
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that ends without reading says why itself.
        drop(input.write_all(question.as_bytes()));
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(CredentialError::HelperFailed { program, verb, output: text.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(folder: &Path) -> String {
        fs::read_to_string(folder.join("config.json")).unwrap()
    }

    #[test]
    fn a_login_is_kept_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        keep(&folder, "localhost:5000", ("kit", "pass"), None).unwrap();
        assert!(text(&folder).contains("\"auth\": \"a2l0OnBhc3M=\""), "{}", text(&folder));
        let mode = fs::metadata(folder.join("config.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(forget(&folder, "localhost:5000").unwrap());
        assert!(!forget(&folder, "localhost:5000").unwrap());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn what_else_is_in_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, r#"{"detachKeys":"ctrl-x","auths":{"a":{"auth":"x"}}}"#).unwrap();
        keep(folder.path(), "b", ("u", "p"), Some("token")).unwrap();
        let config: Value = serde_json::from_str(&text(folder.path())).unwrap();
        assert_eq!(config["detachKeys"], "ctrl-x");
        assert_eq!(config["auths"]["a"]["auth"], "x");
        assert_eq!(config["auths"]["b"]["identitytoken"], "token");
        fs::write(&path, "[]").unwrap();
        assert!(keep(folder.path(), "b", ("u", "p"), None).is_err());
    }

    #[test]
    fn a_helper_is_a_plain_name() {
        let config = json!({ "credsStore": "pass", "credHelpers": { "x": "../sh" } });
        assert_eq!(helper(&config, "y").as_deref(), Some("pass"));
        assert_eq!(helper(&config, "x"), None);
    }
}
