//! Proving oneself to servers that ask for it in their ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::testing::{Reply, Request, Server, as_user};
use crate::{Reference, Settings};

const IMAGE: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

/// A token server that answers token after token: t1, t2, …
fn tokens(reply: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| reply(count.fetch_add(1, Ordering::Relaxed) + 1, request))
}

fn token(number: usize) -> Reply {
    Reply::new(200).body(format!(r#"{{"token":"t{number}","expires_in":300}}"#))
}

fn challenge(realm: &Server, rest: &str) -> Reply {
    let name = realm.name();
    Reply::new(401).with("WWW-Authenticate", format!("Bearer realm=\"http://{name}/token\"{rest}"))
}

/// A registry that lets in who shows the token.
fn registry(
    allowed: &'static str,
    refusal: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Server {
    Server::start(move |request| match request.header("authorization") {
        shown if shown == allowed => Reply::new(200).body(IMAGE),
        _ => refusal(request),
    })
}

async fn pull(server: &Server, settings: Settings) -> Result<Vec<String>> {
    let (client, _) = server.client(settings);
    client.manifest(&server.reference("a/b:c"), true).await?;
    Ok(shown(server))
}

fn shown(server: &Server) -> Vec<String> {
    server.log().iter().map(|request| request.header("authorization").to_owned()).collect()
}

#[tokio::test]
async fn a_token_is_fetched_as_the_challenge_says_and_kept() {
    let realm = Arc::new(tokens(|number, _| token(number)));
    let asked = realm.clone();
    let server = registry("Bearer t1", move |_| {
        challenge(&asked, r#",service="s v",scope="repository:a/b:pull""#)
    });
    let (client, _) = server.client(Settings::default());
    for _ in 0..3 {
        client.manifest(&server.reference("a/b:c"), true).await.unwrap();
    }
    assert_eq!(shown(&server), ["", "Bearer t1", "Bearer t1", "Bearer t1"]);
    assert_eq!(realm.lines(), ["GET /token?service=s+v&scope=repository%3Aa%2Fb%3Apull"]);
    assert_eq!(shown(&realm), [""]);
}

#[tokio::test]
async fn the_user_is_told_to_the_token_server_only() {
    let realm = Arc::new(tokens(|_, _| Reply::new(200).body(r#"{"access_token":"t1"}"#)));
    let asked = realm.clone();
    let server = registry("Bearer t1", move |_| challenge(&asked, ""));
    assert_eq!(pull(&server, as_user("$oauthtoken", "key")).await.unwrap(), ["", "Bearer t1"]);
    assert_eq!(shown(&realm), ["Basic JG9hdXRodG9rZW46a2V5"]);
    assert_eq!(realm.lines(), ["GET /token?scope=repository%3Aa%2Fb%3Apull&account=%24oauthtoken"]);
}

#[tokio::test]
async fn an_ended_token_is_dropped_and_the_tokenless_challenge_counts() {
    let realm = Arc::new(tokens(|number, _| token(number)));
    let wrong = Arc::new(tokens(|_, _| Reply::new(403)));
    let (asked, elsewhere) = (realm.clone(), wrong.clone());
    let pulls = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.header("authorization") {
        "" => challenge(&asked, ""),
        "Bearer t1" if pulls.fetch_add(1, Ordering::Relaxed) == 0 => Reply::new(200).body(IMAGE),
        "Bearer t2" => Reply::new(200).body(IMAGE),
        _ => challenge(&elsewhere, ",service=registry,error=\"invalid_token\""),
    });
    let (client, _) = server.client(Settings::default());
    let reference = server.reference("a/b:c");
    for _ in 0..3 {
        client.manifest(&reference, true).await.unwrap();
    }
    let expected = ["", "Bearer t1", "Bearer t1", "", "Bearer t2", "Bearer t2"];
    assert_eq!(shown(&server), expected);
    assert_eq!(wrong.log().len(), 0);
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories() {
    let realm = Arc::new(tokens(|number, _| token(number)));
    let asked = realm.clone();
    let server =
        Server::start(move |request| match (&*request.method, request.header("authorization")) {
            (_, "") => challenge(&asked, ",scope=\"repository:a/b:pull\""),
            ("HEAD", _) => Reply::new(404),
            _ => Reply::new(201),
        });
    let (client, _) = server.client(Settings::default());
    let body = |_| -> crate::Body { unreachable!("the blob is mounted") };
    let digest = crate::digest::of(b"x");
    let from = Some("c/d");
    client.push_blob(&server.reference("a/b"), &digest, 1, from, body).await.unwrap();
    assert_eq!(
        realm.lines(),
        ["GET /token?scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%2Fd%3Apull"]
    );
}

#[tokio::test]
async fn user_and_password_are_sent_where_they_are_asked_for() {
    let refuse = |_: &Request| Reply::new(401).with("WWW-Authenticate", "Basic realm=\"kit\"");
    let server = registry("Basic a2l0OmtpdHBhc3M=", refuse);
    let sent = pull(&server, as_user("kit", "kitpass")).await.unwrap();
    assert_eq!(sent, ["", "Basic a2l0OmtpdHBhc3M="]);

    let error = pull(&server, as_user("kit", "wrong")).await.unwrap_err();
    let hint = error.hint().unwrap();
    let name = server.name();
    assert_eq!(
        hint,
        format!("the password of `kit` from the test was used for {name}, and does not suffice")
    );
    assert!(!format!("{error:?}").contains("wrong"));

    let error = pull(&server, Settings::default()).await.unwrap_err();
    assert_eq!(error.hint().unwrap(), format!("no credential for {name} was found: log in to it"));
    assert_eq!(error.status(), Some(401));
}

#[tokio::test]
async fn a_refused_user_is_not_tried_again() {
    let realm = Arc::new(tokens(|_, _| {
        Reply::new(401).body(r#"{"details":"incorrect username or password"}"#)
    }));
    let asked = realm.clone();
    let server = registry("Bearer none", move |_| challenge(&asked, ""));
    let error = pull(&server, as_user("kit", "wrong")).await.unwrap_err();
    let (name, realm_name) = (server.name(), realm.name());
    assert_eq!(
        error.to_string(),
        format!(
            "cannot get a token for `repository:a/b:pull` from {realm_name} at {name}: the server answers 401 unauthorized: incorrect username or password"
        )
    );
    assert_eq!((server.log().len(), realm.log().len()), (1, 1));
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let realm = Arc::new(tokens(|number, _| token(number)));
    let asked = realm.clone();
    let server = registry("Bearer t1", move |_| challenge(&asked, ",service=s"));
    let secret = Secret::Identity("i&d".to_owned());
    let credential = Credential { username: String::new(), secret, origin: String::new() };
    let settings = Settings {
        credentials: Arc::new(move |_| Some(credential.clone())),
        ..Settings::default()
    };
    pull(&server, settings).await.unwrap();
    assert_eq!(realm.lines(), ["POST /token"]);
    assert_eq!(
        String::from_utf8_lossy(&realm.log()[0].body),
        "grant_type=refresh_token&refresh_token=i%26d&client_id=rbuild&scope=repository%3Aa%2Fb%3Apull&service=s"
    );
}

#[tokio::test]
async fn a_token_server_that_answers_nonsense_tells_no_token() {
    for body in [
        "",
        "{}",
        "[]",
        r#"{"token":"a\nb"}"#,
        r#"{"token":7,"secret":"hunter2"}"#,
        r#"{"token":""}"#,
    ] {
        let realm = Arc::new(tokens(move |_, _| Reply::new(200).body(body)));
        let asked = realm.clone();
        let server = registry("Bearer none", move |_| challenge(&asked, ""));
        let error = pull(&server, Settings::default()).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { source: None, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_realm_that_is_no_place_for_a_password_is_refused() {
    for realm in ["ftp://127.0.0.1/x", "", "/token", "file:///x"] {
        let header = format!("Bearer realm=\"{realm}\"");
        let server = registry("Bearer none", move |_| {
            Reply::new(401).with("WWW-Authenticate", header.clone())
        });
        let error = pull(&server, as_user("kit", "kitpass")).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
        assert_eq!(server.log().len(), 1);
    }
}

#[tokio::test]
async fn a_login_brings_an_identity_token_if_there_is_one() {
    let realm =
        Arc::new(tokens(|_, _| Reply::new(200).body(r#"{"token":"t1","refresh_token":"r1"}"#)));
    let asked = realm.clone();
    let server = registry("Bearer t1", move |_| challenge(&asked, ",service=s"));
    let (client, _) = server.client(Settings::default());
    let credential = Credential::password("kit", "kitpass", "the prompt");
    let login = client.login(&server.name(), credential).await.unwrap();
    assert_eq!(login.identity_token.as_deref(), Some("r1"));
    assert!(!format!("{login:?}").contains("r1"));
    assert_eq!(
        realm.lines(),
        ["GET /token?service=s&account=kit&client_id=rbuild&offline_token=true"]
    );
}

#[tokio::test]
async fn parallel_requests_share_a_token() {
    let realm = Arc::new(tokens(|number, _| token(number)));
    let asked = realm.clone();
    let server = registry("Bearer t1", move |_| challenge(&asked, ""));
    let (client, _) = server.client(Settings::default());
    let reference: Reference = server.reference("a/b:c");
    let pulls = (0..8).map(|_| client.manifest(&reference, true));
    futures::future::try_join_all(pulls).await.unwrap();
    assert_eq!(realm.log().len(), 1);
}

#[test]
fn a_token_is_used_while_it_lives() {
    let task = Task::new("get a token for", "x", "y");
    let mut state = State::default();
    let kept = |state: &mut State, body: &str| {
        let before = Instant::now();
        state.keep(&task, Scopes::pull("a"), body.as_bytes()).unwrap();
        let token = state.tokens.last().unwrap();
        assert!(token.header.is_sensitive());
        token.until.duration_since(before).as_secs_f64().round()
    };
    assert!((kept(&mut state, r#"{"token":"t"}"#) - 54.0).abs() < 1.0);
    assert!((kept(&mut state, r#"{"token":"t","expires_in":600}"#) - 540.0).abs() < 1.0);
    let forever = format!(r#"{{"token":"t","expires_in":{}}}"#, u64::MAX);
    assert!((kept(&mut state, &forever) - 77_760.0).abs() < 1.0);
    assert!(kept(&mut state, r#"{"token":"t","expires_in":0}"#) < 1.0);
    for _ in 0..TOKENS * 2 {
        kept(&mut state, r#"{"token":"t"}"#);
    }
    assert_eq!(state.tokens.len(), TOKENS);
}
