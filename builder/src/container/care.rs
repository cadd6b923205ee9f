//! What a monitor does for its container beside passing on what is read and written: networks,
//! freezing, limits and health checks.

use std::time::Instant;

use rustix::event::PollFd;

use super::clients::Token;
use super::error::{Error, Result};
use super::folder::{Folder, Record};
use super::foreign::Made;
use super::group::Group;
use super::message::Act;
use super::network::{self, Attached, Change, Endpoint};
use super::note::{self, note};
use super::probe::Probes;
use super::processes::inside;
use super::state::{State, Status};
use super::update::Update;
use crate::journal;

/// What a container at work is made of, in the hands of its monitor.
pub(crate) struct Care<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) record: &'a mut Record,
    pub(crate) state: &'a mut State,
    pub(crate) network: &'a mut Attached,
    pub(crate) group: &'a mut Group,
    /// Its side of another runtime, where that has made it.
    pub(crate) made: Option<&'a Made>,
    pub(crate) probes: Option<Probes>,
}

impl Care<'_> {
    /// Does what a client asks for.
    pub(crate) fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Network(change) => self.change_network(change),
            Act::Pause(paused) => self.pause(*paused),
            Act::Update(update) => self.update(update),
        }
    }

    fn change_network(&mut self, change: &Change) -> Result<()> {
        let before = self.state.endpoints.clone();
        network::apply(change, self.network, (self.folder, &*self.record), self.state)?;
        let is_in = |all: &[Endpoint], one: &Endpoint| {
            all.iter().any(|other| other.network_id == one.network_id)
        };
        let after = &self.state.endpoints;
        let noted = |one: &Endpoint, comes| {
            note::network(&one.network_id, &one.network, self.folder, comes)
        };
        let gone = before.iter().filter(|one| !is_in(after, one)).map(|one| noted(one, false));
        let come = after.iter().filter(|one| !is_in(&before, one)).map(|one| noted(one, true));
        journal::note(&self.folder.store, &gone.chain(come).collect::<Vec<_>>());
        Ok(())
    }

    /// Lets a container go on that is frozen: a signal ends nothing that does not run.
    pub(crate) fn wake(&mut self) {
        if self.state.status == Status::Paused
            && let Err(error) = self.pause(false)
        {
            tracing::warn!(id = self.folder.id, %error, "a container could not be thawed");
        }
    }

    fn pause(&mut self, paused: bool) -> Result<()> {
        let short = || self.folder.short().to_owned();
        match (self.state.status, paused) {
            (Status::Paused, true) => return Err(Error::Paused(short())),
            (Status::Running, false) => return Err(Error::NotPaused(short())),
            _ => {}
        }
        let (record, pid) = (&*self.record, self.state.pid);
        self.group.freeze(paused, &|| inside(record, pid))?;
        self.state.status = if paused { Status::Paused } else { Status::Running };
        if let (Some(probes), Some(health)) = (&mut self.probes, &self.state.health) {
            probes.pause(paused, health.status);
        }
        self.folder.write_state(self.state)?;
        note(self.folder, self.record, if paused { "pause" } else { "unpause" }, &[]);
        Ok(())
    }

    fn update(&mut self, update: &Update) -> Result<()> {
        let changed = update.of(&self.record.options)?;
        if let Some(limits) = update.limits(&changed) {
            let (record, pid) = (&*self.record, self.state.pid);
            self.group.update(&limits, &|| inside(record, pid))?;
        }
        self.folder.write_changed(&changed)?;
        changed.apply(&mut self.record.options);
        note(self.folder, self.record, "update", &[]);
        Ok(())
    }

    /// Adds what is to be polled.
    pub(crate) fn watch<'a>(&'a self, fds: &mut Vec<(Token, PollFd<'a>)>) {
        self.probes.iter().for_each(|probes| probes.watch(fds));
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.probes.as_ref().and_then(Probes::deadline)
    }

    /// Does what it is time for, and takes what a health check has `found`.
    pub(crate) fn serve(&mut self, found: bool) {
        let Some(probes) = &mut self.probes else { return };
        if !found {
            return probes.begin();
        }
        let checked = probes.take();
        let health = self.state.health.get_or_insert_default();
        let started = self.state.started.unwrap_or_default();
        let changed = checked.is_some_and(|one| health.take(&probes.check, one, started));
        let status = health.status;
        probes.ended(status);
        if let Err(error) = self.folder.write_state(self.state) {
            tracing::warn!(id = self.folder.id, %error, "a health check could not be noted");
        }
        if changed {
            note(self.folder, self.record, format!("health_status: {status}"), &[]);
        }
    }
}
