//! Containers that another runtime makes: `--runtime runc`, crun, or any program with the verbs of
//! the OCI.
//!
//! The container is described as for this crate's own runtime, and written as a bundle into its
//! folder, `oci/`: `config.json`, the root mounted at `rootfs`, files that are mounted in `files`,
//! and what the program remembers in `state`. All of it is mounted in namespaces of the monitor's,
//! which is the parent of the container's first process once the program has ended. So its life is
//! that of any other container; the program is asked to make it, to start it, to send signals and to
//! remove it, and for each `exec`.

mod bundle;
mod guard;
mod nvidia;
mod program;

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio as Inherited;

use rbuild_runtime::user::User;
use rbuild_runtime::{Container, MountedRoot, Process, Running, Signal, Stdio, Stream, WindowSize};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::folder::Folder;
use super::limits::Resources;
use bundle::{Bundle, Described};
use program::{Console, Program, unique};

pub(crate) use guard::{guard, sweep};
pub(crate) use program::exit_code;

/// Another runtime than this crate's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherRuntime {
    /// What the user calls it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// The program of rbuild, to which a runtime of NVIDIA's leaves the container; none for others.
    pub below: Option<PathBuf>,
}

/// A container that another runtime has made. Dropping it has the runtime remove it, which kills
/// it.
#[derive(Debug)]
pub(crate) struct Made {
    program: Program,
    /// What it mounts, which is held where it is mounted from.
    mounted: Vec<MountedRoot>,
}

impl Made {
    /// Has a runtime make a container and start it.
    pub(crate) fn launch(
        folder: &Folder,
        runtime: &OtherRuntime,
        resources: &Resources,
        mut container: Container,
        stdio: Stdio,
    ) -> Result<(Running, Self)> {
        guard::start(folder)?;
        guard::become_parent()?;
        sweep(folder, runtime);
        let bundle = Bundle::make(folder)?;
        guard::tell(true);
        nvidia::configure(runtime, &bundle)?;
        let program = Program::new(&folder.id, runtime, &bundle);
        let terminal = size(&stdio);
        let root = container.root.try_clone().map_err(Error::system("keep the root"))?;
        let user = container.process.resolve_user(root.as_fd())?;
        let mut root = MountedRoot::new(root, &bundle.root())?;
        let described = Described { user: &user, resources, terminal, folder };
        let mut mounted = bundle.write(&mut container, &described, &mut root)?;
        mounted.push(root);
        let made = Self { program, mounted };
        let console = terminal.map(|_| Console::listen(&bundle)).transpose()?;
        let mut create = made.program.command("create");
        create.arg("--bundle").arg(bundle.path()).arg("--pid-file").arg(bundle.pid_file("init"));
        if let Some(console) = &console {
            create.arg("--console-socket").arg(console.path());
        }
        pass_streams(&mut create, stdio);
        made.program.run(create.arg(&folder.id), "create")?;
        // What they join and mount is needed no more.
        drop(container);
        let terminal = console.map(Console::take).transpose()?;
        let running = Running::adopt(bundle.pid("init")?, terminal)?;
        let mut start = made.program.command("start");
        made.program.run(start.arg(&folder.id), "start")?;
        Ok((running, made))
    }

    /// Sends a signal to the first process. That it has ended already is no error.
    pub(crate) fn kill(&self, running: &Running, signal: Signal) -> Result<()> {
        if signal == Signal::KILL {
            // This needs nobody's help; what else is left dies as the container is deleted.
            return Ok(running.kill(signal)?);
        }
        let mut kill = self.program.command("kill");
        kill.arg(&self.program.id).arg(signal.number().to_string());
        match self.program.run(&mut kill, "kill") {
            Ok(()) => Ok(()),
            // It does not know every signal, or the process has just ended.
            Err(_) => Ok(running.kill(signal)?),
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Err(error) = self.program.delete() {
            tracing::warn!(id = self.program.id, %error, "a runtime could not remove a container");
        }
        self.mounted.clear();
        self.program.remove_bundle();
        guard::tell(false);
    }
}

/// Has the runtime of a container start one more process in it.
pub(crate) fn exec(
    folder: &Folder,
    runtime: &OtherRuntime,
    pid: u32,
    mut process: Process,
    stdio: Stdio,
) -> Result<Running> {
    guard::become_parent()?;
    let bundle = Bundle::of(folder);
    let program = Program::new(&folder.id, runtime, &bundle);
    let root = fs::File::open(format!("/proc/{pid}/root"));
    let root = root.map_err(|_| Error::NotRunning(folder.short().to_owned()))?;
    let user: User = process.resolve_user(root.as_fd())?;
    let terminal = size(&stdio);
    let name = unique("exec");
    let described = bundle.write_process(&name, &process, &user, terminal)?;
    let console = terminal.map(|_| Console::listen(&bundle)).transpose()?;
    let mut exec = program.command("exec");
    exec.arg("--detach").arg("--process").arg(&described);
    exec.arg("--pid-file").arg(bundle.pid_file(&name));
    if let Some(console) = &console {
        exec.arg("--console-socket").arg(console.path());
    }
    pass_streams(&mut exec, stdio);
    let started = program.run(exec.arg(&folder.id), "exec");
    let pid = bundle.pid(&name);
    bundle.forget(&name);
    started?;
    Ok(Running::adopt(pid?, console.map(Console::take).transpose()?)?)
}

/// Gives a program the streams that its container is to have.
fn pass_streams(command: &mut std::process::Command, stdio: Stdio) {
    let Stdio::Streams { stdin, stdout, stderr } = stdio else {
        return;
    };
    let passed = |stream| match stream {
        Stream::Null => Inherited::null(),
        Stream::Inherit => Inherited::inherit(),
        Stream::Fd(fd) => Inherited::from(fd),
    };
    command.stdin(passed(stdin)).stdout(passed(stdout)).stderr(passed(stderr));
}

/// The size of the terminal that a process is to have, if any.
fn size(stdio: &Stdio) -> Option<WindowSize> {
    match stdio {
        Stdio::Terminal(size) => Some(*size),
        Stdio::Streams { .. } => None,
    }
}
