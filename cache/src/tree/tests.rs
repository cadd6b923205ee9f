//! What a tree contains, what its digests cover, and what the stat cache saves.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rustix::fs::FileType;

use super::*;
use crate::Error;
use crate::sample::{Folder, Things, build, things, too_deep};

type Change = fn(&Folder) -> &Folder;

fn read(folder: &Folder) -> Tree {
    Tree::read(folder.fd(), &Options::default()).expect("a readable folder")
}

fn content(folder: &Folder) -> ContentId {
    read(folder).content()
}

fn layer(folder: &Folder) -> ContentId {
    layer_content(folder.fd()).expect("a readable folder")
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.nodes().iter().map(|node| node.path.to_str().expect("ascii")).collect()
}

fn example() -> Folder {
    let folder = Folder::new();
    folder.file("src/main.rs", "fn main() {}").file("src/lib/mod.rs", "").directory("empty");
    folder.symlink("link", "src/main.rs").file("run", "#!").mode("run", 0o755);
    folder.xattr("run", "user.comment", b"hello");
    folder
}

#[test]
fn nodes_are_in_the_order_of_components() {
    let folder = Folder::new();
    folder.file("a/b", "").file("a-b", "").file("a.b/c", "").file("b", "").directory("a/z");
    let tree = read(&folder);
    assert_eq!(paths(&tree), ["", "a", "a/b", "a/z", "a-b", "a.b", "a.b/c", "b"]);
    for node in tree.nodes() {
        assert_eq!(tree.get(&node.path), Some(node), "{:?}", node.path);
    }
    assert_eq!(tree.get(Path::new("a/c")), None);
    let children = |path: &str| -> Vec<String> {
        tree.children(Path::new(path)).map(|node| node.path.display().to_string()).collect()
    };
    assert_eq!(children(""), ["a", "a-b", "a.b", "b"]);
    assert_eq!(children("a"), ["a/b", "a/z"]);
    assert!(children("b").is_empty() && children("missing").is_empty());
    assert_eq!(tree.subtree(Path::new("a.b")).len(), 2);
}

#[test]
fn nodes_say_what_the_files_are() {
    let folder = Folder::new();
    folder.file("file", "12345").mode("file", 0o4711).owner("file", 7, 8).mtime("file", 99);
    folder.mode("file", 0o4711).xattr("file", "user.b", b"2").xattr("file", "user.a", b"1");
    folder.hard_link("again", "file").symlink("link", "a/../b");
    folder.device("device", FileType::CharacterDevice, (5, 1));
    folder.device("pipe", FileType::Fifo, (0, 0));
    let tree = read(&folder);
    let get = |path: &str| tree.get(Path::new(path)).expect("it is there");
    let file = get("file");
    assert_eq!((&file.kind, file.mode, file.uid, file.gid), (&Kind::File, 0o4711, 7, 8));
    assert_eq!((file.size, file.mtime.seconds, file.links), (5, 99, 2));
    let names: Vec<_> = file.xattrs.iter().map(|xattr| xattr.name.to_str()).collect();
    assert_eq!(names, [Some("user.a"), Some("user.b")]);
    assert_eq!((file.dev, file.ino), (get("again").dev, get("again").ino));
    assert_eq!(get("link").kind, Kind::Symlink { target: Path::new("a/../b").into() });
    assert_eq!((&get("device").kind, get("device").device()), (&Kind::CharDevice, (5, 1)));
    assert_eq!(get("pipe").kind, Kind::Fifo);
}

#[test]
fn times_and_foreign_attributes_do_not_count() {
    let (one, two) = (example(), example());
    two.mtime("run", 1).mtime("src", 2).xattr("run", "trusted.other", b"x");
    assert_eq!(content(&one), content(&two));
    assert_eq!(layer(&one), layer(&two));
}

#[test]
fn whatever_else_changes_counts() {
    let before = content(&example());
    let changes: [(&str, Change); 13] = [
        ("data", |f| f.file("src/main.rs", "fn main() {;")),
        ("size", |f| f.file("src/main.rs", "")),
        ("mode", |f| f.mode("run", 0o744)),
        ("set-id bit", |f| f.mode("run", 0o4755)),
        ("mode of a directory", |f| f.mode("src", 0o700)),
        ("mode of the folder", |f| f.mode("", 0o711)),
        ("user", |f| f.owner("run", 1, 0)),
        ("group", |f| f.owner("run", 0, 1)),
        ("attribute", |f| f.xattr("run", "user.comment", b"world")),
        ("attribute of a directory", |f| f.xattr("src", "user.comment", b"x")),
        ("name", |f| f.rename("run", "ran")),
        ("place", |f| f.rename("run", "src/run")),
        ("new directory", |f| f.directory("empty/too")),
    ];
    for (what, change) in changes {
        let folder = example();
        change(&folder);
        assert_ne!(content(&folder), before, "{what}");
    }
}

#[test]
fn kinds_targets_and_device_numbers_count() {
    let make: [Change; 7] = [
        |f| f.file("x", ""),
        |f| f.directory("x").mode("x", 0o644),
        |f| f.symlink("x", "y"),
        |f| f.symlink("x", "z"),
        |f| f.device("x", FileType::CharacterDevice, (1, 3)).mode("x", 0o644),
        |f| f.device("x", FileType::CharacterDevice, (1, 5)).mode("x", 0o644),
        |f| f.device("x", FileType::BlockDevice, (1, 3)).mode("x", 0o644),
    ];
    let mut ids: Vec<ContentId> = make
        .iter()
        .map(|make| {
            let folder = Folder::new();
            make(&folder);
            content(&folder)
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), make.len());
}

#[test]
fn a_node_is_named_without_its_path() {
    let folder = Folder::new();
    folder.file("a/x", "1").file("b/x", "1").file("c/y", "1");
    let tree = read(&folder);
    let digest = |path: &str| tree.get(Path::new(path)).expect("it is there").digest();
    assert_eq!(digest("a"), digest("b"));
    assert_ne!(digest("a"), digest("c"));
    assert_eq!(digest("a/x"), digest("c/y"));
}

#[test]
fn owners_can_count_as_root() {
    let (one, two) = (example(), example());
    two.owner("run", 5, 6).owner("src", 5, 6);
    let options = Options { owners: Owners::Root, ..Options::default() };
    let content = |f: &Folder| Tree::read(f.fd(), &options).expect("readable").content();
    assert_eq!(content(&one), content(&two));
}

#[test]
fn the_filter_takes_skips_and_descends() {
    let folder = Folder::new();
    folder.file("taken/x", "").file("skipped/y", "").file("maybe/deep/er/z", "");
    folder.file("vain/deep/w", "").file("vain/v", "").directory("taken/empty");
    let calls = AtomicUsize::new(0);
    let keep = |path: &Path, is_directory: bool| {
        calls.fetch_add(1, Ordering::Relaxed);
        assert_eq!(
            is_directory,
            path.extension().is_none() && path.as_os_str().len() > 1 && {
                let name = path.file_name().expect("never the root").len();
                name > 1
            }
        );
        match path.to_str().expect("ascii") {
            "skipped" => Keep::Skip,
            "maybe/deep/er/z" => Keep::Take,
            path if path.starts_with("taken") => Keep::Take,
            _ => Keep::Descend,
        }
    };
    let options = Options { keep: &keep, ..Options::default() };
    let tree = Tree::read(folder.fd(), &options).expect("readable");
    let expected = ["", "maybe", "maybe/deep", "maybe/deep/er", "maybe/deep/er/z"];
    assert_eq!(paths(&tree)[..5], expected);
    assert_eq!(paths(&tree)[5..], ["taken", "taken/empty", "taken/x"]);
    // Not one call for what is below `skipped`.
    assert_eq!(calls.into_inner(), 12);
}

#[test]
fn only_roots_are_read() {
    let folder = example();
    let roots = ["src/lib", "src/lib/mod.rs", "./run", "src/lib"].map(PathBuf::from);
    let options = Options { roots: &roots, ..Options::default() };
    let tree = Tree::read(folder.fd(), &options).expect("readable");
    assert_eq!(paths(&tree), ["run", "src/lib", "src/lib/mod.rs"]);
    let whole = read(&folder);
    let digest = |tree: &Tree| tree.get(Path::new("src/lib")).map(Node::digest);
    assert_eq!(digest(&tree), digest(&whole));
}

#[test]
fn missing_roots_and_links_to_them_are_errors() {
    let folder = Folder::new();
    folder.file("dir/x", "").symlink("link", "dir").symlink("out", "/etc");
    for root in ["missing", "link/x", "out/passwd", "../x", "dir/../../x"] {
        let roots = [PathBuf::from(root)];
        let options = Options { roots: &roots, ..Options::default() };
        let error = Tree::read(folder.fd(), &options).expect_err(root);
        assert!(matches!(&error, Error::File { path, .. } if path == Path::new(root)), "{error}");
    }
}

#[test]
fn data_is_hashed_as_blake3_does() {
    let folder = Folder::new();
    let sizes = [0, 1, 1 << 17, (1 << 17) + 1, (1 << 20) + 1, 3_000_007];
    let data: Vec<u8> = (0..3_000_007_u32).map(|number| (number % 251) as u8).collect();
    for size in sizes {
        folder.file(size.to_string(), &data[..size]);
    }
    let tree = read(&folder);
    for size in sizes {
        let node = tree.get(Path::new(&size.to_string())).expect("it is there");
        assert_eq!(node.data, *blake3::hash(&data[..size]).as_bytes(), "{size} bytes");
    }
}

#[test]
fn many_files_give_what_few_files_give() {
    let many = Folder::new();
    for number in 0..1500 {
        many.file(format!("flat/{number:04}"), number.to_string());
        many.file(format!("deep/{}/{}/{number}", number % 40, number % 3), "");
    }
    let tree = read(&many);
    assert_eq!(tree.children(Path::new("flat")).count(), 1500);
    for number in [0, 777, 1499] {
        let roots = [format!("flat/{number:04}").into(), format!("deep/{}", number % 40).into()];
        let options = Options { roots: &roots, ..Options::default() };
        let few = Tree::read(many.fd(), &options).expect("readable");
        for root in &roots {
            assert_eq!(few.subtree(root).len(), tree.subtree(root).len());
            assert_eq!(few.get(root).map(Node::digest), tree.get(root).map(Node::digest));
        }
    }
}

#[test]
fn a_path_too_long_for_the_kernel_is_an_error() {
    let folder = Folder::new();
    too_deep(&folder);
    let error = Tree::read(folder.fd(), &Options::default()).expect_err("too long");
    assert!(matches!(error, Error::File { .. }));
}

/// The sources of this crate: files that did not change within the last moments.
fn rested() -> fs::File {
    fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tree")).expect("it is there")
}

fn cached(cache: &Path) -> Tree {
    let folder = rested();
    let options = Options { stat_cache: Some(cache), ..Options::default() };
    Tree::read(std::os::fd::AsFd::as_fd(&folder), &options).expect("readable")
}

fn known(cache: &Path) -> usize {
    let folder = rested();
    let cache = StatCache::load(cache);
    let mut request = layer::request(std::os::fd::AsFd::as_fd(&folder), counts);
    request.cache = Some(&cache);
    let found = walk(&request).expect("readable");
    found.iter().filter(|found| found.node.is_file() && found.known).count()
}

#[test]
fn the_stat_cache_knows_what_was_read_before() {
    let place = Folder::new();
    let cache = place.path("cache");
    assert_eq!(known(&cache), 0);
    let first = cached(&cache);
    let files = first.nodes().iter().filter(|node| node.is_file()).count();
    assert_eq!(known(&cache), files);
    let written = place.metadata("cache").modified().expect("times are kept");
    assert_eq!(cached(&cache), first);
    assert_eq!(place.metadata("cache").modified().expect("times are kept"), written);
}

#[test]
fn a_damaged_stat_cache_is_no_cache() {
    let place = Folder::new();
    let cache = place.path("cache");
    let first = cached(&cache);
    let good = fs::read(&cache).expect("it was written");
    for at in [0, 7, 20, 45, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&cache, bad).expect("writable");
        assert_eq!(known(&cache), 0, "byte {at}");
        assert_eq!(cached(&cache), first);
    }
    for length in [0, 39, 40, good.len() - 1] {
        fs::write(&cache, &good[..length]).expect("writable");
        assert_eq!(known(&cache), 0, "{length} bytes");
    }
    // It has been made again after damage, and without leaving anything beside it.
    cached(&cache);
    assert_eq!(fs::read(&cache).expect("it was written"), good);
    assert_eq!(fs::read_dir(place.path("")).expect("readable").count(), 1);
}

#[test]
fn other_folders_do_not_push_files_out_of_the_stat_cache() {
    let place = Folder::new();
    let cache = place.path("cache");
    let folder = fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("it is there");
    let roots = [PathBuf::from("tree"), PathBuf::from("copy")];
    for root in &roots {
        let options = Options {
            roots: std::slice::from_ref(root),
            stat_cache: Some(&cache),
            ..Options::default()
        };
        Tree::read(std::os::fd::AsFd::as_fd(&folder), &options).expect("readable");
    }
    let files = cached(&place.path("other")).nodes().iter().filter(|node| node.is_file()).count();
    assert_eq!(known(&cache), files);
}

#[test]
fn a_stat_cache_that_cannot_be_written_is_no_error() {
    let tree = cached(Path::new("/proc/no/such/place"));
    assert!(!tree.nodes().is_empty());
}

#[test]
fn a_file_changed_just_now_is_read_again() {
    let (folder, place) = (Folder::new(), Folder::new());
    let cache = place.path("cache");
    let options = Options { stat_cache: Some(&cache), ..Options::default() };
    let content = || Tree::read(folder.fd(), &options).expect("readable").content();
    // The same size and time of change each time, as a careless program may leave them.
    let mut ids: Vec<ContentId> = (0..20)
        .map(|number| {
            folder.file("x", format!("{number:02}")).mtime("x", 1);
            content()
        })
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn what_a_layer_hides_counts() {
    let plain = || {
        let folder = Folder::new();
        folder.file("etc/hosts", "");
        folder
    };
    let before = layer(&plain());
    let whiteout = plain();
    whiteout.whiteout("etc/gone");
    let opaque = plain();
    opaque.xattr("etc", "trusted.overlay.opaque", b"y");
    let without_privilege = plain();
    without_privilege.xattr("etc", "user.overlay.opaque", b"y");
    let not_opaque = plain();
    not_opaque.xattr("etc", "trusted.overlay.opaque", b"x");
    let root = plain();
    root.xattr("", "trusted.overlay.opaque", b"y");
    assert_ne!(layer(&whiteout), before);
    assert_ne!(layer(&opaque), before);
    assert_ne!(layer(&root), before);
    assert_ne!(layer(&root), layer(&opaque));
    assert_eq!(layer(&without_privilege), layer(&opaque));
    assert_eq!(layer(&not_opaque), before);
}

#[test]
fn the_folder_of_a_layer_and_the_overlays_notes_do_not_count() {
    let (one, two) = (example(), example());
    two.mode("", 0o700).owner("", 3, 3).xattr("src", "trusted.overlay.origin", b"z");
    two.xattr("src", "trusted.overlay.impure", b"y").xattr("run", "user.overlay.origin", b"z");
    assert_eq!(layer(&one), layer(&two));
    two.owner("src", 1, 1);
    assert_ne!(layer(&one), layer(&two));
}

fn same(one: &Things, two: &Things) -> bool {
    let (one, two) = (build(one), build(two));
    assert_eq!(content(&one) == content(&two), layer(&one) == layer(&two));
    content(&one) == content(&two)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equal_contents_have_equal_ids(things in things()) {
        prop_assert!(same(&things, &things));
    }

    #[test]
    fn different_contents_have_different_ids(one in things(), two in things()) {
        prop_assert_eq!(same(&one, &two), one == two);
    }

    #[test]
    fn one_change_is_seen(
        mut things in things(),
        index in any::<prop::sample::Index>(),
        two in crate::sample::things(),
    ) {
        prop_assume!(!things.is_empty() && !two.is_empty());
        let before = things.clone();
        let path = things.keys().nth(index.index(things.len())).cloned().expect("in range");
        let other = two.values().next().cloned().expect("not empty");
        things.retain(|below, _| *below == path || !below.starts_with(&path));
        things.insert(path, other);
        prop_assert_eq!(same(&before, &things), before == things);
    }
}
