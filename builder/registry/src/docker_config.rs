//! Reads Docker's `config.json` and what its credential helpers answer: text in, values out.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::credential::{Credential, Secret};
use crate::error::{Error, Result};
use crate::reference::DOCKER_HUB;

/// The key under which Docker keeps the credential of Docker Hub.
pub const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The credentials and helpers that a `config.json` names.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    #[serde(rename = "auth")]
    pair: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// Where the credential of a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// In the file itself.
    Found(Credential),
    /// With a helper: run `docker-credential-<name> get` with the key on its standard input, and
    /// give what it prints to [`parse_helper`].
    Helper {
        /// The helper's name, such as `ecr-login`.
        name: String,
        /// What to ask it for.
        key: String,
    },
    /// Nowhere.
    Nothing,
}

/// Reads the text of a `config.json`.
pub fn parse(text: &str) -> Result<DockerConfig> {
    serde_json::from_str(text).map_err(|source| Error::DockerConfig { source })
}

/// Reads what a credential helper prints for `get`; `origin` names the helper in hints. Answers
/// nothing where the helper knows no credential.
pub fn parse_helper(text: &str, origin: &str) -> Option<Credential> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reply {
        username: String,
        secret: String,
    }
    let Reply { username, secret } = serde_json::from_str(text).ok()?;
    let origin = origin.to_owned();
    // A helper marks an identity token by this name in the user's place.
    if username == "<token>" {
        return Some(Credential {
            username: String::new(),
            secret: Secret::Identity(secret),
            origin,
        });
    }
    Some(Credential { username, secret: Secret::Password(secret), origin })
}

/// The key under which Docker keeps a registry's credential.
pub fn key(registry: &str) -> &str {
    if registry == DOCKER_HUB { DOCKER_HUB_KEY } else { registry }
}

impl DockerConfig {
    /// Finds the credential of a registry, named as references name it. A helper for just this
    /// registry comes first, then the store for all, then the file; `origin` names the file.
    pub fn lookup(&self, registry: &str, origin: &str) -> Lookup {
        let key = key(registry);
        let helper = self.cred_helpers.iter().find(|(known, _)| same(known, registry));
        if let Some((_, name)) = helper.filter(|(_, name)| is_helper(name)) {
            return Lookup::Helper { name: name.clone(), key: key.to_owned() };
        }
        let kept = self.auths.get(key).into_iter();
        let alike = self.auths.iter().filter(|(known, _)| same(known, registry));
        let mut entries = kept.chain(alike.map(|(_, auth)| auth));
        if let Some(found) = entries.find_map(|auth| auth.credential(origin)) {
            return Lookup::Found(found);
        }
        match self.creds_store.as_ref().filter(|name| is_helper(name)) {
            Some(name) => Lookup::Helper { name: name.clone(), key: key.to_owned() },
            None => Lookup::Nothing,
        }
    }
}

impl Auth {
    fn credential(&self, origin: &str) -> Option<Credential> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let decoded = given(&self.pair).and_then(|pair| decode(&pair));
        let (user, password) = decoded.unzip();
        let username = user.or_else(|| given(&self.username)).unwrap_or_default();
        let password = password.filter(|text| !text.is_empty()).or_else(|| given(&self.password));
        let secret = given(&self.registrytoken)
            .map(Secret::Bearer)
            .or_else(|| given(&self.identitytoken).map(Secret::Identity))
            .or_else(|| password.map(Secret::Password))?;
        Some(Credential { username, secret, origin: origin.to_owned() })
    }
}

/// `user:password` in base64; Docker pads the password with zero bytes.
fn decode(auth: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_matches('\0').to_owned()))
}

/// The name becomes part of a program's name: no path may hide in it.
fn is_helper(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Old files have URLs as keys; only the host counts.
fn same(known: &str, registry: &str) -> bool {
    let host = known.strip_prefix("https://").or_else(|| known.strip_prefix("http://"));
    let host = host.unwrap_or(known);
    let host = host.split('/').next().unwrap_or(host);
    match host {
        "index.docker.io" | "docker.io" | "registry-1.docker.io" => registry == DOCKER_HUB,
        host => host.eq_ignore_ascii_case(registry),
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig")
            .field("auths", &self.auths.keys())
            .field("creds_store", &self.creds_store)
            .field("cred_helpers", &self.cred_helpers)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": { "auth": "bWU6c2VjOnJldA==" },
            "http://old.example/v1/": { "username": "u", "password": "p" },
            "localhost:5000": { "auth": "a2l0OmtpdHBhc3MAAAA=" },
            "azure.example": { "auth": "MDAwOg==", "identitytoken": "idt" },
            "broken.example": { "auth": "%%%" },
            "stored.example": {}
        },
        "credsStore": "secretservice",
        "credHelpers": { "ecr.example": "ecr-login", "evil.example": "../../bin/sh" },
        "HttpHeaders": { "User-Agent": "x" },
        "proxies": {}
    }"#;

    fn lookup(registry: &str) -> Lookup {
        parse(FILE).unwrap().lookup(registry, "f")
    }

    fn password(user: &str, password: &str) -> Lookup {
        Lookup::Found(Credential::password(user, password, "f"))
    }

    fn helper(name: &str, key: &str) -> Lookup {
        Lookup::Helper { name: name.to_owned(), key: key.to_owned() }
    }

    #[test]
    fn credentials_are_found_by_registry() {
        assert_eq!(lookup("docker.io"), password("me", "sec:ret"));
        assert_eq!(lookup("localhost:5000"), password("kit", "kitpass"));
        assert_eq!(lookup("old.example"), password("u", "p"));
        let identity = Credential {
            username: "000".to_owned(),
            secret: Secret::Identity("idt".to_owned()),
            origin: "f".to_owned(),
        };
        assert_eq!(lookup("azure.example"), Lookup::Found(identity));
    }

    #[test]
    fn helpers_are_named_and_not_run() {
        assert_eq!(lookup("ecr.example"), helper("ecr-login", "ecr.example"));
        assert_eq!(lookup("stored.example"), helper("secretservice", "stored.example"));
        assert_eq!(lookup("broken.example"), helper("secretservice", "broken.example"));
        assert_eq!(lookup("evil.example"), helper("secretservice", "evil.example"));
        let config = parse(r#"{"credsStore":"pass"}"#).unwrap();
        assert_eq!(config.lookup("docker.io", "f"), helper("pass", DOCKER_HUB_KEY));
        assert_eq!(parse("{}").unwrap().lookup("docker.io", "f"), Lookup::Nothing);
        assert!(parse("[").is_err());
    }

    #[test]
    fn a_helper_answers_a_password_or_a_token() {
        let reply = r#"{"ServerURL":"x","Username":"u","Secret":"s"}"#;
        assert_eq!(parse_helper(reply, "h"), Some(Credential::password("u", "s", "h")));
        let token = parse_helper(r#"{"Username":"<token>","Secret":"t"}"#, "h").unwrap();
        assert_eq!(token.secret, Secret::Identity("t".to_owned()));
        assert_eq!(parse_helper("credentials not found in native keychain", "h"), None);
    }

    #[test]
    fn what_is_printed_tells_no_secret() {
        let printed = format!("{:?}", parse(FILE).unwrap());
        assert!(!printed.contains("bWU6") && !printed.contains("idt"), "{printed}");
    }
}
