//! The service as its clients see it: who is told what, and what becomes of a connection that breaks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::Settings;
use crate::testing::{Reply, Request, Server};

const TOKEN: &str = "token-hush";

fn body(bytes: &Bytes, part: Range<u64>) -> Body {
    let at = |byte: u64| usize::try_from(byte).unwrap();
    let bytes = bytes.slice(at(part.start)..at(part.end));
    stream::once(async move { Ok(bytes) }).boxed()
}

fn actions(server: &Server) -> Actions {
    Actions { url: format!("http://{}/", server.name()), token: TOKEN.to_owned() }
}

fn method(request: &Request) -> &str {
    let prefix = format!("/{SERVICE}/");
    request.path.strip_prefix(&prefix).unwrap_or("")
}

/// The address of the entry, at the same server by another name.
fn signed(request: &Request) -> String {
    let port = request.header("host").rsplit_once(':').unwrap().1;
    format!("http://localhost:{port}/entry?sig=a%2Bb-hush")
}

#[tokio::test]
async fn an_entry_is_reserved_sent_and_ended() {
    let server = Server::start(|request| {
        let upload = json!({ "ok": true, "signed_upload_url": signed(request) });
        match method(request) {
            "CreateCacheEntry" => Reply::new(200).body(upload.to_string()),
            "FinalizeCacheEntryUpload" => Reply::new(200).body(r#"{"ok":true,"entry_id":"7"}"#),
            _ => Reply::new(201),
        }
    });
    let (client, _) = server.client(Settings::default());
    let (actions, bytes) = (actions(&server), Bytes::from(vec![7; (32 << 20) + 5]));
    for size in [3, BLOCK + 5] {
        let put = client.put_entry(&actions, "key", size, |part| body(&bytes, part));
        put.await.unwrap();
    }
    let log = server.log();
    for request in &log {
        let is_service = !method(request).is_empty();
        let shown = request.header("authorization");
        assert_eq!(shown, if is_service { "Bearer token-hush" } else { "" }, "{}", request.path);
    }
    let sent = |request: &&Request| request.method == "PUT";
    let mut sent: Vec<(String, usize)> = log
        .iter()
        .filter(sent)
        .map(|put| (put.path.replace("/entry?sig=a%2Bb-hush", ""), put.body.len()))
        .collect();
    let blocks = [0..BLOCK, BLOCK..BLOCK + 5];
    let named = |block| format!("&comp=block&blockid={}", name(block));
    sent[1..3].sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    let list = &log.iter().rfind(|request| request.method == "PUT").unwrap().body;
    assert_eq!(sent[0], (String::new(), 3));
    assert_eq!(sent[1], (named(&blocks[0]), 32 << 20));
    assert_eq!(sent[2], (named(&blocks[1]), 5));
    assert_eq!(sent[3], ("&comp=blocklist".to_owned(), list.len()));
    let names = blocks.map(|block| format!("<Latest>{}</Latest>", name(&block))).concat();
    assert!(String::from_utf8_lossy(list).contains(&names));
    let asked = |request: &Request| serde_json::from_slice::<Value>(&request.body).unwrap();
    assert_eq!(asked(&log[0]), json!({ "key": "key", "version": VERSION }));
    let end = json!({ "key": "key", "version": VERSION, "size_bytes": "3" });
    assert_eq!(asked(&log[2]), end);
}

#[tokio::test]
async fn what_is_there_is_left_as_it_is_and_a_refusal_is_told_without_secrets() {
    let is_there = AtomicBool::new(true);
    let server = Server::start(move |request| match method(request) {
        "CreateCacheEntry" if is_there.swap(false, Ordering::Relaxed) => {
            Reply::new(409).body(r#"{"code":"already_exists","msg":"there is one"}"#)
        }
        "CreateCacheEntry" => {
            let upload = json!({ "ok": true, "signedUploadUrl": signed(request) });
            Reply::new(200).body(upload.to_string())
        }
        "GetCacheEntryDownloadURL" => {
            let found = json!({ "ok": true, "signed_download_url": signed(request) });
            Reply::new(200).body(found.to_string())
        }
        _ => Reply::new(403).body("<Error>sig-hush</Error>"),
    });
    let (client, _) = server.client(Settings::default());
    let (actions, bytes) = (actions(&server), Bytes::from_static(b"abc"));
    let put = || client.put_entry(&actions, "key", 3, |part| body(&bytes, part));
    put().await.unwrap();
    assert!(server.log().iter().all(|request| request.method != "PUT"));
    let error = put().await.unwrap_err();
    assert_eq!(error.status(), Some(403));
    assert!(!format!("{error} {error:?} {actions:?}").contains("hush"), "{error:?}");
    let read_only = Server::start(|_| {
        Reply::new(403).body(r#"{"code":"permission_denied","msg":"the token may only read"}"#)
    });
    let (client, _) = read_only.client(Settings::default());
    let actions = Actions { url: format!("http://{}", read_only.name()), ..actions };
    let error = client.put_entry(&actions, "key", 3, |part| body(&bytes, part)).await.unwrap_err();
    assert!(error.to_string().contains("the token may only read"), "{error}");
}

#[tokio::test]
async fn what_was_reserved_and_never_sent_is_sent_under_a_key_that_begins_so() {
    let server = Server::start(|request| match method(request) {
        "CreateCacheEntry" => {
            let asked: Value = serde_json::from_slice(&request.body).unwrap();
            if asked["key"] == "key" {
                return Reply::new(409).body(r#"{"code":"already_exists","msg":"reserved"}"#);
            }
            assert!(asked["key"].as_str().unwrap().starts_with("key-"));
            let upload = json!({ "ok": true, "signedUploadUrl": signed(request) });
            Reply::new(200).body(upload.to_string())
        }
        "GetCacheEntryDownloadURL" => Reply::new(200).body(r#"{"ok":false}"#),
        "FinalizeCacheEntryUpload" => Reply::new(200).body(r#"{"ok":true}"#),
        _ => Reply::new(201),
    });
    let (client, _) = server.client(Settings::default());
    let (actions, bytes) = (actions(&server), Bytes::from_static(b"abc"));
    client.put_entry(&actions, "key", 3, |part| body(&bytes, part)).await.unwrap();
    let sent = server.log().into_iter().find(|request| request.method == "PUT").unwrap();
    assert_eq!(sent.body, b"abc");
}

#[tokio::test]
async fn an_address_without_tls_is_taken_only_from_a_service_without() {
    let entry = |url: &str| {
        let actions = Actions { url: url.to_owned(), token: TOKEN.to_owned() };
        Entry::new(&actions, "key", "fetch").given("http://host/x?sig=hush").map_err(|error| {
            assert!(!format!("{error:?}").contains("hush"));
        })
    };
    assert!(entry("http://host").is_ok());
    assert!(entry("https://host").is_err());
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let content: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let served = content.clone();
    let seen = Mutex::new(Vec::new());
    let server = Server::start(move |request| {
        if !method(request).is_empty() {
            let found = json!({
                "ok": true, "matched_key": "key", "signed_download_url": signed(request),
            });
            return Reply::new(200).body(found.to_string());
        }
        let from: usize = request
            .header("range")
            .strip_prefix("bytes=")
            .map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        seen.lock().unwrap().push(from);
        let reply = Reply::new(if from == 0 { 200 } else { 206 }).body(&served[from..]);
        let range = format!("bytes {from}-{}/{}", served.len() - 1, served.len());
        match from {
            0 => reply.cut(1_500_000),
            _ => reply.with("Content-Range", range),
        }
    });
    let (client, pauses) = server.client(Settings::default());
    let digest = crate::digest::of(&content);
    let fetch = |digest: &str, size: u64| {
        let stream = client.entry_blob(&actions(&server), "key", digest, size);
        stream.map_ok(|bytes| bytes.to_vec()).try_concat()
    };
    let size = content.len() as u64;
    assert!(fetch(&digest, size).await.unwrap() == content);
    assert_eq!(pauses.made().len(), 1);
    let ranges = server.log().iter().filter(|it| !it.header("range").is_empty()).count();
    assert_eq!(ranges, 1);
    let other = digest.replace(|c: char| c.is_ascii_digit(), "0");
    assert!(matches!(fetch(&other, size).await, Err(Error::Corrupt { .. })));
    assert!(matches!(fetch(&digest, size - 1).await, Err(Error::TooLong { .. })));
}

#[tokio::test]
async fn another_entry_than_was_asked_for_is_none() {
    let server = Server::start(|request| {
        if method(request).is_empty() {
            return Reply::new(200).body("content");
        }
        let found = json!({
            "ok": true, "matched_key": "prefix-2", "signed_download_url": signed(request),
        });
        Reply::new(200).body(found.to_string())
    });
    let (client, _) = server.client(Settings::default());
    let actions = &actions(&server);
    assert!(!client.has_entry(actions, "prefix-1").await.unwrap());
    assert!(client.has_entry(actions, "prefix-2").await.unwrap());
    let latest = client.entry(actions, "prefix-", 100).await.unwrap();
    assert_eq!(latest.unwrap(), "content");
    assert!(client.entry(actions, "prefix-1", 100).await.unwrap().is_none());
    assert!(client.entry(actions, "prefix-", 3).await.is_err());
}
