//! What COPY and ADD name: variables, and paths that the ignore file leaves out.

use super::asked;
use super::stage::{State, Walk};
use crate::context::ignore::{Ignore, Verdict};
use crate::dockerfile::{Add, Copy, Heredoc, Rule, Source, Span, Word, expand};
use crate::lower::stage::clean;

impl Walk<'_> {
    pub(super) fn copy(&mut self, state: &State, copy: &Copy, at: Span) {
        for word in copy.chown.iter().chain(&copy.chmod) {
            self.expand(state, word, at);
        }
        let context = copy.from.is_none();
        self.files(state, ("COPY", &copy.sources, context), &copy.destination, at);
    }

    pub(super) fn add_files(&mut self, state: &State, add: &Add, at: Span) {
        for word in add.chown.iter().chain(&add.chmod).chain(&add.checksum) {
            self.expand(state, word, at);
        }
        self.files(state, ("ADD", &add.sources, true), &add.destination, at);
    }

    fn files(
        &mut self,
        state: &State,
        (keyword, sources, context): (&str, &[Source], bool),
        destination: &Word,
        at: Span,
    ) {
        for source in sources {
            match source {
                Source::Path(word) => {
                    let path = self.expand(state, word, at);
                    if context && !is_remote(&path) {
                        self.ignored(keyword, &path, at);
                    }
                }
                Source::Heredoc(heredoc) => self.heredoc(state, heredoc, at),
            }
        }
        self.expand(state, destination, at);
    }

    fn ignored(&mut self, keyword: &str, path: &str, at: Span) {
        let Some((name, ignore)) = &self.request.ignore else {
            return;
        };
        if let Some((line, pattern)) = left_out(ignore, path) {
            let message = format!(
                "{keyword} of `{path}`, which line {line} of {name} (`{pattern}`) excludes"
            );
            self.add(Rule::CopyIgnoredFile, at, message);
        }
    }

    fn heredoc(&mut self, state: &State, heredoc: &Heredoc, at: Span) {
        if heredoc.expand {
            let text = heredoc.text();
            let asked = asked(&state.scope, |lookup| expand::expand_heredoc(&text, lookup).ok());
            self.undefined(state, asked, at);
        }
    }
}

/// Whether a source of ADD is no path of the context.
fn is_remote(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@")
}

/// A path that a top-level pattern for everything matches, and hardly any other.
const ANYTHING: &str = "\u{1}";

/// Returns the line that leaves a source of COPY or ADD out, and its text.
fn left_out<'i>(ignore: &'i Ignore, source: &str) -> Option<(usize, &'i str)> {
    let whole = clean(&format!("/{source}"));
    let path = whole.trim_start_matches('/');
    let root = path.is_empty();
    // A `!` line may take back some file of the root, or one that a pattern finds.
    if (root || path.contains(['*', '?', '['])) && ignore.has_exceptions() {
        return None;
    }
    let path = if root { ANYTHING } else { path };
    if ignore.verdict(path, true) != Verdict::Skip {
        return None;
    }
    ignore.matches(path).map(|found| (found.line, found.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ignore: &str, source: &str) -> Option<usize> {
        let ignore = Ignore::parse(ignore).expect("patterns");
        left_out(&ignore, source).map(|(line, _)| line)
    }

    #[test]
    fn what_a_pattern_matches_is_left_out() {
        assert_eq!(line("a\n\nDockerfile\n", "Dockerfile"), Some(3));
        assert_eq!(line("Dockerfile\n", "./Dockerfile"), Some(1));
        assert_eq!(line("Dockerfile\n", "/sub/../Dockerfile"), Some(1));
        assert_eq!(line("sub\n", "sub/deep/file"), Some(1));
        assert_eq!(line("*.txt\n", "*.txt"), Some(1));
        assert_eq!(line("foobar\n", "Dockerfile"), None);
        assert_eq!(line("sub/file\n", "sub"), None);
    }

    #[test]
    fn the_root_is_left_out_by_what_leaves_everything_out() {
        assert_eq!(line(".*\n", "."), None);
        assert_eq!(line("*\n", "."), Some(1));
        assert_eq!(line("**\n", "/"), Some(1));
        assert_eq!(line("**/*\n", "./"), Some(1));
        assert_eq!(line("**\n!Dockerfile\n", "."), None);
    }

    #[test]
    fn only_an_exception_below_the_source_takes_back() {
        for ignore in
            ["sub\n!sub/b.txt\n", "sub\n!other.txt\n", "sub\n!no/such.txt\n", "!sub/b.txt\nsub\n"]
        {
            assert!(line(ignore, "sub/a.txt").is_some(), "{ignore}");
        }
        let ignore = "sub\n!sub/a.txt\n";
        for source in ["sub", ".", "sub/a.txt", "sub/*.txt"] {
            assert_eq!(line(ignore, source), None, "{source}");
        }
        assert_eq!(line("su.b\n!su\\.b/keep.txt\n", "su.b"), None);
    }
}
