//! Any text as a word with variables: an answer or an error, in bounded size.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use rbuild_fuzz::dockerfile::expand;

/// The largest result that any word may have, in bytes.
const LIMIT: usize = 16 << 20;

fuzz_target!(|word: &str| {
    let lookup = |name: &str| match name {
        "A" => Some(Cow::Borrowed("a b")),
        "E" => Some(Cow::Borrowed("")),
        "P" => Some(Cow::Borrowed("/usr/*/lib?.tar.gz")),
        _ => None,
    };
    for escape in ['\\', '`'] {
        if let Ok(text) = expand::expand(word, escape, lookup) {
            assert!(text.len() <= LIMIT);
            if !word.contains(['$', '\'', '"', escape]) {
                assert_eq!(text, word);
            }
        }
        if let Ok(words) = expand::expand_words(word, escape, lookup) {
            assert!(words.iter().all(|word| !word.is_empty()));
        }
        let _ = expand::expand_for_display(word, escape, lookup);
        let names = expand::names(word, escape);
        assert!(names.iter().all(|name| !name.is_empty()));
    }
    let _ = expand::expand_heredoc(word, lookup);
});
