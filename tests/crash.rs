//! A builder that is killed, a machine that goes down, and a disk that is full or damages what is on
//! it: the next build is right, and nothing stays.

use std::fs;
use std::path::{Path, PathBuf};

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

/// The folders of the layers that have a file.
fn layers_with(home: &Home, file: &str) -> Vec<PathBuf> {
    let layers = fs::read_dir(home.store().join("layers")).unwrap();
    let layers = layers.map(|layer| layer.unwrap().path());
    layers.filter(|layer| layer.join("files").join(file).exists()).collect()
}

#[test]
fn what_the_disk_did_not_have_when_the_machine_went_down_is_made_again() {
    // In memory, where nobody waits for the disk: so no layer is known to be on it.
    let (home, disk) = on_small_disk();
    let file = "FROM busybox\nRUN echo one >/one\nRUN echo two >/two\nRUN echo three >/three\n";
    home.builds("app", file).ok();
    home.builds("other", "FROM busybox\nRUN echo other >/other\n").ok();
    let tear = |file: &str| {
        let layers = layers_with(&home, file);
        assert_eq!(layers.len(), 1, "{file}");
        fs::File::create(layers[0].join("files").join(file)).unwrap();
    };
    for file in ["bin/busybox", "two", "other"] {
        tear(file);
    }
    fs::write(home.store().join("boot"), "an earlier start").unwrap();
    let verified = home.types("rbuild cache verify");
    assert!(verified.code != 0 && verified.stdout.contains("before the disk had it"), "{verified}");

    let again = home.builds("app", file);
    assert_eq!(again.code, 0, "{again}");
    // The base, what is torn, and what stands on it.
    for told in
        ["went down before the disk had 4 layers", "the image `other:latest` has lost a layer"]
    {
        assert!(again.stderr.contains(told), "{again}");
    }
    assert!(!again.stderr.contains("the image `busybox"), "it is fetched again: {again}");
    let whole = "cat /one /two /three; ls /bin/busybox";
    let said = "one\ntwo\nthree\n/bin/busybox";
    assert_eq!(home.types(&format!("rbuild run --rm app sh -c '{whole}'")).ok(), said);
    let lost = home.types("rbuild run --rm other true").fails(125);
    assert!(lost.contains("is not in the store"), "{lost}");
    home.types("rbuild rmi other").ok();
    home.types("rbuild cache verify").ok();
    let known = home.builds("app", file);
    assert!(known.code == 0 && !known.stderr.contains("went down"), "{known}");
    drop((disk, home));
}

#[test]
fn whoever_waits_for_the_disk_marks_what_is_on_it() {
    let (home, disk) = on_small_disk();
    let file = "FROM busybox\nRUN echo one >/one\n";
    home.builds("app", file).ok();
    let settled = || layers_with(&home, "../settled").len();
    assert_eq!(settled(), 0);
    // As a build starts it on a disk that outlasts the machine.
    let line = format!("rbuild --rbuild-settle {} </dev/null", home.store().display());
    home.types(&line).ok();
    assert_eq!(settled(), 2);
    fs::write(home.store().join("boot"), "an earlier start").unwrap();
    let again = home.builds("app", file);
    assert!(again.code == 0 && !again.stderr.contains("went down"), "{again}");
    // A store that was removed meanwhile is not made again.
    let gone = home.path("gone");
    let line = format!("rbuild --rbuild-settle {} </dev/null", gone.display());
    assert_ne!(home.types(&line).code, 0);
    assert!(!gone.exists());
    drop((disk, home));
}

/// Changes a byte in the midst of every blob.
fn damage_blobs(home: &Home) -> usize {
    let blobs: Vec<_> = fs::read_dir(home.store().join("blobs/sha256")).unwrap().collect();
    for blob in &blobs {
        let path = blob.as_ref().unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        fs::write(path, bytes).unwrap();
    }
    blobs.len()
}

#[test]
fn a_damaged_blob_is_told_set_aside_and_fetched_again() {
    let home = home();
    home.types("rbuild pull busybox").ok();
    // Only the blobs are left, and not one of them is whole.
    fs::remove_dir_all(home.store().join("layers")).unwrap();
    assert!(damage_blobs(&home) >= 3);
    let error = home.types("rbuild save -o image.tar busybox").fails(3);
    assert!(error.contains("is damaged; it is set aside"), "{error}");
    assert!(error.contains("rbuild cache verify"), "it says what to do: {error}");
    assert_eq!(fs::read_dir(home.store().join("damaged")).unwrap().count(), 1);
    home.builds("app", "FROM busybox\nRUN echo made >/made\n").ok();
    assert_eq!(home.types("rbuild run --rm app cat /made").ok(), "made");
    home.types("rbuild pull busybox").ok();
    home.types("rbuild save -o image.tar busybox").ok();
    home.types("rbuild cache verify").ok();
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
    assert!(error.stderr.contains("the step needs at least 60MB, "), "{error}");
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

/// What a machine that goes down may leave of the files of containers.
#[test]
fn a_container_whose_state_is_torn_can_be_started_and_removed() {
    let home = home();
    home.builds("app", "FROM busybox\n").ok();
    for name in ["torn", "gone"] {
        home.types(&format!("rbuild run --name {name} app sh -c 'echo said'")).ok();
    }
    let folder = |name: &str| {
        let id = home.types(&format!("rbuild inspect --format '{{{{.Id}}}}' {name}")).ok();
        home.store().join("containers").join(id)
    };
    let (torn, gone) = (folder("torn"), folder("gone"));
    std::fs::write(torn.join("state.json"), "{\"status\":\"runn").unwrap();
    assert!(home.types("rbuild ps -a").ok().contains("torn"));
    assert_eq!(home.types("rbuild start -a torn").ok(), "said");
    std::fs::write(torn.join("state.json"), "").unwrap();
    home.types("rbuild rm torn").ok();
    assert!(!torn.exists());
    // Without its record it is no container any more, and its name is free.
    std::fs::write(gone.join("container.json"), "").unwrap();
    assert!(!home.types("rbuild ps -a").ok().contains("gone"));
    assert!(!gone.exists(), "it is swept");
    assert_eq!(home.types("rbuild run --rm --name gone app echo again").ok(), "again");
}
