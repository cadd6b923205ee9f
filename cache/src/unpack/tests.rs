//! What is unpacked from archives, and what is refused.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::snapshot::{Blob, Layer};

/// A tar that is put together by hand, so that it can be wrong.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(
        mut self,
        flag: u8,
        path: &str,
        content: &[u8],
        edit: impl Fn(&mut tar::Header),
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(tar::EntryType::new(flag));
        header.set_mode(if flag == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        edit(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(b'0', path, content.as_bytes(), |_| {})
    }

    fn folder(self, path: &str) -> Self {
        self.entry(b'5', path, b"", |_| {})
    }

    fn link(self, flag: u8, path: &str, target: &str) -> Self {
        self.entry(flag, path, b"", |header| {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.link(b'2', path, target)
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(b'1', path, target)
    }

    fn device(self, flag: u8, path: &str, (major, minor): (u32, u32)) -> Self {
        self.entry(flag, path, b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length =
                (1..8).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l);
            bytes.extend_from_slice(format!("{} {key}=", length.unwrap()).as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.entry(b'x', "pax", &bytes, |_| {})
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

struct Unpacked {
    store: Store,
    id: LayerId,
    files: PathBuf,
}

fn try_unpack(tar: &[u8]) -> (Store, Result<LayerId>) {
    let store = Store::temporary().unwrap();
    // What a tar could reach if it got out of its folder.
    fs::write(store.root().join("outside"), "untouched").unwrap();
    let result = store.unpack(digest(tar), tar);
    assert_eq!(fs::read_to_string(store.root().join("outside")).unwrap(), "untouched");
    (store, result)
}

fn unpack(tar: Tar) -> Unpacked {
    let (store, id) = try_unpack(&tar.end());
    let id = id.unwrap();
    let files = store.layer_folder(id).join("files");
    Unpacked { store, id, files }
}

/// Checks that a tar is refused for a reason, and that nothing of it is left.
fn check_refused(tar: Tar, reason: &str) {
    let (store, result) = try_unpack(&tar.end());
    let error = result.unwrap_err();
    let text = match io::Error::other(error).into_inner() {
        Some(error) => format!("{error}: {:?}", error.source().map(ToString::to_string)),
        None => String::new(),
    };
    assert!(text.contains(reason), "{text}");
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 0);
    assert!(!store.root().join("diff-ids").exists());
}

impl Unpacked {
    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.files.join(path)).unwrap()
    }

    fn status(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.files.join(path)).unwrap()
    }

    fn attribute(&self, path: &str, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 256];
        let length = rustix::fs::lgetxattr(self.files.join(path), name, &mut value).ok()?;
        value.truncate(length);
        Some(value)
    }

    fn is_whiteout(&self, path: &str) -> bool {
        self.status(path).file_type().is_char_device() && self.status(path).rdev() == 0
    }

    fn is_opaque(&self, path: &str) -> bool {
        self.attribute(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
    }

    fn is_marked(&self, mark: &str) -> bool {
        self.store.layer_folder(self.id).join(mark).exists()
    }
}

#[test]
fn a_tar_becomes_a_layer() {
    let tar = Tar::default()
        .entry(b'5', "./", b"", |header| header.set_mode(0o711))
        .folder("etc/")
        .entry(b'0', "etc/shadow", b"secret", |header| {
            header.set_mode(0o640);
            header.set_uid(3_000_000);
            header.set_gid(42);
        })
        .entry(b'0', "su", b"#!", |header| header.set_mode(0o4755))
        .symlink("etc/link", "/nowhere")
        .hard_link("shadow", "etc/shadow")
        .device(b'3', "null", (1, 3))
        .device(b'4', "disk", (8, 300))
        .entry(b'6', "fifo", b"", |_| {})
        .file("made/on/the/way", "x");
    let layer = unpack(tar);
    assert_eq!(layer.status("").mode() & 0o7777, 0o711);
    assert_eq!(layer.status("").mtime(), 1_000_000_000);
    let shadow = layer.status("etc/shadow");
    assert_eq!((shadow.mode(), shadow.uid(), shadow.gid()), (0o100_640, 3_000_000, 42));
    assert_eq!((shadow.nlink(), shadow.mtime()), (2, 1_000_000_000));
    assert_eq!(layer.read("shadow"), "secret");
    assert_eq!(layer.status("etc").mtime(), 1_000_000_000);
    assert_eq!(layer.status("su").mode() & 0o7777, 0o4755);
    assert_eq!(fs::read_link(layer.files.join("etc/link")).unwrap(), PathBuf::from("/nowhere"));
    assert_eq!(layer.status("etc/link").mtime(), 1_000_000_000);
    assert_eq!(layer.status("null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(layer.status("disk").rdev(), rustix::fs::makedev(8, 300));
    assert!(layer.status("disk").file_type().is_block_device());
    assert!(layer.status("fifo").file_type().is_fifo());
    assert_eq!(layer.status("made/on").mode() & 0o7777, 0o755);
    assert_eq!(layer.read("made/on/the/way"), "x");
    assert!(layer.is_marked(PLAIN) && !layer.is_marked(OPAQUE));
}

#[test]
fn pax_records_and_long_names_are_understood() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let capability: &[u8] = &[1, 0, 0, 2, 10, b'=', 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::default()
        .pax(&[
            ("path", long.as_bytes()),
            ("mtime", b"-1.25"),
            ("uid", b"5000000"),
            ("SCHILY.xattr.user.name", b"a\nb=c"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("comment", b"ignored"),
        ])
        .file("short", "pax")
        .entry(b'L', "@LongLink", format!("{}\0", "n".repeat(150)).as_bytes(), |_| {})
        .file("short", "gnu")
        .entry(b'K', "@LongLink", format!("{}\0", "t".repeat(180)).as_bytes(), |_| {})
        .symlink("link", "short")
        .entry(b'g', "global", b"14 path=wrong\n", |_| {})
        .pax(&[("size", b"5")])
        .entry(b'0', "sized", b"12345", |header| header.set_size(0));
    let layer = unpack(tar);
    assert_eq!(layer.read(&long), "pax");
    let status = layer.status(&long);
    assert_eq!((status.mtime(), status.mtime_nsec(), status.uid()), (-2, 750_000_000, 5_000_000));
    assert_eq!(layer.attribute(&long, "user.name").unwrap(), b"a\nb=c");
    assert_eq!(layer.attribute(&long, "security.capability").unwrap(), capability);
    assert_eq!(layer.attribute(&long, "trusted.overlay.redirect"), None);
    assert_eq!(layer.read(&"n".repeat(150)), "gnu");
    let target = fs::read_link(layer.files.join("link")).unwrap();
    assert_eq!(target, PathBuf::from("t".repeat(180)));
    assert_eq!(layer.read("sized"), "12345");
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let tar = Tar::default()
        .file("a/.wh.gone", "")
        .folder("new/")
        .file("new/.wh..wh..opq", "")
        .file("new/file", "")
        .file(".wh..wh.plnk", "")
        .file("kept", "kept")
        .file(".wh.kept", "")
        .folder("both/")
        .file(".wh.both", "")
        .file(".wh.back", "")
        .folder("back/")
        .file(".wh.way", "")
        .file("way/to/it", "");
    let layer = unpack(tar);
    assert!(layer.is_whiteout("a/gone"));
    assert!(layer.is_opaque("new") && layer.is_opaque("both") && layer.is_opaque("back"));
    assert!(layer.is_opaque("way") && !layer.is_opaque("way/to") && !layer.is_opaque("a"));
    assert_eq!(layer.read("kept"), "kept");
    let mut names: Vec<_> =
        fs::read_dir(&layer.files).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "back", "both", "kept", "new", "way"]);
    assert!(!layer.is_marked(PLAIN) && !layer.is_marked(OPAQUE));
    assert!(unpack(Tar::default().file(".wh..wh..opq", "")).is_marked(OPAQUE));
}

#[test]
fn the_later_of_two_entries_wins() {
    let tar = Tar::default()
        .file("file", "first, and longer")
        .file("file", "second")
        .folder("tree/")
        .file("tree/deep/file", "")
        .symlink("tree", "file")
        .file("folder", "")
        .entry(b'5', "folder", b"", |header| header.set_mode(0o700))
        .file("folder/in", "in")
        .entry(b'5', "folder", b"", |header| header.set_mode(0o750))
        .folder("device/")
        .file("device/x", "")
        .device(b'3', "device", (1, 5))
        .symlink("link", "file")
        .file("link", "own")
        .hard_link("link", "file")
        .hard_link("link", "link");
    let layer = unpack(tar);
    assert_eq!(layer.read("file"), "second");
    assert_eq!(fs::read_link(layer.files.join("tree")).unwrap(), PathBuf::from("file"));
    assert_eq!(layer.status("folder").mode() & 0o777, 0o750);
    assert_eq!(layer.read("folder/in"), "in");
    assert_eq!(layer.status("device").rdev(), rustix::fs::makedev(1, 5));
    assert_eq!((layer.read("link").as_str(), layer.status("link").nlink()), ("second", 2));
}

#[test]
fn links_never_lead_out_of_the_layer() {
    let up = "../../../../../..";
    let tar = Tar::default()
        .symlink("up", up)
        .file("up/outside", "caught")
        .symlink("root", "/")
        .file("root/etc/made", "caught")
        .symlink("one", "two")
        .symlink("two", &format!("{up}/three"))
        .file("one/file", "caught")
        .entry(b'5', "one/", b"", |header| header.set_mode(0o700))
        .file("/absolute", "inside");
    let layer = unpack(tar);
    assert_eq!(layer.read("outside"), "caught");
    assert_eq!(layer.read("etc/made"), "caught");
    assert_eq!(layer.read("three/file"), "caught");
    // A folder takes the place of the link.
    assert_eq!(layer.status("one").mode(), 0o040_700);
    assert_eq!(layer.read("absolute"), "inside");

    for target in ["../outside", "/../outside", "a/../../outside"] {
        check_refused(Tar::default().hard_link("link", target), "make the hard link");
    }
    // Below the root of the layer there is nothing of that name.
    for target in ["up/outside", "/outside"] {
        let tar = Tar::default().symlink("up", up).hard_link("link", target);
        check_refused(tar, "make the hard link");
    }
}

#[test]
fn hostile_entries_are_refused() {
    let start = Tar::default;
    check_refused(start().file("../outside", ""), "leads upwards");
    check_refused(start().file("a/../../outside", ""), "leads upwards");
    check_refused(start().file(".wh...", ""), "make the whiteout");
    check_refused(start().file("a/.wh..", ""), "make the whiteout");
    check_refused(start().file(".wh.", ""), "make the whiteout");
    check_refused(start().file(".wh.a/b", ""), "through a whiteout");
    check_refused(start().device(b'3', "hidden", (0, 0)), "0:0");
    check_refused(start().file("./", "").symlink(".", "/"), "the root something else");
    check_refused(start().file("a", "").file("a/b", ""), "folders above");
    check_refused(
        start().symlink("a", "b").symlink("b", "a").file("a/c", ""),
        "levels of symbolic",
    );
    check_refused(start().hard_link("a", "b"), "No such file");
    check_refused(start().entry(b'S', "sparse", b"", |_| {}), "sparse");
    check_refused(start().entry(b'V', "volume", b"", |_| {}), "unknown kind");
    check_refused(start().entry(b'5', "sized", b"x", |_| {}), "has a size");
}

#[test]
fn archives_that_two_readers_would_read_differently_are_refused() {
    let start = Tar::default;
    let pax = |key, value: &'static [u8]| start().pax(&[(key, value)]);
    check_refused(pax("size", b"512").file("a", "12345"), "disagree about a size");
    check_refused(pax("path", b"a").pax(&[("path", b"b")]).file("c", ""), "two extensions");
    let long = |tar: Tar| tar.entry(b'L', "@LongLink", b"name\0", |_| {});
    check_refused(long(pax("path", b"a")).file("c", ""), "GNU long name");
    check_refused(long(long(start())).file("c", ""), "two extensions");
    check_refused(long(start()), "ends where an entry was announced");
    check_refused(pax("path", b"a\0b").file("c", ""), "`path` is malformed");
    check_refused(pax("GNU.sparse.major", b"1").file("c", ""), "not supported");
    check_refused(start().entry(b'x', "pax", b"99 path=a\n", |_| {}), "malformed");
    check_refused(start().entry(b'x', "pax", b"x", |h| h.set_size(1 << 30)), "mebibyte");
    let mut lone = start().file("a", "");
    lone.0.resize(lone.0.len() + 512, 0);
    check_refused(lone.file("b", ""), "lone block");
    let mut wrong = start().file("a", "");
    wrong.0[0] = b'b';
    check_refused(wrong, "checksum");

    // A PAX record is about the next file, not about the long name between them.
    let tar = long(pax("size", b"5")).entry(b'0', "x", b"12345", |_| {}).file("next", "");
    let layer = unpack(tar);
    assert_eq!(layer.read("name"), "12345");
    assert_eq!(layer.read("next"), "");
}

/// A connection that breaks.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn a_stream_that_breaks_off_is_refused() {
    let tar = Tar::default().entry(b'0', "large", b"x", |header| header.set_size(1 << 30));
    let (_store, result) = try_unpack(&tar.0);
    assert!(result.unwrap_err().to_string().contains("middle of an entry"));
    let (_store, result) = try_unpack(&Tar::default().file("a", "").0[..100]);
    assert!(result.unwrap_err().to_string().contains("middle of a header"));

    let store = Store::temporary().unwrap();
    let half = Tar::default().file("a", "b").0;
    let result = store.unpack(digest(b""), half.chain(Broken));
    assert!(matches!(result, Err(Error::ReadTar(_))), "{result:?}");
}

#[test]
fn digest_and_size_are_those_of_the_whole_stream() {
    let mut tar = Tar::default().file("a", "b").end();
    tar.extend_from_slice(&[7; 5000]);
    let (store, id) = try_unpack(&tar);
    let layer = Layer::Pulled {
        diff_id: digest(&tar),
        blob: Blob {
            digest: digest(b""),
            size: 0,
            media_type: String::new(),
            from: None,
            created: None,
        },
    };
    let files = store.layer_folder(id.unwrap()).join("files");
    assert_eq!(store.layer_path(&layer), Some(files));
    assert_eq!(store.layer_size(&layer).unwrap(), Some(tar.len() as u64));

    let wrong = store.unpack(digest(b"other"), &*tar);
    assert!(matches!(wrong, Err(Error::WrongDigest { .. })), "{wrong:?}");
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 1);
}

#[test]
fn a_layer_that_is_here_is_not_read_again() {
    let tar = Tar::default().file("a", "b").end();
    let (store, id) = try_unpack(&tar);
    assert_eq!(store.unpack(digest(&tar), io::empty()).unwrap(), id.unwrap());

    let other = Tar::default().file("a", "c").end();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (store, other) = (store.clone(), other.clone());
            std::thread::spawn(move || store.unpack(digest(&other), &*other).unwrap())
        })
        .collect();
    let ids: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 2);
}

#[test]
fn a_link_to_a_layer_that_is_gone_is_replaced() {
    let tar = Tar::default().file("a", "b").end();
    let (store, id) = try_unpack(&tar);
    fs::remove_dir_all(store.layer_folder(id.unwrap())).unwrap();
    let again = store.unpack(digest(&tar), &*tar).unwrap();
    assert!(store.layer_folder(again).is_dir());
    assert_eq!(store.unpacked(&digest(&tar)), Some(again));
}

#[test]
fn what_was_packed_is_unpacked_the_same() {
    let tar = Tar::default()
        .folder("new/")
        .file("new/.wh..wh..opq", "")
        .entry(b'0', "new/file", b"x", |header| header.set_mode(0o4711))
        .symlink("link", "new")
        .file(".wh.gone", "");
    let layer = unpack(tar);
    let mut packed = Vec::new();
    layer.store.pack(&Layer::Made(layer.id), &mut packed).unwrap();
    let (store, id) = try_unpack(&packed);
    let hidden = store.root().join(format!("layers/{}/files/gone", id.as_ref().unwrap()));
    assert_eq!(fs::symlink_metadata(hidden).unwrap().mtime(), 1_000_000_000);
    let mut again = Vec::new();
    store.pack(&Layer::Made(id.unwrap()), &mut again).unwrap();
    assert!(packed == again);
}

#[test]
fn large_files_pass_piece_by_piece() {
    let content = "0123456789abcdef".repeat(100_000);
    let layer = unpack(Tar::default().file("large", &content).file("after", "x"));
    assert!(layer.read("large") == content);
    assert_eq!(layer.read("after"), "x");
    assert_eq!(layer.status("large").permissions().mode() & 0o777, 0o644);
}

#[test]
fn what_is_added_to_a_folder_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::File::open(folder.path()).unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    let tar = Tar::default().file(".wh.a", "");
    let error = unpack_into(root.as_fd(), tar.0.as_slice(), None).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "names that begin with `.wh.` stand for removed files");
    assert!(folder.path().join("a").exists());
}
