//! Pretending, where there is one user only, that files can be given away and devices made.
//!
//! Package managers give files to users of their own and do without their programs if that fails.
//! Here the kernel says that it is done and does nothing, so that everything stays root's.

use crate::error::Result;
use crate::seccomp::{Action, Comparison, Condition, Profile, Rule};
use crate::sys;

/// What gives files to others, and what joins groups.
const GIVING: [&str; 8] =
    ["chown", "chown32", "fchown", "fchown32", "fchownat", "lchown", "lchown32", "setgroups"];
/// What makes devices, and which argument says what is made.
const MAKING: [(&str, u8); 2] = [("mknod", 1), ("mknodat", 2)];
const ABIS: [&str; 3] = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"];

/// Puts this process under a filter by which such calls succeed without being made.
pub(crate) fn pretend() -> Result<()> {
    use crate::error::Doing;
    let filter = profile().compile()?;
    let installed = sys::install_filter(&mut filter.code(), filter.flags);
    installed.doing(|| "install the filter for the only user")
}

fn profile() -> Profile {
    let done = Action::Fail(0);
    let giving = GIVING.map(str::to_owned).to_vec();
    let mut rules = vec![Rule { names: giving, action: done, conditions: Vec::new() }];
    for (name, argument) in MAKING {
        for kind in [libc::S_IFCHR, libc::S_IFBLK] {
            let is_device = Condition {
                argument,
                comparison: Comparison::MaskedEqual,
                value: libc::S_IFMT.into(),
                second: kind.into(),
            };
            let (names, conditions) = (vec![name.to_owned()], vec![is_device]);
            rules.push(Rule { names, action: done, conditions });
        }
    }
    let architectures = ABIS.map(str::to_owned).to_vec();
    Profile { default: Action::Allow, architectures, flags: Vec::new(), rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_of_devices_only() {
        let profile = profile();
        assert!(profile.compile().is_ok());
        let conditions = profile.rules.iter().filter(|rule| rule.names[0] == "mknodat");
        let kinds: Vec<_> = conditions.map(|rule| rule.conditions[0].second).collect();
        assert_eq!(kinds, [u64::from(libc::S_IFCHR), u64::from(libc::S_IFBLK)]);
    }
}
