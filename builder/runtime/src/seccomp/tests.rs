//! The filter, run by an interpreter, against the table read line by line.

use std::collections::BTreeMap;

use super::compile::{
    ABI_AT, ARGUMENT_AT, JUMP, JUMP_IF_ANY, JUMP_IF_EQUAL, JUMP_IF_GREATER_OR_EQUAL, LOAD,
    NUMBER_AT, RETURN, compile,
};
use super::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
const MACHINES: [[Abi; 2]; 2] = [[Abi::X86_64, Abi::I386], [Abi::Aarch64, Abi::Arm]];

/// What the kernel would do with a filter for one call.
fn interpret(program: &[sock_filter], abi: u32, number: u32, argument: u32) -> u32 {
    let (mut at, mut loaded) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let holds = match instruction.code {
            LOAD => {
                loaded = match instruction.k {
                    NUMBER_AT => number,
                    ABI_AT => abi,
                    ARGUMENT_AT => argument,
                    other => panic!("reads offset {other}"),
                };
                continue;
            }
            RETURN => return instruction.k,
            JUMP => {
                at += instruction.k as usize;
                continue;
            }
            JUMP_IF_GREATER_OR_EQUAL => loaded >= instruction.k,
            JUMP_IF_EQUAL => loaded == instruction.k,
            JUMP_IF_ANY => loaded & instruction.k != 0,
            other => panic!("has instruction {other:#x}"),
        };
        at += usize::from(if holds { instruction.jt } else { instruction.jf });
    }
}

/// The rule about each number of an ABI, as the table has it.
fn rules(abi: Abi) -> BTreeMap<u32, &'static str> {
    let lines = include_str!("profile.tsv").lines().filter(|line| !line.starts_with('#'));
    let columns = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    let of_abi = columns.filter(|columns| columns[2 + abi as usize] != "-");
    of_abi.map(|columns| (columns[2 + abi as usize].parse().unwrap(), columns[1])).collect()
}

/// The answer that the words of the table give, without ranges or search.
fn expected(rule: Option<&str>, number: u32, argument: u32, held: &[&str]) -> u32 {
    let is_admin = held.contains(&"SYS_ADMIN");
    let allowed = match rule {
        None if number > 469 => return ENOSYS,
        None | Some("-") => false,
        Some("clone3") if !is_admin => return ENOSYS,
        Some("clone") => is_admin || argument & 0x7e02_0000 == 0,
        Some("*" | "clone3") => true,
        Some("personality") => [0, 8, 0x2_0000, 0x2_0008, u32::MAX].contains(&argument),
        Some("socket") => argument < 38 || argument == 39 || argument > 40,
        Some(names) => names.split('|').any(|name| held.contains(&name)),
    };
    if allowed { ALLOW } else { EPERM }
}

const ARGUMENTS: [u32; 18] = [
    0,
    1,
    2,
    8,
    9,
    37,
    38,
    39,
    40,
    41,
    0x11,
    0x2_0000,
    0x2_0008,
    0x200_0000,
    0x1000_0000,
    0x4000_0000,
    0x0001_0f00,
    u32::MAX,
];

/// The names in the table's rules that are capabilities.
fn capabilities() -> Vec<&'static str> {
    let rules = rules(Abi::X86_64);
    let words = rules.values().flat_map(|rule| rule.split('|'));
    let mut names: Vec<_> = words.filter(|word| word.to_ascii_uppercase() == *word).collect();
    names.retain(|name| name.parse::<Capabilities>().is_ok());
    names.sort_unstable();
    names.dedup();
    names
}

/// Fails where a program answers any call otherwise than the table.
fn assert_agrees(program: &[sock_filter], abi: Abi, held: &[&str]) {
    let rules = rules(abi);
    let x32 = (0..=1024).map(|number| 0x4000_0000 | number);
    let of_arm = 0xf_0000..0xf_0010;
    for number in (0..=1024).chain(x32).chain(of_arm).chain([0x7fff_ffff, u32::MAX]) {
        for argument in ARGUMENTS {
            let answer = interpret(program, abi.audit(), number, argument);
            let wanted = expected(rules.get(&number).copied(), number, argument, held);
            assert_eq!(answer, wanted, "{abi:?} {held:?} {number} {argument:#x}");
        }
    }
}

#[test]
fn the_program_agrees_with_the_table() {
    let single = capabilities();
    assert!(single.len() > 12, "{single:?}");
    let docker = crate::caps::names::DEFAULT;
    let mut sets: Vec<Vec<&str>> = vec![docker.to_vec(), Vec::new(), single.clone()];
    sets.extend(single.into_iter().map(|name| vec![name]));
    for held in &sets {
        for abis in MACHINES {
            let program = compile(&abis, &|name| held.contains(&name));
            for abi in abis {
                assert_agrees(&program, abi, held);
            }
        }
    }
}

#[test]
fn the_program_made_ahead_agrees_too() {
    let program = program(Capabilities::docker_default());
    for abi in Abi::HERE {
        assert_agrees(&program, abi, &crate::caps::names::DEFAULT);
    }
    let with_bpf = self::program(Capabilities::docker_default().with("BPF".parse().unwrap()));
    let held = [&crate::caps::names::DEFAULT[..], &["BPF"]].concat();
    for abi in Abi::HERE {
        assert_agrees(&with_bpf, abi, &held);
    }
}

#[test]
fn a_foreign_abi_is_killed() {
    for (abis, foreign) in MACHINES.iter().zip([Abi::Arm, Abi::X86_64]) {
        let program = compile(abis, &|_| true);
        for number in 0..=1024 {
            let answer = interpret(&program, foreign.audit(), number, 0);
            assert_eq!(answer, libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}

#[test]
fn the_calls_of_the_default_set() {
    let held = crate::caps::names::DEFAULT;
    let verdict = |abi: Abi, number, argument| {
        let program = compile(&[abi], &|name| held.contains(&name));
        interpret(&program, abi.audit(), number, argument)
    };
    for (abi, number, argument, wanted, call) in [
        (Abi::X86_64, 59, 0, ALLOW, "execve"),
        (Abi::X86_64, 161, 0, ALLOW, "chroot"),
        (Abi::X86_64, 165, 0, EPERM, "mount"),
        (Abi::X86_64, 250, 0, EPERM, "keyctl"),
        (Abi::X86_64, 321, 0, EPERM, "bpf"),
        (Abi::X86_64, 425, 0, EPERM, "io_uring_setup"),
        (Abi::X86_64, 435, 0, ENOSYS, "clone3"),
        (Abi::X86_64, 56, 0x1000_0000, EPERM, "clone of a user namespace"),
        (Abi::X86_64, 56, 0x11, ALLOW, "fork"),
        (Abi::X86_64, 41, 1, ALLOW, "socket of AF_UNIX"),
        (Abi::X86_64, 41, 38, EPERM, "socket of AF_ALG"),
        (Abi::X86_64, 41, 40, EPERM, "socket of AF_VSOCK"),
        (Abi::X86_64, 135, 0, ALLOW, "personality of Linux"),
        (Abi::X86_64, 135, 0x4_0000, EPERM, "personality without randomization and more"),
        (Abi::X86_64, 469, 0, EPERM, "file_setattr, the newest that is known"),
        (Abi::X86_64, 470, 0, ENOSYS, "one that is not known yet"),
        (Abi::X86_64, 0x4000_0001, 0, ENOSYS, "x32"),
        (Abi::Aarch64, 221, 0, ALLOW, "execve"),
        (Abi::Aarch64, 198, 38, EPERM, "socket of AF_ALG"),
        (Abi::Arm, 0xf_0002, 0, ALLOW, "cacheflush"),
        (Abi::I386, 1000, 0, ENOSYS, "one that is not known yet"),
    ] {
        assert_eq!(verdict(abi, number, argument), wanted, "{abi:?} {call}");
    }
}

#[test]
fn the_programs_stay_small() {
    for abis in MACHINES {
        let length = compile(&abis, &|name| crate::caps::names::DEFAULT.contains(&name)).len();
        assert!(length < 500, "{abis:?}: {length} instructions");
    }
}
