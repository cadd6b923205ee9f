//! Files at URLs, as ADD fetches them: mode 0600, with the time of their last change.

use std::fs::{File, FileTimes};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime};

use rbuild_cache::hash::Hasher;
use rbuild_cache::{Digest, Key, StagedLayer};
use rbuild_registry::{FileAnswer, FilePart, FileRequest, redacted};
use rbuild_solver::op::HttpFile;
use rbuild_solver::{StepId, What};
use sha2::{Digest as _, Sha256};

use super::{Fetched, How, Kept, NOTE, Note, Remotes, host};
use crate::error::{Error, Result};

/// The mode of a file that came from a URL.
const MODE: u32 = 0o600;
/// Bytes after which a download says how far it is.
const PROGRESS_STEP: u64 = 1 << 20;

impl Remotes {
    /// Fetches a file, unless the version that is here is still the one.
    pub(crate) async fn file(&self, wanted: &HttpFile) -> Result<Fetched> {
        let shown = redacted(&wanted.url);
        let fetched =
            self.shown(shown.clone(), async |step| self.file_in(step, wanted).await).await?;
        let note = fetched.snapshot.layers.first().map(|layer| self.store.layer_note(layer, NOTE));
        let note: Option<Note> = note.and_then(Result::ok).flatten();
        if let Some(digest) = note.and_then(|note| note.digest) {
            self.versions.note(shown, "sha256", digest.hex());
        }
        Ok(fetched)
    }

    async fn file_in(&self, step: StepId, wanted: &HttpFile) -> Result<(Fetched, How)> {
        let definition = url_key(wanted);
        let known = self.find(definition)?;
        let checksum = wanted.checksum.as_deref().map(checksum).transpose()?;
        let is_wanted = |note: &Note| checksum.is_some() && note.digest == checksum;
        let is_offline = self.registries.is_offline() && checksum.is_none();
        if let Some((fetched, note)) = &known
            && (is_wanted(note) || is_offline)
        {
            return Ok((fetched.clone(), How::Known));
        }
        let note = known.as_ref().map(|(_, note)| note.clone()).unwrap_or_default();
        let mut download = Download::new(self, step, wanted)?;
        let answer = self.ask(wanted, &note, &mut download).await?;
        match (answer, known) {
            (FileAnswer::Unchanged, Some((fetched, note))) => {
                check(wanted, checksum, note.digest)?;
                Ok((fetched, How::Known))
            }
            (FileAnswer::Unchanged, None) => Err(Error::Malformed {
                what: format!("the answer for `{}`", redacted(&wanted.url)),
                reason: "the server says that nothing has changed, to one who knows nothing"
                    .to_owned(),
            }),
            (FileAnswer::Came { etag, last_modified }, _) => {
                let digest = download.digest();
                check(wanted, checksum, Some(digest))?;
                let time = last_modified.as_deref().and_then(seconds);
                let note = Note { digest: Some(digest), etag, last_modified, time };
                let version = Kept {
                    definition,
                    content: content_key(wanted, &digest, time),
                    note,
                    description: redacted(&wanted.url),
                };
                let began = download.began;
                let staged = download.end(time)?;
                Ok((self.keep(staged, &version, began)?, How::Fetched))
            }
        }
    }

    async fn ask(
        &self,
        wanted: &HttpFile,
        note: &Note,
        download: &mut Download<'_>,
    ) -> Result<FileAnswer> {
        let request = FileRequest {
            url: wanted.url.clone(),
            authorization: self.authorization(&wanted.url)?,
            etag: note.etag.clone(),
            last_modified: note.last_modified.clone(),
        };
        let client = self.registries.client();
        client
            .file(&request, |part| download.part(&part))
            .await
            .map_err(Error::registry(format!("load `{}`", redacted(&wanted.url))))
    }

    /// The value of the header that lets one in, from the secrets of the build.
    fn authorization(&self, url: &str) -> Result<Option<String>> {
        let host = host(url);
        let names = [format!("HTTP_AUTH_HEADER_{host}"), format!("HTTP_AUTH_TOKEN_{host}")];
        let found = self.secret(&names)?;
        Ok(found.map(|(index, value)| if index == 0 { value } else { format!("Bearer {value}") }))
    }
}

/// A file on its way into a layer.
struct Download<'a> {
    remotes: &'a Remotes,
    step: StepId,
    staged: StagedLayer,
    file: File,
    hash: Sha256,
    current: u64,
    told: u64,
    total: Option<u64>,
    began: Instant,
}

impl<'a> Download<'a> {
    fn new(remotes: &'a Remotes, step: StepId, wanted: &HttpFile) -> Result<Self> {
        let staged = remotes.store.stage().map_err(Error::store("begin a layer"))?;
        let path = staged.files().join(&wanted.name);
        let file = File::create(&path).map_err(|source| Error::Write { path, source })?;
        Ok(Self {
            remotes,
            step,
            staged,
            file,
            hash: Sha256::new(),
            current: 0,
            told: 0,
            total: None,
            began: Instant::now(),
        })
    }

    fn part(&mut self, part: &FilePart<'_>) -> std::io::Result<()> {
        match part {
            FilePart::Begin { size } => {
                std::io::Seek::rewind(&mut self.file)?;
                self.file.set_len(0)?;
                (self.hash, self.current, self.told, self.total) = (Sha256::new(), 0, 0, *size);
                self.tell(false);
            }
            FilePart::Bytes(bytes) => {
                self.file.write_all(bytes)?;
                self.hash.update(bytes);
                self.current += bytes.len() as u64;
                if self.current - self.told >= PROGRESS_STEP {
                    self.told = self.current;
                    self.tell(false);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, done: bool) {
        let (part, current, total) = ("transferring file:".to_owned(), self.current, self.total);
        self.remotes.events.emit(self.step, What::Progress { part, current, total, done });
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(self.hash.clone().finalize().into())
    }

    /// Gives the file its time and mode; without a time it is as old as can be.
    fn end(self, time: Option<i64>) -> Result<StagedLayer> {
        self.tell(true);
        let seconds = u64::try_from(time.unwrap_or_default()).unwrap_or_default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let times = FileTimes::new().set_accessed(time).set_modified(time);
        let done = self
            .file
            .set_permissions(std::fs::Permissions::from_mode(MODE))
            .and_then(|()| self.file.set_times(times));
        let path = || self.staged.files().to_owned();
        done.map_err(|source| Error::Write { path: path(), source })?;
        Ok(self.staged)
    }
}

/// The name of what a URL was last.
fn url_key(wanted: &HttpFile) -> Key {
    let mut hasher = Hasher::new("file at a url");
    hasher.str(&wanted.url).str(&wanted.name);
    hasher.key()
}

fn content_key(wanted: &HttpFile, digest: &Digest, time: Option<i64>) -> Key {
    let mut hasher = Hasher::new("file from a url");
    hasher.str(&wanted.name).id(digest.as_bytes()).i64(time.unwrap_or_default());
    hasher.key()
}

/// Reads what `--checksum` says of a file.
fn checksum(text: &str) -> Result<Digest> {
    text.parse().map_err(|error: rbuild_cache::id::InvalidId| {
        Error::Usage(format!("the checksum `{text}` is not valid: {error}"))
    })
}

fn check(wanted: &HttpFile, expected: Option<Digest>, got: Option<Digest>) -> Result<()> {
    match (expected, got) {
        (Some(expected), Some(got)) if expected != got => Err(Error::Malformed {
            what: format!("`{}`", redacted(&wanted.url)),
            reason: format!("digest mismatch: it is {got}, expected {expected}"),
        }),
        _ => Ok(()),
    }
}

/// Reads an HTTP date.
fn seconds(date: &str) -> Option<i64> {
    Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_read() {
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        assert_eq!(seconds("yesterday"), None);
    }
}
