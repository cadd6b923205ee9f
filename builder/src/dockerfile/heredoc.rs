//! Here-documents: finding `<<WORD` in an instruction, and reading the bodies after it.

use std::borrow::Cow;
use std::ops::Range;

use super::diagnostic::Diagnostic;
use super::line::Reader;
use super::source::Source;
use super::span::Span;
use super::tree::Heredoc;

/// A `<<WORD` in an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) name: String,
    descriptor: u32,
    expand: bool,
    chomp: bool,
    /// Where it is in the text that was searched.
    pub(super) range: Range<usize>,
}

impl Heredoc {
    /// Returns the body as a file of it reads: without leading tabs after `<<-`.
    pub fn text(&self) -> Cow<'_, str> {
        if !self.chomp {
            return Cow::Borrowed(&self.body);
        }
        let lines = self.body.split_inclusive('\n');
        Cow::Owned(lines.map(|line| line.trim_start_matches('\t')).collect())
    }

    /// Returns the first line of the body, with `...` if there are more, as progress shows it.
    pub fn summary(&self) -> String {
        let body = self.body.trim();
        let (first, more) = body.split_once('\n').map_or((body, ""), |(first, _)| (first, "..."));
        format!("{}{more}", first.trim_end_matches('\r'))
    }
}

/// Finds the here-documents of an instruction. Unbalanced quotes hide all of them.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    if !text.contains("<<") {
        return Vec::new();
    }
    let words = words(text).unwrap_or_default();
    words.into_iter().filter_map(|range| token(&text[range.clone()], range.start)).collect()
}

/// Reads a text that is one here-document and nothing else.
pub(super) fn alone(text: &str) -> bool {
    token(text, 0).is_some()
}

/// Cuts text into the words of a shell. Blanks behind `<<` belong to the word.
fn words(text: &str) -> Option<Vec<Range<usize>>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if c.is_whitespace() {
            words.extend(start.take().map(|start| start..at));
            continue;
        }
        start.get_or_insert(at);
        match c {
            '\\' => drop(characters.next()),
            '\'' => drop(characters.find(|&(_, c)| c == '\'')?),
            '"' => loop {
                match characters.next()?.1 {
                    '"' => break,
                    '\\' => drop(characters.next()),
                    _ => {}
                }
            },
            '<' if characters.next_if(|&(_, c)| c == '<').is_some() => {
                while characters.next_if(|&(_, c)| c.is_whitespace()).is_some() {}
            }
            _ => {}
        }
    }
    words.extend(start.map(|start| start..text.len()));
    Some(words)
}

fn token(word: &str, start: usize) -> Option<Token> {
    let digits = word.find(|c: char| !c.is_ascii_digit())?;
    let (descriptor, rest) = word.split_at(digits);
    let rest = rest.strip_prefix("<<")?;
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    let rest = rest.trim();
    if rest.contains('<') {
        return None;
    }
    let (name, expand) = unquote(rest)?;
    Some(Token {
        name,
        descriptor: descriptor.parse().unwrap_or(0),
        expand,
        chomp,
        range: start..start + word.len(),
    })
}

/// Takes the quotes and escapes off the word that ends a here-document, and tells whether there
/// were no quotes. It must be one word that is not empty.
fn unquote(word: &str) -> Option<(String, bool)> {
    let mut name = String::new();
    let mut expand = true;
    let mut quote = None;
    let mut characters = word.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, '\'' | '"') => (quote, expand) = (Some(c), false),
            (Some(open), _) if open == c => quote = None,
            (None, '\\') => name.extend(characters.next()),
            (Some('"'), '\\') => {
                let escaped = characters.next_if(|next| matches!(next, '"' | '$' | '\\'));
                name.push(escaped.unwrap_or('\\'));
            }
            (None, _) if c.is_whitespace() => return None,
            _ => name.push(c),
        }
    }
    (quote.is_none() && !name.is_empty()).then_some((name, expand))
}

impl Reader<'_, '_> {
    /// Reads the body of a here-document, to the line that ends it.
    pub(super) fn body(&mut self, token: &Token, opened: Span) -> Result<Heredoc, Diagnostic> {
        let mut body = String::new();
        let mut near = None;
        let mut first = None;
        while let Some(number) = self.take() {
            let start = *first.get_or_insert(self.source.start(number));
            let line = self.source.line(number);
            let bare = if token.chomp { line.trim_start_matches('\t') } else { line };
            if bare == token.name {
                let end = self.source.start(number) + line.len();
                return Ok(Heredoc {
                    name: token.name.clone(),
                    descriptor: token.descriptor,
                    expand: token.expand,
                    chomp: token.chomp,
                    body,
                    span: self.source.span(start, end),
                });
            }
            if near.is_none() && line.trim() == token.name {
                near = Some(number);
            }
            body.push_str(self.source.whole_line(number));
        }
        Err(unterminated(self.source, token, opened, near))
    }
}

fn unterminated(source: &Source, token: &Token, opened: Span, near: Option<usize>) -> Diagnostic {
    let name = &token.name;
    let hint = match near {
        Some(number) => {
            let line = source.line(number);
            let tabs = line.trim_start_matches('\t') == name;
            let number = number + 1;
            if tabs && !token.chomp {
                format!("line {number} is indented by tabs: start with `<<-{name}` to allow that")
            } else {
                format!("line {number} has blanks beside `{name}`: it must stand there alone")
            }
        }
        None => format!("end it with a line that is exactly `{name}`"),
    };
    let line = opened.lines.0;
    let message = format!("unterminated heredoc: `<<{name}` of line {line} has no end");
    Diagnostic::error(opened, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, u32, bool, bool)> {
        let tokens = tokens(text).into_iter();
        tokens.map(|t| (t.name, t.descriptor, t.expand, t.chomp)).collect()
    }

    #[test]
    fn finds_every_form() {
        assert_eq!(found("RUN <<EOF"), [("EOF".into(), 0, true, false)]);
        assert_eq!(found("RUN 3<<-'E F' cat"), [("E F".into(), 3, false, true)]);
        assert_eq!(found("RUN cat <<  \"A\"B >x"), [("AB".into(), 0, false, false)]);
        assert_eq!(found("COPY <<a <<b /x").len(), 2);
        assert_eq!(found("RUN <<$X"), [("$X".into(), 0, true, false)]);
    }

    #[test]
    fn leaves_alone_what_only_looks_like_one() {
        for text in [
            "RUN \"<<EOF\"",
            "RUN '<<EOF'",
            "RUN cat <<<word",
            "RUN a<<b",
            "RUN <<''",
            "RUN <<",
            "RUN \\<<EOF",
            "RUN <<- EOF",
            "RUN don't <<EOF",
            "RUN x <a <b",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
