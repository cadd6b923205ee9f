//! Uploads against a server that keeps what it is sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::Settings;
use crate::testing::{Reply, Request, Server};

const CONTENT: &[u8] = b"the content of a layer";

fn body(from: u64) -> Body {
    let from = usize::try_from(from).unwrap();
    let halves = [&CONTENT[from..5], &CONTENT[5..]].map(|half| Ok(Bytes::from_static(half)));
    futures::stream::iter(halves).boxed()
}

/// A registry without the blob; `answer` may answer instead of it.
fn registry(answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        if let Some(reply) = answer(request) {
            return reply;
        }
        match request.method.as_str() {
            "HEAD" => Reply::new(404),
            "POST" => Reply::new(202).with("Location", "/up/1?state=x"),
            "PUT" => Reply::new(201),
            _ => Reply::new(200),
        }
    })
}

async fn push(server: &Server, from: Option<&str>) -> Result<Pushed> {
    let (client, _) = server.client(Settings::default());
    let (digest, size) = (digest::of(CONTENT), CONTENT.len() as u64);
    client.push_blob(&server.reference("a/b"), &digest, size, from, body).await
}

fn expected(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| line.replace('$', &digest::of(CONTENT))).collect()
}

fn escaped(lines: &[&str]) -> Vec<String> {
    let digest = digest::of(CONTENT);
    let escaped = digest.replace(':', "%3A");
    lines
        .iter()
        .map(|line| line.replace("digest=$", &format!("digest={escaped}")).replace('$', &digest))
        .collect()
}

#[tokio::test]
async fn what_is_there_is_not_sent() {
    let server = registry(|request| (request.method == "HEAD").then(|| Reply::new(200)));
    assert_eq!(push(&server, Some("c")).await.unwrap(), Pushed::Existed);
    assert_eq!(server.lines(), expected(&["HEAD /v2/a/b/blobs/$"]));
}

#[tokio::test]
async fn a_blob_is_sent_in_one_piece() {
    let server = registry(|_| None);
    assert_eq!(push(&server, None).await.unwrap(), Pushed::Sent);
    let lines =
        ["HEAD /v2/a/b/blobs/$", "POST /v2/a/b/blobs/uploads/", "PUT /up/1?state=x&digest=$"];
    assert_eq!(server.lines(), escaped(&lines));
    assert_eq!(server.log()[2].body, CONTENT);
    assert_eq!(server.log()[2].header("content-length"), "22");
    assert_eq!(server.log()[2].header("transfer-encoding"), "");
}

#[tokio::test]
async fn another_repository_lends_its_blob() {
    let server = registry(|request| (request.method == "POST").then(|| Reply::new(201)));
    assert_eq!(push(&server, Some("c/d")).await.unwrap(), Pushed::Mounted);
    let lines = ["HEAD /v2/a/b/blobs/$", "POST /v2/a/b/blobs/uploads/?mount=$&from=c/d"];
    assert_eq!(server.lines(), expected(&lines));
}

#[tokio::test]
async fn a_refused_mount_is_an_open_upload() {
    let server = registry(|_| None);
    assert_eq!(push(&server, Some("c/d")).await.unwrap(), Pushed::Sent);
    let lines = [
        "HEAD /v2/a/b/blobs/$",
        "POST /v2/a/b/blobs/uploads/?mount=$&from=c/d",
        "PUT /up/1?state=x&digest=$",
    ];
    assert_eq!(server.lines(), escaped(&lines));
}

#[tokio::test]
async fn a_failed_upload_starts_again_with_its_content() {
    let count = AtomicUsize::new(0);
    let server = registry(move |request| match request.method.as_str() {
        "PUT" if count.fetch_add(1, Ordering::Relaxed) < 2 => Some(Reply::new(502).cut(0)),
        _ => None,
    });
    assert_eq!(push(&server, None).await.unwrap(), Pushed::Sent);
    assert_eq!(server.log().len(), 9);
    assert_eq!(server.log()[8].body, CONTENT);
}

#[tokio::test]
async fn an_upload_that_arrived_though_its_answer_did_not_is_not_repeated() {
    let puts = std::sync::Arc::new(AtomicUsize::new(0));
    let server = registry(move |request| match request.method.as_str() {
        "PUT" => {
            puts.fetch_add(1, Ordering::Relaxed);
            Some(Reply::new(504))
        }
        "HEAD" if puts.load(Ordering::Relaxed) > 0 => Some(Reply::new(200)),
        _ => None,
    });
    assert_eq!(push(&server, None).await.unwrap(), Pushed::Existed);
    assert_eq!(server.log().len(), 4);
}

#[tokio::test]
async fn an_upload_that_nobody_answers_is_given_up_and_started_again() {
    let count = AtomicUsize::new(0);
    let server = registry(move |request| match request.method.as_str() {
        "PUT" if count.fetch_add(1, Ordering::Relaxed) == 0 => {
            Some(Reply::new(201).body("x").held(0))
        }
        _ => None,
    });
    push(&server, None).await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_final() {
    let server = registry(|request| {
        let denied = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;
        (request.method == "POST").then(|| Reply::new(403).body(denied))
    });
    let error = push(&server, None).await.unwrap_err();
    assert!(error.is_denied());
    let name = server.name();
    let digest = digest::of(CONTENT);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot push blob {digest} of a/b at {name}: the server answers 403 forbidden: DENIED: read only"
        )
    );
    assert_eq!(error.hint().unwrap(), format!("no credential for {name} was found: log in to it"));
    assert_eq!(server.log().len(), 2);
}

#[tokio::test]
async fn content_that_cannot_be_read_is_the_callers_error() {
    let server = registry(|_| None);
    let (client, pauses) = server.client(Settings::default());
    let reference = server.reference("a/b");
    let digest = digest::of(CONTENT);
    let broken = |_| futures::stream::iter([Err(std::io::Error::other("disk"))]).boxed();
    let error = client.push_blob(&reference, &digest, 22, None, broken).await.unwrap_err();
    assert!(
        matches!(&error, Error::Body { source, .. } if source.to_string() == "disk"),
        "{error:?}"
    );
    for size in [21, 23] {
        let error = client.push_blob(&reference, &digest, size, None, body).await.unwrap_err();
        assert!(matches!(error, Error::Body { .. }), "{error:?}");
    }
    assert!(pauses.made().is_empty());
}

#[tokio::test]
async fn the_credentials_stay_with_the_registry() {
    let elsewhere = Server::start(|_| Reply::new(201));
    let place = format!("http://{}/up", elsewhere.other_name());
    let server = registry(move |request| match request.method.as_str() {
        _ if request.header("authorization").is_empty() && request.path != "/v2/" => {
            Some(Reply::new(401).with("WWW-Authenticate", "Basic realm=\"x\""))
        }
        "POST" => Some(Reply::new(202).with("Location", place.clone())),
        _ => None,
    });
    let (client, _) = server.client(crate::testing::as_user("kit", "kitpass"));
    let (digest, size) = (digest::of(CONTENT), CONTENT.len() as u64);
    client.push_blob(&server.reference("a/b"), &digest, size, None, body).await.unwrap();
    assert_eq!(elsewhere.log()[0].header("authorization"), "");
    assert_eq!(elsewhere.log()[0].body, CONTENT);
}

#[tokio::test]
async fn a_sign_in_page_has_no_blob() {
    let server = registry(|request| {
        (request.method == "HEAD").then(|| Reply::new(200).with("Content-Type", "text/html"))
    });
    assert!(matches!(push(&server, None).await, Err(Error::Malformed { .. })));
}

/// A large blob, of which each byte tells its place.
fn large() -> Vec<u8> {
    (0..WHOLE + 100_000).flat_map(|number| u8::try_from(number % 251)).collect()
}

fn large_body(from: u64) -> Body {
    let content = Bytes::from(large()).slice(usize::try_from(from).unwrap()..);
    let parts: Vec<_> = content.chunks(100_000).map(Bytes::copy_from_slice).map(Ok).collect();
    futures::stream::iter(parts).boxed()
}

/// A registry that keeps what it gets of one upload, and breaks off the first requests with content
/// after so many bytes; with `forgets` it does not say what it got.
fn keeping(breaks: usize, after: usize, forgets: bool) -> (Server, Arc<Mutex<Vec<u8>>>) {
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (seen, count) = (kept.clone(), AtomicUsize::new(0));
    let server = registry(move |request| {
        let mut kept = seen.lock().unwrap();
        let range = |kept: &[u8]| format!("0-{}", kept.len().saturating_sub(1));
        match request.method.as_str() {
            "POST" => {
                kept.clear();
                None
            }
            "PATCH" if count.fetch_add(1, Ordering::Relaxed) < breaks => {
                kept.extend_from_slice(&request.body[..after]);
                Some(Reply::new(202).body("x").broken())
            }
            "PATCH" => {
                kept.extend_from_slice(&request.body);
                Some(Reply::new(202).with("Location", "/up/2").with("Range", range(&kept)))
            }
            "GET" if request.path.starts_with("/up") && forgets => Some(Reply::new(404)),
            "GET" if request.path.starts_with("/up") => {
                Some(Reply::new(204).with("Range", range(&kept)).with("Location", "/up/3"))
            }
            _ => None,
        }
    });
    (server, kept)
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_broke() {
    let (server, kept) = keeping(2, 400_000, false);
    let (client, pauses) = server.client(Settings::default());
    let (content, reference) = (large(), server.reference("a/b"));
    let digest = digest::of(&content);
    let pushed =
        client.push_blob(&reference, &digest, content.len() as u64, None, large_body).await;
    assert_eq!(pushed.unwrap(), Pushed::Sent);
    assert!(*kept.lock().unwrap() == content);
    let log = server.log();
    let methods: Vec<_> = log.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["HEAD", "POST", "PATCH", "GET", "PATCH", "GET", "PATCH", "PUT"]);
    let ranges: Vec<_> = log.iter().map(|request| request.header("content-range")).collect();
    let end = content.len() - 1;
    assert_eq!(ranges[4], format!("400000-{end}"));
    assert_eq!(ranges[6], format!("800000-{end}"));
    assert_eq!(log[7].line(), format!("PUT /up/2?digest={}", digest.replace(':', "%3A")));
    assert_eq!(pauses.made().len(), 2);
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_begins_again() {
    let (server, kept) = keeping(1, 400_000, true);
    let (client, _) = server.client(Settings::default());
    let (content, reference) = (large(), server.reference("a/b"));
    let size = content.len() as u64;
    client.push_blob(&reference, &digest::of(&content), size, None, large_body).await.unwrap();
    assert!(*kept.lock().unwrap() == content);
    assert_eq!(server.log().iter().filter(|request| request.method == "POST").count(), 2);
}

#[tokio::test]
async fn a_blob_that_was_damaged_on_its_way_is_sent_again() {
    let count = AtomicUsize::new(0);
    let server = registry(move |request| {
        let is_first = request.method == "PUT" && count.fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then(|| Reply::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#))
    });
    assert_eq!(push(&server, None).await.unwrap(), Pushed::Sent);
    assert_eq!(server.log().len(), 6);
}

#[tokio::test]
async fn a_blob_is_sent_while_it_is_made() {
    for breaks in 0..2 {
        let (server, kept) = keeping(breaks, 300_000, false);
        let (client, _) = server.client(Settings::default());
        let (content, reference) = (large(), server.reference("a/b"));
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let body = move |from| {
            let counted = counted.clone();
            let count = move |part: &std::io::Result<Bytes>| {
                let length = part.as_ref().map_or(0, Bytes::len);
                counted.fetch_add(length, Ordering::Relaxed);
            };
            large_body(from).inspect(count).boxed()
        };
        let (digest, size) = (digest::of(&content), content.len());
        let end = || (made.load(Ordering::Relaxed) >= size).then(|| (digest.clone(), size as u64));
        let pushed = client.push_growing(&reference, body, end).await.unwrap();
        assert_eq!(pushed, Pushed::Sent);
        assert!(*kept.lock().unwrap() == content);
        let log = server.log();
        let first = log.iter().find(|request| request.method == "PATCH").unwrap();
        assert_eq!(first.header("transfer-encoding"), "chunked");
        assert_eq!(first.header("content-length"), "");
        assert!(log.last().unwrap().line().starts_with("PUT /up/2?digest=sha256"));
    }
}

#[tokio::test]
async fn a_repository_that_lends_nothing_does_no_harm() {
    let server = registry(|request| request.path.contains("mount=").then(|| Reply::new(401)));
    assert_eq!(push(&server, Some("c/d")).await.unwrap(), Pushed::Sent);
}
