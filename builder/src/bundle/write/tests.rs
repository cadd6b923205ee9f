//! What is written of a container, read again.

use std::fs::File;

use rbuild_runtime::{Capabilities, Limit, Mount, MountSource, Propagation, Resource, Seccomp};

use super::super::spec::Spec;
use super::*;

fn root() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn container(root: &Path) -> Container {
    let mut container = Container::new(File::open(root).unwrap().into());
    container.process.argv = vec!["sh".to_owned(), "-c".to_owned(), "true".to_owned()];
    container.process.env = vec!["A=1".to_owned()];
    container.process.user = "7:8".to_owned();
    container.hostname = Some("box".to_owned());
    container
}

fn user() -> User {
    User { uid: 7, gid: 8, groups: vec![8, 9], home: "/".to_owned() }
}

fn written(container: &Container, root: &Path) -> Result<Value> {
    let limits = Limits {
        memory: Some(64 << 20),
        processes: Some(9),
        cpu_quota: Some(50_000),
        ..Limits::default()
    };
    let around = Surroundings {
        root,
        user: &user(),
        limits: &limits,
        group: "/rbuild/x",
        terminal: Some(WindowSize { rows: 5, columns: 6 }),
        holder: 1,
        group_tree: false,
    };
    config(container, &around)
}

fn read(config: &Value, root: &Path) -> Container {
    let spec: Spec = serde_json::from_value(config.clone()).unwrap();
    spec.container(root, None).unwrap()
}

#[test]
fn what_is_written_is_read_the_same() {
    let root = root();
    let mut before = container(root.path());
    before.process.limits = vec![Limit { resource: Resource::Nofile, soft: Some(5), hard: None }];
    before.process.no_new_privileges = true;
    before.process.oom_score = Some(3);
    before.read_only_root = true;
    before.sysctls = vec![("net.ipv4.ip_unprivileged_port_start".into(), "0".into())];
    before.devices = vec![Device::new("/dev/null").resolved().unwrap()];
    let mut bind = Mount::bind("/usr", "/deep/er").read_only();
    (bind.suid, bind.flags.propagation) = (false, Some(Propagation::Slave));
    before.mounts = vec![bind, Mount::bind("/etc", "/flat")];
    let config = written(&before, root.path()).unwrap();
    let after = read(&config, root.path());
    let (one, other) = (&before.process, &after.process);
    assert_eq!((&one.argv, &one.env, &one.cwd), (&other.argv, &other.env, &other.cwd));
    assert_eq!(other.user, "7:8");
    assert_eq!(other.groups, ["8", "9"]);
    assert_eq!((&one.limits, one.oom_score), (&other.limits, other.oom_score));
    assert!(other.no_new_privileges && after.read_only_root);
    let sets = other.capability_sets.unwrap();
    let own = Capabilities::docker_default().names_of_own().unwrap();
    assert_eq!(sets.effective.names_of_own().unwrap(), own);
    assert_eq!((sets.bounding, sets.permitted), (sets.effective, sets.effective));
    assert_eq!((sets.inheritable, sets.ambient), (Capabilities::none(), Capabilities::none()));
    assert!(matches!(other.seccomp, Seccomp::Filter(_)));
    assert_eq!(after.hostname.as_deref(), Some("box"));
    assert_eq!(after.sysctls, before.sysctls);
    assert_eq!(after.masked_paths, before.masked_paths);
    assert_eq!(after.read_only_paths, before.read_only_paths);
    assert_eq!(after.devices[0].number, before.devices[0].number);
    for namespace in [&after.network, &after.ipc, &after.pid, &after.uts, &after.mount] {
        assert!(matches!(namespace, Namespace::Private), "{namespace:?}");
    }
    assert!(matches!(after.cgroup, Namespace::Host), "of several trees nothing is hidden");
    let places: Vec<_> = after.mounts.iter().map(|mount| mount.target.as_str()).collect();
    let standard = ["/proc", "/dev", "/dev/pts", "/sys", "/dev/shm", "/dev/mqueue"];
    assert_eq!(places[..6], standard);
    assert_eq!(places[6..], ["/flat", "/deep/er"], "the outer ones first");
    let [flat, deep] = &after.mounts[6..] else { panic!("{places:?}") };
    assert!(!flat.read_only && flat.suid && flat.recursive);
    assert!(deep.read_only && !deep.suid && deep.recursive && !deep.flags.writable_below);
    assert_eq!(deep.flags.propagation, Some(Propagation::Slave));
    assert!(matches!(&deep.source, MountSource::Path(path) if path == Path::new("/usr")));
    let resources = &config["linux"]["resources"];
    assert_eq!(resources["memory"]["limit"], 64 << 20);
    assert_eq!(resources["pids"]["limit"], 9);
    assert_eq!(resources["cpu"]["quota"], 50_000);
    assert_eq!(config["process"]["consoleSize"], json!({ "height": 5, "width": 6 }));
}

#[test]
fn without_walls_there_are_none() {
    let root = root();
    let mut container = container(root.path());
    container.make_privileged();
    container.ipc = Namespace::Host;
    container.network = Namespace::Join(File::open("/proc/self/ns/net").unwrap().into());
    container.uts = Namespace::Host;
    let config = written(&container, root.path()).unwrap();
    let Namespace::Join(fd) = &container.network else { panic!("it is joined") };
    let path = format!("/proc/1/fd/{}", fd.as_raw_fd());
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({ "type": "network", "path": path })), "{namespaces:?}");
    let has = |kind: &str| namespaces.iter().any(|one| one["type"] == kind);
    assert!(!has("ipc") && !has("uts") && has("pid") && has("mount"));
    assert_eq!(config.get("hostname"), None, "the name is the host's");
    assert_eq!(config["linux"].get("seccomp"), None);
    let rules = &config["linux"]["resources"]["devices"];
    assert_eq!(*rules, json!([{ "allow": true, "access": "rwm" }]));
    let spec: Spec = serde_json::from_value(config).unwrap();
    assert!(super::super::limits::allows_all(&spec.linux.unwrap().resources.unwrap()));
}

#[test]
fn a_hook_never_inherits_variables() {
    let root = root();
    let mut container = container(root.path());
    let bare = Hook { path: "/bin/true".into(), ..Hook::default() };
    let own = Hook { env: vec!["A=1".to_owned()], timeout: Some(3), ..bare.clone() };
    container.hooks.inside = vec![bare, own];
    let config = written(&container, root.path()).unwrap();
    let hooks = &config["hooks"]["createContainer"];
    assert_eq!(hooks[0]["env"], json!([PATH_OF_HOOKS]));
    assert_eq!((&hooks[1]["env"], &hooks[1]["timeout"]), (&json!(["A=1"]), &json!(3)));
}

#[test]
fn what_has_no_words_is_refused() {
    let root = root();
    let mut waits = container(root.path());
    waits.init = true;
    let mut bytes = container(root.path());
    let source = MountSource::Bytes { bytes: Vec::new(), mode: 0, uid: 0, gid: 0 };
    bytes.mounts.push(Mount::new(source, "/x"));
    let mut unknown = container(root.path());
    unknown.devices.push(Device::new("/dev/null"));
    for container in [waits, bytes, unknown] {
        assert!(written(&container, root.path()).is_err(), "{container:?}");
    }
}
