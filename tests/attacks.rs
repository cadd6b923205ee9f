//! What an image, a Dockerfile, a repository or a name tries, and must not get; what a container tries
//! is in the tests of the runtime.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::home;
use rbuild_testkit::{Home, Web};

fn with_image() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\n").ok();
    home
}

/// Everything below a folder, but for what is below `but`.
fn listing(folder: &Path, but: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path == but {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path.clone());
            }
            found.insert(path.display().to_string());
        }
    }
    found
}

/// No name that is given leads to a file: not to read it, not to make it, not to remove it.
#[test]
fn names_are_never_paths() {
    let home = with_image();
    let store = home.store();
    let above = store.parent().unwrap();
    fs::create_dir_all(above.join("canary/_data")).unwrap();
    for file in ["canary/container.json", "canary/state.json", "canary/network.json"] {
        fs::write(above.join(file), "{}").unwrap();
    }
    home.types("rbuild create --name mine app true").ok();
    home.write("app2/Dockerfile", "FROM app\nRUN --mount=type=cache,id=ID,target=/c touch /c/x\n");
    let before = listing(above, &store);
    for name in ["../../canary", "../canary", "..", ".", "/canary", "x/../../canary", "a b", "a\n"]
    {
        for line in [
            "rm -f NAME",
            "logs NAME",
            "start NAME",
            "stop NAME",
            "kill NAME",
            "wait NAME",
            "exec NAME true",
            "inspect NAME",
            "export NAME",
            "commit NAME x",
            "diff NAME",
            "cp NAME:/etc .",
            "rename mine NAME",
            "create --name NAME app true",
            "run --rm --network NAME app true",
            "run --rm --network container:NAME app true",
            "run --rm --volumes-from NAME app true",
            "run --rm --mount type=volume,src=NAME,dst=/v app true",
            "volume create NAME",
            "volume inspect NAME",
            "volume rm NAME",
            "network create NAME",
            "network inspect NAME",
            "network rm NAME",
            "rmi -f NAME",
            "tag app NAME",
            "runtime --root $HOME/state state NAME",
            "runtime --root $HOME/state delete --force NAME",
        ] {
            let line = line.replace("NAME", &format!("'{name}'"));
            let ran = home.types(&format!("rbuild {line}"));
            // To remove by force what is not there is no failure.
            assert!(ran.code != 0 || line.contains("-f"), "{ran}");
        }
        let id = name.trim_end();
        home.types(&format!("cd app2 && sed -i 's|id=[^,]*,|id={id},|' Dockerfile")).ok();
        let built = home.types("rbuild app2");
        assert!(built.code == 0 || id.contains(' '), "a cache's id may be anything: {built}");
    }
    let after = listing(above, &store);
    let new: Vec<_> = after.symmetric_difference(&before).collect();
    assert!(new.iter().all(|path| path.contains("/user/state")), "{new:?}");
    assert_eq!(home.types("rbuild ps -aq").ok().lines().count(), 1);
}

#[test]
fn privilege_takes_more_than_a_dockerfile_that_asks() {
    let home = home();
    let step = "RUN --security=insecure grep CapEff /proc/self/status >/caps";
    let file = format!("FROM busybox AS a\n{step}\nFROM scratch\nCOPY --from=a /caps /\n");
    home.write("app/Dockerfile", &file);
    home.write("other/Dockerfile", "FROM a\nCOPY --from=a /caps /\n");
    for line in [
        "rbuild app",
        "rbuild build --no-cache app",
        "rbuild --target a app",
        "rbuild buildx build app",
        "rbuild - <app/Dockerfile",
        "rbuild -f app/Dockerfile .",
        "rbuild --build-arg BUILDKIT_SANDBOX_HOSTNAME=x app",
    ] {
        let said = home.types(line).fails(1);
        assert!(said.contains("insecure"), "{line}: {said}");
    }
    home.types("rbuild --allow security.insecure -o out app").ok();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapEff")).unwrap();
    assert_eq!(home.read("out/caps").trim(), own, "with the flag it is all that we have");
    // What was allowed once is not allowed now, though its result is known.
    assert!(home.types("rbuild app").fails(1).contains("insecure"));
}

/// Programs and libraries of an image never run outside of its containers, nor do they run there
/// unless they are asked for.
#[test]
fn programs_of_an_image_unpack_nothing() {
    let home = home();
    let mark = format!("/tmp/rbuild-e2e-ran-{}", std::process::id());
    let names = ["tar", "xz", "unxz", "gzip", "gunzip", "unpigz", "bzip2", "zstd", "git", "cp"];
    for name in names {
        home.write(&format!("evil/bin/{name}"), format!("#!/bin/sh\necho {name} >>{mark}\n"));
        let path = home.path("evil/bin").join(name);
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    home.write("evil/lib/libnss_files.so.2", "no library");
    home.types(
        "cd evil && echo in >a && tar -czf gz.tar a && tar -cJf xz.tar a && tar -cjf bz.tar a",
    )
    .ok();
    let folders = ["/bin/", "/usr/bin/", "/usr/local/bin/", "/usr/sbin/", "/sbin/"];
    let copies = folders.map(|folder| format!("COPY bin {folder}\n")).concat();
    home.write(
        "evil/Dockerfile",
        format!(
            "FROM busybox\n{copies}COPY lib /lib/\nCOPY lib /lib/x86_64-linux-gnu/\n\
             ADD gz.tar /1/\nADD xz.tar /2/\nADD bz.tar /3/\nWORKDIR /w\nCOPY a .\n"
        ),
    );
    home.types("rbuild -t evil evil").ok();
    home.types("rbuild create --name box evil sleep 1000").ok();
    for line in [
        "rbuild cp box:/1 out",
        "rbuild start box",
        "rbuild cp evil/a box:/in",
        "rbuild cp box:/1 - >/dev/null",
        "tar -cf - evil | rbuild cp - box:/w",
        "rbuild diff box",
        "rbuild export box >/dev/null",
        "rbuild commit box more",
        "rbuild save evil >/dev/null",
        "rbuild rm -f box",
    ] {
        home.types(line).ok();
    }
    let seen = "cat /1/a /2/a /3/a /w/evil/a; ls -d /tmp/rbuild*";
    assert_eq!(
        home.types(&format!("rbuild run --rm more sh -c '{seen}'")).stdout,
        "in\nin\nin\nin\n"
    );
    assert!(!Path::new(&mark).exists(), "{}", fs::read_to_string(&mark).unwrap_or_default());
}

/// An image with the same history is another's word for what a step does.
#[test]
fn a_loaded_image_is_no_result_of_a_step() {
    let (theirs, ours) = (home(), home());
    let file = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/made\n";
    theirs.builds("app", file).ok();
    theirs.types("rbuild save -o app.tar app").ok();
    let archive = theirs.path("app.tar");
    ours.types(&format!("rbuild load -i {}", archive.display())).ok();
    let made = |home: &Home| home.types("rbuild run --rm app cat /made").ok();
    assert_eq!(made(&theirs), made(&ours), "it is loaded");
    ours.builds("app", file).ok();
    assert_ne!(made(&theirs), made(&ours), "the step was not run");
}

/// A home, a server, and a repository whose links lead out of it.
fn with_repository() -> (Home, Web) {
    let home = home();
    fs::create_dir(home.path("www")).unwrap();
    home.write("outside/secret", "secret");
    home.write("outside/Dockerfile", "FROM scratch\nCOPY . /\n");
    home.types(
        "set -e; export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n \
         GIT_COMMITTER_EMAIL=e; mkdir work; cd work; git init -q -b main .
         ln -s $HOME/outside absolute; ln -s ../../../../../../../../../$HOME/outside up
         mkdir sub; ln -s $HOME/outside/Dockerfile sub/Dockerfile; echo x >file
         git add -A; git commit -qm one; git clone -q --bare . ../www/r.git
         cd ../www/r.git; git update-server-info",
    )
    .ok();
    let web = Web::serve(&home.path("www"));
    (home, web)
}

#[test]
fn links_of_a_repository_stay_in_it() {
    let (home, web) = with_repository();
    let url = web.url("r.git");
    for folder in ["absolute", "up", "../..", "sub/../../.."] {
        let file = format!("FROM scratch\nADD {url}#main:{folder} /got/\n");
        home.write("app/Dockerfile", file);
        let ran = home.types("rm -rf out; rbuild -o out app");
        assert!(!home.path("out/got/secret").exists(), "{folder}: {ran}");
        let ran = home.types(&format!("rm -rf out; rbuild -o out {url}#main:{folder}"));
        assert!(ran.code != 0 && !home.path("out/secret").exists(), "{ran}");
    }
    let ran = home.types(&format!("rbuild -o out {url}#main:sub"));
    assert!(ran.code != 0, "a Dockerfile of the host is read: {ran}");
    let ran = home.types(&format!("rbuild -o out -f absolute/Dockerfile {url}#main"));
    assert!(ran.code != 0, "a Dockerfile of the host is read: {ran}");
}

#[test]
fn a_ref_is_no_option_of_git() {
    let (home, web) = with_repository();
    let url = web.url("r.git");
    let mark = home.path("ran");
    for name in [
        format!("--upload-pack=touch {}", mark.display()),
        format!("-utouch {}", mark.display()),
        format!("--output={}", mark.display()),
    ] {
        let ran = home.types(&format!("rbuild -o out '{url}#{name}'"));
        assert!(ran.code != 0 && !mark.exists(), "{ran}");
    }
    let mark = mark.display();
    for url in [format!("ext::touch {mark}"), format!("--upload-pack=touch {mark}")] {
        home.write("app/Dockerfile", format!("FROM scratch\nADD [\"{url}\", \"/\"]\n"));
        assert!(home.types("rbuild app").code != 0, "{url}");
        assert!(!home.path("ran").exists(), "{url}");
    }
}

#[test]
fn the_source_of_a_mount_stays_in_its_root() {
    let home = home();
    home.write("outside/secret", "secret");
    home.write("app/inside/file", "file");
    symlink(home.path("outside"), home.path("app/absolute")).unwrap();
    symlink("../outside", home.path("app/up")).unwrap();
    let outside = home.path("outside").display().to_string();
    let stage = format!(
        "FROM busybox AS evil\nRUN ln -s {outside} /absolute && ln -s / /root-of-it && \
         ln -s ../../../../../..{outside} /up && mkdir -p /c && echo its >/its\nFROM busybox\n"
    );
    for source in ["absolute", "up", "../outside", "/../../outside", "inside/../../outside"] {
        for mount in [
            format!("type=bind,source={source}"),
            format!("type=bind,rw,source={source}"),
            format!("type=bind,from=evil,source={source}"),
            format!("type=cache,id={source},from=evil,source={source}"),
        ] {
            let step = format!("RUN --mount={mount},target=/m ! cat /m/secret\n");
            home.write("app/Dockerfile", format!("{stage}{step}"));
            let ran = home.types("rbuild app");
            assert!(ran.code == 0 || ran.stderr.contains("not found"), "{mount}: {ran}");
        }
    }
    let step = "RUN --mount=type=bind,from=evil,source=/root-of-it,target=/m cat /m/its\n";
    home.write("app/Dockerfile", format!("{stage}{step}"));
    home.types("rbuild app").ok();
}

/// A container swaps a folder and a link to the host's while files are copied in and out.
#[test]
fn copies_follow_no_link_that_is_swapped_in() {
    let home = with_image();
    home.write("outside/secret", "secret");
    let outside = home.path("outside").display().to_string();
    let script = format!(
        "mkdir /place && echo own >/place/secret && ln -s {outside} /link && echo ready; \
         while true; do mv -T /place /spare; mv -T /link /place; mv -T /place /link; \
         mv -T /spare /place; done"
    );
    home.write("loop.sh", script);
    home.types("rbuild run -d --name box -v $HOME/loop.sh:/loop:ro app sh /loop").ok();
    rbuild_testkit::eventually("the loop runs", || {
        home.types("rbuild logs box").ok().contains("ready").then_some(())
    });
    home.write("new", "new");
    let mut copied = 0;
    for turn in 0..25 {
        let into = home.types("rbuild cp new box:/place/new");
        let out = home.types(&format!("rbuild cp box:/place/secret got-{turn}"));
        let whole = home.types(&format!("rbuild cp box:/place whole-{turn}"));
        copied += [into, out, whole].iter().filter(|ran| ran.code == 0).count();
        for (top, path) in
            [("got", format!("got-{turn}")), ("whole", format!("whole-{turn}/secret"))]
        {
            // A link is copied as it is.
            let is_link = home.path(&format!("{top}-{turn}")).is_symlink();
            let text = fs::read_to_string(home.path(&path)).unwrap_or_default();
            assert!(is_link || text != "secret", "{path} is the host's");
        }
    }
    assert!(copied > 0, "nothing was copied at all");
    assert!(!home.path("outside/new").exists(), "a file was made on the host");
    home.types("rbuild rm -f box").ok();
}
