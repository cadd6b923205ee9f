//! Registries on a bad network: every kind of registry, every way that an image or a cache goes, and
//! everything that goes wrong on it.

mod kit;

use std::fmt::Write;

use crate::home;
use rbuild_testkit::{Base, Fault, Home, Proxy, Ran, Registry, Web, digest, eventually};

/// Incompressible bytes, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// A kind of registry, with a home that knows how to use it.
struct Side {
    kind: &'static str,
    home: Home,
    registry: Registry,
}

impl Side {
    /// Plain; TLS and a password; a token.
    fn all() -> [Self; 3] {
        [
            Self::new("plain", Registry::start()),
            Self::new("TLS and basic", Registry::secure("kit", "kitpass")),
            Self::new("bearer", Registry::with_login("kit", "kitpass")),
        ]
    }

    fn new(kind: &'static str, registry: Registry) -> Self {
        let (home, host) = (home(), registry.host());
        registry.lends_nothing();
        let login = format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"a2l0OmtpdHBhc3M=\"}}}}}}\n");
        if kind != "plain" {
            home.write(".docker/config.json", login);
        }
        if let Some(authority) = registry.authority() {
            home.write(&format!(".docker/certs.d/{host}/ca.crt"), authority);
        }
        home.write("app/Dockerfile", "FROM scratch\nCOPY big /big\nCOPY small /small\n");
        home.write("app/big", noise(3 << 20));
        home.write("app/small", "small\n");
        let cache = format!("--cache-to type=registry,ref={host}/cache,mode=max");
        home.types(&format!("rbuild -t {host}/image {cache} app")).ok();
        home.types(&format!("rbuild push {host}/image")).ok();
        Self { kind, home, registry }
    }

    /// The digest of the largest layer, which faults are about.
    fn layer(&self) -> String {
        let manifest = self.registry.manifest("image", "latest").unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let largest = layers.iter().max_by_key(|layer| layer["size"].as_u64()).unwrap();
        largest["digest"].as_str().unwrap().to_owned()
    }
}

/// A way that an image or a cache goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Pull,
    Push,
    CacheExport,
    CacheImport,
}

const WAYS: [Way; 4] = [Way::Pull, Way::Push, Way::CacheExport, Way::CacheImport];

/// What goes wrong, and how often.
const FAULTS: [(Fault, usize); 12] = [
    (Fault::Status(429), 2),
    (Fault::Status(429), 99),
    (Fault::Status(500), 2),
    (Fault::Status(500), 99),
    (Fault::Truncated, 2),
    (Fault::Stalled, 1),
    (Fault::Reset, 2),
    (Fault::Reset, 99),
    (Fault::Expired, 1),
    (Fault::Corrupt, 1),
    (Fault::Corrupt, 99),
    (Fault::Status(403), 1),
];

/// What must come of a fault: nothing bad, or a message with this in it.
fn expected(side: &Side, way: Way, fault: Fault, times: usize) -> Option<&'static str> {
    let sends = matches!(way, Way::Push | Way::CacheExport);
    match (fault, times) {
        (Fault::Status(429), 99) => Some("the server answers 429 too many requests"),
        (Fault::Status(500), 99) => Some("the server answers 500 internal server error"),
        (Fault::Status(403), _) => Some("the server answers 403 forbidden"),
        (Fault::Reset, 99) => Some("cannot"),
        // There is nothing that would let anybody in anew.
        (Fault::Expired, _) if side.kind == "plain" => Some("the server answers 401 unauthorized"),
        (Fault::Corrupt, 99) if sends => Some("the server answers 400 bad request"),
        (Fault::Corrupt, 99) => Some(", not sha256:"),
        _ => None,
    }
}

/// One line of the table: goes a way while something goes wrong.
fn go(side: &Side, way: Way, layer: &str, (fault, times): (Fault, usize), cell: &str) -> Ran {
    let (home, host) = (&side.home, side.registry.host());
    let (methods, part): (_, &str) = match way {
        Way::Pull => ("GET", layer),
        Way::CacheImport => ("GET", "/cache/blobs/"),
        Way::Push | Way::CacheExport => ("PATCH|PUT", "/blobs/uploads/"),
    };
    // Only a stall waits for this.
    let idle = if fault == Fault::Stalled { "--idle-timeout 300ms" } else { "" };
    let flags = format!("--retry 3 --retry-delay 1ms {idle}");
    let root = home.path(cell).display().to_string();
    let line = match way {
        Way::Pull => format!("rbuild --root {root} pull {flags} {host}/image"),
        Way::Push => {
            format!("rbuild tag {host}/image {host}/{cell} && rbuild push {flags} {host}/{cell}")
        }
        Way::CacheExport => {
            format!("rbuild {flags} --cache-to type=registry,ref={host}/{cell},mode=max app")
        }
        Way::CacheImport => {
            format!("rbuild --root {root} {flags} --cache-from {host}/cache -t {cell} app")
        }
    };
    side.registry.fails(methods, part, fault, times);
    home.types(&line)
}

/// What is wrong with what is left behind.
fn left(side: &Side, way: Way, cell: &str, is_there: bool) -> Option<String> {
    let (home, root) = (&side.home, side.home.path(cell).display().to_string());
    let has_own = matches!(way, Way::Pull | Way::CacheImport);
    let flag = if has_own { format!("--root {root}") } else { String::new() };
    let verified = home.types(&format!("rbuild {flag} cache verify"));
    if verified.code != 0 {
        return Some(verified.stdout);
    }
    let damage = side.registry.damage();
    if !damage.is_empty() {
        return Some(format!("the registry holds {damage:?}"));
    }
    let found = match way {
        Way::Pull => !home.types(&format!("rbuild {flag} images -q")).ok().is_empty(),
        Way::Push | Way::CacheExport => side.registry.manifest(cell, "latest").is_some(),
        Way::CacheImport => return None,
    };
    (found != is_there).then(|| format!("that it is there is {found}"))
}

/// Goes all ways with all faults; tells what is not as it must be.
fn table(side: &Side) -> String {
    let (layer, mut wrong) = (side.layer(), String::new());
    for way in WAYS {
        for (number, fault) in FAULTS.into_iter().enumerate() {
            let cell = format!("{way:?}-{number}").to_lowercase();
            let ran = go(side, way, &layer, fault, &cell);
            let met = side.registry.mends();
            let expected = expected(side, way, fault.0, fault.1);
            // A cache that cannot be read fails no build.
            let fails = expected.is_some() && way != Way::CacheImport;
            let is_told = |message: &str| ran.stderr.contains(message);
            let is_right = (ran.code != 0) == fails
                && expected.map_or(!ran.stderr.contains("cannot"), is_told)
                && met > 0;
            let left = left(side, way, &cell, expected.is_none());
            if !is_right || left.is_some() {
                let (kind, code, stderr) = (side.kind, ran.code, ran.stderr);
                let what = format!("{kind}, {way:?}, {fault:?} ({met} times): exit code {code}");
                writeln!(wrong, "{what}, expected {expected:?}, left: {left:?}\n{stderr}").unwrap();
            }
        }
    }
    wrong
}

#[test]
fn every_fault_is_survived_or_told() {
    let sides = Side::all();
    let wrong = std::thread::scope(|scope| {
        let tables = sides.iter().map(|side| scope.spawn(|| table(side))).collect::<Vec<_>>();
        tables.into_iter().map(|table| table.join().unwrap()).collect::<String>()
    });
    assert!(wrong.is_empty(), "{wrong}");
}

/// The layers of an image in a registry: digest and size.
fn layers(registry: &Registry, repository: &str) -> Vec<(String, u64)> {
    let manifest = registry.manifest(repository, "latest").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    let layer = |layer: &serde_json::Value| {
        (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap())
    };
    layers.map(layer).collect()
}

/// An image of seven layers in the registry of a home: six small ones, and one that comes by parts.
fn many_layers(home: &Home) -> String {
    let mut file = "FROM scratch\n".to_owned();
    for number in 0..7 {
        let length = if number == 3 { 40 << 20 } else { 1 << 20 };
        let mut bytes = noise(length);
        bytes[0] = number;
        home.write(&format!("many/{number}"), bytes);
        writeln!(file, "COPY {number} /{number}").unwrap();
    }
    home.write("many/Dockerfile", file);
    let name = format!("{}/many", home.registry.host());
    home.types(&format!("rbuild -t {name} many && rbuild push {name}")).ok();
    name
}

/// What every pull ends with: the id of the image, in a store where all is well.
fn is_whole(home: &Home, flags: &str, name: &str) -> String {
    home.types(&format!("rbuild {flags} cache verify")).ok();
    home.types(&format!("rbuild {flags} image inspect --format '{{{{.Id}}}}' {name}")).ok()
}

#[test]
fn what_a_cut_pull_got_is_not_fetched_again() {
    let home = home();
    let name = many_layers(&home);
    let layers = layers(&home.registry, "many");
    let total: u64 = layers.iter().map(|(_, size)| size).sum();
    let config = usize::try_from(total).unwrap() / 1000;
    let id = is_whole(&home, "", &name);

    // Ten connections break, at places all over the layers.
    for (number, place) in [3, 970, 410, 120, 660, 555, 240, 880, 15, 730].into_iter().enumerate() {
        let (layer, _) = &layers[[3, 0, 3, 1, 3, 2, 3, 4, 5, 6][number]];
        home.registry.fails("GET", layer, Fault::Cut(place), 1);
    }
    let before = home.registry.sent();
    let cut = format!("--root {}", home.path("cut").display());
    home.types(&format!("rbuild {cut} pull --retry 9 --retry-delay 1ms {name}")).ok();
    assert_eq!(home.registry.mends(), 10);
    let sent = home.registry.sent() - before;
    let total = usize::try_from(total).unwrap();
    assert!((total..total + config).contains(&sent), "{sent} of {total}");
    assert_eq!(is_whole(&home, &cut, &name), id);
}

/// How many bytes of layers a store has of those that are on their way.
fn kept(store: &std::path::Path, layers: &[(String, u64)]) -> usize {
    let of = |(digest, size): &(String, u64)| {
        let path = store.join("partial").join(digest.trim_start_matches("sha256:"));
        let bytes = std::fs::read(path).unwrap_or_default();
        let counts = bytes.get(usize::try_from(*size).unwrap()..).unwrap_or_default();
        let count = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        usize::try_from(counts.chunks_exact(8).map(count).sum::<u64>()).unwrap()
    };
    layers.iter().map(of).sum()
}

#[test]
fn what_a_killed_pull_got_is_not_fetched_again() {
    let home = home();
    let name = many_layers(&home);
    let layers = layers(&home.registry, "many");
    let total: u64 = layers.iter().map(|(_, size)| size).sum();
    let id = is_whole(&home, "", &name);
    let (store, before) = (home.path("killed"), home.registry.sent());
    let flags = format!("--root {}", store.display());
    for (layer, _) in &layers {
        home.registry.fails("GET", layer, Fault::Stalled, 99);
    }
    for round in 1..=3 {
        let pull = home.starts(&format!("rbuild {flags} pull --idle-timeout 1h {name}"));
        // As many connections as there may be have got half of what they asked for.
        eventually("the halves of six parts", || {
            let there = home.registry.sent() - before;
            let is_held = home.registry.held() == 6 * round;
            (is_held && kept(&store, &layers) + config_size(&home) >= there).then_some(())
        });
        pull.kill();
        pull.wait().fails(137);
    }
    home.registry.mends();
    home.types(&format!("rbuild {flags} pull {name}")).ok();
    let sent = home.registry.sent() - before;
    let total = usize::try_from(total).unwrap() + config_size(&home);
    assert_eq!(sent, total, "each byte came once");
    assert_eq!(is_whole(&home, &flags, &name), id);
    assert!(std::fs::read_dir(store.join("partial")).unwrap().next().is_none());
}

fn config_size(home: &Home) -> usize {
    let manifest = home.registry.manifest("many", "latest").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    usize::try_from(manifest["config"]["size"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_registry_is_reached_through_a_proxy() {
    let (home, registry) = (home(), Registry::secure("kit", "kitpass"));
    let proxy = Proxy::to(&registry.host());
    let port = registry.host().rsplit_once(':').unwrap().1.to_owned();
    let name = format!("registry.test:{port}");
    home.write(&format!(".docker/certs.d/{name}/ca.crt"), registry.authority().unwrap());
    let login = format!("echo kitpass | rbuild login -u kit --password-stdin {name}");
    let through = format!("export HTTPS_PROXY={};", proxy.url());
    home.types(&format!("{through} {login}")).ok();
    home.types(&format!("{through} rbuild pull {name}/library/busybox")).ok();
    assert!(proxy.asked().iter().all(|asked| *asked == name), "{:?}", proxy.asked());
    let directly = format!("rbuild pull --retry 0 {name}/library/busybox");
    let count = proxy.asked().len();
    home.types(&format!("{through} export NO_PROXY=registry.test; {directly}")).fails(3);
    home.types(&directly).fails(3);
    assert_eq!(proxy.asked().len(), count);
}

#[test]
fn a_client_shows_its_certificate() {
    let (home, registry) = (home(), Registry::with_certificates());
    let folder = format!(".docker/certs.d/{}", registry.host());
    let pull = format!("rbuild pull --retry 0 {}/library/busybox", registry.host());
    home.write(&format!("{folder}/ca.crt"), registry.authority().unwrap());
    home.types(&pull).fails(3);
    let client = registry.client().unwrap();
    home.write(&format!("{folder}/client.cert"), client.certificate);
    home.write(&format!("{folder}/client.key"), client.key);
    home.types(&pull).ok();
}

#[test]
fn a_key_of_an_api_is_a_password() {
    let (home, registry) = (home(), Registry::with_login("$oauthtoken", "nvapi-key"));
    let (host, pull) =
        (registry.host(), format!("rbuild pull {}/library/busybox", registry.host()));
    let error = home.types(&pull).fails(3);
    assert!(error.contains(&format!("no credential for {host} was found")), "{error}");
    let login = format!("rbuild login -u '$oauthtoken' --password-stdin {host}");
    let error = home.types(&format!("echo wrong | {login}")).fails(3);
    assert!(error.contains("the password of `$oauthtoken` from the command line"), "{error}");
    assert!(!error.contains("wrong"), "{error}");
    home.types(&format!("echo nvapi-key | {login}")).ok();
    let mode = home.types("stat -c %a .docker/config.json").ok();
    assert_eq!(mode, "600");
    home.types(&pull).ok();

    // A helper keeps it elsewhere, for one registry or for all.
    let helper =
        "#!/bin/sh\ncat >asked\necho '{\"Username\":\"$oauthtoken\",\"Secret\":\"nvapi-key\"}'\n";
    home.write("docker-credential-test", helper);
    home.types("chmod +x docker-credential-test").ok();
    for config in [
        format!("{{\"credHelpers\":{{\"{host}\":\"test\"}}}}"),
        "{\"credsStore\":\"test\"}".to_owned(),
    ] {
        home.write(".docker/config.json", config);
        home.types(&format!("PATH=$PWD:$PATH; rm -f asked; {pull}")).ok();
        assert_eq!(home.read("asked"), host);
    }
}

#[test]
fn registries_conf_is_read() {
    let home = home();
    let host = home.registry.host();
    let rules = format!(
        "unqualified-search-registries = [\"other.test\"]\n\
         [[registry]]\nprefix = \"corp.test/base\"\nlocation = \"{host}/library\"\n\
         [[registry]]\nprefix = \"bad.test\"\nblocked = true\n\
         [[registry]]\nprefix = \"mirrored.test\"\n[[registry.mirror]]\nlocation = \"{host}\"\n"
    );
    home.write(".config/containers/registries.conf", rules);
    home.types("rbuild pull corp.test/base/busybox").ok();
    home.types("rbuild pull mirrored.test/library/busybox && rbuild pull busybox").ok();
    let error = home.types("rbuild pull bad.test/app").fails(3);
    assert!(error.contains("`bad.test`: it is blocked in `"), "{error}");
    assert!(error.contains(".config/containers/registries.conf"), "{error}");
    home.types("CONTAINERS_REGISTRIES_CONF=/dev/null rbuild pull --retry 0 corp.test/base/busybox")
        .fails(3);
}

#[test]
fn a_layer_at_a_place_of_its_own_is_fetched_there() {
    let home = home();
    let base = Base::get();
    let layer = digest(&base.layer);
    home.write(&format!("files/{layer}"), &base.layer);
    let web = Web::serve(&home.path("files"));
    let config = home.registry.add_blob("foreign", &base.config);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": { "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": config, "size": base.config.len() },
        "layers": [{ "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": layer, "size": base.layer.len(),
            "urls": [web.url("missing"), web.url(&layer)] }],
    });
    let (kind, bytes) = (manifest["mediaType"].as_str().unwrap(), manifest.to_string());
    home.registry.add_manifest("foreign", "latest", kind, bytes.as_bytes());
    let name = format!("{}/foreign", home.registry.host());
    home.types(&format!("rbuild pull {name}")).ok();
    assert_eq!(web.answers(), ["404 /missing".to_owned(), format!("200 /{layer}")]);
    is_whole(&home, "", &name);
}

#[test]
fn a_layer_in_another_compression_is_not_fetched_again() {
    let home = home();
    let host = home.registry.host();
    home.write("app/Dockerfile", "FROM scratch\nCOPY file /file\n");
    home.write("app/file", noise(100_000));
    let to = |kind: &str| {
        let name = format!("{host}/{kind}");
        let how = format!("compression={kind},force-compression=true,push=true");
        home.types(&format!("rbuild -o type=image,name={name},{how} app")).ok();
        layers(&home.registry, kind)[0].0.clone()
    };
    let (gzip, zstd) = (to("gzip"), to("zstd"));
    assert_ne!(gzip, zstd);
    home.registry.forget_requests();
    let root = format!("--root {}", home.path("other").display());
    for kind in ["zstd", "gzip"] {
        home.types(&format!("rbuild {root} pull {host}/{kind}")).ok();
    }
    let asked = |layer: &str| {
        let requests = home.registry.requests();
        requests.iter().any(|request| request.starts_with("GET") && request.contains(layer))
    };
    assert!(asked(&zstd) && !asked(&gzip));
}

#[test]
fn a_layer_is_sent_while_it_is_compressed() {
    let home = home();
    let host = home.registry.host();
    home.write("app/Dockerfile", "FROM scratch\nCOPY big /big\n");
    home.write("app/big", noise(3 << 20));
    let built = home.types(&format!("rbuild -t {host}/app --push app"));
    built.ok();
    let requests = home.registry.requests();
    let of = |method: &str| requests.iter().filter(|line| line.starts_with(method)).count();
    assert_eq!(of("PATCH"), 1, "{requests:?}");
    let layer = &layers(&home.registry, "app")[0].0;
    let asked = |line: &&String| line.starts_with("HEAD") && line.contains(layer.as_str());
    assert_eq!(requests.iter().filter(asked).count(), 0, "its digest was not known before");

    // What the registry is known to have goes from one repository to another.
    home.registry.forget_requests();
    home.types(&format!("rbuild -t {host}/other --push app")).ok();
    let requests = home.registry.requests();
    assert!(!requests.iter().any(|line| line.starts_with("PATCH")), "{requests:?}");
    assert_eq!(layers(&home.registry, "other")[0].0, *layer);
    assert_eq!(home.registry.damage(), [""; 0]);
}

#[test]
fn a_failed_push_is_done_again_without_building() {
    let home = home();
    let host = home.registry.host();
    home.write("app/Dockerfile", "FROM scratch\nCOPY big /big\n");
    home.write("app/big", noise(3 << 20));
    for times in [1, 2] {
        home.registry.fails("PUT", "/manifests/", Fault::Status(503), 99);
        let flags = "--retry 1 --retry-delay 1ms";
        let line = match times {
            1 => format!("rbuild {flags} -t {host}/app --push app"),
            _ => format!("rbuild push {flags} {host}/app"),
        };
        let error = home.types(&line).fails(4);
        assert!(error.contains("the server answers 503"), "{error}");
        assert!(error.contains(&format!("`rbuild push {host}/app:latest` sends it")), "{error}");
        assert_eq!(home.registry.mends(), 2);
        assert_eq!(home.registry.manifest("app", "latest"), None);
    }
    home.registry.forget_requests();
    home.types(&format!("rbuild push {host}/app")).ok();
    let requests = home.registry.requests();
    assert!(!requests.iter().any(|line| line.starts_with("PATCH")), "{requests:?}");
}
