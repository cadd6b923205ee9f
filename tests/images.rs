//! Images in the store and at registries.

use crate::home;
use rbuild_testkit::{Home, Registry};

fn built(name: &str) -> Home {
    let home = home();
    home.builds(name, "FROM busybox\nRUN echo made >/made\nCMD [\"cat\", \"/made\"]\n").ok();
    home
}

#[test]
fn names_are_given_and_taken_away() {
    let home = built("app");
    home.types("rbuild tag app other:1.2").ok();
    let names = "rbuild images --format '{{.Repository}}:{{.Tag}}' | sort";
    assert_eq!(home.types(names).ok(), "app:latest\nother:1.2");
    assert_eq!(home.types("rbuild images -q | sort -u | wc -l").ok(), "1");
    let said = home.types("rbuild rmi app").ok();
    assert!(said.contains("Untagged: app:latest"), "{said}");
    assert!(!said.contains("Deleted"), "it has another name: {said}");
    assert_eq!(home.types("rbuild run --rm other:1.2").ok(), "made");
    let said = home.types("rbuild rmi other:1.2").ok();
    assert!(said.contains("Untagged: other:1.2") && said.contains("Deleted: sha256:"), "{said}");
    assert_eq!(home.types("rbuild images -q").ok(), "");
    let error = home.types("rbuild rmi other:1.2").fails(1);
    assert!(error.to_lowercase().contains("no such image"), "{error}");
}

#[test]
fn an_image_answers_to_the_beginning_of_its_id() {
    let home = built("app");
    let id = home.types("rbuild images -q app").ok();
    assert_eq!(home.types(&format!("rbuild run --rm {id}")).ok(), "made");
    home.types(&format!("rbuild tag {id} again && rbuild rmi app")).ok();
    assert_eq!(home.types("rbuild run --rm again").ok(), "made");
}

#[test]
fn a_new_build_takes_the_name() {
    let home = built("app");
    let first = home.types("rbuild images -q app").ok();
    home.builds("app", "FROM busybox\nRUN echo again >/made\nCMD [\"cat\", \"/made\"]\n").ok();
    assert_ne!(home.types("rbuild images -q app").ok(), first);
    assert_eq!(home.types("rbuild run --rm app").ok(), "again");
}

#[test]
fn history_tells_how_it_was_made() {
    let home = built("app");
    let lines = home.types("rbuild history --no-trunc --format '{{.CreatedBy}}' app").ok();
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(
        lines,
        [
            "CMD [\"cat\" \"/made\"]",
            "RUN /bin/sh -c echo made >/made # buildkit",
            "CMD [\"sh\"]",
            "busybox-static",
        ]
    );
}

#[test]
fn a_plain_registry_takes_an_image_and_gives_it_back() {
    let home = built("app");
    let id = home.types("rbuild images -q --no-trunc app").ok();
    let name = format!("{}/team/app:1", home.registry.host());
    home.types(&format!("rbuild tag app {name} && rbuild push {name}")).ok();
    assert!(home.registry.manifest("team/app", "1").is_some());
    home.types(&format!("rbuild rmi -f app {name}")).ok();
    home.types(&format!("rbuild pull {name}")).ok();
    assert_eq!(home.types(&format!("rbuild run --rm {name}")).ok(), "made");
    assert_eq!(home.types(&format!("rbuild images -q --no-trunc {name}")).ok(), id);

    // Elsewhere, with a store of its own.
    let there = format!("RBUILD_ROOT=$HOME/elsewhere rbuild run --rm {name}");
    assert_eq!(home.types(&there).ok(), "made");
    assert_eq!(home.types(&format!("{there} ls /made")).ok(), "/made");
}

#[test]
fn a_second_push_sends_no_layer_again() {
    let home = built("app");
    let name = format!("{}/team/app", home.registry.host());
    home.types(&format!("rbuild tag app {name}:1 && rbuild push {name}:1")).ok();
    home.registry.forget_requests();
    home.types(&format!("rbuild tag app {name}:2 && rbuild push {name}:2")).ok();
    let requests = home.registry.requests();
    let sends = |request: &&String| request.starts_with("PUT") && request.contains("/blobs/");
    assert_eq!(requests.iter().find(sends), None);
    assert!(home.registry.manifest("team/app", "2").is_some());
}

#[test]
fn a_build_may_push_at_once() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo made >/made\n");
    let name = format!("{}/team/app", home.registry.host());
    home.types(&format!("rbuild -t {name} --push app")).ok();
    assert!(home.registry.manifest("team/app", "latest").is_some());
    let there = format!("RBUILD_ROOT=$HOME/elsewhere rbuild run --rm {name} cat /made");
    assert_eq!(home.types(&there).ok(), "made");
}

#[test]
fn a_registry_that_wants_tokens_gets_them() {
    let home = built("app");
    let registry = Registry::with_login("user", "secret");
    let name = format!("{}/team/app:1", registry.host());
    home.types(&format!("rbuild tag app {name}")).ok();
    assert_ne!(home.types(&format!("rbuild push {name}")).code, 0, "nobody has logged in");
    assert!(registry.manifest("team/app", "1").is_none());

    let login = |password: &str| {
        let host = registry.host();
        home.types(&format!("echo {password} | rbuild login -u user --password-stdin {host}"))
    };
    assert_ne!(login("wrong").code, 0);
    assert!(login("secret").ok().contains("Login Succeeded"));
    home.types(&format!("rbuild push {name}")).ok();
    assert!(registry.manifest("team/app", "1").is_some());
    home.types(&format!("rbuild rmi -f app {name} && rbuild pull {name}")).ok();
    assert_eq!(home.types(&format!("rbuild run --rm {name}")).ok(), "made");
    assert!(registry.requests().iter().any(|request| request == "GET /token"));

    home.types(&format!("rbuild logout {} && rbuild rmi {name}", registry.host())).ok();
    let error = home.types(&format!("rbuild pull {name}"));
    assert_ne!(error.code, 0, "{error}");
}

#[test]
fn an_image_that_is_nowhere_is_named() {
    let home = home();
    for line in ["rbuild pull nothing-here", "rbuild run --rm nothing-here"] {
        let ran = home.types(line);
        assert!(ran.code != 0 && ran.stderr.contains("nothing-here"), "{ran}");
    }
    let error = home.types("rbuild push nothing-here").fails(1);
    assert!(error.contains("nothing-here"), "{error}");
}

#[test]
fn an_image_in_use_is_not_removed() {
    let home = built("app");
    home.types("rbuild run -d --name user app sleep 1000").ok();
    let error = home.types("rbuild rmi app").fails(1);
    assert!(error.contains("user") || error.contains("container"), "{error}");
    home.types("rbuild rm -f user && rbuild rmi app").ok();
}

#[test]
fn pruning_removes_what_has_no_name() {
    let home = built("app");
    home.builds("app", "FROM busybox\nRUN echo other >/made\nCMD [\"cat\", \"/made\"]\n").ok();
    home.types("rbuild image prune -f").ok();
    assert_eq!(home.types("rbuild run --rm app").ok(), "other");
    home.types("rbuild rmi app && rbuild image prune -f").ok();
    assert_eq!(home.types("rbuild images -q").ok(), "");
    home.builds("app", "FROM busybox\nRUN echo new >/made\nCMD [\"cat\", \"/made\"]\n").ok();
    assert_eq!(home.types("rbuild run --rm app").ok(), "new");
}
