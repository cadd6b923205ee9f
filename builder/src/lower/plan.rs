//! Which stages a target needs, and which images they stand on: everything that must be resolved
//! before the graph can be made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::epoch::EPOCH;
use super::scope::{Scope, automatic};
use super::{Request, cycle};
use crate::dockerfile::{
    self, Diagnostic, Dockerfile, Instruction, Span, Spanned, Stage, Statement, Word,
};
use crate::image::ImageConfig;
use crate::platform::Platform;

/// An image to resolve: its reference as written, and the platform it is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    /// The reference: `alpine:3`.
    pub reference: String,
    /// The platform: `linux/amd64`.
    pub platform: String,
}

/// What a stage, a COPY or a mount stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// The empty tree.
    Scratch,
    /// An earlier stage, by its index.
    Stage(usize),
    /// An image.
    Image(Wanted),
    /// A folder of the caller, by its name.
    Folder(String),
}

/// One stage with its base and all that runs in it.
#[derive(Debug)]
pub(crate) struct PlannedStage {
    /// The name in progress and errors: given, or `stage-N`.
    pub(crate) name: String,
    /// What it stands on.
    pub(crate) base: Base,
    /// The platform of the stage.
    pub(crate) platform: Platform,
    /// The triggers of the base, then the instructions of the stage.
    pub(crate) instructions: Vec<Rc<Statement>>,
    /// How many of the instructions are triggers.
    pub(crate) triggers: usize,
    /// The span of its FROM.
    pub(crate) from: Span,
    /// Whether the target needs it.
    pub(crate) wanted: bool,
}

/// A Dockerfile whose stages know what they stand on.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The stages in the order of the file.
    pub(crate) stages: Vec<PlannedStage>,
    /// The index of the target.
    pub(crate) target: usize,
    /// The global arguments.
    pub(crate) global: Scope,
    /// The images that wanted stages use, and where each is named first.
    pub(crate) images: Vec<Spanned<Wanted>>,
    /// The stages of each name, in lower case, in the order of the file.
    names: HashMap<String, Vec<usize>>,
}

/// Makes the plan; the triggers of images count as far as their configs are known.
pub(crate) fn plan(
    file: &Dockerfile,
    request: &Request,
    known: &BTreeMap<Wanted, ImageConfig>,
) -> Result<Plan, Diagnostic> {
    let target = find_target(file, request.target.as_deref())?;
    let global = global_scope(file, request, target)?;
    let mut names: HashMap<_, Vec<_>> = HashMap::new();
    for (index, stage) in file.stages.iter().enumerate() {
        if let Some(name) = &stage.from.value.name {
            names.entry(name.clone()).or_default().push(index);
        }
    }
    let mut plan = Plan {
        stages: Vec::with_capacity(file.stages.len()),
        target,
        global,
        images: vec![],
        names,
    };
    for (index, stage) in file.stages.iter().enumerate() {
        let planned = plan.stage(index, stage, request, known)?;
        plan.stages.push(planned);
    }
    let wanted = if request.all_stages { 0..file.stages.len() } else { target..target + 1 };
    for index in wanted {
        plan.mark(index, request)?;
    }
    let mut seen = HashSet::new();
    plan.images.retain(|image| seen.insert(image.value.clone()));
    Ok(plan)
}

pub(super) fn find_target(file: &Dockerfile, wanted: Option<&str>) -> Result<usize, Diagnostic> {
    let last = file.stages.len().saturating_sub(1);
    let Some(wanted) = wanted.filter(|name| !name.is_empty()) else {
        return Ok(last);
    };
    let lower = wanted.to_lowercase();
    let by_name = |stage: &Stage| stage.from.value.name.as_deref() == Some(lower.as_str());
    if let Some(index) = file.stages.iter().rposition(by_name) {
        return Ok(index);
    }
    if let Ok(index) = wanted.parse::<usize>()
        && index < file.stages.len()
    {
        return Ok(index);
    }
    let names = file.stages.iter().filter_map(|stage| stage.from.value.name.as_deref());
    let span = file.stages.first().map(|stage| stage.from.span).unwrap_or_default();
    let message = format!("target stage `{wanted}` could not be found");
    Err(Diagnostic::error(span, message).hint(dockerfile::suggest(&lower, names)))
}

pub(super) fn global_scope(
    file: &Dockerfile,
    request: &Request,
    target: usize,
) -> Result<Scope, Diagnostic> {
    let stage_name = match (&request.target, file.stages.get(target)) {
        (Some(name), _) => name.clone(),
        (None, Some(Stage { from, .. })) => {
            from.value.name.clone().unwrap_or_else(|| "default".to_owned())
        }
        (None, None) => "default".to_owned(),
    };
    let mut scope = Scope::new(file.directives.escape);
    for (name, value) in automatic(&request.platform, &request.host, &stage_name) {
        scope.set(&name, request.argument(&name).unwrap_or(&value));
    }
    for statement in &file.args {
        scope.set_arguments(&statement.value, |name| request.argument(name))?;
    }
    // Once it is known, what it was to be taken from is no value any more.
    if let Some(seconds) = request.epoch.filter(|_| scope.get(EPOCH).is_some()) {
        scope.set(EPOCH, &seconds.to_string());
    }
    Ok(scope)
}

impl Plan {
    /// Finds what one stage stands on.
    fn stage(
        &self,
        index: usize,
        stage: &Stage,
        request: &Request,
        known: &BTreeMap<Wanted, ImageConfig>,
    ) -> Result<PlannedStage, Diagnostic> {
        let from = &stage.from.value;
        let span = stage.from.span;
        let platform = match &from.platform {
            Some(word) => Some(parse_platform(word, &self.global.expand(word)?)?),
            None => None,
        };
        let name = from.name.clone();
        let wanted = platform.as_ref().unwrap_or(&request.platform);
        let replacement = name.as_deref().and_then(|name| request.named(name, wanted));
        let base = match &replacement {
            Some(context) => context.base(wanted),
            None => self.base(index, &from.image, platform.as_ref(), request)?,
        };
        // What stands on a stage, or on nothing, has no choice of its own.
        let platform = match &base {
            Base::Stage(below) => self.stages[*below].platform.clone(),
            Base::Scratch => request.platform.clone(),
            _ => platform.unwrap_or_else(|| request.platform.clone()),
        };
        let mut instructions = Vec::new();
        let mut count = 0;
        // A named context takes the place of the whole stage.
        if replacement.is_none() {
            instructions = self.triggers(&base, known, span)?;
            count = instructions.len();
            instructions.extend(stage.instructions.iter().cloned().map(Rc::new));
        }
        Ok(PlannedStage {
            name: name.unwrap_or_else(|| format!("stage-{index}")),
            base,
            platform,
            instructions,
            triggers: count,
            from: span,
            wanted: false,
        })
    }

    fn base(
        &self,
        index: usize,
        word: &Word,
        platform: Option<&Platform>,
        request: &Request,
    ) -> Result<Base, Diagnostic> {
        let name = self.global.expand(word)?;
        if name.is_empty() {
            let message = format!("base name (`{}`) should not be blank", word.text);
            let hint = "give the variable a default with `ARG` before the first `FROM`";
            return Err(Diagnostic::error(word.span, message).hint(hint.to_owned()));
        }
        if let Some(earlier) = self.last(&name, index) {
            return Ok(Base::Stage(earlier));
        }
        let wanted = platform.unwrap_or(&request.platform);
        if let Some(context) = request.named(&name, wanted) {
            return Ok(context.base(wanted));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        Ok(Base::Image(Wanted { reference: name, platform: wanted.to_string() }))
    }

    /// The last stage before `end` whose name is exactly this; the names are in lower case.
    fn last(&self, name: &str, end: usize) -> Option<usize> {
        let stages = self.names.get(name)?;
        stages[..stages.partition_point(|&stage| stage < end)].last().copied()
    }

    /// The last stage of a name, however it is written.
    pub(super) fn stage_named(&self, name: &str) -> Option<usize> {
        self.last(&name.to_lowercase(), usize::MAX)
    }

    /// The instructions that a base wants to run in whatever stands on it.
    fn triggers(
        &self,
        base: &Base,
        known: &BTreeMap<Wanted, ImageConfig>,
        span: Span,
    ) -> Result<Vec<Rc<Statement>>, Diagnostic> {
        match base {
            Base::Stage(below) => {
                let inner = |statement: &Rc<Statement>| match &statement.value {
                    Instruction::Onbuild(trigger) => Some(Rc::new((*trigger.instruction).clone())),
                    _ => None,
                };
                let triggers: Vec<_> =
                    self.stages[*below].instructions.iter().filter_map(inner).collect();
                let size = |trigger: &Rc<Statement>| trigger.text.len() + size_of::<Statement>();
                let spent = self.global.spend(triggers.iter().map(size).sum());
                spent.map_err(|error| Diagnostic::error(span, error.to_string()))?;
                Ok(triggers)
            }
            Base::Image(wanted) => {
                let texts = known.get(wanted).map(|config| config.config.on_build.as_slice());
                texts.unwrap_or_default().iter().map(|text| parse_trigger(text, span)).collect()
            }
            Base::Scratch | Base::Folder(_) => Ok(Vec::new()),
        }
    }

    /// What the name in a `--from` or `from=` means in a stage.
    ///
    /// A number is a stage only for COPY (`numbers`); for a mount it is an image's name.
    pub(crate) fn from(
        &self,
        index: usize,
        name: &str,
        numbers: bool,
        span: Span,
        request: &Request,
    ) -> Result<Base, Diagnostic> {
        if let Ok(number) = name.parse::<usize>()
            && numbers
        {
            return if number < index {
                Ok(Base::Stage(number))
            } else {
                let message = format!("invalid stage index {number}: only earlier stages count");
                Err(Diagnostic::error(span, message))
            };
        }
        // Of several stages with the name, the last one counts, even where it comes too late.
        let stage = self.stage_named(name);
        if let Some(earlier) = stage.filter(|stage| *stage < index) {
            return Ok(Base::Stage(earlier));
        }
        if let Some(context) = request.named(name, &request.platform) {
            return Ok(context.base(&request.platform));
        }
        if let Some(later) = stage {
            if let Some(error) = cycle::error(self, index, later, span) {
                return Err(error);
            }
            let message =
                format!("stage `{name}` needs to be defined before the stage that uses it");
            let hint = format!("move `FROM … AS {name}` up");
            return Err(Diagnostic::error(span, message).hint(hint));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        // Not that of the stage, which may be the one that builds.
        let platform = request.platform.to_string();
        Ok(Base::Image(Wanted { reference: name.to_owned(), platform }))
    }

    /// Marks a stage, and everything beneath it, as wanted, and collects the images.
    fn mark(&mut self, target: usize, request: &Request) -> Result<(), Diagnostic> {
        let mut pending = vec![target];
        while let Some(index) = pending.pop() {
            if std::mem::replace(&mut self.stages[index].wanted, true) {
                continue;
            }
            let stage = &self.stages[index];
            let mut bases = vec![(stage.base.clone(), stage.from)];
            for statement in self.stages[index].instructions.clone() {
                for (name, numbers) in sources(&statement.value) {
                    let base = self.from(index, &name, numbers, statement.span, request)?;
                    bases.push((base, statement.span));
                }
            }
            for (base, span) in bases {
                match base {
                    Base::Stage(below) => pending.push(below),
                    Base::Image(value) => self.images.push(Spanned { value, span }),
                    Base::Scratch | Base::Folder(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// The names of other stages and images that an instruction reads from, and whether a number
/// among them is a stage.
pub(super) fn sources(instruction: &Instruction) -> Vec<(String, bool)> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().map(|word| (word.text.clone(), true)).collect(),
        Instruction::Run(run) => {
            run.mounts.iter().filter_map(|mount| Some((mount.from()?.to_owned(), false))).collect()
        }
        _ => Vec::new(),
    }
}

fn parse_trigger(text: &str, span: Span) -> Result<Rc<Statement>, Diagnostic> {
    let trigger = dockerfile::parse_instruction(text).map_err(|errors| {
        let reason = errors.first().map(|error| error.message.clone()).unwrap_or_default();
        Diagnostic::error(span, format!("the base image's trigger `{text}` is invalid: {reason}"))
    })?;
    // Its text stands in no file: FROM is what brings it in.
    Ok(Rc::new(Statement { span, ..trigger }))
}

fn parse_platform(word: &Word, text: &str) -> Result<Platform, Diagnostic> {
    crate::platform::parse(text)
        .map_err(|error| Diagnostic::error(word.span, format!("failed to parse platform: {error}")))
}
