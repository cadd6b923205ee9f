//! The parts of the machine, each tried as it is used.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rbuild_cache::Store;
use rbuild_runtime::cgroup::{Cgroup, DEFAULT_PARENT, Limits};
use rbuild_runtime::network::{Family, Links, Table, new_namespace};
use rbuild_runtime::userns;

use super::Finding;
use crate::cdi;
use crate::container::chain;
use crate::emulation::{self, Runs};
use crate::platform::{self, Platform};

/// The kinds of namespaces that a container has of its own.
const NAMESPACES: [&str; 5] = ["mnt", "pid", "ipc", "uts", "net"];

pub(super) fn namespaces() -> Finding {
    let limit = |kind: &&str| {
        fs::read_to_string(format!("/proc/sys/user/max_{kind}_namespaces"))
            .is_ok_and(|text| text.trim() != "0")
    };
    judge_namespaces(&NAMESPACES.into_iter().filter(|kind| !limit(kind)).collect::<Vec<_>>())
}

fn judge_namespaces(lacking: &[&str]) -> Finding {
    let part = "namespaces";
    if lacking.is_empty() {
        return Finding::good(part, "mount, pid, ipc, uts, net");
    }
    let seen = format!("the kernel allows none of these kinds: {}", lacking.join(", "));
    let fix = format!("`sysctl -w user.max_{}_namespaces=10000`, as for the others", lacking[0]);
    Finding::broken(part, seen, fix)
}

/// Mounts an overlay whose changes go into a layer of the store, as every step does.
pub(super) fn overlay(store: &Store) -> Finding {
    let part = "overlay";
    let mounted = store.stage().and_then(|staged| store.writable(&[], &staged).map(drop));
    match mounted {
        Ok(()) => Finding::good(part, format!("mounts over {}", store.root().display())),
        Err(error) => {
            let fix = "the kernel must be 6.8 or newer with overlayfs, and the store on ext4, xfs, \
                       btrfs or tmpfs: `--root FOLDER` names another place";
            Finding::broken(part, chain(&error), fix)
        }
    }
}

pub(super) fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    judge_seccomp(actions.ok().as_deref())
}

fn judge_seccomp(actions: Option<&str>) -> Finding {
    let part = "seccomp";
    match actions {
        Some(actions) if actions.split_whitespace().any(|action| action == "errno") => {
            Finding::good(part, "filters of system calls")
        }
        _ => Finding::broken(
            part,
            "the kernel has no filters of system calls",
            "it must be built with CONFIG_SECCOMP_FILTER; `--security-opt seccomp=unconfined` \
             runs a container without",
        ),
    }
}

/// Makes a group with limits, and removes it.
pub(super) fn cgroups() -> Finding {
    let part = "cgroups";
    let limits = Limits {
        memory: Some(64 << 20),
        cpu_quota: Some(10_000),
        processes: Some(10),
        ..Limits::default()
    };
    let path = format!("{DEFAULT_PARENT}/doctor-{}", std::process::id());
    let fix = if userns::is_initial() {
        "mount cgroup2 at /sys/fs/cgroup (systemd does), and in a container give it \
         `--cgroupns=private`; only limits such as `--memory` need it"
    } else {
        "run rbuild by `systemd-run --user --scope`, where version 2 of cgroups is mounted; only \
         limits such as `--memory` need it"
    };
    match Cgroup::create(&path, &limits).and_then(Cgroup::remove) {
        Ok(()) => Finding::good(part, "limits on memory, processors and processes"),
        Err(error) => Finding::missing(part, chain(&error), fix),
    }
}

/// Makes a bridge and a table of rules in a network of its own, which is gone afterwards.
pub(super) fn networks() -> Finding {
    let part = "networks";
    let table = Table { family: Family::V4, name: "doctor".to_owned(), chains: Vec::new() };
    let tried = new_namespace(|| {
        Links::open()?.add_bridge("doctor0", 1500)?;
        table.install()
    });
    match tried {
        Ok(_) => Finding::good(part, "bridges and nf_tables"),
        Err(error) => Finding::missing(
            part,
            chain(&error),
            "`modprobe bridge veth nf_tables nft_masq nft_nat`; without them `--network host` and \
             `--network none` still work",
        ),
    }
}

/// The platforms for which people build on others.
const COMMON: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386"];

pub(super) fn emulation() -> Finding {
    let host = platform::host();
    let others = COMMON.iter().filter_map(|text| text.parse::<Platform>().ok());
    let others = others.filter(|other| *other != host);
    judge_emulation(&host, others.map(|other| (emulation::find(&other), other)).collect())
}

fn judge_emulation(host: &Platform, found: Vec<(Runs, Platform)>) -> Finding {
    let part = "platforms";
    let mut runs = vec![host.to_string()];
    let mut absent = Vec::new();
    let mut fix = None;
    for (how, platform) in found {
        match how {
            Runs::Natively => runs.push(platform.to_string()),
            Runs::Emulated(name) | Runs::EmulatedBy { name, .. } => {
                runs.push(format!("{platform} ({name})"));
            }
            Runs::Not(obstacle) => {
                fix = fix.or_else(|| Some(obstacle.hint(platform.architecture())));
                absent.push(platform.to_string());
            }
        }
    }
    let seen = format!("RUN works for {}", runs.join(", "));
    match fix {
        None => Finding::good(part, seen),
        Some(fix) => Finding::missing(part, format!("{seen}; not for {}", absent.join(", ")), fix),
    }
}

pub(super) fn gpus() -> Finding {
    let part = "GPUs";
    let described =
        |folder: &&str| fs::read_dir(folder).is_ok_and(|files| files.flatten().next().is_some());
    let has_node = Path::new("/dev/nvidiactl").exists() || Path::new("/dev/nvhost-gpu").exists();
    match (has_node, cdi::FOLDERS.iter().find(|folder| described(folder))) {
        (_, Some(folder)) => Finding::good(part, format!("described in {folder}")),
        (true, None) => Finding::good(part, "NVIDIA's driver is there"),
        (false, None) => Finding::missing(
            part,
            "none is described, and no driver of NVIDIA's is loaded",
            "only `--gpus` and `--device vendor/class=name` need one",
        ),
    }
}

pub(super) fn git() -> Finding {
    let part = "git";
    let ran = Command::new("git").arg("--version").stderr(Stdio::null()).output();
    match ran {
        Ok(ran) if ran.status.success() => {
            Finding::good(part, String::from_utf8_lossy(&ran.stdout).trim().to_owned())
        }
        _ => Finding::missing(
            part,
            "`git` is not installed",
            "`apt-get install git`; only contexts and `ADD` of repositories need it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;
    use crate::emulation::Obstacle;

    #[test]
    fn what_is_needed_is_told_apart_from_what_is_not() {
        assert_eq!(judge_namespaces(&[]).health, Health::Good);
        let lacking = judge_namespaces(&["pid", "net"]);
        assert_eq!(lacking.health, Health::Broken);
        assert!(lacking.seen.ends_with("pid, net"), "{lacking:?}");
        assert!(lacking.fix.unwrap().contains("user.max_pid_namespaces"));
        assert_eq!(judge_seccomp(Some("kill_process errno allow")).health, Health::Good);
        assert_eq!(judge_seccomp(Some("allow")).health, Health::Broken);
        assert_eq!(judge_seccomp(None).health, Health::Broken);
    }

    #[test]
    fn platforms_are_told_with_their_emulators() {
        let host: Platform = "linux/amd64".parse().unwrap();
        let platform = |text: &str| -> Platform { text.parse().unwrap() };
        let emulated = (Runs::Emulated("qemu-aarch64".to_owned()), platform("linux/arm64"));
        let finding = judge_emulation(&host, vec![emulated.clone()]);
        assert_eq!(finding.health, Health::Good);
        assert_eq!(finding.seen, "RUN works for linux/amd64, linux/arm64 (qemu-aarch64)");
        let not = (Runs::Not(Obstacle::NoInterpreter), platform("linux/386"));
        let finding = judge_emulation(&host, vec![emulated, not]);
        assert_eq!(finding.health, Health::Missing);
        assert!(finding.seen.ends_with("; not for linux/386"), "{finding:?}");
        assert!(finding.fix.unwrap().contains("qemu-user-static"));
    }

    #[test]
    fn trying_leaves_nothing_behind() {
        let store = Store::temporary().unwrap();
        overlay(&store);
        cgroups();
        let staged = fs::read_dir(store.root().join("layers")).unwrap().count();
        assert_eq!(staged, 0);
        let name = format!("doctor-{}", std::process::id());
        let groups = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        let mut folders: Vec<_> = groups.map(|entry| entry.path()).collect();
        folders.push("/sys/fs/cgroup".into());
        for folder in folders {
            assert!(!folder.join(DEFAULT_PARENT).join(&name).exists(), "{}", folder.display());
        }
    }
}
