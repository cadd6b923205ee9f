//! Who builds and runs here: root, or an ordinary user as the root of a user namespace.

use std::fs;

use rbuild_runtime::userns::{self, Lack};

use super::Finding;
use crate::container::network::{NoPasta, find_pasta};
use crate::rootless;

/// The part of the machine that this file is about.
const PART: &str = "user";

/// Switches by which a kernel keeps ordinary users from namespaces, the value that does, and what
/// turns them.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "`sudo sysctl -w kernel.unprivileged_userns_clone=1`",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "`sudo sysctl -w user.max_user_namespaces=10000`"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
];

pub(super) fn find() -> Finding {
    if !rustix::process::geteuid().is_root() {
        let reason = rootless::refusal().unwrap_or("this is an ordinary user");
        return judge_refusal(reason, |file| fs::read_to_string(file).ok());
    }
    if userns::is_initial() {
        return Finding::good(PART, "this is root");
    }
    let others = userns::users().saturating_sub(1);
    judge_user(userns::user(), others, || userns::lack(userns::user()))
}

/// Judges why an ordinary user cannot become root anywhere.
fn judge_refusal(reason: &str, read: impl Fn(&str) -> Option<String>) -> Finding {
    let is_set = |(file, value, _): &&(&str, &str, &str)| {
        read(file).is_some_and(|text| text.trim() == *value)
    };
    let fix = SWITCHES.iter().find(is_set).map_or(
        "run it with `sudo`: this machine lets no ordinary user have namespaces, as most \
         containers do not",
        |(_, _, fix)| fix,
    );
    Finding::broken(PART, reason, fix)
}

fn judge_user(user: u32, others: u64, lack: impl Fn() -> Option<Lack>) -> Finding {
    if others > 0 {
        let seen = format!("user {user} is root in a user namespace, with {others} users below it");
        return Finding::good(PART, seen);
    }
    let lack = lack();
    let fix = match &lack {
        Some(Lack::Mapper(_)) => "`sudo apt-get install uidmap`".to_owned(),
        Some(Lack::Range { user, .. }) => format!(
            "`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`, with \
             numbers that no other line of `/etc/subuid` has"
        ),
        _ => "stop this user's containers, so that the namespace is made anew".to_owned(),
    };
    let reason = lack.map(|lack| format!(": {lack}")).unwrap_or_default();
    let seen = format!(
        "user {user} is root in a user namespace, and the only user there, so all files of images \
         become root's{reason}"
    );
    Finding::missing(PART, seen, fix)
}

/// Whether containers can have a network of their own.
pub(super) fn networks() -> Finding {
    let part = "networks";
    match find_pasta() {
        Ok(()) => Finding::good(part, "`pasta` connects containers"),
        Err(lack) => {
            let fix = match lack {
                NoPasta::Program => "`sudo apt-get install passt`",
                NoPasta::Device { .. } => "`sudo modprobe tun`, and `sudo chmod 666 /dev/net/tun`",
            };
            let fix =
                format!("{fix}; without it containers use the host's network and no ports of it");
            Finding::missing(part, lack.to_string(), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn each_lack_has_its_fix() {
        let fix = |lack: Lack| judge_user(1001, 0, || Some(lack.clone())).fix.unwrap();
        assert!(fix(Lack::Mapper("newuidmap")).contains("install uidmap"));
        let range = Lack::Range { file: "/etc/subuid", user: "ann".to_owned() };
        assert!(fix(range.clone()).contains("--add-subuids 100000-165535"));
        let finding = judge_user(1001, 0, || Some(range.clone()));
        assert_eq!(finding.health, Health::Missing);
        assert!(finding.seen.ends_with("`/etc/subuid` has no line for ann"), "{finding:?}");
        assert_eq!(judge_user(1001, 65_536, || None).health, Health::Good);
    }

    #[test]
    fn the_switch_that_forbids_namespaces_is_named() {
        let fix = |switch: &str| {
            let finding = judge_refusal("no", |file| {
                let value =
                    if file.ends_with("restrict_unprivileged_userns") { "1\n" } else { "0\n" };
                file.ends_with(switch).then(|| value.to_owned())
            });
            assert_eq!(finding.health, Health::Broken);
            finding.fix.unwrap()
        };
        for (switch, _, turns) in SWITCHES {
            assert_eq!(fix(switch), turns);
        }
        assert!(fix("none of them").contains("sudo"));
    }
}
