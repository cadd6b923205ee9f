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

#[test]
fn why_tells_a_secret_that_changed_since() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=npm test -e /run/secrets/npm; echo >/a\n\
         RUN echo >/b\n",
    );
    let changed = |token: Option<&str>| {
        let secret = token.map(|token| {
            home.write("token", token);
            "--secret id=npm,src=token"
        });
        home.types(&format!("rbuild -q {} app", secret.unwrap_or_default())).ok();
        let report = home.types("rbuild why --format json").ok();
        assert!(!report.contains("hunter"), "{report}");
        let report: Value = serde_json::from_str(&report).unwrap();
        let steps = report["steps"].as_array().unwrap();
        assert_eq!(steps[2]["changed_secrets"], Value::Array(Vec::new()));
        (steps[1]["outcome"] == "ran", steps[1]["changed_secrets"][0] == "npm")
    };
    let (ran, is_other) = ((true, false), (false, true));
    assert_eq!(changed(Some("hunter2")), ran);
    assert_eq!(changed(Some("hunter2")), (false, false));
    // It is compared with what the step saw that was made, and not with the last build.
    assert_eq!(changed(Some("hunter3")), is_other);
    assert_eq!(changed(Some("hunter3")), is_other);
    let told = home.types("rbuild why").ok();
    assert!(told.contains("secret `npm` changed since this step was made"), "{told}");
    assert_eq!(changed(None), is_other);
    assert_eq!(changed(Some("hunter2")), (false, false));
    // Neither the value nor its plain hash is anywhere in the store.
    let found = home.types("grep -r -l hunter $RBUILD_ROOT; true").ok();
    assert_eq!(found, "");
}
