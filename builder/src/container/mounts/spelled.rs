//! The language of `--mount`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};
use super::super::parse::{invalid, is_name};
use super::tmpfs::FENCED;
use super::words::{bytes, clean, octal, subpath, target};
use super::{Access, Below, Bind, ImageFiles, Mount, NamedVolume, Propagation, Source, Tmpfs};

/// Keys that may stand without a value, which is then `true`.
const SWITCHES: [&str; 8] = [
    "readonly",
    "ro",
    "rw",
    "volume-nocopy",
    "bind-nonrecursive",
    "bind-create-src",
    "tmpcopyup",
    "notmpcopyup",
];

/// What was said so far. What belongs to one type is kept apart by its type.
struct Fields<'a> {
    whole: String,
    folder: &'a Path,
    kind: String,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    recursive: Option<String>,
    /// A key of each type of which something was said.
    said: BTreeMap<&'static str, String>,
    bind: Bind,
    volume: NamedVolume,
    tmpfs: Tmpfs,
    subpath: Option<PathBuf>,
}

impl Mount {
    /// Reads what `--mount` has, already parted at its commas: `type=bind`, `src=…`, `dst=…`.
    ///
    /// # Errors
    /// Keys and values that are not known, that belong to another type, or that lack what they
    /// need.
    pub fn from_fields(fields: &[(String, Option<String>)], folder: &Path) -> Result<Self> {
        let texts = fields.iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        });
        let mut read = Fields::new(texts.collect::<Vec<_>>().join(","), folder);
        for (key, value) in fields {
            let key = key.to_ascii_lowercase();
            match value.as_deref() {
                None if SWITCHES.contains(&&*key) => read.take(&key, "true")?,
                None => return Err(read.wrong(&format!("`{key}` has no value"))),
                // An empty source is none at all, as with docker's API.
                Some("") if matches!(&*key, "source" | "src") => {}
                Some("") => return Err(read.wrong(&format!("the value of `{key}` is empty"))),
                Some(value) => read.take(&key, value)?,
            }
        }
        read.mount()
    }
}

impl<'a> Fields<'a> {
    fn new(whole: String, folder: &'a Path) -> Self {
        Self {
            whole,
            folder,
            kind: "volume".to_owned(),
            source: None,
            target: None,
            read_only: false,
            recursive: None,
            said: BTreeMap::new(),
            bind: Bind::default(),
            volume: NamedVolume { copy: true, ..NamedVolume::default() },
            tmpfs: Tmpfs::default(),
            subpath: None,
        }
    }

    fn wrong(&self, reason: &str) -> Error {
        invalid("mount", &self.whole, reason)
    }

    fn truth(&self, key: &str, value: &str) -> Result<bool> {
        match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(self.wrong(&format!("`{key}` is neither true nor false"))),
        }
    }

    fn take(&mut self, key: &str, value: &str) -> Result<()> {
        let kind = ["bind", "volume", "tmpfs", "image"].into_iter().find(|kind| {
            key.strip_prefix(kind).is_some_and(|rest| rest.starts_with('-'))
                || *kind == "tmpfs" && key.ends_with("tmpcopyup")
        });
        if let Some(kind) = kind {
            self.said.insert(kind, key.to_owned());
        }
        match key {
            "type" => self.kind = value.to_ascii_lowercase(),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(value.to_owned()),
            "readonly" | "ro" => self.read_only = self.truth(key, value)?,
            "rw" => self.read_only = !self.truth(key, value)?,
            "consistency" if matches!(value, "consistent" | "default" | "cached" | "delegated") => {
            }
            "relabel" if matches!(value, "shared" | "private") => {}
            "volume-subpath" | "image-subpath" | "subpath" => {
                self.subpath = Some(subpath("mount", &self.whole, value)?);
            }
            _ => match kind {
                Some("bind") => return self.take_bind(key, value),
                Some("volume") => return self.take_volume(key, value),
                Some("tmpfs") => return self.take_tmpfs(key, value),
                _ => return Err(self.wrong(&format!("unknown key or value `{key}={value}`"))),
            },
        }
        Ok(())
    }

    fn take_bind(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "bind-propagation" => {
                let propagation = Propagation::named(&value.to_ascii_lowercase());
                let wrong = || self.wrong(&format!("there is no propagation `{value}`"));
                self.bind.propagation = Some(propagation.ok_or_else(wrong)?);
            }
            "bind-nonrecursive" => {
                let alone = self.truth(key, value)?;
                self.bind.below = if alone { Below::Absent } else { Below::Same };
            }
            "bind-recursive" => {
                self.bind.below = match value {
                    "enabled" | "readonly" => Below::Same,
                    "writable" => Below::Writable,
                    "disabled" => Below::Absent,
                    _ => {
                        return Err(self.wrong(
                            "bind-recursive is one of enabled, disabled, writable and readonly",
                        ));
                    }
                };
                self.recursive = Some(value.to_owned());
            }
            "bind-create-src" => self.bind.create = self.truth(key, value)?,
            _ => return Err(self.wrong(&format!("unknown key `{key}`"))),
        }
        Ok(())
    }

    fn take_volume(&mut self, key: &str, value: &str) -> Result<()> {
        let (name, text) = value.split_once('=').unwrap_or((value, ""));
        match key {
            "volume-nocopy" => self.volume.copy = !self.truth(key, value)?,
            "volume-driver" if value == "local" => {}
            "volume-driver" => {
                let option = format!("the volume driver `{value}`");
                return Err(Error::Unsupported { option, reason: "the only driver is `local`" });
            }
            "volume-label" => drop(self.volume.labels.insert(name.to_owned(), text.to_owned())),
            "volume-opt" => drop(self.volume.options.insert(name.to_owned(), text.to_owned())),
            _ => return Err(self.wrong(&format!("unknown key `{key}`"))),
        }
        Ok(())
    }

    fn take_tmpfs(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "tmpfs-size" => self.tmpfs.size = Some(bytes("mount", &self.whole, value)?),
            "tmpfs-mode" => self.tmpfs.mode = Some(octal("mount", &self.whole, value)?),
            "tmpcopyup" => self.tmpfs.copy_up = self.truth(key, value)?,
            "notmpcopyup" => self.tmpfs.copy_up = !self.truth(key, value)?,
            _ => return Err(self.wrong(&format!("unknown key `{key}`"))),
        }
        Ok(())
    }

    fn mount(mut self) -> Result<Mount> {
        let path = self.target.take().ok_or_else(|| self.wrong("the target is missing"))?;
        let target = target("mount", &self.whole, &path)?;
        if let Some((_, key)) = self.said.iter().find(|(kind, _)| **kind != self.kind) {
            return Err(self.wrong(&format!("`{key}` is of another type than {}", self.kind)));
        }
        if self.subpath.is_some() && !matches!(&*self.kind, "volume" | "image") {
            return Err(self.wrong("only a volume and an image have a path in them"));
        }
        let (access, read_only) = match &*self.kind {
            "tmpfs" => (FENCED, self.read_only),
            "image" => (Access::default(), true),
            _ => (Access::default(), self.read_only),
        };
        Ok(Mount { source: self.kept()?, target, read_only, access })
    }

    fn kept(mut self) -> Result<Source> {
        let source = self.source.take();
        match (&*self.kind, source) {
            ("bind", Some(path)) => {
                self.check_recursion()?;
                let path = clean(&self.folder.join(path));
                Ok(Source::Bind(Bind { path, ..self.bind }))
            }
            ("volume", None) if self.read_only => {
                Err(self.wrong("a volume without a name cannot be read-only: nothing is in it"))
            }
            ("volume", None) if self.subpath.is_some() => {
                Err(self.wrong("a volume without a name has no path in it"))
            }
            ("volume", Some(name)) if !is_name(&name) => {
                Err(self.wrong("the source is not the name of a volume"))
            }
            ("volume", name) => {
                Ok(Source::Volume(NamedVolume { name, subpath: self.subpath, ..self.volume }))
            }
            ("tmpfs", None) => Ok(Source::Tmpfs(self.tmpfs)),
            ("tmpfs", Some(_)) => Err(self.wrong("a tmpfs has no source")),
            ("image", Some(reference)) => {
                let subpath = self.subpath;
                Ok(Source::Image(ImageFiles { reference, layers: Vec::new(), subpath }))
            }
            ("bind" | "image", None) => Err(self.wrong("the source is missing")),
            ("npipe", _) => Err(self.wrong("named pipes are there on Windows only")),
            _ => Err(self.wrong("the type must be bind, volume, tmpfs or image")),
        }
    }

    fn check_recursion(&self) -> Result<()> {
        let private = matches!(self.bind.propagation, Some(Propagation::RPrivate));
        match self.recursive.as_deref() {
            Some("writable" | "readonly") if !self.read_only => {
                Err(self.wrong("this value of bind-recursive takes `readonly` beside it"))
            }
            Some("readonly") if !private => {
                Err(self.wrong("bind-recursive=readonly takes bind-propagation=rprivate beside it"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mount> {
        let pair = |field: &str| match field.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (field.to_owned(), None),
        };
        let fields: Vec<_> = text.split(',').map(pair).collect();
        Mount::from_fields(&fields, Path::new("/here"))
    }

    fn bind(text: &str) -> Bind {
        match parse(text).unwrap().source {
            Source::Bind(bind) => bind,
            other => panic!("{other:?} is no bind"),
        }
    }

    #[test]
    fn a_mount_is_spelled_out() {
        let mount = parse("type=bind,src=a,dst=/x,readonly").unwrap();
        let expected = Bind { path: "/here/a".into(), ..Bind::default() };
        assert_eq!((mount.source, mount.read_only), (Source::Bind(expected), true));
        let mount = parse("target=/x,source=data,volume-nocopy=true,ro=0").unwrap();
        let volume = NamedVolume { name: Some("data".into()), ..NamedVolume::default() };
        assert_eq!((mount.source, mount.read_only), (Source::Volume(volume), false));
        let mount = parse("type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        let tmpfs = Tmpfs { size: Some(1 << 20), mode: Some(0o700), ..Tmpfs::default() };
        assert_eq!((mount.source, mount.access), (Source::Tmpfs(tmpfs), FENCED));
        let mount = parse("type=image,src=alpine,dst=/x,image-subpath=etc").unwrap();
        let files = ImageFiles {
            reference: "alpine".to_owned(),
            layers: Vec::new(),
            subpath: Some("etc".into()),
        };
        assert_eq!((mount.source, mount.read_only), (Source::Image(files), true));
    }

    #[test]
    fn a_new_volume_is_described() {
        let text = "src=v1,dst=/x,volume-driver=local,volume-label=a=b,volume-opt=type=tmpfs,\
                    volume-opt=device=tmpfs,volume-subpath=a/b";
        let Source::Volume(volume) = parse(text).unwrap().source else { panic!("it is a volume") };
        assert_eq!(volume.labels["a"], "b");
        assert_eq!(volume.options["type"], "tmpfs");
        assert_eq!(volume.subpath.as_deref(), Some(Path::new("a/b")));
        assert!(volume.copy);
    }

    #[test]
    fn a_bind_says_what_becomes_of_mounts_below() {
        assert_eq!(bind("type=bind,src=/a,dst=/x,bind-recursive=disabled").below, Below::Absent);
        assert_eq!(bind("type=bind,src=/a,dst=/x,bind-nonrecursive").below, Below::Absent);
        let text = "type=bind,src=/a,dst=/x,ro,bind-recursive=writable,bind-create-src";
        assert_eq!((bind(text).below, bind(text).create), (Below::Writable, true));
        let text = "type=bind,src=/a,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate";
        assert_eq!(bind(text).below, Below::Same);
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        for wrong in [
            "type=bind,dst=/x",
            "type=tmpfs,src=a,dst=/x",
            "src=/a,dst=/x",
            "type=bind,src=a",
            "type=npipe,src=a,dst=/x",
            "type=cluster,src=a,dst=/x",
            "type=bind,src=/a,dst=/x,volume-nocopy",
            "type=bind,src=/a,dst=/x,tmpfs-size=1m",
            "type=tmpfs,dst=/x,bind-propagation=slave",
            "src=v1,dst=/x,bind-recursive=disabled",
            "type=bind,src=/a,dst=/x,bind-recursive=writable",
            "type=bind,src=/a,dst=/x,ro,bind-recursive=readonly",
            "type=bind,src=/a,dst=/x,bind-recursive=what",
            "type=bind,src=/a,dst=/x,bind-propagation=what",
            "type=bind,src=/a,dst=/x,what=1",
            "type=bind,src=/a,dst=/x,what",
            "type=bind,src=/a,dst=/x,ro=perhaps",
            "type=bind,src=/a,dst=",
            "dst=/x,ro",
            "dst=/x,volume-subpath=a",
            "src=v1,dst=/x,volume-subpath=../a",
            "src=v1,dst=/x,volume-subpath=/a",
            "src=v1,dst=/x,volume-driver=nfs",
            "type=image,dst=/x",
            "type=tmpfs,dst=/x,subpath=a",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
