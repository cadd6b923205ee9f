//! The control group of a container while it runs: made when it is needed, gone with the container.
//!
//! A container without limits has none, which makes its start cheaper. When it is frozen or gets
//! limits later, a group is made and its processes move there. Where its processes are not alone
//! among themselves, nothing else knows which ones are left when the first one has ended.

use std::os::fd::OwnedFd;

use rbuild_runtime::cgroup::{Cgroup, DEFAULT_PARENT, Limits};
use rbuild_runtime::{Container, Mount, MountSource};

use super::error::Result;
use super::folder::Folder;
use super::limits::Resources;
use super::options::{RunOptions, Share};

/// Where a container sees its groups.
const TREES: &str = "/sys/fs/cgroup";
/// Bytes for the folder there, which has folders only.
const FOLDER: u64 = 64 << 10;

/// The group of one run of a container.
#[derive(Debug)]
pub(crate) struct Group {
    id: String,
    path: String,
    made: Option<Cgroup>,
    /// Whether it is there for limits.
    limits: bool,
}

impl Group {
    /// Makes the group of a container that has limits, a place for one, or processes among others.
    pub(crate) fn new(folder: &Folder, options: &RunOptions) -> Result<Self> {
        let resources = &options.resources;
        let (limits, path) = (resources.limits(), path(folder, resources));
        let made = match &resources.cgroup_parent {
            Some(_) => Some(Cgroup::create_everywhere(&path, &limits)?),
            None if is_limited(resources) => Some(Cgroup::create(&path, &limits)?),
            None => None,
        };
        // Those that fork while they are killed must be frozen for it. Where that cannot be, and
        // there are no limits, what the first process leaves behind lives on.
        let shares = options.pid != Share::Private;
        let made = shares.then(|| Cgroup::extend(&path, None).ok()).flatten().or(made);
        Ok(Self { id: folder.id.clone(), path, made, limits: is_limited(resources) })
    }

    /// The group that another runtime has made of a container.
    pub(crate) fn made(folder: &Folder, resources: &Resources) -> Result<Self> {
        let path = path(folder, resources);
        let made = Some(Cgroup::find(&path)?);
        Ok(Self { id: folder.id.clone(), path, made, limits: is_limited(resources) })
    }

    /// What a process writes itself into to be in the group.
    pub(crate) fn procs(&self) -> Result<Vec<OwnedFd>> {
        Ok(self.made.as_ref().map(Cgroup::procs).transpose()?.unwrap_or_default())
    }

    /// Has the container see its groups where the machine has several trees of them: in a folder with
    /// one of each, which nobody inside can write to unless that is wanted.
    pub(crate) fn show(&self, container: &mut Container, writable: bool) {
        let shown = self.made.as_ref().filter(|_| self.limits);
        let places = shown.map(Cgroup::places).unwrap_or_default();
        if let [(_, _, true)] | [] = places.as_slice() {
            return;
        }
        let folder = MountSource::Tmpfs { size: Some(FOLDER), mode: 0o755, uid: 0, gid: 0 };
        let bind = |(name, path, _)| Mount::bind(path, format!("{TREES}/{name}"));
        let groups = places.into_iter().map(bind);
        let mounts = std::iter::once(Mount::new(folder, TREES)).chain(groups);
        let plain = mounts.map(|mount| Mount { suid: false, exec: false, ..mount });
        container.mounts.splice(..0, plain);
        if !writable {
            container.read_only_paths.push(TREES.to_owned());
        }
    }

    /// Stops all processes where they are, or lets them go on. `inside` lists them.
    pub(crate) fn freeze(&mut self, frozen: bool, inside: &dyn Fn() -> Vec<u32>) -> Result<()> {
        let group = self.extend(None, inside)?;
        group.freeze(frozen)?;
        if frozen {
            // What came in by `exec` meanwhile stops as it joins.
            let adopted = group.adopt(inside);
            if adopted.is_err() {
                // Nobody would know that it stands still.
                let _ = group.freeze(false);
            }
            adopted?;
        }
        Ok(())
    }

    /// Sets limits anew. `inside` lists the processes.
    pub(crate) fn update(&mut self, limits: &Limits, inside: &dyn Fn() -> Vec<u32>) -> Result<()> {
        Ok(self.extend(Some(limits), inside)?.update(limits)?)
    }

    /// The group with a place in the trees for these limits, or for freezing, and every process
    /// in it.
    fn extend(
        &mut self,
        limits: Option<&Limits>,
        inside: &dyn Fn() -> Vec<u32>,
    ) -> Result<&Cgroup> {
        let group = self.made.insert(Cgroup::extend(&self.path, limits)?);
        group.adopt(inside)?;
        Ok(group)
    }

    /// Kills what is left in the group when the first process has ended: among the host's
    /// processes, its children live on and may write for ever.
    pub(crate) fn kill(&self) {
        self.made.iter().for_each(Cgroup::kill);
    }

    /// Ends what is left in the group, and removes it; returns whether memory had run out.
    pub(crate) fn end(self) -> bool {
        let Some(group) = self.made else { return false };
        let is_short_of_memory = group.memory_kills() > 0;
        end(group, &self.id);
        is_short_of_memory
    }
}

/// Whether a container may have a group from its start on.
pub(crate) fn is_wanted(options: &RunOptions) -> bool {
    is_limited(&options.resources) || options.pid != Share::Private
}

fn is_limited(resources: &Resources) -> bool {
    let limits = resources.limits();
    let none = Limits { swap_optional: limits.swap_optional, ..Limits::default() };
    resources.cgroup_parent.is_some() || limits != none
}

/// Removes what a dead monitor has left of the group of a container, frozen as it may be.
pub(crate) fn sweep(folder: &Folder, resources: &Resources) {
    match Cgroup::find(&path(folder, resources)) {
        Ok(group) => end(group, &folder.id),
        Err(error) => tracing::warn!(id = folder.id, %error, "control groups could not be read"),
    }
}

fn end(group: Cgroup, id: &str) {
    group.kill();
    if let Err(error) = group.remove() {
        tracing::warn!(id, %error, "a control group could not be removed");
    }
}

/// Where it is below the top of each tree.
pub(crate) fn path(folder: &Folder, resources: &Resources) -> String {
    let parent = resources.cgroup_parent.as_deref().unwrap_or(DEFAULT_PARENT);
    format!("{parent}/{}", folder.id)
}
