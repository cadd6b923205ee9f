//! Taking turns with the networks of this machine.

use std::fs::File;
use std::io;
use std::path::Path;

use rbuild_runtime::network::Links;
use rbuild_runtime::userns;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::container::error::{Error, Result};

/// Where locks are that hold for all stores, and go with the machine's uptime.
const RUN: &str = "/run";
const FOLDER: &str = "rbuild";

/// The only process that changes networks of this machine at the moment.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) links: Links,
    /// The kernel frees it with the process.
    _lock: File,
}

impl Turn {
    /// Waits for the turn.
    pub(crate) fn take() -> Result<Self> {
        if !userns::is_initial() {
            let reason =
                "only root can make networks; `host`, `none` and `container:NAME` are there";
            return Err(Error::Unsupported { option: "a network".to_owned(), reason });
        }
        let lock = lock(Path::new(RUN))?;
        Ok(Self { links: Links::open().map_err(Error::network)?, _lock: lock })
    }
}

/// Locks the network namespace of this thread. The lock is a file that nobody else can open, for
/// whoever can open a file can lock it, and keep all others waiting: so can everybody with the
/// namespace's own file.
fn lock(run: &Path) -> Result<File> {
    let namespace = "/proc/thread-self/ns/net";
    let inode = rustix::fs::stat(namespace).map_err(Error::file("examine", namespace))?.st_ino;
    let path = run.join(FOLDER);
    match rustix::fs::mkdir(&path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => {
            return Err(Error::file("make the folder of the lock of networks", &path)(error));
        }
    }
    let opening = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(&path, opening | OFlags::DIRECTORY, Mode::empty())
        .map_err(Error::file("open the folder of the lock of networks", &path))?;
    let is_own = |found: Stat, kind, others| {
        let is_ours = found.st_uid == rustix::process::geteuid().as_raw();
        let is_kind = FileType::from_raw_mode(found.st_mode) == kind;
        let own = is_ours && is_kind && found.st_mode & others == 0;
        own.then_some(()).ok_or_else(|| io::Error::other("others may change it"))
    };
    let doing = "trust the lock of networks";
    let found = rustix::fs::fstat(&folder).map_err(Error::file("examine", &path))?;
    is_own(found, FileType::Directory, 0o022).map_err(Error::file(doing, &path))?;
    let name = format!("networks-{inode}.lock");
    let path = path.join(&name);
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::openat(&folder, &name, opening | OFlags::RDWR | OFlags::CREATE, mode)
        .map_err(Error::file("open the lock of networks", &path))?;
    let found = rustix::fs::fstat(&file).map_err(Error::file("examine", &path))?;
    is_own(found, FileType::RegularFile, 0o077).map_err(Error::file(doing, &path))?;
    let locking = || rustix::fs::flock(&file, FlockOperation::LockExclusive);
    rustix::io::retry_on_intr(locking).map_err(Error::file("lock", &path))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_elses_lock_hinders() {
        let run = tempfile::tempdir().unwrap();
        let namespace = File::open("/proc/self/ns/net").unwrap();
        rustix::fs::flock(&namespace, FlockOperation::NonBlockingLockExclusive).unwrap();
        let (sender, receiver) = mpsc::channel();
        let path = run.path().to_owned();
        std::thread::spawn(move || sender.send(lock(&path)));
        let held = receiver.recv_timeout(Duration::from_secs(20)).expect("no lock").unwrap();
        // It is one, and one's own.
        let folder = run.path().join(FOLDER);
        let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
        let other = File::open(&file).unwrap();
        let tried = || rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(tried(), Err(Errno::WOULDBLOCK));
        drop(held);
        tried().unwrap();
    }

    #[test]
    fn a_lock_that_others_can_have_is_none() {
        let run = tempfile::tempdir().unwrap();
        drop(lock(run.path()).unwrap());
        let folder = run.path().join(FOLDER);
        let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let allow = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        allow(&file, 0o644);
        lock(run.path()).unwrap_err();
        fs::remove_file(&file).unwrap();
        symlink("/dev/null", &file).unwrap();
        lock(run.path()).unwrap_err();
        fs::remove_file(&file).unwrap();
        allow(&folder, 0o777);
        lock(run.path()).unwrap_err();
        assert!(lock(&run.path().join("nothing")).unwrap_err().to_string().contains("nothing"));
    }
}
