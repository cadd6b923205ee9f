//! Where in the file a thing was written.

/// A stretch of the file, as byte offsets and as a person counts.
///
/// The offsets are those of the bytes given to the parser: a byte order mark and carriage returns
/// count. For an instruction the stretch holds its continuation lines and here-documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
    /// The first and the last line, counted from 1.
    pub lines: (usize, usize),
    /// The column of `start` on its line, in characters from 1.
    pub column: usize,
}

impl Span {
    /// Returns the smallest span that holds both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        let first = if other.start < self.start { other } else { self };
        let last = if other.end > self.end { other } else { self };
        Self {
            start: first.start,
            end: last.end,
            lines: (first.lines.0, last.lines.1),
            column: first.column,
        }
    }
}

/// A piece of text with the place where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub span: Span,
}
