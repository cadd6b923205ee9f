//! The default profile as a table: which call of which ABI is allowed, and on what condition.

use std::collections::HashMap;

/// Each line one call; `profile.tsv` says what the columns are.
const TABLE: &str = include_str!("profile.tsv");
/// The highest number that is known on every ABI; above it a call is newer than the profile, and
/// must look absent so that C libraries fall back to an older one.
pub(super) const HIGHEST: u32 = 469;
/// The `CLONE_NEW*` flags that a process without `CAP_SYS_ADMIN` may not use.
pub(super) const CLONE_NAMESPACES: u32 = 0x7e02_0000;
/// The values that `personality(2)` is allowed: Linux, 32-bit address space, their forms without
/// address randomization, and the question.
pub(super) const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];
/// `AF_ALG` and `AF_VSOCK`: the socket families that are refused.
pub(super) const REFUSED_FAMILIES: [u32; 2] = [38, 40];

/// Whether a process has a capability, by its name without `CAP_`.
pub(super) type Holds<'a> = &'a dyn Fn(&str) -> bool;

/// A calling convention of the kernel, by its column in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "each machine uses two"))]
pub(super) enum Abi {
    X86_64,
    I386,
    Aarch64,
    Arm,
}

impl Abi {
    /// Those that programs can use on this machine, the native one first.
    #[cfg(target_arch = "x86_64")]
    pub(super) const HERE: [Self; 2] = [Self::X86_64, Self::I386];
    /// Those that programs can use on this machine, the native one first.
    #[cfg(target_arch = "aarch64")]
    pub(super) const HERE: [Self; 2] = [Self::Aarch64, Self::Arm];

    /// Its name in profiles.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::I386 => "SCMP_ARCH_X86",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The kernel's `AUDIT_ARCH_*`.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// Fails with this error number.
    Refuse(u16),
    /// Allowed without a flag of [`CLONE_NAMESPACES`].
    Clone,
    /// Allowed for [`PERSONALITIES`].
    Personality,
    /// Allowed but for [`REFUSED_FAMILIES`].
    Socket,
}

pub(super) const EPERM: u16 = 1;
pub(super) const ENOSYS: u16 = 38;

/// The verdict on every listed call of an ABI, sorted by number.
pub(super) fn listed(abi: Abi, holds: Holds<'_>) -> Vec<(u32, Verdict)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let mut calls: Vec<_> = lines
        .filter_map(|line| {
            let mut columns = line.split('\t').skip(1);
            let rule = columns.next()?;
            let number = columns.nth(abi as usize)?.parse().ok()?;
            Some((number, judge(rule, holds)))
        })
        .collect();
    calls.sort_by_key(|(number, _)| *number);
    // Arm has one call under two names.
    calls.dedup();
    calls
}

/// The verdict on every listed call by its name.
pub(super) fn verdicts(holds: Holds<'_>) -> impl Iterator<Item = (&'static str, Verdict)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(move |line| {
        let mut columns = line.split('\t');
        Some((columns.next()?, judge(columns.next()?, holds)))
    })
}

/// The verdict on a number that is not listed.
pub(super) fn unlisted(number: u32) -> Verdict {
    Verdict::Refuse(if number > HIGHEST { ENOSYS } else { EPERM })
}

/// The numbers of all calls that the ABI has, by their names.
pub(super) fn numbers(abi: Abi) -> HashMap<&'static str, u32> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let numbers = lines.filter_map(|line| {
        let mut columns = line.split('\t');
        Some((columns.next()?, columns.nth(1 + abi as usize)?.parse().ok()?))
    });
    numbers.collect()
}

fn judge(rule: &str, holds: Holds<'_>) -> Verdict {
    match rule {
        "*" => Verdict::Allow,
        "clone" | "clone3" if holds("SYS_ADMIN") => Verdict::Allow,
        "clone" => Verdict::Clone,
        "clone3" => Verdict::Refuse(ENOSYS),
        "personality" => Verdict::Personality,
        "socket" => Verdict::Socket,
        names if names.split('|').any(holds) => Verdict::Allow,
        _ => Verdict::Refuse(EPERM),
    }
}
