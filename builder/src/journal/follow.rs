//! Reading the journal, and waiting for what happens next.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use jiff::Timestamp;
use rbuild_cache::Store;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::retry_on_intr;

use super::{Entry, Filters, JOURNAL, files, is_at};

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those from this time on; none is what happens from now on.
    pub since: Option<Timestamp>,
    /// Those until this time, which may be to come; none is without end.
    pub until: Option<Timestamp>,
    /// What they must be about.
    pub filters: Filters,
}

/// Hands entries to `out`, in the order in which they were written, until `out` fails: a broken
/// pipe is no failure.
///
/// # Errors
/// A store that cannot be read or watched, or what `out` says.
pub fn follow(
    store: &Store,
    wanted: &Wanted,
    out: &mut dyn FnMut(&Entry) -> io::Result<()>,
) -> io::Result<()> {
    std::fs::create_dir_all(store.root())?;
    match read(store.root(), wanted, out) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        read => read,
    }
}

fn read(
    root: &Path,
    wanted: &Wanted,
    out: &mut dyn FnMut(&Entry) -> io::Result<()>,
) -> io::Result<()> {
    // Before anything is read, or what happens between the two would be missed.
    let changes = watch(root)?;
    let mut reader = Reader { wanted, rest: Vec::new(), out };
    let [older, newest] = files(root);
    let (older, mut file) = loop {
        let (file, older) = (open(&newest)?, open(&older)?);
        // One that was set aside between the two would be read as neither.
        if file.as_ref().is_none_or(|file| is_at(file, &newest)) {
            break (older, file);
        }
    };
    match (wanted.since, &mut file) {
        (Some(_), _) => older.map_or(Ok(()), |mut older| reader.read_on(&mut older))?,
        (None, Some(file)) => drop(file.seek(SeekFrom::End(0))?),
        (None, None) => {}
    }
    loop {
        if let Some(file) = &mut file {
            reader.read_on(file)?;
        }
        let is_current = file.as_ref().is_some_and(|file| is_at(file, &newest));
        if !is_current && let Some(next) = open(&newest)? {
            // Nothing comes to the old one any more; what came last may not be read yet.
            if let Some(mut old) = file.replace(next) {
                reader.read_on(&mut old)?;
            }
            continue;
        }
        if !wait(&changes, wanted.until)? {
            return Ok(());
        }
    }
}

fn watch(root: &Path) -> io::Result<OwnedFd> {
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_FROM;
    inotify::add_watch(&changes, root, flags)?;
    Ok(changes)
}

/// Waits for a change; returns whether there is time for one.
fn wait(changes: &OwnedFd, until: Option<Timestamp>) -> io::Result<bool> {
    loop {
        let timeout = match until.map(|until| until.duration_since(Timestamp::now())) {
            None => None,
            Some(left) if left.is_positive() => {
                let left = std::time::Duration::try_from(left).unwrap_or_default();
                // Too long a time for the kernel is no limit.
                Timespec::try_from(left).ok()
            }
            Some(_) => return Ok(false),
        };
        let mut fds = [PollFd::new(changes, PollFlags::IN)];
        retry_on_intr(|| poll(&mut fds, timeout.as_ref()))?;
        if fds[0].revents().is_empty() {
            return Ok(false);
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(changes, &mut buffer);
        let mut is_ours = false;
        while let Ok(event) = events.next() {
            // The folder has other files, too.
            is_ours |= event.file_name().is_none_or(|name| name.to_bytes() == JOURNAL.as_bytes());
        }
        if is_ours {
            return Ok(true);
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

struct Reader<'a> {
    wanted: &'a Wanted,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
    out: &'a mut dyn FnMut(&Entry) -> io::Result<()>,
}

impl Reader<'_> {
    fn read_on(&mut self, file: &mut File) -> io::Result<()> {
        file.read_to_end(&mut self.rest)?;
        let whole = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        for line in lines.split(|&byte| byte == b'\n') {
            // A line that a full disk has cut is left out.
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else {
                continue;
            };
            let Wanted { since, until, filters } = self.wanted;
            let is_in_time = since.is_none_or(|since| entry.time >= since)
                && until.is_none_or(|until| entry.time <= until);
            if is_in_time && filters.pass(&entry) {
                (self.out)(&entry)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, append, note};
    use super::*;

    fn entry(id: &str) -> Entry {
        Entry::new(Kind::Volume, "create", id)
    }

    fn line(id: &str) -> Vec<u8> {
        let mut line = serde_json::to_vec(&entry(id)).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn what_was_is_read_and_ends_at_its_time() {
        let store = Store::temporary().unwrap();
        let begin = Timestamp::now();
        note(&store, &[entry("a"), entry("b")]);
        let read = |wanted: &Wanted| {
            let mut seen = Vec::new();
            let mut out = |entry: &Entry| {
                seen.push(entry.id.clone());
                Ok(())
            };
            follow(&store, wanted, &mut out).unwrap();
            seen
        };
        let now = Timestamp::now();
        let all = Wanted { since: Some(begin), until: Some(now), ..Wanted::default() };
        assert_eq!(read(&all), ["a", "b"]);
        let none = Wanted { since: None, ..all };
        assert!(read(&none).is_empty(), "without a beginning only what is to come");
    }

    #[test]
    fn nothing_is_missed_when_the_file_is_set_aside() {
        let store = Store::temporary().unwrap();
        let mut seen: usize = 0;
        let root = store.root().to_owned();
        let write = |number: usize| append(&root, &line(&number.to_string()), 300).unwrap();
        write(0);
        let begin = Timestamp::UNIX_EPOCH;
        let mut out = |entry: &Entry| {
            assert_eq!(entry.id, seen.to_string(), "each comes once and in order");
            seen += 1;
            if seen == 50 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            // Each is written while the reader is at work, and every third begins a new file.
            write(seen);
            Ok(())
        };
        let wanted = Wanted { since: Some(begin), ..Wanted::default() };
        follow(&store, &wanted, &mut out).unwrap();
        assert_eq!(seen, 50);
    }
}
