//! What a `.dockerignore` lets through.

use proptest::prelude::*;

use super::{Directory, Ignore, Problem, Verdict};

#[track_caller]
fn check(text: &str, excluded: &[&str], kept: &[&str]) {
    let ignore = Ignore::parse(text).expect(text);
    let is_excluded = |path| ignore.matches(path).is_some_and(|found| found.excluded);
    for path in excluded {
        assert!(is_excluded(path), "{path} must be excluded by {text:?}");
    }
    for path in kept {
        assert!(!is_excluded(path), "{path} must be kept by {text:?}");
    }
}

#[test]
fn patterns_are_anchored_and_take_what_is_below() {
    check("a", &["a", "a/b", "a/b/c"], &["b/a", "ab", "ba"]);
    check("a/b", &["a/b", "a/b/c"], &["a", "a/bc", "x/a/b"]);
    check("*.md", &["x.md", ".md", "x.md/y"], &["a/x.md", "x.mdx"]);
    check("a*", &["a", "ab", "ab/c"], &["b", "x/ab"]);
    check("*/b", &["a/b", "a/b/c"], &["b", "a/c/b"]);
    check("a?c", &["abc", "aéc"], &["ac", "a/c"]);
    check("[a-c]x", &["ax", "bx"], &["dx", "x"]);
    check("[^a]x", &["bx"], &["ax"]);
    check("\\*", &["*"], &["a"]);
    check("a.b", &["a.b"], &["axb"]);
    check("{a,b}", &["{a,b}"], &["a"]);
    check("a*b?c*x", &["abxbbxdbxebxczzx"], &["abxbbxdbxebxczzy"]);
    check("a*b*c*d*e*/f", &["axbxcxdxe/f", "axbxcxdxexxx/f"], &["axbxcxdxe/xxx/f"]);
    check("[a-ζ]*", &["α"], &["A"]);
    check("[\\]\\-x]", &["]", "-", "x"], &["y"]);
    check("a[^b]c", &["axc", "a/c"], &["abc"]);
}

#[test]
fn two_stars_stand_for_any_depth() {
    check("**/a", &["a", "x/a", "x/y/a", "x/a/b"], &["xa", "ab"]);
    check("**/*.go", &["a.go", "x/a.go", "x/.go"], &["a.god"]);
    check("a/**", &["a/b", "a/b/c"], &["a", "b/a"]);
    check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a"]);
    check("**", &["a", "a/b", ".x"], &[]);
    check("**/", &["a", "a/b"], &[]);
    check("**a", &["a", "ba", "x/ba"], &["ab"]);
    check("a**", &["a", "ab", "a/b"], &["ba"]);
    check("**/a*/b", &["a/b", "x/ab/b"], &["b", "x/b"]);
    check("**/**/*.t", &["f.t", "d/f.t", "d/e/f.t"], &["f.tt"]);
    check("a**/*.t", &["a/f.t", "a/d/e/f.t", "ab/f.t", "af.t"], &["b/f.t"]);
    check("*a**b", &["aab", "xa/b", "a/x/b"], &["a/x"]);
    check("a/*.t**", &["a/f.t", "a/f.txt"], &["a/f"]);
    check("**/d/**", &["d/f", "x/d/y/f"], &["d", "x/d"]);
}

#[test]
fn lines_are_cleaned() {
    check("/a/", &["a"], &["b"]);
    check("./a//b/../c", &["a/c"], &["a/b"]);
    check("  a  \r\n", &["a"], &[]);
    check("\u{feff}a", &["a"], &[]);
    check("#a\n #b", &["#b"], &["#a", "a"]);
    check(".\n/\n\n..", &[], &["a", "b/c"]);
}

#[test]
fn the_last_line_decides() {
    check("*.md\n!README.md", &["x.md"], &["README.md"]);
    check("!README.md\n*.md", &["README.md"], &[]);
    check("a\n!a/b\na/b/c", &["a", "a/x", "a/b/c"], &["a/b", "a/b/d"]);
    check("*\n! a", &["b"], &["a", "a/b"]);
    check("a/b\n!a", &[], &["a/b"]);
    let ignore = Ignore::parse("# c\n\n*.md\n!x.md").expect("valid");
    let line = |path| ignore.matches(path).map(|found| (found.line, found.text, found.excluded));
    assert_eq!(line("y.md"), Some((3, "*.md", true)));
    assert_eq!(line("x.md"), Some((4, "!x.md", false)));
    assert_eq!(line("y"), None);
}

#[test]
fn what_is_no_pattern_is_refused() {
    let problem = |text: &str| Ignore::parse(text).expect_err("no pattern");
    assert_eq!((problem("a\n!").line, problem("a\n!").problem), (2, Problem::Nothing));
    for text in ["[", "[a", "[]", "[]a]", "[a-]", "[-a]", "[b-a]", "[^]", "a\\", "[\\"] {
        assert_eq!(problem(text).problem, Problem::Syntax, "{text}");
    }
    let (long, many) = ("a".repeat(70_000), "a*b?\n".repeat(100_000));
    assert_eq!(problem(&long).problem, Problem::Length);
    assert_eq!(problem(&many).problem, Problem::Number);
}

#[test]
fn a_walk_prunes_what_cannot_be_taken_back() {
    let verdict = |text, path| Ignore::parse(text).expect(text).verdict(path, true);
    assert_eq!(verdict("a", "a"), Verdict::Skip);
    assert_eq!(verdict("a\n!b", "a"), Verdict::Skip);
    assert_eq!(verdict("!a/b\na", "a"), Verdict::Skip);
    assert_eq!(verdict("a\n!a/b", "a"), Verdict::Descend);
    assert_eq!(verdict("a\n!a/b", "a/c"), Verdict::Skip);
    assert_eq!(verdict("a\n!a/b", "a/b"), Verdict::Keep);
    assert_eq!(verdict("a\n!a/*/c", "a/b"), Verdict::Descend);
    assert_eq!(verdict("a\n!**/c", "a/b"), Verdict::Descend);
    assert_eq!(verdict("a", "b"), Verdict::Keep);
    let ignore = Ignore::parse("a\n!a/b").expect("valid");
    assert_eq!(ignore.verdict("a", false), Verdict::Skip);
}

/// Matches as the rules say, one character at a time.
fn slow_match(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*', rest @ ..] => {
            let rest = if let ['/', rest @ ..] = rest { rest } else { rest };
            let whole = rest.is_empty();
            (0..=path.len()).any(|at| {
                let boundary = at == 0 || path[at - 1] == '/';
                (whole || boundary) && slow_match(rest, &path[at..])
            })
        }
        ['*', rest @ ..] => (0..=path.len())
            .take_while(|&at| at == 0 || path[at - 1] != '/')
            .any(|at| slow_match(rest, &path[at..])),
        ['?', rest @ ..] => path.first().is_some_and(|&c| c != '/') && slow_match(rest, &path[1..]),
        ['[', '^', c, ']', rest @ ..] => {
            path.first().is_some_and(|p| p != c) && slow_match(rest, &path[1..])
        }
        ['[', from, '-', to, ']', rest @ ..] => {
            path.first().is_some_and(|p| (from..=to).contains(&p)) && slow_match(rest, &path[1..])
        }
        ['\\', c, rest @ ..] | [c, rest @ ..] => {
            path.first() == Some(c) && slow_match(rest, &path[1..])
        }
    }
}

fn slow_excluded(lines: &[String], path: &str) -> bool {
    let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
    ends.push(path.len());
    let mut excluded = false;
    for line in lines {
        let (exception, text) =
            line.strip_prefix('!').map_or((false, line.as_str()), |rest| (true, rest));
        let pattern: Vec<char> = super::clean(text).chars().collect();
        // `**` before a name that no slash parts from it takes any start of the name too.
        let loose: Vec<char> = match pattern.as_slice() {
            ['*', '*', c, ..]
                if *c != '/' && !pattern[2..].iter().any(|c| "*?[]\\".contains(*c)) =>
            {
                pattern[2..].to_vec()
            }
            _ => Vec::new(),
        };
        let matched = ends.iter().any(|&end| {
            let path: Vec<char> = path[..end].chars().collect();
            slow_match(&pattern, &path) || (!loose.is_empty() && path.ends_with(&loose))
        });
        if matched {
            excluded = !exception;
        }
    }
    excluded
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn agrees_with_the_slow_reference(
        lines in prop::collection::vec("!?(a|b|ab|\\*|\\*\\*|\\?|a\\*|\\*b|\\*\\*a|\\[\\^a\\]|\\[a-b\\]b|\\\\ab?)(/(a|b|\\*|\\*\\*|\\?|\\[\\^b\\]|\\.|\\.\\.)){0,3}/?", 1..6),
        paths in prop::collection::vec("[ab]{1,2}(/[ab]{1,2}){0,3}", 8),
    ) {
        let ignore = Ignore::from_patterns(lines.iter().map(String::as_str)).expect("valid");
        for path in paths {
            let excluded = ignore.matches(&path).is_some_and(|found| found.excluded);
            prop_assert_eq!(excluded, slow_excluded(&lines, &path), "{:?} {}", &lines, &path);
            // A walk from the root never prunes a path that is kept.
            let mut parent = Directory::default();
            let mut reached = true;
            for (at, _) in path.match_indices('/') {
                reached &= ignore.judge(&parent, &path[..at], true) != Verdict::Skip;
                parent = ignore.enter(&parent, &path[..at]);
            }
            let kept = ignore.judge(&parent, &path, false) == Verdict::Keep;
            prop_assert_eq!(kept, !excluded);
            prop_assert!(reached || !kept, "{:?} {} pruned", &lines, &path);
        }
    }

    #[test]
    fn never_panics(text in "[!a*?\\[\\]\\\\/.^#\n-]{0,40}", path in "[a/.*\\[]{0,20}") {
        if let Ok(ignore) = Ignore::parse(&text) {
            let _ = ignore.matches(&path);
            let _ = ignore.verdict(&path, true);
        }
    }
}

/// What backtracking would take ages for is compared once for each pair of part and character.
#[test]
fn many_stars_cost_no_more_than_their_product() {
    let text = format!("{}b\n{}b\n{}b", "a*".repeat(1000), "*a".repeat(1000), "**/a".repeat(500));
    let ignore = Ignore::parse(&text).expect("valid");
    assert!(ignore.matches(&"a".repeat(2000)).is_none());
    assert!(ignore.matches(&format!("{}b", "a".repeat(2000))).is_some());
    assert!(ignore.matches(&"a/".repeat(1000)).is_none());
}

/// Twenty usual patterns on a tree of 20,000 files.
#[test]
fn a_large_walk_keeps_what_no_line_names() {
    let text = ".git\nnode_modules\n**/node_modules\n*.md\n!README.md\n**/*.pyc\n**/__pycache__\ntarget\n\
                dist\nbuild/**\n.env*\n**/.DS_Store\n*.log\nlogs\ncoverage\n.vscode\n.idea\n\
                **/tmp/*.swp\ndocs/*/draft\nDockerfile";
    let ignore = Ignore::parse(text).expect("valid");
    let mut kept = 0;
    for i in 0..200 {
        let directory = format!("src/module{i}");
        let parent = ignore.enter(&ignore.enter(&Directory::default(), "src"), &directory);
        for j in 0..100 {
            let path = format!("{directory}/file{j}.rs");
            kept += usize::from(ignore.judge(&parent, &path, false) == Verdict::Keep);
        }
    }
    assert_eq!(kept, 20_000);
}
