//! What a container's process finds around itself.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use rbuild_runtime::{
    Capabilities, Device, Exit, Limit, Mount, MountSource, Namespace, Resource, Seccomp,
    WindowSize, exec,
};

use crate::Test;
use crate::support::{Overlay, Root, full, piped, refusal, run, run_on_terminal, start};

pub(crate) const TESTS: &[Test] = &[
    ("inside::identity", identity),
    ("inside::capabilities_and_filter", capabilities_and_filter),
    ("inside::standard_mounts", standard_mounts),
    ("inside::devices", devices),
    ("inside::masked_and_read_only", masked_and_read_only),
    (
        "inside::environment_and_directory",
        environment_and_directory,
    ),
    ("inside::users", users),
    ("inside::mounts_of_every_source", mounts_of_every_source),
    ("inside::stubs_leave_no_trace", stubs_leave_no_trace),
    ("inside::networks", networks),
    ("inside::limits_are_never_raised", limits_are_never_raised),
    ("inside::a_terminal", a_terminal),
    ("inside::joining", joining),
    ("inside::privileged", privileged),
    ("inside::nothing_is_shared", nothing_is_shared),
    ("inside::read_only_root", read_only_root),
];

fn identity() {
    let root = Root::new();
    let mut container = root.container("echo $$; hostname; ls /proc | grep -c '^[0-9]'");
    container.hostname = Some("buildkitsandbox".into());
    let (exit, output) = run(container);
    assert_eq!((exit, &*output), (Exit::Code(0), "1\nbuildkitsandbox\n3\n"));
}

fn capabilities_and_filter() {
    let root = Root::new();
    let status = root.output("grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status");
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "Seccomp:\t2",
        "NoNewPrivs:\t0",
    ] {
        assert!(
            status.lines().any(|found| found == line),
            "{line} in\n{status}"
        );
    }
    let mut container = root.container("grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; ip link");
    container.process.capabilities = Capabilities::none();
    container.process.no_new_privileges = true;
    let (_, output) = run(container);
    assert!(
        output.starts_with("CapEff:\t0000000000000000\nNoNewPrivs:\t1\n"),
        "{output}"
    );
    let unshare = root.container("exec busybox unshare -m true");
    let (exit, output) = run(unshare);
    assert!(
        exit != Exit::Code(0) && output.contains("not permitted"),
        "{output}"
    );
}

fn standard_mounts() {
    let root = Root::new();
    let mounts = root.output("cat /proc/self/mounts");
    let has = |place: &str, kind: &str, options: &[&str]| {
        let line = mounts
            .lines()
            .rev()
            .find(|line| line.split(' ').nth(1) == Some(place));
        let fields: Vec<_> = line
            .unwrap_or_else(|| panic!("{place} in\n{mounts}"))
            .split(' ')
            .collect();
        assert_eq!(fields[2], kind, "{place}");
        let found: Vec<_> = fields[3].split(',').collect();
        assert!(
            options.iter().all(|option| found.contains(option)),
            "{place} {found:?}"
        );
    };
    has("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"]);
    has("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]);
    has(
        "/dev",
        "tmpfs",
        &["rw", "nosuid", "mode=755", "size=65536k"],
    );
    has(
        "/dev/pts",
        "devpts",
        &[
            "rw",
            "nosuid",
            "noexec",
            "gid=5",
            "mode=620",
            "ptmxmode=666",
        ],
    );
    has(
        "/dev/shm",
        "tmpfs",
        &["nosuid", "nodev", "noexec", "size=65536k"],
    );
    has("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]);
    let host = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !host.contains(root.path("").to_str().unwrap()),
        "a mount is left on the host"
    );
    assert!(
        mounts.lines().count() < 40,
        "the host's mounts are seen:\n{mounts}"
    );
}

fn devices() {
    let root = Root::new();
    let script = "head -c 4 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; echo x >/dev/null;
        echo x >/dev/full; readlink /dev/fd; readlink /dev/ptmx; stat -c %a:%t:%T /dev/tty";
    let output = root.output(script);
    assert!(
        output.starts_with("4\n1\n") && output.contains("No space"),
        "{output}"
    );
    assert!(
        output.ends_with("/proc/self/fd\npts/ptmx\n666:5:0\n"),
        "{output}"
    );
    // Nodes may be made, as with Docker, but open nothing.
    for place in ["/tmp", "/dev"] {
        let script = format!("mknod {place}/disk c 1 5 && head -c 1 {place}/disk");
        let (exit, output) = run(root.container(&script));
        assert!(
            exit == Exit::Code(1) && output.contains("denied"),
            "{place}: {output}"
        );
    }
    let mut container = root.container("head -c 3 /dev/inner/zero | wc -c; stat -c %a /dev/inner");
    let mut device = Device::new("/dev/inner/zero");
    device.host = "/dev/zero".into();
    container.devices.push(device);
    assert_eq!(run(container), (Exit::Code(0), "3\n755\n".into()));
    for (host, path) in [
        ("/etc", "/dev/x"),
        ("/dev/zero", "/x"),
        ("/dev/zero", "/dev/../x"),
    ] {
        let mut container = root.container("true");
        let mut device = Device::new(path);
        device.host = host.into();
        container.devices.push(device);
        assert_eq!(refusal(container).exit_code(), 125, "{host} {path}");
    }
}

fn masked_and_read_only() {
    let root = Root::new();
    let script = "wc -c </proc/timer_list; ls -A /sys/firmware | wc -l; touch /sys/firmware/x;
        echo 1 >/proc/sys/kernel/panic; touch /proc/irq/default_smp_affinity; true";
    let output = root.output(script);
    assert!(output.starts_with("0\n0\n"), "{output}");
    assert_eq!(
        output.matches("ead-only file system").count(),
        3,
        "{output}"
    );
}

fn environment_and_directory() {
    let root = Root::new();
    assert_eq!(root.output("pwd; echo $HOME"), "/\n/root\n");
    let mut container = root.container("pwd; echo $HOME; stat -c %u:%g:%a . ..; umask");
    container.process.cwd = "/srv/new/place".into();
    container.process.user = "web".into();
    container.process.env.push("HOME=".into());
    let expected = "/srv/new/place\n/var/web\n33:34:755\n33:34:755\n0022\n";
    assert_eq!(run(container), (Exit::Code(0), expected.into()));
    let mut container = root.container("echo $HOME");
    container.process.env.push("HOME=/mine".into());
    assert_eq!(run(container).1, "/mine\n");
}

fn users() {
    let root = Root::new();
    let id = |user: &str, groups: &[&str]| {
        let mut container = root.container("id -u; id -g; id -G; cat /proc/self/status");
        container.process.user = user.into();
        container.process.groups = groups.iter().map(|&group| group.into()).collect();
        let (_, output) = run(container);
        let nothing = "CapEff:\t0000000000000000";
        assert_eq!(
            output.contains(nothing),
            !output.starts_with("0\n"),
            "{output}"
        );
        output.lines().take(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(id("", &[]), "0 0 0 1");
    assert_eq!(id("web", &[]), "33 34 34 1");
    assert_eq!(id("web:bin", &[]), "33 1 1");
    assert_eq!(id("1:2", &["bin", "50"]), "1 2 2 1 50");
    // Pipes are given to the user, who may open them by name.
    let mut container = root.container("echo through the name >/dev/stdout");
    container.process.user = "web".into();
    assert_eq!(run(container).1, "through the name\n");
    let mut container = root.container("true");
    container.process.user = "nobody".into();
    assert!(full(&refusal(container)).contains("no such user"));
}

fn mounts_of_every_source() {
    let root = Root::new();
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "from the host\n").unwrap();
    let folder: OwnedFd = fs::File::open(host.path()).unwrap().into();
    let script = "cat /etc/file /etc/secret; stat -c %a:%u:%g /etc/secret; echo >/etc/secret;
        echo new >/data/made; cat /data/file; stat -c %a /scratch; echo x >/scratch/x; ls /scratch;
        touch /kept/x; cat /outer/inner/deep; true";
    let mut container = root.container(script);
    let bytes = MountSource::Bytes {
        bytes: b"hush\n".into(),
        mode: 0o400,
        uid: 7,
        gid: 8,
    };
    let scratch = MountSource::Tmpfs {
        size: Some(1 << 20),
        mode: 0o1777,
        uid: 0,
        gid: 0,
    };
    let outer = MountSource::Tmpfs {
        size: None,
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let deep = MountSource::Bytes {
        bytes: b"deep\n".into(),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    container.mounts = vec![
        Mount::new(deep, "/outer/inner/deep"),
        Mount::bind(host.path().join("file"), "/etc/file").read_only(),
        Mount::new(bytes, "/etc/secret").read_only(),
        Mount::new(MountSource::Fd(folder), "/data"),
        Mount::new(scratch, "/scratch"),
        Mount::bind(host.path(), "/kept").read_only(),
        Mount::new(outer, "/outer"),
    ];
    let (_, output) = run(container);
    assert!(
        output.starts_with("from the host\nhush\n400:7:8\n"),
        "{output}"
    );
    assert!(output.contains("from the host\n1777\nx\n"), "{output}");
    assert_eq!(
        output.matches("ead-only file system").count(),
        2,
        "{output}"
    );
    assert!(output.ends_with("deep\n"), "{output}");
    assert_eq!(
        fs::read_to_string(host.path().join("made")).unwrap(),
        "new\n"
    );
}

fn stubs_leave_no_trace() {
    let root = Root::new();
    root.write("etc/there", "");
    std::os::unix::fs::symlink("../run/made/resolv", root.path("etc/link")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in ["", "etc"] {
        fs::File::open(root.path(name))
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    let overlay = Overlay::new(&root);
    fs::File::open(&overlay.upper)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let file = || MountSource::Bytes {
        bytes: b"x".into(),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let script = "cat /etc/there /etc/new /etc/link /a/b/c; ls /proc/self/ns >/dev/null";
    let mut container = overlay.container(&root, script);
    container.mounts = ["/etc/there", "/etc/new", "/etc/link", "/a/b/c"]
        .map(|at| Mount::new(file(), at))
        .into();
    let (running, mut output) = start(container);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!((running.wait().unwrap(), &*text), (Exit::Code(0), "xxxx"));
    let left: Vec<_> = fs::read_dir(&overlay.upper)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    assert!(
        left.iter().all(|entry| entry.file_name() == "etc"),
        "{left:?}"
    );
    let etc = overlay.upper.join("etc");
    assert_eq!(
        fs::read_dir(&etc).unwrap().count(),
        0,
        "etc is only a copy of the directory"
    );
    for folder in [&overlay.upper, &etc] {
        assert_eq!(
            fs::metadata(folder).unwrap().modified().unwrap(),
            old,
            "{}",
            folder.display()
        );
    }
    assert!(running.stub_parents().contains(&"/etc".into()));
    // What the container has put in the place of a stub is its own.
    let overlay = Overlay::new(&root);
    let script = "echo mine >/tmp/kept; mkdir /a/b/own";
    let mut container = overlay.container(&root, script);
    container.mounts = vec![Mount::new(file(), "/a/b/c")];
    assert_eq!(run(container).0, Exit::Code(0));
    assert!(overlay.upper.join("a/b/own").is_dir() && !overlay.upper.join("a/b/c").exists());
}

fn networks() {
    let root = Root::new();
    let devices = "cat /proc/net/dev | grep -c :; cat /sys/class/net/lo/flags";
    let mut container = root.container(&format!("{devices}; busybox ping -c 1 127.0.0.1 | wc -l"));
    container.network = Namespace::Private;
    container
        .sysctls
        .push(("net.ipv4.ip_unprivileged_port_start".into(), "0".into()));
    let (exit, output) = run(container);
    assert!(
        exit == Exit::Code(0) && output.starts_with("1\n0x9\n"),
        "{output}"
    );
    let made = rbuild_runtime::network::new_namespace().unwrap();
    let number = fs::File::from(made.try_clone().unwrap())
        .metadata()
        .unwrap()
        .ino();
    let mut container = root.container("readlink /proc/self/ns/net");
    container.network = Namespace::Join(made);
    assert_eq!(run(container).1, format!("net:[{number}]\n"));
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(
        root.output("readlink /proc/self/ns/net").trim(),
        host.to_str().unwrap()
    );
    let mut container = root.container("true");
    container
        .sysctls
        .push(("net.ipv4.ip_forward".into(), "1".into()));
    assert_eq!(
        refusal(container).exit_code(),
        125,
        "the host's network is not to be set"
    );
}

fn limits_are_never_raised() {
    let root = Root::new();
    let mut container = root.container("ulimit -n; ulimit -Hn; ulimit -c");
    let limit = |resource, soft, hard| Limit {
        resource,
        soft,
        hard,
    };
    container.process.limits = vec![
        limit(Resource::Nofile, Some(100), Some(200)),
        limit(Resource::Core, Some(0), None),
        limit(Resource::Memlock, None, None),
    ];
    container.process.oom_score = Some(-900);
    assert_eq!(run(container), (Exit::Code(0), "100\n200\n0\n".into()));
}

fn a_terminal() {
    let root = Root::new();
    let script = "tty; stty size; stat -c %u:%g /dev/pts/0; echo err >&2; ls /dev/console /dev/pts";
    let mut container = root.container(script);
    container.process.user = "web".into();
    let (exit, shown) = run_on_terminal(
        container,
        WindowSize {
            rows: 33,
            columns: 111,
        },
    );
    assert_eq!(exit, Exit::Code(0), "{shown}");
    let expected = "/dev/pts/0\r\n33 111\r\n33:5\r\nerr\r\n/dev/console\r\n";
    assert!(shown.starts_with(expected), "{shown:?}");
    let container = root.container("stty size; read line; echo got $line; stty size");
    let stdio = rbuild_runtime::Stdio::Terminal(WindowSize {
        rows: 1,
        columns: 2,
    });
    let running = rbuild_runtime::launch(container, stdio).unwrap();
    running
        .resize(WindowSize {
            rows: 5,
            columns: 6,
        })
        .unwrap();
    let mut terminal = fs::File::from(running.terminal().unwrap().try_clone().unwrap());
    terminal.write_all(b"a line\r").unwrap();
    let mut shown = Vec::new();
    let mut bytes = [0; 512];
    while let Ok(size @ 1..) = terminal.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..size]);
    }
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.ends_with("got a line\r\n5 6\r\n"), "{shown:?}");
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
}

fn joining() {
    let root = Root::new();
    let mut container = root.container("echo ready; exec sleep 1000");
    container.hostname = Some("first".into());
    let (running, mut output) = start(container);
    output.read_exact(&mut [0; 6]).unwrap();
    let script =
        "hostname; id -u; grep -E '^(CapEff|CapInh|Seccomp):' /proc/self/status; ls /proc/self/fd
        echo $HOME; ls -d /proc/1/root";
    let mut process = root.container(script).process;
    process.user = "web".into();
    let (stdio, mut output) = piped();
    let joined = exec(running.pid(), running.pidfd(), process, stdio).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let expected = "first\n33\nCapInh:\t0000000000000000\nCapEff:\t0000000000000000\nSeccomp:\t2\n\
        0\n1\n2\n3\n/var/web\n";
    assert!(text.starts_with(expected), "{text}");
    joined.wait().unwrap();
    let missing = root.container("true").process;
    let mut missing = missing;
    missing.argv = vec!["missing".into()];
    let (stdio, _) = piped();
    let error = exec(running.pid(), running.pidfd(), missing, stdio).unwrap_err();
    assert_eq!(error.exit_code(), 127);
    running.kill(rbuild_runtime::Signal::KILL).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(9));
}

fn privileged() {
    let root = Root::new();
    let mut container = root.container(
        "grep -E '^(CapEff|Seccomp):' /proc/self/status; mkdir /tmp/m; \
        busybox mount -t tmpfs none /tmp/m && echo mounted; wc -c /proc/sys/kernel/panic",
    );
    container.make_privileged();
    assert_eq!(container.process.seccomp, Seccomp::None);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapEff")).unwrap();
    let (exit, output) = run(container);
    assert!(exit == Exit::Code(0) && output.starts_with(own), "{output}");
    assert!(output.contains("Seccomp:\t0\nmounted\n"), "{output}");
}

/// Mounts of a container are not seen on the host, nor those of the host in it, also where the
/// host's mounts tell each other.
fn nothing_is_shared() {
    use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
    let root = Root::new();
    let place = root.path("");
    mount_bind(&place, &place).unwrap();
    mount_change(&place, MountPropagationFlags::SHARED).unwrap();
    let mut container = root.container("cat /proc/self/mountinfo");
    container
        .mounts
        .push(Mount::bind(root.path("etc"), "/bound"));
    let (_, output) = run(container);
    unmount(&place, UnmountFlags::DETACH).unwrap();
    assert!(
        output.contains(" /bound ") && !output.contains("shared:"),
        "{output}"
    );
    assert!(!output.contains("master:"), "{output}");
}

fn read_only_root() {
    let root = Root::new();
    let mut container = root.container("touch /x; touch /dev/shm/x && touch /new/x && echo fine");
    container.read_only_root = true;
    let scratch = MountSource::Tmpfs {
        size: None,
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    container.mounts.push(Mount::new(scratch, "/new"));
    let (_, output) = run(container);
    assert!(
        output.contains("ead-only file system") && output.ends_with("fine\n"),
        "{output}"
    );
    assert!(!root.path("new").exists());
}
