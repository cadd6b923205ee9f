//! A user's home: a store, a registry and a shell of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{Ran, Registry, Started, Terminal};

/// A home in which commands are typed. `rbuild` and `docker` are the program under test, the store
/// is empty at first, and Docker Hub is the registry of this home.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    /// The registry that stands for Docker Hub.
    pub registry: Registry,
}

impl Home {
    /// A home for one test of a program.
    pub fn new(program: &str) -> Self {
        let registry = Registry::start();
        let mirrored = format!("[registry.\"docker.io\"]\nmirrors = [\"{}\"]\n", registry.host());
        let home = Self::bare(program, registry);
        home.write(".config/rbuild/config.toml", &mirrored);
        home
    }

    /// A home whose Docker Hub is no registry of this process.
    pub fn elsewhere(program: &str, mirror: &str) -> Self {
        let home = Self::bare(program, Registry::start());
        let mirrored = format!("[registry.\"docker.io\"]\nmirrors = [\"{mirror}\"]\n");
        home.write(".config/rbuild/config.toml", &mirrored);
        home
    }

    fn bare(program: &str, registry: Registry) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the end-to-end tests need root, for the namespaces and mounts of containers"
        );
        let folder = tempfile::Builder::new().prefix("rbuild-e2e-").tempdir();
        let folder = folder.expect("a folder can be made");
        for name in ["bin", "user"] {
            fs::create_dir(folder.path().join(name)).expect("a folder can be made");
        }
        for name in ["rbuild", "docker"] {
            symlink(program, folder.path().join("bin").join(name)).expect("a link can be made");
        }
        Self { folder, registry }
    }

    /// A path below the folder in which commands are typed.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join("user").join(relative)
    }

    /// The folder of the store.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Writes a file below the folder in which commands are typed, with its parents.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(path);
        let parent = path.parent().expect("a file has a folder");
        fs::create_dir_all(parent).expect("a folder can be made");
        fs::write(path, contents).expect("a file can be written");
    }

    /// Reads a file below the folder in which commands are typed.
    pub fn read(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Types a line of shell, and waits for its end.
    pub fn types(&self, line: &str) -> Ran {
        Started::spawn(line, &mut self.shell(line)).wait()
    }

    /// Types one command, which runs on; its process is the command's own.
    pub fn starts(&self, line: &str) -> Started {
        Started::spawn(line, &mut self.shell(&format!("exec {line}")))
    }

    /// Types one command on a terminal.
    pub fn terminal(&self, line: &str) -> Terminal {
        Terminal::start(&self.shell(&format!("exec {line}")))
    }

    /// Builds a Dockerfile in a context of its own, with no other file, and names the image.
    pub fn builds(&self, name: &str, dockerfile: &str) -> Ran {
        self.write(&format!("{name}/Dockerfile"), dockerfile);
        self.types(&format!("rbuild -t {name} {name}"))
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.path("")).env_clear().stdin(Stdio::null());
        let bin = self.folder.path().join("bin");
        command.env("PATH", format!("{}:{}", bin.display(), path_variable()));
        command.env("HOME", self.path("")).env("RBUILD_ROOT", self.store());
        command.env("TERM", "xterm");
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that failed leaves no container running.
        if Path::new(&self.store()).join("containers").exists() {
            let line = "rbuild ps -aq | xargs -r rbuild rm -f -v";
            let _ = self.shell(line).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests find the shell and its tools where the user does"
)]
fn path_variable() -> String {
    std::env::var("PATH").expect("PATH is set")
}
