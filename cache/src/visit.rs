//! Who uses the store now, and what: a collection leaves that alone.
//!
//! Each process that is at work holds a lock on a file of its own in `users/`, and writes the name
//! of everything it uses there **before** it looks whether that is here. A collection moves what
//! it chose aside first and reads these files **after** that. So of any two, either the
//! collection sees the name and puts the thing back, or the user sees that the thing is missing
//! and makes it again; clocks have no part in it. The kernel frees the lock of a killed process.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock,
};

use crate::error::{Error, Result};
use crate::item::{Item, MOUNT_NOTES};
use crate::remove::list;
use crate::settle::Lost;
use crate::snapshot::Layer;
use crate::store::{Store, to_json};

pub(crate) const USERS: &str = "users";
/// A last use is noted again when the noted one is so long ago: it need not be exact, and a build
/// in which nothing changed should write next to nothing.
const STALE: Duration = Duration::from_hours(1);
/// More than the list of any process.
const LONGEST_LIST: u64 = 256 << 20;

/// What this process uses, while it says so.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<Option<List>>);

#[derive(Debug)]
struct List {
    file: File,
    /// Whether all that is used is in the file; one that is empty stands for everything.
    is_whole: bool,
    visits: usize,
    items: HashSet<Item>,
}

impl List {
    /// Adds a line. A list that cannot be added to, since the disk is full, is emptied for good.
    fn note(&mut self, line: &str) {
        if self.is_whole && self.file.write_all(line.as_bytes()).is_err() {
            self.is_whole = false;
            let _ = self.file.set_len(0);
        }
    }
}

/// Keeps whatever this process uses in a store from being collected; until it is dropped, or the
/// process dies.
#[derive(Debug)]
pub struct Visit {
    store: Store,
    lost: Option<Lost>,
}

impl Visit {
    /// What this process found to be lost as the first one since the machine was started.
    pub fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }
}

/// A process that uses the store.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) pid: u32,
    /// Since when, in seconds since 1970.
    pub(crate) since: i64,
    /// What it uses; without a list, that is everything.
    pub(crate) items: Option<HashSet<Item>>,
}

impl Presence {
    fn get(&self) -> MutexGuard<'_, Option<List>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut list = self.store.presence().get();
        if let Some(open) = &mut *list {
            open.visits -= 1;
            if open.visits == 0 {
                *list = None;
            }
        }
    }
}

impl Store {
    /// Says that this process is at work: from now on, nothing that it uses is collected.
    ///
    /// The first process since the machine was started removes what may be damaged: see `settle`.
    pub fn enter(&self) -> Result<Visit> {
        let lost = self.recover()?;
        let mut list = self.presence().get();
        match &mut *list {
            Some(open) => open.visits += 1,
            None => *list = Some(self.take_list()?),
        }
        drop(list);
        Ok(Visit { store: self.clone(), lost })
    }

    /// Takes the first list that nobody holds: there are as many as were ever held at once.
    fn take_list(&self) -> Result<List> {
        let folder = self.folder(USERS)?;
        let mut number = 0_u32;
        loop {
            let path = folder.join(number.to_string());
            let mut options = OpenOptions::new();
            let file = options.read(true).append(true).create(true).mode(0o600).open(&path);
            let file = file.map_err(Error::file("open", &path))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => number += 1,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::file("lock", &path)(error)),
                Ok(()) => {
                    file.set_len(0).map_err(Error::file("write", &path))?;
                    let mut list = List { file, is_whole: true, visits: 1, items: HashSet::new() };
                    list.note(&format!("pid {} {}\n", std::process::id(), now()));
                    return Ok(list);
                }
            }
        }
    }

    /// Says that this process uses an item, before it looks whether that is here.
    pub(crate) fn uses(&self, item: &Item) {
        let mut list = self.presence().get();
        let Some(open) = &mut *list else { return };
        if !open.items.insert(item.clone()) {
            return;
        }
        open.note(&format!("{item}\n"));
        drop(list);
        self.touch(item);
    }

    /// Says that this process uses layers, wherever their files are.
    pub fn uses_layers<'a>(&self, layers: impl IntoIterator<Item = &'a Layer>) {
        for layer in layers {
            let _ = self.layer_path(layer);
        }
    }

    /// Says that this process uses the folder of a cache mount, and what a person knows it by.
    pub fn uses_cache_mount(&self, name: &str, description: &str) -> Result<()> {
        let note = self.mount_note(name);
        if !note.exists() {
            self.folder(MOUNT_NOTES)?;
            self.replace(&note, &to_json("note on a cache mount", &description)?, false)?;
        }
        self.uses(&Item::CacheMount(name.to_owned()));
        Ok(())
    }

    /// Says that this process uses a bare repository.
    pub fn uses_repository(&self, name: &str) {
        self.uses(&Item::Repository(name.to_owned()));
    }

    /// Notes that an item was used now.
    fn touch(&self, item: &Item) {
        let path = self.last_use_path(item);
        let is_exact = matches!(item, Item::CacheMount(_) | Item::Repository(_));
        let Ok(before) = fs::symlink_metadata(&path).and_then(|file| file.modified()) else {
            return;
        };
        let age = SystemTime::now().duration_since(before).unwrap_or(STALE);
        if age < STALE && !is_exact {
            return;
        }
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: omit, last_modification: now };
        // It is a hint: on a disk that only can be read, nothing is noted.
        let _ = rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Whether no other process is at work in the store.
    pub fn is_alone(&self) -> Result<bool> {
        Ok(self.users()?.iter().all(|user| user.pid == std::process::id()))
    }

    /// Who uses the store now.
    pub(crate) fn users(&self) -> Result<Vec<User>> {
        let paths = list(&self.root().join(USERS))?;
        let user = |path: &PathBuf| user(path).map_err(Error::file("read", path)).transpose();
        paths.iter().filter_map(user).collect()
    }
}

/// The process that holds a list, if one does.
fn user(path: &Path) -> io::Result<Option<User>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        // Whoever comes meanwhile takes the next list.
        locked => return locked.map(|()| None).map_err(Into::into),
    }
    let mut text = String::new();
    file.take(LONGEST_LIST).read_to_string(&mut text)?;
    Ok(Some(parse(&text)))
}

fn parse(text: &str) -> User {
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let mut head = lines.next().unwrap_or_default().split(' ').skip(1);
    let (pid, since) = (head.next(), head.next());
    let items = since.is_some().then(|| lines.filter_map(|line| line.parse().ok()).collect());
    User {
        pid: pid.and_then(|pid| pid.parse().ok()).unwrap_or(0),
        since: since.and_then(|since| since.parse().ok()).unwrap_or(0),
        items,
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    seconds(SystemTime::now())
}

/// A time in seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
