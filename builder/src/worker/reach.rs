//! As few layers of an image as a step needs: a file that a COPY names is often in the upper ones,
//! and what is below a layer that has it does not matter.
//!
//! Layers are then fetched one by one, the uppermost first, in place of all at the same time. So only
//! a part of an image that is not small is looked through like this, and once anything is in doubt
//! (a folder, a link, a pattern, a file that is gone) the whole image is fetched.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use rbuild_cache::{Layer, Snapshot, Store, privilege};
use rbuild_solver::op::Select;
use rbuild_solver::{Error, Task};

use super::LocalWorker;
use super::select::is_pattern;

/// Images of which less is missing are fetched whole, in bytes.
const LEAST: u64 = 4 << 20;
/// Which part of what is missing is fetched layer by layer.
const PART: u64 = 4;

/// What a few upper layers tell about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// All of it is in them.
    Whole,
    /// Nothing yet: lower ones may have it.
    Nothing,
    /// It takes all layers to know.
    Doubt,
}

impl LocalWorker {
    /// Sees to it that the inputs of a step are here, as far as it uses them, and leaves out of them
    /// what it does not.
    pub(super) async fn reach_inputs(&self, task: &mut Task) -> Result<(), Error> {
        let inputs = task.inputs.iter().zip(&task.selects);
        let reached = inputs.map(|(input, select)| self.reach(input, select));
        task.inputs = try_join_all(reached).await?;
        Ok(())
    }

    /// Sees to it that a part of a snapshot is here; gives the snapshot with no more layers than that
    /// takes.
    pub(super) async fn reach(
        &self,
        snapshot: &Snapshot,
        select: &Select,
    ) -> Result<Snapshot, Error> {
        let paths = paths(select).unwrap_or_default();
        let layers = &snapshot.layers;
        let missing = |layer: &Layer| match layer {
            Layer::Pulled { blob, .. } if self.0.store.layer_path(layer).is_none() => blob.size,
            _ => 0,
        };
        let total: u64 = layers.iter().map(missing).sum();
        let (mut first, mut left) = (layers.len(), total / PART);
        let step = layers.last().and_then(|layer| self.0.step_of(layer));
        let is_image = layers.iter().all(|layer| matches!(layer, Layer::Pulled { .. }));
        while total >= LEAST && is_image && !paths.is_empty() && first > 0 {
            let next = &layers[first - 1];
            let Some(rest) = left.checked_sub(missing(next)) else { break };
            left = rest;
            self.0.fetch_begins(step);
            self.fetch_one(next, step).await?;
            first -= 1;
            match self.told(&layers[first..], &paths).await? {
                Told::Whole => {
                    self.0.fetch_ends(step);
                    return Ok(Snapshot { layers: layers[first..].into(), ..*snapshot });
                }
                Told::Nothing => {}
                Told::Doubt => break,
            }
        }
        self.fetch_layers(layers).await?;
        Ok(snapshot.clone())
    }

    async fn told(&self, layers: &[Layer], paths: &[String]) -> Result<Told, Error> {
        let (layers, paths) = (layers.to_vec(), paths.to_vec());
        self.blocking(move |world| {
            let mut all = Told::Whole;
            for path in paths {
                match told(&world.store, &layers, Path::new(&path)) {
                    Ok(Told::Whole) => {}
                    Ok(Told::Nothing) => all = Told::Nothing,
                    Ok(Told::Doubt) | Err(_) => return Ok(Told::Doubt),
                }
            }
            Ok(all)
        })
        .await
    }
}

/// The paths that are selected, if they are nothing but paths.
fn paths(select: &Select) -> Option<Vec<String>> {
    let Select::Paths { patterns, exclude, parents: false } = select else { return None };
    let is_plain = |pattern: &String| {
        let parts = || pattern.split('/').filter(|part| !part.is_empty());
        !is_pattern(pattern)
            && parts().next().is_some()
            && parts().all(|it| it != "." && it != "..")
    };
    let are_plain = exclude.is_empty() && patterns.iter().all(is_plain);
    are_plain.then(|| patterns.iter().map(|it| it.trim_matches('/').to_owned()).collect())
}

/// What layers, the uppermost last, tell about a path.
fn told(store: &Store, layers: &[Layer], path: &Path) -> io::Result<Told> {
    for layer in layers.iter().rev() {
        let Some(root) = store.layer_path(layer) else { return Ok(Told::Doubt) };
        match told_by(&root, path)? {
            Told::Nothing => {}
            told => return Ok(told),
        }
    }
    Ok(Told::Nothing)
}

fn told_by(root: &Path, path: &Path) -> io::Result<Told> {
    let mut at = root.to_owned();
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        let is_last = parts.peek().is_none();
        let found = match at.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Told::Nothing),
            Err(error) => return Err(error),
        };
        let is_hidden = found.file_type().is_char_device() && found.rdev() == 0;
        match found.file_type() {
            _ if is_hidden => return Ok(Told::Doubt),
            kind if kind.is_file() && is_last => return Ok(Told::Whole),
            kind if kind.is_dir() && is_opaque(&at)? => {
                return if is_last {
                    Ok(Told::Whole)
                } else {
                    opaque(&at, &parts.collect::<PathBuf>())
                };
            }
            kind if kind.is_dir() && !is_last => {}
            _ => return Ok(Told::Doubt),
        }
    }
    Ok(Told::Doubt)
}

/// What a folder that hides all below it tells about a path in it: what it has not is nowhere.
fn opaque(folder: &Path, path: &Path) -> io::Result<Told> {
    match told_by(folder, path)? {
        Told::Whole => Ok(Told::Whole),
        Told::Nothing | Told::Doubt => Ok(Told::Doubt),
    }
}

fn is_opaque(folder: &Path) -> io::Result<bool> {
    let mut value = [0; 1];
    match rustix::fs::lgetxattr(folder, privilege::opaque(), &mut value) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_lower_layers_cannot_change_is_told() {
        let layer = tempfile::tempdir().unwrap();
        let root = layer.path();
        for folder in ["usr/bin", "opt/new", "etc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["usr/bin/tool", "opt/new/file"] {
            fs::write(root.join(file), file).unwrap();
        }
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("tool", root.join("usr/bin/link")).unwrap();
        let none = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(root.join("opt"), privilege::opaque(), b"y", none).unwrap();
        let device = rustix::fs::FileType::CharacterDevice;
        let mode = rustix::fs::Mode::from_raw_mode(0);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("etc/gone"), device, mode, 0).unwrap();
        let cases = [
            ("usr/bin/tool", Told::Whole),
            ("usr/bin/other", Told::Nothing),
            ("usr/lib/x", Told::Nothing),
            ("none", Told::Nothing),
            ("usr/bin", Told::Doubt),
            ("usr/bin/link", Told::Doubt),
            ("bin/tool", Told::Doubt),
            ("usr/bin/tool/below", Told::Doubt),
            ("etc/gone", Told::Doubt),
            ("etc/gone/below", Told::Doubt),
            ("opt", Told::Whole),
            ("opt/new/file", Told::Whole),
            ("opt/new", Told::Doubt),
            ("opt/other", Told::Doubt),
        ];
        for (path, expected) in cases {
            assert_eq!(told_by(root, Path::new(path)).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn only_paths_are_looked_for_layer_by_layer() {
        let select = |pattern: &str, exclude: &[&str], parents| Select::Paths {
            patterns: vec![pattern.to_owned()],
            exclude: exclude.iter().map(|it| (*it).to_owned()).collect(),
            parents,
        };
        assert_eq!(paths(&select("/usr/bin/tool", &[], false)), Some(vec!["usr/bin/tool".into()]));
        let others = [
            select("/usr/*/tool", &[], false),
            select("/usr/../tool", &[], false),
            select("/usr/./tool", &[], false),
            select("/", &[], false),
            select("/usr", &["x"], false),
            select("/usr/bin/tool", &[], true),
            Select::All,
            Select::Nothing,
        ];
        for other in others {
            assert_eq!(paths(&other), None, "{other:?}");
        }
    }
}
