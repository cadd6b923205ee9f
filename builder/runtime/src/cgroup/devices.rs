//! Which devices the processes of a group may use: rules for the controller of version 1, or as a
//! small program that the kernel asks, which every machine with a tree of version 2 has.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::tree::Tree;
use super::write;
use crate::sys;

/// Which devices work, or do not. The last of several rules that are about the same device and
/// access counts; what no rule is about does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether they work.
    pub allow: bool,
    /// `Some(true)` for block devices, `Some(false)` for character devices, none for both.
    pub block: Option<bool>,
    /// The number of the driver; none is any.
    pub major: Option<u32>,
    /// The number with that driver; none is any.
    pub minor: Option<u32>,
    /// What may be done.
    pub access: Access,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Read it.
    pub read: bool,
    /// Write it.
    pub write: bool,
    /// Make its node.
    pub make: bool,
}

impl Access {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, make: true };

    /// `BPF_DEVCG_ACC_*`.
    fn bits(self) -> i32 {
        i32::from(self.make) | i32::from(self.read) << 1 | i32::from(self.write) << 2
    }
}

impl DeviceRule {
    /// The rule that everything works, or nothing.
    pub const fn everything(allow: bool) -> Self {
        Self { allow, block: None, major: None, minor: None, access: Access::ALL }
    }

    /// Whether it is about every device and every access.
    pub fn is_everything(&self) -> bool {
        *self == Self::everything(self.allow)
    }

    /// Rules as version 1 has them, where one for both kinds of devices is about all of them.
    fn by_kind(self) -> Vec<Self> {
        match self.block {
            None if !self.is_everything() => {
                [true, false].map(|block| Self { block: Some(block), ..self }).to_vec()
            }
            _ => vec![self],
        }
    }

    fn line(&self) -> String {
        let kind = match self.block {
            None => "a",
            Some(true) => "b",
            Some(false) => "c",
        };
        let number = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
        let access = [(self.access.read, 'r'), (self.access.write, 'w'), (self.access.make, 'm')];
        let access: String = access.iter().filter(|(has, _)| *has).map(|(_, word)| word).collect();
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

/// The rules since the last one about everything, and whether that allows it.
fn since_everything(rules: &[DeviceRule]) -> (bool, &[DeviceRule]) {
    let last = rules.iter().rposition(DeviceRule::is_everything);
    last.map_or((false, rules), |at| (rules[at].allow, &rules[at + 1..]))
}

/// Whether every device works.
pub fn allow_everything(rules: &[DeviceRule]) -> bool {
    let (allowed, later) = since_everything(rules);
    allowed && later.iter().all(|rule| rule.allow)
}

/// Has rules obeyed in a new group; returns whether they are.
///
/// They are not where the machine has neither the controller nor such programs, or this process
/// may use neither.
pub(super) fn enforce(folders: &[(Tree, PathBuf)], rules: &[DeviceRule]) -> bool {
    let unified = folders.iter().find(|(tree, _)| tree.unified);
    let program = || unified.is_some_and(|(_, folder)| attach(folder, rules).is_ok());
    let Some((_, folder)) = folders.iter().find(|(tree, _)| tree.has("devices")) else {
        return program();
    };
    let written = write_rules(folder, rules).is_ok();
    // The controller passes over a rule that takes a part away of what an earlier one gave.
    let (allowed, later) = since_everything(rules);
    let is_told_all = later.iter().all(|rule| rule.allow || allowed);
    if written && is_told_all { true } else { program() }
}

fn write_rules(folder: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let all = [DeviceRule::everything(false)].into_iter().chain(rules.iter().copied());
    for rule in all.flat_map(DeviceRule::by_kind) {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        write(folder, file, &rule.line())?;
    }
    Ok(())
}

fn attach(folder: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let loaded = sys::load_device_program(&program(rules))?;
    Ok(sys::attach_device_program(File::open(folder)?, loaded)?)
}

/// What the program keeps of the question: the kind of device, the access that is still to be
/// allowed, and the device's numbers.
const ANSWER: u8 = 0;
const QUESTION: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// `BPF_DEVCG_DEV_*`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// Operations of the kernel's machine, as far as they are needed.
mod operation {
    /// A register is set to the number at a place that another one points to.
    pub(super) const LOAD: u8 = 0x61;
    /// A register is set to a number.
    pub(super) const SET: u8 = 0xb7;
    /// The lower half of a register keeps the bits of a number.
    pub(super) const AND: u8 = 0x54;
    /// The lower half of a register is moved down by bits.
    pub(super) const DOWN: u8 = 0x74;
    /// A jump.
    pub(super) const JUMP: u8 = 0x05;
    /// A jump where a register is not a number.
    pub(super) const UNLESS: u8 = 0x55;
    /// A jump where a register has some of the bits of a number.
    pub(super) const IF_ANY: u8 = 0x45;
    /// The end.
    pub(super) const END: u8 = 0x95;
}

/// One instruction as the kernel has it.
fn instruction(operation: u8, (to, from): (u8, u8), jump: i16, number: i32) -> u64 {
    let [low, high] = jump.to_le_bytes();
    let [a, b, c, d] = number.to_le_bytes();
    u64::from_le_bytes([operation, to | from << 4, low, high, a, b, c, d])
}

/// The program that answers as the rules say.
///
/// It looks from the last rule to the first, and takes away from what is asked for what one
/// allows: nothing left is a yes, something that one denies a no.
fn program(rules: &[DeviceRule]) -> Vec<u64> {
    use operation::{AND, DOWN, END, LOAD, SET};
    let mut program = vec![
        instruction(LOAD, (KIND, QUESTION), 0, 0),
        instruction(LOAD, (ACCESS, QUESTION), 0, 0),
        instruction(DOWN, (ACCESS, 0), 0, 16),
        instruction(AND, (KIND, 0), 0, 0xffff),
        instruction(LOAD, (MAJOR, QUESTION), 4, 0),
        instruction(LOAD, (MINOR, QUESTION), 8, 0),
    ];
    let (allowed, rules) = since_everything(rules);
    for rule in rules.iter().rev() {
        program.extend(of_rule(rule));
    }
    program.push(instruction(SET, (ANSWER, 0), 0, i32::from(allowed)));
    program.push(instruction(END, (0, 0), 0, 0));
    program
}

fn of_rule(rule: &DeviceRule) -> Vec<u64> {
    use operation::{AND, END, IF_ANY, JUMP, SET, UNLESS};
    let bits = rule.access.bits();
    let mut steps = if rule.allow {
        vec![instruction(AND, (ACCESS, 0), 0, !bits), instruction(UNLESS, (ACCESS, 0), 2, 0)]
    } else {
        vec![instruction(IF_ANY, (ACCESS, 0), 1, bits), instruction(JUMP, (0, 0), 2, 0)]
    };
    steps.push(instruction(SET, (ANSWER, 0), 0, i32::from(rule.allow)));
    steps.push(instruction(END, (0, 0), 0, 0));
    let kind = rule.block.map(|block| if block { BLOCK } else { CHARACTER });
    let wanted = [
        (KIND, kind),
        (MAJOR, rule.major.map(u32::cast_signed)),
        (MINOR, rule.minor.map(u32::cast_signed)),
    ];
    for (register, number) in wanted {
        if let Some(number) = number {
            let over = i16::try_from(steps.len()).unwrap_or(i16::MAX);
            steps.insert(0, instruction(UNLESS, (register, 0), over, number));
        }
    }
    steps
}

#[cfg(test)]
mod tests;
