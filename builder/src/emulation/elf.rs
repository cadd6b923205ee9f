//! Programs of an architecture: how they begin, and the smallest one, to try whether it runs.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};

/// The bytes by which programs of an architecture are told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// 1 for 32 bits, 2 for 64.
    class: u8,
    /// 1 for the lowest byte first, 2 for the highest.
    order: u8,
    machine: u16,
}

/// The number of bytes at the beginning of a program that tell its architecture.
const BEGINNING: usize = 20;

impl Header {
    /// How programs of an architecture, by Go's name of it, begin.
    pub(crate) fn of(architecture: &str) -> Option<Self> {
        let (class, order, machine) = match architecture {
            "386" => (1, 1, 3),
            "amd64" => (2, 1, 62),
            "arm" => (1, 1, 40),
            "arm64" => (2, 1, 183),
            "loong64" => (2, 1, 258),
            "mips" => (1, 2, 8),
            "mipsle" => (1, 1, 8),
            "mips64" => (2, 2, 8),
            "mips64le" => (2, 1, 8),
            "ppc64" => (2, 2, 21),
            "ppc64le" => (2, 1, 21),
            "riscv64" => (2, 1, 243),
            "s390x" => (2, 2, 22),
            _ => return None,
        };
        Some(Self { class, order, machine })
    }

    /// The first bytes of a program at a fixed place, and of one that can be anywhere.
    pub(super) fn beginnings(self) -> [[u8; BEGINNING]; 2] {
        [2, 3].map(|kind: u16| {
            let number = |value: u16| match self.order {
                1 => value.to_le_bytes(),
                _ => value.to_be_bytes(),
            };
            let mut bytes = [0; BEGINNING];
            bytes[..4].copy_from_slice(b"\x7fELF");
            bytes[4..7].copy_from_slice(&[self.class, self.order, 1]);
            bytes[16..18].copy_from_slice(&number(kind));
            bytes[18..].copy_from_slice(&number(self.machine));
            bytes
        })
    }

    /// Whether a program that begins so is one of this architecture; what is too short to tell is
    /// none.
    pub(crate) fn is_of(self, bytes: &[u8]) -> bool {
        let own = self.beginnings()[0];
        let Some(bytes) = bytes.get(..BEGINNING) else { return false };
        bytes[..6] == own[..6] && bytes[18..] == own[18..]
    }
}

/// Runs the smallest program of an architecture; where none is known, nothing runs.
pub(super) fn runs(architecture: &str) -> bool {
    smallest(architecture).is_some_and(|program| run(&program).unwrap_or(false))
}

/// Runs a program without any arguments, and tells whether it ended well.
fn run(program: &[u8]) -> std::io::Result<bool> {
    let mut file = File::from(memfd_create("try", MemfdFlags::CLOEXEC)?);
    file.write_all(program)?;
    // Nobody may have it open for writing when it is run, and an emulator opens it by this name.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let ready = open(path, OFlags::RDONLY, Mode::empty())?;
    drop(file);
    let mut command = Command::new(format!("/proc/self/fd/{}", ready.as_raw_fd()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status()?.success())
}

/// The smallest program of an architecture, which ends at once with the status 0.
fn smallest(architecture: &str) -> Option<Vec<u8>> {
    let code: &[u8] = match architecture {
        // mov eax, 1; xor ebx, ebx; int 0x80
        "386" => &[0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80],
        // mov eax, 60; xor edi, edi; syscall
        "amd64" => &[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05],
        // mov r7, 1; mov r0, 0; svc 0
        "arm" => &[1, 0x70, 0xa0, 0xe3, 0, 0, 0xa0, 0xe3, 0, 0, 0, 0xef],
        // mov x8, 93; mov x0, 0; svc 0
        "arm64" => &[0xa8, 0x0b, 0x80, 0xd2, 0, 0, 0x80, 0xd2, 1, 0, 0, 0xd4],
        // li a7, 93; li a0, 0; ecall
        "riscv64" => &[0x93, 8, 0xd0, 0x05, 0x13, 5, 0, 0, 0x73, 0, 0, 0],
        _ => return None,
    };
    let header = Header::of(architecture)?;
    Some(if header.class == 2 { program_64(header, code) } else { program_32(header, code) })
}

/// Where the smallest programs lie in memory.
const BASE: u32 = 0x0001_0000;

fn program_64(header: Header, code: &[u8]) -> Vec<u8> {
    const HEADERS: u16 = 64 + 56;
    let size = u64::from(HEADERS) + code.len() as u64;
    let base = u64::from(BASE);
    let mut bytes = header.beginnings()[0].to_vec();
    let mut put = |value: &[u8]| bytes.extend_from_slice(value);
    put(&1_u32.to_le_bytes());
    // Where it begins, where its one segment is described, and that nothing else is.
    for value in [base + u64::from(HEADERS), 64, 0] {
        put(&value.to_le_bytes());
    }
    put(&0_u32.to_le_bytes());
    for value in [64_u16, 56, 1, 0, 0, 0] {
        put(&value.to_le_bytes());
    }
    // The segment: loaded, to be read and run.
    put(&1_u32.to_le_bytes());
    put(&5_u32.to_le_bytes());
    for value in [0, base, base, size, size, 0x1000] {
        put(&value.to_le_bytes());
    }
    put(code);
    bytes
}

fn program_32(header: Header, code: &[u8]) -> Vec<u8> {
    const HEADERS: u16 = 52 + 32;
    let size = u32::from(HEADERS) + u32::try_from(code.len()).unwrap_or(0);
    // The fifth version of ARM's calling convention; other machines have no flags.
    let flags: u32 = if header.machine == 40 { 0x0500_0000 } else { 0 };
    let mut bytes = header.beginnings()[0].to_vec();
    let mut put = |value: &[u8]| bytes.extend_from_slice(value);
    for value in [1, BASE + u32::from(HEADERS), 52, 0, flags] {
        put(&value.to_le_bytes());
    }
    for value in [52_u16, 32, 1, 0, 0, 0] {
        put(&value.to_le_bytes());
    }
    for value in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        put(&value.to_le_bytes());
    }
    put(code);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_program_of_this_machine_runs() {
        let own = crate::platform::host();
        assert!(runs(own.architecture()), "{own}");
        assert!(!runs("pdp11"));
        assert!(!run(b"no program").unwrap_or(false));
    }

    #[test]
    fn programs_are_told_from_others() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let header = Header::of(crate::platform::host().architecture()).unwrap();
        assert!(header.is_of(&own));
        assert!(!Header::of("s390x").unwrap().is_of(&own));
        assert!(!header.is_of(b"#!/bin/sh\n"));
        for architecture in ["386", "amd64", "arm", "arm64", "riscv64"] {
            let program = smallest(architecture).unwrap();
            assert!(Header::of(architecture).unwrap().is_of(&program), "{architecture}");
        }
    }
}
