//! The language as a whole: every file of `fixtures/dockerfile` against its snapshot, and what
//! must hold for any text.

mod hostile;
mod peers;
mod print;
mod table;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Dockerfile, From, Heredoc, Instruction, Kind, Rule, Source, parse, parse_instruction};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/dockerfile");

/// The fixtures with their names, in order.
fn fixtures_by_name() -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(FIXTURES).expect("fixtures/dockerfile is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "Dockerfile"));
    paths.sort();
    let name = |path: &Path| path.file_stem()?.to_str().map(str::to_owned);
    let named = |path: PathBuf| {
        (name(&path).expect("a name in UTF-8"), fs::read(&path).expect("a fixture can be read"))
    };
    paths.into_iter().map(named).collect()
}

fn check_parse(name: &str, bytes: &[u8]) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(FIXTURES).join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, print::outcome(bytes)));
}

#[test]
fn fixtures() {
    let fixtures = fixtures_by_name();
    assert!(fixtures.len() >= 150, "only {} fixtures", fixtures.len());
    for (name, bytes) in fixtures {
        check_parse(&name, &bytes);
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

/// Writes a tree as a file again: each instruction on one line, with its here-documents.
fn written(file: &Dockerfile) -> String {
    let mut text = format!("# escape={}\n", file.directives.escape);
    let args = file.args.iter().map(|arg| (arg.text.as_str(), Vec::new()));
    let stages = file.stages.iter().flat_map(|stage| {
        let from = std::iter::once((stage.from.text.as_str(), Vec::new()));
        from.chain(stage.instructions.iter().map(|s| (s.text.as_str(), heredocs(&s.value))))
    });
    for (instruction, heredocs) in args.chain(stages) {
        text.push_str(instruction);
        text.push('\n');
        for heredoc in heredocs {
            let _ = writeln!(text, "{}{}", heredoc.body, heredoc.name);
        }
    }
    text
}

fn heredocs(instruction: &Instruction) -> Vec<&Heredoc> {
    match instruction {
        Instruction::Run(run) => run.heredocs.iter().collect(),
        Instruction::Copy(copy) => copy.sources.iter().filter_map(heredoc).collect(),
        Instruction::Add(add) => add.sources.iter().filter_map(heredoc).collect(),
        Instruction::Onbuild(onbuild) => heredocs(&onbuild.instruction.value),
        _ => Vec::new(),
    }
}

fn heredoc(source: &Source) -> Option<&Heredoc> {
    match source {
        Source::Heredoc(heredoc) => Some(heredoc),
        Source::Path(_) => None,
    }
}

/// The meaning of a file without places, line by line.
fn meaning(file: &Dockerfile) -> Vec<String> {
    let args = file.args.iter().map(|arg| print::value(&Instruction::Arg(arg.value.clone())));
    let stages = file.stages.iter().flat_map(|stage| {
        let From { image, platform, name } = &stage.from.value;
        let platform = platform.as_ref().map(|platform| &platform.text);
        let from = format!("from {:?} {platform:?} {name:?}", image.text);
        std::iter::once(from).chain(stage.instructions.iter().map(|s| print::value(&s.value)))
    });
    args.chain(stages).collect()
}

/// What is parsed, written and parsed again means the same, and is written the same.
fn is_stable(bytes: &[u8]) -> bool {
    let Ok(file) = parse(bytes) else { return true };
    // An escape character at the end of the file continues nothing; on one more line it would.
    let last = file.stages.iter().flat_map(|stage| &stage.instructions).next_back();
    if last.is_some_and(|last| last.text.ends_with(file.directives.escape)) {
        return true;
    }
    let text = written(&file);
    let again = parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{text}{errors:?}"));
    meaning(&again) == meaning(&file) && written(&again) == text
}

/// `fuzz` takes the sources in alone.
#[test]
fn the_language_stands_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![folder.join("dockerfile"), folder.join("context/ignore")];
    let mut sources = vec![folder.join("context/ignore.rs")];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).expect("sources are there") {
            let path = entry.expect("can be listed").path();
            if path.is_dir() { pending.push(path) } else { sources.push(path) }
        }
    }
    assert!(sources.len() > 20);
    let whole = ["crate", "::"].concat();
    for path in sources {
        let text = fs::read_to_string(&path).expect("text");
        assert!(!text.contains(&whole), "{} names the rest of the crate", path.display());
    }
}

#[test]
fn fixtures_mean_the_same_when_written_again() {
    for (name, bytes) in fixtures_by_name() {
        assert!(is_stable(&bytes), "{name}");
    }
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
    fn files_mean_the_same_when_written_again(text in PIECES, tick: bool) {
        let escape = if tick { "# escape=`\n" } else { "" };
        let text = format!("{escape}FROM a\n{text}");
        prop_assert!(is_stable(text.as_bytes()));
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
