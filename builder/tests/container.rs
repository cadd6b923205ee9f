//! Containers for real: a busybox image, run, stopped, attached to, killed and removed.
//!
//! Needs root. This test has a `main` of its own, since containers and their monitors start as
//! copies of the program; the same program also plays the user's command, with real streams.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of it is a test, which clippy only sees where there is a harness"
)]

#[path = "container/attach.rs"]
mod attach;
#[path = "container/devices.rs"]
mod devices;
#[path = "container/files.rs"]
mod files;
#[path = "container/lives.rs"]
mod lives;
#[path = "container/run.rs"]
mod run;
#[path = "container/stage.rs"]
mod stage;

use std::panic::catch_unwind;
use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    rbuild::init_if_asked();
    rbuild::container::monitor_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((stage::TOOL, rest)) =
        arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return stage::tool(rest);
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = Vec::new();
    let tests = [run::TESTS, lives::TESTS, attach::TESTS, files::TESTS, devices::TESTS].concat();
    for (name, test) in tests {
        if wanted.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(name);
        }
    }
    match failed.as_slice() {
        [] => ExitCode::SUCCESS,
        failed => {
            eprintln!("failed: {}", failed.join(", "));
            ExitCode::FAILURE
        }
    }
}
