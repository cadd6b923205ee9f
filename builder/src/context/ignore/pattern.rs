//! One pattern of an ignore file: the common shapes are compared as text, the rest as a regular
//! expression.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

use super::Problem;

/// A pattern, and its text by elements of the path.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    shape: Shape,
    elements: Vec<String>,
}

#[derive(Debug, Clone)]
enum Shape {
    /// This path.
    Exact(String),
    /// What starts so: `a/` of `a/**`.
    Start(String),
    /// What ends so: `**a`, and `**/*.a`.
    End(String),
    /// A path whose last elements are these: `**/a/b`.
    Last(String),
    /// An element at the root that starts and ends so: `a*b`.
    Root(String, String),
    /// Anything else. Most paths are told by the plain text at its two ends.
    Regex { start: String, end: String, regex: Regex },
}

/// What means something in a pattern.
const SIGNS: [char; 5] = ['*', '?', '[', ']', '\\'];

impl Pattern {
    /// Compiles a cleaned pattern.
    pub(super) fn new(text: &str) -> Result<Self, Problem> {
        let regex = translate(text)?;
        let shape = if let Some(shape) = simple(text) {
            shape
        } else {
            let start = text.split(SIGNS).next().unwrap_or_default().to_owned();
            // The slash behind two stars stands for nothing where they do.
            let end = text.rsplit(SIGNS).next().unwrap_or_default().trim_start_matches('/');
            let regex = Regex::new(&regex).map_err(|_| Problem::Syntax)?;
            Shape::Regex { start, end: end.to_owned(), regex }
        };
        Ok(Self { shape, elements: text.split('/').map(str::to_owned).collect() })
    }

    /// Whether it matches this very path, not one above it.
    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.shape {
            Shape::Exact(text) => path == text,
            Shape::Start(start) => path.starts_with(start.as_str()),
            Shape::End(end) => path.ends_with(end.as_str()),
            Shape::Last(last) => path
                .strip_suffix(last.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('/')),
            Shape::Root(start, end) => {
                path.len() >= start.len() + end.len()
                    && path.starts_with(start.as_str())
                    && path.ends_with(end.as_str())
                    && !path.contains('/')
            }
            Shape::Regex { start, end, regex } => {
                path.starts_with(start.as_str())
                    && path.ends_with(end.as_str())
                    && regex.is_match(path)
            }
        }
    }

    /// Whether it may match something below a directory that it does not match itself. Tells so
    /// too often rather than too seldom.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        let mut elements = self.elements.iter();
        for name in directory.split('/') {
            match elements.next() {
                Some(element) if element.contains("**") => return true,
                Some(element) if element == name || element.contains(SIGNS) => {}
                _ => return false,
            }
        }
        elements.next().is_some()
    }
}

/// Finds the shape of a pattern that needs no regular expression.
fn simple(text: &str) -> Option<Shape> {
    let plain = |text: &str| !text.contains(SIGNS);
    if plain(text) {
        return Some(Shape::Exact(text.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("**") {
        let below = rest.strip_prefix('/');
        if let Some(end) = below.and_then(|rest| rest.strip_prefix('*')) {
            let one = plain(end) && !end.is_empty() && !end.contains('/');
            return one.then(|| Shape::End(end.to_owned()));
        }
        return match below {
            Some(last) if plain(last) && !last.is_empty() => Some(Shape::Last(last.to_owned())),
            None if plain(rest) => Some(Shape::End(rest.to_owned())),
            _ => None,
        };
    }
    if let Some(start) = text.strip_suffix("**") {
        return plain(start).then(|| Shape::Start(start.to_owned()));
    }
    let (start, end) = text.split_once('*')?;
    let root = plain(start) && plain(end) && !text.contains('/');
    root.then(|| Shape::Root(start.to_owned(), end.to_owned()))
}

/// Writes a pattern as a regular expression, and checks it.
fn translate(text: &str) -> Result<String, Problem> {
    let mut regex = String::from("^");
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                // The slash behind belongs to the stars, so that they may stand for nothing.
                let _ = rest.next_if_eq(&'/');
                regex.push_str(if rest.peek().is_some() { "(?:.*/)?" } else { ".*" });
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => class(&mut rest, &mut regex)?,
            '\\' => literal(&mut regex, rest.next().ok_or(Problem::Syntax)?),
            c => literal(&mut regex, c),
        }
    }
    regex.push('$');
    Ok(regex)
}

fn literal(regex: &mut String, c: char) {
    regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// Translates `[abc]`, `[a-c]` and `[^a]`, from behind the bracket.
fn class(rest: &mut Peekable<Chars>, regex: &mut String) -> Result<(), Problem> {
    regex.push('[');
    if rest.next_if_eq(&'^').is_some() {
        regex.push('^');
    }
    let mut empty = true;
    while empty || rest.next_if_eq(&']').is_none() {
        empty = false;
        let first = member(rest)?;
        let last = if rest.next_if_eq(&'-').is_some() { member(rest)? } else { first };
        if first > last {
            return Err(Problem::Syntax);
        }
        let _ = write!(regex, "\\x{{{:x}}}-\\x{{{:x}}}", u32::from(first), u32::from(last));
    }
    regex.push(']');
    Ok(())
}

fn member(rest: &mut Peekable<Chars>) -> Result<char, Problem> {
    match rest.next() {
        None | Some('-' | ']') => Err(Problem::Syntax),
        Some('\\') => rest.next().ok_or(Problem::Syntax),
        Some(c) => Ok(c),
    }
}
