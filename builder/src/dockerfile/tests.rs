//! The language as a whole: every file of `fixtures/dockerfile` against its snapshot, and what
//! must hold for any text.

mod print;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::{Instruction, Kind, Rule, parse, parse_instruction};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/dockerfile");

fn check_parse(path: &Path) {
    let bytes = fs::read(path).expect("a fixture can be read");
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
    let name = name.trim_end_matches(".Dockerfile");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(FIXTURES).join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, print::outcome(&bytes)));
}

#[test]
fn fixtures() {
    let entries = fs::read_dir(FIXTURES).expect("fixtures/dockerfile is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "Dockerfile"));
    paths.sort();
    assert!(paths.len() >= 60, "only {} fixtures", paths.len());
    for path in paths {
        check_parse(&path);
    }
}

#[test]
fn every_rule_has_its_own_name_and_page() {
    let mut names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 22);
    assert!(Rule::ALL.iter().all(|rule| Rule::named(rule.name()) == Some(*rule)));
    assert_eq!(Rule::ALL.iter().filter(|rule| rule.url().is_none()).count(), 1);
}

#[test]
fn bytes_that_are_no_text_are_errors_with_a_place() {
    let error = |bytes: &[u8]| parse(bytes).expect_err("no Dockerfile").remove(0);
    assert_eq!(error(b"FROM a\nRUN \xff\n").span.lines, (2, 2));
    assert_eq!(error(b"FROM a\nRUN \0\n").span.column, 5);
    assert_eq!(error(format!("FROM a\nRUN {}", "x".repeat(70_000)).as_bytes()).span.lines, (2, 2));
    assert!(parse(format!("FROM a\nRUN {}", "x".repeat(65_531)).as_bytes()).is_ok());
    assert!(error(&vec![b'#'; 17 << 20]).message.contains("larger"));
}

#[test]
fn messages_are_safe_for_a_terminal() {
    let text = format!("FROM a\n\u{1b}[2J{}\n", "x".repeat(1000));
    let errors = parse(text.as_bytes()).expect_err("no instruction");
    assert!(!errors[0].message.contains('\u{1b}'));
    assert!(errors[0].message.len() < 400);
}

#[test]
fn hostile_files_are_read_once() {
    let many = |text: &str, count| text.repeat(count);
    for text in [
        format!("FROM a\nRUN a \\\n{}", many("x \\\n", 100_000)),
        format!("FROM a\nENV {}", many("é=b ", 10_000)),
        format!("FROM a\n{}", many("COPY <<E /x\nE\n", 20_000)),
        many("FROM a AS a\n", 50_000),
        format!("FROM a\n{}a", many("ONBUILD ", 5_000)),
        format!("FROM a\nRUN {}", many("[", 60_000)),
        format!("FROM a\nRUN {}", many("--mount=target=/a ", 3_000)),
    ] {
        if let Err(errors) = parse(text.as_bytes()) {
            assert!(errors.len() <= 100);
        }
    }
    assert_eq!(parse(many("FOO\n", 100_000).as_bytes()).expect_err("no instruction").len(), 100);
}

#[test]
fn triggers_of_images_are_parsed_alone() {
    let run = parse_instruction("RUN cat <<E >/x\na\nE").expect("a trigger");
    assert!(matches!(&run.value, Instruction::Run(run) if run.heredocs.len() == 1));
    for text in ["", "# only a comment", "FROM a", "RUN a\nRUN b", "FOO", "RUN <<E\na"] {
        assert!(parse_instruction(text).is_err(), "{text}");
    }
}

#[test]
fn a_check_in_place_of_the_file_decides_what_is_told() {
    let file = parse(b"# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER me\nENV a b\n");
    let file = file.expect("valid");
    let rules = |check| -> Vec<_> {
        let warnings = file.warnings_under(check).into_iter();
        warnings.map(|w| if let Kind::Lint(rule) = w.kind { rule } else { panic!("{w}") }).collect()
    };
    assert_eq!(rules(file.directives.check.as_ref()), [Rule::LegacyKeyValueFormat]);
    assert_eq!(rules(None), [Rule::MaintainerDeprecated, Rule::LegacyKeyValueFormat]);
}

/// Pieces that meet each other in any order.
const PIECES: &str = "(FROM|from|RUN|COPY|ADD|ENV|ARG|CMD|ONBUILD|HEALTHCHECK|LABEL|SHELL|EXPOSE|\
                      VOLUME|# escape=`|# check=skip=all|#| AS | a|/b|--from=|--mount=type=cache,|\
                      --|\\[\"a\"\\]|\\[|<<E|<<-'E'|E|=|\"|'|\\\\|`|\\$\\{|\\}|é| |\t|\r|\n|\n|\n){0,40}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn parse_never_panics(text in PIECES) {
        let _ = print::outcome(text.as_bytes());
        let _ = print::outcome(format!("FROM a\n{text}").as_bytes());
        let _ = parse_instruction(&text);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    /// An instruction's joined text means what the lines meant.
    #[test]
    fn joined_text_parses_to_the_same(text in PIECES) {
        let Ok(file) = parse(format!("FROM a\n{text}").as_bytes()) else { return Ok(()) };
        let statements = file.stages.iter().flat_map(|stage| &stage.instructions);
        for statement in statements.filter(|statement| !statement.text.contains("<<")) {
            // A continuation at the end of the file leaves an escape character to the text.
            if statement.text.ends_with('\\') || statement.text.contains('\r') {
                continue;
            }
            let again = parse_instruction(&statement.text).expect("the text of an instruction");
            prop_assert_eq!(print::value(&again.value), print::value(&statement.value));
            prop_assert_eq!(&again.text, &statement.text);
        }
    }
}
