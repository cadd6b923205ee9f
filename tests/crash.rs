//! A builder that is killed, and a disk that is full: the next build is right, and nothing stays.

use std::fs;
use std::path::Path;

use crate::home;
use rbuild_testkit::{Gate, Home, SmallDisk, eventually};

const SMALL: usize = 24;

/// What a process that died left in the store.
fn leftovers(home: &Home) -> Vec<String> {
    let mut found = Vec::new();
    for (folder, is_left) in [("layers", ".new-"), ("tmp", ""), ("blobs/sha256", ".")] {
        for entry in fs::read_dir(home.store().join(folder)).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with(is_left) {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found
}

/// Demands that a build after a crash is right, and that the crash's leavings go.
fn check_next_build(home: &Home, line: &str, script: &str, said: &str) {
    home.types(line).ok();
    assert_eq!(home.types(&format!("rbuild run --rm app sh -c '{script}'")).ok(), said);
    home.types("rbuild image prune -f").ok();
    assert_eq!(leftovers(home), [""; 0]);
    assert_eq!(home.types(&format!("rbuild run --rm app sh -c '{script}'")).ok(), said);
}

#[test]
fn a_builder_killed_in_a_run_takes_the_step_with_it() {
    let home = home();
    let gate = Gate::new();
    let step = format!("echo half >/made && {} && echo whole >/made", gate.command());
    home.write("app/Dockerfile", format!("FROM busybox\nRUN echo 1 >/first\nRUN {step}\n"));
    let build = home.starts("rbuild -t app --network host app");
    gate.until(1);
    build.kill();
    assert_eq!(build.wait().code, 128 + 9);
    gate.until_gone();
    assert!(!leftovers(&home).is_empty(), "it was in the middle");
    gate.open();
    let line = "rbuild -t app --network host app";
    check_next_build(&home, line, "cat /first /made", "1\nwhole");
    assert_eq!(gate.arrived(), 2, "the step ran again");
}

#[test]
fn a_builder_killed_in_a_copy_leaves_no_half_of_it() {
    let home = home();
    for number in 0..3000 {
        home.write(&format!("app/files/{}/{number}", number % 30), number.to_string());
    }
    home.write("app/Dockerfile", "FROM busybox\nCOPY files /files\n");
    // Where the copy was quicker than the kill, the store is removed and it is tried again.
    eventually("a kill in the middle of a copy", || {
        let build = home.starts("rbuild -t app app");
        let layers = home.store().join("layers");
        eventually("the copy has begun", || copied(&layers).then_some(()));
        build.kill();
        let in_the_middle = build.wait().code == 128 + 9 && !leftovers(&home).is_empty();
        if !in_the_middle {
            fs::remove_dir_all(home.store()).unwrap();
        }
        in_the_middle.then_some(())
    });
    check_next_build(&home, "rbuild -t app app", "find /files -type f | wc -l", "3000");
}

/// Whether a layer under way has got a first file, or one is ready beside the base.
fn copied(layers: &Path) -> bool {
    let layers = fs::read_dir(layers).into_iter().flatten().flatten();
    layers.into_iter().any(|layer| layer.path().join("files/files").exists())
}

#[test]
fn a_builder_killed_in_a_pull_leaves_no_half_of_it() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo made >/made\n");
    home.registry.hold_blobs(true);
    let build = home.starts("rbuild -t app app");
    let is_asked = || {
        home.registry.requests().iter().any(|line| line.contains("GET") && line.contains("/blobs/"))
    };
    eventually("a blob is asked for", || is_asked().then_some(()));
    build.kill();
    build.wait().fails(128 + 9);
    home.registry.hold_blobs(false);
    check_next_build(&home, "rbuild -t app app", "cat /made", "made");
}

#[test]
fn killing_again_and_again_breaks_nothing() {
    let home = home();
    let step = |n: usize| format!("RUN echo {n} >/file-{n}\nCOPY f /f{n}\n");
    let steps = (0..12).map(step).collect::<Vec<_>>().concat();
    home.write("app/f", "x");
    home.write("app/Dockerfile", format!("FROM busybox\n{steps}"));
    // Each time a little later: wherever that is, the store must take it.
    for layers in 1..12 {
        let build = home.starts("rbuild -t app app");
        let folder = home.store().join("layers");
        let count = || fs::read_dir(&folder).map_or(0, Iterator::count);
        eventually("so many layers", || (count() >= 2 * layers).then_some(()));
        build.kill();
        drop(build.wait());
    }
    check_next_build(&home, "rbuild -t app app", "cat /file-11; ls / | grep -c ^f", "11\n24");
}

#[test]
fn a_hundred_kills_at_random_moments_break_nothing() {
    let home = home();
    let step = |n: usize| format!("RUN echo $V >/file-{n}\nCOPY f /f{n}\nWORKDIR /w{n}\n");
    let steps = (0..4).map(step).collect::<String>();
    home.write("app/f", "x");
    home.write("app/Dockerfile", format!("FROM busybox\nARG V\n{steps}"));
    let line = |v: u32| format!("rbuild --progress rawjson --build-arg V={v} -t app app");
    let whole = home.types(&line(0));
    let lines = whole.stderr.lines().count();
    whole.ok();
    // The moments are lines of the progress: no clock is waited for, and any run can be repeated.
    let mut random = 0x2545_f491_u32;
    for v in 1..=100 {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let build = home.starts(&line(v));
        build.until_err_lines(random as usize % lines);
        build.kill();
        drop(build.wait());
    }
    let verified = home.types("rbuild cache verify");
    assert_eq!(verified.code, 0, "{verified}");
    let said = "100\n4";
    check_next_build(&home, &line(100), "cat /file-3; ls -d /w* | grep -c .", said);
    home.types("rbuild cache verify").ok();
}

#[test]
fn an_interrupt_ends_a_build_and_its_steps() {
    let home = home();
    let gate = Gate::new();
    home.write("app/Dockerfile", format!("FROM busybox\nRUN {}\n", gate.command()));
    let build = home.starts("rbuild -t app --network host app");
    gate.until(1);
    build.signal(rustix::process::Signal::INT);
    assert_eq!(build.wait().code, 130);
    gate.until_gone();
    gate.open();
    home.types("rbuild -t app --network host app").ok();
}

/// A home whose store is on a small disk.
fn on_small_disk() -> (Home, SmallDisk) {
    let home = home();
    let disk = SmallDisk::mount(&home.store(), SMALL);
    (home, disk)
}

#[test]
fn a_step_that_fills_the_disk_fails_clearly() {
    let (home, disk) = on_small_disk();
    let error =
        home.builds("app", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=60\n").fails(1);
    assert!(error.contains("No space left on device"), "{error}");
    home.builds("app", "FROM busybox\nRUN echo small >/small\n").ok();
    assert_eq!(home.types("rbuild run --rm app cat /small").ok(), "small");
    drop((disk, home));
}

#[test]
fn a_copy_that_fills_the_disk_fails_clearly() {
    let (home, disk) = on_small_disk();
    home.write("app/big", vec![7; 60_000_000]);
    let error = home.builds("app", "FROM busybox\nCOPY big /big\n");
    assert!(error.code != 0 && error.stderr.contains("No space left on device"), "{error}");
    home.builds("app", "FROM busybox\nCOPY Dockerfile /small\n").ok();
    assert_eq!(home.types("rbuild run --rm app ls /small").ok(), "/small");
    drop((disk, home));
}

#[test]
fn a_store_on_a_full_disk_is_whole_once_there_is_room() {
    let (home, disk) = on_small_disk();
    home.builds("before", "FROM busybox\nRUN echo before >/before\n").ok();
    let filler = home.store().join("filler");
    let line = format!("dd if=/dev/zero of={} bs=64k 2>/dev/null; true", filler.display());
    home.types(&line).ok();
    for file in ["FROM busybox\nRUN echo new >/new\n", "FROM busybox\nCOPY Dockerfile /new\n"] {
        let error = home.builds("app", file);
        assert_ne!(error.code, 0, "{error}");
        assert!(error.stderr.to_lowercase().contains("no space left"), "{error}");
    }
    fs::remove_file(filler).unwrap();
    home.builds("app", "FROM busybox\nRUN echo new >/new\n").ok();
    assert_eq!(home.types("rbuild run --rm app cat /new").ok(), "new");
    assert_eq!(home.types("rbuild run --rm before cat /before").ok(), "before");
    drop((disk, home));
}

#[test]
fn a_pull_onto_a_full_disk_fails_clearly() {
    let (home, disk) = on_small_disk();
    let filler = home.store().join("filler");
    let line = format!("dd if=/dev/zero of={} bs=64k 2>/dev/null; true", filler.display());
    home.types(&line).ok();
    let error = home.types("rbuild pull busybox");
    assert!(error.code != 0 && error.stderr.to_lowercase().contains("no space left"), "{error}");
    fs::remove_file(filler).unwrap();
    assert_eq!(home.types("rbuild run --rm busybox echo hi").ok(), "hi");
    drop((disk, home));
}
