//! How containers end, and what is left.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio as Streams};

use rbuild_runtime::network::new_namespace;
use rbuild_runtime::{Exit, Namespace, Signal, Stdio, launch, prepare};

use crate::Test;
use crate::support::{Root, full, refusal, run, start};

pub(crate) const TESTS: &[Test] = &[
    ("ends::codes", codes),
    ("ends::programs_that_do_not_start", programs_that_do_not_start),
    ("ends::killing_takes_all", killing_takes_all),
    ("ends::dropping_kills", dropping_kills),
    ("ends::the_launcher_dies", the_launcher_dies),
    ("ends::the_launcher_dies_and_is_outlived", the_launcher_dies_and_is_outlived),
    ("ends::an_init", an_init),
    ("ends::many_threads", many_threads),
    ("ends::nothing_is_left", nothing_is_left),
];

/// The argument by which a second copy of this program is told to launch in a root and wait.
const VICTIM: &str = "--be-a-victim";
/// The further argument by which its container outlives it.
const OUTLIVES: &str = "--outlives";

fn codes() {
    let root = Root::new();
    for code in [0, 1, 77, 255] {
        assert_eq!(run(root.container(&format!("exit {code}"))).0, Exit::Code(code));
    }
    let (exit, _) = run(root.container("sh -c 'kill -9 $$'; exit $?"));
    assert_eq!(exit, Exit::Code(137));
}

fn programs_that_do_not_start() {
    let root = Root::new();
    root.write("bin/plain", "#!/bin/sh\n");
    root.write("bin/lost", "#!/bin/nothing\n");
    let executable: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(root.path("bin/lost"), executable.clone()).unwrap();
    root.write("bin/garbage", "\x7fELF garbage");
    fs::set_permissions(root.path("bin/garbage"), executable).unwrap();
    for (program, code) in [
        ("missing", 127),
        ("/missing", 127),
        ("/bin/sh/x", 127),
        ("", 127),
        ("lost", 127),
        ("plain", 126),
        ("/bin/plain", 126),
        ("/etc", 126),
        ("/bin/garbage", 126),
    ] {
        let mut container = root.container("");
        container.process.argv = vec![program.into()];
        let error = refusal(container);
        assert_eq!(error.exit_code(), code, "{program}: {}", full(&error));
    }
    let mut container = root.container("true");
    container.process.argv.clear();
    assert_eq!(refusal(container).exit_code(), 125);
}

fn killing_takes_all() {
    let root = Root::new();
    let (running, mut output) = start(root.container("sleep 1000 & sleep 1000 & echo up; wait"));
    output.read_exact(&mut [0; 3]).unwrap();
    running.kill(Signal::KILL).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(9));
    assert_eq!(running.wait().unwrap(), Exit::Signal(9), "asked again");
    // The pipe ends only when nobody is left to write to it.
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    running.kill(Signal::TERM).unwrap();
}

fn dropping_kills() {
    let root = Root::new();
    let (running, mut output) = start(root.container("echo up; exec sleep 1000"));
    output.read_exact(&mut [0; 3]).unwrap();
    drop(running);
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
}

/// What the second copy of this program does, if this is it.
pub(crate) fn be_a_victim() {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(at) = arguments.iter().position(|word| word == VICTIM) else {
        return;
    };
    let path = &arguments[at + 1];
    let mut container = rbuild_runtime::Container::new(fs::File::open(path).unwrap().into());
    container.network = Namespace::Host;
    container.process.user = "web".into();
    container.process.argv =
        ["/bin/sh", "-c", "echo up; exec /bin/sleep 1000"].map(String::from).to_vec();
    if arguments.iter().any(|word| word == OUTLIVES) {
        container.process.argv[2] = "echo up; read line; echo got $line".into();
        container.outlives = true;
    }
    let running = launch(container, Stdio::inherit()).unwrap();
    let _ = running.wait();
    std::process::exit(0);
}

fn the_launcher_dies() {
    let root = Root::new();
    let mut victim = Command::new("/proc/self/exe")
        .args([VICTIM, root.path("").to_str().unwrap()])
        .stdout(Streams::piped())
        .spawn()
        .unwrap();
    let mut output = victim.stdout.take().unwrap();
    output.read_exact(&mut [0; 3]).unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    // Ends when the container's process, which has the pipe too, is dead.
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
}

fn the_launcher_dies_and_is_outlived() {
    let root = Root::new();
    let mut victim = Command::new("/proc/self/exe")
        .args([VICTIM, root.path("").to_str().unwrap(), OUTLIVES])
        .stdin(Streams::piped())
        .stdout(Streams::piped())
        .spawn()
        .unwrap();
    let mut output = victim.stdout.take().unwrap();
    let mut input = victim.stdin.take().unwrap();
    output.read_exact(&mut [0; 3]).unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    input.write_all(b"it\n").unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "got it\n");
}

fn an_init() {
    let root = Root::new();
    let script = "trap 'echo told; exit 9' TERM; (sleep 0 &) ; echo $$ up; \
        while true; do sleep 1000 & wait $!; done";
    let mut container = root.container(script);
    container.init = true;
    let (running, mut output) = start(container);
    output.read_exact(&mut [0; 5]).unwrap();
    running.kill(Signal::TERM).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!((running.wait().unwrap(), &*text), (Exit::Code(9), "told\n"));
    let mut container = root.container("exit 5");
    container.init = true;
    assert_eq!(run(container).0, Exit::Code(5));
    let mut container = root.container("");
    container.init = true;
    container.process.argv = vec!["missing".into()];
    assert_eq!(refusal(container).exit_code(), 127);
}

fn many_threads() {
    let root = Root::new();
    // Containers that share a root share what is made in it to mount on, too.
    for name in ["proc", "dev", "sys"] {
        fs::create_dir(root.path(name)).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let root = &root;
            scope.spawn(move || {
                for turn in 0..5 {
                    let code = thread * 5 + turn;
                    let (exit, output) = run(root.container(&format!("echo {code}; exit {code}")));
                    assert_eq!((exit, output), (Exit::Code(code), format!("{code}\n")));
                }
            });
        }
    });
}

fn nothing_is_left() {
    prepare().unwrap();
    let root = Root::new();
    let descriptors = || {
        // The network that is made ahead of the next container may be half made: that one is taken.
        drop(new_namespace(|| Ok(())).unwrap());
        fs::read_dir("/proc/self/fd").unwrap().count()
    };
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(run(root.container("true")).0, Exit::Code(0));
    let before = (descriptors(), mounts());
    for _ in 0..50 {
        assert_eq!(run(root.container("true")).0, Exit::Code(0));
        let mut container = root.container("");
        container.process.argv = vec!["missing".into()];
        refusal(container);
    }
    assert!(before == (descriptors(), mounts()), "descriptors or mounts are left");
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    let count = children.split_whitespace().count();
    assert!(count <= 1, "more than the helper is left: {children}");
}
