//! From the table to a program. It has no state and knows nothing of this crate, so that what builds
//! the crate compiles the usual program, too.

use libc::sock_filter;

use super::profile::{
    Abi, CLONE_NAMESPACES, EPERM, HIGHEST, Holds, PERSONALITIES, REFUSED_FAMILIES, Verdict, listed,
    unlisted,
};

/// `BPF_LD | BPF_W | BPF_ABS`, and so on: the instructions that are used.
pub(super) const LOAD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
pub(super) const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const JUMP_IF_ANY: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// Where `struct seccomp_data` has the call's number, its ABI, and the low half of its first
/// argument. The arguments that are looked at are `int`s, so the kernel ignores the high half too.
pub(super) const NUMBER_AT: u32 = 0;
pub(super) const ABI_AT: u32 = 4;
pub(super) const ARGUMENT_AT: u32 = 16;

/// The program for a process that holds these capabilities, for some ABIs.
pub(super) fn compile(abis: &[Abi], holds: Holds<'_>) -> Vec<sock_filter> {
    by_abi(abis, |abi| search(&ranges(abi, holds), &decide))
}

/// A program that decides on the loaded number, for each ABI another one.
pub(super) fn by_abi(abis: &[Abi], decides: impl Fn(Abi) -> Vec<sock_filter>) -> Vec<sock_filter> {
    let mut program = vec![load(ABI_AT)];
    for abi in abis {
        let mut block = vec![load(NUMBER_AT)];
        block.append(&mut decides(*abi));
        program.push(jump(JUMP_IF_EQUAL, abi.audit(), 1, 0));
        program.push(far_jump(block.len()));
        program.append(&mut block);
    }
    program.push(give(libc::SECCOMP_RET_KILL_PROCESS));
    program
}

/// All call numbers as ranges of equal verdict, each by its first number.
fn ranges(abi: Abi, holds: Holds<'_>) -> Vec<(u32, Verdict)> {
    let mut ranges = vec![(0, unlisted(0))];
    let mut add = |first, verdict| match ranges.last_mut() {
        Some((_, last)) if *last == verdict => {}
        Some((start, last)) if *start == first => *last = verdict,
        _ => ranges.push((first, verdict)),
    };
    let mut next = 0;
    for (number, verdict) in listed(abi, holds) {
        if next < number {
            add(next, unlisted(next));
        }
        if next <= HIGHEST && HIGHEST + 1 < number {
            add(HIGHEST + 1, unlisted(HIGHEST + 1));
        }
        add(number, verdict);
        next = number + 1;
    }
    add(next, unlisted(next));
    if next <= HIGHEST {
        add(HIGHEST + 1, unlisted(HIGHEST + 1));
    }
    ranges
}

/// A binary search for the range that the loaded number is in.
pub(super) fn search<V: Copy>(
    ranges: &[(u32, V)],
    decide: &impl Fn(V) -> Vec<sock_filter>,
) -> Vec<sock_filter> {
    if let [(_, verdict)] = ranges {
        return decide(*verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let mut below = search(low, decide);
    let mut above = search(high, decide);
    let pivot = high[0].0;
    let mut code = match u8::try_from(below.len()) {
        Ok(distance) => vec![jump(JUMP_IF_GREATER_OR_EQUAL, pivot, distance, 0)],
        Err(_) => {
            vec![jump(JUMP_IF_GREATER_OR_EQUAL, pivot, 0, 1), far_jump(below.len())]
        }
    };
    code.append(&mut below);
    code.append(&mut above);
    code
}

fn decide(verdict: Verdict) -> Vec<sock_filter> {
    let allow = give(libc::SECCOMP_RET_ALLOW);
    let refuse = |errno: u16| give(libc::SECCOMP_RET_ERRNO | u32::from(errno));
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Refuse(errno) => vec![refuse(errno)],
        Verdict::Clone => {
            vec![load(ARGUMENT_AT), jump(JUMP_IF_ANY, CLONE_NAMESPACES, 0, 1), refuse(EPERM), allow]
        }
        Verdict::Personality => among(&PERSONALITIES, allow, refuse(EPERM)),
        Verdict::Socket => among(&REFUSED_FAMILIES, refuse(EPERM), allow),
    }
}

fn among(values: &[u32], then: sock_filter, otherwise: sock_filter) -> Vec<sock_filter> {
    let mut code = vec![load(ARGUMENT_AT)];
    for (value, left) in values.iter().zip((1..=values.len()).rev()) {
        let distance = u8::try_from(left).expect("both lists of values are short");
        code.push(jump(JUMP_IF_EQUAL, *value, distance, 0));
    }
    code.extend([otherwise, then]);
    code
}

pub(super) fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

pub(super) fn jump(code: u16, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code, jt: if_true, jf: if_false, k: value }
}

fn far_jump(distance: usize) -> sock_filter {
    let k = u32::try_from(distance).expect("a program has at most 4096 instructions");
    sock_filter { code: JUMP, jt: 0, jf: 0, k }
}

pub(super) fn give(action: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}
