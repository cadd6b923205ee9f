//! A proxy: what comes to a port of the host by TCP goes on to a container. It serves what the
//! kernel cannot redirect, which is what comes by IPv6 to a container without it, or from `::1`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::Timespec;

use super::room::{REST, Room};

/// The connections of all proxies of this process, at two files each; more of them wait.
static ROOM: LazyLock<Room> = LazyLock::new(|| Room::part(4, 512));
const BUFFER: usize = 32 << 10;
/// How long a container may take to answer a call.
const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy at work; dropped it ends, and its connections with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Its end tells the threads to end.
    stop: Option<OwnedFd>,
}

#[derive(Debug)]
struct Shared {
    to: RwLock<SocketAddr>,
    stopped: OwnedFd,
    room: &'static Room,
}

impl Proxy {
    /// Starts to pass on what comes to a port.
    pub(crate) fn start(listener: TcpListener, to: SocketAddr) -> io::Result<Self> {
        Self::start_in(&ROOM, listener, to)
    }

    fn start_in(room: &'static Room, listener: TcpListener, to: SocketAddr) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let to = RwLock::new(to);
        let shared = Arc::new(Shared { to, stopped, room });
        let serving = Arc::clone(&shared);
        let serve = move || serve(&listener, &serving);
        let thread = Builder::new().name("proxy".to_owned()).spawn(serve)?;
        Ok(Self { shared, thread: Some(thread), stop: Some(stop) })
    }

    /// Passes on to another address from now on.
    pub(crate) fn aim(&self, to: SocketAddr) {
        if let Ok(mut aimed) = self.shared.to.write() {
            *aimed = to;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The port is free once this is done; the connections see the same end.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Takes calls until it is stopped.
fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    while waits(listener, shared) {
        let Some(place) = shared.room.enter() else {
            rest(shared);
            continue;
        };
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) => {
                // Whoever called may have gone again; anything else, such as that too many files
                // are open, is as it was when asked again at once.
                if error.kind() != io::ErrorKind::WouldBlock {
                    rest(shared);
                }
                continue;
            }
        };
        let to = shared.to.read().ok().map(|to| *to);
        let shared = Arc::clone(shared);
        let work = move || {
            if let Some(to) = to {
                let _ = pass_on(&client, to, &shared);
            }
            drop(client);
            drop(place);
        };
        // Without a thread both are dropped at once.
        let _ = Builder::new().name("connection".to_owned()).spawn(work);
    }
}

/// Waits for something to come; false once all is to end.
fn waits(from: &impl std::os::fd::AsFd, shared: &Shared) -> bool {
    loop {
        let mut fds =
            [PollFd::new(from, PollFlags::IN), PollFd::new(&shared.stopped, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return fds[1].revents().is_empty(),
        }
    }
}

/// Lets nobody in for a while, unless all is to end.
fn rest(shared: &Shared) {
    let mut stopped = [PollFd::new(&shared.stopped, PollFlags::IN)];
    let _ = poll(&mut stopped, Timespec::try_from(REST).ok().as_ref());
}

/// One connection, both ways, until both have ended.
fn pass_on(client: &TcpStream, to: SocketAddr, shared: &Shared) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let server = TcpStream::connect_timeout(&to, PATIENCE)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    std::thread::scope(|scope| {
        let answering = || pump(&server, client, shared);
        let answers = Builder::new().name("answers".to_owned()).spawn_scoped(scope, answering)?;
        pump(client, &server, shared);
        drop(answers.join());
        Ok(())
    })
}

/// Passes on what comes from one side, to its end, which the other side is told.
fn pump(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared) {
    let mut buffer = vec![0; BUFFER];
    while waits(from, shared) {
        match from.read(&mut buffer) {
            Ok(length) if length > 0 && to.write_all(&buffer[..length]).is_ok() => {}
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            _ => break,
        }
    }
    // Nothing that one side sends reaches the other any more.
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn what_comes_in_goes_on_both_ways_and_ends_with_the_proxy() {
        let inside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let outside = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let address = outside.local_addr().unwrap();
        let proxy = Proxy::start(outside, inside.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, _) = inside.accept().unwrap();
        let much = vec![7; 1 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                client.write_all(&much).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, much);
        });
        // The other half is still open.
        server.write_all(b"well").unwrap();
        drop(server);
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "well");

        let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        proxy.aim(elsewhere.local_addr().unwrap());
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, _) = elsewhere.accept().unwrap();
        drop(proxy);
        let ended = |stream: &mut TcpStream| !matches!(stream.read(&mut [0]), Ok(1..));
        assert!(ended(&mut client) && ended(&mut server));
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn who_finds_no_room_waits_until_another_leaves() {
        static ONE: Room = Room::new(1);
        let inside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let outside = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let address = outside.local_addr().unwrap();
        let _proxy = Proxy::start_in(&ONE, outside, inside.local_addr().unwrap()).unwrap();
        let first = TcpStream::connect(address).unwrap();
        let (mut serving, _) = inside.accept().unwrap();
        let mut second = TcpStream::connect(address).unwrap();
        second.write_all(b"second").unwrap();
        assert!(ONE.is_full());
        inside.set_nonblocking(true).unwrap();
        assert_eq!(inside.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        inside.set_nonblocking(false).unwrap();
        drop(first);
        assert_eq!(serving.read(&mut [0]).unwrap(), 0);
        drop(serving);
        let (mut serving, _) = inside.accept().unwrap();
        let mut heard = [0; 6];
        serving.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"second");
    }

    #[test]
    fn a_container_that_does_not_answer_ends_the_call() {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = gone.local_addr().unwrap();
        drop(gone);
        let outside = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let address = outside.local_addr().unwrap();
        let _proxy = Proxy::start(outside, to).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    }
}
