//! The text of a file and its lines, and how offsets become spans.

use std::cell::Cell;

use super::diagnostic::Diagnostic;
use super::span::Span;

/// The longest line in bytes, its end not counted.
const LINE_LIMIT: usize = 65_535;

/// The largest file in bytes.
const FILE_LIMIT: usize = 16 << 20;

/// The text of a file, cut into lines.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    /// Where each line starts; the first may start behind a byte order mark.
    starts: Vec<usize>,
    ascii: bool,
    /// The offset that was looked up last, and the characters before it on its line.
    last: Cell<(usize, usize)>,
}

impl<'a> Source<'a> {
    /// Reads the bytes of a file. What cannot be text of a Dockerfile is an error.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Diagnostic> {
        if bytes.len() > FILE_LIMIT {
            let message = format!("the file is larger than {} MiB", FILE_LIMIT >> 20);
            return Err(Diagnostic::error(Span::default(), message));
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let (valid, _) = bytes.split_at(error.valid_up_to());
                let valid = std::str::from_utf8(valid).expect("the bytes up to there are valid");
                let at = Self::new(valid).span(valid.len(), valid.len());
                return Err(Diagnostic::error(at, "the file is not UTF-8 text")
                    .hint("save it as UTF-8, without a mark of another encoding".to_owned()));
            }
        };
        let source = Self::new(text);
        if let Some(at) = memchr::memchr(0, bytes) {
            return Err(Diagnostic::error(source.span(at, at + 1), "the file holds a NUL byte"));
        }
        let limit = |&line: &usize| source.line(line).len() > LINE_LIMIT;
        if let Some(line) = (0..source.starts.len()).find(limit) {
            let start = source.starts[line];
            let message = format!("the line is longer than {LINE_LIMIT} bytes");
            return Err(Diagnostic::error(source.span(start, start + 1), message));
        }
        Ok(source)
    }

    /// Takes text that is known to be good, of any length of line.
    pub(super) fn new(text: &'a str) -> Self {
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1);
        let starts = std::iter::once(first).chain(ends.filter(|&start| start < text.len()));
        Self { text, starts: starts.collect(), ascii: text.is_ascii(), last: Cell::new((0, 0)) }
    }

    /// How many lines there are.
    pub(super) fn lines(&self) -> usize {
        self.starts.len()
    }

    /// Where a line, counted from 0, starts.
    pub(super) fn start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }

    /// A line, counted from 0, with its end.
    pub(super) fn whole_line(&self, line: usize) -> &'a str {
        &self.text[self.start(line)..self.start(line + 1)]
    }

    /// A line, counted from 0, without its end.
    pub(super) fn line(&self, line: usize) -> &'a str {
        self.whole_line(line).trim_end_matches(['\r', '\n'])
    }

    /// The span of a line, counted from 0.
    pub(super) fn line_span(&self, line: usize) -> Span {
        let start = self.start(line);
        self.span(start, start + self.line(line).len())
    }

    /// The span between two offsets.
    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        let first = self.line_of(start);
        let last = self.line_of(end.saturating_sub(1).max(start));
        let column = self.characters(self.starts[first], start) + 1;
        Span { start, end, lines: (first + 1, last + 1), column }
    }

    fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset).saturating_sub(1)
    }

    /// Counts the characters between the start of a line and a place on it. Places asked for in
    /// order are counted from the one before, so that a long line costs its length once.
    fn characters(&self, line: usize, offset: usize) -> usize {
        let offset = offset.max(line);
        if self.ascii {
            return offset - line;
        }
        let (last, before) = self.last.get();
        let (from, before) =
            if last >= line && last <= offset { (last, before) } else { (line, 0) };
        let count = before + self.text[from..offset].chars().count();
        self.last.set((offset, count));
        count
    }
}
