//! The keys that leave a container running.

use super::error::{Error, Result};

/// Control-P and Control-Q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed in a row.
    seen: usize,
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` or `a,b`; none is the default, and an empty text is no keys at all.
    pub(crate) fn new(text: Option<&str>) -> Result<Self> {
        let keys = match text {
            None => Ok(DEFAULT.to_vec()),
            Some("") => Ok(Vec::new()),
            Some(text) => {
                text.split(',').map(key).collect::<Option<_>>().ok_or_else(|| Error::Invalid {
                    option: "detach-keys",
                    value: text.to_owned(),
                    reason: "expected letters and ctrl-LETTER, parted by commas".to_owned(),
                })
            }
        };
        Ok(Self { keys: keys?, seen: 0 })
    }

    /// Takes what was typed; returns what goes to the container, and whether the keys were in it.
    ///
    /// The first of the keys is held back until it is clear what follows.
    pub(crate) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.seen) != Some(&byte) {
                passed.extend_from_slice(&self.keys[..self.seen]);
                self.seen = 0;
            }
            if self.keys.get(self.seen) == Some(&byte) {
                self.seen += 1;
            } else {
                passed.push(byte);
            }
            if self.seen == self.keys.len() && self.seen > 0 {
                return (passed, true);
            }
        }
        (passed, false)
    }
}

fn key(text: &str) -> Option<u8> {
    match text.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => {
            Some(letter & 0x1f)
        }
        Some(_) => None,
        None => match text.as_bytes() {
            [byte] => Some(*byte),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: Option<&str>, parts: &[&str]) -> (String, bool) {
        let mut keys = DetachKeys::new(keys).unwrap();
        let mut passed = Vec::new();
        for part in parts {
            let (more, found) = keys.filter(part.as_bytes());
            passed.extend(more);
            if found {
                return (String::from_utf8(passed).unwrap(), true);
            }
        }
        (String::from_utf8(passed).unwrap(), false)
    }

    #[test]
    fn the_keys_are_found_and_all_else_passes() {
        assert_eq!(typed(None, &["ab\x10\x11c"]), ("ab".into(), true));
        assert_eq!(typed(None, &["a\x10", "\x11"]), ("a".into(), true));
        assert_eq!(typed(None, &["\x10", "x\x11"]), ("\x10x\x11".into(), false));
        assert_eq!(typed(None, &["\x10\x10\x11"]), ("\x10".into(), true));
        assert_eq!(typed(Some("ctrl-a,x"), &["\x01x"]), (String::new(), true));
        assert_eq!(typed(Some(""), &["\x10\x11"]), ("\x10\x11".into(), false));
    }

    #[test]
    fn keys_that_nobody_has_are_refused() {
        for text in ["ctrl-", "ctrl-é", "ab", ",", "ctrl-1"] {
            assert!(DetachKeys::new(Some(text)).is_err(), "{text}");
        }
    }
}
