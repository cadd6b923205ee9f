//! Templates as people type them.

use serde_json::json;

use super::*;

fn one(template: &str) -> String {
    let value = json!({
        "Id": "sha256:abcdef",
        "Name": "/web",
        "State": { "Status": "running", "Pid": 42, "Error": "" },
        "Config": { "Env": ["A=1", "B=2"], "Labels": { "x": "y" }, "Cmd": null },
        "RepoDigests": ["a@sha256:1"],
        "Size": 7_800_000,
    });
    let shown = Format::parse(template).and_then(|format| format.one(&value));
    shown.map_or_else(|error| format!("error: {error}"), |text| text.trim_end().to_owned())
}

#[test]
fn templates_that_people_type() {
    let table = [
        ("{{.Id}}", "sha256:abcdef"),
        ("{{ .State.Status }} {{.State.Pid}}", "running 42"),
        ("{{json .State}}", r#"{"Status":"running","Pid":42,"Error":""}"#),
        ("{{.State.Status | json}}", "\"running\""),
        ("{{index .RepoDigests 0}}", "a@sha256:1"),
        ("{{index .Config.Labels \"x\"}}", "y"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2"),
        ("{{range $i, $e := .Config.Env}}{{$i}}:{{$e}} {{end}}", "0:A=1 1:B=2"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} of {{$.Name}}{{end}}", "x=y of /web"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Error}}bad{{else}}good{{end}}", "good"),
        ("{{if eq .State.Status \"running\"}}up{{end}}", "up"),
        ("{{if and .Id (not .State.Error)}}a {{- \" b\" -}} c{{end}}", "a bc"),
        ("{{with .State}}{{.Pid}}{{end}}", "42"),
        ("{{join .Config.Env \",\"}}", "A=1,B=2"),
        ("{{len .Config.Env}}", "2"),
        ("{{upper .State.Status}} {{title .State.Status}}", "RUNNING Running"),
        ("{{slice .Id 7 10}}", "abc"),
        ("{{printf \"%s is %v\" .Name .State.Pid}}", "/web is 42"),
        ("{{.Config.Env}} {{.Config.Labels}} {{.Config.Cmd}}", "[A=1 B=2] map[x:y] <no value>"),
        ("{{.Config.Cmd.Deeper}}", "<no value>"),
        ("{{$x := .Name}}{{$x}}", "/web"),
        ("{{/* nothing */}}a", "a"),
        ("{{\"}}\"}}", "}}"),
        ("a\\tb", "a\tb"),
        ("plain", "plain"),
    ];
    for (template, expected) in table {
        assert_eq!(one(template), expected, "{template}");
    }
}

#[test]
fn wrong_templates_say_why() {
    insta::assert_snapshot!(one("{{.Idd}}"), @"error: there is no field `.Idd` here, only `.Id`, `.Name`, `.State`, `.Config`, `.RepoDigests`, `.Size`");
    assert_eq!(one("{{.Id"), "error: `{{` is not closed in the template");
    assert_eq!(one("{{if .Id}}"), "error: `{{end}}` is missing in the template");
    assert_eq!(one("{{frob .Id}}"), "error: the template has no function `frob`");
    assert_eq!(one("{{end}}"), "error: `end` can't stand here in the template");
    assert_eq!(one("{{}}"), "error: `}}` can't stand here in the template");
    assert_eq!(one("{{index .RepoDigests 9}}"), "error: `index` can't be used on this value");
    assert_eq!(one(&"{{if .Id}}".repeat(99)), "error: the template is too deep");
    assert_eq!(
        one(&format!("{{{{{}", "(".repeat(9_999))),
        "error: `{{` is not closed in the template"
    );
    let deep = format!("{{{{{}.Id{}}}}}", "(".repeat(99), ")".repeat(99));
    assert_eq!(one(&deep), "error: the template is too deep");
}

#[test]
fn lists_are_lines_or_tables_or_json() {
    let titles = json!({ "Names": "NAMES", "Status": "STATUS" });
    let rows =
        [json!({ "Names": "a", "Status": "Up" }), json!({ "Names": "b", "Status": "Created" })];
    let shown = |template: &str| Format::parse(template).unwrap().rows(&titles, &rows).unwrap();
    assert_eq!(shown("{{.Names}}"), "a\nb\n");
    assert_eq!(
        shown("json"),
        "{\"Names\":\"a\",\"Status\":\"Up\"}\n{\"Names\":\"b\",\"Status\":\"Created\"}\n"
    );
    assert_eq!(
        shown("table {{.Names}}\\t{{.Status}}"),
        "NAMES     STATUS\na         Up\nb         Created\n"
    );
}
