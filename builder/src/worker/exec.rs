//! RUN: a process in the root of its input, whose changes become a layer.

use std::fmt::Write;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rbuild_cache::Outputs;
use rbuild_runtime::{
    Container, Exit, Limit, Mount, MountSource, Namespace, Resource, Running, Signal, Stdio,
    Stream, launch,
};
use rbuild_solver::op::{Exec, Network};
use rbuild_solver::{Stream as LogStream, Task, What};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::mounts::Mounts;
use super::{World, foreign, prune};
use crate::cdi;
use crate::error::StepError;

/// Bytes of output that are read, and told, at once.
const LOG_CHUNK: usize = 32 << 10;

impl World {
    /// Runs one process to its end and makes a layer of what it changed.
    pub(super) fn exec(&self, task: &Task, exec: &Exec, kill: &Kill) -> Result<Outputs, StepError> {
        let began = Instant::now();
        let base = &task.inputs[0];
        let staged = self.store.stage().map_err(StepError::store("begin a layer"))?;
        let root = self
            .store
            .writable(&base.layers, &staged)
            .map_err(StepError::store("mount the file system of the step"))?;
        foreign::ready(task, exec, root.as_fd())?;
        let mut mounts = self.mounts(task, exec)?;
        let mut container = container(root, exec, &mut mounts);
        self.add_devices(exec, &mut container)?;
        let below = run_container(task, exec, container, kill, || self.store.view(&base.layers))
            .map_err(|error| error.on_full_disk(&self.store, &staged))?;
        drop(mounts);
        let below = below.map_err(StepError::store("look at the base"))?;
        let upper =
            std::fs::File::open(staged.files()).map_err(StepError::file("open the new layer"))?;
        prune::unchanged(upper.as_fd(), below.as_fd())
            .map_err(StepError::file("compare the new layer with its base"))?;
        // Nobody need wait until its mount is gone.
        rayon::spawn(move || drop(below));
        self.commit(task, base, staged, began)
    }
}

impl World {
    /// Adds the devices that a step asks for.
    fn add_devices(&self, exec: &Exec, container: &mut Container) -> Result<(), StepError> {
        if exec.devices.is_empty() {
            return Ok(());
        }
        let devices = cdi::Devices::read(&self.devices.folders);
        let asked = exec.devices.iter().map(|device| (device.name.as_str(), device.required));
        let names = self.devices.grants.allowed(&devices, asked).map_err(StepError::Device)?;
        let user = rbuild_runtime::user::resolve(container.root.as_fd(), &exec.user);
        let user = user.map_err(|error| StepError::Other(error.to_string()))?;
        devices.apply(&names, container, (user.uid, user.gid)).map_err(StepError::Device)
    }
}

/// Runs the process of a step to its end, and tells what it writes; returns what `meanwhile` gives,
/// which is done while the process runs.
fn run_container<T>(
    task: &Task,
    exec: &Exec,
    container: Container,
    kill: &Kill,
    meanwhile: impl FnOnce() -> T,
) -> Result<T, StepError> {
    let command = exec.args.join(" ");
    let pipe =
        || pipe_with(PipeFlags::CLOEXEC).map_err(StepError::file("make a pipe for the output"));
    let ((output, stdout), (errors, stderr)) = (pipe()?, pipe()?);
    let stdio = Stdio::Streams {
        stdin: Stream::Null,
        stdout: Stream::Fd(stdout),
        stderr: Stream::Fd(stderr),
    };
    let running = launch(container, stdio).map_err(|source| StepError::Launch {
        command: command.clone(),
        source: Arc::new(source),
    })?;
    let running = kill.watch(running)?;
    let done = meanwhile();
    copy_logs(task, output, errors)?;
    let exit = running.wait().map_err(|source| StepError::Launch {
        command: command.clone(),
        source: Arc::new(source),
    })?;
    match exit {
        Exit::Code(0) => Ok(done),
        exit => Err(StepError::Exit { command, code: exit.code() }),
    }
}

/// Describes the sandbox of a RUN: Docker's default one, with `BuildKit`'s differences.
fn container(root: OwnedFd, exec: &Exec, mounts: &mut Mounts) -> Container {
    let mut container = Container::new(root);
    let line = |(name, value): &(String, String)| format!("{name}={value}");
    let process = &mut container.process;
    process.argv.clone_from(&exec.args);
    process.env = exec.env.iter().chain(&exec.unkeyed_env).map(line).collect();
    process.env.append(&mut mounts.env);
    process.cwd.clone_from(&exec.cwd);
    process.user.clone_from(&exec.user);
    process.limits = exec.ulimits.iter().filter_map(limit).collect();
    container.hostname = Some(exec.hostname.clone());
    container.network = match exec.network {
        Network::None => Namespace::Private,
        Network::Host | Network::Default => Namespace::Host,
    };
    if exec.shm_size != 0 {
        container.shm_size = exec.shm_size;
    }
    container.mounts = vec![
        Mount::new(resolver_file(), "/etc/resolv.conf").read_only(),
        Mount::new(hosts_file(exec), "/etc/hosts").read_only(),
    ];
    container.mounts.append(&mut mounts.list);
    if exec.insecure {
        container.make_privileged();
    }
    container
}

/// The resolver's settings of the host, or none where the host has none.
fn resolver_file() -> MountSource {
    let path = PathBuf::from("/etc/resolv.conf");
    if path.exists() {
        return MountSource::Path(path);
    }
    MountSource::Bytes { bytes: Vec::new(), mode: 0o644, uid: 0, gid: 0 }
}

fn hosts_file(exec: &Exec) -> MountSource {
    let mut text = format!(
        "127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        exec.hostname
    );
    for (name, address) in &exec.extra_hosts {
        let _ = writeln!(text, "{address}\t{name}");
    }
    MountSource::Bytes { bytes: text.into_bytes(), mode: 0o644, uid: 0, gid: 0 }
}

/// A limit by Docker's name of it; names that the command line did not know never get here.
fn limit((name, soft, hard): &(String, u64, u64)) -> Option<Limit> {
    let resource = Resource::named(name)?;
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    Some(Limit { resource, soft: finite(*soft), hard: finite(*hard) })
}

/// Tells what the process writes, until nobody holds the other ends of the pipes any more.
fn copy_logs(task: &Task, output: OwnedFd, errors: OwnedFd) -> Result<(), StepError> {
    let mut open = vec![
        (std::fs::File::from(output), LogStream::Stdout),
        (std::fs::File::from(errors), LogStream::Stderr),
    ];
    let mut buffer = vec![0; LOG_CHUNK];
    while !open.is_empty() {
        let ready: Vec<bool> = {
            let mut fds: Vec<_> =
                open.iter().map(|(file, _)| PollFd::new(file, PollFlags::IN)).collect();
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result.map_err(StepError::file("wait for the output"))?,
            };
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        let mut index = 0;
        let mut failed = None;
        open.retain_mut(|(file, stream)| {
            let is_ready = ready[index];
            index += 1;
            if !is_ready {
                return true;
            }
            match file.read(&mut buffer) {
                Ok(0) => false,
                Ok(length) => {
                    let log = What::Log { stream: *stream, data: buffer[..length].into() };
                    task.events.emit(task.step, log);
                    true
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        });
        if let Some(error) = failed {
            return Err(StepError::file("read the output")(error));
        }
    }
    Ok(())
}

/// The means to end a process from the future that waits for its blocking thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Kill(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
enum Watched {
    #[default]
    Nothing,
    Process(Arc<Running>),
    Stopped,
}

impl Kill {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Takes a process under watch; it is ended at once if the step was stopped meanwhile.
    fn watch(&self, running: Running) -> Result<Arc<Running>, StepError> {
        let running = Arc::new(running);
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*watched, Watched::Stopped) {
            return Err(StepError::Other("the step was stopped".to_owned()));
        }
        *watched = Watched::Process(running.clone());
        Ok(running)
    }

    fn stop(&self) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Watched::Process(running) = std::mem::replace(&mut *watched, Watched::Stopped)
            && let Err(error) = running.kill(Signal::KILL)
        {
            tracing::debug!(%error, "the process of a stopped step had ended");
        }
    }

    /// A guard that ends the process when it is dropped, unless it is disarmed.
    pub(super) fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(Some(self.clone()))
    }
}

/// Ends the process of a step whose future is dropped.
#[derive(Debug)]
pub(super) struct StopOnDrop(Option<Kill>);

impl StopOnDrop {
    /// Lets the process be: it has ended by itself.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(kill) = &self.0 {
            kill.stop();
        }
    }
}
