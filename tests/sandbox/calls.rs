//! Docker's default profile of system calls, evaluated as it is written, against the probe's answers.

use std::collections::BTreeMap;

use rbuild_testkit::Home;
use serde_json::Value;

use super::dump::ARGUMENTS;

/// Numbers that are the same everywhere, in case the machine's headers are older.
const NEW: [(u32, &str); 19] = [
    (451, "cachestat"),
    (452, "fchmodat2"),
    (453, "map_shadow_stack"),
    (454, "futex_wake"),
    (455, "futex_wait"),
    (456, "futex_requeue"),
    (457, "statmount"),
    (458, "listmount"),
    (459, "lsm_get_self_attr"),
    (460, "lsm_set_self_attr"),
    (461, "lsm_list_modules"),
    (462, "mseal"),
    (463, "setxattrat"),
    (464, "getxattrat"),
    (465, "listxattrat"),
    (466, "removexattrat"),
    (467, "open_tree_attr"),
    (468, "file_getattr"),
    (469, "file_setattr"),
];

const EPERM: u64 = 1;
const ENOSYS: u64 = 38;

/// The calls of a calling convention, by number.
pub(crate) type Numbers = BTreeMap<u32, String>;

/// The calls of a convention, as the machine's own headers number them.
pub(crate) fn numbers(home: &Home, header: &str) -> Numbers {
    let lines = home.types(&format!("echo '#include <{header}>' | cc -E -dM -")).ok();
    let mut defined = BTreeMap::new();
    for line in lines.lines() {
        let mut words = line.split_whitespace().skip(1);
        if let (Some(name), Some(value), None) = (words.next(), words.next(), words.next()) {
            defined.insert(name, value);
        }
    }
    let mut numbers: Numbers = NEW.map(|(number, name)| (number, name.to_owned())).into();
    for (name, value) in &defined {
        // Some are defined by another name of the same number.
        let value = defined.get(value).unwrap_or(value);
        // `syscalls` is a bound of the numbers, and no call.
        if let Some(name) = name.strip_prefix("__NR_").filter(|name| *name != "syscalls")
            && let Ok(number) = value.parse()
        {
            numbers.insert(number, name.to_owned());
        }
    }
    assert!(numbers.len() > 300, "{header}: {lines}");
    numbers
}

/// A profile in the form that docker and podman read.
pub(crate) struct Profile {
    /// The rules about each call that count here.
    rules: BTreeMap<String, Vec<Value>>,
}

impl Profile {
    pub(crate) const TEXT: &'static str = include_str!("profile.json");

    /// Docker's default profile for a process with these capabilities.
    pub(crate) fn new(capabilities: &[&str]) -> Self {
        let profile: Value = serde_json::from_str(Self::TEXT).unwrap();
        let mut rules: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for rule in profile["syscalls"].as_array().unwrap() {
            if counts(rule, capabilities) {
                for name in rule["names"].as_array().unwrap() {
                    let of_call = rules.entry(name.as_str().unwrap().to_owned()).or_default();
                    of_call.push(rule.clone());
                }
            }
        }
        Self { rules }
    }

    /// The error of a call, none where it is allowed. What no rule is about is refused; a number
    /// that is newer than the profile must look absent, as runc has it.
    pub(crate) fn answer(&self, name: Option<&str>, number: u32, argument: u32) -> u64 {
        let newest = NEW[NEW.len() - 1].0;
        let of_call = name.and_then(|name| self.rules.get(name)).into_iter().flatten();
        let holding = of_call.into_iter().find(|rule| {
            let conditions = rule["args"].as_array();
            conditions.is_none_or(|all| all.iter().all(|one| holds(one, argument)))
        });
        match holding {
            Some(rule) if rule["action"] == "SCMP_ACT_ALLOW" => 0,
            Some(rule) => rule["errnoRet"].as_u64().unwrap(),
            None if number > newest => ENOSYS,
            None => EPERM,
        }
    }
}

/// Whether a rule is one for this machine and these capabilities.
fn counts(rule: &Value, capabilities: &[&str]) -> bool {
    const HERE: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let list = |of: &str, what: &str| -> Vec<&str> {
        let list = rule[of][what].as_array().into_iter().flatten();
        list.map(|one| one.as_str().unwrap()).collect()
    };
    let has = |name: &&str| capabilities.contains(name);
    let arches = list("includes", "arches");
    (arches.is_empty() || arches.contains(&HERE))
        && !list("excludes", "arches").contains(&HERE)
        && list("includes", "caps").iter().all(has)
        && !list("excludes", "caps").iter().any(has)
}

fn holds(condition: &Value, argument: u32) -> bool {
    let part = |name: &str| condition[name].as_u64().unwrap_or_default();
    // All conditions of the profile for these machines are about the first argument.
    assert_eq!(part("index"), 0);
    let (argument, value) = (u64::from(argument), part("value"));
    match condition["op"].as_str().unwrap() {
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_GT" => argument > value,
        "SCMP_CMP_MASKED_EQ" => argument & value == part("valueTwo"),
        other => panic!("the profile has comparison {other}"),
    }
}

/// Every call of a convention whose answer is not the expected one: the call, its argument, the
/// expected error and the one found.
pub(crate) fn differing(
    dump: &Value,
    convention: &str,
    numbers: &Numbers,
    expected: impl Fn(Option<&str>, u32, u32) -> u64,
) -> Vec<String> {
    let answers = &dump["calls"][convention];
    assert_eq!(answers["end"], 0, "the probe has ended early");
    let mut differing = Vec::new();
    for argument in ARGUMENTS {
        let answers = answers[&argument.to_string()].as_array().unwrap();
        assert_eq!(answers.len(), 1025);
        for (number, found) in (0..).zip(answers) {
            // The kernel asks no filter about this one and its like.
            let name = numbers.get(&number).map(String::as_str);
            let is_asked = convention != "native" || !matches!(number, 335 | 336);
            let wanted = expected(name, number, argument);
            if is_asked && *found != wanted {
                let name = name.unwrap_or("?");
                differing.push(format!("{number} {name} {argument:#x}: {wanted} {found}"));
            }
        }
    }
    differing
}
