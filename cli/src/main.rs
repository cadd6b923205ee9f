//! The command `rbuild`: what was typed becomes calls of the library, and what it gives becomes
//! lines and an exit code.

mod args;
mod commands;
mod config;
mod diagnostic;
mod failure;
mod format;
mod interrupt;
mod pattern;
mod progress;
mod reason;
mod rootless;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Cli;
use commands::{Session, tell};
use config::Config;
use failure::Failure;

fn main() -> ExitCode {
    // Each may find that this process was started to be something else, and never return.
    rbuild::init_if_asked();
    rbuild::container::monitor_if_asked();
    rbuild::settle_if_asked();
    ExitCode::from(run(std::env::args_os().collect()))
}

/// Does what was typed; returns the exit code.
fn run(argv: Vec<OsString>) -> u8 {
    if let Some(words) = args::runtime_words(&argv) {
        return commands::runtime(words);
    }
    let cli = match args::parse(argv) {
        Ok(cli) => cli,
        Err(wrong) => return wrong.explain(),
    };
    match act(cli) {
        Ok(code) => code,
        // `rbuild logs | head` is over when `head` has seen enough.
        Err(failure) if failure.is_broken_pipe() => 0,
        Err(failure) => {
            tell(&failure.render());
            failure.code()
        }
    }
}

/// Writes what the developers of rbuild want to know to standard error, where they ask for it.
fn log() {
    if let Some(filter) = config::log() {
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        log.init();
    }
}

fn act(Cli { top, command }: Cli) -> Result<u8, Failure> {
    let global = top.global;
    if let Some(flag) = global.refused() {
        return Err(Failure::unsupported(flag));
    }
    let command = command.plain();
    let mut config = Config::new(global);
    // Before there is any thread.
    rootless::enter(&command, &mut config)?;
    log();
    commands::run(command, &Session { config })
}
