//! Profiles of others, such as an OCI bundle brings: any action, any condition on arguments.

use std::collections::BTreeMap;

use libc::sock_filter;
use serde::{Deserialize, Serialize};

use super::compile::{JUMP_IF_EQUAL, JUMP_IF_GREATER_OR_EQUAL, by_abi, give, jump, load, search};
use super::profile::{Abi, ENOSYS, HIGHEST, numbers};
use crate::error::{Error, Result};

const JUMP_IF_GREATER: u16 = 0x25;
const AND: u16 = 0x54;
/// Where `struct seccomp_data` has the arguments, eight bytes each.
const ARGUMENTS_AT: u32 = 16;
/// The most instructions that the kernel takes.
const MOST_INSTRUCTIONS: usize = 4096;
/// From here on x86-64 has the calls of another ABI, which no rule is about.
const FIRST_OF_X32: u32 = 0x4000_0000;

/// Which calls are let through and what happens to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to a call that no rule is about.
    pub default: Action,
    /// The calling conventions that may be used besides this machine's own, as `SCMP_ARCH_X86`.
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_*` by their names.
    pub flags: Vec<String>,
    /// The rules; the first of which all is true decides.
    pub rules: Vec<Rule>,
}

/// What happens to some calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of calls; those that no kernel has are left out.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// What must be true of the arguments.
    pub conditions: Vec<Condition>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It is made.
    Allow,
    /// It is made and logged.
    Log,
    /// It fails with this error number.
    Fail(u16),
    /// The thread is killed.
    KillThread,
    /// The process is killed.
    KillProcess,
    /// The process gets `SIGSYS`.
    Trap,
    /// A tracer is asked, with this message.
    Trace(u16),
}

/// What must be true of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what; of [`Comparison::MaskedEqual`] the mask.
    pub value: u64,
    /// Of [`Comparison::MaskedEqual`] what is left under the mask.
    pub second: u64,
}

/// How an argument is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    MaskedEqual,
}

/// A profile as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    code: Vec<(u16, u8, u8, u32)>,
    pub(crate) flags: u64,
}

impl Filter {
    pub(crate) fn code(&self) -> Vec<sock_filter> {
        let one = |&(code, jt, jf, k): &_| sock_filter { code, jt, jf, k };
        self.code.iter().map(one).collect()
    }
}

/// The rules about one call: what must hold, and what happens then.
type List = Vec<(Vec<Condition>, Action)>;

/// What is decided about a number: by rules, or the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Rules(usize),
    Always(Action),
}

impl Profile {
    /// Turns the profile into a program.
    pub fn compile(&self) -> Result<Filter> {
        let mut abis = vec![Abi::HERE[0]];
        let known = |abi: &Abi| self.architectures.iter().any(|name| name == abi.name());
        abis.extend(Abi::HERE.into_iter().skip(1).filter(known));
        let mut flags = 0;
        for flag in &self.flags {
            flags |= match flag.as_str() {
                "SECCOMP_FILTER_FLAG_TSYNC" => libc::SECCOMP_FILTER_FLAG_TSYNC,
                "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                other => return Err(Error::Invalid(format!("unknown seccomp flag {other:?}"))),
            };
        }
        let code = self.code(&abis);
        if code.len() > MOST_INSTRUCTIONS {
            return Err(Error::Invalid("the seccomp profile is too long for the kernel".into()));
        }
        let code = code.iter().map(|one| (one.code, one.jt, one.jf, one.k)).collect();
        #[expect(clippy::unnecessary_cast, reason = "its type is not the same everywhere")]
        Ok(Filter { code, flags: flags as u64 })
    }

    fn code(&self, abis: &[Abi]) -> Vec<sock_filter> {
        by_abi(abis, |abi| {
            let lists = self.lists(abi);
            let mut distinct: Vec<_> = lists.values().collect();
            distinct.sort_unstable();
            distinct.dedup();
            let decide_by = |list: &List| match list.first() {
                Some((conditions, action)) if conditions.is_empty() => Decision::Always(*action),
                _ => Decision::Rules(distinct.binary_search(&list).expect("each list is in it")),
            };
            let decided = lists.iter().map(|(number, list)| (*number, decide_by(list)));
            search(&self.ranges(abi, decided), &|decision| match decision {
                Decision::Always(action) => vec![give(action.verdict())],
                Decision::Rules(at) => decide(distinct[at], self.default),
            })
        })
    }

    /// The rules about each number that has some, in order.
    fn lists(&self, abi: Abi) -> BTreeMap<u32, List> {
        let numbers = numbers(abi);
        let mut lists = BTreeMap::<u32, List>::new();
        for rule in &self.rules {
            for number in rule.names.iter().filter_map(|name| numbers.get(name.as_str())) {
                let list = lists.entry(*number).or_default();
                list.extend(rule.alternatives().into_iter().map(|all| (all, rule.action)));
            }
        }
        lists
    }

    /// All numbers as ranges of equal decision, each by its first number; `decided` has those that
    /// rules are about, in their order.
    fn ranges(
        &self,
        abi: Abi,
        decided: impl Iterator<Item = (u32, Decision)>,
    ) -> Vec<(u32, Decision)> {
        // A call that is newer than the profile must look absent, so that C libraries fall back.
        let newer = match self.default {
            Action::Fail(_) => Action::Fail(ENOSYS),
            other => other,
        };
        let usual = |number| match number {
            FIRST_OF_X32.. if abi == Abi::X86_64 => Decision::Always(Action::Fail(ENOSYS)),
            0..=HIGHEST => Decision::Always(self.default),
            _ => Decision::Always(newer),
        };
        let firsts = [0, HIGHEST + 1, FIRST_OF_X32];
        let mut starts = BTreeMap::from(firsts.map(|number| (number, usual(number))));
        for (number, decision) in decided {
            starts.insert(number, decision);
            starts.entry(number + 1).or_insert_with(|| usual(number + 1));
        }
        let mut ranges: Vec<_> = starts.into_iter().collect();
        ranges.dedup_by_key(|(_, decision)| *decision);
        ranges
    }
}

impl Rule {
    /// The conditions, all of which must hold. Several on one argument are alternatives, as they
    /// are for libseccomp's users.
    fn alternatives(&self) -> Vec<Vec<Condition>> {
        let mut seen = 0_u8;
        let twice = self.conditions.iter().any(|condition| {
            let bit = 1 << (condition.argument & 7);
            let known = seen & bit != 0;
            seen |= bit;
            known
        });
        if twice {
            self.conditions.iter().map(|condition| vec![*condition]).collect()
        } else {
            vec![self.conditions.clone()]
        }
    }
}

impl Action {
    fn verdict(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Log => libc::SECCOMP_RET_LOG,
            Self::Fail(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Self::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            Self::Trap => libc::SECCOMP_RET_TRAP,
            Self::Trace(message) => libc::SECCOMP_RET_TRACE | u32::from(message),
        }
    }
}

/// The rules one after the other, each of which goes on to the next where it does not hold.
fn decide(rules: &[(Vec<Condition>, Action)], default: Action) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for (conditions, action) in rules {
        let mut block = vec![give(action.verdict())];
        for condition in conditions.iter().rev() {
            let mut test = condition.code(block.len());
            test.append(&mut block);
            block = test;
        }
        code.append(&mut block);
        if conditions.is_empty() {
            return code;
        }
    }
    code.push(give(default.verdict()));
    code
}

impl Condition {
    /// Goes on behind itself where it holds, and `rest` instructions further where it does not.
    fn code(self, rest: usize) -> Vec<sock_filter> {
        let fail = u8::try_from(rest).expect("a rule has at most six conditions");
        let low = ARGUMENTS_AT + 8 * u32::from(self.argument);
        let halves = |value: u64| {
            let [high, low] = [value >> 32, value & u64::from(u32::MAX)];
            (u32::try_from(high).unwrap_or_default(), u32::try_from(low).unwrap_or_default())
        };
        let (high_value, low_value) = halves(self.value);
        let (high, low) = (load(low + 4), load(low));
        let equal = |value, yes, no| jump(JUMP_IF_EQUAL, value, yes, no);
        let greater = |value, yes, no| jump(JUMP_IF_GREATER, value, yes, no);
        let at_least = |value, yes, no| jump(JUMP_IF_GREATER_OR_EQUAL, value, yes, no);
        match self.comparison {
            Comparison::Equal => {
                vec![high, equal(high_value, 0, fail + 2), low, equal(low_value, 0, fail)]
            }
            Comparison::NotEqual => {
                vec![high, equal(high_value, 0, 2), low, equal(low_value, fail, 0)]
            }
            Comparison::MaskedEqual => {
                let (high_left, low_left) = halves(self.second);
                let and = |mask| jump(AND, mask, 0, 0);
                let high = [high, and(high_value), equal(high_left, 0, fail + 3)];
                [high, [low, and(low_value), equal(low_left, 0, fail)]].concat()
            }
            Comparison::Greater | Comparison::GreaterOrEqual => {
                let last = match self.comparison {
                    Comparison::Greater => greater(low_value, 0, fail),
                    _ => at_least(low_value, 0, fail),
                };
                vec![high, greater(high_value, 3, 0), equal(high_value, 0, fail + 2), low, last]
            }
            Comparison::Less | Comparison::LessOrEqual => {
                let last = match self.comparison {
                    Comparison::Less => at_least(low_value, fail, 0),
                    _ => greater(low_value, fail, 0),
                };
                vec![high, greater(high_value, fail + 3, 0), equal(high_value, 0, 2), low, last]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with a filter for one call.
    fn interpret(code: &[sock_filter], abi: Abi, number: u32, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            0 => number,
            4 => abi.audit(),
            at => {
                let value = arguments[(at as usize - 16) / 8];
                u32::try_from(if at % 8 == 4 { value >> 32 } else { value & 0xffff_ffff }).unwrap()
            }
        };
        let (mut at, mut loaded) = (0, 0_u32);
        loop {
            let one = code[at];
            at += 1;
            let holds = match one.code {
                0x20 => {
                    loaded = word(one.k);
                    continue;
                }
                AND => {
                    loaded &= one.k;
                    continue;
                }
                0x06 => return one.k,
                0x05 => {
                    at += one.k as usize;
                    continue;
                }
                JUMP_IF_EQUAL => loaded == one.k,
                JUMP_IF_GREATER => loaded > one.k,
                JUMP_IF_GREATER_OR_EQUAL => loaded >= one.k,
                other => panic!("has instruction {other:#x}"),
            };
            at += usize::from(if holds { one.jt } else { one.jf });
        }
    }

    fn profile(default: Action, rules: Vec<Rule>) -> Profile {
        Profile { default, architectures: Vec::new(), flags: Vec::new(), rules }
    }

    fn rule(names: &[&str], action: Action, conditions: Vec<Condition>) -> Rule {
        Rule { names: names.iter().map(ToString::to_string).collect(), action, conditions }
    }

    #[test]
    fn every_comparison_of_every_half() {
        use Comparison::{
            Equal, Greater, GreaterOrEqual, Less, LessOrEqual, MaskedEqual, NotEqual,
        };
        let values = [0, 1, 5, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0005, 0x2_0000_0001, u64::MAX];
        let all = [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual, MaskedEqual];
        for (comparison, value) in all.iter().flat_map(|one| values.map(|value| (*one, value))) {
            let second = 0x1_0000_0001;
            let condition = Condition { argument: 2, comparison, value, second };
            let first = Condition { argument: 0, comparison: Equal, value: 7, second: 0 };
            let rules = vec![rule(&["read"], Action::Fail(9), vec![first, condition])];
            let code = profile(Action::Allow, rules).code(&[Abi::X86_64]);
            for argument in values {
                let holds = match comparison {
                    Equal => argument == value,
                    NotEqual => argument != value,
                    Less => argument < value,
                    LessOrEqual => argument <= value,
                    Greater => argument > value,
                    GreaterOrEqual => argument >= value,
                    MaskedEqual => argument & value == second,
                };
                for zeroth in [7, 8] {
                    let found = interpret(&code, Abi::X86_64, 0, [zeroth, 0, argument, 0, 0, 0]);
                    let expected =
                        if holds && zeroth == 7 { Action::Fail(9) } else { Action::Allow };
                    assert_eq!(
                        found,
                        expected.verdict(),
                        "{argument:#x} {comparison:?} {value:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn numbers_between_and_beyond() {
        let rules = vec![
            rule(&["read", "write", "getcwd", "no_such_call"], Action::Allow, Vec::new()),
            rule(&["getpid"], Action::Trap, Vec::new()),
        ];
        let code = profile(Action::Fail(1), rules).code(&[Abi::X86_64, Abi::I386]);
        let answer = |abi, number| interpret(&code, abi, number, [0; 6]);
        let (allow, refuse) = (Action::Allow.verdict(), Action::Fail(1).verdict());
        assert_eq!([0, 1, 79].map(|n| answer(Abi::X86_64, n)), [allow; 3]);
        assert_eq!([2, 38, 40, 78, 80, HIGHEST].map(|n| answer(Abi::X86_64, n)), [refuse; 6]);
        assert_eq!(answer(Abi::X86_64, 39), Action::Trap.verdict());
        assert_eq!([3, 4, 183].map(|n| answer(Abi::I386, n)), [allow; 3]);
        assert_eq!(answer(Abi::I386, 0), refuse);
        assert_eq!(answer(Abi::X86_64, HIGHEST + 1), Action::Fail(ENOSYS).verdict(), "newer");
        assert_eq!(answer(Abi::Arm, 0), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn what_is_allowed_by_default_is_not_to_be_had_by_another_number() {
        let rules = vec![rule(&["getcwd"], Action::Fail(5), Vec::new())];
        let code = profile(Action::Allow, rules).code(&[Abi::X86_64]);
        let answer = |number| interpret(&code, Abi::X86_64, number, [0; 6]);
        assert_eq!(answer(79), Action::Fail(5).verdict());
        assert_eq!([78, 80, 600].map(answer), [Action::Allow.verdict(); 3]);
        assert_eq!(answer(FIRST_OF_X32 + 79), Action::Fail(ENOSYS).verdict(), "x32");
    }

    #[test]
    fn several_conditions_on_one_argument_are_alternatives() {
        let is = |value| Condition { argument: 0, comparison: Comparison::Equal, value, second: 0 };
        let rules = vec![rule(&["socket"], Action::Allow, vec![is(1), is(2)])];
        let code = profile(Action::Fail(1), rules).code(&[Abi::X86_64]);
        let answer = |family| interpret(&code, Abi::X86_64, 41, [family, 0, 0, 0, 0, 0]);
        assert_eq!([1, 2].map(answer), [Action::Allow.verdict(); 2]);
        assert_eq!(answer(3), Action::Fail(1).verdict());
    }
}
