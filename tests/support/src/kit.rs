//! The kit of real inputs beside the repository, and its servers.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the kit is: what `RBUILD_KIT` says, else `../shared/kit` beside the repository.
///
/// # Errors
/// The place where it is not.
#[expect(clippy::disallowed_methods, reason = "a test is told by its environment where the kit is")]
pub fn find_kit() -> Result<PathBuf, PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/kit");
    let kit = std::env::var_os("RBUILD_KIT").map_or(beside, PathBuf::from);
    let is_there = kit.join("bin/registry.py").exists();
    match (is_there, kit.canonicalize()) {
        (true, Ok(real)) => Ok(real),
        _ => Err(kit),
    }
}

/// Reports a case that can't run here, past the harness, which keeps what a test prints to itself.
pub fn skipped(case: &str, reason: &str) {
    let line = format!("SKIPPED {case}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
}

/// The first of so many ports in a row that are free now.
pub fn free_ports(count: u16) -> u16 {
    // Below the range from which the kernel gives ports to everybody else.
    let first = 20_000 + u16::try_from(std::process::id() % 100).expect("it is below 100") * 100;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (first..32_000)
        .step_by(usize::from(count))
        .find(|start| (*start..start + count).all(is_free))
        .expect("there are free ports")
}

/// A server of the kit that says its port when it listens; it ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The port that it listens at.
    pub port: u16,
}

impl Server {
    /// Starts a program of the kit and waits for its port.
    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("a server says its port");
        let port =
            line.trim().parse().unwrap_or_else(|_| panic!("{} said `{line}`", program.display()));
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
