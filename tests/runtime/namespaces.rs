//! Namespaces that bundles have of their own, share with the host, or join by a path.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};

use rbuild_testkit::eventually;
use serde_json::json;

use super::{config, types, with_root};

/// What runs until the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mounts_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap()
}

#[test]
fn users_of_a_container_are_others_on_the_host() {
    let home = with_root();
    home.types("chown -R 100000:100000 rootfs").ok();
    let mut config = config(
        "id -u; echo $(cat /proc/self/uid_map); echo hi >/made; hostname inner && hostname; \
         echo x >/dev/null; \
         while read -r a b c d place rest; do echo $place; done </proc/self/mountinfo >/mounts",
    );
    for set in ["bounding", "permitted", "effective"] {
        config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN", "CAP_KILL"]);
    }
    let id = format!("users-{}", std::process::id());
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({ "type": "user" }));
    let refused = types(&home, &config, &format!("run {id}")).fails(1);
    assert!(refused.contains("takes a user and a group 0"), "{refused}");
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    let ran = types(&home, &config, &format!("run {id}"));
    assert_eq!(ran.stdout, "0\n0 100000 1000\ninner\n", "{ran}");
    assert_eq!(fs::metadata(home.path("rootfs/made")).unwrap().uid(), 100_000);
    let mounts = home.read("rootfs/mounts");
    assert_eq!(mounts.lines().filter(|place| *place == "/").count(), 1, "{mounts}");

    config["process"]["args"] = json!(["sleep", "1000"]);
    types(&home, &config, &format!("run -d {id} >/dev/null 2>&1")).ok();
    let inner = "echo $(id -u) $(cat /proc/self/uid_map); echo x >/by-exec";
    let said = types(&home, &config, &format!("exec {id} sh -c '{inner}'")).ok();
    assert_eq!(said, "0 0 100000 1000");
    assert_eq!(fs::metadata(home.path("rootfs/by-exec")).unwrap().uid(), 100_000);
    types(&home, &config, &format!("delete --force {id}")).ok();
    config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
    config["hostname"] = json!("");
    let refused = types(&home, &config, &format!("run {id}")).fails(1);
    assert!(refused.contains("take a user namespace"), "{refused}");
}

/// A root is neither mounted among the host's mounts nor among those of a namespace that is joined.
#[test]
fn others_mounts_are_shared_and_not_changed() {
    let home = with_root();
    let other = Running(Command::new("unshare").args(["-m", "sleep", "1000"]).spawn().unwrap());
    let other = &other.0;
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    let namespace = format!("/proc/{}/ns/mnt", other.id());
    eventually("it has mounts of its own", || {
        (fs::read_link(&namespace).ok()? != own).then_some(())
    });
    for (namespaces, holder) in [
        (json!([{ "type": "pid" }]), std::process::id()),
        (json!([{ "type": "pid" }, { "type": "mount", "path": namespace }]), other.id()),
    ] {
        let before = mounts_of(holder);
        let mut config = config("sleep 1000");
        config["linux"]["namespaces"] = namespaces;
        config["linux"]["readonlyPaths"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["hostname"] = json!("");
        // The file systems of the kernel are those of others as well then.
        config["mounts"] = json!([
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/t", "type": "tmpfs", "source": "tmpfs" },
        ]);
        let id = format!("shared-{}", std::process::id());
        types(&home, &config, &format!("run -d --pid-file pid {id} >/dev/null 2>&1")).ok();
        let pid: u32 = home.read("pid").parse().unwrap();
        let held = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
        assert_eq!(held(pid), held(holder));
        assert_eq!(mounts_of(holder), before, "nothing is mounted there");
        let said = types(&home, &config, &format!("exec {id} sh -c 'ls /; ls /proc/1/comm'")).ok();
        assert!(said.starts_with("bin\ndev\netc\n"), "its root is its own: {said}");
        assert!(said.ends_with("/proc/1/comm"), "{said}");
        types(&home, &config, &format!("delete --force {id}")).ok();
        assert_eq!(mounts_of(holder), before);
    }
}

#[test]
fn clocks_may_differ_and_are_joined_by_a_path() {
    let home = with_root();
    let script = "read -r up rest </proc/uptime; echo ${up%%.*}";
    let mut config = config(script);
    let uptime = |said: String| said.trim().parse::<u64>().unwrap();
    let hosts = uptime(types(&home, &config, "run plain").ok());
    let later = hosts + 3_000_000;
    config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 3_000_000, "nanosecs": 5 } });
    assert!(types(&home, &config, "run late").fails(1).contains("time namespace"));
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({ "type": "time" }));
    assert!(uptime(types(&home, &config, "run late").ok()) >= later);

    let id = format!("clocks-{}", std::process::id());
    config["process"]["args"] = json!(["sleep", "1000"]);
    types(&home, &config, &format!("run -d --pid-file pid {id} >/dev/null 2>&1")).ok();
    let said = types(&home, &config, &format!("exec {id} sh -c '{script}'")).ok();
    assert!(uptime(said) >= later);
    let mut other = super::config(script);
    let path = format!("/proc/{}/ns/time", home.read("pid"));
    let namespaces = other["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({ "type": "time", "path": path }));
    assert!(uptime(types(&home, &other, "run joined").ok()) >= later);
    types(&home, &config, &format!("delete --force {id}")).ok();
    config["linux"]["timeOffsets"] = json!({ "realtime": { "secs": 1 } });
    assert!(types(&home, &config, "run odd").fails(1).contains("realtime"));
}
