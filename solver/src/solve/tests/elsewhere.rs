//! What one machine used is all that another one needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rbuild_cache::{Imported, Layer, Packer, Portable, PortableLayer, Store};

use super::toy::{Machine, Write};
use crate::{Events, Graph, Mode, Used, VertexId};

/// A copy of one path of a stage that is made from the context.
fn staged(graph: &mut Graph) -> VertexId {
    let (base, context) = (graph.image("base"), graph.context());
    let copied = graph.copy(base, context, "src");
    let made = graph.exec(&["join", "out"], &[copied]);
    let target = graph.copy(base, made, "out");
    graph.exec(&["write", "last", "1"], &[target])
}

fn packed(used: &[Used]) -> Portable {
    let layers = used.iter().flat_map(|used| used.outputs.iter());
    let layers = layers.flat_map(|output| output.layers.iter());
    let name = |layer: &Layer| match layer {
        Layer::Pulled { diff_id, .. } => {
            PortableLayer { diff_id: *diff_id, blob: None, created: None }
        }
        layer => panic!("{layer:?} is made by no step"),
    };
    let names: HashMap<_, _> = layers.map(|layer| (layer.clone(), name(layer))).collect();
    let mut packer = Packer::default();
    for one in used {
        packer.add(one.keys.clone(), &one.outputs, &names);
        one.parts.iter().for_each(|row| packer.add_part(*row));
    }
    packer.finish()
}

/// A new machine that imports what another used, and sees the same files.
fn new_machine(first: &Machine, used: &[Used]) -> Machine {
    let layers: HashMap<_, _> = first
        .registry
        .layers
        .lock()
        .unwrap()
        .keys()
        .map(|layer| {
            let Layer::Pulled { diff_id, .. } = layer else { panic!("{layer:?}") };
            (*diff_id, layer.clone())
        })
        .collect();
    let find = |name: &PortableLayer| layers.get(&name.diff_id).cloned();
    let imported = Imported::new(packed(used), find);
    let store = Store::temporary().unwrap().importing(vec![Arc::new(imported)]);
    let new = Machine::with(Arc::clone(&first.registry), store);
    new.toy.folder.lock().unwrap().clone_from(&first.toy.folder.lock().unwrap());
    new
}

async fn first() -> (Machine, Vec<Used>) {
    let first = Machine::new();
    first.push("base", "etc", "alpine ");
    first.write("src/main", "main ");
    let mut graph = Graph::new();
    let target = staged(&mut graph);
    let events = Events::none();
    let targets = [target];
    let solving = first.solver.solve_and_list(&graph, &targets, Mode::Build, &events);
    let (_, used) = solving.await.unwrap();
    (first, used)
}

#[tokio::test(start_paused = true)]
async fn a_build_lists_what_it_used() {
    let (first, used) = first().await;
    let names: Vec<_> = used.iter().map(|used| used.description.as_str()).collect();
    assert_eq!(names, ["copy src", "join out", "copy out", "write last 1"]);
    assert!(used.iter().all(|used| used.keys.len() == 2), "{used:?}");
    let records = first.toy.records.lock().unwrap();
    for record in records.iter() {
        let keys = vec![record.definition, record.content];
        assert!(used.iter().any(|used| used.keys == keys && used.outputs == record.outputs));
    }
    // A part of the context is digested where the context is: the row is of no use.
    let rows: Vec<_> = used.iter().map(|used| used.parts.len()).collect();
    assert_eq!(rows, [0, 0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_used_is_all_that_a_new_machine_needs() {
    let (first, used) = first().await;
    let mut graph = Graph::new();
    let target = staged(&mut graph);
    let made = first.build(&graph, target).await;
    let new = new_machine(&first, &used);
    assert_eq!(new.build(&graph, target).await, made);
    assert_eq!(new.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_part_is_not_fetched_to_be_digested_again() {
    let (first, used) = first().await;
    let new = new_machine(&first, &used);
    // The base has another name here, and the stage no definition that is known.
    let layers = first.registry.images.lock().unwrap()["base"].clone();
    new.registry.images.lock().unwrap().insert("same".to_owned(), layers);
    new.write("readme", "read me ");
    let mut graph = Graph::new();
    let (base, context) = (graph.image("same"), graph.context());
    let copied = graph.copy(base, context, "src");
    let made = graph.exec(&["join", "out"], &[copied]);
    let target = graph.copy(base, made, "out");
    new.build(&graph, target).await;
    assert_eq!(new.log(), ["digest"], "that of the context");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_delivered_is_made_again() {
    let (first, used) = first().await;
    let new = new_machine(&first, &used);
    let mut graph = Graph::new();
    let target = staged(&mut graph);
    first.toy.lose(used[3].outputs[0].layers.last().unwrap());
    new.build(&graph, target).await;
    assert_eq!(new.log(), [""; 0], "nobody wants the files");
    new.toy.delivers.store(true, Ordering::Relaxed);
    new.build(&graph, target).await;
    assert!(new.log().contains(&"run write last 1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_gone_elsewhere_is_made_here() {
    let (first, used) = first().await;
    let new = new_machine(&first, &used);
    let mut graph = Graph::new();
    let target = staged(&mut graph);
    let more = graph.exec(&["join", "more"], &[target]);
    let gone = used[3].outputs[0].layers.last().unwrap();
    first.toy.lose(gone);
    let made = new.build(&graph, more).await;
    assert_eq!(new.read(&made)["more"], "alpine 1alpine main ");
    let log = new.log();
    assert!(log.contains(&"run write last 1".to_owned()), "{log:?}");
    assert!(!log.contains(&"run copy out".to_owned()), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_layer_is_forgotten_of_all_that_stands_on_it() {
    let machine = Machine::new();
    machine.push("base", "etc", "alpine ");
    let mut graph = Graph::new();
    let mut tip = graph.image("base");
    // More steps than a graph is solved again for.
    for number in 0..100 {
        tip = graph.exec(&["write", "last", &number.to_string()], &[tip]);
    }
    let made = machine.build(&graph, tip).await;
    machine.toy.lose(&made.layers[1]);
    machine.log();
    let more = graph.exec(&["join", "more"], &[tip]);
    let made = machine.build(&graph, more).await;
    assert_eq!(machine.read(&made)["more"], "alpine 99");
    assert!(machine.log().contains(&"run write last 0".to_owned()));
}
