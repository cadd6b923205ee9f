//! What is in the tar of a layer, and that others can read it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use proptest::prelude::*;
use rustix::fs::FileType;

use super::*;
use crate::sample::{Folder, build, things, too_deep};
use crate::tree::layer_content;

fn packed(folder: &Folder) -> Vec<u8> {
    let mut tar = Vec::new();
    let length = pack(folder.fd(), &mut tar).expect("packable");
    assert_eq!(length, tar.len() as u64);
    tar
}

fn refusal(folder: &Folder) -> String {
    pack(folder.fd(), &mut io::sink()).expect_err("not packable").to_string()
}

/// One entry, as the crate `tar` reads it.
#[derive(Debug)]
struct Unpacked {
    path: String,
    kind: char,
    link: Option<PathBuf>,
    header: tar::Header,
    data: Vec<u8>,
    pax: BTreeMap<String, Vec<u8>>,
}

fn entries(tar: &[u8]) -> Vec<Unpacked> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut data = Vec::new();
        entry.read_to_end(&mut data).expect("its data");
        let pax = entry.pax_extensions().expect("valid").into_iter().flatten().map(|record| {
            let record = record.expect("valid");
            (record.key().expect("utf-8").to_owned(), record.value_bytes().to_vec())
        });
        Unpacked {
            pax: pax.collect(),
            path: String::from_utf8(entry.path_bytes().to_vec()).expect("utf-8"),
            kind: entry.header().entry_type().as_byte().into(),
            link: entry.link_name().expect("valid").map(Into::into),
            header: entry.header().clone(),
            data,
        }
    });
    entries.collect()
}

fn names(tar: &[u8]) -> Vec<String> {
    entries(tar).into_iter().map(|entry| entry.path).collect()
}

/// Unpacks a tar with GNU tar.
fn extract(tar: &[u8]) -> Folder {
    let folder = Folder::new();
    let mut gnu = Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--same-owner", "--numeric-owner"])
        .args(["--xattrs", "--xattrs-include=*", "--directory"])
        .arg(folder.path(""))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("GNU tar is installed where these tests run");
    gnu.stdin.take().expect("it was piped").write_all(tar).expect("it is read to the end");
    let output = gnu.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    folder
}

#[test]
fn entries_are_sorted_and_named_as_in_an_image() {
    let folder = Folder::new();
    folder.file("b/x", "1").file("a-b", "").file("a/z/y", "").symlink("c", "../b");
    let tar = packed(&folder);
    assert_eq!(names(&tar), ["a/", "a/z/", "a/z/y", "a-b", "b/", "b/x", "c"]);
    assert!(tar.len().is_multiple_of(512) && tar.ends_with(&[0; 1024]));
    assert_eq!(entries(&tar)[6].link.as_deref(), Some(Path::new("../b")));
}

#[test]
fn an_empty_layer_is_an_empty_tar() {
    assert_eq!(packed(&Folder::new()), [0; 1024]);
}

#[test]
fn headers_say_what_the_files_are() {
    let folder = Folder::new();
    folder.file("file", "hello").owner("file", 7, 8).mode("file", 0o4755).mtime("file", 99);
    folder.device("device", FileType::BlockDevice, (8, 300));
    folder.device("pipe", FileType::Fifo, (0, 0));
    let tar = packed(&folder);
    let all = entries(&tar);
    let header = &all[1].header;
    assert_eq!((header.mode().ok(), header.mtime().ok()), (Some(0o4755), Some(99)));
    assert_eq!((header.uid().ok(), header.gid().ok()), (Some(7), Some(8)));
    assert_eq!(
        (header.username_bytes(), header.groupname_bytes()),
        (Some(&b""[..]), Some(&b""[..]))
    );
    assert_eq!(all[1].data, b"hello");
    let header = &all[0].header;
    assert_eq!((all[0].kind, all[2].kind), ('4', '6'));
    assert_eq!(
        (header.device_major().ok(), header.device_minor().ok()),
        (Some(Some(8)), Some(Some(300)))
    );
    assert!(all.iter().all(|entry| entry.pax.is_empty()));
}

#[test]
fn what_an_overlay_hides_is_marked() {
    let folder = Folder::new();
    folder.file("dir/b", "").whiteout("dir/a").whiteout("dir/c").whiteout("gone");
    folder.xattr("dir", "trusted.overlay.opaque", b"y");
    let tar = packed(&folder);
    let expected = ["dir/", "dir/.wh..wh..opq", "dir/.wh.a", "dir/b", "dir/.wh.c", ".wh.gone"];
    assert_eq!(names(&tar), expected);
    for entry in entries(&tar).iter().filter(|entry| entry.path.contains(".wh.")) {
        assert_eq!((entry.kind, entry.data.len()), ('0', 0));
    }
    assert!(entries(&tar).iter().all(|entry| entry.pax.is_empty()));
}

#[test]
fn an_opaque_root_is_marked_first() {
    let folder = Folder::new();
    folder.file(".a", "").xattr("", "trusted.overlay.opaque", b"y");
    assert_eq!(names(&packed(&folder)), [".wh..wh..opq", ".a"]);
}

#[test]
fn hard_links_point_to_the_first_name() {
    let folder = Folder::new();
    folder.file("z/one", "data").directory("a").hard_link("a/two", "z/one");
    folder.file("out", "").hard_link("b", "out");
    folder.rename("out", "z/out");
    let tar = packed(&folder);
    let all = entries(&tar);
    assert_eq!(names(&tar), ["a/", "a/two", "b", "z/", "z/one", "z/out"]);
    assert_eq!((all[1].kind, &all[1].data[..]), ('0', &b"data"[..]));
    assert_eq!((all[4].kind, all[4].link.as_deref()), ('1', Some(Path::new("a/two"))));
    assert_eq!((all[5].kind, all[5].link.as_deref()), ('1', Some(Path::new("b"))));
    // Another link outside of the layer does not count.
    fs::remove_file(folder.path("z/one")).expect("it is there");
    assert_eq!(entries(&packed(&folder))[1].kind, '0');
}

#[test]
fn attributes_are_packed_but_for_private_ones() {
    let folder = Folder::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    folder.file("x", "").directory("d").xattr("x", "security.capability", &capability);
    for name in ["user.b", "user.a", "trusted.t", "trusted.overlay.origin", "user.overlay.origin"] {
        folder.xattr("x", name, b"equals=and\0zero");
    }
    folder.xattr("d", "user.dir", b"");
    let tar = packed(&folder);
    let all = entries(&tar);
    assert_eq!(all[0].pax.keys().collect::<Vec<_>>(), ["SCHILY.xattr.user.dir"]);
    let keys: Vec<_> = all[1].pax.keys().map(String::as_str).collect();
    let expected = ["security.capability", "user.a", "user.b"];
    assert_eq!(keys, expected.map(|name| format!("SCHILY.xattr.{name}")));
    assert_eq!(all[1].pax["SCHILY.xattr.user.a"], b"equals=and\0zero");
    assert_eq!(extract(&tar).get_xattr("x", "security.capability"), Some(capability.to_vec()));
}

#[test]
fn attributes_of_several_lines_are_kept() {
    let folder = Folder::new();
    folder.file("x", "").xattr("x", "user.lines", b"one\n12 two=2\n\n");
    let extracted = extract(&packed(&folder));
    assert_eq!(extracted.get_xattr("x", "user.lines"), Some(b"one\n12 two=2\n\n".to_vec()));
}

#[test]
fn long_names_are_split_or_put_into_a_pax_header() {
    let folder = Folder::new();
    let cases = [
        ("n".repeat(100), false),
        ("n".repeat(101), true),
        (format!("{}/{}", "p".repeat(155), "n".repeat(100)), false),
        (format!("{}/{}", "p".repeat(156), "n".repeat(100)), true),
        (format!("{}/{}", "q".repeat(155), "n".repeat(101)), true),
        (format!("{}/{}/{}", "r".repeat(80), "s".repeat(80), "n".repeat(99)), true),
        (format!("{}/{}/{}", "t".repeat(80), "u".repeat(70), "n".repeat(99)), false),
    ];
    for (path, _) in &cases {
        folder.file(path, path);
    }
    let tar = packed(&folder);
    for entry in entries(&tar).iter().filter(|entry| entry.kind == '0') {
        let (path, is_pax) = cases.iter().find(|case| case.0 == entry.path).expect("one of them");
        assert_eq!(entry.data, path.as_bytes());
        assert_eq!(entry.pax.contains_key("path"), *is_pax, "{path}");
    }
    assert_eq!(layer_content(extract(&tar).fd()).ok(), layer_content(folder.fd()).ok());
}

#[test]
fn numbers_that_do_not_fit_go_into_a_pax_header() {
    let folder = Folder::new();
    let node = |uid, size, seconds| {
        let found = tree::walk(&tree::layer_request(folder.fd(), concerns_pack)).expect("readable");
        let mut node = found.into_iter().next().expect("the root").node;
        (node.path, node.uid, node.size) = (Path::new("x").into(), uid, size);
        node.mtime = tree::Time { seconds, nanoseconds: 5 };
        node
    };
    let pax = |node: &Node| {
        let mut tar = Entry::new(node, Type::File).render().expect("valid");
        tar.extend([0; 1024]);
        let mut archive = tar::Archive::new(&tar[..]);
        let mut entry =
            archive.entries().expect("a tar").raw(true).next().expect("one").expect("ok");
        let mut text = String::new();
        if entry.header().entry_type().as_byte() == b'x' {
            entry.read_to_string(&mut text).expect("utf-8");
        }
        text
    };
    assert_eq!(pax(&node(0o777_7777, 0o777_7777_7777, 0o777_7777_7777)), "");
    assert_eq!(pax(&node(0o1000_0000, 0, 0)), "15 uid=2097152\n");
    assert_eq!(pax(&node(0, 1 << 33, 0)), "19 size=8589934592\n");
    assert_eq!(pax(&node(0, 0, -1)), "12 mtime=-1\n");
    assert_eq!(
        pax(&node(u32::MAX, 0, i64::MAX)),
        "18 uid=4294967295\n29 mtime=9223372036854775807\n"
    );
}

#[test]
fn the_length_of_a_record_counts_its_own_digits() {
    let folder = Folder::new();
    for length in 60..120 {
        folder.file("x", "").xattr("x", "user.a", &vec![b'v'; length]);
        assert_eq!(entries(&packed(&folder))[0].pax["SCHILY.xattr.user.a"].len(), length);
    }
}

#[test]
fn what_a_layer_cannot_express_is_refused() {
    let fake = Folder::new();
    fake.file("dir/.wh.x", "");
    assert!(refusal(&fake).starts_with("cannot pack `dir/.wh.x`"), "{}", refusal(&fake));
    for (name, path) in [("trusted.overlay.redirect", "dir"), ("user.overlay.metacopy", "dir/x")] {
        let renamed = Folder::new();
        renamed.file("dir/x", "").xattr(path, name, b"/old");
        assert!(refusal(&renamed).starts_with(&format!("cannot pack `{path}`")));
    }
    let equals = Folder::new();
    equals.file("x", "").xattr("x", "user.a=b", b"");
    assert!(refusal(&equals).starts_with("cannot pack `x`"));
    let deep = Folder::new();
    too_deep(&deep);
    assert!(pack(deep.fd(), &mut io::sink()).is_err());
}

#[test]
fn no_time_is_after_the_newest_one() {
    let folder = Folder::new();
    for (name, time) in [("old", 1_000), ("new", 2_000_000_000)] {
        folder.file(name, "x");
        let file = fs::File::options().write(true).open(folder.path(name)).expect("there");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(time * 1000 + 500);
        file.set_modified(time).expect("settable");
    }
    let times = |newest| {
        let mut tar = Vec::new();
        pack_until(folder.fd(), newest, &mut tar).expect("packable");
        entries(&tar).iter().map(|entry| entry.header.mtime().expect("a time")).collect::<Vec<_>>()
    };
    assert_eq!(times(Some(1_500)), [1_500, 1_000]);
    assert_eq!(times(Some(1_000)), [1_000, 1_000]);
    assert_eq!(times(None), [2_000_000_000, 1_000]);
}

#[test]
fn sockets_are_left_out() {
    let folder = Folder::new();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("s")).expect("bindable");
    folder.file("t", "");
    assert_eq!(names(&packed(&folder)), ["t"]);
}

#[test]
fn a_file_of_another_size_than_it_had_is_an_error() {
    let folder = Folder::new();
    folder.file("x", "12345");
    let found = tree::walk(&tree::layer_request(folder.fd(), concerns_pack)).expect("readable");
    for data in ["1234", "123456", ""] {
        folder.file("x", data);
        let nodes = || found.iter().map(|found| found.node.clone());
        let error =
            stream::here(&mut io::sink(), |stream| Packer::new(folder.fd(), stream).pack(nodes()));
        assert!(matches!(error, Err(Error::Changed { path }) if path == Path::new("x")), "{data}");
    }
}

/// Fails after some bytes, like a full disk.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn large() -> Folder {
    let folder = Folder::new();
    for number in 0..300_u32 {
        folder.file(format!("d{}/f{number}", number % 7), number.to_le_bytes().repeat(20_000));
    }
    folder
}

#[test]
fn a_writer_that_fails_stops_the_packing() {
    for (folder, room) in [(large(), 3 << 20), (large(), 0), (Folder::new(), 0)] {
        let error = pack(folder.fd(), &mut Full(room)).expect_err("no room");
        assert!(matches!(error, Error::WriteTar(_)), "{error}");
    }
}

#[test]
fn a_large_layer_gives_the_same_bytes_as_on_one_thread() {
    let folder = large();
    let mut here = Vec::new();
    let found = tree::walk(&tree::layer_request(folder.fd(), concerns_pack)).expect("readable");
    let nodes = found.into_iter().map(|found| found.node);
    stream::here(&mut here, |stream| Packer::new(folder.fd(), stream).pack(nodes))
        .expect("packable");
    assert!(packed(&folder) == here);
    let packs: Vec<_> = thread::scope(|scope| {
        let packs = [(); 4].map(|()| scope.spawn(|| packed(&folder)));
        packs.map(|pack| pack.join().expect("no panic")).into()
    });
    assert!(packs.iter().all(|pack| *pack == here));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn gnu_tar_extracts_the_same_tree(things in things()) {
        let folder = build(&things);
        for (path, _) in things.iter().rev() {
            if !folder.metadata(path).is_symlink() && folder.metadata(path).is_file() {
                folder.mtime(path, 1_000_000_000);
            }
        }
        let tar = packed(&folder);
        let extracted = extract(&tar);
        prop_assert_eq!(layer_content(extracted.fd()).ok(), layer_content(folder.fd()).ok());
        for path in things.keys() {
            let times = [&folder, &extracted].map(|folder| {
                std::os::unix::fs::MetadataExt::mtime(&folder.metadata(path))
            });
            prop_assert_eq!(times[0], times[1], "{:?}", path);
        }
        prop_assert!(packed(&extracted) == tar);
    }
}
