//! A worker whose files are texts in memory, and short ways to write graphs for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rbuild_cache::hash::Hasher;
use rbuild_cache::{Blob, ContentId, Digest, Layer, Outputs, Record, Snapshot, Store};

use crate::op::{Copy, CopyItem, Exec, Op, Select, Source};
use crate::{
    Edge, Error, Event, Events, Graph, Mode, Solver, Task, Vertex, VertexId, Worker, content_of,
};

pub(super) type Files = BTreeMap<String, String>;

/// What all machines see: images by reference, and the layers that can be fetched.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) images: Mutex<HashMap<String, Vec<Layer>>>,
    pub(super) layers: Mutex<HashMap<Layer, Files>>,
}

/// One machine: a toy worker with its store and solver.
pub(super) struct Machine {
    pub(super) registry: Arc<Registry>,
    pub(super) store: Store,
    pub(super) solver: Solver,
    pub(super) toy: Arc<Toy>,
}

#[derive(Debug, Default)]
pub(super) struct Toy {
    registry: Arc<Registry>,
    /// The build context.
    pub(super) folder: Mutex<Files>,
    /// The layers that were fetched or made here.
    here: Mutex<HashSet<Layer>>,
    log: Mutex<Vec<String>>,
    /// Whether results are fetched where they are not needed for another step.
    pub(super) delivers: AtomicBool,
    /// The records of all that ran, as a remote cache would have them.
    pub(super) records: Mutex<Vec<Record>>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self::with(Arc::default(), Store::temporary().unwrap())
    }

    pub(super) fn with(registry: Arc<Registry>, store: Store) -> Self {
        let toy = Arc::new(Toy { registry: Arc::clone(&registry), ..Toy::default() });
        let solver = Solver::new(store.clone(), Arc::clone(&toy) as Arc<dyn Worker>);
        Self { registry, store, solver, toy }
    }

    /// Pushes an image with one layer.
    pub(super) fn push(&self, reference: &str, path: &str, text: &str) {
        let layer = self.registry.add(files(&[(path, text)]));
        self.registry.images.lock().unwrap().insert(reference.to_owned(), vec![layer]);
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        self.toy.folder.lock().unwrap().insert(path.to_owned(), text.to_owned());
    }

    pub(super) async fn build(&self, graph: &Graph, target: VertexId) -> Snapshot {
        self.solver.solve(graph, target, Mode::Build, &Events::none()).await.unwrap()[0].clone()
    }

    pub(super) async fn check(&self, graph: &Graph, target: VertexId) -> Result<Outputs, Error> {
        self.solver.solve(graph, target, Mode::Check, &Events::none()).await
    }

    /// Builds in a task of its own.
    pub(super) fn begin(&self, graph: &Graph, target: VertexId) -> Background {
        let (solver, graph) = (self.solver.clone(), graph.clone());
        let mut tasks = tokio::task::JoinSet::new();
        tasks
            .spawn(async move { solver.solve(&graph, target, Mode::Build, &Events::none()).await });
        Background(tasks)
    }

    /// What the worker did since the last call.
    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.toy.log.lock().unwrap())
    }

    /// How often the log has a line.
    pub(super) fn times(&self, line: &str) -> usize {
        self.toy.log.lock().unwrap().iter().filter(|entry| *entry == line).count()
    }

    /// The files of a snapshot.
    pub(super) fn read(&self, snapshot: &Snapshot) -> Files {
        self.toy.fetch(snapshot).unwrap();
        self.toy.read(snapshot)
    }
}

/// A build that is stopped when it is dropped.
pub(super) struct Background(tokio::task::JoinSet<Result<Outputs, Error>>);

impl Background {
    pub(super) async fn end(mut self) -> Result<Outputs, Error> {
        self.0.join_next().await.unwrap().unwrap()
    }
}

/// Events that are kept.
pub(super) fn recorded() -> (Events, Arc<Mutex<Vec<Event>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&kept);
    (Events::new(move |event| sink.lock().unwrap().push(event)), kept)
}

pub(super) fn files(pairs: &[(&str, &str)]) -> Files {
    pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

impl Registry {
    fn add(&self, files: Files) -> Layer {
        let digest = Digest::from_bytes(*hash("layer", &files).as_bytes());
        let blob = Blob { digest, size: 1, media_type: String::new(), from: None, created: None };
        let layer = Layer::Pulled { diff_id: digest, blob };
        self.layers.lock().unwrap().insert(layer.clone(), files);
        layer
    }
}

fn hash(domain: &'static str, files: &Files) -> ContentId {
    let mut hasher = Hasher::new(domain);
    hasher.value(files).unwrap();
    hasher.content()
}

impl Toy {
    fn say(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    fn fetch(&self, snapshot: &Snapshot) -> Result<(), Error> {
        for layer in snapshot.layers.iter() {
            let mut here = self.here.lock().unwrap();
            if matches!(layer, Layer::Folder { .. }) || here.contains(layer) {
                continue;
            }
            if !self.registry.layers.lock().unwrap().contains_key(layer) {
                return Err(Error::Lost(Box::new(layer.clone())));
            }
            here.insert(layer.clone());
            self.say("fetch".to_owned());
        }
        Ok(())
    }

    fn is_here(&self, snapshot: &Snapshot) -> bool {
        let here = self.here.lock().unwrap();
        let is_here = |layer: &Layer| matches!(layer, Layer::Folder { .. }) || here.contains(layer);
        snapshot.layers.iter().all(is_here)
    }

    /// Drops a layer that was made here from this machine and the registry.
    pub(super) fn lose(&self, layer: &Layer) {
        self.here.lock().unwrap().remove(layer);
        self.registry.layers.lock().unwrap().remove(layer);
    }

    fn read(&self, snapshot: &Snapshot) -> Files {
        let layers = self.registry.layers.lock().unwrap();
        let of = |layer: &Layer| match layer {
            Layer::Folder { .. } => self.folder.lock().unwrap().clone(),
            layer => layers[layer].clone(),
        };
        snapshot.layers.iter().flat_map(of).collect()
    }

    fn select(&self, snapshot: &Snapshot, patterns: &[String]) -> Files {
        let mut files = self.read(snapshot);
        let matches = |path: &str, pattern: &String| pattern == "." || path.starts_with(pattern);
        files.retain(|path, _| patterns.iter().any(|pattern| matches(path, pattern)));
        files
    }

    fn make(&self, base: &Snapshot, files: Files) -> Snapshot {
        let content = content_of(base.content, hash("files", &files));
        let layer = self.registry.add(files);
        self.here.lock().unwrap().insert(layer.clone());
        let layers = base.layers.iter().cloned().chain([layer]).collect();
        Snapshot { content, layers }
    }

    async fn exec(&self, exec: &Exec, inputs: &[Snapshot]) -> Result<Vec<Files>, Error> {
        let all: String = inputs.iter().flat_map(|input| self.read(input).into_values()).collect();
        let args: Vec<&str> = exec.args.iter().map(String::as_str).collect();
        Ok(match args[..] {
            ["write", path, text] => vec![files(&[(path, text)])],
            // Its output depends on every file of every input.
            ["join", path] => vec![files(&[(path, &all)])],
            ["two", one, two] => vec![files(&[("one", one)]), files(&[("two", two)])],
            ["sleep", seconds] => {
                tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await;
                vec![files(&[("slept", seconds)])]
            }
            ["fail"] => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                return Err(Error::failed("exit code 1"));
            }
            _ => panic!("the toy cannot run {args:?}"),
        })
    }
}

/// Says that a run was stopped, when it is dropped before its end.
struct Running<'a>(&'a Toy, &'a str, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.2 {
            self.0.say(format!("stop {}", self.1));
        }
    }
}

#[async_trait]
impl Worker for Toy {
    async fn pin(&self, source: &Source) -> Result<Snapshot, Error> {
        match source {
            Source::Image { reference, .. } => {
                let images = self.registry.images.lock().unwrap();
                let layers = images.get(reference).ok_or_else(|| Error::failed("no such image"))?;
                let mut chain = Hasher::new("chain");
                chain.value(layers).unwrap();
                Ok(Snapshot { content: chain.content(), layers: layers.clone().into() })
            }
            Source::Context { name } => {
                let content = hash("files", &self.folder.lock().unwrap());
                Ok(Snapshot { content, layers: [Layer::Folder { name: name.clone() }].into() })
            }
            other => panic!("the toy knows no such source: {other:?}"),
        }
    }

    async fn digest(
        &self,
        snapshot: &Snapshot,
        select: &Select,
        mode: Mode,
    ) -> Result<ContentId, Error> {
        if mode == Mode::Check && !self.is_here(snapshot) {
            return Err(Error::NotHere("a part".to_owned()));
        }
        self.say("digest".to_owned());
        self.fetch(snapshot)?;
        match select {
            Select::Paths { patterns, .. } => Ok(hash("part", &self.select(snapshot, patterns))),
            other => panic!("nobody needs the digest of {other:?}"),
        }
    }

    async fn deliver(&self, outputs: &Outputs) -> Result<(), Error> {
        let outputs = outputs.iter().filter(|_| self.delivers.load(Ordering::Relaxed));
        outputs.into_iter().try_for_each(|output| self.fetch(output))
    }

    async fn run(&self, task: Task) -> Result<Outputs, Error> {
        self.say(format!("run {}", task.description));
        let mut running = Running(self, &task.description, false);
        task.inputs.iter().try_for_each(|input| self.fetch(input))?;
        let made = match &task.op {
            Op::Exec(exec) => self.exec(exec, &task.inputs).await,
            Op::Copy(copy) => {
                let mut copied = Files::new();
                for item in &copy.items {
                    let CopyItem::Path { input, pattern, .. } = item else { panic!("{item:?}") };
                    copied.extend(self.select(&task.inputs[*input], std::slice::from_ref(pattern)));
                }
                Ok(vec![copied])
            }
            op => panic!("the toy cannot run {op:?}"),
        };
        running.2 = true;
        let outputs: Outputs =
            made?.into_iter().map(|files| self.make(&task.inputs[0], files)).collect();
        self.records.lock().unwrap().push(Record {
            definition: task.definition,
            content: task.content,
            outputs: outputs.clone(),
            description: task.description.clone(),
            parts: task.parts.clone(),
            cost_ms: 0,
            created: 0,
        });
        Ok(outputs)
    }
}

/// Short ways to write a graph.
pub(super) trait Write {
    fn image(&mut self, reference: &str) -> VertexId;
    fn context(&mut self) -> VertexId;
    fn put(&mut self, vertex: Vertex) -> VertexId;

    /// An exec whose place is its first argument, so that its other arguments may change there.
    fn exec(&mut self, args: &[&str], inputs: &[VertexId]) -> VertexId {
        self.put(exec(args, inputs))
    }

    /// A copy of one path from the second input onto the first.
    fn copy(&mut self, base: VertexId, from: VertexId, path: &str) -> VertexId {
        self.put(copy(base, from, path, false))
    }
}

impl Write for Graph {
    fn image(&mut self, reference: &str) -> VertexId {
        let (reference, platform) = (reference.to_owned(), "linux/amd64".to_owned());
        self.put(Vertex::source(Source::Image { reference, platform }, "FROM"))
    }

    fn context(&mut self) -> VertexId {
        let source = Source::Context { name: "context".to_owned() };
        self.put(Vertex::source(source, "load context"))
    }

    fn put(&mut self, vertex: Vertex) -> VertexId {
        self.add(vertex).unwrap()
    }
}

pub(super) fn exec(args: &[&str], inputs: &[VertexId]) -> Vertex {
    let op = Op::Exec(Box::new(Exec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        unkeyed_env: Vec::new(),
        cwd: "/".to_owned(),
        user: String::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        network: crate::op::Network::Default,
        insecure: false,
        hostname: String::new(),
        extra_hosts: Vec::new(),
        shm_size: 0,
        ulimits: Vec::new(),
        platform: "linux/amd64".to_owned(),
    }));
    let edges = inputs.iter().map(|input| Edge::all(*input)).collect();
    Vertex { place: args[0].to_owned(), ..Vertex::op(op, edges, args.join(" ")) }
}

pub(super) fn fresh(mut vertex: Vertex) -> Vertex {
    if let crate::Work::Op { fresh, .. } = &mut vertex.work {
        *fresh = true;
    }
    vertex
}

pub(super) fn paths(pattern: &str) -> Select {
    Select::Paths { patterns: vec![pattern.to_owned()], exclude: Vec::new(), parents: false }
}

pub(super) fn copy(base: VertexId, from: VertexId, path: &str, link: bool) -> Vertex {
    let op = Op::Copy(Copy {
        items: vec![CopyItem::Path { input: 1, pattern: path.to_owned(), unpack: false }],
        destination: "/".to_owned(),
        chown: None,
        chmod: None,
        parents: false,
        exclude: Vec::new(),
        link,
        time: None,
    });
    let edges = vec![Edge::all(base), Edge::part(from, paths(path))];
    Vertex { place: "copy".to_owned(), ..Vertex::op(op, edges, format!("copy {path}")) }
}
