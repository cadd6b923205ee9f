//! What people are told.

use std::sync::{Arc, Mutex};

use super::toy::{Machine, Write, exec, recorded};
use crate::op::Op;
use crate::{Change, Edge, Event, FileChange, Graph, Miss, Mode, Vertex, VertexId, What, Work};

fn machine() -> Machine {
    let machine = Machine::new();
    machine.push("base", "etc", "alpine ");
    machine.write("src/main", "main ");
    machine
}

/// The events, one a line: the step and the kind of event.
fn lines(events: &Arc<Mutex<Vec<Event>>>) -> Vec<String> {
    let line = |event: &Event| {
        let what = match &event.what {
            What::Planned { name, inputs, .. } => {
                format!("planned {name} {:?}", inputs.iter().map(|id| id.0).collect::<Vec<_>>())
            }
            What::Cached { by } => format!("cached by {by:?}"),
            What::Missed(miss) => format!("missed {miss:?}"),
            other => format!("{other:?}"),
        };
        format!("{} {what}", event.step.0)
    };
    events.lock().unwrap().iter().map(line).collect()
}

async fn told(machine: &Machine, graph: &Graph, target: VertexId) -> Vec<String> {
    let (events, seen) = recorded();
    let _ = machine.solver.solve(graph, target, Mode::Build, &events).await;
    lines(&seen)
}

fn small(last: &str) -> (Graph, VertexId) {
    let mut graph = Graph::new();
    let (base, context) = (graph.image("base"), graph.context());
    let copied = graph.copy(base, context, "src");
    let target = graph.exec(&["join", last], &[copied]);
    (graph, target)
}

#[tokio::test(start_paused = true)]
async fn a_build_tells_each_step_from_its_plan_to_its_end() {
    let (graph, target) = small("out");
    let lines = told(&machine(), &graph, target).await;
    let expected = [
        "0 planned copy src []",
        "1 planned join out [0]",
        "0 missed NewInstruction",
        "0 Started",
        "0 Finished",
        "1 missed NewInstruction",
        "1 Started",
        "1 Finished",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(start_paused = true)]
async fn a_cached_build_tells_every_step_as_cached() {
    let machine = machine();
    let (graph, target) = small("out");
    machine.build(&graph, target).await;
    let lines = told(&machine, &graph, target).await;
    assert_eq!(lines[2..], ["0 cached by Definition", "1 cached by Definition"]);
    machine.write("unused", "x");
    let lines = told(&machine, &graph, target).await;
    assert_eq!(lines[2..], ["0 cached by Content", "1 cached by Content"]);
    let lines = told(&machine, &graph, target).await;
    assert_eq!(lines[2..], ["0 cached by Definition", "1 cached by Definition"]);
}

#[tokio::test(start_paused = true)]
async fn what_only_feeds_something_known_is_told_as_cached_too() {
    let machine = machine();
    let (graph, target) = small("out");
    machine.build(&graph, target).await;
    let record = machine.toy.records.lock().unwrap()[0].clone();
    machine.store.forget(&[record.definition, record.content]).unwrap();
    let lines = told(&machine, &graph, target).await;
    assert_eq!(lines[2..], ["0 cached by Definition", "1 cached by Definition"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_work_of_another_is_told_so() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let target = graph.exec(&["sleep", "5"], &[base]);
    let leader = machine.begin(&graph, target);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let lines = told(&machine, &graph, target).await;
    let expected = [
        "0 planned sleep 5 []",
        "0 Waiting { on: \"another step, which does the same\" }",
        "0 cached by Definition",
    ];
    assert_eq!(lines, expected);
    leader.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_quiet_vertex_is_not_told_but_what_feeds_it_is() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let first = graph.exec(&["write", "a", "b"], &[base]);
    let edges = vec![Edge::all(base), Edge::all(first)];
    let quiet = graph.put(Vertex { quiet: true, ..Vertex::op(Op::Stack, edges, "stack") });
    let target = graph.exec(&["join", "out"], &[quiet]);
    let lines = told(&machine, &graph, target).await;
    assert_eq!(lines[..2], ["0 planned write a b []", "1 planned join out [0]"]);
    assert!(lines.iter().all(|line| !line.starts_with('2')), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_not_quiet_is_told() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let loud = Vertex { quiet: false, ..graph.get(base).unwrap().clone() };
    let loud = graph.put(loud);
    let lines = told(&machine, &graph, loud).await;
    assert_eq!(lines, ["0 planned FROM []", "0 Started", "0 Finished"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_pinned_names_its_step() {
    let machine = machine();
    let mut graph = Graph::new();
    let missing = graph.image("missing");
    let error = machine.begin(&graph, missing).end().await.unwrap_err();
    assert_eq!(error.to_string(), "`FROM` failed");
}

/// Builds twice and returns why the last step missed the second time.
async fn missed_after(
    first: impl Fn(&Machine, &mut Graph) -> VertexId,
    second: impl Fn(&Machine, &mut Graph) -> VertexId,
) -> Miss {
    let machine = machine();
    let mut graph = Graph::new();
    let target = first(&machine, &mut graph);
    machine.build(&graph, target).await;
    let mut graph = Graph::new();
    let target = second(&machine, &mut graph);
    let (events, seen) = recorded();
    machine.solver.solve(&graph, target, Mode::Build, &events).await.unwrap();
    let seen = seen.lock().unwrap();
    let mut misses = seen.iter().filter_map(|event| match &event.what {
        What::Missed(miss) => Some(miss.clone()),
        _ => None,
    });
    misses.next_back().unwrap()
}

fn run(graph: &mut Graph, args: &[&str], env: &[(&str, &str)]) -> VertexId {
    let base = graph.image("base");
    let mut vertex = exec(args, &[base]);
    if let Work::Op { op: Op::Exec(exec), .. } = &mut vertex.work {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        exec.env = env.iter().map(owned).collect();
    }
    graph.put(vertex)
}

#[tokio::test(start_paused = true)]
async fn a_changed_instruction_is_told_with_both_texts() {
    let miss = missed_after(
        |_, graph| run(graph, &["write", "a", "b"], &[]),
        |_, graph| run(graph, &["write", "a", "c"], &[]),
    );
    let expected = Miss::OpChanged {
        part: "instruction".to_owned(),
        old: r#"["write","a","b"]"#.to_owned(),
        new: r#"["write","a","c"]"#.to_owned(),
    };
    assert_eq!(miss.await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_changed_variable_is_told_by_its_name() {
    let write = |value: &'static str| {
        move |_: &Machine, graph: &mut Graph| run(graph, &["write", "a", "b"], &[("V", value)])
    };
    let (part, old, new) = ("env V".to_owned(), "1".to_owned(), "2".to_owned());
    assert_eq!(missed_after(write("1"), write("2")).await, Miss::OpChanged { part, old, new });
}

#[tokio::test(start_paused = true)]
async fn a_changed_base_is_told() {
    let step = |graph: &mut Graph| run(graph, &["write", "a", "b"], &[]);
    let miss = missed_after(
        |_, graph| step(graph),
        |machine, graph| {
            machine.push("base", "etc", "debian ");
            step(graph)
        },
    );
    assert_eq!(miss.await, Miss::BaseChanged);
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_told_by_their_paths() {
    let step = |graph: &mut Graph| {
        let (base, context) = (graph.image("base"), graph.context());
        graph.copy(base, context, "src")
    };
    let miss = missed_after(
        |_, graph| step(graph),
        |machine, graph| {
            machine.write("src/main", "changed ");
            step(graph)
        },
    );
    let files = vec![FileChange { path: "src".to_owned(), change: Change::Changed }];
    assert_eq!(miss.await, Miss::FilesChanged { files, count: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_step_made_fresh_is_told_as_such() {
    let miss = missed_after(
        |_, graph| run(graph, &["write", "a", "b"], &[]),
        |_, graph| {
            let base = graph.image("base");
            graph.put(super::toy::fresh(exec(&["write", "a", "b"], &[base])))
        },
    );
    assert_eq!(miss.await, Miss::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_gone_is_told_as_such() {
    let step = |graph: &mut Graph| run(graph, &["write", "a", "b"], &[]);
    let miss = missed_after(
        |_, graph| step(graph),
        |machine, graph| {
            let record = machine.toy.records.lock().unwrap()[0].clone();
            machine.store.forget(&[record.definition, record.content]).unwrap();
            step(graph)
        },
    );
    assert_eq!(miss.await, Miss::ResultGone);
}
