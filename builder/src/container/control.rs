//! Acting on a container that runs, by way of its monitor.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rbuild_cache::Store;
use rbuild_runtime::Signal;

use super::error::{Error, Result};
use super::folder::Folder;
use super::message::{Act, Frames, Reply, Request, control};
use super::monitor::stop_signal;
use super::names;
use super::note::note;
use super::start;
use super::state::Status;

/// How long a monitor may take to let go of its container when it has ended, or was killed.
pub(crate) const LETTING_GO: Duration = Duration::from_secs(10);
/// Seconds from the stop signal to the kill.
const STOP_TIMEOUT: i64 = 10;

/// Stops a container by a signal, and after `timeout` seconds by force; without either its own
/// stop signal and timeout. A negative timeout waits for ever. One that does not run is left so.
pub fn stop(store: &Store, name: &str, signal: Option<Signal>, timeout: Option<i64>) -> Result<()> {
    let folder = names::find(store, name)?;
    let record = folder.record()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    let signal = signal.unwrap_or_else(|| stop_signal(&record)).number();
    let timeout = timeout.or(record.options.stop_timeout).unwrap_or(STOP_TIMEOUT);
    match connect(&folder) {
        Ok(stream) => {
            note(&folder, &record, "kill", &[("signal", signal.to_string())]);
            last_words(&folder, stream, &Request::Stop { signal, timeout })?;
            note(&folder, &record, "stop", &[]);
            Ok(())
        }
        Err(Error::NotRunning(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Stops a container as [`stop`] does, and starts it again.
pub fn restart(
    store: &Store,
    name: &str,
    signal: Option<Signal>,
    timeout: Option<i64>,
) -> Result<()> {
    stop(store, name, signal, timeout)?;
    let folder = Folder::new(store, &start::start(store, name)?);
    if let Some(record) = folder.record()? {
        note(&folder, &record, "restart", &[]);
    }
    Ok(())
}

/// Sends a signal to the first process of a container; `SIGKILL` returns when the container has
/// ended, so that it can be removed next.
pub fn kill(store: &Store, name: &str, signal: Signal) -> Result<()> {
    let folder = names::find(store, name)?;
    self::signal(&folder, signal)?;
    if signal == Signal::KILL {
        // Who finds it gone already need not wait.
        let _ = wait_for(&folder);
    }
    Ok(())
}

/// Stops all processes of a container where they are.
///
/// # Errors
/// A container that does not run or is paused already, or a machine that cannot freeze.
pub fn pause(store: &Store, name: &str) -> Result<()> {
    let folder = names::find(store, name)?;
    let stream = connect(&folder)?;
    if folder.written_state()?.status == Status::Paused {
        return Err(Error::Paused(folder.short().to_owned()));
    }
    ask(&folder, stream, &Act::Pause(true))
}

/// Lets the processes of a paused container go on.
///
/// # Errors
/// A container that is not paused.
pub fn unpause(store: &Store, name: &str) -> Result<()> {
    let folder = names::find(store, name)?;
    match connect(&folder) {
        Err(Error::NotRunning(short)) => Err(Error::NotPaused(short)),
        stream => ask(&folder, stream?, &Act::Pause(false)),
    }
}

/// Waits for a container to end, and returns its exit code; that of its last run if it has ended.
pub fn wait(store: &Store, name: &str) -> Result<i32> {
    let folder = names::find(store, name)?;
    match wait_for(&folder) {
        Err(Error::NotRunning(_)) => Ok(folder.state()?.exit_code),
        waited => waited,
    }
}

/// Gives a container another name.
pub fn rename(store: &Store, name: &str, new: &str) -> Result<()> {
    let folder = names::find(store, name)?;
    let old = names::names(store)?.remove(&folder.id).unwrap_or_default();
    names::claim(store, new, &folder.id)?;
    folder.write_name(new)?;
    for name in &old {
        names::release(store, name, &folder.id);
    }
    if let Some(record) = folder.record()? {
        let old = old.first().cloned().unwrap_or_default();
        note(&folder, &record, "rename", &[("oldName", old)]);
    }
    Ok(())
}

/// Sends a signal, and returns once it was sent.
pub(crate) fn signal(folder: &Folder, signal: Signal) -> Result<()> {
    let mut stream = connect(folder)?;
    if let Some(record) = folder.record()? {
        // Before it, as what comes of it is written down at once.
        note(folder, &record, "kill", &[("signal", signal.number().to_string())]);
    }
    let asked = stream.write_all(&control(&Request::Signal(signal.number())));
    asked.map_err(Error::monitor("speak to"))?;
    // No answer is the end of it, to which any signal may be sent.
    let _ = Frames::default().reply(&mut stream);
    Ok(())
}

/// Has a monitor do something, and waits until it is done.
pub(crate) fn ask(folder: &Folder, mut stream: UnixStream, act: &Act) -> Result<()> {
    let request = control(&Request::Act(act.clone()));
    stream.write_all(&request).map_err(Error::monitor("speak to"))?;
    match Frames::default().reply(&mut stream).map_err(Error::monitor("hear from"))? {
        Some(Reply::Done) => Ok(()),
        Some(Reply::Failed { message, code, hint }) => Err(Error::Start { message, code, hint }),
        _ => Err(Error::NotRunning(folder.short().to_owned())),
    }
}

/// Waits for the end of a container that runs.
pub(crate) fn wait_for(folder: &Folder) -> Result<i32> {
    let stream = connect(folder)?;
    last_words(folder, stream, &Request::Attach { output: false, input: false, size: None })
}

/// The monitor of a container that runs.
pub(crate) fn connect(folder: &Folder) -> Result<UnixStream> {
    let not_running = || Error::NotRunning(folder.short().to_owned());
    folder.state()?.status.is_alive().then_some(()).ok_or_else(not_running)?;
    folder.connect().map_err(|_| not_running())
}

/// Asks for something that ends the container, or for nothing, and listens to its end.
fn last_words(folder: &Folder, mut stream: UnixStream, request: &Request) -> Result<i32> {
    let mut frames = Frames::default();
    // A monitor that has ended meanwhile takes no request.
    let _ = stream.write_all(&control(request));
    loop {
        match frames.reply(&mut stream) {
            Ok(Some(Reply::Exited(code) | Reply::Failed { code, .. })) => return Ok(code),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return code_of_killed(folder),
        }
    }
}

/// The exit code of a container whose monitor has hung up without a word. The kernel closes the
/// files of a process that was killed one after the other, and frees its lock at last.
fn code_of_killed(folder: &Folder) -> Result<i32> {
    let until = Instant::now() + LETTING_GO;
    loop {
        let state = folder.state()?;
        if !state.status.is_alive() || Instant::now() > until {
            return Ok(state.exit_code);
        }
        thread::sleep(Duration::from_millis(2));
    }
}
