//! A root to run in, and running in it.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rbuild_runtime::{
    Container, Error, Exit, Namespace, Running, Stdio, Stream, WindowSize, launch,
};

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 24] = [
    "sh", "cat", "ls", "id", "true", "sleep", "mkdir", "echo", "stat", "touch", "mknod",
    "hostname", "pwd", "grep", "head", "ip", "wc", "stty", "tty", "readlink", "kill", "ps", "rm",
    "dd",
];

/// Whether this process can make containers at all.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A root with nothing but busybox, in memory where there is some.
pub(crate) struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(place).unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let root = Self { folder };
        for name in ["bin", "etc", "tmp", "root"] {
            fs::create_dir(root.path(name)).unwrap();
        }
        fs::copy(BUSYBOX, root.path("bin/busybox"))
            .expect("the tests need a static busybox: apt-get install busybox-static");
        for applet in APPLETS {
            symlink("busybox", root.path("bin").join(applet)).unwrap();
        }
        root.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/web:/bin/sh\n");
        root.write("etc/group", "root:x:0:\nbin:x:1:root,web\nweb:x:34:\n");
        root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn open(&self) -> OwnedFd {
        File::open(self.folder.path()).unwrap().into()
    }

    /// A container without a network of its own, which runs a line of shell.
    pub(crate) fn container(&self, script: &str) -> Container {
        let mut container = Container::new(self.open());
        container.network = Namespace::Host;
        container.process.argv = ["sh", "-c", script].map(String::from).to_vec();
        container.process.env = vec![format!("PATH={}", rbuild_runtime::DEFAULT_PATH)];
        container
    }

    /// What a line of shell prints in the default sandbox.
    pub(crate) fn output(&self, script: &str) -> String {
        let (exit, output) = run(self.container(script));
        assert_eq!(exit, Exit::Code(0), "{script}: {output}");
        output
    }
}

/// Runs a container to its end: how it ended and all that it printed.
pub(crate) fn run(container: Container) -> (Exit, String) {
    let (running, mut output) = start(container);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (running.wait().unwrap(), text)
}

/// Starts a container, with a pipe that has all that it prints.
pub(crate) fn start(container: Container) -> (Running, File) {
    let (stdio, output) = piped();
    let running = launch(container, stdio).unwrap_or_else(|error| panic!("{}", full(&error)));
    (running, output)
}

pub(crate) fn piped() -> (Stdio, File) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stdout = Stream::Fd(write.try_clone().unwrap());
    let streams = Stdio::Streams { stdin: Stream::Null, stdout, stderr: Stream::Fd(write) };
    (streams, File::from(read))
}

/// Runs a container on a terminal: how it ended and what the terminal showed.
pub(crate) fn run_on_terminal(container: Container, size: WindowSize) -> (Exit, String) {
    let running = launch(container, Stdio::Terminal(size)).unwrap();
    let mut shown = Vec::new();
    let mut terminal = File::from(running.terminal().unwrap().try_clone().unwrap());
    let mut bytes = [0; 4096];
    // A terminal whose other end is closed fails with EIO.
    while let Ok(size @ 1..) = terminal.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..size]);
    }
    (running.wait().unwrap(), String::from_utf8_lossy(&shown).into_owned())
}

/// Why a container does not start.
pub(crate) fn refusal(container: Container) -> Error {
    match launch(container, Stdio::null()) {
        Ok(running) => panic!("it runs, and ends with {:?}", running.wait()),
        Err(error) => error,
    }
}

/// An error with its cause.
pub(crate) fn full(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// An overlay of a root and a new folder, mounted nowhere.
pub(crate) struct Overlay {
    pub(crate) upper: PathBuf,
    _folder: tempfile::TempDir,
    mount: OwnedFd,
}

impl Overlay {
    pub(crate) fn new(lower: &Root) -> Self {
        use rustix::mount::{
            FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string,
            fsmount, fsopen,
        };
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (upper, work) = (folder.path().join("upper"), folder.path().join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        for (key, path) in [("lowerdir", &lower.path("")), ("upperdir", &upper), ("workdir", &work)]
        {
            fsconfig_set_string(&context, key, path).unwrap();
        }
        fsconfig_create(&context).unwrap();
        let attributes = MountAttrFlags::empty();
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).unwrap();
        Self { upper, _folder: folder, mount }
    }

    pub(crate) fn container(&self, root: &Root, script: &str) -> Container {
        let mut container = root.container(script);
        container.root = self.mount.as_fd().try_clone_to_owned().unwrap();
        container
    }
}
