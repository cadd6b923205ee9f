//! An ordinary user, with users of its own to be in images, and without.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use crate::home;
use rbuild_testkit::{Home, Ran, Terminal, eventually};

/// The number of the user, whom the machine knows only while it types.
const ANN: u32 = 1001;

/// Types a line as that user: in mounts of its own, by which the machine knows it.
const SCRIPT: &str = r#"
set -e
export RANGES="$1" LINE="$2" PROGRAM="$(readlink -f "$(command -v rbuild)")"
exec unshare --mount sh -ec '
    cat /etc/passwd passwd >passwd.all
    mount --bind passwd.all /etc/passwd
    mount --bind "$RANGES" /etc/subuid
    mount --bind "$RANGES" /etc/subgid
    mount --bind "$PROGRAM" bin/rbuild
    if test -e tun; then mount --bind tun /dev/net/tun; fi
    cd ann
    unset RBUILD_ROOT
    export HOME="$PWD" PATH="${PWD%/*}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    exec setpriv --reuid '"1001"' --regid 1001 --clear-groups sh -c "$LINE"
'
"#;

/// A home with an ordinary user in it.
struct Ann {
    home: Home,
    /// The file with the user's ranges.
    ranges: &'static str,
}

impl Ann {
    /// One with users of its own, or without.
    fn new(has_users: bool) -> Self {
        let home = home();
        home.write("as", SCRIPT);
        home.write("passwd", format!("ann:x:{ANN}:{ANN}::/:/bin/sh\n"));
        home.write("passwd.all", "");
        home.write("ranges", "ann:100000:65536\n");
        home.write("none", "");
        home.write("bin/rbuild", "");
        let config = home.read(".config/rbuild/config.toml");
        home.write("ann/.config/rbuild/config.toml", config);
        for folder in ["..", ""] {
            fs::set_permissions(home.path(folder), fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(home.path("ann"), Some(ANN), Some(ANN)).unwrap();
        Self { home, ranges: if has_users { "ranges" } else { "none" } }
    }

    fn types(&self, line: &str) -> Ran {
        self.home.types(&self.line(line))
    }

    fn terminal(&self, line: &str) -> Terminal {
        self.home.terminal(&self.line(line))
    }

    fn line(&self, line: &str) -> String {
        format!("sh ./as {} '{}'", self.ranges, line.replace('\'', r"'\''"))
    }

    fn writes(&self, path: &str, contents: &str) {
        self.home.write(&format!("ann/{path}"), contents);
    }

    fn store(&self) -> std::path::PathBuf {
        self.home.path("ann/.local/share/rbuild")
    }
}

impl Drop for Ann {
    fn drop(&mut self) {
        // A test that failed leaves no container running.
        let _ = self.types("rbuild ps -aq | xargs -r rbuild rm -f -v");
    }
}

/// Owners, folders that are replaced, files that go, and a user who is not root.
const DOCKERFILE: &str = "\
FROM busybox
RUN mkdir -p /srv/old /srv/kept && echo one >/srv/old/a && echo two >/srv/kept/b && chown -R 33:34 /srv
RUN rm -r /srv/old /srv/kept/b && mkdir /srv/old && echo three >/srv/old/c
RUN mv /srv/old /srv/moved && chown 65535:65535 /srv/moved/c && chmod 4755 /srv/moved/c
COPY --chown=7:8 file /srv/
COPY file /other
USER 1000:1000
WORKDIR /home/ann
RUN id -u >who && id -g >>who
";

#[test]
fn an_ordinary_user_builds_what_root_builds() {
    let ann = Ann::new(true);
    for folder in ["ann", "."] {
        ann.home.write(&format!("{folder}/Dockerfile"), DOCKERFILE);
        ann.home.write(&format!("{folder}/file"), "same\n");
    }
    let build = "SOURCE_DATE_EPOCH=1700000000 rbuild build -q \
                 -o type=oci,dest=app.tar,rewrite-timestamp=true . && sha256sum <app.tar";
    let own = ann.types(build).ok();
    assert_eq!(own, ann.home.types(build).ok(), "the image is the same, to the byte");
    ann.types("rbuild build -q -t app .").ok();
    let seen = ann.types("rbuild run --rm app cat who /srv/moved/c").ok();
    assert_eq!(seen, "1000\n1000\nthree");
    let owners = "rbuild run --rm -u 0 app stat -c %u:%g:%a /srv/moved/c /srv/file /other who";
    let seen = ann.types(owners).ok();
    assert_eq!(seen, "65535:65535:4755\n7:8:644\n0:0:644\n1000:1000:644");
    let gone = ann.types("rbuild run --rm app ls /srv /srv/kept").ok();
    assert_eq!(gone, "/srv:\nfile\nkept\nmoved\n\n/srv/kept:");
    let inside = fs::metadata(ann.store()).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&inside), ANN, "the store is the user's");
    ann.types("rbuild rmi -f app && rbuild system prune -af").ok();
    let left = fs::read_dir(ann.store().join("layers")).unwrap().count();
    assert_eq!(left, 0, "files of other users are removed as well");
}

#[test]
fn images_come_and_go() {
    let ann = Ann::new(true);
    let host = ann.home.registry.host();
    ann.writes("Dockerfile", "FROM busybox\nRUN echo x >/x && chown 5:6 /x\n");
    ann.types(&format!("rbuild build -q -t {host}/ann/app . && rbuild push -q {host}/ann/app"))
        .ok();
    ann.types(&format!("rbuild rmi {host}/ann/app && rbuild pull -q {host}/ann/app")).ok();
    let owner = ann.types(&format!("rbuild run --rm {host}/ann/app stat -c %u:%g /x")).ok();
    assert_eq!(owner, "5:6");
    ann.types(&format!("rbuild save -o app.tar {host}/ann/app && rbuild load -q -i app.tar")).ok();
    assert!(ann.types("rbuild images").ok().contains("/ann/app"));
}

#[test]
fn containers_of_an_ordinary_user_live_as_roots_do() {
    let ann = Ann::new(true);
    ann.types("rbuild pull -q busybox").ok();
    let script = "trap \"echo bye; exit 3\" TERM; echo up; while :; do sleep 0.1; done";
    ann.types(&format!("rbuild run -d --name web busybox sh -c '{script}'")).ok();
    assert!(ann.types("rbuild ps").ok().contains("web"));
    let seen = ann.types("rbuild exec web sh -c 'id -u; echo $$ >/tmp/made; ls /proc/1/exe'").ok();
    assert_eq!(seen, "0\n/proc/1/exe", "it is in the container's own namespaces");
    assert!(ann.types("rbuild exec -u 33:34 web id").ok().starts_with("uid=33 gid=34"));
    ann.writes("file", "mine\n");
    ann.types("rbuild cp file web:/tmp/file && rbuild cp web:/tmp/file back").ok();
    assert_eq!(ann.home.read("ann/back"), "mine\n");
    assert!(ann.types("rbuild diff web").ok().contains("A /tmp/made"));
    assert!(ann.types("rbuild top web").ok().contains("sleep 0.1"));
    let with = "rbuild run --rm --network container:web --pid container:web busybox ps";
    assert!(ann.types(with).ok().contains("sleep 0.1"), "another joins its namespaces");
    ann.types("rbuild commit web copy && rbuild run --rm copy cat /tmp/file").ok();
    ann.types("rbuild run --rm -v data:/data busybox touch /data/x").ok();
    assert_eq!(ann.types("rbuild run --rm -v data:/data busybox ls /data").ok(), "x");
    ann.types("rbuild stop web").ok();
    assert_eq!(ann.types("rbuild wait web").ok(), "3");
    assert!(ann.types("rbuild logs web").ok().ends_with("bye"));
    ann.types("rbuild start web && rbuild exec web true && rbuild rm -f web").ok();
    assert_eq!(ann.types("rbuild ps -aq").ok(), "");
}

#[test]
fn a_terminal_of_an_ordinary_user() {
    let ann = Ann::new(true);
    ann.types("rbuild pull -q busybox").ok();
    let mut terminal = ann.terminal("exec rbuild run -it --rm busybox sh");
    terminal.until("/ # ");
    terminal.types("tty; stty size; exit 7\r");
    terminal.until("/dev/pts/0");
    assert_eq!(terminal.wait().0, 7);
}

/// Whoever comes later finds the namespace of those who live, however many come at once.
#[test]
fn containers_that_start_at_once_are_in_one_namespace() {
    let ann = Ann::new(true);
    ann.types("rbuild pull -q busybox").ok();
    let line = "for n in 1 2 3 4 5 6; do rbuild run -d --name c$n busybox sleep 1000 & done; wait";
    ann.types(line).ok();
    for name in 1..=6 {
        ann.types(&format!("rbuild exec c{name} true")).ok();
    }
    let members = fs::read_to_string(ann.store().join("userns")).unwrap();
    assert!(members.lines().count() >= 6, "{members}");
    ann.types("rbuild rm -f c1 c2 c3 c4 c5 c6").ok();
    eventually("those who are gone are forgotten", || {
        ann.types("rbuild run --rm busybox true").ok();
        let members = fs::read_to_string(ann.store().join("userns")).unwrap();
        (members.lines().count() < 6).then_some(())
    });
}

#[test]
fn a_store_is_its_users() {
    let ann = Ann::new(true);
    ann.types("rbuild pull -q busybox").ok();
    let told = ann.home.types("rbuild --root ann/.local/share/rbuild images").fails(2);
    assert!(told.contains("that of user 1001"), "{told}");
    ann.home.types("rbuild pull -q busybox").ok();
    let store = ann.home.store();
    let told = ann.types(&format!("rbuild --root {} images", store.display())).fails(3);
    assert!(told.contains("Permission denied"), "{told}");
    ann.writes("Dockerfile", "FROM busybox\nRUN mkdir /d && touch /d/x && chown -R 5 /d\n");
    ann.types("rbuild build -q -o out . && rm -r out").ok();
}

/// What root may do on a machine stays root's.
#[test]
fn what_an_ordinary_user_may_not_is_refused_with_a_reason() {
    let ann = Ann::new(true);
    ann.types("rbuild pull -q busybox").ok();
    let told = ann.types("rbuild run --rm -m 64m busybox true").fails(125);
    assert!(told.contains("this user may make no control groups for \"memory\""), "{told}");
    let told = ann.types("rbuild run --rm --network some busybox true").fails(125);
    assert!(told.contains("only root can make networks"), "{told}");
    let told = ann.types("rbuild network create some");
    assert!(told.code != 0 && told.stderr.contains("only root can make networks"), "{told}");
    let told = ann.types("rbuild run --rm -u 70000 busybox true").fails(125);
    assert!(told.contains("70000:0 does not exist for this user"), "{told}");
    ann.writes("Dockerfile", "FROM busybox\nCOPY --chown=70000 Dockerfile /\n");
    let told = ann.types("rbuild build .").fails(1);
    assert!(told.contains("longer ranges in `/etc/subuid`"), "{told}");
    let host = ann.types("rbuild run --rm -v /etc:/host busybox sh -c 'echo x >/host/hosts'");
    assert_eq!(host.code, 1, "the host's files are as they are for the user: {host}");
    let seen = ann.types("rbuild run --rm --privileged busybox cat /proc/self/uid_map").ok();
    assert!(seen.split_whitespace().any(|word| word == "1001"), "{seen}");
    // A device of a container works only where the host's does for this user.
    ann.types("rbuild run --rm busybox sh -c 'echo x >/dev/null && head -c 1 /dev/zero'").ok();
    ann.types("rbuild run --rm busybox mknod /x c 1 3").fails(1);
}

/// Where there is one user only, everything is root's, and that is told once.
#[test]
fn one_user_alone() {
    let ann = Ann::new(false);
    let first = ann.types("rbuild pull -q busybox");
    assert!(first.stderr.contains("`/etc/subuid` has no line for ann"), "{first}");
    first.ok();
    let file = "FROM busybox\nRUN touch /x /y && chown 33:34 /x && chown -h 5 /y && chgrp 6 /x\n\
                COPY Dockerfile /z\n";
    ann.writes("Dockerfile", file);
    let built = ann.types("rbuild build -t app .");
    assert!(!built.stderr.contains("subuid"), "{built}");
    built.ok();
    let owners = ann.types("rbuild run --rm app stat -c %u:%g /x /y /z").ok();
    assert_eq!(owners, "0:0\n0:0\n0:0");
    ann.types("rbuild run -d --name app app sleep 1000").ok();
    assert_eq!(ann.types("rbuild exec app id -u").ok(), "0");
    ann.types("rbuild rm -f app").ok();
    ann.writes("Dockerfile", "FROM busybox\nCOPY --chown=33 Dockerfile /\n");
    let told = ann.types("rbuild build .").fails(1);
    assert!(told.contains("the owner 33:33 does not exist for this user"), "{told}");
    assert!(told.contains("`rbuild doctor` says which"), "{told}");
    ann.writes("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c,uid=33 true\n");
    let told = ann.types("rbuild build .").fails(1);
    assert!(told.contains("the owner 33:0 does not exist for this user"), "{told}");
    let told = ann.types("rbuild run --rm -u 33 app true").fails(125);
    assert!(told.contains("33:0 does not exist for this user, who has 1 user"), "{told}");
    let doctor = ann.types("rbuild doctor --registry 127.0.0.1:1").ok();
    assert!(doctor.contains("--add-subuids 100000-165535"), "{doctor}");
}

/// An image with other owners than root is pulled all the same.
#[test]
fn one_user_alone_pulls_what_belongs_to_others() {
    let ann = Ann::new(false);
    let host = ann.home.registry.host();
    let file = "FROM busybox\nRUN touch /x && chown 33:34 /x && mkdir /d && chown 5 /d && mknod /n c 1 3\n";
    ann.home.builds("app", file).ok();
    ann.home.types(&format!("rbuild tag app {host}/app && rbuild push -q {host}/app")).ok();
    ann.types(&format!("rbuild pull -q {host}/app")).ok();
    let owners = ann.types(&format!("rbuild run --rm {host}/app stat -c %u:%g /x /d")).ok();
    assert_eq!(owners, "0:0\n0:0");
    ann.types(&format!("rbuild run --rm {host}/app test -e /n")).fails(1);
}

/// `pasta` gives a container a network of its own, with ports; without it there is the host's.
#[test]
fn the_network_of_an_ordinary_user() {
    let ann = Ann::new(true);
    ann.types("rbuild pull -q busybox").ok();
    let links = "rbuild run --rm busybox readlink /proc/self/ns/net";
    // Where the user may not open the device, whatever the machine has made of it.
    ann.home.types("mknod tun c 10 200 && chmod 600 tun").ok();
    let host = ann.home.types("readlink /proc/self/ns/net").ok();
    assert_eq!(ann.types(links).ok(), host, "without pasta it is the host's network");
    let told = ann.types("rbuild run --rm -p 80 busybox true").fails(125);
    assert!(told.contains("without `pasta`"), "{told}");
    ann.home.types("chmod 666 tun").ok();
    assert_ne!(ann.types(links).ok(), host);
    let serve = "mkdir /www && echo served >/www/index.html && exec httpd -f -p 80 -h /www";
    ann.types(&format!("rbuild run -d --name web -p 127.0.0.1::80 busybox sh -c '{serve}'")).ok();
    let at = ann.types("rbuild port web 80").ok();
    assert!(at.starts_with("127.0.0.1:"), "{at}");
    let get = format!("until busybox wget -qO- http://{at}/ 2>err; do :; done");
    assert_eq!(ann.home.types(&get).ok(), "served");
    ann.types("rbuild rm -f web").ok();
    ann.home.types(&format!("busybox wget -qO- http://{at}/")).fails(1);
}

#[test]
fn a_machine_is_well_for_an_ordinary_user() {
    let ann = Ann::new(true);
    let told = ann.types("rbuild doctor --registry 127.0.0.1:1").ok();
    let user = "user 1001 is root in a user namespace, with 65536 users below it";
    assert!(told.contains(user), "{told}");
    for part in ["user", "namespaces", "overlay", "seccomp"] {
        let line = told.lines().find(|line| line.contains(&format!("  {part} ")));
        assert!(line.is_some_and(|line| line.starts_with("ok ")), "{part}: {told}");
    }
}
