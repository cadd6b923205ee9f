//! Waiting for the disk after a build, in a process of its own for which nobody waits.
//!
//! A step does not wait until the disk has its layer; but after the machine has gone down, only
//! layers of which that is known count without being read again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rbuild_cache::{Lock, Lost, Store, Visit};

use crate::source;

/// The first argument of a process that waits for the disk.
const SETTLE: &str = "--rbuild-settle";
/// A build is often followed by another one, for whose layers the disk is waited for as well.
const PAUSE: Duration = Duration::from_secs(2);

/// The use of a store, after which the disk is waited for if layers were made.
#[derive(Debug)]
pub(crate) struct Stay {
    store: Store,
    visit: Visit,
}

impl Stay {
    /// Says that this process uses a store: nothing of what it uses is removed meanwhile.
    pub(crate) fn begin(store: &Store) -> rbuild_cache::Result<Self> {
        Ok(Self { store: store.clone(), visit: store.enter()? })
    }

    /// What the user should know if the machine went down and left something half on the disk.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.visit.lost().map(warnings).unwrap_or_default()
    }
}

fn warnings(lost: &Lost) -> Vec<String> {
    let what = match lost.layers {
        1 => "a layer: it is made or fetched again when it is needed".to_owned(),
        many => format!("{many} layers: they are made or fetched again when they are needed"),
    };
    let mut warnings = vec![format!("the machine went down before the disk had {what}")];
    warnings.extend(lost.images.iter().map(|image| {
        let image = source::parse(image).map_or_else(|_| image.clone(), |image| image.familiar());
        format!("the image `{image}` has lost a layer by that: build or pull it again")
    }));
    warnings
}

/// Whether this program would notice that it was started to wait for the disk.
static NOTICES: AtomicBool = AtomicBool::new(false);

impl Drop for Stay {
    fn drop(&mut self) {
        if !NOTICES.load(Ordering::Relaxed) {
            return;
        }
        let turn = self.store.turn_to_settle();
        let started = match turn {
            Ok(None) => return,
            Ok(Some(turn)) => start(self.store.root(), &turn).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = started {
            tracing::debug!(error, "what was made is read again if the machine goes down");
        }
    }
}

/// Starts a process that waits for the disk, with the turn to do so.
fn start(root: &Path, turn: &Lock) -> io::Result<()> {
    let mut child = Command::new(rbuild_runtime::userns::own_program())
        .arg0("rbuild")
        .arg(SETTLE)
        .arg(root)
        .env_clear()
        .current_dir("/")
        .stdin(turn.share()?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // It may end before this process does.
    thread::Builder::new().name("settle".to_owned()).spawn(move || child.wait())?;
    Ok(())
}

/// Waits for the disk, and never returns, if this process was started for that; otherwise does
/// nothing. Comes in `main` right after [`init_if_asked`](rbuild_runtime::init_if_asked), before
/// any thread starts.
pub fn settle_if_asked() {
    NOTICES.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != SETTLE) {
        return;
    }
    let settled = arguments.next().is_some_and(|root| settle(Path::new(&root)).is_some());
    exit(i32::from(!settled));
}

fn settle(root: &Path) -> Option<()> {
    // It is no group's leader unless it was started by hand.
    let _ = rustix::process::setsid();
    let turn = take_input().ok()?;
    thread::sleep(PAUSE);
    // The store may have been removed, and is not to be made again.
    let store = root.is_dir().then(|| Store::open(root).ok())??;
    store.settle(turn).ok().map(drop)
}

/// Takes the descriptor that came as standard input.
fn take_input() -> io::Result<OwnedFd> {
    let input = rustix::stdio::stdin().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_with_what_is_to_be_done() {
        let lost = |layers, images: &[&str]| {
            let images = images.iter().map(|image| (*image).to_owned()).collect();
            warnings(&Lost { layers, images })
        };
        let one = "the machine went down before the disk had a layer: it is made or fetched again \
                   when it is needed";
        assert_eq!(lost(1, &[]), [one]);
        let more = lost(3, &["docker.io/library/app:latest", "base"]);
        assert!(more[0].contains("3 layers: they are made or fetched again"), "{more:?}");
        assert_eq!(
            more[1],
            "the image `app:latest` has lost a layer by that: build or pull it again"
        );
        assert_eq!(more.len(), 3);
    }
}
