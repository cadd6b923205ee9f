//! What a container's process finds of files and devices, and leaves of them.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use rbuild_runtime::{Device, DeviceNumber, Exit, Mount, MountSource};

use crate::Test;
use crate::support::{Overlay, Root, refusal, run, start};

pub(crate) const TESTS: &[Test] = &[
    ("files::standard_mounts", standard_mounts),
    ("files::devices", devices),
    ("files::masked_and_read_only", masked_and_read_only),
    ("files::mounts_of_every_source", mounts_of_every_source),
    ("files::stubs_leave_no_trace", stubs_leave_no_trace),
    ("files::nothing_is_shared", nothing_is_shared),
    ("files::read_only_root", read_only_root),
];

fn standard_mounts() {
    let root = Root::new();
    let mounts = root.output("cat /proc/self/mounts");
    let has = |place: &str, kind: &str, options: &[&str]| {
        let line = mounts.lines().rev().find(|line| line.split(' ').nth(1) == Some(place));
        let fields: Vec<_> =
            line.unwrap_or_else(|| panic!("{place} in\n{mounts}")).split(' ').collect();
        assert_eq!(fields[2], kind, "{place}");
        let found: Vec<_> = fields[3].split(',').collect();
        assert!(options.iter().all(|option| found.contains(option)), "{place} {found:?}");
    };
    has("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"]);
    has("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]);
    has("/dev", "tmpfs", &["rw", "nosuid", "mode=755", "size=65536k"]);
    has("/dev/pts", "devpts", &["rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]);
    has("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec", "size=65536k"]);
    has("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]);
    let host = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!host.contains(root.path("").to_str().unwrap()), "a mount is left on the host");
    assert!(mounts.lines().count() < 40, "the host's mounts are seen:\n{mounts}");
}

fn devices() {
    let root = Root::new();
    let script = "head -c 4 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; echo x >/dev/null;
        echo x >/dev/full; readlink /dev/fd; readlink /dev/ptmx; stat -c %a:%t:%T /dev/tty";
    let output = root.output(script);
    assert!(output.starts_with("4\n1\n") && output.contains("No space"), "{output}");
    assert!(output.ends_with("/proc/self/fd\npts/ptmx\n666:5:0\n"), "{output}");
    // Nodes may be made, as with Docker, but open nothing.
    for place in ["/tmp", "/dev"] {
        let script = format!("mknod {place}/disk c 1 5 && head -c 1 {place}/disk");
        let (exit, output) = run(root.container(&script));
        assert!(exit == Exit::Code(1) && output.contains("denied"), "{place}: {output}");
    }
    let mut container = root.container("head -c 3 /dev/inner/zero | wc -c; stat -c %a /dev/inner");
    let mut device = Device::new("/dev/inner/zero");
    device.host = "/dev/zero".into();
    container.devices.push(device);
    assert_eq!(run(container), (Exit::Code(0), "3\n755\n".into()));
    let mut container = root.container("echo x >/dev/sink; stat -c %a:%u:%g:%t:%T /dev/sink");
    container.devices.push(Device {
        number: Some(DeviceNumber { block: false, major: 1, minor: 3 }),
        mode: Some(0o640),
        uid: Some(7),
        gid: Some(8),
        ..Device::new("/dev/sink")
    });
    assert_eq!(run(container), (Exit::Code(0), "640:7:8:1:3\n".into()));
    for (host, path) in [("/etc", "/dev/x"), ("/dev/zero", "/x"), ("/dev/zero", "/dev/../x")] {
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
    assert_eq!(output.matches("ead-only file system").count(), 3, "{output}");
    // What tells of others: empty, or not there at all.
    for path in [
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/timer_stats",
        "/proc/acpi",
        "/proc/asound",
        "/proc/scsi",
        "/sys/devices/virtual/powercap",
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
    ] {
        let script = format!("test -e {path} || exit 0; cat {path} || ls -A {path}");
        let (_, output) = run(root.container(&script));
        let is_folder = output.lines().all(|line| line.ends_with("Is a directory"));
        assert!(output.is_empty() || is_folder, "{path}: {output}");
    }
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
    let bytes = MountSource::Bytes { bytes: b"hush\n".into(), mode: 0o400, uid: 7, gid: 8 };
    let scratch = MountSource::Tmpfs { size: Some(1 << 20), mode: 0o1777, uid: 0, gid: 0 };
    let outer = MountSource::Tmpfs { size: None, mode: 0o755, uid: 0, gid: 0 };
    let deep = MountSource::Bytes { bytes: b"deep\n".into(), mode: 0o644, uid: 0, gid: 0 };
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
    assert!(output.starts_with("from the host\nhush\n400:7:8\n"), "{output}");
    assert!(output.contains("from the host\n1777\nx\n"), "{output}");
    assert_eq!(output.matches("ead-only file system").count(), 2, "{output}");
    assert!(output.ends_with("deep\n"), "{output}");
    assert_eq!(fs::read_to_string(host.path().join("made")).unwrap(), "new\n");
}

fn stubs_leave_no_trace() {
    let root = Root::new();
    root.write("etc/there", "");
    std::os::unix::fs::symlink("../run/made/resolv", root.path("etc/link")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in ["", "etc"] {
        fs::File::open(root.path(name)).unwrap().set_modified(old).unwrap();
    }
    let overlay = Overlay::new(&root);
    fs::File::open(&overlay.upper).unwrap().set_modified(old).unwrap();
    let file = || MountSource::Bytes { bytes: b"x".into(), mode: 0o644, uid: 0, gid: 0 };
    let script = "cat /etc/there /etc/new /etc/link /a/b/c; ls /proc/self/ns >/dev/null";
    let mut container = overlay.container(&root, script);
    container.mounts =
        ["/etc/there", "/etc/new", "/etc/link", "/a/b/c"].map(|at| Mount::new(file(), at)).into();
    let (running, mut output) = start(container);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!((running.wait().unwrap(), &*text), (Exit::Code(0), "xxxx"));
    let left: Vec<_> = fs::read_dir(&overlay.upper).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(left.iter().all(|entry| entry.file_name() == "etc"), "{left:?}");
    let etc = overlay.upper.join("etc");
    assert_eq!(fs::read_dir(&etc).unwrap().count(), 0, "etc is only a copy of the directory");
    for folder in [&overlay.upper, &etc] {
        assert_eq!(fs::metadata(folder).unwrap().modified().unwrap(), old, "{}", folder.display());
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

/// Mounts of a container are not seen on the host, nor those of the host in it, also where the
/// host's mounts tell each other.
fn nothing_is_shared() {
    use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
    let root = Root::new();
    let place = root.path("");
    mount_bind(&place, &place).unwrap();
    mount_change(&place, MountPropagationFlags::SHARED).unwrap();
    let mut container = root.container("cat /proc/self/mountinfo");
    container.mounts.push(Mount::bind(root.path("etc"), "/bound"));
    let (_, output) = run(container);
    unmount(&place, UnmountFlags::DETACH).unwrap();
    assert!(output.contains(" /bound ") && !output.contains("shared:"), "{output}");
    assert!(!output.contains("master:"), "{output}");
}

fn read_only_root() {
    let root = Root::new();
    let mut container = root.container("touch /x; touch /dev/shm/x && touch /new/x && echo fine");
    container.read_only_root = true;
    let scratch = MountSource::Tmpfs { size: None, mode: 0o755, uid: 0, gid: 0 };
    container.mounts.push(Mount::new(scratch, "/new"));
    let (_, output) = run(container);
    assert!(output.contains("ead-only file system") && output.ends_with("fine\n"), "{output}");
    assert!(!root.path("new").exists());
}
