//! The answers as JSON: field for field as `BuildKit` names them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{CheckReport, Outline, Targets, requests};
use crate::dockerfile::{self, Diagnostic, Dockerfile};
use crate::error::{Error, Source};
use crate::image::ImageConfig;
use crate::lower::{self, Request, ResolvedImage, Wanted};
use crate::platform;

fn parsed(text: &str) -> (Source, Dockerfile, Vec<Diagnostic>) {
    let (tree, errors) = dockerfile::parse_all(text.as_bytes());
    (Source { name: "Dockerfile".to_owned(), text: Arc::from(text) }, tree, errors)
}

fn request(target: Option<&str>) -> Request {
    let platform = platform::parse("linux/amd64").unwrap();
    Request { platform, target: target.map(str::to_owned), ..Request::new() }
}

/// The images that a file wants, all of them empty.
fn images(tree: &Dockerfile, request: &Request) -> BTreeMap<Wanted, ResolvedImage> {
    let wanted = lower::wanted_images(tree, request, &BTreeMap::new()).unwrap();
    let image = |wanted: Wanted| {
        let config = ImageConfig::scratch(&request.platform);
        (wanted.clone(), ResolvedImage { reference: wanted.reference, config })
    };
    wanted.into_iter().map(|wanted| image(wanted.value)).collect()
}

fn report(text: &str) -> CheckReport {
    let (source, tree, errors) = parsed(text);
    if !errors.is_empty() {
        let error = Error::Dockerfile { file: source.clone(), errors };
        return CheckReport::new(&source, &tree.warnings_under(None), Some(error));
    }
    let request = request(None);
    let warnings = lower::lint(&tree, &request, &images(&tree, &request));
    CheckReport::new(&source, &warnings, None)
}

fn outline(text: &str, target: Option<&str>, argument: (&str, &str)) -> Value {
    let (source, tree, _) = parsed(text);
    let mut request = request(target);
    request.arguments.insert(argument.0.to_owned(), argument.1.to_owned());
    let images = images(&tree, &request);
    let lowered = lower::lower(&tree, &request, &images).unwrap();
    let arguments = lower::outline(&tree, &request, &images).unwrap();
    serde_json::to_value(Outline::new(&source, &tree, &lowered, arguments)).unwrap()
}

fn at(line: usize) -> Value {
    json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] })
}

#[test]
fn a_warning_has_rule_page_and_place() {
    let report = serde_json::to_value(report("FROM scratch\nMAINTAINER \\\n  me\n")).unwrap();
    assert_eq!(
        report,
        json!({
            "warnings": [{
                "ruleName": "MaintainerDeprecated",
                "description": "A label should name the author: MAINTAINER is deprecated",
                "url": "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/",
                "detail": "use a label in place of MAINTAINER: \
                           `LABEL org.opencontainers.image.authors=...`",
                "location": { "ranges": [
                    { "start": { "line": 2 }, "end": { "line": 2 } },
                    { "start": { "line": 3 }, "end": { "line": 3 } },
                ] },
            }],
            "sources": [{
                "filename": "Dockerfile",
                "language": "Dockerfile",
                "data": "RlJPTSBzY3JhdGNoCk1BSU5UQUlORVIgXAogIG1lCg==",
            }],
        })
    );
}

#[test]
fn a_file_that_is_wrong_has_warnings_and_an_error() {
    let found = report("FROM scratch AS Bad\nBADCMD\nFROM\n");
    assert!(!found.is_clean());
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["warnings"][0]["ruleName"], "StageNameCasing");
    assert_eq!(json["buildError"]["location"], at(2));
    assert_eq!(json["buildError"]["message"], "unknown instruction `BADCMD`");
    let sarif = found.to_sarif("app/Dockerfile");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let lines: Vec<_> = results
        .iter()
        .map(|result| &result["locations"][0]["physicalLocation"]["region"]["startLine"])
        .collect();
    assert_eq!(lines, [1, 2, 3]);
    assert_eq!(results[1]["level"], "error");
    assert!(report("FROM scratch\n").is_clean());
}

#[test]
fn a_review_finds_rule_and_place() {
    let sarif = report("FROM scratch\nCMD a\n").to_sarif("app/Dockerfile");
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    assert_eq!(
        run["results"],
        json!([{
            "ruleId": "JSONArgsRecommended",
            "ruleIndex": 10,
            "level": "warning",
            "message": { "text": "CMD in shell form keeps signals from the program" },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": "app/Dockerfile" },
                "region": { "startLine": 2, "endLine": 2 },
            } }],
        }])
    );
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 23);
    assert_eq!(rules[10]["id"], "JSONArgsRecommended");
    assert_eq!(
        rules[10]["helpUri"],
        "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
    );
}

#[test]
fn targets_are_all_stages() {
    let text = "# build makes the binary\nFROM alpine AS build\nFROM --platform=$BUILDPLATFORM alpine\n\
                # other words\nFROM build as Binary\n";
    let (source, tree, _) = parsed(text);
    let targets = serde_json::to_value(Targets::new(&source, &tree)).unwrap();
    assert_eq!(
        targets["targets"],
        json!([
            { "name": "build", "description": "makes the binary", "base": "alpine", "location": at(2) },
            { "base": "alpine", "platform": "$BUILDPLATFORM", "location": at(3) },
            { "name": "binary", "default": true, "base": "build", "location": at(5) },
        ])
    );
    assert_eq!(targets["sources"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_outline_has_the_arguments_of_the_target_and_of_what_it_uses() {
    let text = "ARG inherited=box\nARG inherited2=box2\nARG unused=abc${inherited2}\n\
                # sfx is a suffix\nARG sfx=\"usy${inherited}\"\n\nFROM b${sfx} AS first\n\
                # this is of nothing\nARG FOO=123\n# BAR is a number\nARG BAR=456\nRUN true\n\n\
                FROM alpine${unused} AS second\nARG BAZ\nRUN true\n\nFROM scratch AS third\n\
                ARG ABC=a\n\n# target is what is built\nFROM third AS target\n\
                COPY --from=first /etc/passwd /\n\nFROM second\n";
    let outline = outline(text, Some("target"), ("BAR", "678"));
    assert_eq!(outline["name"], "target");
    assert_eq!(outline["description"], "is what is built");
    assert_eq!(
        outline["args"],
        json!([
            { "name": "inherited", "value": "box", "location": at(1) },
            { "name": "sfx", "value": "usybox", "description": "is a suffix", "location": at(5) },
            { "name": "FOO", "value": "123", "location": at(9) },
            { "name": "BAR", "value": "678", "description": "is a number", "location": at(11) },
            { "name": "ABC", "value": "a", "location": at(19) },
        ])
    );
    assert_eq!(outline.get("secrets"), None);
}

#[test]
fn an_argument_without_a_default_takes_the_global_one() {
    let text = "ARG V=1\nARG V=${V}.2\nFROM a\nARG V\nARG W\nARG HTTP_PROXY\n";
    let outline = outline(text, None, ("W", "w"));
    assert_eq!(
        outline["args"],
        json!([
            { "name": "V", "value": "1.2", "location": at(2) },
            { "name": "W", "value": "w", "location": at(5) },
            { "name": "HTTP_PROXY", "location": at(6) },
        ])
    );
}

#[test]
fn an_outline_has_what_the_steps_mount() {
    let text = "FROM busybox AS first\n\
                RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true\n\
                FROM alpine AS second\nRUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true\n\
                FROM scratch AS third\nARG BAR\nRUN --mount=type=secret,id=second${BAR} true\n\
                FROM third AS target\nCOPY --from=first /foo /\n\
                RUN --mount=type=ssh,id=ssh3,required --mount=type=cache,target=/c \\\n  true\n\
                FROM second\n";
    let outline = outline(text, Some("target"), ("BAR", "678"));
    assert_eq!(
        outline["secrets"],
        json!([
            { "name": "passwd", "required": true, "location": at(2) },
            { "name": "second678", "location": at(7) },
        ])
    );
    let two = json!({ "ranges": [
        { "start": { "line": 10 }, "end": { "line": 10 } },
        { "start": { "line": 11 }, "end": { "line": 11 } },
    ] });
    assert_eq!(
        outline["ssh"],
        json!([
            { "name": "default", "location": at(2) },
            { "name": "ssh3", "required": true, "location": two },
        ])
    );
    assert_eq!(outline["cache"], json!([{ "ID": "/c", "location": two }]));
}

#[test]
fn what_a_trigger_of_an_image_does_is_at_from() {
    let (source, tree, _) = parsed("ARG A\nFROM base\nRUN --mount=type=secret,id=own true\n");
    let request = request(None);
    let mut images = images(&tree, &request);
    let triggers = |images: &mut BTreeMap<_, ResolvedImage>, text: &str| {
        let image = images.values_mut().next().unwrap();
        image.config.config.on_build = vec![text.to_owned()];
    };
    triggers(&mut images, "RUN --mount=type=secret,id=npm true");
    let lowered = lower::lower(&tree, &request, &images).unwrap();
    let outline = Outline::new(&source, &tree, &lowered, (0, Vec::new()));
    assert_eq!(
        serde_json::to_value(&outline.secrets).unwrap(),
        json!([{ "name": "npm", "location": at(2) }, { "name": "own", "location": at(3) }])
    );
    triggers(&mut images, "STOPSIGNAL nonsense");
    let error = lower::lower(&tree, &request, &images).unwrap_err();
    assert_eq!(error.span.lines, (2, 2), "{error}");
}

#[test]
fn what_can_be_asked_is_listed() {
    let listed = serde_json::to_value(requests()).unwrap();
    let names: Vec<_> = requests().iter().map(|request| request.name).collect();
    assert!(names.contains(&"frontend.lint") && names.contains(&"frontend.subrequests.describe"));
    assert_eq!(listed[0]["type"], "rpc");
    assert_eq!(listed[0]["version"], "1.0.0");
    assert_eq!(listed[0]["opts"][0]["name"], "target");
    assert_eq!(listed[0]["metadata"], json!([{ "name": "result.json" }, { "name": "result.txt" }]));
}
