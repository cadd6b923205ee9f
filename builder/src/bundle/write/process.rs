//! The process of a container, and the filter of its system calls.

use rbuild_runtime::seccomp::{Action, Comparison, Condition, Profile, Rule};
use rbuild_runtime::user::User;
use rbuild_runtime::{Limit, Process, Seccomp, WindowSize};
use serde_json::{Value, json};

use super::super::error::{Error, Result};

/// A process as a configuration has it, and its filter of system calls, if it has one.
///
/// # Errors
/// Sets of capabilities of their own, and a filter that is compiled already.
pub(crate) fn process(
    process: &Process,
    user: &User,
    terminal: Option<WindowSize>,
) -> Result<(Value, Option<Value>)> {
    if process.capability_sets.is_some() || process.personality.is_some() {
        return Err(Error::Unsupported("the process of a bundle in another bundle".into()));
    }
    let held = process.capabilities.names_of_own()?;
    let mut value = json!({
        "terminal": terminal.is_some(),
        "user": {
            "uid": user.uid,
            "gid": user.gid,
            "umask": process.umask,
            "additionalGids": user.groups,
        },
        "args": process.argv,
        "env": process.env,
        "cwd": process.cwd,
        "capabilities": {
            "bounding": held, "effective": held, "permitted": held,
            "inheritable": [], "ambient": [],
        },
        "rlimits": process.limits.iter().map(limit).collect::<Vec<_>>(),
        "noNewPrivileges": process.no_new_privileges,
    });
    if let Some(size) = terminal {
        value["consoleSize"] = json!({ "height": size.rows, "width": size.columns });
    }
    if let Some(score) = process.oom_score {
        value["oomScoreAdj"] = json!(score);
    }
    let profile = match &process.seccomp {
        Seccomp::None => None,
        Seccomp::Default => Some(profile(&Profile::docker_default(process.capabilities))),
        Seccomp::Filter(_) => {
            return Err(Error::Unsupported("a compiled seccomp profile".into()));
        }
    };
    Ok((value, profile))
}

fn limit(limit: &Limit) -> Value {
    let kind = format!("RLIMIT_{}", format!("{:?}", limit.resource).to_ascii_uppercase());
    let number = |value: Option<u64>| value.unwrap_or(u64::MAX);
    json!({ "type": kind, "soft": number(limit.soft), "hard": number(limit.hard) })
}

fn profile(profile: &Profile) -> Value {
    let (default, errno) = action(profile.default);
    let mut value = json!({
        "defaultAction": default,
        "architectures": profile.architectures,
        "syscalls": profile.rules.iter().map(rule).collect::<Vec<_>>(),
    });
    if let Some(errno) = errno {
        value["defaultErrnoRet"] = json!(errno);
    }
    if !profile.flags.is_empty() {
        value["flags"] = json!(profile.flags);
    }
    value
}

fn rule(rule: &Rule) -> Value {
    let (name, errno) = action(rule.action);
    let mut value = json!({ "names": rule.names, "action": name });
    if let Some(errno) = errno {
        value["errnoRet"] = json!(errno);
    }
    if !rule.conditions.is_empty() {
        value["args"] = rule.conditions.iter().map(condition).collect();
    }
    value
}

fn action(action: Action) -> (&'static str, Option<u16>) {
    match action {
        Action::Allow => ("SCMP_ACT_ALLOW", None),
        Action::Log => ("SCMP_ACT_LOG", None),
        Action::Fail(errno) => ("SCMP_ACT_ERRNO", Some(errno)),
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::Trace(message) => ("SCMP_ACT_TRACE", Some(message)),
    }
}

fn condition(condition: &Condition) -> Value {
    let op = match condition.comparison {
        Comparison::Equal => "SCMP_CMP_EQ",
        Comparison::NotEqual => "SCMP_CMP_NE",
        Comparison::Less => "SCMP_CMP_LT",
        Comparison::LessOrEqual => "SCMP_CMP_LE",
        Comparison::Greater => "SCMP_CMP_GT",
        Comparison::GreaterOrEqual => "SCMP_CMP_GE",
        Comparison::MaskedEqual => "SCMP_CMP_MASKED_EQ",
    };
    json!({
        "index": condition.argument,
        "value": condition.value,
        "valueTwo": condition.second,
        "op": op,
    })
}
