//! The rules about what stages do: a walk over those that are built, with the variables, the shell
//! and the rest that each instruction finds.

use std::collections::{BTreeMap, HashSet};

use super::{Asked, Near, ask};
use crate::dockerfile::{
    Arg, Command, Diagnostic, Dockerfile, Instruction, Rule, Run, Span, Statement, Word, port,
};
use crate::image::{ContainerConfig, DEFAULT_PATH};
use crate::lower::outline::Argument;
use crate::lower::plan::{Base, Plan, Wanted, sources};
use crate::lower::scope::Scope;
use crate::lower::{Request, ResolvedImage};
use crate::platform;

/// Finds what the rules have to say, stage by stage.
pub(super) fn find(
    file: &Dockerfile,
    plan: &Plan,
    request: &Request,
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> Vec<Diagnostic> {
    Walk::over(file, plan, request, resolved).found
}

/// An ARG of a stage.
#[derive(Debug, Clone)]
pub(in crate::lower) struct Declared {
    /// Its name and value.
    pub(in crate::lower) argument: Argument,
    /// Whether the value is that of an ARG above the first FROM.
    pub(in crate::lower) inherited: bool,
}

/// Returns the ARGs of each stage that is built.
pub(in crate::lower) fn declared(
    file: &Dockerfile,
    plan: &Plan,
    request: &Request,
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> Vec<Vec<Declared>> {
    Walk::over(file, plan, request, resolved).declared
}

/// What the instructions of a stage have set so far.
#[derive(Clone, Default)]
pub(super) struct State {
    /// What ENV and ARG have set.
    pub(super) scope: Scope,
    /// What ENV alone has set, which counts again in a stage above.
    env: Scope,
    /// The names of ARG, with and without values.
    declared: HashSet<String>,
    /// Whether the base image is known: if not, its variables are not either.
    known: bool,
    /// Whether the base image or SHELL has set a shell.
    shell: bool,
    /// Whether a WORKDIR stood in the file.
    workdir: bool,
    /// The last CMD, ENTRYPOINT and HEALTHCHECK of the stage itself.
    last: [Option<Span>; 3],
}

pub(super) struct Walk<'a> {
    file: &'a Dockerfile,
    plan: &'a Plan,
    pub(super) request: &'a Request,
    resolved: &'a BTreeMap<Wanted, ResolvedImage>,
    /// The states at the end of stages that others still stand on.
    done: Vec<Option<State>>,
    /// How many stages to come stand on each.
    pending: Vec<usize>,
    declared: Vec<Vec<Declared>>,
    near: Near,
    found: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    /// Walks over all stages.
    fn over(
        file: &'a Dockerfile,
        plan: &'a Plan,
        request: &'a Request,
        resolved: &'a BTreeMap<Wanted, ResolvedImage>,
    ) -> Self {
        let mut pending = vec![0; plan.stages.len()];
        for stage in plan.stages.iter().filter(|stage| stage.wanted) {
            if let Base::Stage(below) = stage.base {
                pending[below] += 1;
            }
        }
        let (done, declared, found) = (Vec::new(), Vec::new(), Vec::new());
        let near = Near::new();
        let mut walk = Self { file, plan, request, resolved, done, pending, declared, near, found };
        for (index, stage) in plan.stages.iter().enumerate() {
            walk.declared.push(Vec::new());
            let state = stage.wanted.then(|| walk.stage(index));
            walk.done.push(state.filter(|_| walk.pending[index] > 0));
        }
        walk
    }

    pub(super) fn add(&mut self, rule: Rule, at: Span, message: String) {
        self.found.push(Diagnostic::lint(rule, at, message));
    }

    fn stage(&mut self, index: usize) -> State {
        let planned = &self.plan.stages[index];
        let mut state = self.base(index);
        for (position, statement) in planned.instructions.iter().enumerate() {
            // A trigger stands in another stage or image: FROM is what makes it run.
            let at = if position < planned.triggers { planned.from } else { statement.span };
            if position < planned.triggers && is_legacy(statement) {
                let message = format!("write `=` in place of the blank in `{}`", statement.text);
                self.add(Rule::LegacyKeyValueFormat, at, message);
            }
            self.instruction(&mut state, statement, at);
            for (name, numbers) in sources(&statement.value) {
                let base = self.plan.from(index, &name, numbers, at, self.request);
                if let Ok(Base::Image(wanted)) = base {
                    self.base_platform(&wanted, &name, at);
                }
            }
        }
        state
    }

    /// The state in which the instructions of a stage begin.
    fn base(&mut self, index: usize) -> State {
        let planned = &self.plan.stages[index];
        if let Base::Stage(below) = planned.base {
            let mut state = State { last: [None; 3], ..self.end_of(below) };
            for (name, value) in state.env.variables() {
                state.scope.set(name, value);
            }
            return state;
        }
        let config = match &planned.base {
            Base::Image(wanted) => {
                let from = &self.file.stages[index].from.value;
                let name = self.plan.global.expand(&from.image).unwrap_or_default();
                self.base_platform(wanted, &name, planned.from);
                self.resolved.get(wanted).map(|image| image.config.config.clone())
            }
            _ => Some(ContainerConfig::default()),
        };
        let mut state = State {
            scope: self.plan.global.beside(),
            env: Scope::default(),
            declared: HashSet::new(),
            known: config.is_some(),
            shell: config.as_ref().is_some_and(|config| !config.shell.is_empty()),
            workdir: false,
            last: [None; 3],
        };
        state.scope.set("PATH", DEFAULT_PATH);
        for line in config.unwrap_or_default().env {
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            state.set_env(name, value);
        }
        state
    }

    /// The state at the end of a stage; the last one that stands on it takes it.
    fn end_of(&mut self, stage: usize) -> State {
        self.pending[stage] -= 1;
        if self.pending[stage] == 0 {
            return self.done[stage].take().expect("the base of a wanted stage is wanted");
        }
        let state = self.done[stage].as_ref().expect("the base of a wanted stage is wanted");
        if state.scope.spend_copy().is_ok() {
            state.clone()
        } else {
            // The build is refused for the same reason.
            State { scope: self.plan.global.beside(), known: false, ..State::default() }
        }
    }

    /// An image is of the platform that it is wanted for. One that stands for another name was
    /// chosen by the caller.
    fn base_platform(&mut self, wanted: &Wanted, name: &str, at: Span) {
        let Some(image) = self.resolved.get(wanted).filter(|_| wanted.reference == name) else {
            return;
        };
        let (Ok(expected), actual) = (platform::parse(&wanted.platform), image.config.platform())
        else {
            return;
        };
        let same = expected.os() == actual.os() && expected.architecture() == actual.architecture();
        if !same && !image.config.rootfs.diff_ids.is_empty() {
            let message = format!("`{name}` is an image for {actual}, where {expected} is wanted");
            self.add(Rule::InvalidBaseImagePlatform, at, message);
        }
    }

    fn instruction(&mut self, state: &mut State, statement: &Statement, at: Span) {
        match &statement.value {
            Instruction::Arg(arguments) => self.arg(state, arguments, &statement.comments, at),
            Instruction::Env(pairs) => {
                let pairs = self.pairs(state, pairs, at);
                for (name, value) in pairs {
                    self.secret("ENV", &name, at);
                    state.set_env(&name, &value);
                }
            }
            Instruction::Label(pairs) => drop(self.pairs(state, pairs, at)),
            Instruction::Copy(copy) => self.copy(state, copy, at),
            Instruction::Add(add) => self.add_files(state, add, at),
            Instruction::Run(run) => self.run(state, run, at),
            Instruction::Workdir(path) => {
                let path = self.expand(state, path, at);
                if !state.workdir && !path.starts_with('/') {
                    let message =
                        format!("`{path}` is below whatever directory the base image has set");
                    self.add(Rule::WorkdirRelativePath, at, message);
                }
                state.workdir = true;
            }
            Instruction::User(word) | Instruction::Stopsignal(word) => {
                self.expand(state, word, at);
            }
            Instruction::Volume(words) => {
                for word in words {
                    self.expand(state, word, at);
                }
            }
            Instruction::Expose(words) => self.expose(state, words, at),
            Instruction::Cmd(command) => {
                self.once(state, 0, "CMD", at);
                self.shell_form(state, "CMD", command, at);
            }
            Instruction::Entrypoint(command) => {
                self.once(state, 1, "ENTRYPOINT", at);
                self.shell_form(state, "ENTRYPOINT", command, at);
            }
            Instruction::Healthcheck(_) => self.once(state, 2, "HEALTHCHECK", at),
            Instruction::Shell(_) => state.shell = true,
            Instruction::Maintainer(_) | Instruction::Onbuild(_) => {}
        }
    }

    /// Expands a word, and tells of names that nothing has set or declared.
    pub(super) fn expand(&mut self, state: &State, word: &Word, at: Span) -> String {
        let asked = ask(&state.scope, &word.text);
        self.undefined(state, asked, at).unwrap_or_else(|| word.text.clone())
    }

    pub(super) fn undefined(&mut self, state: &State, asked: Asked, at: Span) -> Option<String> {
        for name in asked.unknown.iter().filter(|_| state.known) {
            if !state.declared.contains(name) && !FOR_SCANS.contains(&name.as_str()) {
                let names = state.scope.variables().iter().map(|(name, _)| name.as_str());
                let hint = if self.plan.global.get(name).is_some() {
                    format!(" (`ARG {name}` in this stage takes the global value)")
                } else {
                    self.near.hint("$", name, names)
                };
                let message = format!("nothing defines `${name}` before this{hint}");
                self.add(Rule::UndefinedVar, at, message);
            }
        }
        asked.value
    }

    fn pairs(&mut self, state: &State, pairs: &[(Word, Word)], at: Span) -> Vec<(String, String)> {
        let mut pair = |(name, value): &(Word, Word)| {
            (self.expand(state, name, at), self.expand(state, value, at))
        };
        pairs.iter().map(&mut pair).collect()
    }

    fn arg(&mut self, state: &mut State, arguments: &[Arg], comments: &[String], at: Span) {
        for argument in arguments {
            let name = argument.name.text.as_str();
            self.secret("ARG", name, at);
            let value = match (self.request.argument(name), &argument.default) {
                (Some(value), _) => Some(value.to_owned()),
                (None, Some(default)) => Some(self.expand(state, default, at)),
                (None, None) => self.plan.global.get(name).map(str::to_owned),
            };
            if let Some(value) = &value {
                state.scope.set(name, value);
            }
            state.declared.insert(name.to_owned());
            let given = argument.default.is_some() || self.request.argument(name).is_some();
            let argument = Argument {
                name: name.to_owned(),
                comments: comments.to_vec(),
                value: value.clone().unwrap_or_default(),
                span: at,
            };
            let inherited = !given && value.is_some();
            self.declared
                .last_mut()
                .expect("a stage is begun")
                .push(Declared { argument, inherited });
        }
    }

    fn secret(&mut self, keyword: &str, name: &str, at: Span) {
        if is_secret(name) {
            let message = format!("{keyword} `{name}` looks like a secret");
            self.add(Rule::SecretsUsedInArgOrEnv, at, message);
        }
    }

    fn run(&mut self, state: &State, run: &Run, at: Span) {
        for mount in &run.mounts {
            // What is wrong with the options is an error of the build.
            let _ = mount.resolve(|word| Ok(self.expand(state, word, at)));
        }
    }

    fn expose(&mut self, state: &State, words: &[Word], at: Span) {
        for word in words {
            for text in state.scope.expand_words(word).unwrap_or_default() {
                let Ok(ports) = port::read(&text) else {
                    continue;
                };
                if !ports.lower_case {
                    let message = format!("the protocol of `{text}` should be in lower case");
                    self.add(Rule::ExposeProtoCasing, at, message);
                }
                if ports.published {
                    let message = format!("`{text}` names an address or a port of the host");
                    self.add(Rule::ExposeInvalidFormat, at, message);
                }
            }
        }
    }

    /// Of some instructions only the last one counts; the finding is about those that are lost.
    fn once(&mut self, state: &mut State, place: usize, keyword: &str, at: Span) {
        if let Some(lost) = state.last[place].replace(at) {
            let message = format!("{keyword} is lost: line {} has another one", at.lines.0);
            self.add(Rule::MultipleInstructionsDisallowed, lost, message);
        }
    }

    /// The shell keeps signals from the program, unless somebody chose it.
    fn shell_form(&mut self, state: &State, keyword: &str, command: &Command, at: Span) {
        let Command::Shell(text) = command else {
            return;
        };
        if state.shell || !state.known {
            return;
        }
        let message = if text.starts_with('[') {
            format!("{keyword} starts with `[` but is no JSON, which has double quotes only")
        } else {
            format!("{keyword} in shell form keeps signals from the program")
        };
        self.add(Rule::JSONArgsRecommended, at, message);
    }
}

impl State {
    fn set_env(&mut self, name: &str, value: &str) {
        self.scope.set(name, value);
        self.env.set(name, value);
    }
}

/// Whether a blank stands between a key and its value. The parser tells this of instructions of the
/// file, but knows no triggers.
fn is_legacy(statement: &Statement) -> bool {
    let mut words = statement.text.split_whitespace().skip(1);
    matches!(statement.value, Instruction::Env(_) | Instruction::Label(_))
        && words.next().is_some_and(|key| !key.contains('='))
}

/// Arguments that no instruction need declare: they speak to the builder.
const FOR_SCANS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

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
