//! The monitor: what starts a container, watches it and says how it ended.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rbuild_cache::Store;
use rbuild_runtime::{Exit, Running, Signal, WindowSize, launch};

use super::care::Care;
use super::clients::{Clients, Wish};
use super::error::{Error, Result, chain};
use super::folder::{Folder, Held, Record};
use super::foreign::Made;
use super::group::Group;
use super::health::{Check, Health, HealthStatus};
use super::log::{Log, LogDriver};
use super::message::{Act, Reply, Request, control, first_request};
use super::network::Attached;
use super::note::{entry, note, places};
use super::options::Restart;
use super::probe::Probes;
use super::remove::remove_folder;
use super::sandbox;
use super::session::{Session, Stop, wait};
use super::start::prepare;
use super::state::{State, Status};
use super::streams::Streams;
use super::update::Update;
use crate::journal;

/// The size of a terminal that nobody looks at.
const UNSEEN: WindowSize = WindowSize { rows: 24, columns: 80 };
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A container that ran this long is not in trouble when it ends.
const LONG_RUN: Duration = Duration::from_secs(10);

/// Runs a container to its end, first for one client, then for those that come by its socket.
pub(crate) fn supervise(store: &Store, folder: &Folder, mut first: UnixStream) {
    let Ok(Request::Attach { output, input, size }) = first_request(&mut first) else {
        return;
    };
    let begin = || -> Result<_> {
        let held = take(folder)?;
        let record = folder.record()?.ok_or_else(|| Error::NotFound(folder.id.clone()))?;
        prepare(&record.options);
        let listener = folder.listen()?;
        let first = first.try_clone().map_err(Error::monitor("speak to"))?;
        let clients = Clients::new(first, (output, input), Some(listener))?;
        Ok((held, record, clients))
    };
    match begin() {
        Ok((held, record, clients)) => {
            drop(first);
            if output {
                note(folder, &record, "attach", &[]);
            }
            // What one user watches and nobody can look up later is not kept.
            let passing = record.options.remove && output && !record.options.tty;
            let config = record.options.log;
            let is_kept = !passing && config.driver != LogDriver::None;
            let log = is_kept.then(|| Log::new(folder.log(), config));
            Monitor { log, ..Monitor::new(store, folder, record, clients, size) }.live(held);
        }
        Err(error) => {
            let reply = Reply::failed(&error);
            let _ = std::io::Write::write_all(&mut first, &control(&reply));
        }
    }
}

/// Takes charge of a container that does not run.
fn take(folder: &Folder) -> Result<Held> {
    if let Some(held) = folder.lock()? {
        return Ok(held);
    }
    let short = folder.short().to_owned();
    Err(if folder.written_state()?.status.is_alive() {
        Error::Running(short)
    } else {
        Error::Busy(short)
    })
}

struct Monitor<'a> {
    store: &'a Store,
    folder: &'a Folder,
    record: Record,
    clients: Clients,
    log: Option<Log>,
    size: WindowSize,
    state: State,
    stop: Stop,
}

impl<'a> Monitor<'a> {
    fn new(
        store: &'a Store,
        folder: &'a Folder,
        record: Record,
        clients: Clients,
        size: Option<WindowSize>,
    ) -> Self {
        Self {
            store,
            folder,
            record,
            clients,
            log: None,
            size: size.unwrap_or(UNSEEN),
            state: State::default(),
            stop: Stop::default(),
        }
    }

    /// Starts the container, again and again where its policy says so, and tidies up.
    fn live(mut self, held: Held) {
        let mut pause = FIRST_PAUSE;
        self.state.started = self.folder.written_state().ok().and_then(|state| state.started);
        let failure = loop {
            let begun = Instant::now();
            if let Err(error) = self.run() {
                break Some(error);
            }
            if begun.elapsed() > LONG_RUN {
                pause = FIRST_PAUSE;
            }
            if !self.starts_again(self.state.restarts) || !self.rest(pause) {
                break None;
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        };
        let reply = match &failure {
            None => Reply::Exited(self.state.exit_code),
            Some(error) => self.note_failure(error),
        };
        self.end(held);
        self.clients.tell_all(&reply);
        self.clients.finish();
    }

    /// One run of the container.
    fn run(&mut self) -> Result<()> {
        let options = &self.record.options;
        let (streams, stdio) = Streams::new(options.tty.then_some(self.size), options.interactive)?;
        let mut network = Attached::new(self.store, self.folder, &self.record)?;
        // The volumes are held until the container has ended.
        let (mut container, _volumes) =
            sandbox::container(self.store, self.folder, &self.record, &network)?;
        let (launched, mut group) = match &options.runtime {
            None => {
                let group = Group::new(self.folder, options)?;
                container.cgroups = group.procs()?;
                group.show(&mut container, options.privileged);
                let launched = launch(container, stdio).map_err(Error::from);
                (launched.map(|running| (running, None)), group)
            }
            Some(other) => {
                let resources = &options.resources;
                let launched = Made::launch(self.folder, other, resources, container, stdio);
                let launched = launched.map(|(running, made)| (running, Some(made)));
                (launched, Group::made(self.folder, resources)?)
            }
        };
        let mut made = None;
        let launched = launched.map(|(running, other)| {
            made = other;
            running
        });
        let made = made;
        let watch = |running| {
            let (network, group) = (&mut network, &mut group);
            self.watch(&running, streams, (network, group, made.as_ref()))
        };
        let ended = launched.and_then(watch);
        self.state.oom_killed = group.end();
        if self.state.oom_killed {
            note(self.folder, &self.record, "oom", &[]);
        }
        ended
    }

    /// The container at work, to its end.
    fn watch(
        &mut self,
        running: &Running,
        streams: Streams,
        (network, group, made): (&mut Attached, &mut Group, Option<&Made>),
    ) -> Result<()> {
        let probes = Check::of(&self.record).map(|check| Probes::new(check, self.folder));
        let health = probes.as_ref().map(|_| Health::default());
        self.begin(running, network, health)?;
        let stop_signal = stop_signal(&self.record);
        let mut care = Care {
            folder: self.folder,
            record: &mut self.record,
            state: &mut self.state,
            network: &mut *network,
            group,
            made,
            probes,
        };
        let session = Session {
            running,
            streams,
            clients: &mut self.clients,
            log: self.log.as_mut(),
            stop: &mut self.stop,
            stop_signal,
            care: Some(&mut care),
        };
        let exit = session.run()?;
        self.conclude(exit, network);
        Ok(())
    }

    fn begin(
        &mut self,
        running: &Running,
        network: &Attached,
        health: Option<Health>,
    ) -> Result<()> {
        self.state = State {
            status: Status::Running,
            pid: running.pid(),
            started: Some(Timestamp::now()),
            endpoints: network.endpoints().to_vec(),
            published: network.published().to_vec(),
            restarts: self.state.restarts,
            health,
            ..State::default()
        };
        self.folder.write_state(&self.state)?;
        let mut entries = places(self.folder, &self.record, network.endpoints(), true);
        entries.push(entry(self.folder, &self.record, "start", &[]));
        journal::note(self.store, &entries);
        self.clients.tell_all(&Reply::Started);
        Ok(())
    }

    fn conclude(&mut self, exit: Exit, network: &Attached) {
        let (state, now) = (&mut self.state, Timestamp::now());
        state.status = Status::Exited;
        (state.pid, state.exit_code, state.finished) = (0, exit.code(), Some(now));
        (state.endpoints, state.published) = (Vec::new(), Vec::new());
        if let Some(health) = &mut state.health {
            // As docker has it: what does not run is not well.
            health.status = HealthStatus::Unhealthy;
        }
        let ran = state.started.map_or(0, |started| now.duration_since(started).as_secs());
        let told = [("exitCode", exit.code().to_string()), ("execDuration", ran.to_string())];
        let mut entries = vec![entry(self.folder, &self.record, "die", &told)];
        entries.extend(places(self.folder, &self.record, network.endpoints(), false));
        journal::note(self.store, &entries);
    }

    /// Whether it is to run once more after so many times.
    fn starts_again(&self, restarts: u32) -> bool {
        let code = self.state.exit_code;
        !self.stop.by_hand
            && match self.record.options.restart {
                Restart::No => false,
                Restart::OnFailure(most) => code != 0 && most.is_none_or(|most| restarts < most),
                Restart::Always | Restart::UnlessStopped => true,
            }
    }

    /// Waits before the next run; returns whether it is to come.
    fn rest(&mut self, pause: Duration) -> bool {
        let restarts = self.state.restarts;
        self.state.status = Status::Restarting;
        self.state.restarts += 1;
        let until = Instant::now() + pause;
        if self.folder.write_state(&self.state).is_err() {
            return false;
        }
        while self.starts_again(restarts) && Instant::now() < until {
            let mut fds = Vec::new();
            self.clients.watch(true, &mut fds);
            let Ok(found) = wait(fds, Some(until)) else {
                return false;
            };
            let mut wishes = Vec::new();
            for (token, flags) in found {
                self.clients.serve(token, flags, &mut wishes);
            }
            for wish in wishes {
                match wish {
                    Wish::Stop { .. } => self.stop.by_hand = true,
                    Wish::Signal(client, _) => {
                        self.stop.by_hand = true;
                        self.clients.tell(client, &Reply::Done);
                    }
                    Wish::Act(client, Act::Update(change)) => {
                        let done = update(self.folder, &mut self.record, &change);
                        let reply =
                            done.map_or_else(|error| Reply::failed(&error), |()| Reply::Done);
                        self.clients.tell(client, &reply);
                    }
                    Wish::Act(client, Act::Network(_) | Act::Pause(_)) => {
                        let message = "the container is restarting".to_owned();
                        self.clients.tell(client, &Reply::Failed { message, code: 1, hint: None });
                    }
                    _ => {}
                }
            }
            self.clients.forget();
        }
        self.starts_again(restarts)
    }

    fn note_failure(&mut self, error: &Error) -> Reply {
        let code = error.exit_code();
        let never = self.state.started.is_none();
        self.state = State {
            status: if never { Status::Created } else { Status::Exited },
            pid: 0,
            exit_code: code,
            error: chain(error),
            endpoints: Vec::new(),
            published: Vec::new(),
            ..self.state.clone()
        };
        Reply::failed(error)
    }

    /// Writes how it ended, and gives the container free, or removes it.
    fn end(&mut self, held: Held) {
        if self.state.status == Status::Restarting {
            self.state.status = Status::Exited;
        }
        let ended = if self.record.options.remove {
            remove_folder(self.store, self.folder, true, held)
        } else {
            let written = self.folder.write_state(&self.state);
            self.folder.remove_socket();
            drop(held);
            written
        };
        if let Err(error) = ended {
            tracing::warn!(id = self.folder.id, %error, "a container could not be tidied up");
        }
    }
}

/// Changes a container that has no processes now: the next run has the limits.
fn update(folder: &Folder, record: &mut Record, update: &Update) -> Result<()> {
    let changed = update.of(&record.options)?;
    folder.write_changed(&changed)?;
    changed.apply(&mut record.options);
    note(folder, record, "update", &[]);
    Ok(())
}

/// The signal that stops a container, by its user's or its image's word.
pub(crate) fn stop_signal(record: &Record) -> Signal {
    let image = record.config.stop_signal.parse().ok();
    record.options.stop_signal.or(image).unwrap_or(Signal::TERM)
}
