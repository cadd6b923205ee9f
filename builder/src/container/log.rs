//! What a container writes, kept as docker's json lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A longer line is kept in pieces, none of which but the last ends with a newline.
const LONGEST_LINE: usize = 16 << 10;

/// One of a container's two outputs; with a terminal all is standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
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
    file: Option<File>,
    /// What has come of a line whose end has not.
    begun: [Vec<u8>; 2],
}

impl Log {
    /// The log in a file, which is appended to.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, begun: [Vec::new(), Vec::new()] }
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
        let written = self.open().and_then(|mut file| file.write_all(lines));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "a container's log is lost");
        }
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
        let mut log = Log::new(path.clone());
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
    fn a_long_line_is_cut_between_characters() {
        let text = "é".repeat(LONGEST_LINE);
        let line = format!("x{text}\n");
        let kept = kept(&[(LogStream::Stdout, line.as_bytes())]);
        assert_eq!(kept.len(), 3);
        assert!(kept.iter().all(|(_, piece)| piece.len() <= LONGEST_LINE));
        assert_eq!(kept.into_iter().map(|(_, piece)| piece).collect::<String>(), line);
    }
}
