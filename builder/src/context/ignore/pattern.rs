//! One pattern of an ignore file: the common shapes are compared as text, the rest part by part.

use std::iter::Peekable;
use std::str::Chars;

use super::Problem;

/// A pattern: its text, and how it is compared.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    shape: Shape,
}

#[derive(Debug, Clone)]
enum Shape {
    /// This path.
    Exact,
    /// What starts so: `a/` of `a/**`.
    Start(String),
    /// What ends so: `**a`, and `**/*.a`.
    End(String),
    /// A path whose last elements are these: `**/a/b`.
    Last(String),
    /// An element at the root that starts and ends so: `a*b`.
    Root(String, String),
    /// Anything else. Most paths are told by the plain text at its two ends.
    Parts { start: String, end: String, parts: Vec<Part> },
}

/// What stands for one character, or for any number of them.
#[derive(Debug, Clone)]
enum Part {
    /// This character.
    One(char),
    /// Any character but a slash.
    Any,
    /// A character of these ranges, or of none of them.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// Any characters but slashes.
    Name,
    /// Nothing, or whole elements with the slash behind them.
    Elements,
    /// Anything, to the end.
    Rest,
}

/// What means something in a pattern.
const SIGNS: [char; 5] = ['*', '?', '[', ']', '\\'];

impl Pattern {
    /// Compiles a cleaned pattern.
    pub(super) fn new(text: &str) -> Result<Self, Problem> {
        let parts = parts(text)?;
        let shape = simple(text).unwrap_or_else(|| {
            let start = text.split(SIGNS).next().unwrap_or_default().to_owned();
            // The slash behind two stars stands for nothing where they do.
            let end = text.rsplit(SIGNS).next().unwrap_or_default().trim_start_matches('/');
            Shape::Parts { start, end: end.to_owned(), parts }
        });
        Ok(Self { text: text.to_owned(), shape })
    }

    /// Whether it matches this very path, not one above it.
    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.shape {
            Shape::Exact => path == self.text,
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
            Shape::Parts { start, end, parts } => {
                path.starts_with(start.as_str())
                    && path.ends_with(end.as_str())
                    && walk(parts, path)
            }
        }
    }

    /// Whether it may match something below a directory that it does not match itself. Tells so
    /// too often rather than too seldom.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        let mut elements = self.text.split('/');
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

/// Finds the shape of a pattern that is compared as text.
fn simple(text: &str) -> Option<Shape> {
    let plain = |text: &str| !text.contains(SIGNS);
    if plain(text) {
        return Some(Shape::Exact);
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

/// Takes a pattern apart, and checks it.
fn parts(text: &str) -> Result<Vec<Part>, Problem> {
    let mut parts = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        parts.push(match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                // The slash behind belongs to the stars, so that they may stand for nothing.
                let _ = rest.next_if_eq(&'/');
                if rest.peek().is_some() { Part::Elements } else { Part::Rest }
            }
            '*' => Part::Name,
            '?' => Part::Any,
            '[' => class(&mut rest)?,
            '\\' => Part::One(rest.next().ok_or(Problem::Syntax)?),
            c => Part::One(c),
        });
    }
    Ok(parts)
}

/// Reads `[abc]`, `[a-c]` and `[^a]`, from behind the bracket.
fn class(rest: &mut Peekable<Chars>) -> Result<Part, Problem> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || rest.next_if_eq(&']').is_none() {
        let first = member(rest)?;
        let last = if rest.next_if_eq(&'-').is_some() { member(rest)? } else { first };
        if first > last {
            return Err(Problem::Syntax);
        }
        ranges.push((first, last));
    }
    Ok(Part::Class { negated, ranges })
}

fn member(rest: &mut Peekable<Chars>) -> Result<char, Problem> {
    match rest.next() {
        None | Some('-' | ']') => Err(Problem::Syntax),
        Some('\\') => rest.next().ok_or(Problem::Syntax),
        Some(c) => Ok(c),
    }
}

/// Compares parts with a path, all ways at once: the time is that of their product, whatever the
/// stars.
fn walk(parts: &[Part], path: &str) -> bool {
    let mut now = vec![false; parts.len() + 1];
    let mut next = now.clone();
    // Where whole elements have begun, which may go on to any slash.
    let mut inside = now.clone();
    reach(parts, &mut now, 0);
    for c in path.chars() {
        next.fill(false);
        for (place, part) in parts.iter().enumerate() {
            inside[place] |= now[place] && matches!(part, Part::Elements);
            if inside[place] && c == '/' {
                reach(parts, &mut next, place + 1);
            }
            let taken = now[place]
                && match part {
                    Part::One(one) => *one == c,
                    Part::Any | Part::Name => c != '/',
                    Part::Class { negated, ranges } => {
                        ranges.iter().any(|&(first, last)| (first..=last).contains(&c)) != *negated
                    }
                    Part::Rest => true,
                    Part::Elements => false,
                };
            if taken {
                let stays = matches!(part, Part::Name | Part::Rest);
                reach(parts, &mut next, if stays { place } else { place + 1 });
            }
        }
        std::mem::swap(&mut now, &mut next);
    }
    now[parts.len()]
}

/// Marks a place, and those behind it that are reached with nothing.
fn reach(parts: &[Part], places: &mut [bool], mut place: usize) {
    places[place] = true;
    while matches!(parts.get(place), Some(Part::Name | Part::Elements | Part::Rest)) {
        place += 1;
        places[place] = true;
    }
}
