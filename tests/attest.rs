//! What is attested of images, as it stands in registries and archives.

use serde_json::{Value, json};

use crate::home;
use rbuild_testkit::{Home, Web, archive};

/// A home with a build whose image has Alpine's list of packages, an argument and a secret.
fn prepared() -> Home {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox\nARG TOKEN\nCOPY installed /lib/apk/db/installed\n\
         COPY os-release /etc/os-release\n\
         RUN --mount=type=secret,id=key echo \"$TOKEN\" | wc -c >/made\n",
    );
    home.write(
        "app/installed",
        "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\nP:zlib\nV:1.3-r0\nL:Zlib\n",
    );
    home.write("app/os-release", "ID=alpine\nVERSION_ID=3.20.1\n");
    home.write("key", "hidden-in-the-secret\n");
    home
}

const BUILD: &str = "rbuild --build-arg TOKEN=told --secret id=key,src=key --label a=b";

/// The statements beside the image in an archive of one platform, by what they state.
fn statements(files: &archive::Files) -> (Value, Vec<Value>) {
    let blob = |digest: &Value| {
        let path = format!("blobs/{}", digest.as_str().unwrap().replacen(':', "/", 1));
        archive::parse(&files[&path])
    };
    let layout = archive::parse(&files["index.json"]);
    let index = blob(&layout["manifests"][0]["digest"]);
    let [image, about] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(about["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    assert_eq!(about["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(about["platform"], json!({ "architecture": "unknown", "os": "unknown" }));
    let manifest = blob(&about["digest"]);
    let statement = |layer: &Value| {
        let statement = blob(&layer["digest"]);
        assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], statement["predicateType"]);
        let subject = statement["subject"][0]["digest"]["sha256"].as_str().unwrap().to_owned();
        assert_eq!(format!("sha256:{subject}"), image["digest"].as_str().unwrap());
        statement
    };
    let all = manifest["layers"].as_array().unwrap().iter().map(statement).collect();
    (blob(&image["digest"]), all)
}

#[test]
fn nothing_is_attested_that_was_not_asked_for() {
    let home = prepared();
    home.types(&format!("BUILDX_NO_DEFAULT_ATTESTATIONS=1 {BUILD} -o type=oci,dest=app.tar app"))
        .ok();
    let files = archive::read(&home.path("app.tar"));
    let layout = archive::parse(&files["index.json"]);
    assert_eq!(layout["manifests"][0]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    home.types(&format!("{BUILD} --provenance=false --sbom=false -o type=oci,dest=app.tar app"))
        .ok();
    assert_eq!(archive::parse(&archive::read(&home.path("app.tar"))["index.json"]), layout);
}

#[test]
fn provenance_tells_how_the_image_was_made() {
    let home = prepared();
    home.types(&format!("{BUILD} --provenance=true -o type=oci,dest=app.tar app")).ok();
    let (_, statements) = statements(&archive::read(&home.path("app.tar")));
    let [statement] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &statement["predicate"]["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"], json!({ "build-arg:TOKEN": "told", "label:a": "b" }));
    assert_eq!(request["secrets"][0]["id"], "key");
    let base = &definition["resolvedDependencies"][0];
    let uri = base["uri"].as_str().unwrap();
    assert!(uri.starts_with("pkg:docker/busybox@latest?platform=linux%2F"), "{uri}");
    let manifest = home.registry.manifest("library/busybox", "latest").unwrap();
    let digest = rbuild_testkit::digest(&manifest);
    assert_eq!(format!("sha256:{}", base["digest"]["sha256"].as_str().unwrap()), digest);
    assert!(!statement.to_string().contains("hidden-in-the-secret"));

    let home = prepared();
    home.types(&format!(
        "{BUILD} --attest type=provenance,mode=min,builder-id=https://b/1 \
        -o type=oci,dest=app.tar app"
    ))
    .ok();
    let (_, statements) = self::statements(&archive::read(&home.path("app.tar")));
    let text = statements[0].to_string();
    assert!(!text.contains("told") && !text.contains("\"key\""), "{text}");
    assert_eq!(statements[0]["predicate"]["runDetails"]["builder"]["id"], "https://b/1");
}

#[test]
fn a_bill_of_materials_lists_the_packages() {
    let home = prepared();
    let line = format!("SOURCE_DATE_EPOCH=5 {BUILD} --sbom=true -t app:1 -o type=oci,dest=app.tar");
    home.types(&format!("{line} app")).ok();
    let files = archive::read(&home.path("app.tar"));
    let (_, statements) = statements(&files);
    assert_eq!(statements[0]["predicateType"], "https://spdx.dev/Document");
    let bill = &statements[0]["predicate"];
    assert_eq!(bill["spdxVersion"], "SPDX-2.3");
    assert_eq!(bill["creationInfo"]["created"], "1970-01-01T00:00:05Z");
    let urls: Vec<_> = bill["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["externalRefs"][0]["referenceLocator"].as_str().unwrap())
        .collect();
    assert!(urls[0].starts_with("pkg:docker/app@1?platform="), "{urls:?}");
    assert_eq!(
        urls[1..],
        [
            "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1",
            "pkg:apk/alpine/zlib@1.3-r0?distro=alpine-3.20.1"
        ]
    );
    // The same again, byte by byte.
    home.types(&format!("{line},tar=true app")).ok();
    assert_eq!(archive::read(&home.path("app.tar")), files);
}

#[test]
fn attestations_are_pushed_beside_the_image() {
    let home = prepared();
    let name = format!("{}/team/app:1", home.registry.host());
    home.types(&format!("{BUILD} --provenance=mode=min --sbom=true -t {name} --push app")).ok();
    let index: Value =
        serde_json::from_slice(&home.registry.manifest("team/app", "1").unwrap()).unwrap();
    let [image, about] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(about["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let digest = about["digest"].as_str().unwrap();
    let manifest = home.registry.manifest("team/app", digest).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    // Who wants the image alone finds it.
    let there = format!("RBUILD_ROOT=$HOME/elsewhere rbuild run --rm {name} cat /made");
    assert_eq!(home.types(&there).ok(), "5");
}

#[test]
fn what_cannot_be_attested_is_said() {
    let home = prepared();
    let error = home.types(&format!("{BUILD} --sbom=generator=x/y app")).fails(2);
    assert!(error.contains("generator"), "{error}");
    let error = home.types(&format!("{BUILD} --provenance=version=v0.2 app")).fails(2);
    assert!(error.contains("`version` is `v1`"), "{error}");
    let ran = home.types(&format!("{BUILD} --provenance=true app"));
    assert!(ran.code == 0 && ran.stderr.contains("no place for attestations"), "{ran}");
}

#[test]
fn attestations_are_files_beside_files() {
    let home = prepared();
    let all = "--sbom=true --attest type=provenance,mode=min";
    home.types(&format!("{BUILD} {all} -o out app")).ok();
    let read = |path: &str| -> Value { serde_json::from_str(&home.read(path)).unwrap() };
    assert_eq!(read("out/provenance.json")["predicateType"], "https://slsa.dev/provenance/v1");
    let bill = read("out/sbom.spdx.json");
    let subjects = bill["subject"].as_array().unwrap();
    assert!(subjects.iter().any(|subject| subject["name"] == "made"), "{bill}");
    let listed = home.types(&format!("{BUILD} {all},inline-only=true -o - app | tar t")).ok();
    assert!(listed.contains("sbom.spdx.json") && !listed.contains("provenance.json"), "{listed}");
}

#[test]
fn a_link_of_the_image_is_not_written_through() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN ln -s ../victim /provenance.json\n");
    home.write("victim", "whole");
    home.types("rbuild --provenance=true -o out app").ok();
    assert_eq!(home.read("victim"), "whole");
    assert!(home.read("out/provenance.json").contains("slsa"));
}

#[test]
fn what_came_from_elsewhere_is_told_by_its_digest() {
    let home = home();
    home.write("www/file", "one");
    let web = Web::serve(&home.path("www"));
    let commit = home
        .types(&format!(
            "set -e; mkdir work && cd work
             export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
             git init -q -b main .
             printf 'FROM scratch\\nADD {} /\\nCOPY Dockerfile /\\n' >Dockerfile
             git add -A && git commit -qm one && git clone -q --bare . ../www/r.git
             cd ../www/r.git && git update-server-info && git rev-parse main",
            web.url("file")
        ))
        .ok();
    let address = format!("{}#main", web.url("r.git"));
    home.types(&format!("rbuild --provenance=true -o type=oci,dest=app.tar {address}")).ok();
    let (_, statements) = statements(&archive::read(&home.path("app.tar")));
    let predicate = &statements[0]["predicate"];
    let definition = &predicate["buildDefinition"];
    let source = &definition["externalParameters"]["configSource"];
    assert_eq!(
        *source,
        json!({ "uri": address, "digest": { "sha1": commit }, "path": "Dockerfile" })
    );
    let digest = rbuild_testkit::digest(b"one");
    let digest = digest.strip_prefix("sha256:").unwrap();
    assert_eq!(
        definition["resolvedDependencies"],
        json!([
            { "uri": web.url("file"), "digest": { "sha256": digest } },
            { "uri": address, "digest": { "sha1": commit } },
        ])
    );
    let metadata = &predicate["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_hermetic"], true);
    assert_eq!(metadata["buildkit_completeness"]["resolvedDependencies"], true);
}

#[test]
fn the_metadata_file_tells_how_the_image_was_made() {
    let home = prepared();
    let told = |environment: &str| -> Value {
        home.types(&format!("{environment} {BUILD} --metadata-file meta.json app")).ok();
        let whole: Value = serde_json::from_str(&home.read("meta.json")).unwrap();
        whole["buildx.build.provenance"].clone()
    };
    let args =
        |told: &Value| told["buildDefinition"]["externalParameters"]["request"]["args"].clone();
    assert_eq!(args(&told("")), json!({}));
    let all = json!({ "build-arg:TOKEN": "told", "label:a": "b" });
    assert_eq!(args(&told("BUILDX_METADATA_PROVENANCE=max")), all);
    assert_eq!(told("BUILDX_METADATA_PROVENANCE=disabled"), Value::Null);
}
