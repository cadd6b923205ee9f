//! What the solver costs with its store: 3,000 vertices, with a worker that does nothing.
//!
//! | line | what is measured |
//! |---|---|
//! | cold | nothing is known: every vertex runs |
//! | indexed | the target is known, and found in the index, which is opened for it |
//! | cached | the same as the next build does it: the result is found beside the index |
//! | changed | the target is another vertex, and all beneath it is known |
//! | find | the share of the store in that: all rows are read, opening the index included |

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rbuild_cache::{Blob, ContentId, Digest, Key, Layer, Outputs, Snapshot, Store};
use rbuild_solver::op::{Copy, CopyItem, Exec, Network, Op, Select, Source};
use rbuild_solver::{
    Edge, Error, Events, Graph, Mode, Solver, Task, Vertex, VertexId, Worker, content_of,
};

const VERTICES: u64 = 3000;

/// A worker whose layers are names only; keeps the definitions of what ran.
#[derive(Default)]
struct Nothing(Mutex<Vec<Key>>);

#[async_trait]
impl Worker for Nothing {
    async fn pin(&self, _: &Source) -> Result<Snapshot, Error> {
        Ok(Snapshot { content: ContentId::from_bytes([1; 32]), layers: [layer(0)].into() })
    }

    async fn digest(&self, whole: &Snapshot, _: &Select, _: Mode) -> Result<ContentId, Error> {
        Ok(whole.content)
    }

    async fn run(&self, task: Task) -> Result<Outputs, Error> {
        self.0.lock().expect("nobody panics").push(task.definition);
        let content = ContentId::from_bytes(*task.content.as_bytes());
        let content = content_of(task.inputs[0].content, content);
        Ok([Snapshot { content, layers: [layer(task.step.0)].into() }].into())
    }
}

fn layer(number: u64) -> Layer {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    let digest = Digest::from_bytes(bytes);
    let media_type = "application/vnd.oci.image.layer.v1.tar+gzip".to_owned();
    Layer::Pulled {
        diff_id: digest,
        blob: Blob { digest, size: 1, media_type, from: None, created: None },
    }
}

fn exec(number: u64) -> Op {
    let text = |text: &str| text.to_owned();
    let env = ["PATH", "LANG", "HOME", "VERSION"];
    Op::Exec(Box::new(Exec {
        args: vec![text("/bin/sh"), text("-c"), format!("make target-{number}")],
        env: env.map(|name| (text(name), format!("/usr/{name}"))).into(),
        unkeyed_env: Vec::new(),
        cwd: text("/src"),
        user: String::new(),
        mounts: Vec::new(),
        network: Network::Default,
        insecure: false,
        devices: Vec::new(),
        hostname: String::new(),
        extra_hosts: Vec::new(),
        shm_size: 0,
        ulimits: Vec::new(),
        platform: text("linux/amd64"),
    }))
}

fn copy(number: u64) -> Op {
    Op::Copy(Copy {
        items: vec![CopyItem::Path { input: 1, pattern: format!("out-{number}"), unpack: false }],
        destination: "/out/".to_owned(),
        chown: None,
        chmod: None,
        parents: false,
        exclude: Vec::new(),
        time: None,
        link: false,
    })
}

/// A graph in which each vertex stands on one of the forty before it, and every fourth copies.
fn graph(vertices: u64, last: u64) -> (Graph, VertexId) {
    let mut graph = Graph::new();
    let source = Vertex::source(Source::Scratch, "FROM scratch");
    let mut ids = vec![graph.add(source).expect("a source has no inputs")];
    let mut random = 1_u64;
    for number in 1..=vertices {
        let mut pick = |ids: &[VertexId]| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(number);
            let back = usize::try_from(random >> 33).unwrap_or(0) % ids.len().min(40);
            ids[ids.len() - 1 - back]
        };
        let mut edges = vec![Edge::all(pick(&ids))];
        let op = if number % 4 == 0 {
            let patterns = vec![format!("out-{number}")];
            let select = Select::Paths { patterns, exclude: Vec::new(), parents: false };
            edges.push(Edge::part(pick(&ids), select));
            copy(number)
        } else {
            exec(number)
        };
        let vertex = Vertex::op(op, edges, format!("step {number}"));
        ids.push(graph.add(vertex).expect("the inputs are earlier vertices"));
    }
    // One vertex on all of them, so that none is left out.
    let edges = ids.iter().map(|id| Edge::all(*id)).collect();
    let target = graph.add(Vertex::op(exec(last), edges, "all")).expect("all are earlier");
    (graph, target)
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn timed<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let (began, before) = (Instant::now(), on_processor());
    let result = work();
    let (wall, processor) = (began.elapsed(), on_processor().saturating_sub(before));
    println!("{name:<8}{wall:>10.3?} wall {processor:>10.3?} processor");
    result
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be had");
    let (same, other) = (graph(VERTICES, 0), graph(VERTICES, VERTICES + 1));
    let store = Store::temporary().expect("a temporary folder can be had");
    let worker = Arc::new(Nothing::default());
    let solver = Solver::new(store.clone(), worker.clone());
    let solve = |(graph, target): &(Graph, VertexId), mode| {
        runtime.block_on(solver.solve(graph, *target, mode, &Events::none()))
    };
    // The session of the index ends when nobody uses it.
    let close = || std::thread::sleep(Duration::from_millis(300));
    let made = timed("cold", || solve(&same, Mode::Build)).expect("the worker cannot fail");
    for _ in 0..5 {
        close();
        // There is none before the first time.
        let _ = std::fs::remove_dir_all(store.root().join("recent"));
        let found = timed("indexed", || solve(&same, Mode::Check));
        assert_eq!(found.expect("it is known"), made);
        close();
        let found = timed("cached", || solve(&same, Mode::Check));
        assert_eq!(found.expect("it is known"), made);
        let missed = timed("changed", || solve(&other, Mode::Check));
        assert!(matches!(missed, Err(Error::Miss { .. })));
        close();
        let ran = worker.0.lock().expect("nobody panics");
        let found = timed("find", || store.find(&ran)).expect("the index can be read");
        assert!(found.iter().all(Option::is_some));
    }
}

/// The time that the threads of this process were on a processor.
fn on_processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("time does not run backwards")
}
