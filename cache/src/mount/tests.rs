//! What views and writable trees show.

use std::fs;
use std::os::fd::AsRawFd;

use rustix::fs::{FileType, XattrFlags};

use super::*;
use crate::id::{Digest, LayerId};
use crate::snapshot::Blob;

/// Makes a layer of files; a path that ends in a slash is a folder, one that starts with `-` is a
/// whiteout.
fn layer(store: &Store, paths: &[&str]) -> Layer {
    let staged = store.stage().unwrap();
    for path in paths {
        let place = staged.files().join(path.trim_start_matches('-'));
        if path.starts_with('-') {
            let kind = FileType::CharacterDevice;
            rustix::fs::mknodat(CWD, &place, kind, Mode::empty(), 0).expect("this test needs root");
        } else if path.ends_with('/') {
            fs::create_dir_all(&place).unwrap();
        } else {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, path).unwrap();
        }
    }
    staged.commit(None).unwrap()
}

/// What the root of a tree shows, sorted.
fn list(tree: &OwnedFd) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/self/fd/{}", tree.as_raw_fd())).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(tree: &OwnedFd, path: &str) -> String {
    let file = rustix::fs::openat(tree, path, OFlags::RDONLY, Mode::empty()).unwrap();
    io::read_to_string(fs::File::from(file)).unwrap()
}

fn create(tree: &OwnedFd, path: &str) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE;
    rustix::fs::openat(tree, path, flags, Mode::from_raw_mode(0o644))
}

#[test]
fn layers_are_shown_as_one_tree() {
    let store = Store::temporary().unwrap();
    let base = layer(&store, &["a", "b", "folder/x"]);
    let top = layer(&store, &["-a", "c", "folder/y"]);
    assert!(list(&store.view(&[]).unwrap()).is_empty());
    assert_eq!(list(&store.view(std::slice::from_ref(&base)).unwrap()), ["a", "b", "folder"]);
    let tree = store.view(&[base, top.clone()]).unwrap();
    assert_eq!(list(&tree), ["b", "c", "folder"]);
    assert_eq!(
        (read(&tree, "folder/x"), read(&tree, "folder/y")),
        ("folder/x".into(), "folder/y".into())
    );
    assert_eq!(create(&tree, "new").unwrap_err(), rustix::io::Errno::ROFS);
    // A layer alone does not show its whiteouts.
    assert_eq!(list(&store.view(&[top]).unwrap()), ["c", "folder"]);
}

#[test]
fn a_plain_pulled_layer_is_shown_without_a_mount() {
    let store = Store::temporary().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(2);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, "file", &b"in"[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    let diff_id = Digest::from_bytes(<sha2::Sha256 as sha2::Digest>::digest(&tar).into());
    let id = store.unpack(diff_id, &*tar).unwrap();
    let blob =
        Blob { digest: diff_id, size: 0, media_type: String::new(), from: None, created: None };
    let view = store.view(&[Layer::Pulled { diff_id, blob }]).unwrap();
    assert_eq!(read(&view, "file"), "in");
    let folder = fs::canonicalize(format!("/proc/self/fd/{}", view.as_raw_fd())).unwrap();
    let files = store.layer_path(&Layer::Made(id)).unwrap();
    assert_eq!(folder, fs::canonicalize(files).unwrap());
}

#[test]
fn changes_go_into_the_staged_layer() {
    let store = Store::temporary().unwrap();
    let base = layer(&store, &["a", "b", "folder/x"]);
    let root = store.layer_path(&base).unwrap();
    rustix::fs::chown(&root, Some(Uid::from_raw(5)), Some(Gid::from_raw(6))).unwrap();
    rustix::fs::chmod(&root, Mode::from_raw_mode(0o1775)).unwrap();
    let staged = store.stage().unwrap();
    let tree = store.writable(std::slice::from_ref(&base), &staged).unwrap();
    let status = rustix::fs::fstat(&tree).unwrap();
    assert_eq!((status.st_mode & 0o7777, status.st_uid, status.st_gid), (0o1775, 5, 6));
    create(&tree, "new").unwrap();
    rustix::fs::unlinkat(&tree, "a", rustix::fs::AtFlags::empty()).unwrap();
    assert_eq!(list(&tree), ["b", "folder", "new"]);
    drop(tree);
    let top = staged.commit(None).unwrap();
    // The work folder of the mount is left beside it for the sweep, as is that of the base.
    assert_eq!(store.sweep().unwrap(), 2);
    assert_eq!(list(&store.view(&[base.clone(), top]).unwrap()), ["b", "folder", "new"]);
    assert_eq!(list(&store.view(&[base]).unwrap()), ["a", "b", "folder"]);
}

#[test]
fn an_empty_tree_can_be_written_to() {
    let store = Store::temporary().unwrap();
    let staged = store.stage().unwrap();
    let tree = store.writable(&[], &staged).unwrap();
    assert_eq!(rustix::fs::fstat(&tree).unwrap().st_mode & 0o7777, 0o755);
    create(&tree, "new").unwrap();
    drop(tree);
    let layer = staged.commit(None).unwrap();
    assert_eq!(list(&store.view(&[layer]).unwrap()), ["new"]);
}

#[test]
fn opaque_folders_and_layers_hide_what_is_below() {
    let store = Store::temporary().unwrap();
    let base = layer(&store, &["a", "folder/x"]);
    let top = layer(&store, &["folder/y"]);
    let files = store.layer_path(&top).unwrap();
    let opaque = "trusted.overlay.opaque";
    rustix::fs::setxattr(files.join("folder"), opaque, b"y", XattrFlags::empty()).unwrap();
    let tree = store.view(&[base.clone(), top.clone()]).unwrap();
    assert!(rustix::fs::statat(&tree, "folder/x", rustix::fs::AtFlags::empty()).is_err());
    assert_eq!(list(&tree), ["a", "folder"]);
    fs::write(files.with_file_name(OPAQUE), "").unwrap();
    assert_eq!(list(&store.view(&[base, top]).unwrap()), ["folder"]);
}

#[test]
fn many_layers_are_mounted() {
    let store = Store::temporary().unwrap();
    let layers: Vec<_> = (0..130).map(|n| layer(&store, &["same", &format!("f{n:03}")])).collect();
    let tree = store.view(&layers).unwrap();
    assert_eq!(list(&tree).len(), 131);
    let staged = store.stage().unwrap();
    let tree = store.writable(&layers, &staged).unwrap();
    create(&tree, "new").unwrap();
    assert_eq!(list(&tree).len(), 132);
    let error = store.view(&vec![layers[0].clone(); 501]).unwrap_err();
    assert!(error.to_string().starts_with("the tree has 501 layers, more than the 500"), "{error}");
}

#[test]
fn long_and_odd_paths_are_mounted() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("l".repeat(200)).join("with: comma, and \\ back");
    let store = Store::open(root).unwrap();
    let (one, two) = (layer(&store, &["a"]), layer(&store, &["b"]));
    let staged = store.stage().unwrap();
    let tree = store.writable(&[one, two], &staged).unwrap();
    assert_eq!(list(&tree), ["a", "b"]);
}

#[test]
fn a_refused_mount_says_why() {
    let store = Store::temporary().unwrap();
    let missing = Layer::Made(LayerId::from_bytes([1; 16]));
    assert!(matches!(store.view(&[missing]), Err(Error::NoLayer(_))));
    let base = layer(&store, &["a"]);
    let file = store.layer_path(&base).unwrap().join("a");
    let error = Overlay { lower: &[file], upper: None }.mount().unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot mount an overlay of 1 layers: the option lowerdir+="),
        "{text}"
    );
    // The kernel's own words come after ours.
    assert!(text.ends_with("/files/a is not a directory"), "{text}");
    assert!(std::error::Error::source(&error).is_some());
    // Of this the kernel says nothing here, but in its log.
    let folder = store.layer_path(&base).unwrap();
    let error = Overlay { lower: &[folder], upper: None }.mount().unwrap_err().to_string();
    assert!(error.ends_with("the layers were refused (the kernel's log may say why)"), "{error}");
}
