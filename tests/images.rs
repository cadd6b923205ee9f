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

#[test]
fn images_are_listed_by_what_they_are() {
    let home = home();
    home.builds("old", "FROM busybox\nLABEL kind=a\nENV O=1\n").ok();
    home.builds("team/new", "FROM busybox\nLABEL kind=b\nRUN echo >/new\n").ok();
    let listed = |filter: &str| {
        let line = format!("rbuild images --format '{{{{.Repository}}}}' {filter} | sort");
        home.types(&line).ok().replace('\n', " ")
    };
    assert_eq!(listed("-f label=kind=a"), "old");
    assert_eq!(listed("-f label=kind"), "old team/new");
    assert_eq!(listed("-f label=kind -f label=kind=b"), "team/new", "all labels count");
    assert_eq!(listed("-f reference=old -f reference='*/new'"), "old team/new");
    assert_eq!(listed("-f since=old"), "team/new");
    assert_eq!(listed("-f before=team/new"), "old");
    assert_eq!(listed("-f until=24h"), "old", "it is as old as its base");
    assert_eq!(listed("-f dangling=true"), "");
    assert_eq!(listed("team/new"), "team/new");
    let error = home.types("rbuild images -f colour=red").fails(2);
    assert!(error.contains("colour"), "{error}");
    let digests = home.types("rbuild image ls --digests --no-trunc").ok();
    assert!(digests.starts_with("REPOSITORY   TAG       DIGEST"), "{digests}");
    // As in docker's scripts: it is told, and does no harm.
    let ran = home.types("rbuild rmi -f nothing-here old");
    assert!(ran.code == 0 && ran.stderr.contains("nothing-here"), "{ran}");
    assert!(ran.stdout.contains("Untagged: old:latest"), "{ran}");
    let template = "'{{.Config.Entrypoint}} {{json .Config.Labels}}'";
    let shown = home.types(&format!("rbuild image inspect -f {template} team/new")).ok();
    assert_eq!(shown, "[] {\"kind\":\"b\"}");
}

#[test]
fn history_has_times_and_sizes_for_programs_too() {
    let home = built("app");
    let line = "rbuild history -H=false --format '{{.CreatedSince}} {{.Size}}' app | head -1";
    let (time, size) = {
        let line = home.types(line).ok();
        let (time, size) = line.split_once(' ').unwrap();
        (time.to_owned(), size.to_owned())
    };
    assert!(time.contains('T') && size.parse::<u64>().is_ok(), "{time} {size}");
    let ids = home.types("rbuild history -q --no-trunc app").ok();
    assert!(ids.starts_with("sha256:") && ids.ends_with("<missing>"), "{ids}");
}

#[test]
fn a_repository_is_saved_with_all_of_its_tags() {
    let home = built("app");
    home.types("rbuild tag app app:2 && rbuild save app | gzip >app.tar.gz").ok();
    home.types("rbuild rmi app:latest app:2").ok();
    let said = home.types("rbuild load -i app.tar.gz").ok();
    assert!(said.contains("Loaded image: app:latest") && said.contains("app:2"), "{said}");
    home.types("rbuild save -o one.tar app:2 && rbuild rmi app:latest app:2").ok();
    for compress in ["xz -1", "zstd -q"] {
        home.types(&format!("{compress} -kc one.tar >one && rbuild load -q -i one")).ok();
        assert_eq!(home.types("rbuild run --rm app:2").ok(), "made", "{compress}");
        home.types("rbuild rmi app:2").ok();
    }
}

#[test]
fn files_become_an_image() {
    let home = built("app");
    home.types("rbuild run --name box app true").ok();
    home.types("rbuild -o files app && tar -C files -cf files.tar .").ok();
    let line = "rbuild import -c 'CMD [\"cat\", \"/made\"]' -c 'ENV A=1' -m told files.tar flat:1";
    let id = home.types(line).ok();
    assert_eq!(home.types("rbuild run --rm flat:1").ok(), "made");
    assert_eq!(home.types("rbuild images -q --no-trunc flat").ok(), id);
    assert_eq!(home.types("rbuild history --format '{{.Comment}}' flat:1").ok(), "told");
    let env = home.types("rbuild run --rm flat:1 env").ok();
    assert!(env.contains("A=1"), "{env}");
    // From a pipe, compressed, for another platform, without a name.
    let line = "gzip -c files.tar | rbuild import --platform linux/arm64 -";
    let id = home.types(line).ok();
    let format = "'{{.Architecture}} {{len .RootFS.Layers}} {{json .Config.Cmd}}'";
    let shown = home.types(&format!("rbuild image inspect -f {format} {id}")).ok();
    assert_eq!(shown, "arm64 1 null");
    let error = home.types("rbuild import -c 'RUN true' files.tar").fails(1);
    assert!(error.contains("RUN true"), "{error}");
    home.types("rbuild import -c 'CMD' -c 'FROM x' files.tar").fails(1);
    home.types("echo no tar | rbuild import -").fails(3);
}
