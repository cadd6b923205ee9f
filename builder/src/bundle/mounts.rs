//! What a bundle mounts, from the words of `mount(8)` to those of the runtime.

use std::path::Path;

use rbuild_runtime::cgroup::Cgroup;
use rbuild_runtime::{Mount, MountFlags, MountSource, Propagation};

use super::error::{Error, Result};
use super::spec;

/// `MOUNT_ATTR_*` of the kernel.
const READ_ONLY: u64 = 0x1;
const NO_DEVICES: u64 = 0x4;
const NO_ACCESS_TIMES: u64 = 0x10;
const STRICT_ACCESS_TIMES: u64 = 0x20;
const NO_FOLDER_ACCESS_TIMES: u64 = 0x80;
const NO_LINKS: u64 = 0x20_0000;

/// Words that say what is so anyway, or that a mount's own attributes cannot be told.
const NOTHING: [&str; 18] = [
    "defaults",
    "async",
    "nomand",
    "norelatime",
    "nostrictatime",
    "relatime",
    "rrelatime",
    "atime",
    "ratime",
    "diratime",
    "rdiratime",
    "symfollow",
    "rsymfollow",
    "silent",
    "loud",
    "mand",
    "iversion",
    "noiversion",
];

/// The options of a mount that are known by name, for [`features`](super::features).
pub(super) const OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "lazytime",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "rbind",
    "relatime",
    "ro",
    "rprivate",
    "rro",
    "rshared",
    "rslave",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// What the options of a mount come to.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own")]
pub(crate) struct Words {
    pub(crate) bind: bool,
    recursive: bool,
    read_only: bool,
    nosuid: bool,
    noexec: bool,
    flags: MountFlags,
    /// What the file system itself is told.
    pub(crate) data: Vec<(String, Option<String>)>,
}

impl Words {
    pub(crate) fn read(options: &[String]) -> Result<Self> {
        let mut words = Self::default();
        for option in options {
            words.take(option)?;
        }
        Ok(words)
    }

    fn take(&mut self, option: &str) -> Result<()> {
        let propagation = |text: &str| match text {
            "shared" => Some(Propagation::Shared),
            "slave" => Some(Propagation::Slave),
            "private" => Some(Propagation::Private),
            "unbindable" => Some(Propagation::Unbindable),
            _ => None,
        };
        let base = option.strip_prefix('r').filter(|rest| propagation(rest).is_some());
        if let Some(kind) = propagation(base.unwrap_or(option)) {
            self.flags.propagation = Some(kind);
            return Ok(());
        }
        match option {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "ro" => (self.read_only, self.flags.writable_below) = (true, true),
            "rro" => (self.read_only, self.flags.writable_below) = (true, false),
            "rw" | "rrw" => self.read_only = false,
            "nosuid" | "rnosuid" => self.nosuid = true,
            "suid" | "rsuid" => self.nosuid = false,
            "noexec" | "rnoexec" => self.noexec = true,
            "exec" | "rexec" => self.noexec = false,
            "nodev" | "rnodev" => self.flags.attributes |= NO_DEVICES,
            "dev" | "rdev" => self.flags.attributes &= !NO_DEVICES,
            "noatime" | "rnoatime" => self.flags.attributes |= NO_ACCESS_TIMES,
            "strictatime" | "rstrictatime" => self.flags.attributes |= STRICT_ACCESS_TIMES,
            "nodiratime" | "rnodiratime" => self.flags.attributes |= NO_FOLDER_ACCESS_TIMES,
            "nosymfollow" | "rnosymfollow" => self.flags.attributes |= NO_LINKS,
            "tmpcopyup" => self.flags.copy_up = true,
            "idmap" | "ridmap" => {
                return Err(Error::Unsupported("a mount with owners of its own".into()));
            }
            word if NOTHING.contains(&word) => {}
            word => self.data.push(match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            }),
        }
        Ok(())
    }

    pub(crate) fn mount(self, source: MountSource, target: &str) -> Mount {
        let mut mount = Mount::new(source, target);
        mount.recursive = self.recursive;
        mount.read_only = self.read_only;
        mount.suid = !self.nosuid;
        mount.exec = !self.noexec;
        mount.flags = self.flags;
        mount
    }
}

/// What a mount of the bundle becomes, and the paths that are made read-only once all is mounted.
///
/// Engines write some destinations as the host sees them, below the path of the root.
pub(super) fn mounts(
    spec: &spec::Mount,
    (bundle, root): (&Path, &Path),
    group: Option<&Cgroup>,
) -> Result<(Vec<Mount>, Option<String>)> {
    let below = Path::new(&spec.destination).strip_prefix(root).ok().and_then(Path::to_str);
    let target = format!("/{}", below.unwrap_or(&spec.destination).trim_start_matches('/'));
    if !spec.uid_mappings.is_empty() {
        return Err(Error::Unsupported("a mount with owners of its own".into()));
    }
    let mut words = Words::read(&spec.options)?;
    if words.bind || matches!(spec.kind.as_str(), "bind" | "none") {
        let path = bundle.join(&spec.source);
        words.flags.devices = is_device(&path);
        return Ok((vec![words.mount(MountSource::Path(path), &target)], None));
    }
    if spec.kind == "cgroup" {
        return Ok(cgroups(words, &target, group));
    }
    let is_dev = target.trim_end_matches('/') == "/dev";
    words.flags.devices = is_dev || spec.kind == "devpts";
    // Nodes are put into `/dev` after it was mounted.
    let later = (is_dev && words.read_only).then(|| target.clone());
    words.read_only &= !is_dev;
    let mut options = std::mem::take(&mut words.data);
    words.flags.mode_of_place =
        spec.kind == "tmpfs" && options.iter().all(|(key, _)| key != "mode");
    if !spec.source.is_empty() {
        options.push(("source".to_owned(), Some(spec.source.clone())));
    }
    let source = MountSource::New { kind: spec.kind.clone(), options };
    Ok((vec![words.mount(source, &target)], later))
}

/// Control groups: their one tree, or a folder with the container's group of each tree.
fn cgroups(words: Words, target: &str, group: Option<&Cgroup>) -> (Vec<Mount>, Option<String>) {
    let places = group.map(Cgroup::places).unwrap_or_default();
    if let [(_, _, true)] | [] = places.as_slice() {
        let options = vec![("source".to_owned(), Some("cgroup".to_owned()))];
        let source = MountSource::New { kind: "cgroup2".to_owned(), options };
        return (vec![words.mount(source, target)], None);
    }
    let later = words.read_only.then(|| target.to_owned());
    let options = [("mode", "755"), ("source", "tmpfs")];
    let options = options.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
    let source = MountSource::New { kind: "tmpfs".to_owned(), options: options.to_vec() };
    let flags = words.flags;
    let mut folder = words.mount(source, target);
    folder.read_only = false;
    let mut mounts = vec![folder];
    for (name, path, _) in places {
        let mut mount = Mount::bind(path, format!("{target}/{name}"));
        (mount.suid, mount.exec, mount.flags) = (false, false, flags);
        mount.flags.attributes &= !READ_ONLY;
        mounts.push(mount);
    }
    (mounts, later)
}

fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_char_device() || kind.is_block_device()
    })
}

/// How the root tells of mounts below it.
pub(super) fn propagation(text: &str) -> Result<Option<Propagation>> {
    Ok(Some(match text {
        "" => return Ok(None),
        "shared" | "rshared" => Propagation::Shared,
        "slave" | "rslave" => Propagation::Slave,
        "private" | "rprivate" => Propagation::Private,
        "unbindable" | "runbindable" => Propagation::Unbindable,
        other => return Err(Error::Config(format!("unknown rootfsPropagation {other:?}"))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bundle and its root.
    const PLACES: [&str; 2] = ["/bundle", "/bundle//rootfs"];

    fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> (Mount, Option<String>) {
        let spec = spec::Mount {
            destination: target.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: options.iter().map(ToString::to_string).collect(),
            uid_mappings: Vec::new(),
        };
        let (mut mounts, later) = mounts(&spec, PLACES.map(Path::new).into(), None).unwrap();
        (mounts.remove(0), later)
    }

    #[test]
    fn words_become_attributes() {
        let options = ["rbind", "ro", "nosuid", "noexec", "noatime", "rslave"];
        let (bind, _) = mount("bind", "here", "/there", &options);
        assert!(bind.recursive && bind.read_only && !bind.suid && !bind.exec);
        assert_eq!(bind.flags.propagation, Some(Propagation::Slave));
        assert_eq!(bind.flags.attributes, NO_ACCESS_TIMES);
        let MountSource::Path(path) = bind.source else { panic!("it is a bind") };
        assert_eq!(path, Path::new("/bundle/here"), "a relative source is the bundle's");
    }

    #[test]
    fn what_is_no_word_goes_to_the_file_system() {
        let options = ["nosuid", "mode=755", "noswap", "tmpcopyup"];
        let (tmpfs, _) = mount("tmpfs", "shm", "/x", &options);
        assert!(tmpfs.flags.copy_up);
        let MountSource::New { kind, options } = tmpfs.source else { panic!("it is new") };
        let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        assert_eq!(kind, "tmpfs");
        let expected =
            [pair("mode", Some("755")), pair("noswap", None), pair("source", Some("shm"))];
        assert_eq!(options, expected);
    }

    #[test]
    fn a_destination_may_be_as_the_host_sees_it() {
        for (destination, target) in
            [("/bundle/rootfs/t", "/t"), ("/bundle/rootfs2", "/bundle/rootfs2"), ("x", "/x")]
        {
            assert_eq!(mount("tmpfs", "", destination, &[]).0.target, target);
        }
    }

    #[test]
    fn dev_is_read_only_when_its_nodes_are_there() {
        let (dev, later) = mount("tmpfs", "tmpfs", "/dev", &["ro"]);
        assert!(!dev.read_only && dev.flags.devices);
        assert_eq!(later.as_deref(), Some("/dev"));
    }
}
