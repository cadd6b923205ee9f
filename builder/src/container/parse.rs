//! The small languages of `docker run`'s options: `-v`, `--mount`, `--device` and others.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use rbuild_runtime::{Limit, Resource};

use super::error::{Error, Result};
use super::options::{Device, Mount, Network, Restart, Share, Source};

fn invalid(option: &'static str, value: &str, reason: impl Into<String>) -> Error {
    Error::Invalid {
        option,
        value: value.to_owned(),
        reason: reason.into(),
    }
}

/// Whether a text can be the name of a container, a volume or a network.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let bytes = text.as_bytes();
    matches!(bytes, [first, rest @ ..] if !rest.is_empty() && rest.len() < 255
        && first.is_ascii_alphanumeric() && rest.iter().all(|&byte| inner(byte)))
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "bridge" | "default" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            other => match other.strip_prefix("container:") {
                Some("") => Err(invalid("network", text, "a container is missing")),
                Some(container) => Ok(Self::Container(container.to_owned())),
                None if is_name(other) => Ok(Self::Named(other.to_owned())),
                None => Err(invalid("network", text, "not a name")),
            },
        }
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "private" | "shareable" | "none" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            other => match other.strip_prefix("container:") {
                None | Some("") => Err(invalid(
                    "namespace",
                    text,
                    "expected private, host or container:NAME",
                )),
                Some(container) => Ok(Self::Container(container.to_owned())),
            },
        }
    }
}

impl FromStr for Restart {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text
            .split_once(':')
            .map_or((text, None), |(policy, most)| (policy, Some(most)))
        {
            ("" | "no", None) => Ok(Self::No),
            ("always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            ("on-failure", None | Some("0")) => Ok(Self::OnFailure(None)),
            ("on-failure", Some(most)) => {
                let most = most
                    .parse()
                    .map_err(|_| invalid("restart", text, "not a number"))?;
                Ok(Self::OnFailure(Some(most)))
            }
            _ => Err(invalid(
                "restart",
                text,
                "expected no, on-failure[:N], always or unless-stopped",
            )),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let host = parts.next().unwrap_or_default();
        let second = parts.next();
        let third = parts.next();
        if !host.starts_with('/') || parts.next().is_some() {
            return Err(invalid("device", text, "expected /dev/x[:/dev/y[:rwm]]"));
        }
        let is_access = |text: &str| !text.is_empty() && text.bytes().all(|b| b"rwm".contains(&b));
        let (path, access) = match (second, third) {
            (Some(access), None) if is_access(access) => (host, access),
            (path, access) => (path.unwrap_or(host), access.unwrap_or("rwm")),
        };
        if !path.starts_with('/') || !is_access(access) {
            return Err(invalid("device", text, "expected /dev/x[:/dev/y[:rwm]]"));
        }
        let (read, write) = (access.contains('r'), access.contains('w'));
        Ok(Self {
            host: PathBuf::from(host),
            path: path.to_owned(),
            read,
            write,
        })
    }
}

/// A resource limit by its name as `--ulimit` has it; -1 is no limit.
pub fn ulimit(name: &str, soft: i64, hard: i64) -> Result<Limit> {
    let resource = match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return Err(invalid("ulimit", name, "no such limit")),
    };
    let (soft, hard) = (u64::try_from(soft).ok(), u64::try_from(hard).ok());
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(invalid(
            "ulimit",
            name,
            "the soft limit is above the hard one",
        ));
    }
    Ok(Limit {
        resource,
        soft,
        hard,
    })
}

/// A line for `/etc/hosts`, written `host:address` or `host=address`.
pub fn add_host(text: &str) -> Result<(String, String)> {
    let wrong = |reason: &str| invalid("add-host", text, reason);
    let (host, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(|| wrong("no address"))?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let is_address = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '#');
    match (is_host, is_address) {
        (false, _) => Err(wrong("not a host name")),
        (_, false) => Err(wrong("not an address")),
        _ => Ok((host.to_owned(), address.to_owned())),
    }
}

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
        return Err(invalid(
            option,
            whole,
            "the path in the container must be absolute",
        ));
    }
    match clean(Path::new(path)).into_os_string().into_string() {
        Ok(path) if path != "/" => Ok(path),
        _ => Err(invalid(
            option,
            whole,
            "the path in the container cannot be `/`",
        )),
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
                return Err(invalid(
                    "volume",
                    text,
                    "expected [SOURCE:]TARGET[:OPTIONS]",
                ));
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
                    return Err(invalid(
                        "volume",
                        text,
                        format!("unknown option `{option}`"),
                    ));
                }
            }
        }
        let source = match source {
            None => Source::Volume { name: None, copy },
            Some(path) if path.contains('/') || path == "." || path == ".." => Source::Bind {
                path: clean(&folder.join(path)),
                create: true,
            },
            Some(name) if is_name(name) => Source::Volume {
                name: Some(name.to_owned()),
                copy,
            },
            Some(_) => return Err(invalid("volume", text, "the source is no path and no name")),
        };
        Ok(Self {
            source,
            target: target("volume", text, path)?,
            read_only,
        })
    }

    /// An anonymous volume at a path that an image declares: a path and nothing else, since no
    /// image may name a folder of the host.
    pub(crate) fn anonymous(path: &str) -> Result<Self> {
        let source = Source::Volume {
            name: None,
            copy: true,
        };
        Ok(Self {
            source,
            target: target("volume", path, path)?,
            read_only: false,
        })
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
        Ok(Self {
            source,
            target: target("tmpfs", text, path)?,
            read_only,
        })
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
            ("bind", Some(path)) => Source::Bind {
                path: clean(&folder.join(path)),
                create: false,
            },
            ("bind", None) => return Err(wrong("the source is missing")),
            ("volume", None) => Source::Volume { name: None, copy },
            ("volume", Some(name)) if is_name(name) => Source::Volume {
                name: Some(name.to_owned()),
                copy,
            },
            ("volume", Some(_)) => return Err(wrong("the source is not the name of a volume")),
            ("tmpfs", None) => Source::Tmpfs {
                size,
                mode,
                exec: false,
            },
            ("tmpfs", Some(_)) => return Err(wrong("a tmpfs has no source")),
            _ => return Err(wrong("the type must be bind, volume or tmpfs")),
        };
        let path = path.ok_or_else(|| wrong("the target is missing"))?;
        Ok(Self {
            source,
            target: target("mount", &whole(), path)?,
            read_only,
        })
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
        let bind = |path: &str| Source::Bind {
            path: path.into(),
            create: true,
        };
        assert_eq!(volume("./a/../b:/x/").source, bind("/here/b"));
        assert_eq!(volume(".:/x").source, bind("/here"));
        assert_eq!(volume("/a:/x:ro,z").source, bind("/a"));
        assert!(volume("/a:/x:ro,z").read_only);
        assert_eq!(volume("./a:/x//y/").target, "/x/y");
        let named = |name: Option<&str>, copy| Source::Volume {
            name: name.map(Into::into),
            copy,
        };
        assert_eq!(volume("data:/x:nocopy").source, named(Some("data"), false));
        assert_eq!(volume("/x").source, named(None, true));
        for wrong in [
            "",
            "a:x",
            "/a:/",
            "/a:/..",
            "a:/x:what",
            "a:b:c:d",
            "-a:/x",
            ":/x",
        ] {
            assert!(Mount::volume(wrong, Path::new("/")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_image_cannot_name_a_folder_of_the_host() {
        let mount = Mount::anonymous("/etc:/x").unwrap();
        assert_eq!(mount.target, "/etc:/x");
        assert_eq!(
            mount.source,
            Source::Volume {
                name: None,
                copy: true
            }
        );
        assert!(Mount::anonymous("/..").is_err());
    }

    #[test]
    fn a_mount_is_spelled_out() {
        let parse = |text: &str| {
            let pair = |field: &str| match field.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (field.to_owned(), None),
            };
            Mount::from_fields(
                &text.split(',').map(pair).collect::<Vec<_>>(),
                Path::new("/here"),
            )
        };
        let bind = parse("type=bind,src=a,dst=/x,readonly").unwrap();
        assert_eq!(
            bind.source,
            Source::Bind {
                path: "/here/a".into(),
                create: false
            }
        );
        assert!(bind.read_only);
        let tmpfs = parse("type=tmpfs,target=/x,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        assert_eq!(
            tmpfs.source,
            Source::Tmpfs {
                size: Some(1 << 20),
                mode: 0o700,
                exec: false
            }
        );
        for wrong in [
            "type=bind,dst=/x",
            "type=tmpfs,src=a,dst=/x",
            "src=a",
            "what=1,dst=/x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tmpfs_has_options() {
        let mount = Mount::tmpfs("/run:size=64k,exec,mode=755").unwrap();
        assert_eq!(
            mount.source,
            Source::Tmpfs {
                size: Some(65536),
                mode: 0o755,
                exec: true
            }
        );
        assert!(Mount::tmpfs("/run:size=x").is_err());
        assert!(Mount::tmpfs("run").is_err());
    }

    #[test]
    fn a_device_has_a_place_and_an_access() {
        let device = |text: &str| text.parse::<Device>();
        assert_eq!(device("/dev/a").unwrap().path, "/dev/a");
        let read_only = device("/dev/a:r").unwrap();
        assert_eq!(
            (read_only.path.as_str(), read_only.read, read_only.write),
            ("/dev/a", true, false)
        );
        assert_eq!(device("/dev/a:/dev/b:rw").unwrap().path, "/dev/b");
        for wrong in ["a", "/dev/a:b", "/dev/a:/dev/b:x", "/a:/b:r:c"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn policies_networks_and_hosts() {
        assert_eq!(
            "on-failure:3".parse::<Restart>().unwrap(),
            Restart::OnFailure(Some(3))
        );
        assert!("always:3".parse::<Restart>().is_err());
        assert_eq!(
            "container:a".parse::<Network>().unwrap(),
            Network::Container("a".to_owned())
        );
        assert!("container:".parse::<Network>().is_err());
        assert!("a b".parse::<Network>().is_err());
        assert_eq!(
            add_host("a:::1").unwrap(),
            ("a".to_owned(), "::1".to_owned())
        );
        assert_eq!(add_host("a=[::1]").unwrap().1, "::1");
        assert!(add_host("a:b").is_err());
        assert!(ulimit("nofile", 10, 5).is_err());
        assert_eq!(ulimit("core", -1, -1).unwrap().soft, None);
    }

    #[test]
    fn names_are_those_that_docker_takes() {
        for good in ["ab", "a.b_c-d", "0x"] {
            assert!(is_name(good), "{good}");
        }
        for wrong in ["", "a", "-a", "a/b", "a b", "..", "é1"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
