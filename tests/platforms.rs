//! Builds for several platforms, and indexes in registries.

use serde_json::Value;

use crate::home;
use rbuild_testkit::{Home, Registry};

/// A stage of this machine that makes something for all platforms, and something for each.
const FILE: &str = "FROM --platform=$BUILDPLATFORM busybox AS build\n\
    RUN cat /proc/sys/kernel/random/uuid >/id\n\
    ARG TARGETARCH\n\
    RUN echo for $TARGETARCH >/arch\n\
    FROM scratch\nCOPY --from=build /id /arch /\nLABEL a=b\n";

/// This machine's architecture and another one, by Go's names.
fn architectures() -> [&'static str; 2] {
    match std::env::consts::ARCH {
        "aarch64" => ["arm64", "amd64"],
        _ => ["amd64", "arm64"],
    }
}

/// Both platforms, this machine's last.
fn platforms() -> String {
    let [own, other] = architectures();
    format!("--platform linux/{other},linux/{own}")
}

fn prepared() -> Home {
    let home = home();
    home.write("app/Dockerfile", FILE);
    home
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What a tag of the home's registry is, and its digest.
fn index(registry: &Registry, repository: &str, tag: &str) -> (Value, String) {
    let bytes = registry.manifest(repository, tag).expect("the tag is there");
    let digest = rbuild_testkit::digest(&bytes);
    (json_of(std::str::from_utf8(&bytes).unwrap()), digest)
}

/// The architectures that an index lists, in order.
fn listed(index: &Value) -> Vec<&str> {
    let manifests = index["manifests"].as_array().unwrap_or_else(|| panic!("no index: {index}"));
    let platforms = manifests.iter().map(|one| one["platform"]["architecture"].as_str().unwrap());
    platforms.collect()
}

#[test]
fn what_is_the_same_for_all_platforms_runs_once() {
    let home = prepared();
    let [own, other] = architectures();
    let build = format!("rbuild --progress plain {} -o out app", platforms());
    let ran = home.types(&build);
    let said = ran.stderr.clone();
    ran.ok();
    for (folder, architecture) in [(format!("linux_{own}"), own), (format!("linux_{other}"), other)]
    {
        assert_eq!(home.read(&format!("out/{folder}/arch")), format!("for {architecture}\n"));
    }
    let id = |architecture: &str| home.read(&format!("out/linux_{architecture}/id"));
    assert_eq!(id(own), id(other), "the step that makes it ran once");
    let head = |name: &str| {
        let lines = said.lines().filter(|line| line.ends_with(name) && line.starts_with('#'));
        lines.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let shared = format!("[linux/{own} build 2/3] RUN cat /proc/sys/kernel/random/uuid >/id");
    assert!(head(">/id").iter().all(|line| *line == shared), "{said}");
    let way = format!("[linux/{own}->{other} build 3/3] RUN echo for {other} >/arch");
    assert!(head(&format!("{other} >/arch")).contains(&way), "{said}");
    let metadata =
        format!("[linux/{own} internal] load metadata for docker.io/library/busybox:latest");
    assert_eq!(said.matches(&metadata).count(), 1, "{said}");
    let again = home.types(&build);
    assert!(!again.stderr.contains("RUN echo for") || again.stderr.contains("CACHED"), "{again}");
    again.ok();
}

#[test]
fn a_name_stands_for_all_platforms() {
    let home = prepared();
    let [own, other] = architectures();
    let host = home.registry.host();
    let direct = format!("rbuild {} -t {host}/direct:1 --push app", platforms());
    home.types(&direct).ok();
    let (document, digest) = index(&home.registry, "direct", "1");
    assert_eq!(listed(&document), [other, own]);

    // By way of the store it is the same index.
    let id = home.types(&format!("rbuild {} -t {host}/stored:1 app", platforms())).ok();
    let rows =
        home.types(&format!("rbuild images --no-trunc --format '{{{{.ID}}}}' {host}/stored")).ok();
    assert_eq!(rows, id, "one line, with the image of this machine");
    let inspect = format!("rbuild image inspect -f '{{{{.Architecture}}}}' {host}/stored:1");
    assert_eq!(home.types(&inspect).ok(), own);
    let pushed = home.types(&format!("rbuild push {host}/stored:1")).ok();
    assert!(pushed.contains(&digest), "{pushed}");
    assert_eq!(index(&home.registry, "stored", "1").1, digest);

    // And by way of an archive, in a store that has nothing else.
    home.types(&format!("rbuild save -o app.tar {host}/stored:1")).ok();
    home.types("rbuild --root fresh load -i app.tar").ok();
    home.types(&format!("rbuild --root fresh tag {host}/stored:1 {host}/loaded:1")).ok();
    home.types(&format!("rbuild --root fresh push {host}/loaded:1")).ok();
    assert_eq!(index(&home.registry, "loaded", "1").1, digest);
    assert_eq!(listed(&index(&home.registry, "loaded", "1").0), [other, own]);
}

#[test]
fn one_platform_of_a_name_is_asked_for() {
    let home = prepared();
    let [own, other] = architectures();
    let host = home.registry.host();
    let name = format!("{host}/app:1");
    let flags = "--metadata-file meta.json --iidfile id -o type=oci,dest=app.tar --load";
    home.types(&format!("rbuild {} -t {name} {flags} app", platforms())).ok();
    let metadata = json_of(&home.read("meta.json"));
    assert_eq!(metadata["containerimage.config.digest"], Value::Null, "{metadata}");
    assert_eq!(home.read("id"), metadata["containerimage.digest"].as_str().unwrap());
    let descriptor = &metadata["containerimage.descriptor"];
    assert_eq!(descriptor["mediaType"], "application/vnd.oci.image.index.v1+json");

    for architecture in [own, other] {
        let flag = format!("--platform linux/{architecture}");
        let inspect = format!("rbuild image inspect {flag} -f '{{{{.Architecture}}}}' {name}");
        assert_eq!(home.types(&inspect).ok(), architecture);
    }
    let ids = |flag: &str| home.types(&format!("rbuild history -q --no-trunc {flag} {name}")).ok();
    assert_ne!(ids(&format!("--platform linux/{other}")), ids(""));
    assert_eq!(ids(&format!("--platform linux/{own}")), ids(""));
    let error = home.types(&format!("rbuild image inspect --platform linux/pdp11 {name}")).fails(3);
    assert!(error.contains(&format!("it has linux/{other}, linux/{own}")), "{error}");

    home.types(&format!("rbuild push --platform linux/{other} {name}")).ok();
    let manifest = index(&home.registry, "app", "1").0;
    assert!(manifest["manifests"].is_null(), "{manifest}");
    home.types(&format!("rbuild save --platform linux/{other} -o one.tar {name}")).ok();
    home.types("rbuild --root fresh load -i one.tar").ok();
    let loaded = format!("rbuild --root fresh image inspect -f '{{{{.Architecture}}}}' {name}");
    assert_eq!(home.types(&loaded).ok(), other);
    home.types(&format!("rbuild push {name}")).ok();
    assert_eq!(listed(&index(&home.registry, "app", "1").0), [other, own]);
}

#[test]
fn no_platform_of_a_name_is_cleared_away() {
    let home = prepared();
    let host = home.registry.host();
    home.types(&format!("rbuild {} -t {host}/app:1 app", platforms())).ok();
    home.types("rbuild system prune -f").ok();
    home.types("rbuild cache prune -af").ok();
    let verified = home.types("rbuild cache verify");
    assert_eq!(verified.code, 0, "{verified}");
    home.types(&format!("rbuild push {host}/app:1")).ok();
    assert_eq!(listed(&index(&home.registry, "app", "1").0).len(), 2);
}

#[test]
fn an_image_of_several_platforms_is_a_base_for_each() {
    let home = prepared();
    let [own, other] = architectures();
    home.types(&format!("rbuild {} -t both app", platforms())).ok();
    home.write("next/Dockerfile", "FROM both\nCOPY Dockerfile /\n");
    home.types(&format!("rbuild {} -o out next", platforms())).ok();
    for architecture in [own, other] {
        let read = home.read(&format!("out/linux_{architecture}/arch"));
        assert_eq!(read, format!("for {architecture}\n"));
    }
}

#[test]
fn a_layer_that_platforms_share_is_sent_once() {
    let home = home();
    let host = home.registry.host();
    home.write("app/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    home.registry.forget_requests();
    home.types(&format!("rbuild {} -t {host}/app:1 --push app", platforms())).ok();
    let elsewhere = Registry::start();
    let copy = format!("rbuild imagetools create -t {}/app:1 {host}/app:1", elsewhere.host());
    home.types(&copy).ok();
    for registry in [&home.registry, &elsewhere] {
        let requests = registry.requests();
        let begun = requests.iter().filter(|line| line.ends_with("/blobs/uploads/")).count();
        assert_eq!(begun, 3, "two configs and one layer: {requests:#?}");
    }
}

#[test]
fn a_cache_has_the_steps_of_all_platforms() {
    let home = prepared();
    let host = home.registry.host();
    for (kind, to) in [
        ("registry", format!("type=registry,ref={host}/cache:1,mode=max")),
        ("inline", "type=inline".to_owned()),
    ] {
        let image = format!("{host}/{kind}:1");
        let build = format!("rbuild --root {kind} {} --progress plain -t {image}", platforms());
        home.types(&format!("{build} --push --cache-to {to} app")).ok();
        let from = if kind == "inline" { image } else { format!("{host}/cache:1") };
        let build = format!("rbuild --root {kind}-fresh {} --progress plain", platforms());
        let again = home.types(&format!("{build} --cache-from {from} -o type=cacheonly app"));
        let copies = again.stderr.matches("COPY --from=build").count();
        assert_eq!((again.code, copies), (0, 2), "{again}");
        let ran = again.stderr.lines().filter(|line| line.contains("miss:")).count();
        let cached = again.stderr.lines().filter(|line| line.ends_with("CACHED")).count();
        assert!(ran == 0 && cached >= 5, "{kind}: {again}");
    }
}

/// A program of a machine that no kernel runs by itself or by an emulator.
fn foreign() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x02\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([0, 2, 0xf0, 0x0d]);
    bytes.resize(120, 0);
    bytes
}

#[test]
fn a_step_that_cannot_run_here_says_what_would_help() {
    let home = home();
    home.write("app/sh", foreign());
    let file = "FROM scratch\nCOPY --chmod=755 sh /bin/sh\nRUN true\n";
    home.write("app/Dockerfile", file);
    let said = home.types("rbuild --platform linux/pdp11 app").fails(3);
    assert!(said.contains("programs for linux/pdp11 do not run on this machine"), "{said}");
    assert!(said.contains("the kernel knows no emulator for them"), "{said}");
    assert!(said.contains("qemu-user-static") && said.contains("$BUILDPLATFORM"), "{said}");
    assert!(said.contains("RUN true") && !said.contains("format error"), "{said}");
    // What runs nothing is built for any platform.
    home.write("app/Dockerfile", "FROM scratch\nCOPY sh /bin/sh\n");
    home.types("rbuild --platform linux/pdp11 app").ok();
}

#[test]
fn a_program_of_this_machine_runs_whatever_its_image_is_for() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo made >/made\n");
    let said = home.types("rbuild --progress plain --platform linux/pdp11 -o out app");
    assert!(said.stderr.contains("InvalidBaseImagePlatform"), "{said}");
    said.ok();
    assert_eq!(home.read("out/made"), "made\n");
}

#[test]
fn indexes_are_made_of_images_in_registries() {
    let home = prepared();
    let [own, other] = architectures();
    let host = home.registry.host();
    for architecture in [own, other] {
        let build = format!(
            "rbuild --platform linux/{architecture} -t {host}/one:{architecture} --push app"
        );
        home.types(&build).ok();
    }
    // One platform is a plain manifest, unless an argument asks for an index.
    assert!(index(&home.registry, "one", own).0["manifests"].is_null());
    let flag = "--build-arg BUILDKIT_MULTI_PLATFORM=1";
    home.types(&format!("rbuild {flag} -t {host}/alone:1 --push app")).ok();
    assert_eq!(listed(&index(&home.registry, "alone", "1").0), [own]);
    home.registry.forget_requests();
    let create = format!("rbuild imagetools create -t {host}/all:1 {host}/one:{own}");
    home.types(&create).ok();
    assert_eq!(listed(&index(&home.registry, "all", "1").0), [own]);
    let append = "docker buildx imagetools create --append --annotation index:made=here";
    home.types(&format!("{append} -t {host}/all:1 {host}/one:{other}")).ok();
    let (document, digest) = index(&home.registry, "all", "1");
    assert_eq!(listed(&document), [own, other]);
    assert_eq!(document["annotations"]["made"], "here");
    let requests = home.registry.requests();
    let fetched = |line: &&String| line.starts_with("GET") && line.contains("/blobs/");
    let fetched: Vec<_> = requests.iter().filter(fetched).collect();
    assert_eq!(fetched.len(), 2, "the two configs and no layer: {fetched:?}");
    let sent = |line: &&String| !line.starts_with("POST") && line.contains("/uploads/");
    let sent: Vec<_> = requests.iter().filter(sent).collect();
    assert_eq!(sent, Vec::<&String>::new(), "every blob was taken over from the other repository");

    let said = home.types(&format!("rbuild imagetools inspect {host}/all:1")).ok();
    for line in [
        format!("Name:      {host}/all:1"),
        "MediaType: application/vnd.oci.image.index.v1+json".to_owned(),
        format!("Digest:    {digest}"),
        format!("  Platform:  linux/{other}"),
    ] {
        assert!(said.lines().any(|known| known == line), "no `{line}` in\n{said}");
    }
    let raw = format!("rbuild imagetools inspect --raw {host}/all:1 | sha256sum | cut -d' ' -f1");
    assert_eq!(format!("sha256:{}", home.types(&raw).ok()), digest);
    let format = |template: &str| {
        home.types(&format!("rbuild imagetools inspect --format '{template}' {host}/all:1")).ok()
    };
    assert_eq!(format("{{.Manifest.Digest}}"), digest);
    let images = json_of(&format("{{json .Image}}"));
    assert_eq!(images[format!("linux/{other}")]["architecture"], other);
    let docker = json_of(&home.types(&format!("docker manifest inspect {host}/all:1")).ok());
    assert_eq!(docker, document);
    let verbose = json_of(&home.types(&format!("docker manifest inspect -v {host}/all:1")).ok());
    assert_eq!(verbose[1]["Descriptor"]["platform"]["architecture"], other);
    assert_eq!(verbose[1]["OCIManifest"]["schemaVersion"], 2);

    // Read by others' eyes.
    let skopeo = format!("skopeo inspect --tls-verify=false --raw docker://{host}/all:1");
    assert_eq!(json_of(&home.types(&skopeo).ok()), document);
    let skopeo = format!(
        "skopeo copy -q --all --src-tls-verify=false docker://{host}/all:1 oci:copied:latest"
    );
    home.types(&skopeo).ok();
}

#[test]
fn an_index_is_copied_with_all_that_it_names() {
    let home = prepared();
    let elsewhere = Registry::start();
    let (here, there) = (home.registry.host(), elsewhere.host());
    home.types(&format!("rbuild {} -t {here}/app:1 --push app", platforms())).ok();
    let (document, digest) = index(&home.registry, "app", "1");
    let dry = format!("rbuild imagetools create --dry-run {here}/app:1");
    assert_eq!(json_of(&home.types(&dry).ok()), document);
    home.types(&format!("rbuild imagetools create -t {there}/copy:2 {here}/app:1")).ok();
    assert_eq!(index(&elsewhere, "copy", "2").1, digest, "byte for byte");
    let skopeo = "skopeo copy -q --all --src-tls-verify=false";
    home.types(&format!("{skopeo} docker://{there}/copy:2 oci:copied:latest")).ok();
    // Some of the platforms, and one as a plain manifest.
    let [own, _] = architectures();
    let one =
        format!("rbuild imagetools create --platform linux/{own} -t {there}/copy:one {here}/app:1");
    home.types(&one).ok();
    assert_eq!(listed(&index(&elsewhere, "copy", "one").0), [own]);
    let manifest = document["manifests"][1]["digest"].as_str().unwrap();
    let plain = format!(
        "rbuild imagetools create --prefer-index=false -t {there}/copy:plain {here}/app@{manifest}"
    );
    home.types(&plain).ok();
    assert_eq!(index(&elsewhere, "copy", "plain").1, manifest);
    let error = home.types(&format!("rbuild imagetools create {here}/app:1")).fails(2);
    assert!(error.contains("-t"), "{error}");
    let error = home.types(&format!("rbuild imagetools inspect {here}/app:none")).fails(3);
    assert!(error.contains("app:none"), "{error}");
}
