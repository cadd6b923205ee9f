//! The small languages of `-v`, `--mount` and `--tmpfs`.

use std::path::{Path, PathBuf};

use super::error::Result;
use super::options::{Mount, Source};
use super::parse::{invalid, is_name};

/// The path without `.`, `..` and doubled slashes; links are not looked at.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => cleaned.push(name),
            std::path::Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

/// An absolute path in the container; the root itself cannot be covered.
fn target(option: &'static str, whole: &str, path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(invalid(option, whole, "the path in the container must be absolute"));
    }
    match clean(Path::new(path)).into_os_string().into_string() {
        Ok(path) if path != "/" => Ok(path),
        _ => Err(invalid(option, whole, "the path in the container cannot be `/`")),
    }
}

impl Mount {
    /// Reads what `-v` has: `[SOURCE:]TARGET[:OPTIONS]`.
    ///
    /// A source with a slash, or `.` and `..`, is a path of the host, relative to `folder`, and
    /// made when it is missing; another is a volume. Without a source it is an anonymous volume.
    pub fn volume(text: &str, folder: &Path) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, path, options) = match parts.as_slice() {
            [path] => (None, *path, ""),
            [source, path] => (Some(*source), *path, ""),
            [source, path, options] => (Some(*source), *path, *options),
            _ => {
                return Err(invalid("volume", text, "expected [SOURCE:]TARGET[:OPTIONS]"));
            }
        };
        let (mut read_only, mut copy) = (false, true);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => read_only = true,
                "nocopy" => copy = false,
                "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "private"
                | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {}
                _ => {
                    return Err(invalid("volume", text, format!("unknown option `{option}`")));
                }
            }
        }
        let source = match source {
            None => Source::Volume { name: None, copy },
            Some(path) if path.contains('/') || path == "." || path == ".." => {
                Source::Bind { path: clean(&folder.join(path)), create: true }
            }
            Some(name) if is_name(name) => Source::Volume { name: Some(name.to_owned()), copy },
            Some(_) => return Err(invalid("volume", text, "the source is no path and no name")),
        };
        Ok(Self { source, target: target("volume", text, path)?, read_only })
    }

    /// An anonymous volume at a path that an image declares: a path and nothing else, since no
    /// image may name a folder of the host.
    pub(crate) fn anonymous(path: &str) -> Result<Self> {
        let source = Source::Volume { name: None, copy: true };
        Ok(Self { source, target: target("volume", path, path)?, read_only: false })
    }

    /// Reads what `--tmpfs` has: `TARGET[:OPTIONS]`.
    pub fn tmpfs(text: &str) -> Result<Self> {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        let (mut size, mut mode, mut exec, mut read_only) = (None, 0o1777, false, false);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("size", value) => size = Some(bytes("tmpfs", text, value)?),
                ("mode", value) => mode = octal("tmpfs", text, value)?,
                ("exec", "") => exec = true,
                ("ro", "") => read_only = true,
                ("rw" | "noexec" | "nosuid" | "nodev" | "noatime" | "relatime", "") => {}
                _ => return Err(invalid("tmpfs", text, format!("unknown option `{option}`"))),
            }
        }
        let source = Source::Tmpfs { size, mode, exec };
        Ok(Self { source, target: target("tmpfs", text, path)?, read_only })
    }

    /// Reads what `--mount` has, already parted at its commas: `type=bind`, `src=…`, `dst=…`.
    pub fn from_fields(fields: &[(String, Option<String>)], folder: &Path) -> Result<Self> {
        let whole = || {
            let fields = fields.iter().map(|(key, value)| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            });
            fields.collect::<Vec<_>>().join(",")
        };
        let wrong = |reason: &str| invalid("mount", &whole(), reason);
        let is_on = |value: Option<&str>| matches!(value, None | Some("true" | "1" | "readonly"));
        let (mut kind, mut source, mut path, mut read_only) = ("volume", None, None, false);
        let (mut copy, mut size, mut mode) = (true, None, 0o1777);
        for (key, value) in fields {
            let value = value.as_deref();
            match key.as_str() {
                "type" => kind = value.unwrap_or_default(),
                "source" | "src" => source = value.filter(|value| !value.is_empty()),
                "target" | "dst" | "destination" => path = value,
                "readonly" | "ro" => read_only = is_on(value),
                "volume-nocopy" => copy = !is_on(value),
                "tmpfs-size" => size = Some(bytes("mount", &whole(), value.unwrap_or_default())?),
                "tmpfs-mode" => mode = octal("mount", &whole(), value.unwrap_or_default())?,
                "bind-propagation" | "consistency" => {}
                _ => return Err(wrong(&format!("unknown key `{key}`"))),
            }
        }
        let source = match (kind, source) {
            ("bind", Some(path)) => Source::Bind { path: clean(&folder.join(path)), create: false },
            ("bind", None) => return Err(wrong("the source is missing")),
            ("volume", None) => Source::Volume { name: None, copy },
            ("volume", Some(name)) if is_name(name) => {
                Source::Volume { name: Some(name.to_owned()), copy }
            }
            ("volume", Some(_)) => return Err(wrong("the source is not the name of a volume")),
            ("tmpfs", None) => Source::Tmpfs { size, mode, exec: false },
            ("tmpfs", Some(_)) => return Err(wrong("a tmpfs has no source")),
            _ => return Err(wrong("the type must be bind, volume or tmpfs")),
        };
        let path = path.ok_or_else(|| wrong("the target is missing"))?;
        Ok(Self { source, target: target("mount", &whole(), path)?, read_only })
    }
}

/// A number of bytes with one of the units b, k, m, g.
fn bytes(option: &'static str, whole: &str, text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => Some(0),
        "k" | "kb" => Some(10),
        "m" | "mb" => Some(20),
        "g" | "gb" => Some(30),
        _ => None,
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .zip(shift)
        .and_then(|(number, shift)| number.checked_mul(1 << shift))
        .ok_or_else(|| invalid(option, whole, "the size is not a number of bytes"))
}

fn octal(option: &'static str, whole: &str, text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| invalid(option, whole, "the mode is not an octal number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> Mount {
        Mount::volume(text, Path::new("/here")).unwrap()
    }

    #[test]
    fn a_volume_is_a_path_a_name_or_nothing() {
        let bind = |path: &str| Source::Bind { path: path.into(), create: true };
        assert_eq!(volume("./a/../b:/x/").source, bind("/here/b"));
        assert_eq!(volume(".:/x").source, bind("/here"));
        assert_eq!(volume("/a:/x:ro,z").source, bind("/a"));
        assert!(volume("/a:/x:ro,z").read_only);
        assert_eq!(volume("./a:/x//y/").target, "/x/y");
        let named = |name: Option<&str>, copy| Source::Volume { name: name.map(Into::into), copy };
        assert_eq!(volume("data:/x:nocopy").source, named(Some("data"), false));
        assert_eq!(volume("/x").source, named(None, true));
        for wrong in ["", "a:x", "/a:/", "/a:/..", "a:/x:what", "a:b:c:d", "-a:/x", ":/x"] {
            assert!(Mount::volume(wrong, Path::new("/")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_image_cannot_name_a_folder_of_the_host() {
        let mount = Mount::anonymous("/etc:/x").unwrap();
        assert_eq!(mount.target, "/etc:/x");
        assert_eq!(mount.source, Source::Volume { name: None, copy: true });
        assert!(Mount::anonymous("/..").is_err());
    }

    #[test]
    fn a_mount_is_spelled_out() {
        let parse = |text: &str| {
            let pair = |field: &str| match field.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (field.to_owned(), None),
            };
            Mount::from_fields(&text.split(',').map(pair).collect::<Vec<_>>(), Path::new("/here"))
        };
        let bind = parse("type=bind,src=a,dst=/x,readonly").unwrap();
        assert_eq!(bind.source, Source::Bind { path: "/here/a".into(), create: false });
        assert!(bind.read_only);
        let tmpfs = parse("type=tmpfs,target=/x,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        assert_eq!(tmpfs.source, Source::Tmpfs { size: Some(1 << 20), mode: 0o700, exec: false });
        for wrong in ["type=bind,dst=/x", "type=tmpfs,src=a,dst=/x", "src=a", "what=1,dst=/x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tmpfs_has_options() {
        let mount = Mount::tmpfs("/run:size=64k,exec,mode=755").unwrap();
        assert_eq!(mount.source, Source::Tmpfs { size: Some(65536), mode: 0o755, exec: true });
        assert!(Mount::tmpfs("/run:size=x").is_err());
        assert!(Mount::tmpfs("run").is_err());
    }
}
