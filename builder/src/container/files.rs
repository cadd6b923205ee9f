//! Copying between a container and the host: `cp`, with the rules of `docker cp`.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rbuild_cache::Store;
use rbuild_runtime::copy::{Devices, How, copy_as, copy_folder, reopen};
use rbuild_runtime::open_in_root;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::archive;
use super::error::{Error, Result};
use super::names;
use super::tree::Tree;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A path of the host.
    Host(PathBuf),
    /// A path in a container, from its root.
    Container {
        /// The name or id of the container.
        name: String,
        /// The path.
        path: String,
    },
}

/// How files are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Whether the copies keep the numbers of their owners; else they belong to root in a
    /// container, and to the caller on the host.
    pub keep_owner: bool,
    /// Whether a source that is a link stands for what it points at.
    pub follow: bool,
}

/// Copies a file or folder. A source that ends in `/.` is what the folder holds; a destination
/// that is a folder gets the source into it, and any other gets its name.
///
/// # Errors
/// A container or path that is not there, a folder that would land on a file or the other way
/// round, and what cannot be read or written.
pub fn copy(store: &Store, from: &Place, to: &Place, options: CopyOptions) -> Result<()> {
    let (source_side, target_side) = (Side::open(store, from)?, Side::open(store, to)?);
    let source = source_side.source(options.follow)?;
    let target = target_side.target()?;
    let devices = match to {
        Place::Host(_) => Devices::Refused,
        Place::Container { .. } => Devices::Copied,
    };
    let how = How { owner: owner(options), replace: true, devices };
    let failed = |error| Error::file("copy to", &target_side.path)(error);
    let Landing { folder, name } = land(&source, target).map_err(|reason| Error::Invalid {
        option: "destination",
        value: target_side.path.clone(),
        reason: reason.to_owned(),
    })?;
    let to = reopen(folder.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    let failed = |error| Error::file("copy to", &target_side.path)(error);
    if let Some(name) = name {
        let name = CString::new(name).map_err(std::io::Error::other).map_err(failed)?;
        return copy_as(source.node.as_fd(), to.as_fd(), &name, how).map_err(failed);
    }
    let from = reopen(source.node.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    copy_folder(from.as_fd(), to.as_fd(), how).map_err(failed)
}

/// Writes a file or folder of a container as a tar whose first entry has its name.
///
/// # Errors
/// As for [`copy`].
pub fn copy_to_tar(
    store: &Store,
    from: &Place,
    options: CopyOptions,
    out: &mut dyn Write,
) -> Result<()> {
    let side = Side::open(store, from)?;
    let source = side.source(options.follow)?;
    let name = if source.only_inside { "." } else { &source.name };
    archive::write(source.node.as_fd(), name, out).map_err(Error::file("read", &side.path))
}

/// Writes all files of a container as a tar: `export`. Of what is mounted in one that runs there is
/// the place alone.
///
/// # Errors
/// A container that is not there, and what cannot be read or written.
pub fn export(store: &Store, name: &str, out: &mut dyn Write) -> Result<()> {
    let folder = names::find(store, name)?;
    let tree = Tree::open(store, &folder)?;
    archive::write_inside(tree.as_fd(), out).map_err(Error::system("write the container's files"))
}

/// Unpacks a tar into a folder.
///
/// # Errors
/// As for [`copy`], and what is no tar.
pub fn copy_from_tar(
    store: &Store,
    tar: impl Read,
    to: &Place,
    options: CopyOptions,
) -> Result<()> {
    let side = Side::open(store, to)?;
    let Target::Folder(folder) = side.target()? else {
        return Err(Error::Invalid {
            option: "destination",
            value: side.path,
            reason: "an archive is unpacked into a folder that is there".to_owned(),
        });
    };
    let folder = reopen(folder.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(Error::file("open", &side.path))?;
    Ok(rbuild_cache::unpack_into(folder.as_fd(), tar, owner(options))?)
}

/// Who owns the copies; the caller is root, whom a container knows by the same number.
fn owner(options: CopyOptions) -> Option<(u32, u32)> {
    let caller = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    (!options.keep_owner).then_some(caller)
}

/// A path, and the root in which it is one.
struct Side {
    root: Root,
    path: String,
}

enum Root {
    Host(OwnedFd),
    Container(Tree),
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Host(root) => root.as_fd(),
            Self::Container(tree) => tree.as_fd(),
        }
    }
}

/// What is copied.
#[derive(Debug)]
struct Source {
    node: OwnedFd,
    is_folder: bool,
    /// The last part of its path.
    name: String,
    /// Whether it stands for what it holds.
    only_inside: bool,
}

/// What is at the destination.
#[derive(Debug)]
enum Target {
    Folder(OwnedFd),
    File { parent: OwnedFd, name: String },
    Missing { parent: OwnedFd, name: String, wants_folder: bool },
}

/// Where a copy goes: into a folder by a name, or, without one, in among what the folder holds.
struct Landing {
    folder: OwnedFd,
    name: Option<String>,
}

/// The rules of `docker cp`.
fn land(source: &Source, target: Target) -> Result<Landing, &'static str> {
    match target {
        Target::Folder(folder) if source.only_inside => Ok(Landing { folder, name: None }),
        Target::Folder(folder) => Ok(Landing { folder, name: Some(source.name.clone()) }),
        Target::File { .. } if source.is_folder => Err("a folder cannot be copied onto a file"),
        Target::Missing { wants_folder: true, .. } if !source.is_folder => {
            Err("the folder is not there")
        }
        Target::File { parent, name } | Target::Missing { parent, name, .. } => {
            Ok(Landing { folder: parent, name: Some(name) })
        }
    }
}

impl Side {
    fn open(store: &Store, place: &Place) -> Result<Self> {
        match place {
            Place::Container { name, path } => {
                let folder = names::find(store, name)?;
                let root = Root::Container(Tree::with_mounts(store, &folder)?);
                Ok(Self { root, path: path.clone() })
            }
            Place::Host(path) => {
                let absolute = std::path::absolute(path).map_err(Error::file("find", path))?;
                let mut text = absolute.to_string_lossy().into_owned();
                // What says that it is a folder was lost.
                let typed = path.to_string_lossy();
                if typed.ends_with("/.") || typed == "." {
                    text.push_str("/.");
                } else if typed.ends_with('/') && !text.ends_with('/') {
                    text.push('/');
                }
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = openat(CWD, "/", flags, Mode::empty());
                let root = root.map_err(Error::file("open", "/"))?;
                Ok(Self { root: Root::Host(root), path: text })
            }
        }
    }

    fn resolve(&self, path: &str, follow: bool) -> rustix::io::Result<OwnedFd> {
        let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
        open_in_root(self.root.as_fd(), path, flags, Mode::empty())
    }

    fn source(&self, follow: bool) -> Result<Source> {
        let path = self.path.trim_end_matches('/');
        let node = self.resolve(&self.path, follow).map_err(Error::file("find", &self.path))?;
        let is_folder = is_folder(node.as_fd()).map_err(Error::file("find", &self.path))?;
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let only_inside = is_folder && matches!(&*name, "" | "." | "..");
        Ok(Source { node, is_folder, name, only_inside })
    }

    fn target(&self) -> Result<Target> {
        let failed = || Error::file("find", &self.path);
        let split = || -> Result<(OwnedFd, String)> {
            let path = self.path.trim_end_matches('/');
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let parent_path = if parent.is_empty() { "/" } else { parent };
            let found = self.resolve(parent_path, true);
            Ok((found.map_err(Error::file("find the folder", parent_path))?, name.to_owned()))
        };
        match self.resolve(&self.path, true) {
            Ok(node) if is_folder(node.as_fd()).map_err(failed())? => Ok(Target::Folder(node)),
            Ok(_) => split().map(|(parent, name)| Target::File { parent, name }),
            Err(Errno::NOENT) => {
                let (parent, name) = split()?;
                let wants_folder = self.path.ends_with('/');
                Ok(Target::Missing { parent, name, wants_folder })
            }
            Err(error) => Err(failed()(error)),
        }
    }
}

fn is_folder(node: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(node)?.st_mode) == FileType::Directory)
}
