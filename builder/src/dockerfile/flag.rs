//! The `--flags` before the arguments of an instruction.

use std::ops::Range;

use super::hint::suggest;
use super::value::boolean;
use super::word::is_blank;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Boolean,
    /// One value.
    Value,
    /// A value each time it is given.
    Values,
}

/// The flags that an instruction knows.
pub(super) type Known = &'static [(&'static str, Takes)];

/// A flag as written, without quotes and escapes.
#[derive(Debug, Clone)]
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) value: Option<String>,
    /// Where it is in the arguments.
    pub(super) range: Range<usize>,
}

/// What is wrong with a flag.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) range: Range<usize>,
}

/// The flags of one instruction.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<Flag>);

/// Takes the flags off the front of the arguments; also returns where the rest starts.
pub(super) fn split(text: &str) -> (Flags, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at = text.len() - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (Flags(flags), at);
        }
        let (word, end) = unquoted(text, at);
        let range = at..end;
        at = end;
        if word == "--" {
            let rest = text[at..].trim_start_matches(is_blank);
            return (Flags(flags), text.len() - rest.len());
        }
        let word = word.strip_prefix("--").unwrap_or(&word);
        let (name, value) =
            word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        flags.push(Flag { name: name.to_owned(), value: value.map(str::to_owned), range });
    }
}

/// Reads a word with its quotes and escapes resolved; also returns where it ends.
fn unquoted(text: &str, start: usize) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text[start..].char_indices();
    while let Some((at, c)) = characters.next() {
        match (quote, c) {
            (None, _) if c.is_whitespace() => return (word, start + at),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (_, '\\') => word.extend(characters.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

impl Flags {
    /// Compares the flags with those that the instruction knows.
    pub(super) fn check(&self, instruction: &str, known: Known) -> impl Iterator<Item = Problem> {
        let mut seen: Vec<&str> = Vec::new();
        self.0.iter().filter_map(move |flag| {
            let takes = known.iter().find(|(name, _)| *name == flag.name).map(|(_, takes)| *takes);
            let problem = flag.problem(instruction, known, takes, &seen);
            if takes.is_some() && !seen.contains(&flag.name.as_str()) {
                seen.push(&flag.name);
            }
            let (message, hint) = problem?;
            Some(Problem { message, hint, range: flag.range.clone() })
        })
    }

    /// The last use of a flag.
    pub(super) fn get(&self, name: &str) -> Option<&Flag> {
        self.0.iter().rev().find(|flag| flag.name == name)
    }

    /// Every use of a flag.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f Flag> {
        self.0.iter().filter(move |flag| flag.name == name)
    }

    /// The value of a flag that takes none or a boolean.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        let flag = self.get(name)?;
        flag.value.as_ref().map_or(Some(true), |value| boolean(&value.to_ascii_lowercase()))
    }
}

impl Flag {
    fn problem(
        &self,
        instruction: &str,
        known: Known,
        takes: Option<Takes>,
        seen: &[&str],
    ) -> Option<(String, Option<String>)> {
        let name = &self.name;
        let Some(takes) = takes else {
            let message = format!("unknown flag `--{name}` of {instruction}");
            let near = suggest(name, known.iter().map(|(name, _)| *name));
            let near = near.map(|hint| hint.replacen('`', "`--", 1));
            let hint = near.unwrap_or_else(|| list(instruction, known));
            return Some((message, Some(hint)));
        };
        if takes != Takes::Values && seen.contains(&name.as_str()) {
            return Some((format!("the flag `--{name}` is given twice"), None));
        }
        match (takes, self.value.as_deref()) {
            (Takes::Boolean, None) => None,
            (Takes::Boolean, Some(value)) => {
                let valid =
                    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false");
                let message = format!("the flag `--{name}` is true or false, not `{value}`");
                (!valid).then_some((message, None))
            }
            (_, None) => {
                let message = format!("the flag `--{name}` needs a value");
                Some((message, Some(format!("write `--{name}=VALUE`, without a blank"))))
            }
            (_, Some(_)) => None,
        }
    }
}

fn list(instruction: &str, known: Known) -> String {
    if known.is_empty() {
        return format!("{instruction} has no flags; a lone `--` before the arguments ends them");
    }
    let names: Vec<_> = known.iter().map(|(name, _)| format!("`--{name}`")).collect();
    format!("{instruction} knows {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_at_the_first_argument() {
        let (flags, rest) = split("--a=1 --b  --c=\"x y\" d --e");
        let names: Vec<_> = flags.0.iter().map(|f| (f.name.as_str(), f.value.as_deref())).collect();
        assert_eq!(names, [("a", Some("1")), ("b", None), ("c", Some("x y"))]);
        assert_eq!(rest, 21);
        let text = "--a=1 -- --b";
        assert_eq!(&text[split(text).1..], "--b");
    }
}
