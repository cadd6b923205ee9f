//! Signals of this process as something to poll.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rbuild_runtime::Signal;
use signal_hook::consts;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::error::{Error, Result};

/// What stays with this process: its own faults, its children, and the shell's job control.
const OWN: [i32; 15] = [
    consts::SIGKILL,
    consts::SIGSTOP,
    consts::SIGILL,
    consts::SIGFPE,
    consts::SIGSEGV,
    consts::SIGBUS,
    consts::SIGTRAP,
    consts::SIGSYS,
    consts::SIGCHLD,
    consts::SIGPIPE,
    consts::SIGURG,
    consts::SIGTSTP,
    consts::SIGTTIN,
    consts::SIGTTOU,
    consts::SIGCONT,
];
/// Used by the C library for its threads.
const THREADS: std::ops::RangeInclusive<i32> = 32..=33;
const LAST: i32 = 64;

/// Signals that this process catches for as long as it lives.
#[derive(Debug)]
pub(crate) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Catches what is passed on to a container without a terminal: nearly all.
    pub(crate) fn to_pass_on() -> Result<Self> {
        Self::catch((1..=LAST).filter(|n| !OWN.contains(n) && !THREADS.contains(n)))
    }

    /// Catches what ends this process, which must give the terminal back first, and its resizing.
    pub(crate) fn of_a_terminal() -> Result<Self> {
        Self::catch([
            consts::SIGHUP,
            consts::SIGINT,
            consts::SIGQUIT,
            consts::SIGTERM,
            consts::SIGWINCH,
        ])
    }

    fn catch(numbers: impl IntoIterator<Item = i32>) -> Result<Self> {
        let catch = || {
            let (read, write) = UnixStream::pair()?;
            SignalDelivery::with_pipe(read, write, SignalOnly, numbers)
        };
        catch().map(Self).map_err(Error::system("catch signals"))
    }

    /// Becomes readable when a signal has come.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }

    /// The signals that have come.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Signal> {
        self.0.pending().filter_map(Signal::new)
    }
}

/// Whether the user's terminal has another size now.
pub(crate) fn is_resize(signal: Signal) -> bool {
    signal.number() == consts::SIGWINCH
}
