//! The user's terminal while a container has it.

use rbuild_runtime::WindowSize;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::error::{Error, Result};

/// Passes every key on as it is typed; given back its old ways on drop.
#[derive(Debug)]
pub(crate) struct Raw(Termios);

impl Raw {
    /// Makes the terminal at standard input raw.
    pub(crate) fn new() -> Result<Self> {
        let make = || {
            let old = tcgetattr(stdin())?;
            let mut raw = old.clone();
            raw.make_raw();
            tcsetattr(stdin(), OptionalActions::Now, &raw)?;
            Ok::<_, rustix::io::Errno>(Self(old))
        };
        make().map_err(Error::system("use the terminal"))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Whether standard input is a terminal.
pub(crate) fn is_terminal() -> bool {
    isatty(stdin())
}

/// The size of the user's terminal.
pub(crate) fn size() -> Option<WindowSize> {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())).ok()?;
    Some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}
