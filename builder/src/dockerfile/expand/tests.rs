//! How variables in words are expanded.

use std::borrow::Cow;

use proptest::prelude::*;

use super::{ExpandError, expand, expand_for_display, expand_heredoc, expand_words, names};

fn lookup(name: &str) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match name {
        "A" => "foo",
        "E" => "",
        "P" => "/usr/local/lib.tar.gz",
        "W" => "80 81",
        "Q" => "'q'",
        "ENV" => "läng",
        "S" => "a*b*c",
        "L" => "#*/",
        "Z" => "\\*",
        "B" => "a\\bc",
        "R" => "()[]{}^$.*?|\\x",
        _ => return None,
    }))
}

#[track_caller]
fn check(word: &str, expected: &str) {
    assert_eq!(expand(word, '\\', lookup).as_deref(), Ok(expected), "{word}");
}

#[test]
fn plain_names() {
    check("$A", "foo");
    check("${A}", "foo");
    check("x${A}y$A.z", "xfooyfoo.z");
    check("$UNSET", "");
    check("$1x", "x");
    check("$Ab", "");
    check("$.", "$.");
    check("$", "$");
    check("a$", "a$");
    check("$ENV", "läng");
    check("$@$*$#$?$-$$$!$0", "");
}

#[test]
fn defaults() {
    check("${A:-x}${E:-x}${U:-x}", "fooxx");
    check("${A-x}${E-x}${U-x}", "foox");
    check("${A:+x}${E:+x}${U:+x}", "x");
    check("${A+x}${E+x}${U+x}", "xx");
    check("${U:-${V:-$A}}", "foo");
    check("${U:-a b}", "a b");
    check("${U:-'}'}", "}");
    check("${U:-\\}}", "}");
    check("${A:?no}${E?no}", "foo");
}

#[test]
fn required_values() {
    let required = |word| match expand(word, '\\', lookup) {
        Err(ExpandError::Required { name, message }) => format!("{name}: {message}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(required("${U:?give it}"), "U: give it");
    assert_eq!(required("${U?}"), "U: is not allowed to be unset");
    assert_eq!(required("${E:?}"), "E: is not allowed to be empty");
    assert_eq!(required("${U?$A}"), "U: foo");
}

#[test]
fn starts_and_ends_are_trimmed() {
    check("${P#*/}", "usr/local/lib.tar.gz");
    check("${P##*/}", "lib.tar.gz");
    check("${P%.*}", "/usr/local/lib.tar");
    check("${P%%.*}", "/usr/local/lib");
    check("${P#x}${P%x}", "/usr/local/lib.tar.gz/usr/local/lib.tar.gz");
    check("${A#?}${A%??}", "oof");
    check("${A#$A}", "");
    check("${S#a\\*}", "b*c");
    check("${S##*\\*}", "c");
    check("${S%\\**}", "a*b");
    check("${ENV%ng}", "lä");
    check("${U#x}", "");
    check("${P#$L}", "lib.tar.gz");
    check("${B#\"a\\b\"}", "c");
    check("${R#()[]{\\}^$.\\*\\?|\\\\}", "x");
    check("${A#}${A%%}${E#*}", "foofoo");
}

#[test]
fn matches_are_replaced() {
    check("${A/o/0}", "f0o");
    check("${A//o/0}", "f00");
    check("${A/o/}", "fo");
    check("${P//\\//_}", "_usr_local_lib.tar.gz");
    check("${P/l*l/X}", "/usr/Xib.tar.gz");
    check("${A/x/y}", "foo");
    check("${A/f?o/$A$A}", "foofoo");
    check("${P/./[.]}", "/usr/local/lib[.]tar.gz");
    check("${A/$E/x}${A///}${U///}", "xfoofoo");
    check("${P//\\//\\/}", "\\/usr\\/local\\/lib.tar.gz");
    check("${S/\\*/.}${S//$Z/.}", "a.b*ca.b.c");
}

#[test]
fn quotes_and_escapes() {
    check("\"$A b\" 'c $A' \\$A \\${A}", "foo b c $A $A ${A}");
    check("\"a\\b \\\" \\$A \\\\\"", "a\\b \" $A \\");
    check("'a\\'", "a\\");
    check("a\\b\\", "ab");
    check("$Q", "'q'");
    let tick = |word| expand(word, '`', lookup);
    assert_eq!(tick("C:\\x\\$A `$A").as_deref(), Ok("C:\\x\\foo $A"));
}

#[test]
fn refusals() {
    let error = |word| expand(word, '\\', lookup).expect_err(word);
    assert_eq!(error("'a"), ExpandError::Quote('\''));
    assert_eq!(error("\"a"), ExpandError::Quote('"'));
    assert_eq!(error("${A"), ExpandError::Brace);
    assert_eq!(error("${"), ExpandError::Brace);
    assert_eq!(error("${A:-x"), ExpandError::Brace);
    for word in ["${}", "${:-x}", "${{A}}", "${.}"] {
        assert_eq!(error(word), ExpandError::Name, "{word}");
    }
    for (word, modifier) in
        [("${A:#p}", ":#"), ("${A:%p}", ":%"), ("${A:=w}", ":="), ("${A=w}", "="), ("${A@Q}", "@")]
    {
        assert_eq!(error(word), ExpandError::Modifier(modifier.into()), "{word}");
    }
    assert_eq!(error("${A/o}"), ExpandError::Slash);
    assert_eq!(error("${A/o/x"), ExpandError::Brace);
    assert_eq!(error("${A#\\x}"), ExpandError::Pattern("\\x".into()));
    assert_eq!(error(&"${A:-".repeat(100_000)), ExpandError::Depth);
}

#[test]
fn expose_splits_what_is_not_quoted() {
    let words = |word| expand_words(word, '\\', lookup).expect(word);
    assert_eq!(words("$W"), ["80", "81"]);
    assert_eq!(words("\"$W\""), ["80 81"]);
    assert_eq!(words("1$W"), ["180", "81"]);
    assert_eq!(words("$U"), [""; 0]);
}

#[test]
fn heredocs_keep_their_quotes() {
    let body = "a=\"$A\" '$A' \\$A \\x it's\n";
    let expanded = expand_heredoc(body, lookup);
    assert_eq!(expanded.as_deref(), Ok("a=\"foo\" 'foo' $A x it's\n"));
}

#[test]
fn display_keeps_quotes_and_what_has_no_value() {
    let text = "\"$A $U\" '$A' ${U} ${U:-$A} ${U#x} ${U%%x} ${U//a/b} ${U?} ${A:-x} \\;";
    let expected = "\"foo $U\" '$A' ${U} ${U:-foo} ${U#x} ${U%%x} ${U//a/b} ${U?} foo ;";
    assert_eq!(expand_for_display(text, '\\', lookup).as_deref(), Ok(expected));
}

#[test]
fn names_are_listed_once() {
    assert_eq!(names("$A${B:-$C}${A#$D}'$E'\\$F", '\\'), ["A", "C", "B", "D"]);
}

#[test]
fn doubling_stops_at_the_limit() {
    let long = "x".repeat(9 << 20);
    let lookup = |_: &str| Some(Cow::Borrowed(long.as_str()));
    assert_eq!(expand("$A$A", '\\', lookup), Err(ExpandError::Size));
}

proptest! {
    #[test]
    fn never_panics(word in "[$\\{\\}A-C:#%/*?'\"\\\\` a-]{0,40}", tick: bool) {
        let escape = if tick { '`' } else { '\\' };
        let _ = expand(&word, escape, lookup);
        let _ = expand_words(&word, escape, lookup);
        let _ = expand_heredoc(&word, lookup);
        let _ = expand_for_display(&word, escape, lookup);
        let _ = names(&word, escape);
    }

    #[test]
    fn text_without_signs_is_itself(word in "[^$'\"\\\\]{0,40}") {
        prop_assert_eq!(expand(&word, '\\', lookup), Ok(word));
    }
}
