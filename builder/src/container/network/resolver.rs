//! The `/etc/resolv.conf` of a container that runs, written anew when it gets a name server.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};

const RESOLV_CONF: &str = "etc/resolv.conf";

/// Replaces what the file says, unless the container has changed it: then it is its own.
pub(super) fn rewrite(pid: u32, before: &str, after: &str) {
    if let Err(error) = try_rewrite(pid, before, after) {
        tracing::warn!(pid, %error, "a container is not told of its name server");
    }
}

fn try_rewrite(pid: u32, before: &str, after: &str) -> io::Result<()> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    rewrite_in(&root, before, after)
}

/// The root is the container's: what it has there leads nowhere else.
fn rewrite_in(root: &OwnedFd, before: &str, after: &str) -> io::Result<()> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(root, RESOLV_CONF, flags, Mode::empty(), resolve)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no file"));
    }
    let mut file = File::from(file);
    let mut said = String::new();
    let most = u64::try_from(before.len()).unwrap_or(u64::MAX).saturating_add(1);
    (&file).take(most).read_to_string(&mut said)?;
    if said != before {
        return Ok(());
    }
    file.rewind()?;
    file.write_all(after.as_bytes())?;
    file.set_len(u64::try_from(after.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_was_written_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESOLV_CONF);
        fs::create_dir(folder.path().join("etc")).unwrap();
        let root = || OwnedFd::from(File::open(folder.path()).unwrap());
        fs::write(&path, "a long line\n").unwrap();
        rewrite_in(&root(), "a long line\n", "short\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short\n");
        for other in ["a long line\n", "short", "short\nand\n"] {
            rewrite_in(&root(), other, "no\n").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "short\n");
        // A link leads nowhere, also to what says the same.
        fs::rename(&path, folder.path().join("target")).unwrap();
        symlink("/target", &path).unwrap();
        rewrite_in(&root(), "short\n", "no\n").unwrap_err();
        assert_eq!(fs::read_to_string(folder.path().join("target")).unwrap(), "short\n");
    }
}
