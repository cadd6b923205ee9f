//! What the kernel lets this process do to files: all, or what root of a user namespace may.
//!
//! An ordinary user builds as the root of a namespace of its own. There overlays keep their notes in
//! attributes of users, device nodes cannot be made, and only some owners exist.

use std::fs;
use std::sync::OnceLock;

/// The first user namespace, by the inode that every kernel has given it.
const INITIAL: &str = "user:[4026531837]";

/// By which attribute overlayfs knows a folder that hides what is below it: of root's, and where
/// there is no such privilege.
pub(crate) const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// Whether root is root here: the process is not in a user namespace of its own.
pub fn is_full() -> bool {
    static FULL: OnceLock<bool> = OnceLock::new();
    *FULL.get_or_init(|| {
        // A kernel without user namespaces has no such file.
        fs::read_link("/proc/self/ns/user").map_or(true, |name| name.as_os_str() == INITIAL)
    })
}

/// The attribute by which an overlay that this process mounts knows such a folder. This is the one
/// place that decides it.
pub fn opaque() -> &'static str {
    OPAQUE[usize::from(!is_full())]
}

/// Whether a user and a group exist here, so that they can own files.
pub fn has_owner(user: u32, group: u32) -> bool {
    is_full() || (owners().users.contains(user) && owners().groups.contains(group))
}

/// Whether root is the only user here.
pub fn is_single() -> bool {
    !is_full() && owners().users.count() < 2
}

/// Why an owner cannot own files here, and what helps.
pub fn no_owner(user: u32, group: u32) -> String {
    let last = owners().users.count().min(owners().groups.count()).saturating_sub(1);
    let help = if is_single() {
        "give this user a line in `/etc/subuid` and `/etc/subgid`: `rbuild doctor` says which"
    } else {
        "give this user longer ranges in `/etc/subuid` and `/etc/subgid`"
    };
    format!(
        "the owner {user}:{group} does not exist for this user, whose last one is {last}; {help}"
    )
}

/// The numbers that exist in this process's user namespace.
struct Owners {
    users: Numbers,
    groups: Numbers,
}

fn owners() -> &'static Owners {
    static OWNERS: OnceLock<Owners> = OnceLock::new();
    OWNERS.get_or_init(|| {
        let read = |path| Numbers::parse(&fs::read_to_string(path).unwrap_or_default());
        Owners { users: read("/proc/self/uid_map"), groups: read("/proc/self/gid_map") }
    })
}

/// Numbers in ranges: the first one, and how many.
#[derive(Debug, PartialEq, Eq)]
struct Numbers(Vec<(u32, u32)>);

impl Numbers {
    fn parse(map: &str) -> Self {
        let range = |line: &str| {
            let mut fields = line.split_whitespace();
            Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
        };
        Self(map.lines().filter_map(range).collect())
    }

    fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|(first, count)| number >= *first && number - first < *count)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_map_exist() {
        let numbers = Numbers::parse("         0       1001          1\n1 100000 65536\nodd\n");
        assert_eq!(numbers, Numbers(vec![(0, 1), (1, 65_536)]));
        assert_eq!(numbers.count(), 65_537);
        for (number, exists) in [(0, true), (1, true), (65_536, true), (65_537, false)] {
            assert_eq!(numbers.contains(number), exists, "{number}");
        }
        assert!(Numbers::parse("0 0 4294967295").contains(u32::MAX - 1));
    }
}
