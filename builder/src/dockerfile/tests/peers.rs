//! Two parsers of others, held against ours on every fixture that their grammars cover: the kinds
//! of the instructions in order, stages and their images, commands and their forms, flags, and
//! what COPY and ADD name.
//!
//! What a parser gets wrong is listed with the reason, and nothing else: a fixture of the list on
//! which the two agree fails the test as well.

mod outside;
mod theirs;

use std::fmt::Write;

use super::super::{
    Add, Command, Copy, Dockerfile, Healthcheck, Heredoc, Instruction, Network, Run, RunCommand,
    Security, Source, Word, parse,
};
use super::fixtures_by_name;
use outside::{OUTSIDE_PEER, OUTSIDE_PEST};

/// Instructions whose arguments `parse-dockerfile` keeps as one text.
const TEXT_TO_PEER: [&str; 3] = ["ARG", "ENV", "LABEL"];
/// Instructions that `dockerfile-parser` takes apart.
const KNOWN_TO_PEST: [&str; 5] = ["FROM", "RUN", "CMD", "ENTRYPOINT", "COPY"];

#[test]
fn parse_dockerfile_agrees() {
    let ours = |file: &Dockerfile| facts(file, |kind| !TEXT_TO_PEER.contains(&kind));
    compare(OUTSIDE_PEER, ours, theirs::of_peer);
}

#[test]
fn dockerfile_parser_agrees() {
    let ours = |file: &Dockerfile| facts(file, |kind| KNOWN_TO_PEST.contains(&kind));
    compare(OUTSIDE_PEST, ours, theirs::of_pest);
}

fn compare(
    outside: &[(&str, &[&str])],
    ours: impl Fn(&Dockerfile) -> String,
    theirs: impl Fn(&str) -> Option<String>,
) {
    let mut wrong = String::new();
    let mut listed: Vec<&str> =
        outside.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    for (name, bytes) in fixtures_by_name() {
        let Ok(file) = parse(&bytes) else { continue };
        let text = std::str::from_utf8(&bytes).expect("what parses is text");
        let (ours, theirs) = (ours(&file), theirs(text));
        let agrees = theirs.as_deref() == Some(&ours);
        let place = listed.iter().position(|known| *known == name);
        match (agrees, place.map(|place| listed.swap_remove(place))) {
            (true, Some(name)) => drop(writeln!(wrong, "{name} is listed, but agrees")),
            (false, None) => {
                let theirs = theirs.as_deref().unwrap_or("an error");
                let _ = writeln!(wrong, "== {name}\nours:\n{ours}\ntheirs:\n{theirs}");
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty() && listed.is_empty(), "{wrong}not a fixture that parses: {listed:?}");
}

/// The facts of our tree, one a line; those of other than the `whole` kinds are only their kind.
fn facts(file: &Dockerfile, whole: impl Fn(&str) -> bool) -> String {
    let mut out = String::new();
    out.extend(file.args.iter().map(|_| "ARG\n"));
    for stage in &file.stages {
        let from = &stage.from.value;
        let image = &from.image.text;
        let platform = from.platform.as_ref().map(|word| word.text.as_str());
        let _ = writeln!(out, "FROM {image:?} name {:?} platform {platform:?}", from.name);
        for statement in &stage.instructions {
            instruction(&mut out, &statement.value, &whole);
        }
    }
    out
}

fn instruction(out: &mut String, instruction: &Instruction, whole: &impl Fn(&str) -> bool) {
    let text = |word: &Word| format!("{:?}", word.text);
    let texts = |words: &[Word]| format!("{:?}", words.iter().map(|w| &w.text).collect::<Vec<_>>());
    let (kind, facts) = match instruction {
        Instruction::Add(add) => ("ADD", files(&add.sources, &add.destination, &add_flags(add))),
        Instruction::Arg(_) => ("ARG", String::new()),
        Instruction::Cmd(command) => ("CMD", form(command)),
        Instruction::Copy(copy) => {
            ("COPY", files(&copy.sources, &copy.destination, &copy_flags(copy)))
        }
        Instruction::Entrypoint(command) => ("ENTRYPOINT", form(command)),
        Instruction::Env(_) => ("ENV", String::new()),
        Instruction::Expose(words) => ("EXPOSE", texts(words)),
        Instruction::Healthcheck(Healthcheck::None) => ("HEALTHCHECK", "none".to_owned()),
        Instruction::Healthcheck(Healthcheck::Check { command, .. }) => {
            ("HEALTHCHECK", form(command))
        }
        Instruction::Label(_) => ("LABEL", String::new()),
        Instruction::Maintainer(text) => ("MAINTAINER", format!("{text:?}")),
        Instruction::Onbuild(onbuild) if whole("ONBUILD") => {
            out.push_str("ONBUILD ");
            return self::instruction(out, &onbuild.instruction.value, whole);
        }
        Instruction::Onbuild(_) => ("ONBUILD", String::new()),
        Instruction::Run(run) => ("RUN", self::run(run)),
        Instruction::Shell(words) => ("SHELL", format!("{words:?}")),
        Instruction::Stopsignal(word) => ("STOPSIGNAL", text(word)),
        Instruction::User(word) => ("USER", text(word)),
        Instruction::Volume(words) => ("VOLUME", texts(words)),
        Instruction::Workdir(word) => ("WORKDIR", text(word)),
    };
    let facts = if whole(kind) { facts } else { String::new() };
    let _ = writeln!(out, "{}", format!("{kind} {facts}").trim_end());
}

fn add_flags(add: &Add) -> Flags {
    let mut flags = Flags::default();
    flags.words("chown", add.chown.as_ref()).words("chmod", add.chmod.as_ref());
    flags.words("checksum", add.checksum.as_ref()).words("exclude", &add.exclude);
    flags.set("link", add.link).set("keep-git-dir", add.keep_git_dir == Some(true));
    flags.set("unpack", add.unpack == Some(true));
    flags
}

fn copy_flags(copy: &Copy) -> Flags {
    let mut flags = Flags::default();
    flags.words("chown", copy.chown.as_ref()).words("chmod", copy.chmod.as_ref());
    flags.words("from", copy.from.as_ref()).words("exclude", &copy.exclude);
    flags.set("link", copy.link).set("parents", copy.parents);
    flags
}

fn run(run: &Run) -> String {
    let mut flags = Flags::default();
    flags.0.extend(run.mounts.iter().map(|_| "mount".to_owned()));
    flags.0.extend(run.devices.iter().map(|_| "device".to_owned()));
    flags.0.extend(run.network.map(|network| match network {
        Network::Default => "network=default".to_owned(),
        Network::None => "network=none".to_owned(),
        Network::Host => "network=host".to_owned(),
    }));
    flags.0.extend(run.security.map(|security| match security {
        Security::Sandbox => "security=sandbox".to_owned(),
        Security::Insecure => "security=insecure".to_owned(),
    }));
    let bodies: Vec<_> = run.heredocs.iter().map(Heredoc::text).collect();
    let command = match &run.command {
        _ if !bodies.is_empty() => format!("{bodies:?}"),
        RunCommand::Shell(text) => format!("shell {text:?}"),
        RunCommand::Exec(words) => format!("exec {words:?}"),
        RunCommand::Script { .. } => unreachable!("a script is a here-document"),
    };
    format!("{command}{}", flags.show())
}

/// Flags in an order of their own, since trees keep none.
#[derive(Default)]
struct Flags(Vec<String>);

impl Flags {
    fn words<'w>(&mut self, name: &str, words: impl IntoIterator<Item = &'w Word>) -> &mut Self {
        self.0.extend(words.into_iter().map(|word| format!("{name}={}", word.text)));
        self
    }

    fn set(&mut self, name: &str, given: bool) -> &mut Self {
        self.0.extend(given.then(|| name.to_owned()));
        self
    }

    /// Adds a flag as a parser of others has it.
    fn add(&mut self, name: &str, value: Option<&str>) {
        match (name, value) {
            ("mount" | "device", _) | (_, None) => self.0.push(name.to_owned()),
            ("link" | "parents" | "unpack" | "keep-git-dir", Some(value)) => {
                self.0.extend(value.eq_ignore_ascii_case("true").then(|| name.to_owned()));
            }
            (_, Some(value)) => self.0.push(format!("{name}={value}")),
        }
    }

    fn show(&self) -> String {
        let mut flags = self.0.clone();
        flags.sort();
        if flags.is_empty() { String::new() } else { format!(" flags {flags:?}") }
    }
}

fn form(command: &Command) -> String {
    match command {
        Command::Shell(text) => format!("shell {text:?}"),
        Command::Exec(words) => format!("exec {words:?}"),
    }
}

fn files(sources: &[Source], destination: &Word, flags: &Flags) -> String {
    let source = |source: &Source| match source {
        Source::Path(word) => word.text.clone(),
        Source::Heredoc(heredoc) => heredoc.text().into_owned(),
    };
    let sources: Vec<_> = sources.iter().map(source).collect();
    format!("{sources:?} to {:?}{}", destination.text, flags.show())
}
