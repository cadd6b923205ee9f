//! A smaller table with the kit's real registries behind its proxy of faults.

use std::path::PathBuf;
use std::process::Command;

use rbuild_testkit::{Home, Server, find_kit, free_ports, skipped};

/// Debian's registry three times, as long as this lives.
struct Registries {
    kit: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl Registries {
    fn start(kit: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports(5);
        let registries = Self { kit, folder, port };
        let bases = registries.folder.path().join("bases");
        std::fs::create_dir(&bases).unwrap();
        let (bases, port) = (bases.display().to_string(), port.to_string());
        registries.kit(&["start", "--bases", &bases, "--port", &port]);
        registries
    }

    fn kit(&self, arguments: &[&str]) {
        let mut command = Command::new(self.kit.join("bin/registry.py"));
        let output = command.args(arguments).arg("--dir").arg(self.path("")).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("registry").join(name)
    }

    /// The proxy in front of one of them: plain, TLS with a password, TLS with tokens.
    fn proxy(&self, kind: usize) -> Server {
        let port = self.port + u16::try_from(kind).unwrap();
        let program = self.kit.join("bin/faultproxy.py");
        let path = |name| self.path(name).display().to_string();
        let (certificate, key) = (path("tls.crt"), path("tls.key"));
        if kind == 0 {
            let upstream = format!("http://127.0.0.1:{port}");
            return Server::start(&program, &["--port", "0", "--upstream", &upstream]);
        }
        let upstream = format!("https://localhost:{port}");
        let tls = ["--tls-cert", &certificate, "--tls-key", &key];
        let arguments = [&["--port", "0", "--upstream", &upstream][..], &tls].concat();
        Server::start(&program, &arguments)
    }
}

impl Drop for Registries {
    fn drop(&mut self) {
        let mut stop = Command::new(self.kit.join("bin/registry.py"));
        let _ = stop.arg("stop").arg("--dir").arg(self.path("")).output();
    }
}

/// A fault of the proxy, as its rules have it, and whether it is overcome.
const FAULTS: [(&str, bool); 9] = [
    (r#""action":"status","code":429,"headers":{"Retry-After":"0"},"times":2"#, true),
    (r#""action":"status","code":500,"times":2"#, true),
    (r#""action":"status","code":500,"times":-1"#, false),
    (r#""action":"truncate","times":2"#, true),
    (r#""action":"reset","bytes":1000,"times":2"#, true),
    (r#""action":"stall","times":1"#, true),
    (r#""action":"corrupt","times":1"#, true),
    (r#""action":"corrupt","times":-1"#, false),
    (r#""action":"expire","times":1"#, true),
];

/// Tells the proxy its rules, whoever vouches for it.
const PUT: &str = "\
import ssl, sys, urllib.request
request = urllib.request.Request(sys.argv[1], open('rules.json', 'rb').read(), method='PUT')
context = ssl._create_unverified_context()
urllib.request.urlopen(request, context=context if sys.argv[1][4] == 's' else None)
";

/// Has the proxy break what matches; nothing where there is no fault.
fn rule(home: &Home, scheme: &str, proxy: &Server, matches: &str, fault: Option<&str>) {
    let rules =
        fault.map_or("[]".to_owned(), |fault| format!(r#"[{{"match":"{matches}",{fault}}}]"#));
    home.write("rules.json", rules);
    let url = format!("{scheme}://localhost:{}/__rules", proxy.port);
    home.write("put.py", PUT);
    home.types(&format!("python3 put.py {url}")).ok();
}

fn go(home: &Home, registries: &Registries, kind: usize) {
    let proxy = registries.proxy(kind);
    let (scheme, host) =
        (if kind == 0 { "http" } else { "https" }, format!("localhost:{}", proxy.port));
    home.write(
        ".docker/config.json",
        format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"a2l0OmtpdHBhc3M=\"}}}}}}"),
    );
    if kind > 0 {
        let authority = std::fs::read(registries.path("ca.crt")).unwrap();
        home.write(&format!(".docker/certs.d/{host}/ca.crt"), authority);
    }
    home.types(&format!("rbuild -t {host}/t/image --push app")).ok();
    for (number, (fault, is_overcome)) in FAULTS.into_iter().enumerate() {
        let flags = "--retry 3 --retry-delay 1ms --idle-timeout 1s";
        let root = format!("--root {}", home.path(&format!("{kind}-{number}")).display());
        rule(home, scheme, &proxy, "GET .*/blobs/", Some(fault));
        let pulled = home.types(&format!("rbuild {root} pull {flags} {host}/t/image"));
        rule(home, scheme, &proxy, "", None);
        let told = format!("{kind}, pull, {fault}: {}", pulled.stderr);
        assert_eq!(pulled.code == 0, is_overcome, "{told}");
        home.types(&format!("rbuild {root} cache verify")).ok();
        if fault.contains("corrupt") {
            // The proxy damages answers alone.
            continue;
        }
        let name = format!("{host}/t{number}/image");
        // What is elsewhere in the registry is not taken over from there: it is another image.
        home.write("other/file", format!("{kind} {number}").repeat(400_000));
        home.write("other/Dockerfile", "FROM scratch\nCOPY file /\n");
        rule(home, scheme, &proxy, "(PATCH|PUT) .*/blobs/", Some(fault));
        let pushed = home.types(&format!("rbuild {flags} -t {name} --push other"));
        rule(home, scheme, &proxy, "", None);
        let told = format!("{kind}, push, {fault}: {}", pushed.stderr);
        assert_eq!(pushed.code, if is_overcome { 0 } else { 4 }, "{told}");
        let pulled = home.types(&format!("rbuild {root} pull {name}"));
        assert_eq!(pulled.code == 0, is_overcome, "{told}{}", pulled.stderr);
    }
}

#[test]
fn real_registries_behind_faults() {
    let kit = match find_kit() {
        Ok(kit) => kit,
        Err(place) => {
            let reason = format!("no kit at {}", place.display());
            return skipped("network::kit::real_registries_behind_faults", &reason);
        }
    };
    let registries = Registries::start(kit);
    let home = crate::home();
    home.write("app/Dockerfile", "FROM scratch\nCOPY big /big\nCOPY small /small\n");
    home.write("app/big", super::noise(3 << 20));
    home.write("app/small", "small\n");
    for kind in 0..3 {
        go(&home, &registries, kind);
    }
}
