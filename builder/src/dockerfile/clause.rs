//! One instruction cut into keyword, flags and arguments.

use std::ops::Range;

use super::diagnostic::Diagnostic;
use super::flag::{self, Flags, Known};
use super::heredoc::Token;
use super::line::Line;
use super::parse::{ERROR_LIMIT, KEYWORDS, holds_heredocs, tokens_from, unknown};
use super::source::Source;
use super::span::Span;
use super::tree::{From, Heredoc, Instruction, Word};
use super::word::{Json, Piece, is_blank, json};

/// What an instruction became.
#[derive(Debug)]
pub(super) enum Parsed {
    From(From),
    Instruction(Instruction),
}

/// What there is to say about an instruction.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) errors: Vec<Diagnostic>,
    /// The warning about `KEY VALUE`, which the tree does not show.
    pub(super) legacy: Option<Diagnostic>,
}

/// An instruction in parts.
#[derive(Debug)]
pub(super) struct Clause<'c> {
    pub(super) source: &'c Source<'c>,
    pub(super) line: &'c Line,
    pub(super) escape: char,
    /// Where the keyword starts in the text of the line.
    pub(super) start: usize,
    /// In upper case.
    pub(super) keyword: &'static str,
    pub(super) flags: Flags,
    /// Where the flags start in the text of the line.
    flags_start: usize,
    /// What is left behind the flags, without outer blanks.
    pub(super) arguments: &'c str,
    /// Where that starts in the text of the line.
    pub(super) arguments_start: usize,
}

impl<'c> Clause<'c> {
    /// Cuts the text of a line, from an offset on.
    pub(super) fn cut(
        source: &'c Source<'c>,
        line: &'c Line,
        escape: char,
        start: usize,
    ) -> Result<Self, Diagnostic> {
        let text = line.text.trim_end();
        let rest = text.get(start..).unwrap_or_default();
        let start = text.len() - rest.trim_start().len();
        let rest = &text[start..];
        let end = rest.find(is_blank).unwrap_or(rest.len());
        let (written, tail) = rest.split_at(end);
        let flags_start = text.len() - tail.trim_start_matches(is_blank).len();
        let Some(keyword) = KEYWORDS.iter().find(|name| name.eq_ignore_ascii_case(written)) else {
            return Err(unknown(written, line.span(source, start, start + end)));
        };
        let (flags, at) = flag::split(&text[flags_start..]);
        let arguments = text[flags_start + at..].trim_start();
        let arguments_start = text.len() - arguments.len();
        Ok(Self {
            source,
            line,
            escape,
            start,
            keyword,
            flags,
            flags_start,
            arguments,
            arguments_start,
        })
    }

    /// Finds the here-documents whose bodies follow.
    pub(super) fn heredoc_tokens(&self) -> Vec<Token> {
        if !self.line.text.contains("<<") {
            return Vec::new();
        }
        if self.keyword == "ONBUILD" {
            let inner = Self::cut(self.source, self.line, self.escape, self.arguments_start);
            return inner.map_or_else(
                |_| Vec::new(),
                |inner| {
                    if inner.keyword == "ONBUILD" { Vec::new() } else { inner.heredoc_tokens() }
                },
            );
        }
        let plain = holds_heredocs(self.keyword) && json(self.arguments) == Json::Not;
        if plain { tokens_from(&self.line.text, self.start) } else { Vec::new() }
    }

    /// The place of a part of the arguments.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let start = self.arguments_start;
        self.line.span(self.source, start + range.start, start + range.end)
    }

    /// The place of the instruction, without here-documents.
    pub(super) fn whole(&self) -> Span {
        self.line.span(self.source, self.start, self.line.text.trim_end().len())
    }

    /// The place of a flag.
    pub(super) fn flag_span(&self, range: &Range<usize>) -> Span {
        let start = self.flags_start;
        self.line.span(self.source, start + range.start, start + range.end)
    }

    /// Makes an error about the whole instruction.
    pub(super) fn error(&self, message: &str) -> Diagnostic {
        Diagnostic::error(self.whole(), format!("{} {message}", self.keyword))
    }

    /// Makes a word of a piece of the arguments.
    pub(super) fn word(&self, piece: Piece) -> Word {
        Word { span: self.span(piece.range), text: piece.text }
    }

    /// Makes a word of all the arguments; there must be some.
    pub(super) fn rest(&self) -> Result<Word, Diagnostic> {
        if self.arguments.is_empty() {
            return Err(self.error("requires exactly one argument"));
        }
        Ok(self.word(Piece { text: self.arguments.to_owned(), range: 0..self.arguments.len() }))
    }

    /// Makes a word of the value of a flag.
    pub(super) fn flag_word(&self, name: &str) -> Option<Word> {
        let flag = self.flags.get(name)?;
        Some(Word { text: flag.value.clone()?, span: self.flag_span(&flag.range) })
    }

    /// Reads the arguments as a JSON array, if they are one; one of other things is an error.
    pub(super) fn json(&self, arguments: &str) -> Result<Option<Vec<String>>, Diagnostic> {
        match json(arguments) {
            Json::Strings(strings) => Ok(Some(strings)),
            Json::Not => Ok(None),
            Json::Mixed => Err(self
                .error("takes a JSON array of strings only")
                .hint("put each element in double quotes, numbers too".to_owned())),
        }
    }

    /// Compares the flags with those that the instruction knows.
    pub(super) fn check_flags(&self, known: Known, notes: &mut Notes) {
        let problems = self.flags.check(self.keyword, known).take(ERROR_LIMIT);
        notes.errors.extend(problems.map(|problem| {
            Diagnostic::error(self.flag_span(&problem.range), problem.message).hint(problem.hint)
        }));
    }

    /// Parses the instruction, whose here-documents have been read. No result comes with errors.
    pub(super) fn parse(&self, tokens: &[Token], heredocs: &[Heredoc]) -> (Option<Parsed>, Notes) {
        let mut notes = Notes::default();
        let parsed = if self.keyword == "FROM" {
            self.from(&mut notes).map(Parsed::From)
        } else {
            self.instruction(tokens, heredocs, &mut notes).map(Parsed::Instruction)
        };
        match parsed {
            Ok(parsed) if notes.errors.is_empty() => (Some(parsed), notes),
            Ok(_) => (None, notes),
            Err(error) => {
                notes.errors.push(error);
                (None, notes)
            }
        }
    }
}
