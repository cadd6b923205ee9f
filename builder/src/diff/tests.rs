//! Tests of what is found to differ.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::image::{History, ImageConfig};

fn tree(fill: impl Fn(&Path)) -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let tree = read(folder.path());
    (folder, tree)
}

fn read(path: &Path) -> Tree {
    Tree::read(File::open(path).unwrap().as_fd(), &Options::default()).unwrap()
}

fn told(changes: &[FileChange]) -> Vec<String> {
    let told = |change: &FileChange| match &change.change {
        Change::Added(what) => format!("+ {} {what}", change.path),
        Change::Removed(what) => format!("- {} {what}", change.path),
        Change::Changed(aspects) => {
            let names: Vec<_> = aspects.iter().map(|one| one.what.as_str()).collect();
            format!("~ {} {}", change.path, names.join(" "))
        }
    };
    changes.iter().map(told).collect()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn each_aspect_of_a_file_is_told() {
    let fill = |is_second: bool| {
        move |root: &Path| {
            let pick = |a: &'static str, b: &'static str| if is_second { b } else { a };
            for (name, text) in [
                ("content", pick("one", "two")),
                ("size", pick("one", "three")),
                ("mode", "same"),
                ("same", "same"),
                (pick("gone", "new"), "x"),
            ] {
                fs::write(root.join(name), text).unwrap();
                mode(&root.join(name), 0o644);
            }
            mode(&root.join("mode"), if is_second { 0o600 } else { 0o644 });
            symlink(pick("a", "b"), root.join("link")).unwrap();
            if is_second {
                symlink("x", root.join("type")).unwrap();
            } else {
                fs::create_dir(root.join("type")).unwrap();
                fs::create_dir(root.join("type/inner")).unwrap();
                mode(&root.join("type"), 0o777);
                mode(&root.join("type/inner"), 0o755);
            }
        }
    };
    let ((first_root, first), (second_root, second)) = (tree(fill(false)), tree(fill(true)));
    let mut changes = files::compare(first.nodes(), second.nodes(), false);
    let owner = {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(first_root.path()).unwrap();
        format!("{}:{}", metadata.uid(), metadata.gid())
    };
    assert_eq!(
        told(&changes),
        [
            "~ /content content".to_owned(),
            format!("- /gone file 0644 {owner} 1"),
            "~ /link target".to_owned(),
            "~ /mode mode".to_owned(),
            format!("+ /new file 0644 {owner} 1"),
            "~ /size size content".to_owned(),
            "~ /type type".to_owned(),
            format!("- /type/inner directory 0755 {owner}"),
        ]
    );
    let open = |root: &tempfile::TempDir| OwnedFd::from(File::open(root.path()).unwrap());
    changes[0].digest(&open(&first_root), &open(&second_root)).unwrap();
    let Change::Changed(aspects) = &changes[0].change else { panic!("{changes:?}") };
    let one = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    assert_eq!(aspects[0].was.as_deref(), Some(one));
}

#[test]
fn times_count_on_demand_and_up_to_a_time() {
    let (folder, first) = tree(|root| fs::write(root.join("a"), "x").unwrap());
    let at = |seconds| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        File::options()
            .write(true)
            .open(folder.path().join("a"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        read(folder.path())
    };
    let _ = first;
    let (early, late) = (at(1_000), at(2_000));
    assert_eq!(files::compare(early.nodes(), late.nodes(), false), []);
    let changes = files::compare(early.nodes(), late.nodes(), true);
    assert_eq!(told(&changes), ["~ /a time"]);
    assert!(changes[0].is_time_only());
    let until = |clamp| files::compare_until(early.nodes(), late.nodes(), Some(clamp)).len();
    assert_eq!((until(500), until(1_000), until(1_500)), (0, 0, 1));
}

#[test]
fn what_a_layer_hides_is_looked_at_too() {
    let folder = tempfile::tempdir().unwrap();
    let layer = folder.path().join("files");
    for path in ["dir/inner", "opaque"] {
        fs::create_dir_all(layer.join(path)).unwrap();
    }
    fs::write(layer.join("dir/file"), "").unwrap();
    rustix::fs::lsetxattr(
        layer.join("opaque"),
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let touched = touched::Paths::of([layer.clone()].into_iter()).unwrap();
    let kept = |path: &str| touched.keep(Path::new(path)) == rbuild_cache::tree::Keep::Take;
    for path in ["dir", "dir/inner", "dir/file", "dir/file/was/a/folder", "opaque/x/y"] {
        assert!(kept(path), "{path}");
    }
    for path in ["other", "dir/other", "dir/inner/other"] {
        assert!(!kept(path), "{path}");
    }
    fs::write(folder.path().join("opaque"), "").unwrap();
    assert!(
        touched::Paths::of([layer].into_iter()).unwrap().keep(Path::new("other"))
            == rbuild_cache::tree::Keep::Take
    );
}

#[test]
fn configs_differ_field_by_field() {
    let mut first = ImageConfig::scratch(&crate::platform::host());
    let mut second = first.clone();
    first.config.env.push("A=1".to_owned());
    second.config.env.push("A=2".to_owned());
    second.config.labels.insert("note".to_owned(), "x".to_owned());
    first.config.cmd = vec!["sh".to_owned()];
    second.config.exposed_ports.insert("80/tcp".to_owned());
    let line = |text: &str, seconds| History {
        created: jiff::Timestamp::from_second(seconds).ok(),
        created_by: text.to_owned(),
        ..History::default()
    };
    first.history = vec![line("FROM", 1), line("RUN a", 2)];
    second.history = vec![line("FROM", 1), line("RUN b", 2), line("RUN c", 3), line("CMD", 4)];
    first.history.push(line("CMD", 4));
    let told = |times| -> Vec<String> {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let line = |one: Aspect| format!("{}: {} {}", one.what, dash(one.was), dash(one.now));
        config::compare(&first, &second, times).into_iter().map(line).collect()
    };
    assert_eq!(
        told(false),
        [
            "cmd: [\"sh\"] -",
            "env A: 1 2",
            "label note: - x",
            "port 80/tcp: - 80/tcp",
            "history 2: RUN a -",
            "history 2: - RUN b",
            "history 3: - RUN c",
        ]
    );
    second.history = vec![line("FROM", 1), line("RUN a", 5), line("CMD", 4)];
    let dated = config::compare(&first, &second, true);
    let dated = dated.iter().find(|one| one.what == "history 2").unwrap();
    assert_eq!(dated.now.as_deref(), Some("RUN a at 1970-01-01T00:00:05Z"));
    assert!(config::compare(&first, &first, true).is_empty());
}
