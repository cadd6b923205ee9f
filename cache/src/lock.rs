//! Waiting for another process that is doing the same thing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::store::Store;

pub(crate) const LOCKS: &str = "locks";

/// A name held by this process; given back on drop, and by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    // Closing it frees the lock.
    file: File,
}

impl Lock {
    /// A descriptor that holds the lock as well, for another process.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file itself stays until a sweep: see `StagedLayer::commit`.
        let _ = self.file.set_len(0);
    }
}

impl Store {
    /// Takes the lock `name`, or says with `None` that someone else holds it.
    pub fn lock(&self, name: &str) -> Result<Option<Lock>> {
        let path = self.lock_path(name)?;
        acquire(&path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock `name`, waiting for as long as someone else holds it.
    ///
    /// When it must wait, it first calls `on_wait` with the process id of the holder, or with 0
    /// when the holder has not written it yet.
    pub fn lock_wait(&self, name: &str, on_wait: impl FnOnce(u32)) -> Result<Lock> {
        let path = self.lock_path(name)?;
        if let Some(lock) = acquire(&path, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(lock);
        }
        on_wait(holder(&path));
        loop {
            if let Some(lock) = acquire(&path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    fn lock_path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.folder("locks")?.join(blake3::hash(name.as_bytes()).to_hex().as_str()))
    }
}

/// Takes the lock file; `None` when another holds it and `how` does not wait.
fn acquire(path: &Path, how: FlockOperation) -> Result<Option<Lock>> {
    loop {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = file.open(path).map_err(Error::file("open the lock", path))?;
        match flock(&file, how) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(Error::file("lock", path)(error)),
        }
        // A sweep removed the file just before it was locked: then it is nobody's lock.
        let links = file.metadata().map_err(Error::file("lock", path))?.nlink();
        if links == 0 {
            continue;
        }
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(Error::file("write", path))?;
        return Ok(Some(Lock { file }));
    }
}

/// The process id in a lock file, which its holder writes just after it took the lock.
fn holder(path: &Path) -> u32 {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(32).read_to_string(&mut text)?;
        Ok(text)
    };
    for _ in 0..20 {
        if let Some(pid) = read().ok().and_then(|text| text.parse().ok()) {
            return pid;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    0
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_lock_is_held_once_and_leaves_nothing_for_long() {
        let store = Store::temporary().unwrap();
        let lock = store.lock("../a/name").unwrap().expect("nobody holds it");
        assert!(store.lock("../a/name").unwrap().is_none());
        let other = store.lock("another").unwrap();
        assert!(other.is_some());
        assert_eq!(store.sweep().unwrap(), 0);
        drop((lock, other));
        assert_eq!(store.sweep().unwrap(), 2);
        assert_eq!(fs::read_dir(store.root().join(LOCKS)).unwrap().count(), 0);
        assert!(store.lock("../a/name").unwrap().is_some());
    }

    #[test]
    fn one_waits_for_the_holder() {
        let store = Store::temporary().unwrap();
        let lock = store.lock("name").unwrap().expect("nobody holds it");
        let (waits, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| store.lock_wait("name", |pid| waits.send(pid).unwrap()));
            assert_eq!(told.recv().unwrap(), std::process::id());
            drop(lock);
            assert!(waiter.join().unwrap().is_ok());
        });
        let free = store.lock_wait("name", |_| panic!("nobody holds it"));
        assert!(free.is_ok());
    }

    #[test]
    fn many_threads_take_turns() {
        let store = Store::temporary().unwrap();
        let busy = std::sync::Mutex::new(());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..200 {
                        if round % 10 == 0 {
                            store.sweep().unwrap();
                        }
                        let lock = store.lock_wait("name", |_| ()).unwrap();
                        drop(busy.try_lock().expect("the lock is held by one"));
                        drop(lock);
                    }
                });
            }
        });
    }
}
