//! The two keys of a vertex: by its definition, and by the contents of its inputs.
//!
//! What goes into which:
//!
//! | what                                            | definition        | content              |
//! |-------------------------------------------------|-------------------|----------------------|
//! | a source                                        | content id of pin | (no key)             |
//! | an op: everything that its parts name           | ✔                 | ✔                    |
//! | `Exec`: proxies, extra hosts, shm size, ulimits |                   |                      |
//! | `Exec`: contents of cache mounts, secrets       |                   |                      |
//! | an edge: definition of its vertex, output       | ✔                 |                      |
//! | an edge: its select                             | ✔                 |                      |
//! | an edge with `Select::All`                      |                   | content id           |
//! | an edge with `Select::Paths`                    |                   | digest of the part ¹ |
//! | an edge with `Select::Nothing`                  |                   |                      |
//! | input 0 of a `Copy` with `link`                 |                   |                      |
//! | `fresh`, names, descriptions, places            |                   |                      |
//!
//! ¹ The digest of a part is made once and found again by [`select`] and the content id of the
//! whole.
//!
//! The key by content is a hash of [`Part`]s, names and values in order, so that what explains a
//! miss is what made it. That by definition is made for every vertex of every build, so it hashes
//! the op as it is. Each op is taken apart field by field: a new field does not compile until it
//! is given its row.

use std::sync::Arc;

use rbuild_cache::hash::Hasher;
use rbuild_cache::{ContentId, Key, Part, Snapshot};
use serde::Serialize;

use crate::graph::Edge;
use crate::op::{Copy, Exec, FileAction, Mount, Op, Select};

/// The part that names the contents of input 0.
pub(crate) const BASE: &str = "base";
/// How the parts that name the contents of later inputs begin; their index follows.
pub(crate) const INPUT: &str = "input ";
/// The part that holds the kind of an op.
pub(crate) const KIND: &str = "kind";

/// The bytes of a value that are kept as they are; a longer one is kept as its digest.
const LONGEST_VALUE: usize = 1024;
const DIGEST: &str = "blake3:";

/// The content id of a result: what it was made on, and the layer that was put on it.
///
/// A worker names its outputs with this, `layer` being the content id of the new layer alone.
pub fn content_of(base: ContentId, layer: ContentId) -> ContentId {
    let mut hasher = Hasher::new("rbuild result");
    hasher.id(base.as_bytes()).id(layer.as_bytes());
    hasher.content()
}

/// The empty tree.
pub fn scratch() -> Snapshot {
    Snapshot { content: ContentId::from_bytes([0; 32]), layers: Arc::from([]) }
}

/// The layers of all snapshots on each other, the first at the bottom.
pub(crate) fn stack(snapshots: &[Snapshot]) -> Snapshot {
    snapshots.iter().fold(scratch(), |below, above| match () {
        () if below.layers.is_empty() => above.clone(),
        () if above.layers.is_empty() => below,
        () => Snapshot {
            content: content_of(below.content, above.content),
            layers: below.layers.iter().chain(above.layers.iter()).cloned().collect(),
        },
    })
}

/// The key of a source, which is found again by what it holds.
pub(crate) fn of_source(pin: ContentId) -> Key {
    let mut hasher = Hasher::new("rbuild source");
    hasher.id(pin.as_bytes());
    hasher.key()
}

/// The key by definition: the op, and the definitions of what it uses.
pub(crate) fn by_definition<'a>(
    op: &Op,
    inputs: impl Iterator<Item = (usize, &'a Edge, Key)>,
) -> Key {
    let mut hasher = Hasher::new("rbuild definition");
    hash_op(&mut hasher, op);
    for (index, edge, definition) in inputs {
        hasher.u64(index as u64).id(definition.as_bytes()).u64(edge.output as u64);
        hash_select(&mut hasher, &edge.select);
    }
    hasher.key()
}

/// The key by content: the op, and the contents of what it uses.
pub(crate) fn by_content(parts: &[Part]) -> Key {
    let mut hasher = Hasher::new("rbuild content");
    hasher.sequence(parts, |hasher, Part { name, value }| {
        hasher.str(name).str(value);
    });
    hasher.key()
}

/// The name of a selection, under which the digests of parts are remembered.
pub(crate) fn select(select: &Select) -> Key {
    let mut hasher = Hasher::new("rbuild select");
    hash_select(&mut hasher, select);
    hasher.key()
}

fn hash_select(hasher: &mut Hasher, select: &Select) {
    match select {
        Select::All => hasher.str("all"),
        Select::Nothing => hasher.str("nothing"),
        Select::Paths { patterns, exclude, parents } => {
            let texts = |hasher: &mut Hasher, texts: &Vec<String>| {
                hasher.sequence(texts, |hasher, text| {
                    hasher.str(text);
                });
            };
            hasher.str("paths");
            texts(hasher, patterns);
            texts(hasher, exclude);
            hasher.bool(*parents)
        }
    };
}

/// Hashes everything in an op that is part of its keys.
fn hash_op(hasher: &mut Hasher, op: &Op) {
    let hashed = match op {
        Op::Exec(exec) => {
            let Exec {
                args,
                env,
                unkeyed_env: _,
                cwd,
                user,
                mounts,
                devices,
                network,
                insecure,
                hostname,
                extra_hosts: _,
                shm_size: _,
                ulimits: _,
                platform,
            } = exec.as_ref();
            let process = (args, env, cwd, user, network, insecure, hostname, platform);
            hasher.value(&("exec", process, mounts, devices))
        }
        Op::Copy(_) | Op::Files(_) | Op::Stack => hasher.value(op),
    };
    hashed.expect("texts, numbers and lists can always be hashed");
}

/// The part that names the contents of one input.
pub(crate) fn input(op: &Op, index: usize, content: ContentId) -> Part {
    let has_base = match op {
        Op::Exec(_) | Op::Copy(_) | Op::Files(_) => true,
        Op::Stack => false,
    };
    let name = if has_base && index == 0 { BASE.to_owned() } else { format!("{INPUT}{index}") };
    Part { name, value: content.hex() }
}

/// Everything in an op that is part of its keys, by name.
pub(crate) fn parts(op: &Op) -> Vec<Part> {
    match op {
        Op::Exec(exec) => exec_parts(exec),
        Op::Copy(copy) => copy_parts(copy),
        Op::Files(actions) => {
            let mut parts = vec![part(KIND, "files")];
            parts.extend(actions.iter().map(file_part));
            parts
        }
        Op::Stack => vec![part(KIND, "stack")],
    }
}

fn exec_parts(exec: &Exec) -> Vec<Part> {
    let Exec {
        args,
        env,
        unkeyed_env: _,
        cwd,
        user,
        mounts,
        devices,
        network,
        insecure,
        hostname,
        extra_hosts: _,
        shm_size: _,
        ulimits: _,
        platform,
    } = exec;
    let mut parts = vec![part(KIND, "exec"), json_part("instruction", args)];
    parts.extend(env.iter().map(|(name, value)| part(&format!("env {name}"), value)));
    parts.extend([part("working directory", cwd), part("user", user)]);
    parts.extend(
        mounts.iter().map(|Mount { target, kind }| json_part(&format!("mount {target}"), kind)),
    );
    parts.extend(devices.iter().map(|device| json_part("device", device)));
    parts.extend([
        json_part("network", network),
        json_part("insecure", insecure),
        part("host name", hostname),
        part("platform", platform),
    ]);
    parts
}

fn copy_parts(copy: &Copy) -> Vec<Part> {
    let Copy { items, destination, chown, chmod, parents, exclude, link, time } = copy;
    let mut parts = vec![part(KIND, "copy")];
    parts.extend(items.iter().map(|item| json_part("source", item)));
    parts.extend([
        part("destination", destination),
        json_part("chown", chown),
        json_part("chmod", chmod),
        json_part("parents", parents),
        json_part("exclude", exclude),
        json_part("link", link),
        json_part("time", time),
    ]);
    parts
}

fn file_part(action: &FileAction) -> Part {
    match action {
        FileAction::MakeDirectory { path, owner, time } => {
            json_part("make directory", &(path, owner, time))
        }
    }
}

fn part(name: &str, value: &str) -> Part {
    Part { name: name.to_owned(), value: bounded(value.to_owned()) }
}

fn json_part(name: &str, value: &impl Serialize) -> Part {
    let json = serde_json::to_string(value).expect("texts, numbers and lists are always json");
    Part { name: name.to_owned(), value: bounded(json) }
}

/// The value, or its digest when it is long, or when it could be taken for one.
fn bounded(value: String) -> String {
    if value.len() <= LONGEST_VALUE && !value.starts_with(DIGEST) {
        return value;
    }
    let mut hasher = Hasher::new("rbuild value");
    hasher.str(&value);
    format!("{DIGEST}{}", hasher.key().hex())
}

#[cfg(test)]
mod tests;
