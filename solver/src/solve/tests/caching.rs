//! What is found, and what must run.

use std::sync::Arc;

use rbuild_cache::Store;

use super::toy::{Machine, Write, copy, exec, files, fresh, paths};
use crate::op::Select;
use crate::{Edge, Error, Events, Graph, Miss, Mode, Vertex, VertexId, Work};

/// `FROM base`, `COPY src`, `RUN join`: its output holds every file.
fn small(graph: &mut Graph) -> VertexId {
    let (base, context) = (graph.image("base"), graph.context());
    let copied = graph.copy(base, context, "src");
    graph.exec(&["join", "out"], &[copied])
}

fn machine() -> Machine {
    let machine = Machine::new();
    machine.push("base", "etc", "alpine ");
    machine.write("src/main", "main ");
    machine.write("readme", "read me ");
    machine
}

#[tokio::test(start_paused = true)]
async fn what_was_never_built_runs_in_order() {
    let machine = machine();
    let mut graph = Graph::new();
    let target = small(&mut graph);
    let result = machine.build(&graph, target).await;
    assert_eq!(machine.log(), ["digest", "run copy src", "fetch", "run join out"]);
    assert_eq!(machine.read(&result)["out"], "alpine main ");
    assert_eq!(result.layers.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_unused_file_changes_nothing() {
    let machine = machine();
    let mut graph = Graph::new();
    let target = small(&mut graph);
    let first = machine.build(&graph, target).await;
    machine.write("readme", "read it again ");
    machine.log();
    assert_eq!(machine.build(&graph, target).await, first);
    assert_eq!(machine.log(), ["digest"]);
    machine.write("src/main", "changed ");
    assert_ne!(machine.build(&graph, target).await, first);
    assert_eq!(machine.times("run copy src"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_output_cuts_the_build_off_early() {
    let machine = machine();
    let build = async |text: &str| {
        machine.write("src/main", text);
        let mut graph = Graph::new();
        let (base, context) = (graph.image("base"), graph.context());
        let copied = graph.copy(base, context, "src");
        let constant = graph.exec(&["write", "out", "constant"], &[copied]);
        let result = graph.put(Vertex {
            work: match exec(&["join", "last"], &[base]).work {
                Work::Op { op, fresh, .. } => {
                    let out = Edge::part(constant, paths("out"));
                    Work::Op { op, inputs: vec![Edge::all(base), out], fresh }
                }
                source @ Work::Source(_) => source,
            },
            ..exec(&["join", "last"], &[])
        });
        machine.build(&graph, result).await;
        machine.log()
    };
    assert!(build("one").await.contains(&"run join last".to_owned()));
    let second = build("two").await;
    assert!(second.contains(&"run write out constant".to_owned()));
    assert!(!second.contains(&"run join last".to_owned()), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fully_cached_build_fetches_and_runs_nothing() {
    let first = machine();
    let mut graph = Graph::new();
    let target = small(&mut graph);
    let made = first.build(&graph, target).await;
    // The same store, but nothing is unpacked any more.
    let again = Machine::with(Arc::clone(&first.registry), first.store.clone());
    again.toy.folder.lock().unwrap().clone_from(&first.toy.folder.lock().unwrap());
    assert_eq!(again.build(&graph, target).await, made);
    assert_eq!(again.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_retagged_base_is_used_without_a_fetch() {
    let first = machine();
    let mut graph = Graph::new();
    let target = small(&mut graph);
    let made = first.build(&graph, target).await;
    let again = Machine::with(Arc::clone(&first.registry), first.store.clone());
    again.toy.folder.lock().unwrap().clone_from(&first.toy.folder.lock().unwrap());
    let layers = again.registry.images.lock().unwrap()["base"].clone();
    again.registry.images.lock().unwrap().insert("other".to_owned(), layers);
    let mut retagged = Graph::new();
    let (base, context) = (retagged.image("other"), retagged.context());
    let copied = retagged.copy(base, context, "src");
    let target = retagged.exec(&["join", "out"], &[copied]);
    assert_eq!(again.build(&retagged, target).await, made);
    assert_eq!(again.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn check_tells_a_miss_and_runs_nothing() {
    let machine = machine();
    let mut graph = Graph::new();
    let target = small(&mut graph);
    let missed = machine.check(&graph, target).await.unwrap_err();
    let Error::Miss { description, miss, .. } = missed else { panic!("{missed:?}") };
    assert_eq!((description.as_str(), miss), ("copy src", Miss::NewInstruction));
    assert_eq!(machine.log(), ["digest"]);
    let made = machine.build(&graph, target).await;
    machine.log();
    assert_eq!(machine.check(&graph, target).await.unwrap()[0], made);
    assert_eq!(machine.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn check_never_fetches_even_to_digest() {
    let machine = machine();
    let mut graph = Graph::new();
    let (base, other) = (graph.image("base"), graph.image("base"));
    let target = graph.copy(base, other, "etc");
    let refused = machine.check(&graph, target).await.unwrap_err();
    assert!(matches!(refused, Error::NotHere(_)), "{refused:?}");
    assert_eq!(machine.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_does_not_fail_a_build_of_the_same_thing() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let target = graph.exec(&["sleep", "1"], &[base]);
    let building = machine.begin(&graph, target);
    tokio::task::yield_now().await;
    assert!(machine.check(&graph, target).await.is_err());
    building.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_remote_cache_on_a_new_machine_is_used_lazily() {
    let first = machine();
    let mut graph = Graph::new();
    let target = small(&mut graph);
    let made = first.build(&graph, target).await;
    let new = Machine::with(Arc::clone(&first.registry), Store::temporary().unwrap());
    new.toy.folder.lock().unwrap().clone_from(&first.toy.folder.lock().unwrap());
    for record in first.toy.records.lock().unwrap().iter() {
        new.store.remember(record).unwrap();
    }
    assert_eq!(new.build(&graph, target).await, made);
    assert_eq!(new.log(), [""; 0]);
    // One step more fetches what it stands on, and runs alone.
    let more = graph.exec(&["join", "more"], &[target]);
    new.build(&graph, more).await;
    assert_eq!(new.log(), ["run join more", "fetch", "fetch", "fetch"]);
}

#[tokio::test(start_paused = true)]
async fn a_result_is_found_though_all_beneath_it_was_forgotten() {
    let machine = machine();
    let mut graph = Graph::new();
    let target = small(&mut graph);
    machine.build(&graph, target).await;
    let records = machine.toy.records.lock().unwrap().clone();
    machine.store.forget(&[records[0].definition, records[0].content]).unwrap();
    machine.log();
    machine.build(&graph, target).await;
    assert_eq!(machine.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn each_output_has_its_own_content() {
    let machine = machine();
    let build = async |two: &str, output: usize| {
        let mut graph = Graph::new();
        let base = graph.image("base");
        let both = graph.exec(&["two", "1", two], &[base]);
        let mut user = exec(&["join", "out"], &[]);
        if let Work::Op { inputs, .. } = &mut user.work {
            inputs.push(Edge { vertex: both, output, select: Select::All });
        }
        let user = graph.put(user);
        let result = machine.build(&graph, user).await;
        (machine.read(&result), machine.log().contains(&"run join out".to_owned()))
    };
    assert_eq!(
        build("2", 0).await,
        (files(&[("etc", "alpine "), ("one", "1"), ("out", "alpine 1")]), true)
    );
    assert_eq!(build("2", 1).await.0["out"], "alpine 2");
    // The second output changes; the first and its user do not.
    assert!(!build("3", 0).await.1);
    assert!(build("3", 1).await.1);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_is_not_there_is_an_error() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let mut user = exec(&["join", "out"], &[]);
    if let Work::Op { inputs, .. } = &mut user.work {
        inputs.push(Edge { vertex: base, output: 1, select: Select::All });
    }
    let user = graph.put(user);
    let error = machine.solver.solve(&graph, user, Mode::Build, &Events::none()).await.unwrap_err();
    assert!(matches!(error, Error::NoOutput { output: 1, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn fresh_runs_again_and_its_equal_output_cuts_off() {
    let machine = machine();
    let build = async |again: bool, text: &str| {
        let mut graph = Graph::new();
        let base = graph.image("base");
        let write = exec(&["write", "out", text], &[base]);
        let written = graph.put(if again { fresh(write) } else { write });
        let target = graph.exec(&["join", "all"], &[written]);
        machine.build(&graph, target).await;
        machine.log()
    };
    assert_eq!(build(false, "x").await, ["run write out x", "fetch", "run join all"]);
    assert_eq!(build(true, "x").await, ["run write out x"]);
    assert_eq!(build(false, "x").await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_stands_on_something_fresh_is_not_found_by_definition() {
    let machine = machine();
    let mut graph = Graph::new();
    let (base, context) = (graph.image("base"), graph.context());
    let copied = graph.put(fresh(copy(base, context, "src", false)));
    let target = graph.exec(&["join", "all"], &[copied]);
    let before = machine.build(&graph, target).await;
    // The worker makes something else of the same definition, as a command on the network may.
    let record = machine.toy.records.lock().unwrap()[0].clone();
    machine.write("src/main", "other ");
    let after = machine.build(&graph, target).await;
    assert_ne!(before, after);
    machine.write("src/main", "main ");
    machine.log();
    machine.store.remember(&record).unwrap();
    assert_eq!(machine.build(&graph, target).await, before);
    assert_eq!(machine.log(), ["digest", "run copy src"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_result_is_made_again() {
    let machine = machine();
    let mut graph = Graph::new();
    let base = graph.image("base");
    let written = graph.exec(&["write", "out", "x"], &[base]);
    let made = machine.build(&graph, written).await;
    let above = graph.exec(&["join", "all"], &[written]);
    machine.toy.lose(&made.layers[1]);
    machine.log();
    let result = machine.build(&graph, above).await;
    assert_eq!(machine.read(&result)["all"], "alpine x");
    // It was lost under its definition, then under its contents, then made again.
    let lost = ["run join all", "stop join all"];
    let log = machine.log();
    assert_eq!(log, [lost.as_slice(), &lost, &["run write out x", "run join all"]].concat());
    assert_eq!(machine.build(&graph, above).await, result);
    assert_eq!(machine.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_layer_of_a_source_is_told() {
    let machine = machine();
    let layer = machine.registry.images.lock().unwrap()["base"][0].clone();
    machine.toy.lose(&layer);
    let mut graph = Graph::new();
    let base = graph.image("base");
    let target = graph.exec(&["join", "all"], &[base]);
    let error = machine.begin(&graph, target).end().await.unwrap_err();
    assert!(matches!(error, Error::Lost(lost) if *lost == layer));
}

#[tokio::test(start_paused = true)]
async fn a_part_is_digested_once() {
    let machine = machine();
    let mut graph = Graph::new();
    let (base, other) = (graph.image("base"), graph.image("base"));
    let target = graph.copy(base, other, "etc");
    machine.build(&graph, target).await;
    assert_eq!(machine.times("digest"), 1);
    let mut graph = Graph::new();
    let (base, other) = (graph.image("base"), graph.image("base"));
    let below = graph.exec(&["write", "a", "b"], &[base]);
    let target = graph.copy(below, other, "etc");
    machine.build(&graph, target).await;
    assert_eq!(machine.times("digest"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_selects_nothing_counts_by_definition_only() {
    let machine = machine();
    let build = async |text: &str| {
        let mut graph = Graph::new();
        let base = graph.image("base");
        let below = graph.exec(&["write", "a", text], &[base]);
        let mut target = exec(&["join", "all"], &[base]);
        if let Work::Op { inputs, .. } = &mut target.work {
            inputs.push(Edge::part(below, Select::Nothing));
        }
        let target = graph.put(target);
        machine.build(&graph, target).await;
        machine.log()
    };
    assert_eq!(build("1").await, ["run write a 1", "fetch", "run join all"]);
    assert_eq!(build("2").await, ["run write a 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_linked_copy_does_not_see_its_base() {
    let machine = machine();
    machine.push("new", "etc", "debian ");
    let build = async |reference: &str| {
        let mut graph = Graph::new();
        let (base, context) = (graph.image(reference), graph.context());
        let below = graph.exec(&["write", "a", reference], &[base]);
        let linked = graph.put(copy(below, context, "src", true));
        let stack = Vertex::op(
            crate::op::Op::Stack,
            vec![Edge::all(below), Edge::all(linked)],
            "COPY --link",
        );
        let target = graph.put(stack);
        let result = machine.build(&graph, target).await;
        (machine.log(), machine.read(&result), result)
    };
    let (log, tree, first) = build("base").await;
    assert_eq!(log.iter().filter(|line| line.starts_with("run")).count(), 2);
    assert_eq!(tree, files(&[("a", "base"), ("etc", "alpine "), ("src/main", "main ")]));
    let (log, _, second) = build("new").await;
    assert_eq!(log.iter().filter(|line| line.starts_with("run")).count(), 1, "{log:?}");
    assert_ne!(first.content, second.content);
    assert_eq!(first.layers.last(), second.layers.last());
}
