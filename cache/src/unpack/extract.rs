//! The entries of a layer's tar become files, below the root of the layer and nowhere else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::archive::{Archive, Entry, Kind, Time};
use super::metadata::{
    Failure, cannot, finish, finish_unopened, is_folder, is_whiteout, make_opaque, set_times,
    status, through_proc, times,
};
use super::parents::Parents;
use super::place::{Place, WHITEOUT};
use crate::error::{Error, Result};
use crate::privilege;
use crate::remove::remove_tree;

/// The name that says that a folder hides all that lower layers have at its place.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Makes entries below the root of a layer.
#[derive(Debug)]
pub(super) struct Extractor<'a> {
    root: BorrowedFd<'a>,
    parents: Parents<'a>,
    /// The times of folders, which are set last: every new entry changes the time of its folder.
    times: Vec<(Box<[u8]>, Time)>,
    whiteouts: Whiteouts,
    /// Whether what stands for a removed file is refused.
    no_whiteouts: bool,
}

/// What the layer hides of those below it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whiteouts {
    /// Nothing at all.
    pub(super) none: bool,
    /// Everything.
    pub(super) all: bool,
}

/// Names the entry that could not be unpacked.
fn failed(path: &[u8]) -> impl Fn(Failure) -> Error + Copy {
    move |(doing, source)| Error::Unpack {
        entry: String::from_utf8_lossy(path).into_owned(),
        doing,
        source,
    }
}

impl<'a> Extractor<'a> {
    pub(super) fn new(root: BorrowedFd<'a>) -> Self {
        let whiteouts = Whiteouts { none: true, all: false };
        let parents = Parents::new(root);
        Self { root, parents, times: Vec::new(), whiteouts, no_whiteouts: false }
    }

    /// Refuses what stands for a removed file: only a layer has any to remove.
    pub(super) fn without_whiteouts(self) -> Self {
        Self { no_whiteouts: true, ..self }
    }

    /// Makes one entry, with the content that comes next in the archive.
    pub(super) fn make(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<impl io::BufRead>,
    ) -> Result<()> {
        let failed = failed(&entry.path);
        let Some(place) = Place::of(&entry.path)? else {
            return self.make_root(entry).map_err(failed);
        };
        if let Some(hidden) = place.name.strip_prefix(WHITEOUT) {
            if self.no_whiteouts {
                let reason = "names that begin with `.wh.` stand for removed files";
                let error = io::Error::new(io::ErrorKind::InvalidInput, reason);
                return Err(failed(("make", error)));
            }
            return self.hide(&place, hidden, entry.modified).map_err(failed);
        }
        match entry.kind {
            Kind::File => {
                let file = self.create(&place, entry).map_err(failed)?;
                archive.read_content(|piece| write(file.as_fd(), piece).map_err(failed))?;
                finish(file.as_fd(), entry)
            }
            Kind::Folder => self.make_folder(&place, entry),
            Kind::HardLink => self.link(&place, &entry.link),
            Kind::Symlink => self.make_symlink(&place, entry),
            Kind::Character => self.make_node(&place, entry, FileType::CharacterDevice),
            Kind::Block => self.make_node(&place, entry, FileType::BlockDevice),
            Kind::Fifo => self.make_node(&place, entry, FileType::Fifo),
        }
        .map_err(failed)
    }

    /// Sets the times of folders; nothing can be made afterwards.
    pub(super) fn finish(self) -> Result<Whiteouts> {
        for (path, modified) in &self.times {
            let folder = self.parents.reopen(path).map_err(failed(path))?;
            if let Some(folder) = folder {
                let set = set_times(folder.as_fd(), *modified);
                set.map_err(cannot("set the time")).map_err(failed(path))?;
            }
        }
        Ok(self.whiteouts)
    }

    fn make_root(&mut self, entry: &Entry) -> Result<(), Failure> {
        if entry.kind != Kind::Folder {
            return Err(refused("make the root something else than a folder"));
        }
        self.times.push((b".".as_slice().into(), entry.modified));
        finish(self.root, entry)
    }

    fn create(&mut self, place: &Place, entry: &Entry) -> Result<OwnedFd, Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let create = |parent: BorrowedFd| rustix::fs::openat(parent, &*place.name, flags, mode);
        self.replacing(place, "create the file", create)
    }

    fn make_symlink(&mut self, place: &Place, entry: &Entry) -> Result<(), Failure> {
        let make = |parent: BorrowedFd| rustix::fs::symlinkat(&*entry.link, parent, &*place.name);
        self.replacing(place, "make the link", make)?;
        finish_unopened(self.parents.open(&place.parent)?, &place.name, entry)
    }

    fn make_node(&mut self, place: &Place, entry: &Entry, kind: FileType) -> Result<(), Failure> {
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        if kind == FileType::CharacterDevice && device == 0 {
            // It would hide what is below it.
            return Err(refused("make the device 0:0"));
        }
        let mode = Mode::from_raw_mode(entry.mode);
        let make =
            |parent: BorrowedFd| rustix::fs::mknodat(parent, &*place.name, kind, mode, device);
        match self.replacing(place, "make the device", make) {
            // A user namespace has no devices but the machine's; a container gets these anyway.
            Err((_, error)) if is_forbidden(&error) && kind != FileType::Fifo => return Ok(()),
            made => made?,
        }
        finish_unopened(self.parents.open(&place.parent)?, &place.name, entry)
    }

    fn make_folder(&mut self, place: &Place, entry: &Entry) -> Result<(), Failure> {
        let doing = "make the folder";
        let name = &*place.name;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let parent = self.parents.open(&place.parent)?;
        let make = || rustix::fs::mkdirat(parent, name, mode);
        let hides = match make() {
            Err(Errno::EXIST) => {
                let status = status(parent, name).map_err(cannot(doing))?;
                if !is_folder(&status) {
                    rustix::fs::unlinkat(parent, name, AtFlags::empty())
                        .and_then(|()| make())
                        .map_err(cannot(doing))?;
                }
                is_whiteout(&status)
            }
            made => made.map(|()| false).map_err(cannot(doing))?,
        };
        let folder = open_folder(parent, name).map_err(cannot(doing))?;
        finish(folder.as_fd(), entry)?;
        if hides {
            make_opaque(folder.as_fd())?;
        }
        let path = place.path();
        self.times.push((path.as_slice().into(), entry.modified));
        self.parents.keep(path, folder);
        Ok(())
    }

    fn link(&mut self, place: &Place, target: &[u8]) -> Result<(), Failure> {
        let doing = "make the hard link";
        let Ok(Some(target)) = Place::of(target) else {
            return Err(refused(doing));
        };
        let from = self.parents.open_existing(&target.parent)?;
        let old = status(from.as_fd(), &target.name).map_err(cannot(doing))?;
        let parent = self.parents.open(&place.parent)?;
        let new = status(parent, &place.name);
        if new.is_ok_and(|new| (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino)) {
            return Ok(());
        }
        self.replacing(place, doing, |parent: BorrowedFd| {
            rustix::fs::linkat(&from, &*target.name, parent, &*place.name, AtFlags::empty())
        })
    }

    /// Says that `hidden`, or all that was in the folder, is gone.
    fn hide(&mut self, place: &Place, hidden: &[u8], modified: Time) -> Result<(), Failure> {
        let doing = "make the whiteout";
        if place.name == OPAQUE {
            self.whiteouts =
                Whiteouts { none: false, all: self.whiteouts.all || place.parent.is_empty() };
            return make_opaque(self.parents.open(&place.parent)?);
        }
        if hidden.starts_with(WHITEOUT) {
            // What aufs wrote for itself.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refused(doing));
        }
        self.whiteouts.none = false;
        let parent = self.parents.open(&place.parent)?;
        let kind = FileType::CharacterDevice;
        match rustix::fs::mknodat(parent, hidden, kind, Mode::empty(), 0) {
            // What the layer itself has there hides what is below it; a folder must say so.
            Err(Errno::EXIST) => match open_folder(parent, hidden) {
                Ok(folder) => make_opaque(folder.as_fd()),
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(cannot(doing)(error)),
            },
            // It has the time that the archive says, so that it is packed the same again.
            made => made
                .and_then(|()| {
                    let no_link = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::utimensat(parent, hidden, &times(modified), no_link)
                })
                .map_err(cannot(doing)),
        }
    }

    /// Makes something at a place, in the stead of whatever is there.
    fn replacing<T>(
        &mut self,
        place: &Place,
        doing: &'static str,
        make: impl Fn(BorrowedFd) -> Result<T, Errno>,
    ) -> Result<T, Failure> {
        let parent = self.parents.open(&place.parent)?;
        match make(parent) {
            Err(Errno::EXIST) => {}
            made => return made.map_err(cannot(doing)),
        }
        let status = status(parent, &place.name).map_err(cannot(doing))?;
        if is_folder(&status) {
            remove_tree(&through_proc(parent, &place.name)).map_err(cannot(doing))?;
            // The folder that is open may have been in it.
            self.parents.forget();
        } else {
            rustix::fs::unlinkat(parent, &*place.name, AtFlags::empty()).map_err(cannot(doing))?;
        }
        make(self.parents.open(&place.parent)?).map_err(cannot(doing))
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && !privilege::is_full()
}

fn refused(doing: &'static str) -> Failure {
    (doing, io::Error::new(io::ErrorKind::InvalidInput, "a layer may not do this"))
}

fn open_folder(parent: BorrowedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn write(file: BorrowedFd, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(cannot("write")(io::Error::from(io::ErrorKind::WriteZero))),
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(cannot("write")(error)),
        }
    }
    Ok(())
}
