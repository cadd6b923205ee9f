//! How long a container takes: busybox `true` on an overlay root, from `launch` to its program and
//! to its end. Run as root with `cargo bench -p rbuild-runtime`.
//!
//! With `none|host ROUNDS ROOT WORK` it prints the microseconds of each round, from the making of the
//! overlay of ROOT on: what `benches/container` sets beside others.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rbuild_runtime::{Container, Mount, MountSource, Namespace, Seccomp, Stdio, launch, prepare};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

const ROUNDS: usize = 200;

fn main() {
    rbuild_runtime::init_if_asked();
    let words: Vec<_> = std::env::args().collect();
    if let [_, network, rounds, root, work] = &*words {
        return rounds_of(network, rounds.parse().expect("a number of rounds"), root, work);
    }
    let folder = tempfile::tempdir_in("/dev/shm").expect("the benchmark needs /dev/shm");
    let lower = folder.path().join("lower");
    for name in ["bin", "etc", "proc", "sys", "dev"] {
        fs::create_dir_all(lower.join(name)).expect("memory is writable");
    }
    fs::copy("/bin/busybox", lower.join("bin/true")).expect("needs busybox-static");
    let started = Instant::now();
    prepare().expect("needs root");
    once(folder.path(), &|_| {});
    println!("first, with the helper's start: {:.2} ms", milliseconds(started.elapsed()));
    measure("host network", folder.path(), &|_| {});
    measure("private network", folder.path(), &|container| {
        container.network = Namespace::Private;
    });
    measure("host network, no filter", folder.path(), &|container| {
        container.process.seccomp = Seccomp::None;
    });
    measure("host network, nothing masked", folder.path(), &|container| {
        container.masked_paths.clear();
        container.read_only_paths.clear();
    });
}

fn measure(name: &str, folder: &Path, change: &dyn Fn(&mut Container)) {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| once(folder, change)).collect();
    let mut column = |which: fn(&(Duration, Duration)) -> Duration| {
        times.sort_by_key(which);
        let at = |percent: usize| milliseconds(which(&times[ROUNDS * percent / 100]));
        format!("p10 {:.2} p50 {:.2} p90 {:.2} ms", at(10), at(50), at(90))
    };
    println!("{name}: to the program {}; to its end {}", column(|t| t.0), column(|t| t.1));
}

fn once(folder: &Path, change: &dyn Fn(&mut Container)) -> (Duration, Duration) {
    let mut container = Container::new(overlay(&folder.join("lower"), &fresh(folder)));
    container.network = Namespace::Host;
    container.process.argv = vec!["/bin/true".into()];
    change(&mut container);
    let started = Instant::now();
    let running = launch(container, Stdio::null()).expect("the container starts");
    let to_program = started.elapsed();
    assert!(running.wait().expect("it ends").is_success());
    (to_program, started.elapsed())
}

/// The same sandbox as that of `benches/floor.c`.
fn rounds_of(network: &str, rounds: usize, root: &str, work: &str) {
    prepare().expect("needs root");
    for round in 0..=rounds {
        let started = Instant::now();
        let work = Path::new(work).join(format!("{}-{round}", std::process::id()));
        let mut container = Container::new(overlay(root.as_ref(), &work));
        if network == "host" {
            container.network = Namespace::Host;
        }
        container.hostname = Some("sandbox".into());
        container.process.argv = vec!["/bin/true".into()];
        container.mounts = ["/etc/resolv.conf", "/etc/hosts"].map(own_file).into();
        let running = launch(container, Stdio::null()).expect("the container starts");
        assert!(running.wait().expect("it ends").is_success());
        drop(running);
        // The first has waited for the helper.
        if round > 0 {
            println!("{:.1}", milliseconds(started.elapsed()) * 1000.0);
        }
    }
}

fn own_file(target: &str) -> Mount {
    let bytes = b"127.0.0.1 localhost\n".to_vec();
    Mount::new(MountSource::Bytes { bytes, mode: 0o644, uid: 0, gid: 0 }, target)
}

fn overlay(lower: &Path, work: &Path) -> OwnedFd {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).expect("overlay is there");
    let folders = [
        ("lowerdir", lower.to_owned()),
        ("upperdir", work.join("upper")),
        ("workdir", work.join("work")),
    ];
    for (key, path) in folders {
        fs::create_dir_all(&path).expect("memory is writable");
        fsconfig_set_string(&context, key, &path).expect("overlay takes the folder");
    }
    fsconfig_set_flag(&context, "volatile").expect("overlay needs no disk");
    fsconfig_create(&context).expect("overlay is made");
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .expect("overlay is mounted")
}

fn fresh(folder: &Path) -> PathBuf {
    let name = fs::read_dir(folder).expect("the folder is there").count();
    folder.join(name.to_string())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
