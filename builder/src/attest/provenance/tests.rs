//! Tests of what is told of how an image was made.

use super::*;
use crate::dockerfile::parse;
use crate::image::ImageConfig;
use crate::lower::{self, ResolvedImage};

const FILE: &str = "FROM alpine:3\nARG TOKEN\nCOPY src /src\n\
    RUN --mount=type=secret,id=key make $TOKEN\n";

/// What is told of a build of a file, with an argument and a label.
fn told(text: &str, detail: Detail, context: Option<&str>) -> Value {
    let file = parse(text.as_bytes()).unwrap();
    let request = Request {
        host: "linux/amd64".parse().unwrap(),
        platform: "linux/amd64".parse().unwrap(),
        arguments: [("TOKEN".to_owned(), "swordfish".to_owned())].into(),
        labels: vec![("note".to_owned(), "swordfish".to_owned())],
        target: Some("last".to_owned()),
        ..Request::new()
    };
    let request =
        if text.contains(" AS last") { request } else { Request { target: None, ..request } };
    let reference = format!("docker.io/library/alpine:3@sha256:{}", "1".repeat(64));
    let wanted = lower::wanted_images(&file, &request, &BTreeMap::new()).unwrap();
    let images = wanted.into_iter().map(|wanted| {
        let config = ImageConfig::scratch(&request.platform);
        (wanted.value, ResolvedImage { reference: reference.clone(), config })
    });
    let lowered = lower::lower(&file, &request, &images.collect()).unwrap();
    let blob = Blob {
        digest: rbuild_cache::Digest::from_bytes([2; 32]),
        size: 9,
        media_type: "layer".to_owned(),
        from: None,
        created: None,
    };
    let dependencies = [Dependency {
        uri: "https://h/a.git".to_owned(),
        algorithm: "sha1",
        digest: "abc".to_owned(),
    }];
    let made = Made {
        request: &request,
        context,
        file: &Source { name: "Dockerfile".to_owned(), text: text.into() },
        path: "Dockerfile",
        graph: &lowered.graph,
        root: lowered.targets[0].root,
        spans: &lowered.spans,
        dependencies: &dependencies,
        layers: &[(reference, vec![blob])].into(),
        invocation: "one",
        started: Timestamp::from_second(1).unwrap(),
        finished: Timestamp::from_second(2).unwrap(),
    };
    let wanted = Provenance { detail, ..Provenance::default() };
    let attestation = statement(&wanted, &made);
    assert_eq!(attestation.predicate_type, PREDICATE);
    serde_json::from_slice(&attestation.predicate).unwrap()
}

#[test]
fn little_tells_no_value() {
    let told = told(FILE, Detail::Min, None);
    let text = told.to_string();
    assert!(!text.contains("swordfish") && !text.contains("\"key\""), "{text}");
    let definition = &told["buildDefinition"];
    assert_eq!(definition["buildType"], BUILD_TYPE);
    let external = &definition["externalParameters"];
    assert_eq!(external["configSource"], json!({ "path": "Dockerfile" }));
    assert_eq!(external["request"]["args"], json!({}));
    assert_eq!(
        external["request"]["locals"],
        json!([{ "name": "context" }, { "name": "dockerfile" }])
    );
    assert_eq!(definition["internalParameters"], json!({ "builderPlatform": "linux/amd64" }));
    let metadata = &told["runDetails"]["metadata"];
    assert_eq!(metadata["startedOn"], "1970-01-01T00:00:01Z");
    assert_eq!(
        metadata["buildkit_completeness"],
        json!({ "request": false, "resolvedDependencies": false })
    );
    assert_eq!(metadata["buildkit_metadata"], json!({}));
}

#[test]
fn much_tells_steps_and_values_and_no_secret() {
    let told = told(FILE, Detail::Max, None);
    let definition = &told["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(
        request["args"],
        json!({ "build-arg:TOKEN": "swordfish", "label:note": "swordfish" })
    );
    assert_eq!(request["secrets"], json!([{ "id": "key", "optional": true }]));
    let steps = definition["internalParameters"]["buildConfig"]["llbDefinition"]
        .as_array()
        .unwrap()
        .clone();
    let run = steps.last().unwrap();
    assert_eq!(run["op"]["Op"]["exec"]["meta"]["args"][2], "make $TOKEN");
    let metadata = &told["runDetails"]["metadata"];
    let source = &metadata["buildkit_metadata"]["source"];
    let data = STANDARD.decode(source["infos"][0]["data"].as_str().unwrap()).unwrap();
    assert_eq!(data, FILE.as_bytes());
    let place = &source["locations"][run["id"].as_str().unwrap()]["locations"][0]["ranges"][0];
    assert_eq!(*place, json!({ "start": { "line": 4 }, "end": { "line": 4 } }));
    let image = steps.iter().find(|step| {
        step["op"]["Op"].get("source").is_some_and(|source| {
            source["identifier"].as_str().unwrap().starts_with("docker-image://docker.io")
        })
    });
    let image = format!("{}:0", image.unwrap()["id"].as_str().unwrap());
    assert_eq!(metadata["buildkit_metadata"]["layers"][image][0][0]["size"], 9);
    assert_eq!(metadata["buildkit_completeness"]["request"], true);
    assert_eq!(metadata["buildkit_hermetic"], false);
}

#[test]
fn a_repository_is_known_whole() {
    let uri = Some("https://h/a.git");
    let hermetic = |text: &str| told(text, Detail::Max, uri)["runDetails"]["metadata"].clone();
    let metadata = hermetic("FROM alpine:3\nCOPY a /a\nRUN --network=none make\n");
    assert_eq!(metadata["buildkit_hermetic"], true);
    assert_eq!(metadata["buildkit_completeness"]["resolvedDependencies"], true);
    assert_eq!(hermetic("FROM alpine:3\nRUN make\n")["buildkit_hermetic"], false);
    let told = told(FILE, Detail::Max, uri);
    let source = &told["buildDefinition"]["externalParameters"]["configSource"];
    assert_eq!(source["uri"], "https://h/a.git");
    assert_eq!(source["digest"], json!({ "sha1": "abc" }));
    assert_eq!(told["buildDefinition"]["externalParameters"]["request"]["locals"], json!([]));
}
