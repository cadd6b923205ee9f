//! How an image was made, in the form of SLSA's provenance 1 with `BuildKit`'s extensions.

mod steps;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rbuild_cache::Blob;
use rbuild_solver::op::{self, MountKind, Network, Op};
use rbuild_solver::{Graph, Vertex, VertexId, Work};
use serde_json::{Map, Value, json};

use super::{Attestation, Detail, Provenance};
use crate::dockerfile::Span;
use crate::error::Source;
use crate::lower::{NamedContext, Request};
use steps::Steps;

/// What kind of statement it is.
pub(crate) const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What the fields mean: `BuildKit`'s page on them.
const BUILD_TYPE: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// What came from elsewhere, and how it is known to be the same again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dependency {
    /// Its address: a package URL for an image.
    pub(crate) uri: String,
    /// The algorithm of the digest: `sha256`, or `sha1` for a commit.
    pub(crate) algorithm: &'static str,
    /// The digest as hexadecimal digits.
    pub(crate) digest: String,
}

/// All that is known of a build, for one of its platforms.
#[derive(Debug)]
pub(crate) struct Made<'a> {
    /// What was asked.
    pub(crate) request: &'a Request,
    /// Where the context is, if it is not of this machine.
    pub(crate) context: Option<&'a str>,
    /// The Dockerfile, whose path is as it was asked for.
    pub(crate) file: &'a Source,
    pub(crate) path: &'a str,
    pub(crate) graph: &'a Graph,
    pub(crate) root: VertexId,
    /// Where steps stand in the Dockerfile, by their place.
    pub(crate) spans: &'a BTreeMap<String, Span>,
    /// What came from elsewhere.
    pub(crate) dependencies: &'a [Dependency],
    /// The layers of images, by the references in the graph.
    pub(crate) layers: &'a BTreeMap<String, Vec<Blob>>,
    /// The id of this build, shared by all of its platforms.
    pub(crate) invocation: &'a str,
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
}

/// Writes it down.
pub(crate) fn statement(wanted: &Provenance, made: &Made<'_>) -> Attestation {
    let steps = Steps::of(made.graph, made.root);
    let is_max = wanted.detail == Detail::Max;
    let all = arguments(made.request);
    let (args, left_out): (Map<_, _>, Map<_, _>) =
        all.into_iter().partition(|(name, _)| is_max || !tells_values(name));
    let is_complete = made.context.is_some() && steps.folders(made.graph).is_empty();
    let mut request = json!({ "frontend": "dockerfile.v0", "args": args });
    let mut internal = json!({ "builderPlatform": made.request.host.to_string() });
    let mut metadata = json!({});
    if is_max {
        lent(&steps, made.graph, &mut request);
        internal["buildConfig"] = json!({ "llbDefinition": steps.definition(made.graph) });
        metadata["source"] = source(&steps, made);
        metadata["layers"] = steps.layers(made.graph, made.layers);
    }
    request["locals"] = locals(&steps, made);
    let predicate = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": { "configSource": config_source(made), "request": request },
            "internalParameters": internal,
            "resolvedDependencies": made.dependencies.iter().map(dependency).collect::<Vec<_>>(),
        },
        "runDetails": {
            "builder": {
                "id": wanted.builder,
                "version": { "rbuild": env!("CARGO_PKG_VERSION") },
            },
            "metadata": {
                "invocationId": made.invocation,
                "startedOn": made.started,
                "finishedOn": made.finished,
                "buildkit_metadata": metadata,
                "buildkit_hermetic": is_complete && !reaches_out(&steps, made.graph),
                "buildkit_completeness": {
                    "request": left_out.is_empty(),
                    "resolvedDependencies": is_complete,
                },
                "buildkit_reproducible": wanted.reproducible,
            },
        },
    });
    Attestation {
        predicate_type: PREDICATE.to_owned(),
        predicate: predicate.to_string().into_bytes(),
        inline_only: wanted.inline_only,
    }
}

/// The sources that a result was made from.
pub(crate) fn sources<'a>(graph: &'a Graph, root: VertexId) -> Vec<&'a op::Source> {
    let steps = Steps::of(graph, root);
    let source = |(id, vertex): (VertexId, &'a Vertex)| match &vertex.work {
        Work::Source(source) if steps.contains(id) => Some(source),
        _ => None,
    };
    graph.iter().filter_map(source).collect()
}

fn dependency(dependency: &Dependency) -> Value {
    let Dependency { uri, algorithm, digest } = dependency;
    json!({ "uri": uri, "digest": { *algorithm: digest } })
}

/// Whether a flag has a value that its user may want to keep.
fn tells_values(name: &str) -> bool {
    name.starts_with("build-arg:") || name.starts_with("label:")
}

/// The flags of the build by `BuildKit`'s names; not those that tell of this machine alone.
fn arguments(request: &Request) -> Map<String, Value> {
    let mut all = BTreeMap::new();
    let mut add = |name: &str, value: String| all.insert(name.to_owned(), value);
    for (name, value) in &request.arguments {
        add(&format!("build-arg:{name}"), value.clone());
    }
    for (name, value) in &request.labels {
        add(&format!("label:{name}"), value.clone());
    }
    for (name, context) in &request.contexts {
        let place = match context {
            NamedContext::Folder => format!("local:{name}"),
            NamedContext::Image(reference) if reference.contains("://") => reference.clone(),
            NamedContext::Image(reference) => format!("docker-image://{reference}"),
        };
        add(&format!("context:{name}"), place);
    }
    if let Some(target) = &request.target {
        add("target", target.clone());
    }
    if request.no_cache || !request.no_cache_filter.is_empty() {
        add("no-cache", request.no_cache_filter.join(","));
    }
    match request.network {
        Network::Default => {}
        Network::None => drop(add("force-network-mode", "none".to_owned())),
        Network::Host => drop(add("force-network-mode", "host".to_owned())),
    }
    if !request.extra_hosts.is_empty() {
        let hosts = request.extra_hosts.iter().map(|(name, address)| format!("{name}={address}"));
        add("add-hosts", hosts.collect::<Vec<_>>().join(","));
    }
    all.into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Adds the names of secrets and agents that steps may use.
fn lent(steps: &Steps, graph: &Graph, request: &mut Value) {
    let (mut secrets, mut agents) = (BTreeMap::new(), BTreeMap::new());
    for exec in steps.processes(graph) {
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Secret { id, required, .. } => {
                    *secrets.entry(id).or_insert(false) |= required;
                }
                MountKind::Ssh { id, required, .. } => {
                    *agents.entry(id).or_insert(false) |= required;
                }
                _ => {}
            }
        }
    }
    for (name, all) in [("secrets", secrets), ("ssh", agents)] {
        if !all.is_empty() {
            let one = |(id, required): (&String, bool)| {
                if required { json!({ "id": id }) } else { json!({ "id": id, "optional": true }) }
            };
            request[name] = all.into_iter().map(one).collect();
        }
    }
}

/// The folders of this machine that were read.
fn locals(steps: &Steps, made: &Made<'_>) -> Value {
    let mut names = steps.folders(made.graph);
    if made.context.is_none() {
        names.extend(["context", "dockerfile"]);
    }
    names.iter().map(|name| json!({ "name": name })).collect()
}

/// Where the Dockerfile came from.
fn config_source(made: &Made<'_>) -> Value {
    let mut source = json!({});
    if let Some(uri) = made.context {
        source["uri"] = uri.into();
        if let Some(known) = made.dependencies.iter().find(|known| known.uri == uri) {
            source["digest"] = json!({ known.algorithm: known.digest });
        }
    }
    source["path"] = made.path.into();
    source
}

/// Whether any step could use the network.
fn reaches_out(steps: &Steps, graph: &Graph) -> bool {
    steps.processes(graph).any(|exec| exec.network != Network::None)
}

/// The Dockerfile, and which lines of it each step was made from.
fn source(steps: &Steps, made: &Made<'_>) -> Value {
    let mut locations = Map::new();
    for (name, vertex) in steps.all(made.graph) {
        if let Some(span) = made.spans.get(&vertex.place) {
            let (first, last) = span.lines;
            let range = json!({ "start": { "line": first }, "end": { "line": last } });
            locations.insert(name, json!({ "locations": [{ "ranges": [range] }] }));
        }
    }
    let data = STANDARD.encode(made.file.text.as_bytes());
    let info = json!({ "filename": made.path, "language": "Dockerfile", "data": data });
    json!({ "locations": locations, "infos": [info] })
}

/// The process of a vertex, if it runs one.
fn process(work: &Work) -> Option<&rbuild_solver::op::Exec> {
    match work {
        Work::Op { op: Op::Exec(exec), .. } => Some(exec),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
