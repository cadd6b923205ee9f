//! Which files of a tree the sources of a COPY or a bind mount name.
//!
//! Patterns are those of Go's `filepath.Match`, element by element, plus `**` for any number of
//! folders. A link that is named by a source is followed, inside the tree; links below it are not.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
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

/// Whether a text has signs that mean something in patterns.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether a pattern can name more than one path: what is escaped stands for itself.
fn has_wildcards(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// The name that a pattern without wildcards stands for.
fn unescaped(pattern: &str) -> String {
    let mut characters = pattern.chars();
    let next = move || match characters.next()? {
        '\\' => characters.next(),
        c => Some(c),
    };
    std::iter::from_fn(next).collect()
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
    if !has_wildcards(&whole) {
        let named: PathBuf = parts.iter().map(|part| unescaped(part)).collect();
        let real = resolve(root, &named)?;
        let shown =
            |path: &Path| path.as_os_str().is_empty() || visible(path, is_directory(root, path));
        if !shown(&named) || !shown(&real) {
            return Err(io::ErrorKind::NotFound.into());
        }
        return Ok(vec![Match { named, real, pivot }]);
    }
    let literal = parts.iter().take_while(|part| !is_pattern(part)).count();
    let folder: PathBuf = parts[..literal].iter().collect();
    let mut search = Search { root, visible, seen: HashSet::new(), found: BTreeSet::new() };
    search.expand(&folder, &parts[literal..])?;
    search
        .found
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

/// The search for what a pattern matches.
struct Search<'a> {
    root: BorrowedFd<'a>,
    visible: &'a dyn Fn(&Path, bool) -> bool,
    /// The folders that were looked through, with how many parts of the pattern were left: several
    /// `**` lead to each on many ways.
    seen: HashSet<(PathBuf, usize)>,
    found: BTreeSet<PathBuf>,
}

impl Search<'_> {
    /// Collects what the remaining parts of a pattern match below a folder.
    fn expand(&mut self, folder: &Path, parts: &[&str]) -> io::Result<()> {
        let Some((part, rest)) = parts.split_first() else {
            self.found.insert(folder.to_owned());
            return Ok(());
        };
        if !self.seen.insert((folder.to_owned(), parts.len())) {
            return Ok(());
        }
        if *part == "**" {
            self.expand(folder, rest)?;
        }
        for name in entries(self.root, folder)? {
            let path = folder.join(&name);
            // Links in the literal beginning of a pattern are followed, those that it matches are not.
            let directory = is_real_directory(self.root, &path);
            if !(self.visible)(&path, directory) {
                continue;
            }
            if *part == "**" {
                if directory {
                    self.expand(&path, parts)?;
                }
            } else if matches(part.as_bytes(), name.as_bytes()) && (rest.is_empty() || directory) {
                self.expand(&path, rest)?;
            }
        }
        Ok(())
    }
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

/// Opens a file that a path leads to inside a tree, if it is one: a pipe would be waited for.
pub(crate) fn open_file(root: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let real = resolve(root, path)?;
    let kind = file_type(root, &real)?;
    if kind != FileType::RegularFile {
        let reason = if kind == FileType::Directory { "it is a folder" } else { "it is no file" };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(rustix::fs::openat(root, &real, flags, Mode::empty())?.into())
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
    match_from(&characters(pattern), &characters(name))
}

/// The characters of a name; each byte that belongs to none counts as one, as in Go.
fn characters(name: &[u8]) -> Vec<char> {
    let mut characters = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        characters.extend(chunk.valid().chars());
        characters.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    characters
}

/// Whether no name can match a pattern, since a class or an escape in it has no end.
pub(crate) fn is_malformed(pattern: &str) -> bool {
    let characters: Vec<char> = pattern.chars().collect();
    let mut rest = characters.as_slice();
    while let Some(first) = rest.first() {
        // Any character does: whether it is of the class does not matter here.
        let length = match (first, rest) {
            ('[', [_, class @ ..]) => read_class(class, ' ').map(|(length, _)| length + 1),
            ('\\', rest) => (rest.len() > 1).then_some(2),
            _ => Some(1),
        };
        match length {
            Some(length) => rest = &rest[length..],
            None => return true,
        }
    }
    false
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
        ['[', class @ ..] => match read_class(class, c)? {
            (length, true) => Some(length + 1),
            _ => None,
        },
        [literal, ..] => (*literal == c).then_some(1),
    }
}

/// Reads a class after its `[`; gives its length with the `]`, and whether a character belongs to it.
fn read_class(class: &[char], c: char) -> Option<(usize, bool)> {
    let negated = class.first() == Some(&'^');
    let start = usize::from(negated);
    let (mut at, mut hit) = (start, false);
    let one = |at: &mut usize| {
        let escaped = class.get(*at) == Some(&'\\');
        *at += usize::from(escaped);
        let found = class.get(*at).copied().filter(|c| escaped || !matches!(c, '-' | ']'));
        *at += 1;
        found
    };
    loop {
        if class.get(at)? == &']' && at > start {
            return Some((at + 1, hit != negated));
        }
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
mod tests;
