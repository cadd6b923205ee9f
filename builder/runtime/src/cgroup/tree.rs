//! The places in the file system where groups are made: one of version 2, several of version 1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::write;
use crate::error::{Doing, Result};
use crate::userns;

/// A mounted tree of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    /// Whether it is that of version 2.
    pub(super) unified: bool,
    pub(super) controllers: Vec<String>,
}

/// The trees of this machine.
pub(super) fn trees() -> Result<Vec<Tree>> {
    let mounts = fs::read_to_string("/proc/self/mounts").doing(|| "read the mounts")?;
    Ok(of_mounts(&mounts))
}

/// The trees in which this process may make groups: of an ordinary user those parts that the groups
/// of the process are in, and that are this user's.
pub(super) fn own_trees() -> Result<Vec<Tree>> {
    let trees = trees()?;
    if userns::is_initial() {
        return Ok(trees);
    }
    let own = fs::read_to_string("/proc/self/cgroup").doing(|| "read own control groups")?;
    let is_own = |folder: &Path| {
        let is_writable =
            |path: PathBuf| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        is_writable(folder.to_owned()) && is_writable(folder.join("cgroup.procs"))
    };
    Ok(own.lines().filter_map(|line| delegated(line, &trees, is_own)).collect())
}

/// The topmost part of a tree that a group, by its line of `/proc/<pid>/cgroup`, is in and that is
/// this user's.
fn delegated(line: &str, trees: &[Tree], is_own: impl Fn(&Path) -> bool) -> Option<Tree> {
    let folder = folder_of(line, trees)?;
    let tree = trees.iter().find(|tree| folder.starts_with(&tree.root))?;
    let above = folder.ancestors().take_while(|above| above.starts_with(&tree.root));
    let root = above.take_while(|above| is_own(above)).last()?;
    let mut part = Tree { root: root.to_owned(), ..tree.clone() };
    if tree.unified {
        // Not all of them need have been passed on.
        let names = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        part.controllers = names.split_whitespace().map(str::to_owned).collect();
    }
    Some(part)
}

fn of_mounts(mounts: &str) -> Vec<Tree> {
    let mut trees: Vec<Tree> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(root), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let tree = match kind {
            "cgroup" => Tree::new(root, false, options.split(',')),
            "cgroup2" => {
                let file = Path::new(root).join("cgroup.controllers");
                let names = fs::read_to_string(file).unwrap_or_default();
                Tree::new(root, true, names.split_whitespace())
            }
            _ => continue,
        };
        // One tree may be mounted in several places.
        if !trees
            .iter()
            .any(|known| known.unified == tree.unified && known.controllers == tree.controllers)
        {
            trees.push(tree);
        }
    }
    trees
}

impl Tree {
    pub(super) fn new<'a>(
        root: impl Into<PathBuf>,
        unified: bool,
        controllers: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let controllers = controllers.into_iter().map(str::to_owned).collect();
        Self { root: root.into(), unified, controllers }
    }

    /// Whether it has a controller; an empty name is that of the tree of version 2.
    pub(super) fn has(&self, controller: &str) -> bool {
        match controller {
            "" => self.unified,
            // What version 1 calls so.
            "blkio" if self.unified => self.controllers.iter().any(|known| known == "io"),
            name => self.controllers.iter().any(|known| known == name),
        }
    }

    /// Makes a group, with these controllers at work in it.
    pub(super) fn make(&self, path: &Path, controllers: &[String]) -> io::Result<()> {
        let mut folder = self.root.clone();
        for name in path {
            if self.unified {
                for controller in controllers {
                    enable(&folder, controller)?;
                }
            }
            folder.push(name);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            if self.has("cpuset") && !self.unified {
                // A new group of version 1 has no processors and no memory until it is told.
                inherit(&folder, "cpuset.cpus")?;
                inherit(&folder, "cpuset.mems")?;
            }
        }
        Ok(())
    }
}

fn enable(folder: &Path, controller: &str) -> io::Result<()> {
    let enabled = fs::read_to_string(folder.join("cgroup.subtree_control"))?;
    if enabled.split_whitespace().any(|known| known == controller) {
        return Ok(());
    }
    write(folder, "cgroup.subtree_control", &format!("+{controller}"))
}

fn inherit(folder: &Path, file: &str) -> io::Result<()> {
    if fs::read_to_string(folder.join(file))?.trim().is_empty() {
        let above = folder.parent().unwrap_or(folder);
        write(folder, file, fs::read_to_string(above.join(file))?.trim())?;
    }
    Ok(())
}

/// The folder that a line of `/proc/<pid>/cgroup` is about.
pub(super) fn folder_of(line: &str, trees: &[Tree]) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let first = controllers.split(',').next()?;
    let tree = trees.iter().find(|tree| match first {
        "" => tree.unified,
        name => !tree.unified && tree.has(name),
    })?;
    Some(tree.root.join(path.strip_prefix('/')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_a_mixture() {
        let folder = tempfile::tempdir().unwrap();
        let unified = folder.path().display();
        fs::write(folder.path().join("cgroup.controllers"), "hugetlb pids\n").unwrap();
        let mounts = format!(
            "proc /proc proc rw 0 0\ncgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\n\
            cgroup2 {unified} cgroup2 rw 0 0\ncgroup2 {unified} cgroup2 rw 0 0\n"
        );
        let trees = of_mounts(&mounts);
        assert_eq!(trees.len(), 2);
        let tree = |name| {
            let found = trees.iter().find(|tree| tree.has(name));
            found.map(|tree| (tree.root.clone(), tree.unified))
        };
        assert_eq!(tree("cpu"), Some(("/c/cpu".into(), false)));
        assert_eq!(tree("pids"), Some((folder.path().to_owned(), true)));
        assert_eq!(tree(""), Some((folder.path().to_owned(), true)));
        assert_eq!(tree("memory"), None);
    }

    #[test]
    fn an_ordinary_user_has_the_topmost_part_that_is_its_own() {
        let trees = [Tree::new("/c/memory", false, ["memory"])];
        let of = |line: &str, own: &str| {
            let tree = delegated(line, &trees, |folder| folder.starts_with(own));
            tree.map(|tree| tree.root)
        };
        let line = "4:memory:/user/ann/app";
        assert_eq!(of(line, "/c/memory/user/ann"), Some("/c/memory/user/ann".into()));
        assert_eq!(of(line, "/c/memory"), Some("/c/memory".into()));
        assert_eq!(of(line, "/c/memory/user/bob"), None);
        assert_eq!(of("4:memory:/", "/c/memory/user"), None);
    }

    #[test]
    fn groups_of_a_process() {
        let trees =
            [Tree::new("/c/cpu", false, ["rw", "cpu", "cpuacct"]), Tree::new("/u", true, [])];
        let folder = |line| folder_of(line, &trees);
        assert_eq!(folder("3:cpu,cpuacct:/rbuild/x"), Some("/c/cpu/rbuild/x".into()));
        assert_eq!(folder("0::/rbuild/x"), Some("/u/rbuild/x".into()));
        assert_eq!(folder("0::/"), Some("/u/".into()));
        for line in ["1:name=systemd:/rbuild/x", ""] {
            assert_eq!(folder(line), None, "{line}");
        }
    }

    #[test]
    fn controllers_are_enabled_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        for place in ["", "a"] {
            let place = folder.path().join(place);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("cgroup.subtree_control"), "").unwrap();
        }
        let tree = Tree::new(folder.path(), true, ["pids"]);
        tree.make(Path::new("a/b"), &["pids".to_owned()]).unwrap();
        let enabled = |place: &str| {
            fs::read_to_string(folder.path().join(place).join("cgroup.subtree_control")).ok()
        };
        assert_eq!(enabled(""), Some("+pids".into()));
        assert_eq!(enabled("a"), Some("+pids".into()));
        assert!(folder.path().join("a/b").is_dir());
        assert_eq!(enabled("a/b"), None, "nothing is below the group itself");
    }
}
