//! Manifests from a server that says what the test wants.

use super::*;
use crate::testing::{Reply, Request, Server};
use crate::{Client, Mirror, Settings};

const IMAGE: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

fn image() -> Reply {
    Reply::new(200)
        .with("Content-Type", format!("{OCI_MANIFEST}; charset=utf-8"))
        .with("Docker-Content-Digest", digest::of(IMAGE.as_bytes()))
        .body(IMAGE)
}

fn serve(answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Server {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |request| {
        if request.path == "/v2/" {
            return Reply::new(200);
        }
        answer(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed), request)
    })
}

async fn fetch(server: &Server) -> Result<Manifest> {
    let (client, _) = server.client(Settings::default());
    client.manifest(&server.reference("a:b"), true).await
}

#[tokio::test]
async fn a_manifest_comes_with_its_digest_and_type() {
    let server = serve(|_, _| image());
    let manifest = fetch(&server).await.unwrap();
    assert_eq!(manifest.media_type, OCI_MANIFEST);
    assert_eq!(manifest.digest, digest::of(IMAGE.as_bytes()));
    assert!(manifest.bytes == IMAGE && !manifest.is_index());
    assert_eq!(server.lines(), ["GET /v2/a/manifests/b"]);
}

#[tokio::test]
async fn a_manifest_that_is_not_what_was_asked_for_is_refused() {
    let server = serve(|_, _| image().body(format!("{IMAGE} ")));
    assert!(matches!(fetch(&server).await, Err(Error::Corrupt { .. })));
    let (client, _) = server.client(Settings::default());
    let other = server.reference("a").with_digest(&digest::of(b"other")).unwrap();
    let server = serve(|_, _| Reply::new(200).body(IMAGE));
    let pinned = server.reference("a").with_digest(other.digest().unwrap()).unwrap();
    assert!(matches!(client.manifest(&pinned, true).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn a_manifest_that_came_wrong_once_is_asked_for_again() {
    let server = serve(|number, _| if number == 0 { image().body("{}") } else { image() });
    fetch(&server).await.unwrap();
    assert_eq!(server.log().len(), 2);
}

#[tokio::test]
async fn a_manifest_without_end_is_refused() {
    let long = Reply::new(200).body(vec![b' '; 4 * 1024 * 1024 + 1]);
    for reply in [long.clone(), long.unmeasured()] {
        let server = serve(move |_, _| reply.clone());
        let error = fetch(&server).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { limit: MANIFEST_LIMIT, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_server_is_waited_for_as_it_asks() {
    let server = serve(|number, _| match number {
        0 => Reply::new(429).with("Retry-After", "7"),
        1 => Reply::new(503)
            .with("Retry-After", "Wed, 21 Oct 2026 07:28:30 GMT")
            .with("Date", "Wed, 21 Oct 2026 07:28:00 GMT"),
        _ => image(),
    });
    let (client, pauses) = server.client(Settings::default());
    client.manifest(&server.reference("a:b"), true).await.unwrap();
    assert_eq!(pauses.made().iter().map(std::time::Duration::as_secs).collect::<Vec<_>>(), [7, 30]);
}

#[tokio::test]
async fn a_server_that_asks_for_too_much_patience_is_not_asked_again() {
    let server = serve(|_, _| {
        Reply::new(429)
            .with("Retry-After", "21600")
            .body(r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"later"}]}"#)
    });
    let error = fetch(&server).await.unwrap_err();
    let name = server.name();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot fetch manifest a:b at {name}: the server answers 429 too many requests: TOOMANYREQUESTS: later (it asks to wait 21600 s)"
        )
    );
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn a_hanging_server_is_given_up() {
    let server = serve(|_, _| Reply::new(200).body("x").held(0));
    let error = fetch(&server).await.unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    assert_eq!(server.log().len(), 6);
}

#[tokio::test]
async fn a_sign_in_page_is_no_manifest() {
    let server = serve(|_, _| Reply::new(200).with("Content-Type", "text/html").body("<html>"));
    let error = fetch(&server).await.unwrap_err();
    assert!(error.to_string().contains("a web page"), "{error}");
}

#[tokio::test]
async fn the_image_for_a_platform_is_found_through_the_index() {
    let digest = digest::of(IMAGE.as_bytes());
    let entry = |architecture: &str, digest: &str| {
        serde_json::json!({
            "mediaType": OCI_MANIFEST, "digest": digest, "size": IMAGE.len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [entry("arm64", &digest::of(b"x")), entry("amd64", &digest)],
    });
    let server = serve(move |_, request| {
        if request.path.contains("sha256:") {
            image()
        } else {
            Reply::new(200).body(index.to_string())
        }
    });
    let (client, _) = server.client(Settings::default());
    let reference = server.reference("a:b");
    let manifest = client.manifest_for(&reference, &"linux/amd64".parse().unwrap()).await.unwrap();
    assert_eq!(manifest.digest, digest);
    assert_eq!(server.log()[1].path, format!("/v2/a/manifests/{digest}"));
    let error = client.manifest_for(&reference, &"linux/s390x".parse().unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot choose image of a:b at {}: no image for linux/s390x, only for linux/arm64, linux/amd64",
            server.name()
        )
    );
}

#[tokio::test]
async fn a_tag_is_pinned_without_fetching() {
    let server = serve(|_, _| image());
    let (client, _) = server.client(Settings::default());
    let pin = client.pin(&server.reference("a:b")).await.unwrap();
    assert_eq!(pin.digest, digest::of(IMAGE.as_bytes()));
    assert_eq!(pin.media_type.as_deref(), Some(OCI_MANIFEST));
    assert_eq!(server.lines(), ["HEAD /v2/a/manifests/b"]);

    let silent = serve(|_, _| Reply::new(200).body(IMAGE));
    let pin = client.pin(&silent.reference("a:b")).await.unwrap();
    assert_eq!(pin.digest, digest::of(IMAGE.as_bytes()));
}

#[tokio::test]
async fn mirrors_are_asked_first_and_passed_over_when_they_fail() {
    let absent = serve(|_, _| Reply::new(404));
    let broken = serve(|_, _| Reply::new(200).body("{}"));
    let good = serve(|_, _| image());
    let server = serve(|_, _| image());
    let unreachable = { Server::start(|_| Reply::new(200)).name() };
    let client = |endpoints: &[String]| -> Client {
        let mirrors = endpoints.iter().map(|endpoint| Mirror {
            registry: server.name(),
            endpoint: endpoint.clone(),
            insecure: false,
        });
        server.client(Settings { mirrors: mirrors.collect(), ..Settings::default() }).0
    };
    let first = client(&[
        unreachable,
        absent.name(),
        broken.name(),
        format!("http://{}/hub/", good.name()),
    ]);
    first.manifest(&server.reference("a:b"), true).await.unwrap();
    assert_eq!(good.lines(), ["GET /v2/hub/a/manifests/b"]);
    assert_eq!((absent.log().len(), broken.log().len(), server.log().len()), (1, 1, 0));

    client(&[absent.name()]).manifest(&server.reference("a:b"), true).await.unwrap();
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn a_manifest_is_pushed_under_its_tag_or_digest() {
    let server = serve(|_, _| Reply::new(201));
    let (client, _) = server.client(Settings::default());
    let reference = server.reference("a:b");
    let bytes = Bytes::from_static(IMAGE.as_bytes());
    let digest = client.push_manifest(&reference, OCI_MANIFEST, bytes.clone()).await.unwrap();
    assert_eq!(digest, digest::of(IMAGE.as_bytes()));
    let named = reference.with_digest(&digest).unwrap();
    client.push_manifest(&named, OCI_MANIFEST, bytes.clone()).await.unwrap();
    let other = reference.with_digest(&digest::of(b"x")).unwrap();
    assert!(client.push_manifest(&other, OCI_MANIFEST, bytes).await.is_err());
    assert_eq!(
        server.lines(),
        ["PUT /v2/a/manifests/b".to_owned(), format!("PUT /v2/a/manifests/{digest}")]
    );
    assert_eq!(server.log()[0].header("content-type"), OCI_MANIFEST);
    assert_eq!(server.log()[0].body, IMAGE.as_bytes());
}

#[track_caller]
fn check(said: &str, document: &str, kind: Option<&str>) {
    let task = Task::new("fetch manifest", "x", "y");
    let found = media_type(Some(said), document.as_bytes(), &task);
    assert_eq!(found.ok().as_deref(), kind);
}

#[test]
fn a_document_is_what_it_says_and_looks_like() {
    let image = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    check(DOCKER_MANIFEST, image, Some(DOCKER_MANIFEST));
    check("application/json", image, Some(OCI_MANIFEST));
    check(OCI_INDEX, image, Some(OCI_MANIFEST));
    let named = format!(r#"{{"mediaType":"{DOCKER_LIST}","manifests":[]}}"#);
    check(OCI_INDEX, &named, Some(DOCKER_LIST));
    check("text/plain", r#"{"manifests":[]}"#, Some(OCI_INDEX));
}

#[test]
fn a_document_that_can_be_read_in_two_ways_is_refused() {
    check(OCI_INDEX, r#"{"manifests":[],"layers":[],"config":{}}"#, None);
    check(OCI_INDEX, &format!(r#"{{"mediaType":"{OCI_MANIFEST}","manifests":[]}}"#), None);
    check(OCI_INDEX, r#"{"mediaType":"application/x","manifests":[]}"#, None);
    check(OCI_INDEX, r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#, None);
    check(OCI_INDEX, "{}", None);
    check(OCI_INDEX, "[]", None);
    check(OCI_INDEX, "<html>", None);
    check(OCI_INDEX, &"[".repeat(100_000), None);
}

#[tokio::test]
async fn a_manifest_counts_as_pushed_when_the_registry_says_so() {
    let bytes = Bytes::from_static(IMAGE.as_bytes());
    let push = async |reply: Reply| {
        let server = serve(move |_, _| reply.clone());
        let (client, _) = server.client(Settings::default());
        client.push_manifest(&server.reference("a:b"), OCI_MANIFEST, bytes.clone()).await
    };
    let stated = |reply: Reply, of: &[u8]| reply.with("Docker-Content-Digest", digest::of(of));
    assert!(push(stated(Reply::new(202), IMAGE.as_bytes())).await.is_ok());
    assert!(push(stated(Reply::new(201), b"other")).await.is_err());
    assert!(push(Reply::new(200)).await.is_err());
    assert!(push(Reply::new(201).with("Content-Type", "text/html")).await.is_err());
}
