//! What is said of why a step ran.

use serde_json::Value;

use crate::home;

/// What `rbuild why --format json` says of each step: its outcome, and why.
fn told(text: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = report["steps"].as_array().unwrap().iter();
    steps.map(|step| (text(&step["outcome"]), text(&step["why"]))).collect()
}

#[test]
fn why_names_what_changed_since_the_last_build() {
    let home = home();
    home.types("rbuild why").fails(2);
    home.write(
        "app/Dockerfile",
        "FROM scratch\nARG V=1\nCOPY src /src\nWORKDIR /w$V\nCOPY last /last\n",
    );
    for name in ["src/a", "src/b", "last"] {
        home.write(&format!("app/{name}"), name);
    }
    let why = || told(&home.types("rbuild why --format json").ok());
    home.types("rbuild -q app").ok();
    let new = ("ran".to_owned(), "never built here".to_owned());
    assert_eq!(why(), [new.clone(), new.clone(), new]);

    home.types("rbuild -q app").ok();
    assert!(why().iter().all(|(outcome, _)| outcome == "cached_by_definition"));

    home.write("app/src/a", "other");
    home.write("app/src/c", "new");
    home.types("rm app/src/b").ok();
    let built = home.types("rbuild --progress plain app");
    let line = "miss: COPY src /src (src/a changed, src/b removed, src/c added)";
    assert!(built.stderr.contains(line), "{built}");
    built.ok();
    let told = why();
    assert_eq!(told[0].1, "src/a changed, src/b removed, src/c added");
    assert!(told[1].1.ends_with("COPY src /src` ran"), "{told:?}");
    let one = home.types("rbuild why COPY\\ src").ok();
    assert!(one.ends_with("  src/a changed\n  src/b removed\n  src/c added"), "{one}");
}

#[test]
fn why_tells_builds_of_other_files_apart() {
    let home = home();
    home.write("one/Dockerfile", "FROM scratch\nCOPY <<E /one\nx\nE\n");
    home.write("two/Dockerfile", "FROM scratch\nWORKDIR /two\nRUN none\n");
    home.types("rbuild -q one").ok();
    home.types("rbuild -q two").fails(1);
    let failed = home.types("rbuild why -f two/Dockerfile").ok();
    assert!(failed.contains("failed") && failed.contains("RUN none"), "{failed}");
    let one = home.types("rbuild why -f one/Dockerfile").ok();
    assert!(one.contains("COPY <<E /one") && !one.contains("/two"), "{one}");
    home.types("rbuild why 7").fails(2);
}
