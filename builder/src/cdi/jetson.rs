//! NVIDIA's devices of a Jetson, which lists in files of comma-separated values what of it a
//! container needs.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::nvidia::{Found, description, names};

const LISTS: &str = "etc/nvidia-container-runtime/host-files-for-container.d";
/// The lists that count where not all are asked for.
const USUAL_LISTS: [&str; 3] = ["l4t.csv", "drivers.csv", "devices.csv"];
const RELEASE: &str = "etc/nv_tegra_release";
const FAMILY: &str = "sys/devices/soc0/family";

/// The description of the machine's only device, if it is a Jetson with lists.
pub(super) fn describe(root: &Path, all: bool) -> Option<Value> {
    let family = fs::read_to_string(root.join(FAMILY)).unwrap_or_default();
    let is_jetson = root.join(RELEASE).exists() || family.to_ascii_lowercase().starts_with("tegra");
    let lists: Vec<_> = names(&root.join(LISTS))
        .into_iter()
        .filter(|name| {
            let is_list = Path::new(name).extension().is_some_and(|kind| kind == "csv");
            is_list && (all || USUAL_LISTS.contains(&&**name))
        })
        .collect();
    if !is_jetson || lists.is_empty() {
        return None;
    }
    let mut common = Found::below(root);
    let mut nodes = Found::below(root);
    common.mount(RELEASE);
    for name in lists {
        let text = fs::read_to_string(root.join(LISTS).join(&name)).unwrap_or_default();
        for line in text.lines() {
            let Some((kind, path)) = line.split_once(',') else { continue };
            for path in matching(root, path.trim()) {
                let is_there = match kind.trim() {
                    "dev" => nodes.node(&path),
                    // A link is shown as what it leads to.
                    "lib" | "dir" | "sym" => common.mount(&path),
                    _ => continue,
                };
                if !is_there {
                    tracing::warn!(
                        path,
                        list = name,
                        "what a list of this Jetson has is not there"
                    );
                }
            }
        }
    }
    Some(description(&common, vec![("0".to_owned(), nodes.nodes)]))
}

/// The paths of which this is one, or which its last name with stars stands for.
fn matching(root: &Path, path: &str) -> Vec<String> {
    let Some((folder, pattern)) = path.rsplit_once('/').filter(|(_, name)| name.contains('*'))
    else {
        return vec![path.to_owned()];
    };
    let found = names(&root.join(folder.trim_start_matches('/')));
    let found = found.into_iter().filter(|name| is_like(name, pattern));
    found.map(|name| format!("{folder}/{name}")).collect()
}

/// Whether a name is as a pattern with stars has it.
fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(end, _)| end).chain([rest.len()]);
            ends.into_iter().any(|end| is_like(&rest[end..], after))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jetson_is_described_by_its_lists() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(FAMILY, "Tegra\n");
        write(RELEASE, "# R36\n");
        assert!(describe(root.path(), false).is_none(), "it has no lists");
        let lists = "dev, /dev/nvmap\ndev, /dev/dri/card*\ndev, /dev/missing\n";
        write(&format!("{LISTS}/devices.csv"), lists);
        write(&format!("{LISTS}/drivers.csv"), "lib, /usr/lib/nvidia/libcuda.so.1.1\n\nbad line\n");
        write(&format!("{LISTS}/more.csv"), "dir, /opt/more\n");
        for path in ["dev/nvmap", "dev/dri/card0", "dev/dri/card1", "usr/lib/nvidia/libcuda.so.1.1"]
        {
            write(path, "");
        }
        fs::create_dir_all(root.path().join("opt/more")).unwrap();
        let paths = |described: &Value, pointer: &str, key: &str| -> Vec<String> {
            let list = described.pointer(pointer).unwrap().as_array().unwrap();
            list.iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
        };
        let described = describe(root.path(), false).unwrap();
        let nodes = paths(&described, "/devices/0/containerEdits/deviceNodes", "path");
        assert_eq!(nodes, ["/dev/nvmap", "/dev/dri/card0", "/dev/dri/card1"]);
        let mounts = paths(&described, "/containerEdits/mounts", "containerPath");
        assert_eq!(mounts, ["/etc/nv_tegra_release", "/usr/lib/nvidia/libcuda.so.1.1"]);
        let all = describe(root.path(), true).unwrap();
        let mounts = paths(&all, "/containerEdits/mounts", "containerPath");
        assert!(mounts.contains(&"/opt/more".to_owned()), "{mounts:?}");
    }

    #[test]
    fn stars_stand_for_any_letters() {
        assert!(is_like("card0", "card*") && is_like("card", "card*") && is_like("abc", "a*c"));
        assert!(!is_like("render", "card*") && !is_like("abd", "a*c"));
    }
}
