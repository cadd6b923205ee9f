//! Whether programs of a platform run on this machine: by itself, by an emulator that the kernel
//! was told of (`binfmt_misc`), or not at all, and then why.

mod elf;
mod handler;

use std::fmt;
use std::fs;
use std::path::Path;

pub(crate) use elf::Header;
use handler::Handler;

use crate::platform::{self, Platform};

/// The folder in which the kernel shows the interpreters that it was told of.
const FOLDER: &str = "/proc/sys/fs/binfmt_misc";

/// How programs of a platform run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runs {
    /// The processor runs them.
    Natively,
    /// The interpreter of this name does.
    Emulated(String),
    /// The interpreter of this name does, if this file is in the root of the step.
    EmulatedBy {
        /// The name.
        name: String,
        /// The absolute path of the interpreter.
        interpreter: String,
    },
    /// Nothing does.
    Not(Obstacle),
}

/// Why programs of a platform do not run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// They are made for another operating system.
    System,
    /// The kernel was told of no interpreter for them.
    NoInterpreter,
    /// The interpreter is switched off.
    Disabled,
    /// The interpreter is looked for in the root of the step, since it was registered without the
    /// flag `F`, and is not there.
    Elsewhere,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "they are made for another operating system",
            Self::NoInterpreter => "the kernel knows no emulator for them",
            Self::Disabled => "the emulator that the kernel knows for them is switched off",
            Self::Elsewhere => {
                "the emulator is registered without the flag F, so it is looked for in the file \
                 system of the step, where it is not"
            }
        })
    }
}

impl Obstacle {
    /// What the user can do about it, for programs of this architecture.
    pub(crate) fn hint(self, architecture: &str) -> String {
        let stay = "stages that only cross-compile can be `FROM --platform=$BUILDPLATFORM`";
        match self {
            Self::System => stay.to_owned(),
            Self::NoInterpreter => format!(
                "install one: `apt-get install qemu-user-static binfmt-support` (Debian, Ubuntu) or \
                 `dnf install qemu-user-static` (Fedora), then look for {architecture} in \
                 `ls {FOLDER}`; {stay}"
            ),
            Self::Disabled => format!("switch it on: `echo 1 > {FOLDER}/NAME`; {stay}"),
            Self::Elsewhere => "register it with the flag F (fix binary), as Debian's \
                                `qemu-user-static` does: `update-binfmts --fix-binary yes`"
                .to_owned(),
        }
    }
}

/// Finds out how programs of a platform run on this machine.
pub(crate) fn find(platform: &Platform) -> Runs {
    let host = platform::host();
    if is_native(&host, platform) {
        return Runs::Natively;
    }
    if platform.os() != host.os() {
        return Runs::Not(Obstacle::System);
    }
    let handlers = registered(Path::new(FOLDER));
    match by_handlers(platform, handlers.as_deref().unwrap_or_default()) {
        // What the processor of this machine does beside its own, such as 386, is found by trying;
        // so is an emulator where the kernel shows none since its folder is not mounted.
        Runs::Not(Obstacle::NoInterpreter) if elf::runs(platform.architecture()) => {
            match handlers {
                Some(_) => Runs::Natively,
                None => Runs::Emulated("an emulator of the kernel".to_owned()),
            }
        }
        found => found,
    }
}

/// Whether a machine runs programs of a platform since they are its own. Variants are not looked
/// at: what a processor lacks is told by the program that misses it.
fn is_native(host: &Platform, platform: &Platform) -> bool {
    host.os() == platform.os() && host.architecture() == platform.architecture()
}

/// What the interpreters that the kernel was told of mean for a platform.
fn by_handlers(platform: &Platform, handlers: &[Handler]) -> Runs {
    let Some(header) = Header::of(platform.architecture()) else {
        return Runs::Not(Obstacle::NoInterpreter);
    };
    let fitting = || handlers.iter().filter(|handler| handler.takes(header));
    // The kernel asks the one first that was registered last, which cannot be seen; usually there
    // is one.
    let Some(handler) = fitting().find(|handler| handler.enabled) else {
        let is_off = fitting().next().is_some();
        return Runs::Not(if is_off { Obstacle::Disabled } else { Obstacle::NoInterpreter });
    };
    let Handler { name, interpreter, .. } = handler.clone();
    if handler.fixed { Runs::Emulated(name) } else { Runs::EmulatedBy { name, interpreter } }
}

/// The interpreters that the kernel was told of; none where it does not show them.
fn registered(folder: &Path) -> Option<Vec<Handler>> {
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let switched_on = status.trim() == "enabled";
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let handlers = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let mut handler = Handler::parse(&name, &fs::read_to_string(file.path()).ok()?)?;
        handler.enabled &= switched_on;
        Some(handler)
    });
    let mut handlers: Vec<_> = handlers.collect();
    handlers.sort_by(|a, b| a.name.cmp(&b.name));
    Some(handlers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QEMU: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\n\
                        flags: POCF\noffset 0\n\
                        magic 7f454c460201010000000000000000000200b700\n\
                        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn runs(platform: &str, texts: &[(&str, &str)]) -> Runs {
        let handlers = texts.iter().filter_map(|(name, text)| Handler::parse(name, text));
        let handlers: Vec<_> = handlers.collect();
        by_handlers(&platform.parse().unwrap(), &handlers)
    }

    #[test]
    fn an_interpreter_is_found_by_what_it_takes() {
        let qemu = ("qemu-aarch64", QEMU);
        assert_eq!(runs("linux/arm64", &[qemu]), Runs::Emulated("qemu-aarch64".to_owned()));
        assert_eq!(runs("linux/arm64/v9", &[("x", QEMU)]), Runs::Emulated("x".to_owned()));
        let none = Runs::Not(Obstacle::NoInterpreter);
        assert_eq!(runs("linux/arm/v7", &[qemu]), none);
        assert_eq!(runs("linux/s390x", &[qemu]), none);
        assert_eq!(runs("linux/arm64", &[]), none);
        assert_eq!(runs("linux/pdp11", &[qemu]), none);
    }

    #[test]
    fn what_keeps_an_interpreter_from_its_work_is_told() {
        let off = QEMU.replace("enabled", "disabled");
        assert_eq!(runs("linux/arm64", &[("q", &off)]), Runs::Not(Obstacle::Disabled));
        let on = Runs::Emulated("r".to_owned());
        assert_eq!(runs("linux/arm64", &[("q", &off), ("r", QEMU)]), on);
        let unfixed = QEMU.replace("POCF", "OC");
        let wanted = Runs::EmulatedBy {
            name: "q".to_owned(),
            interpreter: "/usr/libexec/qemu-binfmt/aarch64-binfmt-P".to_owned(),
        };
        assert_eq!(runs("linux/arm64", &[("q", &unfixed)]), wanted);
        let hint = Obstacle::NoInterpreter.hint("arm64");
        assert!(hint.contains("qemu-user-static") && hint.contains("$BUILDPLATFORM"), "{hint}");
    }

    #[test]
    fn a_machine_runs_its_own() {
        assert_eq!(find(&platform::host()), Runs::Natively);
        let other = Platform::new("windows", std::env::consts::ARCH, None);
        assert_eq!(find(&other), Runs::Not(Obstacle::System));
        let amd64: Platform = "linux/amd64".parse().unwrap();
        assert!(is_native(&amd64, &"linux/amd64/v3".parse().unwrap()));
        assert!(!is_native(&amd64, &"linux/386".parse().unwrap()));
    }
}
