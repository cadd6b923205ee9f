//! What is mounted in a container, as plain data, and the languages in which users say so.

mod propagation;
mod spelled;
mod tmpfs;
mod volume;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_cache::Layer;
use serde::{Deserialize, Serialize};

pub use propagation::Propagation;

/// Something that is mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// The absolute path in the container.
    pub target: String,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// What works in it.
    #[serde(default)]
    pub access: Access,
}

/// What works in a [`Mount`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Whether programs can be run from it.
    pub exec: bool,
    /// Whether set-user-id bits count.
    pub suid: bool,
    /// Whether device nodes work.
    pub devices: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self { exec: true, suid: true, devices: false }
    }
}

/// Where the contents of a [`Mount`] come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A path of the host.
    Bind(Bind),
    /// A volume of the store.
    Volume(NamedVolume),
    /// A file system in memory.
    Tmpfs(Tmpfs),
    /// The files of an image, which cannot be written to.
    Image(ImageFiles),
}

/// A path of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The absolute path.
    pub path: PathBuf,
    /// Whether a missing path is made, a folder: `-v` does, `--mount` does not.
    pub create: bool,
    /// How it tells of what is mounted below it; none is privately.
    #[serde(default)]
    pub propagation: Option<Propagation>,
    /// What becomes of what is mounted below it.
    #[serde(default)]
    pub below: Below,
}

/// What becomes of mounts below a [`Bind`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Below {
    /// They are there, and as read-only as the bind itself.
    #[default]
    Same,
    /// They are there, and as writable as on the host, whatever the bind itself is.
    Writable,
    /// They are not there.
    Absent,
}

/// A volume, made and filled from the image when it is new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedVolume {
    /// Its name; none is an anonymous one, which is removed with the container.
    pub name: Option<String>,
    /// Whether an empty volume gets what the image has there.
    pub copy: bool,
    /// A path in the volume, that alone is mounted.
    #[serde(default)]
    pub subpath: Option<PathBuf>,
    /// The labels that it gets when it is new.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The options that it gets when it is new, as `volume create --opt` has them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// A file system in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Its size in bytes; none is half of the machine's memory.
    pub size: Option<u64>,
    /// The permission bits of its root; none are those of the folder in its place, or 1777.
    pub mode: Option<u32>,
    /// Whether it begins with what the image has in its place.
    #[serde(default)]
    pub copy_up: bool,
    /// More options, such as `uid` and `nr_inodes`, as the kernel has them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// More `MOUNT_ATTR_*` bits.
    #[serde(default)]
    pub attributes: u64,
}

/// Files of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFiles {
    /// The image as it was asked for.
    pub reference: String,
    /// Its layers, lowest first, all of them unpacked in the store.
    pub layers: Vec<Layer>,
    /// A path in the image, that alone is mounted.
    pub subpath: Option<PathBuf>,
}

impl Mount {
    fn new(source: Source, target: String) -> Self {
        Self { source, target, read_only: false, access: Access::default() }
    }

    /// An anonymous volume at a path that an image declares: a path and nothing else, since no
    /// image may name a folder of the host.
    pub(crate) fn anonymous(path: &str) -> super::error::Result<Self> {
        let volume = NamedVolume { copy: true, ..NamedVolume::default() };
        Ok(Self::new(Source::Volume(volume), words::target("volume", path, path)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_cannot_name_a_folder_of_the_host() {
        let mount = Mount::anonymous("/etc:/x").unwrap();
        assert_eq!(mount.target, "/etc:/x");
        let volume = NamedVolume { copy: true, ..NamedVolume::default() };
        assert_eq!(mount.source, Source::Volume(volume));
        assert!(Mount::anonymous("/..").is_err());
    }

    #[test]
    fn what_older_versions_wrote_is_read() {
        let text =
            r#"{"source":{"bind":{"path":"/a","create":true}},"target":"/b","read_only":false}"#;
        let mount: Mount = serde_json::from_str(text).unwrap();
        let bind = Bind { path: "/a".into(), create: true, ..Bind::default() };
        assert_eq!(mount, Mount::new(Source::Bind(bind), "/b".to_owned()));
        let text = r#"{"source":{"tmpfs":{"size":null,"mode":1023,"exec":false}},"target":"/b","read_only":false}"#;
        let mount: Mount = serde_json::from_str(text).unwrap();
        assert!(matches!(mount.source, Source::Tmpfs(Tmpfs { mode: Some(0o1777), .. })));
    }
}
