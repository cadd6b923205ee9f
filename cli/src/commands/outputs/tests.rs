//! Tests of what `-o` is read as.

use std::path::PathBuf;

use rbuild::Compression;

use super::*;

fn path(path: &str) -> Destination {
    Destination::Path(path.into())
}

fn kinds(text: &str) -> Option<Vec<OutputKind>> {
    let outputs = output(text, false).ok()?;
    Some(outputs.into_iter().map(|output| output.kind).collect())
}

fn local(to: &str, split: Option<bool>, delete: bool) -> OutputKind {
    OutputKind::Local { to: PathBuf::from(to), split, delete }
}

#[test]
fn outputs_are_read_as_docker_reads_them() {
    use OutputKind::{CacheOnly, Docker, Oci, Registry, Store, Tar};
    let stdout = Destination::Stdout;
    let tar = |to, split| Tar { to, split };
    let table = [
        ("-", tar(stdout.clone(), None)),
        ("out", local("out", None, false)),
        ("type=local,dest=out", local("out", None, false)),
        ("type=local,dest=out,platform-split=false", local("out", Some(false), false)),
        ("type=local,dest=out,mode=delete", local("out", None, true)),
        ("type=tar,dest=x.tar", tar(path("x.tar"), None)),
        ("type=tar,dest=x.tar,platform-split", tar(path("x.tar"), Some(true))),
        ("type=oci,dest=x.tar", Oci { to: path("x.tar"), tar: true }),
        ("type=oci,dest=x,tar=false", Oci { to: path("x"), tar: false }),
        ("type=oci", Oci { to: stdout.clone(), tar: true }),
        ("type=docker", Store),
        ("type=docker,dest=-", Docker { to: stdout.clone(), tar: true }),
        ("type=image,unpack=true", Store),
        ("type=image,push=false", Store),
        ("type=image,store=false", CacheOnly),
        ("type=image,push=true,store=false", OutputKind::REGISTRY),
        (
            "type=image,\"name=a/b,c\",push-by-digest=true,name-canonical=true,push=true",
            Registry { by_digest: true },
        ),
        ("type=registry", OutputKind::REGISTRY),
        ("type=cacheonly", CacheOnly),
    ];
    for (text, expected) in table {
        assert_eq!(kinds(text), Some(vec![expected]), "{text}");
    }
    assert_eq!(kinds("type=image,push=true"), Some(vec![Store, OutputKind::REGISTRY]));
}

#[test]
fn what_an_output_cannot_do_is_refused() {
    for text in [
        "type=zip",
        "dest=x",
        "type=local",
        "type=oci,tar=false",
        "type=oci,x=1",
        "type=oci,tar=maybe",
        "type=oci,compression=bzip2",
        "type=oci,compression=estargz",
        "type=oci,compression=gzip,compression-level=10",
        "type=oci,compression=zstd,compression-level=23",
        "type=oci,compression-level=x",
        "type=oci,compression=uncompressed,compression-level=1",
        "type=oci,mode=delete",
        "type=local,dest=x,mode=move",
        "type=local,dest=x,compression=gzip",
        "type=tar,mode=delete",
        "type=image,compression=zstd",
        "type=docker,context=other",
        "type=image,push=true,registry.insecure=true",
        "type=image,name=",
        "type=oci,annotation=x",
    ] {
        assert!(output(text, false).is_err(), "{text}");
    }
}

#[test]
fn an_output_says_what_the_image_is_like() {
    let one = |text: &str| output(text, false).unwrap().pop().unwrap();
    let compression = |text: &str| one(text).packing.compression;
    assert_eq!(compression("type=oci"), None);
    assert_eq!(compression("type=oci,compression=gzip"), Some(Compression::default()));
    assert_eq!(compression("type=oci,compression-level=9"), Some(Compression::Gzip(9)));
    assert_eq!(compression("type=oci,compression=zstd"), Some(Compression::Zstd(3)));
    let strong = "type=registry,compression=zstd,compression-level=19";
    assert_eq!(compression(strong), Some(Compression::Zstd(19)));
    assert_eq!(compression("type=oci,compression=uncompressed"), Some(Compression::None));
    assert_eq!(compression("type=oci,force-compression"), Some(Compression::default()));
    let all = one("type=oci,force-compression=true,rewrite-timestamp=true,oci-mediatypes=false");
    let packing = &all.packing;
    assert!(packing.force_compression && packing.rewrite_timestamp && packing.docker_types);
    let named = one("type=registry,\"name=a,host/b:1\",annotation-index.k=v");
    assert_eq!(named.names, ["a", "host/b:1"]);
    assert_eq!(named.packing.annotations.len(), 1);
    // What only pushing needs is not said of the store.
    let both = output("type=image,push=true,compression=zstd", false).unwrap();
    assert_eq!(both[1].packing.compression, Some(Compression::Zstd(3)));
    assert_eq!(output("type=image,name=a", true).unwrap().len(), 2);
}
