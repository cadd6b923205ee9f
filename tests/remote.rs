//! Sources and contexts that are elsewhere: files at URLs, and git repositories.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::home;
use rbuild_testkit::{Home, Web, digest};

/// When the commits of the tests were made.
const COMMITTED: i64 = 1_600_000_000;

/// A home, and a server of its folder `www`.
fn served() -> (Home, Web) {
    let home = home();
    fs::create_dir(home.path("www")).unwrap();
    let web = Web::serve(&home.path("www"));
    (home, web)
}

/// Makes a repository that the server gives out, with two commits, a tag on the first, and a branch.
fn repository(home: &Home) {
    home.types(&format!(
        "set -e; mkdir work && cd work
         export GIT_AUTHOR_DATE='{COMMITTED} +0000' GIT_COMMITTER_DATE='{COMMITTED} +0000'
         export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
         git init -q -b main .
         mkdir -p sub/inner && echo one >file && echo deep >sub/inner/deep && ln -s file link
         echo 'echo hi' >run && chmod 755 run
         printf 'FROM scratch\\nCOPY . /\\n' >Dockerfile && echo file >.dockerignore
         git add -A && git commit -qm one && git tag -a -m v1 v1 && git branch old
         echo two >file && git commit -qam two
         git clone -q --bare . ../www/repository.git
         cd ../www/repository.git && git update-server-info"
    ))
    .ok();
}

/// Builds a Dockerfile with the files that it makes written to `out`.
fn exported(home: &Home, dockerfile: &str, more: &str) {
    home.write("app/Dockerfile", dockerfile);
    home.types(&format!("rm -rf out && rbuild -q -o out {more} app")).ok();
}

#[test]
fn a_file_at_a_url_is_added_as_it_is() {
    let (home, web) = served();
    home.write("www/file.txt", "text\n");
    home.types("cd www && tar czf archive.tgz file.txt").ok();
    let (file, archive) = (web.url("file.txt?a=b#c"), web.url("archive.tgz"));
    let dockerfile = format!(
        "FROM scratch\nADD {file} /in/\nADD --chown=5:6 --chmod=640 {file} /as\n\
         ADD {archive} /\nADD --unpack=true {archive} /un/\n"
    );
    exported(&home, &dockerfile, "");
    let stat = |path: &str| {
        let stat = fs::metadata(home.path(&format!("out/{path}"))).unwrap();
        (stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.mtime())
    };
    assert_eq!(stat("in/file.txt"), (0o600, 0, 0, Web::CHANGED));
    assert_eq!(stat("as"), (0o640, 5, 6, Web::CHANGED));
    assert_eq!(home.read("out/as"), "text\n");
    assert!(home.path("out/archive.tgz").is_file());
    assert_eq!(home.read("out/un/file.txt"), "text\n");
    home.types("rbuild -q -t app app").ok();
    let history = home.types("rbuild history --no-trunc --format '{{.CreatedBy}}' app").ok();
    assert!(history.contains(&format!("ADD {file} /in/ # buildkit")), "{history}");
}

#[test]
fn a_file_that_has_not_changed_is_not_fetched_again() {
    let (home, web) = served();
    home.write("www/file", "one");
    home.write("app/Dockerfile", format!("FROM scratch\nADD {} /\n", web.url("file")));
    let first = home.types("rbuild -q app").ok();
    assert_eq!(web.answers(), ["200 /file"]);
    let again = home.types("rbuild app");
    assert!(again.stderr.contains("CACHED"), "{again}");
    assert_eq!(again.ok(), first);
    assert_eq!(web.answers(), ["304 /file"]);
    home.write("www/file", "two");
    assert_ne!(home.types("rbuild -q app").ok(), first);
    assert_eq!(web.answers(), ["200 /file"]);
}

#[test]
fn a_checksum_is_checked_and_then_no_server_is_asked() {
    let (home, web) = served();
    home.write("www/file", "one");
    let add =
        |checksum: &str| format!("FROM scratch\nADD --checksum={checksum} {} /\n", web.url("file"));
    let wrong = digest(b"two");
    let said = home.builds("wrong", &add(&wrong)).fails(3);
    assert!(said.contains("digest mismatch") && said.contains(&wrong), "{said}");
    home.builds("right", &add(&digest(b"one"))).ok();
    web.answers();
    home.types("rbuild --no-cache right").ok();
    assert_eq!(web.answers(), [""; 0]);
    let said = home.builds("none", &add("sha256:x")).fails(1);
    assert!(said.contains("the checksum `sha256:x` is not valid"), "{said}");
}

#[test]
fn a_token_opens_what_is_private_and_is_seen_nowhere() {
    let (home, web) = served();
    home.write("www/private", "for few");
    home.write("token", "open\n");
    let host = web.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    home.write("app/Dockerfile", format!("FROM scratch\nADD {} /\n", web.url("private")));
    let said = home.types("rbuild app").fails(3);
    assert!(said.contains("the server answers 401"), "{said}");
    let built =
        home.types(&format!("rbuild --secret id=HTTP_AUTH_TOKEN_{host},src=token -t a app"));
    assert!(!built.stderr.contains("open\n"), "{built}");
    built.ok();
    let found = home.types(&format!("grep -rl 'Bearer open' {}", home.store().display()));
    assert_eq!(found.stdout, "");
}

#[test]
fn a_repository_is_added_by_branch_tag_folder_and_commit() {
    let (home, web) = served();
    repository(&home);
    let url = web.url("repository.git");
    let commit = home.types("git -C work rev-parse v1^{commit}").ok();
    let dockerfile = format!(
        "FROM scratch\nADD {url} /whole\nADD {url}#v1:sub /part/\nADD {url}?branch=old&checksum={} /old\n\
         ADD --keep-git-dir=true {url}#v1 /kept/\nADD {url}#{commit} /commit/\n",
        &commit[..8]
    );
    exported(&home, &dockerfile, "");
    assert_eq!(home.read("out/whole/file"), "two\n");
    for place in ["old", "kept", "commit"] {
        assert_eq!(home.read(&format!("out/{place}/file")), "one\n");
    }
    assert_eq!(home.read("out/part/inner/deep"), "deep\n");
    let mode = |path: &str| fs::symlink_metadata(home.path(path)).unwrap().mode() & 0o777;
    assert_eq!((mode("out/whole/file"), mode("out/whole/run")), (0o644, 0o755));
    assert!(home.path("out/whole/link").is_symlink());
    assert!(!home.path("out/whole/.git").exists());
    assert_eq!(home.types("git -C out/kept rev-parse HEAD").ok(), commit);
    assert_eq!(home.types("git -C out/kept status --short && git -C out/kept describe").ok(), "v1");

    // What a reference names is asked for, and fetched only if it is new.
    web.answers();
    home.types("rbuild -q app").ok();
    let objects =
        |answers: Vec<String>| answers.iter().filter(|line| line.contains("/objects/")).count();
    assert_eq!(objects(web.answers()), 0);
    home.types(
        "set -e; cd work && echo three >file
         git -c user.name=n -c user.email=e commit -qam three && git push -q ../www/repository.git main
         cd ../www/repository.git && git update-server-info",
    )
    .ok();
    exported(&home, &dockerfile, "");
    assert_eq!(home.read("out/whole/file"), "three\n");
    assert_eq!(home.read("out/old/file"), "one\n");
}

#[test]
fn what_is_not_in_a_repository_is_said() {
    let (home, web) = served();
    repository(&home);
    let url = web.url("repository.git");
    let said = |source: &str, code| {
        home.builds("app", &format!("FROM scratch\nADD {source} /\n")).fails(code)
    };
    let none = said(&format!("{url}#none"), 3);
    assert!(none.contains("has no such branch, tag or reference"), "{none}");
    assert!(none.contains(">>> ADD"), "{none}");
    let wrong = said(&format!("{url}?checksum=0123456&ref=v1"), 3);
    assert!(wrong.contains("expected checksum to match 0123456"), "{wrong}");
    let commit = said(&format!("{url}#{}", "0".repeat(40)), 3);
    assert!(commit.contains("no branch or tag leads to it"), "{commit}");
    let folder = said(&format!("{url}#v1:none"), 3);
    assert!(folder.contains("take the folder `none`"), "{folder}");
    let error = home.types(&format!("rbuild {url}#v1:sub")).fails(1);
    assert!(error.contains("there is no Dockerfile at `Dockerfile`"), "{error}");
    assert!(error.contains("hint: name it with `-f FILE`, by its path in the context"), "{error}");
    let gone = said(&web.url("gone.git"), 3);
    assert!(gone.contains("git ls-remote"), "{gone}");
    let query = said(&format!("{url}?what=1"), 1);
    assert!(query.contains("unexpected query `what`"), "{query}");
}

#[test]
fn submodules_are_in_their_places() {
    let (home, web) = served();
    repository(&home);
    home.types(
        "set -e; export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
         mkdir outer && cd outer && git init -q -b main . && echo outer >file
         git -c protocol.file.allow=always submodule --quiet add ../www/repository.git inner
         git config -f .gitmodules submodule.inner.url ../repository.git
         git add -A && git commit -qm one && git clone -q --bare . ../www/outer.git
         cd ../www/outer.git && git update-server-info",
    )
    .ok();
    let url = web.url("outer.git");
    exported(&home, &format!("FROM scratch\nADD {url} /\nADD {url}?submodules=false /none/\n"), "");
    assert_eq!(home.read("out/file"), "outer\n");
    assert_eq!(home.read("out/inner/file"), "two\n");
    assert!(!home.path("out/inner/.git").exists());
    assert!(!home.path("out/none/inner/file").exists());
}

#[test]
fn a_submodule_may_move_to_another_repository() {
    let (home, web) = served();
    repository(&home);
    home.types(
        "set -e; export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
         git init -q -b main other && cd other && echo other >file && git add -A
         git commit -qm other && git clone -q --bare . ../www/other.git
         cd ../www/other.git && git update-server-info && cd ../..
         mkdir outer && cd outer && git init -q -b main .
         git -c protocol.file.allow=always submodule --quiet add ../www/repository.git inner
         git config -f .gitmodules submodule.inner.url ../repository.git
         git add -A && git commit -qm one && git tag v1
         git rm -qf inner && rm -rf .git/modules
         git -c protocol.file.allow=always submodule --quiet add --force ../www/other.git inner
         git config -f .gitmodules submodule.inner.url ../other.git
         git add -A && git commit -qm two && git clone -q --bare . ../www/outer.git
         cd ../www/outer.git && git update-server-info",
    )
    .ok();
    let url = web.url("outer.git");
    for (reference, contents) in [("v1", "two\n"), ("main", "other\n")] {
        exported(&home, &format!("FROM scratch\nADD {url}#{reference} /\n"), "");
        assert_eq!(home.read("out/inner/file"), contents);
    }
}

#[test]
fn a_context_is_a_repository_an_archive_or_a_lone_dockerfile() {
    let (home, web) = served();
    repository(&home);
    let files = |context: &str| {
        home.types(&format!("rm -rf out && rbuild -q -o out {context}")).ok();
        home.types("cd out && find . -mindepth 1 -not -path './.git*' | sort | tr '\\n' ' '").ok()
    };
    // The ignore file of a context that comes whole does not count.
    let all = "./.dockerignore ./Dockerfile ./file ./link ./run ./sub ./sub/inner ./sub/inner/deep";
    let url = web.url("repository.git");
    assert_eq!(files(&url), all);
    assert_eq!(home.read("out/file"), "two\n");
    assert_eq!(files(&format!("{url}#v1")), all);
    assert_eq!(home.read("out/file"), "one\n");
    for (flag, name) in [("", "plain.tar"), ("z", "a.tgz"), ("J", "a.txz"), ("j", "a.tbz")] {
        home.types(&format!("tar -c{flag}f www/{name} -C work --exclude=.git .")).ok();
        assert_eq!(files(&web.url(name)), all, "{name}");
        assert_eq!(files(&format!("- <www/{name}")), all, "{name}");
    }
    home.write("www/lone", "FROM scratch\nCOPY context /here\n");
    assert_eq!(files(&web.url("lone")), "./here");
    let inner = format!("-f sub/Dockerfile {url}");
    let said = home.types(&format!("rbuild {inner}")).fails(1);
    assert!(said.contains("there is no Dockerfile"), "{said}");
    let named = format!("--build-context x={url}#v1 app");
    home.write("app/Dockerfile", "FROM scratch\nCOPY --from=x file /x\n");
    assert_eq!(files(&named), "./x");
    assert_eq!(home.read("out/x"), "one\n");
}

#[test]
fn one_time_makes_the_same_image_twice() {
    let (home, web) = served();
    repository(&home);
    home.write("www/file", "text");
    home.write("app/file", "text");
    home.write(
        "app/Dockerfile",
        format!(
            "FROM busybox\nWORKDIR /w/x\nCOPY file new/\nCOPY file /new/file\nCOPY <<E /inline\nx\nE\n\
             ADD {} /url/\nLABEL a=b\n",
            web.url("file")
        ),
    );
    let build = "rbuild -q --no-cache --build-arg SOURCE_DATE_EPOCH=";
    let first = home.types(&format!("{build}1000000000 -t app app")).ok();
    home.types("touch app/file").ok();
    assert_eq!(home.types(&format!("{build}1000000000 -t app app")).ok(), first);
    let created = home.types("rbuild image inspect -f '{{.Created}}' app").ok();
    assert_eq!(created, "2001-09-09T01:46:40Z");
    home.types("rm -rf out && rbuild -q --build-arg SOURCE_DATE_EPOCH=1000000000 -o out app").ok();
    for path in
        ["w", "w/x", "w/x/new", "w/x/new/file", "new", "new/file", "inline", "url", "url/file"]
    {
        assert_eq!(
            fs::metadata(home.path("out").join(path)).unwrap().mtime(),
            1_000_000_000,
            "{path}"
        );
    }
    // It may be that of another source, and stages then see the number.
    let url = web.url("repository.git");
    let file = format!(
        "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD {url}#v1 /\nFROM scratch\n\
         ARG SOURCE_DATE_EPOCH\nCOPY <<E /epoch\n$SOURCE_DATE_EPOCH\nE\n"
    );
    exported(&home, &file, "");
    assert_eq!(home.read("out/epoch"), format!("{COMMITTED}\n"));
    // It may be that of the context.
    home.types(&format!("{build}context -t whole {}#v1", web.url("repository.git"))).ok();
    let created = home.types("rbuild image inspect -f '{{.Created}}' whole").ok();
    assert_eq!(created, "2020-09-13T12:26:40Z");
}
