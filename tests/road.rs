//! The road of the first issue, as a user types it: the real Alpine and its real `apk`, from a
//! Dockerfile to an image that runs, is pushed, pulled elsewhere and runs again.
//!
//! It needs the kit beside the repository (`RBUILD_KIT` says where else), and starts what it needs
//! of the kit's servers at ports of its own.

use std::path::Path;

use rbuild_testkit::{Home, ageless};

use crate::kit::{ADDRESS, DOCKERFILE, Services, kit};

#[test]
fn the_whole_road() {
    let Some(kit) = kit("road::the_whole_road") else {
        return;
    };
    let services = Services::start(kit);
    let home = Home::elsewhere(env!("CARGO_BIN_EXE_rbuild"), services.plain());
    home.write("Dockerfile", DOCKERFILE);
    let id = build(&home);
    look(&home, &id);
    run(&home, &services);
    terminal(&home);
    background(&home);
    push_and_pull(&home, &services, &id);
    again(&home, &id);
    as_docker(&home, &id);
}

/// `rbuild -t mypub-ip .`: progress in a pipe, the id of the image on stdout.
fn build(home: &Home) -> String {
    let built = home.types("rbuild -t mypub-ip .");
    for text in [
        "[internal] load build definition from Dockerfile",
        "[internal] load metadata for docker.io/library/alpine:3",
        "[1/2] FROM docker.io/library/alpine:3@sha256:",
        "[2/2] RUN apk add curl",
        "Installing curl",
        "exporting to image",
        "naming to docker.io/library/mypub-ip:latest",
    ] {
        assert!(built.stderr.contains(text), "no `{text}` in {built}");
    }
    let id = built.ok();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    id
}

fn look(home: &Home, id: &str) {
    let table = home.types("rbuild image ls").ok();
    assert_eq!(ageless(&home.types("rbuild images").ok()), ageless(&table));
    let row = table.lines().find(|line| line.starts_with("mypub-ip ")).unwrap();
    let row: Vec<_> = row.split_whitespace().collect();
    assert_eq!(row[..3], ["mypub-ip", "latest", &id[7..19]]);
    let history = home.types("rbuild history --no-trunc --format '{{.CreatedBy}}' mypub-ip").ok();
    assert!(
        history.starts_with(
            "ENTRYPOINT [\"/usr/bin/curl\" \"-s\" \"ifconfig.me\"]\n\
         RUN /bin/sh -c apk add curl # buildkit\n"
        ),
        "{history}"
    );
}

/// The container finds ifconfig.me as a proxy, so that no port below 1024 is needed.
fn run(home: &Home, services: &Services) {
    let proxy = format!("-e http_proxy=http://127.0.0.1:{}", services.site_port());
    let line = format!("rbuild run --rm --network host {proxy} mypub-ip");
    assert_eq!(home.types(&line).ok(), ADDRESS);
    assert_eq!(home.types("rbuild ps -aq").ok(), "");
}

fn terminal(home: &Home) {
    let mut terminal = home.terminal("rbuild run -it --rm alpine:3");
    terminal.until("/ # ");
    terminal.types("cat /etc/os-release\n");
    terminal.until("PRETTY_NAME=\"Alpine Linux v3.20\"");
    terminal.types("exit\n");
    assert_eq!(terminal.wait().0, 0);
}

fn background(home: &Home) {
    let id = home.types("rbuild run -d --name kept alpine:3 sh -c 'echo up; exec sleep 1000'").ok();
    assert!(home.types("rbuild ps").ok().contains(&id[..12]));
    rbuild_testkit::eventually("its line", || {
        (home.types("rbuild logs kept").ok() == "up").then_some(())
    });
    assert_eq!(home.types("rbuild stop -t 0 kept").ok(), "kept");
    assert_eq!(home.types("rbuild ps -q").ok(), "");
    let all = home.types("rbuild ps -a").ok();
    assert!(all.contains("Exited (137)") && all.contains("kept"), "{all}");
    assert_eq!(home.types("rbuild rm kept").ok(), "kept");
    assert_eq!(home.types("rbuild ps -aq").ok(), "");
}

/// To both kinds of registry, and back into a store that knows nothing.
fn push_and_pull(home: &Home, services: &Services, id: &str) {
    let trust = format!("SSL_CERT_FILE={}", services.authority());
    let login =
        format!("echo kitpass | {trust} rbuild login -u kit --password-stdin {}", services.token());
    assert!(home.types(&login).ok().contains("Login Succeeded"));
    for (number, host) in [services.plain(), services.token()].into_iter().enumerate() {
        let name = format!("{host}/team/mypub-ip:1");
        home.types(&format!("rbuild tag mypub-ip {name}")).ok();
        home.types(&format!("{trust} rbuild push {name}")).ok();
        home.types(&format!("rbuild rmi {name}")).ok();
        home.types(&format!("{trust} rbuild pull {name}")).ok();
        let there = format!("{trust} RBUILD_ROOT=$HOME/there-{number} rbuild");
        home.types(&format!("{there} pull {name}")).ok();
        let images = home.types(&format!("{there} images -q --no-trunc")).ok();
        assert_eq!(images, id, "the same image elsewhere");
        let proxy = format!("-e http_proxy=http://127.0.0.1:{}", services.site_port());
        let run = format!("{there} run --rm --network host {proxy} {name}");
        assert_eq!(home.types(&run).ok(), ADDRESS);
    }
}

/// Everything is cached, and the image is the same.
fn again(home: &Home, id: &str) {
    let built = home.types("rbuild -t mypub-ip .");
    assert!(built.stderr.contains("[2/2] RUN apk add curl\n"), "{built}");
    assert!(built.stderr.contains(" CACHED\n"), "{built}");
    assert!(!built.stderr.contains("Installing"), "{built}");
    assert_eq!(built.ok(), id);
}

/// The same with `docker` in place of `rbuild`.
fn as_docker(home: &Home, id: &str) {
    for line in ["docker buildx build -t x .", "docker build -t x .", "docker image build -t x ."] {
        assert_eq!(home.types(line).ok(), id, "{line}");
    }
    assert!(home.types("docker image ls").ok().contains("\nx "));
    home.types("docker rmi x").ok();
}

#[test]
fn the_dockerfile_is_the_kits() {
    let Some(kit) = kit("road::the_dockerfile_is_the_kits") else {
        return;
    };
    let file = std::fs::read_to_string(Path::new(&kit).join("contexts/mypub-ip/Dockerfile"));
    let significant = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(significant(&file.unwrap()), significant(DOCKERFILE));
}
