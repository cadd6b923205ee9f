//! A store with a busybox image, and the user's commands as processes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use rbuild::Store;
use rbuild::container::{
    self, Created, Ended, ExecOptions, ImageToRun, RunOptions, State, Status, Terminal,
};
use rbuild::image::ImageConfig;

/// The argument by which this program plays the user's command.
pub(crate) const TOOL: &str = "tool";
/// How long something that must happen may take on a machine that is busy.
const LONGEST: Duration = Duration::from_mins(1);

const APPLETS: [&str; 24] = [
    "cat", "chmod", "date", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls",
    "mkdir", "pwd", "rm", "seq", "sh", "sleep", "stat", "stty", "test", "touch", "true", "yes",
];

/// A store of its own with one image.
pub(crate) struct Stage {
    pub(crate) store: Store,
    pub(crate) image: ImageToRun,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| (), |_| ())
    }

    /// With more files, and another config.
    pub(crate) fn with(fill: impl FnOnce(&Path), configure: impl FnOnce(&mut ImageConfig)) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root, for its containers");
        let store = Store::temporary().unwrap();
        let layer = store.stage().unwrap();
        let files = layer.files();
        for folder in ["bin", "etc", "tmp", "data"] {
            fs::create_dir(files.join(folder)).unwrap();
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"];
        let busybox = busybox.into_iter().find(|path| Path::new(path).exists());
        let busybox = busybox.expect("this test needs the package busybox-static");
        fs::copy(busybox, files.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", files.join("bin").join(applet)).unwrap();
        }
        fs::write(files.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:7:8::/:/bin/sh\n")
            .unwrap();
        fs::write(files.join("etc/group"), "root:x:0:\n").unwrap();
        fs::write(files.join("etc/plain"), "no program\n").unwrap();
        fs::write(files.join("data/seed"), "seed\n").unwrap();
        fs::set_permissions(files.join("data"), fs::Permissions::from_mode(0o750)).unwrap();
        fill(files);
        let layers = vec![layer.commit(None).unwrap()];
        let mut config = ImageConfig::scratch(&rbuild::platform::host());
        config.config.cmd = vec!["sh".to_owned()];
        configure(&mut config);
        let id = store.write_blob(&config.to_json()).unwrap();
        Self {
            image: ImageToRun { reference: "busybox:test".to_owned(), id, config, layers },
            store,
        }
    }

    pub(crate) fn create(&self, options: &RunOptions) -> Created {
        container::create(&self.store, &self.image, options.clone()).unwrap()
    }

    /// `run -d`.
    pub(crate) fn start(&self, options: &RunOptions) -> Created {
        let created = self.create(options);
        container::start(&self.store, &created.id).unwrap();
        created
    }

    /// `run`, as a process whose streams are pipes.
    pub(crate) fn run(&self, options: &RunOptions) -> Child {
        self.command("run", &serde_json::to_string(options).unwrap(), "").spawn().unwrap()
    }

    /// `run` to its end.
    pub(crate) fn output(&self, options: &RunOptions) -> Output {
        let mut child = self.run(options);
        drop(child.stdin.take());
        child.wait_with_output().unwrap()
    }

    /// `exec` to its end.
    pub(crate) fn exec(&self, name: &str, options: &ExecOptions) -> Output {
        let mut command = self.command("exec", &serde_json::to_string(options).unwrap(), name);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// One of the user's commands, with pipes for streams.
    pub(crate) fn command(&self, verb: &str, options: &str, name: &str) -> Command {
        let image = serde_json::json!([
            self.image.reference,
            self.image.id,
            self.image.config,
            self.image.layers
        ]);
        let mut command = Command::new("/proc/self/exe");
        command.args([TOOL, verb]).arg(self.store.root()).args([&image.to_string(), options, name]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn state(&self, name: &str) -> State {
        let all = container::list(&self.store, true).unwrap();
        let is_it = |one: &container::Listed| one.id == name || one.names.iter().any(|n| n == name);
        all.into_iter().find(is_it).expect("the container is listed").state
    }

    /// Waits until a container is in a state that it must come to.
    pub(crate) fn until(&self, name: &str, is_there: impl Fn(&State) -> bool) -> State {
        eventually(|| Some(self.state(name)).filter(&is_there))
    }

    pub(crate) fn logs(&self, name: &str) -> String {
        let mut text = Vec::new();
        container::logs(&self.store, name, &container::LogOptions::default(), &mut |_, line| {
            text.extend_from_slice(line);
            Ok(())
        })
        .unwrap();
        String::from_utf8(text).unwrap()
    }

    /// Nothing is left of any container.
    pub(crate) fn assert_empty(&self) {
        assert!(container::list(&self.store, true).unwrap().is_empty());
        for folder in ["containers", "containers/names", "volumes"] {
            let entries = fs::read_dir(self.store.root().join(folder)).into_iter().flatten();
            let left: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name())
                .filter(|name| name != "names")
                .collect();
            assert!(left.is_empty(), "{folder}: {left:?}");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A test that failed leaves none of its containers behind.
        for one in container::list(&self.store, true).into_iter().flatten() {
            let _ = container::remove(&self.store, &one.id, true, true);
        }
    }
}

/// Asks again and again for what must come.
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < LONGEST, "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Options with a shell script.
pub(crate) fn script(text: &str) -> RunOptions {
    RunOptions { command: words(&["sh", "-c", text]), ..RunOptions::default() }
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Runs until it is told to stop, and then exits with 3.
pub(crate) fn patient() -> RunOptions {
    script("trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done")
}

/// Waits for a line of a process's output.
pub(crate) fn read_line(from: impl Read) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, from).read_line(&mut line).unwrap();
    line
}

pub(crate) fn is_running(state: &State) -> bool {
    state.status == Status::Running
}

/// Plays the user's command: a verb, the store, the image, options as json and a name.
pub(crate) fn tool(arguments: &[String]) -> ExitCode {
    let [verb, root, image, options, name] = arguments else { panic!("{arguments:?}") };
    let store = Store::open(root).unwrap();
    let ended = match verb.as_str() {
        "run" => {
            let (reference, id, config, layers) = serde_json::from_str(image).unwrap();
            let image = ImageToRun { reference, id, config, layers };
            let options: RunOptions = serde_json::from_str(options).unwrap();
            let terminal =
                Terminal { input: options.interactive, sig_proxy: true, ..Terminal::default() };
            container::create(&store, &image, options)
                .and_then(|created| container::run(&store, &created, &terminal))
        }
        "exec" => {
            let options: ExecOptions = serde_json::from_str(options).unwrap();
            let terminal = Terminal { input: options.interactive, ..Terminal::default() };
            container::exec(&store, name, &options, &terminal)
        }
        "start" => {
            let terminal = Terminal { input: true, ..Terminal::default() };
            container::start_attached(&store, name, &terminal)
        }
        "attach" => {
            let terminal = Terminal { input: true, sig_proxy: true, ..Terminal::default() };
            container::attach(&store, name, &terminal)
        }
        other => panic!("{other}"),
    };
    match ended {
        Ok(Ended::Exited(code)) => ExitCode::from(u8::try_from(code).unwrap()),
        Ok(Ended::Detached) => {
            eprintln!("detached");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(u8::try_from(error.exit_code()).unwrap())
        }
    }
}
