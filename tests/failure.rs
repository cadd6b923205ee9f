//! A build that fails, and what is said of it.

use crate::home;

#[test]
fn a_failed_step_shows_its_output_and_its_place() {
    let home = home();
    let file = "FROM busybox\nRUN echo fine\nRUN echo about to fail; exit 42\nRUN echo never\n";
    let error = home.builds("app", file).fails(1);
    for text in [
        "about to fail",
        "process \"/bin/sh -c echo about to fail; exit 42\" did not complete successfully: \
         exit code: 42",
        "Dockerfile:3",
        "RUN echo about to fail; exit 42",
    ] {
        assert!(error.contains(text), "no `{text}` in\n{error}");
    }
    assert!(!error.contains("echo never\" did"), "{error}");
    assert_eq!(home.types("rbuild images -q").ok(), "", "a failed build names no image");
}

#[test]
fn what_is_missing_is_named() {
    let home = home();
    home.write("app/.dockerignore", "hidden\n");
    home.write("app/hidden", "x");
    let error = home.builds("app", "FROM busybox\nCOPY nothing-here /x\n").fails(1);
    assert!(error.contains("nothing-here") && error.contains("Dockerfile:2"), "{error}");
    let error = home.builds("app", "FROM busybox\nCOPY hidden /x\n").fails(1);
    assert!(error.contains(".dockerignore"), "the hint says why: {error}");
    let error = home.builds("app", "FROM no-such-image-anywhere\n");
    assert!(error.code != 0 && error.stderr.contains("no-such-image-anywhere"), "{error}");
}

#[test]
fn an_image_that_cannot_be_had_is_shown_where_it_is_named() {
    let home = home();
    let file = "FROM busybox AS builder\nRUN touch /x\nFROM busybox\nCOPY --from=buidler /x /\n";
    let error = home.builds("app", file).fails(3);
    assert!(error.contains(">>> COPY --from=buidler /x /"), "{error}");
    assert!(error.contains("hint: did you mean `builder`?"), "{error}");
    assert!(!error.contains("caused by"), "the causes stand in one line: {error}");
    let error = home.builds("app", "ARG A=Busy\nFROM ${A}Box\n").fails(1);
    assert!(error.contains("`BusyBox` is not the name of an image: "), "{error}");
    assert!(error.contains(" --> Dockerfile:2:1\n"), "{error}");
}

#[test]
fn a_pattern_that_is_none_is_told_before_anything_runs() {
    let home = home();
    for (line, words) in [
        ("COPY a[ /x/", "`a[`\n --> Dockerfile:3:6"),
        ("COPY --exclude=[ . /x/", "`--exclude=[`: invalid pattern\n --> Dockerfile:3:6"),
    ] {
        let error = home.builds("app", &format!("FROM busybox\nRUN echo ran\n{line}\n")).fails(1);
        assert!(error.contains(words) && !error.contains("ran\n"), "{error}");
    }
}

#[test]
fn all_errors_of_a_dockerfile_are_told_at_once() {
    let home = home();
    let error = home.builds("app", "FROM busybox\nRUNN x\nCOPY\n").fails(1);
    assert!(error.contains("Dockerfile:2") && error.contains("RUNN"), "{error}");
    assert!(error.contains("Dockerfile:3") || error.contains("COPY"), "{error}");
    assert_eq!(home.registry.requests(), [""; 0], "nothing is fetched for a wrong Dockerfile");
}

#[test]
fn wrong_usage_has_its_own_code() {
    let home = home();
    for line in ["rbuild --no-such-flag .", "rbuild -t x nowhere", "rbuild -t UPPER:: ."] {
        home.write("Dockerfile", "FROM scratch\n");
        let ran = home.types(line);
        assert_eq!(ran.code, 2, "{ran}");
    }
    home.types("rbuild -t x --secret id=a,src=missing .").fails(3);
    let error = home.types("mkdir -p none && rbuild -t x none").fails(1);
    assert!(error.contains("there is no Dockerfile"), "{error}");
}

#[test]
fn a_failed_build_keeps_what_went_well() {
    let home = home();
    let good = "FROM busybox\nRUN --mount=type=cache,target=/c echo x >>/c/runs\n";
    home.builds("app", &format!("{good}RUN exit 1\n")).fails(1);
    home.builds("app", &format!("{good}RUN --mount=type=cache,target=/c wc -l </c/runs >/n\n"))
        .ok();
    assert_eq!(home.types("rbuild run --rm app cat /n").ok(), "1");
}
