//! The container's terminal: opened from its own terminals, never by a path the image can bend.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::container::WindowSize;

/// The kernel's mark of a devpts file system.
const DEVPTS_SUPER_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// The two ends of a terminal.
pub(crate) struct Terminal {
    /// The end of whoever watches the container.
    pub(crate) outside: OwnedFd,
    /// The end that is the process's input and output.
    pub(crate) inside: OwnedFd,
}

/// Opens a new terminal of the devpts file system whose root is `terminals`.
pub(crate) fn open(terminals: BorrowedFd<'_>, size: WindowSize) -> Result<Terminal, Errno> {
    if fstatfs(terminals)?.f_type != DEVPTS_SUPER_MAGIC {
        return Err(Errno::NOTTY);
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let outside = openat(terminals, "ptmx", flags, Mode::empty())?;
    unlockpt(&outside)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let inside = ioctl_tiocgptpeer(&outside, flags)?;
    resize(&outside, size)?;
    Ok(Terminal { outside, inside })
}

/// Sets the size of a terminal, which tells its foreground processes.
pub(crate) fn resize(terminal: impl AsFd, size: WindowSize) -> Result<(), Errno> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size)
}
