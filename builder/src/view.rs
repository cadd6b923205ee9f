//! The files of an image as a folder that can be read, and the digests of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rbuild_cache::{Hashed, Layer, Store};
use rustix::fs::{Mode, OFlags, openat};

use crate::error::{Error, Result};
use crate::worker::select;

/// The merged tree of layers that are here.
pub(crate) fn open(store: &Store, layers: &[Layer]) -> Result<OwnedFd> {
    let view = store.view(layers).map_err(Error::store("look at the files of the image"))?;
    // A view may be a path only; its files are read through a real descriptor.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(view.as_fd(), ".", flags, Mode::empty())
        .map_err(|error| Error::Read { path: store.root().to_owned(), source: error.into() })
}

/// The sha256 of a file of a tree; no link leads out of it.
pub(crate) fn sha256(root: &OwnedFd, path: &Path) -> io::Result<String> {
    let mut file: File = select::open_file(root.as_fd(), path)?;
    let mut hashed = Hashed::new(io::sink());
    io::copy(&mut file, &mut hashed)?;
    Ok(hashed.digest().to_string())
}
