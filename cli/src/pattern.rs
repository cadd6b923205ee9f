//! Names with stars, as filters have them.

/// Whether a pattern matches all of a text: `*` is anything without a slash, `?` one character.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when a star must take one more character.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some('?'), _) if text[t] != '/' => (p, t) = (p + 1, t + 1),
            (Some(character), _) if *character == text[t] => (p, t) = (p + 1, t + 1),
            (_, Some((place, taken))) if text[taken] != '/' => {
                star = Some((place, taken + 1));
                (p, t) = (place + 1, taken + 1);
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stop_at_slashes() {
        for (pattern, text) in
            [("a*", "abc"), ("*", ""), ("a*c*", "abcd"), ("*/x:*", "r/x:1"), ("?b", "ab"), ("", "")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*", "a/b"), ("a", "ab"), ("?", "/"), ("a*c", "ab"), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
