//! The walk over a whole file: instruction by instruction, into stages.

use super::clause::{Clause, Parsed};
use super::diagnostic::Diagnostic;
use super::directive::{Check, Directives, key_value};
use super::finding;
use super::heredoc::{self, Token};
use super::hint::{WORDS, suggest};
use super::line::{Line, Reader};
use super::lint::Rule;
use super::source::Source;
use super::span::Span;
use super::tree::{Arg, Dockerfile, From, Heredoc, Instruction, Stage, Statement};

/// How many errors are enough to tell.
pub(super) const ERROR_LIMIT: usize = 100;

/// How many words a file may have outside here-documents, which bounds the size of its tree.
const WORD_LIMIT: usize = 1 << 19;

/// Parses a file.
///
/// Returns every error that can be found, in the order of the file; the walk goes on behind a
/// wrong instruction. Takes time and memory in proportion to the length, whatever the bytes.
pub fn parse(bytes: &[u8]) -> Result<Dockerfile, Vec<Diagnostic>> {
    let (file, errors) = parse_all(bytes);
    if errors.is_empty() { Ok(file) } else { Err(errors) }
}

/// Parses a file like [`parse`], and returns what can be told of it beside the errors: the
/// instructions that are right, and the warnings.
pub fn parse_all(bytes: &[u8]) -> (Dockerfile, Vec<Diagnostic>) {
    let source = match Source::read(bytes) {
        Ok(source) => source,
        Err(error) => return (Dockerfile::nothing(Directives::none()), vec![error]),
    };
    let mut errors = Vec::new();
    let directives = Directives::read(&source, &mut errors);
    let mut parser = Parser::new(Reader::new(&source, &directives), directives.escape);
    parser.errors = errors;
    parser.file();
    parser.errors.truncate(ERROR_LIMIT);
    let mut file = Dockerfile::nothing(directives);
    (file.args, file.stages, file.warnings) = (parser.args, parser.stages, parser.warnings);
    let found = finding::find(&file);
    file.warnings.extend(found);
    file.warnings.sort_by_key(|warning| warning.span.start);
    (file, parser.errors)
}

/// Parses the text of one instruction with its here-documents, as an image's configuration keeps
/// what `ONBUILD` declared. The escape character is `\`.
pub fn parse_instruction(text: &str) -> Result<Statement, Vec<Diagnostic>> {
    let source = Source::read(text.as_bytes()).map_err(|error| vec![error])?;
    let none = Directives::none();
    let mut parser = Parser::new(Reader::new(&source, &none), none.escape);
    let line = parser.reader.instruction();
    let statement = line.and_then(|line| parser.statement(&line));
    if let Some(line) = parser.reader.instruction().filter(|_| parser.errors.is_empty()) {
        let span = line.span(&source, 0, line.text.len());
        parser.errors.push(Diagnostic::error(span, "there is more than one instruction"));
    }
    let whole = source.span(0, text.len());
    match statement {
        Some(Statement { value: Parsed::Instruction(value), text, span, comments, check })
            if parser.errors.is_empty() =>
        {
            Ok(Statement { value, text, span, comments, check })
        }
        Some(_) if parser.errors.is_empty() => {
            Err(vec![Diagnostic::error(whole, "FROM is not an instruction of a stage")])
        }
        None if parser.errors.is_empty() => {
            Err(vec![Diagnostic::error(whole, "there is no instruction")])
        }
        _ => Err(parser.errors),
    }
}

struct Parser<'s, 'a> {
    reader: Reader<'s, 'a>,
    escape: char,
    args: Vec<Statement<Vec<Arg>>>,
    stages: Vec<Stage>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// Set once an instruction before the first `FROM` has been told of.
    homeless: bool,
    /// The words read so far, or somewhat more.
    words: usize,
    /// Set when the rest of the file cannot be told apart.
    lost: bool,
}

impl<'s, 'a> Parser<'s, 'a> {
    fn new(reader: Reader<'s, 'a>, escape: char) -> Self {
        Self {
            reader,
            escape,
            args: Vec::new(),
            stages: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            homeless: false,
            words: 0,
            lost: false,
        }
    }

    fn file(&mut self) {
        let mut before: Option<Line> = None;
        let mut count = 0;
        while !self.lost && self.errors.len() < ERROR_LIMIT {
            let Some(line) = self.reader.instruction() else {
                break;
            };
            count += 1;
            let known = self.errors.len();
            let statement = self.statement(&line);
            if statement.is_none()
                && let Some(error) = self.errors.get_mut(known)
            {
                missing_continuation(error, &line, before.as_ref(), self.escape);
            }
            if let Some(statement) = statement {
                self.place(statement);
            }
            before = Some(line);
        }
        if !self.errors.is_empty() || !self.stages.is_empty() {
            return;
        }
        let end = self.reader.source.span(0, 0);
        let message =
            if count == 0 { "the file has no instructions" } else { "the file has no FROM" };
        let hint = "every build starts with `FROM image`, or with `FROM scratch` for an empty one";
        self.errors.push(Diagnostic::error(end, message).hint(hint.to_owned()));
    }

    fn place(&mut self, statement: Statement<Parsed>) {
        let Statement { value, text, span, comments, check } = statement;
        let instruction = match value {
            Parsed::From(value) => {
                let from: Statement<From> = Statement { value, text, span, comments, check };
                self.stages.push(Stage { from, instructions: Vec::new() });
                return;
            }
            Parsed::Instruction(instruction) => instruction,
        };
        match (self.stages.last_mut(), instruction) {
            (Some(stage), value) => {
                stage.instructions.push(Statement { value, text, span, comments, check });
            }
            (None, Instruction::Arg(value)) => {
                self.args.push(Statement { value, text, span, comments, check });
            }
            (None, _) if !self.homeless => {
                self.homeless = true;
                let keyword = text.split_whitespace().next().unwrap_or_default();
                let message = format!("{} stands before the first FROM", keyword.to_uppercase());
                let hint = "only ARG may: start the file with `FROM image`";
                self.errors.push(Diagnostic::error(span, message).hint(hint.to_owned()));
            }
            _ => {}
        }
    }

    /// Parses one instruction; what is wrong with it goes to the errors.
    fn statement(&mut self, line: &Line) -> Option<Statement<Parsed>> {
        self.words += line.words();
        if self.words > WORD_LIMIT {
            let span = self.reader.source.span(line.start, line.start + 1);
            let message = format!("the file has more than {WORD_LIMIT} words");
            self.errors.push(Diagnostic::error(span, message).hint(WORDS.to_owned()));
            self.lost = true;
            return None;
        }
        let (comments, check) = self.comments(line);
        let clause = match Clause::cut(self.reader.source, line, self.escape, 0) {
            Ok(clause) => clause,
            Err(error) => {
                self.errors.push(error);
                return None;
            }
        };
        let tokens = clause.heredoc_tokens();
        let heredocs = self.heredocs(line, &tokens)?;
        let end = heredocs.last().map_or(line.end, |heredoc| heredoc.span.end);
        let span = self.reader.source.span(line.start, end);
        let (value, notes) = clause.parse(&tokens, &heredocs);
        self.errors.extend(notes.errors);
        // What a trigger does is told where it runs.
        let trigger = matches!(value, Some(Parsed::Instruction(Instruction::Onbuild(_))));
        self.warnings.extend(notes.legacy.filter(|_| !trigger));
        if line.empty.is_some() {
            let last = self.reader.source.span(line.start, line.end).lines.1;
            let span = self.reader.source.line_span(last - 1);
            let message = "an empty line stands inside a continued instruction";
            self.warnings.push(Diagnostic::lint(Rule::NoEmptyContinuation, span, message));
        }
        let text = line.text.trim().to_owned();
        Some(Statement { value: value?, text, span, comments, check })
    }

    /// Reads the bodies behind an instruction.
    fn heredocs(&mut self, line: &Line, tokens: &[Token]) -> Option<Vec<Heredoc>> {
        let mut heredocs = Vec::with_capacity(tokens.len());
        for token in tokens {
            let opened = line.span(self.reader.source, token.range.start, token.range.end);
            match self.reader.body(token, opened) {
                Ok(heredoc) => heredocs.push(heredoc),
                Err(error) => {
                    self.errors.push(error);
                    self.lost = true;
                    return None;
                }
            }
        }
        Some(heredocs)
    }

    /// Takes the comment above an instruction apart: its lines, and the check that it asks for.
    fn comments(&self, line: &Line) -> (Vec<String>, Option<Check>) {
        let mut comments = Vec::new();
        let mut check = None;
        for &number in &line.comments {
            let text = self.reader.source.line(number);
            let span = self.reader.source.line_span(number);
            match key_value(text) {
                Some((key, value)) if key.eq_ignore_ascii_case("check") => {
                    check = check.or_else(|| Check::above(value, span));
                }
                _ => {
                    let text = text.trim_start().trim_start_matches('#').trim();
                    if text.is_empty() {
                        comments.clear();
                    } else {
                        comments.push(text.to_owned());
                    }
                }
            }
        }
        (comments, check)
    }
}

/// Adds the hint that the line before should have been continued, where that is likely.
fn missing_continuation(error: &mut Diagnostic, line: &Line, before: Option<&Line>, escape: char) {
    let Some(before) = before.filter(|_| error.hint.is_none()) else {
        return;
    };
    let text = before.text.trim_end();
    let open = ["&&", "||", "|", ";", ",", "(", "{", "="].iter().any(|end| text.ends_with(end));
    let blank = text.ends_with(escape);
    if blank {
        error.hint =
            Some(format!("a doubled `{escape}` at the end of a line does not continue it"));
    } else if open || line.indented {
        error.hint =
            Some(format!("if this continues the line before, end that one with `{escape}`"));
    }
}

/// The names of all instructions.
pub(super) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// The error for an instruction that there is not.
pub(super) fn unknown(keyword: &str, span: Span) -> Diagnostic {
    let shown: String = keyword.chars().take(40).collect();
    let near = suggest(keyword, KEYWORDS);
    Diagnostic::error(span, format!("unknown instruction `{shown}`")).hint(near)
}

/// Whether an instruction may hold here-documents.
pub(super) fn holds_heredocs(keyword: &str) -> bool {
    matches!(keyword, "ADD" | "COPY" | "RUN")
}

/// Finds the here-documents in the text of an instruction, from an offset on.
pub(super) fn tokens_from(text: &str, start: usize) -> Vec<Token> {
    let mut tokens = heredoc::tokens(&text[start..]);
    for token in &mut tokens {
        token.range = token.range.start + start..token.range.end + start;
    }
    tokens
}
