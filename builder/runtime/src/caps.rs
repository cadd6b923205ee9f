//! Sets of Linux capabilities, and giving them up.

pub(crate) mod names;

use std::fmt;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets as Kernel, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error};
use names::{DEFAULT, NAMES};

/// A set of capabilities: the bounding, permitted and effective set of a process.
///
/// The inheritable and the ambient set are empty unless there are [`CapabilitySets`].
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(u64);

impl Capabilities {
    /// The fourteen of Docker's default sandbox.
    pub fn docker_default() -> Self {
        DEFAULT.iter().fold(Self::none(), |set, name| set.with_bit(number(name)))
    }

    /// Everything that this process could give: `--privileged`, `RUN --security=insecure`.
    pub fn all() -> Self {
        Self(u64::MAX)
    }

    /// The empty set.
    pub fn none() -> Self {
        Self(0)
    }

    /// The names of all that the kernel knew when this was written, as `CAP_CHOWN`.
    pub fn names() -> Vec<String> {
        NAMES.iter().map(|name| format!("CAP_{name}")).collect()
    }

    /// The names of those that this process has itself, as `CAP_CHOWN`.
    pub fn names_of_own(self) -> Result<Vec<String>, Error> {
        let own = self.within_own().doing(|| "read own capabilities")?;
        let held = NAMES.iter().enumerate().filter(|(bit, _)| own.0 >> bit & 1 == 1);
        Ok(held.map(|(_, name)| format!("CAP_{name}")).collect())
    }

    /// The set with those of `other` as well.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without those of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set has all of `other`.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set without those that this process lacks, and so cannot give.
    pub(crate) fn within_own(self) -> Result<Self, Errno> {
        let own = rustix::thread::capabilities(None)?.permitted;
        Ok(Self(self.0 & own.bits()))
    }

    /// Takes the rest out of the bounding set: no program that is executed can give them back.
    pub(crate) fn bound(self) -> Result<(), Errno> {
        for bit in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            if self.0 >> bit & 1 == 1 {
                continue;
            }
            match remove_capability_from_bounding_set(one) {
                // Above the kernel's last one.
                Err(Errno::INVAL) => break,
                done => done?,
            }
        }
        Ok(())
    }

    fn with_bit(self, number: Option<usize>) -> Self {
        number.map_or(self, |bit| Self(self.0 | 1 << bit))
    }
}

/// The sets of capabilities of a process, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// What it and its children can ever have.
    pub bounding: Capabilities,
    /// What it can take.
    pub permitted: Capabilities,
    /// What it has taken.
    pub effective: Capabilities,
    /// What programs whose files say so can inherit.
    pub inheritable: Capabilities,
    /// What programs inherit whatever their files say.
    pub ambient: Capabilities,
}

impl CapabilitySets {
    /// Those of a process that holds all of `held`, with nothing inheritable or ambient.
    pub(crate) fn holding(held: Capabilities) -> Self {
        let none = Capabilities::none();
        let (bounding, permitted, effective) = (held, held, held);
        Self { bounding, permitted, effective, inheritable: none, ambient: none }
    }

    /// The sets without what this process lacks, and so cannot give.
    pub(crate) fn within_own(self) -> Result<Self, Errno> {
        Ok(Self {
            bounding: self.bounding.within_own()?,
            permitted: self.permitted.within_own()?,
            effective: self.effective.within_own()?,
            inheritable: self.inheritable.within_own()?,
            ambient: self.ambient.within_own()?,
        })
    }

    /// Makes them those of this process, but for the bounding set.
    pub(crate) fn hold(self) -> Result<(), Errno> {
        let bits = |set: Capabilities| CapabilitySet::from_bits_retain(set.0);
        set_capabilities(
            None,
            Kernel {
                effective: bits(self.effective),
                permitted: bits(self.permitted),
                inheritable: bits(self.inheritable),
            },
        )?;
        // The kernel lets only those be ambient that are inheritable, too.
        let ambient = self.ambient.0 & self.inheritable.0 & self.permitted.0;
        for one in (0..u64::BITS).map(|bit| 1 << bit).filter(|one| ambient & one != 0) {
            configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(one), true)?;
        }
        Ok(())
    }
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// Reads one name, with or without `CAP_`, in any case; `ALL` is the full set.
impl FromStr for Capabilities {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            return Ok(Self::all());
        }
        let bit = number(name).ok_or_else(|| UnknownCapability(text.to_owned()))?;
        Ok(Self(1 << bit))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = NAMES.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1);
        f.debug_set().entries(held.map(|(_, name)| name)).finish()
    }
}

/// No capability of the kernel has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub struct UnknownCapability(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sets() {
        let default = Capabilities::docker_default();
        assert_eq!(default.0.count_ones(), 14);
        assert_eq!(default.0, 0xa804_25fb);
        let admin: Capabilities = "cap_sys_admin".parse().unwrap();
        assert_eq!(admin.0, 1 << 21);
        assert!(!default.contains(admin));
        assert!(default.with(admin).contains(admin));
        assert_eq!(default.with(admin).without(admin), default);
        assert_eq!("ALL".parse(), Ok(Capabilities::all()));
        assert!("CAP_".parse::<Capabilities>().is_err());
        assert_eq!(format!("{admin:?}"), "{\"SYS_ADMIN\"}");
    }
}
