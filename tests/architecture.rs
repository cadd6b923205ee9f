//! The walls of ARCHITECTURE.md: no arrow points up, and every file looks like its neighbours.
//!
//! Cargo and clippy keep most of it; what they can't say is read here from the manifests and the
//! sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate of the house, and what it must not touch.
struct Room {
    /// The folder, from the root of the repository.
    folder: &'static str,
    /// The crates of ours that it may stand on.
    stands_on: &'static [&'static str],
    /// Crates that it must not depend on.
    no_crates: &'static [&'static str],
    /// What its sources must not say outside comments and tests, and the files that may.
    no_words: &'static [(&'static str, &'static [&'static str])],
}

const PRINTS: [&str; 5] = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
const NETWORK: [&str; 6] = ["tokio", "reqwest", "hyper", "rustls", "h2", "async-std"];

const HOUSE: [Room; 7] = [
    Room {
        folder: "cache",
        stands_on: &[],
        no_crates: &["oci-spec", "clap", "async-trait", "futures"],
        no_words: &[("sled", &["index.rs"]), ("Dockerfile", &[])],
    },
    Room {
        folder: "solver",
        stands_on: &["rbuild-cache"],
        no_crates: &["rustix", "libc", "oci-spec", "reqwest", "clap", "sled", "rayon"],
        no_words: &[("std::fs", &[]), ("std::process", &[]), ("std::env", &[]), ("sled", &[])],
    },
    Room {
        folder: "builder",
        stands_on: &["rbuild-cache", "rbuild-solver", "rbuild-registry", "rbuild-runtime"],
        no_crates: &["clap", "sled", "reqwest", "rustls", "libc", "anstyle", "unicode-width"],
        no_words: &[
            ("sled", &[]),
            ("home_dir", &[]),
            ("env::var", &[]),
            ("env::home_dir", &[]),
            ("env::args", &["spawn.rs", "settle.rs"]),
            ("env::set_var", &[]),
        ],
    },
    Room {
        folder: "builder/registry",
        stands_on: &[],
        no_crates: &["rustix", "libc", "sled", "clap", "tempfile", "tar"],
        no_words: &[("std::fs", &[]), ("std::process", &[]), ("tokio::fs", &[])],
    },
    Room {
        folder: "builder/runtime",
        stands_on: &[],
        no_crates: &["oci-spec", "async-trait", "futures", "clap", "sled"],
        no_words: &[("async fn", &[])],
    },
    Room {
        folder: "cli",
        stands_on: &["rbuild"],
        no_crates: &["sled", "reqwest", "rustls", "oci-spec", "libc"],
        no_words: &[("env::var", &["config/mod.rs"])],
    },
    Room { folder: "tests/support", stands_on: &[], no_crates: &["tokio"], no_words: &[] },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The files of the repository below a folder, as paths from its root; what is built is left out.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn rust_files(folder: &str) -> Vec<String> {
    files(folder).into_iter().filter(|path| is_rust(path)).collect()
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn manifest(folder: &str) -> toml::Table {
    read(&format!("{folder}/Cargo.toml")).parse().unwrap()
}

/// The crates that a crate is built with; those of its tests don't count.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut tables = vec![manifest];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    tables
        .extend(targets.into_iter().flat_map(|all| all.values()).filter_map(toml::Value::as_table));
    for table in tables {
        for kind in ["dependencies", "build-dependencies"] {
            let named = table.get(kind).and_then(toml::Value::as_table);
            found.extend(named.into_iter().flat_map(|named| named.keys().cloned()));
        }
    }
    found
}

/// The sources of a crate that are in the product: no tests, and no other crate nested in it.
fn product(room: &Room) -> Vec<(String, String)> {
    let folder = format!("{}/src", room.folder);
    let sources = rust_files(&folder);
    let tests: BTreeSet<String> = sources.iter().flat_map(|path| test_modules(path)).collect();
    let is_test = |path: &String| {
        path.ends_with("/tests.rs") || path.contains("/tests/") || tests.contains(path)
    };
    let code = |path: String| {
        let code = without_tests_and_comments(&read(&path));
        (path, code)
    };
    sources.into_iter().filter(|path| !is_test(path)).map(code).collect()
}

/// The files that a file declares as modules for tests only.
fn test_modules(path: &str) -> Vec<String> {
    let text = read(path);
    let stem = path.strip_suffix(".rs").unwrap();
    let folder = match stem.rsplit_once('/').unwrap() {
        (folder, "lib" | "main" | "mod") => folder.to_owned(),
        _ => stem.to_owned(),
    };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let (_, module) = pair[1]
            .split_once("mod ")
            .filter(|(before, _)| before.is_empty() || before.starts_with("pub"))?;
        module.strip_suffix(';').map(|name| format!("{folder}/{name}.rs"))
    });
    declared.collect()
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn no_arrow_points_up() {
    for room in HOUSE {
        for name in dependencies(&manifest(room.folder)) {
            let ours = name == "rbuild" || name.starts_with("rbuild-");
            let allowed = room.stands_on.contains(&name.as_str());
            assert!(!ours || allowed, "{} must not stand on {name}", room.folder);
            let refused = room.no_crates.contains(&name.as_str());
            assert!(!refused, "{} must do without the crate {name}", room.folder);
            let network = NETWORK.contains(&name.as_str());
            let silent = ["cache", "builder/runtime", "tests/support"].contains(&room.folder);
            // The registries of the tests show certificates.
            let shows = room.folder == "tests/support" && name == "rustls";
            assert!(!(network && silent) || shows, "{} must do without {name}", room.folder);
        }
    }
}

#[test]
fn the_house_has_no_other_rooms() {
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let mut members: Vec<_> = members.iter().map(|member| member.as_str().unwrap()).collect();
    members.sort_unstable();
    let mut rooms = HOUSE.map(|room| room.folder);
    rooms.sort_unstable();
    assert_eq!(members, rooms, "a new crate needs a row here and a reason in ARCHITECTURE.md");
}

#[test]
fn no_room_says_what_it_must_not() {
    for room in HOUSE {
        for (path, code) in product(&room) {
            for (word, excused) in room.no_words {
                let excused = excused.iter().any(|file| path.ends_with(&format!("/{file}")));
                assert!(excused || !code.contains(word), "{path} must not say `{word}`");
            }
            if room.folder != "cli" && room.folder != "tests/support" {
                for word in PRINTS {
                    assert!(!code.contains(word), "{path}: only the command line prints");
                }
            }
        }
    }
}

#[test]
fn only_the_runtime_is_unsafe() {
    for room in HOUSE {
        for (path, code) in product(&room) {
            let says = code.contains("unsafe {") || code.contains("unsafe fn");
            assert!(
                !says || room.folder == "builder/runtime",
                "{path} is not the place for unsafe"
            );
        }
        let lints = manifest(room.folder)["lints"].clone();
        let inherited = lints.get("workspace").is_some();
        assert!(inherited || room.folder == "builder/runtime", "{}: whose lints?", room.folder);
    }
    let runtime = manifest("builder/runtime");
    assert_eq!(runtime["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
}

#[test]
fn a_new_wall_would_be_noticed() {
    let code = "// std::fs here\nfn a() { std::fs::read() }\n#[cfg(test)]\nmod tests {\n b!() }\n";
    assert_eq!(without_tests_and_comments(code), "fn a() { std::fs::read() }\n");
    let table: toml::Table = "[dependencies]\na = \"1\"\n[dev-dependencies]\nb = \"1\"\n\
        [target.'cfg(unix)'.dependencies]\nc = \"1\"\n"
        .parse()
        .unwrap();
    assert_eq!(dependencies(&table).into_iter().collect::<Vec<_>>(), ["a", "c"]);
    assert!(hosts("see https://user@A.Example:80/x and http://b.test").eq(["a.example", "b.test"]));
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in rust_files("") {
        assert!(read(&path).starts_with("//! "), "{path} does not open with a line of `//!`");
    }
}

/// Lines of a file before its tests. The wall is for what has to be understood at once.
#[test]
fn no_file_is_too_long() {
    const WALL: usize = 500;
    for path in rust_files("") {
        let is_test = path.starts_with("tests/") || path.contains("/tests");
        let lines = read(&path).lines().count();
        assert!(is_test || lines <= WALL, "{path} has {lines} lines; the wall is {WALL}");
    }
}

/// The hosts that may stand in a file: examples, loopback, Docker Hub's own names, and those in the
/// names that kinds of documents have.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "localhost",
    "github.com",
    "in-toto.io",
    "json-schema.org",
    "json.schemastore.org",
    "opencontainers.org",
    "www.apache.org",
    "docs.docker.com",
    "docs.rs",
    "slsa.dev",
    "spdx.dev",
    "registry-1.docker.io",
    "auth.docker.io",
    "index.docker.io",
    "nvcr.io",
];

/// The hosts of the addresses in a text, in lower case.
fn hosts(text: &str) -> impl Iterator<Item = String> {
    let is_host = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let addresses = text
        .split("http")
        .skip(1)
        .filter_map(|rest| rest.strip_prefix("s").unwrap_or(rest).strip_prefix("://"));
    let host = move |address: &str| {
        let whole = address.split(['/', '"', '`', '\'', ' ', '\n']).next().unwrap_or_default();
        let host = whole.rsplit('@').next().unwrap_or_default();
        host.split(|c| !is_host(c)).next().unwrap_or_default().to_ascii_lowercase()
    };
    addresses.map(host).collect::<Vec<_>>().into_iter()
}

#[test]
fn nothing_names_this_machine_or_its_registries() {
    // Written in two parts, so that this file does not name them either.
    let places = [["/wo", "rk/"], ["/fa", "rm/"], ["/home/", "user"], ["/root", "/."]];
    for path in files("") {
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for place in places.map(|parts| parts.concat()) {
            // A path in an image, or below another folder, is not one of this machine.
            let named = text.match_indices(&place).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-/$}".contains(c))
            });
            assert!(!named || path.starts_with("fixtures/"), "{path} names {place}");
        }
        for host in hosts(&text) {
            let example = ["example", "invalid", "test", "com"].iter().any(|top| {
                host.ends_with(&format!(".{top}")) && (*top != "com" || host.contains("example"))
            });
            let known = HOSTS.contains(&host.as_str()) || !host.contains('.');
            assert!(known || example || path.starts_with("fixtures/"), "{path} names {host}");
        }
    }
}

/// Every invariant of ARCHITECTURE.md says "kept by `test_name`"; the test is somewhere.
#[test]
fn invariants_are_kept_by_tests() {
    let text = read("ARCHITECTURE.md");
    let sources: Vec<_> = rust_files("").iter().map(|path| read(path)).collect();
    let mut count = 0;
    // A sentence may go on in the next lines; it ends with its paragraph or list item.
    for sentence in text.split("\n\n").flat_map(|part| part.split("\n- ")) {
        let Some((_, keepers)) = sentence.split_once("kept by") else {
            continue;
        };
        let names: Vec<_> = keepers.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "`{sentence}` names no test");
        for name in names {
            let function = format!("fn {}(", name.rsplit("::").next().unwrap_or(name));
            let exists = sources.iter().any(|source| source.contains(&function));
            assert!(exists, "ARCHITECTURE.md: there is no test `{name}`");
            count += 1;
        }
    }
    assert!(count > 0, "ARCHITECTURE.md names no test that keeps an invariant");
}
