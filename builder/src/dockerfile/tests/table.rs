//! The table of `fixtures/README.md`: for every row of the specification a case that is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The sections, and how many rows the specification has in each.
const SECTIONS: [(&str, usize); 16] = [
    ("1.1", 14),
    ("1.2", 4),
    ("1.3", 18),
    ("1.4", 14),
    ("1.5", 10),
    ("1.6", 9),
    ("1.7", 3),
    ("1.8", 6),
    ("1.9", 9),
    ("1.10", 3),
    ("1.11", 17),
    ("1.12", 5),
    ("1.13", 8),
    ("1.14", 7),
    ("1.15", 22),
    ("1.16", 5),
];

/// The rows that nothing holds, since nothing is built for them.
const NOT_BUILT: [&str; 1] = ["signatures"];

#[test]
fn every_row_of_the_specification_has_a_case() {
    let text = fs::read_to_string(Path::new(ROOT).join("fixtures/README.md")).expect("the table");
    let sources = sources();
    let mut not_built = Vec::new();
    for (section, count) in SECTIONS {
        let (_, table) = text.split_once(&format!("### {section} ")).expect(section);
        let table = table.split("### ").next().unwrap_or_default();
        let rows: Vec<_> = table.lines().filter_map(row).collect();
        assert_eq!(rows.len(), count, "rows of section {section}");
        let titles: BTreeSet<_> = rows.iter().map(|(title, _)| title).collect();
        assert_eq!(titles.len(), count, "section {section} has a row twice");
        for (title, cases) in rows {
            let names: Vec<_> = cases.split('`').skip(1).step_by(2).collect();
            if names.is_empty() {
                assert!(cases.starts_with("not built: "), "{section} {title} has no case");
                not_built.push(title);
            }
            for name in names {
                assert!(exists(name, &sources), "{section} {title}: there is no `{name}`");
            }
        }
    }
    assert_eq!(not_built, NOT_BUILT);
}

/// The two cells of a row; those above the line of dashes are no row.
fn row(line: &str) -> Option<(&str, &str)> {
    let (title, cases) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
    (title != "row").then_some((title, cases))
}

/// Whether a name is that of a Dockerfile, of a build or of a test.
fn exists(name: &str, sources: &str) -> bool {
    let fixtures = Path::new(ROOT).join("fixtures");
    let test = sources.contains(&format!("fn {name}(")) || sources.contains(&format!(" {name}:\n"));
    test || fixtures.join(format!("dockerfile/{name}.Dockerfile")).is_file()
        || fixtures.join("build").join(name).join("Dockerfile").is_file()
}

/// All Rust code of the repository.
fn sources() -> String {
    let mut sources = String::new();
    let mut pending: Vec<PathBuf> =
        ["builder", "cli", "tests"].map(|folder| Path::new(ROOT).join(folder)).into();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).expect("sources are there") {
            let path = entry.expect("can be listed").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                sources.push_str(&fs::read_to_string(path).expect("text"));
            }
        }
    }
    sources
}
