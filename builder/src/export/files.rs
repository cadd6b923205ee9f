//! The files of an image, without the image: as a folder, or as one tar.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_cache::copy::{self, Item, Options, Owner};
use rbuild_cache::tree::{Node, Tree};
use rbuild_cache::{Layer, pack, privilege};
use rbuild_solver::What;

use super::{Destination, Exporter, Finished};
use crate::attest::{self, Attestation};
use crate::error::{Error, Result};
use crate::view;
use crate::worker::fetch::{self, blocking};

/// The folder that files go into.
#[derive(Debug, Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) path: &'a Path,
    /// Whether each platform has a folder of its own in it; so it is with several if not said.
    pub(super) split: Option<bool>,
    /// Whether what is there and not in the image goes.
    pub(super) delete: bool,
}

/// Copies the files of the images into a folder, over what is there.
pub(super) async fn to_folder(exporter: &Exporter, images: &[Finished], to: To<'_>) -> Result<()> {
    for (image, folder) in placed(images, to.split)? {
        let root = view(exporter, image).await?;
        tell(exporter, "copying files", false);
        let (path, delete) = (to.path.join(folder), to.delete);
        let attestations = image.attestations.clone();
        blocking(move || {
            copy_all(&root, &path, delete)?;
            attest(&root, &path, &attestations)
        })
        .await?;
        tell(exporter, "copying files", true);
    }
    Ok(())
}

/// Puts what is attested beside the files.
fn attest(root: &OwnedFd, to: &Path, attestations: &[Attestation]) -> Result<()> {
    if attestations.is_empty() {
        return Ok(());
    }
    let subjects = attest::files::subjects(root)?;
    for (name, bytes) in attest::files::statements(attestations, &subjects)? {
        let path = to.join(name);
        // The image may have a link there, which leads anywhere.
        let _ = fs::remove_file(&path);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(&bytes));
        written.map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}

/// Each image with the folder that its files have among those of the others.
fn placed(images: &[Finished], split: Option<bool>) -> Result<Vec<(&Finished, String)>> {
    let split = split.unwrap_or(images.len() > 1);
    if !split && images.len() > 1 {
        let reason = "the files of several platforms need folders of their own: leave \
                      `platform-split=false` out";
        return Err(Error::Usage(reason.to_owned()));
    }
    let folder = |image: &Finished| image.platform.to_string().replace('/', "_");
    let place = |image| (image, if split { folder(image) } else { String::new() });
    Ok(images.iter().map(place).collect())
}

fn copy_all(root: &OwnedFd, to: &Path, delete: bool) -> Result<()> {
    let failed = |source| Error::Write { path: to.to_owned(), source };
    fs::create_dir_all(to).map_err(failed)?;
    let folder = File::open(to).map_err(failed)?;
    let tree = Tree::read(root.as_fd(), &rbuild_cache::tree::Options::default())
        .map_err(Error::store("read the files of the image"))?;
    if delete {
        let kept: HashMap<_, _> = tree.nodes().iter().map(|node| (&*node.path, node)).collect();
        delete_others(to, Path::new(""), &kept).map_err(failed)?;
    }
    let below_root = tree.nodes().iter().filter(|node| !node.path.as_os_str().is_empty());
    let items: Vec<Item<'_>> = below_root.map(whole).collect();
    // An ordinary user must be able to remove what it has got.
    let owner = if privilege::is_full() { Owner::Keep } else { Owner::default() };
    let options = Options { owner, ..Options::default() };
    copy::copy(root.as_fd(), &items, folder.as_fd(), &options)
        .map(drop)
        .map_err(Error::store(format!("copy the files of the image to `{}`", to.display())))
}

/// Removes what has no place in the image, or is a folder where the image has none.
fn delete_others(to: &Path, below: &Path, kept: &HashMap<&Path, &Node>) -> io::Result<()> {
    for entry in fs::read_dir(to.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let is_folder = entry.file_type()?.is_dir();
        let stays = kept.get(&*path).is_some_and(|node| node.is_directory() == is_folder);
        match (stays, is_folder) {
            (true, true) => delete_others(to, &path, kept)?,
            (true, false) => {}
            (false, true) => fs::remove_dir_all(entry.path())?,
            (false, false) => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// A file that goes to the same place in another folder.
fn whole(node: &Node) -> Item<'_> {
    let path = node.path.to_path_buf();
    Item { source: path.clone(), destination: path, node, previous: None }
}

/// Writes the files of the images as a tar, none younger than the one time of the build.
pub(super) async fn to_tar(
    exporter: &Exporter,
    images: &[Finished],
    to: &Destination,
    split: Option<bool>,
) -> Result<()> {
    let newest = images.first().and_then(|image| image.epoch);
    let root = match &placed(images, split)?[..] {
        [(image, folder)] if folder.is_empty() && image.attestations.is_empty() => {
            (view(exporter, image).await?, None)
        }
        _ => {
            // Side by side in a folder of the store, which goes when it was packed.
            let staged = exporter.store.stage().map_err(Error::store("put files together"))?;
            let all = To { path: staged.files(), split, delete: false };
            to_folder(exporter, images, all).await?;
            let failed = |source| Error::Read { path: staged.files().to_owned(), source };
            (File::open(staged.files()).map_err(failed)?.into(), Some(staged))
        }
    };
    tell(exporter, "sending tarball", false);
    let to = to.clone();
    blocking(move || {
        let (root, _staged) = root;
        let path = match &to {
            Destination::Path(path) => path.clone(),
            Destination::Stdout => PathBuf::from("-"),
        };
        let failed = |source| Error::Write { path: path.clone(), source };
        let mut out: Box<dyn Write> = match &to {
            Destination::Path(path) => Box::new(File::create(path).map_err(failed)?),
            Destination::Stdout => Box::new(io::stdout()),
        };
        let mut buffered = BufWriter::new(&mut out);
        pack::pack_until(root.as_fd(), newest, &mut buffered)
            .map_err(Error::store("pack the files of the image"))?;
        buffered.flush().map_err(failed)
    })
    .await?;
    tell(exporter, "sending tarball", true);
    Ok(())
}

/// The merged tree of an image, all of its layers here.
async fn view(exporter: &Exporter, image: &Finished) -> Result<OwnedFd> {
    let Exporter { store, registries, events, step } = exporter;
    let layers = image.layers.iter();
    let missing: Vec<Layer> =
        layers.filter(|layer| store.layer_path(layer).is_none()).cloned().collect();
    fetch::layers(store, registries, &missing, events, Some(*step)).await?;
    view::open(store, &image.layers)
}

fn tell(exporter: &Exporter, part: &str, done: bool) {
    let what = What::Progress { part: part.to_owned(), current: 0, total: None, done };
    exporter.events.emit(exporter.step, what);
}
