//! Physical lines joined to the lines of instructions.

use super::directive::Directives;
use super::source::Source;
use super::span::Span;

/// An instruction's text, its continuation lines joined.
#[derive(Debug)]
pub(super) struct Line {
    /// The text; blanks at its start and comment lines in it are dropped.
    pub(super) text: String,
    /// Where the parts of `text` come from: an offset in it, and one in the file.
    pieces: Vec<(usize, usize)>,
    /// From the first character to the end of the last physical line.
    pub(super) start: usize,
    pub(super) end: usize,
    /// The comment directly above: the number of each line.
    pub(super) comments: Vec<usize>,
    /// The first empty line between the continuation lines.
    pub(super) empty: Option<Span>,
    /// Whether there are blanks before the instruction.
    pub(super) indented: bool,
}

impl Line {
    /// Where a place of the text is in the file.
    fn offset(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|&(joined, _)| joined <= at).saturating_sub(1);
        self.pieces.get(piece).map_or(self.start, |&(joined, file)| file + at - joined)
    }

    /// How many words and variables there are at most, however an instruction cuts them, comments
    /// counted too.
    pub(super) fn words(&self) -> usize {
        let parts = |byte: &&u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'$');
        1 + self.text.as_bytes().iter().filter(parts).count() + self.comments.len()
    }

    /// The span of a part of the text.
    pub(super) fn span(&self, source: &Source, start: usize, end: usize) -> Span {
        let last = self.offset(end.saturating_sub(1).max(start));
        let width = usize::from(end > start);
        source.span(self.offset(start), last + width)
    }
}

/// Reads a file line by line.
#[derive(Debug)]
pub(super) struct Reader<'s, 'a> {
    pub(super) source: &'s Source<'a>,
    escape: char,
    /// The next physical line.
    next: usize,
}

impl<'s, 'a> Reader<'s, 'a> {
    /// Starts behind the directives.
    pub(super) fn new(source: &'s Source<'a>, directives: &Directives) -> Self {
        Self { source, escape: directives.escape, next: directives.lines }
    }

    /// Takes the next physical line, with its number.
    pub(super) fn take(&mut self) -> Option<usize> {
        (self.next < self.source.lines()).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Returns the next instruction.
    pub(super) fn instruction(&mut self) -> Option<Line> {
        let mut comments = Vec::new();
        while let Some(number) = self.take() {
            let whole = self.source.line(number);
            let text = whole.trim_start();
            if text.starts_with('#') {
                comments.push(number);
            } else if text.is_empty() {
                comments.clear();
            } else {
                return Some(self.join(number, comments));
            }
        }
        None
    }

    fn join(&mut self, number: usize, comments: Vec<usize>) -> Line {
        let whole = self.source.line(number);
        let text = whole.trim_start();
        let start = self.source.start(number) + whole.len() - text.len();
        let mut line = Line {
            text: String::new(),
            pieces: Vec::new(),
            start,
            end: start + text.len(),
            comments,
            empty: None,
            indented: text.len() < whole.len(),
        };
        let mut continued = self.add(&mut line, text, start);
        while continued {
            let Some(number) = self.take() else { break };
            let text = self.source.line(number);
            let trimmed = text.trim_start();
            if trimmed.is_empty() {
                line.empty.get_or_insert_with(|| self.source.line_span(number));
            } else if !trimmed.starts_with('#') {
                continued = self.add(&mut line, text, self.source.start(number));
            }
        }
        line
    }

    /// Adds a physical line, and tells whether another one follows.
    fn add(&self, line: &mut Line, text: &str, start: usize) -> bool {
        let continued = without_continuation(text, self.escape);
        line.pieces.push((line.text.len(), start));
        line.text.push_str(continued.unwrap_or(text));
        line.end = start + text.len();
        continued.is_some()
    }
}

/// Returns what stands before the escape character that continues a line. A doubled one does not.
fn without_continuation(line: &str, escape: char) -> Option<&str> {
    let rest = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!rest.ends_with(escape)).then_some(rest)
}
