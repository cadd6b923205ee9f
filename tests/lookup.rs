//! When a registry is asked what a name stands for, and what is done where it gives no answer.

use crate::home;
use rbuild_testkit::Registry;

#[test]
fn a_tag_is_asked_for_again_when_the_answer_is_old() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\n");
    home.types("rbuild -q app").ok();
    home.registry.forget_requests();
    home.types("rbuild -q app").ok();
    assert_eq!(home.registry.requests(), [""; 0]);
    home.types("RBUILD_TAG_TTL=0s rbuild -q app").ok();
    let asked = home.registry.requests();
    assert!(asked.iter().any(|line| line.contains("/manifests/latest")), "{asked:?}");
    // What has a digest can stand for nothing else.
    let digest = home.types("rbuild why --format json | grep -o 'sha256:[0-9a-f]*' | tail -1").ok();
    home.write("app/Dockerfile", format!("FROM busybox@{digest}\n"));
    home.types("rbuild -q app").ok();
    home.registry.forget_requests();
    home.types("RBUILD_TAG_TTL=0s rbuild -q app").ok();
    assert_eq!(home.registry.requests(), [""; 0]);
    home.types("RBUILD_TAG_TTL=soon rbuild -q app").fails(3);
}

#[test]
fn an_old_answer_serves_where_the_registry_gives_none() {
    let home = home();
    let registry = Registry::start();
    let dockerfile = format!("FROM {}/library/busybox\nRUN true\n", registry.host());
    home.write("app/Dockerfile", dockerfile);
    let first = home.types("rbuild -q app").ok();
    drop(registry);
    let again = home.types("RBUILD_TAG_TTL=0s rbuild --progress plain app");
    assert!(again.stderr.contains("library/busybox:latest as of"), "{again}");
    assert_eq!(again.ok(), first);
    // The next builds do not wait for it again.
    let soon = home.types("RBUILD_TAG_TTL=0s rbuild --progress plain --offline app");
    assert!(soon.stderr.contains("the connection failed"), "{soon}");
    soon.ok();
}

#[test]
fn offline_nobody_is_asked() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN true\n");
    let said = home.types("rbuild --offline app").fails(3);
    assert!(said.contains("this is offline") && said.contains("leave out `--offline`"), "{said}");
    assert_eq!(home.registry.requests(), [""; 0]);
    home.types("rbuild -q app").ok();
    home.registry.forget_requests();
    home.types("RBUILD_TAG_TTL=0s rbuild -q --offline --no-cache app").ok();
    assert_eq!(home.registry.requests(), [""; 0]);
    home.types("rbuild --offline --pull app").fails(2);
    home.write("app/Dockerfile", "FROM scratch\nADD http://127.0.0.1:1/x /\n");
    let said = home.types("rbuild --offline app").fails(3);
    assert!(said.contains("this is offline"), "{said}");
}
