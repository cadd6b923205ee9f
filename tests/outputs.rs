//! Images that leave the store: in every form, read by programs of others.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::home;
use rbuild_testkit::{Home, archive};

/// A layer that is packed as several members, and small ones.
const FILE: &str = "FROM busybox\n\
    RUN head -c 5000000 /bin/busybox /bin/busybox /bin/busybox >/large && echo made >/made\n\
    COPY --chown=5:6 file /f\nCMD [\"cat\", \"/made\"]\n";

fn prepared() -> Home {
    let home = home();
    home.write("app/Dockerfile", FILE);
    home.write("app/file", "copied\n");
    home
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What skopeo says of an image.
fn inspect(home: &Home, place: &str) -> Value {
    json_of(&home.types(&format!("skopeo inspect {place}")).ok())
}

/// The compressions, with the media type that layers have then.
const COMPRESSIONS: [(&str, &str); 4] = [
    ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("gzip,compression-level=9", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
    ("uncompressed", "application/vnd.oci.image.layer.v1.tar"),
];

#[test]
fn skopeo_and_umoci_read_every_layout() {
    let (home, mut unpacked) = (prepared(), Vec::new());
    for (number, (how, media_type)) in COMPRESSIONS.iter().enumerate() {
        let form = format!("compression={how},force-compression=true");
        home.types(&format!("rbuild -t app -o type=oci,dest=app.tar,{form} app")).ok();
        home.types(&format!("rbuild -t app -o type=oci,dest=l{number},tar=false,{form} app")).ok();
        for place in [format!("oci:l{number}:latest"), "oci-archive:app.tar:latest".to_owned()] {
            assert_eq!(inspect(&home, &place)["Layers"].as_array().unwrap().len(), 3);
            let manifest = inspect(&home, &format!("--raw {place}"));
            let layers = manifest["layers"].as_array().unwrap();
            assert!(layers.iter().all(|layer| layer["mediaType"] == *media_type), "{manifest}");
        }
        home.types(&format!("skopeo copy -q oci:l{number}:latest dir:c{number}")).ok();
        // Debian's skopeo and umoci know no zstd where they unpack; buildah does, in another test.
        if *how != "zstd" {
            let to = format!("docker-archive:d{number}.tar");
            home.types(&format!("skopeo copy -q oci-archive:app.tar:latest {to}")).ok();
            unpacked.push(std::fs::read(home.path(&format!("d{number}.tar"))).unwrap());
            home.types(&format!("umoci unpack --image l{number}:latest u{number}")).ok();
            let files = format!("cat u{number}/rootfs/made u{number}/rootfs/f");
            assert_eq!(home.types(&files).ok(), "made\ncopied");
        }
    }
    assert!(unpacked.windows(2).all(|two| two[0] == two[1]), "the same in every compression");
}

#[test]
fn buildah_reads_a_layout() {
    let home = prepared();
    for how in ["gzip", "zstd"] {
        let form = format!("type=oci,dest=app.tar,compression={how}");
        home.types(&format!("rbuild -t app -o {form} app")).ok();
        let buildah = "buildah --root $HOME/c --runroot $HOME/r --storage-driver vfs";
        let id = home.types(&format!("{buildah} pull -q oci-archive:app.tar")).ok();
        let named = home.types(&format!("{buildah} inspect --type image {id}")).ok();
        assert_eq!(json_of(&named)["OCIv1"]["config"]["Cmd"], json!(["cat", "/made"]));
    }
}

#[test]
fn members_are_read_by_gnu_gzip_and_python() {
    let home = prepared();
    home.types("rbuild -o type=oci,dest=app,tar=false app").ok();
    let image = layout(&home, "app");
    let mut sizes = Vec::new();
    for layer in image["layers"].as_array().unwrap() {
        let path = format!("app/blobs/{}", layer["digest"].as_str().unwrap().replace(':', "/"));
        let gnu = home.types(&format!("gzip -dc <{path} | sha256sum")).ok();
        let python = "import gzip,sys,hashlib; print(hashlib.sha256(gzip.open(sys.argv[1]).read()).hexdigest())";
        let python = home.types(&format!("python3 -c '{python}' {path}")).ok();
        assert_eq!(gnu.split(' ').next(), Some(&*python));
        let members = "import sys; print(open(sys.argv[1],\"rb\").read().count(b\"\\x1f\\x8b\\x08\\0\\0\\0\\0\\0\"))";
        sizes.push(home.types(&format!("python3 -c '{members}' {path}")).ok());
    }
    assert!(sizes.iter().any(|count| count.parse::<u32>().unwrap() > 3), "{sizes:?}");
}

/// The manifest of a layout in a folder.
fn layout(home: &Home, folder: &str) -> Value {
    let index = json_of(&home.read(&format!("{folder}/index.json")));
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    json_of(&home.read(&format!("{folder}/blobs/{digest}")))
}

#[test]
fn docker_s_archive_is_read_by_others() {
    let home = prepared();
    for how in ["gzip", "uncompressed"] {
        let form = format!("type=docker,dest=app.tar,compression={how},oci-mediatypes=false");
        home.types(&format!("rbuild -t app -t team/second:2 -o {form} app")).ok();
        let files = archive::read(&home.path("app.tar"));
        for name in ["app:latest", "team/second:2"] {
            archive::docker(&files, name);
            let found = inspect(&home, &format!("docker-archive:app.tar:{name}"));
            assert_eq!(found["Layers"].as_array().unwrap().len(), 3);
        }
        // What docker's loader wants: every file that is named, below the root, and no link.
        let manifest = archive::parse(&files["manifest.json"]);
        let paths =
            manifest[0]["Layers"].as_array().unwrap().iter().chain([&manifest[0]["Config"]]);
        assert!(paths.clone().all(|path| files.contains_key(path.as_str().unwrap())), "{manifest}");
        let root = archive::parse(&files["index.json"]);
        let media_type = root["manifests"][0]["mediaType"].as_str().unwrap();
        assert!(media_type.starts_with("application/vnd.docker."), "{root}");
    }
}

#[test]
fn a_push_is_as_it_was_asked_for() {
    let home = prepared();
    let host = home.registry.host();
    let manifest = |repository: &str, tag: &str| {
        home.registry.manifest(repository, tag).map(|bytes| archive::parse(&bytes))
    };
    // Several names of one output, beside the name of the build in the store.
    let names = format!("\"name={host}/a:1,{host}/b:2\"");
    home.types(&format!("rbuild -o 'type=image,{names},push=true,compression=zstd' app")).ok();
    let made = manifest("a", "1").unwrap();
    assert_eq!(manifest("b", "2"), Some(made.clone()));
    let types: Vec<_> =
        made["layers"].as_array().unwrap().iter().map(|it| &it["mediaType"]).collect();
    assert_eq!(types[1], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_ne!(types[0], types[1], "what was pulled stays as it was");
    assert_eq!(home.types(&format!("rbuild run --rm {host}/b:2")).ok(), "made");
    // By its digest only.
    let form = "push-by-digest=true,name-canonical=true,push=true";
    let form = format!("type=image,name={host}/c,{form} --metadata-file m.json");
    home.types(&format!("rbuild -o {form} app")).ok();
    let metadata = json_of(&home.read("m.json"));
    let digest = &metadata["containerimage.digest"];
    assert_eq!(metadata["image.name"], format!("{host}/c:latest"));
    assert_eq!(manifest("c", "latest"), None);
    assert!(manifest("c", digest.as_str().unwrap()).is_some());
    inspect(&home, &format!("--tls-verify=false docker://{host}/c@{}", digest.as_str().unwrap()));
    // A tag is not for what has none.
    home.types(&format!("rbuild -o type=registry,name={host}/c:1,push-by-digest=true app"))
        .fails(2);
    // Docker's media types.
    home.types(&format!("rbuild -t {host}/d -o type=registry,oci-mediatypes=false app")).ok();
    let docker = manifest("d", "latest").unwrap();
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    inspect(&home, &format!("--tls-verify=false docker://{host}/d"));
}

#[test]
fn annotations_are_written_where_the_image_goes() {
    let home = prepared();
    let host = home.registry.host();
    let line = format!("rbuild -t {host}/a --push --annotation org.example.a=b=c:d app");
    home.types(&line).ok();
    let pushed = archive::parse(&home.registry.manifest("a", "latest").unwrap());
    assert_eq!(pushed["annotations"], json!({ "org.example.a": "b=c:d" }));
    let attributes = "annotation.x=1,annotation-manifest-descriptor.y=2";
    home.types(&format!("rbuild -o type=oci,dest=app,tar=false,{attributes} app")).ok();
    assert_eq!(layout(&home, "app")["annotations"], json!({ "x": "1" }));
    let index = json_of(&home.read("app/index.json"));
    assert_eq!(index["manifests"][0]["annotations"], json!({ "y": "2" }));
    for refused in ["-t a --annotation a=b", "--push -t a --annotation nothing", "--annotation =b"]
    {
        home.types(&format!("rbuild {refused} app")).fails(2);
    }
    let error = home.types("rbuild -o type=oci,dest=x,annotation-index.a=b app");
    assert!(error.code == 2 && error.stderr.contains("no index"), "{error}");
}

#[test]
fn two_stores_give_the_same_manifest() {
    let home = prepared();
    let digest = |store: &str, more: &str| {
        // Files with times of their own, in layers of every kind.
        home.types("touch app/file").ok();
        let form = format!("type=oci,dest={store}.tar{more}");
        let line = format!("rbuild -o {form} --metadata-file m.json app");
        let variables = format!("RBUILD_ROOT=$HOME/{store} SOURCE_DATE_EPOCH=1600000000");
        home.types(&format!("{variables} {line}")).ok();
        let metadata = json_of(&home.read("m.json"));
        (
            metadata["containerimage.digest"].clone(),
            metadata["containerimage.config.digest"].clone(),
        )
    };
    let one = digest("one", ",rewrite-timestamp=true");
    // The clock of the second build is another.
    let two = digest("two", ",rewrite-timestamp=true");
    assert_eq!(one, two);
    assert_eq!(one, digest("one", ",rewrite-timestamp=true"), "it is known by now");
    let image = archive::oci(&archive::read(&home.path("two.tar")));
    assert_eq!(image.config["created"], "2020-09-13T12:26:40Z");
    for layer in &image.layers[1..] {
        let times: BTreeMap<_, _> =
            archive::entries(layer).into_iter().map(|entry| (entry.path, entry.mtime)).collect();
        assert!(times.values().all(|time| *time <= 1_600_000_000), "{times:?}");
    }
    // What is left as it is has the times of its making.
    let plain = digest("one", "");
    assert_ne!(plain, one);
    // Without a time there is nothing that files could be older than, which is said.
    let said = home.types("rbuild -o type=oci,dest=x.tar,rewrite-timestamp=true app");
    assert!(said.stderr.contains("SOURCE_DATE_EPOCH"), "{said}");
    home.types("rbuild -t app -o type=image,rewrite-timestamp=true app").fails(2);
}

#[test]
fn the_metadata_are_in_buildx_s_keys() {
    let home = prepared();
    let host = home.registry.host();
    let line = format!("rbuild -t {host}/a:1 --push --metadata-file m.json --iidfile id app");
    home.types(&line).ok();
    let metadata = json_of(&home.read("m.json"));
    let manifest = home.registry.manifest("a", "1").unwrap();
    let digest = rbuild_testkit::digest(&manifest);
    assert_eq!(metadata["containerimage.digest"], digest);
    assert_eq!(metadata["containerimage.config.digest"], home.read("id"));
    assert_eq!(metadata["image.name"], format!("{host}/a:1"));
    let descriptor = &metadata["containerimage.descriptor"];
    assert_eq!(
        (&descriptor["digest"], &descriptor["size"]),
        (&digest.into(), &manifest.len().into())
    );
    assert_eq!(descriptor["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(descriptor["platform"]["os"], "linux");
    assert_eq!(metadata.get("buildx.build.warnings"), None);
    // In the store there is no manifest; the id is what it is known by, as with docker.
    home.write("warned/Dockerfile", "from busybox\nRUN true\n");
    home.types("BUILDX_METADATA_WARNINGS=1 rbuild --metadata-file m.json warned").ok();
    let metadata = json_of(&home.read("m.json"));
    assert_eq!(metadata["containerimage.digest"], metadata["containerimage.config.digest"]);
    let warning = &metadata["buildx.build.warnings"][0];
    assert_eq!(warning["range"][0]["start"]["line"], 1);
    assert!(
        warning["url"].as_str().unwrap().contains("consistent-instruction-casing"),
        "{warning}"
    );
    // What has no image has no id.
    home.types("rbuild -o out --iidfile id app").fails(2);
}

#[test]
fn a_folder_can_be_made_to_hold_the_files_alone() {
    let home = home();
    home.write("app/Dockerfile", "FROM scratch\nCOPY tree /\n");
    home.write("app/tree/a/new", "new\n");
    home.write("app/tree/b", "file\n");
    let stale =
        "mkdir -p out/a out/b/x && echo old >out/a/old && ln -s /etc out/a/link && echo o >out/o";
    home.types(stale).ok();
    home.types("rbuild -o type=local,dest=out,mode=delete app").fails(2);
    assert_eq!(home.types("ls out").ok(), "a\nb\no");
    let allowed = "--allow buildx.local.delete";
    home.types(&format!("rbuild -o type=local,dest=out,mode=delete {allowed} app")).ok();
    assert_eq!(home.types("cd out && find . | sort").ok(), ".\n./a\n./a/new\n./b");
    assert!(Path::new("/etc/passwd").exists());
    home.types("rbuild -o type=local,dest=out app && echo kept >out/kept").ok();
    home.types("rbuild -o type=local,dest=out app").ok();
    assert_eq!(home.read("out/kept"), "kept\n");
    // Each platform in a folder of its own.
    home.types("rbuild -o type=local,dest=split,platform-split=true app").ok();
    let machine = home.types("ls split").ok();
    assert!(machine.starts_with("linux_"), "{machine}");
    home.types("rbuild -o type=tar,dest=split.tar,platform-split=true app").ok();
    let files = archive::read(&home.path("split.tar"));
    assert_eq!(files[&format!("{machine}/a/new")], b"new\n");
}

/// A daemon that takes one archive, and answers; gives what it was sent.
fn daemon(socket: &Path, answer: &'static str) -> thread::JoinHandle<(String, Vec<u8>)> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = u64::from_str_radix(size.trim(), 16).unwrap();
            reader.by_ref().take(size).read_to_end(&mut body).unwrap();
            reader.read_line(&mut String::new()).unwrap();
            if size == 0 {
                break;
            }
        }
        (&stream).write_all(answer.as_bytes()).unwrap();
        (head, body)
    })
}

#[test]
fn an_image_is_loaded_into_a_daemon() {
    let home = prepared();
    let socket = home.path("docker.sock");
    let line = format!(
        "DOCKER_HOST=unix://{} rbuild -t app -o type=docker,context=default app",
        socket.display()
    );
    let loaded = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n\
                  {\"stream\":\"Loaded image: app:latest\\n\"}\r\n";
    let takes = daemon(&socket, loaded);
    home.types(&line).ok();
    let (head, body) = takes.join().unwrap();
    assert!(head.starts_with("POST /images/load?"), "{head}");
    home.write("sent.tar", body);
    archive::docker(&archive::read(&home.path("sent.tar")), "app:latest");
    // What the daemon says is what is said.
    std::fs::remove_file(&socket).unwrap();
    let full = "HTTP/1.1 200 OK\r\n\r\n{\"errorDetail\":{\"message\":\"no space left\"}}\r\n";
    let refuses = daemon(&socket, full);
    let error = home.types(&line).fails(3);
    assert!(error.contains("no space left"), "{error}");
    drop(refuses.join());
    std::fs::remove_file(&socket).unwrap();
    let error = home.types(&line).fails(3);
    assert!(error.contains("docker.sock"), "{error}");
    let elsewhere = "DOCKER_HOST=tcp://127.0.0.1:1 rbuild -o type=docker,context=default app";
    assert!(home.types(elsewhere).fails(2).contains("docker load"));
}

/// A folder that is a layout may have more than one image.
#[test]
fn a_layout_keeps_what_it_has() {
    let home = home();
    for (name, text) in [("one:1", "1"), ("two:1", "2"), ("one:1", "3")] {
        home.write("app/Dockerfile", format!("FROM busybox\nRUN echo {text} >/text\n"));
        home.types(&format!("rbuild -t {name} -o type=oci,tar=false,dest=layout app")).ok();
    }
    let index: serde_json::Value = serde_json::from_str(&home.read("layout/index.json")).unwrap();
    let named = |one: &serde_json::Value| {
        one["annotations"]["io.containerd.image.name"].as_str().unwrap().to_owned()
    };
    let mut names: Vec<_> = index["manifests"].as_array().unwrap().iter().map(named).collect();
    names.sort();
    assert_eq!(names, ["docker.io/library/one:1", "docker.io/library/two:1"]);
}
