//! What is done again, and what is not: an unchanged build runs nothing and fetches nothing.

use std::fs::{File, Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use crate::home;
use rbuild_testkit::{Gate, Home, Ran};

/// The names of the steps that ran, in the order of the Dockerfile; those of the builder's own
/// and the base image are left out.
pub(crate) fn ran(built: &Ran) -> Vec<String> {
    let mut steps = Vec::new();
    let mut cached = Vec::new();
    for line in built.stderr.lines() {
        let Some((number, rest)) = line.split_once(' ') else {
            continue;
        };
        if rest == "CACHED" {
            cached.push(number);
        } else if let Some((_, name)) = rest.split_once("] ").filter(|_| rest.starts_with('[')) {
            steps.push((number, name));
        }
    }
    steps.sort_by_key(|(_, name)| built.stderr.find(&format!("] {name}")));
    let is_step =
        |name: &str| ["RUN", "COPY", "ADD", "WORKDIR"].iter().any(|i| name.starts_with(i));
    steps.dedup();
    let ran = steps.into_iter().filter(|(number, name)| is_step(name) && !cached.contains(number));
    ran.map(|(_, name)| name.to_owned()).collect()
}

/// A build that went well.
struct Built {
    /// The steps that ran.
    ran: Vec<String>,
    /// The id of the image.
    id: String,
}

fn build(home: &Home) -> Built {
    build_with(home, "")
}

fn build_with(home: &Home, flags: &str) -> Built {
    let built = home.types(&format!("rbuild -t app --progress plain {flags} app"));
    let ran = ran(&built);
    Built { ran, id: built.ok() }
}

#[test]
fn a_second_build_runs_nothing_and_fetches_nothing() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox\nRUN echo made >/made\nCOPY . /src\nRUN cat /made\n",
    );
    let first = build(&home);
    assert_eq!(first.ran, ["RUN echo made >/made", "COPY . /src", "RUN cat /made"]);
    assert!(home.registry.requests().iter().any(|request| request.contains("/blobs/")));
    home.registry.forget_requests();

    let second = build(&home);
    assert_eq!(second.ran, [""; 0]);
    assert_eq!(second.id, first.id, "the same image");
    assert_eq!(home.registry.requests(), [""; 0], "nothing is fetched, nothing is asked");
}

#[test]
fn a_build_with_pull_asks_for_the_base_and_fetches_nothing() {
    let home = home();
    home.builds("app", "FROM busybox\nRUN echo made\n").ok();
    home.registry.forget_requests();
    home.types("rbuild -t app --pull app").ok();
    let requests = home.registry.requests();
    assert!(requests.iter().any(|request| request.contains("/manifests/latest")), "{requests:?}");
    assert!(!requests.iter().any(|request| request.contains("/blobs/")), "{requests:?}");
}

#[test]
fn the_base_is_not_fetched_where_no_step_needs_it() {
    let home = home();
    home.builds("app", "FROM busybox\nRUN echo made >/made\n").ok();
    home.registry.forget_requests();
    home.types("rbuild run --rm app cat /made").ok();
    assert_eq!(home.registry.requests(), [""; 0]);
}

#[test]
fn times_are_no_contents() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nCOPY file /file\nRUN cat /file\n");
    home.write("app/file", "one\n");
    let first = build(&home);
    let later = SystemTime::now() + Duration::from_hours(1);
    File::options().write(true).open(home.path("app/file")).unwrap().set_modified(later).unwrap();
    let second = build(&home);
    assert_eq!(second.ran, [""; 0]);
    assert_eq!(second.id, first.id);
}

#[test]
fn contents_and_modes_are_contents() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo apart\nCOPY file /file\nRUN cat /file\n");
    home.write("app/file", "one\n");
    build(&home);
    home.write("app/file", "two\n");
    assert_eq!(build(&home).ran, ["COPY file /file", "RUN cat /file"]);
    assert_eq!(home.types("rbuild run --rm app cat /file").ok(), "two");
    set_permissions(home.path("app/file"), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(build(&home).ran, ["COPY file /file", "RUN cat /file"]);
    // What was there before is found again.
    home.write("app/file", "one\n");
    set_permissions(home.path("app/file"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(build(&home).ran, [""; 0]);
    assert_eq!(home.types("rbuild run --rm app cat /file").ok(), "one");
}

#[test]
fn files_that_are_not_copied_do_not_count() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nCOPY src /src\nRUN ls /src\n");
    home.write("app/src/file", "one\n");
    build(&home);
    home.write("app/README", "new\n");
    assert_eq!(build(&home).ran, [""; 0]);
    home.write("app/src/other", "new\n");
    assert_eq!(build(&home).ran, ["COPY src /src", "RUN ls /src"]);
}

#[test]
fn files_that_are_ignored_do_not_count() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nCOPY . /src\nRUN ls /src\n");
    home.write("app/.dockerignore", "*.log\nbuild\n!build/keep\n");
    home.write("app/file", "one\n");
    build(&home);
    home.write("app/noise.log", "new\n");
    home.write("app/build/object", "new\n");
    assert_eq!(build(&home).ran, [""; 0]);
    home.write("app/build/keep", "new\n");
    assert_eq!(build(&home).ran, ["COPY . /src", "RUN ls /src"]);
    let files = home.types("rbuild run --rm app find /src -type f").ok();
    let mut files: Vec<_> = files.lines().collect();
    files.sort_unstable();
    assert_eq!(files, ["/src/.dockerignore", "/src/Dockerfile", "/src/build/keep", "/src/file"]);
}

#[test]
fn equal_outputs_end_the_work() {
    let home = home();
    // The step between runs again, but what it makes is what it made before.
    home.write(
        "app/Dockerfile",
        "FROM busybox AS make\nCOPY in /in\nRUN wc -l </in >/count\n\
         FROM busybox\nCOPY --from=make /count /count\nRUN cat /count\n",
    );
    home.write("app/in", "one\n");
    build(&home);
    home.write("app/in", "two\n");
    let ran = build(&home).ran;
    assert!(ran.iter().any(|step| step.starts_with("RUN wc")), "{ran:?}");
    assert!(!ran.iter().any(|step| step == "RUN cat /count"), "{ran:?}");
}

#[test]
fn no_cache_runs_everything_again() {
    let home = home();
    let gate = Gate::new();
    gate.open();
    home.write("app/Dockerfile", format!("FROM busybox\nRUN {}\n", gate.command()));
    let line = "rbuild -t app --network host app";
    home.types(line).ok();
    home.types(line).ok();
    assert_eq!(gate.arrived(), 1);
    home.types(&format!("{line} --no-cache")).ok();
    assert_eq!(gate.arrived(), 2);
    home.types(line).ok();
    assert_eq!(gate.arrived(), 2, "the new result is the one that is known now");
}

#[test]
fn it_counts_where_a_link_leads() {
    let home = home();
    let file = "FROM busybox\nCOPY one /one\nCOPY two /two\nCOPY link/f /f\n";
    home.write("app/Dockerfile", file);
    home.write("app/one/f", "one\n");
    home.write("app/two/f", "two\n");
    for name in ["one", "two"] {
        home.types(&format!("ln -sfn {name} app/link && rbuild -t app app")).ok();
        assert_eq!(home.types("rbuild run --rm app cat /f").ok(), name);
    }
}

#[test]
fn folders_count_where_they_are_kept() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nCOPY a/b /x/\nCOPY --parents a/b /y/\n");
    home.write("app/a/b", "");
    set_permissions(home.path("app/a"), Permissions::from_mode(0o755)).unwrap();
    build(&home);
    set_permissions(home.path("app/a"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(build(&home).ran, ["COPY --parents a/b /y/"]);
    assert_eq!(home.types("rbuild run --rm app stat -c %a /y/a").ok(), "700");
}

#[test]
fn an_argument_counts_where_it_is_used() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox\nRUN echo before\nARG NAME=none\nRUN echo $NAME >/name\n",
    );
    build(&home);
    let with = |name: &str| build_with(&home, &format!("--build-arg NAME={name}")).ran;
    assert_eq!(with("one"), ["RUN echo one >/name"]);
    assert_eq!(with("one"), [""; 0]);
    assert_eq!(home.types("rbuild run --rm app cat /name").ok(), "one");
    assert_eq!(build(&home).ran, [""; 0]);
    assert_eq!(home.types("rbuild run --rm app cat /name").ok(), "none");
}

#[test]
fn the_index_may_be_deleted_at_any_time() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo made >/made\n");
    let first = build(&home);
    std::fs::remove_dir_all(home.store().join("index")).unwrap();
    let second = build(&home);
    assert_eq!(second.ran, [""; 0], "the layers on disk say what they are");
    assert_eq!(second.id, first.id);
    assert_eq!(home.types("rbuild run --rm app cat /made").ok(), "made");
}
