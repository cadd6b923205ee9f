//! A verb that failed: what to say, and the exit code.

use std::error::Error;
use std::io;

use rbuild::dockerfile::Span;
use rbuild::{ErrorKind, bundle, container};
use thiserror::Error as ThisError;

use crate::config::{ConfigError, CredentialError};
use crate::diagnostic::{Diagnostic, Place};
use crate::format::FormatError;

/// The build failed, or what was asked for is not there.
const FAILED: u8 = 1;
/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// The machine or the network.
const ENVIRONMENT: u8 = 3;
/// An image is here, but not in its registry.
const NOT_PUSHED: u8 = 4;
/// What `docker run` exits with where it could not start a container.
pub(crate) const ENGINE: u8 = 125;
/// Stopped by an interrupt: 128 and the number of the signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a verb failed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub(crate) enum Cause {
    #[error(transparent)]
    Builder(#[from] rbuild::Error),
    #[error(transparent)]
    Container(#[from] container::Error),
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("cannot {doing}")]
    Io { doing: String, source: io::Error },
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    #[error("canceled")]
    Canceled,
}

/// A verb that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    // In a box, since every verb passes results of this type on.
    cause: Box<Cause>,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// Wrong usage, in one line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Cause::Usage(message.into()).into()
    }

    /// What was asked for can't be had, in one line.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Cause::Failed(message.into()).into()
    }

    /// A flag that rbuild lacks.
    pub(crate) fn unsupported(flag: &str) -> Self {
        Self::usage(format!("`--{flag}` is not supported yet"))
    }

    /// Reading or writing failed.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Cause::Io { doing, source }.into()
    }

    /// The same with a hint.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same as `docker run` reports it: its own codes start at 125.
    pub(crate) fn of_run(self) -> Self {
        let code = match &*self.cause {
            Cause::Container(error) => exit_code(error.exit_code()),
            Cause::Canceled => self.code,
            _ => ENGINE,
        };
        Self { code, ..self }
    }

    /// The same as `docker exec` reports it: what hindered rbuild itself is 1.
    pub(crate) fn of_exec(self) -> Self {
        Self { code: FAILED, ..self }
    }

    /// The same as diff reports it: 1 means that things differ.
    pub(crate) fn of_diff(self) -> Self {
        let code = if self.code == FAILED { USAGE } else { self.code };
        Self { code, ..self }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Whether the reader of our output has gone, which is no error.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let mut next: Option<&dyn Error> = Some(&*self.cause);
        while let Some(error) = next {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// What programs read: the message and its causes in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.cause.to_string();
        let mut next = self.cause.source();
        while let Some(cause) = next {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            next = cause.source();
        }
        line
    }

    /// What people read. All errors of a Dockerfile are told at once, in the order of the file.
    pub(crate) fn render(&self) -> String {
        if let Cause::Builder(rbuild::Error::Dockerfile { file, errors }) = &*self.cause
            && !errors.is_empty()
        {
            let told = errors.iter().map(|error| {
                let hint = self.hint.clone().or_else(|| error.hint.clone());
                let place = Some(place(ErrorKind::Dockerfile, file, error.span));
                let message = error.message.clone();
                Diagnostic { message, place, hint, ..Diagnostic::default() }.render()
            });
            return told.collect::<Vec<_>>().join("\n");
        }
        let mut diagnostic = Diagnostic::of(&*self.cause);
        diagnostic.hint = self.hint.clone().or_else(|| match &*self.cause {
            Cause::Builder(error) => error.hint(),
            Cause::Container(error) => error.hint(),
            _ => None,
        });
        if let Cause::Builder(error) = &*self.cause {
            let excerpt = error.excerpt();
            diagnostic.place = excerpt.map(|(source, span)| place(error.kind(), source, span));
        }
        diagnostic.render()
    }
}

fn place(kind: ErrorKind, source: &rbuild::Source, span: Span) -> Place<'_> {
    let columns = columns(kind, span, &source.text);
    Place { file: &source.name, source: &source.text, lines: span.lines, columns }
}

/// Words are underlined where they are wrong; a step that failed is marked as a whole.
fn columns(kind: ErrorKind, span: Span, text: &str) -> Option<(usize, usize)> {
    let words = text.get(span.start..span.end).map_or(1, |words| words.chars().count());
    (kind == ErrorKind::Dockerfile).then_some((span.column, span.column + words))
}

/// An exit code as the kernel passes it on.
pub(crate) fn exit_code(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(FAILED)
}

impl<E: Into<Cause>> From<E> for Failure {
    fn from(error: E) -> Self {
        let cause = error.into();
        let code = match &cause {
            Cause::Usage(_)
            | Cause::Format(_)
            | Cause::Builder(rbuild::Error::Usage(_) | rbuild::Error::Reference { .. }) => USAGE,
            Cause::Builder(error) => match error.kind() {
                ErrorKind::Environment | ErrorKind::Remote => ENVIRONMENT,
                ErrorKind::NotPushed => NOT_PUSHED,
                _ => FAILED,
            },
            Cause::Config(_) | Cause::Credential(_) | Cause::Io { .. } => ENVIRONMENT,
            Cause::Canceled => INTERRUPTED,
            Cause::Bundle(bundle::Error::Runtime(error)) => exit_code(error.exit_code()),
            Cause::Bundle(_) | Cause::Container(_) | Cause::Failed(_) => FAILED,
        };
        Self { cause: Box::new(cause), hint: None, code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_code() {
        assert_eq!(Failure::usage("x").code(), 2);
        assert_eq!(Failure::usage("x").of_run().code(), 125);
        assert_eq!(Failure::failed("x").code(), 1);
        assert_eq!(Failure::failed("x").of_diff().code(), 2);
        assert_eq!(Failure::io("write")(io::Error::other("full")).code(), 3);
        assert_eq!(Failure::from(Cause::Canceled).of_run().code(), 130);
        assert_eq!(exit_code(256 + 7), 7);
        assert_eq!(exit_code(-1), 255);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let gone = Failure::io("print")(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(gone.is_broken_pipe());
        assert!(!Failure::io("print")(io::Error::other("full")).is_broken_pipe());
    }

    #[test]
    fn a_failure_is_told_in_lines() {
        let failure = Failure::unsupported("sbom").hint("leave it out");
        assert_eq!(
            failure.render(),
            "error: `--sbom` is not supported yet\n\nhint: leave it out\n"
        );
    }
}
