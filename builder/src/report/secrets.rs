//! What secrets were when a step was made, so that a report can say which have changed since.
//!
//! No value is kept: beside a layer lie four bytes of a hash under a key that every store makes for
//! itself. They tell two values apart, all but surely, and are too few to find one by trying.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use rbuild_cache::{Layer, Outputs, Store};
use rbuild_solver::op::{Mount, MountKind, Op};
use rbuild_solver::{Graph, Used, Vertex, Work};

use crate::secret::Secrets;

/// The file of the store with its key.
const KEY: &str = "secret-marks-key";
/// The note beside a layer.
const NOTE: &str = "secrets.json";

/// What each secret of a step was, by its name; nothing of one that was not there.
pub(crate) type Marks = BTreeMap<String, Option<String>>;

/// Marks the secrets of a step, if it mounts any.
pub(crate) fn marks(store: &Store, secrets: &Secrets, op: &Op) -> Option<Marks> {
    let Op::Exec(exec) = op else { return None };
    let ids = exec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Secret { id, .. } => Some(id),
        _ => None,
    });
    let ids: BTreeSet<&String> = ids.collect();
    if ids.is_empty() { None } else { marked(store, secrets, &ids) }
}

fn marked(store: &Store, secrets: &Secrets, ids: &BTreeSet<&String>) -> Option<Marks> {
    let key = key(store).inspect_err(|error| tracing::warn!(%error, "secrets are not marked"));
    let key = key.ok()?;
    let mark = |id: &str| {
        let value = secrets.read(id).ok().flatten()?;
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&(id.len() as u64).to_le_bytes()).update(id.as_bytes()).update(&value);
        let hash = hasher.finalize();
        Some(hash.to_hex()[..8].to_owned())
    };
    Some(ids.iter().map(|id| ((*id).clone(), mark(id))).collect())
}

/// Keeps the marks beside the layer that a step has made.
pub(crate) fn keep(store: &Store, outputs: &Outputs, marks: &Marks) {
    if let Some(layer) = made(outputs)
        && let Err(error) = store.set_layer_note(layer, NOTE, marks)
    {
        tracing::debug!(%error, "what the secrets were is not kept");
    }
}

/// The names of the steps whose secrets are not what they were when their results were made, with
/// those secrets. Of results from elsewhere nothing is known.
pub(crate) fn changed(
    store: &Store,
    secrets: &Secrets,
    graph: &Graph,
    used: &[Used],
) -> BTreeMap<String, Vec<String>> {
    let one = |used: &Used| {
        let vertex = graph.get(used.vertex)?;
        let now = marks(store, secrets, op(vertex)?)?;
        let was: Marks = store.layer_note(made(&used.outputs)?, NOTE).ok().flatten()?;
        let other =
            |(id, mark): &(&String, &Option<String>)| was.get(*id).is_some_and(|was| was != *mark);
        let others = now.iter().filter(other).map(|(id, _)| id.clone());
        Some((vertex.name.clone(), others.collect()))
    };
    used.iter().filter_map(one).filter(|(_, others): &(_, Vec<_>)| !others.is_empty()).collect()
}

/// Whether some step mounts a secret.
pub(crate) fn are_mounted(graph: &Graph) -> bool {
    let is_secret = |mount: &Mount| matches!(mount.kind, MountKind::Secret { .. });
    graph.iter().any(|(_, vertex)| match op(vertex) {
        Some(Op::Exec(exec)) => exec.mounts.iter().any(is_secret),
        _ => false,
    })
}

fn op(vertex: &Vertex) -> Option<&Op> {
    match &vertex.work {
        Work::Op { op, .. } => Some(op),
        Work::Source(_) => None,
    }
}

/// The layer that a step has made here.
fn made(outputs: &Outputs) -> Option<&Layer> {
    let layer = outputs.first()?.layers.last()?;
    matches!(layer, Layer::Made(_)).then_some(layer)
}

/// The key of the store, made now if there is none.
fn key(store: &Store) -> io::Result<[u8; 32]> {
    let path = store.root().join(KEY);
    let read = || -> io::Result<[u8; 32]> {
        let mut key = [0; 32];
        File::open(&path)?.read_exact(&mut key)?;
        Ok(key)
    };
    if let Ok(key) = read() {
        return Ok(key);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let beside = path.with_extension(std::process::id().to_string());
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&key)?;
    // Another process may have made one meanwhile; the first one counts.
    let linked = std::fs::hard_link(&beside, &path);
    std::fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::secret::SecretSource;

    #[test]
    fn marks_tell_values_apart_and_no_value() {
        let (one, two) = (Store::temporary().unwrap(), Store::temporary().unwrap());
        let mark = |store: &Store, value: Option<&str>| {
            let mut secrets = Secrets::default();
            if let Some(value) = value {
                secrets.insert("npm".to_owned(), SecretSource::Value(value.into()));
            }
            marked(store, &secrets, &BTreeSet::from([&"npm".to_owned()])).unwrap()["npm"].clone()
        };
        let first = mark(&one, Some("hunter2"));
        assert_eq!(mark(&one, Some("hunter2")), first);
        assert_ne!(mark(&one, Some("hunter3")), first);
        assert_eq!(mark(&one, None), None);
        assert_eq!(first.as_ref().map(String::len), Some(8));
        assert_ne!(mark(&two, Some("hunter2")), first, "each store has a key of its own");
        let plain = blake3::hash(b"hunter2").to_hex();
        assert!(!plain.starts_with(&first.unwrap()));
        let mode = std::fs::metadata(one.root().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(marks(&one, &Secrets::default(), &Op::Stack).is_none());
    }
}
