//! Caches in the cache service of GitHub Actions: against a service of this process, which is as
//! strict as the real one is said to be, and not against the real one.

use std::collections::BTreeSet;

use rbuild_testkit::{CacheService, Home};

use super::{Built, is_known, twenty_steps, two};
use crate::cache::ran;
use crate::home;

/// A build in a workflow.
fn build(home: &Home, service: &CacheService, flags: &str) -> Built {
    let variables = service.variables();
    let built = home.types(&format!("{variables} rbuild -t app --progress plain {flags} app"));
    assert!(!built.stderr.contains("hush") && !built.stdout.contains("hush"), "{built}");
    let (ran, stderr) = (ran(&built), built.stderr.clone());
    Built { ran, id: built.ok(), stderr }
}

fn count(service: &CacheService, beginning: &str) -> usize {
    service.keys().iter().filter(|key| key.starts_with(beginning)).count()
}

/// Reads of the store of blobs since the last time.
fn read(service: &CacheService) -> usize {
    service.requests().iter().filter(|request| request.starts_with("GET")).count()
}

#[test]
fn a_cache_in_github_actions_is_used_without_a_layer() {
    let (first, second) = two(&twenty_steps());
    let service = CacheService::start();
    let made = build(&first, &service, "--cache-to type=gha,mode=max");
    assert!(made.stderr.contains("exporting cache to GitHub Actions Cache"), "{}", made.stderr);
    assert_eq!(
        (count(&service, "rbuild-blob-1-sha256:"), count(&service, "rbuild-index-1-")),
        (21, 1)
    );
    service.requests();

    let found = build(&second, &service, "--cache-from type=gha");
    assert!(found.stderr.contains("importing cache manifest from gha:rbuild"), "{}", found.stderr);
    is_known(&found, [&second; 2], &[]);
    assert_eq!(found.id, made.id);
    assert_eq!(read(&service), 2, "the manifest and the document");

    // Whoever has the token gets the files, later too.
    assert_ne!(second.types("rbuild run --rm app tail -n 1 last").code, 0);
    let run = format!("{} rbuild run --rm app tail -n 1 last", service.variables());
    assert_eq!(second.types(&run).ok(), "16");
    assert_eq!(read(&service), 3, "the layers of the image that are not the base's");

    // Another cache of the same names nothing that is not there already, and the last one counts.
    let third = home();
    third.write("app/Dockerfile", twenty_steps());
    third.write("app/src/main", "main\n");
    let flags = "--cache-from type=gha --cache-to type=gha,mode=max --build-arg LAST=17";
    assert_eq!(build(&third, &service, flags).ran.len(), 3);
    assert_eq!((count(&service, "rbuild-blob-1-"), count(&service, "rbuild-index-1-")), (25, 2));
    assert_eq!(build(&first, &service, "--cache-from type=gha --build-arg LAST=17").ran, [""; 0]);
    assert_eq!(service.faults(), [""; 0]);
}

#[test]
fn entries_of_github_actions_may_vanish_and_scopes_are_apart() {
    let (first, second) = two("FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n");
    let service = CacheService::start();
    let none = build(&first, &service, "--cache-from type=gha --cache-to type=gha,scope=main");
    assert!(none.stderr.contains("it has no `rbuild`"), "{}", none.stderr);
    assert_eq!(build(&second, &service, "--cache-from type=gha,scope=mai").ran.len(), 2);

    let third = home();
    third.write("app/Dockerfile", "FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\nRUN cat /a /b\n");
    service.forget("rbuild-blob-1-");
    // The document is a blob as well.
    let gone = build(&third, &service, "--cache-from type=gha,scope=main");
    assert_eq!(gone.ran.len(), 3);
    build(&first, &service, "--cache-to type=gha,scope=main");
    let layers = service.keys().into_iter().filter(|key| key.starts_with("rbuild-blob-1-"));
    let layers: Vec<String> = layers.collect();
    assert_eq!(layers.len(), 3, "a gone entry is made again");
    let fourth = home();
    fourth.write("app/Dockerfile", "FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\nRUN cat /a /b\n");
    layers[..2].iter().for_each(|layer| service.forget(layer));
    let made = build(&fourth, &service, "--cache-from type=gha,scope=main");
    let misses =
        made.stderr.lines().filter_map(|line| line.split_once("miss: ")?.1.split(" (").next());
    assert_eq!(
        misses.collect::<BTreeSet<_>>(),
        BTreeSet::from(["RUN echo 1 >/a", "RUN echo 2 >/b"])
    );
    assert_eq!(service.faults(), [""; 0]);
}

#[test]
fn a_token_that_may_only_read_fails_the_export_alone() {
    let (first, second) = two("FROM busybox\nRUN echo 1 >/a\n");
    let service = CacheService::start();
    build(&first, &service, "--cache-to type=gha");
    service.read_only();
    let flags = "--cache-from type=gha --cache-to type=gha,ignore-error=true";
    let built = build(&second, &service, flags);
    assert_eq!(built.ran, [""; 0]);
    assert!(built.stderr.contains("the token may only read"), "{}", built.stderr);
    let line = format!("{} rbuild --cache-to type=gha app", service.variables());
    let error = second.types(&line).fails(3);
    assert!(error.contains("the token may only read") && !error.contains("hush"), "{error}");
    let error = second.types("rbuild --cache-to type=gha,token=hush app").fails(2);
    assert!(error.contains("ACTIONS_RESULTS_URL") && !error.contains("hush"), "{error}");
    assert_eq!(service.faults(), [""; 0]);
}
