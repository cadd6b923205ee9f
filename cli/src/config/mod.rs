//! What the environment and the configuration files say: the only reader of either.
//!
//! Nothing is read before somebody asks, so that a verb pays for what it uses.

mod certificates;
mod containers;
mod credentials;
mod file;
mod network;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rbuild::{Access, Actions, Mirror, Registries};
use thiserror::Error;

use crate::args::{Global, Size};
use crate::progress::{Look, Mode};

pub(crate) use credentials::{CredentialError, forget, keep};
use file::File;

/// Where root keeps images.
const ROOT: &str = "/var/lib/rbuild";
/// The settings of the machine.
const MACHINE_FILE: &str = "/etc/rbuild/config.toml";
/// How many lines of output a running step shows.
const LOG_LINES: usize = 6;
/// The registry that mirrors stand for where nobody says otherwise.
const DOCKER_HUB: &str = "docker.io";

/// Why the settings can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` is no valid configuration", path.display())]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("neither HOME nor XDG_DATA_HOME is set, so there is no place for the store")]
    NoHome,
    #[error("`{name}` cannot be `{value}`")]
    Variable { name: &'static str, value: String },
}

/// The settings of one call of the program.
#[derive(Debug)]
pub(crate) struct Config {
    global: Global,
    files: OnceCell<Vec<File>>,
}

impl Config {
    /// The settings, with what was typed on top.
    pub(crate) fn new(global: Global) -> Self {
        Self { global, files: OnceCell::new() }
    }

    /// Whether to tell more.
    pub(crate) fn debug(&self) -> bool {
        self.global.debug
    }

    /// The folder that holds the store.
    pub(crate) fn root(&self) -> Result<PathBuf, ConfigError> {
        if let Some(root) = self.global.root.clone().or_else(|| path("RBUILD_ROOT")) {
            return Ok(root);
        }
        if rustix::process::geteuid().is_root() {
            return Ok(ROOT.into());
        }
        let data = path("XDG_DATA_HOME").or_else(|| Some(home()?.join(".local/share")));
        data.map(|data| data.join("rbuild")).ok_or(ConfigError::NoHome)
    }

    /// Keeps the folder of the store whoever this process is from now on.
    pub(crate) fn fix_root(&mut self) -> Result<PathBuf, ConfigError> {
        let root = self.root()?;
        Ok(self.global.root.insert(root).clone())
    }

    /// Where images come from and go to. A mirror that was typed is asked before one in a file.
    pub(crate) fn registries(&self) -> Result<Registries, ConfigError> {
        let mut registries = Registries::new().proxies(proxies());
        for mirror in self.global.registry_mirror.iter().map(|text| typed_mirror(text)) {
            registries = registries.mirror(mirror);
        }
        for host in &self.global.insecure_registry {
            registries = registries.insecure(host);
        }
        for file in self.files()? {
            registries = file.apply(registries);
        }
        registries = containers::apply(registries, &containers_place())?;
        registries = network::apply(registries, &self.global.patience, self.files()?)?;
        let folder = self.docker_folder();
        registries = certificates::apply(registries, folder.as_deref())?;
        if let Some(access) = bucket_access() {
            registries = registries.bucket_access(access);
        }
        if let (Some(url), Some(token)) =
            (variable("ACTIONS_RESULTS_URL"), variable("ACTIONS_RUNTIME_TOKEN"))
        {
            registries = registries.actions(Actions { url, token });
        }
        Ok(registries.credentials(move |registry| {
            credentials::find(folder.as_deref()?, registry).ok().flatten()
        }))
    }

    /// How many bytes the store may take, where the user says so: what was typed, else
    /// `RBUILD_CACHE_MAX`, else `max` below `[cache]` in a file. 0 is no cap.
    pub(crate) fn cache_max(&self, typed: Option<Size>) -> Result<Option<u64>, ConfigError> {
        const NAME: &str = "RBUILD_CACHE_MAX";
        let parse = |value: String| {
            value.parse::<Size>().map_err(|_| ConfigError::Variable { name: NAME, value })
        };
        let found = match (typed, variable(NAME)) {
            (Some(typed), _) => Some(typed),
            (None, Some(value)) => Some(parse(value)?),
            (None, None) => self
                .files()?
                .iter()
                .find_map(|file| file.cache.max.clone())
                .map(parse)
                .transpose()?,
        };
        Ok(found.map(|size| size.0).filter(|bytes| *bytes > 0))
    }

    /// How old the answer of a registry may be before it is asked again what a tag stands for,
    /// where the user says so: `RBUILD_TAG_TTL=1h30m`, or `tag-ttl` in a file.
    pub(crate) fn tag_ttl(&self) -> Result<Option<Duration>, ConfigError> {
        const NAME: &str = "RBUILD_TAG_TTL";
        let value = match variable(NAME) {
            Some(value) => Some(value),
            None => self.files()?.iter().find_map(|file| file.tag_ttl.clone()),
        };
        value.map(|value| duration(NAME, &value)).transpose()
    }

    /// The user's file, then the machine's, read once; one that is not there says nothing.
    fn files(&self) -> Result<&[File], ConfigError> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = read_files()?;
        Ok(self.files.get_or_init(|| files))
    }

    /// The folder of docker's `config.json`.
    pub(crate) fn docker_folder(&self) -> Option<PathBuf> {
        let typed = self.global.config.clone().or_else(|| path("DOCKER_CONFIG"));
        typed.or_else(|| Some(home()?.join(".docker")))
    }

    /// What the terminal is to look like.
    pub(crate) fn look(&self) -> Look {
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        let lines = variable("BUILDKIT_TTY_LOG_LINES").and_then(|lines| lines.parse().ok());
        Look {
            colour: variable("NO_COLOR").is_none() && !dumb,
            log_lines: lines.unwrap_or(LOG_LINES),
            debug: self.debug(),
            heading: "Building",
        }
    }
}

/// A span of time that a setting names.
fn duration(name: &'static str, value: &str) -> Result<Duration, ConfigError> {
    let wrong = |_| ConfigError::Variable { name, value: value.to_owned() };
    rbuild::dockerfile::value::duration(value).map_err(wrong)
}

fn read_files() -> Result<Vec<File>, ConfigError> {
    let config = path("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")));
    let user = config.map(|folder| folder.join("rbuild/config.toml"));
    let paths = user.into_iter().chain([MACHINE_FILE.into()]);
    paths.filter_map(|path| File::read(&path).transpose()).collect()
}

/// Where the files of podman and its like are.
fn containers_place() -> containers::Place {
    let config = path("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")));
    let user = config.map(|folder| folder.join("containers"));
    containers::Place { typed: path("CONTAINERS_REGISTRIES_CONF"), user }
}

/// How to show a build, where nothing was typed.
pub(crate) fn progress() -> Result<Mode, ConfigError> {
    const NAME: &str = "BUILDKIT_PROGRESS";
    let Some(value) = variable(NAME) else {
        return Ok(Mode::Auto);
    };
    clap::ValueEnum::from_str(&value, true).map_err(|_| ConfigError::Variable { name: NAME, value })
}

/// What to log for the developers of rbuild, as `RBUILD_LOG=debug` or `RBUILD_LOG=rbuild=trace`.
pub(crate) fn log() -> Option<String> {
    variable("RBUILD_LOG")
}

/// The platform to build for or to run, where nothing was typed.
pub(crate) fn platform() -> Option<String> {
    variable("DOCKER_DEFAULT_PLATFORM")
}

/// `HOST` mirrors Docker Hub, `REGISTRY=HOST` the registry.
fn typed_mirror(text: &str) -> Mirror {
    let (registry, endpoint) = match text.split_once('=') {
        Some((registry, endpoint)) => (registry, endpoint),
        None => (DOCKER_HUB, text),
    };
    let (registry, endpoint) = (registry.to_owned(), endpoint.to_owned());
    Mirror { registry, endpoint, insecure: false }
}

fn proxies() -> rbuild::registries::Proxies {
    let either = |upper: &str, lower: &str| variable(lower).or_else(|| variable(upper));
    rbuild::registries::Proxies {
        http: either("HTTP_PROXY", "http_proxy"),
        https: either("HTTPS_PROXY", "https_proxy"),
        except: either("NO_PROXY", "no_proxy"),
    }
}

fn home() -> Option<PathBuf> {
    path("HOME")
}

/// Who asks for what is in buckets of object stores, as Amazon's own tools find it.
pub(crate) fn bucket_access() -> Option<Access> {
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    Some(Access { id, secret, session: variable("AWS_SESSION_TOKEN") })
}

/// The value of a variable, such as one that `-e NAME` names; an empty one counts as none.
#[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The same for a path, which need not be text. One that is relative counts as none, as the XDG
/// rules want it, save where the user means this folder.
#[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
fn path(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(name)?);
    let is_xdg = name.starts_with("XDG_");
    (!path.as_os_str().is_empty() && (!is_xdg || path.is_absolute())).then_some(path)
}

/// The folders in which programs are looked for.
#[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
pub(crate) fn search_path() -> Vec<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).filter(|folder| folder.is_absolute()).collect()
}

/// Reads a file that may be missing.
fn read_if_there(path: &Path) -> Result<Option<String>, std::io::Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_stands_for_docker_hub_or_another() {
        let mirror = |text: &str| {
            let mirror = typed_mirror(text);
            (mirror.registry, mirror.endpoint)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(mirror("127.0.0.1:5100"), pair("docker.io", "127.0.0.1:5100"));
        assert_eq!(mirror("ghcr.io=http://m:1/p"), pair("ghcr.io", "http://m:1/p"));
    }

    #[test]
    fn what_was_typed_comes_first() {
        let root = Some(PathBuf::from("/typed"));
        let config = Config::new(Global { root, ..Global::default() });
        assert_eq!(config.root().unwrap(), Path::new("/typed"));
        let folder = Some(PathBuf::from("/docker"));
        let config = Config::new(Global { config: folder.clone(), ..Global::default() });
        assert_eq!(config.docker_folder(), folder);
    }
}
