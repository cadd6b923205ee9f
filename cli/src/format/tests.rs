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
        "Ports": { "80/tcp": [{ "HostIp": "", "HostPort": "8080" }] },
        "Mounts": [{ "Source": "/data" }],
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
        ("{{.Config.Env}} {{.Config.Labels}} {{.Config.Cmd}}", "[A=1 B=2] map[x:y] []"),
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
fn a_field_may_stand_behind_parentheses() {
    let table = [
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{(index .Mounts 0).Source}}", "/data"),
        ("{{(.State).Status}} {{(.State) | json | len}}", "running 40"),
        ("{{range $p, $c := .Ports}}{{$p}} -> {{(index $c 0).HostPort}} {{end}}", "80/tcp -> 8080"),
        ("{{print (.State.Status) .Name}}", "running/web"),
        (
            "{{print (.State.Status).Nope}}",
            "error: there is no field `.Nope` here, only a plain value",
        ),
    ];
    for (template, expected) in table {
        assert_eq!(one(template), expected, "{template}");
    }
}

#[test]
fn printf_is_as_in_go() {
    let table = [
        ("%.5s|", ".Id", "sha25|"),
        ("%-10s|%10s|", ".Name .Name", "/web      |      /web|"),
        ("%5d|%-5d|%05d|%+d|", "42 42 42 42", "   42|42   |00042|+42|"),
        ("%x %X %x %#x", ".Name 255 255 255", "2f776562 FF ff 0xff"),
        ("%t %q %v %%", "true .Name .State.Pid", "true \"/web\" 42 %"),
        (
            "%v %s %q",
            ".Config.Env .Config.Env .Config.Env",
            "[A=1 B=2] [A=1 B=2] [\"A=1\" \"B=2\"]",
        ),
        ("%z %s", ".Name .Id", "%!z(string=/web) sha256:abcdef"),
        ("%d %s", ".Name 42", "%!d(string=/web) %!s(int=42)"),
        ("%s %s", ".Name", "/web %!s(MISSING)"),
        ("%s", ".Name 42", "/web%!(EXTRA int=42)"),
        ("%s|%v|%", ".Config.Cmd .Config.Cmd", "%!s(<nil>)|<nil>|%!(NOVERB)"),
        ("%T %c %6.2f", ".Name 65 1", "string A %!f(int=1)"),
    ];
    for (shape, arguments, expected) in table {
        let template = format!("{{{{printf \"{shape}\" {arguments}}}}}");
        assert_eq!(one(&template), expected, "{template}");
    }
}

#[test]
fn values_are_compared_and_padded() {
    let table = [
        ("{{gt .Size 5}} {{ge 5 5}} {{lt 5 5}} {{le .Name \"/x\"}}", "true true false true"),
        ("{{gt .Size \"a\"}}", "error: `gt` can't be used on this value"),
        ("{{pad .Name 1 2}}|{{pad \"\" 1 2}}|", " /web  ||"),
        (
            "{{len .Name}} {{slice .Name 1}} {{or .State.Error .Name}} {{not .Name}}",
            "4 web /web false",
        ),
    ];
    for (template, expected) in table {
        assert_eq!(one(template), expected, "{template}");
    }
}

#[test]
fn one_label_can_be_asked_for() {
    let titles = json!({ "Names": "NAMES", "Label": "LABEL" });
    let rows = [json!({ "Names": "a", "Label": { "com.my-app": "x,y" } })];
    let shown = |template: &str| Format::parse(template).unwrap().rows(&titles, &rows).unwrap();
    assert_eq!(shown("{{.Label \"com.my-app\"}}|{{.Label \"other\"}}|"), "x,y||\n");
    assert_eq!(shown("table {{.Label \"com.my-app\"}}"), "my app\nx,y\n");
    assert_eq!(shown("json"), "{\"Names\":\"a\"}\n");
}

#[test]
fn wrong_templates_say_why() {
    insta::assert_snapshot!(one("{{.Idd}}"), @"error: there is no field `.Idd` here, only `.Id`, `.Name`, `.State`, `.Config`, `.RepoDigests`, `.Size`, `.Ports`, `.Mounts`");
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
