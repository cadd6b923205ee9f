//! What a container's process finds around itself.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use rbuild_runtime::cgroup::{Cgroup, Limits};
use rbuild_runtime::{Capabilities, Exit, Limit, Namespace, Resource, Seccomp, WindowSize, exec};

use crate::Test;
use crate::support::{Root, full, piped, refusal, run, run_on_terminal, start};

pub(crate) const TESTS: &[Test] = &[
    ("inside::identity", identity),
    ("inside::capabilities_and_filter", capabilities_and_filter),
    ("inside::no_signal_is_ignored", no_signal_is_ignored),
    ("inside::environment_and_directory", environment_and_directory),
    ("inside::users", users),
    ("inside::networks", networks),
    ("inside::limits_are_never_raised", limits_are_never_raised),
    ("inside::control_groups", control_groups),
    ("inside::a_terminal", a_terminal),
    ("inside::joining", joining),
    ("inside::privileged", privileged),
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
        assert!(status.lines().any(|found| found == line), "{line} in\n{status}");
    }
    let mut container = root.container("grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; ip link");
    container.process.capabilities = Capabilities::none();
    container.process.no_new_privileges = true;
    let (_, output) = run(container);
    assert!(output.starts_with("CapEff:\t0000000000000000\nNoNewPrivs:\t1\n"), "{output}");
    let unshare = root.container("exec busybox unshare -m true");
    let (exit, output) = run(unshare);
    assert!(exit != Exit::Code(0) && output.contains("not permitted"), "{output}");
}

/// Neither what the launching process ignores nor what the C library has its children ignore.
fn no_signal_is_ignored() {
    let root = Root::new();
    let mut container = root.container("");
    container.process.argv = ["cat", "/proc/self/status"].map(String::from).to_vec();
    let (_, status) = run(container);
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(status.contains(&format!("\n{name}:\t0000000000000000\n")), "{status}");
    }
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
        assert_eq!(output.contains(nothing), !output.starts_with("0\n"), "{output}");
        output.lines().take(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(id("", &[]), "0 0 0 1");
    assert_eq!(id("web", &[]), "33 34 34 1");
    assert_eq!(id("web:bin", &[]), "33 1 1");
    assert_eq!(id("1:2", &["bin", "50"]), "1 2 2 1 50");
    // What the first group is kept from is kept, though all others may read it.
    root.write("tmp/not-for-the-group", "secret");
    let file = root.path("tmp/not-for-the-group");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o707)).unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(34)).unwrap();
    let mut container = root.container("cat /tmp/not-for-the-group");
    container.process.user = "web".into();
    let (exit, output) = run(container);
    assert!(exit != Exit::Code(0) && output.contains("denied"), "{output}");
    // Pipes are given to the user, who may open them by name.
    let mut container = root.container("echo through the name >/dev/stdout");
    container.process.user = "web".into();
    assert_eq!(run(container).1, "through the name\n");
    let mut container = root.container("true");
    container.process.user = "nobody".into();
    assert!(full(&refusal(container)).contains("no such user"));
}

fn networks() {
    let root = Root::new();
    let devices = "cat /proc/net/dev | grep -c :; cat /sys/class/net/lo/flags";
    let mut container = root.container(&format!("{devices}; busybox ping -c 1 127.0.0.1 | wc -l"));
    container.network = Namespace::Private;
    container.sysctls.push(("net.ipv4.ip_unprivileged_port_start".into(), "0".into()));
    let (exit, output) = run(container);
    assert!(exit == Exit::Code(0) && output.starts_with("1\n0x9\n"), "{output}");
    let made = rbuild_runtime::network::new_namespace(|| Ok(())).unwrap().0;
    let number = fs::File::from(made.try_clone().unwrap()).metadata().unwrap().ino();
    let mut container = root.container("readlink /proc/self/ns/net");
    container.network = Namespace::Join(made);
    assert_eq!(run(container).1, format!("net:[{number}]\n"));
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(root.output("readlink /proc/self/ns/net").trim(), host.to_str().unwrap());
    let mut container = root.container("true");
    container.sysctls.push(("net.ipv4.ip_forward".into(), "1".into()));
    assert_eq!(refusal(container).exit_code(), 125, "the host's network is not to be set");
}

fn limits_are_never_raised() {
    let root = Root::new();
    let mut container = root.container("ulimit -n; ulimit -Hn; ulimit -c");
    let limit = |resource, soft, hard| Limit { resource, soft, hard };
    container.process.limits = vec![
        limit(Resource::Nofile, Some(100), Some(200)),
        limit(Resource::Core, Some(0), None),
        limit(Resource::Memlock, None, None),
    ];
    container.process.oom_score = Some(-900);
    assert_eq!(run(container), (Exit::Code(0), "100\n200\n0\n".into()));
}

/// Where the machine counts processes, a container that may have few cannot have many.
fn control_groups() {
    let root = Root::new();
    let name = format!("rbuild/test-{}", std::process::id());
    let limits = Limits { processes: Some(3), memory: Some(64 << 20), ..Limits::default() };
    let group = Cgroup::create(&name, &limits).unwrap_or_else(|error| panic!("{}", full(&error)));
    let mut container = root.container("for i in 1 2 3 4 5 6; do sleep 1000 & done; echo made");
    container.cgroups = group.procs().unwrap();
    let (exit, output) = run(container);
    assert!(exit != Exit::Code(0) && output.contains("can't fork"), "{output}");
    let script = "x=1234567890; while true; do x=$x$x; done";
    let mut container = root.container(script);
    container.cgroups = group.procs().unwrap();
    assert_eq!(group.memory_kills(), 0);
    assert_eq!(run(container).0, Exit::Signal(9), "killed for memory");
    assert_eq!(group.memory_kills(), 1);
    group.remove().unwrap();
    let odd = Limits { processors: Some("nonsense".into()), ..Limits::default() };
    assert!(Cgroup::create(&name, &odd).is_err());
}

fn a_terminal() {
    let root = Root::new();
    let script = "tty; stty size; stat -c %u:%g /dev/pts/0; echo err >&2; ls /dev/console /dev/pts";
    let mut container = root.container(script);
    container.process.user = "web".into();
    let (exit, shown) = run_on_terminal(container, WindowSize { rows: 33, columns: 111 });
    assert_eq!(exit, Exit::Code(0), "{shown}");
    let expected = "/dev/pts/0\r\n33 111\r\n33:5\r\nerr\r\n/dev/console\r\n";
    assert!(shown.starts_with(expected), "{shown:?}");
    let container = root.container("stty size; read line; echo got $line; stty size");
    let stdio = rbuild_runtime::Stdio::Terminal(WindowSize { rows: 1, columns: 2 });
    let running = rbuild_runtime::launch(container, stdio).unwrap();
    running.resize(WindowSize { rows: 5, columns: 6 }).unwrap();
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
    let name = format!("rbuild/joined-{}", std::process::id());
    let limits = Limits { processes: Some(20), ..Limits::default() };
    let group = Cgroup::create(&name, &limits).unwrap();
    container.cgroups = group.procs().unwrap();
    let (running, mut output) = start(container);
    output.read_exact(&mut [0; 6]).unwrap();
    let script =
        "hostname; id -u; grep -E '^(Cap(Inh|Eff|Amb)|Seccomp):' /proc/self/status; ls /proc/self/fd
        echo $HOME; grep -c /rbuild/joined- /proc/self/cgroup; ls -d /proc/1/root";
    let mut process = root.container(script).process;
    process.user = "web".into();
    let (stdio, mut output) = piped();
    let joined = exec(running.pid(), running.pidfd(), process, stdio).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let expected = "first\n33\nCapInh:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\nSeccomp:\t2\n\
        0\n1\n2\n3\n/var/web\n1\n";
    assert!(text.starts_with(expected), "{text}");
    joined.wait().unwrap();
    for (user, id) in [("1", "1 0"), ("1:", "1 0"), ("01", "1 0"), ("1:2", "1 2"), (":2", "0 2")] {
        let mut process = root.container("echo $(id -u) $(id -g)").process;
        process.user = user.into();
        let (stdio, mut output) = piped();
        let joined = exec(running.pid(), running.pidfd(), process, stdio).unwrap();
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        joined.wait().unwrap();
        assert_eq!(text.trim(), id, "{user}");
    }
    let mut odd = root.container("id -u").process;
    odd.user = "+1".into();
    let error = exec(running.pid(), running.pidfd(), odd, piped().0).unwrap_err();
    assert!(full(&error).contains("no such user"), "{}", full(&error));
    let missing = root.container("true").process;
    let mut missing = missing;
    missing.argv = vec!["missing".into()];
    let (stdio, _) = piped();
    let error = exec(running.pid(), running.pidfd(), missing, stdio).unwrap_err();
    assert_eq!(error.exit_code(), 127);
    running.kill(rbuild_runtime::Signal::KILL).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(9));
    group.remove().unwrap();
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
