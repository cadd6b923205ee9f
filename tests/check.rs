//! What is asked about a Dockerfile in place of a build.

use crate::home;
use rbuild_testkit::Home;
use serde_json::Value;

/// A Dockerfile in which three rules find something, one of them in a stage that nobody needs.
const WARNED: &str = "FROM busybox AS Unused\nWORKDIR app\nFROM busybox\nCMD run\n";

fn app(dockerfile: &str) -> Home {
    let home = home();
    home.write("app/Dockerfile", dockerfile);
    home
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

fn rules(report: &Value) -> Vec<&str> {
    let warnings = report["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| warning["ruleName"].as_str().unwrap()).collect()
}

#[test]
fn a_check_tells_of_all_stages_and_builds_none() {
    let home = app(WARNED);
    let ran = home.types("rbuild build --check app");
    assert_eq!(ran.code, 1, "{ran}");
    assert_eq!(
        ran.stdout,
        "Check complete, 3 warnings have been found!\n\n\
         WARNING: StageNameCasing - \
         https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n\
         the stage name `Unused` should be in lower case\n\
         Dockerfile:1\n--------------------\n   \
         1 | >>> FROM busybox AS Unused\n   \
         2 |     WORKDIR app\n   \
         3 |     FROM busybox\n--------------------\n\n\
         WARNING: WorkdirRelativePath - \
         https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/\n\
         `app` is below whatever directory the base image has set\n\
         Dockerfile:2\n--------------------\n   \
         1 |     FROM busybox AS Unused\n   \
         2 | >>> WORKDIR app\n   \
         3 |     FROM busybox\n   \
         4 |     CMD run\n--------------------\n\n\
         WARNING: JSONArgsRecommended - \
         https://docs.docker.com/go/dockerfile/rule/json-args-recommended/\n\
         CMD in shell form keeps signals from the program\n\
         Dockerfile:4\n--------------------\n   \
         2 |     WORKDIR app\n   \
         3 |     FROM busybox\n   \
         4 | >>> CMD run\n--------------------\n"
    );
    let blobs = home.registry.requests().into_iter().filter(|line| line.contains("/blobs/"));
    assert_eq!(blobs.count(), 1, "only the config of the image was fetched");
    assert_eq!(home.types("rbuild images -q").ok(), "");
}

#[test]
fn a_target_narrows_a_check() {
    let home = app("FROM busybox AS one\nWORKDIR app\nFROM busybox AS two\nCMD run\n");
    let report = |target: &str| {
        let line = format!("rbuild --call=check,format=json,ignorestatus=true {target} app");
        json(&home.types(&line).ok())
    };
    assert_eq!(rules(&report("")), ["WorkdirRelativePath", "JSONArgsRecommended"]);
    assert_eq!(rules(&report("--target two")), ["JSONArgsRecommended"]);
    let report = report("--target one");
    let warning = &report["warnings"][0];
    assert_eq!(warning["location"]["ranges"][0]["start"]["line"], 2);
    assert_eq!(report["sources"][0]["filename"], "Dockerfile");
    assert_eq!(report.get("buildError"), None);
}

#[test]
fn a_clean_file_is_said_to_be_clean() {
    let home = app("FROM busybox\nENV HOME=$PATH\nWORKDIR /app\nCMD [\"run\"]\n");
    assert_eq!(home.types("rbuild --check app").ok(), "Check complete, no warnings found.");
    let report = home.types("rbuild --call=lint,format=json app").ok();
    assert_eq!(json(&report)["warnings"], json("[]"));
}

#[test]
fn what_cannot_be_built_is_told_beside_the_warnings() {
    let home = app("FROM scratch AS Bad\nRNU x\nCOPY\n");
    let ran = home.types("rbuild --check app");
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stdout.contains("StageNameCasing") && ran.stdout.contains("1 warning"), "{ran}");
    assert!(ran.stderr.contains("RNU") && ran.stderr.contains("Dockerfile:3"), "{ran}");
    let sarif = home.types("rbuild --call=check,format=sarif,ignorestatus=true ./app").ok();
    let sarif = json(&sarif);
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let levels: Vec<_> = results.iter().map(|result| result["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["warning", "error", "error"]);
    let place = &results[1]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "app/Dockerfile");
    assert_eq!(place["region"]["startLine"], 2);

    home.write("app/Dockerfile", "FROM busybox\nCMD a\nEXPOSE http\n");
    let ran = home.types("rbuild --call=check,format=json app");
    assert_eq!(ran.code, 1, "{ran}");
    let report = json(&ran.stdout);
    assert_eq!(rules(&report), ["JSONArgsRecommended"]);
    assert_eq!(report["buildError"]["location"]["ranges"][0]["start"]["line"], 3);

    home.write("app/Dockerfile", "FROM no-such-image-anywhere\nWORKDIR app\nUSER $WHO\n");
    let ran = home.types("rbuild --check app");
    assert_ne!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("WorkdirRelativePath"), "{ran}");
    assert!(!ran.stdout.contains("UndefinedVar"), "an unknown image may define anything: {ran}");
    assert!(ran.stderr.contains("no-such-image-anywhere"), "{ran}");
}

#[test]
fn a_strict_check_fails_the_build() {
    let home = app("# check=error=true\nFROM busybox\nRUN echo ran >/ran\nCMD run\n");
    let ran = home.types("rbuild -t app app");
    assert_eq!(ran.code, 1, "{ran}");
    for text in [
        "1 warning found",
        "JSONArgsRecommended: CMD in shell form keeps signals from the program (line 4)",
        "lint violation found for rules: JSONArgsRecommended",
    ] {
        assert!(ran.stderr.contains(text), "no `{text}` in {ran}");
    }
    assert!(!ran.stderr.contains("RUN echo ran"), "nothing runs: {ran}");
    let ran = home.types("rbuild --check app");
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stderr.contains("lint violation found for rules: JSONArgsRecommended"), "{ran}");
    let skip = "--build-arg BUILDKIT_DOCKERFILE_CHECK=skip=JSONArgsRecommended";
    home.types(&format!("rbuild {skip} --check app")).ok();
    home.types(&format!("rbuild -t app {skip} app")).ok();
    let wrong = "--build-arg BUILDKIT_DOCKERFILE_CHECK=nonsense";
    assert!(home.types(&format!("rbuild {wrong} --check app")).fails(2).contains("nonsense"));
}

#[test]
fn a_build_lists_its_warnings_in_order() {
    let home = app(WARNED);
    home.write("app/.dockerignore", "notes\n");
    home.write(
        "app/Dockerfile",
        "FROM busybox\nENV TOKEN=1 A=$NOTHING\n# check=skip=WorkdirRelativePath\nWORKDIR app\n\
         ONBUILD COPY notes /\nMAINTAINER me\nCMD run\n",
    );
    let ran = home.types("rbuild -t app app");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(
        ran.stderr.ends_with(
            "\n 4 warnings found (use --debug to expand):\n \
             - UndefinedVar: nothing defines `$NOTHING` before this (line 2)\n \
             - SecretsUsedInArgOrEnv: ENV `TOKEN` looks like a secret (line 2)\n \
             - MaintainerDeprecated: use a label in place of MAINTAINER: \
             `LABEL org.opencontainers.image.authors=...` (line 6)\n \
             - JSONArgsRecommended: CMD in shell form keeps signals from the program (line 7)\n"
        ),
        "{ran}"
    );
    let ran = home.types("rbuild --debug -t app app");
    for text in [
        "More info: https://docs.docker.com/go/dockerfile/rule/undefined-var/",
        "2 | >>> ENV TOKEN=1 A=$NOTHING",
    ] {
        assert!(ran.stderr.contains(text), "no `{text}` in {ran}");
    }
    let error = home.builds("child", "FROM app\n").fails(1);
    assert!(error.contains("notes"), "the trigger of the image fails: {error}");
}

#[test]
fn a_build_that_fails_lists_its_warnings_too() {
    let home = app("FROM busybox\nCMD run\nRUN exit 7\n");
    let error = home.types("rbuild -t app app").fails(1);
    let warning = "JSONArgsRecommended: CMD in shell form keeps signals from the program (line 2)";
    for text in [&format!("#1 WARN: {warning}\n"), &format!(" - {warning}\n"), "exit code: 7"] {
        assert!(error.contains(text), "no `{text}` in {error}");
    }
    let lines = home.types("rbuild --progress rawjson -t app app").fails(1);
    assert!(lines.contains("\"warnings\":[") && !lines.contains("warning found"), "{lines}");
    assert!(!home.types("rbuild -q -t app app").fails(1).contains("JSONArgs"));
}

#[test]
fn an_outline_lists_what_a_target_takes() {
    let home = app("# TAG is the release\nARG TAG=latest\nFROM busybox:$TAG AS base\n\
         # app is the program\nFROM base AS app\nARG LEVEL=2\n\
         RUN --mount=type=secret,id=npm,required=true --mount=type=ssh true\n\
         RUN --mount=type=cache,target=/var/cache true\n");
    assert_eq!(
        home.types("rbuild --call=outline app").ok(),
        "TARGET:      app\n\
         DESCRIPTION: is the program\n\n\
         BUILD ARG   VALUE     DESCRIPTION\n\
         TAG         latest    is the release\n\
         LEVEL       2         \n\n\
         SECRET    REQUIRED\n\
         npm       true\n\n\
         SSH       REQUIRED\n\
         default   \n\n\
         CACHE\n\
         /var/cache"
    );
    let line = "rbuild --call=outline,format=json --build-arg LEVEL=3 --target base app";
    let outline = json(&home.types(line).ok());
    assert_eq!(outline["name"], "base");
    assert_eq!(outline["args"][0]["name"], "TAG");
    assert_eq!(outline["args"].as_array().map(Vec::len), Some(1));
    home.types("rbuild --call=outline --target nowhere app").fails(1);
}

#[test]
fn targets_are_listed_without_a_network() {
    let home =
        app("# build makes it\nFROM no-such-image AS build\nFROM busybox\nFROM build AS app\n");
    assert_eq!(
        home.types("rbuild --call=targets app").ok(),
        "TARGET          DESCRIPTION\nbuild           makes it\n1               \napp (default)"
    );
    let targets = json(&home.types("rbuild --call=targets,format=json app").ok());
    assert_eq!(targets["targets"][2]["default"], true);
    assert_eq!(targets["targets"][0]["base"], "no-such-image");
    assert_eq!(home.registry.requests(), [""; 0]);
    let listed = home.types("rbuild --call=subrequests.describe app").ok();
    assert!(listed.contains("NAME") && listed.contains("\ntargets "), "{listed}");
    home.types("rbuild --call=nonsense app").fails(2);
    home.types("rbuild --call=targets,format=sarif app").fails(2);
}
