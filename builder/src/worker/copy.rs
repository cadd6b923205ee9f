//! COPY and ADD: files of other inputs, or of the Dockerfile itself, onto the root of a stage.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rbuild_cache::copy::{self, Item, ModeChange, Options, Owner};
use rbuild_cache::tree::{self, Node, Time, Tree};
use rbuild_cache::{Outputs, Snapshot, StagedLayer};
use rbuild_solver::Task;
use rbuild_solver::op::{Copy, CopyItem, Op};
use rustix::fs::{AtFlags, FileType, Timespec, Timestamps};

use super::files::FOLDER_MODE;
use super::fresh::{Finish, Parted, is_missing};
use super::select::{self, Match};
use super::{World, archive, files};
use crate::context::Exclude;
use crate::error::StepError;

/// An open tree from which files are copied.
struct Source {
    root: OwnedFd,
    /// Whether root owns everything in it, as in a build context, whoever does on this machine.
    of_root: bool,
    /// The path of a folder of this machine.
    context: Option<PathBuf>,
    /// Keeps files that stand in the Dockerfile until they are copied.
    _inline: Option<StagedLayer>,
}

/// One source of the instruction, found in its tree.
struct Found {
    matched: Match,
    /// The node of the match, then all below it.
    nodes: Vec<Node>,
}

impl World {
    /// Runs one COPY or ADD.
    pub(super) fn copy(&self, task: &Task, copy: &Copy) -> Result<Outputs, StepError> {
        let began = Instant::now();
        let base = &task.inputs[0];
        let staged = self.store.stage().map_err(StepError::store("begin a layer"))?;
        let root = self
            .store
            .writable(&base.layers, &staged)
            .map_err(StepError::store("mount the file system of the step"))?;
        let target = Target::new(root.as_fd(), copy)?;
        let finish = Finish::new(&self.store, &staged);
        for (index, item) in copy.items.iter().enumerate() {
            let (source, found) = self.find(task, item)?;
            let is_last = index + 1 == copy.items.len() && found.len() == 1;
            if copy.parents && found.is_empty() {
                target.make_own()?;
            }
            for found in found {
                if archive::wanted(item, &source.root, &found.nodes)? {
                    archive::unpack(&source.root, &found.matched.real, &target)?;
                } else {
                    target.copy(&source, &found, is_last.then_some(&finish))?;
                }
            }
        }
        drop(root);
        files::date_folders(&staged, copy.time, began)?;
        self.commit(task, base, staged, began)
    }

    /// The bytes of the files that a COPY is to copy, if it is one and copies all that it finds.
    pub(super) fn needed(&self, task: &Task) -> Option<u64> {
        let Op::Copy(copy) = &task.op else { return None };
        let bytes = |item| {
            let (_, found) = self.find(task, item).ok()?;
            let nodes = found.iter().flat_map(|found| &found.nodes);
            Some(nodes.map(|node| node.size).sum::<u64>())
        };
        let is_all = copy.exclude.is_empty();
        is_all.then(|| copy.items.iter().map(bytes).sum()).flatten()
    }

    fn find(&self, task: &Task, item: &CopyItem) -> Result<(Source, Vec<Found>), StepError> {
        match item {
            CopyItem::Path { input, pattern, .. } => {
                let input = task
                    .inputs
                    .get(*input)
                    .ok_or_else(|| StepError::Other("COPY has no such input".to_owned()))?;
                self.find_paths(input, pattern)
            }
            CopyItem::Inline { name, contents } => self.inline(name, contents),
        }
    }

    fn find_paths(
        &self,
        input: &Snapshot,
        pattern: &str,
    ) -> Result<(Source, Vec<Found>), StepError> {
        if let Some(folder) = self.folder(input) {
            let tree = folder.tree()?;
            let root = folder.root().try_clone_to_owned();
            let root = root.map_err(StepError::file("open the context"))?;
            let found = folder.find(pattern)?.into_iter().map(|matched| {
                let nodes = tree.subtree(&matched.real).to_vec();
                Found { matched, nodes }
            });
            let context = Some(folder.path().to_owned());
            return Ok((Source { root, of_root: true, context, _inline: None }, found.collect()));
        }
        let root = self
            .store
            .view(&input.layers)
            .map_err(StepError::store("look into the files of an earlier stage"))?;
        let found = select::find_in(root.as_fd(), pattern)?
            .into_iter()
            .map(|matched| {
                let nodes = read(root.as_fd(), &matched.real)?;
                Ok(Found { matched, nodes })
            })
            .collect::<Result<_, StepError>>()?;
        Ok((Source { root, of_root: false, context: None, _inline: None }, found))
    }

    /// Writes a file that stands in the Dockerfile where it can be copied from.
    fn inline(&self, name: &str, contents: &str) -> Result<(Source, Vec<Found>), StepError> {
        let failed = || format!("write the here-document `{name}`");
        let staged = self.store.stage().map_err(StepError::store(failed()))?;
        let path = staged.files().join(name);
        fs::write(&path, contents).map_err(StepError::file(failed()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .map_err(StepError::file(failed()))?;
        let root = fs::File::open(staged.files()).map_err(StepError::file(failed()))?;
        let real = PathBuf::from(name);
        let nodes = read(root.as_fd(), &real)?;
        let matched = Match { named: real.clone(), real, pivot: 0 };
        let source =
            Source { root: root.into(), of_root: true, context: None, _inline: Some(staged) };
        Ok((source, vec![Found { matched, nodes }]))
    }
}

/// Reads a path and all below it; the path has no links.
fn read(root: BorrowedFd<'_>, path: &Path) -> Result<Vec<Node>, StepError> {
    let roots = [path.to_owned()];
    let whole = path.as_os_str().is_empty();
    let options = tree::Options { roots: if whole { &[] } else { &roots }, ..Default::default() };
    let tree = Tree::read(root, &options)
        .map_err(StepError::store(format!("read `{}`", path.display())))?;
    Ok(tree.nodes().to_vec())
}

/// Where files go, and what becomes of their owner and mode.
pub(super) struct Target<'a> {
    pub(super) root: BorrowedFd<'a>,
    copy: &'a Copy,
    pub(super) owner: Option<(u32, u32)>,
    mode: Option<ModeChange>,
    exclude: Exclude,
}

impl<'a> Target<'a> {
    fn new(root: BorrowedFd<'a>, copy: &'a Copy) -> Result<Self, StepError> {
        let owner = copy.chown.as_deref().map(|owner| files::owner_ids(root, owner)).transpose()?;
        let mode = copy.chmod.as_deref().map(str::parse).transpose();
        let mode = mode.map_err(|error: copy::InvalidMode| StepError::Other(error.to_string()))?;
        let exclude = Exclude::new(&copy.exclude, copy.parents)?;
        Ok(Self { root, copy, owner, mode, exclude })
    }

    /// The destination of the instruction, relative to the root, with its links followed; it may
    /// be missing.
    pub(super) fn folder(&self) -> Result<PathBuf, StepError> {
        let path = Path::new(self.copy.destination.trim_start_matches('/'));
        let doing = || format!("look up the destination `{}`", self.copy.destination);
        select::resolve_new(self.root, path).map_err(|error| StepError::file(doing())(error))
    }

    fn copy(
        &self,
        source: &Source,
        found: &Found,
        finish: Option<&Finish<'_>>,
    ) -> Result<(), StepError> {
        let Some(top) = found.nodes.first() else {
            return Ok(());
        };
        let destination = self.destination(found, top)?;
        let failed = || format!("copy `{}`", found.matched.named.display());
        // Of a folder only the contents are copied: what they are put into is made anew.
        let contents_only = top.is_directory() && !self.copy.parents;
        let is_new = contents_only && is_missing(self.root, &destination);
        let items: Vec<Item<'_>> = found
            .nodes
            .iter()
            .skip(usize::from(contents_only))
            .filter_map(|node| self.item(found, top, node, &destination))
            .collect();
        let made = match () {
            () if self.copy.parents && items.is_empty() => return self.make_own(),
            () if self.copy.parents => self.make_parents(source, found),
            () if contents_only => self.make_destination(&destination),
            () => Ok(()),
        };
        made.map_err(StepError::file(failed()))?;
        let options = Options {
            owner: self.owner.map_or(Owner::Keep, |(uid, gid)| Owner::Set(uid, gid)),
            mode: self.mode.as_ref(),
            overwrite_directories: true,
            time: self.copy.time.map(|seconds| Time { seconds, nanoseconds: 0 }),
            previous: None,
        };
        let write = |items: &[Item<'_>]| {
            copy::copy(source.root.as_fd(), items, self.root, &options)
                .map(drop)
                .map_err(StepError::store(failed()))
        };
        if let Some(finish) = finish {
            let made = is_new.then(|| destination.clone());
            let mut parted = Parted::new(self.root, items, made);
            write(&parted.through)?;
            let from = (source.root.as_fd(), source.context.as_deref());
            finish
                .copy(from, self.copy, &mut parted, (self.root, options))
                .map_err(StepError::store(failed()))?;
        } else {
            write(&items)?;
        }
        self.keep_time(source, found).map_err(StepError::file(failed()))
    }

    /// Gives the folder that took what is in another one the time of that, new or not.
    fn keep_time(&self, source: &Source, found: &Found) -> io::Result<()> {
        let named: PathBuf = match (self.copy.parents, found.nodes.first()) {
            (true, _) => found.matched.named.components().take(found.matched.pivot).collect(),
            (false, Some(top)) if top.is_directory() => found.matched.real.clone(),
            (false, _) => return Ok(()),
        };
        let folder = self.folder().map_err(io::Error::other)?;
        // The root of a tree has no time that means anything.
        if named.as_os_str().is_empty() || folder.as_os_str().is_empty() {
            return Ok(());
        }
        let real = select::resolve(source.root.as_fd(), &named)?;
        let stat = rustix::fs::statat(&source.root, &real, AtFlags::SYMLINK_NOFOLLOW)?;
        let time = match self.copy.time {
            Some(seconds) => Timespec { tv_sec: seconds, tv_nsec: 0 },
            None => Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() },
        };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(self.root, &folder, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Makes the destination of a copy that keeps parents, even where nothing is put into it.
    fn make_own(&self) -> Result<(), StepError> {
        let doing = || format!("make the folder `{}`", self.copy.destination);
        self.make_destination(&self.folder()?).map_err(StepError::file(doing()))
    }

    /// Makes the folder that takes the contents of a source; one that is there stays as it is.
    ///
    /// An octal `--chmod` counts for folders above it, and for itself only where a slash follows.
    fn make_destination(&self, destination: &Path) -> io::Result<()> {
        let owner = self.owner.unwrap_or((0, 0));
        let octal = self.mode.as_ref().and_then(ModeChange::absolute).unwrap_or(FOLDER_MODE);
        let octal = octal & 0o777;
        let mode = if self.copy.destination.ends_with('/') { octal } else { FOLDER_MODE };
        if let Some(above) = destination.parent() {
            files::make_folders(self.root, above, owner, octal)?;
        }
        files::make_folders(self.root, destination, owner, mode).map(drop)
    }

    /// Makes the folders that `--parents` keeps of a source's path, with the modes and owners that
    /// they have there.
    fn make_parents(&self, source: &Source, found: &Found) -> io::Result<()> {
        let folder = self.folder().map_err(io::Error::other)?;
        self.make_destination(&folder)?;
        for (kept, stat) in select::parents(source.root.as_fd(), &found.matched)? {
            let own = if source.of_root { (0, 0) } else { (stat.st_uid, stat.st_gid) };
            let mode = stat.st_mode & 0o7777;
            let new = self.mode.as_ref().map_or(mode, |change| change.apply(mode, true));
            let owner = self.owner.unwrap_or(own);
            let made = files::make_folders(self.root, &folder.join(kept), owner, new)?;
            // One that was there gets the mode as it is, and keeps its owner.
            if made.new.is_empty() {
                rustix::fs::chmodat(self.root, &made.real, mode.into(), AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn item<'n>(
        &self,
        found: &Found,
        top: &Node,
        node: &'n Node,
        destination: &Path,
    ) -> Option<Item<'n>> {
        let below = node.path.strip_prefix(&top.path).unwrap_or(&node.path);
        if self.exclude.leaves_out(&found.matched, below, node.is_directory()) {
            return None;
        }
        let is_top = below.as_os_str().is_empty();
        let destination = if is_top { destination.to_owned() } else { destination.join(below) };
        // The root itself is always there.
        let is_root = destination.as_os_str().is_empty();
        let source = node.path.to_path_buf();
        (!is_root).then_some(Item { source, destination, node, previous: None })
    }

    /// Where one source goes, relative to the root.
    fn destination(&self, found: &Found, top: &Node) -> Result<PathBuf, StepError> {
        let folder = self.folder()?;
        if self.copy.parents {
            let kept = found.matched.named.components().skip(found.matched.pivot);
            return Ok(kept.fold(folder, |path, part| path.join(part)));
        }
        if top.is_directory() {
            return Ok(folder);
        }
        let is_folder = self.copy.destination.ends_with('/') || self.is_directory(&folder);
        let name = found.matched.named.file_name().unwrap_or_default();
        Ok(if is_folder { folder.join(name) } else { folder })
    }

    fn is_directory(&self, path: &Path) -> bool {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        rustix::fs::statat(self.root, path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
    }
}

/// Copies one path of a tree, and all below it, to a folder outside the store, owners included.
pub(super) fn tree(root: BorrowedFd<'_>, path: &Path, target: &Path) -> io::Result<()> {
    let real = select::resolve(root, path)?;
    let nodes = read(root, &real).map_err(io::Error::other)?;
    let folder = fs::File::open(target)?;
    let items: Vec<Item<'_>> = nodes
        .iter()
        .filter_map(|node| {
            let below = node.path.strip_prefix(&real).unwrap_or(&node.path);
            let item = Item {
                source: node.path.to_path_buf(),
                destination: below.to_owned(),
                node,
                previous: None,
            };
            (!below.as_os_str().is_empty()).then_some(item)
        })
        .collect();
    let options = Options { owner: Owner::Keep, ..Options::default() };
    copy::copy(root, &items, folder.as_fd(), &options).map(drop).map_err(io::Error::other)
}
