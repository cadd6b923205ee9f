//! Variables, quotes and escapes in the words of instructions.
//!
//! | Form | Result |
//! |---|---|
//! | `$V`, `${V}` | the value, or nothing |
//! | `${V:-w}`, `${V-w}` | `w` where there is no value; with `:` also where it is empty |
//! | `${V:+w}`, `${V+w}` | `w` where there is one, else nothing |
//! | `${V:?m}`, `${V?m}` | an error that says `m` where there is none |
//! | `${V#p}`, `${V##p}` | without the shortest, the longest start that `p` matches |
//! | `${V%p}`, `${V%%p}` | without the shortest, the longest end |
//! | `${V/p/r}`, `${V//p/r}` | the first, every match replaced by `r` |

mod pattern;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;
use std::iter::Peekable;
use std::str::Chars;

use pattern::Side;

/// How deep `${A:-${B:-...}}` may be nested.
const DEPTH_LIMIT: usize = 64;
/// How many bytes a result may have.
const SIZE_LIMIT: usize = 16 << 20;
/// How many bytes all results of one file may have together, copies of them included.
pub const TOTAL_LIMIT: usize = 128 << 20;

/// Why a word cannot be expanded. One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// A quote is not closed.
    #[error("the quote {0} is not closed")]
    Quote(char),
    /// A `${` is not closed, or has no name in it.
    #[error("`${{` without a matching `}}`")]
    Brace,
    /// `${` is not followed by a name.
    #[error("bad substitution: a name must follow `${{`")]
    Name,
    /// A name is followed by something that means nothing.
    #[error("unsupported modifier `{0}` in a substitution")]
    Modifier(String),
    /// The second `/` of a replacement is missing.
    #[error("the second `/` is missing: the form is `${{NAME/pattern/replacement}}`")]
    Slash,
    /// A pattern escapes what needs no escape.
    #[error("invalid pattern `{0}` in a substitution")]
    Pattern(String),
    /// `${NAME:?message}` has found no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
    /// Substitutions are nested too deep.
    #[error("substitutions are nested more than {DEPTH_LIMIT} deep")]
    Depth,
    /// The result is too long.
    #[error("the result is longer than {SIZE_LIMIT} bytes")]
    Size,
    /// All results of the file together are too long.
    #[error("all values of the file together are longer than {TOTAL_LIMIT} bytes")]
    Total,
}

/// Expands a word: resolves variables, quotes and escapes.
///
/// `escape` is the escape character of the file, `lookup` returns the value of a variable.
pub fn expand<'v>(
    word: &str,
    escape: char,
    lookup: impl FnMut(&str) -> Option<Cow<'v, str>>,
) -> Result<String, ExpandError> {
    Expander::new(word, escape, Quotes::Resolve, lookup).all().map(|output| output.text)
}

/// Expands a word of `EXPOSE`, and cuts the result at blanks outside quotes.
pub fn expand_words<'v>(
    word: &str,
    escape: char,
    lookup: impl FnMut(&str) -> Option<Cow<'v, str>>,
) -> Result<Vec<String>, ExpandError> {
    let mut expander = Expander::new(word, escape, Quotes::Resolve, lookup);
    expander.words = true;
    let output = expander.all()?;
    let mut words = output.words;
    words.extend(Some(output.word).filter(|word| !word.is_empty()));
    Ok(words)
}

/// Expands the body of a here-document of `COPY` or `ADD`: quotes stay, and `\` escapes.
pub fn expand_heredoc<'v>(
    body: &str,
    lookup: impl FnMut(&str) -> Option<Cow<'v, str>>,
) -> Result<String, ExpandError> {
    Expander::new(body, '\\', Quotes::Text, lookup).all().map(|output| output.text)
}

/// Expands a text as progress shows it: quotes stay, and so do variables without a value.
pub fn expand_for_display<'v>(
    text: &str,
    escape: char,
    lookup: impl FnMut(&str) -> Option<Cow<'v, str>>,
) -> Result<String, ExpandError> {
    let mut expander = Expander::new(text, escape, Quotes::Keep, lookup);
    expander.keep_unset = true;
    expander.all().map(|output| output.text)
}

/// Returns the names of the variables that a word asks for, each once, in order.
pub fn names(word: &str, escape: char) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    let lookup = |name: &str| {
        if known.insert(name.to_owned()) {
            names.push(name.to_owned());
        }
        Some(Cow::Borrowed("x"))
    };
    // What was asked for before an error counts too.
    let _ = expand(word, escape, lookup);
    names
}

/// A result as one text, and as words where they are asked for.
#[derive(Default)]
struct Output {
    text: String,
    cut: bool,
    words: Vec<String>,
    /// The word that is not yet ended.
    word: String,
}

impl Output {
    /// Adds what stays together.
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        if self.cut {
            self.word.push_str(text);
        }
    }

    /// Adds what is cut at blanks.
    fn split(&mut self, text: &str) {
        self.text.push_str(text);
        for c in text.chars().filter(|_| self.cut) {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
    }
}

/// What becomes of quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// They are resolved and dropped.
    Resolve,
    /// They are resolved, and stay.
    Keep,
    /// They mean nothing.
    Text,
}

struct Expander<'w, F> {
    rest: Peekable<Chars<'w>>,
    escape: char,
    quotes: Quotes,
    /// Whether variables without a value stay as they are.
    keep_unset: bool,
    /// Whether the result is cut into words.
    words: bool,
    lookup: F,
    depth: usize,
}

impl<'w, 'v, F: FnMut(&str) -> Option<Cow<'v, str>>> Expander<'w, F> {
    fn new(word: &'w str, escape: char, quotes: Quotes, lookup: F) -> Self {
        let rest = word.chars().peekable();
        Self { rest, escape, quotes, keep_unset: false, words: false, lookup, depth: 0 }
    }

    fn all(&mut self) -> Result<Output, ExpandError> {
        self.until(None, false)
    }

    /// Expands up to a character, which is taken too, or to the end. `raw` keeps escape
    /// characters, for a pattern to make sense of.
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<Output, ExpandError> {
        let mut output = Output { cut: self.words && stop.is_none(), ..Output::default() };
        while let Some(c) = self.rest.next() {
            match c {
                _ if Some(c) == stop => return Ok(output),
                '$' => {
                    let value = self.dollar()?;
                    output.split(&value);
                }
                '\'' if self.quotes != Quotes::Text => output.push(&self.single()?),
                '"' if self.quotes != Quotes::Text => output.push(&self.double(raw)?),
                _ if c == self.escape => {
                    if raw {
                        output.push(c.encode_utf8(&mut [0; 4]));
                    }
                    if let Some(c) = self.rest.next() {
                        output.push(c.encode_utf8(&mut [0; 4]));
                    }
                }
                _ => output.split(c.encode_utf8(&mut [0; 4])),
            }
            if output.text.len() > SIZE_LIMIT {
                return Err(ExpandError::Size);
            }
        }
        match stop {
            None => Ok(output),
            Some('/') => Err(ExpandError::Slash),
            Some(_) => Err(ExpandError::Brace),
        }
    }

    /// A quote as the result has it.
    fn quote(&self, quote: char) -> &'static str {
        match (self.quotes, quote) {
            (Quotes::Keep, '"') => "\"",
            (Quotes::Keep, _) => "'",
            _ => "",
        }
    }

    fn single(&mut self) -> Result<String, ExpandError> {
        let mut text = self.quote('\'').to_owned();
        loop {
            match self.rest.next() {
                None => return Err(ExpandError::Quote('\'')),
                Some('\'') => return Ok(text + self.quote('\'')),
                Some(c) => text.push(c),
            }
        }
    }

    fn double(&mut self, raw: bool) -> Result<String, ExpandError> {
        let mut text = self.quote('"').to_owned();
        loop {
            match self.rest.next() {
                None => return Err(ExpandError::Quote('"')),
                Some('"') => return Ok(text + self.quote('"')),
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) if c == self.escape => {
                    let escape = self.escape;
                    let next = self.rest.next_if(|&c| c == '"' || c == '$' || c == escape);
                    // What escapes nothing stands for itself, which a pattern must be told.
                    if raw {
                        text.push(c);
                    }
                    if next.is_none() && self.rest.peek().is_some() {
                        text.push(c);
                    }
                    text.extend(next);
                }
                Some(c) => text.push(c),
            }
            if text.len() > SIZE_LIMIT {
                return Err(ExpandError::Size);
            }
        }
    }

    /// Expands what follows a `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.rest.next_if_eq(&'{').is_some() {
            if self.depth == DEPTH_LIMIT {
                return Err(ExpandError::Depth);
            }
            self.depth += 1;
            let value = self.braces();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.value(&name, || format!("${name}")))
    }

    /// The value of a variable; without one nothing, or what was written.
    fn value(&mut self, name: &str, written: impl FnOnce() -> String) -> String {
        match (self.lookup)(name) {
            Some(value) => value.into_owned(),
            None if self.keep_unset => written(),
            None => String::new(),
        }
    }

    fn braces(&mut self) -> Result<String, ExpandError> {
        let name = self.name();
        if name.is_empty() {
            return Err(if self.rest.peek().is_some() {
                ExpandError::Name
            } else {
                ExpandError::Brace
            });
        }
        match self.rest.next() {
            None => Err(ExpandError::Brace),
            Some('}') => Ok(self.value(&name, || format!("${{{name}}}"))),
            Some(':') => match self.rest.next() {
                None => Err(ExpandError::Brace),
                Some(c @ ('-' | '+' | '?')) => self.default(&name, c, true),
                Some(c) => Err(ExpandError::Modifier(format!(":{c}"))),
            },
            Some(c @ ('-' | '+' | '?')) => self.default(&name, c, false),
            Some('#') => self.trim(&name, Side::Start),
            Some('%') => self.trim(&name, Side::End),
            Some('/') => self.replace(&name),
            Some(c) => Err(ExpandError::Modifier(c.to_string())),
        }
    }

    fn default(&mut self, name: &str, kind: char, empty: bool) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), false)?.text;
        let value = (self.lookup)(name);
        let set = value.is_some();
        if !set && self.keep_unset {
            let colon = if empty { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{kind}{word}}}"));
        }
        let value = value.filter(|value| !empty || !value.is_empty()).map(Cow::into_owned);
        match (kind, value) {
            ('+', Some(_)) | ('-', None) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let why =
                    if set { "is not allowed to be empty" } else { "is not allowed to be unset" };
                let message = if word.is_empty() { why.to_owned() } else { word };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
        }
    }

    fn trim(&mut self, name: &str, side: Side) -> Result<String, ExpandError> {
        let sign = if side == Side::Start { '#' } else { '%' };
        let pattern = self.until(Some('}'), true)?.text;
        // The second sign may come from a variable too.
        let longest = pattern.strip_prefix(sign);
        match (self.lookup)(name) {
            None if self.keep_unset => Ok(format!("${{{name}{sign}{pattern}}}")),
            value => {
                let value = value.unwrap_or_default();
                pattern::trim(&value, longest.unwrap_or(&pattern), side, longest.is_some())
            }
        }
    }

    fn replace(&mut self, name: &str) -> Result<String, ExpandError> {
        let every = self.rest.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), true)?.text;
        let replacement = self.until(Some('}'), true)?.text;
        let value = match (self.lookup)(name) {
            None if self.keep_unset => {
                let sign = if every { "//" } else { "/" };
                return Ok(format!("${{{name}{sign}{pattern}/{replacement}}}"));
            }
            value => value.unwrap_or_default(),
        };
        let value = pattern::replace(&value, &pattern, &replacement, every)?;
        if value.len() > SIZE_LIMIT { Err(ExpandError::Size) } else { Ok(value) }
    }

    /// Reads a name, a number, or one of the special parameters of a shell.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let Some(&first) = self.rest.peek() else {
            return name;
        };
        let special = "@*#?-$!".contains(first);
        let number = first.is_numeric();
        while let Some(c) = self.rest.next_if(|&c| {
            if number { c.is_numeric() } else { special || c == '_' || c.is_alphanumeric() }
        }) {
            name.push(c);
            if special {
                break;
            }
        }
        name
    }
}
