//! The config of an image: how Docker and OCI describe what runs and how it was made.
//!
//! Fields and their order are those that `BuildKit` writes (OCI image specification, "Image
//! Configuration", with Docker's additions), so that a config can be compared with its.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rbuild_cache::Digest;
use serde::{Deserialize, Serialize};

use crate::platform::Platform;

/// The default search path of a container whose image has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image config document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The architecture, by Go's name.
    pub architecture: String,
    /// Who made it (`MAINTAINER`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What runs in a container of the image.
    #[serde(default)]
    pub config: ContainerConfig,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// One entry for each instruction.
    #[serde(default, deserialize_with = "nullable")]
    pub history: Vec<History>,
    /// The operating system.
    pub os: String,
    /// What the image needs of the operating system (Windows only).
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "nullable")]
    pub os_features: Vec<String>,
    /// The version of the operating system (Windows only).
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The layers.
    pub rootfs: RootFs,
    /// The variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The cache that the image brings along for those who build it elsewhere. It belongs to the
    /// image alone: nobody who stands on the image takes it over.
    #[serde(rename = "rbuild.cache.v1", skip_deserializing)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_cache: Option<serde_json::Value>,
}

/// The name of the field with the cache that an image brings along.
pub(crate) const INLINE_CACHE: &str = "rbuild.cache.v1";

/// The `config` object of an image config: defaults for its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `user[:group]`, by name or number; empty is root.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub user: String,
    /// Ports such as `80/tcp`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", with = "set")]
    pub exposed_ports: BTreeSet<String>,
    /// The environment, `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub entrypoint: Vec<String>,
    /// The default arguments, or the program where there is no entry point.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub cmd: Vec<String>,
    /// Paths that get a volume of their own.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", with = "set")]
    pub volumes: BTreeSet<String>,
    /// The working directory.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops a container.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub stop_signal: String,
    /// A legacy field that `BuildKit` sets with CMD.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "nullable")]
    pub args_escaped: bool,
    /// How to tell whether a container is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for images that are built from this one.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub on_build: Vec<String>,
    /// The shell of shell-form instructions.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub shell: Vec<String>,
}

/// Sets as Go writes them: objects whose values are empty objects.
mod set {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        set: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let empty = serde_json::json!({});
        serializer.collect_map(set.iter().map(|name| (name, &empty)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map = Option::<serde_json::Map<String, serde_json::Value>>::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_iter().map(|(name, _)| name).collect())
    }
}

/// The check of `HEALTHCHECK`; times in nanoseconds, 0 meaning the runtime's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub test: Vec<String>,
    /// The time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// The time after which a check has failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// The time in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// The time between two checks during the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// The failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// One line of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Which builder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The layers of an image, by the digests of their uncompressed tars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The layers, lowest first.
    #[serde(deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// Reads a missing or `null` field, which Go writes for an empty one, as the empty value.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl ImageConfig {
    /// The config of `FROM scratch` on a platform.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture().to_owned(),
            author: None,
            config: ContainerConfig {
                env: vec![format!("PATH={DEFAULT_PATH}")],
                working_dir: "/".to_owned(),
                ..ContainerConfig::default()
            },
            created: None,
            history: Vec::new(),
            os: platform.os().to_owned(),
            os_features: Vec::new(),
            os_version: None,
            rootfs: RootFs::default(),
            variant: platform.variant().map(str::to_owned),
            inline_cache: None,
        }
    }

    /// The platform that the config names.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// Says that the image is for a platform, whatever its base was for.
    pub(crate) fn claim(&mut self, platform: &Platform) {
        let is_same = self.os == platform.os() && self.architecture == platform.architecture();
        platform.os().clone_into(&mut self.os);
        platform.architecture().clone_into(&mut self.architecture);
        if !is_same || platform.variant().is_some() {
            self.variant = platform.variant().map(str::to_owned);
        }
        if !is_same {
            self.os_version = None;
        }
    }

    /// Gives the platform its usual names: a variant that every machine has is left out.
    pub(crate) fn normalize_platform(&mut self) {
        let platform = self.platform();
        platform.os().clone_into(&mut self.os);
        platform.architecture().clone_into(&mut self.architecture);
        self.variant = platform.variant().map(str::to_owned);
    }

    /// The document as it is stored and sent.
    ///
    /// # Panics
    /// Never: the document has string keys only.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a config has string keys only")
    }

    /// Makes the history have a line for each layer and no more, whatever the base said.
    fn account_for(&mut self, layer_times: &[Option<Timestamp>]) {
        let mut lines = 0;
        for line in self.history.iter_mut().filter(|line| !line.empty_layer) {
            line.empty_layer = lines >= layer_times.len();
            lines += usize::from(!line.empty_layer);
        }
        for time in layer_times.iter().skip(lines) {
            self.history.push(History {
                created: *time,
                created_by: "created by buildkit".to_owned(),
                comment: "buildkit.exporter.image.v0".to_owned(),
                ..History::default()
            });
        }
    }

    /// Gives every line of the history a time, as `BuildKit` does when it exports.
    ///
    /// Lines with a layer take the time of their layer, oldest first; lines without take the time
    /// of the layer before them, or of the first new layer. The image is as old as its last line.
    pub fn date(&mut self, layer_times: &[Option<Timestamp>]) {
        self.account_for(layer_times);
        let mut times = layer_times.iter();
        for line in self.history.iter_mut().filter(|line| !line.empty_layer) {
            let time = times.next().copied().flatten();
            line.created = line.created.or(time);
        }
        let mut current = None;
        let mut undated_before = false;
        for line in &self.history {
            match line.created {
                Some(time) => {
                    current = Some(time);
                    if undated_before {
                        break;
                    }
                }
                None => undated_before = true,
            }
        }
        let mut filling = false;
        for line in &mut self.history {
            match line.created {
                Some(time) if filling => current = Some(time),
                Some(_) => {}
                None => {
                    filling = true;
                    line.created = current;
                }
            }
        }
        self.created = self.history.last().and_then(|line| line.created);
    }
}

impl ImageConfig {
    /// Lets nothing be younger than a time, as `BuildKit` does with `SOURCE_DATE_EPOCH`.
    pub fn date_back(&mut self, epoch: Timestamp) {
        let back = |time: &mut Option<Timestamp>| {
            *time = Some(time.map_or(epoch, |time| time.min(epoch)));
        };
        self.history.iter_mut().for_each(|line| back(&mut line.created));
        back(&mut self.created);
    }
}

/// Looks a name up in an environment of `NAME=value` lines; the last one counts.
pub fn lookup<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// Returns where each name stands first in an environment of `NAME=value` lines.
pub(crate) fn places(env: &[String]) -> HashMap<String, usize> {
    let mut places = HashMap::with_capacity(env.len());
    for (place, line) in env.iter().enumerate() {
        let name = line.split('=').next().unwrap_or_default();
        places.entry(name.to_owned()).or_insert(place);
    }
    places
}

/// Sets a name in an environment of `NAME=value` lines, at its old place where it had one.
pub fn set(env: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    let same = |old: &&mut String| old.split('=').next() == Some(name);
    match env.iter_mut().find(same) {
        Some(old) => *old = line,
        None => env.push(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Timestamp::from_second(seconds).ok()
    }

    fn line(empty_layer: bool, created: Option<Timestamp>) -> History {
        History { created, empty_layer, ..History::default() }
    }

    #[test]
    fn lines_take_the_time_of_their_layer_and_the_others_that_of_the_layer_before() {
        let mut image = ImageConfig::scratch(&crate::platform::host());
        image.history =
            vec![line(false, at(1)), line(true, None), line(false, None), line(true, None)];
        image.date(&[None, at(9)]);
        let times: Vec<_> = image.history.iter().map(|line| line.created).collect();
        assert_eq!(times, [at(1), at(9), at(9), at(9)]);
        assert_eq!(image.created, at(9));
    }

    #[test]
    fn every_layer_has_a_line_and_every_line_a_layer() {
        let mut image = ImageConfig::scratch(&crate::platform::host());
        image.history = vec![line(false, at(1))];
        image.date(&[at(1), at(2)]);
        let lines: Vec<_> = image.history.iter().map(|line| line.comment.as_str()).collect();
        assert_eq!(lines, ["", "buildkit.exporter.image.v0"]);
        assert_eq!(image.created, at(2));
        image.date(&[at(1)]);
        let empty: Vec<_> = image.history.iter().map(|line| line.empty_layer).collect();
        assert_eq!(empty, [false, true]);
    }

    #[test]
    fn an_image_of_metadata_alone_is_as_old_as_its_base() {
        let mut image = ImageConfig::scratch(&crate::platform::host());
        image.history = vec![line(false, at(5)), line(true, None)];
        image.date(&[None]);
        assert_eq!(image.created, at(5));
    }

    #[test]
    fn null_fields_of_other_builders_are_read_as_empty() {
        let text = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null},
            "config":{"Env":null,"Cmd":null,"Volumes":null,"Labels":null,"OnBuild":null},"history":null}"#;
        let image: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(image.config, ContainerConfig::default());
    }

    #[test]
    fn setting_a_name_again_keeps_its_place() {
        let mut env = vec!["A=1".to_owned(), "AB=2".to_owned()];
        set(&mut env, "A", "3");
        set(&mut env, "C", "4");
        assert_eq!(env, ["A=3", "AB=2", "C=4"]);
        assert_eq!(lookup(&env, "AB"), Some("2"));
        assert_eq!(lookup(&env, "B"), None);
    }
}
