//! Errors as people read them: what failed, where in the Dockerfile, why, and what may help.
//!
//! Where a step failed, the place is shown in the shape known from `BuildKit` (`>>>` before the
//! lines); where a Dockerfile can't be read, the words that are wrong are underlined.

use std::error::Error;
use std::fmt::Write as _;

/// How many lines are shown around the ones meant.
const AROUND: usize = 2;
/// The rule above and below an excerpt.
const RULE: &str = "--------------------";

/// A place in a text file. Lines and columns begin at 1; columns count characters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The name of the file, as the user gave it.
    pub(crate) file: &'a str,
    /// The whole text of the file.
    pub(crate) source: &'a str,
    /// The first and the last line meant.
    pub(crate) lines: (usize, usize),
    /// The first column meant and the one after the last; none means whole lines.
    pub(crate) columns: Option<(usize, usize)>,
}

/// What is shown of an error.
#[derive(Debug, Default)]
pub(crate) struct Diagnostic<'a> {
    /// One line: what failed.
    pub(crate) message: String,
    /// The causes, the nearest first.
    pub(crate) causes: Vec<String>,
    /// Where.
    pub(crate) place: Option<Place<'a>>,
    /// What may help.
    pub(crate) hint: Option<String>,
}

impl Diagnostic<'_> {
    /// What is shown of any error: its line and those of its causes.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut seen = error.to_string();
        let mut kept = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // A wrapper that adds nothing repeats what it wraps.
            if !seen.ends_with(&text) {
                kept.push(text.clone());
            }
            seen = text;
            next = cause.source();
        }
        Self { message: error.to_string(), causes: kept, ..Self::default() }
    }

    /// The text, which ends with a line end.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        match &self.place {
            Some(place) if place.columns.is_none() => text.push_str(&place.excerpt()),
            _ => {}
        }
        let _ = writeln!(text, "error: {}", self.message);
        if let Some(snippet) = self.place.and_then(|place| place.snippet()) {
            text.push_str(&snippet);
        }
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "\nhint: {hint}");
        }
        text
    }
}

impl Place<'_> {
    /// The lines meant, marked, with some lines around them.
    pub(crate) fn excerpt(&self) -> String {
        let (first, last) = self.lines;
        let mut text = format!("{}:{first}\n{RULE}\n", self.file);
        let around = first.saturating_sub(AROUND)..=last.saturating_add(AROUND);
        for (number, line) in self.numbered().filter(|(number, _)| around.contains(number)) {
            let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
            let _ = writeln!(text, "{number:4} | {mark} {}", shown(line, 0));
        }
        text.push_str(RULE);
        text.push('\n');
        text
    }

    /// The line meant, with the words underlined.
    fn snippet(&self) -> Option<String> {
        let (start, end) = self.columns?;
        let number = self.lines.0;
        let (_, line) = self.numbered().find(|(line, _)| *line == number)?;
        let width = number.to_string().len();
        let length = line.chars().count();
        let end = if self.lines.1 > number { length + 1 } else { end.min(length + 1) };
        // Of a long line, what stands around the words.
        let cut = if length > SHOWN { start.saturating_sub(AROUND_WORDS) } else { 0 };
        let line = shown(line, cut);
        let end = end.saturating_sub(cut).min(line.chars().count() + 1);
        let first = start.saturating_sub(cut);
        // A tab is as wide as the terminal makes it, so the marks below repeat it.
        let before: String = line
            .chars()
            .take(first.saturating_sub(1))
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        let marks = "^".repeat(end.saturating_sub(first).max(1));
        let mut text = format!("{:width$}--> {}:{number}:{start}\n", "", self.file);
        let _ = writeln!(text, "{:width$} |", "");
        let _ = writeln!(text, "{number} | {line}");
        let _ = writeln!(text, "{:width$} | {before}{marks}", "");
        Some(text)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.source.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// How many characters of a line are shown, and how many of them before the words meant.
const SHOWN: usize = 200;
const AROUND_WORDS: usize = 80;

/// A line of a file for a terminal, from a character on: not too long, and without what would move
/// the cursor.
fn shown(line: &str, from: usize) -> String {
    let safe = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut text: String = line.chars().skip(from).take(SHOWN).map(safe).collect();
    if line.chars().nth(from + SHOWN).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "FROM alpine:3\n\nCOPY . /src\nRUN cargo build \\\n  --release\nUSER me\n";

    fn place(lines: (usize, usize), columns: Option<(usize, usize)>) -> Place<'static> {
        Place { file: "Dockerfile", source: SOURCE, lines, columns }
    }

    #[test]
    fn a_line_is_shown_as_far_as_it_helps_and_moves_no_cursor() {
        let source = format!("RUN \u{1b}[2J\n{} wrong {}\n", "a".repeat(900), "b".repeat(60_000));
        let place =
            |line, columns| Place { file: "F", source: &source, lines: (line, line), columns };
        let told = |place| Diagnostic { place: Some(place), ..Diagnostic::default() }.render();
        assert!(told(place(1, Some((1, 4)))).contains("1 | RUN \u{fffd}[2J\n  | ^^^\n"));
        assert!(!told(place(1, None)).contains('\u{1b}'));
        let text = told(place(2, Some((902, 907))));
        let lines: Vec<_> = text.lines().collect();
        let at = lines[4].find('^').expect("marks");
        assert_eq!(&lines[3][at..at + 5], "wrong");
        assert!(lines[4].ends_with(" ^^^^^") && lines[3].chars().count() < 220, "{text}");
        assert!(told(place(2, None)).len() < 2000);
        assert!(told(place(2, Some((1, 60_000)))).len() < 2000);
    }

    #[test]
    fn a_failed_step_is_marked() {
        let diagnostic = Diagnostic {
            message: "process `/bin/sh -c cargo build` failed with exit code 2".to_owned(),
            place: Some(place((4, 5), None)),
            hint: Some("`/src/Cargo.lock` is excluded by `.dockerignore`".to_owned()),
            ..Diagnostic::default()
        };
        insta::assert_snapshot!(diagnostic.render(), @r"
        Dockerfile:4
        --------------------
           2 |     
           3 |     COPY . /src
           4 | >>> RUN cargo build \
           5 | >>>   --release
           6 |     USER me
        --------------------
        error: process `/bin/sh -c cargo build` failed with exit code 2

        hint: `/src/Cargo.lock` is excluded by `.dockerignore`
        ");
    }

    #[test]
    fn a_wrong_word_is_underlined() {
        let diagnostic = Diagnostic {
            message: "unknown flag `--relase`".to_owned(),
            place: Some(place((3, 3), Some((6, 7)))),
            ..Diagnostic::default()
        };
        insta::assert_snapshot!(diagnostic.render(), @r"
        error: unknown flag `--relase`
         --> Dockerfile:3:6
          |
        3 | COPY . /src
          |      ^
        ");
    }

    #[test]
    fn a_place_outside_the_file_shows_nothing() {
        let diagnostic =
            Diagnostic { place: Some(place((99, 99), Some((1, 2)))), ..Diagnostic::default() };
        assert_eq!(diagnostic.render(), "error: \n");
        let start = Place { lines: (0, 0), ..place((1, 1), None) };
        assert!(start.excerpt().starts_with("Dockerfile:0\n"));
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("fetch `alpine`")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("connection refused"));
        let shown = Diagnostic::of(&error).render();
        assert_eq!(shown, "error: fetch `alpine`\n  caused by: connection refused\n");
    }
}
