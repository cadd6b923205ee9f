//! The lint rules that need no more than the text.

use std::collections::HashMap;

use super::diagnostic::Diagnostic;
use super::directive::Check;
use super::lint::Rule;
use super::port::read;
use super::span::Span;
use super::tree::{Arg, Command, Dockerfile, From, Instruction, Stage, Statement, Word};

/// Finds what the rules have to say. The file's own `# check=` is not asked, those above
/// instructions are.
pub(super) fn find(file: &Dockerfile) -> Vec<Diagnostic> {
    let mut findings = Findings(Vec::new());
    findings.casing(file);
    for statement in &file.args {
        findings.args(statement, &statement.value);
    }
    let mut before: Before = HashMap::new();
    for stage in &file.stages {
        findings.from(&stage.from, &before);
        findings.instructions(stage);
        let base = before.get(stage.from.value.image.text.to_lowercase().as_str());
        let inherited = base.is_some_and(|(_, shell)| *shell);
        let shell = inherited || findings.shell_form(stage);
        if let Some(name) = &stage.from.value.name {
            before.insert(name, (stage.from.span.lines.0, shell));
        }
        findings.repeated(stage);
    }
    findings.0
}

impl Dockerfile {
    /// Returns the warnings that a check leaves: the file's own, or one given in its place.
    pub fn warnings_under(&self, check: Option<&Check>) -> Vec<Diagnostic> {
        let applies = |warning: &&Diagnostic| match warning.kind {
            super::Kind::Lint(rule) => Check::applies(check, rule),
            super::Kind::Error => true,
        };
        self.warnings.iter().filter(applies).cloned().collect()
    }
}

/// The stages so far by name: the line, and whether a `SHELL` is set at the end.
type Before<'f> = HashMap<&'f str, (usize, bool)>;

struct Findings(Vec<Diagnostic>);

impl Findings {
    fn add<T>(&mut self, rule: Rule, statement: &Statement<T>, span: Span, message: String) {
        let skipped = statement.check.as_ref().is_some_and(|check| check.skip.contains(rule));
        if !skipped {
            self.0.push(Diagnostic::lint(rule, span, message));
        }
    }

    /// Keywords in one case, by the majority of the file.
    fn casing(&mut self, file: &Dockerfile) {
        let mut keywords = Vec::new();
        for arg in &file.args {
            keywords.push((keyword(arg), arg.span, arg.check.as_ref()));
        }
        for stage in &file.stages {
            keywords.push((keyword(&stage.from), stage.from.span, stage.from.check.as_ref()));
            let rest = stage.instructions.iter();
            keywords.extend(rest.map(|s| (keyword(s), s.span, s.check.as_ref())));
        }
        let is_lower = |word: &str| !word.contains(|c: char| c.is_ascii_uppercase());
        let is_upper = |word: &str| !word.contains(|c: char| c.is_ascii_lowercase());
        let lower = keywords.iter().filter(|(word, ..)| is_lower(word)).count();
        let upper = keywords.iter().filter(|(word, ..)| is_upper(word)).count();
        let (wanted, matches): (_, &dyn Fn(&str) -> bool) =
            if lower > upper { ("lower", &is_lower) } else { ("upper", &is_upper) };
        let rule = Rule::ConsistentInstructionCasing;
        for (word, span, check) in keywords {
            let skipped = check.is_some_and(|check| check.skip.contains(rule));
            if !matches(word) && !skipped {
                let message = format!("`{word}` is not in the {wanted} case of the rest");
                let end = span.start + word.len();
                let span = Span { end, lines: (span.lines.0, span.lines.0), ..span };
                self.0.push(Diagnostic::lint(rule, span, message));
            }
        }
    }

    fn from(&mut self, statement: &Statement<From>, before: &Before) {
        let from = &statement.value;
        if let Some(name) = &from.name {
            self.stage_name(statement, name, before);
        }
        if let Some(platform) = &from.platform {
            self.platform(statement, platform);
        }
        self.description(statement, from.name.as_deref());
    }

    fn stage_name(&mut self, statement: &Statement<From>, name: &str, before: &Before) {
        let span = statement.span;
        let mut words = statement.text.split_whitespace().rev();
        let (written, keyword_as) = (words.next().unwrap_or(name), words.next().unwrap_or("AS"));
        if written != name {
            let message = format!("the stage name `{written}` should be in lower case");
            self.add(Rule::StageNameCasing, statement, span, message);
        }
        let keyword = keyword(statement);
        let upper = keyword == keyword.to_ascii_uppercase();
        let lower = keyword == keyword.to_ascii_lowercase();
        if (upper && keyword_as != "AS") || (lower && keyword_as != "as") {
            let message = format!("`{keyword_as}` and `{keyword}` are not in the same case");
            self.add(Rule::FromAsCasing, statement, span, message);
        }
        if matches!(name, "scratch" | "context") {
            let message = format!("the stage name `{name}` is reserved");
            self.add(Rule::ReservedStageName, statement, span, message);
        }
        if let Some((line, _)) = before.get(name) {
            let message = format!("a stage of line {line} is named `{name}` too");
            self.add(Rule::DuplicateStageName, statement, span, message);
        }
    }

    fn platform(&mut self, statement: &Statement<From>, platform: &Word) {
        let text = platform.text.as_str();
        if matches!(text, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let message = format!("`--platform={text}` is what holds anyway");
            self.add(Rule::RedundantTargetPlatform, statement, platform.span, message);
        }
        let name = statement.value.name.as_deref().unwrap_or_default();
        let named = text.split('/').take(2).any(|part| !part.is_empty() && name.contains(part));
        if !text.contains('$') && !named {
            let message = format!("`--platform={text}` builds for one platform only");
            let rule = Rule::FromPlatformFlagConstDisallowed;
            self.add(rule, statement, platform.span, message);
        }
    }

    fn description<T>(&mut self, statement: &Statement<T>, name: Option<&str>) {
        let (Some(name), Some(first)) = (name, statement.comments.first()) else {
            return;
        };
        if !statement.comments.iter().any(|line| line.split_whitespace().next() == Some(name)) {
            let message = format!("the comment `{first}` does not start with `{name}`");
            self.add(Rule::InvalidDefinitionDescription, statement, statement.span, message);
        }
    }

    fn args<T>(&mut self, statement: &Statement<T>, args: &[Arg]) {
        if let [arg] = args {
            self.description(statement, Some(&arg.name.text));
        }
        for arg in args {
            self.secret("ARG", statement, &arg.name);
        }
    }

    fn secret<T>(&mut self, keyword: &str, statement: &Statement<T>, name: &Word) {
        if is_secret(&name.text) {
            let message = format!("{keyword} `{}` looks like a secret", name.text);
            self.add(Rule::SecretsUsedInArgOrEnv, statement, name.span, message);
        }
    }

    fn instructions(&mut self, stage: &Stage) {
        for statement in &stage.instructions {
            match &statement.value {
                Instruction::Arg(args) => self.args(statement, args),
                Instruction::Env(pairs) => {
                    for (name, _) in pairs {
                        self.secret("ENV", statement, name);
                    }
                }
                Instruction::Expose(ports) => {
                    for port in ports {
                        self.port(statement, port);
                    }
                }
                Instruction::Maintainer(_) => {
                    let message = "use a label in place of MAINTAINER: \
                                   `LABEL org.opencontainers.image.authors=...`";
                    let rule = Rule::MaintainerDeprecated;
                    self.add(rule, statement, statement.span, message.to_owned());
                }
                _ => {}
            }
        }
    }

    fn port(&mut self, statement: &Statement, port: &Word) {
        let Ok(ports) = read(&port.text) else {
            return;
        };
        if !ports.lower_case {
            let message = format!("the protocol of `{}` should be in lower case", port.text);
            self.add(Rule::ExposeProtoCasing, statement, port.span, message);
        }
        if ports.published {
            let message = format!("`{}` names an address or a port of the host", port.text);
            self.add(Rule::ExposeInvalidFormat, statement, port.span, message);
        }
    }

    /// Commands in shell form before any `SHELL`; tells whether there is one.
    fn shell_form(&mut self, stage: &Stage) -> bool {
        for statement in &stage.instructions {
            let (keyword, text) = match &statement.value {
                Instruction::Shell(_) => return true,
                Instruction::Cmd(Command::Shell(text)) => ("CMD", text),
                Instruction::Entrypoint(Command::Shell(text)) => ("ENTRYPOINT", text),
                _ => continue,
            };
            let message = if text.starts_with('[') {
                format!("{keyword} starts with `[` but is no JSON, which has double quotes only")
            } else {
                format!("{keyword} in shell form keeps signals from the program")
            };
            self.add(Rule::JSONArgsRecommended, statement, statement.span, message);
        }
        false
    }

    /// Instructions of which only the last counts; the finding is about those that are lost.
    fn repeated(&mut self, stage: &Stage) {
        let mut last: [Option<&Statement>; 3] = [None; 3];
        for statement in &stage.instructions {
            let (place, keyword) = match &statement.value {
                Instruction::Cmd(_) => (0, "CMD"),
                Instruction::Entrypoint(_) => (1, "ENTRYPOINT"),
                Instruction::Healthcheck(_) => (2, "HEALTHCHECK"),
                _ => continue,
            };
            if let Some(lost) = last[place].replace(statement) {
                let line = statement.span.lines.0;
                let message = format!("{keyword} is lost: line {line} has another one");
                self.add(Rule::MultipleInstructionsDisallowed, lost, lost.span, message);
            }
        }
    }
}

fn keyword<T>(statement: &Statement<T>) -> &str {
    statement.text.split_whitespace().next().unwrap_or_default()
}

/// Words that secrets are named by, and words that say it is none.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
const PUBLIC: [&str; 3] = ["public", "file", "version"];

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let any = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    any(&SECRET) && !any(&PUBLIC)
}
