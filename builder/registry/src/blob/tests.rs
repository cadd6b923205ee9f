//! Downloads against a server that misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::TryStreamExt;

use super::*;
use crate::testing::{Reply, Request, Server};
use crate::{Mirror, Settings};

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number % 251) as u8).collect()
}

/// The part of the content that a request asks for.
fn part(request: &Request) -> Reply {
    let content = content();
    let Some(range) = request.header("range").strip_prefix("bytes=") else {
        return Reply::new(200).body(content);
    };
    let (start, end) = range.split_once('-').unwrap();
    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
    Reply::new(206)
        .with("Content-Range", format!("bytes {start}-{end}/{}", content.len()))
        .body(&content[start..=end])
}

/// Serves the blob; the first tries go through `fault`, which gets the number of the try.
fn serve(fault: impl Fn(usize, &Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        if !request.path.contains("/blobs/") {
            return Reply::new(200);
        }
        let number = count.fetch_add(1, Ordering::Relaxed);
        fault(number, request).unwrap_or_else(|| part(request))
    })
}

async fn fetch(server: &Server) -> Result<Vec<u8>> {
    let (client, _) = server.client(Settings::default());
    collect(&client, server).await
}

async fn collect(client: &Client, server: &Server) -> Result<Vec<u8>> {
    let content = content();
    let (digest, size) = (digest::of(&content), content.len() as u64);
    let parts: Vec<Bytes> =
        client.blob(&server.reference("a/b"), &digest, size, 0).try_collect().await?;
    Ok(parts.concat())
}

fn ranges(server: &Server) -> Vec<String> {
    server.log().iter().map(|request| request.header("range").to_owned()).collect()
}

#[tokio::test]
async fn a_blob_comes_whole() {
    let server = serve(|_, _| None);
    assert!(fetch(&server).await.unwrap() == content());
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn a_broken_download_is_resumed_where_it_broke() {
    let server = serve(|number, request| match number {
        0 => Some(part(request).cut(100_000)),
        1 => Some(part(request).cut(50_000)),
        2 => Some(Reply::new(503)),
        _ => None,
    });
    let (client, pauses) = server.client(Settings::default());
    assert!(collect(&client, &server).await.unwrap() == content());
    assert_eq!(
        ranges(&server),
        ["", "bytes=100000-299999", "bytes=150000-299999", "bytes=150000-299999"]
    );
    assert_eq!(pauses.made().len(), 3);
}

#[tokio::test]
async fn a_server_without_ranges_sends_again_and_nothing_comes_twice() {
    let server = serve(|number, _| match number {
        0 => Some(Reply::new(200).body(content()).cut(100_000)),
        _ => Some(Reply::new(200).body(content())),
    });
    assert!(fetch(&server).await.unwrap() == content());
    assert_eq!(server.log().len(), 2);
}

#[tokio::test]
async fn the_wrong_part_is_refused() {
    let server = serve(|number, request| match number {
        0 => Some(part(request).cut(100_000)),
        _ => Some(Reply::new(206).with("Content-Range", "bytes 0-9/300000").body("0123456789")),
    });
    assert!(matches!(fetch(&server).await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn a_stalled_download_is_resumed() {
    let server = serve(|number, request| (number == 0).then(|| part(request).held(100_000)));
    assert!(fetch(&server).await.unwrap() == content());
    assert_eq!(server.log().len(), 2);
}

#[tokio::test]
async fn a_corrupt_blob_ends_in_an_error() {
    let server = serve(|_, _| {
        let mut content = content();
        content[299_999] ^= 1;
        Some(Reply::new(200).body(content))
    });
    assert!(matches!(fetch(&server).await, Err(Error::Corrupt { .. })));
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn more_bytes_than_were_said_are_refused() {
    let server = serve(|_, _| Some(Reply::new(200).body([content(), content()].concat())));
    assert!(matches!(fetch(&server).await, Err(Error::TooLong { limit: 300_000, .. })));
}

#[tokio::test]
async fn a_server_that_sends_nothing_is_given_up() {
    let server = serve(|_, request| Some(part(request).cut(0)));
    let error = fetch(&server).await.unwrap_err();
    assert!(matches!(error, Error::Truncated { got: 0, .. } | Error::Connection { .. }), "{error}");
    assert_eq!(server.log().len(), 6);
}

#[tokio::test]
async fn a_server_that_drips_is_given_up() {
    let server = serve(|_, request| Some(part(request).cut(1)));
    fetch(&server).await.unwrap_err();
    assert_eq!(server.log().len(), 6);
}

#[tokio::test]
async fn a_server_that_makes_headway_is_not_given_up() {
    let big: Vec<u8> = vec![7; 4 << 20];
    let (digest, size) = (digest::of(&big), big.len() as u64);
    let server = Server::start(move |request| {
        let start = request
            .header("range")
            .strip_prefix("bytes=")
            .map_or(0, |range| range.split_once('-').unwrap().0.parse().unwrap());
        let end = big.len();
        let reply = Reply::new(206)
            .with("Content-Range", format!("bytes {start}-{}/{end}", end - 1))
            .body(&big[start..]);
        if end - start > 300_000 { reply.cut(300_000) } else { reply }
    });
    let (client, _) = server.client(Settings::default());
    let stream = client.blob(&server.reference("a/b"), &digest, size, 1);
    let parts: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(parts.iter().map(Bytes::len).sum::<usize>() as u64, size - 1);
    assert_eq!(server.log().len(), 14);
}

#[tokio::test]
async fn a_part_is_exactly_what_was_asked_for() {
    for ranged in [true, false] {
        let server = serve(move |_, request| {
            Some(if ranged { part(request) } else { Reply::new(200).body(content()) })
        });
        let (client, _) = server.client(Settings::default());
        let stream =
            client.blob_range(&server.reference("a/b"), &digest::of(&content()), 300_000, 10..250);
        let parts: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert_eq!(parts.concat(), content()[10..250]);
    }
}

#[tokio::test]
async fn what_is_missing_is_asked_for_once() {
    let server = serve(|_, _| Some(Reply::new(404)));
    let error = fetch(&server).await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn an_odd_digest_goes_nowhere() {
    let server = serve(|_, _| None);
    let (client, _) = server.client(Settings::default());
    let stream = client.blob(&server.reference("a/b"), "sha256:../../x", 1, 0);
    assert!(matches!(stream.try_collect::<Vec<_>>().await, Err(Error::Malformed { .. })));
    assert_eq!(server.log().len(), 0);
}

#[tokio::test]
async fn another_mirror_takes_over_in_the_middle() {
    let mirror = serve(|number, request| {
        Some(if number == 0 { part(request).cut(100_000) } else { Reply::new(404) })
    });
    let absent = serve(|_, _| Some(Reply::new(500)));
    let server = serve(|_, _| None);
    let mirrors = [&absent, &mirror].map(|one| Mirror {
        registry: server.name(),
        endpoint: format!("http://{}", one.name()),
        insecure: false,
    });
    let (client, _) = server.client(Settings { mirrors: mirrors.to_vec(), ..Settings::default() });
    assert!(collect(&client, &server).await.unwrap() == content());
    assert_eq!(absent.log().len(), 1);
    assert_eq!(ranges(&mirror), ["", "bytes=100000-299999"]);
    assert_eq!(ranges(&server), ["bytes=100000-299999"]);
}

#[tokio::test]
async fn a_redirect_to_another_host_loses_the_credentials() {
    let store = Server::start(|request| {
        let shown = !request.header("authorization").is_empty();
        if shown { Reply::new(400) } else { part(request) }
    });
    let place = format!("http://{}/signed?key=x", store.other_name());
    let server = serve(move |_, request| {
        if request.header("authorization").is_empty() {
            return Some(Reply::new(401).with("WWW-Authenticate", "Basic realm=\"x\""));
        }
        Some(Reply::new(307).with("Location", place.clone()))
    });
    let (client, _) = server.client(crate::testing::as_user("kit", "kitpass"));
    assert!(collect(&client, &server).await.unwrap() == content());
    assert_eq!(server.log()[1].header("authorization"), "Basic a2l0OmtpdHBhc3M=");
    assert_eq!(store.log().len(), 1);
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let server = serve(|_, request| Some(Reply::new(307).with("Location", request.path.clone())));
    let error = fetch(&server).await.unwrap_err();
    assert!(matches!(error, Error::Connection { transient: false, .. }), "{error}");
    assert!(server.log().len() <= 12, "{}", server.log().len());
}

/// Asks for the content in three parts, and puts together what comes.
async fn in_parts(server: &Server) -> Result<Vec<u8>> {
    let (client, _) = server.client(Settings::default());
    let (content, mut got) = (content(), vec![0; 300_000]);
    let parts = vec![10..100_000, 100_000..200_000, 200_000..300_000];
    got[..10].copy_from_slice(&content[..10]);
    let (digest, reference) = (digest::of(&content), server.reference("a/b"));
    let mut stream = client.blob_parts(&reference, &digest, 300_000, parts);
    while let Some((at, bytes)) = stream.try_next().await? {
        let at = usize::try_from(at).unwrap();
        got[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    Ok(got)
}

#[tokio::test]
async fn parts_come_at_the_same_time_and_are_resumed_each() {
    let server = serve(|_, request| {
        let is_second = request.header("range") == "bytes=100000-199999";
        is_second.then(|| part(request).cut(50_000))
    });
    assert!(in_parts(&server).await.unwrap() == content());
    let ranges = ranges(&server);
    assert_eq!(ranges[0], "bytes=10-99999");
    assert!(ranges.contains(&"bytes=150000-199999".to_owned()), "{ranges:?}");
    assert_eq!(ranges.len(), 4);
}

#[tokio::test]
async fn a_server_without_parts_is_asked_once() {
    let server = serve(|_, _| Some(Reply::new(200).body(content())));
    assert!(in_parts(&server).await.unwrap() == content());
    assert_eq!(server.log().len(), 1);
}
