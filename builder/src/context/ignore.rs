//! Which files of a context are left out: the rules of `.dockerignore`.
//!
//! A pattern is anchored at the root of the context. `*`, `?` and `[…]` stay within one element of
//! a path, `**` stands for any number of elements, none included. A pattern that matches a
//! directory matches all below it. The last line that matches decides; `!` takes back in.

mod pattern;
#[cfg(test)]
mod tests;

use pattern::Pattern;

/// The longest line in bytes.
const LINE_LIMIT: usize = 65_535;
/// The most patterns: each is compared with each file.
const PATTERN_LIMIT: usize = 65_536;

/// A line of an ignore file that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct IgnoreError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Why a line of an ignore file is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is nothing behind `!`.
    #[error("`!` without a pattern")]
    Nothing,
    /// A `[` is not closed, or what it holds is no class; or a `\` escapes nothing.
    #[error("invalid pattern")]
    Syntax,
    /// The line is too long.
    #[error("the line is longer than {LINE_LIMIT} bytes")]
    Length,
    /// There are too many patterns.
    #[error("there are more than {PATTERN_LIMIT} patterns")]
    Number,
}

/// The patterns of an ignore file, in order.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    number: usize,
    text: String,
    /// Whether the line starts with `!`.
    exception: bool,
    pattern: Pattern,
}

/// The line that decides about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'i> {
    /// The line, counted from 1.
    pub line: usize,
    /// The line as written, without outer blanks.
    pub text: &'i str,
    /// Whether it leaves the path out; else it takes it back in.
    pub excluded: bool,
}

/// What to do with a path on a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the context; a directory is walked.
    Keep,
    /// It is left out; a directory with everything below it.
    Skip,
    /// The directory is left out, but a later `!` line may take back something below it.
    Descend,
}

/// A directory on a walk: which lines match it, and with it everything below.
#[derive(Debug, Clone, Default)]
pub struct Directory(Vec<u64>);

impl Directory {
    fn has(&self, line: usize) -> bool {
        self.0.get(line / 64).is_some_and(|bits| bits >> (line % 64) & 1 == 1)
    }

    fn add(&mut self, line: usize) {
        if self.0.len() <= line / 64 {
            self.0.resize(line / 64 + 1, 0);
        }
        self.0[line / 64] |= 1 << (line % 64);
    }
}

impl Ignore {
    /// Parses the text of an ignore file.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#'));
        Self::from_lines(lines)
    }

    /// Takes patterns that are not from a file, such as those of `--exclude`; a `#` is one.
    pub fn from_patterns<'p>(
        patterns: impl IntoIterator<Item = &'p str>,
    ) -> Result<Self, IgnoreError> {
        Self::from_lines((1..).zip(patterns))
    }

    fn from_lines<'p>(lines: impl Iterator<Item = (usize, &'p str)>) -> Result<Self, IgnoreError> {
        let mut parsed = Vec::new();
        for (number, text) in lines {
            let error = |problem| IgnoreError { line: number, problem };
            if text.len() > LINE_LIMIT {
                return Err(error(Problem::Length));
            }
            parsed.extend(Line::parse(number, text.trim()).map_err(error)?);
            if parsed.len() > PATTERN_LIMIT {
                return Err(error(Problem::Number));
            }
        }
        Ok(Self { lines: parsed })
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a line starts with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.lines.iter().any(|line| line.exception)
    }

    /// Returns the line that decides about a path relative to the root of the context, with
    /// slashes between its elements. Without one the path is kept.
    pub fn matches(&self, path: &str) -> Option<Match<'_>> {
        self.decide(&self.parent(path), path).map(|index| {
            let line = &self.lines[index];
            Match { line: line.number, text: &line.text, excluded: !line.exception }
        })
    }

    /// Returns the verdict on a path, with regard to all directories above it.
    pub fn verdict(&self, path: &str, is_dir: bool) -> Verdict {
        self.judge(&self.parent(path), path, is_dir)
    }

    /// Returns the verdict on a path in a directory that [`enter`](Self::enter) has returned; the
    /// default [`Directory`] is the root. `path` is the whole path.
    pub fn judge(&self, parent: &Directory, path: &str, is_dir: bool) -> Verdict {
        match self.decide(parent, path) {
            Some(index) if !self.lines[index].exception => {
                let mut later = self.lines[index + 1..].iter().filter(|line| line.exception);
                if is_dir && later.any(|line| line.pattern.may_match_below(path)) {
                    Verdict::Descend
                } else {
                    Verdict::Skip
                }
            }
            _ => Verdict::Keep,
        }
    }

    /// Enters a directory on a walk.
    pub fn enter(&self, parent: &Directory, path: &str) -> Directory {
        let mut directory = Directory(Vec::with_capacity(self.lines.len().div_ceil(64)));
        for (index, line) in self.lines.iter().enumerate() {
            if parent.has(index) || line.pattern.matches(path) {
                directory.add(index);
            }
        }
        directory
    }

    fn decide(&self, parent: &Directory, path: &str) -> Option<usize> {
        self.lines
            .iter()
            .enumerate()
            .rposition(|(index, line)| parent.has(index) || line.pattern.matches(path))
    }

    fn parent(&self, path: &str) -> Directory {
        let slashes = path.match_indices('/');
        slashes.fold(Directory::default(), |parent, (at, _)| self.enter(&parent, &path[..at]))
    }
}

impl Line {
    /// Parses a line without outer blanks. An empty one is no pattern.
    fn parse(number: usize, text: &str) -> Result<Option<Self>, Problem> {
        let (exception, rest) =
            text.strip_prefix('!').map_or((false, text), |rest| (true, rest.trim()));
        if rest.is_empty() {
            return if exception { Err(Problem::Nothing) } else { Ok(None) };
        }
        let cleaned = clean(rest);
        // A pattern that starts with `!` twice is no exception to an exception.
        let (exception, cleaned) = match cleaned.strip_prefix('!') {
            Some(rest) if !exception => (true, rest),
            _ => (exception, cleaned.as_str()),
        };
        let pattern = Pattern::new(cleaned)?;
        Ok(Some(Self { number, text: text.to_owned(), exception, pattern }))
    }
}

/// A path without `.`, `..`, doubled slashes and outer slashes, as far as they can be resolved.
fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let up = part == "..";
        if up && parts.last().is_some_and(|last| *last != "..") {
            parts.pop();
        } else if !up || !absolute {
            parts.push(part);
        }
    }
    parts.join("/")
}
