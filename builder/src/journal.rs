//! What has happened to containers, images, networks and volumes: docker's events, without a daemon.
//!
//! Whoever does something appends one line of json to the file `journal` of the store. A file that
//! has grown long becomes `journal.1` in place of the one before, so the journal is never longer
//! than two of them. A writer locks the file, so that nothing is written to one that was renamed,
//! which readers may have read to its end.

mod filter;
mod follow;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rbuild_cache::Store;
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use filter::{Filters, UnknownFilter};
pub use follow::{Wanted, follow};

const JOURNAL: &str = "journal";
const OLDER: &str = "journal.1";
/// The length from which on a new file is begun, in bytes.
const LONGEST: u64 = 1 << 20;

/// What something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

/// Writes the word that docker uses.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        })
    }
}

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it happened to.
    #[serde(rename = "Type")]
    pub kind: Kind,
    /// What happened, as docker calls it: `start`, `exec_create: sh`.
    #[serde(rename = "Action")]
    pub action: String,
    /// The id, or the name of what has none.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else is to be known, such as the name.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
    /// When.
    #[serde(rename = "Time")]
    pub time: Timestamp,
}

impl Entry {
    /// What happens at this moment.
    pub(crate) fn new(kind: Kind, action: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            kind,
            action: action.into(),
            id: id.into(),
            attributes: BTreeMap::new(),
            time: Timestamp::now(),
        }
    }

    /// The same with one more attribute.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// The object that `docker events --format json` prints.
    pub fn json(&self) -> Value {
        let nanoseconds = i64::try_from(self.time.as_nanosecond()).unwrap_or(i64::MAX);
        let mut value = json!({
            "Type": self.kind,
            "Action": self.action,
            "Actor": { "ID": self.id, "Attributes": self.attributes },
            "scope": "local",
            "time": self.time.as_second(),
            "timeNano": nanoseconds,
        });
        if matches!(self.kind, Kind::Container | Kind::Image) {
            value["status"] = json!(self.action);
            value["id"] = json!(self.id);
        }
        if let Some(image) = self.attributes.get("image") {
            value["from"] = json!(image);
        }
        value
    }
}

/// Writes down what has happened. That it cannot be written must not stop what is being done.
pub(crate) fn note(store: &Store, entries: &[Entry]) {
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry).expect("an entry has string keys only");
        lines.push(b'\n');
    }
    if lines.is_empty() {
        return;
    }
    if let Err(error) = append(store.root(), &lines, LONGEST) {
        tracing::warn!(%error, "what has happened could not be written down");
    }
}

fn append(root: &Path, lines: &[u8], longest: u64) -> io::Result<()> {
    let path = root.join(JOURNAL);
    loop {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        if !is_at(&file, &path) {
            continue;
        }
        if is_cut(&file)? {
            file.write_all(&[b"\n", lines].concat())?;
        } else {
            file.write_all(lines)?;
        }
        if file.metadata()?.len() > longest {
            fs::rename(&path, root.join(OLDER))?;
        }
        return Ok(());
    }
}

/// Whether a full disk has cut the last line.
fn is_cut(file: &File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok(last != [b'\n'])
}

/// Whether an open file is still the one at its path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

fn files(root: &Path) -> [PathBuf; 2] {
    [OLDER, JOURNAL].map(|name| root.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_as_docker_does() {
        let entry = Entry {
            time: Timestamp::from_second(1_700_000_000).unwrap(),
            ..Entry::new(Kind::Container, "die", "abc").with("name", "web").with("exitCode", "3")
        };
        let json = entry.with("image", "app").json();
        assert_eq!(json["timeNano"], 1_700_000_000_000_000_000_i64);
        assert_eq!((&json["from"], &json["status"]), (&json!("app"), &json!("die")));
        assert_eq!(json["Actor"]["Attributes"]["name"], "web");
        let volume = Entry::new(Kind::Volume, "create", "data");
        assert_eq!(volume.json().get("status"), None);
    }

    #[test]
    fn what_follows_a_line_that_was_cut_has_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        let write = |line: &str| append(folder.path(), line.as_bytes(), 1000).unwrap();
        write("one\n");
        fs::write(&path, "one\n{\"Type\":\"vol").unwrap();
        write("two\n");
        write("three\n");
        let all = fs::read_to_string(&path).unwrap();
        assert_eq!(all, "one\n{\"Type\":\"vol\ntwo\nthree\n");
    }

    #[test]
    fn a_long_file_is_set_aside_and_no_line_is_lost_or_torn() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..100 {
                        let line = format!("{thread} {number:>3} {}\n", "x".repeat(90));
                        // So long that it is set aside once: nothing of so little is lost.
                        append(root, line.as_bytes(), 25_000).unwrap();
                    }
                });
            }
        });
        let [older, newer] = files(root).map(|path| fs::read_to_string(path).unwrap());
        let all = older.clone() + &newer;
        let mut lines: Vec<_> = all.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 400);
        assert!(lines.iter().all(|line| line.len() == 96), "none is torn");
        assert!(older.len() > 25_000 && older.len() < 30_000, "{}", older.len());
    }
}
