//! What the design of the solver promises, on real disks: beside `cache`, `together`, `share` and
//! `failure`, which hold the rest of its table.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;

use crate::cache::ran;
use crate::home;
use rbuild_testkit::{Base, Gate, Home, Ran, digest};
use serde_json::Value;

/// The steps that ran in a build that went well.
fn steps(home: &Home, flags: &str) -> Vec<String> {
    let built: Ran = home.types(&format!("rbuild -t app --progress plain {flags} app"));
    let ran = ran(&built);
    built.ok();
    ran
}

/// The layers of a store that hold a file of this name.
fn layers_with(home: &Home, name: &str) -> Vec<PathBuf> {
    let layers = fs::read_dir(home.store().join("layers")).unwrap();
    let layers = layers.map(|layer| layer.unwrap().path());
    layers.filter(|layer| layer.join("files").join(name).exists()).collect()
}

/// Loses what a step made, as a disk may.
fn lose(home: &Home, name: &str) {
    let layers = layers_with(home, name);
    assert!(!layers.is_empty(), "no layer holds {name}");
    for layer in layers {
        fs::remove_dir_all(layer).unwrap();
    }
}

/// Of all records: the description, and the key by definition or by content.
fn keys(home: &Home) -> BTreeSet<(String, String)> {
    let mut keys = BTreeSet::new();
    for layer in fs::read_dir(home.store().join("layers")).unwrap() {
        let Ok(record) = fs::read(layer.unwrap().path().join("record.json")) else { continue };
        let record: Value = serde_json::from_slice(&record).unwrap();
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        keys.extend(["definition", "content"].map(|kind| (text("description"), text(kind))));
    }
    keys
}

#[test]
fn the_same_output_of_a_run_ends_the_work() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox\nRUN --mount=type=bind,source=in,target=/in wc -l </in >/count\n\
         RUN cat /count >/copy\n",
    );
    home.write("app/in", "one\n");
    assert_eq!(steps(&home, "").len(), 2);
    home.write("app/in", "two\n");
    let ran = steps(&home, "");
    assert!(ran.len() == 1 && ran[0].contains("wc -l"), "{ran:?}");
    home.write("app/in", "two\nlines\n");
    assert_eq!(steps(&home, "").len(), 2);
    assert_eq!(home.types("rbuild run --rm app cat /copy").ok(), "2");
}

#[test]
fn what_is_fresh_runs_again_and_its_equal_output_ends_the_work() {
    let home = home();
    let gate = Gate::new();
    gate.open();
    let file = format!(
        "FROM busybox AS make\nRUN {} && echo made >/made\n\
         FROM busybox\nCOPY --from=make /made /made\nRUN cat /made\n",
        gate.command()
    );
    home.write("app/Dockerfile", file);
    steps(&home, "--network host");
    let ran = steps(&home, "--network host --no-cache-filter make");
    assert_eq!(gate.arrived(), 2);
    assert!(ran.len() == 1 && ran[0].starts_with("RUN nc"), "{ran:?}");
}

#[test]
fn a_base_with_another_name_is_used_without_a_fetch() {
    let home = home();
    let again = format!("{}/library/again:1", home.registry.host());
    home.builds("again", "FROM busybox\nENV OTHER=config\n").ok();
    home.types(&format!("rbuild tag again {again} && rbuild push {again} && rbuild rmi {again}"))
        .ok();
    let rest = "RUN echo made >/made\nCOPY --from=busybox /etc/passwd /passwd\n";
    home.write("app/Dockerfile", format!("FROM busybox\nENV OTHER=config\n{rest}"));
    assert_eq!(steps(&home, "").len(), 2);

    let layer = digest(&Base::get().layer);
    lose(&home, "bin/busybox");
    // Its compressed bytes may be here, too.
    let _ = fs::remove_file(home.store().join("blobs").join(layer.replace(':', "/")));
    home.registry.forget_requests();
    home.write("app/Dockerfile", format!("FROM {again}\n{rest}"));
    assert_eq!(steps(&home, ""), [""; 0]);
    let requests = home.registry.requests();
    assert!(requests.iter().any(|request| request.contains("/library/again/")), "{requests:?}");
    assert!(!requests.iter().any(|request| request.contains(&layer)), "{requests:?}");
}

#[test]
fn a_result_is_found_though_all_beneath_it_is_gone() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox AS make\nRUN echo one >/one\nRUN cat /one >/two\n\
         FROM scratch\nCOPY --from=make /two /last\n",
    );
    home.write("app/src/file", "one\n");
    assert_eq!(steps(&home, "").len(), 3);
    lose(&home, "one");
    lose(&home, "two");
    assert_eq!(steps(&home, ""), [""; 0]);
    assert_eq!((layers_with(&home, "one").len(), layers_with(&home, "two").len()), (0, 0));
}

#[test]
fn a_lost_layer_is_made_again_with_all_that_stands_on_it() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox\nRUN echo one >/one\nRUN cat /one >/two\nRUN cat /two >/three\n",
    );
    assert_eq!(steps(&home, "").len(), 3);
    lose(&home, "two");
    assert_eq!(steps(&home, ""), ["RUN cat /one >/two", "RUN cat /two >/three"]);
    assert_eq!(home.types("rbuild run --rm app cat /three").ok(), "one");
    assert_eq!(steps(&home, ""), [""; 0]);
}

#[test]
fn another_path_other_times_and_another_store_give_the_same_keys() {
    let (one, two) = (home(), home());
    let file = "FROM busybox AS make\nCOPY . /src\nWORKDIR /src\nRUN cat a b/c >/made\n\
                FROM busybox\nCOPY --from=make /made /made\nRUN --mount=source=b,target=/b ls /b\n";
    for (home, folder) in [(&one, "app"), (&two, "elsewhere/of/it")] {
        home.write(&format!("{folder}/Dockerfile"), file);
        home.write(&format!("{folder}/a"), "a\n");
        home.write(&format!("{folder}/b/c"), "c\n");
    }
    for path in ["a", "b/c", "b", "Dockerfile"] {
        let file = File::open(two.path("elsewhere/of/it").join(path)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    one.types("rbuild app").ok();
    two.types("rbuild elsewhere/of/it").ok();
    assert_eq!(keys(&one), keys(&two));
    // Two keys a step.
    assert_eq!(keys(&one).len(), 10);
    // They can differ, too.
    two.write("elsewhere/of/it/b/c", "d\n");
    two.types("rbuild elsewhere/of/it").ok();
    assert!(keys(&two).len() > 10);
}

#[test]
fn looking_what_is_known_fetches_nothing() {
    let (first, second) = (home(), home());
    let file = "FROM busybox AS make\nRUN echo made >/made\n\
                FROM busybox\nCOPY --from=make /made /made\nRUN cat /made\n";
    for home in [&first, &second] {
        home.write("app/Dockerfile", file);
    }
    let registry = &first.registry;
    let (one, two) = (format!("{}/one", registry.host()), format!("{}/two", registry.host()));
    steps(&first, &format!("--cache-to type=registry,ref={one},mode=max"));
    assert_eq!(steps(&second, &format!("--cache-from {one}")), [""; 0]);
    registry.forget_requests();
    // All is known by definition here, and for their keys by content, which travel along where they
    // are known, a part of a layer would have to be digested that is not here.
    assert_eq!(steps(&second, &format!("--cache-to type=registry,ref={two},mode=max")), [""; 0]);
    assert!(registry.manifest("two", "latest").is_some());
    let manifest = String::from_utf8(registry.manifest("one", "latest").unwrap()).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let requests = [registry.requests(), second.registry.requests()].concat();
    for layer in layers.iter().map(|layer| layer["digest"].as_str().unwrap()) {
        let get = |request: &&String| request.starts_with("GET") && request.contains(layer);
        assert_eq!(requests.iter().find(get), None);
    }
    assert!(!second.store().join("layers").exists(), "no layer is here");
}
