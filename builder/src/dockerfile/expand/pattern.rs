//! The patterns of `${V#p}`, `${V%p}` and `${V/p/r}`: `*` and `?`, and nothing else.

use std::fmt::Write;

use regex::Regex;

use super::{ExpandError, SIZE_LIMIT};

/// The longest pattern in bytes: compiled it takes many times its length.
const PATTERN_LIMIT: usize = 65_535;
/// The largest product of the lengths of a pattern and of the value that it is compared with.
const WORK_LIMIT: usize = 1 << 26;

/// The end of a value that is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Start,
    End,
}

/// One element of a pattern.
#[derive(Clone, Copy)]
enum Part {
    Any,
    One,
    Character(char),
}

/// Takes the shortest or the longest start or end that matches off a value.
pub(super) fn trim(
    value: &str,
    pattern: &str,
    side: Side,
    longest: bool,
) -> Result<String, ExpandError> {
    let mut parts = parts(pattern, value)?;
    if side == Side::Start {
        let regex = compile(&parts, longest, "^", pattern)?;
        return Ok(regex.find(value).map_or(value, |found| &value[found.end()..]).to_owned());
    }
    // Matching runs from the left, so the end is trimmed as the start of the value turned round.
    parts.reverse();
    let regex = compile(&parts, longest, "^", pattern)?;
    let turned: String = value.chars().rev().collect();
    let rest = regex.find(&turned).map_or(turned.as_str(), |found| &turned[found.end()..]);
    Ok(rest.chars().rev().collect())
}

/// Replaces the first match, or every one; each as long as can be.
pub(super) fn replace(
    value: &str,
    pattern: &str,
    replacement: &str,
    every: bool,
) -> Result<String, ExpandError> {
    let regex = compile(&parts(pattern, value)?, true, "", pattern)?;
    let mut result = String::new();
    let mut from = 0;
    let limit = if every { usize::MAX } else { 1 };
    for found in regex.find_iter(value).take(limit) {
        result.push_str(&value[from..found.start()]);
        result.push_str(replacement);
        from = found.end();
        if result.len() > SIZE_LIMIT {
            return Err(ExpandError::Size);
        }
    }
    result.push_str(&value[from..]);
    Ok(result)
}

/// Takes a pattern apart that is to be compared with a value.
fn parts(pattern: &str, value: &str) -> Result<Vec<Part>, ExpandError> {
    if pattern.len() > PATTERN_LIMIT || pattern.len().saturating_mul(value.len()) > WORK_LIMIT {
        return Err(ExpandError::Pattern(start(pattern)));
    }
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => match characters.next() {
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Part::Character(c),
                _ => return Err(ExpandError::Pattern(start(pattern))),
            },
            c => Part::Character(c),
        });
    }
    Ok(parts)
}

fn compile(
    parts: &[Part],
    longest: bool,
    anchor: &str,
    pattern: &str,
) -> Result<Regex, ExpandError> {
    let mut text = anchor.to_owned();
    for part in parts {
        match part {
            Part::Any if longest => text.push_str(".*"),
            Part::Any => text.push_str(".*?"),
            Part::One => text.push('.'),
            Part::Character(c) => {
                let _ = write!(text, "{}", regex::escape(c.encode_utf8(&mut [0; 4])));
            }
        }
    }
    Regex::new(&text).map_err(|_| ExpandError::Pattern(start(pattern)))
}

/// As much of a pattern as a message shows.
fn start(pattern: &str) -> String {
    pattern.chars().take(80).collect()
}
