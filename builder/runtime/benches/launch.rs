//! How long a container takes: busybox `true` on an overlay root, from `launch` to its program and
//! to its end. Run as root with `cargo bench -p rbuild-runtime`.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rbuild_runtime::{Container, Namespace, Seccomp, Stdio, launch, prepare};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

const ROUNDS: usize = 200;

fn main() {
    rbuild_runtime::init_if_asked();
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
    let mut container = Container::new(overlay(folder));
    container.network = Namespace::Host;
    container.process.argv = vec!["/bin/true".into()];
    change(&mut container);
    let started = Instant::now();
    let running = launch(container, Stdio::null()).expect("the container starts");
    let to_program = started.elapsed();
    assert!(running.wait().expect("it ends").is_success());
    (to_program, started.elapsed())
}

fn overlay(folder: &Path) -> OwnedFd {
    let name = fs::read_dir(folder).expect("the folder is there").count();
    let work = folder.join(name.to_string());
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).expect("overlay is there");
    let folders = [
        ("lowerdir", folder.join("lower")),
        ("upperdir", work.join("upper")),
        ("workdir", work.join("work")),
    ];
    for (key, path) in folders {
        fs::create_dir_all(&path).expect("memory is writable");
        fsconfig_set_string(&context, key, &path).expect("overlay takes the folder");
    }
    fsconfig_create(&context).expect("overlay is made");
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .expect("overlay is mounted")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
