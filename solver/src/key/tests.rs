//! Everything in an op changes its keys, but for what its documentation says does not.

use serde_json::{Value, json};

use super::*;
use crate::graph::{Graph, Vertex};
use crate::op::Source;

/// The fields that are documented as no part of the key.
const UNKEYED: [&str; 4] = ["/unkeyed_env", "/extra_hosts", "/shm_size", "/ulimits"];

/// Ops in which every field has a value that can be changed.
fn samples() -> Vec<Value> {
    let owner = json!({ "mode": 1, "uid": 2, "gid": 3 });
    let with_owner = |mut value: Value| {
        value.as_object_mut().unwrap().extend(owner.as_object().unwrap().clone());
        value
    };
    let cache = with_owner(json!({
        "id": "go", "sharing": "Shared", "read_only": false, "seed": 1, "source": "s",
    }));
    let secret = with_owner(json!({ "id": "key", "env": "KEY", "file": true, "required": true }));
    let mounts = [
        json!({ "Bind": { "input": 1, "source": "src", "writable": false } }),
        json!({ "Cache": cache }),
        json!({ "Inline": { "contents": "text", "mode": 7 } }),
        json!({ "Tmpfs": { "size": 1 } }),
        json!({ "Secret": secret }),
        json!({ "Ssh": with_owner(json!({ "id": "default", "required": true })) }),
    ];
    let mounts = mounts.map(|kind| json!({ "target": "/mnt", "kind": kind }));
    let exec = json!({
        "args": ["sh", "-c", "make"],
        "env": [["PATH", "/bin"], ["LANG", "C"]],
        "unkeyed_env": [["http_proxy", "x"]],
        "cwd": "/src",
        "user": "me",
        "mounts": mounts,
        "devices": [{ "name": "vendor/class", "required": false }],
        "network": "Default",
        "insecure": false,
        "hostname": "host",
        "extra_hosts": [["name", "address"]],
        "shm_size": 1,
        "ulimits": [["nofile", 1, 2]],
        "platform": "linux/amd64",
    });
    let items = [
        json!({ "Path": { "input": 1, "pattern": "*.rs", "unpack": false } }),
        json!({ "Inline": { "name": "file", "contents": "x".repeat(5000) } }),
    ];
    let copy = json!({
        "items": items,
        "destination": "/",
        "chown": "1:1",
        "chmod": "0644",
        "parents": false,
        "exclude": ["*.md"],
        "link": false,
        "time": 1,
    });
    let files = json!([{ "MakeDirectory": { "path": "/a", "owner": "me", "time": 1 } }]);
    vec![json!({ "Exec": exec }), json!({ "Copy": copy }), json!({ "Files": files })]
}

/// The paths of all values below a value, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                pointers(field, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// Other values that could stand in the place of one.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(truth) => vec![json!(!truth), Value::Null],
        Value::Number(number) => vec![json!(number.as_u64().unwrap() + 1), Value::Null],
        Value::String(text) => {
            let mut others = vec![json!(format!("{text}x")), json!(format!("x{text}"))];
            others.extend([json!("None"), json!("Locked"), Value::Null]);
            others
        }
        Value::Array(items) if items.len() > 1 => {
            let mut turned = items.clone();
            turned.rotate_left(1);
            vec![json!(items[1..]), json!(turned)]
        }
        Value::Array(items) if !items.is_empty() => vec![json!([])],
        _ => Vec::new(),
    }
}

fn keys(op: &Op) -> (Key, Key) {
    (by_definition(op, [].into_iter()), by_content(&parts(op)))
}

#[test]
fn every_field_of_every_op_is_in_both_keys_unless_documented_otherwise() {
    for sample in samples() {
        let before = keys(&serde_json::from_value(sample.clone()).unwrap());
        let mut found = Vec::new();
        pointers(&sample, "", &mut found);
        for pointer in found {
            let old = sample.pointer(&pointer).unwrap();
            let mut tried = 0;
            for other in others(old) {
                let mut changed = sample.clone();
                *changed.pointer_mut(&pointer).unwrap() = other.clone();
                let Ok(op) = serde_json::from_value::<Op>(changed) else {
                    continue;
                };
                tried += 1;
                let after = keys(&op);
                let keyed = !UNKEYED.iter().any(|field| pointer.contains(field));
                assert_eq!(before.0 != after.0, keyed, "{pointer} {old} -> {other}");
                assert_eq!(before.1 != after.1, keyed, "{pointer} {old} -> {other}");
            }
            assert!(tried > 0 || old.is_object() || old.is_array(), "{pointer} was not changed");
        }
    }
}

#[test]
fn every_op_has_a_key_of_its_own() {
    let ops = samples().into_iter().map(|sample| serde_json::from_value::<Op>(sample).unwrap());
    let mut all: Vec<Key> = ops.chain([Op::Stack]).map(|op| keys(&op).0).collect();
    all.push(keys(&Op::Stack).1);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 5);
}

#[test]
fn everything_of_an_edge_is_in_the_definition() {
    let paths = |pattern: &str, exclude: &[&str], parents| Select::Paths {
        patterns: vec![pattern.to_owned()],
        exclude: exclude.iter().map(|text| (*text).to_owned()).collect(),
        parents,
    };
    let selects = [
        Select::All,
        Select::Nothing,
        paths("a", &[], false),
        paths("b", &[], false),
        paths("a", &["x"], false),
        paths("a", &[], true),
    ];
    let mut graph = Graph::new();
    let vertex = graph.add(Vertex::source(Source::Scratch, "")).unwrap();
    let mut found = Vec::new();
    for index in [0, 1] {
        for definition in [1, 2].map(|byte| Key::from_bytes([byte; 32])) {
            for output in [0, 1] {
                for select in selects.clone() {
                    let edge = Edge { vertex, output, select };
                    found.push(by_definition(&Op::Stack, [(index, &edge, definition)].into_iter()));
                }
            }
        }
    }
    let count = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), count);
}

#[test]
fn a_long_value_is_not_taken_for_its_digest() {
    let long = part("x", &"y".repeat(LONGEST_VALUE + 1));
    assert!(long.value.len() < 100);
    assert_ne!(part("x", &long.value), long);
}

#[test]
fn keys_stay_the_same_from_version_to_version() {
    let sample = samples().remove(1);
    let (definition, content) = keys(&serde_json::from_value(sample).unwrap());
    assert_eq!(&definition.hex()[..16], "4843f3d5c887a80b");
    assert_eq!(&content.hex()[..16], "576526e60623c2c6");
}

#[test]
fn a_stack_names_what_it_holds() {
    let snapshot = |byte| Snapshot {
        content: ContentId::from_bytes([byte; 32]),
        layers: [rbuild_cache::Layer::Folder { name: byte.to_string() }].into(),
    };
    let (one, two) = (snapshot(1), snapshot(2));
    let both = stack(&[one.clone(), two.clone()]);
    assert_eq!(both.layers.len(), 2);
    assert_ne!(both.content, stack(&[two.clone(), one.clone()]).content);
    assert_eq!(stack(&[scratch(), one.clone(), scratch()]), one);
    assert_eq!(stack(&[]), scratch());
}
