//! Template text to nodes.

use super::FormatError;

/// How deep blocks and brackets may be nested.
const DEEPEST: usize = 32;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Print(Pipe),
    /// `{{$name := pipe}}`
    Set(String, Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    /// The variables of `range $key, $value := pipe`, the pipe, the body, the else part.
    Range(Vec<String>, Pipe, Vec<Node>, Vec<Node>),
}

/// Calls whose result is the last argument of the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pipe(pub(super) Vec<Vec<Term>>);

/// One word of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Term {
    /// `.A.B`; no names at all are `.` itself.
    Field(Vec<String>),
    /// `$name.A`; an empty name is the value that the template began with.
    Variable(String, Vec<String>),
    Text(String),
    Number(i64),
    /// A function, or `true`, `false`, `nil`.
    Word(String),
    /// What is in parentheses, and the fields of it that are asked for.
    Pipe(Pipe, Vec<String>),
}

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, FormatError> {
    let mut pieces = pieces(text)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(FormatError::Unexpected { word }),
    }
}

/// A template cut at its brackets.
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Cuts a template at its brackets; `{{-` and `-}}` eat the blanks beside them.
fn pieces(mut text: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut trim = false;
    while let Some((before, rest)) = text.split_once("{{") {
        let (inside, after) = close(rest)?;
        let before = if trim { before.trim_start() } else { before };
        let left = inside.strip_prefix("- ");
        let before = if left.is_some() { before.trim_end() } else { before };
        let inside = left.unwrap_or(inside);
        let right = inside.strip_suffix(" -");
        trim = right.is_some();
        pieces.push(Piece::Text(before.to_owned()));
        let inside = right.unwrap_or(inside).trim();
        if !inside.starts_with("/*") {
            pieces.push(Piece::Action(tokens(inside)?));
        }
        text = after;
    }
    pieces.push(Piece::Text(if trim { text.trim_start() } else { text }.to_owned()));
    Ok(pieces)
}

/// Finds the closing brackets, which may also stand in quotes.
fn close(text: &str) -> Result<(&str, &str), FormatError> {
    let mut quote = None;
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match (quote, character) {
            (None, '}') if text[place..].starts_with("}}") => {
                return Ok((&text[..place], &text[place + 2..]));
            }
            (None, '"' | '`' | '\'') => quote = Some(character),
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), _) if open == character && !escaped => quote = None,
            _ => {}
        }
        escaped = false;
    }
    Err(FormatError::Open)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
    /// `.A.B` right behind parentheses.
    Fields(Vec<String>),
}

fn tokens(text: &str) -> Result<Vec<Token>, FormatError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    let mut behind_parentheses = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '`' => {
                let (token, length) = quoted(rest, first)?;
                tokens.push(token);
                length
            }
            '(' | ')' | '|' | ',' => {
                tokens.push(Token::Sign(first));
                1
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "()|,\"`".contains(c);
                let length = rest.find(ends).unwrap_or(rest.len());
                let word = &rest[..length];
                tokens.push(match word.strip_prefix('.') {
                    Some(path) if behind_parentheses => Token::Fields(names(path)),
                    _ => Token::Word(word.to_owned()),
                });
                length
            }
        };
        behind_parentheses = first == ')' && !rest[length..].starts_with(char::is_whitespace);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text in quotes and its length in the template.
fn quoted(text: &str, quote: char) -> Result<(Token, usize), FormatError> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((place, character)) = characters.next() {
        match character {
            c if c == quote => return Ok((Token::Text(value), place + 1)),
            '\\' if quote == '"' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(FormatError::Open)
}

/// Nodes up to `end`, `else` or the end of the text; returns the word that ended them.
fn block(
    pieces: &mut std::vec::IntoIter<Piece>,
    depth: usize,
) -> Result<(Vec<Node>, Option<String>), FormatError> {
    if depth > DEEPEST {
        return Err(FormatError::TooDeep);
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) if text.is_empty() => continue,
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        let word = match tokens.first() {
            Some(Token::Word(word)) => word.as_str(),
            _ => "",
        };
        match word {
            "end" | "else" => return Ok((nodes, Some(word.to_owned()))),
            "if" | "with" | "range" => nodes.push(branch(word, &tokens[1..], pieces, depth)?),
            _ if word.starts_with('$') && tokens.get(1) == Some(&Token::Word(":=".into())) => {
                nodes.push(Node::Set(word[1..].to_owned(), pipe(&tokens[2..])?));
            }
            _ => nodes.push(Node::Print(pipe(&tokens)?)),
        }
    }
    Ok((nodes, None))
}

fn branch(
    word: &str,
    tokens: &[Token],
    pieces: &mut std::vec::IntoIter<Piece>,
    depth: usize,
) -> Result<Node, FormatError> {
    let (variables, tokens) = variables(tokens);
    let condition = pipe(tokens)?;
    let (body, end) = block(pieces, depth + 1)?;
    let (otherwise, end) = match end.as_deref() {
        Some("else") => block(pieces, depth + 1)?,
        _ => (Vec::new(), end),
    };
    if end.as_deref() != Some("end") {
        return Err(FormatError::EndMissing);
    }
    Ok(match word {
        "if" => Node::If(condition, body, otherwise),
        "with" => Node::With(condition, body, otherwise),
        _ => Node::Range(variables, condition, body, otherwise),
    })
}

/// The names in `$key, $value :=`, and what follows.
fn variables(tokens: &[Token]) -> (Vec<String>, &[Token]) {
    let assign = Token::Word(":=".to_owned());
    let Some(place) = tokens.iter().position(|token| *token == assign) else {
        return (Vec::new(), tokens);
    };
    let names = tokens[..place].iter().filter_map(|token| match token {
        Token::Word(word) => word.strip_prefix('$').map(str::to_owned),
        _ => None,
    });
    (names.collect(), &tokens[place + 1..])
}

fn pipe(tokens: &[Token]) -> Result<Pipe, FormatError> {
    let mut rest = tokens.iter();
    let pipe = calls(&mut rest, 0)?;
    match rest.next() {
        None => Ok(pipe),
        Some(_) => Err(FormatError::Unexpected { word: ")".to_owned() }),
    }
}

/// Calls up to a closing bracket or the end.
fn calls(tokens: &mut std::slice::Iter<'_, Token>, depth: usize) -> Result<Pipe, FormatError> {
    if depth > DEEPEST {
        return Err(FormatError::TooDeep);
    }
    let mut calls = vec![Vec::new()];
    while let Some(token) = tokens.as_slice().first() {
        if *token == Token::Sign(')') && depth > 0 {
            break;
        }
        tokens.next();
        let call = calls.last_mut().expect("there is always a call");
        match token {
            Token::Sign('|') => calls.push(Vec::new()),
            Token::Sign('(') => {
                let inner = self::calls(tokens, depth + 1)?;
                if tokens.next() != Some(&Token::Sign(')')) {
                    return Err(FormatError::Open);
                }
                let fields = match tokens.as_slice().first() {
                    Some(Token::Fields(names)) => {
                        tokens.next();
                        names.clone()
                    }
                    _ => Vec::new(),
                };
                call.push(Term::Pipe(inner, fields));
            }
            Token::Fields(names) => {
                return Err(FormatError::Unexpected { word: format!(".{}", names.join(".")) });
            }
            Token::Sign(sign) => {
                return Err(FormatError::Unexpected { word: sign.to_string() });
            }
            Token::Text(text) => call.push(Term::Text(text.clone())),
            Token::Word(word) => call.push(term(word)),
        }
    }
    if calls.iter().any(Vec::is_empty) {
        return Err(FormatError::Unexpected { word: "}}".to_owned() });
    }
    Ok(Pipe(calls))
}

/// The names in `A.B`.
fn names(path: &str) -> Vec<String> {
    path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn term(word: &str) -> Term {
    if let Some(path) = word.strip_prefix('.') {
        return Term::Field(names(path));
    }
    if let Some(variable) = word.strip_prefix('$') {
        let (name, path) = variable.split_once('.').unwrap_or((variable, ""));
        return Term::Variable(name.to_owned(), names(path));
    }
    match word.parse() {
        Ok(number) => Term::Number(number),
        Err(_) => Term::Word(word.to_owned()),
    }
}
