//! The users of a container that has a user namespace of its own.

use std::fmt::Write;

use crate::error::{Doing, Result};

/// Which users and groups of the host a container's are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMaps {
    /// Those of users; user 0 must be among them.
    pub users: Vec<IdMap>,
    /// Those of groups; group 0 must be among them.
    pub groups: Vec<IdMap>,
}

/// Numbers in a row that are others on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The first one in the container.
    pub inside: u32,
    /// What that is on the host.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

impl IdMaps {
    /// Gives them to a process that has just been made in a new namespace.
    pub(crate) fn give(&self, pid: u32) -> Result<()> {
        for (name, maps) in [("gid_map", &self.groups), ("uid_map", &self.users)] {
            let path = format!("/proc/{pid}/{name}");
            std::fs::write(&path, lines(maps)).doing(|| format!("write {path}"))?;
        }
        Ok(())
    }
}

fn lines(maps: &[IdMap]) -> String {
    let mut text = String::new();
    for map in maps {
        // A string takes everything.
        let _ = writeln!(text, "{} {} {}", map.inside, map.outside, map.count);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_kernel() {
        let map = |inside, outside, count| IdMap { inside, outside, count };
        assert_eq!(
            lines(&[map(0, 1000, 1), map(1, 100_000, 65_535)]),
            "0 1000 1\n1 100000 65535\n"
        );
    }
}
