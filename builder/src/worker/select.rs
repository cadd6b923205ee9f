//! Which files of a tree the sources of a COPY or a bind mount name.
//!
//! Patterns are those of Go's `filepath.Match`, element by element, plus `**` for any number of
//! folders. A link that is named by a source is followed, inside the tree; links below it are not.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, statat};

use crate::error::StepError;

/// Links that are followed before a path is given up as a loop.
const MAX_LINKS: usize = 40;

/// One file or folder that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    /// The path as it is named, below the root of the tree.
    pub(crate) named: PathBuf,
    /// The path with its links followed.
    pub(crate) real: PathBuf,
    /// How many leading elements of `named` are left out by `--parents` (the pivot `/./`).
    pub(crate) pivot: usize,
}

/// Whether a pattern names more than one path.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Finds what a pattern names below `root`; `visible` hides paths from it.
///
/// The paths are sorted. A pattern without wildcards whose path is missing gives an error of kind
/// `NotFound`; one with wildcards that matches nothing gives nothing.
pub(crate) fn find(
    root: BorrowedFd<'_>,
    pattern: &str,
    visible: &dyn Fn(&Path, bool) -> bool,
) -> io::Result<Vec<Match>> {
    let (before, after) = pattern.split_once("/./").unwrap_or(("", pattern));
    let pivot = before.split('/').filter(|part| !part.is_empty()).count();
    let whole = format!("{before}/{after}");
    let parts: Vec<&str> = whole.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if !is_pattern(&whole) {
        let named: PathBuf = parts.iter().collect();
        let real = resolve(root, &named)?;
        let shown =
            |path: &Path| path.as_os_str().is_empty() || visible(path, is_directory(root, path));
        if !shown(&named) || !shown(&real) {
            return Err(io::ErrorKind::NotFound.into());
        }
        return Ok(vec![Match { named, real, pivot }]);
    }
    let mut found = Vec::new();
    let literal = parts.iter().take_while(|part| !is_pattern(part)).count();
    let folder: PathBuf = parts[..literal].iter().collect();
    expand(root, &folder, &parts[literal..], visible, &mut found)?;
    found.sort();
    found.dedup();
    found
        .into_iter()
        .map(|named| Ok(Match { real: resolve(root, &named)?, named, pivot }))
        .collect()
}

/// Like [`find`] in a tree from which nothing is hidden, with the errors of a step.
pub(crate) fn find_in(root: BorrowedFd<'_>, pattern: &str) -> Result<Vec<Match>, StepError> {
    find(root, pattern, &|_, _| true).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StepError::NotFound { path: pattern.to_owned(), hint: None },
        _ => StepError::file(format!("look up `{pattern}`"))(error),
    })
}

/// Collects what the remaining parts of a pattern match below a folder.
fn expand(
    root: BorrowedFd<'_>,
    folder: &Path,
    parts: &[&str],
    visible: &dyn Fn(&Path, bool) -> bool,
    found: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        found.push(folder.to_owned());
        return Ok(());
    };
    if *part == "**" {
        expand(root, folder, rest, visible, found)?;
    }
    for name in entries(root, folder)? {
        let path = folder.join(&name);
        // Links in the literal beginning of a pattern are followed, those that it matches are not.
        let directory = is_real_directory(root, &path);
        if !visible(&path, directory) {
            continue;
        }
        if *part == "**" {
            if directory {
                expand(root, &path, parts, visible, found)?;
            }
        } else if matches(part.as_bytes(), name.as_bytes()) && (rest.is_empty() || directory) {
            expand(root, &path, rest, visible, found)?;
        }
    }
    Ok(())
}

/// The names in a folder, whose path may lead through links; none when it is no folder.
fn entries(root: BorrowedFd<'_>, folder: &Path) -> io::Result<Vec<OsString>> {
    let real = resolve(root, folder)?;
    let path = if real.as_os_str().is_empty() { Path::new(".") } else { &real };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let handle = match rustix::fs::openat(root, path, flags, Mode::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::NOTDIR) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut names = Vec::new();
    for entry in Dir::new(handle)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn file_type(root: BorrowedFd<'_>, path: &Path) -> io::Result<FileType> {
    let stat = statat(root, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn is_real_directory(root: BorrowedFd<'_>, path: &Path) -> bool {
    file_type(root, path).is_ok_and(|kind| kind == FileType::Directory)
}

fn is_directory(root: BorrowedFd<'_>, path: &Path) -> bool {
    resolve(root, path)
        .is_ok_and(|real| real.as_os_str().is_empty() || is_real_directory(root, &real))
}

/// Follows every link in a path, as if `root` were `/`; the result has no links.
///
/// # Errors
/// `NotFound` when an element is missing, `FilesystemLoop` after forty links.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &Path) -> io::Result<PathBuf> {
    follow(root, path, false)
}

/// Like [`resolve`] for something that may be made yet: what is missing is taken as it is written,
/// also where a link leads to it.
pub(crate) fn resolve_new(root: BorrowedFd<'_>, path: &Path) -> io::Result<PathBuf> {
    follow(root, path, true)
}

fn follow(root: BorrowedFd<'_>, path: &Path, may_be_missing: bool) -> io::Result<PathBuf> {
    let mut real = PathBuf::new();
    let mut pending: Vec<OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        let kind = match file_type(root, &next) {
            Err(error) if may_be_missing && error.kind() == io::ErrorKind::NotFound => {
                real = next;
                continue;
            }
            kind => kind?,
        };
        match kind {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::from(rustix::io::Errno::LOOP));
                }
                let target = rustix::fs::readlinkat(root, &next, Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                if target.is_absolute() {
                    real.clear();
                }
                pending.extend(parts(target));
            }
            FileType::Directory => real = next,
            _ if pending.is_empty() => real = next,
            _ => return Err(io::Error::from(rustix::io::Errno::NOTDIR)),
        }
    }
    Ok(real)
}

/// The folders that `--parents` keeps of what a source names, from the top, and what they are.
pub(crate) fn parents(root: BorrowedFd<'_>, found: &Match) -> io::Result<Vec<(PathBuf, Stat)>> {
    let parts: Vec<_> = found.named.components().collect();
    let ends = found.pivot + 1..parts.len();
    ends.map(|end| {
        let named: PathBuf = parts[..end].iter().collect();
        let stat = statat(root, resolve(root, &named)?, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((parts[found.pivot..end].iter().collect(), stat))
    })
    .collect()
}

/// The elements of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

/// Whether a name matches one element of a pattern, by the rules of Go's `filepath.Match`.
///
/// A malformed pattern matches nothing.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (Ok(pattern), Ok(name)) = (std::str::from_utf8(pattern), std::str::from_utf8(name)) else {
        return pattern == name;
    };
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    match_from(&pattern, &name)
}

/// Backtracks over the last `*` only, so that the cost is bounded by the product of the lengths.
fn match_from(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if n < name.len() && p < pattern.len() && pattern[p] != '*' {
            if let Some(next) = match_one(&pattern[p..], name[n]) {
                p += next;
                n += 1;
                continue;
            }
        } else if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
            continue;
        } else if n == name.len() {
            return p == pattern.len();
        }
        match star {
            Some((at, from)) if from < name.len() => {
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
            _ => return false,
        }
    }
}

/// Matches one character; gives the length of the pattern that it took.
fn match_one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        ['\\'] | [] => None,
        ['[', class @ ..] => match_class(class, c).map(|length| length + 1),
        [literal, ..] => (*literal == c).then_some(1),
    }
}

/// Matches a class after its `[`; gives its length with the `]`.
fn match_class(class: &[char], c: char) -> Option<usize> {
    let negated = class.first() == Some(&'^');
    let mut at = usize::from(negated);
    let mut hit = false;
    let mut first = true;
    let one = |at: &mut usize| {
        let escaped = class.get(*at) == Some(&'\\');
        *at += usize::from(escaped);
        let found = class.get(*at).copied();
        *at += 1;
        found
    };
    loop {
        if class.get(at)? == &']' && !first {
            return (hit != negated).then_some(at + 1);
        }
        first = false;
        let low = one(&mut at)?;
        let high = if class.get(at) == Some(&'-') {
            at += 1;
            one(&mut at)?
        } else {
            low
        };
        hit |= (low..=high).contains(&c);
    }
}

#[cfg(test)]
mod tests {
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
            ("[]a]", "]", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
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
}
