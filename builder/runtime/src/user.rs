//! Who the process is: `user[:group]` against the image's own `/etc/passwd` and `/etc/group`.

use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A user as the kernel knows one, and its home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Number of the first group.
    pub gid: u32,
    /// Numbers of all supplementary groups.
    pub groups: Vec<u32>,
    /// The home directory; `/` when the image knows none.
    pub home: String,
}

/// Resolves `user[:group]`, empty for root, in the files of `root`.
///
/// A number is never looked up as a name. Fails for a name that the image does not have, a number
/// out of 0 to 2³¹-1, and for files that are not regular or have more than 10 MiB.
pub fn resolve(root: BorrowedFd<'_>, user: &str) -> Result<User> {
    let _ = (root, user);
    todo!()
}
