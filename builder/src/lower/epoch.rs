//! `SOURCE_DATE_EPOCH`: the one time that everything has which a build makes.
//!
//! It is a number of seconds since 1970, or names what it is to be taken from: `context`, a named
//! context, or a stage that is nothing but one ADD of something elsewhere.

use rbuild_solver::op;

use super::{Request, plan, remote};
use crate::dockerfile::{Add, Diagnostic, Dockerfile, Instruction, Source, Stage};

/// The argument.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Where the time comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Epoch {
    /// It is known, in seconds since 1970.
    Seconds(i64),
    /// The build context's own time, or that of a named context.
    Context(String),
    /// The time of a source that is elsewhere.
    Source(op::Source),
}

/// Finds out where the time of a build comes from; `None` where every step has its own.
///
/// # Errors
/// A value that is no number and names nothing, and a stage that is more than one source.
pub fn epoch(file: &Dockerfile, request: &Request) -> Result<Option<Epoch>, Diagnostic> {
    let target = plan::find_target(file, request.target.as_deref())?;
    let global = plan::global_scope(file, request, target)?;
    let value = request.argument(EPOCH).or_else(|| global.get(EPOCH)).unwrap_or_default();
    if value.is_empty() {
        return Ok(None);
    }
    if let Ok(seconds) = value.parse() {
        return Ok(Some(Epoch::Seconds(seconds)));
    }
    if value == super::CONTEXT || request.contexts.contains_key(value) {
        return Ok(Some(Epoch::Context(value.to_owned())));
    }
    let named = |stage: &&Stage| {
        let name = stage.from.value.name.as_deref();
        name.is_some_and(|name| name.eq_ignore_ascii_case(value))
    };
    let Some(stage) = file.stages.iter().find(named) else {
        let span = file.stages.first().map(|stage| stage.from.span).unwrap_or_default();
        let message = format!("invalid {EPOCH}: `{value}`");
        let hint = "give seconds since 1970, `context`, or the name of a context or stage";
        return Err(Diagnostic::error(span, message).hint(hint.to_owned()));
    };
    stage_source(stage, global, request).map(|source| Some(Epoch::Source(source)))
}

fn stage_source(
    stage: &Stage,
    mut scope: super::scope::Scope,
    request: &Request,
) -> Result<op::Source, Diagnostic> {
    let wrong = |span, message: &str| Diagnostic::error(span, format!("{EPOCH} stage {message}"));
    if scope.expand(&stage.from.value.image)? != "scratch" {
        return Err(wrong(stage.from.span, "must use FROM scratch"));
    }
    let mut found = None;
    for statement in &stage.instructions {
        match &statement.value {
            Instruction::Arg(arguments) => {
                scope.set_arguments(arguments, |name| request.argument(name))?;
            }
            Instruction::Add(add) if found.is_none() => {
                let source = add_source(add, &scope, statement.span)?;
                let message = "source must be a single HTTP(S) or Git ADD";
                found = Some(source.ok_or_else(|| wrong(statement.span, message))?);
            }
            Instruction::Add(_) => {
                return Err(wrong(statement.span, "must contain exactly one remote ADD"));
            }
            _ => {
                let message = "may hold nothing but ARG and one remote ADD";
                return Err(wrong(statement.span, message));
            }
        }
    }
    found.ok_or_else(|| wrong(stage.from.span, "must contain exactly one remote ADD"))
}

fn add_source(
    add: &Add,
    scope: &super::scope::Scope,
    span: crate::dockerfile::Span,
) -> Result<Option<op::Source>, Diagnostic> {
    let [Source::Path(word)] = add.sources.as_slice() else {
        return Ok(None);
    };
    let options = remote::Options {
        checksum: add.checksum.as_ref().map(|word| scope.expand(word)).transpose()?,
        keep_git_dir: add.keep_git_dir,
        commit_times: true,
    };
    let source = remote::source(&scope.expand(word)?, &options);
    let source = source.map_err(|message| Diagnostic::error(span, message))?;
    Ok(source.map(|(source, _)| source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::NamedContext;

    fn found(text: &str, argument: Option<&str>) -> Result<Option<Epoch>, String> {
        let file = crate::dockerfile::parse(text.as_bytes()).unwrap();
        let mut request = Request::new();
        request.contexts.insert("named".to_owned(), NamedContext::Folder);
        if let Some(value) = argument {
            request.arguments.insert(EPOCH.to_owned(), value.to_owned());
        }
        epoch(&file, &request).map_err(|error| error.message)
    }

    #[test]
    fn the_time_is_a_number_or_that_of_a_context() {
        let plain = "FROM scratch\n";
        assert_eq!(found(plain, None), Ok(None));
        assert_eq!(found(plain, Some("")), Ok(None));
        assert_eq!(found(plain, Some("12")), Ok(Some(Epoch::Seconds(12))));
        for name in ["context", "named"] {
            assert_eq!(found(plain, Some(name)), Ok(Some(Epoch::Context(name.to_owned()))));
        }
        assert_eq!(found(plain, Some("x")), Err("invalid SOURCE_DATE_EPOCH: `x`".to_owned()));
        let default = "ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n";
        assert_eq!(found(default, None), Ok(Some(Epoch::Seconds(5))));
    }

    #[test]
    fn a_stage_of_one_remote_add_gives_its_time() {
        let stage = |rest: &str| format!("FROM scratch AS src\n{rest}\nFROM scratch\n");
        let text = stage("ARG V=1\nADD http://h/a-$V /");
        let Ok(Some(Epoch::Source(op::Source::Http(file)))) = found(&text, Some("src")) else {
            panic!("it is a file");
        };
        assert_eq!(file.url, "http://h/a-1");
        let git = found(&stage("ADD https://h/a.git /"), Some("src"));
        assert!(matches!(git, Ok(Some(Epoch::Source(op::Source::Git(_))))));
        for (rest, message) in [
            ("", "must contain exactly one remote ADD"),
            ("ADD a /", "source must be a single HTTP(S) or Git ADD"),
            ("ADD http://h/a /\nADD http://h/b /", "must contain exactly one remote ADD"),
            ("RUN true", "may hold nothing but ARG and one remote ADD"),
        ] {
            let error = found(&stage(rest), Some("src")).unwrap_err();
            assert_eq!(error, format!("SOURCE_DATE_EPOCH stage {message}"));
        }
        let other = found("FROM busybox AS src\nADD http://h/a /\n", Some("src")).unwrap_err();
        assert_eq!(other, "SOURCE_DATE_EPOCH stage must use FROM scratch");
    }
}
