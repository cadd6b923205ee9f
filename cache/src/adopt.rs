//! A layer of what a folder holds that is no layer of the store: the changes of a container.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hashed::Hashed;
use crate::layers::open_folder;
use crate::pack;
use crate::snapshot::Layer;
use crate::store::Store;

impl Store {
    /// Makes a layer of a copy of a folder in the form of overlayfs, whose files may change
    /// meanwhile, without these paths in it.
    ///
    /// They are read once, into an archive that is unpacked: so the layer is one moment's, and its
    /// diff id is known.
    pub fn copy_layer(&self, files: &Path, without: &BTreeSet<PathBuf>) -> Result<Layer> {
        let (path, file) = self.temporary_file()?;
        let _gone = Gone(path.clone());
        let failed = || Error::file("write", &path);
        let mut out = Hashed::new(BufWriter::new(&file));
        pack::pack_without(open_folder(files)?.as_fd(), without, &mut out)?;
        out.flush().map_err(failed())?;
        let diff_id = out.digest();
        let mut file: &File = &file;
        file.seek(SeekFrom::Start(0)).map_err(failed())?;
        Ok(Layer::Made(self.unpack(diff_id, file)?))
    }
}

/// A file that is removed at the end.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::digest_of;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_layer_is_a_copy_with_a_diff_id() {
        let store = Store::temporary().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "text").unwrap();
        fs::write(folder.path().join("left"), "").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        let gone = folder.path().join("gone");
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
        rustix::fs::mknodat(rustix::fs::CWD, &gone, kind, mode, 0).unwrap();
        let layer = store.copy_layer(folder.path(), &BTreeSet::from(["left".into()])).unwrap();
        fs::write(folder.path().join("file"), "other").unwrap();
        let files = store.layer_path(&layer).unwrap();
        assert_eq!(fs::read_to_string(files.join("link")).unwrap(), "text");
        assert!(!files.join("left").exists());
        let whiteout = rustix::fs::stat(files.join("gone")).unwrap();
        assert_eq!(whiteout.st_rdev, 0, "what was removed is a whiteout");
        let mut tar = Vec::new();
        store.pack(&layer, &mut tar).unwrap();
        assert_eq!(store.diff_id(&layer).unwrap(), digest_of(&tar));
        let left = fs::read_dir(store.root().join("tmp")).unwrap().count();
        assert_eq!(left, 0, "the archive is gone");
    }
}
