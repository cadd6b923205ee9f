//! Builds, stages and processes beside each other. Steps meet the test at a gate, so that nothing
//! depends on how long anything takes.

use std::fmt::Write;

use crate::home;
use rbuild_testkit::Gate;

#[test]
fn independent_stages_run_at_the_same_time() {
    let home = home();
    let gate = Gate::new();
    let mut file = String::new();
    for stage in ["one", "two", "three", "four"] {
        let step = gate.command();
        writeln!(file, "FROM busybox AS {stage}\nRUN {step} && echo {stage} >/{stage}").unwrap();
    }
    file += "FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n\
             COPY --from=three /three /\nCOPY --from=four /four /\n";
    home.write("app/Dockerfile", file);
    let build = home.starts("rbuild -t app --network host app");
    // None of them goes on before all are there.
    gate.until(4);
    gate.open();
    build.wait().ok();
}

/// Six stages with one step each, in which `NAME` is the number of the stage, and a last one that
/// takes a file of each.
fn six_stages(step: &str, base: &str, path: &str) -> String {
    let mut file = String::new();
    for stage in 0..6 {
        let step = step.replace("NAME", &stage.to_string());
        writeln!(file, "FROM busybox AS s{stage}\n{step}").unwrap();
    }
    writeln!(file, "FROM {base}").unwrap();
    for stage in 0..6 {
        writeln!(file, "COPY --from=s{stage} {path} /{stage}").unwrap();
    }
    file
}

#[test]
fn no_more_steps_run_at_once_than_jobs_says() {
    let home = home();
    let step = "RUN --mount=type=cache,target=/c mkdir /c/mine && ls -lR /bin >/x && rmdir /c/mine";
    home.write("app/Dockerfile", six_stages(&format!("{step} && echo NAME"), "scratch", "/x"));
    home.types("rbuild --jobs 1 app").ok();
}

#[test]
fn equal_steps_of_one_build_run_once() {
    let home = home();
    let gate = Gate::new();
    gate.open();
    let step = gate.command();
    let file = format!(
        "FROM busybox AS one\nRUN {step}\nFROM busybox AS two\nRUN {step}\n\
         FROM scratch\nCOPY --from=one /etc/passwd /a\nCOPY --from=two /etc/passwd /b\n"
    );
    home.write("app/Dockerfile", file);
    home.types("rbuild -t app --network host app").ok();
    assert_eq!(gate.arrived(), 1);
}

#[test]
fn two_processes_share_a_step() {
    let home = home();
    let gate = Gate::new();
    home.write(
        "app/Dockerfile",
        format!("FROM busybox\nRUN {} && echo 1 >/made\n", gate.command()),
    );
    let first = home.starts("rbuild -t first --network host app");
    gate.until(1);
    let second = home.starts("rbuild -t second --progress plain --network host app");
    second.until_err("waiting for");
    gate.open();
    let (first, second) = (first.wait().ok(), second.wait().ok());
    assert_eq!(first, second, "they are one image");
    assert_eq!(gate.arrived(), 1, "the step ran once");
    assert_eq!(home.types("rbuild run --rm second cat /made").ok(), "1");
}

#[test]
fn who_waits_goes_on_when_the_other_is_killed() {
    let home = home();
    let gate = Gate::new();
    home.write(
        "app/Dockerfile",
        format!("FROM busybox\nRUN {} && echo 1 >/made\n", gate.command()),
    );
    let first = home.starts("rbuild -t first --network host app");
    gate.until(1);
    let second = home.starts("rbuild -t second --progress plain --network host app");
    second.until_err("waiting for");
    first.kill();
    gate.until(2);
    gate.open();
    second.wait().ok();
    assert_eq!(first.wait().code, 128 + 9);
    assert_eq!(home.types("rbuild run --rm second cat /made").ok(), "1");
}

#[test]
fn eight_processes_run_each_step_once() {
    const STEPS: usize = 10;
    let home = home();
    let step = |n: usize| {
        format!("RUN --mount=type=cache,target=/c echo {n} >>/c/ran && echo {n} >/{n}\n")
    };
    let steps = (0..STEPS).map(step).collect::<String>();
    home.write("app/Dockerfile", format!("FROM busybox\n{steps}"));
    let builds: Vec<_> = (0..8).map(|n| home.starts(&format!("rbuild -q -t app{n} app"))).collect();
    let images: Vec<_> = builds.into_iter().map(|build| build.wait().ok()).collect();
    assert!(images.iter().all(|image| *image == images[0]), "{images:?}");
    let file = "FROM busybox\nRUN --mount=type=cache,target=/c cp /c/ran /ran\n";
    home.builds("ran", file).ok();
    let ran = home.types("rbuild run --rm ran sort -n /ran").ok();
    assert_eq!(
        ran.lines().collect::<Vec<_>>(),
        (0..STEPS).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    assert_eq!(home.types("rbuild run --rm app7 cat /9").ok(), "9");
}

#[test]
fn a_failed_step_ends_the_others() {
    let home = home();
    let gate = Gate::new();
    home.write(
        "app/Dockerfile",
        format!(
            "FROM busybox AS slow\nRUN {step} && echo never\n\
             FROM busybox AS wrong\nRUN while [ ! -e /c/go ]; do sleep 0.05; done; exit 9\n\
             FROM scratch\nCOPY --from=slow / /\nCOPY --from=wrong / /\n",
            step = gate.command()
        )
        .replace("RUN while", "RUN --mount=type=cache,target=/c while"),
    );
    let build = home.starts("rbuild -t app --network host app");
    gate.until(1);
    home.builds("go", "FROM busybox\nRUN --mount=type=cache,target=/c touch /c/go\n").ok();
    let error = build.wait().fails(1);
    assert!(error.contains("exit code: 9"), "{error}");
    gate.until_gone();
}

#[test]
fn a_cache_mount_that_is_locked_has_one_user_at_a_time() {
    let home = home();
    let step = "RUN --mount=type=cache,target=/c,sharing=locked \
        mkdir /c/mine && echo NAME >>/c/users && rmdir /c/mine";
    let mut file = six_stages(step, "busybox", "/etc/passwd");
    file += "RUN --mount=type=cache,target=/c,sharing=locked sort /c/users >/users\n";
    home.builds("app", &file).ok();
    assert_eq!(home.types("rbuild run --rm app cat /users").ok(), "0\n1\n2\n3\n4\n5");
}
