//! `runtime`: rbuild as the OCI runtime of podman, containerd and others.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;

use clap::Parser;
use jiff::Timestamp;
use rbuild::bundle::{self, Bundles, CreateOptions, ExecOptions, Foreground, Running};
use serde_json::json;

use super::signals::signal;
use super::{DONE, FAILED, Outcome, print, tell};
use crate::args::{
    BundleArgs, ExecBundleArgs, ListArgs, ListFormat, LogFormat, PsBundleArgs, RunBundleArgs,
    RuntimeCli, RuntimeVerb, UpdateBundleArgs,
};
use crate::failure::{Failure, USAGE};

/// Does what an OCI runtime is told; returns the exit code.
pub(crate) fn run(words: Vec<OsString>) -> u8 {
    let cli = match RuntimeCli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // There is nobody left to tell that telling failed.
            drop(error.print());
            return if error.use_stderr() { USAGE } else { DONE };
        }
    };
    match act(&cli) {
        Ok(code) => code,
        Err(failure) => {
            // One line: that is what others show of it.
            tell(&format!("rbuild: {}\n", failure.line()));
            log(&cli, &failure.line());
            // What could not be run has the code of a shell, whoever asked.
            match &cli.verb {
                RuntimeVerb::Exec(_) | RuntimeVerb::Run(_) => failure.code(),
                _ => FAILED,
            }
        }
    }
}

fn act(cli: &RuntimeCli) -> Outcome {
    let bundles = Bundles::new(&cli.root);
    match &cli.verb {
        RuntimeVerb::Create(args) => create(&bundles, args, cli).map(|_| DONE),
        RuntimeVerb::Start(args) => {
            warn(bundles.start(&args.id)?, cli);
            Ok(DONE)
        }
        RuntimeVerb::Run(args) => run_bundle(&bundles, args, cli),
        RuntimeVerb::State(args) => show(&bundles.state(&args.id)?.json()),
        RuntimeVerb::Kill(args) => {
            bundles.kill(&args.id, signal(&args.signal)?, args.all)?;
            Ok(DONE)
        }
        RuntimeVerb::Delete(args) => {
            warn(bundles.delete(&args.id, args.force)?, cli);
            Ok(DONE)
        }
        RuntimeVerb::Exec(args) => exec(&bundles, args),
        RuntimeVerb::Ps(args) => ps(&bundles, args),
        RuntimeVerb::Pause(args) => Ok(bundles.pause(&args.id, true).map(|()| DONE)?),
        RuntimeVerb::Resume(args) => Ok(bundles.pause(&args.id, false).map(|()| DONE)?),
        RuntimeVerb::Update(args) => update(&bundles, args),
        RuntimeVerb::List(args) => list(&bundles, args),
        RuntimeVerb::Features => show(&bundle::features()),
    }
}

fn create(bundles: &Bundles, args: &BundleArgs, cli: &RuntimeCli) -> Result<Running, Failure> {
    refuse_files(args.preserve_fds)?;
    let options = CreateOptions {
        bundle: args.bundle.clone(),
        pid_file: args.pid_file.clone(),
        console_socket: args.console_socket.clone(),
        systemd_cgroup: cli.systemd_cgroup,
    };
    Ok(bundles.create(&args.id, &options)?)
}

fn run_bundle(bundles: &Bundles, args: &RunBundleArgs, cli: &RuntimeCli) -> Outcome {
    let id = &args.create.id;
    let foreground = (!args.detach).then(Foreground::new).transpose()?;
    let running = create(bundles, &args.create, cli)?;
    warn(bundles.start(id)?, cli);
    let Some(foreground) = foreground else {
        return Ok(DONE);
    };
    let exit = foreground.wait(&running)?;
    if !args.keep {
        warn(bundles.delete(id, true)?, cli);
    }
    Ok(exit_code(exit.code()))
}

fn exec(bundles: &Bundles, args: &ExecBundleArgs) -> Outcome {
    refuse_files(args.preserve_fds)?;
    let Some((id, command)) = args.id_and_command.split_first() else {
        return Err(Failure::usage("name a container"));
    };
    let options = ExecOptions {
        process: args.process.clone(),
        args: command.to_vec(),
        env: args.env.clone(),
        cwd: args.cwd.clone(),
        user: args.user.clone(),
        additional_gids: args.additional_gids.clone(),
        cap: args.cap.clone(),
        tty: args.tty,
        no_new_privs: args.no_new_privs,
        pid_file: args.pid_file.clone(),
        console_socket: args.console_socket.clone(),
    };
    let foreground = (!args.detach).then(Foreground::new).transpose()?;
    let running = bundles.exec(id, &options)?;
    match foreground {
        Some(foreground) => Ok(exit_code(foreground.wait(&running)?.code())),
        None => Ok(DONE),
    }
}

fn update(bundles: &Bundles, args: &UpdateBundleArgs) -> Outcome {
    let path = args.resources.as_path();
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = read.map_err(Failure::io(format!("read `{}`", path.display())))?;
    bundles.update(&args.id, &bytes)?;
    Ok(DONE)
}

fn refuse_files(number: u32) -> Result<(), Failure> {
    if number == 0 { Ok(()) } else { Err(Failure::unsupported("preserve-fds")) }
}

fn ps(bundles: &Bundles, args: &PsBundleArgs) -> Outcome {
    let found = bundles.processes(&args.id)?;
    if args.format == ListFormat::Json {
        return show(&json!(found));
    }
    let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let rows = found.iter().map(|pid| format!("{pid:<8}{}", name(pid).trim_end()));
    print_lines(std::iter::once("PID     COMMAND".to_owned()).chain(rows))?;
    Ok(DONE)
}

fn list(bundles: &Bundles, args: &ListArgs) -> Outcome {
    let states: Vec<_> = bundles.list()?.iter().map(bundle::State::json).collect();
    let field = |state: &serde_json::Value, name: &str| {
        let value = &state[name];
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };
    if args.quiet {
        print_lines(states.iter().map(|state| field(state, "id")))?;
    } else if args.format == ListFormat::Json {
        return show(&json!(states));
    } else {
        let row = |state: &serde_json::Value| {
            let [id, pid, status, bundle] =
                ["id", "pid", "status", "bundle"].map(|name| field(state, name));
            format!("{id:<24}{pid:<8}{status:<10}{bundle}")
        };
        let titles = format!("{:<24}{:<8}{:<10}{}", "ID", "PID", "STATUS", "BUNDLE");
        print_lines(std::iter::once(titles).chain(states.iter().map(row)))?;
    }
    Ok(DONE)
}

fn print_lines(lines: impl Iterator<Item = String>) -> Result<(), Failure> {
    print(&lines.flat_map(|line| [line, "\n".to_owned()]).collect::<String>())
}

fn show(value: &serde_json::Value) -> Outcome {
    print(&format!("{value:#}\n"))?;
    Ok(DONE)
}

/// Tells of hooks that failed when nothing depended on them any more.
fn warn(failed: Vec<bundle::Error>, cli: &RuntimeCli) {
    for error in failed {
        let line = Failure::from(error).line();
        tell(&format!("warning: {line}\n"));
        log(cli, &line);
    }
}

/// Writes a message where whoever called wants to read it.
fn log(cli: &RuntimeCli, message: &str) {
    let Some(path) = &cli.log else { return };
    let line = match cli.log_format {
        LogFormat::Text => format!("time={:?} level=error msg={message:?}\n", Timestamp::now()),
        LogFormat::Json => {
            let time = Timestamp::now().to_string();
            format!("{}\n", json!({ "level": "error", "msg": message, "time": time }))
        }
    };
    let opened = OpenOptions::new().append(true).create(true).open(path);
    // The message is on standard error as well.
    let _ = opened.and_then(|mut file| file.write_all(line.as_bytes()));
}

fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}
