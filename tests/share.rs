//! Caches that travel: what one machine made, another one neither makes nor fetches.

mod actions;
mod bucket;
mod early;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use crate::cache::ran;
use crate::home;
use bucket::Bucket;
use rbuild_testkit::{Base, Home, Ran, Registry, digest};
use serde_json::Value;

/// A build with plain progress: the steps that ran, and what else there was.
struct Built {
    ran: Vec<String>,
    id: String,
    stderr: String,
}

fn build(home: &Home, flags: &str) -> Built {
    let built: Ran = home.types(&format!("rbuild -t app --progress plain {flags} app"));
    let (ran, stderr) = (ran(&built), built.stderr.clone());
    Built { ran, id: built.ok(), stderr }
}

/// Two machines with the same files in `app`.
fn two(dockerfile: &str) -> (Home, Home) {
    let homes = (home(), home());
    for home in [&homes.0, &homes.1] {
        home.write("app/Dockerfile", dockerfile);
        home.write("app/src/main", "main\n");
    }
    homes
}

/// A stage of many steps, and an image that takes one file of it.
fn twenty_steps() -> String {
    let mut file = "FROM busybox AS make\nCOPY src /src\n".to_owned();
    for step in 1..16 {
        writeln!(file, "RUN echo {step} >>/made").unwrap();
    }
    file += "ARG LAST=16\nRUN echo $LAST >>/made\nFROM busybox\nWORKDIR /app\nCOPY --from=make /made made\n\
             RUN cat made /app/made >last\n";
    file
}

/// The layers that a manifest in a registry names.
fn layers(registry: &Registry, repository: &str) -> Vec<String> {
    let manifest = registry.manifest(repository, "latest").unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// The layers that were asked for, of a repository or the base image.
fn fetched(registry: &Registry, layers: &[String]) -> Vec<String> {
    let base = digest(&Base::get().layer);
    let is_layer = |request: &String| {
        let mut all = layers.iter().chain([&base]);
        request.starts_with("GET") && all.any(|layer| request.contains(layer.as_str()))
    };
    registry.requests().into_iter().filter(is_layer).collect()
}

/// Demands that nothing ran and no layer was fetched.
fn is_known(built: &Built, homes: [&Home; 2], layers: &[String]) {
    assert_eq!(built.ran, [""; 0], "{}", built.stderr);
    for home in homes {
        assert_eq!(fetched(&home.registry, layers), [""; 0]);
    }
}

#[test]
fn a_cache_in_a_registry_is_used_without_a_layer() {
    let (first, second) = two(&twenty_steps());
    let cache = format!("{}/cache", first.registry.host());
    let made = build(&first, &format!("--cache-to type=registry,ref={cache},mode=max"));
    assert_eq!(made.ran.len(), 20, "{:?}", made.ran);
    assert!(made.stderr.contains("exporting cache to registry"), "{}", made.stderr);
    let layers = layers(&first.registry, "cache");
    assert_eq!(layers.len(), 20, "that of the base is with the base");
    first.registry.forget_requests();

    let found = build(&second, &format!("--cache-from {cache}"));
    assert!(found.stderr.contains(&format!("importing cache manifest from {cache}")));
    is_known(&found, [&first, &second], &layers);
    assert_eq!(found.id, made.id, "it is the same image");
    let requests = first.registry.requests();
    let of = |kind: &str| requests.iter().filter(|request| request.contains(kind)).count();
    assert_eq!((of("/manifests/"), of("/blobs/")), (1, 1), "the document alone: {requests:?}");

    // Pushed to where its layers are, it is taken over there.
    let name = format!("{}/app", first.registry.host());
    second.types(&format!("rbuild tag app {name} && rbuild push {name}")).ok();
    let mounts = first.registry.requests().into_iter();
    assert_eq!(
        mounts.filter(|request| request.starts_with("POST")).count(),
        5,
        "base and config too"
    );
    assert_eq!(fetched(&first.registry, &layers), [""; 0]);

    // What was found stays known, and a container gets the files.
    assert_eq!(build(&second, "").ran, [""; 0]);
    let lines = second.types("rbuild run --rm app sh -c 'wc -l <last'").ok();
    assert_eq!(lines, "32");
    assert_eq!(fetched(&first.registry, &layers).len(), 3);
    assert_eq!(build(&second, "--build-arg LAST=17").ran.len(), 3, "all steps are known");
}

#[test]
fn a_cache_in_a_folder_is_used_without_a_layer() {
    let (first, second) = two(&twenty_steps());
    let folder = first.path("shared").display().to_string();
    let made = build(&first, &format!("--cache-to type=local,dest={folder},mode=max"));
    let found = build(&second, &format!("--cache-from type=local,src={folder}"));
    is_known(&found, [&second; 2], &[]);
    assert_eq!(found.id, made.id);
    assert!(!second.store().join("layers").exists(), "nothing was unpacked");

    // A changed step gets the layers it stands on, and runs with what is above it alone.
    let changed =
        build(&second, &format!("--build-arg LAST=17 --cache-from type=local,src={folder}"));
    assert_eq!(
        changed.ran,
        ["RUN echo 17 >>/made", "COPY --from=make /made made", "RUN cat made /app/made >last"]
    );
    assert_eq!(second.types("rbuild run --rm app tail -n 1 last").ok(), "17");

    // Another tag stands beside, and a digest is a name as well.
    let to = format!("--cache-to type=local,dest={folder},tag=other");
    build(&second, &format!("--build-arg LAST=18 {to}"));
    let index: Value = serde_json::from_str(&first.read("shared/index.json")).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    for which in [format!("digest={digest}"), "tag=latest".to_owned()] {
        let third = home();
        third.write("app/Dockerfile", twenty_steps());
        third.write("app/src/main", "main\n");
        let from = format!("--cache-from type=local,src={folder},{which}");
        assert_eq!(build(&third, &from).ran, [""; 0]);
    }
}

#[test]
fn an_image_brings_its_cache_along() {
    let (first, second) =
        two("FROM busybox\nRUN echo 1 >/a\nCOPY src /src\nRUN cat /a /src/main >/b\n");
    let name = format!("{}/app", first.registry.host());
    let flags = "--cache-to type=inline --push -t";
    let made = first.types(&format!("rbuild {flags} {name} app")).ok();
    let layers = layers(&first.registry, "app");
    first.registry.forget_requests();
    let found = build(&second, &format!("--cache-from {name} --build-arg BUILDKIT_INLINE_CACHE=1"));
    is_known(&found, [&first, &second], &layers);
    assert_eq!(found.id, made, "with the same cache in it");
    assert_ne!(build(&second, "").id, made, "without it, it is another image");

    // It belongs to the image alone.
    second.builds("above", "FROM app\nRUN echo 2 >/c\n").ok();
    let config = second.types("rbuild save above | tar -xO --wildcards 'blobs/sha256/*'").ok();
    assert!(!config.contains("rbuild.cache.v1"));
    let config =
        first.types(&format!("rbuild save {name} | tar -xO --wildcards 'blobs/sha256/*' ")).ok();
    assert!(config.contains("rbuild.cache.v1"));
}

#[test]
fn a_mode_says_how_much_travels() {
    const FILE: &str = "FROM busybox AS make\nRUN echo 1 >/a\nRUN echo 2 >/b\n\
                        FROM busybox\nCOPY --from=make /a /\nRUN cat /a\n";
    let (first, second) = two(FILE);
    let third = home();
    let cache = |mode: &str| format!("{}/{mode}", first.registry.host());
    for mode in ["min", "max"] {
        build(&first, &format!("--cache-to type=registry,ref={},mode={mode}", cache(mode)));
    }
    assert_eq!(layers(&first.registry, "min").len(), 2);
    assert_eq!(layers(&first.registry, "max").len(), 3, "two steps make the same file");
    third.write("app/Dockerfile", FILE);
    assert_eq!(build(&second, &format!("--cache-from {}", cache("min"))).ran, [""; 0]);
    assert_eq!(build(&third, &format!("--cache-from {}", cache("max"))).ran, [""; 0]);
    // A new use of the stage needs its steps.
    let other = FILE.replace("/a /", "/b /").replace("cat /a", "cat /b");
    for home in [&second, &third] {
        home.write("app/Dockerfile", &other);
    }
    assert_eq!(build(&second, "").ran.len(), 4);
    assert_eq!(build(&third, &format!("--cache-from {}", cache("max"))).ran.len(), 2);
}

#[test]
fn a_part_that_was_digested_elsewhere_is_not_fetched_for_it() {
    let file = "FROM busybox AS make\nRUN echo 1 >/a\nFROM busybox\nCOPY --from=make /a /b\n\
                COPY --from=busybox /etc/passwd /c\n";
    let (first, second) = two(file);
    let cache = format!("{}/cache", first.registry.host());
    build(&first, &format!("--cache-to type=registry,ref={cache},mode=max"));
    // The stage has another definition, and its files are the same.
    second.write("app/Dockerfile", file.replace("AS make\n", "AS make\nLABEL a=b\n"));
    let layers = layers(&first.registry, "cache");
    first.registry.forget_requests();
    let found = build(&second, &format!("--cache-from {cache}"));
    is_known(&found, [&first, &second], &layers);
}

#[test]
fn a_cache_that_cannot_be_read_stops_no_build() {
    let (first, second) = two("FROM busybox\nRUN echo 1 >/a\n");
    let host = first.registry.host();
    let garbled = first.path("garbled");
    build(&first, &format!("--cache-to type=local,dest={}", garbled.display()));
    let blobs = garbled.join("blobs/sha256");
    for blob in std::fs::read_dir(&blobs).unwrap() {
        std::fs::write(blob.unwrap().path(), "garbage").unwrap();
    }
    let flags = format!(
        "--cache-from {host}/none --cache-from type=local,src=/none \
         --cache-from type=local,src={} --cache-from busybox",
        garbled.display()
    );
    let built = build(&second, &flags);
    assert_eq!(built.ran, ["RUN echo 1 >/a"]);
    assert_eq!(built.stderr.matches("ERROR: ").count(), 4, "{}", built.stderr);
    assert!(built.stderr.contains("brings no cache along"), "{}", built.stderr);
    assert_eq!(second.types("rbuild run --rm app cat /a").ok(), "1");
}

#[test]
fn a_layer_that_is_gone_or_damaged_is_made_again() {
    let (first, second) = two(&twenty_steps());
    let third = home();
    third.write("app/Dockerfile", twenty_steps());
    third.write("app/src/main", "main\n");
    let cache = format!("{}/cache", first.registry.host());
    let folder = first.path("shared").display().to_string();
    build(
        &first,
        &format!(
            "--cache-to type=registry,ref={cache},mode=max \
             --cache-to type=local,dest={folder},mode=max"
        ),
    );
    let layers = layers(&first.registry, "cache");
    first.registry.forget_blob("cache", &layers[3]);
    let blob = layers[3].trim_start_matches("sha256:");
    std::fs::write(first.path("shared/blobs/sha256").join(blob), "garbage").unwrap();
    for (home, from) in [(&second, &*cache), (&third, &format!("type=local,src={folder}"))] {
        let from = format!("--cache-from {from}");
        assert_eq!(build(home, &from).ran, [""; 0], "nobody needed it");
        // A step on top of it does: it is made again, with all that stand on it.
        let again = build(home, &format!("{from} --build-arg LAST=17"));
        let misses = again.stderr.lines().filter_map(|line| Some(line.split_once("miss: ")?.1));
        let misses: BTreeSet<_> = misses.map(|line| line.rsplit_once(" (").unwrap().0).collect();
        assert_eq!(misses.len(), 13, "those from there on: {misses:?}");
        assert!(misses.contains("RUN echo 3 >>/made") && !misses.contains("RUN echo 2 >>/made"));
        assert_eq!(home.types("rbuild run --rm app tail -n 1 last").ok(), "17");
    }
}

#[test]
fn a_cache_goes_from_hand_to_hand() {
    let (first, second) = two("FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n");
    let third = home();
    third.write("app/Dockerfile", "FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n");
    let (one, two) = (first.registry.host(), second.registry.host());
    build(&first, &format!("--cache-to {one}/one"));
    // To another repository, to another registry, and to a folder.
    let folder = second.path("shared").display().to_string();
    let flags = format!(
        "--cache-from {one}/one --cache-to {one}/two --cache-to {two}/three \
         --cache-to type=local,dest={folder}"
    );
    assert_eq!(build(&second, &flags).ran, [""; 0]);
    let expected = layers(&first.registry, "one");
    assert_eq!(layers(&first.registry, "two"), expected);
    assert_eq!(layers(&second.registry, "three"), expected);
    drop(first);
    let from = format!("--cache-from type=local,src={folder}");
    assert_eq!(build(&third, &from).ran, [""; 0]);
    assert_eq!(third.types("rbuild run --rm app cat /a /b").ok(), "1\n2");
}

#[test]
fn an_image_that_was_built_here_is_a_base_like_any_other() {
    let (first, second) = two("FROM base\nRUN echo 2 >/b\n");
    let cache = format!("{}/cache", first.registry.host());
    // The same base, once built here and once pulled.
    let name = format!("{}/base", first.registry.host());
    first.write("base/Dockerfile", "FROM busybox\nRUN echo 1 >/a\n");
    first.types(&format!("rbuild -t base -t {name} base && rbuild push {name}")).ok();
    second.types(&format!("rbuild pull {name} && rbuild tag {name} base")).ok();
    build(&first, &format!("--cache-to {cache}"));
    assert_eq!(layers(&first.registry, "cache").len(), 1, "the base is the base's");
    assert_eq!(build(&second, &format!("--cache-from {cache} --cache-to {cache}")).ran, [""; 0]);
    let third = home();
    third.write("app/Dockerfile", "FROM base\nRUN echo 2 >/b\n");
    third.types(&format!("rbuild pull {name} && rbuild tag {name} base")).ok();
    assert_eq!(build(&third, &format!("--cache-from {cache}")).ran, [""; 0]);
}

#[test]
fn layers_are_compressed_as_is_wanted() {
    let (first, second) = two("FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n");
    let folder = first.path("shared").display().to_string();
    let types = |tag: &str| {
        let index: Value = serde_json::from_str(&first.read("shared/index.json")).unwrap();
        let mut all = index["manifests"].as_array().unwrap().iter();
        let name = "org.opencontainers.image.ref.name";
        let found = all.find(|one| one["annotations"][name] == tag).unwrap();
        let digest = found["digest"].as_str().unwrap().replace("sha256:", "shared/blobs/sha256/");
        let manifest: Value = serde_json::from_str(&first.read(&digest)).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        let names = layers.map(|it| it["mediaType"].as_str().unwrap().rsplit_once('.').unwrap().1);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let to = format!("--cache-to type=local,dest={folder}");
    build(&first, &format!("{to},tag=zstd,compression=zstd {to},tag=gzip"));
    assert_eq!(
        (types("zstd"), types("gzip")),
        (vec!["tar+zstd".into(); 2], vec!["tar+gzip".into(); 2])
    );
    let from = format!("--cache-from type=local,src={folder},tag=zstd");
    let to = format!("{to},compression=uncompressed");
    build(&second, &format!("{from} {to},tag=same {to},tag=plain,force-compression=true"));
    assert_eq!((types("same"), types("plain")), (types("zstd"), vec!["tar".into(); 2]));
    for tag in ["zstd", "plain"] {
        let third = home();
        third.write("app/Dockerfile", "FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n");
        let from = format!("--cache-from type=local,src={folder},tag={tag}");
        assert_eq!(build(&third, &from).ran, [""; 0]);
        assert_eq!(third.types("rbuild run --rm app cat /a /b").ok(), "1\n2");
    }
}

#[test]
fn what_was_pushed_with_the_image_is_not_sent_again() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n");
    let host = home.registry.host();
    home.types(&format!("rbuild -t {host}/app --push --cache-to {host}/other/cache app")).ok();
    let requests = home.registry.requests();
    let mounted = |request: &&String| request.starts_with("POST /v2/other/cache/");
    let sent = |request: &&String| request.starts_with("PUT /v2/other/cache/blobs/");
    let count = |which: &dyn Fn(&&String) -> bool| requests.iter().filter(which).count();
    assert_eq!((count(&mounted), count(&sent)), (3, 1), "the document alone: {requests:#?}");
}

#[test]
fn a_cache_that_cannot_be_written_fails_the_build_unless_told_otherwise() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo 1 >/a\n");
    home.write("file", "");
    let to = "--cache-to type=local,dest=file/none";
    let error = home.types(&format!("rbuild -t app {to} app")).fails(3);
    assert!(error.contains("cannot write `file/none`"), "{error}");
    let built = build(&home, &format!("{to},ignore-error=true"));
    assert!(built.stderr.contains("ERROR: cannot write `file/none`"), "{}", built.stderr);
}

#[test]
fn no_value_of_a_variable_and_no_secret_travels_in_the_document() {
    let home = home();
    home.write("token", "hunter2-secret");
    home.write(
        "app/Dockerfile",
        "FROM busybox AS make\nARG PASSWORD\n\
         RUN --mount=type=secret,id=token cat /run/secrets/token && echo $PASSWORD | wc -c >/a\n\
         FROM scratch\nCOPY --from=make /a /\n",
    );
    let to = "--cache-to type=local,dest=shared,mode=max";
    build(&home, &format!("--build-arg PASSWORD=hunter3 --secret id=token,src=token {to}"));
    let shared = home.types("find shared -type f -size -100k | xargs cat").ok();
    assert!(shared.contains("diffId"), "the document is there: {shared}");
    assert!(!shared.contains("hunter"), "{shared}");
}

#[test]
fn an_image_whose_layers_are_gone_elsewhere_is_made_here() {
    let (first, second) = two("FROM busybox\nRUN echo 1 >/a\nRUN echo 2 >/b\n");
    let host = first.registry.host();
    build(&first, &format!("--cache-to {host}/cache"));
    let layers = layers(&first.registry, "cache");
    first.registry.forget_blob("cache", &layers[1]);
    let from = format!("--cache-from {host}/cache");
    assert_eq!(build(&second, &from).ran, [""; 0]);
    let flags = format!("rbuild --progress plain {from} -t {host}/app --push app");
    let pushed = second.types(&flags);
    assert!(pushed.stderr.contains("miss: RUN echo 2"), "{pushed}");
    assert!(!pushed.stderr.contains("miss: RUN echo 1"), "{pushed}");
    pushed.ok();
    assert_eq!(second.types(&format!("rbuild run --rm {host}/app cat /a /b")).ok(), "1\n2");
}

#[test]
fn cache_mounts_travel_and_only_what_changed_is_sent_again() {
    const STEP: &str = "FROM busybox\nRUN --mount=type=cache,target=/c --mount=type=cache,id=own,target=/d \
                        echo STEP && ls /c /d >/seen; touch /c/STEP /d/STEP; \
                        test -e /c/big || head -c 49000000 /dev/urandom >/c/big\n";
    let (first, second) = two(&STEP.replace("STEP", "one"));
    let cache = format!("{}/cache", first.registry.host());
    let to = format!("--cache-to type=registry,ref={cache},mounts=/c");
    build(&first, &to);
    let chunks = layers(&first.registry, "cache").len() - 1;
    assert!(chunks > 5, "none is longer than 8 MiB: {chunks}");
    first.registry.forget_requests();

    // What is known needs no mount.
    let from = format!("--cache-from {cache}");
    assert_eq!(build(&second, &from).ran, [""; 0]);
    assert_eq!(fetched(&first.registry, &layers(&first.registry, "cache")), [""; 0]);
    // A step that runs finds what was there, of the one that travelled.
    second.write("app/Dockerfile", STEP.replace("STEP", "two"));
    first.registry.forget_requests();
    build(&second, &format!("{from} {}", to.replace("mounts=/c", "mounts=all")));
    assert_eq!(second.types("rbuild run --rm app cat /seen").ok(), "/c:\nbig\none\n\n/d:");
    let requests = first.registry.requests();
    let sent = requests.iter().filter(|request| request.starts_with("POST")).count();
    assert!(sent <= 5, "a layer, the document, `own`, and what has changed of `/c`: {sent}");
    let last = layers(&first.registry, "cache").len() - 1;
    assert!(last >= chunks, "{last}");

    // Whoever wants no cache gets none.
    second.types(&format!("rbuild -t app --no-cache {from} app")).ok();
    assert_eq!(second.types("rbuild run --rm app cat /seen").ok(), "/c:\n\n/d:");

    // A chunk that is gone leaves a step without the cache, not a build without an end.
    let third = home();
    third.write("app/Dockerfile", STEP.replace("STEP", "three"));
    first.registry.forget_blob("cache", layers(&first.registry, "cache").last().unwrap());
    let built = build(&third, &from);
    assert!(built.stderr.contains("cache mount `own` is empty"), "{}", built.stderr);
    assert_eq!(third.types("rbuild run --rm app cat /seen").ok(), "/c:\nbig\none\ntwo\n\n/d:");
}

#[test]
fn a_cache_in_a_bucket_is_used_without_a_layer() {
    let (first, second) = two(&twenty_steps());
    let bucket = Bucket::start();
    let (flags, login) = (bucket.flags(), Bucket::login());
    let build = |home: &Home, flags: &str| {
        let line = format!("{login} rbuild -t app --progress plain {flags} app");
        let built = home.types(&line);
        let (ran, stderr) = (ran(&built), built.stderr.clone());
        Built { ran, id: built.ok(), stderr }
    };
    let made = build(&first, &format!("--cache-to {flags},prefix=ci/,mode=max,name=main"));
    assert!(made.stderr.contains("exporting cache to Amazon S3"), "{}", made.stderr);
    let manifest = fs::read(bucket.file("ci/manifests/main")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers: Vec<&str> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["digest"].as_str().unwrap())
        .collect();
    assert_eq!(layers.len(), 20);

    // Without its layers it is as good.
    let aside = bucket.file("ci/aside");
    fs::create_dir(&aside).unwrap();
    let is_there = |digest: &str| bucket.file(&format!("ci/blobs/{digest}"));
    for layer in &layers {
        fs::rename(is_there(layer), aside.join(layer)).unwrap();
    }
    let found = build(&second, &format!("--cache-from '{flags},prefix=ci/,name=none;main'"));
    is_known(&found, [&second; 2], &[]);
    assert_eq!(found.id, made.id);
    for layer in &layers {
        fs::rename(aside.join(layer), is_there(layer)).unwrap();
    }
    // Whoever has the keys gets the files, later too.
    let run = format!("{login} rbuild run --rm app tail -n 1 last");
    assert_eq!(second.types(&run).ok(), "16");

    // To whom the bucket is closed, nothing is told.
    let third = home();
    third.write("app/Dockerfile", twenty_steps());
    third.write("app/src/main", "main\n");
    let wrong =
        format!("--cache-from {flags},prefix=ci/,name=main,access_key_id=x,secret_access_key=y");
    let refused = build(&third, &wrong);
    assert_eq!(refused.ran.len(), 20);
    assert!(refused.stderr.contains("403 forbidden"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
}
