//! Contexts become folders of this machine: an archive, a repository, an archive at a URL, or a
//! lone Dockerfile there.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rbuild_cache::hash::Hasher;
use rbuild_cache::{Layer, Snapshot};
use rbuild_solver::op::{GitCheckout, HttpFile};

use super::{GitUrl, Kept, Note, Remotes};
use crate::archive;
use crate::context::ContextSource;
use crate::error::{Error, Result};
use crate::worker::fetch::blocking;

/// The name of a context that came from a URL, which is that of a lone Dockerfile too.
const NAME: &str = "context";

/// A context that is a folder of this machine now.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) path: PathBuf,
    /// The Dockerfile, where that is all there is.
    pub(crate) dockerfile: Option<String>,
    /// When it was changed last, in seconds since 1970, where that is known of the whole.
    pub(crate) time: Option<i64>,
}

impl From<PathBuf> for Located {
    fn from(path: PathBuf) -> Self {
        Self { path, dockerfile: None, time: None }
    }
}

impl Remotes {
    /// Finds the folder of a context, and fetches or unpacks what is none yet.
    pub(crate) async fn locate(
        &self,
        source: &ContextSource,
        keep_git_dir: bool,
    ) -> Result<Located> {
        match source {
            ContextSource::Folder(path) => Ok(path.clone().into()),
            ContextSource::Address(address) => self.address(address, keep_git_dir).await,
            ContextSource::Tar(bytes) => {
                let (remotes, bytes) = (self.clone(), io::Cursor::new(bytes.clone()));
                let folder = blocking(move || remotes.unpacked(bytes)).await?;
                folder.map(Located::from).ok_or_else(|| Error::Malformed {
                    what: "the context archive".to_owned(),
                    reason: "it is not a tar, plain or compressed".to_owned(),
                })
            }
            ContextSource::Empty => {
                let path = self.store.root().join("empty");
                let made = std::fs::create_dir_all(&path);
                made.map_err(|source| Error::Write { path: path.clone(), source })?;
                Ok(path.into())
            }
        }
    }

    async fn address(&self, address: &str, keep_git_dir: bool) -> Result<Located> {
        match GitUrl::parse_context(address) {
            Some(Ok(url)) => {
                let keep_git_dir = keep_git_dir || url.keep_git_dir.unwrap_or(false);
                let fetched = self.checkout(&url.checkout(keep_git_dir, false)).await?;
                let path = self.files(&fetched.snapshot)?;
                Ok(Located { time: fetched.time, ..path.into() })
            }
            Some(Err(error)) => Err(Error::Usage(format!("the context `{address}`: {error}"))),
            None => self.url(address).await,
        }
    }

    async fn url(&self, url: &str) -> Result<Located> {
        let url = url.to_owned();
        let wanted = HttpFile { url, name: NAME.to_owned(), checksum: None };
        let fetched = self.file(&wanted).await?;
        let folder = self.files(&fetched.snapshot)?;
        let (remotes, path) = (self.clone(), folder.join(NAME));
        let unpacked = blocking(move || {
            let file = File::open(&path).map_err(|source| Error::Read { path, source })?;
            remotes.unpacked(file)
        });
        Ok(if let Some(path) = unpacked.await? {
            Located { time: fetched.time.or_else(|| newest(&path)), ..path.into() }
        } else {
            let dockerfile = Some(NAME.to_owned());
            Located { path: folder, dockerfile, time: fetched.time }
        })
    }

    /// Unpacks an archive as a layer, unless that was done before; `None` for what is no archive.
    fn unpacked<R>(&self, mut source: R) -> Result<Option<PathBuf>>
    where
        R: Read + Seek + Send + 'static,
    {
        let unread = |error: io::Error| Error::Malformed {
            what: "the context archive".to_owned(),
            reason: error.to_string(),
        };
        if !archive::is_archive(&mut source).map_err(unread)? {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        source.rewind().map_err(unread)?;
        hasher.update_reader(&mut source).map_err(unread)?;
        let mut key = Hasher::new("context archive");
        key.id(hasher.finalize().as_bytes());
        let key = key.key();
        if let Some((known, _)) = self.find(key)? {
            return self.files(&known.snapshot).map(Some);
        }
        let Some(tar) = archive::open(source).map_err(unread)? else { return Ok(None) };
        let began = Instant::now();
        let doing = || Error::store("unpack the context archive");
        let staged = self.store.stage().map_err(doing())?;
        let folder = File::open(staged.files())
            .map_err(|source| Error::Read { path: staged.files().to_owned(), source })?;
        rbuild_cache::unpack_into(folder.as_fd(), tar, None).map_err(doing())?;
        let description = "context archive".to_owned();
        let version = Kept { definition: key, content: key, note: Note::default(), description };
        let kept = self.keep(staged, &version, began)?;
        self.files(&kept.snapshot).map(Some)
    }

    /// The folder with the files of what was fetched.
    fn files(&self, snapshot: &Snapshot) -> Result<PathBuf> {
        let layer: Option<&Layer> = snapshot.layers.first();
        layer
            .and_then(|layer| self.store.layer_path(layer))
            .ok_or_else(|| Error::Usage("the context was removed while it was read".to_owned()))
    }
}

impl GitUrl {
    /// The checkout of what an address names.
    pub(crate) fn checkout(self, keep_git_dir: bool, commit_times: bool) -> GitCheckout {
        GitCheckout {
            remote: self.remote,
            reference: self.reference,
            checksum: self.checksum,
            directory: self.directory,
            keep_git_dir,
            submodules: self.submodules.unwrap_or(true),
            commit_times: self.commit_times.unwrap_or(commit_times),
        }
    }
}

/// The time of the newest file below a folder, in seconds since 1970.
fn newest(folder: &Path) -> Option<i64> {
    use std::os::unix::fs::MetadataExt;
    let times = std::fs::read_dir(folder).ok()?.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        if metadata.is_dir() {
            return newest(&entry.path());
        }
        metadata.is_file().then(|| metadata.mtime())
    });
    times.max()
}
