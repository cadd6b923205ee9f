//! One run of `git`: in a known environment, without questions, and ended with what wanted it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rbuild_registry::redacted;
use tokio::process::Command;

use super::super::host;
use crate::error::{Error, Result};

/// What a caller's own work with git may have set, and must not count here.
const FOREIGN: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CEILING_DIRECTORIES",
];

/// The settings of every run. Repositories may not lead to files of this machine, and hosts that
/// ssh meets for the first time are remembered rather than asked about.
const SETTINGS: [(&str, &str); 6] = [
    ("protocol.file.allow", "user"),
    ("core.logAllRefUpdates", "false"),
    ("core.sshCommand", "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new"),
    ("advice.detachedHead", "false"),
    ("gc.auto", "0"),
    ("safe.directory", "*"),
];

/// How much of what git says is passed on, in bytes.
const SAID_LIMIT: usize = 2000;

/// The `git` of the machine, for one repository elsewhere.
#[derive(Debug)]
pub(super) struct Git {
    remote: String,
    /// The name that stands for the address in arguments, which others of this machine can read.
    alias: Option<&'static str>,
    settings: Vec<(String, String)>,
    /// The socket of an SSH agent.
    agent: Option<PathBuf>,
}

impl Git {
    pub(super) fn new(remote: &str) -> Self {
        let mut settings: Vec<_> =
            SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let secret = redacted(remote) != remote;
        if secret {
            settings.push(("remote.rbuild.url".to_owned(), remote.to_owned()));
        }
        Self { remote: remote.to_owned(), alias: secret.then_some("rbuild"), settings, agent: None }
    }

    /// Shows a header to the whole server of the repository, so that submodules there can be fetched
    /// too.
    pub(super) fn authorize(&mut self, header: &str) {
        let scheme = self.remote.split("://").next().unwrap_or_default();
        let key = format!("http.{scheme}://{}/.extraheader", host(&self.remote));
        self.settings.push((key, format!("Authorization: {header}")));
    }

    /// Uses an SSH agent by its socket.
    pub(super) fn agent(&mut self, socket: &Path) {
        self.agent = Some(socket.to_owned());
    }

    /// What names the repository in arguments.
    pub(super) fn remote(&self) -> &str {
        self.alias.unwrap_or(&self.remote)
    }

    /// Runs git in a folder, and gives what it writes.
    pub(super) async fn run<S: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: &[S],
    ) -> Result<String> {
        self.run_with(folder, arguments, &[]).await
    }

    /// Runs git with more environment.
    pub(super) async fn run_with<S: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: &[S],
        environment: &[(&str, &OsStr)],
    ) -> Result<String> {
        let mut command = self.command(folder);
        command.args(arguments).envs(environment.iter().copied());
        let doing = || match arguments.first() {
            Some(verb) => {
                format!("run `git {}` for `{}`", verb.as_ref().display(), redacted(&self.remote))
            }
            None => "run git".to_owned(),
        };
        let output = command.output().await.map_err(|error| Error::Git {
            doing: doing(),
            reason: format!("`git` cannot be started: {error}"),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Git {
            doing: doing(),
            reason: said(&output.stderr).replace(&self.remote, &redacted(&self.remote)),
        })
    }

    /// Runs git, and again without `--depth` where the server knows only whole histories.
    pub(super) async fn run_deep(
        &self,
        folder: &Path,
        arguments: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> Result<String> {
        match self.run_with(folder, arguments, environment).await {
            Err(Error::Git { reason, .. })
                if reason.contains("--depth") || reason.contains("shallow") =>
            {
                let deep: Vec<_> =
                    arguments.iter().filter(|argument| !argument.starts_with("--depth")).collect();
                self.run_with(folder, &deep, environment).await
            }
            result => result,
        }
    }

    /// Makes a bare repository that knows where it comes from.
    pub(super) async fn init_bare(&self, folder: &Path) -> Result<()> {
        let failed = |source| Error::Write { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let init = ["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "."];
        self.run(folder, &init).await?;
        // Addresses of submodules may be relative to this one.
        let origin = redacted(&self.remote);
        self.run(folder, &["config", "remote.origin.url", &origin]).await.map(drop)
    }

    fn command(&self, folder: &Path) -> Command {
        // The modes of files must not depend on the caller's umask.
        let mut command = Command::new("sh");
        command.args(["-c", "umask 022 && exec git \"$@\"", "git"]);
        command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        if let Some(socket) = &self.agent {
            command.env("SSH_AUTH_SOCK", socket);
        }
        command.env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (index, (key, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command
    }
}

/// The last words of git.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(&stderr[stderr.len().saturating_sub(SAID_LIMIT)..]);
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(|line| line.chars().map(printable).collect()).collect();
    if lines.is_empty() { "git says nothing of it".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_address_is_no_argument() {
        let git = Git::new("https://me:secret@h/a.git");
        assert_eq!(git.remote(), "rbuild");
        assert_eq!(Git::new("https://token@h/a.git").remote(), "rbuild");
        assert_eq!(Git::new("https://h/a.git").remote(), "https://h/a.git");
    }

    #[test]
    fn a_header_is_for_the_server_alone() {
        let mut git = Git::new("https://me@h:8/a/b.git");
        git.authorize("basic x");
        let (key, value) = git.settings.last().unwrap();
        assert_eq!(
            (key.as_str(), value.as_str()),
            ("http.https://h:8/.extraheader", "Authorization: basic x")
        );
    }

    #[test]
    fn what_git_says_is_one_line() {
        assert_eq!(said(b"hint: a\n\nfatal: b\x1b[0m\n"), "hint: a; fatal: b [0m");
        assert_eq!(said(b""), "git says nothing of it");
    }
}
