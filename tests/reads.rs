//! What is read of a context: of a file that was read before, nothing.

use std::fs;

use crate::home;
use rbuild_testkit::Home;

const FILES: usize = 5_000;

/// How often the files of the context were asked about and opened, in all.
#[derive(Debug, PartialEq, Eq)]
struct Calls {
    stats: usize,
    opens: usize,
}

/// Builds under strace, which `tests/run` installs. Every file is named `file-…`, and nothing else
/// is.
fn build(home: &Home) -> Calls {
    let trace = "strace -f -qq -o calls -e trace=%%stat,open,openat,openat2,readlinkat";
    home.types(&format!("{trace} rbuild -q -t app app")).ok();
    let calls = home.read("calls");
    let of_files = || calls.lines().filter(|line| line.contains("file-"));
    let opens = of_files().filter(|line| line.contains("open")).count();
    Calls { stats: of_files().count() - opens, opens }
}

#[test]
fn one_stat_for_each_file_and_one_read_for_each_that_changed() {
    let home = home();
    home.write("app/Dockerfile", "FROM scratch\nCOPY src /src\n");
    for number in 0..FILES {
        home.write(&format!("app/src/{}/file-{number}", number % 50), number.to_string());
    }
    let first = build(&home);
    assert!(first.stats >= FILES && first.opens >= FILES, "{first:?}");
    // A file that had only just been written is read once more.
    home.types("rbuild -q -t app app").ok();
    assert_eq!(build(&home), Calls { stats: FILES, opens: 0 });

    // It was written, though with the same bytes: that is found out by reading it, and no layer is
    // made, for which a file with other bytes would be read to copy it.
    fs::write(home.path("app/src/7/file-7"), "7").unwrap();
    assert_eq!(build(&home), Calls { stats: FILES, opens: 1 });
}
