//! A disk that is soon full: a tmpfs of a few MiB.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A small tmpfs, mounted as long as this lives.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one there, with so many MiB.
    pub fn mount(place: &Path, size: usize) -> Self {
        fs::create_dir_all(place).expect("a folder can be made");
        let options = std::ffi::CString::new(format!("size={size}m")).expect("no zero byte");
        mount("tmpfs", place, "tmpfs", MountFlags::empty(), options.as_c_str())
            .expect("root may mount a tmpfs: the tests need root");
        Self(place.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
