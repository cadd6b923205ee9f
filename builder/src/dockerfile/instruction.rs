//! The grammar of each instruction.

use std::time::Duration;

use super::clause::{Clause, Notes, Parsed};
use super::diagnostic::Diagnostic;
use super::flag::{Known, Takes};
use super::heredoc::Token;
use super::lint::Rule;
use super::parse::unknown;
use super::tree::{
    Arg, Command, From, Healthcheck, Heredoc, Instruction, Onbuild, Statement, Word,
};
use super::value;
use super::word::{Piece, is_blank, plain, quoted};

/// The flags of `FROM`.
const FROM: Known = &[("platform", Takes::Value)];
/// The flags of `HEALTHCHECK`.
const HEALTHCHECK: Known = &[
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

impl Clause<'_> {
    /// Parses any instruction but `FROM`.
    pub(super) fn instruction(
        &self,
        tokens: &[Token],
        heredocs: &[Heredoc],
        notes: &mut Notes,
    ) -> Result<Instruction, Diagnostic> {
        match self.keyword {
            "ADD" => return self.add(tokens, heredocs, notes),
            "COPY" => return self.copy(tokens, heredocs, notes),
            "RUN" => return self.run(heredocs, notes),
            "HEALTHCHECK" => return self.healthcheck(notes).map(Instruction::Healthcheck),
            _ => self.check_flags(&[], notes),
        }
        match self.keyword {
            "ARG" => self.arg().map(Instruction::Arg),
            "CMD" => self.command(self.arguments).map(Instruction::Cmd),
            "ENTRYPOINT" => self.command(self.arguments).map(Instruction::Entrypoint),
            "ENV" => self.pairs(notes).map(Instruction::Env),
            "EXPOSE" => self.words().map(Instruction::Expose),
            "LABEL" => self.pairs(notes).map(Instruction::Label),
            "MAINTAINER" => Ok(Instruction::Maintainer(self.rest()?.text)),
            "ONBUILD" => self.onbuild(tokens, heredocs, notes),
            "SHELL" => self.shell(),
            "STOPSIGNAL" => self.rest().map(Instruction::Stopsignal),
            "USER" => self.rest().map(Instruction::User),
            "VOLUME" => self.volume(),
            "WORKDIR" => self.rest().map(Instruction::Workdir),
            other => Err(unknown(other, self.whole())),
        }
    }

    /// Parses `FROM`.
    pub(super) fn from(&self, notes: &mut Notes) -> Result<From, Diagnostic> {
        self.check_flags(FROM, notes);
        let mut words = plain(self.arguments).into_iter();
        let (image, name) = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(image), None, ..) => (image, None),
            (Some(image), Some(keyword), Some(name), None)
                if keyword.text.eq_ignore_ascii_case("as") =>
            {
                (image, Some(name))
            }
            (_, second, ..) => {
                let hint = second.map_or(
                    "name an image, or `scratch` for an empty one",
                    |_| "the form is `FROM IMAGE AS NAME`",
                );
                let error = self.error("requires either one or three arguments");
                return Err(error.hint(hint.to_owned()));
            }
        };
        let name = name.map(|name| self.stage_name(name)).transpose()?;
        let platform = self.flag_word("platform");
        Ok(From { image: self.word(image), platform, name })
    }

    fn stage_name(&self, name: Piece) -> Result<String, Diagnostic> {
        let lower = name.text.to_lowercase();
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if lower.starts_with(|c: char| c.is_ascii_lowercase()) && lower.chars().all(rest) {
            return Ok(lower);
        }
        let message = format!("invalid name of a stage: `{}`", name.text);
        Err(Diagnostic::error(self.span(name.range), message)
            .hint("it starts with a letter and has only letters, digits and `-_.`".to_owned()))
    }

    fn words(&self) -> Result<Vec<Word>, Diagnostic> {
        let words: Vec<_> = plain(self.arguments).into_iter().map(|w| self.word(w)).collect();
        if words.is_empty() {
            return Err(self.error("requires at least one argument"));
        }
        Ok(words)
    }

    fn arg(&self) -> Result<Vec<Arg>, Diagnostic> {
        let words = quoted(self.arguments, self.escape);
        if words.is_empty() {
            return Err(self.error("requires at least one argument"));
        }
        let arg = |piece: Piece| {
            if piece.text.contains('=') {
                let (name, default) = self.pair(piece)?;
                Ok(Arg { name, default: Some(default) })
            } else {
                Ok(Arg { name: self.word(piece), default: None })
            }
        };
        words.into_iter().map(arg).collect()
    }

    /// Cuts `NAME=VALUE`.
    fn pair(&self, piece: Piece) -> Result<(Word, Word), Diagnostic> {
        let Piece { text, range } = piece;
        let Some((name, value)) = text.split_once('=') else {
            let message = format!("there is no `=` in `{text}`: {} takes NAME=VALUE", self.keyword);
            let hint = if text.starts_with('#') {
                "a comment must have a line of its own"
            } else {
                "put a value with blanks in quotes: NAME=\"a b\""
            };
            return Err(Diagnostic::error(self.span(range), message).hint(hint.to_owned()));
        };
        if name.is_empty() {
            let message = format!("{} names cannot be blank", self.keyword);
            return Err(Diagnostic::error(self.span(range), message));
        }
        let middle = range.start + name.len();
        let name = Piece { text: name.to_owned(), range: range.start..middle };
        let value = Piece { text: value.to_owned(), range: middle + 1..range.end };
        Ok((self.word(name), self.word(value)))
    }

    /// Parses what `ENV` and `LABEL` take: pairs, or one name and its value behind a blank.
    fn pairs(&self, notes: &mut Notes) -> Result<Vec<(Word, Word)>, Diagnostic> {
        let words = quoted(self.arguments, self.escape);
        let first = words.first();
        let first = first.ok_or_else(|| self.error("requires at least one argument"))?;
        if first.text.contains('=') {
            return words.into_iter().map(|piece| self.pair(piece)).collect();
        }
        let Some((name, rest)) = self.arguments.split_once(is_blank) else {
            return Err(self
                .error("must have two arguments")
                .hint(format!("the form is `{} NAME=VALUE`", self.keyword)));
        };
        let value = rest.trim_start_matches(is_blank);
        let start = self.arguments.len() - value.len();
        let message = format!("write `{} {name}=...` with `=` in place of the blank", self.keyword);
        let message = if name.len() > 80 { "write NAME=VALUE".to_owned() } else { message };
        notes.legacy = Some(Diagnostic::lint(Rule::LegacyKeyValueFormat, self.whole(), message));
        let value = Piece { text: value.to_owned(), range: start..self.arguments.len() };
        let name = Piece { text: name.to_owned(), range: 0..name.len() };
        Ok(vec![(self.word(name), self.word(value))])
    }

    /// Parses a command in either form.
    pub(super) fn command(&self, arguments: &str) -> Result<Command, Diagnostic> {
        let shell = || Command::Shell(arguments.to_owned());
        Ok(self.json(arguments)?.map_or_else(shell, Command::Exec))
    }

    fn shell(&self) -> Result<Instruction, Diagnostic> {
        match self.json(self.arguments)? {
            Some(shell) if shell.is_empty() => Err(self.error("requires at least one argument")),
            Some(shell) => Ok(Instruction::Shell(shell)),
            None => Err(self
                .error("takes its arguments in JSON form only")
                .hint("write `SHELL [\"/bin/sh\", \"-c\"]`, in double quotes".to_owned())),
        }
    }

    fn volume(&self) -> Result<Instruction, Diagnostic> {
        let Some(paths) = self.json(self.arguments)? else {
            return self.words().map(Instruction::Volume);
        };
        if paths.is_empty() {
            return Err(self.error("requires at least one argument"));
        }
        let span = self.span(0..self.arguments.len());
        let word = |path: String| match path.trim() {
            "" => Err(self.error("paths cannot be empty")),
            path => Ok(Word { text: path.to_owned(), span }),
        };
        paths.into_iter().map(word).collect::<Result<_, _>>().map(Instruction::Volume)
    }

    fn healthcheck(&self, notes: &mut Notes) -> Result<Healthcheck, Diagnostic> {
        let end = self.arguments.find(char::is_whitespace).unwrap_or(self.arguments.len());
        let (kind, rest) = self.arguments.split_at(end);
        let rest = rest.trim_start();
        match kind.to_ascii_uppercase().as_str() {
            "" => Err(self.error("requires at least one argument")),
            "NONE" if rest.is_empty() => Ok(Healthcheck::None),
            "NONE" => Err(self.error("NONE takes no arguments")),
            "CMD" => self.check(rest, notes),
            _ => {
                let message = format!("unknown type `{kind}` of HEALTHCHECK");
                Err(Diagnostic::error(self.span(0..end), message)
                    .hint("write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`".to_owned()))
            }
        }
    }

    fn check(&self, rest: &str, notes: &mut Notes) -> Result<Healthcheck, Diagnostic> {
        self.check_flags(HEALTHCHECK, notes);
        let command = self.command(rest)?;
        if matches!(&command, Command::Shell(text) if text.is_empty())
            || matches!(&command, Command::Exec(words) if words.is_empty())
        {
            return Err(self.error("CMD needs a command"));
        }
        Ok(Healthcheck::Check {
            command,
            interval: self.duration("interval", notes),
            timeout: self.duration("timeout", notes),
            start_period: self.duration("start-period", notes),
            start_interval: self.duration("start-interval", notes),
            retries: self.retries(notes),
        })
    }

    fn duration(&self, name: &str, notes: &mut Notes) -> Option<Duration> {
        let word = self.flag_word(name).filter(|word| !word.text.is_empty())?;
        let duration = value::duration(&word.text).and_then(|duration| {
            let short = !duration.is_zero() && duration < Duration::from_millis(1);
            if short { Err(format!("`--{name}` cannot be less than 1ms")) } else { Ok(duration) }
        });
        let hint = "durations are written like `30s`, `1m30s` or `500ms`".to_owned();
        let tell = |message| {
            notes.errors.push(Diagnostic::error(word.span, message).hint(hint));
        };
        duration.map_err(tell).ok()
    }

    fn retries(&self, notes: &mut Notes) -> Option<u32> {
        let word = self.flag_word("retries").filter(|word| !word.text.is_empty())?;
        let number = word.text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            let message = format!("`--retries` is a number from 0 on, not `{}`", word.text);
            notes.errors.push(Diagnostic::error(word.span, message));
        }
        number
    }

    fn onbuild(
        &self,
        tokens: &[Token],
        heredocs: &[Heredoc],
        notes: &mut Notes,
    ) -> Result<Instruction, Diagnostic> {
        if self.arguments.is_empty() {
            return Err(self.error("requires at least one argument"));
        }
        let inner = Self::cut(self.source, self.line, self.escape, self.arguments_start)?;
        if matches!(inner.keyword, "ONBUILD" | "FROM" | "MAINTAINER") {
            let message = format!("{} is not allowed as a trigger of ONBUILD", inner.keyword);
            return Err(Diagnostic::error(inner.whole(), message));
        }
        let (parsed, inner_notes) = inner.parse(tokens, heredocs);
        notes.errors.extend(inner_notes.errors);
        notes.legacy = inner_notes.legacy;
        let Some(Parsed::Instruction(value)) = parsed else {
            // The errors are among the notes.
            return notes.errors.pop().map_or_else(|| Err(self.error("has no trigger")), Err);
        };
        let mut text = self.arguments.to_owned();
        for heredoc in heredocs {
            text.push('\n');
            text.push_str(&heredoc.body);
            text.push_str(&heredoc.name);
        }
        let end = heredocs.last().map(|heredoc| heredoc.span);
        let span = end.map_or(inner.whole(), |end| inner.whole().to(end));
        let statement = Statement {
            value,
            text: self.arguments.to_owned(),
            span,
            comments: Vec::new(),
            check: None,
        };
        Ok(Instruction::Onbuild(Onbuild { text, instruction: Box::new(statement) }))
    }
}
