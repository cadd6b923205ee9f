//! Two parsers of others, held against ours on every fixture that their grammars cover: the kinds
//! of the instructions in order, stages and their images, commands and their forms, flags, and
//! what COPY and ADD name.
//!
//! What a parser gets wrong is listed with the reason, and nothing else: a fixture of the list on
//! which the two agree fails the test as well.

use std::fmt::Write;

use dockerfile_parser as pest;
use parse_dockerfile as peer;

use super::super::{
    Command, Dockerfile, Healthcheck, Heredoc, Instruction, Network, RunCommand, Security, Source,
    Word, parse,
};
use super::fixtures_by_name;

/// Instructions whose arguments `parse-dockerfile` keeps as one text.
const TEXT_TO_PEER: [&str; 3] = ["ARG", "ENV", "LABEL"];
/// Instructions that `dockerfile-parser` takes apart.
const KNOWN_TO_PEST: [&str; 5] = ["FROM", "RUN", "CMD", "ENTRYPOINT", "COPY"];

/// What `parse-dockerfile` 0.1.9 reads in another way, or not at all.
const OUTSIDE_PEER: &[(&str, &[&str])] = &[
    (
        "refuses a command or an array without words",
        &["cmd-empty", "entrypoint-reset", "json-forms"],
    ),
    ("takes `--` for an argument", &["cmd-flags", "copy-dash-dash", "flags-end"]),
    (
        "neither groups by the quotes of a flag nor resolves them",
        &["flags-quoted", "run-mount-quoted"],
    ),
    (
        "knows no blanks before a directive, and no directive without a value",
        &["directive-leading-blanks", "directive-without-value"],
    ),
    (
        "knows no descriptor and no blank beside `<<`",
        &[
            "heredoc-blank-before-word",
            "heredoc-dash-blank",
            "heredoc-descriptor",
            "heredoc-run-alone",
        ],
    ),
    (
        "finds here-documents only where the arguments start",
        &["heredoc-on-continued-line", "heredoc-run-command"],
    ),
    (
        "continues a line that ends with a doubled escape character",
        &["lines-continuation", "lines-escape-backquote"],
    ),
    ("keeps the blanks around paths in an array", &["volume-json-trimmed"]),
];

/// What `dockerfile-parser` 0.9.0 reads in another way, or not at all.
const OUTSIDE_PEST: &[(&str, &[&str])] = &[
    (
        "reads no here-documents",
        &[
            "heredoc-add",
            "heredoc-backquote",
            "heredoc-behind-flags",
            "heredoc-between-sources",
            "heredoc-blank-before-word",
            "heredoc-carriage-returns",
            "heredoc-comments-inside",
            "heredoc-continuations-inside",
            "heredoc-copy",
            "heredoc-dash-blank",
            "heredoc-descriptor",
            "heredoc-empty",
            "heredoc-end-in-text",
            "heredoc-instructions-inside",
            "heredoc-no-last-end",
            "heredoc-on-continued-line",
            "heredoc-quoted-parts",
            "heredoc-quotes-in-body",
            "heredoc-run-alone",
            "heredoc-run-command",
            "heredoc-run-script",
            "heredoc-same-name-twice",
            "heredoc-swapped",
            "heredoc-tabs",
            "heredoc-variable-name",
            "lines-carriage-returns",
            "onbuild-heredocs",
            "whole-rust",
        ],
    ),
    (
        "leaves the flags of RUN in its text",
        &[
            "flags-end",
            "run-devices",
            "run-flags",
            "run-flags-alone",
            "run-json-behind-flags",
            "run-mount-bind",
            "run-mount-booleans",
            "run-mount-cache",
            "run-mount-keys-in-any-case",
            "run-mount-quoted",
            "run-mount-secret",
            "run-mount-ssh",
            "run-mount-tmpfs",
            "run-mount-variables",
            "run-mounts",
            "run-network",
            "run-security",
            "whole-node",
        ],
    ),
    (
        "takes flags of COPY without a value, and `--`, for sources",
        &["copy-chown", "copy-dash-dash", "copy-link-values", "copy-parents", "flags-continued"],
    ),
    (
        "cuts quotes and escapes of flags and paths in a way of its own",
        &[
            "copy-forms",
            "copy-json-blanks",
            "copy-quotes-are-no-groups",
            "copy-variables",
            "flags-quoted",
        ],
    ),
    (
        "reads an ARG of one name only",
        &[
            "arg-forms",
            "arg-global",
            "arg-quotes",
            "arg-several",
            "lint-secrets",
            "whole-multi-stage",
        ],
    ),
    (
        "reads ENV and LABEL with few of their forms",
        &[
            "env-continued-quotes",
            "env-empty-values",
            "env-escaped-blank",
            "env-forms",
            "env-one-name",
            "env-open-quote",
            "env-quoted-parts",
            "env-single-quotes",
            "label-forms",
        ],
    ),
    ("refuses a command without words", &["cmd-and-entrypoint", "cmd-empty"]),
    ("takes `--` before a command for a part of it", &["cmd-flags"]),
    ("takes single quotes and a comma too many in an array", &["json-invalid-is-text"]),
    (
        "reads no array but one of simple strings, and no text that starts like one",
        &["json-forms", "run-json-escapes", "run-json-then-text"],
    ),
    (
        "knows no directives",
        &["directive-all", "directive-leading-blanks", "lines-escape-backquote"],
    ),
    ("knows no byte order mark", &["directive-after-byte-order-mark", "lines-byte-order-mark"]),
    (
        "checks digests, and knows few signs in the name of a stage",
        &["from-digest", "from-forms", "from-name-signs"],
    ),
    (
        "loses its way at comments and empty lines in a continued instruction, and at its ends",
        &[
            "lines-comments",
            "lines-continuation",
            "lines-continuation-alone",
            "lines-continuation-at-end",
            "lines-continuation-first",
            "lines-empty-continuation",
        ],
    ),
    ("knows few blanks", &["lines-other-blanks"]),
];

#[test]
fn parse_dockerfile_agrees() {
    let ours = |file: &Dockerfile| facts(file, |kind| !TEXT_TO_PEER.contains(&kind));
    compare(OUTSIDE_PEER, ours, |text| peer::parse(text).ok().map(|file| of_peer(&file)));
}

#[test]
fn dockerfile_parser_agrees() {
    let ours = |file: &Dockerfile| facts(file, |kind| KNOWN_TO_PEST.contains(&kind));
    compare(OUTSIDE_PEST, ours, |text| pest::Dockerfile::parse(text).ok().map(|f| of_pest(&f)));
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
        Instruction::Add(add) => {
            let mut flags = Flags::default();
            flags.words("chown", add.chown.as_ref()).words("chmod", add.chmod.as_ref());
            flags.words("checksum", add.checksum.as_ref()).words("exclude", &add.exclude);
            flags.set("link", add.link).set("keep-git-dir", add.keep_git_dir == Some(true));
            flags.set("unpack", add.unpack == Some(true));
            ("ADD", files(&add.sources, &add.destination, &flags))
        }
        Instruction::Arg(_) => ("ARG", String::new()),
        Instruction::Cmd(command) => ("CMD", form(command)),
        Instruction::Copy(copy) => {
            let mut flags = Flags::default();
            flags.words("chown", copy.chown.as_ref()).words("chmod", copy.chmod.as_ref());
            flags.words("from", copy.from.as_ref()).words("exclude", &copy.exclude);
            flags.set("link", copy.link).set("parents", copy.parents);
            ("COPY", files(&copy.sources, &copy.destination, &flags))
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
        Instruction::Run(run) => {
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
            let command = match &run.command {
                _ if !run.heredocs.is_empty() => format!("{:?}", bodies(&run.heredocs)),
                RunCommand::Shell(text) => format!("shell {text:?}"),
                RunCommand::Exec(words) => format!("exec {words:?}"),
                RunCommand::Script { .. } => unreachable!("a script is a here-document"),
            };
            ("RUN", format!("{command}{}", flags.show()))
        }
        Instruction::Shell(words) => ("SHELL", format!("{words:?}")),
        Instruction::Stopsignal(word) => ("STOPSIGNAL", text(word)),
        Instruction::User(word) => ("USER", text(word)),
        Instruction::Volume(words) => ("VOLUME", texts(words)),
        Instruction::Workdir(word) => ("WORKDIR", text(word)),
    };
    let facts = if whole(kind) { facts } else { String::new() };
    let _ = writeln!(out, "{}", format!("{kind} {facts}").trim_end());
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
            ("mount" | "device", _) => self.0.push(name.to_owned()),
            (_, None) => self.0.push(name.to_owned()),
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

fn bodies(heredocs: &[Heredoc]) -> Vec<String> {
    heredocs.iter().map(|heredoc| heredoc.text().into_owned()).collect()
}

fn files(sources: &[Source], destination: &Word, flags: &Flags) -> String {
    let source = |source: &Source| match source {
        Source::Path(word) => word.text.clone(),
        Source::Heredoc(heredoc) => heredoc.text().into_owned(),
    };
    let sources: Vec<_> = sources.iter().map(source).collect();
    format!("{sources:?} to {:?}{}", destination.text, flags.show())
}

fn of_peer(file: &peer::Dockerfile) -> String {
    let mut out = String::new();
    let escape = file.parser_directives.escape.as_ref().map_or('\\', |escape| escape.value.value);
    for instruction in &file.instructions {
        peer_instruction(&mut out, instruction, escape);
    }
    out
}

fn peer_instruction(out: &mut String, instruction: &peer::Instruction, escape: char) {
    use peer::Instruction as I;
    let flags = |flags: &[peer::Flag]| {
        let mut known = Flags::default();
        for flag in flags {
            known.add(&flag.name.value, flag.value.as_ref().map(|value| &*value.value));
        }
        known.show()
    };
    let texts = |words: &[peer::UnescapedString]| {
        format!("{:?}", words.iter().map(|word| word.value.to_string()).collect::<Vec<_>>())
    };
    let form = |command: &peer::Command| match command {
        peer::Command::Exec(words) => format!("exec {}", texts(&words.value)),
        peer::Command::Shell(text) => format!("shell {:?}", joined(text.value, escape)),
        _ => "?".to_owned(),
    };
    let files = |sources: &[peer::Source], destination: &peer::UnescapedString| {
        let source = |source: &peer::Source| match source {
            peer::Source::Path(path) => path.value.to_string(),
            peer::Source::HereDoc(heredoc) => heredoc.value.to_string(),
            _ => "?".to_owned(),
        };
        let sources: Vec<_> = sources.iter().map(source).collect();
        format!("{sources:?} to {:?}", destination.value)
    };
    let line = match instruction {
        I::Add(add) => format!("ADD {}{}", files(&add.src, &add.dest), flags(&add.options)),
        I::Arg(_) => "ARG".to_owned(),
        I::Cmd(cmd) => format!("CMD {}", form(&cmd.arguments)),
        I::Copy(copy) => format!("COPY {}{}", files(&copy.src, &copy.dest), flags(&copy.options)),
        I::Entrypoint(entrypoint) => format!("ENTRYPOINT {}", form(&entrypoint.arguments)),
        I::Env(_) => "ENV".to_owned(),
        I::Expose(expose) => format!("EXPOSE {}", texts(&expose.arguments)),
        I::From(from) => {
            let name = from.as_.as_ref().map(|(_, name)| name.value.to_lowercase());
            let platform = from.options.first().and_then(|flag| flag.value.as_ref());
            let platform = platform.map(|platform| &*platform.value);
            format!("FROM {:?} name {name:?} platform {platform:?}", from.image.value)
        }
        I::Healthcheck(check) => match &check.arguments {
            peer::HealthcheckArguments::Cmd { arguments, .. } => {
                format!("HEALTHCHECK {}", form(arguments))
            }
            _ => "HEALTHCHECK none".to_owned(),
        },
        I::Label(_) => "LABEL".to_owned(),
        I::Maintainer(maintainer) => format!("MAINTAINER {:?}", maintainer.name.value),
        I::Onbuild(onbuild) => {
            out.push_str("ONBUILD ");
            return peer_instruction(out, &onbuild.instruction, escape);
        }
        I::Run(run) => {
            let bodies: Vec<_> = run.here_docs.iter().map(|doc| doc.value.to_string()).collect();
            let command =
                if bodies.is_empty() { form(&run.arguments) } else { format!("{bodies:?}") };
            format!("RUN {command}{}", flags(&run.options))
        }
        I::Shell(shell) => format!("SHELL {}", texts(&shell.arguments)),
        I::Stopsignal(signal) => format!("STOPSIGNAL {:?}", signal.arguments.value),
        I::User(user) => format!("USER {:?}", user.arguments.value),
        I::Volume(volume) => match &volume.arguments {
            peer::JsonOrStringArray::Json(words) => format!("VOLUME {}", texts(&words.value)),
            peer::JsonOrStringArray::String(words) => format!("VOLUME {}", texts(words)),
        },
        I::Workdir(workdir) => format!("WORKDIR {:?}", workdir.arguments.value),
        _ => "?".to_owned(),
    };
    let _ = writeln!(out, "{line}");
}

/// The text of a command without continuations, which `parse-dockerfile` leaves in.
fn joined(text: &str, escape: char) -> String {
    let mut joined = String::new();
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        if number > 0 && (bare.is_empty() || bare.starts_with('#')) {
            continue;
        }
        joined.push_str(line.trim_end_matches([' ', '\t']).strip_suffix(escape).unwrap_or(line));
    }
    joined.trim_end().to_owned()
}

fn of_pest(file: &pest::Dockerfile) -> String {
    use pest::Instruction as I;
    let form = |command: &pest::ShellOrExecExpr| match command {
        pest::ShellOrExecExpr::Shell(text) => format!("shell {:?}", text.to_string().trim_end()),
        pest::ShellOrExecExpr::Exec(words) => format!("exec {:?}", words.as_str_vec()),
    };
    let line = |instruction: &I| match instruction {
        I::From(from) => {
            let name = from.alias.as_ref().map(|name| name.content.to_lowercase());
            let platform = from.flags.first().map(|flag| flag.value.content.as_str());
            format!("FROM {:?} name {name:?} platform {platform:?}\n", from.image.content)
        }
        I::Arg(_) => "ARG\n".to_owned(),
        I::Label(_) => "LABEL\n".to_owned(),
        I::Env(_) => "ENV\n".to_owned(),
        I::Run(run) => format!("RUN {}\n", form(&run.expr)),
        I::Cmd(cmd) => format!("CMD {}\n", form(&cmd.expr)),
        I::Entrypoint(entrypoint) => format!("ENTRYPOINT {}\n", form(&entrypoint.expr)),
        I::Copy(copy) => {
            let mut flags = Flags::default();
            for flag in &copy.flags {
                flags.add(&flag.name.content, Some(&flag.value.content));
            }
            let sources: Vec<_> = copy.sources.iter().map(|source| &source.content).collect();
            format!("COPY {sources:?} to {:?}{}\n", copy.destination.content, flags.show())
        }
        I::Misc(misc) => format!("{}\n", misc.instruction.content.to_uppercase()),
    };
    file.instructions.iter().map(line).collect()
}
