//! What the store takes: told, cut back, kept below a cap, and verified.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::home;
use rbuild_testkit::{Gate, Home, SmallDisk};

const MEGA: u64 = 1 << 20;

/// The bytes of the disk that a folder takes; what vanishes meanwhile counts nothing.
fn taken(top: &Path) -> u64 {
    let (mut bytes, mut seen, mut folders) = (0, HashSet::new(), vec![top.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                folders.push(entry.path());
            }
            if found.is_dir() || seen.insert(found.ino()) {
                bytes += found.blocks() * 512;
            }
        }
    }
    bytes
}

/// The files of this name in the layers of a store.
fn in_layers(home: &Home, name: &str) -> Vec<PathBuf> {
    let layers = fs::read_dir(home.store().join("layers")).into_iter().flatten().flatten();
    let files = layers.map(|layer| layer.path().join("files").join(name));
    files.filter(|path| path.exists()).collect()
}

/// Does something when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A step that writes so many random kilobytes.
fn random(name: &str, kilobytes: u64) -> String {
    format!("RUN dd if=/dev/urandom of=/{name} bs=1k count={kilobytes} 2>/dev/null\n")
}

#[test]
fn a_cap_is_kept_over_many_builds() {
    let home = home();
    let (cap, step) = (16 * MEGA, 2 * MEGA);
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        // A build that fails ends the watcher too.
        let end = OnDrop(|| done.store(true, Ordering::Relaxed));
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(taken(&home.store()));
            }
            most
        });
        for number in 0..12 {
            let steps = [random("a", 2048), random("b", 2048)].concat();
            let file = format!("FROM busybox\nENV N={number}\n{steps}COPY Dockerfile /f\n");
            home.write("app/Dockerfile", file);
            let built = home.types("rbuild -t app --cache-max 16MB app");
            assert!(!built.stderr.contains("WARN"), "{built}");
            built.ok();
            assert!(taken(&home.store()) <= cap, "{} after {number}", taken(&home.store()));
        }
        drop(end);
        watcher.join().unwrap()
    });
    // One step beyond it, and the index, which is written when it is closed.
    assert!(most <= cap + step + MEGA, "{most} at most");
    assert!(most > cap / 2, "the watcher has seen something: {most}");
    assert_eq!(home.types("rbuild run --rm app sh -c 'echo $N'").ok(), "11");
    let last = home.types("rbuild -t app --progress plain --cache-max 16MB app");
    assert_eq!(last.stderr.matches("CACHED").count(), 4, "what is worth most is there: {last}");
    last.ok();
    home.types("rbuild cache verify").ok();
}

#[test]
fn a_cap_is_kept_when_images_come_without_a_build() {
    let home = home();
    let steps = [random("a", 4096), random("b", 4096)].concat();
    home.builds("app", &format!("FROM busybox\n{steps}")).ok();
    home.types("rbuild save -o app.tar app && rbuild rmi app").ok();
    assert!(taken(&home.store()) > 8 * MEGA);
    home.types("RBUILD_CACHE_MAX=6MB rbuild pull busybox").ok();
    assert!(taken(&home.store()) <= 6 * MEGA, "{}", taken(&home.store()));
    assert_eq!(home.types("rbuild run --rm busybox echo whole").ok(), "whole");
    let loaded = home.types("RBUILD_CACHE_MAX=6MB rbuild load -i app.tar");
    assert!(loaded.stderr.contains("more than the"), "what has come has a name: {loaded}");
    assert!(loaded.ok().contains("app"));
}

#[test]
fn builds_beside_each_other_under_one_cap_are_right() {
    let home = home();
    for round in 0..4 {
        let builds: Vec<_> = (0..4)
            .map(|number| {
                // Some steps are those of the neighbours, and some those of another round.
                let (mine, shared) = ((round + number) % 5, number / 2);
                let file = format!(
                    "FROM busybox\nRUN echo {shared} >/shared\n{}RUN echo {mine} >/mine\n\
                     COPY Dockerfile /f\n",
                    random("a", 1000 + mine * 8)
                );
                home.write(&format!("app{number}/Dockerfile"), file);
                let line = format!("rbuild -t app{number} --cache-max 8MB app{number}");
                (number, mine, shared, home.starts(&line))
            })
            .collect();
        for (number, mine, shared, build) in builds {
            build.wait().ok();
            let line = format!("rbuild run --rm app{number} sh -c 'cat /shared /mine; wc -c </a'");
            let expected = format!("{shared}\n{mine}\n{}", (1000 + mine * 8) * 1024);
            assert_eq!(home.types(&line).ok(), expected);
        }
    }
    home.types("rbuild rmi -f app0 app1 app2 app3").ok();
    home.write("app0/Dockerfile", "FROM busybox\nRUN echo last >/last\n");
    home.types("rbuild -t app0 --cache-max 8MB app0").ok();
    assert!(taken(&home.store()) <= 8 * MEGA);
    let well = home.types("rbuild cache verify").ok();
    assert!(well.ends_with(": all well"), "{well}");
}

#[test]
fn a_cap_spares_what_is_in_use() {
    let home = home();
    home.builds("kept", &format!("FROM busybox\n{}", random("kept", 3000))).ok();
    home.builds("made", &format!("FROM busybox\n{}", random("made", 3000))).ok();
    let id = home.types("rbuild create --name box made ls -l /made").ok();
    home.types("rbuild rmi -f made").ok();
    home.builds("idle", &format!("FROM busybox\n{}", random("idle", 3000))).ok();
    home.types("rbuild rmi idle").ok();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo new >/new\n");
    let built = home.types("rbuild -t app --cache-max 1MB --progress plain app");
    assert!(built.stderr.contains("more than the 1MB that it may take"), "{built}");
    built.ok();
    assert_eq!(in_layers(&home, "idle"), [""; 0].map(PathBuf::from));
    assert_eq!(in_layers(&home, "kept").len(), 1);
    assert!(home.types("rbuild run --rm kept ls -l /kept").ok().contains("3072000"));
    assert!(home.types("rbuild start -a box").ok().contains("3072000"), "{id}");
    assert_eq!(home.types("rbuild run --rm app cat /new").ok(), "new");
    let why = home.types("rbuild cache why-kept $(ls $RBUILD_ROOT/layers)").ok();
    assert!(why.contains("kept for the image docker.io/library/kept:latest"), "{why}");
    assert!(why.contains(&format!("kept for the container {}", &id[..12])), "{why}");
}

#[test]
fn a_cap_is_set_by_flag_variable_and_file() {
    let home = home();
    home.write("app/Dockerfile", format!("FROM busybox\n{}", random("a", 2000)));
    let warns = |line: &str| {
        let built = home.types(line);
        let is_told = built.stderr.contains("that the store may take");
        built.ok();
        home.types("rbuild rmi app; rbuild cache prune -af").ok();
        is_told
    };
    assert!(!warns("rbuild -t app --progress plain app"));
    assert!(warns("rbuild -t app --progress plain --cache-max 1MB app"));
    assert!(warns("RBUILD_CACHE_MAX=1m rbuild -t app --progress plain app"));
    let file = home.read(".config/rbuild/config.toml");
    home.write(".config/rbuild/config.toml", format!("{file}\n[cache]\nmax = \"1MB\"\n"));
    assert!(warns("rbuild -t app --progress plain app"));
    assert!(!warns("RBUILD_CACHE_MAX=0 rbuild -t app --progress plain app"));
    let error = home.types("RBUILD_CACHE_MAX=lots rbuild -t app app").fails(3);
    assert!(error.contains("`RBUILD_CACHE_MAX` cannot be `lots`"), "{error}");
}

#[test]
fn what_a_running_build_uses_stays_until_it_is_killed() {
    let home = home();
    let gate = Gate::new();
    let file = format!("FROM busybox\n{}RUN {}\n", random("early", 1000), gate.command());
    home.write("app/Dockerfile", file);
    let build = home.starts("rbuild -t app --network host app");
    gate.until(1);
    let pruned = home.types("rbuild cache prune -af").ok();
    assert!(pruned.ends_with("Total reclaimed space: 0B"), "{pruned}");
    let layers = in_layers(&home, "early");
    assert_eq!(layers.len(), 1);
    let id = layers[0].parent().unwrap().parent().unwrap().file_name().unwrap();
    let why = home.types(&format!("rbuild cache why-kept {}", id.to_str().unwrap())).ok();
    assert!(why.contains(&format!("kept for the process {}", build.pid())), "{why}");
    build.kill();
    assert_eq!(build.wait().code, 128 + 9);
    home.types("rbuild cache prune -af").ok();
    assert_eq!(in_layers(&home, "early").len(), 0);
    gate.open();
    home.types("rbuild -t app --network host app").ok();
    assert!(home.types("rbuild run --rm app ls -l /early").ok().contains("1024000"));
}

#[test]
fn what_was_pruned_is_made_again() {
    let home = home();
    home.builds("app", "FROM busybox\nRUN echo 1 >/one\nCOPY Dockerfile /f\n").ok();
    home.types("rbuild rmi app").ok();
    let said = home.types("rbuild cache prune --dry-run").ok();
    assert!(said.contains("RUN echo 1 >/one") && said.contains("COPY Dockerfile /f"), "{said}");
    assert!(said.contains("\nTotal that would be reclaimed: "), "{said}");
    assert_eq!(in_layers(&home, "one").len(), 1, "nothing is removed");
    let only = home.types("rbuild cache prune -f --filter 'description~=^COPY'").ok();
    assert!(!only.contains("RUN") && only.contains("COPY"), "{only}");
    assert_eq!(in_layers(&home, "one").len(), 1);
    let idle = home.types("rbuild cache prune -f --filter until=24h").ok();
    assert_eq!(idle, "Total reclaimed space: 0B", "nothing is so old");
    let pruned = home.types("docker builder prune -f").ok();
    let last = pruned.lines().last().unwrap();
    assert!(last.starts_with("Total reclaimed space: ") && last.ends_with("kB"), "{pruned}");
    assert_eq!(in_layers(&home, "one").len(), 0);

    // The base is there still, and goes with `--all`.
    home.registry.forget_requests();
    home.types("rbuild -t app app").ok();
    assert_eq!(home.registry.requests(), [""; 0]);
    assert!(!home.types("rbuild run --rm app cat /one").ok().is_empty());
    home.types("rbuild rmi app").ok();
    let pruned = home.types("docker buildx prune --all --force").ok();
    assert!(pruned.lines().last().unwrap().starts_with("Total:\t"), "{pruned}");
    assert!(fs::read_dir(home.store().join("layers")).unwrap().next().is_none());
    home.types("rbuild -t app app").ok();
    assert_eq!(home.types("rbuild run --rm app cat /one").ok(), "1");
    home.types("rbuild cache verify").ok();
}

#[test]
fn a_prune_stops_where_it_is_told() {
    let home = home();
    for number in 0..4 {
        let file = format!("FROM busybox\nENV N={number}\n{}", random("a", 3000));
        home.builds("app", &file).ok();
    }
    home.types("rbuild rmi app; rbuild image prune -f").ok();
    let before = in_layers(&home, "a").len();
    assert_eq!(before, 4);
    let all = "rbuild cache prune -af --max-used-space 1g";
    assert_eq!(home.types(all).ok(), "Total reclaimed space: 0B");
    home.types("rbuild cache prune -f --keep-storage 10m").ok();
    let left = in_layers(&home, "a").len();
    assert!(left > 0 && left < before, "{left} of {before}");
    assert!(taken(&home.store()) < 10 * MEGA + MEGA);
}

#[test]
fn the_table_of_what_there_is_lines_up() {
    let home = home();
    let step = "RUN --mount=type=cache,target=/c,id=mine echo 1 >/c/file\n";
    home.builds("app", &format!("FROM busybox\n{step}COPY Dockerfile /f\n")).ok();
    let shown = home.types("rbuild cache du").ok();
    let lines: Vec<&str> = shown.lines().collect();
    let head = lines[0];
    let (rows, totals) = lines[1..].split_at(lines.len() - 5);
    assert!(rows.len() >= 6, "{shown}");
    for title in ["RECLAIMABLE", "SIZE", "LAST ACCESSED", "DESCRIPTION"] {
        let column = head.find(title).unwrap();
        for row in rows {
            let cells: Vec<char> = row.chars().collect();
            assert!(cells[column - 1] == ' ' && cells[column] != ' ', "{title}\n{shown}");
        }
    }
    assert!(rows.iter().any(|row| row.starts_with("mount:") && row.contains("cache mount mine")));
    let names: Vec<_> = totals.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["Shared", "Private", "Reclaimable", "Total"]);
    assert!(totals[3].starts_with("Total:\t"), "{shown}");

    let sizes = home.types("docker buildx du --format '{{.SizeBytes}}'").ok();
    let sum: u64 = sizes.lines().map(|line| line.parse::<u64>().unwrap()).sum();
    let disk = taken(&home.store());
    assert!(sum <= disk && sum > disk / 2, "{sum} of {disk}");
    for row in home.types("rbuild cache du --format json").ok().lines() {
        assert!(row.starts_with('{') && row.contains("\"Reclaimable\":"), "{row}");
    }
    let mounts = home.types("rbuild cache du --verbose --filter type=exec.cachemount").ok();
    assert!(mounts.contains("Description:\tcache mount mine\n"), "{mounts}");
    assert_eq!(mounts.matches("ID:\t").count(), 1);
    let error = home.types("rbuild cache du --filter x=1").fails(2);
    assert!(error.contains("the filter `x=1` is not valid"), "{error}");
    home.types("rbuild cache prune -f --filter type=exec.cachemount").ok();
    assert!(!home.types("rbuild cache du").ok().contains("mount:"));
}

#[test]
fn the_system_is_told_and_cut_back_as_docker_does() {
    let home = home();
    home.types("rbuild pull busybox").ok();
    home.builds("app", "FROM scratch\nCOPY Dockerfile /f\n").ok();
    home.types("rbuild run --name box busybox true").ok();
    let shown = home.types("docker system df").ok();
    let rows: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split("  ").filter(|c| !c.is_empty()).collect()).collect();
    assert_eq!(
        rows[0].iter().map(|c| c.trim()).collect::<Vec<_>>(),
        ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    );
    let start = |row: usize| rows[row][..3].iter().map(|cell| cell.trim()).collect::<Vec<_>>();
    assert_eq!(start(1), ["Images", "2", "1"], "{shown}");
    assert_eq!(start(2), ["Containers", "1", "0"], "{shown}");
    assert_eq!(start(3), ["Local Volumes", "0", "0"], "{shown}");
    assert_eq!(start(4)[0], "Build Cache", "{shown}");
    let json = home.types("docker system df --format json").ok();
    assert_eq!(json.lines().count(), 4);

    let pruned = home.types("docker system prune -af").ok();
    for part in ["Deleted Containers:", "Deleted Images:", "Total reclaimed space: "] {
        assert!(pruned.contains(part), "{pruned}");
    }
    assert!(home.types("docker image ls -q").ok().is_empty());
    assert!(fs::read_dir(home.store().join("layers")).unwrap().next().is_none());
}

#[test]
fn images_that_go_take_along_what_was_pulled_for_them() {
    let home = home();
    home.types("rbuild pull busybox").ok();
    home.builds("app", "FROM scratch\nCOPY Dockerfile /f\n").ok();
    let pruned = home.types("docker image prune -af").ok();
    assert!(pruned.contains("untagged: app:latest\ndeleted: sha256:"), "{pruned}");
    let last = pruned.lines().last().unwrap();
    assert!(last.starts_with("Total reclaimed space: ") && last.ends_with("MB"), "{pruned}");
    assert_eq!(in_layers(&home, "bin").len(), 0);
    assert_eq!(in_layers(&home, "f").len(), 1, "what a step made stays in the cache");
}

#[test]
fn a_flipped_byte_is_found_and_repaired() {
    let home = home();
    home.builds("app", "FROM busybox\nRUN echo made >/made\nRUN echo 2 >/two\n").ok();
    let well = home.types("rbuild cache verify").ok();
    assert!(well.ends_with(": all well"), "{well}");
    let made = in_layers(&home, "made").remove(0);
    let time = fs::metadata(&made).unwrap().modified().unwrap();
    fs::write(&made, "mad3\n").unwrap();
    fs::File::options().write(true).open(&made).unwrap().set_modified(time).unwrap();
    let blob = fs::read_dir(home.store().join("blobs/sha256")).unwrap().next().unwrap();
    let blob = blob.unwrap().path();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[10] ^= 1;
    fs::write(&blob, bytes).unwrap();

    let found = home.types("rbuild cache verify");
    assert_eq!(found.code, 1, "{found}");
    let id = made.parent().unwrap().parent().unwrap().file_name().unwrap().to_str().unwrap();
    let digest = format!("sha256:{}", blob.file_name().unwrap().to_str().unwrap());
    for part in [
        &format!("{id}: its files have the digest sha256:"),
        &format!("{digest}: its content has the digest sha256:"),
        "the image docker.io/library/app:latest needs it",
        "`rbuild cache verify --repair` sets it aside",
        "2 findings",
    ] {
        assert!(found.stdout.contains(part), "{part} is missing\n{found}");
    }

    let repaired = home.types("rbuild cache verify --repair").ok();
    assert!(repaired.contains("it was set aside: "), "{repaired}");
    assert!(!made.exists() && !blob.exists());
    assert!(home.types("rbuild images").ok().contains("app"), "it is listed, broken as it is");
    home.types("rbuild rmi app").ok();
    home.types("rbuild -t app --pull app").ok();
    assert_eq!(home.types("rbuild run --rm app cat /made /two").ok(), "made\n2");
    let well = home.types("rbuild cache verify");
    assert!(well.stdout.trim_end().ends_with(": all well"), "{well}");
    well.ok();
}

/// A home whose store is on a disk of so many MiB.
fn on_small_disk(size: usize) -> (Home, SmallDisk) {
    let home = home();
    let disk = SmallDisk::mount(&home.store(), size);
    (home, disk)
}

#[test]
fn a_full_disk_is_told_with_what_a_prune_would_free() {
    let (home, disk) = on_small_disk(24);
    home.builds("kept", "FROM busybox\nRUN echo kept >/kept\n").ok();
    home.builds("idle", &format!("FROM busybox\n{}", random("idle", 8000))).ok();
    home.types("rbuild rmi idle").ok();
    let big = format!("FROM busybox\n{}", random("big", 14_000).replace(" 2>/dev/null", ""));
    let error = home.builds("big", &big).fails(1);
    for part in ["No space left on device: ", " of the 25.1MB of the disk of `", "the store takes "]
    {
        assert!(error.contains(part), "{part} is missing\n{error}");
    }
    let hint = error.lines().find(|line| line.starts_with("hint: ")).unwrap();
    assert!(hint.starts_with("hint: `rbuild cache prune --all` would free 8."), "{hint}");
    home.write("copy/big", vec![7; 14_000_000]);
    let error = home.builds("copy", "FROM busybox\nCOPY big /big\n");
    assert!(error.code != 0 && error.stderr.contains("hint: `rbuild cache prune"), "{error}");

    let verified = home.types("rbuild cache verify").ok();
    assert!(verified.ends_with(": all well"), "nothing is lost: {verified}");
    let pruned = home.types("rbuild cache prune --all -f").ok();
    assert!(pruned.contains("Total reclaimed space: 8."), "{pruned}");
    home.builds("big", &big).ok();
    assert_eq!(home.types("rbuild run --rm kept cat /kept").ok(), "kept");
    drop((disk, home));
}

#[test]
fn a_disk_too_small_for_the_base_is_the_machines_fault() {
    let (home, disk) = on_small_disk(3);
    let error = home.builds("app", "FROM busybox\nRUN true\n").fails(3);
    assert!(error.contains("No space left on device: the step needs more than the "), "{error}");
    assert!(error.contains("hint: "), "{error}");
    drop((disk, home));
}

#[test]
fn a_cap_keeps_a_small_disk_from_getting_full() {
    let (home, disk) = on_small_disk(24);
    for number in 0..8 {
        home.write(
            "app/Dockerfile",
            format!("FROM busybox\nENV N={number}\n{}", random("a", 4000)),
        );
        home.types("rbuild -t app --cache-max 16MB app").ok();
    }
    assert_eq!(home.types("rbuild run --rm app sh -c 'echo $N'").ok(), "7");
    drop((disk, home));
}
