//! Any bytes as a Dockerfile: every place that is told lies in the file, and what was parsed is
//! parsed the same from its own text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_fuzz::dockerfile::{
    Diagnostic, Heredoc, Instruction, Source, Span, Statement, parse, parse_instruction,
};

fuzz_target!(|bytes: &[u8]| {
    let file = match parse(bytes) {
        Ok(file) => file,
        Err(errors) => {
            assert!(!errors.is_empty(), "a file without a tree has an error");
            told(bytes, &errors);
            return;
        }
    };
    told(bytes, &file.warnings);
    for stage in &file.stages {
        inside(bytes, stage.from.span);
        for statement in &stage.instructions {
            inside(bytes, statement.span);
            again(statement);
        }
    }
});

fn told(bytes: &[u8], diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        inside(bytes, diagnostic.span);
        let texts = std::iter::once(&diagnostic.message).chain(&diagnostic.hint);
        for text in texts {
            assert!(!text.contains(char::is_control), "{text:?} is not safe for a terminal");
        }
    }
}

/// A span is a stretch of whole characters of the file.
fn inside(bytes: &[u8], span: Span) {
    assert!(span.start <= span.end && span.end <= bytes.len(), "{span:?}");
    assert!(span.lines.0 >= 1 && span.lines.0 <= span.lines.1 && span.column >= 1, "{span:?}");
    let valid = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    if span.end <= valid {
        let text = std::str::from_utf8(&bytes[..valid]).expect("as far as it is valid");
        assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{span:?}");
    }
}

/// The text of an instruction with its here-documents is what ONBUILD keeps: it can be read alone.
fn again(statement: &Statement) {
    let mut text = statement.text.clone();
    for heredoc in heredocs(&statement.value) {
        text = format!("{text}\n{}{}", heredoc.body, heredoc.name);
    }
    // A continuation without a next line, and another escape character, mean something else alone.
    if text.contains(['`', '\r']) || statement.text.ends_with('\\') {
        return;
    }
    let alone = parse_instruction(&text).unwrap_or_else(|errors| panic!("{text:?}: {errors:?}"));
    assert_eq!(alone.text, statement.text);
    assert_eq!(heredocs(&alone.value).len(), heredocs(&statement.value).len(), "{text:?}");
}

fn heredocs(instruction: &Instruction) -> Vec<&Heredoc> {
    match instruction {
        Instruction::Run(run) => run.heredocs.iter().collect(),
        Instruction::Copy(copy) => copy.sources.iter().filter_map(file).collect(),
        Instruction::Add(add) => add.sources.iter().filter_map(file).collect(),
        Instruction::Onbuild(onbuild) => heredocs(&onbuild.instruction.value),
        _ => Vec::new(),
    }
}

fn file(source: &Source) -> Option<&Heredoc> {
    match source {
        Source::Heredoc(heredoc) => Some(heredoc),
        Source::Path(_) => None,
    }
}
