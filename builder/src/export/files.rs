//! The files of an image, without the image: as a folder, or as one tar.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_cache::copy::{self, Item, Options, Owner};
use rbuild_cache::tree::{Node, Tree};
use rbuild_cache::{Layer, pack};
use rbuild_solver::What;
use rustix::fs::{Mode, OFlags};

use super::{Destination, Exporter, Finished};
use crate::error::{Error, Result};
use crate::worker::fetch::{self, blocking};

/// Copies the files of an image into a folder, over what is there.
pub(super) async fn to_folder(exporter: &Exporter, images: &[Finished], to: &Path) -> Result<()> {
    let root = view(exporter, only(images)?).await?;
    tell(exporter, "copying files", false);
    let to = to.to_owned();
    blocking(move || {
        let failed = |source| Error::Write { path: to.clone(), source };
        fs::create_dir_all(&to).map_err(failed)?;
        let folder = File::open(&to).map_err(failed)?;
        let tree = Tree::read(root.as_fd(), &rbuild_cache::tree::Options::default())
            .map_err(Error::store("read the files of the image"))?;
        let below_root = tree.nodes().iter().filter(|node| !node.path.as_os_str().is_empty());
        let items: Vec<Item<'_>> = below_root.map(whole).collect();
        let options = Options { owner: Owner::Keep, ..Options::default() };
        copy::copy(root.as_fd(), &items, folder.as_fd(), &options)
            .map(drop)
            .map_err(Error::store(format!("copy the files of the image to `{}`", to.display())))
    })
    .await?;
    tell(exporter, "copying files", true);
    Ok(())
}

/// The image, where there is but one platform.
fn only(images: &[Finished]) -> Result<&Finished> {
    match images {
        [only] => Ok(only),
        _ => Err(Error::Usage("the files of several platforms need places of their own".into())),
    }
}

/// A file that goes to the same place in another folder.
fn whole(node: &Node) -> Item<'_> {
    let path = node.path.to_path_buf();
    Item { source: path.clone(), destination: path, node, previous: None }
}

/// Writes the files of an image as a tar.
pub(super) async fn to_tar(
    exporter: &Exporter,
    images: &[Finished],
    to: &Destination,
) -> Result<()> {
    let root = view(exporter, only(images)?).await?;
    tell(exporter, "sending tarball", false);
    let to = to.clone();
    blocking(move || {
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
        pack::pack(root.as_fd(), &mut buffered)
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
    let view = store.view(&image.layers).map_err(Error::store("look at the files of the image"))?;
    // A view may be a path only; its files are read through a real descriptor.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(view.as_fd(), ".", flags, Mode::empty())
        .map_err(|error| Error::Read { path: store.root().to_owned(), source: error.into() })
}

fn tell(exporter: &Exporter, part: &str, done: bool) {
    let what = What::Progress { part: part.to_owned(), current: 0, total: None, done };
    exporter.events.emit(exporter.step, what);
}
