//! The control group of a container while it runs: made when it is needed, gone with the container.
//!
//! A container without limits has none, which makes its start cheaper. When it is frozen or gets
//! limits later, a group is made and its processes move there.

use std::os::fd::OwnedFd;

use rbuild_runtime::cgroup::{Cgroup, DEFAULT_PARENT, Limits};
use rbuild_runtime::{Container, Mount, MountSource};

use super::error::Result;
use super::folder::Folder;
use super::limits::Resources;

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
}

impl Group {
    /// Makes the group of a container that has limits or a place for one.
    pub(crate) fn new(folder: &Folder, resources: &Resources) -> Result<Self> {
        let (limits, path) = (resources.limits(), path(folder, resources));
        let made = match (&resources.cgroup_parent, is_wanted(resources)) {
            (Some(_), _) => Some(Cgroup::create_everywhere(&path, &limits)?),
            (None, true) => Some(Cgroup::create(&path, &limits)?),
            (None, false) => None,
        };
        Ok(Self { id: folder.id.clone(), path, made })
    }

    /// The group that another runtime has made of a container.
    pub(crate) fn made(folder: &Folder, resources: &Resources) -> Result<Self> {
        let path = path(folder, resources);
        let made = Some(Cgroup::find(&path)?);
        Ok(Self { id: folder.id.clone(), path, made })
    }

    /// What a process writes itself into to be in the group.
    pub(crate) fn procs(&self) -> Result<Vec<OwnedFd>> {
        Ok(self.made.as_ref().map(Cgroup::procs).transpose()?.unwrap_or_default())
    }

    /// Has the container see its groups where the machine has several trees of them: in a folder with
    /// one of each, which nobody inside can write to unless that is wanted.
    pub(crate) fn show(&self, container: &mut Container, writable: bool) {
        let places = self.made.as_ref().map(Cgroup::places).unwrap_or_default();
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
            group.adopt(inside)?;
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

    /// Ends what is left in the group, and removes it; returns whether memory had run out.
    pub(crate) fn end(self) -> bool {
        let Some(group) = self.made else { return false };
        let is_short_of_memory = group.memory_kills() > 0;
        // In the host's processes, children live on when the first one has ended.
        end(group, &self.id);
        is_short_of_memory
    }
}

/// Whether a container has a group from its start on.
pub(crate) fn is_wanted(resources: &Resources) -> bool {
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
    if group.is_frozen() {
        // What is frozen does not even die.
        let _ = group.freeze(false);
    }
    if let Err(error) = group.remove() {
        tracing::warn!(id, %error, "a control group could not be removed");
    }
}

/// Where it is below the top of each tree.
pub(crate) fn path(folder: &Folder, resources: &Resources) -> String {
    let parent = resources.cgroup_parent.as_deref().unwrap_or(DEFAULT_PARENT);
    format!("{parent}/{}", folder.id)
}
