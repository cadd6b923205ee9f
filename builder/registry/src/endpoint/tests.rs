//! Plain http or TLS, and whom it trusts.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::connect::may_follow;
use super::*;
use crate::testing::{Reply, Server};
use crate::{Proxies, Trust};

/// A server with a certificate for this machine, and its authority in PEM.
fn secure() -> (Server, Vec<u8>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![signed.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let server = Server::start_tls(Arc::new(config), |_| Reply::new(200));
    (server, authority.pem().into_bytes())
}

async fn ping(server: &Server, settings: Settings) -> Result<()> {
    let (client, _) = server.client(settings);
    client.ping(&server.name()).await
}

#[tokio::test]
async fn a_registry_with_a_private_authority_is_trusted_when_told() {
    let (server, authority) = secure();
    let authorities = vec![authority.clone()];
    ping(&server, Settings { authorities, ..Settings::default() }).await.unwrap();

    let trust = Trust { authorities: vec![authority], identity: None };
    let trust = [(server.name(), trust)].into();
    ping(&server, Settings { trust, ..Settings::default() }).await.unwrap();
}

#[tokio::test]
async fn an_unknown_authority_is_refused_with_a_hint() {
    let (server, _) = secure();
    let error = ping(&server, Settings::default()).await.unwrap_err();
    assert!(matches!(error, Error::Connection { transient: false, .. }), "{error:?}");
    let hint = error.hint().unwrap();
    assert!(
        hint.starts_with(&format!("the certificate of {} is not accepted", server.name())),
        "{hint}"
    );
    assert!(hint.contains("certs.d") && hint.contains("--insecure-registry"), "{hint}");

    let (_, other) = secure();
    let error = ping(&server, Settings { authorities: vec![other], ..Settings::default() }).await;
    assert!(error.unwrap_err().hint().is_some());
}

#[tokio::test]
async fn an_insecure_registry_needs_no_authority() {
    let (server, _) = secure();
    let insecure = vec![server.name()];
    ping(&server, Settings { insecure, ..Settings::default() }).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_says_so_is_asked_over_tls() {
    let server = Server::start(|_| {
        Reply::new(400).body("Client sent an HTTP request to an HTTPS server.\n")
    });
    let error = ping(&server, Settings::default()).await.unwrap_err();
    assert!(matches!(error, Error::Connection { transient: true, .. }), "{error:?}");
}

#[tokio::test]
async fn certificates_that_are_none_are_named() {
    let (server, _) = secure();
    for authorities in [vec![b"".to_vec()], vec![b"-----BEGIN CERTIFICATE-----\n!\n".to_vec()]] {
        let error = ping(&server, Settings { authorities, ..Settings::default() }).await;
        assert!(matches!(error, Err(Error::Setting { .. })), "{error:?}");
    }
}

#[test]
fn a_secure_registry_does_not_redirect_to_plain_http() {
    let allowed = |from: &str, to: &str| {
        let insecure = ["lab.example:80".to_owned()];
        may_follow(&[from.parse().unwrap()], &to.parse().unwrap(), &insecure).is_ok()
    };
    assert!(allowed("https://a.example/", "https://b.example/"));
    assert!(!allowed("https://a.example/", "http://b.example/"));
    assert!(allowed("http://a.example/", "http://b.example/"));
    assert!(allowed("https://a.example/", "http://127.0.0.1:5000/"));
}

#[tokio::test]
async fn nobody_there_is_tried_again_and_then_told() {
    let name = { Server::start(|_| Reply::new(200)).name() };
    let other = Server::start(|_| Reply::new(200));
    let (client, pauses) = other.client(Settings::default());
    let error = client.ping(&name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot reach the registry at {name}: the connection failed")
    );
    assert_eq!(pauses.made().len(), 2);
}

#[tokio::test]
async fn proxies_are_for_others_than_this_machine() {
    let proxy = Server::start(|_| Reply::new(200));
    let server = Server::start(|_| Reply::new(200));
    // The system takes this address for its own, and the client does not.
    let excepted = server.name().replace("127.0.0.1", "0.0.0.0");
    let settings = Settings {
        proxies: Proxies {
            http: Some(format!("http://{}", proxy.name())),
            https: None,
            except: Some("0.0.0.0".to_owned()),
        },
        insecure: vec!["registry.invalid:80".to_owned(), excepted.clone()],
        ..Settings::default()
    };
    let (client, _) = server.client(settings);
    client.ping(&server.name()).await.unwrap();
    client.ping("registry.invalid:80").await.unwrap();
    client.ping(&excepted).await.unwrap();
    assert_eq!(proxy.all_lines(), ["GET http://registry.invalid/v2/"; 2]);
    assert_eq!(server.all_lines(), ["GET /v2/"; 4]);
}

#[test]
fn loopback_is_known_by_name_and_address() {
    for host in ["localhost", "LOCALHOST:5000", "127.0.0.1", "127.3.2.1:80", "[::1]", "[::1]:5000"]
    {
        assert!(is_loopback(host), "{host}");
    }
    for host in
        ["localhost.example", "127.0.0.1.example:5000", "128.0.0.1", "[::2]:80", "10.0.0.1", ""]
    {
        assert!(!is_loopback(host), "{host}");
    }
}

fn shared(insecure: &[&str]) -> Arc<Shared> {
    let insecure = insecure.iter().map(ToString::to_string).collect();
    let settings = Settings { insecure, ..Settings::default() };
    Arc::new(Shared { settings, clock: Clock::default(), roots: Arc::default() })
}

#[test]
fn only_loopback_and_insecure_registries_are_asked_plainly() {
    let shared = shared(&["lab.example:5000"]);
    let plain = |registry| Endpoint::upstream(&shared, registry).plain;
    assert_eq!(plain("docker.io"), Plain::Never);
    assert_eq!(plain("lab.example"), Plain::Never);
    assert_eq!(plain("lab.example:5000"), Plain::Perhaps);
    assert_eq!(plain("localhost:5000"), Plain::Perhaps);
}

#[test]
fn a_mirror_has_a_scheme_a_host_and_a_prefix() {
    let shared = shared(&[]);
    let mirror = |endpoint: &str, insecure| {
        let registry = "docker.io".to_owned();
        let mirror = Mirror { registry, endpoint: endpoint.to_owned(), insecure };
        let found = Endpoint::mirror(&shared, &mirror);
        (found.plain, found.host.clone(), found.prefix.clone())
    };
    let expect = |plain, host: &str, prefix: &str| (plain, host.to_owned(), prefix.to_owned());
    assert_eq!(mirror("http://m:5000/", false), expect(Plain::Always, "m:5000", ""));
    assert_eq!(mirror("https://127.0.0.1", false), expect(Plain::Never, "127.0.0.1", ""));
    assert_eq!(mirror("m.example/hub/x", false), expect(Plain::Never, "m.example", "hub/x/"));
    assert_eq!(mirror("m.example", true), expect(Plain::Perhaps, "m.example", ""));
}

#[test]
fn a_registry_is_a_host_and_no_more() {
    let shared = shared(&[]);
    for wrong in ["a/b", "u@h", "u:p@h", "a?b", "a#b", "", "a b"] {
        assert!(Endpoint::upstream(&shared, wrong).address("https").is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_rule_puts_places_in_the_place_of_a_prefix() {
    let server = Server::start(|_| Reply::new(404));
    let place = |path: &str| Location {
        place: format!("{}{path}", server.name()),
        insecure: false,
        serves: crate::Serves::All,
    };
    let rule = |prefix: &str, path: &str, mirrors: Vec<Location>| crate::Rule {
        prefix: prefix.to_owned(),
        location: Some(place(path)),
        mirrors,
        blocked: prefix.contains("never"),
        origin: "the test".to_owned(),
    };
    let rules = vec![
        rule("r.test", "", Vec::new()),
        rule("r.test/team", "/mine/team", vec![place("/copies")]),
        rule("r.test/team/app", "/one", Vec::new()),
        rule("never.test", "", Vec::new()),
    ];
    let (client, _) = server.client(Settings { rules, ..Settings::default() });
    let asked = |name: &'static str| {
        let (client, seen) = (client.clone(), server.log().len());
        let server = &server;
        async move {
            let platform = crate::Platform::new("linux", "amd64", None);
            let error = client.manifest_for(&name.parse().unwrap(), &platform).await.unwrap_err();
            let mut lines = server.lines().split_off(seen);
            lines.retain(|line| line != "GET /v2/");
            (lines, error.to_string())
        }
    };
    assert_eq!(asked("r.test/a/b:1").await.0, ["GET /v2/a/b/manifests/1"]);
    assert_eq!(
        asked("r.test/team/x:1").await.0,
        ["GET /v2/copies/x/manifests/1", "GET /v2/mine/team/x/manifests/1"]
    );
    assert_eq!(asked("r.test/team/app:1").await.0, ["GET /v2/one/manifests/1"]);
    let (lines, error) = asked("never.test/x").await;
    assert_eq!(lines, [""; 0]);
    assert!(error.ends_with("`never.test`: it is blocked in the test"), "{error}");
}
