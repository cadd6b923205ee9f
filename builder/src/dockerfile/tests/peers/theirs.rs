//! The facts of the trees of others, in the words of ours.

use std::fmt::Write;

use dockerfile_parser as pest;
use parse_dockerfile as peer;
use peer::{Instruction as Peer, UnescapedString};
use pest::Instruction as Pest;

use super::Flags;

/// What `parse-dockerfile` makes of a file.
pub(super) fn of_peer(text: &str) -> Option<String> {
    let file = peer::parse(text).ok()?;
    let escape = file.parser_directives.escape.as_ref().map_or('\\', |escape| escape.value.value);
    let mut out = String::new();
    for instruction in &file.instructions {
        instruction_of_peer(&mut out, instruction, escape);
    }
    Some(out)
}

fn instruction_of_peer(out: &mut String, instruction: &Peer, escape: char) {
    let form = |command: &peer::Command| match command {
        peer::Command::Exec(words) => format!("exec {}", texts(&words.value)),
        peer::Command::Shell(text) => format!("shell {:?}", joined(text.value, escape)),
        _ => "?".to_owned(),
    };
    let line = match instruction {
        Peer::Add(add) => format!("ADD {}{}", files(&add.src, &add.dest), flags(&add.options)),
        Peer::Arg(_) => "ARG".to_owned(),
        Peer::Cmd(cmd) => format!("CMD {}", form(&cmd.arguments)),
        Peer::Copy(copy) => {
            format!("COPY {}{}", files(&copy.src, &copy.dest), flags(&copy.options))
        }
        Peer::Entrypoint(entrypoint) => format!("ENTRYPOINT {}", form(&entrypoint.arguments)),
        Peer::Env(_) => "ENV".to_owned(),
        Peer::Expose(expose) => format!("EXPOSE {}", texts(&expose.arguments)),
        Peer::From(from) => {
            let name = from.as_.as_ref().map(|(_, name)| name.value.to_lowercase());
            let platform = from.options.first().and_then(|flag| flag.value.as_ref());
            let platform = platform.map(|platform| &*platform.value);
            format!("FROM {:?} name {name:?} platform {platform:?}", from.image.value)
        }
        Peer::Healthcheck(check) => match &check.arguments {
            peer::HealthcheckArguments::Cmd { arguments, .. } => {
                format!("HEALTHCHECK {}", form(arguments))
            }
            _ => "HEALTHCHECK none".to_owned(),
        },
        Peer::Label(_) => "LABEL".to_owned(),
        Peer::Maintainer(maintainer) => format!("MAINTAINER {:?}", maintainer.name.value),
        Peer::Onbuild(onbuild) => {
            out.push_str("ONBUILD ");
            return instruction_of_peer(out, &onbuild.instruction, escape);
        }
        Peer::Run(run) => {
            let bodies: Vec<_> = run.here_docs.iter().map(|doc| doc.value.to_string()).collect();
            let command =
                if bodies.is_empty() { form(&run.arguments) } else { format!("{bodies:?}") };
            format!("RUN {command}{}", flags(&run.options))
        }
        Peer::Shell(shell) => format!("SHELL {}", texts(&shell.arguments)),
        Peer::Stopsignal(signal) => format!("STOPSIGNAL {:?}", signal.arguments.value),
        Peer::User(user) => format!("USER {:?}", user.arguments.value),
        Peer::Volume(volume) => match &volume.arguments {
            peer::JsonOrStringArray::Json(words) => format!("VOLUME {}", texts(&words.value)),
            peer::JsonOrStringArray::String(words) => format!("VOLUME {}", texts(words)),
        },
        Peer::Workdir(workdir) => format!("WORKDIR {:?}", workdir.arguments.value),
        _ => "?".to_owned(),
    };
    let _ = writeln!(out, "{line}");
}

fn flags(flags: &[peer::Flag]) -> String {
    let mut known = Flags::default();
    for flag in flags {
        known.add(&flag.name.value, flag.value.as_ref().map(|value| &*value.value));
    }
    known.show()
}

fn texts(words: &[UnescapedString]) -> String {
    format!("{:?}", words.iter().map(|word| &*word.value).collect::<Vec<_>>())
}

fn files(sources: &[peer::Source], destination: &UnescapedString) -> String {
    let source = |source: &peer::Source| match source {
        peer::Source::Path(path) => path.value.to_string(),
        peer::Source::HereDoc(heredoc) => heredoc.value.to_string(),
        _ => "?".to_owned(),
    };
    let sources: Vec<_> = sources.iter().map(source).collect();
    format!("{sources:?} to {:?}", destination.value)
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

/// What `dockerfile-parser` makes of a file.
pub(super) fn of_pest(text: &str) -> Option<String> {
    let file = pest::Dockerfile::parse(text).ok()?;
    Some(file.instructions.iter().map(instruction_of_pest).collect())
}

fn instruction_of_pest(instruction: &Pest) -> String {
    let form = |command: &pest::ShellOrExecExpr| match command {
        pest::ShellOrExecExpr::Shell(text) => format!("shell {:?}", text.to_string().trim_end()),
        pest::ShellOrExecExpr::Exec(words) => format!("exec {:?}", words.as_str_vec()),
    };
    let line = match instruction {
        Pest::From(from) => {
            let name = from.alias.as_ref().map(|name| name.content.to_lowercase());
            let platform = from.flags.first().map(|flag| flag.value.content.as_str());
            format!("FROM {:?} name {name:?} platform {platform:?}", from.image.content)
        }
        Pest::Arg(_) => "ARG".to_owned(),
        Pest::Label(_) => "LABEL".to_owned(),
        Pest::Env(_) => "ENV".to_owned(),
        Pest::Run(run) => format!("RUN {}", form(&run.expr)),
        Pest::Cmd(cmd) => format!("CMD {}", form(&cmd.expr)),
        Pest::Entrypoint(entrypoint) => format!("ENTRYPOINT {}", form(&entrypoint.expr)),
        Pest::Copy(copy) => {
            let mut flags = Flags::default();
            for flag in &copy.flags {
                flags.add(&flag.name.content, Some(&flag.value.content));
            }
            let sources: Vec<_> = copy.sources.iter().map(|source| &source.content).collect();
            format!("COPY {sources:?} to {:?}{}", copy.destination.content, flags.show())
        }
        Pest::Misc(misc) => misc.instruction.content.to_uppercase(),
    };
    line + "\n"
}
