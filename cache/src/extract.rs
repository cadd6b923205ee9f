//! The entries of a layer's tar become files, below the root of the layer and nowhere else.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::archive::{Archive, Entry, Kind};
use crate::error::{Error, Result};

/// The longest path that the kernel takes, in bytes.
const LONGEST_PATH: usize = 4095;
/// How deep folders may be nested.
const DEEPEST: usize = 1024;
/// How many links to folders that do not exist are followed for one entry.
const MOST_LINKS: u32 = 40;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The attribute by which overlayfs knows a folder that hides what is below it.
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";
/// Attributes that mean something to overlayfs are never taken from a tar.
const OVERLAY_ATTRIBUTES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Makes entries below the root of a layer.
#[derive(Debug)]
pub(crate) struct Extractor<'a> {
    root: BorrowedFd<'a>,
    /// The folder of the last entry, which is most often the folder of the next one.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// The times of folders, which are set last: every new entry changes the time of its folder.
    times: Vec<(Box<[u8]>, (i64, u32))>,
    whiteouts: Whiteouts,
}

/// What the layer hides of those below it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whiteouts {
    /// Nothing at all.
    pub(crate) none: bool,
    /// Everything.
    pub(crate) all: bool,
}

/// A system call that failed, and what it was to do.
type Failure = (&'static str, io::Error);

fn cannot<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| (doing, error.into())
}

/// A path without `.` and doubled slashes, split into its folder and its name.
struct Place {
    parent: Vec<u8>,
    name: Vec<u8>,
}

impl<'a> Extractor<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Self {
        let whiteouts = Whiteouts {
            none: true,
            all: false,
        };
        Self {
            root,
            parent: None,
            times: Vec::new(),
            whiteouts,
        }
    }

    /// Makes one entry, with the content that comes next in the archive.
    pub(crate) fn make(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<impl io::BufRead>,
    ) -> Result<()> {
        let unpack = |(doing, source): Failure| Error::Unpack {
            entry: String::from_utf8_lossy(&entry.path).into_owned(),
            doing,
            source,
        };
        let Some(place) = split(&entry.path)? else {
            return self.make_root(entry).map_err(unpack);
        };
        if let Some(hidden) = place.name.strip_prefix(WHITEOUT) {
            return self.hide(&place, hidden).map_err(unpack);
        }
        if entry.kind == Kind::File {
            let file = self.create(&place, entry).map_err(unpack)?;
            archive.read_content(|piece| {
                write_all(file.as_fd(), piece)
                    .map_err(cannot("write"))
                    .map_err(unpack)
            })?;
            return finish(file.as_fd(), entry).map_err(unpack);
        }
        self.make_other(&place, entry).map_err(unpack)
    }

    /// Sets the times of folders; nothing can be made afterwards.
    pub(crate) fn finish(self) -> Result<Whiteouts> {
        for (path, modified) in &self.times {
            let set = || {
                // A later entry may have replaced the folder.
                match open_beneath(self.root, path, OFlags::NOFOLLOW) {
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                    Err(error) => Err(error),
                    Ok(folder) => rustix::fs::futimens(&folder, &times(*modified)),
                }
            };
            set().map_err(|error| Error::Unpack {
                entry: String::from_utf8_lossy(path).into_owned(),
                doing: "set the time",
                source: error.into(),
            })?;
        }
        Ok(self.whiteouts)
    }

    fn make_root(&mut self, entry: &Entry) -> Result<(), Failure> {
        if entry.kind != Kind::Folder {
            return Err(("replace the root", io::ErrorKind::InvalidInput.into()));
        }
        self.times.push((b".".as_slice().into(), entry.modified));
        finish(self.root, entry)
    }

    fn create(&mut self, place: &Place, entry: &Entry) -> Result<OwnedFd, Failure> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        self.replacing(place, |parent| {
            rustix::fs::openat(parent, &*place.name, flags, mode)
        })
        .map_err(cannot("create the file"))
    }

    fn make_other(&mut self, place: &Place, entry: &Entry) -> Result<(), Failure> {
        let name = &*place.name;
        let mode = Mode::from_raw_mode(entry.mode);
        match entry.kind {
            Kind::Folder => return self.make_folder(place, entry),
            Kind::HardLink => return self.link(place, &entry.link),
            Kind::Symlink => self
                .replacing(place, |parent| {
                    rustix::fs::symlinkat(&*entry.link, parent, name)
                })
                .map_err(cannot("make the link"))?,
            Kind::Character if entry.device == (0, 0) => {
                // It would hide what is below it.
                return Err(("make the device 0:0", io::ErrorKind::InvalidInput.into()));
            }
            Kind::Character | Kind::Block | Kind::Fifo | Kind::File => {
                let (kind, device) = (file_type(entry.kind), entry.device);
                let device = rustix::fs::makedev(device.0, device.1);
                self.replacing(place, |parent| {
                    rustix::fs::mknodat(parent, name, kind, mode, device)
                })
                .map_err(cannot("make the device"))?;
            }
        }
        let parent = self.parent(&place.parent)?;
        finish_other(parent, name, entry)
    }

    fn make_folder(&mut self, place: &Place, entry: &Entry) -> Result<(), Failure> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let parent = self.parent(&place.parent)?;
        let mut hides = false;
        if let Err(error) = rustix::fs::mkdirat(parent, &*place.name, mode) {
            if error != Errno::EXIST {
                return Err(cannot("make the folder")(error));
            }
            let status = status(parent, &place.name).map_err(cannot("make the folder"))?;
            if !is_folder(&status) {
                hides = is_whiteout(&status);
                rustix::fs::unlinkat(parent, &*place.name, AtFlags::empty())
                    .and_then(|()| rustix::fs::mkdirat(parent, &*place.name, mode))
                    .map_err(cannot("make the folder"))?;
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(parent, &*place.name, flags, Mode::empty())
            .map_err(cannot("open the folder"))?;
        finish(folder.as_fd(), entry)?;
        if hides {
            self.make_opaque(folder.as_fd())?;
        }
        let path = join(&place.parent, &place.name);
        self.times.push((path.clone().into(), entry.modified));
        // The entries of a folder most often follow it.
        self.parent = Some((path, folder));
        Ok(())
    }

    fn link(&mut self, place: &Place, target: &[u8]) -> Result<(), Failure> {
        let doing = "make the hard link";
        let not_found = || (doing, io::Error::from(io::ErrorKind::NotFound));
        let target = split(target).ok().flatten().ok_or_else(not_found)?;
        let from = match target.parent.is_empty() {
            true => self.root.try_clone_to_owned().map_err(cannot(doing))?,
            false => {
                open_beneath(self.root, &target.parent, OFlags::empty()).map_err(cannot(doing))?
            }
        };
        let parent = self.parent(&place.parent)?;
        if let (Ok(old), Ok(new)) = (
            status(from.as_fd(), &target.name),
            status(parent, &place.name),
        ) && (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino)
        {
            return Ok(());
        }
        self.replacing(place, |parent| {
            rustix::fs::linkat(&from, &*target.name, parent, &*place.name, AtFlags::empty())
        })
        .map_err(cannot(doing))
    }

    /// Makes the whiteout of `hidden`, or of all that is in the folder.
    fn hide(&mut self, place: &Place, hidden: &[u8]) -> Result<(), Failure> {
        if place.name == OPAQUE {
            self.whiteouts.all |= place.parent.is_empty();
            self.parent(&place.parent)?;
            return match &self.parent {
                Some((_, folder)) => {
                    let folder = folder.try_clone().map_err(cannot("open the folder"))?;
                    self.make_opaque(folder.as_fd())
                }
                None => Ok(()),
            };
        }
        if hidden.starts_with(WHITEOUT) {
            // What aufs wrote for itself.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(("make the whiteout", io::ErrorKind::InvalidInput.into()));
        }
        self.whiteouts.none = false;
        let parent = self.parent(&place.parent)?;
        let made = rustix::fs::mknodat(
            parent,
            hidden,
            FileType::CharacterDevice,
            Mode::empty(),
            rustix::fs::makedev(0, 0),
        );
        match made {
            // What this layer has itself hides what is below it; a folder must say so.
            Err(Errno::EXIST) => self.hide_below(&place.parent, hidden),
            made => made.map_err(cannot("make the whiteout")),
        }
    }

    fn hide_below(&mut self, parent: &[u8], name: &[u8]) -> Result<(), Failure> {
        let parent = self.parent(parent)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(folder) => self.make_opaque(folder.as_fd()),
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(cannot("make the whiteout")(error)),
        }
    }

    fn make_opaque(&mut self, folder: BorrowedFd) -> Result<(), Failure> {
        self.whiteouts.none = false;
        rustix::fs::fsetxattr(folder, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty())
            .map_err(cannot("make the folder opaque"))
    }

    /// Makes something at a place, in the stead of whatever is there.
    fn replacing<T>(
        &mut self,
        place: &Place,
        make: impl Fn(BorrowedFd) -> Result<T, Errno>,
    ) -> Result<T, io::Error> {
        let parent = self.parent(&place.parent).map_err(|(_, error)| error)?;
        match make(parent) {
            Err(Errno::EXIST) => {}
            made => return Ok(made?),
        }
        if is_folder(&status(parent, &place.name)?) {
            remove_folder(parent, &place.name)?;
            // It may have been the folder of the last entry.
            self.parent = None;
        } else {
            rustix::fs::unlinkat(parent, &*place.name, AtFlags::empty())?;
        }
        let parent = self.parent(&place.parent).map_err(|(_, error)| error)?;
        Ok(make(parent)?)
    }

    /// Opens the folder of an entry, and makes it when it is missing.
    fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Failure> {
        if self.parent.as_ref().is_none_or(|(known, _)| known != path) {
            let doing = "open the folder";
            let folder = match path.is_empty() {
                true => self.root.try_clone_to_owned().map_err(cannot(doing))?,
                false => match open_beneath(self.root, path, OFlags::empty()) {
                    Err(Errno::NOENT | Errno::NOTDIR) => {
                        self.make_parents(path, MOST_LINKS)?;
                        open_beneath(self.root, path, OFlags::empty()).map_err(cannot(doing))?
                    }
                    folder => folder.map_err(cannot(doing))?,
                },
            };
            self.parent = Some((path.to_vec(), folder));
        }
        match &self.parent {
            Some((_, folder)) => Ok(folder.as_fd()),
            None => Ok(self.root),
        }
    }

    /// Makes the folders of a path that are missing, also where a link points at nothing.
    fn make_parents(&mut self, path: &[u8], links: u32) -> Result<(), Failure> {
        let doing = "make the folders above";
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        let mut above = self.root.try_clone_to_owned().map_err(cannot(doing))?;
        let mut start = 0;
        for end in ends.chain([path.len()]) {
            let (prefix, name) = (&path[..end], &path[start..end]);
            start = end + 1;
            match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(cannot(doing)(error)),
            }
            above = match open_beneath(self.root, prefix, OFlags::empty()) {
                Ok(folder) => folder,
                Err(Errno::NOTDIR) if self.is_hidden(above.as_fd(), name) => {
                    rustix::fs::unlinkat(&above, name, AtFlags::empty())
                        .and_then(|()| rustix::fs::mkdirat(&above, name, 0o755.into()))
                        .map_err(cannot(doing))?;
                    let folder = open_beneath(self.root, prefix, OFlags::empty());
                    let folder = folder.map_err(cannot(doing))?;
                    self.make_opaque(folder.as_fd())?;
                    folder
                }
                Err(Errno::NOENT) if links > 0 => {
                    let target = rustix::fs::readlinkat(&above, name, Vec::new());
                    let target = target.map_err(cannot(doing))?;
                    let target = follow(&path[..end - name.len()], target.as_bytes());
                    self.make_parents(&target, links - 1)?;
                    open_beneath(self.root, prefix, OFlags::empty()).map_err(cannot(doing))?
                }
                Err(error) => return Err(cannot(doing)(error)),
            };
        }
        Ok(())
    }

    fn is_hidden(&self, parent: BorrowedFd, name: &[u8]) -> bool {
        status(parent, name).is_ok_and(|status| is_whiteout(&status))
    }
}

/// Where a link in the folder `parent` points, as a path below the root.
fn follow(parent: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let start: &[u8] = if target.starts_with(b"/") {
        b""
    } else {
        parent
    };
    for part in start
        .split(|&byte| byte == b'/')
        .chain(target.split(|&byte| byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Splits a path; `None` is the root. A path with `..` in it is refused.
fn split(path: &[u8]) -> Result<Option<Place>> {
    let refuse = |why: &str| {
        let path = String::from_utf8_lossy(&path[..path.len().min(256)]);
        Err(Error::Tar(format!("the path `{path}` {why}")))
    };
    let parts: Vec<&[u8]> = path
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if path.len() > LONGEST_PATH || parts.len() > DEEPEST {
        return refuse("is too long or too deep");
    }
    let Some((name, parents)) = parts.split_last() else {
        return Ok(None);
    };
    if parts.contains(&b"..".as_slice()) {
        return refuse("leads upwards");
    }
    if parents.iter().any(|part| part.starts_with(WHITEOUT)) {
        return refuse("leads through a whiteout");
    }
    Ok(Some(Place {
        parent: parents.join(&b'/'),
        name: name.to_vec(),
    }))
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent.is_empty() {
        true => name.to_vec(),
        false => [parent, name].join(&b'/'),
    }
}

/// Opens a folder below the root: links are followed, but never out of it.
fn open_beneath(root: BorrowedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // A rename elsewhere on the machine made the kernel unsure.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

fn status(parent: BorrowedFd, name: &[u8]) -> Result<rustix::fs::Stat, Errno> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn is_folder(status: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
}

fn is_whiteout(status: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice && status.st_rdev == 0
}

fn remove_folder(parent: BorrowedFd, name: &[u8]) -> io::Result<()> {
    fs::remove_dir_all(through_proc(parent, name))
}

/// A path to something in an open folder, for calls that take only paths.
fn through_proc(parent: BorrowedFd, name: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let folder = format!("/proc/self/fd/{}", parent.as_raw_fd());
    std::path::Path::new(&folder).join(std::ffi::OsStr::from_bytes(name))
}

fn write_all(file: BorrowedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Character => FileType::CharacterDevice,
        Kind::Block => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
        _ => FileType::RegularFile,
    }
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(nanoseconds),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.user)),
        Some(Gid::from_raw(entry.group)),
    )
}

/// Sets what is left of a file or folder; a folder's time is set again at the end.
fn finish(file: BorrowedFd, entry: &Entry) -> Result<(), Failure> {
    let (user, group) = owner(entry);
    // The owner first: changing it drops setuid and capabilities.
    if !rustix::process::geteuid().is_root()
        || entry.user != 0
        || entry.group != 0
        || entry.kind == Kind::Folder
    {
        rustix::fs::fchown(file, user, group).map_err(cannot("set the owner"))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(cannot("set the mode"))?;
    for (name, value) in wanted(entry) {
        rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
            .map_err(cannot("set an extended attribute"))?;
    }
    if entry.kind == Kind::Folder {
        return Ok(());
    }
    rustix::fs::futimens(file, &times(entry.modified)).map_err(cannot("set the time"))
}

/// Sets what is left of a link, a device or a fifo, none of which can be opened.
fn finish_other(parent: BorrowedFd, name: &[u8], entry: &Entry) -> Result<(), Failure> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let (user, group) = owner(entry);
    rustix::fs::chownat(parent, name, user, group, nofollow).map_err(cannot("set the owner"))?;
    if entry.kind != Kind::Symlink {
        // Nothing but this thread has changed the name since it was made as a device.
        rustix::fs::chmodat(
            parent,
            name,
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )
        .map_err(cannot("set the mode"))?;
    }
    for (attribute, value) in wanted(entry) {
        let path = through_proc(parent, name);
        rustix::fs::lsetxattr(path, attribute, value, XattrFlags::empty())
            .map_err(cannot("set an extended attribute"))?;
    }
    rustix::fs::utimensat(parent, name, &times(entry.modified), nofollow)
        .map_err(cannot("set the time"))
}

fn wanted(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let all = entry
        .attributes
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()));
    all.filter(|(name, _)| {
        !OVERLAY_ATTRIBUTES
            .iter()
            .any(|prefix| name.starts_with(prefix))
    })
}
