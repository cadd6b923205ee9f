//! The language of `-v`.

use std::path::Path;

use super::super::error::{Error, Result};
use super::super::parse::{invalid, is_name};
use super::words::{clean, target};
use super::{Access, Below, Bind, Mount, NamedVolume, Propagation, Source};

/// Words of which there can be one of a line.
const GROUPS: [&[&str]; 9] = [
    &["ro", "rw"],
    &["z", "Z"],
    &["private", "rprivate", "shared", "rshared", "slave", "rslave"],
    &["copy", "nocopy"],
    &["consistent", "cached", "delegated"],
    &["exec", "noexec"],
    &["suid", "nosuid"],
    &["dev", "nodev"],
    &["bind", "rbind"],
];

/// Words of podman's that ask for what is not done.
const REFUSED: [(&str, &str); 3] = [
    ("U", "the owners of files are not changed: change them on the host, or use --user"),
    ("O", "there are no overlays over folders of the host: mount it `ro`, or copy it"),
    ("idmap", "there are no mounts with owners of their own"),
];

/// What stands behind the second colon.
#[derive(Default)]
struct Words<'a> {
    words: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn read(whole: &str, options: &'a str) -> Result<Self> {
        let words: Vec<&str> = options.split(',').filter(|word| !word.is_empty()).collect();
        for word in &words {
            let name = word.split('=').next().unwrap_or(word);
            if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| refused == &name) {
                let option = format!("`{word}` in `-v {whole}`");
                return Err(Error::Unsupported { option, reason });
            }
            if !GROUPS.iter().any(|group| group.contains(word)) {
                return Err(invalid("volume", whole, format!("unknown option `{word}`")));
            }
        }
        let several =
            |group: &&&[&str]| words.iter().filter(|word| group.contains(word)).count() > 1;
        match GROUPS.iter().find(several) {
            Some(group) => {
                let reason = format!("only one of {} can be said", group.join(", "));
                Err(invalid("volume", whole, reason))
            }
            None => Ok(Self { words }),
        }
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    fn any(&self, group: usize) -> Option<&'a str> {
        self.words.iter().copied().find(|word| GROUPS[group].contains(word))
    }

    fn access(&self) -> Access {
        Access { exec: !self.has("noexec"), suid: !self.has("nosuid"), devices: self.has("dev") }
    }
}

impl Mount {
    /// Reads what `-v` has: `[SOURCE:]TARGET[:OPTIONS]`.
    ///
    /// A source that begins with a slash or a dot is a path of the host, relative to `folder`, and
    /// made when it is missing; another is the name of a volume. Without a source it is an
    /// anonymous volume.
    ///
    /// # Errors
    /// What is none of these, and options that are not known, contradict one another or cannot be
    /// honoured.
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
        let words = Words::read(text, options)?;
        let source = match source {
            Some(path) if path.starts_with(['/', '.']) => {
                if words.any(3).is_some() {
                    return Err(invalid("volume", text, "a folder of the host is never filled"));
                }
                Source::Bind(Bind {
                    path: clean(&folder.join(path)),
                    create: true,
                    propagation: words.any(2).and_then(Propagation::named),
                    below: if words.has("bind") { Below::Absent } else { Below::Same },
                })
            }
            _ if words.any(2).is_some() => {
                let reason = "only a folder of the host has propagation";
                return Err(invalid("volume", text, reason));
            }
            Some(name) if !is_name(name) => {
                let reason = format!(
                    "`{name}` is not the name of a volume; a path of the host begins with `/` or `./`"
                );
                return Err(invalid("volume", text, reason));
            }
            name => Source::Volume(NamedVolume {
                name: name.map(str::to_owned),
                copy: !words.has("nocopy"),
                ..NamedVolume::default()
            }),
        };
        let target = target("volume", text, path)?;
        Ok(Self { source, target, read_only: words.has("ro"), access: words.access() })
    }

    /// The name of a container and whether its mounts are read-only, as `--volumes-from` has them:
    /// `CONTAINER[:ro|rw|z|Z]`.
    pub(crate) fn volumes_from(text: &str) -> Result<(&str, bool)> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let wrong = |reason: &str| invalid("volumes-from", text, reason);
        let words = Words::read(text, options)?;
        if name.is_empty() {
            return Err(wrong("a container is missing"));
        }
        let known = |word: &&str| matches!(*word, "ro" | "rw" | "z" | "Z");
        if !words.words.iter().all(known) {
            return Err(wrong("only `ro`, `rw`, `z` and `Z` can be said of another's mounts"));
        }
        Ok((name, words.has("ro")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> Mount {
        Mount::volume(text, Path::new("/here")).unwrap()
    }

    #[test]
    fn a_volume_is_a_path_a_name_or_nothing() {
        let bind =
            |path: &str| Source::Bind(Bind { path: path.into(), create: true, ..Bind::default() });
        assert_eq!(volume("./a/../b:/x/").source, bind("/here/b"));
        assert_eq!(volume(".:/x").source, bind("/here"));
        assert_eq!(volume("../a:/x").source, bind("/a"));
        assert_eq!(volume(".hidden:/x").source, bind("/here/.hidden"));
        assert_eq!(volume("/a:/x:ro,z").source, bind("/a"));
        assert!(volume("/a:/x:ro,z").read_only);
        assert_eq!(volume("./a:/x//y/").target, "/x/y");
        let named = |name: Option<&str>, copy| {
            let name = name.map(Into::into);
            Source::Volume(NamedVolume { name, copy, ..NamedVolume::default() })
        };
        assert_eq!(volume("data:/x:nocopy").source, named(Some("data"), false));
        assert_eq!(volume("data:/x:Z,copy,cached,rw").source, named(Some("data"), true));
        assert_eq!(volume("/x").source, named(None, true));
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        for wrong in [
            "",
            "a:x",
            "/a:/",
            "/a:/..",
            "a:/x:what",
            "a:b:c:d",
            "-a:/x",
            ":/x",
            "a/b:/x",
            "~/a:/x",
            "/a:/x:ro,rw",
            "/a:/x:z,Z",
            "/a:/x:shared,rslave",
            "data:/x:rshared",
            "/a:/x:nocopy",
            "/a:/x:U",
            "/a:/x:O,upperdir=/b",
            "data:/x:copy,nocopy",
            "/a:/x:cached,delegated",
            "/x:ro",
        ] {
            assert!(Mount::volume(wrong, Path::new("/")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_say_what_works_below() {
        let mount = volume("/a:/x:rslave,bind,noexec,nosuid,dev");
        assert_eq!(mount.access, Access { exec: false, suid: false, devices: true });
        let Source::Bind(bind) = mount.source else { panic!("it is a bind") };
        assert_eq!(bind.propagation, Some(Propagation::RSlave));
        assert_eq!(bind.below, Below::Absent);
    }

    #[test]
    fn mounts_of_another_container() {
        assert_eq!(Mount::volumes_from("db").unwrap(), ("db", false));
        assert_eq!(Mount::volumes_from("db:ro,z").unwrap(), ("db", true));
        for wrong in ["", ":ro", "db:nocopy", "db:rslave", "db:what", "db:ro,rw"] {
            assert!(Mount::volumes_from(wrong).is_err(), "{wrong}");
        }
    }
}
