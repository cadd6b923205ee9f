//! The instructions that change only the config of the image, and WORKDIR.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use rbuild_solver::Edge;
use rbuild_solver::op::{FileAction, Op};

use super::history;
use super::scope::Scope;
use super::stage::{Lowering, State, Step};
use crate::dockerfile::{
    self, Arg, Command, Diagnostic, Healthcheck, Instruction, Span, Statement, Word,
};
use crate::image;

/// The arguments that speak to the builder alone.
const NOT_SEEN: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Lowering<'_> {
    /// Applies an instruction that makes no layer.
    pub(super) fn metadata(
        &self,
        state: &mut State,
        statement: &Statement,
    ) -> Result<(), Diagnostic> {
        match &statement.value {
            Instruction::Arg(arguments) => self.arg(state, arguments)?,
            Instruction::Env(pairs) => env(state, pairs)?,
            Instruction::Label(pairs) => label(state, pairs)?,
            Instruction::Cmd(command) => cmd(state, command),
            Instruction::Entrypoint(command) => entrypoint(state, command),
            Instruction::Expose(words) => expose(state, words)?,
            Instruction::Volume(words) => volume(state, words)?,
            Instruction::User(word) => {
                let user = state.scope.expand(word)?;
                history::step(&mut state.config, format!("USER {user}"), false);
                state.config.config.user = user;
            }
            Instruction::Stopsignal(word) => stop_signal(state, word)?,
            Instruction::Shell(shell) => {
                let text = format!("SHELL {}", history::plain(shell));
                history::step(&mut state.config, text, false);
                state.config.config.shell.clone_from(shell);
            }
            Instruction::Healthcheck(check) => healthcheck(state, check),
            Instruction::Maintainer(name) => {
                history::step(&mut state.config, format!("MAINTAINER {name}"), false);
                state.config.author = Some(name.clone());
            }
            Instruction::Onbuild(trigger) => {
                state.config.config.on_build.push(trigger.text.clone());
            }
            Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Add(_)
            | Instruction::Workdir(_) => {}
        }
        Ok(())
    }

    /// WORKDIR: the step that makes the folder, unless it is `/`.
    pub(super) fn workdir(
        &self,
        state: &mut State,
        path: &Word,
        text: String,
        span: Span,
    ) -> Result<Option<Step>, Diagnostic> {
        let path = working_directory(state, &state.scope.expand(path)?);
        state.config.config.working_dir.clone_from(&path);
        let makes_layer = path != "/";
        history::step(&mut state.config, format!("WORKDIR {path}"), makes_layer);
        let owner = state.config.config.user.clone();
        let time = self.request.epoch;
        Ok(makes_layer.then(|| Step {
            op: Op::Files(vec![FileAction::MakeDirectory { path, owner, time }]),
            inputs: vec![Edge::all(state.root)],
            text,
            span,
        }))
    }

    fn arg(&self, state: &mut State, arguments: &[Arg]) -> Result<(), Diagnostic> {
        let mut words = vec!["ARG".to_owned()];
        for argument in arguments {
            let name = argument.name.text.clone();
            let value = match (self.request.argument(&name), &argument.default) {
                (Some(value), _) => Some(value.to_owned()),
                (None, Some(default)) => Some(state.scope.expand(default)?),
                (None, None) => self.plan.global.get(&name).map(str::to_owned),
            };
            if let Some(value) = value.as_ref().filter(|_| !NOT_SEEN.contains(&name.as_str())) {
                state.scope.set(&name, value);
            }
            let text = value.as_ref().map(|value| format!("{name}={value}"));
            words.push(text.unwrap_or_else(|| name.clone()));
            let current = state.scope.get(&name).map_or(value.unwrap_or_default(), str::to_owned);
            state.arguments.set(&name, &current);
        }
        history::step(&mut state.config, words.join(" "), false);
        Ok(())
    }
}

/// The directory that WORKDIR names: an absolute path stays as it is written, slash at its end
/// included; a relative one is joined to the directory before and cleaned.
fn working_directory(state: &State, path: &str) -> String {
    match path {
        "" if state.config.config.working_dir.starts_with('/') => {
            state.config.config.working_dir.clone()
        }
        path if path.starts_with('/') => path.to_owned(),
        path => state.absolute(path),
    }
}

/// Expands names and values with what was set before the instruction.
fn expand_pairs(
    scope: &Scope,
    pairs: &[(Word, Word)],
) -> Result<Vec<(String, String)>, Diagnostic> {
    pairs.iter().map(|(name, value)| Ok((scope.expand(name)?, scope.expand(value)?))).collect()
}

fn env(state: &mut State, pairs: &[(Word, Word)]) -> Result<(), Diagnostic> {
    let pairs = expand_pairs(&state.scope, pairs)?;
    let mut text = "ENV".to_owned();
    for (name, value) in &pairs {
        state.scope.set(name, value);
        let env = &mut state.config.config.env;
        let line = format!("{name}={value}");
        if let Some(&place) = state.env_places.get(name) {
            env[place] = line;
        } else {
            state.env_places.insert(name.clone(), env.len());
            env.push(line);
        }
        let _ = write!(text, " {name}={value}");
    }
    history::step(&mut state.config, text, false);
    Ok(())
}

fn label(state: &mut State, pairs: &[(Word, Word)]) -> Result<(), Diagnostic> {
    let mut text = "LABEL".to_owned();
    for (name, value) in expand_pairs(&state.scope, pairs)? {
        let _ = write!(text, " {name}={value}");
        state.config.config.labels.insert(name, value);
    }
    history::step(&mut state.config, text, false);
    Ok(())
}

fn arguments(state: &State, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(args) => args.clone(),
        Command::Shell(text) => {
            let mut args = state.shell();
            args.push(text.clone());
            args
        }
    }
}

fn cmd(state: &mut State, command: &Command) {
    let args = arguments(state, command);
    history::step(&mut state.config, format!("CMD {}", history::quoted(&args)), false);
    state.config.config.cmd = args;
    state.config.config.args_escaped = true;
    state.command_set = true;
}

fn entrypoint(state: &mut State, command: &Command) {
    let args = arguments(state, command);
    history::step(&mut state.config, format!("ENTRYPOINT {}", history::quoted(&args)), false);
    state.config.config.entrypoint = args;
    if !state.command_set {
        state.config.config.cmd.clear();
    }
}

fn expose(state: &mut State, words: &[Word]) -> Result<(), Diagnostic> {
    let mut ports = BTreeSet::new();
    for word in words {
        for text in state.scope.expand_words(word)? {
            let parsed = dockerfile::port::parse(&text)
                .map_err(|error| Diagnostic::error(word.span, error))?;
            ports.extend(parsed.iter().map(ToString::to_string));
        }
    }
    let ports: Vec<String> = ports.into_iter().collect();
    history::step(&mut state.config, format!("EXPOSE {}", history::plain(&ports)), false);
    state.config.config.exposed_ports.extend(ports);
    Ok(())
}

fn volume(state: &mut State, words: &[Word]) -> Result<(), Diagnostic> {
    let mut paths = Vec::with_capacity(words.len());
    for word in words {
        let path = state.scope.expand(word)?;
        if path.is_empty() {
            let message = "VOLUME specified can not be an empty string";
            return Err(Diagnostic::error(word.span, message));
        }
        paths.push(path);
    }
    history::step(&mut state.config, format!("VOLUME {}", history::plain(&paths)), false);
    state.config.config.volumes.extend(paths);
    Ok(())
}

fn stop_signal(state: &mut State, word: &Word) -> Result<(), Diagnostic> {
    let signal = state.scope.expand(word)?;
    if dockerfile::signal::parse(&signal).is_none() {
        return Err(Diagnostic::error(word.span, format!("invalid signal `{signal}`"))
            .hint("use a name such as `SIGTERM` or a number".to_owned()));
    }
    history::step(&mut state.config, format!("STOPSIGNAL {signal}"), false);
    state.config.config.stop_signal = signal;
    Ok(())
}

fn healthcheck(state: &mut State, check: &Healthcheck) {
    let nanoseconds = |time: &Option<Duration>| {
        time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    };
    let check = match check {
        Healthcheck::None => {
            image::Healthcheck { test: vec!["NONE".to_owned()], ..image::Healthcheck::default() }
        }
        Healthcheck::Check {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        } => image::Healthcheck {
            test: match command {
                Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                Command::Exec(args) => {
                    std::iter::once("CMD".to_owned()).chain(args.iter().cloned()).collect()
                }
            },
            interval: nanoseconds(interval),
            timeout: nanoseconds(timeout),
            start_period: nanoseconds(start_period),
            start_interval: nanoseconds(start_interval),
            retries: retries.map_or(0, i64::from),
        },
    };
    let text = format!("HEALTHCHECK {}", history::healthcheck(&check));
    history::step(&mut state.config, text, false);
    state.config.config.healthcheck = Some(check);
}
