//! Limits on what a container uses: control groups of version 1, 2, or a mixture of both.
//!
//! A container needs none. One that has limits gets a group in each tree that has a controller for
//! one of them, below `rbuild` at the top of the tree.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};

const PARENT: &str = "rbuild";
/// The time in which [`Limits::cpu`] is to be used, in microseconds: a tenth of a second.
const PERIOD: u64 = 100_000;

/// What a container may use; none is without limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap space together.
    pub memory_and_swap: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processor time, in thousandths of one processor.
    pub cpu: Option<u64>,
    /// Processors by number, as `0-2,4`.
    pub processors: Option<String>,
}

/// A control group in each tree that it takes. It stays when this is dropped.
#[derive(Debug)]
pub struct Cgroup {
    folders: Vec<PathBuf>,
}

/// A place in the file system where groups are made.
struct Tree {
    root: PathBuf,
    unified: bool,
}

/// The value for a file of a group, by version; an empty name is no file.
struct Setting {
    controller: &'static str,
    first: (&'static str, String),
    unified: (&'static str, String),
}

impl Cgroup {
    /// Makes a group of this name, one path component, with limits. Fails where the machine has no
    /// controller for one of them.
    pub fn create(name: &str, limits: &Limits) -> Result<Self> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(Error::Invalid(format!("{name:?} is no name for a control group")));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").doing(|| "read the mounts")?;
        let mut group = Self { folders: Vec::new() };
        for setting in settings(limits) {
            let controller = setting.controller;
            let tree = Tree::of(&mounts, controller).ok_or_else(|| {
                Error::Invalid(format!("this machine has no controller for {controller:?}"))
            })?;
            let made = tree.apply(name, &setting);
            let folder = tree.root.join(PARENT).join(name);
            if folder.is_dir() && !group.folders.contains(&folder) {
                group.folders.push(folder);
            }
            if let Err(error) = made {
                // What cannot be removed is empty and of no effect.
                let _ = group.remove();
                return Err(error).doing(|| format!("limit {controller}"));
            }
        }
        Ok(group)
    }

    /// The files for [`Container::cgroups`](crate::Container::cgroups).
    pub fn procs(&self) -> Result<Vec<OwnedFd>> {
        let open = |folder: &PathBuf| {
            let file = OpenOptions::new().write(true).open(folder.join("cgroup.procs"));
            file.map(OwnedFd::from).doing(|| format!("open {}", folder.display()))
        };
        self.folders.iter().map(open).collect()
    }

    /// Removes the group, whose processes must have ended.
    pub fn remove(self) -> Result<()> {
        for folder in &self.folders {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.doing(|| format!("remove {}", folder.display()))?,
            }
        }
        Ok(())
    }
}

/// The `cgroup.procs` files, open for writing, of the groups of ours that a process is in.
pub(crate) fn of_process(pid: u32) -> Result<Vec<OwnedFd>> {
    let read = |path: String| fs::read_to_string(&path).doing(|| format!("read {path}"));
    let groups = read(format!("/proc/{pid}/cgroup"))?;
    let mounts = read("/proc/self/mounts".into())?;
    let folders = groups.lines().filter_map(|line| folder_of(line, &mounts)).collect();
    Cgroup { folders }.procs()
}

/// The folder that a line of `/proc/<pid>/cgroup` is about, if it is one of ours.
fn folder_of(line: &str, mounts: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let name = path.strip_prefix('/')?.strip_prefix(PARENT)?.strip_prefix('/')?;
    let root = match controllers.split(',').next()? {
        "" => mounts.lines().find_map(|mount| {
            let mut fields = mount.split(' ').skip(1);
            let (root, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(root))
        })?,
        controller => Tree::of(mounts, controller).filter(|tree| !tree.unified)?.root,
    };
    Some(root.join(PARENT).join(name))
}

fn settings(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, first: &'static str, unified: &'static str, values: [String; 2]| {
        let [old, new] = values;
        settings.push(Setting { controller, first: (first, old), unified: (unified, new) });
    };
    if let Some(bytes) = limits.memory {
        let value = bytes.to_string();
        set("memory", "memory.limit_in_bytes", "memory.max", [value.clone(), value]);
    }
    if let Some(total) = limits.memory_and_swap {
        let swap = total.saturating_sub(limits.memory.unwrap_or(0));
        let values = [total.to_string(), swap.to_string()];
        set("memory", "memory.memsw.limit_in_bytes", "memory.swap.max", values);
    }
    if let Some(count) = limits.processes {
        let value = count.to_string();
        set("pids", "pids.max", "pids.max", [value.clone(), value]);
    }
    if let Some(thousandths) = limits.cpu {
        let quota = thousandths * (PERIOD / 1000);
        let values = [quota.to_string(), format!("{quota} {PERIOD}")];
        set("cpu", "cpu.cfs_quota_us", "cpu.max", values);
    }
    if let Some(numbers) = &limits.processors {
        set("cpuset", "cpuset.cpus", "cpuset.cpus", [numbers.clone(), numbers.clone()]);
    }
    settings
}

impl Tree {
    /// The tree that has a controller: its own of version 1, or the one of version 2.
    fn of(mounts: &str, controller: &str) -> Option<Self> {
        let trees = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (root, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            Some((PathBuf::from(root), kind, options))
        });
        trees.into_iter().find_map(|(root, kind, options)| {
            let has = match kind {
                "cgroup" => options.split(',').any(|option| option == controller),
                "cgroup2" => has_word(&root.join("cgroup.controllers"), controller),
                _ => false,
            };
            has.then_some(Self { root, unified: kind == "cgroup2" })
        })
    }

    fn apply(&self, name: &str, setting: &Setting) -> io::Result<()> {
        let parent = self.root.join(PARENT);
        make(&parent)?;
        if self.unified {
            let control = format!("+{}", setting.controller);
            write(&self.root, "cgroup.subtree_control", &control)?;
            write(&parent, "cgroup.subtree_control", &control)?;
        }
        let folder = parent.join(name);
        make(&folder)?;
        if setting.controller == "cpuset" && !self.unified {
            // A new group of version 1 has no processors and no memory until it is told.
            for folder in [&parent, &folder] {
                inherit(folder, "cpuset.cpus")?;
                inherit(folder, "cpuset.mems")?;
            }
        }
        let (file, value) = if self.unified { &setting.unified } else { &setting.first };
        write(&folder, file, value)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn inherit(folder: &Path, file: &str) -> io::Result<()> {
    if fs::read_to_string(folder.join(file))?.trim().is_empty() {
        let above = folder.parent().unwrap_or(folder);
        write(folder, file, fs::read_to_string(above.join(file))?.trim())?;
    }
    Ok(())
}

fn write(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    let mut opened: File = OpenOptions::new().write(true).open(folder.join(file))?;
    io::Write::write_all(&mut opened, value.as_bytes())
}

fn has_word(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|found| found == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_version() {
        let limits = Limits {
            memory: Some(100),
            memory_and_swap: Some(150),
            processes: Some(7),
            cpu: Some(1500),
            processors: Some("0-1".into()),
        };
        let found: Vec<_> = settings(&limits)
            .into_iter()
            .map(|setting| {
                format!("{} {}={}", setting.controller, setting.unified.0, setting.unified.1)
            })
            .collect();
        let expected = [
            "memory memory.max=100",
            "memory memory.swap.max=50",
            "pids pids.max=7",
            "cpu cpu.max=150000 100000",
            "cpuset cpuset.cpus=0-1",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn trees_of_a_mixture() {
        let folder = tempfile::tempdir().unwrap();
        let unified = folder.path().display();
        fs::write(folder.path().join("cgroup.controllers"), "hugetlb pids\n").unwrap();
        let mounts = format!(
            "proc /proc proc rw 0 0\ncgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\n\
            cgroup2 {unified} cgroup2 rw 0 0\n"
        );
        let tree = |name| Tree::of(&mounts, name).map(|tree| (tree.root, tree.unified));
        assert_eq!(tree("cpu"), Some(("/c/cpu".into(), false)));
        assert_eq!(tree("pids"), Some((folder.path().to_owned(), true)));
        assert_eq!(tree("memory"), None);
    }

    #[test]
    fn groups_of_a_process() {
        let mounts = "cgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\ncgroup2 /u cgroup2 rw 0 0\n";
        let folder = |line| folder_of(line, mounts);
        assert_eq!(folder("3:cpu,cpuacct:/rbuild/x"), Some("/c/cpu/rbuild/x".into()));
        assert_eq!(folder("0::/rbuild/x"), Some("/u/rbuild/x".into()));
        for line in ["0::/", "0::/rbuilder/x", "1:name=systemd:/rbuild/x", "0::/user.slice", ""] {
            assert_eq!(folder(line), None, "{line}");
        }
    }

    #[test]
    fn names_are_one_component() {
        for name in ["", "..", "a/b", ".x"] {
            assert!(Cgroup::create(name, &Limits::default()).is_err(), "{name:?}");
        }
    }
}
