//! Commands as scripts that were written for docker have them: `alias docker=rbuild`.

use rbuild_testkit::ageless;

use crate::home;

#[test]
fn builds_have_many_spellings() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nCMD [\"echo\", \"hi\"]\n");
    let first = home.types("docker build -t app app").ok();
    for line in [
        "docker buildx build -t app app",
        "docker buildx build --load --progress=plain -t app app",
        "docker image build -t app app",
        "docker builder build --tag app app",
        "docker buildx b -t app app",
        "docker build --rm --force-rm --pull=false -t app -f app/Dockerfile app",
        "rbuild --tag=app app",
        "cd app && rbuild . -t app",
    ] {
        assert_eq!(home.types(line).ok(), first, "{line}");
    }
    assert_eq!(home.types("docker run --rm app").ok(), "hi");
}

#[test]
fn verbs_have_their_groups() {
    let home = home();
    home.builds("app", "FROM busybox\n").ok();
    let name = format!("{}/team/app:1", home.registry.host());
    home.types(&format!("docker image tag app {name}")).ok();
    home.types(&format!("docker image push {name}")).ok();
    assert!(home.registry.manifest("team/app", "1").is_some());
    home.types(&format!("docker image rm {name}")).ok();
    home.types(&format!("docker image pull {name}")).ok();
    home.types("docker image inspect app && docker image history app").ok();
    let list = home.types("docker image ls").ok();
    assert_eq!(ageless(&home.types("docker images").ok()), ageless(&list));
    assert_eq!(ageless(&home.types("docker image list").ok()), ageless(&list));

    let id = home.types("docker container run -d --name kept app sleep 1000").ok();
    assert!(home.types("docker container ls").ok().contains("kept"));
    assert!(home.types("docker container ls -a").ok().contains("kept"));
    assert_eq!(home.types("docker ps -aq --no-trunc").ok(), id);
    assert_eq!(home.types("docker ps -aq").ok(), id[..12]);
    assert_eq!(home.types("docker container exec kept echo in").ok(), "in");
    home.types("docker kill kept && docker container rm kept").ok();
    assert_eq!(home.types("docker ps -aq").ok(), "");
}

#[test]
fn scripts_read_what_they_expect() {
    let home = home();
    home.builds("app", "FROM busybox\nENV A=b\n").ok();
    let table = home.types("docker images").ok();
    let mut lines = table.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    );
    let row: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..2], ["app", "latest"]);
    let id = home.types("docker images -q app").ok();
    assert_eq!(row[2], id);
    assert_eq!(home.types("docker images --format '{{.Repository}}:{{.Tag}}'").ok(), "app:latest");
    let full = home.types("docker inspect -f '{{.Id}}' app").ok();
    assert!(full.starts_with(&format!("sha256:{id}")), "{full} {id}");
    assert!(home.types("docker inspect -f '{{json .Config.Env}}' app").ok().contains("\"A=b\""));
    let table = home.types("docker ps").ok();
    assert_eq!(
        table.split_whitespace().collect::<Vec<_>>(),
        ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    );
    home.types("docker version && docker info && docker --version").ok();
}

#[test]
fn what_rbuild_lacks_is_refused_by_name() {
    let home = home();
    home.write("Dockerfile", "FROM busybox\n");
    let refused = home.types("docker swarm init");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("swarm"), "{refused}");
}
