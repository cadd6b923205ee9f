//! Starting containers, in the foreground and in the background, and connecting to them.

use std::io::Write;

use rbuild_cache::Store;

use super::attach::{Ended, Peer, Terminal, attach as connect, check};
use super::control;
use super::create::Created;
use super::error::{Error, Result};
use super::folder::Folder;
use super::message::{Frames, Reply, Request, control as frame};
use super::names;
use super::note::note;
use super::options::{Network, RunOptions};
use super::remove::remove;
use super::spawn::{self, Task};
use super::state::Status;

/// Has ready what this process needs to start a container of these flags, so that it can do
/// something else meanwhile.
pub fn prepare(options: &RunOptions) {
    if options.runtime.is_some() {
        return;
    }
    if matches!(options.network, Network::None | Network::Bridge | Network::Named(_)) {
        rbuild_runtime::network::prepare();
    }
    // What goes wrong is told by the launch, which tries again.
    let _ = rbuild_runtime::prepare();
}

/// Starts a new container, connected to this process's streams, and waits for its end.
///
/// Without a terminal this process itself watches the container, which dies with it. With one it
/// is watched by a process of its own, so that the user can leave it running; where signals are not
/// passed on, so that one that ends this process is nothing to the container; and with another
/// runtime, since that takes a process of one thread.
pub fn run(store: &Store, created: &Created, user: &Terminal) -> Result<Ended> {
    let folder = Folder::new(store, &created.id);
    if let Err(error) = check(user, created.tty) {
        if created.remove {
            remove(store, &created.id, true, true)?;
        }
        return Err(error);
    }
    let (stream, monitor) = if created.tty || created.is_foreign || !user.sig_proxy {
        (spawn::start(store, &created.id, Task::Container)?, None)
    } else {
        let (stream, monitor) = spawn::start_here(store, &folder)?;
        (stream, Some(monitor))
    };
    let forward = |signal| drop(control::signal(&folder, signal));
    let peer = Peer { tty: created.tty, owned: true, forward: &forward };
    let ended = connect(stream, user, &peer);
    let _ = monitor.map(std::thread::JoinHandle::join);
    ended
}

/// Starts a container in the background, and returns its id once its process runs.
///
/// One that runs already is left so.
pub fn start(store: &Store, name: &str) -> Result<String> {
    let folder = names::find(store, name)?;
    match folder.state()?.status {
        Status::Paused => return Err(Error::Paused(folder.short().to_owned())),
        status if status.is_alive() => return Ok(folder.id),
        _ => {}
    }
    let mut stream = spawn::start(store, &folder.id, Task::Container)?;
    let request = Request::Attach { output: false, input: false, size: None };
    stream.write_all(&frame(&request)).map_err(Error::monitor("speak to"))?;
    match Frames::default().reply(&mut stream).map_err(Error::monitor("hear from"))? {
        Some(Reply::Failed { message, code, hint }) => Err(Error::Start { message, code, hint }),
        Some(_) => Ok(folder.id),
        None => Err(Error::monitor("hear from")(std::io::Error::from(
            std::io::ErrorKind::UnexpectedEof,
        ))),
    }
}

/// Starts a container in the background, and connects the user to it: `start -a`.
pub fn start_attached(store: &Store, name: &str, user: &Terminal) -> Result<Ended> {
    let folder = names::find(store, name)?;
    if folder.state()?.status.is_alive() {
        return attach(store, name, user);
    }
    let tty = is_tty(&folder)?;
    check(user, tty)?;
    let stream = spawn::start(store, &folder.id, Task::Container)?;
    let forward = |signal| drop(control::signal(&folder, signal));
    connect(stream, user, &Peer { tty, owned: false, forward: &forward })
}

/// Connects the user to a container that runs.
pub fn attach(store: &Store, name: &str, user: &Terminal) -> Result<Ended> {
    let folder = names::find(store, name)?;
    let stream = control::connect(&folder)?;
    if folder.written_state()?.status == Status::Paused {
        return Err(Error::Paused(folder.short().to_owned()));
    }
    if let Some(record) = folder.record()? {
        note(&folder, &record, "attach", &[]);
    }
    let forward = |signal| drop(control::signal(&folder, signal));
    let peer = Peer { tty: is_tty(&folder)?, owned: false, forward: &forward };
    connect(stream, user, &peer)
}

fn is_tty(folder: &Folder) -> Result<bool> {
    let record = folder.record()?.ok_or_else(|| Error::NotFound(folder.id.clone()))?;
    Ok(record.options.tty)
}
