//! NVIDIA's devices of a machine where nobody has described them: found by the files of the driver.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::capability::Uses;
use super::jetson;

/// The kind under which NVIDIA's devices are known.
pub(super) const KIND: &str = "nvidia.com/gpu";
/// Where the driver's libraries are.
const LIBRARIES: [&str; 4] =
    ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib"];
/// The library whose name tells the version of the driver, the better one first.
const WITH_VERSION: [&str; 2] = ["libcuda.so.", "libnvidia-ml.so."];
const PROGRAMS: [&str; 5] = [
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
];
const SOCKETS: [&str; 2] = ["run/nvidia-persistenced/socket", "run/nvidia-fabricmanager/socket"];
/// The nodes that come with every device.
const COMMON_NODES: [&str; 4] =
    ["dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia-uvm-tools", "dev/nvidia-modeset"];
const BIND: [&str; 5] = ["ro", "nosuid", "nodev", "rbind", "rprivate"];

/// What is found below the root of a machine's files.
pub(super) struct Found<'a> {
    root: &'a Path,
    pub(super) mounts: Vec<Value>,
    pub(super) nodes: Vec<Value>,
}

impl<'a> Found<'a> {
    pub(super) fn below(root: &'a Path) -> Self {
        Self { root, mounts: Vec::new(), nodes: Vec::new() }
    }

    /// A file or folder at its own path, which must be there.
    pub(super) fn mount(&mut self, path: &str) -> bool {
        self.mount_as(path, path)
    }

    /// The same at another path.
    pub(super) fn mount_as(&mut self, path: &str, inside: &str) -> bool {
        let host = self.host(path);
        let is_there = host.exists();
        if is_there {
            let inside = format!("/{}", inside.trim_start_matches('/'));
            self.mounts.push(json!({
                "hostPath": host, "containerPath": inside, "options": BIND,
            }));
        }
        is_there
    }

    pub(super) fn node(&mut self, path: &str) -> bool {
        let host = self.host(path);
        let is_there = host.exists();
        if is_there {
            let inside = format!("/{}", path.trim_start_matches('/'));
            self.nodes.push(json!({ "path": inside, "hostPath": host }));
        }
        is_there
    }

    pub(super) fn host(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// The description of what is there, as a CDI file would have it; the error says what was looked
/// for.
pub(super) fn describe(root: &Path, all_jetson: bool, uses: &Uses) -> Result<Value, String> {
    if let Some(described) = jetson::describe(root, all_jetson) {
        return Ok(described);
    }
    let (folder, version) = driver(root).ok_or_else(|| {
        format!(
            "no NVIDIA driver was found: neither {} nor {} of some version in {}, and no Jetson \
             (`/etc/nv_tegra_release`)",
            WITH_VERSION[0],
            WITH_VERSION[1],
            LIBRARIES.map(|folder| format!("/{folder}")).join(", "),
        )
    })?;
    let mut common = Found::below(root);
    for name in names(&root.join(&folder)).into_iter().filter(|name| uses.take(name)) {
        if let Some(stem) = name.strip_suffix(&format!(".so.{version}")) {
            let path = format!("{folder}/{name}");
            common.mount(&path);
            for other in other_names(root, &folder, &format!("{stem}.so")) {
                common.mount_as(&path, &format!("{folder}/{other}"));
            }
        }
    }
    for path in PROGRAMS.into_iter().filter(|name| uses.take(name)) {
        common.mount(&format!("usr/bin/{path}"));
    }
    for path in SOCKETS.into_iter().chain(COMMON_NODES) {
        if path.starts_with("dev/") {
            common.node(path)
        } else {
            common.mount(path)
        };
    }
    let firmware = format!("lib/firmware/nvidia/{version}");
    for name in names(&root.join(&firmware)).iter().filter(|name| name.starts_with("gsp")) {
        common.mount(&format!("{firmware}/{name}"));
    }
    Ok(description(&common, devices(root)))
}

/// A description of devices, with one that is all and one that is none of them.
pub(super) fn description(common: &Found<'_>, devices: Vec<(String, Vec<Value>)>) -> Value {
    let all: Vec<_> = devices.iter().flat_map(|(_, nodes)| nodes.clone()).collect();
    let named = devices.into_iter().chain([("all".to_owned(), all)]);
    let described = |(name, nodes): (String, Vec<Value>)| json!({ "name": name, "containerEdits": { "deviceNodes": nodes } });
    let mut devices: Vec<_> = named.map(described).collect();
    devices.push(json!({ "name": "none", "containerEdits": {} }));
    json!({
        "cdiVersion": "0.5.0",
        "kind": KIND,
        "devices": devices,
        "containerEdits": { "mounts": common.mounts, "deviceNodes": common.nodes },
    })
}

/// The version of the driver, where there is one whose libraries have it in their names.
pub(super) fn version(root: &Path) -> Option<String> {
    driver(root).map(|(_, version)| version)
}

/// The folder of the driver's libraries, and the driver's version.
fn driver(root: &Path) -> Option<(String, String)> {
    LIBRARIES.iter().find_map(|folder| {
        let names = names(&root.join(folder));
        let version = WITH_VERSION.iter().find_map(|prefix| {
            let mut versions = names.iter().filter_map(|name| name.strip_prefix(prefix));
            versions.rfind(|version| version.contains('.')).map(str::to_owned)
        });
        version.map(|version| ((*folder).to_owned(), version))
    })
}

/// The names by which programs look a library up: `libcuda.so.1`, `libcuda.so`.
fn other_names(root: &Path, folder: &str, stem: &str) -> Vec<String> {
    let short = |name: &String| {
        let rest = name.strip_prefix(stem);
        rest.is_some_and(|rest| rest.is_empty() || rest.matches('.').count() == 1)
    };
    let mut found: Vec<_> = names(&root.join(folder)).into_iter().filter(short).collect();
    if stem == "libcuda.so" && !found.iter().any(|name| name == stem) {
        found.push(stem.to_owned());
    }
    found
}

/// Each device by its number and by its UUID, with its nodes.
fn devices(root: &Path) -> Vec<(String, Vec<Value>)> {
    let mut devices = Vec::new();
    let cards = root.join("proc/driver/nvidia/gpus");
    for slot in names(&cards) {
        let text = fs::read_to_string(cards.join(&slot).join("information")).unwrap_or_default();
        let field = |name: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        let Some(minor) = field("Device Minor") else { continue };
        let mut found = Found::below(root);
        found.node(&format!("dev/nvidia{minor}"));
        for name in names(&root.join(format!("sys/bus/pci/devices/{slot}/drm"))) {
            found.node(&format!("dev/dri/{name}"));
        }
        if let Some(uuid) = field("GPU UUID").filter(|uuid| uuid.starts_with("GPU-")) {
            devices.push((uuid, found.nodes.clone()));
        }
        devices.push((minor, found.nodes));
    }
    if devices.is_empty() {
        for name in names(&root.join("dev")) {
            let minor = name
                .strip_prefix("nvidia")
                .filter(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
            if let Some(minor) = minor {
                let mut found = Found::below(root);
                found.node(&format!("dev/{name}"));
                devices.push((minor.to_owned(), found.nodes));
            }
        }
    }
    devices.sort_by_key(|(name, _)| (name.parse::<u32>().unwrap_or(u32::MAX), name.clone()));
    devices
}

/// The names in a folder, sorted; none where there is no such folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_driver_is_described_by_its_files() {
        let information = "Model: \t\t X\nGPU UUID: \t GPU-12\nDevice Minor: \t 0\n";
        let root = machine(&[
            ("usr/lib/x86_64-linux-gnu/libcuda.so.999.88.77", ""),
            ("usr/lib/x86_64-linux-gnu/libcuda.so.1", ""),
            ("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.999.88.77", ""),
            ("usr/lib/x86_64-linux-gnu/libc.so.6", ""),
            ("usr/bin/nvidia-smi", ""),
            ("dev/nvidiactl", ""),
            ("dev/nvidia0", ""),
            ("proc/driver/nvidia/gpus/0000:01:00.0/information", information),
            ("sys/bus/pci/devices/0000:01:00.0/drm/card1", ""),
            ("dev/dri/card1", ""),
        ]);
        let described = describe(root.path(), false, &Uses::all()).unwrap();
        let edits = &described["containerEdits"];
        let places: Vec<_> = edits["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mount| mount["containerPath"].as_str().unwrap().to_owned())
            .collect();
        let library = "/usr/lib/x86_64-linux-gnu";
        assert_eq!(
            places,
            [
                format!("{library}/libcuda.so.999.88.77"),
                format!("{library}/libcuda.so.1"),
                format!("{library}/libcuda.so"),
                format!("{library}/libnvidia-ml.so.999.88.77"),
                "/usr/bin/nvidia-smi".to_owned(),
            ]
        );
        assert_eq!(edits["deviceNodes"][0]["path"], "/dev/nvidiactl");
        let names: Vec<_> = described["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| device["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["0", "GPU-12", "all", "none"]);
        let nodes = &described["devices"][0]["containerEdits"]["deviceNodes"];
        assert_eq!(
            (&nodes[0]["path"], &nodes[1]["path"]),
            (&json!("/dev/nvidia0"), &json!("/dev/dri/card1"))
        );
    }

    #[test]
    fn without_a_driver_it_is_said_what_was_looked_for() {
        let root = machine(&[("usr/lib/libcuda.so.1", "")]);
        let error = describe(root.path(), false, &Uses::all()).unwrap_err();
        assert!(error.contains("libcuda.so.") && error.contains("nv_tegra_release"), "{error}");
    }
}
