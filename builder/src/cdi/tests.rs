//! Descriptions as files, and what they do to a container.

use std::fs::File;

use rbuild_runtime::{Container, MountSource};

use super::*;

const FIRST: &str = r#"
cdiVersion: "0.6.0"
kind: "vendor.example/sink"
annotations:
  org.mobyproject.buildkit.device.autoallow: true
containerEdits:
  env: [COMMON=1]
devices:
- name: one
  annotations:
    org.mobyproject.buildkit.device.class: fast
    org.mobyproject.buildkit.device.autoallow: "false"
  containerEdits:
    env: [WHICH=one, ONE=1]
    deviceNodes:
    - path: /dev/one
      hostPath: /dev/null
      fileMode: 0640
      permissions: rw
- name: 2
  containerEdits:
    env: [WHICH=two]
    mounts:
    - {hostPath: /usr/share, containerPath: /opt/share, options: [ro, nosuid, rbind]}
    additionalGids: [0, 44]
"#;

fn devices(folders: &[&[(&str, &str)]]) -> (Devices, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (place, files) in folders.iter().enumerate() {
        let folder = home.path().join(place.to_string());
        fs::create_dir(&folder).unwrap();
        for (name, text) in *files {
            fs::write(folder.join(name), text).unwrap();
        }
        paths.push(folder);
    }
    paths.push(home.path().join("missing"));
    (Devices::read(&paths), home)
}

fn json(kind: &str, device: &str, edits: &str) -> String {
    format!(
        r#"{{"cdiVersion":"1.0.0","kind":"{kind}",
            "devices":[{{"name":"{device}","containerEdits":{edits}}}]}}"#
    )
}

fn container() -> Container {
    let mut container = Container::new(File::open("/").unwrap().into());
    container.process.env = vec!["PATH=/bin".into(), "WHICH=none".into()];
    container
}

#[test]
fn names_stand_for_one_a_kind_all_or_a_class() {
    let (devices, _home) = devices(&[&[("a.yaml", FIRST), ("b.txt", "no description")]]);
    let find = |name: &str| devices.find(name).unwrap();
    assert_eq!(find("vendor.example/sink=one"), ["vendor.example/sink=one"]);
    assert_eq!(find("vendor.example/sink"), ["vendor.example/sink=2"]);
    assert_eq!(find("vendor.example/sink=*"), ["vendor.example/sink=2", "vendor.example/sink=one"]);
    assert_eq!(find("vendor.example/sink=fast"), ["vendor.example/sink=one"]);
    let missing = |name: &str| matches!(devices.find(name), Err(Error::Missing { .. }));
    assert!(missing("vendor.example/sink=slow") && missing("vendor.example/other"));
    for name in ["", "sink", "/sink", "vendor/", "vendor/a b", "1vendor/a", "vendor/a/b"] {
        assert_eq!(devices.find(name), Err(Error::Name(name.to_owned())), "{name}");
    }
}

#[test]
fn a_device_changes_its_container() {
    let (devices, _home) = devices(&[&[("a.yml", FIRST)]]);
    let mut container = container();
    let names = devices.find("vendor.example/sink=*").unwrap();
    devices.apply(&names, &mut container, (7, 8)).unwrap();
    // Of the description once, then of each device, the last one standing.
    assert_eq!(container.process.env, ["PATH=/bin", "COMMON=1", "WHICH=one", "ONE=1"]);
    let [node] = container.devices.as_slice() else { panic!("{:?}", container.devices) };
    assert_eq!((node.host.to_str(), node.path.as_str()), (Some("/dev/null"), "/dev/one"));
    assert_eq!((node.mode, node.uid, node.gid), (Some(0o640), Some(7), Some(8)));
    let [mount] = container.mounts.as_slice() else { panic!("{:?}", container.mounts) };
    assert!(matches!(&mount.source, MountSource::Path(path) if path.ends_with("share")));
    assert!(mount.read_only && mount.recursive && !mount.suid && mount.exec);
    assert_eq!(container.process.groups, ["44"]);
}

#[test]
fn later_folders_count_more_and_equals_are_told() {
    let one = json("v/c", "d", r#"{"env":["FROM=one"]}"#);
    let two = json("v/c", "d", r#"{"env":["FROM=two"]}"#);
    let name = ["v/c=d".to_owned()];
    let (later, _home) = devices(&[&[("a.json", &one), ("b.json", &one)], &[("a.json", &two)]]);
    let mut container = container();
    later.apply(&name, &mut container, (0, 0)).unwrap();
    assert!(container.process.env.contains(&"FROM=two".to_owned()));
    let (equal, _home) = devices(&[&[("a.json", &one), ("b.json", &two)]]);
    let twice = equal.apply(&name, &mut container, (0, 0));
    assert!(matches!(twice, Err(Error::Twice { .. })), "{twice:?}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let hook = r#"{"hooks":[{"hookName":"createContainer","path":"/usr/bin/nvidia-cdi-hook"}]}"#;
    for (edits, reason) in [
        (hook, "the createContainer hook `/usr/bin/nvidia-cdi-hook` of the host"),
        (r#"{"intelRdt":{"closID":"x"}}"#, "a class of Intel's Resource Director"),
        (r#"{"netDevices":[{"hostInterfaceName":"eth0","name":"a"}]}"#, "network devices"),
        (r#"{"deviceNodes":[{"path":"/dev/x","permissions":"r"}]}"#, "`/dev/x` with access `r`"),
        (r#"{"deviceNodes":[{"path":"/dev/x","type":"p"}]}"#, "a node of type `p`"),
        (r#"{"mounts":[{"hostPath":"/","containerPath":"/x","options":["loud"]}]}"#, "`loud`"),
        (r#"{"mounts":[{"hostPath":"/","containerPath":"/x","type":"tmpfs"}]}"#, "`tmpfs`"),
    ] {
        let (devices, _home) = devices(&[&[("a.json", &json("v/c", "d", edits))]]);
        let names = devices.find("v/c=d").unwrap();
        let error = devices.apply(&names, &mut container(), (0, 0)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_description_that_cannot_be_read_is_told_where_a_device_is_missing() {
    let deep = format!("a: {}", "[".repeat(100_000));
    for (name, text) in [
        ("a.json", "{"),
        ("a.yaml", "kind: ["),
        ("a.yaml", "cdiVersion: 9.9\nkind: v/c\ndevices: []"),
        ("a.yaml", "cdiVersion: 1.0.0\nkind: c\ndevices: []"),
        ("a.yaml", "cdiVersion: 1.0.0\nkind: v/c\ndevices: [{name: -}]"),
        ("a.yaml", "cdiVersion: 1.0.0\nkind: v/c\nmore: 1\ndevices: []"),
        ("a.yaml", &deep),
    ] {
        let (devices, _home) = devices(&[&[(name, text)]]);
        let error = devices.find("v/c").unwrap_err();
        assert!(matches!(&error, Error::Missing { broken, .. } if broken.len() == 1), "{text:.40}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_build_uses_what_it_has_leave_for() {
    let other = json("v/c", "d", "{}");
    let (devices, _home) = devices(&[&[("a.yaml", FIRST), ("b.json", &other)]]);
    let allowed = |grants: &Grants, name| grants.allowed(&devices, [(name, true)]);
    let none = Grants::default();
    assert_eq!(allowed(&none, "v/c"), Err(Error::NotAllowed("v/c=d".to_owned())));
    // The description allows all of its devices, and one of them says otherwise.
    assert_eq!(allowed(&none, "vendor.example/sink").unwrap(), ["vendor.example/sink=2"]);
    assert!(allowed(&none, "vendor.example/sink=one").is_err());
    let mut all = Grants::default();
    all.all();
    assert_eq!(allowed(&all, "v/c").unwrap(), ["v/c=d"]);
    let mut kind = Grants::default();
    kind.device("v/c=*");
    assert_eq!(allowed(&kind, "v/c=d").unwrap(), ["v/c=d"]);
    assert!(allowed(&kind, "vendor.example/sink=one").is_err());
    let mut alias = Grants::default();
    alias.alias("any.example/gpu", "v/c=d");
    assert_eq!(allowed(&alias, "any.example/gpu").unwrap(), ["v/c=d"]);
    let twice = [("v/c", true), ("v/c=d", true), ("v/none", false)];
    assert_eq!(all.allowed(&devices, twice).unwrap(), ["v/c=d"]);
    assert!(matches!(allowed(&all, "v/none"), Err(Error::Missing { .. })));
}
