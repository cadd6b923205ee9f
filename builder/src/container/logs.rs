//! Reading what a container has written.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use jiff::Timestamp;
use rbuild_cache::Store;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::retry_on_intr;

use super::control;
use super::error::{Error, Result};
use super::folder::Folder;
use super::log::{self, Entry, LogDriver, LogStream};
use super::message::{Request, control as frame};
use super::names;

const BLOCK: usize = 64 << 10;

/// Which lines of a log are wanted, and in which form.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Whether to go on until the container ends.
    pub follow: bool,
    /// Whether each line begins with its time.
    pub timestamps: bool,
    /// How many of the last lines; none is all.
    pub tail: Option<usize>,
    /// Lines that are older are left out.
    pub since: Option<Timestamp>,
    /// Lines that are newer are left out.
    pub until: Option<Timestamp>,
}

/// Hands the lines of a container's log to `out`, which may end it with an error: a broken pipe is
/// no failure.
pub fn logs(
    store: &Store,
    name: &str,
    options: &LogOptions,
    out: &mut dyn FnMut(LogStream, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let folder = names::find(store, name)?;
    if folder.record()?.is_some_and(|record| record.options.log.driver == LogDriver::None) {
        let reason = "the container was made with `--log-driver none`";
        return Err(Error::Unsupported { option: "reading its log".to_owned(), reason });
    }
    let follow = options.follow.then(|| Follow::new(&folder)).transpose()?;
    let path = folder.log();
    let mut reader = Reader::new(&path, options, out);
    let read = reader.read_from(options.tail).and_then(|()| {
        follow.map_or(Ok(()), |mut follow| {
            while !reader.is_over && follow.wait(options.until)? {
                reader.read_on()?;
            }
            // The monitor closes the log before it goes.
            reader.read_on()
        })
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Error::file("read", &path)),
    }
}

struct Reader<'a> {
    path: &'a Path,
    file: Option<File>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
    options: &'a LogOptions,
    out: &'a mut dyn FnMut(LogStream, &[u8]) -> io::Result<()>,
    /// Whether a line has come that is newer than any that is wanted.
    is_over: bool,
}

impl<'a> Reader<'a> {
    fn new(
        path: &'a Path,
        options: &'a LogOptions,
        out: &'a mut dyn FnMut(LogStream, &[u8]) -> io::Result<()>,
    ) -> Self {
        Self { path, file: None, rest: Vec::new(), options, out, is_over: false }
    }

    fn read_from(&mut self, tail: Option<usize>) -> io::Result<()> {
        let mut opened = open_all(self.path)?;
        let mut wanted = tail;
        let mut first = 0;
        for (index, file) in opened.iter_mut().enumerate().rev() {
            if let Some(lines) = &mut wanted {
                let (start, missing) = start_of_tail(file, *lines)?;
                file.seek(SeekFrom::Start(start))?;
                if missing == 0 {
                    first = index;
                    break;
                }
                *lines = missing;
            }
        }
        // Those that were set aside end before the next one begins.
        for file in opened.drain(first..) {
            self.file = Some(file);
            self.read_to_end()?;
        }
        self.read_on()
    }

    /// Reads all that has come, also where files were set aside meanwhile.
    fn read_on(&mut self) -> io::Result<()> {
        loop {
            self.read_to_end()?;
            let later = self.later()?;
            if later.is_empty() {
                return Ok(());
            }
            // What came last before it was set aside.
            self.read_to_end()?;
            for file in later {
                self.file = Some(file);
                self.read_to_end()?;
            }
        }
    }

    /// The files that were begun after the one that is read.
    fn later(&self) -> io::Result<Vec<File>> {
        let mut files = open_all(self.path)?;
        let Some(own) = self.file.as_ref().map(identity).transpose()? else {
            return Ok(files);
        };
        for at in (0..files.len()).rev() {
            if identity(&files[at])? == own {
                return Ok(files.split_off(at + 1));
            }
        }
        // It was the oldest and is gone.
        Ok(files)
    }

    fn read_to_end(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BLOCK];
        loop {
            let Some(file) = &mut self.file else {
                return Ok(());
            };
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            self.rest.extend_from_slice(&buffer[..length]);
            let whole = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let lines: Vec<u8> = self.rest.drain(..whole).collect();
            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                self.show(line)?;
            }
        }
    }

    fn show(&mut self, line: &[u8]) -> io::Result<()> {
        // A line that a full disk has cut is left out.
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else {
            return Ok(());
        };
        let too_old = self.options.since.is_some_and(|since| entry.time < since);
        let too_new = self.options.until.is_some_and(|until| entry.time > until);
        self.is_over |= too_new;
        if too_old || too_new {
            return Ok(());
        }
        if self.options.timestamps {
            let line = format!("{:.9} {}", entry.time, entry.log);
            return (self.out)(entry.stream, line.as_bytes());
        }
        (self.out)(entry.stream, entry.log.as_bytes())
    }
}

/// The files of a log, the oldest first.
///
/// They may be renamed meanwhile: always to a higher number, one after the other, so that on the way
/// up none is missed, one is perhaps met twice, and no more than one name in a row is free.
fn open_all(newest: &Path) -> io::Result<Vec<File>> {
    let mut files: Vec<((u64, u64), File)> = Vec::new();
    let mut is_free = false;
    for path in log::names(newest) {
        let Some(file) = open(&path)? else {
            if std::mem::replace(&mut is_free, true) {
                break;
            }
            continue;
        };
        is_free = false;
        let identity = identity(&file)?;
        files.retain(|(known, _)| *known != identity);
        files.push((identity, file));
    }
    Ok(files.into_iter().rev().map(|(_, file)| file).collect())
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        // It is made with the first line.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Where the last so many lines begin, and how many there are too few.
fn start_of_tail(file: &mut File, lines: usize) -> io::Result<(u64, usize)> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut wanted = lines;
    let mut block = vec![0; BLOCK];
    let mut is_last = true;
    while end > 0 {
        let length = usize::try_from(end).map_or(BLOCK, |end| end.min(BLOCK));
        let start = end - length as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..length])?;
        for at in (0..length).rev().filter(|&at| block[at] == b'\n') {
            // The newline at the end of the file begins no line.
            if !(is_last && at + 1 == length) {
                if wanted == 1 {
                    return Ok((start + at as u64 + 1, 0));
                }
                wanted = wanted.saturating_sub(1);
            }
            is_last = false;
            if wanted == 0 {
                return Ok((file.seek(SeekFrom::End(0))?, 0));
            }
        }
        (end, is_last) = (start, false);
    }
    // The first line begins after no newline.
    Ok((0, if is_last { wanted } else { wanted.saturating_sub(1) }))
}

/// Waits for a log to grow, or for its container to end.
struct Follow {
    changes: std::os::fd::OwnedFd,
    monitor: Option<UnixStream>,
}

impl Follow {
    fn new(folder: &Folder) -> Result<Self> {
        let watch = || {
            let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let flags = WatchFlags::MODIFY | WatchFlags::CREATE;
            inotify::add_watch(&changes, folder.path(), flags)?;
            Ok::<_, rustix::io::Errno>(changes)
        };
        let changes = watch().map_err(Error::file("watch", folder.path()))?;
        let monitor = match control::connect(folder) {
            Ok(mut monitor) => {
                let listen = Request::Attach { output: false, input: false, size: None };
                monitor.write_all(&frame(&listen)).ok().map(|()| monitor)
            }
            Err(Error::NotRunning(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { changes, monitor })
    }

    /// Returns whether there is more to come: the container still runs, and it is not too late.
    fn wait(&mut self, until: Option<Timestamp>) -> io::Result<bool> {
        let Some(monitor) = &self.monitor else {
            return Ok(false);
        };
        let mut fds =
            [PollFd::new(&self.changes, PollFlags::IN), PollFd::new(monitor, PollFlags::IN)];
        let left = until.map(|until| until.duration_since(Timestamp::now()));
        if left.is_some_and(|left| !left.is_positive()) {
            return Ok(false);
        }
        let timeout = left
            .map(|left| Timespec { tv_sec: left.as_secs(), tv_nsec: left.subsec_nanos().into() });
        retry_on_intr(|| poll(&mut fds, timeout.as_ref()))?;
        let monitor_spoke = !fds[1].revents().is_empty();
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(&self.changes, &mut buffer);
        while events.next().is_ok() {}
        if monitor_spoke {
            // Its last word; or that the container was started again, after which it goes on.
            let mut frames = super::message::Frames::default();
            let word = self.monitor.as_mut().map(|monitor| frames.reply(monitor));
            return Ok(matches!(word, Some(Ok(Some(super::message::Reply::Started)))));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::{Log, LogConfig};
    use super::*;

    #[test]
    fn files_that_are_set_aside_between_two_looks_are_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let config = LogConfig { max_size: Some(150), max_file: 9, ..LogConfig::default() };
        let mut log = Log::new(path.clone(), config);
        let mut told = Vec::new();
        let mut out = |_: LogStream, line: &[u8]| {
            told.extend_from_slice(line);
            Ok(())
        };
        let options = LogOptions::default();
        let mut reader = Reader::new(&path, &options, &mut out);
        reader.read_from(None).unwrap();
        let mut write = |numbers: std::ops::Range<usize>| {
            for number in numbers {
                log.write(LogStream::Stdout, format!("{number}\n").as_bytes());
            }
        };
        // None of the files was there when it was looked for.
        write(0..5);
        reader.read_on().unwrap();
        write(5..6);
        reader.read_on().unwrap();
        write(6..15);
        reader.read_on().unwrap();
        let expected: String =
            (0..15).map(|number| format!("{number}\n")).collect::<Vec<_>>().concat();
        assert_eq!(String::from_utf8(told).unwrap(), expected);
    }

    #[test]
    fn a_tail_begins_at_a_line() {
        let tail = |text: &str, lines| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let (start, _) = start_of_tail(&mut file, lines).unwrap();
            text[usize::try_from(start).unwrap()..].to_owned()
        };
        let text = "one\ntwo\nthree\n";
        assert_eq!(tail(text, 0), "");
        assert_eq!(tail(text, 1), "three\n");
        assert_eq!(tail(text, 2), "two\nthree\n");
        assert_eq!(tail(text, 3), text);
        assert_eq!(tail(text, 9), text);
        assert_eq!(tail("", 2), "");
        let missing = |text: &str, lines| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            start_of_tail(&mut file, lines).unwrap().1
        };
        assert_eq!([0, 1, 3, 4, 9].map(|lines| missing(text, lines)), [0, 0, 0, 1, 6]);
        assert_eq!(missing("", 2), 2);
        let long = format!("{}\n{}\n", "a".repeat(BLOCK), "b".repeat(BLOCK * 2));
        assert_eq!(tail(&long, 1).len(), BLOCK * 2 + 1);
        assert_eq!(tail(&long, 2), long);
    }
}
