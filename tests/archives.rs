//! Archives of images, read by others' eyes: digests are checked on the way.

use serde_json::{Value, json};

use crate::home;
use rbuild_testkit::{Home, archive};

const FILE: &str = "FROM busybox\nRUN echo made >/made && rm /etc/group\nCOPY --chown=5:6 file /f\n\
    ENV A=b\nCMD [\"cat\", \"/made\"]\n";

fn prepared() -> Home {
    let home = home();
    home.write("app/Dockerfile", FILE);
    home.write("app/file", "copied\n");
    home
}

/// Demands of an image in an archive what the Dockerfile says.
fn check(image: &archive::Image) {
    assert_eq!(image.config["config"]["Cmd"], json!(["cat", "/made"]));
    assert_eq!(image.config["os"], "linux");
    let env = image.config["config"]["Env"].as_array().unwrap();
    assert!(env.contains(&Value::from("A=b")), "{env:?}");
    let history = image.config["history"].as_array().unwrap();
    let is_layer = |step: &&Value| step.get("empty_layer") != Some(&Value::Bool(true));
    assert_eq!(history.iter().filter(is_layer).count(), image.layers.len());
    let [_, ran, copied] = &image.layers[..] else {
        panic!("{} layers", image.layers.len());
    };
    let ran: Vec<_> = archive::entries(ran).into_iter().filter(|entry| entry.kind != 'd').collect();
    let paths: Vec<_> = ran.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["etc/.wh.group", "made"]);
    assert_eq!(ran[1].bytes, b"made\n");
    let copied = archive::entries(copied);
    let [file] = &copied[..] else { panic!("{copied:?}") };
    assert_eq!((file.path.as_str(), file.owner, file.mode), ("f", (5, 6), 0o644));
    assert_eq!(file.bytes, b"copied\n");
}

#[test]
fn an_oci_archive_is_whole() {
    let home = prepared();
    home.types("rbuild -o type=oci,dest=app.tar app").ok();
    check(&archive::oci(&archive::read(&home.path("app.tar"))));
    // As a stream, and as a folder.
    home.types("rbuild -o type=oci,dest=- app >stream.tar").ok();
    check(&archive::oci(&archive::read(&home.path("stream.tar"))));
    home.types("rbuild -o type=oci,dest=layout,tar=false app && tar -C layout -cf again.tar .")
        .ok();
    let files = archive::read(&home.path("again.tar"));
    let files =
        files.into_iter().map(|(name, bytes)| (name.trim_start_matches("./").to_owned(), bytes));
    check(&archive::oci(&files.collect()));
}

#[test]
fn a_docker_archive_is_whole() {
    let home = prepared();
    home.types("rbuild -t app -o type=docker,dest=app.tar app").ok();
    check(&archive::docker(&archive::read(&home.path("app.tar")), "app:latest"));
}

#[test]
fn what_is_saved_can_be_loaded() {
    let home = prepared();
    home.types("rbuild -t app app && rbuild tag app second:2").ok();
    home.types("rbuild save -o app.tar app second:2 && rbuild save app >stream.tar").ok();
    let files = archive::read(&home.path("app.tar"));
    check(&archive::docker(&files, "app:latest"));
    check(&archive::docker(&files, "second:2"));
    check(&archive::docker(&archive::read(&home.path("stream.tar")), "app:latest"));

    let id = home.types("rbuild images -q --no-trunc app").ok();
    let said = home.types("RBUILD_ROOT=$HOME/other rbuild load -i app.tar").ok();
    assert!(said.contains("Loaded image: app:latest"), "{said}");
    let there = |line: &str| home.types(&format!("RBUILD_ROOT=$HOME/other rbuild {line}")).ok();
    assert_eq!(there("images -q --no-trunc app"), id);
    assert_eq!(there("run --rm second:2"), "made");
    assert_eq!(there("run --rm app ls -d /etc/passwd /etc/group 2>/dev/null; true"), "/etc/passwd");
    home.types("RBUILD_ROOT=$HOME/third rbuild load <stream.tar").ok();
    home.types("rbuild -o type=oci,dest=oci.tar,name=oci:1 app").ok();
    home.types("RBUILD_ROOT=$HOME/third rbuild load -i oci.tar").ok();
}

#[test]
fn the_same_build_gives_the_same_bytes() {
    let home = prepared();
    let export = |store: &str| {
        let line = format!("RBUILD_ROOT=$HOME/{store} rbuild -o type=oci,dest={store}.tar app");
        home.types(&line).ok();
        let image = archive::oci(&archive::read(&home.path(&format!("{store}.tar"))));
        image.layers[2].clone()
    };
    assert_eq!(export("one"), export("two"), "a COPY says nothing of when it was made");
}

#[test]
fn files_alone_go_into_a_folder() {
    let home = home();
    let file = "FROM busybox AS make\nRUN mkdir /out && echo 1 >/out/file && ln -s file /out/link\n\
        FROM scratch\nCOPY --from=make /out /\n";
    home.write("app/Dockerfile", file);
    home.types("rbuild -o out app").ok();
    assert_eq!(home.types("ls out && cat out/link").ok(), "file\nlink\n1");
    home.types("rbuild -o type=tar,dest=out.tar app").ok();
    assert_eq!(archive::read(&home.path("out.tar"))["file"], b"1\n");
    home.types("rbuild -o - app >piped.tar").ok();
    assert_eq!(archive::read(&home.path("piped.tar"))["file"], b"1\n");
}

#[test]
fn an_archive_that_is_damaged_is_refused() {
    let home = prepared();
    home.types("rbuild -t app app && rbuild save -o app.tar app").ok();
    let mut bytes = std::fs::read(home.path("app.tar")).unwrap();
    // Most of the archive is the layer of the base.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    home.write("app.tar", bytes);
    let refused = home.types("RBUILD_ROOT=$HOME/other rbuild load -i app.tar");
    assert_ne!(refused.code, 0, "{refused}");
    assert_eq!(home.types("RBUILD_ROOT=$HOME/other rbuild images -q").ok(), "");
    home.write("short.tar", b"no archive");
    assert_ne!(home.types("rbuild load -i short.tar").code, 0);
}

/// A pipe would be waited for, and a device may never end.
#[test]
fn what_is_no_file_is_not_read_out_of_an_archive() {
    let home = home();
    for make in ["mkfifo manifest.json", "mknod manifest.json c 1 5"] {
        home.types(&format!("mkdir hostile && cd hostile && {make} && tar -cf ../hostile.tar ."))
            .ok();
        let told = home.types("rbuild load -i hostile.tar").fails(3);
        assert!(told.contains("manifest.json"), "{make}: {told}");
        home.types("rm -r hostile").ok();
    }
    assert_eq!(home.types("rbuild images -q").ok(), "");
}
