//! Image references: Docker's grammar, its defaults, and the short form that people read.

use std::fmt;
use std::str::FromStr;

use crate::digest::is_lower_hex;
use crate::error::{Error, Result};

/// Docker Hub, under the name by which references know it.
pub(crate) const DOCKER_HUB: &str = "docker.io";
const OFFICIAL: &str = "library/";
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// Names an image: a registry, a repository in it, and a tag, a digest or both.
///
/// Parsing fills in what people leave out, as Docker does: `alpine` is
/// `docker.io/library/alpine:latest`. Where both a tag and a digest are given, the digest decides.
///
/// ```
/// let image: rbuild_registry::Reference = "alpine".parse()?;
/// assert_eq!(image.to_string(), "docker.io/library/alpine:latest");
/// assert_eq!(image.familiar(), "alpine:latest");
/// # Ok::<(), rbuild_registry::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// The registry, as `host` or `host:port`; Docker Hub is `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry, such as `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, such as `latest`; none only where a digest is.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, as `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository at another tag; a digest is dropped.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        check_tag(tag).map_err(|reason| refused(tag, reason))?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository at a digest; the tag is kept for people to read.
    pub fn with_digest(&self, digest: &str) -> Result<Self> {
        check_digest(digest).map_err(|reason| refused(digest, reason))?;
        Ok(Self { digest: Some(digest.to_owned()), ..self.clone() })
    }

    /// The shortest form that parses to the same reference: `alpine:latest`, `me/tool:1`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let hub = full.strip_prefix("docker.io/");
        let short = [hub.and_then(|rest| rest.strip_prefix(OFFICIAL)), hub];
        let same = |text: &&str| text.parse::<Self>().is_ok_and(|parsed| parsed == *self);
        short.into_iter().flatten().find(same).map_or_else(|| full.clone(), str::to_owned)
    }

    /// What a manifest is asked for by: the digest if there is one, else the tag.
    pub(crate) fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// Repository and tag or digest, for errors that name the registry themselves.
    pub(crate) fn within_registry(&self) -> String {
        let mark = if self.digest.is_some() { '@' } else { ':' };
        format!("{}{mark}{}", self.repository, self.wanted())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|reason| refused(text, reason))
    }
}

fn refused(text: &str, reason: &'static str) -> Error {
    let shown = text.chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    Error::Reference { text: shown.collect(), reason }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if is_lower_hex(text, 64) {
        return Err("64 hexadecimal digits are an image id");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = split_tag(rest);
    let (registry, path) = split_registry(name);
    check_registry(registry)?;
    let repository = match (registry, path.contains('/')) {
        (DOCKER_HUB, false) => format!("{OFFICIAL}{path}"),
        _ => path.to_owned(),
    };
    check_repository(&repository)?;
    if registry.len() + 1 + repository.len() > NAME_LIMIT {
        return Err("the name is longer than 255 characters");
    }
    tag.map_or(Ok(()), check_tag)?;
    digest.map_or(Ok(()), check_digest)?;
    let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
    Ok(Reference {
        registry: registry.to_owned(),
        repository,
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last..].rfind(':') {
        Some(colon) => (&text[..last + colon], Some(&text[last + colon + 1..])),
        None => (text, None),
    }
}

/// The first part is a registry if it could be no part of a repository on Docker Hub.
fn split_registry(name: &str) -> (&str, &str) {
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => (DOCKER_HUB, name),
    };
    if registry == "index.docker.io" { (DOCKER_HUB, path) } else { (registry, path) }
}

fn is_registry(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    const REASON: &str = "the registry is not host[:port]";
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            address.parse::<std::net::Ipv6Addr>().map_err(|_| REASON)?;
            (None, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(REASON)?) })
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), None),
        },
    };
    let label = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let number =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let valid = host.is_none_or(|host| host.split('.').all(label)) && port.is_none_or(number);
    if valid { Ok(()) } else { Err(REASON) }
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the repository must be lower case");
    }
    if repository.split('/').all(is_component) {
        Ok(())
    } else {
        Err("the repository has characters or separators that are not allowed")
    }
}

/// Letters and digits, in between them one dot, one or two underscores, or dashes.
fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separator = String::new();
    for byte in part.bytes() {
        if !word(byte) {
            separator.push(char::from(byte));
        } else if !separator.is_empty() {
            if !is_separator(&separator) {
                return false;
            }
            separator.clear();
        }
    }
    separator.is_empty() && part.bytes().next().is_some_and(word)
}

fn is_separator(text: &str) -> bool {
    matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-')
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.len() <= TAG_LIMIT
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    if valid { Ok(()) } else { Err("the tag is not 1 to 128 letters, digits, `_`, `.`, `-`") }
}

fn check_digest(digest: &str) -> Result<(), &'static str> {
    let known = [("sha256", 64), ("sha384", 96), ("sha512", 128)];
    let valid = digest.split_once(':').is_some_and(|(algorithm, hex)| {
        known.iter().any(|&(name, length)| name == algorithm && is_lower_hex(hex, length))
    });
    if valid { Ok(()) } else { Err("the digest is not sha256: and 64 hexadecimal digits") }
}

#[cfg(test)]
mod tests;
