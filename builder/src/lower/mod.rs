//! From the tree of a Dockerfile to the graph of its build: pure, so that it can be tested as text.
//!
//! [`wanted_images`] says which images must be resolved first; [`lower`] then makes the graph and
//! the config of the image.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_solver::{Graph, VertexId};

use crate::context::ignore::Ignore;
use crate::dockerfile::{Check, Diagnostic, Dockerfile, Span, Spanned};
use crate::image::ImageConfig;
use crate::platform::{self, Platform};

mod config;
mod copy;
mod cycle;
mod epoch;
mod history;
mod join;
mod lint;
mod outline;
mod plan;
mod remote;
mod run;
mod scope;
mod stage;

#[cfg(test)]
mod tests;

pub(crate) use epoch::EPOCH;
pub use epoch::{Epoch, epoch};
pub use join::join;
pub use outline::Argument;
use plan::Base;
pub use plan::Wanted;

/// The build context's name among the folders of a build.
pub const CONTEXT: &str = "context";

/// What parts the name of a context from the platform that it is for: `alpine::linux/arm64`.
const PLATFORM_MARK: &str = "::";

/// What the caller asks of a build, as far as the graph depends on it.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that a caller may want or not"
)]
pub struct Request {
    /// The name of the Dockerfile, to tell its steps from those of others.
    pub name: String,
    /// The stage to build; the last one when there is none.
    pub target: Option<String>,
    /// The platform to build for.
    pub platform: Platform,
    /// Whether the caller chose the platform: the image then says so, whatever its base is.
    pub platform_chosen: bool,
    /// Whether the same is built for other platforms too: the steps then tell theirs.
    pub several_platforms: bool,
    /// The platform that builds.
    pub host: Platform,
    /// `--build-arg`, with values.
    pub arguments: BTreeMap<String, String>,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// The network of RUN where the instruction names none.
    pub network: rbuild_solver::op::Network,
    /// The host name that RUN sees.
    pub hostname: String,
    /// Whether every step runs again.
    pub no_cache: bool,
    /// The stages whose steps run again.
    pub no_cache_filter: Vec<String>,
    /// Lines for /etc/hosts: (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// The size of /dev/shm in bytes; 0 is the default.
    pub shm_size: u64,
    /// Resource limits: (name, soft, hard).
    pub ulimits: Vec<(String, u64, u64)>,
    /// Whether `RUN --security=insecure` is allowed.
    pub insecure: bool,
    /// Whether `RUN --network=host` is allowed.
    pub host_network: bool,
    /// The time that whatever the build makes has, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<i64>,
    /// Whether every stage is built, not only what the target needs.
    pub all_stages: bool,
    /// What is checked, in place of what the Dockerfile says in `# check=`.
    pub check: Option<Check>,
    /// The ignore file of the build context, with its name.
    pub ignore: Option<(String, Ignore)>,
}

impl Request {
    /// A build of the last stage, for the platform of this program.
    pub fn new() -> Self {
        Self {
            name: String::new(),
            target: None,
            platform: platform::host(),
            platform_chosen: false,
            several_platforms: false,
            host: platform::host(),
            arguments: BTreeMap::new(),
            labels: Vec::new(),
            contexts: BTreeMap::new(),
            network: rbuild_solver::op::Network::Default,
            hostname: "buildkitsandbox".to_owned(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            extra_hosts: Vec::new(),
            shm_size: 0,
            ulimits: Vec::new(),
            insecure: false,
            host_network: true,
            epoch: None,
            all_stages: false,
            check: None,
            ignore: None,
        }
    }

    fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.get(name).map(String::as_str)
    }

    /// The context of a name, which may be any spelling of an image's name; one that is for the
    /// platform alone counts before one for all.
    fn named(&self, name: &str, platform: &Platform) -> Option<Named<'_>> {
        let reserved = ["scratch", CONTEXT].iter().any(|word| word.eq_ignore_ascii_case(name));
        if reserved || self.contexts.is_empty() {
            return None;
        }
        let short = short_name(name);
        let of_platform = format!("{short}{PLATFORM_MARK}{platform}");
        let known = |wanted: &str| self.contexts.iter().find(|(name, _)| spelling(name) == wanted);
        let (name, context) = known(&of_platform).or_else(|| known(&short))?;
        Some(Named { name, context })
    }
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

/// What a `--build-context` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder.
    Folder,
    /// An image, by its reference.
    Image(String),
}

struct Named<'a> {
    name: &'a str,
    context: &'a NamedContext,
}

impl Named<'_> {
    fn base(&self, platform: &Platform) -> Base {
        match self.context {
            NamedContext::Folder => Base::Folder(self.name.to_owned()),
            NamedContext::Image(reference) if reference == "scratch" => Base::Scratch,
            NamedContext::Image(reference) => {
                Base::Image(Wanted { reference: reference.clone(), platform: platform.to_string() })
            }
        }
    }
}

/// The one spelling of the name of a context, which may end in a platform.
fn spelling(name: &str) -> String {
    let Some((name, platform)) = name.split_once(PLATFORM_MARK) else {
        return short_name(name);
    };
    let platform = platform::parse(platform)
        .map_or_else(|_| platform.to_owned(), |platform| platform.to_string());
    format!("{}{PLATFORM_MARK}{platform}", short_name(name))
}

/// The shortest spelling of the name of an image: `alpine` for `docker.io/library/alpine:latest`.
fn short_name(name: &str) -> String {
    let short = name.parse().map(|image: rbuild_registry::Reference| image.familiar());
    let short = short.unwrap_or_else(|_| name.to_owned());
    short.strip_suffix(":latest").map_or(short.clone(), str::to_owned)
}

/// An image whose manifest and config are known.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The full reference with its digest.
    pub reference: String,
    /// The config.
    pub config: ImageConfig,
}

/// The image of one platform that a graph makes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The vertex whose snapshot is the root of the image.
    pub root: VertexId,
    /// The platform that was asked for.
    pub platform: Platform,
    /// The config of the image, without times and new layers.
    pub config: ImageConfig,
    /// The time that whatever the build makes has, in seconds since 1970.
    pub epoch: Option<i64>,
}

/// A Dockerfile as a graph.
#[derive(Debug)]
pub struct Lowered {
    /// The graph.
    pub graph: Graph,
    /// What it makes, in the order in which the platforms were asked for.
    pub targets: Vec<Target>,
    /// The paths and patterns that are used of each folder, by its name; `.` is all of it.
    pub folders: BTreeMap<String, BTreeSet<String>>,
    /// The images of the graph, in the order of their first use, with the name of the step.
    pub images: Vec<(Wanted, String)>,
    /// Where in the Dockerfile each step stands, by the place of its vertex.
    pub spans: BTreeMap<String, Span>,
    /// What the lint rules found, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// Whether the warnings fail the build.
    pub strict: bool,
}

/// Names the images that must be resolved before [`lower`], each with where it is named first;
/// `known` holds those that already are, since the triggers of one image may ask for another.
///
/// # Errors
/// The first instruction that names a stage, platform or variable wrongly.
pub fn wanted_images(
    file: &Dockerfile,
    request: &Request,
    known: &BTreeMap<Wanted, ImageConfig>,
) -> Result<Vec<Spanned<Wanted>>, Diagnostic> {
    Ok(plan::plan(file, request, known)?.images)
}

/// Makes the graph of a Dockerfile.
///
/// # Errors
/// The first instruction that cannot be built, with its place and, where one is known, a hint.
pub fn lower(
    file: &Dockerfile,
    request: &Request,
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> Result<Lowered, Diagnostic> {
    let known = resolved.iter().map(|(key, image)| (key.clone(), image.config.clone())).collect();
    let plan = plan::plan(file, request, &known)?;
    let lowered = stage::Lowering::new(&plan, request, resolved).finish()?;
    let warnings = lint::find(file, Some(&plan), request, resolved);
    let strict = lint::check(file, request).is_some_and(|check| check.error);
    Ok(Lowered { warnings, strict, ..lowered })
}

/// Finds what the lint rules have to say about a Dockerfile that may not be fit to build; of what
/// stands on an image that is not among the resolved ones less is known.
pub fn lint(
    file: &Dockerfile,
    request: &Request,
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> Vec<Diagnostic> {
    let known = resolved.iter().map(|(key, image)| (key.clone(), image.config.clone())).collect();
    let plan = plan::plan(file, request, &known);
    lint::find(file, plan.ok().as_ref(), request, resolved)
}

/// Returns the index of the target's stage, and the arguments that it and all beneath it use.
///
/// # Errors
/// See [`lower`].
pub fn outline(
    file: &Dockerfile,
    request: &Request,
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> Result<(usize, Vec<Argument>), Diagnostic> {
    let known = resolved.iter().map(|(key, image)| (key.clone(), image.config.clone())).collect();
    let plan = plan::plan(file, request, &known)?;
    Ok((plan.target, outline::arguments(file, &plan, request, resolved)))
}
