//! Whether the ignore file leaves out what COPY and ADD name.

use crate::context::ignore::{Ignore, Verdict};
use crate::lower::stage::clean;

/// A path that a top-level pattern for everything matches, and hardly any other.
const ANYTHING: &str = "\u{1}";

/// Returns the line that leaves a source of COPY or ADD out, and its text.
pub(super) fn left_out<'i>(ignore: &'i Ignore, source: &str) -> Option<(usize, &'i str)> {
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
