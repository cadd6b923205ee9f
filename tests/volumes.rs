//! What `run` mounts: folders of the host, volumes, memory and images; each as docker's
//! documentation has it.

use crate::home;
use rbuild_testkit::Home;

fn with_image() -> Home {
    let home = home();
    let file = "FROM busybox\n\
        RUN mkdir -p /data/inner /run && echo one >/data/inner/file && ln -s inner /data/link && \
        chown 12:34 /data && chmod 1770 /data && chmod 755 /run && echo pid >/run/file\n\
        VOLUME /data\n";
    home.builds("app", file).ok();
    home.builds("plain", "FROM busybox\n").ok();
    home
}

/// Types something in mounts of its own, so that nothing of it stays on this machine.
fn apart(home: &Home, script: &str) -> String {
    home.write("script", format!("set -e\n{script}"));
    home.types("unshare -m --propagation private sh script").ok()
}

#[test]
fn an_empty_volume_begins_as_the_image_has_it() {
    let home = with_image();
    let stat = "stat -c '%u:%g %a' /data; cat /data/link/file; ls /data";
    let begun = "12:34 1770\none\ninner\nlink";
    assert_eq!(home.types(&format!("rbuild run --rm app sh -c \"{stat}\"")).ok(), begun);
    assert_eq!(
        home.types(&format!("rbuild run --rm -v d1:/data app sh -c \"{stat}\"")).ok(),
        begun
    );
    home.types("rbuild run --rm -v d1:/data app sh -c 'rm -r /data/*; echo own >/data/x'").ok();
    assert_eq!(
        home.types("rbuild run --rm -v d1:/data app ls /data").ok(),
        "x",
        "not empty any more"
    );
    for none in ["-v d2:/data:nocopy", "--mount src=d3,dst=/data,volume-nocopy"] {
        assert_eq!(home.types(&format!("rbuild run --rm {none} app ls /data")).ok(), "", "{none}");
    }
    // A process that was killed while it filled a volume is made good by the next one.
    home.types("rbuild volume create d4").ok();
    let volume = home.store().join("volumes/d4");
    std::fs::write(volume.join("filling"), "").unwrap();
    std::fs::create_dir(volume.join("_data/inner")).unwrap();
    std::fs::write(volume.join("_data/inner/file"), "o").unwrap();
    assert_eq!(
        home.types(&format!("rbuild run --rm -v d4:/data app sh -c \"{stat}\"")).ok(),
        begun
    );
    assert!(!volume.join("filling").exists());
}

#[test]
fn a_volume_goes_with_the_last_container_that_it_belongs_to() {
    let home = with_image();
    home.types("rbuild run --rm app true").ok();
    assert_eq!(home.types("rbuild volume ls -q").ok(), "", "--rm takes it away");
    home.types("rbuild create --name one app true").ok();
    let name = home.types("rbuild volume ls -q").ok();
    assert_eq!(name.len(), 64, "it is there before the container starts: {name}");
    home.types("rbuild create --name two --volumes-from one plain true").ok();
    home.types("rbuild rm -v one").ok();
    assert_eq!(home.types("rbuild volume ls -q").ok(), name, "another container uses it");
    let wrong = home.types(&format!("rbuild volume rm {name}")).fails(1);
    assert!(wrong.contains("uses it"), "{wrong}");
    home.types("rbuild rm -v two").ok();
    assert_eq!(home.types("rbuild volume ls -qf dangling=true").ok(), name, "it was not its own");
    home.types("rbuild volume prune -f").ok();
    assert_eq!(home.types("rbuild volume ls -q").ok(), "");
}

#[test]
fn mounts_of_another_container_are_taken_over() {
    let home = with_image();
    home.write("host/file", "host\n");
    home.types("rbuild create --name one -v ./host:/host -v d1:/data --tmpfs /memory app true")
        .ok();
    home.types("rbuild create --name three -v d3:/data plain true").ok();
    let run = |words: &str, script: &str| {
        home.types(&format!("rbuild run --rm {words} plain sh -c '{script}'"))
    };
    assert_eq!(
        run("--volumes-from one", "cat /host/file; echo x >/data/x; ls /").ok().lines().next(),
        Some("host")
    );
    assert!(!run("--volumes-from one", "ls /").ok().contains("memory"), "memory is nobody else's");
    assert_eq!(run("-v d1:/d", "cat /d/x").ok(), "x");
    run("--volumes-from one:ro", "touch /data/y").fails(1);
    run("--volumes-from one:ro", "touch /host/y").fails(1);
    assert_eq!(run("--volumes-from one -v d2:/data", "ls /data").ok(), "", "one's own comes first");
    assert_eq!(
        run("--volumes-from one --volumes-from three", "ls /data").ok(),
        "",
        "then the last"
    );
    let format = "{{.HostConfig.VolumesFrom}} {{len .Mounts}}";
    home.types("rbuild create --name four --volumes-from one:ro plain true").ok();
    let told = home.types(&format!("rbuild inspect --format '{format}' four")).ok();
    assert_eq!(told, "[one:ro] 2");
    run("--volumes-from nobody", "true").fails(125);
    run("--volumes-from one:rslave", "true").fails(125);
}

#[test]
fn what_docker_refuses_is_refused() {
    let home = with_image();
    let fails = |words: &str| home.types(&format!("rbuild run --rm {words} plain true")).fails(125);
    let told = fails("-v some/folder:/x");
    assert!(told.contains("begins with `/` or `./`"), "{told}");
    let told = fails("--mount type=bind,src=./nowhere,dst=/x");
    assert!(told.contains("nowhere"), "{told}");
    assert!(!home.path("nowhere").exists());
    for wrong in [
        "-v d1:/x -v d2:/x/",
        "-v d1:/x --tmpfs /x",
        "-v d1:/x:rslave",
        "-v d1:/x:ro,rw",
        "-v x:/proc",
        "-v d1:/x:U",
        "--mount type=npipe,src=a,dst=/x",
        "--mount type=tmpfs,src=a,dst=/x",
        "--mount src=d1,dst=/x,volume-driver=nfs",
        "--mount src=d1,dst=/x,volume-opt=what=x",
        "--mount src=d1,dst=/x,volume-subpath=nowhere",
        "-v ./script:/x:rshared",
        "--mount type=image,src=plain,dst=/x,image-subpath=nowhere",
    ] {
        fails(wrong);
    }
    home.types("rbuild run --rm --volume-driver nfs -v d1:/x plain true").fails(125);
    home.types("rbuild volume create -o type=tmpfs d9").fails(1);
    home.types("rbuild volume create -o size=1g d9").fails(1);
    home.types("rbuild run --rm -v ./made/there:/x plain true").ok();
    assert!(home.path("made/there").is_dir(), "-v makes what is missing");
    home.types("rbuild run --rm --mount type=bind,src=./too,dst=/x,bind-create-src plain true")
        .ok();
    assert!(home.path("too").is_dir());
}

#[test]
fn a_read_only_bind_is_so_to_its_last_mount() {
    let home = with_image();
    let script = "mkdir -p d/sub && mount -t tmpfs none d/sub && echo in >d/sub/file\n\
        try() { rbuild run --rm $1 plain sh -c 'cat /x/sub/file; touch /x/a; touch /x/sub/a' 2>&1 |\n\
            sed 's/touch: .x.//' | tr '\\n' ' '; rm -f d/a d/sub/a; echo; }\n\
        try '-v ./d:/x'\n\
        try '-v ./d:/x:ro'\n\
        try '--mount type=bind,src=./d,dst=/x,readonly,bind-recursive=writable'\n\
        try '--mount type=bind,src=./d,dst=/x,bind-recursive=disabled'\n\
        try '-v ./d:/x:bind,ro'\n";
    let told = apart(&home, script);
    let lines: Vec<_> = told.lines().map(str::trim).collect();
    let failed = "a: Read-only file system";
    assert_eq!(lines[0], "in");
    assert_eq!(lines[1], format!("in {failed} sub/{failed}"));
    assert_eq!(lines[2], format!("in {failed}"));
    assert!(lines[3].starts_with("cat: ") && !lines[3].contains("Read-only"), "{}", lines[3]);
    assert!(lines[4].starts_with("cat: ") && lines[4].contains("Read-only"), "{}", lines[4]);
}

#[test]
fn mounts_are_told_of_as_was_asked_for() {
    let home = with_image();
    let script = "mkdir -p d/one d/two d/three && mount --bind d d && mount --make-shared d\n\
        rbuild run -d --name slave -v ./d:/x:rslave plain sleep 1000 >/dev/null\n\
        rbuild run -d --name alone -v ./d:/x plain sleep 1000 >/dev/null\n\
        rbuild run -d --name shared --privileged -v ./d:/x:rshared plain sleep 1000 >/dev/null\n\
        mount -t tmpfs none d/one && echo told >d/one/file\n\
        rbuild exec slave cat /x/one/file\n\
        rbuild exec alone ls /x/one\n\
        rbuild exec shared cat /x/one/file\n\
        rbuild exec --privileged shared sh -c 'mount -t tmpfs none /x/two && echo back >/x/two/file'\n\
        cat d/two/file; ls d/three\n\
        rbuild inspect --format '{{range .Mounts}}{{.Propagation}}{{end}}' slave\n\
        rbuild rm -f slave alone shared >/dev/null\n\
        mkdir e && ! rbuild run --rm -v ./e:/x:rshared plain true 2>&1\n";
    let told = apart(&home, script);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[..4], ["told", "told", "back", "rslave"], "{told}");
    assert!(lines[4].contains("it is on no shared mount"), "{told}");
}

#[test]
fn memory_is_mounted_as_docker_has_it() {
    let home = with_image();
    let run = |words: &str, script: &str| {
        home.types(&format!("rbuild run --rm {words} app sh -c '{script}'")).ok()
    };
    let stat = "stat -c \"%a %u\" /t";
    assert_eq!(run("--tmpfs /t", stat), "1777 0");
    assert_eq!(run("--tmpfs /t:mode=700,uid=7", stat), "700 7");
    assert_eq!(run("--mount type=tmpfs,dst=/t,tmpfs-mode=1750", stat), "1750 0");
    assert_eq!(
        run("--tmpfs /run", "stat -c %a /run; ls /run"),
        "755",
        "its place's mode, not files"
    );
    assert_eq!(run("--tmpfs /run:tmpcopyup", "cat /run/file"), "pid");
    let size = "df -k /t | tail -n 1 | tr -s \" \" | cut -d \" \" -f 2";
    assert_eq!(run("--tmpfs /t:size=4m", size), "4096");
    assert_eq!(run("--mount type=tmpfs,dst=/t,tmpfs-size=1.5m", size), "1536");
    let options = "grep \" /t \" /proc/mounts | cut -d \" \" -f 4";
    let told = run("--tmpfs /t", options);
    for word in ["rw", "nosuid", "nodev", "noexec"] {
        assert!(told.split(',').any(|other| other == word), "{told}");
    }
    assert!(!run("--tmpfs /t:exec", options).contains("noexec"));
    assert!(run("--tmpfs /t:ro", options).starts_with("ro,"));
    let script = "touch /t/a /data/a /dev/shm/a && ! touch /a 2>/dev/null && echo so";
    assert_eq!(run("--read-only --tmpfs /t", script), "so");
}

#[test]
fn files_of_an_image_are_mounted() {
    let home = with_image();
    home.builds("tools", "FROM scratch\nCOPY Dockerfile /bin/tool\nCOPY Dockerfile /other\n").ok();
    let run = |mount: &str, script: &str| {
        home.types(&format!("rbuild run --rm --mount type=image,{mount} plain sh -c '{script}'"))
    };
    assert_eq!(run("src=tools,dst=/t", "ls /t /t/bin").ok(), "/t:\nbin\nother\n\n/t/bin:\ntool");
    assert_eq!(run("src=tools,dst=/t,image-subpath=bin", "ls /t").ok(), "tool");
    run("src=tools,dst=/t", "touch /t/x").fails(1);
    home.types("rbuild create --name user --mount type=image,src=tools,dst=/t plain cat /t/other")
        .ok();
    home.types("rbuild rmi tools; rbuild cache prune -af").ok();
    assert!(home.types("rbuild start -a user").ok().contains("FROM scratch"), "its layers stay");
}

#[test]
fn volumes_have_file_systems_of_their_own() {
    let home = with_image();
    let create =
        "rbuild volume create -o type=tmpfs -o device=tmpfs -o o=size=1m,uid=7,noexec fast";
    assert_eq!(home.types(create).ok(), "fast");
    home.types("rbuild run -d --name one -v fast:/v plain sleep 1000").ok();
    home.types("rbuild run -d --name two -v fast:/v plain sleep 1000").ok();
    home.types("rbuild exec one sh -c 'echo here >/v/file'").ok();
    assert_eq!(home.types("rbuild exec two cat /v/file").ok(), "here", "they share it");
    let told = home.types("rbuild exec two sh -c 'stat -c %u /v; grep /v /proc/mounts'").ok();
    assert!(
        told.starts_with("7\n") && told.contains("size=1024k") && told.contains("noexec"),
        "{told}"
    );
    let data = home.store().join("volumes/fast/_data");
    let count = format!("grep -c {} /proc/self/mountinfo; true", data.display());
    let mounted = || home.types(&count).ok();
    assert_eq!(mounted(), "1");
    home.types("rbuild rm -f one").ok();
    assert_eq!(home.types("rbuild exec two cat /v/file").ok(), "here");
    home.types("rbuild rm -f two").ok();
    assert_eq!(mounted(), "0", "the last one unmounts it");
    assert_eq!(home.types("rbuild run --rm -v fast:/v plain ls /v").ok(), "", "memory forgets");
    // Whoever is killed leaves no mount for long.
    home.types("rbuild run -d --name three -v fast:/v plain sleep 1000").ok();
    let monitor = format!("pgrep -f -- '--rbuild-container-monitor {} '", home.store().display());
    let monitor = home.types(&format!("exec {monitor}")).ok();
    home.types(&format!("kill -9 {monitor}")).ok();
    home.types("rbuild wait three; rbuild volume ls").ok();
    assert_eq!(mounted(), "0");
    home.types("rbuild rm three && rbuild volume rm fast").ok();
    let options = "{{.Options.type}} {{.Options.o}}";
    home.write("elsewhere/file", "there\n");
    let device = home.path("elsewhere");
    let create =
        format!("rbuild volume create -o type=none -o o=bind -o device={} far", device.display());
    home.types(&create).ok();
    assert_eq!(home.types("rbuild run --rm -v far:/v plain cat /v/file").ok(), "there");
    assert_eq!(
        home.types(&format!("rbuild volume inspect --format '{options}' far")).ok(),
        "none bind"
    );
    home.types("rbuild volume rm far").ok();
    assert_eq!(home.read("elsewhere/file"), "there\n", "it was never the volume's own");
    let mount = "src=new,dst=/v,volume-label=a=b,volume-opt=type=tmpfs,volume-opt=device=tmpfs";
    home.types(&format!("rbuild run --rm --mount {mount} plain grep -q 'tmpfs /v' /proc/mounts"))
        .ok();
    assert_eq!(home.types("rbuild volume inspect --format '{{.Labels.a}}' new").ok(), "b");
}

#[test]
fn a_volume_that_cannot_be_mounted_or_filled_fails_and_can_be_removed() {
    let home = with_image();
    // The first is nothing the kernel mounts; the second has no room for the image's files.
    for (name, option, image) in [("bad", "size=banana", "plain"), ("tight", "nr_inodes=1", "app")]
    {
        let create =
            format!("rbuild volume create -o type=tmpfs -o device=tmpfs -o o={option} {name}");
        home.types(&create).ok();
        home.types(&format!("timeout 60 rbuild run --rm -v {name}:/data {image} true")).fails(125);
        let data = home.store().join(format!("volumes/{name}/_data"));
        let count = format!("grep -c {} /proc/self/mountinfo; true", data.display());
        assert_eq!(home.types(&count).ok(), "0", "{name} stays mounted");
        home.types(&format!("timeout 60 rbuild volume rm {name}")).ok();
    }
    assert_eq!(home.types("rbuild volume ls -q").ok(), "");
}

#[test]
fn a_path_in_a_volume_never_leads_out_of_it() {
    let home = with_image();
    home.types(
        "rbuild run --rm -v d1:/v plain sh -c 'mkdir -p /v/a/b; echo in >/v/a/b/f; ln -s / /v/up'",
    )
    .ok();
    let run = |path: &str| {
        let mount = format!("--mount src=d1,dst=/x,volume-subpath={path}");
        home.types(&format!("rbuild run --rm {mount} plain cat /x/f"))
    };
    assert_eq!(run("a/b").ok(), "in");
    run("up").fails(125);
    run("up/etc").fails(125);
    run("nowhere").fails(125);
}

/// `cp` sees what a container would see, also while it does not run.
#[test]
fn volumes_of_what_does_not_run_are_seen_by_cp() {
    let home = with_image();
    home.write("host/file", "host\n");
    home.write("new", "new\n");
    home.types("rbuild create --name box -v d1:/data -v ./host:/host:ro --tmpfs /memory app true")
        .ok();
    let out = |path: &str| home.types(&format!("rbuild cp box:{path} - | tar -xO"));
    assert_eq!(out("/host/file").ok(), "host");
    assert_eq!(out("/data/inner/file").ok(), "one", "a new volume is filled by then");
    home.types("rbuild cp new box:/data/new").ok();
    assert_eq!(home.types("rbuild run --rm -v d1:/v plain cat /v/new").ok(), "new");
    let wrong = home.types("rbuild cp new box:/host/new").fails(1);
    assert!(wrong.contains("Read-only file system"), "{wrong}");
    assert!(!home.path("host/new").exists());
    home.types("rbuild cp new box:/memory/new").fails(1);
    let exported = home.types("rbuild export box | tar -t").ok();
    assert!(!exported.contains("host/"), "only to be mounted on: {exported}");
    let mounted = format!("grep -c {} /proc/self/mountinfo; true", home.store().display());
    assert_eq!(home.types(&mounted).ok(), "0", "nothing of it is on the host");
}
