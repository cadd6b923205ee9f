//! The steps of a build as `BuildKit` lists them: `step0`, `step1`, with what each does and needs.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_cache::Blob;
use rbuild_registry::redacted;
use rbuild_solver::op::{Copy, CopyItem, Exec, FileAction, HttpFile, MountKind, Op, Source};
use rbuild_solver::{Graph, Vertex, VertexId, Work};
use serde_json::{Map, Value, json};

use super::process;
use crate::lower::CONTEXT;

/// The steps that a result needs, each after those that it needs.
#[derive(Debug)]
pub(super) struct Steps(Vec<VertexId>);

impl Steps {
    /// Those of a result.
    pub(super) fn of(graph: &Graph, root: VertexId) -> Self {
        let (mut needed, mut left) = (BTreeSet::new(), vec![root]);
        while let Some(id) = left.pop() {
            if !needed.insert(id) {
                continue;
            }
            if let Some(Work::Op { inputs, .. }) = graph.get(id).map(|vertex| &vertex.work) {
                left.extend(inputs.iter().map(|edge| edge.vertex));
            }
        }
        // The empty tree is nothing that is made.
        let is_step = |id: &VertexId| {
            graph.get(*id).is_some_and(|it| it.work != Work::Source(Source::Scratch))
        };
        Self(needed.into_iter().filter(is_step).collect())
    }

    /// Whether a vertex is one of them.
    pub(super) fn contains(&self, id: VertexId) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    /// All of them with their names.
    pub(super) fn all<'a>(
        &'a self,
        graph: &'a Graph,
    ) -> impl Iterator<Item = (String, &'a Vertex)> {
        let vertices = self.0.iter().filter_map(|id| graph.get(*id));
        vertices.enumerate().map(|(index, vertex)| (format!("step{index}"), vertex))
    }

    /// The processes that they run.
    pub(super) fn processes<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = &'a Exec> {
        self.0.iter().filter_map(|id| process(&graph.get(*id)?.work))
    }

    /// The folders of this machine that they read, beside the build context.
    pub(super) fn folders<'a>(&'a self, graph: &'a Graph) -> BTreeSet<&'a str> {
        let name = |id: &VertexId| match &graph.get(*id)?.work {
            Work::Source(Source::Context { name }) if name != CONTEXT => Some(name.as_str()),
            _ => None,
        };
        self.0.iter().filter_map(name).collect()
    }

    /// What each does, and with the results of which.
    pub(super) fn definition(&self, graph: &Graph) -> Vec<Value> {
        let name = |id: &VertexId| self.0.binary_search(id).ok().map(|at| format!("step{at}"));
        let step = |(step, vertex): (String, &Vertex)| {
            let mut value = json!({ "id": step, "op": operation(&vertex.work) });
            if let Work::Op { inputs, .. } = &vertex.work {
                let inputs = inputs.iter().map(|edge| match name(&edge.vertex) {
                    Some(name) => format!("{name}:{}", edge.output),
                    None => "scratch".to_owned(),
                });
                value["inputs"] = inputs.collect();
            }
            value
        };
        self.all(graph).map(step).collect()
    }

    /// The layers of the images among them.
    pub(super) fn layers(&self, graph: &Graph, known: &BTreeMap<String, Vec<Blob>>) -> Value {
        let layer = |blob: &Blob| json!({ "mediaType": blob.media_type, "digest": blob.digest, "size": blob.size });
        let mut all = Map::new();
        for (name, vertex) in self.all(graph) {
            if let Work::Source(Source::Image { reference, .. }) = &vertex.work
                && let Some(layers) = known.get(reference)
            {
                let layers: Vec<_> = layers.iter().map(layer).collect();
                all.insert(format!("{name}:0"), json!([layers]));
            }
        }
        all.into()
    }
}

fn operation(work: &Work) -> Value {
    match work {
        Work::Source(source) => origin(source),
        Work::Op { op: Op::Exec(exec), .. } => run(exec),
        Work::Op { op: Op::Copy(copy), .. } => copied(copy),
        Work::Op { op: Op::Files(actions), .. } => {
            let folder = |FileAction::MakeDirectory { path, .. }: &FileAction| json!({ "input": 0, "Action": { "mkdir": { "path": path, "makeParents": true } } });
            let actions: Vec<_> = actions.iter().map(folder).collect();
            json!({ "Op": { "file": { "actions": actions } } })
        }
        Work::Op { op: Op::Stack, .. } => json!({ "Op": { "merge": {} } }),
    }
}

fn origin(source: &Source) -> Value {
    let identifier = match source {
        Source::Scratch => "scratch".to_owned(),
        Source::Image { reference, .. } if reference.contains("://") => reference.clone(),
        Source::Image { reference, .. } => format!("docker-image://{reference}"),
        Source::Context { name } => format!("local://{name}"),
        Source::Http(HttpFile { url, .. }) => redacted(url),
        Source::Git(checkout) => {
            let reference = checkout.reference.as_deref().unwrap_or_default();
            format!("git://{}#{reference}", redacted(&checkout.remote))
        }
    };
    let mut operation = json!({ "Op": { "source": { "identifier": identifier } } });
    if let Source::Image { platform, .. } = source {
        operation["platform"] = named(platform);
    }
    operation
}

fn named(platform: &str) -> Value {
    let mut parts = platform.split('/');
    let mut part = || parts.next().unwrap_or_default();
    let mut value = json!({ "OS": part(), "Architecture": part() });
    if let Some(variant) = parts.next() {
        value["Variant"] = variant.into();
    }
    value
}

fn run(exec: &Exec) -> Value {
    let env: Vec<_> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut meta = json!({ "args": exec.args, "env": env, "cwd": exec.cwd });
    if !exec.user.is_empty() {
        meta["user"] = exec.user.as_str().into();
    }
    let root = json!({ "input": 0, "dest": "/", "output": 0 });
    let mounts = exec.mounts.iter().map(|mount| {
        let mut value = json!({ "dest": mount.target });
        match &mount.kind {
            MountKind::Bind { input, source, .. } => {
                (value["input"], value["selector"]) = ((*input).into(), source.as_str().into());
            }
            MountKind::Cache { id, .. } => value["cacheOpt"] = json!({ "ID": id }),
            MountKind::Inline { .. } => value["inline"] = true.into(),
            MountKind::Tmpfs { size } => value["TmpfsOpt"] = json!({ "size": size }),
            MountKind::Secret { id, .. } => value["secretOpt"] = json!({ "ID": id }),
            MountKind::Ssh { id, .. } => value["SSHOpt"] = json!({ "ID": id }),
        }
        value
    });
    let mounts: Vec<_> = std::iter::once(root).chain(mounts).collect();
    let mut process = json!({ "meta": meta, "mounts": mounts });
    if exec.network != rbuild_solver::op::Network::Default {
        process["network"] = format!("{:?}", exec.network).to_uppercase().into();
    }
    json!({ "Op": { "exec": process }, "platform": named(&exec.platform) })
}

fn copied(copy: &Copy) -> Value {
    let action = |item: &CopyItem| match item {
        CopyItem::Path { input, pattern, unpack } => json!({
            "input": 0,
            "secondaryInput": input,
            "Action": { "copy": {
                "src": pattern,
                "dest": copy.destination,
                "attemptUnpackDockerCompatibility": unpack,
            } },
        }),
        CopyItem::Inline { name, .. } => json!({
            "input": 0,
            "Action": { "mkfile": { "path": format!("{}{name}", copy.destination) } },
        }),
    };
    json!({ "Op": { "file": { "actions": copy.items.iter().map(action).collect::<Vec<_>>() } } })
}
