//! Arguments cut into words, in the three ways that instructions do it.

use std::ops::Range;

/// A piece of an argument and where it is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The text, quotes and escapes included.
    pub(super) text: String,
    /// The bytes of the argument that it comes from.
    pub(super) range: Range<usize>,
}

/// The blanks that part a keyword from its arguments, and one plain argument from the next.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// Cuts at blanks, whatever the quotes.
pub(super) fn plain(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (is_blank(c), start) {
            (true, Some(from)) => {
                pieces.push(Piece { text: text[from..at].to_owned(), range: from..at });
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    pieces
}

/// Cuts at blanks outside quotes; quotes and escapes stay in the words, but for an escape
/// character at the very end, which is dropped.
pub(super) fn quoted(text: &str, escape: char) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut end = text.len();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        if quote.is_none() && c.is_whitespace() {
            if let Some(from) = start.take() {
                pieces.push(Piece { text: text[from..at].to_owned(), range: from..at });
            }
            continue;
        }
        start.get_or_insert(at);
        if c == escape && quote != Some('\'') {
            if characters.next().is_none() {
                end = at;
            }
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '\'' | '"') {
            quote = Some(c);
        }
    }
    if let Some(from) = start.filter(|&from| from < end) {
        pieces.push(Piece { text: text[from..end].to_owned(), range: from..end });
    }
    pieces
}

/// What an argument is that may be a JSON array.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// An array of strings.
    Strings(Vec<String>),
    /// An array with something else in it.
    Mixed,
    /// No JSON array, to be read as plain text.
    Not,
}

/// Reads an argument as a JSON array.
pub(super) fn json(text: &str) -> Json {
    if !text.starts_with('[') {
        return Json::Not;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Json::Not;
    };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    });
    strings.collect::<Option<_>>().map_or(Json::Mixed, Json::Strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: Vec<Piece>) -> Vec<String> {
        pieces.into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn plain_words_know_no_quotes() {
        assert_eq!(texts(plain(" a  'b c' ")), ["a", "'b", "c'"]);
        assert!(plain("  ").is_empty());
    }

    #[test]
    fn quoted_words_keep_their_quotes() {
        assert_eq!(
            texts(quoted("a='x y' b=\"p \\\" q\" c=d\\ e", '\\')),
            ["a='x y'", "b=\"p \\\" q\"", "c=d\\ e"]
        );
        assert_eq!(texts(quoted("a='x\\' b=1", '\\')), ["a='x\\'", "b=1"]);
        assert_eq!(texts(quoted("a=x` b", '`')), ["a=x` b"]);
        assert_eq!(texts(quoted("a \\", '\\')), ["a"]);
        assert_eq!(texts(quoted("'open x", '\\')), ["'open x"]);
    }

    #[test]
    fn json_is_an_array_of_strings_or_text() {
        assert_eq!(json("[\"a\", \"b\"]"), Json::Strings(vec!["a".into(), "b".into()]));
        assert_eq!(json("[]"), Json::Strings(Vec::new()));
        assert_eq!(json("[1]"), Json::Mixed);
        assert_eq!(json("['a']"), Json::Not);
        assert_eq!(json("[\"a\"] x"), Json::Not);
        assert_eq!(json(&"[".repeat(1 << 20)), Json::Not);
    }
}
