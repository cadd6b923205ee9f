//! The tree and the diagnostics as text to read.

use std::fmt::Write;

use super::super::{
    Add, Check, Command, Copy, Diagnostic, Dockerfile, Healthcheck, Heredoc, Instruction, Kind,
    Run, RunCommand, Source, Span, Statement, Word, parse,
};

/// Prints what a file parses to.
pub(super) fn outcome(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match parse(bytes) {
        Ok(file) => Printer { text: &text, out: String::new() }.file(&file),
        Err(errors) => errors.iter().map(|error| diagnostic(&text, error)).collect(),
    }
}

fn diagnostic(text: &str, diagnostic: &Diagnostic) -> String {
    let kind = match diagnostic.kind {
        Kind::Error => "error",
        Kind::Lint(rule) => rule.name(),
    };
    let place = place(diagnostic.span);
    let quoted = text.get(diagnostic.span.start..diagnostic.span.end);
    let mut out = format!("{kind} {place}: {}\n", diagnostic.message);
    let _ = writeln!(out, "  at: {:?}", quoted.expect("a span ends at characters"));
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(out, "  hint: {hint}");
    }
    out
}

fn place(span: Span) -> String {
    format!("{}:{} to {}", span.lines.0, span.column, span.lines.1)
}

struct Printer<'t> {
    text: &'t str,
    out: String,
}

impl Printer<'_> {
    fn file(mut self, file: &Dockerfile) -> String {
        let directives = &file.directives;
        if let Some(syntax) = &directives.syntax {
            let _ = writeln!(self.out, "syntax {:?}", syntax.value);
        }
        if directives.escape != '\\' {
            let _ = writeln!(self.out, "escape {}", directives.escape);
        }
        if let Some(check) = &directives.check {
            let _ = writeln!(self.out, "{check:?}");
        }
        for arg in &file.args {
            let value = value(&Instruction::Arg(arg.value.clone()));
            self.statement("", arg, &value);
        }
        for stage in &file.stages {
            let from = &stage.from.value;
            let mut text = format!("from {}", self.word(&from.image));
            if let Some(platform) = &from.platform {
                let _ = write!(text, " platform {}", self.word(platform));
            }
            if let Some(name) = &from.name {
                let _ = write!(text, " name {name:?}");
            }
            self.statement("", &stage.from, &(text + "\n"));
            for statement in &stage.instructions {
                self.statement("  ", statement, &value(&statement.value));
            }
        }
        let check = Check::parse("experimental=all", Span::default()).expect("a check");
        for warning in &file.warnings_under(Some(&check)) {
            self.out.push_str(&diagnostic(self.text, warning));
        }
        self.out
    }

    /// A word, which must stand where its span says, unless it is joined from lines.
    fn word(&self, word: &Word) -> String {
        let written = self.text.get(word.span.start..word.span.end).expect("a span of characters");
        assert!(written.contains(&word.text), "{written:?} is not {:?}", word.text);
        format!("{:?}", word.text)
    }

    fn statement<T>(&mut self, indent: &str, statement: &Statement<T>, value: &str) {
        let text = &statement.text;
        let _ = writeln!(self.out, "{indent}{} {text:?}", place(statement.span));
        for comment in &statement.comments {
            let _ = writeln!(self.out, "{indent}  comment {comment:?}");
        }
        if let Some(check) = &statement.check {
            let _ = writeln!(self.out, "{indent}  skip {:?}", check.skip);
        }
        for line in value.lines() {
            let _ = writeln!(self.out, "{indent}  {line}");
        }
    }
}

/// Prints an instruction without its place.
pub(super) fn value(instruction: &Instruction) -> String {
    match instruction {
        Instruction::Add(add) => self::add(add),
        Instruction::Arg(args) => {
            let line = |arg: &super::super::Arg| match &arg.default {
                Some(default) => format!("arg {:?} = {:?}\n", arg.name.text, default.text),
                None => format!("arg {:?}\n", arg.name.text),
            };
            args.iter().map(line).collect()
        }
        Instruction::Cmd(command) => format!("cmd {}\n", self::command(command)),
        Instruction::Copy(copy) => self::copy(copy),
        Instruction::Entrypoint(command) => format!("entrypoint {}\n", self::command(command)),
        Instruction::Env(pairs) => self::pairs("env", pairs),
        Instruction::Expose(ports) => format!("expose {:?}\n", texts(ports)),
        Instruction::Healthcheck(check) => healthcheck(check),
        Instruction::Label(pairs) => self::pairs("label", pairs),
        Instruction::Maintainer(text) => format!("maintainer {text:?}\n"),
        Instruction::Onbuild(onbuild) => {
            format!("onbuild {:?}\n{}", onbuild.text, value(&onbuild.instruction.value))
        }
        Instruction::Run(run) => self::run(run),
        Instruction::Shell(words) => format!("shell {words:?}\n"),
        Instruction::Stopsignal(word) => format!("stopsignal {:?}\n", word.text),
        Instruction::User(word) => format!("user {:?}\n", word.text),
        Instruction::Volume(paths) => format!("volume {:?}\n", texts(paths)),
        Instruction::Workdir(word) => format!("workdir {:?}\n", word.text),
    }
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn pairs(kind: &str, pairs: &[(Word, Word)]) -> String {
    let line =
        |(name, value): &(Word, Word)| format!("{kind} {:?} = {:?}\n", name.text, value.text);
    pairs.iter().map(line).collect()
}

fn command(command: &Command) -> String {
    match command {
        Command::Shell(text) => format!("shell {text:?}"),
        Command::Exec(words) => format!("exec {words:?}"),
    }
}

fn healthcheck(check: &Healthcheck) -> String {
    let Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries } =
        check
    else {
        return "healthcheck none\n".to_owned();
    };
    let mut out = format!("healthcheck {}\n", self::command(command));
    let times = [
        ("interval", interval),
        ("timeout", timeout),
        ("start-period", start_period),
        ("start-interval", start_interval),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            let _ = writeln!(out, "  {name} {time:?}");
        }
    }
    if let Some(retries) = retries {
        let _ = writeln!(out, "  retries {retries}");
    }
    out
}

fn heredoc(heredoc: &Heredoc) -> String {
    let Heredoc { name, descriptor, expand, chomp, body, .. } = heredoc;
    format!("heredoc {name:?} fd {descriptor} expand {expand} chomp {chomp} {body:?}\n")
}

fn run(run: &Run) -> String {
    let mut out = match &run.command {
        RunCommand::Shell(text) => format!("run shell {text:?}\n"),
        RunCommand::Exec(words) => format!("run exec {words:?}\n"),
        RunCommand::Script { name, text } => format!("run script {name:?} {text:?}\n"),
    };
    for mount in &run.mounts {
        let _ = writeln!(out, "  mount {:?}", mount.options);
        let _ = match mount.resolve(|word| Ok(word.text.clone())) {
            Ok(mount) => writeln!(out, "    {mount:?}"),
            Err(error) => writeln!(out, "    {}", error.message),
        };
    }
    if let Some(network) = run.network {
        let _ = writeln!(out, "  network {network:?}");
    }
    if let Some(security) = run.security {
        let _ = writeln!(out, "  security {security:?}");
    }
    for device in &run.devices {
        let _ = writeln!(out, "  {device:?}");
    }
    out.extend(run.heredocs.iter().map(|doc| format!("  {}", heredoc(doc))));
    out
}

fn sources(kind: &str, sources: &[Source], destination: &Word) -> String {
    let mut out = format!("{kind} to {:?}\n", destination.text);
    for source in sources {
        match source {
            Source::Path(path) => {
                let _ = writeln!(out, "  path {:?}", path.text);
            }
            Source::Heredoc(doc) => {
                let _ = write!(out, "  {}", heredoc(doc));
            }
        }
    }
    out
}

fn flags(out: &mut String, flags: &[(&str, Option<&Word>)]) {
    for (name, word) in flags {
        if let Some(word) = word {
            let _ = writeln!(out, "  {name} {:?}", word.text);
        }
    }
}

fn copy(copy: &Copy) -> String {
    let mut out = sources("copy", &copy.sources, &copy.destination);
    let words = [
        ("from", copy.from.as_ref()),
        ("chown", copy.chown.as_ref()),
        ("chmod", copy.chmod.as_ref()),
    ];
    flags(&mut out, &words);
    if copy.link || copy.parents || !copy.exclude.is_empty() {
        let exclude = texts(&copy.exclude);
        let (link, parents) = (copy.link, copy.parents);
        let _ = writeln!(out, "  link {link} parents {parents} exclude {exclude:?}");
    }
    out
}

fn add(add: &Add) -> String {
    let mut out = sources("add", &add.sources, &add.destination);
    let words = [
        ("chown", add.chown.as_ref()),
        ("chmod", add.chmod.as_ref()),
        ("checksum", add.checksum.as_ref()),
    ];
    flags(&mut out, &words);
    let (link, git, unpack) = (add.link, add.keep_git_dir, add.unpack);
    if link || git.is_some() || unpack.is_some() || !add.exclude.is_empty() {
        let exclude = texts(&add.exclude);
        let _ = writeln!(out, "  link {link} git {git:?} unpack {unpack:?} exclude {exclude:?}");
    }
    out
}
