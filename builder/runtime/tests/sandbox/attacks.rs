//! The lessons of other runtimes: what an image or a process in a container tries, and must not get.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use rbuild_runtime::{Exit, Mount, MountSource, WindowSize, exec};

use crate::Test;
use crate::support::{Root, full, piped, refusal, run, run_on_terminal, start};

pub(crate) const TESTS: &[Test] = &[
    ("attacks::own_program_by_proc_self_exe", own_program_by_proc_self_exe),
    ("attacks::own_program_while_joining", own_program_while_joining),
    ("attacks::own_program_as_init", own_program_as_init),
    ("attacks::directory_in_proc", directory_in_proc),
    ("attacks::directory_in_proc_while_joining", directory_in_proc_while_joining),
    ("attacks::leaked_descriptors", leaked_descriptors),
    ("attacks::null_device_of_the_image", null_device_of_the_image),
    ("attacks::standard_places_are_links", standard_places_are_links),
    ("attacks::console_of_the_image", console_of_the_image),
    ("attacks::mounts_on_proc", mounts_on_proc),
    ("attacks::proc_of_the_image", proc_of_the_image),
    ("attacks::targets_that_are_links", targets_that_are_links),
    ("attacks::targets_swapped_while_mounting", targets_swapped_while_mounting),
    ("attacks::volumes_swapped_while_mounting", volumes_swapped_while_mounting),
    ("attacks::stubs_swapped_for_links", stubs_swapped_for_links),
];

fn executable(root: &Root, name: &str, text: &str) {
    root.write(name, text);
    fs::set_permissions(root.path(name), PermissionsExt::from_mode(0o755)).unwrap();
}

fn own_program() -> Vec<u8> {
    fs::read("/proc/self/exe").unwrap()
}

/// A script whose interpreter is `/proc/self/exe` has our program run in the container.
fn own_program_by_proc_self_exe() {
    let before = own_program();
    let root = Root::new();
    executable(&root, "bin/entry", "#!/proc/self/exe\n");
    let mut container = root.container("");
    container.process.argv = vec!["/bin/entry".into()];
    // It may run as what it is or fail; it must not get at the file.
    let (stdio, mut output) = piped();
    if let Ok(running) = rbuild_runtime::launch(container, stdio) {
        output.read_to_end(&mut Vec::new()).unwrap();
        running.wait().unwrap();
    }
    assert!(before == own_program());
}

/// The process that joins a container is seen there; its program must stay out of reach.
fn own_program_while_joining() {
    let root = Root::new();
    let script = "echo up; while true; do for exe in /proc/[0-9]*/exe; do \
        case $(readlink $exe) in *busybox|'') ;; *) echo seen; (: >>$exe) 2>/dev/null && echo WRITTEN;; \
        esac; done; done";
    let (running, mut output) = start(root.container(script));
    output.read_exact(&mut [0; 3]).unwrap();
    let before = own_program();
    for _ in 0..20 {
        let (stdio, mut text) = piped();
        let process = root.container("true").process;
        let joined = exec(running.pid(), running.pidfd(), process, stdio).unwrap();
        text.read_to_end(&mut Vec::new()).unwrap();
        joined.wait().unwrap();
    }
    running.kill(rbuild_runtime::Signal::KILL).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "", "the helper's copy is seen from inside");
    assert!(before == own_program());
}

fn own_program_as_init() {
    let root = Root::new();
    let script = "cat /proc/1/exe >/dev/null && echo READ; (: >>/proc/1/exe) && echo WRITTEN; \
        ls /proc/1/fd; ls /proc/1/cwd/; echo done";
    let mut container = root.container(script);
    container.init = true;
    let (exit, output) = run(container);
    assert_eq!(exit, Exit::Code(0));
    assert!(!output.contains("READ") && !output.contains("WRITTEN"), "{output}");
    // Even with every privilege the file is behind a read-only mount.
    let mut container = root.container("(: >>/proc/1/exe) && echo WRITTEN; touch /proc/1/exe");
    container.init = true;
    container.make_privileged();
    let (_, output) = run(container);
    assert!(output.contains("ead-only") && !output.contains("WRITTEN"), "{output}");
}

fn directory_in_proc() {
    let root = Root::new();
    for number in 0..64 {
        for process in ["self", "1", "thread-self"] {
            let mut container = root.container("pwd");
            container.process.cwd = format!("/proc/{process}/fd/{number}");
            assert_eq!(refusal(container).exit_code(), 125, "descriptor {number}");
        }
    }
    symlink("/proc/self/cwd", root.path("way")).unwrap();
    for cwd in ["/way", "/proc/self/root/tmp", "relative"] {
        let mut container = root.container("pwd");
        container.process.cwd = cwd.into();
        assert_eq!(refusal(container).exit_code(), 125, "{cwd}");
    }
}

fn directory_in_proc_while_joining() {
    let root = Root::new();
    let (running, mut output) = start(root.container("echo up; exec sleep 1000"));
    output.read_exact(&mut [0; 3]).unwrap();
    let join = |cwd: String| {
        let mut process = root.container("pwd").process;
        process.cwd = cwd;
        let (stdio, mut text) = piped();
        let joined = exec(running.pid(), running.pidfd(), process, stdio)?;
        let mut said = String::new();
        text.read_to_string(&mut said).unwrap();
        joined.wait().map(|_| said)
    };
    for number in 0..64 {
        let error = join(format!("/proc/self/fd/{number}")).unwrap_err();
        assert_eq!(error.exit_code(), 125, "descriptor {number}");
    }
    assert_eq!(join("/tmp".into()).unwrap(), "/tmp\n");
}

fn leaked_descriptors() {
    let _open = fs::File::open("/").unwrap();
    let root = Root::new();
    // The fourth is that of ls itself.
    assert_eq!(root.output("ls /proc/self/fd"), "0\n1\n2\n3\n");
    let mut container = root.container("ls /proc/self/fd");
    container.init = true;
    assert_eq!(run(container).1, "0\n1\n2\n3\n");
}

/// A mask must not be bound from a null device that the image has bent.
fn null_device_of_the_image() {
    let root = Root::new();
    fs::create_dir(root.path("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", root.path("dev/null")).unwrap();
    let script = "wc -c </proc/timer_list; stat -c %t:%T /dev/null /proc/timer_list";
    assert_eq!(root.output(script), "0\n1:3\n1:3\n");
}

fn standard_places_are_links() {
    let outside = tempfile::tempdir().unwrap();
    for place in ["dev", "proc", "sys", "etc", "run"] {
        for goal in ["/outside".to_owned(), format!("../../../../..{}", outside.path().display())] {
            let root = Root::new();
            let _ = fs::remove_dir_all(root.path(place));
            symlink(&goal, root.path(place)).unwrap();
            let mut container = root.container("true");
            for target in ["/etc/hosts", "/run/secrets/one"] {
                let (mode, uid, gid) = (0o644, 0, 0);
                let source = MountSource::Bytes { bytes: b"in".into(), mode, uid, gid };
                container.mounts.push(Mount::new(source, target));
            }
            let (exit, output) = match rbuild_runtime::launch(container, piped().0) {
                Ok(running) => (running.wait().unwrap(), String::new()),
                Err(error) => (Exit::Code(error.exit_code()), full(&error)),
            };
            assert!(matches!(exit, Exit::Code(0 | 125)), "{place}: {output}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{place} -> {goal}");
        }
    }
    let root = Root::new();
    root.write("file", "");
    symlink("file", root.path("dev")).unwrap();
    assert_eq!(refusal(root.container("true")).exit_code(), 125);
}

fn console_of_the_image() {
    let root = Root::new();
    fs::create_dir_all(root.path("dev/pts")).unwrap();
    for name in ["dev/pts/0", "dev/console", "dev/ptmx"] {
        symlink("/proc/sys/kernel/core_pattern", root.path(name)).unwrap();
    }
    let script = "stat -c %t:%T /dev/console; readlink /dev/ptmx; tty";
    let (exit, shown) = run_on_terminal(root.container(script), WindowSize { rows: 9, columns: 9 });
    assert_eq!((exit, &*shown), (Exit::Code(0), "88:0\r\npts/ptmx\r\n/dev/pts/0\r\n"));
}

fn mounts_on_proc() {
    let root = Root::new();
    symlink("proc/self/attr", root.path("attr")).unwrap();
    for target in ["/proc", "/proc/self/attr", "/proc/sys", "/attr"] {
        let mut container = root.container("true");
        let source = MountSource::Tmpfs { size: None, mode: 0o777, uid: 0, gid: 0 };
        container.mounts.push(Mount::new(source, target));
        assert_eq!(refusal(container).exit_code(), 125, "{target}");
    }
}

/// What the image has in place of the process file system is neither read nor written.
fn proc_of_the_image() {
    let root = Root::new();
    let fakes = ["proc/sys/net/ipv4/ip_unprivileged_port_start", "proc/thread-self/oom_score_adj"];
    for fake in fakes {
        fs::create_dir_all(root.path(fake).parent().unwrap()).unwrap();
        root.write(fake, "fake");
    }
    fs::create_dir_all(root.path("proc/self/attr/apparmor")).unwrap();
    symlink("/outside", root.path("proc/self/attr/apparmor/exec")).unwrap();
    let mut container =
        root.container("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/1/oom_score_adj");
    container.network = rbuild_runtime::Namespace::Private;
    container.sysctls = vec![("net.ipv4.ip_unprivileged_port_start".into(), "77".into())];
    container.process.oom_score = Some(555);
    assert_eq!(run(container), (Exit::Code(0), "77\n555\n".into()));
    for fake in fakes {
        assert_eq!(fs::read_to_string(root.path(fake)).unwrap(), "fake", "{fake}");
    }
}

fn targets_that_are_links() {
    let outside = tempfile::tempdir().unwrap();
    let root = Root::new();
    symlink(outside.path(), root.path("absolute")).unwrap();
    symlink(format!("../../../../../..{}", outside.path().display()), root.path("up")).unwrap();
    let source = || MountSource::Bytes { bytes: b"in\n".into(), mode: 0o644, uid: 0, gid: 0 };
    let mut container = root.container("cat /absolute/x /up/y");
    container.mounts = vec![Mount::new(source(), "/absolute/x"), Mount::new(source(), "/up/y")];
    assert_eq!(run(container), (Exit::Code(0), "in\nin\n".into()));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    symlink("loop", root.path("loop")).unwrap();
    let mut container = root.container("true");
    container.mounts.push(Mount::new(source(), "/loop/x"));
    assert_eq!(refusal(container).exit_code(), 125);
}

/// Someone with a share of the root swaps a directory and a link while targets are looked up.
fn targets_swapped_while_mounting() {
    let outside = tempfile::tempdir().unwrap();
    let root = Root::new();
    let [place, link, spare] = ["swapped", "link", "spare"].map(|name| root.path(name));
    fs::create_dir(&place).unwrap();
    symlink(outside.path(), &link).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (from, to) in
                    [(&place, &spare), (&link, &place), (&place, &link), (&spare, &place)]
                {
                    let _ = fs::rename(from, to);
                }
            }
        });
        for _ in 0..100 {
            let mut container = root.container("true");
            let source = MountSource::Bytes { bytes: b"in".into(), mode: 0o644, uid: 0, gid: 0 };
            container.mounts.push(Mount::new(source, "/swapped/file"));
            if let Ok(running) = rbuild_runtime::launch(container, piped().0) {
                running.wait().unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something was made outside");
}

/// Another container swaps a directory and a link in a volume that both have.
fn volumes_swapped_while_mounting() {
    let outside = tempfile::tempdir().unwrap();
    let volume = tempfile::tempdir().unwrap();
    fs::create_dir(volume.path().join("swapped")).unwrap();
    symlink(outside.path(), volume.path().join("link")).unwrap();
    let root = Root::new();
    for name in ["v", "proc", "dev", "sys"] {
        fs::create_dir(root.path(name)).unwrap();
    }
    let swap = "cd /v; echo up; while true; do busybox mv -T swapped spare; \
        busybox mv -T link swapped; busybox mv -T swapped link; busybox mv -T spare swapped; done";
    let mut container = root.container(swap);
    container.mounts.push(Mount::bind(volume.path(), "/v"));
    let (swapper, mut output) = start(container);
    output.read_exact(&mut [0; 3]).unwrap();
    let (mut inside, mut refused) = (0, 0);
    for _ in 0..100 {
        let mut container = root.container("cat /v/swapped/file");
        let source = MountSource::Bytes { bytes: b"in".into(), mode: 0o644, uid: 0, gid: 0 };
        container.mounts.push(Mount::bind(volume.path(), "/v"));
        container.mounts.push(Mount::new(source, "/v/swapped/file"));
        match rbuild_runtime::launch(container, piped().0) {
            Ok(running) => {
                running.wait().unwrap();
                inside += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(inside > 0, "the race is not run: {refused} of 100 did not start");
    swapper.kill(rbuild_runtime::Signal::KILL).unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something was made outside");
}

/// Tidying up must not follow what the container has put in a directory's place.
fn stubs_swapped_for_links() {
    let outside = tempfile::tempdir().unwrap();
    let kept = outside.path().join("file");
    fs::write(&kept, "").unwrap();
    let root = Root::new();
    let swap =
        format!("busybox mv /made /gone && busybox ln -s {} /made", outside.path().display());
    let mut container = root.container(&swap);
    let source = MountSource::Bytes { bytes: b"in".into(), mode: 0o644, uid: 0, gid: 0 };
    container.mounts.push(Mount::new(source, "/made/file"));
    let (exit, output) = run(container);
    assert_eq!(exit, Exit::Code(0), "{output}");
    assert!(root.path("made").is_symlink(), "it was swapped");
    assert!(kept.exists(), "an empty file of the host was taken for the stub");
}
