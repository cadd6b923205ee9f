//! One stage after the other: the state that instructions change, and the graph that grows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use rbuild_cache::hash;
use rbuild_solver::op::{self, CopyItem, Op, Select, Source};
use rbuild_solver::{Edge, Graph, Vertex, VertexId, Work};

use super::plan::{Base, Plan, PlannedStage, Wanted};
use super::run;
use super::scope::Scope;
use super::{CONTEXT, Lowered, Request, ResolvedImage, Target};
use crate::dockerfile::{Diagnostic, Instruction, Span, Statement};
use crate::image::{self, DEFAULT_PATH, ImageConfig};
use crate::platform::Platform;

/// What the instructions of a stage have made so far.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The config of the image that the stage would be.
    pub(super) config: ImageConfig,
    /// Where each name stands in the environment of that image.
    pub(super) env_places: HashMap<String, usize>,
    /// The vertex of the root file system.
    pub(super) root: VertexId,
    /// What ENV and ARG have set.
    pub(super) scope: Scope,
    /// The ARGs in scope that RUN lists in its history line, in order.
    pub(super) arguments: Scope,
    /// Whether CMD stood in this stage.
    pub(super) command_set: bool,
    /// The platform of the stage.
    pub(super) platform: Platform,
    /// Whether the steps of this stage run again even when they are known.
    pub(super) fresh: bool,
}

impl State {
    /// Joins a path to the working directory, lexically, as WORKDIR and COPY do.
    pub(super) fn absolute(&self, path: &str) -> String {
        let base = if path.starts_with('/') { "" } else { self.config.config.working_dir.as_str() };
        clean(&format!("/{base}/{path}"))
    }

    /// The shell of shell-form instructions.
    pub(super) fn shell(&self) -> Vec<String> {
        match self.config.config.shell.as_slice() {
            [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            shell => shell.to_vec(),
        }
    }
}

/// Resolves `.` and `..` of an absolute path without looking at any file.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// How a step is told to people: `[stage 2/3] RUN apk add curl`.
pub(super) struct Counter {
    stage: String,
    /// Whether the name of the stage is shown, since there are several.
    several: bool,
    /// The platform of the stage, where it is shown, since the build is for several.
    platform: Option<Platform>,
    next: usize,
    total: usize,
}

impl Counter {
    /// The name of the next step; of what the variables in scope tell about the platform that the
    /// image is for, the name tells it too: equal steps have equal names.
    fn name(&mut self, text: &str, scope: &Scope) -> String {
        self.next += 1;
        let width = self.total.to_string().len();
        let stage = if self.several { format!("{} ", self.stage) } else { String::new() };
        let platform = self.platform.as_ref().map(|platform| way(platform, scope));
        let platform = platform.unwrap_or_default();
        format!("[{platform}{stage}{:>width$}/{}] {text}", self.next, self.total)
    }

    /// What stays the same when the instruction that was named last is edited.
    fn place(&self, request: &Request) -> String {
        let file = &request.name;
        if request.several_platforms {
            return format!("{file} {} {} {}", request.platform, self.stage, self.next);
        }
        format!("{file} {} {}", self.stage, self.next)
    }
}

/// The platform of a stage and, where the variables name another target, the way to it:
/// `linux/amd64->arm64 `.
fn way(platform: &Platform, scope: &Scope) -> String {
    let part = |name: &str| scope.get(name).filter(|value| !value.is_empty());
    let whole = part("TARGETPLATFORM").and_then(|text| crate::platform::parse(text).ok());
    let target = whole.unwrap_or_else(|| {
        let os = part("TARGETOS").unwrap_or(platform.os());
        let architecture = part("TARGETARCH").unwrap_or(platform.architecture());
        let variant = part("TARGETVARIANT")
            .or_else(|| platform.variant().filter(|_| architecture == platform.architecture()));
        Platform::new(os, architecture, variant)
    });
    if target.os() != platform.os() {
        return format!("{platform}->{target} ");
    }
    if target.architecture() == platform.architecture() {
        return format!("{platform} ");
    }
    let variant = target.variant().map_or_else(String::new, |variant| format!("/{variant}"));
    format!("{platform}->{}{variant} ", target.architecture())
}

/// One vertex to add, apart from what follows from the state.
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) inputs: Vec<Edge>,
    /// The instruction as people know it.
    pub(super) text: String,
    /// Where it stands.
    pub(super) span: Span,
}

/// The making of one graph.
pub(super) struct Lowering<'a> {
    pub(super) plan: &'a Plan,
    pub(super) request: &'a Request,
    resolved: &'a BTreeMap<Wanted, ResolvedImage>,
    pub(super) graph: Graph,
    pub(super) folders: BTreeMap<String, BTreeSet<String>>,
    images: Vec<(Wanted, String)>,
    spans: BTreeMap<String, Span>,
    sources: BTreeMap<String, VertexId>,
    /// The roots of the stages so far that are wanted.
    roots: Vec<Option<VertexId>>,
    /// Their states, as long as a later stage stands on them, and the target's.
    states: Vec<Option<State>>,
    /// How many wanted stages that are still to come stand on each stage.
    uses: Vec<usize>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        request: &'a Request,
        resolved: &'a BTreeMap<Wanted, ResolvedImage>,
    ) -> Self {
        Self {
            plan,
            request,
            resolved,
            graph: Graph::new(),
            folders: BTreeMap::new(),
            images: Vec::new(),
            spans: BTreeMap::new(),
            sources: BTreeMap::new(),
            roots: Vec::new(),
            states: Vec::new(),
            uses: uses(plan),
        }
    }

    pub(super) fn finish(mut self) -> Result<Lowered, Diagnostic> {
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let state = if stage.wanted { Some(self.stage(index, stage)?) } else { None };
            self.roots.push(state.as_ref().map(|state| state.root));
            self.states.push(state.filter(|_| self.uses[index] > 0));
        }
        let state = self.states[self.plan.target].take().expect("the target was marked as wanted");
        let mut config = state.config;
        if self.request.platform_chosen {
            config.claim(&self.request.platform);
        }
        config.normalize_platform();
        for (name, value) in &self.request.labels {
            config.config.labels.insert(name.clone(), value.clone());
        }
        let target = Target {
            root: state.root,
            platform: self.request.platform.clone(),
            config,
            epoch: self.request.epoch,
        };
        Ok(Lowered {
            graph: self.graph,
            targets: vec![target],
            folders: self.folders,
            images: self.images,
            spans: self.spans,
            warnings: Vec::new(),
            strict: false,
        })
    }

    fn stage(&mut self, index: usize, stage: &PlannedStage) -> Result<State, Diagnostic> {
        let is_step = |statement: &&Rc<Statement>| {
            use Instruction::{Add, Copy, Run, Workdir};
            matches!(statement.value, Run(_) | Copy(_) | Add(_) | Workdir(_))
        };
        let from_image = usize::from(matches!(stage.base, Base::Image(_)));
        let mut counter = Counter {
            stage: stage.name.clone(),
            several: self.plan.stages.len() > 1,
            platform: self.request.several_platforms.then(|| stage.platform.clone()),
            next: 0,
            total: stage.instructions.iter().filter(is_step).count() + from_image,
        };
        let mut state = self.base(stage, &mut counter)?;
        for (position, statement) in stage.instructions.iter().enumerate() {
            let prefix = if position < stage.triggers { "ONBUILD " } else { "" };
            let done = self.instruction(index, &mut state, statement, prefix, &mut counter);
            let foreign = position < stage.triggers && matches!(stage.base, Base::Image(_));
            let told = |error| {
                if foreign { Diagnostic { span: stage.from, ..error } } else { error }
            };
            done.map_err(told)?;
        }
        Ok(state)
    }

    /// The state in which the instructions of a stage begin.
    fn base(&mut self, stage: &PlannedStage, counter: &mut Counter) -> Result<State, Diagnostic> {
        let request = self.request;
        let fresh = request.no_cache
            || request.no_cache_filter.iter().any(|name| name.eq_ignore_ascii_case(&stage.name));
        if let Base::Stage(below) = &stage.base {
            let below = self.below(*below, stage.from)?;
            let mut state = State { command_set: false, fresh, ..below };
            state.config.config.on_build.clear();
            // What ENV has set counts again, even where an ARG of the base came after it.
            inherit(&mut state.scope, &state.config.config.env);
            state.platform = stage.platform.clone();
            return Ok(state);
        }
        let root = match &stage.base {
            Base::Folder(name) => self.folder_root(name, stage.from)?,
            base => self.source(base, stage.from)?,
        };
        let mut config = match &stage.base {
            Base::Image(wanted) => {
                let image = self.image(wanted, stage.from)?;
                let config = ImageConfig { created: None, ..image.config.clone() };
                let text = format!("FROM {}", image.reference);
                let step = counter.name(&text, &self.plan.global.beside());
                self.note_image(wanted, step);
                config
            }
            _ => ImageConfig::scratch(&stage.platform),
        };
        config.config.on_build.clear();
        if image::lookup(&config.config.env, "PATH").is_none() {
            image::set(&mut config.config.env, "PATH", DEFAULT_PATH);
        }
        let mut scope = self.plan.global.beside();
        inherit(&mut scope, &config.config.env);
        let env_places = image::places(&config.config.env);
        let platform = match &stage.base {
            Base::Image(_) => config.platform(),
            _ => stage.platform.clone(),
        };
        Ok(State {
            config,
            env_places,
            root,
            scope,
            arguments: self.plan.global.beside(),
            command_set: false,
            platform,
            fresh,
        })
    }

    /// The state at the end of an earlier stage: the last stage that stands on it takes it, so that
    /// a long chain of stages is not copied again and again.
    fn below(&mut self, index: usize, span: Span) -> Result<State, Diagnostic> {
        self.uses[index] -= 1;
        let state = if self.uses[index] == 0 {
            self.states[index].take()
        } else {
            let state = self.states[index].clone();
            let lines = state.iter().flat_map(|state| &state.config.history);
            let size = lines.map(|line| line.created_by.len() + size_of_val(line)).sum();
            let spent = self.plan.global.spend(size);
            spent.map_err(|error| Diagnostic::error(span, error.to_string()))?;
            state
        };
        Ok(state.expect("the base of a wanted stage is wanted"))
    }

    /// The layer of a stage that stands on a folder: all that is in it.
    fn folder_root(&mut self, name: &str, span: Span) -> Result<VertexId, Diagnostic> {
        let patterns = vec![".".to_owned()];
        self.folders.entry(name.to_owned()).or_default().extend(patterns.iter().cloned());
        let item = CopyItem::Path { input: 1, pattern: ".".to_owned(), unpack: false };
        let below = self.source(&Base::Scratch, span)?;
        let folder = self.source(&Base::Folder(name.to_owned()), span)?;
        let select = Select::Paths { patterns, exclude: Vec::new(), parents: false };
        let op = Op::Copy(op::Copy {
            items: vec![item],
            destination: "/".to_owned(),
            ..op::Copy::default()
        });
        Ok(self.join(op, vec![Edge::all(below), Edge::part(folder, select)]))
    }

    fn image(&self, wanted: &Wanted, span: Span) -> Result<&'a ResolvedImage, Diagnostic> {
        self.resolved.get(wanted).ok_or_else(|| {
            let message = format!("image `{}` was not resolved", wanted.reference);
            Diagnostic::error(span, message)
        })
    }

    /// Remembers under which name the first step that uses an image shows it.
    fn note_image(&mut self, wanted: &Wanted, step: String) {
        match self.images.iter_mut().find(|(known, _)| known == wanted) {
            Some((_, name)) if name.starts_with("FROM ") => *name = step,
            Some(_) => {}
            None => self.images.push((wanted.clone(), step)),
        }
    }

    /// The vertex of what a stage, a COPY or a mount reads from.
    pub(super) fn source(&mut self, base: &Base, span: Span) -> Result<VertexId, Diagnostic> {
        let source = match base {
            Base::Stage(below) => {
                return Ok(self.roots[*below].expect("what a wanted stage reads from is wanted"));
            }
            Base::Scratch => Source::Scratch,
            Base::Image(wanted) => {
                let reference = self.image(wanted, span)?.reference.clone();
                let step = format!("FROM {reference}");
                if !self.images.iter().any(|(known, _)| known == wanted) {
                    self.images.push((wanted.clone(), step));
                }
                Source::Image { reference, platform: wanted.platform.clone() }
            }
            Base::Folder(name) => {
                self.folders.entry(name.clone()).or_default();
                Source::Context { name: name.clone() }
            }
        };
        Ok(self.vertex(source))
    }

    /// The vertex of something that no vertex makes.
    pub(super) fn vertex(&mut self, source: Source) -> VertexId {
        let key = format!("{source:?}");
        if let Some(known) = self.sources.get(&key) {
            return *known;
        }
        let place = key.clone();
        let vertex = self.push(Vertex { place, ..Vertex::source(source, key.clone()) });
        self.sources.insert(key, vertex);
        vertex
    }

    /// The vertex of a source that is elsewhere; what goes wrong with it is shown at a span.
    pub(super) fn remote(&mut self, source: Source, span: Span) -> VertexId {
        self.spans.entry(format!("{source:?}")).or_insert(span);
        self.vertex(source)
    }

    /// The base of the build context.
    pub(super) fn context() -> Base {
        Base::Folder(CONTEXT.to_owned())
    }

    /// Adds the vertex of a step and makes it the root of the stage.
    pub(super) fn step(&mut self, state: &mut State, step: Step, counter: &mut Counter) {
        let text = run::shown(&step.op, &state.scope, &step.text);
        let name = counter.name(&text.replace('\n', " "), &state.scope);
        let place = counter.place(self.request);
        self.spans.insert(place.clone(), step.span);
        let mut digest = hash::Hasher::new("step");
        digest.str(&place).str(&text);
        let digest = digest.key();
        let mut vertex = Vertex::op(step.op, step.inputs, text);
        if let Work::Op { fresh, .. } = &mut vertex.work {
            *fresh = state.fresh;
        }
        state.root =
            self.push(Vertex { name, digest: format!("sha256:{digest}"), place, ..vertex });
    }

    /// Adds a vertex that stands for no instruction and is not shown.
    pub(super) fn join(&mut self, op: Op, inputs: Vec<Edge>) -> VertexId {
        self.push(Vertex { quiet: true, ..Vertex::op(op, inputs, "join layers") })
    }

    fn push(&mut self, vertex: Vertex) -> VertexId {
        self.graph.add(vertex).expect("the lowering adds inputs before what uses them")
    }

    fn instruction(
        &mut self,
        index: usize,
        state: &mut State,
        statement: &Statement,
        prefix: &str,
        counter: &mut Counter,
    ) -> Result<(), Diagnostic> {
        let text = format!("{prefix}{}", shown(&statement.text));
        match &statement.value {
            Instruction::Run(run) => {
                let step = self.run(index, state, run, statement, text)?;
                self.step(state, step, counter);
                Ok(())
            }
            Instruction::Copy(_) | Instruction::Add(_) => {
                self.copy(index, state, statement, &text, counter)
            }
            Instruction::Workdir(path) => {
                if let Some(step) = self.workdir(state, path, text, statement.span)? {
                    self.step(state, step, counter);
                }
                Ok(())
            }
            _ => self.metadata(state, statement),
        }
    }
}

/// How often the state of each stage is needed: by the stages on it, and as the result.
fn uses(plan: &Plan) -> Vec<usize> {
    let mut uses = vec![0; plan.stages.len()];
    for stage in plan.stages.iter().filter(|stage| stage.wanted) {
        if let Base::Stage(below) = stage.base {
            uses[below] += 1;
        }
    }
    if let Some(target) = uses.get_mut(plan.target) {
        *target += 1;
    }
    uses
}

/// Sets what an image's environment has.
fn inherit(scope: &mut Scope, env: &[String]) {
    for line in env {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        scope.set(name, value);
    }
}

/// An instruction with its keyword in upper case.
fn shown(text: &str) -> String {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    format!("{}{}", text[..end].to_uppercase(), &text[end..])
}
