//! What patterns name, and what they do not.

use super::*;
use std::os::fd::AsFd;

#[test]
fn elements_match_as_in_go() {
    for (pattern, name, expected) in [
        ("*", "", true),
        ("*.rs", "main.rs", true),
        ("*.rs", "main.rc", false),
        ("a*b*c", "aXbYbc", true),
        ("a*b*c", "aXbYbd", false),
        ("?", "é", true),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[[]x", "[x", true),
        ("\\*", "*", true),
        ("\\*", "x", false),
        ("[", "[", false),
        ("[a", "a", false),
        ("a[", "a", false),
        ("[]a]", "]", false),
        ("[x-]", "x", false),
        ("[\\-x]", "-", true),
        ("[^\\]]", "]", false),
    ] {
        assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
    }
    assert!(matches(b"caf?.*", b"caf\xe9.txt"), "names need not be text");
}

#[test]
fn patterns_that_no_name_can_match_are_known() {
    for pattern in ["[", "a[", "[a", "[]a]", "[-]", "[x-]", "[a-b-c]", "a\\", "[\\"] {
        assert!(is_malformed(pattern), "{pattern}");
    }
    for pattern in ["", "a]", "[a]", "[^a-c]*?", "\\[", "[[]", "[\\]]", "-"] {
        assert!(!is_malformed(pattern), "{pattern}");
    }
}

#[test]
fn many_stars_look_through_each_folder_once() {
    let folder = tempfile::tempdir().unwrap();
    let deep: PathBuf = std::iter::repeat_n("a", 40).collect();
    std::fs::create_dir_all(folder.path().join(deep)).unwrap();
    let root = std::fs::File::open(folder.path()).unwrap();
    let pattern = format!("{}b", "**/a/".repeat(12));
    // On each of its ways it would take longer than there is time.
    assert_eq!(find_in(root.as_fd(), &pattern).unwrap(), []);
}

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["a/b/c", "d"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    for file in ["a/1.txt", "a/b/2.txt", "a/b/c/3.txt", "d/4.md"] {
        std::fs::write(root.path().join(file), file).unwrap();
    }
    std::os::unix::fs::symlink("/a/b", root.path().join("link")).unwrap();
    std::os::unix::fs::symlink("../../../etc", root.path().join("out")).unwrap();
    std::os::unix::fs::symlink("loop", root.path().join("loop")).unwrap();
    root
}

fn names(pattern: &str) -> io::Result<Vec<(String, String)>> {
    let tree = tree();
    let root = std::fs::File::open(tree.path()).unwrap();
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let all = find(root.as_fd(), pattern, &|_, _| true)?;
    Ok(all.into_iter().map(|found| (text(found.named), text(found.real))).collect())
}

#[test]
fn links_that_are_named_are_followed_inside_the_tree() {
    let same = |name: &str, real: &str| vec![(name.to_owned(), real.to_owned())];
    assert_eq!(names("link").unwrap(), same("link", "a/b"));
    assert_eq!(names("link/c/3.txt").unwrap(), same("link/c/3.txt", "a/b/c/3.txt"));
    assert_eq!(names("out").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(names("loop").is_err());
    assert_eq!(names("a/1.txt/x").unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn what_is_escaped_is_a_name_that_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a*b"), "").unwrap();
    let root = std::fs::File::open(folder.path()).unwrap();
    let found = find_in(root.as_fd(), "a\\*\\b").unwrap();
    assert_eq!(found[0].named, Path::new("a*b"));
    for missing in ["a\\*c", "a\\b"] {
        let error = find_in(root.as_fd(), missing).unwrap_err();
        assert!(matches!(error, StepError::NotFound { .. }), "{error}");
    }
}

#[test]
fn only_files_are_opened() {
    let tree = tree();
    let root = std::fs::File::open(tree.path()).unwrap();
    let pipe = tree.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::os::unix::fs::symlink("/outside", tree.path().join("away")).unwrap();
    std::fs::write(tree.path().join("plain"), "").unwrap();
    std::fs::create_dir(tree.path().join("folder")).unwrap();
    let open = |path: &str| open_file(root.as_fd(), Path::new(path));
    assert!(open("plain").is_ok());
    assert_eq!(open("pipe").unwrap_err().to_string(), "it is no file");
    assert_eq!(open("folder").unwrap_err().to_string(), "it is a folder");
    assert_eq!(open("away").unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_is_to_be_made_may_be_missing_behind_links() {
    let tree = tree();
    let root = std::fs::File::open(tree.path()).unwrap();
    let real = |path: &str| resolve_new(root.as_fd(), Path::new(path));
    assert_eq!(real("link/new/../other").unwrap(), Path::new("a/b/other"));
    assert_eq!(real("out/x").unwrap(), Path::new("etc/x"));
    assert_eq!(real("a/1.txt/x").unwrap_err().kind(), io::ErrorKind::NotADirectory);
    assert!(real("loop").is_err());
}

#[test]
fn wildcards_match_element_by_element_and_stars_any_depth() {
    let named = |pattern: &str| -> Vec<String> {
        names(pattern).unwrap().into_iter().map(|(named, _)| named).collect()
    };
    assert_eq!(named("*/*.txt"), ["a/1.txt"]);
    assert_eq!(named("link/*.txt"), ["link/2.txt"]);
    assert_eq!(named("**/*.txt"), ["a/1.txt", "a/b/2.txt", "a/b/c/3.txt"]);
    assert_eq!(named("*.nothing"), Vec::<String>::new());
    assert_eq!(named("."), [""]);
    assert_eq!(names("missing").unwrap_err().kind(), io::ErrorKind::NotFound);
}
