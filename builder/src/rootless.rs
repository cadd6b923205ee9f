//! Building and running as an ordinary user, who becomes root in a user namespace.

use std::path::Path;
use std::sync::OnceLock;

use rbuild_runtime::userns;

use crate::error::{Error, Result};

pub use rbuild_runtime::userns::Entered;

/// Why this process could not become root.
static REFUSAL: OnceLock<String> = OnceLock::new();

/// Makes this process root in a user namespace, which it shares with those that use the same
/// store. Must come before any thread starts, and only where the process is not root.
///
/// The folder of the store is made when it is missing.
pub fn enter(root: &Path) -> Result<Entered> {
    userns::enter(root).map_err(|error| {
        let refused = Error::NotRoot(Box::new(error));
        let _ = REFUSAL.set(crate::error::with_causes(&refused));
        refused
    })
}

/// Refuses root a store that an ordinary user has made: its layers are written otherwise, and what
/// root wrote there the user could not read.
pub fn refuse_users_store(root: &Path) -> Result<()> {
    match userns::owner(root) {
        Some(user) if userns::is_initial() => Err(Error::Usage(format!(
            "the store in `{}` is that of user {user}: only that user can use it",
            root.display()
        ))),
        _ => Ok(()),
    }
}

/// Why [`enter`] failed in this process.
pub(crate) fn refusal() -> Option<&'static str> {
    REFUSAL.get().map(String::as_str)
}
