//! Changing limits and the restart policy of a container that is there.

use rbuild_cache::Store;
use rbuild_runtime::cgroup::Limits;
use serde::{Deserialize, Serialize};

use super::control;
use super::error::{Error, Result};
use super::limits::Resources;
use super::message::Act;
use super::names;
use super::note::note;
use super::options::{Restart, RunOptions};

/// What is to be another way from now on; what is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// Limits; the place of the group cannot be changed.
    pub resources: Resources,
    /// Whether it starts again when it stops.
    pub restart: Option<Restart>,
}

/// What a container is like that was updated, as it is kept beside its record.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Changed {
    resources: Resources,
    restart: Restart,
}

impl Changed {
    /// Puts it in the place of what was before.
    pub(crate) fn apply(&self, options: &mut RunOptions) {
        options.resources.clone_from(&self.resources);
        options.restart = self.restart;
    }
}

impl Update {
    /// What a container is like with the change.
    pub(crate) fn of(&self, options: &RunOptions) -> Result<Changed> {
        let restart = self.restart.unwrap_or(options.restart);
        if options.remove && restart != Restart::No {
            let option = "--restart".to_owned();
            let reason = "a container that is removed when it stops cannot be started again";
            return Err(Error::Unsupported { option, reason });
        }
        let resources = options.resources.updated(&self.resources);
        resources.check()?;
        Ok(Changed { resources, restart })
    }

    /// The limits to be set, where any are to be changed.
    pub(crate) fn limits(&self, changed: &Changed) -> Option<Limits> {
        let no_limit = self.resources.pids_limit.filter(|most| *most <= 0).map(|_| -1);
        (self.resources != Resources::default()).then(|| {
            let limits = changed.resources.limits();
            Limits { processes: limits.processes.or(no_limit), ..limits }
        })
    }
}

/// Changes a container, whether or not it runs.
///
/// # Errors
/// Limits that contradict each other or that the machine does not have.
pub fn update(store: &Store, name: &str, update: &Update) -> Result<()> {
    let folder = names::find(store, name)?;
    match control::connect(&folder) {
        Ok(stream) => control::ask(&folder, stream, &Act::Update(Box::new(update.clone()))),
        Err(Error::NotRunning(_)) => {
            let _held = folder.lock()?.ok_or_else(|| Error::Busy(name.to_owned()))?;
            let record = folder.record()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
            folder.write_changed(&update.of(&record.options)?)?;
            note(&folder, &record, "update", &[]);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays() {
        let resources = Resources {
            memory: Some(64 << 20),
            cpus: Some(0.5),
            cgroup_parent: Some("mine".into()),
            ..Resources::default()
        };
        let options = RunOptions { resources, restart: Restart::Always, ..RunOptions::default() };
        let update = Update {
            resources: Resources {
                cpu_quota: Some(20_000),
                pids_limit: Some(-1),
                ..Resources::default()
            },
            restart: None,
        };
        let changed = update.of(&options).unwrap();
        assert_eq!(changed.restart, Restart::Always);
        assert_eq!(changed.resources.memory, Some(64 << 20));
        assert_eq!(changed.resources.cgroup_parent.as_deref(), Some("mine"));
        assert_eq!(changed.resources.cpus, None, "a quota is in place of it");
        let limits = update.limits(&changed).unwrap();
        assert_eq!((limits.processes, limits.cpu_quota), (Some(-1), Some(20_000)));
        let restart = Update { restart: Some(Restart::No), ..Update::default() };
        assert_eq!(restart.limits(&restart.of(&options).unwrap()), None, "no group is needed");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let options = RunOptions { remove: true, ..RunOptions::default() };
        let restart = Update { restart: Some(Restart::Always), ..Update::default() };
        assert!(restart.of(&options).is_err());
        let low = Resources { memory: Some(1), ..Resources::default() };
        assert!(Update { resources: low, restart: None }.of(&options).is_err());
    }
}
