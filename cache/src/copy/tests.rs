//! What COPY does to files, and to what is at their destination.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use proptest::prelude::*;
use rustix::fs::FileType;

use super::*;
use crate::sample::{Folder, build, things};
use crate::tree::{self, Tree};

/// Copies everything in one folder to a path in another one.
fn copy_to(
    source: &Folder,
    destination: &Folder,
    path: &str,
    options: &Options<'_>,
) -> Result<Copied> {
    let tree = Tree::read(source.fd(), &tree::Options::default()).expect("readable");
    let items: Vec<Item<'_>> = tree.nodes().iter().map(|node| item(node, path)).collect();
    copy(source.fd(), &items, destination.fd(), options)
}

fn item<'n>(node: &'n Node, path: &str) -> Item<'n> {
    let below = &*node.path;
    let destination = Path::new(path).join(below);
    Item { source: below.into(), destination, node, previous: None }
}

fn copied(source: &Folder, destination: &Folder, path: &str) -> Copied {
    copy_to(source, destination, path, &Options::default()).expect("copied")
}

fn message(result: Result<Copied>) -> String {
    result.expect_err("it must not be copied").to_string()
}

#[test]
fn files_keep_everything_but_their_owner() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("dir/file", "data").owner("dir/file", 7, 8).mode("dir/file", 0o4711);
    source.xattr("dir/file", "user.x", b"1").xattr("dir", "user.y", b"2");
    source.symlink("dir/link", "/not/here").mtime("dir/file", 1000).mode("dir", 0o1777);
    source.owner("dir", 9, 9).mtime("dir", 2000);
    let result = copied(&source, &to, "app");
    assert_eq!(result, Copied { items: 4, linked: 0, bytes: 4 });
    let file = to.metadata("app/dir/file");
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (0, 0, 0o4711));
    assert_eq!((file.mtime(), file.atime()), (1000, 1000));
    assert_eq!(to.read("app/dir/file"), "data");
    let directory = to.metadata("app/dir");
    assert_eq!((directory.uid(), directory.mode() & 0o7777, directory.mtime()), (0, 0o1777, 2000));
    assert_eq!(to.get_xattr("app/dir/file", "user.x"), Some(b"1".to_vec()));
    assert_eq!(to.get_xattr("app/dir", "user.y"), Some(b"2".to_vec()));
    let link = fs::read_link(to.path("app/dir/link")).expect("a link");
    assert_eq!(link, Path::new("/not/here"));
    let times =
        |folder: &Folder, path| (folder.metadata(path).mtime(), folder.metadata(path).mtime_nsec());
    assert_eq!(times(&to, "app/dir/link"), times(&source, "dir/link"));
}

#[test]
fn owner_and_mode_can_be_set() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("file", "").file("run", "").mode("run", 0o700).symlink("link", "x");
    let mode: ModeChange = "u=rwX,go=rX".parse().expect("valid");
    let options = Options { owner: Owner::Set(5, 6), mode: Some(&mode), ..Options::default() };
    copy_to(&source, &to, "new/app", &options).expect("copied");
    for (path, mode) in [("new/app/file", 0o644), ("new/app/run", 0o755), ("new/app", 0o755)] {
        let file = to.metadata(path);
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (5, 6, mode), "{path}");
    }
    assert_eq!((to.metadata("new").uid(), to.metadata("new/app/link").gid()), (5, 6));
    let mode: ModeChange = "4750".parse().expect("valid");
    let options = Options { mode: Some(&mode), ..options };
    copy_to(&source, &to, "octal/app", &options).expect("copied");
    assert_eq!(to.metadata("octal").mode() & 0o7777, 0o750, "a parent is never set-user-id");
    assert_eq!(to.metadata("octal/app/file").mode() & 0o7777, 0o4750);
}

#[test]
fn owners_can_be_kept() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("file", "").owner("file", 7, 8).mode("file", 0o6755).symlink("link", "x");
    let options = Options { owner: Owner::Keep, ..Options::default() };
    copy_to(&source, &to, "new", &options).expect("copied");
    let file = to.metadata("new/file");
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (7, 8, 0o6755));
}

#[test]
fn a_group_that_a_directory_passes_on_is_not_kept() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("file", "").directory("dir").symlink("link", "x");
    to.directory("app").owner("app", 0, 50).mode("app", 0o2775);
    copied(&source, &to, "app");
    for path in ["app/file", "app/dir", "app/link"] {
        assert_eq!(to.metadata(path).gid(), 0, "{path}");
    }
}

#[test]
fn hard_links_stay_hard_links() {
    let (source, to) = (Folder::new(), Folder::new());
    source
        .file("a/one", "1")
        .directory("b")
        .hard_link("b/two", "a/one")
        .hard_link("b/three", "a/one");
    source.file("alone", "").hard_link("../outside", "alone");
    copied(&source, &to, "");
    fs::remove_file(source.path("../outside")).expect("it is there");
    let inode = |path| (to.metadata(path).ino(), to.metadata(path).nlink());
    assert_eq!(inode("a/one").1, 3);
    assert_eq!(inode("a/one"), inode("b/two"));
    assert_eq!(inode("a/one"), inode("b/three"));
    assert_eq!(inode("alone").1, 1);
}

#[test]
fn special_files_are_made_again_and_sockets_become_files() {
    let (source, to) = (Folder::new(), Folder::new());
    source.device("pipe", FileType::Fifo, (0, 0)).mode("pipe", 0o622);
    source.device("null", FileType::CharacterDevice, (1, 3)).mode("null", 0o666);
    source.device("disk", FileType::BlockDevice, (8, 1));
    let _socket = std::os::unix::net::UnixListener::bind(source.path("socket")).expect("bindable");
    copied(&source, &to, "");
    assert!(to.metadata("pipe").file_type().is_fifo());
    assert_eq!(to.metadata("pipe").mode() & 0o777, 0o622);
    let null = to.metadata("null");
    assert!(null.file_type().is_char_device() && null.mode() & 0o777 == 0o666);
    assert_eq!(null.rdev(), source.metadata("null").rdev());
    assert!(to.metadata("disk").file_type().is_block_device());
    assert!(to.metadata("socket").is_file() && to.metadata("socket").len() == 0);
}

#[test]
fn a_whiteout_is_not_copied() {
    let (source, to) = (Folder::new(), Folder::new());
    source.whiteout("gone");
    let error = message(copy_to(&source, &to, "", &Options::default()));
    assert!(error.contains("`gone`"), "{error}");
    assert!(!to.path("gone").exists());
}

#[test]
fn directories_that_are_there_keep_their_metadata() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("dir/new", "").mode("dir", 0o700).mtime("dir", 5);
    to.file("app/dir/old", "").mode("app/dir", 0o777).owner("app/dir", 3, 3);
    copied(&source, &to, "app");
    let directory = to.metadata("app/dir");
    assert_eq!((directory.mode() & 0o777, directory.uid()), (0o777, 3));
    assert!(to.path("app/dir/old").exists() && to.path("app/dir/new").exists());
    let options = Options { overwrite_directories: true, ..Options::default() };
    copy_to(&source, &to, "app", &options).expect("copied");
    let directory = to.metadata("app/dir");
    assert_eq!((directory.mode() & 0o777, directory.uid(), directory.mtime()), (0o700, 0, 5));
}

#[test]
fn a_directory_and_something_else_do_not_replace_one_another() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("x/file", "");
    to.file("app/x", "").file("other/x/file/deep", "").symlink("links/x", "elsewhere");
    let conflict = |path| message(copy_to(&source, &to, path, &Options::default()));
    assert_eq!(conflict("app"), "cannot copy the directory `x` onto the file `app/x`");
    assert_eq!(
        conflict("other"),
        "cannot copy the file `x/file` onto the directory `other/x/file`"
    );
    assert_eq!(conflict("links"), "cannot copy the directory `x` onto the link `links/x`");
    assert_eq!(conflict("app/x"), "cannot copy the directory `` onto the file `app/x`");
    assert!(conflict("app/x/below").contains("`app/x/below`"));
    assert_eq!(to.read("app/x"), "");
}

#[test]
fn files_and_links_are_replaced_and_never_written_through() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("a", "new").symlink("b", "new").file("c", "new").file("d", "new");
    to.file("target", "old").symlink("a", "target").file("b", "old").file("c", "old");
    to.hard_link("c2", "c").device("d", FileType::Fifo, (0, 0));
    copied(&source, &to, "");
    assert!(to.metadata("a").is_file() && to.metadata("b").is_symlink());
    let texts = ["target", "a", "c", "c2", "d"].map(|path| to.read(path));
    assert_eq!(texts, ["old", "new", "new", "old", "new"]);
}

#[test]
fn links_in_parents_are_followed_inside_the_root() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("file", "1").file("dir/x", "2");
    to.directory("real").symlink("absolute", "/real").symlink("up", "../../real/./");
    to.directory("usr/lib").symlink("lib", "usr/lib").symlink("dangling", "/run/../var/new");
    for path in ["absolute/a", "up/b", "lib/c", "dangling/d"] {
        copied(&source, &to, path);
    }
    for path in ["real/a/file", "real/b/dir/x", "usr/lib/c/file", "var/new/d/dir/x"] {
        assert!(to.path(path).is_file(), "{path}");
    }
    assert!(to.metadata("lib").is_symlink() && to.metadata("dangling").is_symlink());
    assert_eq!(to.metadata("var/new").mode() & 0o7777, 0o755);
}

#[test]
fn the_topmost_directory_may_land_on_a_link_to_one() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("file", "1");
    to.directory("real")
        .symlink("app", "real")
        .symlink("new", "made")
        .file("f", "")
        .symlink("bad", "f");
    copied(&source, &to, "app");
    copied(&source, &to, "new");
    assert!(to.path("real/file").is_file() && to.path("made/file").is_file());
    assert!(to.metadata("app").is_symlink());
    assert!(message(copy_to(&source, &to, "bad", &Options::default())).contains("`bad`"));
}

#[test]
fn links_that_go_in_circles_are_errors() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("file", "1");
    to.symlink("a", "b").symlink("b", "a").symlink("self", "self/x");
    for path in ["a/x", "b", "self/y", "self"] {
        assert!(copy_to(&source, &to, path, &Options::default()).is_err(), "{path}");
    }
}

#[test]
fn later_items_win_over_earlier_ones() {
    let (one, to) = (Folder::new(), Folder::new());
    one.file("a/x", "first")
        .file("b/x", "second")
        .file("b/y", "")
        .symlink("l", "else")
        .file("m", "under");
    let tree = Tree::read(one.fd(), &tree::Options::default()).expect("readable");
    let get = |path: &str, destination: &str| Item {
        source: path.into(),
        destination: destination.into(),
        node: tree.get(Path::new(path)).expect("it is there"),
        previous: None,
    };
    let items = [get("b/x", "to/x"), get("a/x", "to/x"), get("l", "to/z"), get("m", "to/z/m")];
    let copied = copy(one.fd(), &items, to.fd(), &Options::default()).expect("copied");
    assert_eq!(copied.items, 4);
    assert_eq!(to.read("to/x"), "first");
    // The link comes first, so what goes below it goes where it points.
    assert!(to.metadata("to/z").is_symlink());
    assert_eq!(to.read("to/else/m"), "under");
    let items = [get("a/x", "to/q"), get("b", "to/q")];
    assert!(
        message(copy(one.fd(), &items, to.fd(), &Options::default())).contains("onto the file")
    );
}

#[test]
fn a_file_that_changed_since_it_was_looked_at_is_an_error() {
    let (source, to) = (Folder::new(), Folder::new());
    for data in ["longer", "s", "same!"] {
        source.file("x", "12345").mtime("x", 1);
        let tree = Tree::read(source.fd(), &tree::Options::default()).expect("readable");
        source.file("x", data);
        let items = [item(&tree.nodes()[1], "")];
        let error = copy(source.fd(), &items, to.fd(), &Options::default());
        assert!(matches!(error, Err(Error::Changed { .. })), "{data}: {error:?}");
    }
}

#[test]
fn links_on_the_way_to_a_source_are_not_followed() {
    let (source, to) = (Folder::new(), Folder::new());
    source.file("real/x", "").symlink("link", "real").symlink("x", "real/x");
    let tree = Tree::read(source.fd(), &tree::Options::default()).expect("readable");
    let node = tree.get(Path::new("real/x")).expect("it is there");
    for path in ["link/x", "x", "../x", "missing"] {
        let items = [Item { source: path.into(), ..item(node, "") }];
        assert!(copy(source.fd(), &items, to.fd(), &Options::default()).is_err(), "{path}");
    }
}

#[test]
fn unchanged_files_become_names_of_those_in_an_earlier_layer() {
    let (source, before, after) = (Folder::new(), Folder::new(), Folder::new());
    source.file("d/same", "1").file("d/other", "2").symlink("link", "d");
    copied(&source, &before, "app");
    source.file("d/other", "3");
    let tree = Tree::read(source.fd(), &tree::Options::default()).expect("readable");
    let mut items: Vec<Item<'_>> = tree.nodes().iter().map(|node| item(node, "app")).collect();
    for item in &mut items {
        let name = item.destination.file_name().expect("a name");
        let previous = if name == "other" { "app/lost".into() } else { item.destination.clone() };
        item.previous = (!item.node.is_directory()).then_some(previous);
    }
    let options = Options { previous: Some(before.fd()), ..Options::default() };
    let copied = copy(source.fd(), &items, after.fd(), &options).expect("copied");
    assert_eq!(copied, Copied { items: 5, linked: 2, bytes: 1 });
    let inode = |folder: &Folder, path| folder.metadata(path).ino();
    assert_eq!(inode(&after, "app/d/same"), inode(&before, "app/d/same"));
    assert_ne!(inode(&after, "app/d/other"), inode(&before, "app/d/other"));
    assert_eq!((after.read("app/d/other"), before.read("app/d/other")), ("3".into(), "2".into()));
    // Replacing a linked file leaves the earlier layer alone.
    source.file("d/same", "4");
    self::copied(&source, &after, "app");
    assert_eq!(before.read("app/d/same"), "1");
}

#[test]
fn many_and_large_files_are_copied_whole() {
    let (source, to) = (Folder::new(), Folder::new());
    let data: Vec<u8> = (0..5_000_011_u32).map(|number| (number % 253) as u8).collect();
    for (number, size) in [0, 1, 131_071, 131_072, 131_073, 5_000_011].into_iter().enumerate() {
        source.file(format!("large/{number}"), &data[..size]);
    }
    for number in 0..2000 {
        source.file(format!("{}/{number}", number % 30), number.to_string());
    }
    let copied = copied(&source, &to, "");
    let content = |folder: &Folder| {
        Tree::read(folder.fd(), &tree::Options::default()).expect("readable").content()
    };
    assert_eq!(content(&source), content(&to));
    assert_eq!(copied.items, 2000 + 6 + 30 + 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_copy_with_owners_equals_the_original(things in things()) {
        let (source, to) = (build(&things), Folder::new());
        let options = Options { owner: Owner::Keep, ..Options::default() };
        copy_to(&source, &to, "deep/er", &options).expect("copied");
        let tree = |folder: &Folder, root: &str| {
            let roots = [PathBuf::from(root)];
            let options = tree::Options { roots: &roots, ..tree::Options::default() };
            let tree = Tree::read(folder.fd(), &options).expect("readable");
            let times: Vec<_> = tree.nodes().iter().map(|node| node.mtime).collect();
            (tree.nodes()[0].digest(), times)
        };
        prop_assert_eq!(tree(&source, ""), tree(&to, "deep/er"));
    }
}
