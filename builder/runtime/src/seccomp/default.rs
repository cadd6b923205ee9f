//! Docker's default profile in the words of profiles, for other runtimes.

use super::filter::{Action, Comparison, Condition, Profile, Rule};
use super::holding;
use super::profile::{
    Abi, CLONE_NAMESPACES, ENOSYS, EPERM, PERSONALITIES, REFUSED_FAMILIES, Verdict, verdicts,
};
use crate::caps::Capabilities;

impl Profile {
    /// Docker's default profile for a process with these capabilities.
    ///
    /// Calls that are newer than the profile fail as refused ones do; with the filter of this crate
    /// they look absent.
    pub fn docker_default(held: Capabilities) -> Self {
        let mut allowed = Vec::new();
        let mut rules = Vec::new();
        for (name, verdict) in verdicts(&holding(held)) {
            let rule =
                |action, conditions| Rule { names: vec![name.to_owned()], action, conditions };
            match verdict {
                Verdict::Allow => allowed.push(name.to_owned()),
                Verdict::Refuse(ENOSYS) => rules.push(rule(Action::Fail(ENOSYS), Vec::new())),
                Verdict::Refuse(_) => {}
                Verdict::Clone => rules.push(rule(Action::Allow, vec![no_namespaces()])),
                Verdict::Personality => {
                    let equal = |value| compare(Comparison::Equal, value);
                    rules.extend(PERSONALITIES.map(|one| rule(Action::Allow, vec![equal(one)])));
                }
                Verdict::Socket => {
                    rules.extend(families().map(|one| rule(Action::Allow, vec![one])));
                }
            }
        }
        rules.insert(0, Rule { names: allowed, action: Action::Allow, conditions: Vec::new() });
        let architectures = Abi::HERE.map(|abi| abi.name().to_owned()).to_vec();
        Self { default: Action::Fail(EPERM), architectures, flags: Vec::new(), rules }
    }
}

fn compare(comparison: Comparison, value: u32) -> Condition {
    Condition { argument: 0, comparison, value: value.into(), second: 0 }
}

fn no_namespaces() -> Condition {
    compare(Comparison::MaskedEqual, CLONE_NAMESPACES)
}

/// Below the first refused family, between the two, and above the second: of several conditions on
/// one argument not every runtime takes all.
fn families() -> [Condition; 3] {
    let [first, second] = REFUSED_FAMILIES;
    [
        compare(Comparison::Less, first),
        compare(Comparison::Equal, first + 1),
        compare(Comparison::Greater, second),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_true(condition: Condition, argument: u64) -> bool {
        assert_eq!(condition.argument, 0);
        match condition.comparison {
            Comparison::Equal => argument == condition.value,
            Comparison::Less => argument < condition.value,
            Comparison::Greater => argument > condition.value,
            Comparison::MaskedEqual => argument & condition.value == condition.second,
            other => panic!("it has {other:?}"),
        }
    }

    /// The first rule of which all is true.
    fn decided(profile: &Profile, name: &str, argument: u64) -> Action {
        let about = |rule: &&Rule| {
            rule.names.iter().any(|known| known == name)
                && rule.conditions.iter().all(|one| is_true(*one, argument))
        };
        profile.rules.iter().find(about).map_or(profile.default, |rule| rule.action)
    }

    #[test]
    fn the_profile_agrees_with_the_table() {
        let refused = Action::Fail(EPERM);
        for held in [Capabilities::docker_default(), Capabilities::all(), Capabilities::none()] {
            let profile = Profile::docker_default(held);
            profile.compile().unwrap();
            assert_eq!(decided(&profile, "no_such_call", 0), refused);
            for (name, verdict) in verdicts(&holding(held)) {
                for argument in [0, 1, 8, 37, 38, 39, 40, 41, 0x2_0000, 0x1000_0000, 0xffff_ffff] {
                    let allowed = match verdict {
                        Verdict::Allow => true,
                        Verdict::Refuse(errno) => {
                            assert_eq!(decided(&profile, name, argument), Action::Fail(errno));
                            continue;
                        }
                        Verdict::Clone => argument & u64::from(CLONE_NAMESPACES) == 0,
                        Verdict::Personality => {
                            PERSONALITIES.iter().any(|one| u64::from(*one) == argument)
                        }
                        Verdict::Socket => {
                            !REFUSED_FAMILIES.iter().any(|one| u64::from(*one) == argument)
                        }
                    };
                    let expected = if allowed { Action::Allow } else { refused };
                    assert_eq!(decided(&profile, name, argument), expected, "{name} {argument:#x}");
                }
            }
        }
    }
}
