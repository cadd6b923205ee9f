//! The filter, run by an interpreter, against the table read line by line.

use super::*;

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

/// The table's answer, without ranges or search.
fn expected(calls: &[(u32, Verdict)], number: u32, argument: u32) -> u32 {
    let refused = |errno: u16| libc::SECCOMP_RET_ERRNO | u32::from(errno);
    let found = calls.iter().find(|(known, _)| *known == number).map(|(_, verdict)| *verdict);
    let allowed = match found.unwrap_or_else(|| unlisted(number)) {
        Verdict::Allow => true,
        Verdict::Refuse(errno) => return refused(errno),
        Verdict::Clone => argument & CLONE_NAMESPACES == 0,
        Verdict::Personality => PERSONALITIES.contains(&argument),
        Verdict::Socket => argument < 38 || argument == 39 || argument > 40,
    };
    if allowed { libc::SECCOMP_RET_ALLOW } else { refused(EPERM) }
}

const ARGUMENTS: [u32; 16] = [
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
    0x1000_0000,
    0x0001_0f00,
    u32::MAX,
];

#[test]
fn the_program_agrees_with_the_table() {
    let admin: Capabilities = "SYS_ADMIN".parse().unwrap();
    let sets = [Capabilities::docker_default(), Capabilities::none(), Capabilities::all(), admin];
    for abis in [[Abi::X86_64, Abi::I386], [Abi::Aarch64, Abi::Arm]] {
        for held in sets {
            let program = compile(&abis, held);
            for abi in abis {
                let calls = listed(abi, held);
                for number in (0..1024).chain(0xf_0000..0xf_0010).chain([0x4000_0000, u32::MAX]) {
                    for argument in ARGUMENTS {
                        assert_eq!(
                            interpret(&program, abi.audit(), number, argument),
                            expected(&calls, number, argument),
                            "{abi:?} {held:?} {number} {argument:#x}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_foreign_abi_is_killed() {
    let program = compile(&[Abi::X86_64, Abi::I386], Capabilities::all());
    let answer = interpret(&program, Abi::Arm.audit(), 0, 0);
    assert_eq!(answer, libc::SECCOMP_RET_KILL_PROCESS);
}

#[test]
fn the_calls_of_the_default_set() {
    let verdict = |abi, number, argument| {
        interpret(&compile(&[abi], Capabilities::docker_default()), abi.audit(), number, argument)
    };
    let eperm = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let allow = libc::SECCOMP_RET_ALLOW;
    assert_eq!(verdict(Abi::X86_64, 59, 0), allow, "execve");
    assert_eq!(verdict(Abi::X86_64, 161, 0), allow, "chroot");
    assert_eq!(verdict(Abi::X86_64, 165, 0), eperm, "mount");
    assert_eq!(verdict(Abi::X86_64, 425, 0), eperm, "io_uring_setup");
    assert_eq!(verdict(Abi::X86_64, 435, 0), enosys, "clone3");
    assert_eq!(verdict(Abi::X86_64, 56, 0x1000_0000), eperm, "clone of a user namespace");
    assert_eq!(verdict(Abi::X86_64, 56, 0x11), allow, "fork");
    assert_eq!(verdict(Abi::X86_64, 0x4000_0000 + 1, 0), enosys, "x32");
    assert_eq!(verdict(Abi::Aarch64, 221, 0), allow, "execve");
    assert_eq!(verdict(Abi::Arm, 0xf_0002, 0), allow, "cacheflush");
    assert_eq!(verdict(Abi::I386, 1000, 0), enosys, "from the future");
}

#[test]
fn the_programs_stay_small() {
    for abis in [[Abi::X86_64, Abi::I386], [Abi::Aarch64, Abi::Arm]] {
        let length = compile(&abis, Capabilities::docker_default()).len();
        assert!(length < 500, "{abis:?}: {length} instructions");
    }
}
