//! Limits on what a container uses: control groups of version 1, 2, or a mixture of both.
//!
//! A container needs none. One that has limits gets a group in each tree that has a controller for
//! one of them, at the same path in each.

mod devices;
mod limits;
mod tree;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};
use crate::userns;
pub use devices::{Access, DeviceRule, allow_everything};
pub use limits::{BlockRate, Limits, Rate};
use limits::{Setting, Value};
use tree::{Tree, own_trees, trees};

/// Where groups are made unless somebody names another place.
pub const DEFAULT_PARENT: &str = "rbuild";
/// How long processes that were killed may take to leave a group.
const LEAVING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

/// A control group in each tree that it takes. It stays when this is dropped.
#[derive(Debug)]
pub struct Cgroup {
    folders: Vec<(Tree, PathBuf)>,
    holds_devices: bool,
}

impl Cgroup {
    /// Makes a group at this path, below the top of each tree, in the trees that limits need.
    ///
    /// Fails where the machine has no controller for one of them.
    pub fn create(path: &str, limits: &Limits) -> Result<Self> {
        Self::make(path, limits, false)
    }

    /// Makes a group in every tree of the machine, so that it can be frozen and counted as well.
    pub fn create_everywhere(path: &str, limits: &Limits) -> Result<Self> {
        Self::make(path, limits, true)
    }

    fn make(path: &str, limits: &Limits, everywhere: bool) -> Result<Self> {
        let path = checked(path)?;
        let trees = own_trees()?;
        let settings = limits.settings();
        for setting in settings.iter().filter(|setting| setting.needed) {
            tree_of(&trees, setting.controller)?;
        }
        let mut group = Self { folders: Vec::new(), holds_devices: false };
        for tree in trees {
            let wanted = |setting: &&Setting| tree.has(setting.controller);
            let rules = !limits.devices.is_empty() && (tree.unified || tree.has("devices"));
            if !everywhere && !rules && !settings.iter().any(|setting| wanted(&setting)) {
                continue;
            }
            let folder = tree.root.join(&path);
            let made = tree.make(&path, &controllers(&tree, &settings, everywhere));
            group.folders.push((tree, folder));
            if let Err(error) = made {
                // What cannot be removed is empty and of no effect.
                let _ = group.remove();
                return Err(error).doing(|| format!("make the control group {}", path.display()));
            }
        }
        if let Err(error) = group.set(&settings) {
            let _ = group.remove();
            return Err(error);
        }
        if !limits.devices.is_empty() {
            group.holds_devices = devices::enforce(&group.folders, &limits.devices);
        }
        Ok(group)
    }

    /// The group at this path with what it lacks to get these limits, or without any to be frozen:
    /// a folder in more trees. Nothing is limited yet, and no process is there.
    pub fn extend(path: &str, limits: Option<&Limits>) -> Result<Self> {
        let (name, trees) = (checked(path)?, own_trees()?);
        let settings = limits.map(Limits::settings).unwrap_or_default();
        for setting in settings.iter().filter(|setting| setting.needed) {
            tree_of(&trees, setting.controller)?;
        }
        let has_freezer = trees.iter().any(|tree| tree.has("freezer"));
        for tree in &trees {
            let is_wanted = match limits {
                Some(_) => settings.iter().any(|setting| tree.has(setting.controller)),
                None => tree.has("freezer") || tree.unified && !has_freezer,
            };
            if is_wanted {
                let made = tree.make(&name, &controllers(tree, &settings, false));
                made.doing(|| format!("make the control group {}", name.display()))?;
            }
        }
        Self::find(path)
    }

    /// Whether the kernel obeys the rules on devices that this was made with.
    pub fn holds_devices(&self) -> bool {
        self.holds_devices
    }

    /// The group that is at this path, in each tree that has one.
    pub fn find(path: &str) -> Result<Self> {
        let path = checked(path)?;
        let folders = own_trees()?.into_iter().map(|tree| {
            let folder = tree.root.join(&path);
            (tree, folder)
        });
        let folders = folders.filter(|(_, folder)| folder.is_dir()).collect();
        Ok(Self { folders, holds_devices: false })
    }

    /// Sets limits anew; those that are not given stay.
    pub fn update(&self, limits: &Limits) -> Result<()> {
        self.set(&limits.settings())
    }

    fn set(&self, settings: &[Setting]) -> Result<()> {
        // What depends on another limit may be refused until that one is set.
        let refused: Vec<_> = settings.iter().filter(|one| self.apply(one).is_err()).collect();
        for setting in refused {
            match self.apply(setting) {
                Err(_) if !setting.needed => {}
                done => done.doing(|| setting.doing())?,
            }
        }
        Ok(())
    }

    fn apply(&self, setting: &Setting) -> io::Result<()> {
        let (tree, folder) = self
            .folders
            .iter()
            .find(|(tree, _)| tree.has(setting.controller))
            .ok_or(io::ErrorKind::NotFound)?;
        let value = if tree.unified { &setting.unified } else { &setting.first };
        match value {
            Value::None => Ok(()),
            Value::Absent => Err(io::ErrorKind::Unsupported.into()),
            Value::File(file, value) => write(folder, file, value),
        }
    }

    /// The files for [`Container::cgroups`](crate::Container::cgroups).
    pub fn procs(&self) -> Result<Vec<OwnedFd>> {
        self.folders.iter().map(|(_, folder)| open_procs(folder)).collect()
    }

    /// The group's folders: the name of each one's tree, where it is, and whether that is the tree
    /// of version 2.
    pub fn places(&self) -> Vec<(String, PathBuf, bool)> {
        let name =
            |tree: &Tree| tree.root.file_name().map(|name| name.to_string_lossy().into_owned());
        let place = |(tree, folder): &(Tree, PathBuf)| {
            (name(tree).unwrap_or_default(), folder.clone(), tree.unified)
        };
        self.folders.iter().map(place).collect()
    }

    /// The processes in the group and in those below it, as this process numbers them.
    pub fn processes(&self) -> Vec<u32> {
        // The longest list: a group that is not in a tree of version 1 may be in that of version 2.
        let lists = self.folders.iter().map(|(_, folder)| processes(folder));
        lists.max_by_key(Vec::len).unwrap_or_default()
    }

    /// Moves processes into the group, which `inside` lists: again and again, until none that
    /// they started meanwhile is left outside.
    pub fn adopt(&self, inside: &dyn Fn() -> Vec<u32>) -> Result<()> {
        let until = Instant::now() + LEAVING;
        loop {
            let (all, mut is_whole) = (inside(), true);
            for (_, folder) in &self.folders {
                let here = processes(folder);
                for pid in all.iter().filter(|pid| !here.contains(pid)) {
                    is_whole = false;
                    match write(folder, "cgroup.procs", &pid.to_string()) {
                        // It has ended meanwhile.
                        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                        moved => moved.doing(|| format!("move {pid} to {}", folder.display()))?,
                    }
                }
            }
            if is_whole {
                return Ok(());
            }
            if Instant::now() > until {
                let slow = io::Error::from(io::ErrorKind::TimedOut);
                return Err(slow).doing(|| "move all processes of the container");
            }
        }
    }

    /// Whether there is a tree in which the group can be frozen.
    pub fn can_freeze(&self) -> bool {
        self.freezer().is_some()
    }

    /// Stops all processes of the group where they are, or lets them go on; returns once it is so.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let (tree, folder) = self.freezer().ok_or_else(|| no_groups("freezer"))?;
        let doing = || format!("{} the container", if frozen { "freeze" } else { "thaw" });
        let (file, value) = match (tree.unified, frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        write(folder, file, value).doing(doing)?;
        let until = Instant::now() + LEAVING;
        while is_frozen(tree, folder) != frozen {
            if Instant::now() > until {
                let _ = write(folder, file, if tree.unified { "0" } else { "THAWED" });
                return Err(io::Error::from(io::ErrorKind::TimedOut)).doing(doing);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Whether the group is frozen.
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|(tree, folder)| is_frozen(tree, folder))
    }

    fn freezer(&self) -> Option<&(Tree, PathBuf)> {
        self.folders.iter().find(|(tree, folder)| {
            tree.has("freezer") || tree.unified && folder.join("cgroup.freeze").exists()
        })
    }

    /// How many of its processes the kernel killed because the group's memory ran out.
    pub fn memory_kills(&self) -> u64 {
        let Some((tree, folder)) = self.folders.iter().find(|(tree, _)| tree.has("memory")) else {
            return 0;
        };
        let file = if tree.unified { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
    }

    /// Kills every process of the group, frozen or not, and waits a while for all to be gone.
    pub fn kill(&self) {
        let until = Instant::now() + LEAVING;
        for (_, folder) in self.folders.iter().filter(|(tree, _)| tree.unified) {
            // Older kernels lack it.
            let _ = write(folder, "cgroup.kill", "1");
        }
        let mut is_first = true;
        while !self.processes().is_empty() && Instant::now() < until {
            if !is_first {
                // Whoever forks faster than they can be counted has to stand still for it.
                let _ = self.freeze(true);
            }
            self.processes().into_iter().for_each(kill);
            if self.is_frozen() {
                // What is frozen does not even die.
                let _ = self.freeze(false);
            }
            is_first = false;
            std::thread::sleep(PAUSE);
        }
    }

    /// Removes the group and those below it, whose processes must have ended or be about to.
    pub fn remove(self) -> Result<()> {
        let until = Instant::now() + LEAVING;
        for (_, folder) in &self.folders {
            loop {
                match remove_tree(folder) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        if Instant::now() > until {
                            return Err(error).doing(|| format!("remove {}", folder.display()));
                        }
                        std::thread::sleep(PAUSE);
                    }
                    done => {
                        done.doing(|| format!("remove {}", folder.display()))?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

fn kill(number: u32) {
    if let Some(pid) = i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw) {
        // One that has ended meanwhile needs no killing.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The path below the top of a tree: names, and no way up.
fn checked(path: &str) -> Result<PathBuf> {
    let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
    let is_wrong = |name: &&str| matches!(*name, "." | "..") || name.contains('\0');
    if names.is_empty() || names.iter().any(is_wrong) {
        return Err(Error::Invalid(format!("{path:?} is no path of a control group")));
    }
    Ok(names.iter().collect())
}

fn tree_of<'a>(trees: &'a [Tree], controller: &str) -> Result<&'a Tree> {
    trees.iter().find(|tree| tree.has(controller)).ok_or_else(|| no_groups(controller))
}

fn no_groups(controller: &str) -> Error {
    Error::Invalid(if userns::is_initial() {
        format!("this machine has no control groups for {controller:?}")
    } else {
        format!("this user may make no control groups for {controller:?}")
    })
}

/// The controllers that a group needs in a tree.
fn controllers(tree: &Tree, settings: &[Setting], everywhere: bool) -> Vec<String> {
    let called = |name: &'static str| if name == "blkio" { "io" } else { name };
    let is_needed = |name: &String| {
        everywhere || settings.iter().any(|setting| called(setting.controller) == name.as_str())
    };
    tree.controllers.iter().filter(|name| is_needed(name)).cloned().collect()
}

fn is_frozen(tree: &Tree, folder: &Path) -> bool {
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    if tree.unified {
        read("cgroup.events").lines().any(|line| line == "frozen 1")
    } else {
        read("freezer.state").trim() == "FROZEN"
    }
}

fn processes(folder: &Path) -> Vec<u32> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut numbers: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for below in folders_in(folder) {
        numbers.extend(processes(&below));
    }
    numbers
}

fn folders_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path())
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    for below in folders_in(folder) {
        remove_tree(&below)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The `cgroup.procs` files, open for writing, of the groups in which a process is and this one
/// is not.
pub(crate) fn of_process(pid: u32) -> Result<Vec<OwnedFd>> {
    let read = |path: String| fs::read_to_string(&path).doing(|| format!("read {path}"));
    let (theirs, own) = (read(format!("/proc/{pid}/cgroup"))?, read("/proc/self/cgroup".into())?);
    let trees = trees()?;
    let others = theirs.lines().filter(|line| !own.lines().any(|known| known == *line));
    let folders = others.filter_map(|line| tree::folder_of(line, &trees));
    // A group that is not this user's is nobody's limit: all of the user's processes may be in it.
    let is_foreign = |error: &Error| {
        let denied = io::ErrorKind::PermissionDenied;
        !userns::is_initial()
            && matches!(error, Error::Sandbox { source, .. } if source.kind() == denied)
    };
    let opened = folders.map(|folder| open_procs(&folder));
    opened.filter(|file| !file.as_ref().is_err_and(is_foreign)).collect()
}

fn open_procs(folder: &Path) -> Result<OwnedFd> {
    let file = OpenOptions::new().write(true).open(folder.join("cgroup.procs"));
    file.map(OwnedFd::from).doing(|| format!("open {}", folder.display()))
}

fn write(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    let open = |file| OpenOptions::new().write(true).open(folder.join(file));
    let mut opened: File = match open(file) {
        // Where the scheduler of disks is BFQ, it has the weights.
        Err(error) if error.kind() == io::ErrorKind::NotFound && file == "blkio.weight" => {
            open("blkio.bfq.weight")?
        }
        opened => opened?,
    };
    io::Write::write_all(&mut opened, value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_down() {
        for path in ["", "/", "..", "a/../b", "a/."] {
            assert!(checked(path).is_err(), "{path:?}");
        }
        assert_eq!(checked("/a//b").unwrap(), Path::new("a/b"));
    }

    #[test]
    fn the_weight_of_disks_goes_to_the_scheduler_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), "blkio.weight", "300").is_err());
        let of_bfq = folder.path().join("blkio.bfq.weight");
        fs::write(&of_bfq, "").unwrap();
        write(folder.path(), "blkio.weight", "300").unwrap();
        assert_eq!(fs::read_to_string(&of_bfq).unwrap(), "300");
        fs::write(folder.path().join("blkio.weight"), "").unwrap();
        write(folder.path(), "blkio.weight", "400").unwrap();
        assert_eq!(fs::read_to_string(&of_bfq).unwrap(), "300");
    }

    #[test]
    fn what_the_machine_lacks_is_named() {
        let trees = [Tree::new("/c/cpu", false, ["cpu"])];
        let error = tree_of(&trees, "memory").unwrap_err().to_string();
        assert!(error.contains("no control groups for \"memory\""), "{error}");
        assert!(tree_of(&trees, "cpu").is_ok());
    }
}
