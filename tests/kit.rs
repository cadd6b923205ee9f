//! The kit's registries and servers, for the tests that walk where its real inputs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_testkit::{Server, find_kit, free_ports, skipped};

/// What the kit's ifconfig.me answers.
pub(crate) const ADDRESS: &str = "203.0.113.7";
/// The tutorial's.
pub(crate) const DOCKERFILE: &str = "\
FROM alpine:3
RUN apk add curl
ENTRYPOINT [\"/usr/bin/curl\", \"-s\", \"ifconfig.me\"]
";

/// The kit, or a report that it is missing.
pub(crate) fn kit(case: &str) -> Option<PathBuf> {
    match find_kit() {
        Ok(kit) => Some(kit),
        Err(place) => {
            skipped(case, &format!("no kit at {}", place.display()));
            None
        }
    }
}

/// Registries of the kit, as long as this lives.
pub(crate) struct Registries {
    kit: PathBuf,
    folder: tempfile::TempDir,
    variables: String,
}

impl Registries {
    /// Registries that have these bases, which are made where they are missing.
    pub(crate) fn with(kit: &Path, bases: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(kit, "bases.py", bases, 0);
        Self::start(kit.to_owned(), folder, &[])
    }

    fn start(kit: PathBuf, folder: tempfile::TempDir, flags: &[&str]) -> Self {
        let registry = folder.path().join("registry");
        let port = free_ports(5).to_string();
        let usual = ["start", "--dir", registry.to_str().unwrap(), "--port", &port];
        let variables = run(&kit, "registry.py", &[&usual, flags].concat(), 0);
        Self { kit, folder, variables }
    }

    fn variable(&self, name: &str) -> &str {
        let mut lines = self.variables.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name} in {}", self.variables))
    }

    /// The one that speaks http and knows everybody.
    pub(crate) fn plain(&self) -> &str {
        self.variable("KIT_PLAIN")
    }
}

impl Drop for Registries {
    fn drop(&mut self) {
        let folder = self.folder.path().join("registry");
        let mut stop = Command::new(self.kit.join("bin/registry.py"));
        let _ = stop.arg("stop").arg("--dir").arg(folder).output();
    }
}

/// The kit's servers that the tutorial needs, as long as this lives.
pub(crate) struct Services {
    registries: Registries,
    site: Server,
    _packages: Server,
}

impl Services {
    pub(crate) fn start(kit: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(&kit, "build-curl-apk", &[], 0);
        let repository = cache().join("alpine/repo");
        let packages = Server::start(
            &kit.join("bin/apkrepo.py"),
            &["serve", repository.to_str().unwrap(), "--port", "0"],
        );
        let bases = folder.path().join("bases");
        let bases = bases.to_str().unwrap();
        run(&kit, "bases.py", &["--out", bases, "alpine", "alpine-http"], packages.port);
        let site = Server::start(&kit.join("bin/ifconfig-me.py"), &["--port", "0"]);
        let flags = ["--bases", bases, "--alpine-as", "alpine-http"];
        let registries = Registries::start(kit, folder, &flags);
        Self { registries, site, _packages: packages }
    }

    /// The registry that speaks http and knows everybody.
    pub(crate) fn plain(&self) -> &str {
        self.registries.plain()
    }

    /// The registry that speaks https and wants tokens.
    pub(crate) fn token(&self) -> &str {
        self.registries.variable("KIT_TOKEN")
    }

    /// The file of the authority that vouches for it.
    pub(crate) fn authority(&self) -> &str {
        self.registries.variable("KIT_CA")
    }

    /// The port of ifconfig.me, which is a proxy, too.
    pub(crate) fn site_port(&self) -> u16 {
        self.site.port
    }
}

/// Runs a program of the kit, with the port of the server of packages.
fn run(kit: &Path, program: &str, arguments: &[&str], port: u16) -> String {
    let mut command = Command::new(kit.join("bin").join(program));
    command.args(arguments).env("KIT_CACHE", cache()).env("KIT_APK_PORT", port.to_string());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where the kit keeps what takes long to make; its own default.
#[expect(clippy::disallowed_methods, reason = "the kit is told by the environment")]
fn cache() -> PathBuf {
    let default = || std::env::temp_dir().join("rbuild-kit");
    std::env::var_os("KIT_CACHE").map_or_else(default, PathBuf::from)
}
