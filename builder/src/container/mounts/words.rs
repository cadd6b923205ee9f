//! What the languages of mounts have in common.

use std::path::{Component, Path, PathBuf};

use super::super::error::Result;
use super::super::parse::invalid;
use crate::dockerfile::value;

/// The path without `.`, `..` and doubled slashes; links are not looked at.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

/// An absolute path in the container; the root itself cannot be covered.
pub(super) fn target(option: &'static str, whole: &str, path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(invalid(option, whole, "the path in the container must be absolute"));
    }
    match clean(Path::new(path)).into_os_string().into_string() {
        Ok(path) if path != "/" => Ok(path),
        _ => Err(invalid(option, whole, "the path in the container cannot be `/`")),
    }
}

/// A path that stays in what it is a path of.
pub(super) fn subpath(option: &'static str, whole: &str, path: &str) -> Result<PathBuf> {
    let path = Path::new(path);
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.components().all(inside) {
        Ok(path.to_owned())
    } else {
        Err(invalid(option, whole, "the path in it must be relative, and without `..`"))
    }
}

/// A number of bytes with one of the units b, k, m, g, t, p.
pub(super) fn bytes(option: &'static str, whole: &str, text: &str) -> Result<u64> {
    value::size(text)
        .map_err(|_| invalid(option, whole, format!("`{text}` is not a number of bytes")))
}

/// Permission bits.
pub(super) fn octal(option: &'static str, whole: &str, text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| invalid(option, whole, "the mode is not an octal number"))
}
