//! Rows of bytes on disk, held in sled: **the only file that names it**.
//!
//! sled lets one process in, panics on damaged files, and may lose rows of them. So it is open only
//! in short sessions under a lock of our own, a damaged index is set aside and made again from the
//! records beside the layers, and every row carries a checksum: a row in doubt is no row.

pub(crate) mod seal;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use seal::{seal, unseal};

use crate::error::{Error, Result};
use crate::remove::remove_whatever;
use crate::store::{TEMPORARY, make_folder, random_name};

/// A session that nobody has used for this long is closed, so that other processes get in.
const IDLE: Duration = Duration::from_millis(20);
/// A session that is this old is closed even in the midst of a burst.
const AGE: Duration = Duration::from_millis(250);
/// How often, and how far apart, an index that is still busy from its last session is tried.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);
/// sled never gives disk space back: files that are larger than this, in bytes, and than so many
/// times what was in them when they were made, are made again.
const LARGE: u64 = 64 << 20;
const WASTE: u64 = 8;
/// sled keeps this many bytes of pages in memory.
const MEMORY: u64 = 8 << 20;
/// Says that the index was made to its end, and in which form its rows are; one without it is made
/// again.
const COMPLETE: &[u8] = b"complete 2";

/// A row to be written; without a value, the row is removed.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Makes all rows again, from the folder of the store.
type Rows = fn(&Path) -> Vec<Change>;

/// The rows on disk, shared by the threads of this process.
#[derive(Debug)]
pub(crate) struct Index {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    rows: Rows,
    large: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    /// A thread is there to close the session.
    attended: bool,
}

#[derive(Debug)]
struct Session {
    db: sled::Db,
    opened: Instant,
    used: Instant,
    // Freed after sled has closed its files: fields drop in this order.
    _lock: File,
}

/// Why work on the index failed.
enum Failure {
    /// The files are damaged: made again, they will do.
    Damaged(String),
    /// Another attempt would fail alike.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(ref cause)
                if !matches!(
                    cause.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::IsADirectory
                ) =>
            {
                Self::Other(Error::Index { reason: error.to_string() })
            }
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// Runs what calls sled, and takes its panics for damage.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Failure::Damaged(text.unwrap_or("a panic").to_owned()))
    })
}

impl Index {
    /// The index of the store in `root`, whose rows `rows` makes again when they are lost.
    pub(crate) fn new(root: &Path, rows: Rows) -> Self {
        Self::with_limit(root, rows, LARGE)
    }

    fn with_limit(root: &Path, rows: Rows, large: u64) -> Self {
        let (root, state, changed) = (root.to_owned(), Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { root, rows, large, state, changed }) }
    }

    /// Reads the values of rows; a row that is missing or damaged has none.
    pub(crate) fn read(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        self.read_and(keys, |_| Ok(()))
    }

    /// Reads the values of rows, and goes on with them before anybody can change a row.
    pub(crate) fn read_and(
        &self,
        keys: &[Vec<u8>],
        then: impl Fn(&[Option<Vec<u8>>]) -> Result<()>,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        if keys.is_empty() || self.shared.nothing_there() {
            return Ok(vec![None; keys.len()]);
        }
        self.with(|db| {
            let get = |key: &Vec<u8>| {
                Ok(db.get(key)?.and_then(|value| Some(unseal(key, &value)?.to_vec())))
            };
            let values: Vec<_> = keys.iter().map(get).collect::<Result<_, Failure>>()?;
            then(&values)?;
            Ok(values)
        })
    }

    /// All rows that are in order, with their values.
    pub(crate) fn all(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if self.shared.nothing_there() {
            return Ok(Vec::new());
        }
        let rows = self.with(rows_of)?;
        Ok(rows.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// Writes rows, which are on disk once the session is closed.
    pub(crate) fn write(&self, changes: &[Change]) -> Result<()> {
        self.write_after(changes, || {})
    }

    /// Writes rows after something that is done while nobody else can change a row.
    pub(crate) fn write_after(&self, changes: &[Change], first: impl Fn()) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with(|db| {
            first();
            put(db, changes)
        })
    }

    /// Drops all rows and makes them again; returns how many there are.
    pub(crate) fn remake(&self) -> Result<usize> {
        let mut state = self.shared.state();
        let mut session = match state.session.take() {
            Some(session) => session,
            None => self.shared.open_or_remake()?,
        };
        session = self.shared.remake(session)?;
        let count = guarded(|| Ok(session.db.len()));
        drop(self.attend(state, session));
        count.map(|rows| rows.saturating_sub(1)).map_err(failed)
    }

    /// Closes the session, if there is one.
    pub(crate) fn close(&self) {
        let session = self.shared.state().session.take();
        close(session);
        self.shared.changed.notify_all();
    }

    /// Works in a session, the one that is open or a new one.
    fn with<T>(&self, work: impl Fn(&sled::Db) -> Result<T, Failure>) -> Result<T> {
        let mut state = self.shared.state();
        if state.session.as_ref().is_some_and(|session| session.opened.elapsed() > AGE) {
            close(state.session.take());
            drop(state);
            // Long enough for a process that waits for the lock to be woken and to take it.
            thread::sleep(Duration::from_millis(1));
            state = self.shared.state();
        }
        let mut session = match state.session.take() {
            Some(session) => session,
            None => self.shared.open_or_remake()?,
        };
        let mut result = guarded(|| work(&session.db));
        if let Err(Failure::Damaged(reason)) = &result {
            tracing::warn!(%reason, "the index is damaged and is made again");
            session = self.shared.remake(session)?;
            result = guarded(|| work(&session.db));
        }
        session.used = Instant::now();
        drop(self.attend(state, session));
        result.map_err(failed)
    }

    /// Leaves a session open, with a thread that closes it in time.
    fn attend<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        session: Session,
    ) -> MutexGuard<'a, State> {
        state.session = Some(session);
        if !state.attended {
            let shared = Arc::clone(&self.shared);
            let closer = thread::Builder::new().name("index-closer".to_owned());
            state.attended = closer.spawn(move || shared.close_in_time()).is_ok();
            if !state.attended {
                close(state.session.take());
            }
        }
        state
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.close();
    }
}

fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Damaged(reason) => Error::Index { reason },
        Failure::Other(error) => error,
    }
}

/// Closes a session, which writes what is still in memory.
fn close(session: Option<Session>) {
    let Some(Session { db, _lock, .. }) = session else {
        return;
    };
    let closed = guarded(|| {
        db.flush()?;
        drop(db);
        Ok(())
    });
    if let Err(failure) = closed {
        let error = failed(failure);
        tracing::warn!(%error, "the index could not be closed well");
    }
}

/// Drops what sled has open, which may panic.
fn close_files(db: sled::Db) {
    let _ = guarded(|| {
        drop(db);
        Ok(())
    });
}

/// All rows that are in order.
fn rows_of(db: &sled::Db) -> Result<Vec<Change>, Failure> {
    let mut rows = Vec::new();
    for row in db.iter() {
        let (key, sealed) = row?;
        if let Some(value) = unseal(&key, &sealed)
            && *key != *COMPLETE
        {
            rows.push((key.to_vec(), Some(value.to_vec())));
        }
    }
    Ok(rows)
}

fn put(db: &sled::Db, changes: &[Change]) -> Result<(), Failure> {
    for (key, value) in changes {
        match value {
            Some(value) => db.insert(key, seal(key, value))?,
            None => db.remove(key)?,
        };
    }
    Ok(())
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Tells whether there is neither an index nor anything to make one from.
    fn nothing_there(&self) -> bool {
        !self.folder().exists() && !self.root.join("layers").exists()
    }

    /// Opens a session; an index that is missing or damaged is made again.
    fn open_or_remake(&self) -> Result<Session> {
        make_folder(&self.root)?;
        let lock = self.lock()?;
        if !self.folder().exists() {
            return self.make_new(lock, &(self.rows)(&self.root));
        }
        let opened = guarded(|| {
            let db = self.open()?;
            let sealed = db.get(COMPLETE)?;
            let size = sealed.and_then(|sealed| unseal(COMPLETE, &sealed)?.try_into().ok());
            let Some(size) = size.map(u64::from_le_bytes) else {
                return Err(Failure::Damaged("it was not made to its end".to_owned()));
            };
            let is_wasteful = db.size_on_disk()? > self.large.max(size.saturating_mul(WASTE));
            Ok((is_wasteful.then(|| rows_of(&db)).transpose()?, db))
        });
        match opened {
            Ok((None, db)) => Ok(Session::new(db, lock)),
            Ok((Some(rows), db)) => {
                close_files(db);
                self.make_new(lock, &rows)
            }
            Err(Failure::Damaged(reason)) => {
                tracing::warn!(%reason, "the index is damaged and is made again");
                self.make_new(lock, &(self.rows)(&self.root))
            }
            Err(failure) => Err(failed(failure)),
        }
    }

    fn remake(&self, session: Session) -> Result<Session> {
        let Session { db, _lock: lock, .. } = session;
        close_files(db);
        self.make_new(lock, &(self.rows)(&self.root))
    }

    /// Sets the files aside and makes new ones.
    fn make_new(&self, lock: File, rows: &[Change]) -> Result<Session> {
        let folder = self.folder();
        if folder.exists() {
            let aside = self.root.join(TEMPORARY).join(random_name()?);
            make_folder(&self.root.join(TEMPORARY))?;
            fs::rename(&folder, &aside).map_err(Error::file("set aside", &folder))?;
            if let Err(error) = remove_whatever(&aside) {
                let aside = aside.display();
                tracing::warn!(%aside, %error, "an index is left behind");
            }
        }
        let db = guarded(|| {
            let db = self.open()?;
            put(&db, rows)?;
            let length = |row: &Change| row.0.len() + row.1.as_ref().map_or(0, Vec::len);
            let size = rows.iter().map(length).sum::<usize>() as u64;
            put(&db, &[(COMPLETE.to_vec(), Some(size.to_le_bytes().to_vec()))])?;
            db.flush()?;
            Ok(db)
        });
        Ok(Session::new(db.map_err(failed)?, lock))
    }

    fn lock(&self) -> Result<File> {
        let path = self.root.join("index.lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&path).map_err(Error::file("open the lock", &path))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.map(|()| file).map_err(Error::file("lock", &path)),
            }
        }
    }

    fn open(&self) -> Result<sled::Db, Failure> {
        let config =
            sled::Config::new().path(self.folder()).cache_capacity(MEMORY).flush_every_ms(None);
        let mut tries = 0;
        loop {
            // Threads of the last session may hold its files for a moment longer.
            match config.open() {
                Err(sled::Error::Io(error)) if busy(&error) && tries < TRIES => {
                    tries += 1;
                    thread::sleep(PAUSE);
                }
                result => return Ok(result?),
            }
        }
    }

    /// Waits until the session is due, and closes it.
    fn close_in_time(&self) {
        let mut state = self.state();
        while let Some(session) = &state.session {
            let due = (session.used + IDLE).min(session.opened + AGE);
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                close(state.session.take());
                break;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.attended = false;
    }
}

/// sled says in words that its file is locked.
fn busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("acquire lock")
}

impl Session {
    fn new(db: sled::Db, lock: File) -> Self {
        let now = Instant::now();
        Self { db, opened: now, used: now, _lock: lock }
    }
}
