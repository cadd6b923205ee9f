//! The folders that a build reads: the build context and those of `--build-context`.
//!
//! A folder is opened, never walked, until some instruction needs a file of it; then only the
//! paths that instructions name are read, less what `.dockerignore` leaves out.

pub mod ignore;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rbuild_cache::hash::Hasher;
use rbuild_cache::tree::{Keep, Node, Options, Owners, Tree};
use rbuild_cache::{ContentId, Layer, Snapshot, Store};
use rbuild_solver::op::Select;

use crate::error::{Error, Result, StepError};
use crate::remote::GitUrl;
use crate::worker::select::{self, Match};
use ignore::{Ignore, Verdict};

/// Where the files of a context come from.
#[derive(Debug, Clone)]
pub enum ContextSource {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A tar archive, plain or compressed with gzip, bzip2, xz or zstd.
    Tar(Arc<[u8]>),
    /// A git repository, or a URL of an archive or of a lone Dockerfile.
    Address(String),
    /// No files at all.
    Empty,
}

impl ContextSource {
    /// Whether it is a folder of this machine, in which an ignore file counts.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Folder(_))
    }
}

impl From<&str> for ContextSource {
    /// A git repository or a URL where the text is the address of one, else a folder.
    fn from(place: &str) -> Self {
        let url = place.starts_with("http://") || place.starts_with("https://");
        if url || GitUrl::parse_context(place).is_some() {
            Self::Address(place.to_owned())
        } else {
            Self::Folder(place.into())
        }
    }
}

impl From<&Path> for ContextSource {
    fn from(path: &Path) -> Self {
        Self::Folder(path.into())
    }
}

impl From<PathBuf> for ContextSource {
    fn from(path: PathBuf) -> Self {
        Self::Folder(path)
    }
}

/// The largest Dockerfile or ignore file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// An open folder of a build.
#[derive(Debug)]
pub(crate) struct Folder {
    name: String,
    path: PathBuf,
    root: OwnedFd,
    ignore: Option<IgnoreFile>,
    stat_cache: PathBuf,
    /// The paths and patterns that instructions use.
    used: OnceLock<Vec<String>>,
    tree: OnceLock<Arc<Tree>>,
    /// How instructions come to what they use, known with the tree.
    ways: OnceLock<ContentId>,
}

/// An ignore file, and the name by which hints call it.
#[derive(Debug)]
struct IgnoreFile {
    name: String,
    rules: Ignore,
}

impl IgnoreFile {
    fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let rules = Ignore::parse(&String::from_utf8_lossy(bytes));
        let rules = rules.map_err(|error| Error::Malformed {
            what: format!("`{name}`"),
            reason: error.to_string(),
        })?;
        Ok(Self { name: name.to_owned(), rules })
    }
}

impl Folder {
    /// Opens a folder; `name` is the one that the graph uses.
    pub(crate) fn open(name: &str, path: &Path, store: &Store) -> Result<Self> {
        let path =
            path.canonicalize().map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let root =
            File::open(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        if !root.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let source = io::ErrorKind::NotADirectory.into();
            return Err(Error::Read { path, source });
        }
        let key = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
        let stat_cache = store.root().join("stat-caches").join(&key.as_str()[..32]);
        Ok(Self {
            name: name.to_owned(),
            path,
            root: root.into(),
            ignore: None,
            stat_cache,
            used: OnceLock::new(),
            tree: OnceLock::new(),
            ways: OnceLock::new(),
        })
    }

    /// The folder's place on this machine.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file of the folder whole; `None` when it is not there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        // A context may be hostile: a link in it leads nowhere else.
        match select::open_file(self.root(), Path::new(name)) {
            Ok(file) => read_whole(file, &self.path.join(name)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path: self.path.join(name), source }),
        }
    }

    /// Takes the ignore rules: those beside the Dockerfile before those of the folder.
    ///
    /// # Errors
    /// An ignore file that cannot be read or holds a pattern that is none.
    pub(crate) fn load_ignore(&mut self, dockerfile: Option<&Path>) -> Result<Option<&str>> {
        let beside = dockerfile.map(|path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        if let Some(path) = beside
            && let Some(bytes) = read_file(&path)?
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.ignore = Some(IgnoreFile::parse(&name, &bytes)?);
        }
        for name in [".dockerignore", ".containerignore"] {
            if self.ignore.is_none()
                && let Some(bytes) = self.read(name)?
            {
                self.ignore = Some(IgnoreFile::parse(name, &bytes)?);
            }
        }
        Ok(self.ignore.as_ref().map(|file| file.name.as_str()))
    }

    /// Says which paths and patterns instructions use; the first call counts.
    pub(crate) fn used_paths(&self, patterns: impl IntoIterator<Item = String>) {
        let _ = self.used.set(patterns.into_iter().collect());
    }

    /// The ignore rules, and the name of their file.
    pub(crate) fn ignore(&self) -> Option<(&str, &Ignore)> {
        self.ignore.as_ref().map(|file| (file.name.as_str(), &file.rules))
    }

    /// The open folder.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether anything is left out of the folder.
    pub(crate) fn is_filtered(&self) -> bool {
        self.ignore.as_ref().is_some_and(|file| !file.rules.is_empty())
    }

    /// Whether a walk takes a path, skips it, or only looks below it.
    pub(crate) fn keep(&self, path: &Path, directory: bool) -> Keep {
        self.ignore.as_ref().map_or(Keep::Take, |file| verdict(&file.rules, path, directory))
    }

    /// Whether a path is part of the context.
    pub(crate) fn is_visible(&self, path: &Path, directory: bool) -> bool {
        self.keep(path, directory) != Keep::Skip
    }

    /// The snapshot of all that instructions use.
    pub(crate) fn pin(&self) -> Result<Snapshot, StepError> {
        let tree = self.tree()?;
        let mut hasher = Hasher::new("context");
        hasher.id(tree.content().as_bytes());
        // The tree does not hold the links and folders above what is used.
        if let Some(ways) = self.ways.get() {
            hasher.id(ways.as_bytes());
        }
        let layer = Layer::Folder { name: self.name.clone() };
        Ok(Snapshot { content: hasher.content(), layers: Arc::new([layer]) })
    }

    /// The tree of all that instructions use, read once.
    pub(crate) fn tree(&self) -> Result<Arc<Tree>, StepError> {
        if let Some(tree) = self.tree.get() {
            return Ok(tree.clone());
        }
        let (roots, ways) = self.roots();
        let _ = self.ways.set(ways);
        let tree = match roots {
            Some(roots) if roots.is_empty() => Tree::default(),
            roots => self.read_tree(&roots.unwrap_or_default())?,
        };
        Ok(self.tree.get_or_init(|| Arc::new(tree)).clone())
    }

    /// The paths to walk, and the ways by which instructions come to them: `None` is the whole
    /// folder, an empty list nothing.
    fn roots(&self) -> (Option<Vec<PathBuf>>, ContentId) {
        let (mut roots, mut whole) = (Vec::new(), false);
        let mut ways = Hasher::new("ways into the context");
        for pattern in self.used.get().map(Vec::as_slice).unwrap_or_default() {
            // What is missing becomes an error at the instruction that needs it.
            for found in self.find(pattern).unwrap_or_default() {
                ways.bytes(found.named.as_os_str().as_encoded_bytes());
                ways.bytes(found.real.as_os_str().as_encoded_bytes());
                let _ = hash_parents(&mut ways, Root { files: self.root(), of_root: true }, &found);
                whole |= found.real.as_os_str().is_empty();
                roots.push(found.real);
            }
        }
        roots.sort();
        roots.dedup_by(|later, kept| later.starts_with(&*kept));
        ((!whole).then_some(roots), ways.content())
    }

    fn read_tree(&self, roots: &[PathBuf]) -> Result<Tree, StepError> {
        if let Some(folder) = self.stat_cache.parent() {
            std::fs::create_dir_all(folder).map_err(StepError::file("make the stat cache"))?;
        }
        let keep = |path: &Path, directory: bool| self.keep(path, directory);
        let options = Options {
            keep: &keep,
            roots,
            owners: Owners::Root,
            stat_cache: Some(&self.stat_cache),
        };
        Tree::read(self.root(), &options)
            .map_err(StepError::store(format!("read the context `{}`", self.path.display())))
    }

    /// What a source names in this folder.
    pub(crate) fn find(&self, pattern: &str) -> Result<Vec<Match>, StepError> {
        let visible = |path: &Path, directory: bool| self.is_visible(path, directory);
        select::find(self.root(), pattern, &visible).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                StepError::NotFound { path: pattern.to_owned(), hint: self.why_missing(pattern) }
            }
            _ => StepError::file(format!("look up `{pattern}` in the context"))(error),
        })
    }

    /// Names what a select uses.
    pub(crate) fn digest(&self, select: &Select) -> Result<ContentId, StepError> {
        let tree = self.tree()?;
        let root = Root { files: self.root(), of_root: true };
        select_digest(
            select,
            root,
            |pattern| self.find(pattern),
            |found| Ok(tree.subtree(&found.real).to_vec()),
        )
    }

    /// Why a path that a source names is not there.
    fn why_missing(&self, pattern: &str) -> Option<String> {
        let exists =
            rustix::fs::statat(self.root(), pattern, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        if let (Ok(_), Some(file)) = (exists, &self.ignore) {
            let rule = file.rules.matches(pattern).filter(|rule| rule.excluded)?;
            let (line, text) = (rule.line, rule.text);
            return Some(format!("`{text}` in line {line} of `{}` leaves it out", file.name));
        }
        None
    }
}

/// A tree from which files are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Root<'a> {
    pub(crate) files: BorrowedFd<'a>,
    /// Whether everything in it is taken to be root's.
    pub(crate) of_root: bool,
}

/// Names the files that a select uses: what it matches, by the names under which COPY would write
/// it, and the contents.
pub(crate) fn select_digest(
    select: &Select,
    root: Root<'_>,
    find: impl Fn(&str) -> Result<Vec<Match>, StepError>,
    nodes: impl Fn(&Match) -> Result<Vec<Node>, StepError>,
) -> Result<ContentId, StepError> {
    let mut hasher = Hasher::new("selected files");
    if let Select::Paths { patterns, exclude, parents } = select {
        let exclude = Exclude::new(exclude, *parents)?;
        for pattern in patterns {
            let found = find(pattern)?;
            hasher.u64(found.len() as u64);
            for found in &found {
                let nodes = nodes(found)?;
                if *parents {
                    hash_parents(&mut hasher, root, found)
                        .map_err(StepError::file("look at the folders above a source"))?;
                }
                hash_match(&mut hasher, found, &nodes, *parents, &exclude);
            }
        }
    }
    Ok(hasher.content())
}

/// The folders that `--parents` keeps are made with their modes and owners.
fn hash_parents(hasher: &mut Hasher, root: Root<'_>, found: &Match) -> io::Result<()> {
    for (_, stat) in select::parents(root.files, found)? {
        let owner = if root.of_root { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        for fact in [stat.st_mode, owner.0, owner.1] {
            hasher.u64(fact.into());
        }
    }
    Ok(())
}

fn hash_match(
    hasher: &mut Hasher,
    found: &Match,
    nodes: &[Node],
    parents: bool,
    exclude: &Exclude,
) {
    let Some(top) = nodes.first() else { return };
    if parents {
        hasher.u64(found.pivot as u64);
        hasher.bytes(found.named.as_os_str().as_encoded_bytes());
    } else if !top.is_directory() {
        hasher.bytes(found.named.file_name().unwrap_or_default().as_encoded_bytes());
    }
    if exclude.is_empty() {
        hasher.id(top.digest().as_bytes());
        return;
    }
    for node in nodes {
        let below = node.path.strip_prefix(&top.path).unwrap_or(&node.path);
        if exclude.leaves_out(found, below, node.is_directory()) {
            continue;
        }
        hasher.bytes(below.as_os_str().as_encoded_bytes());
        hasher.id(node.own_digest().as_bytes());
    }
}

/// What a walk does with a path by the rules of an ignore file.
fn verdict(rules: &Ignore, path: &Path, directory: bool) -> Keep {
    // A path that is not text is matched by what can be shown of it.
    match rules.verdict(&path.to_string_lossy(), directory) {
        Verdict::Keep => Keep::Take,
        Verdict::Skip => Keep::Skip,
        Verdict::Descend => Keep::Descend,
    }
}

/// The patterns of `--exclude`.
#[derive(Debug)]
pub(crate) struct Exclude {
    rules: Option<Ignore>,
    /// Whether they are meant from the root of the tree, or from the pivot, not from each source.
    parents: bool,
}

impl Exclude {
    pub(crate) fn new(patterns: &[String], parents: bool) -> Result<Self, StepError> {
        if patterns.is_empty() {
            return Ok(Self { rules: None, parents });
        }
        let rules = Ignore::from_patterns(patterns.iter().map(String::as_str))
            .map_err(|error| StepError::Other(format!("--exclude: {error}")))?;
        Ok(Self { rules: Some(rules), parents })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_none()
    }

    /// Whether a path below a source, or the source itself when it is a file, is left out.
    pub(crate) fn leaves_out(&self, found: &Match, below: &Path, directory: bool) -> bool {
        let Some(rules) = &self.rules else { return false };
        let whole: PathBuf;
        let path = match below.as_os_str().is_empty() {
            _ if self.parents => {
                let named = found.named.components().skip(found.pivot);
                whole = named.chain(below.components()).collect();
                &whole
            }
            true if directory => return false,
            true => Path::new(found.named.file_name().unwrap_or_default()),
            false => below,
        };
        verdict(rules, path, directory) == Keep::Skip
    }
}

/// Reads a small file whole; `None` when it is not there.
pub(crate) fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => read_whole(file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

fn read_whole(file: File, path: &Path) -> Result<Vec<u8>> {
    let wrap = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(wrap)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrap(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}
