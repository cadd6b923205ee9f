//! Layers are on their way while later steps still run.

use std::collections::BTreeSet;

use rbuild_testkit::{CacheService, Gate, Home, eventually};

use super::{build, layers, two};
use crate::home;

/// A Dockerfile whose last step but one waits at a gate, above a stage of its own.
fn gated(gate: &Gate) -> String {
    format!(
        "FROM busybox AS other\nRUN echo other >/other\n\
         FROM busybox\nRUN echo 1 >/a\nCOPY --from=other /other /b\n\
         RUN --network=host {}\nRUN echo 2 >/c\n",
        gate.command()
    )
}

/// How many blobs were sent to a repository.
fn sent(home: &Home, repository: &str) -> usize {
    let begins = format!("PUT /v2/{repository}/blobs/");
    home.registry.requests().iter().filter(|request| request.starts_with(&begins)).count()
}

fn manifests(home: &Home, repository: &str) -> usize {
    let begins = format!("PUT /v2/{repository}/manifests/");
    home.registry.requests().iter().filter(|request| request.starts_with(&begins)).count()
}

#[test]
fn layers_are_sent_while_a_later_step_runs() {
    let gate = Gate::new();
    let (first, second) = two(&gated(&gate));
    // Each in a registry of its own: one lends what it has to its other repositories.
    let third = home();
    let [min, max, plain] = [&first, &second, &third].map(|home| home.registry.host());
    let flags = format!(
        "--cache-to {min}/min --cache-to type=registry,ref={max}/max,mode=max \
         --cache-to type=registry,ref={plain}/plain,compression=uncompressed"
    );
    let line = format!("rbuild -t app --progress plain {flags} app");
    let building = first.starts(&line);
    gate.until(1);
    // The gate is shut until they have come: the step at it runs all that time.
    eventually("the layers below the step are sent", || {
        (sent(&first, "min") == 2 && sent(&third, "plain") == 2 && sent(&second, "max") == 3)
            .then_some(())
    });
    let caches = [(&first, "min", 4), (&second, "max", 5), (&third, "plain", 4)];
    for (home, repository, _) in caches {
        assert_eq!(manifests(home, repository), 0, "{repository}");
    }
    gate.open();
    let built = building.wait();
    let shown = built.stderr.lines().filter(|line| line.ends_with("exporting cache to registry"));
    assert_eq!(shown.collect::<BTreeSet<_>>().len(), 3, "each is one step: {built}");
    built.ok();
    // Nothing is sent twice, and nothing that is not named: the layers and the document.
    for (at, repository, count) in caches {
        assert_eq!(layers(&at.registry, repository).len(), count, "{repository}");
        assert_eq!((sent(at, repository), manifests(at, repository)), (count + 1, 1));
        let from = format!("--cache-from {}/{repository}", at.registry.host());
        let other = home();
        other.write("app/Dockerfile", gated(&gate));
        let ran = build(&other, &from).ran;
        assert_eq!(ran, [""; 0], "{repository}");
    }
}

#[test]
fn layers_that_are_known_are_sent_while_a_step_runs_on_them() {
    let gate = Gate::new();
    let service = CacheService::start();
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n");
    build(&home, "");
    let step = format!("RUN --network=host {}\n", gate.command());
    home.write("app/Dockerfile", format!("FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n{step}"));
    // The one who has it all in one image sends it with the image, where both are beside each other.
    let host = home.registry.host();
    let flags = format!("-t {host}/app --push --cache-to {host}/cache --cache-to {host}/app:cache");
    let line = format!("rbuild {flags} --cache-to type=gha app");
    home.write("build.sh", format!("exec env {} {line}", service.variables()));
    let building = home.starts("sh build.sh");
    gate.until(1);
    eventually("the layers below the step are sent", || {
        (service.keys().len() == 2 && sent(&home, "app") == 2).then_some(())
    });
    gate.open();
    building.wait().ok();
    // Three layers, the config of the image, and the document of the cache.
    assert_eq!((sent(&home, "app"), sent(&home, "cache")), (6, 1), "the base comes with the image");
    assert_eq!(service.faults(), [""; 0]);
}

#[test]
fn a_build_that_fails_ends_what_it_has_begun_to_send() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo 1 >/a\nRUN false\n");
    let to = format!("--cache-to {}/cache", home.registry.host());
    let built = home.types(&format!("rbuild --progress plain {to} app"));
    assert!(built.stderr.contains("CANCELED"), "{built}");
    built.fails(1);
    assert_eq!(manifests(&home, "cache"), 0);
}
