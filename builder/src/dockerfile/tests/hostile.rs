//! Files that were written to cost as much as can be: what is too much is said, and what is not
//! makes a tree no larger than the file. `benches/dockerfile.rs` has the times and the memory.

use super::super::expand::{ExpandError, TOTAL_LIMIT, expand};
use super::super::{Diagnostic, Dockerfile, Instruction, parse};

const TEN_MEGABYTES: usize = 10_000_000;

/// A file of one instruction that repeats a word, on lines as long as they may be.
fn continued(instruction: &str, word: &str, bytes: usize) -> String {
    let line = format!("{}\\\n", word.repeat(60_000 / word.len()));
    format!("FROM a\n{instruction} {}{word}\n", line.repeat(bytes / line.len()))
}

fn refused(bytes: &[u8]) -> Vec<Diagnostic> {
    let errors = parse(bytes).expect_err("too much");
    assert!(errors.len() <= 100, "{} errors", errors.len());
    for error in &errors {
        assert!(error.message.chars().count() <= 301, "{}", error.message.len());
        assert!(error.span.end <= bytes.len());
    }
    errors
}

#[track_caller]
fn is_refused(bytes: &[u8], message: &str) {
    let errors = refused(bytes);
    assert!(errors[0].message.contains(message), "{}", errors[0].message);
}

/// The parsed file, whose instructions are together no longer than the file.
fn taken(text: &str) -> Dockerfile {
    let file = parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{}", errors[0]));
    let instructions = || file.stages.iter().flat_map(|stage| &stage.instructions);
    let texts: usize = instructions().map(|statement| statement.text.len()).sum();
    let count = instructions().count() + file.stages.len();
    assert!(texts <= text.len() && count <= text.lines().count());
    file
}

#[test]
fn lines_and_bytes_have_limits() {
    is_refused(format!("FROM a\nRUN {}", "x".repeat(TEN_MEGABYTES)).as_bytes(), "line is longer");
    is_refused(&[b"FROM a\nRUN ".as_slice(), &vec![0; TEN_MEGABYTES]].concat(), "NUL");
    is_refused(&[b"FROM a\nRUN ".as_slice(), &vec![0xff; TEN_MEGABYTES]].concat(), "not UTF-8");
    is_refused(&vec![b'\n'; 17 << 20], "larger than 16 MiB");
}

#[test]
fn words_are_counted_before_they_are_cut() {
    for (instruction, word) in [
        ("ENV", "a=b "),
        ("COPY", "a "),
        ("EXPOSE", "1 "),
        ("CMD [\"a\"", ",\"a\""),
        ("LABEL a=", "$b"),
        ("RUN", "--mount=target=/a "),
    ] {
        is_refused(
            continued(instruction, word, TEN_MEGABYTES).as_bytes(),
            "more than 524288 words",
        );
    }
    let text = format!("FROM a\n{}", "RUN a\n".repeat(300_000));
    is_refused(text.as_bytes(), "more than 524288 words");
    let text = format!("FROM a\n{}RUN a\n", "# a\n".repeat(600_000));
    is_refused(text.as_bytes(), "more than 524288 words");
}

#[test]
fn errors_are_enough_at_a_hundred() {
    assert_eq!(refused("FOO\n".repeat(100_000).as_bytes()).len(), 100);
    assert_eq!(refused(continued("RUN", "--x ", 400_000).as_bytes()).len(), 100);
    assert_eq!(refused("# syntax=a\n".repeat(10_000).as_bytes()).len(), 100);
    assert_eq!(refused(format!("FROM a\n{}a", "ONBUILD ".repeat(5_000)).as_bytes()).len(), 1);
}

#[test]
fn much_that_is_allowed_is_taken() {
    let file = taken(&format!("FROM a\nRUN a \\\n{}", "x \\\n".repeat(100_000)));
    assert_eq!(file.stages[0].instructions.len(), 1);
    assert_eq!(taken(&"FROM a\n".repeat(100_000)).stages.len(), 100_000);
    let file = taken(&continued("ENV", "é=b ", 500_000));
    let Instruction::Env(pairs) = &file.stages[0].instructions[0].value else { panic!() };
    assert_eq!(pairs.len(), 500_000 / (12_000 * 5 + 2) * 12_000 + 1);
    let file = taken(&format!("FROM a\nRUN {}", "[".repeat(60_000)));
    assert_eq!(file.stages[0].instructions.len(), 1);
}

#[test]
fn heredocs_are_as_long_as_the_file() {
    let body = "some text of a line\n".repeat(200_000);
    let file = taken(&format!("FROM a\nCOPY <<E /x\n{body}E\n"));
    let Instruction::Copy(copy) = &file.stages[0].instructions[0].value else { panic!() };
    let super::super::Source::Heredoc(heredoc) = &copy.sources[0] else { panic!() };
    assert_eq!(heredoc.body, body);
    let open = format!("FROM a\nRUN a\nRUN <<E\n{body}");
    is_refused(open.as_bytes(), "`<<E` of line 3 has no end");
    let many = format!("FROM a\nCOPY {}/x\n{}", "<<E ".repeat(10_000), "E\n".repeat(10_000));
    assert_eq!(taken(&many).stages[0].instructions.len(), 1);
}

#[test]
fn expansions_are_as_deep_and_as_long_as_they_may_be() {
    let none = |_: &str| None;
    let deep = |depth| format!("{}x{}", "${A:-".repeat(depth), "}".repeat(depth));
    assert_eq!(expand(&deep(64), '\\', none).as_deref(), Ok("x"));
    for depth in [65, 10_000, 1_000_000] {
        assert_eq!(expand(&deep(depth), '\\', none), Err(ExpandError::Depth));
    }
    let long = "x".repeat(1 << 20);
    let lookup = |_: &str| Some(long.as_str().into());
    assert_eq!(expand(&"$A".repeat(1_000_000), '\\', lookup), Err(ExpandError::Size));
    for word in [
        "${A#$A}",
        "${A%%*$A*}",
        "${A//$A/x}",
        "${U#$A}",
        "${A#*a*b*c*d*e*f*g*h*i*j*k*l*m*n*o*p*q*r*s*t*u*v*w*x*y*z*a*b*c*d*e*f*g}",
    ] {
        let error = expand(word, '\\', |name| (name == "A").then(|| long.as_str().into()));
        assert!(matches!(error, Err(ExpandError::Pattern(shown)) if shown.len() <= 80), "{word}");
    }
    assert!(expand(&"$A".repeat(15), '\\', lookup).is_ok_and(|text| text.len() < TOTAL_LIMIT));
}
