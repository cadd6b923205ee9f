//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::id::{Digest, LayerId};

/// The result of an operation on the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation on the store that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder of the store could not be read or written.
    #[error("cannot {doing} `{}`", path.display())]
    File {
        /// What was being done, such as `write` or `rename`.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Bytes do not have the digest that was asked for.
    #[error("the content has the digest {found}, not {expected}")]
    WrongDigest {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// There are more or fewer bytes than were announced.
    #[error("the content of {digest} has {found} bytes, not {expected}")]
    WrongSize {
        /// The digest of the content.
        digest: Digest,
        /// The number of bytes that was announced.
        expected: u64,
        /// The number of bytes that came, or came until the rest was refused.
        found: u64,
    },
    /// A blob is not in the store.
    #[error("the blob {0} is not in the store")]
    NoBlob(Digest),
    /// A blob has not the bytes any more that it had when it was written.
    #[error(
        "the blob {0} is damaged; it is set aside, to be fetched or made again when it is needed"
    )]
    DamagedBlob(Digest),
    /// A blob is larger than the caller is willing to read into memory.
    #[error("the blob {digest} has {size} bytes, more than the {limit} that are read at once")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The largest size that would have been read, in bytes.
        limit: u64,
    },
    /// A layer that a step made is not in the store.
    #[error("the layer {0} is not in the store")]
    NoLayer(LayerId),
    /// A pulled layer is not unpacked in the store.
    #[error("the layer with the diff id {0} is not unpacked in the store")]
    NotUnpacked(Digest),
    /// A folder outside the store was used where only a layer will do.
    #[error("the folder `{0}` is not a layer of the store")]
    NotALayer(String),
    /// A layer's tar is damaged or hostile.
    #[error("the layer's tar is not valid: {0}")]
    Tar(String),
    /// A layer's tar could not be read on.
    #[error("cannot read the layer's tar")]
    ReadTar(#[source] io::Error),
    /// One entry of a layer's tar could not be unpacked.
    #[error("cannot unpack `{entry}` ({doing})")]
    Unpack {
        /// The path of the entry as the tar has it.
        entry: String,
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A tree of layers could not be mounted.
    #[error("cannot mount an overlay of {layers} layers: {reason}")]
    Mount {
        /// The number of layers below the writable one.
        layers: usize,
        /// What was being done, and the kernel's own words where it has any.
        reason: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A tree has more layers than the kernel can mount.
    #[error("the tree has {layers} layers, more than the {limit} that the kernel can stack")]
    TooManyLayers {
        /// The number of layers.
        layers: usize,
        /// The largest number.
        limit: usize,
    },
    /// The index of results could not be used, even after it was set aside and made again.
    #[error("cannot use the index of results: {reason}")]
    Index {
        /// Why.
        reason: String,
    },
    /// A file of a layer or of a build context changed while it was being read.
    #[error("`{}` changed while it was being read", path.display())]
    Changed {
        /// The path relative to the folder that is read.
        path: PathBuf,
    },
    /// A layer has something that no tar of a layer can express.
    #[error("cannot pack `{}`: {reason}", path.display())]
    Unpackable {
        /// The path in the layer.
        path: PathBuf,
        /// What is in the way.
        reason: &'static str,
    },
    /// A layer's tar could not be written.
    #[error("cannot write the layer's tar")]
    WriteTar(#[source] io::Error),
    /// Packing a layer stopped since nobody takes the tar any more.
    #[error("packing the layer was given up")]
    Abandoned,
    /// A file could not be copied.
    #[error("cannot {doing} `{}` while `{}` is copied there", destination.display(), origin.display())]
    Copy {
        /// What was being done to the destination.
        doing: &'static str,
        /// The path of the original.
        origin: PathBuf,
        /// The path that was to be written.
        destination: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A directory would replace something else, or something else a directory.
    #[error("cannot copy {kind} `{}` onto {existing} `{}`", origin.display(), destination.display())]
    Conflict {
        /// What is being copied, such as `the directory`.
        kind: &'static str,
        /// The path of the original.
        origin: PathBuf,
        /// What is there already.
        existing: &'static str,
        /// The path that was to be written.
        destination: PathBuf,
    },
    /// Users of the store that it does not know could not be asked what they need.
    #[error("cannot find out what is in use")]
    Users(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The operating system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
    /// Something that is about to be written does not fit its format.
    #[error("cannot write `{what}` as json")]
    Encode {
        /// What was to be written.
        what: &'static str,
        /// Why it failed.
        source: serde_json::Error,
    },
}

impl Error {
    /// The damaged blob that an error is about, or one of its causes.
    pub fn damaged_blob<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Digest> {
        let mut next = Some(error);
        while let Some(error) = next {
            // An error of reading holds another one inside, which it does not name as its source.
            let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let inside = inside.map(|inside| inside as &(dyn std::error::Error + 'static));
            let ours = [Some(error), inside].into_iter().flatten().find_map(Self::found_in);
            if let Some(Self::DamagedBlob(digest)) = ours {
                return Some(digest);
            }
            next = inside.or_else(|| error.source());
        }
        None
    }

    /// An error of the store, as other errors may hold it.
    fn found_in<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let shared = || error.downcast_ref::<Arc<Self>>().map(|error| &**error);
        let boxed = || error.downcast_ref::<Box<Self>>().map(|error| &**error);
        error.downcast_ref().or_else(shared).or_else(boxed)
    }

    /// Makes the function that turns an input or output error into one that names what was done.
    pub(crate) fn file<E: Into<io::Error>>(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::File { doing, path: path.as_ref().to_owned(), source: source.into() }
    }
}
