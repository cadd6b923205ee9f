//! Where an entry goes: a path of a tar, taken apart and found harmless.

use crate::error::{Error, Result};

/// How names begin that say that something is gone.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// The longest path that the kernel takes, in bytes.
const LONGEST: usize = 4095;
/// How deep folders may be nested.
const DEEPEST: usize = 1024;

/// A path without `.`, `..` and doubled slashes, split into its folder and its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The path of the folder below the root; empty for the root itself.
    pub(super) parent: Vec<u8>,
    /// The last component.
    pub(super) name: Vec<u8>,
}

impl Place {
    /// Takes a path apart; `None` is the root.
    ///
    /// A path may begin with a slash, but is always below the root. One with `..` is refused: no
    /// honest program writes it.
    pub(super) fn of(path: &[u8]) -> Result<Option<Self>> {
        let refuse = |why: &str| {
            let path = String::from_utf8_lossy(&path[..path.len().min(256)]);
            Err(Error::Tar(format!("the path `{path}` {why}")))
        };
        let parts = path.split(|&byte| byte == b'/');
        let parts: Vec<_> = parts.filter(|part| !part.is_empty() && *part != b".").collect();
        if path.len() > LONGEST || parts.len() > DEEPEST {
            return refuse("is too long or too deep");
        }
        let Some((name, parents)) = parts.split_last() else {
            return Ok(None);
        };
        if parts.contains(&b"..".as_slice()) {
            return refuse("leads upwards");
        }
        if parents.iter().any(|part| part.starts_with(WHITEOUT)) {
            return refuse("leads through a whiteout");
        }
        Ok(Some(Self { parent: parents.join(&b'/'), name: name.to_vec() }))
    }

    /// The whole path below the root.
    pub(super) fn path(&self) -> Vec<u8> {
        if self.parent.is_empty() {
            return self.name.clone();
        }
        [self.parent.as_slice(), &self.name].join(&b'/')
    }
}

/// Where a link in the folder `parent` points, as a path below the root.
pub(super) fn follow(parent: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let start: &[u8] = if target.starts_with(b"/") { b"" } else { parent };
    for part in start.split(|&byte| byte == b'/').chain(target.split(|&byte| byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        for (path, parent, name) in [
            ("a", "", "a"),
            ("./a/b", "a", "b"),
            ("/a//b/./c/", "a/b", "c"),
            ("a/.wh.b", "a", ".wh.b"),
        ] {
            let place = Place::of(path.as_bytes()).unwrap().unwrap();
            assert_eq!(place, Place { parent: parent.into(), name: name.into() }, "{path}");
        }
        for root in ["", ".", "./", "/", "/./"] {
            assert_eq!(Place::of(root.as_bytes()).unwrap(), None, "{root}");
        }
    }

    #[test]
    fn harmful_paths_are_refused() {
        let (deep, long) = ("a/".repeat(1025), "a".repeat(4096));
        for path in ["..", "a/../b", "/..", "a/..", ".wh.a/b", &deep, &long] {
            assert!(Place::of(path.as_bytes()).is_err(), "{path}");
        }
    }

    #[test]
    fn links_are_followed_below_the_root() {
        for (parent, target, path) in [
            ("var", "/run", "run"),
            ("var", "../run/x", "run/x"),
            ("var/lib", "a", "var/lib/a"),
            ("var", "../../../../etc", "etc"),
        ] {
            assert_eq!(follow(parent.as_bytes(), target.as_bytes()), path.as_bytes());
        }
    }
}
