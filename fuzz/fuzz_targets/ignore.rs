//! An ignore file and a path, parted by an empty line: the walk from the root and the answer about
//! the path alone agree, and a walk never leaves out a directory with something to keep.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_fuzz::context::ignore::{Directory, Ignore, Verdict};

fuzz_target!(|text: &str| {
    let (path, rules) = text.split_once("\n\n").unwrap_or(("a/b/c", text));
    let Ok(ignore) = Ignore::parse(rules) else {
        return;
    };
    // Only what a walk can come upon.
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) || path.contains('\0') {
        return;
    }
    let excluded = ignore.matches(path).is_some_and(|found| found.excluded);
    let mut parent = Directory::default();
    let mut reached = true;
    for (at, _) in path.match_indices('/') {
        reached &= ignore.judge(&parent, &path[..at], true) != Verdict::Skip;
        parent = ignore.enter(&parent, &path[..at]);
    }
    let kept = ignore.judge(&parent, path, false) == Verdict::Keep;
    assert_eq!(kept, !excluded, "{rules:?} {path:?}");
    assert_eq!(ignore.verdict(path, false) == Verdict::Keep, kept, "{rules:?} {path:?}");
    assert!(reached || !kept, "{rules:?} {path:?}: a walk leaves it out");
});
