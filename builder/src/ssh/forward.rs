//! The socket that a step finds, and the threads that pass on what it says.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use rbuild_cache::{StagedLayer, Store};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::message::Message;

/// Connections that one step may have at once.
const MOST: usize = 64;
const NAME: &str = "agent";

/// A socket that speaks for an agent as long as this lives.
#[derive(Debug)]
pub(crate) struct Forward {
    folder: StagedLayer,
    /// Closed to end the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Forward {
    /// Makes a socket with these permission bits and this owner, and passes on to `agent`.
    pub(crate) fn start(
        store: &Store,
        agent: PathBuf,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> io::Result<Self> {
        let folder = store.stage().map_err(io::Error::other)?;
        let closed = folder.files().join(NAME);
        // Whoever the socket belongs to inside shall not come to it on the host.
        DirBuilder::new().mode(0o700).create(&closed)?;
        let socket = closed.join(NAME);
        let listener = listen(&closed)?;
        fs::set_permissions(&socket, Permissions::from_mode(mode & 0o7777))?;
        chown(&socket, Some(uid), Some(gid))?;
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let thread = thread::Builder::new()
            .name("ssh agent".to_owned())
            .spawn(move || accept(&listener, &stopped, &agent))?;
        Ok(Self { folder, stop: Some(stop), thread: Some(thread) })
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.files().join(NAME).join(NAME)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread that spoke for an SSH agent has panicked");
        }
    }
}

/// Listens in a folder of any depth: the kernel bounds the path of a socket, not that of a folder.
fn listen(folder: &Path) -> io::Result<UnixListener> {
    let folder = fs::File::open(folder)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves every connection on a thread of its own, until `stopped` is closed at its other end.
fn accept(listener: &UnixListener, stopped: &OwnedFd, agent: &Path) {
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        let mut events =
            [PollFd::new(listener, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut events, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return tracing::warn!(%error, "cannot wait for clients of an SSH agent"),
            Ok(_) if !events[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        let Ok((client, _)) = listener.accept() else {
            continue;
        };
        if connections.fetch_add(1, Ordering::Relaxed) >= MOST {
            connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (agent, open) = (agent.to_owned(), connections.clone());
        let served = thread::Builder::new().spawn(move || {
            if let Err(error) = serve(client, &agent) {
                tracing::debug!(%error, "a connection to an SSH agent has ended");
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
        if served.is_err() {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Answers one client until it goes.
fn serve(mut client: UnixStream, agent: &Path) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let mut agent = UnixStream::connect(agent)?;
    while let Some(request) = Message::read(&mut client)? {
        let answer = if request.is_allowed() {
            request.write(&mut agent)?;
            Message::read(&mut agent)?.ok_or(io::ErrorKind::UnexpectedEof)?
        } else {
            Message::failure()
        };
        answer.write(&mut client)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// An agent that answers each request with its own bytes.
    fn echo(folder: &Path) -> PathBuf {
        let path = folder.join("echo");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            while let Ok((mut client, _)) = listener.accept() {
                thread::spawn(move || {
                    while let Ok(Some(request)) = Message::read(&mut client) {
                        request.write(&mut client).unwrap();
                    }
                });
            }
        });
        path
    }

    fn ask(client: &mut UnixStream, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        io::Write::write_all(client, &[&length.to_be_bytes(), bytes].concat()).unwrap();
        let mut answer = Vec::new();
        Message::read(client).unwrap().unwrap().write(&mut answer).unwrap();
        answer.split_off(4)
    }

    #[test]
    fn a_client_may_list_and_sign_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::temporary().unwrap();
        let forward = Forward::start(&store, echo(home.path()), 0o741, (0, 0)).unwrap();
        assert_eq!(fs::metadata(forward.socket()).unwrap().mode() & 0o7777, 0o741);
        let mut client = UnixStream::connect(forward.socket()).unwrap();
        let mut other = UnixStream::connect(forward.socket()).unwrap();
        assert_eq!(ask(&mut client, &[11]), [11]);
        assert_eq!(ask(&mut other, &[13, 1, 2, 3]), [13, 1, 2, 3]);
        // Add a key, remove all, unlock, an extension.
        for kind in [17, 19, 23, 27] {
            assert_eq!(ask(&mut client, &[kind, 0]), [5], "{kind}");
        }
        assert_eq!(ask(&mut client, &[11]), [11]);
        let socket = forward.socket();
        drop(forward);
        assert!(!socket.exists());
    }

    #[test]
    fn a_client_without_an_agent_is_turned_away() {
        let store = Store::temporary().unwrap();
        let nobody = store.root().join("nobody");
        let forward = Forward::start(&store, nobody, 0o600, (0, 0)).unwrap();
        let mut client = UnixStream::connect(forward.socket()).unwrap();
        assert!(matches!(Message::read(&mut client), Ok(None) | Err(_)));
    }
}
