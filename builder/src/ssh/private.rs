//! An agent of this build's own, which holds the keys of files.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rbuild_cache::{StagedLayer, Store};

const NAME: &str = "agent";
/// Runs the agent until standard input ends, as it does when this program dies in any way.
const SCRIPT: &str = r#"ssh-agent -D -a "$0" & exec >&-; read -r _; kill "$!"; wait"#;

/// An `ssh-agent` at work; it is ended when this is dropped.
#[derive(Debug)]
pub(super) struct PrivateAgent {
    process: Child,
    /// Holds the socket, which only we may use.
    folder: StagedLayer,
    /// The folder, open: what its short path stands on.
    open: File,
}

impl PrivateAgent {
    /// Starts an agent and gives it keys.
    pub(super) fn start(store: &Store, keys: &[PathBuf]) -> io::Result<Self> {
        let folder = store.stage().map_err(io::Error::other)?;
        let open = File::open(folder.files())?;
        // The kernel bounds the path of a socket, not that of a folder.
        let short = format!("/proc/{}/fd/{}/{NAME}", std::process::id(), open.as_raw_fd());
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT, &short])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| missing(&error))?;
        let output = process.stdout.take();
        let agent = Self { process, folder, open };
        // It tells its name once it listens.
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(missing(&io::ErrorKind::NotFound.into()));
        }
        for key in keys {
            add(&short, key)?;
        }
        Ok(agent)
    }

    /// The socket of the agent.
    pub(super) fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{NAME}", self.open.as_raw_fd()))
    }
}

impl Drop for PrivateAgent {
    fn drop(&mut self) {
        // What it reads ends, and so does it.
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            let folder = self.folder.files().display();
            tracing::warn!(%error, %folder, "an SSH agent of a build may go on");
        }
    }
}

/// Gives a key to the agent. It is read from standard input, where others may read its file too.
fn add(socket: &str, key: &Path) -> io::Result<()> {
    let told = |reason: &str| {
        io::Error::other(format!("cannot use the key `{}`: {reason}", key.display()))
    };
    let file = File::open(key).map_err(|error| told(&error.to_string()))?;
    let output = Command::new("ssh-add")
        .args(["-q", "-"])
        .env("SSH_AUTH_SOCK", socket)
        // Nobody is asked for a passphrase in the middle of a build.
        .env("SSH_ASKPASS", "/bin/false")
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(file)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| missing(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.trim() {
        // It says nothing where a passphrase is not given.
        "" => Err(told("it has a passphrase, or is no private key")),
        said => Err(told(said)),
    }
}

fn missing(error: &io::Error) -> io::Error {
    let reason = format!("key files need OpenSSH's `ssh-agent` and `ssh-add`: {error}");
    io::Error::new(error.kind(), reason)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keygen(path: &Path, passphrase: &str) {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-C", "of a test", "-N", passphrase, "-f"])
            .arg(path)
            .status();
        assert!(made.expect("this test needs the package openssh-client").success());
    }

    #[test]
    fn keys_of_files_are_served_until_the_agent_is_dropped() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::temporary().unwrap();
        let (key, locked) = (home.path().join("key"), home.path().join("locked"));
        keygen(&key, "");
        keygen(&locked, "secret");
        // Its permissions are the user's own affair.
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
        let agent = PrivateAgent::start(&store, std::slice::from_ref(&key)).unwrap();
        let socket = agent.folder.files().join(NAME);
        let listed = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &socket).output();
        let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
        assert!(listed.contains("of a test") && listed.lines().count() == 1, "{listed}");
        drop(agent);
        assert!(!socket.exists());
        for key in [locked, home.path().join("key.pub"), home.path().join("none")] {
            let error =
                PrivateAgent::start(&store, std::slice::from_ref(&key)).unwrap_err().to_string();
            assert!(error.contains(&key.display().to_string()), "{error}");
        }
    }
}
