//! Tests of what an image is.

use super::*;

fn blob(byte: u8) -> Blob {
    let media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned();
    Blob { digest: Digest::from_bytes([byte; 32]), size: 7, media_type, from: None, created: None }
}

fn packed(platform: &str) -> Packed {
    let config = format!(r#"{{"architecture":"{platform}"}}"#).into_bytes();
    let platform = platform.parse().unwrap();
    let layers = vec![blob(1), blob(2)];
    Packed { platform, config, layers, attestations: Vec::new(), sent: Vec::new() }
}

fn attested(platform: &str) -> Packed {
    let attestation = Attestation {
        predicate_type: "https://example.com/made/v1".to_owned(),
        predicate: br#"{"by":"me"}"#.to_vec(),
        inline_only: false,
    };
    Packed { attestations: vec![attestation], ..packed(platform) }
}

const PLAIN: Form<'static> = Form { annotations: &[], docker: false, index: false };

fn content(images: Vec<Packed>) -> Content {
    Content::new(images, &["docker.io/library/app:1".to_owned()], PLAIN).unwrap()
}

/// A document by its digest.
#[track_caller]
fn read(content: &Content, digest: &Value) -> Value {
    let is_it = |one: &&Document| *digest == one.descriptor.digest.to_string();
    let document = content.documents.iter().find(is_it).unwrap();
    assert_eq!(document.descriptor.digest, manifest::digest(&document.bytes));
    serde_json::from_slice(&document.bytes).unwrap()
}

fn root(content: &Content) -> Value {
    read(content, &content.root.digest.to_string().into())
}

fn note(on: Annotated, platform: Option<&str>, value: &str) -> Annotation {
    let platform = platform.map(|platform| platform.parse().unwrap());
    Annotation { on, platform, key: "key".to_owned(), value: value.to_owned() }
}

#[test]
fn one_platform_is_a_plain_manifest() {
    let content = content(vec![packed("linux/amd64")]);
    assert_eq!((content.documents.len(), &*content.root.media_type), (2, MANIFEST));
    let manifest = root(&content);
    assert_eq!(manifest["config"]["digest"], content.images[0].id().to_string());
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    assert_eq!(manifest["layers"][0]["mediaType"], manifest::LAYER_GZIP);
    assert_eq!(manifest.get("annotations"), None);
}

#[test]
fn several_platforms_are_an_index() {
    let content = content(vec![packed("linux/amd64"), packed("linux/arm/v7")]);
    assert_eq!(content.root.media_type, INDEX);
    let index = root(&content);
    let [first, second] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(first["platform"], json!({ "architecture": "amd64", "os": "linux" }));
    let arm = json!({ "architecture": "arm", "os": "linux", "variant": "v7" });
    assert_eq!(second["platform"], arm);
    assert_ne!(read(&content, &first["digest"]), read(&content, &second["digest"]));
    // Whoever writes them in this order names nothing that is not there.
    assert_eq!(content.documents.last().unwrap().descriptor.digest, content.root.digest);
}

#[test]
fn what_is_attested_goes_beside_the_image() {
    let content = content(vec![attested("linux/amd64"), packed("linux/arm64")]);
    let index = root(&content);
    let [image, _, about] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(about["platform"], json!({ "architecture": "unknown", "os": "unknown" }));
    assert_eq!(about["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(about["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let manifest = read(&content, &about["digest"]);
    let [layer] = &manifest["layers"].as_array().unwrap()[..] else { panic!("{manifest}") };
    assert_eq!(layer["mediaType"], IN_TOTO);
    let predicate_type = "https://example.com/made/v1";
    assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], predicate_type);
    let config = read(&content, &manifest["config"]["digest"]);
    assert_eq!(config["rootfs"]["diff_ids"], json!([layer["digest"]]));
    let statement = read(&content, &layer["digest"]);
    assert_eq!(statement["predicateType"], predicate_type);
    assert_eq!(statement["predicate"], json!({ "by": "me" }));
    let subject = &statement["subject"][0];
    assert_eq!(subject["name"], "pkg:docker/app@1?platform=linux%2Famd64");
    let hex = image["digest"].as_str().unwrap().strip_prefix("sha256:");
    assert_eq!(subject["digest"]["sha256"].as_str(), hex);
}

#[test]
fn annotations_are_where_they_belong() {
    let annotations = [
        note(Annotated::Manifest, Some("linux/arm64"), "arm"),
        note(Annotated::Manifest, None, "all"),
        note(Annotated::ManifestDescriptor, None, "descriptor"),
        note(Annotated::Index, None, "index"),
        note(Annotated::IndexDescriptor, None, "index descriptor"),
    ];
    let form = Form { annotations: &annotations, docker: false, index: false };
    let images = vec![packed("linux/amd64"), packed("linux/arm64")];
    let content = Content::new(images, &[], form).unwrap();
    let index = root(&content);
    assert_eq!(index["annotations"]["key"], "index");
    assert_eq!(content.root.annotations["key"], "index descriptor");
    let [amd, arm] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(amd["annotations"]["key"], "descriptor");
    assert_eq!(read(&content, &amd["digest"])["annotations"]["key"], "all");
    assert_eq!(read(&content, &arm["digest"])["annotations"]["key"], "arm");
    let alone = Content::new(vec![packed("linux/amd64")], &[], form);
    assert!(matches!(alone, Err(Error::Usage(_))), "there is no index");
    let alone = Form { annotations: &annotations[1..3], docker: false, index: false };
    let alone = Content::new(vec![packed("linux/amd64")], &[], alone).unwrap();
    assert_eq!(alone.root.annotations["key"], "descriptor");
}

#[test]
fn docker_s_media_types_have_no_place_for_all() {
    let docker = Form { annotations: &[], docker: true, index: false };
    let content = Content::new(vec![packed("linux/amd64")], &[], docker).unwrap();
    let manifest = root(&content);
    let of_docker = |value: &Value| value.as_str().unwrap().contains(".docker.");
    assert!(of_docker(&manifest["mediaType"]) && of_docker(&manifest["config"]["mediaType"]));
    assert!(of_docker(&manifest["layers"][1]["mediaType"]));
    assert!(content.root.is_manifest() && !content.documents[0].descriptor.is_manifest());
    assert!(Content::new(vec![attested("linux/amd64")], &[], docker).is_err());
    let annotations = &[note(Annotated::Manifest, None, "x")][..];
    let annotated = Form { annotations, docker: true, index: false };
    assert!(Content::new(vec![packed("linux/amd64")], &[], annotated).is_err());
    assert!(Content::new(Vec::new(), &[], PLAIN).is_err());
}

#[test]
fn names_become_package_urls() {
    let platform = "linux/amd64".parse().unwrap();
    let table = [
        ("docker.io/library/app:1", "app@1"),
        ("docker.io/team/app:latest", "team/app@latest"),
        ("host:5000/team/app:2", "host:5000/team/app@2"),
    ];
    for (name, expected) in table {
        let expected = format!("pkg:docker/{expected}?platform=linux%2Famd64");
        assert_eq!(purl::image(name, &platform), expected);
    }
    assert_eq!(subjects(&[], &platform, &blob(1).digest)[0]["name"], "_");
}
