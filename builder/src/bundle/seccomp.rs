//! Profiles of system calls, from the words of the specification to those of the runtime.

use rbuild_runtime::seccomp::{Action, Comparison, Condition, Filter, Profile, Rule};

use super::error::{Error, Result};
use super::spec::{Argument, Seccomp};

/// `EPERM`, which a call fails with when nothing else is said.
const USUAL_ERROR: u16 = 1;

/// The profile as the kernel takes it.
pub(super) fn filter(spec: &Seccomp) -> Result<Filter> {
    let mut rules = Vec::with_capacity(spec.syscalls.len());
    for call in &spec.syscalls {
        rules.push(Rule {
            names: call.names.clone(),
            action: action(&call.action, call.errno_ret)?,
            conditions: call.args.iter().map(condition).collect::<Result<_>>()?,
        });
    }
    let default = action(&spec.default_action, spec.default_errno_ret)?;
    let (architectures, flags) = (spec.architectures.clone(), spec.flags.clone());
    Ok(Profile { default, architectures, flags, rules }.compile()?)
}

fn action(name: &str, errno: Option<u16>) -> Result<Action> {
    let errno = errno.unwrap_or(USUAL_ERROR);
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Fail(errno),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_TRACE" => Action::Trace(errno),
        "SCMP_ACT_NOTIFY" => return Err(Error::Unsupported("the seccomp action NOTIFY".into())),
        other => return Err(Error::Config(format!("unknown seccomp action {other:?}"))),
    })
}

fn condition(argument: &Argument) -> Result<Condition> {
    let comparison = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Comparison::Equal,
        "SCMP_CMP_NE" => Comparison::NotEqual,
        "SCMP_CMP_LT" => Comparison::Less,
        "SCMP_CMP_LE" => Comparison::LessOrEqual,
        "SCMP_CMP_GT" => Comparison::Greater,
        "SCMP_CMP_GE" => Comparison::GreaterOrEqual,
        "SCMP_CMP_MASKED_EQ" => Comparison::MaskedEqual,
        other => return Err(Error::Config(format!("unknown seccomp operator {other:?}"))),
    };
    if argument.index > 5 {
        return Err(Error::Config(format!("no system call has an argument {}", argument.index)));
    }
    let (value, second) = (argument.value, argument.value_two);
    Ok(Condition { argument: argument.index, comparison, value, second })
}

/// The names of the actions that are known, for [`features`](super::features).
pub(super) const ACTIONS: [&str; 8] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The names of the operators.
pub(super) const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_known_and_no_other() {
        for name in ACTIONS {
            action(name, None).unwrap();
        }
        assert_eq!(action("SCMP_ACT_ERRNO", None).unwrap(), Action::Fail(1));
        assert_eq!(action("SCMP_ACT_ERRNO", Some(38)).unwrap(), Action::Fail(38));
        assert!(action("SCMP_ACT_NOTIFY", None).is_err());
        assert!(action("", None).is_err());
        for op in OPERATORS {
            let argument = Argument { op: op.to_owned(), ..Argument::default() };
            condition(&argument).unwrap();
        }
        let odd = Argument { index: 6, op: "SCMP_CMP_EQ".to_owned(), ..Argument::default() };
        assert!(condition(&odd).is_err());
    }
}
