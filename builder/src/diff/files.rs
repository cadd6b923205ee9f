//! What differs between two lists of files: pure.

use std::cmp::Ordering;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rbuild_cache::tree::{Kind, Node, Time};

use super::Aspect;
use crate::view;

/// How the content of a file is called.
const CONTENT: &str = "content";

/// One path at which two images differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The absolute path.
    pub path: String,
    /// How it differs.
    pub change: Change,
}

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the second image has it; it is described by its kind, mode, owner and size.
    Added(String),
    /// Only the first image has it.
    Removed(String),
    /// Both have it.
    Changed(Vec<Aspect>),
}

impl FileChange {
    /// Says what the contents are that differ.
    pub(super) fn digest(&mut self, first: &OwnedFd, second: &OwnedFd) -> io::Result<()> {
        let path = Path::new(self.path.trim_start_matches('/')).to_owned();
        let Change::Changed(aspects) = &mut self.change else { return Ok(()) };
        for aspect in aspects.iter_mut().filter(|aspect| aspect.what == CONTENT) {
            aspect.was = Some(view::sha256(first, &path)?);
            aspect.now = Some(view::sha256(second, &path)?);
        }
        Ok(())
    }

    /// Whether nothing but times differ.
    pub fn is_time_only(&self) -> bool {
        matches!(&self.change, Change::Changed(all) if all.iter().all(|one| one.what == "time"))
    }
}

/// Compares two lists, each sorted by path; times count only where `times` says so.
pub(super) fn compare(first: &[Node], second: &[Node], times: bool) -> Vec<FileChange> {
    compare_until(first, second, times.then_some(i64::MAX))
}

/// The same with times of which none after `clamp`, in seconds since 1970, is told from it.
pub(super) fn compare_until(
    first: &[Node],
    second: &[Node],
    clamp: Option<i64>,
) -> Vec<FileChange> {
    let (mut first, mut second) = (first.iter().peekable(), second.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (first.peek(), second.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        let was = if order == Ordering::Greater { None } else { first.next() };
        let now = if order == Ordering::Less { None } else { second.next() };
        let (node, change) = match (was, now) {
            (Some(was), Some(now)) => (was, Change::Changed(aspects(was, now, clamp))),
            (Some(was), None) => (was, Change::Removed(described(was))),
            (None, Some(now)) => (now, Change::Added(described(now))),
            (None, None) => return changes,
        };
        if !matches!(&change, Change::Changed(aspects) if aspects.is_empty()) {
            changes.push(FileChange { path: format!("/{}", node.path.display()), change });
        }
    }
}

fn aspects(was: &Node, now: &Node, clamp: Option<i64>) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    let mut compare = |what: &str, was: String, now: String| {
        if was != now {
            aspects.push(Aspect { what: what.to_owned(), was: Some(was), now: Some(now) });
        }
    };
    compare("type", kind(was).to_owned(), kind(now).to_owned());
    compare("mode", mode(was), mode(now));
    compare("owner", owner(was), owner(now));
    let is_same_kind = kind(was) == kind(now);
    if is_same_kind {
        compare("size", was.size.to_string(), now.size.to_string());
        compare("target", target(was), target(now));
        compare("device", format!("{:?}", was.device()), format!("{:?}", now.device()));
    }
    if is_same_kind && was.is_file() && !has_same_data(was, now) {
        // The digests are put in once both files are at hand.
        compare(CONTENT, "first".to_owned(), "second".to_owned());
    }
    if let Some(clamp) = clamp {
        let time = |node: &Node| shown(node.mtime, clamp);
        compare("time", time(was), time(now));
    }
    aspects.extend(attributes(was, now));
    aspects
}

/// Whether two files have the same data, whatever else differs.
fn has_same_data(was: &Node, now: &Node) -> bool {
    let mut now = now.clone();
    (now.mode, now.uid, now.gid) = (was.mode, was.uid, was.gid);
    now.xattrs.clone_from(&was.xattrs);
    now.own_digest() == was.own_digest()
}

fn attributes(was: &Node, now: &Node) -> Vec<Aspect> {
    let value = |node: &Node, name: &std::ffi::OsStr| {
        let found = node.xattrs.iter().find(|xattr| *xattr.name == *name)?;
        Some(hex(&found.value))
    };
    let mut names: Vec<_> = was.xattrs.iter().chain(&now.xattrs).map(|one| &*one.name).collect();
    names.sort_unstable();
    names.dedup();
    let aspect = |name: &std::ffi::OsStr| {
        let (was, now) = (value(was, name), value(now, name));
        let what = format!("xattr {}", name.display());
        (was != now).then_some(Aspect { what, was, now })
    };
    names.into_iter().filter_map(aspect).collect()
}

fn described(node: &Node) -> String {
    let more = match &node.kind {
        Kind::File => format!(" {}", node.size),
        Kind::Symlink { target } => format!(" -> {}", target.display()),
        _ => String::new(),
    };
    format!("{} {} {}{more}", kind(node), mode(node), owner(node))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

fn kind(node: &Node) -> &'static str {
    match node.kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink { .. } => "link",
        Kind::CharDevice if node.is_whiteout() => "whiteout",
        Kind::CharDevice | Kind::BlockDevice => "device",
        Kind::Fifo => "pipe",
        Kind::Socket => "socket",
    }
}

fn mode(node: &Node) -> String {
    format!("{:04o}", node.mode)
}

fn owner(node: &Node) -> String {
    format!("{}:{}", node.uid, node.gid)
}

fn target(node: &Node) -> String {
    match &node.kind {
        Kind::Symlink { target } => target.display().to_string(),
        _ => String::new(),
    }
}

/// A time that is not after another one, in seconds since 1970.
fn shown(time: Time, latest: i64) -> String {
    let (seconds, nanoseconds) =
        if time.seconds >= latest { (latest, 0) } else { (time.seconds, time.nanoseconds) };
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    jiff::Timestamp::new(seconds, nanoseconds)
        .map_or_else(|_| format!("{seconds}.{nanoseconds:09}"), |time| time.to_string())
}
