//! How a mount and its copies tell one another of what is mounted below them.

use std::fmt;
use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};

/// Docker's ways for a bind to tell of mounts below it; `r` is for those below as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is the word of mount(8)")]
pub enum Propagation {
    Private,
    RPrivate,
    Shared,
    RShared,
    Slave,
    RSlave,
}

impl Propagation {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Private, "private"),
        (Self::RPrivate, "rprivate"),
        (Self::Shared, "shared"),
        (Self::RShared, "rshared"),
        (Self::Slave, "slave"),
        (Self::RSlave, "rslave"),
    ];

    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == word).map(|(propagation, _)| *propagation)
    }

    /// The same for the runtime. What is said of the mounts below a bind is seen nowhere else, so
    /// that both forms are one.
    pub(crate) fn kind(self) -> rbuild_runtime::Propagation {
        match self {
            Self::Private | Self::RPrivate => rbuild_runtime::Propagation::Private,
            Self::Shared | Self::RShared => rbuild_runtime::Propagation::Shared,
            Self::Slave | Self::RSlave => rbuild_runtime::Propagation::Slave,
        }
    }

    /// Why nothing would ever be told of the path, if that is so.
    pub(crate) fn lack(self, path: &Path) -> Option<&'static str> {
        let wanted = self.kind();
        if wanted == rbuild_runtime::Propagation::Private {
            return None;
        }
        let fields = optional_fields(path)?;
        let is = |kind: &str| fields.split(' ').any(|field| field.starts_with(kind));
        match wanted {
            _ if is("shared:") => None,
            rbuild_runtime::Propagation::Slave if is("master:") => None,
            rbuild_runtime::Propagation::Slave => Some("it is on no shared or slave mount"),
            _ => Some("it is on no shared mount"),
        }
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(propagation, _)| propagation == self);
        out.write_str(name.map_or("rprivate", |(_, name)| name))
    }
}

/// What `mountinfo` says of the mount that a path is on, between its options and the hyphen.
fn optional_fields(path: &Path) -> Option<String> {
    let told = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| {
        line.split(' ').next().and_then(|id| id.parse().ok()) == Some(told.stx_mnt_id)
    })?;
    let (head, _) = line.split_once(" - ")?;
    Some(head.split(' ').skip(6).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written() {
        for (propagation, name) in Propagation::ALL {
            assert_eq!(Propagation::named(name), Some(propagation));
            assert_eq!(propagation.to_string(), name);
        }
        assert_eq!(Propagation::named("unbindable"), None);
        assert_eq!(Propagation::RPrivate.lack(Path::new("/")), None);
    }

    #[test]
    fn the_mount_of_a_path_is_found() {
        assert!(optional_fields(Path::new("/proc")).is_some());
    }
}
