//! Files against a server that remembers, forgets and breaks off.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::Settings;
use crate::testing::{Reply, Request, Server};

/// Fetches a file of a server, and answers what came.
async fn fetch(server: &Server, request: FileRequest) -> Result<(FileAnswer, Vec<u8>)> {
    let (client, _) = server.client(Settings::default());
    let mut content = Vec::new();
    let answer = client
        .file(&request, |part| {
            match part {
                FilePart::Begin { .. } => content.clear(),
                FilePart::Bytes(bytes) => content.extend_from_slice(bytes),
            }
            Ok(())
        })
        .await?;
    Ok((answer, content))
}

fn request(server: &Server, path: &str) -> FileRequest {
    FileRequest { url: format!("http://{}{path}", server.name()), ..FileRequest::default() }
}

#[tokio::test]
async fn a_file_comes_with_what_names_its_version() {
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    let server = Server::start(move |_| {
        Reply::new(200).with("ETag", "\"1\"").with("Last-Modified", date).body("<html>text")
    });
    let (answer, content) = fetch(&server, request(&server, "/a/b?c=d")).await.unwrap();
    let (etag, last_modified) = (Some("\"1\"".to_owned()), Some(date.to_owned()));
    assert_eq!(answer, FileAnswer::Came { etag, last_modified });
    assert_eq!(content, b"<html>text");
    assert_eq!(server.all_lines(), ["GET /a/b?c=d"]);
}

#[tokio::test]
async fn a_known_version_is_not_fetched_again() {
    let server = Server::start(|asked| match asked.header("if-none-match") {
        "\"1\"" => Reply::new(304),
        // It does not know the header, but names the same version.
        _ => Reply::new(200).with("ETag", "\"2\"").body("text"),
    });
    for etag in ["\"1\"", "\"2\""] {
        let known = FileRequest { etag: Some(etag.to_owned()), ..request(&server, "/") };
        let (answer, content) = fetch(&server, known).await.unwrap();
        assert_eq!((answer, content), (FileAnswer::Unchanged, Vec::new()));
    }
    let known = FileRequest { etag: Some("\"0\"".to_owned()), ..request(&server, "/") };
    assert_eq!(fetch(&server, known).await.unwrap().1, b"text");
}

#[tokio::test]
async fn without_a_name_the_time_of_the_change_is_asked_for() {
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    let server = Server::start(move |asked| match asked.header("if-modified-since") {
        since if since == date => Reply::new(304),
        _ => Reply::new(200),
    });
    let known = FileRequest { last_modified: Some(date.to_owned()), ..request(&server, "/") };
    assert_eq!(fetch(&server, known).await.unwrap().0, FileAnswer::Unchanged);
}

#[tokio::test]
async fn a_file_that_breaks_off_begins_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::new(503),
        1 => Reply::new(200).body("text").cut(2),
        _ => Reply::new(200).body("text"),
    });
    assert_eq!(fetch(&server, request(&server, "/")).await.unwrap().1, b"text");
    assert_eq!(server.all_lines().len(), 3);
}

#[tokio::test]
async fn what_is_not_there_is_said_with_the_status() {
    let server = Server::start(|_| Reply::new(404).body("no such thing"));
    let error = fetch(&server, request(&server, "/x")).await.unwrap_err();
    assert!(error.is_not_found());
    let name = server.name();
    let said = format!(
        "cannot fetch /x at {name}: the server answers 404 not found from {name}: no such thing"
    );
    assert_eq!(error.to_string(), said);
}

#[tokio::test]
async fn a_token_goes_to_the_host_of_the_url_and_no_other() {
    let seen = |request: &Request| request.header("authorization").to_owned();
    let other = Server::start(|_| Reply::new(200));
    let target = format!("http://{}/there", other.other_name());
    let server = Server::start(move |_| Reply::new(302).with("Location", target.clone()));
    let authorization = Some("Bearer secret".to_owned());
    let asked = FileRequest { authorization, ..request(&server, "/") };
    assert!(!format!("{asked:?}").contains("secret"));
    fetch(&server, asked).await.unwrap();
    assert_eq!(server.log().iter().map(seen).collect::<Vec<_>>(), ["Bearer secret"]);
    assert_eq!(other.log().iter().map(seen).collect::<Vec<_>>(), [""]);
}

#[tokio::test]
async fn what_is_no_url_of_a_file_is_refused() {
    let client = Client::new(Settings::default());
    for url in ["", "x", "ftp://host/x", "file:///etc/passwd", "http://"] {
        let request = FileRequest { url: url.to_owned(), ..FileRequest::default() };
        let error = client.file(&request, |_| Ok(())).await.unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{url}: {error}");
    }
}

#[test]
fn passwords_in_urls_are_not_shown() {
    assert_eq!(redacted("https://me:secret@host/x@y"), "https://xxxxx:xxxxx@host/x@y");
    assert_eq!(redacted("https://token@host/x"), "https://xxxxx@host/x");
    assert_eq!(redacted("ssh://git:secret@host/x"), "ssh://git:xxxxx@host/x");
    assert_eq!(redacted("ssh://git@host/x"), "ssh://git@host/x");
    assert_eq!(redacted("git@host:a:b"), "git@host:a:b");
    assert_eq!(redacted("https://host/a:b@c"), "https://host/a:b@c");
}
