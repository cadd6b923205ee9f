//! Making the container of a bundle.

use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rbuild_runtime::cgroup::{Cgroup, DEFAULT_PARENT};
use rbuild_runtime::{Running, launch};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::json;

use super::convert::hooks_of;
use super::error::{Error, Result};
use super::limits;
use super::process;
use super::spec::{Resources, Spec};
use super::state::{Bundles, Saved, started};

/// What a container is made with besides its bundle.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The folder with `config.json`.
    pub bundle: PathBuf,
    /// Where the number of the first process is written.
    pub pid_file: Option<PathBuf>,
    /// The socket that a terminal is sent to.
    pub console_socket: Option<PathBuf>,
    /// Whether `cgroupsPath` is written `slice:prefix:name`.
    pub systemd_cgroup: bool,
}

impl Bundles {
    /// Makes a container, whose program waits until it is started.
    ///
    /// What is returned need not be kept: the container goes on without this process.
    pub fn create(&self, id: &str, options: &CreateOptions) -> Result<Running> {
        let bundle = &options.bundle;
        let bundle = fs::canonicalize(bundle).map_err(Error::file("find the bundle", bundle))?;
        if bundle.to_str().is_none() {
            // The state that others read has it as text.
            return Err(Error::Config("the path of the bundle is no text".into()));
        }
        let spec = Spec::of(&bundle)?;
        let (locked, fifo) = self.make(id)?;
        let made = self.launch(id, &spec, &bundle, fifo, options);
        drop(locked);
        if made.is_err() {
            // The error is what matters.
            let _ = self.forget(id);
        }
        made
    }

    fn launch(
        &self,
        id: &str,
        spec: &Spec,
        bundle: &Path,
        fifo: fs::File,
        options: &CreateOptions,
    ) -> Result<Running> {
        let path = group_path(spec, id, options.systemd_cgroup)?;
        let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref());
        let limits = limits::limits(resources.unwrap_or(&Resources::default()));
        // Whatever ends the container kills all that is in its group.
        if !Cgroup::find(&path)?.processes().is_empty() {
            return Err(Error::Config(format!("the control group `{path}` has processes")));
        }
        self.note_group(id, &path)?;
        let group = Cgroup::create_everywhere(&path, &limits)?;
        let begun = begin(id, spec, bundle, &group, fifo, options);
        let made = begun.and_then(|running| {
            let saved = saved(spec, bundle, path, &running)?;
            self.save(id, &saved)?;
            hand_over(&running, options)?;
            Ok(running)
        });
        if made.is_err() {
            group.kill();
            // What is left is empty and of no effect.
            let _ = group.remove();
        }
        made
    }
}

/// Starts the first process, which waits.
fn begin(
    id: &str,
    spec: &Spec,
    bundle: &Path,
    group: &Cgroup,
    fifo: fs::File,
    options: &CreateOptions,
) -> Result<Running> {
    let mut container = spec.container(bundle, Some(group))?;
    container.start = Some(fifo.into());
    container.outlives = true;
    container.hooks.state = json!({
        "ociVersion": spec.oci_version,
        "id": id,
        "bundle": bundle,
        "annotations": spec.annotations,
    })
    .to_string();
    let wanted = spec.process.as_ref().map(|process| (process.terminal, process::stdio(process)));
    let (terminal, stdio) = wanted.ok_or_else(|| Error::Config("there is no process".into()))?;
    if terminal && options.console_socket.is_none() {
        return Err(Error::Config("a terminal takes a console socket".into()));
    }
    Ok(launch(container, stdio)?)
}

fn saved(spec: &Spec, bundle: &Path, group: String, running: &Running) -> Result<Saved> {
    let ended = || Error::Config("the first process has ended".into());
    let hooks = spec.hooks.as_ref();
    Ok(Saved {
        oci_version: spec.oci_version.clone(),
        pid: running.pid(),
        started: started(running.pid()).ok_or_else(ended)?,
        bundle: bundle.to_owned(),
        rootfs: spec.root_path(bundle)?,
        annotations: spec.annotations.clone(),
        created: Timestamp::now(),
        group: Some(group),
        process: spec.process.clone().unwrap_or_default(),
        seccomp: spec.linux.as_ref().and_then(|linux| linux.seccomp.clone()),
        poststart: hooks.map_or_else(Vec::new, |hooks| hooks_of(&hooks.poststart)),
        poststop: hooks.map_or_else(Vec::new, |hooks| hooks_of(&hooks.poststop)),
    })
}

/// Gives away what others wait for: the number of the process, and its terminal.
fn hand_over(running: &Running, options: &CreateOptions) -> Result<()> {
    if let (Some(terminal), Some(socket)) = (running.terminal(), &options.console_socket) {
        send_terminal(terminal, socket)?;
    }
    match &options.pid_file {
        Some(path) => write_pid(path, running.pid()),
        None => Ok(()),
    }
}

/// Writes a number into a file that is whole once it is there.
pub(super) fn write_pid(path: &Path, pid: u32) -> Result<()> {
    let new = path.with_extension("rbuild-new");
    let written = fs::write(&new, pid.to_string()).and_then(|()| fs::rename(&new, path));
    written.map_err(Error::file("write", path))
}

/// Sends the outer end of a terminal to whoever listens at a socket.
pub(super) fn send_terminal(terminal: impl AsFd, socket: &Path) -> Result<()> {
    let connected = std::os::unix::net::UnixStream::connect(socket);
    let connected = connected.map_err(Error::file("connect to", socket))?;
    let fds = [terminal.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let name = [IoSlice::new(b"/dev/ptmx")];
    let sent = sendmsg(&connected, &name, &mut ancillary, SendFlags::NOSIGNAL);
    sent.map(drop).map_err(Error::file("send a terminal to", socket))
}

/// Where the container's control group is, below the top of each tree.
fn group_path(spec: &Spec, id: &str, systemd: bool) -> Result<String> {
    let path = spec.linux.as_ref().map(|linux| linux.cgroups_path.as_str()).unwrap_or_default();
    if path.is_empty() {
        return Ok(format!("{DEFAULT_PARENT}/{id}"));
    }
    if !systemd {
        // A relative one is below a place of the runtime's own.
        let own = if path.starts_with('/') { "" } else { DEFAULT_PARENT };
        return Ok(format!("{own}/{path}"));
    }
    let wrong = || Error::Config(format!("cgroupsPath {path:?} is not slice:prefix:name"));
    let mut parts = path.split(':');
    let (Some(slice), Some(prefix), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    // `a-b.slice` is in `a.slice`.
    let stem = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    let ends = stem.match_indices('-').map(|(end, _)| end).chain([stem.len()]);
    let folders: Vec<_> = ends.map(|end| format!("{}.slice", &stem[..end])).collect();
    Ok(format!("{}/{prefix}-{name}.scope", folders.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str, systemd: bool) -> Result<String> {
        let linux = super::super::spec::Linux { cgroups_path: text.into(), ..Default::default() };
        group_path(&Spec { linux: Some(linux), ..Spec::default() }, "box", systemd)
    }

    #[test]
    fn a_group_has_its_place() {
        assert_eq!(path("", false).unwrap(), "rbuild/box");
        assert_eq!(path("/libpod/x", false).unwrap(), "//libpod/x");
        assert_eq!(path("tests/x", false).unwrap(), "rbuild/tests/x");
        let scope = path("machine-a.slice:libpod:x", true).unwrap();
        assert_eq!(scope, "machine.slice/machine-a.slice/libpod-x.scope");
        assert!(path("/libpod/x", true).is_err());
    }
}
