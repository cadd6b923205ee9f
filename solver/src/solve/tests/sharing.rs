//! What runs once, at the same time, or is stopped.

use tokio::time::Instant;

use super::toy::{Machine, Write, exec, fresh, recorded};
use crate::op::Op;
use crate::{Edge, Error, Events, Graph, Mode, Vertex, What, Work};

fn machine() -> Machine {
    let machine = Machine::new();
    machine.push("base", "etc", "alpine ");
    machine
}

/// Lets everything go on until only timers are left.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn inputs_run_at_the_same_time() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let sleepers: Vec<_> =
        ["60", "61", "62"].map(|time| graph.exec(&["sleep", time], &[base])).into();
    let target = graph.exec(&["join", "out"], &sleepers);
    let began = Instant::now();
    machine.build(&graph, target).await;
    assert!(began.elapsed().as_secs() < 63, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_shared_input_runs_once() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let shared = graph.exec(&["sleep", "1"], &[base]);
    let left = graph.exec(&["join", "left"], &[shared]);
    let right = graph.exec(&["join", "right"], &[shared]);
    let target = graph.exec(&["join", "out"], &[left, right]);
    machine.build(&graph, target).await;
    assert_eq!(machine.times("run sleep 1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_vertex_with_two_users_runs_once() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let shared = graph.put(fresh(exec(&["write", "x", "y"], &[base])));
    let early = graph.exec(&["join", "early"], &[shared]);
    // So much stands between that the other user comes when the fresh vertex is long done.
    let mut late = shared;
    for _ in 0..20_000 {
        late = graph.put(Vertex::op(Op::Stack, vec![Edge::all(late)], "stack"));
    }
    let target = graph.exec(&["join", "out"], &[early, late]);
    machine.build(&graph, target).await;
    assert_eq!(machine.times("run write x y"), 1);
    machine.build(&graph, target).await;
    assert_eq!(machine.times("run write x y"), 2);
}

#[tokio::test(start_paused = true)]
async fn equal_work_of_two_definitions_runs_once() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    // Different definitions of equal contents.
    let one = graph.exec(&["sleep", "1"], &[base]);
    let two = graph.exec(&["write", "slept", "1"], &[base]);
    let left = graph.put(fresh(exec(&["sleep", "5"], &[one])));
    let right = graph.put(fresh(exec(&["sleep", "5"], &[two])));
    let target = graph.exec(&["join", "out"], &[left, right]);
    machine.build(&graph, target).await;
    // The first to start has slept for a second when the second starts.
    assert_eq!(machine.times("run sleep 5"), 1);
}

#[tokio::test(start_paused = true)]
async fn two_builds_of_the_same_thing_share_the_work() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let target = graph.exec(&["sleep", "5"], &[base]);
    let (first, second) = (machine.begin(&graph, target), machine.begin(&graph, target));
    assert_eq!(first.end().await.unwrap(), second.end().await.unwrap());
    assert_eq!(machine.times("run sleep 5"), 1);
}

#[tokio::test(start_paused = true)]
async fn two_builds_do_not_share_what_is_fresh() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let anew = graph.put(fresh(exec(&["sleep", "5"], &[base])));
    let above = graph.exec(&["join", "out"], &[anew]);
    let builds = [anew, anew, above, above].map(|target| machine.begin(&graph, target));
    for build in builds {
        build.end().await.unwrap();
    }
    assert_eq!(machine.times("run sleep 5"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_build_stops_only_what_no_other_build_wants() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let shared = graph.exec(&["sleep", "100"], &[base]);
    let alone = graph.exec(&["sleep", "200"], &[base]);
    let both = graph.exec(&["join", "out"], &[shared, alone]);
    let first = machine.begin(&graph, both);
    settle().await;
    let second = machine.begin(&graph, shared);
    settle().await;
    drop(first);
    settle().await;
    assert_eq!(machine.times("stop sleep 200"), 1);
    assert_eq!(machine.times("stop sleep 100"), 0);
    second.end().await.unwrap();
    assert_eq!(machine.times("run sleep 100"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_stops_its_siblings() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let slow = graph.exec(&["sleep", "1000"], &[base]);
    let deep = graph.exec(&["join", "deep"], &[slow]);
    let bad = graph.exec(&["fail"], &[base]);
    let target = graph.exec(&["join", "out"], &[deep, bad]);
    let (began, (events, seen)) = (Instant::now(), recorded());
    let error = machine.solver.solve(&graph, target, Mode::Build, &events).await.unwrap_err();
    let Error::Step { description, place, source } = error else { panic!("{error:?}") };
    assert_eq!((description.as_str(), place.as_str()), ("fail", "fail"));
    assert_eq!(source.to_string(), "exit code 1");
    settle().await;
    assert_eq!(machine.times("stop sleep 1000"), 1);
    assert!(began.elapsed().as_secs() < 2);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().filter(|event| matches!(event.what, What::Failed { .. })).count(), 1);
    assert_eq!(seen.iter().filter(|event| matches!(event.what, What::Canceled)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_failed_runs_again_in_the_next_build() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let target = graph.exec(&["fail"], &[base]);
    for _ in 0..2 {
        assert!(machine.begin(&graph, target).end().await.is_err());
    }
    assert_eq!(machine.times("run fail"), 2);
}

#[tokio::test(start_paused = true)]
async fn several_targets_are_solved_at_once() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let targets = ["7", "8"].map(|time| graph.exec(&["sleep", time], &[base]));
    let began = Instant::now();
    let events = Events::none();
    let results = machine.solver.solve_all(&graph, &targets, Mode::Build, &events).await.unwrap();
    assert_eq!(machine.read(&results[0][0])["slept"], "7");
    assert_eq!(machine.read(&results[1][0])["slept"], "8");
    assert!(began.elapsed().as_secs() < 9);
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_is_built_and_stopped_without_deep_recursion() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let mut top = graph.exec(&["sleep", "1"], &[base]);
    for _ in 0..20_000 {
        let mut vertex = exec(&["write", "x", "y"], &[top]);
        if let Work::Op { inputs, .. } = &mut vertex.work {
            *inputs = vec![Edge::all(base), Edge::part(top, crate::op::Select::Nothing)];
        }
        top = graph.put(vertex);
    }
    let building = machine.begin(&graph, top);
    settle().await;
    drop(building);
    settle().await;
    assert_eq!(machine.times("stop sleep 1"), 1);
}
