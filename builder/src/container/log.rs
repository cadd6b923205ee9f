//! What a container writes, kept as docker's json lines.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::parse::invalid;

/// A longer line is kept in pieces, none of which but the last ends with a newline.
const LONGEST_LINE: usize = 16 << 10;
/// What the driver `local` keeps: files, and bytes in each of them.
const LOCAL_FILES: usize = 5;
const LOCAL_SIZE: u64 = 20 << 20;

/// One of a container's two outputs; with a terminal all is standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What is done with what a container writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// It is kept, as docker's json lines.
    #[default]
    JsonFile,
    /// The same, with limits unless others are given.
    Local,
    /// Nobody can look it up.
    None,
}

/// Writes the word that docker uses.
impl fmt::Display for LogDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
        })
    }
}

/// What is kept of what a container writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// Whether it is kept, and how.
    pub driver: LogDriver,
    /// The length in bytes from which on a new file is begun; none is never.
    pub max_size: Option<u64>,
    /// How many files are kept; 0 is as many as the driver usually keeps.
    pub max_file: usize,
}

impl LogConfig {
    /// Reads the name of a driver, where nothing is the usual one, and its options.
    ///
    /// # Errors
    /// A driver or an option that there is not, or a value that is none.
    pub fn new(driver: &str, options: &[(&str, &str)]) -> Result<Self> {
        let driver = match driver {
            "" | "json-file" => LogDriver::JsonFile,
            "local" => LogDriver::Local,
            "none" => LogDriver::None,
            other => {
                let reason = "the drivers are json-file, local and none";
                return Err(Error::Unsupported { option: format!("--log-driver {other}"), reason });
            }
        };
        let mut config = Self { driver, ..Self::default() };
        for &(name, value) in options {
            let wrong = |reason: &str| invalid("log-opt", &format!("{name}={value}"), reason);
            match name {
                "max-size" if value == "-1" => config.max_size = None,
                "max-size" => {
                    config.max_size =
                        Some(bytes(value).ok_or_else(|| wrong("not a number of bytes above 0"))?);
                }
                "max-file" => {
                    let number = value.parse().ok().filter(|number| *number > 0);
                    config.max_file = number.ok_or_else(|| wrong("not a number above 0"))?;
                }
                _ => return Err(wrong("the options are max-size and max-file")),
            }
        }
        if driver == LogDriver::Local {
            config.max_size.get_or_insert(LOCAL_SIZE);
        }
        Ok(config)
    }

    fn files(&self) -> usize {
        match (self.max_file, self.driver) {
            (0, LogDriver::Local) => LOCAL_FILES,
            (number, _) => number.max(1),
        }
    }
}

/// A number of bytes, in docker's units: powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, shift) = match number.as_bytes().last()? {
        b'k' => (&number[..number.len() - 1], 10),
        b'm' => (&number[..number.len() - 1], 20),
        b'g' => (&number[..number.len() - 1], 30),
        _ => (number, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

/// The names that files of a log have, the newest first: those that were set aside have a number.
pub(crate) fn names(newest: &Path) -> impl Iterator<Item = PathBuf> {
    std::iter::once(newest.to_owned()).chain((1..).map(|number| numbered(newest, number)))
}

fn numbered(newest: &Path, number: usize) -> PathBuf {
    let mut path = newest.as_os_str().to_owned();
    path.push(format!(".{number}"));
    path.into()
}

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) log: String,
    pub(crate) stream: LogStream,
    pub(crate) time: Timestamp,
}

/// The log of a container that runs. The file is made when there is something to write.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    config: LogConfig,
    file: Option<File>,
    /// What has come of a line whose end has not.
    begun: [Vec<u8>; 2],
}

impl Log {
    /// The log in a file, which is appended to.
    pub(crate) fn new(path: PathBuf, config: LogConfig) -> Self {
        Self { path, config, file: None, begun: [Vec::new(), Vec::new()] }
    }

    /// Keeps what was written to a stream.
    pub(crate) fn write(&mut self, stream: LogStream, bytes: &[u8]) {
        let begun = &mut self.begun[stream as usize];
        let mut lines = Vec::new();
        let time = Timestamp::now();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            begun.extend_from_slice(piece);
            while begun.len() > LONGEST_LINE {
                let rest = begun.split_off(boundary(begun));
                entry(&mut lines, stream, begun, time);
                *begun = rest;
            }
            if begun.ends_with(b"\n") {
                entry(&mut lines, stream, begun, time);
                begun.clear();
            }
        }
        self.append(&lines);
    }

    /// Keeps the lines that never ended.
    pub(crate) fn finish(&mut self) {
        let mut lines = Vec::new();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let begun = std::mem::take(&mut self.begun[stream as usize]);
            if !begun.is_empty() {
                entry(&mut lines, stream, &begun, Timestamp::now());
            }
        }
        self.append(&lines);
    }

    /// A container must not stop because its log cannot be written: that is only noted.
    fn append(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let written = self
            .open()
            .and_then(|mut file| file.write_all(lines))
            .and_then(|()| self.begin_anew_if_long());
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "a container's log is lost");
        }
    }

    /// Sets the file aside when it has grown long, and removes the oldest of too many.
    fn begin_anew_if_long(&mut self) -> io::Result<()> {
        let (Some(most), Some(file)) = (self.config.max_size, &self.file) else {
            return Ok(());
        };
        if file.metadata()?.len() < most {
            return Ok(());
        }
        self.file = None;
        let older = self.config.files() - 1;
        if older == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..older).rev() {
            let path = numbered(&self.path, number);
            if path.exists() {
                fs::rename(path, numbered(&self.path, number + 1))?;
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }

    fn open(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }
}

/// Where to cut a line that is too long: not inside a character.
fn boundary(line: &[u8]) -> usize {
    let is_start = |&at: &usize| line[at] & 0b1100_0000 != 0b1000_0000;
    (LONGEST_LINE - 3..=LONGEST_LINE).rev().find(is_start).unwrap_or(LONGEST_LINE)
}

fn entry(lines: &mut Vec<u8>, stream: LogStream, line: &[u8], time: Timestamp) {
    let log = String::from_utf8_lossy(line).into_owned();
    serde_json::to_writer(&mut *lines, &Entry { log, stream, time })
        .expect("an entry has string keys only, and memory takes it");
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(writes: &[(LogStream, &[u8])]) -> Vec<(LogStream, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut log = Log::new(path.clone(), LogConfig::default());
        for (stream, bytes) in writes {
            log.write(*stream, bytes);
        }
        log.finish();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let entries = text.lines().map(|line| serde_json::from_str::<Entry>(line).unwrap());
        entries.map(|entry| (entry.stream, entry.log)).collect()
    }

    #[test]
    fn lines_are_kept_whole_however_they_come() {
        use LogStream::{Stderr, Stdout};
        let line = |stream, text: &str| (stream, text.to_owned());
        assert_eq!(
            kept(&[(Stdout, b"a\nb"), (Stderr, b"e\xff\n"), (Stdout, b"c\n\nd")]),
            [
                line(Stdout, "a\n"),
                line(Stderr, "e\u{fffd}\n"),
                line(Stdout, "bc\n"),
                line(Stdout, "\n"),
                line(Stdout, "d"),
            ]
        );
        assert_eq!(kept(&[(Stdout, b"")]), []);
    }

    #[test]
    fn files_are_set_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let config = LogConfig::new("json-file", &[("max-size", "100"), ("max-file", "3")]);
        let mut log = Log::new(path.clone(), config.unwrap());
        for number in 0..20 {
            log.write(LogStream::Stdout, format!("line {number}\n").as_bytes());
        }
        assert!(fs::read_dir(folder.path()).unwrap().count() <= 3);
        let mut all = String::new();
        for path in names(&path).take(3).collect::<Vec<_>>().iter().rev() {
            all += &fs::read_to_string(path).unwrap_or_default();
        }
        let kept: Vec<Entry> =
            all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kept: Vec<_> = kept.iter().map(|entry| entry.log.trim_end()).collect();
        let first = 20 - kept.len();
        let expected: Vec<_> = (first..20).map(|number| format!("line {number}")).collect();
        assert_eq!(kept, expected, "the last ones, in order");
        assert!(kept.len() > 3 && kept.len() < 8, "{kept:?}");
        let mut single = Log::new(path.clone(), LogConfig { max_size: Some(1), ..log.config });
        single.config.max_file = 1;
        single.write(LogStream::Stdout, b"gone\n");
        assert!(!path.exists());
    }

    #[test]
    fn drivers_and_their_options_are_read() {
        let read = |driver, options: &[_]| LogConfig::new(driver, options);
        assert_eq!(read("", &[]).unwrap(), LogConfig::default());
        let local = read("local", &[]).unwrap();
        assert_eq!((local.max_size, local.files()), (Some(20 << 20), 5));
        let limited = read("json-file", &[("max-size", "10m"), ("max-file", "2")]).unwrap();
        assert_eq!((limited.max_size, limited.files()), (Some(10 << 20), 2));
        assert!(read("syslog", &[]).is_err());
        for option in [("max-size", "x"), ("max-size", "0"), ("max-file", "0"), ("tag", "x")] {
            assert!(read("json-file", &[option]).is_err(), "{option:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = "é".repeat(LONGEST_LINE);
        let line = format!("x{text}\n");
        let kept = kept(&[(LogStream::Stdout, line.as_bytes())]);
        assert_eq!(kept.len(), 3);
        assert!(kept.iter().all(|(_, piece)| piece.len() <= LONGEST_LINE));
        assert_eq!(kept.into_iter().map(|(_, piece)| piece).collect::<String>(), line);
    }
}
