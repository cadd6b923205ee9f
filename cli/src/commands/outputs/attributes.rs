//! The attributes of one `-o`, as buildx spells them.

use std::path::PathBuf;

use rbuild::dockerfile::value::boolean;
use rbuild::{Annotation, Compression, Destination, Output, OutputKind};

use super::annotation;
use crate::args::csv;
use crate::config;

/// The socket of a Docker daemon where nothing is said.
const SOCKET: &str = "/var/run/docker.sock";
/// The levels of gzip and zstd.
const GZIP_LEVELS: std::ops::RangeInclusive<u32> = 0..=9;
const ZSTD_LEVELS: std::ops::RangeInclusive<u32> = 0..=22;

/// What one `-o` says.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "so many of them are true or false")]
pub(super) struct Attributes {
    kind: Option<String>,
    place: Option<String>,
    names: Vec<String>,
    folder: bool,
    push: bool,
    by_digest: bool,
    storeless: bool,
    split: Option<bool>,
    delete: bool,
    context: Option<String>,
    compression: Option<String>,
    level: Option<u32>,
    force_compression: bool,
    docker_types: bool,
    rewrite_timestamp: bool,
    annotations: Vec<Annotation>,
    /// One of those that say how an image leaves the store.
    of_packing: Option<&'static str>,
    /// One of those that say what becomes of files.
    of_files: Option<&'static str>,
}

impl Attributes {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut this = Self::default();
        for (key, value) in csv(text).map_err(|error| error.to_string())? {
            this.set(&key, value.as_deref())?;
        }
        Ok(this)
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let is = || truth(key, value);
        let text = || {
            let value = value.filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| format!("`{key}` has no value"))
        };
        match key {
            "type" => self.kind = Some(text()?),
            "dest" => self.place = Some(text()?),
            "tar" => self.folder = !is()?,
            "name" => self.names.extend(text()?.split(',').map(|name| name.trim().to_owned())),
            "push" => self.push = is()?,
            "push-by-digest" => self.by_digest = is()?,
            "store" => self.storeless = !is()?,
            "context" => self.context = Some(text()?),
            "mode" | "platform-split" => self.set_of_files(key, value)?,
            // What they ask for is so in any case, or would change nothing here.
            "unpack"
            | "name-canonical"
            | "dangling-name-prefix"
            | "danging-name-empty-only"
            | "buildinfo"
            | "buildinfo-attrs" => {}
            "oci-artifact"
            | "attestation-inline"
            | "prefer-nondist-layers"
            | "registry.insecure"
                if !is()? => {}
            _ => self.set_of_packing(key, value)?,
        }
        Ok(())
    }

    fn set_of_files(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        self.of_files = Some(if key == "mode" { "mode" } else { "platform-split" });
        match (key, value) {
            ("mode", Some("copy")) => self.delete = false,
            ("mode", Some("delete")) => self.delete = true,
            ("mode", _) => return Err("`mode` is copy or delete".to_owned()),
            _ => self.split = Some(truth(key, value)?),
        }
        Ok(())
    }

    fn set_of_packing(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        self.of_packing = Some(match key {
            "compression" => {
                self.compression = value.map(str::to_owned);
                "compression"
            }
            "compression-level" => {
                let level = value.and_then(|value| value.parse().ok());
                self.level = Some(level.ok_or("`compression-level` is a number")?);
                "compression-level"
            }
            "force-compression" => {
                self.force_compression = truth(key, value)?;
                "force-compression"
            }
            "rewrite-timestamp" if !truth(key, value)? => return Ok(()),
            "rewrite-timestamp" => {
                self.rewrite_timestamp = true;
                "rewrite-timestamp"
            }
            "oci-mediatypes" if truth(key, value)? => return Ok(()),
            "oci-mediatypes" => {
                self.docker_types = true;
                "oci-mediatypes"
            }
            _ if key.starts_with("annotation") => {
                self.annotations.push(annotation::attribute(key, value.unwrap_or_default())?);
                "annotation"
            }
            _ => return Err(format!("`{key}` is not supported")),
        });
        Ok(())
    }

    /// The outputs that are meant; `push` is asked of all images.
    pub(super) fn outputs(self, push: bool) -> Result<Vec<Output>, String> {
        let kind = self.kind.as_deref().ok_or("`type` is missing")?;
        let tar = !self.folder;
        let kinds = match kind {
            "local" => {
                let (to, split, delete) = (self.path()?, self.split, self.delete);
                vec![OutputKind::Local { to, split, delete }]
            }
            "tar" => vec![OutputKind::Tar { to: self.to(), split: self.split }],
            "oci" => vec![OutputKind::Oci { to: self.to_archive()?, tar }],
            "docker" if self.context.is_some() => vec![OutputKind::Daemon(self.socket()?)],
            "docker" if self.place.is_none() => vec![OutputKind::Store],
            "docker" => vec![OutputKind::Docker { to: self.to_archive()?, tar }],
            "registry" => vec![OutputKind::Registry { by_digest: self.by_digest }],
            "image" => self.image(push),
            "cacheonly" => vec![OutputKind::CacheOnly],
            other => return Err(format!("there is no type `{other}`")),
        };
        self.check(kind, &kinds)?;
        let (compression, packs) = (self.compression()?, self.of_packing.is_some());
        let output = |kind| {
            let mut output = Output::new(kind);
            output.names.clone_from(&self.names);
            if packs {
                output.packing.compression = compression;
                output.packing.force_compression = self.force_compression;
                output.packing.docker_types = self.docker_types;
                output.packing.rewrite_timestamp = self.rewrite_timestamp;
                output.packing.annotations.clone_from(&self.annotations);
            }
            output
        };
        Ok(kinds.into_iter().map(output).collect())
    }

    /// An image goes into the store, and to the registry where that is asked for.
    fn image(&self, push: bool) -> Vec<OutputKind> {
        let by_digest = self.by_digest;
        let pushed = (self.push || push).then_some(OutputKind::Registry { by_digest });
        // What is to be found by its digest gets no name here either.
        let nameless = by_digest && pushed.is_some();
        let stored = !self.storeless && !nameless;
        let kinds: Vec<_> = stored.then_some(OutputKind::Store).into_iter().chain(pushed).collect();
        if kinds.is_empty() { vec![OutputKind::CacheOnly] } else { kinds }
    }

    /// Refuses what would have no effect.
    fn check(&self, kind: &str, kinds: &[OutputKind]) -> Result<(), String> {
        let are_files = ["local", "tar"].contains(&kind);
        let leaves = |kind: &OutputKind| !matches!(kind, OutputKind::Store | OutputKind::CacheOnly);
        match (self.of_files, self.of_packing) {
            (Some(key), _) if !are_files || (kind == "tar" && self.delete) => {
                Err(format!("`{key}` is not for the type `{kind}`"))
            }
            (_, Some(key)) if are_files => Err(format!("`{key}` is not for the type `{kind}`")),
            (_, Some(key)) if !kinds.iter().any(leaves) => Err(format!(
                "`{key}` is about an image that leaves the store, where layers stay as they were \
                 made: add `push=true` or `dest`"
            )),
            _ => Ok(()),
        }
    }

    fn compression(&self) -> Result<Option<Compression>, String> {
        let level = |usual: u32, levels: std::ops::RangeInclusive<u32>| match self.level {
            Some(level) if levels.contains(&level) => Ok(level),
            Some(_) => Err(format!("levels are {} to {}", levels.start(), levels.end())),
            None => Ok(usual),
        };
        Ok(match (self.compression.as_deref(), self.level) {
            (None, None) => self.force_compression.then(Compression::default),
            (Some("gzip"), None) => Some(Compression::default()),
            (None | Some("gzip"), Some(_)) => Some(Compression::Gzip(level(0, GZIP_LEVELS)?)),
            (Some("zstd"), _) => {
                let level = level(ZSTD_USUAL, ZSTD_LEVELS)?;
                Some(Compression::Zstd(i32::try_from(level).unwrap_or_default()))
            }
            (Some("uncompressed"), None) => Some(Compression::None),
            (Some("uncompressed"), Some(_)) => {
                return Err("what is not compressed has no level".into());
            }
            (Some(other), _) => {
                return Err(format!("`{other}` is none of gzip, zstd and uncompressed"));
            }
        })
    }

    fn to(&self) -> Destination {
        match self.place.as_deref() {
            None | Some("-") => Destination::Stdout,
            Some(path) => Destination::Path(path.into()),
        }
    }

    fn path(&self) -> Result<PathBuf, String> {
        self.place.clone().map(PathBuf::from).ok_or_else(|| "`dest` is missing".to_owned())
    }

    fn to_archive(&self) -> Result<Destination, String> {
        if self.folder { self.path().map(Destination::Path) } else { Ok(self.to()) }
    }

    /// Where the daemon listens.
    fn socket(&self) -> Result<PathBuf, String> {
        if self.context.as_deref() != Some("default") {
            return Err(
                "docker's contexts are not read; `default` is the daemon of DOCKER_HOST".into()
            );
        }
        match config::variable("DOCKER_HOST") {
            None => Ok(SOCKET.into()),
            Some(host) => match host.strip_prefix("unix://") {
                Some(path) => Ok(path.into()),
                None => Err(format!(
                    "DOCKER_HOST is `{host}` and no socket: `rbuild save NAME | docker load` reaches it"
                )),
            },
        }
    }
}

/// The level of zstd where nothing is said.
const ZSTD_USUAL: u32 = 3;

fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    let value = value.unwrap_or("true");
    boolean(value).ok_or_else(|| format!("`{key}` is true or false, and not `{value}`"))
}
