//! RUN for another platform than this machine's: which emulator does it, or why nothing can. That
//! is found out before anything runs, in place of an `exec format error` in the middle.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rbuild_solver::op::Exec;
use rbuild_solver::{Task, What};

use super::select;
use crate::emulation::{self, Header, Obstacle, Runs};
use crate::error::StepError;
use crate::platform;

/// The bytes of a program that are looked at.
const BEGINNING: u64 = 64;

/// Sees to it that the program of a step can run, and tells if it does so by an emulator.
pub(super) fn ready(task: &Task, exec: &Exec, root: BorrowedFd<'_>) -> Result<(), StepError> {
    let Ok(platform) = platform::parse(&exec.platform) else {
        return Ok(());
    };
    let tell = |name: &str| {
        let text = format!("this step runs emulated ({name})");
        task.events.emit(task.step, What::Note { text });
        Ok(())
    };
    let obstacle = match emulation::find(&platform) {
        Runs::Natively => return Ok(()),
        Runs::Emulated(_) | Runs::EmulatedBy { .. } | Runs::Not(_) if is_own(exec, root) => {
            return Ok(());
        }
        Runs::Emulated(name) => return tell(&name),
        Runs::EmulatedBy { name, interpreter } => {
            if select::resolve(root, Path::new(&interpreter)).is_ok() {
                return tell(&name);
            }
            Obstacle::Elsewhere
        }
        Runs::Not(obstacle) => obstacle,
    };
    let hint = obstacle.hint(platform.architecture());
    let (wanted, host) = (platform.to_string(), platform::host().to_string());
    Err(StepError::Foreign { wanted, host, reason: obstacle.to_string(), hint })
}

/// Whether the program of a step is one of this machine, whatever its image is for, or is not
/// there, which is told better by trying.
fn is_own(exec: &Exec, root: BorrowedFd<'_>) -> bool {
    let host = platform::host();
    let Some(own) = Header::of(host.architecture()) else { return false };
    let mut file = None;
    for path in candidates(exec) {
        file = file.or_else(|| select::open_file(root, &path).ok());
    }
    let Some(file) = file else { return true };
    let mut bytes = Vec::new();
    file.take(BEGINNING).read_to_end(&mut bytes).is_ok() && own.is_of(&bytes)
}

/// The places of the program of a step, below its root.
fn candidates(exec: &Exec) -> Vec<PathBuf> {
    let Some(program) = exec.args.first() else { return Vec::new() };
    if program.contains('/') {
        return vec![Path::new(&exec.cwd).join(program)];
    }
    let path = exec.env.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or(crate::image::DEFAULT_PATH, |(_, value)| value);
    path.split(':').map(|folder| Path::new(folder).join(program)).collect()
}
