//! Two processes on one store: here, two solvers that share nothing but its folder.

use std::sync::Arc;

use rbuild_cache::Store;
use tokio::sync::Notify;

use super::toy::{Machine, Write};
use crate::{CachedBy, Events, Graph, Mode, What};

#[tokio::test(start_paused = true)]
async fn two_processes_run_equal_work_once() {
    let folder = tempfile::tempdir().unwrap();
    let one = Machine::with(Arc::default(), Store::open(folder.path()).unwrap());
    one.push("base", "etc", "alpine ");
    let two = Machine::with(Arc::clone(&one.registry), Store::open(folder.path()).unwrap());
    let mut graph = Graph::new();
    let base = graph.image("base");
    let target = graph.exec(&["sleep", "3"], &[base]);
    let (first, second) = (one.begin(&graph, target), two.begin(&graph, target));
    assert_eq!(first.end().await.unwrap(), second.end().await.unwrap());
    assert_eq!(one.times("run sleep 3") + two.times("run sleep 3"), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_another_process_is_told_and_its_result_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let one = Machine::with(Arc::default(), Store::open(folder.path()).unwrap());
    one.push("base", "etc", "alpine ");
    let mut graph = Graph::new();
    let base = graph.image("base");
    let target = graph.exec(&["write", "x", "y"], &[base]);
    one.build(&graph, target).await;
    let record = one.toy.records.lock().unwrap()[0].clone();
    one.store.forget(&[record.definition, record.content]).unwrap();

    let two = Machine::with(Arc::clone(&one.registry), Store::open(folder.path()).unwrap());
    let held = one.store.lock(&record.content.hex()).unwrap().unwrap();
    let (told, said) = (Arc::new(Notify::new()), Arc::new(std::sync::Mutex::new(Vec::new())));
    let events = {
        let (told, said) = (Arc::clone(&told), Arc::clone(&said));
        Events::new(move |event| {
            if matches!(event.what, What::Waiting { .. }) {
                told.notify_one();
            }
            said.lock().unwrap().push(event.what);
        })
    };
    let (solver, waiting_graph) = (two.solver.clone(), graph.clone());
    let waiting = async move { solver.solve(&waiting_graph, target, Mode::Build, &events).await };
    let finish = async {
        told.notified().await;
        one.store.remember(&record).unwrap();
        drop(held);
    };
    let (result, ()) = tokio::join!(waiting, finish);
    assert_eq!(result.unwrap(), record.outputs);
    assert_eq!(two.times("run write x y"), 0);
    let said = said.lock().unwrap();
    let pid = format!("pid {}, which is running this step", std::process::id());
    assert!(matches!(&said[1], What::Waiting { on } if *on == pid), "{said:?}");
    assert!(matches!(said[2], What::Cached { by: CachedBy::Content }), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_only_looks_waits_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let one = Machine::with(Arc::default(), Store::open(folder.path()).unwrap());
    one.push("base", "etc", "alpine ");
    let two = Machine::with(Arc::clone(&one.registry), Store::open(folder.path()).unwrap());
    let mut graph = Graph::new();
    let base = graph.image("base");
    let target = graph.exec(&["sleep", "3"], &[base]);
    let building = one.begin(&graph, target);
    while one.times("run sleep 3") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(two.check(&graph, target).await.is_err());
    building.end().await.unwrap();
}
