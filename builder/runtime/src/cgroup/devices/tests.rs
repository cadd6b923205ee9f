//! The rules against what they mean, by an interpreter of the program and by the kernel.

use std::fs;

use super::*;

const READ: Access = Access { read: true, write: false, make: false };
const MAKE: Access = Access { read: false, write: false, make: true };

/// What the kernel asks: the kind, the access and the numbers.
#[derive(Debug, Clone, Copy)]
struct Question {
    block: bool,
    major: u32,
    minor: u32,
    bits: i32,
}

fn rule(allow: bool, block: Option<bool>, numbers: [Option<u32>; 2], access: Access) -> DeviceRule {
    DeviceRule { allow, block, major: numbers[0], minor: numbers[1], access }
}

/// What the rules mean: each kind of access by the last rule about it.
fn meaning(rules: &[DeviceRule], asked: Question) -> bool {
    let fits = |rule: &&DeviceRule| {
        rule.block.is_none_or(|block| block == asked.block)
            && rule.major.is_none_or(|major| major == asked.major)
            && rule.minor.is_none_or(|minor| minor == asked.minor)
    };
    [1, 2, 4].into_iter().filter(|bit| asked.bits & bit != 0).all(|bit| {
        let mut about = rules.iter().filter(fits).filter(|rule| rule.access.bits() & bit != 0);
        about.next_back().is_some_and(|rule| rule.allow)
    })
}

/// What the program answers.
fn answer(program: &[u64], asked: Question) -> bool {
    let kind = if asked.block { BLOCK } else { CHARACTER };
    let question = [(asked.bits << 16 | kind).cast_unsigned(), asked.major, asked.minor];
    let mut registers = [0_u64; 6];
    let mut at = 0_usize;
    loop {
        let [operation, places, low, high, number @ ..] = program[at].to_le_bytes();
        let (to, jump) = (usize::from(places & 15), i16::from_le_bytes([low, high]));
        let number = i32::from_le_bytes(number);
        let wide = i64::from(number).cast_unsigned();
        let mut over = 0;
        match operation {
            operation::LOAD => {
                registers[to] = question[usize::try_from(jump).unwrap() / 4].into();
            }
            operation::SET => registers[to] = wide,
            operation::AND => registers[to] &= u64::from(number.cast_unsigned()),
            operation::DOWN => registers[to] = (registers[to] & 0xffff_ffff) >> number,
            operation::JUMP => over = jump,
            operation::UNLESS if registers[to] != wide => over = jump,
            operation::IF_ANY if registers[to] & wide != 0 => over = jump,
            operation::UNLESS | operation::IF_ANY => {}
            operation::END => return registers[0] == 1,
            other => panic!("no operation {other:x}"),
        }
        at = at + 1 + usize::try_from(over).unwrap();
    }
}

/// Rules of every shape, in an order that makes each count for something.
fn mixtures() -> Vec<Vec<DeviceRule>> {
    let (none, character) = ([None; 2], Some(false));
    let null = [Some(1), Some(3)];
    let pieces = [
        rule(true, character, none, MAKE),
        rule(true, character, null, Access::ALL),
        rule(false, character, null, READ),
        rule(true, None, [Some(1), None], READ),
        rule(false, None, [None, Some(3)], MAKE),
        rule(true, Some(true), [Some(8), Some(0xf_ffff)], Access { write: false, ..Access::ALL }),
        DeviceRule::everything(false),
        DeviceRule::everything(true),
    ];
    let mut mixtures = vec![Vec::new(), pieces.to_vec()];
    for one in pieces {
        for other in pieces {
            mixtures.extend(pieces.map(|third| vec![one, other, third]));
        }
    }
    mixtures
}

#[test]
fn the_program_answers_as_the_rules_say() {
    for rules in mixtures() {
        let program = program(&rules);
        for block in [true, false] {
            for major in [0, 1, 8] {
                for minor in [0, 3, 0xf_ffff] {
                    for bits in 1..8 {
                        let asked = Question { block, major, minor, bits };
                        let expected = meaning(&rules, asked);
                        assert_eq!(answer(&program, asked), expected, "{rules:?} {asked:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn everything_works_only_where_nothing_is_taken_away_later() {
    let one = rule(false, Some(false), [Some(1), Some(3)], READ);
    let [no, yes] = [false, true].map(DeviceRule::everything);
    assert!(!allow_everything(&[]), "nothing is said");
    assert!(allow_everything(&[no, yes]) && !allow_everything(&[yes, no]));
    assert!(!allow_everything(&[yes, one]) && allow_everything(&[one, yes]));
    let part = DeviceRule { access: MAKE, ..yes };
    assert!(!allow_everything(&[no, part]), "to make a node is not to use it");
}

#[test]
fn lines_of_version_1() {
    assert_eq!(DeviceRule::everything(false).line(), "a *:* rwm");
    let access = Access { make: false, ..Access::ALL };
    assert_eq!(rule(true, Some(false), [Some(1), Some(3)], access).line(), "c 1:3 rw");
    let both = rule(true, None, [Some(1), None], READ).by_kind();
    let lines: Vec<_> = both.iter().map(DeviceRule::line).collect();
    assert_eq!(lines, ["b 1:* r", "c 1:* r"], "`a` would be every device");
}

/// The folder of a new group in the tree of version 2, which every machine with programs has.
fn unified(name: &str) -> (Tree, PathBuf) {
    let tree = super::super::tree::trees().unwrap().into_iter().find(|tree| tree.unified);
    let tree = tree.expect("a tree of version 2");
    let folder = tree.root.join(format!("{name}-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    (tree, folder)
}

/// Runs a line in a group.
fn in_group(folder: &Path, line: &str) -> bool {
    let script = format!("echo $$ >{}/cgroup.procs && {line}", folder.display());
    let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(!String::from_utf8_lossy(&ran.stderr).contains("cgroup.procs"), "{ran:?}");
    ran.status.success()
}

#[test]
fn the_kernel_obeys_the_program() {
    let place = unified("rbuild-devices");
    let folder = place.1.clone();
    let rules = [
        rule(true, Some(false), [None; 2], MAKE),
        rule(true, Some(false), [Some(1), None], READ),
        rule(false, Some(false), [Some(1), Some(5)], READ),
    ];
    assert!(enforce(&[place], &rules));
    let node = tempfile::tempdir().unwrap();
    let [full, zero] = ["full", "zero"].map(|name| node.path().join(name).display().to_string());
    let tried = [
        format!("mknod {full} c 1 7 && head -c1 {full}"),
        format!("mknod {zero} c 1 5 && test ! -s {zero}"),
        format!("head -c1 {zero}"),
        "echo >/dev/null".to_owned(),
        format!("mknod {full}-b b 7 0"),
    ]
    .map(|line| in_group(&folder, &line));
    // What is in the group ends before its last process is gone.
    while fs::remove_dir(&folder).is_err() {}
    assert_eq!(tried, [true, true, false, false, false]);
}

#[test]
fn what_the_controller_passes_over_is_told_by_the_program() {
    let unified = unified("rbuild-partial");
    let first = tempfile::tempdir().unwrap();
    for file in ["devices.allow", "devices.deny"] {
        fs::write(first.path().join(file), "").unwrap();
    }
    let controller = (Tree::new("/c", false, ["devices"]), first.path().to_owned());
    let rules = [
        rule(true, Some(false), [None; 2], Access::ALL),
        rule(false, Some(false), [Some(1), Some(5)], READ),
    ];
    let folder = unified.1.clone();
    assert!(enforce(&[controller, unified], &rules));
    let tried = ["zero", "full"].map(|name| in_group(&folder, &format!("head -c1 /dev/{name}")));
    while fs::remove_dir(&folder).is_err() {}
    assert_eq!(tried, [false, true]);
    let nowhere = [(Tree::new("/c", false, ["cpu"]), first.path().to_owned())];
    assert!(!enforce(&nowhere, &rules), "there is nothing to obey them");
}
