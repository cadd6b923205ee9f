//! The name server of a container, at 127.0.0.11 in its own network namespace.
//!
//! It is part of the container's monitor. Names of containers in the same networks are read from
//! the store at each question; everything else is asked of the host's servers, from the host's
//! network. It listens at ports that nobody minds, to which the container's own table of nftables
//! redirects port 53, so that a name server can be what the container is for. Its sockets keep the
//! namespace alive, so they go when the container does.

mod forward;
mod message;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, RwLock, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rbuild_cache::Store;
use rbuild_runtime::network::{Chain, Family, Hook, Match, Rule, Table, Verdict};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::Timespec;

use super::definition::{self, Definition};
use super::members::{self, Endpoint};
use super::ports::Protocol;
use super::room::{REST, Room};
use crate::container::error::{Error, Result};
use forward::Way;
use message::{Kind, Question};

/// Where a container finds its name server, as with docker.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
/// The longest message over UDP.
const LONGEST: usize = 4096;
/// Questions that wait for other servers at once; more get no answer, and are asked again.
static WAITING: LazyLock<Room> = LazyLock::new(|| Room::part(8, 256));
/// How long a client may take for its question over TCP.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sockets of a server, in a container's network.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Opens them in this thread's network.
    pub(crate) fn open() -> Result<Self> {
        let bind = || -> io::Result<Self> {
            let (udp, tcp) = (UdpSocket::bind((ADDRESS, 0))?, TcpListener::bind((ADDRESS, 0))?);
            // What is found to be there may be gone when it is taken.
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok(Self { udp, tcp })
        };
        let sockets = bind().map_err(Error::system("open the name server's sockets"))?;
        sockets.redirect()?;
        Ok(sockets)
    }

    fn redirect(&self) -> Result<()> {
        let rule = |protocol: Protocol, to: io::Result<SocketAddr>| {
            let to = to.map_err(Error::system("find the name server's port"))?;
            let matches =
                vec![Match::Destination(ADDRESS.into(), 32), Match::Port(protocol.number(), PORT)];
            let verdict = Verdict::Redirect(SocketAddrV4::new(ADDRESS, to.port()).into());
            Ok::<_, Error>(Rule { matches, verdict })
        };
        let rules = vec![
            rule(Protocol::Udp, self.udp.local_addr())?,
            rule(Protocol::Tcp, self.tcp.local_addr())?,
        ];
        let chains = vec![Chain { name: "names", hook: Some(Hook::Outgoing), rules }];
        Table { family: Family::V4, name: "rbuild".to_owned(), chains }
            .install_new()
            .map_err(Error::network)
    }
}

/// What a server knows.
#[derive(Debug)]
pub(crate) struct Knowledge {
    pub(crate) store: Store,
    /// The networks of the container, by name.
    pub(crate) networks: Vec<String>,
    /// The servers that know the rest; none where nothing outside may be reached.
    pub(crate) servers: Vec<SocketAddr>,
}

/// A server at work; dropped it ends, and its sockets with it.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Its end tells the thread to end.
    stop: Option<OwnedFd>,
}

#[derive(Debug)]
struct Shared {
    knowledge: RwLock<Knowledge>,
}

impl Server {
    /// Starts to answer.
    pub(crate) fn start(sockets: Sockets, knowledge: Knowledge) -> Result<Self> {
        let shared = Arc::new(Shared { knowledge: RwLock::new(knowledge) });
        let pipe = pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"))?;
        let (stopped, stop) = pipe;
        let server = Arc::clone(&shared);
        let serve = move || serve(&sockets.tcp, &Arc::new(sockets.udp), &stopped, &server);
        let thread = Builder::new().name("names".to_owned()).spawn(serve);
        let thread = thread.map_err(Error::system("start a thread"))?;
        Ok(Self { shared, thread: Some(thread), stop: Some(stop) })
    }

    /// Tells it which networks the container is in now, and which servers know the rest.
    pub(crate) fn learn(&self, networks: Vec<String>, servers: Vec<SocketAddr>) {
        if let Ok(mut knowledge) = self.shared.knowledge.write() {
            knowledge.networks = networks;
            knowledge.servers = servers;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Answers until the other end of `stopped` is closed.
fn serve(tcp: &TcpListener, udp: &Arc<UdpSocket>, stopped: &OwnedFd, shared: &Arc<Shared>) {
    let mut bytes = vec![0; LONGEST];
    let rest = Timespec::try_from(REST).ok();
    // Whether nobody is let in by TCP for a while.
    let mut rests = false;
    loop {
        let mut fds = [
            PollFd::new(udp, PollFlags::IN),
            PollFd::new(tcp, if rests { PollFlags::empty() } else { PollFlags::IN }),
            PollFd::new(stopped, PollFlags::IN),
        ];
        if poll(&mut fds, rest.as_ref().filter(|_| rests))
            .is_err_and(|error| error != rustix::io::Errno::INTR)
        {
            return;
        }
        let [asked, called, ended] = fds.map(|fd| !fd.revents().is_empty());
        if ended {
            return;
        }
        if asked && let Ok((length, from)) = udp.recv_from(&mut bytes) {
            let socket = Arc::downgrade(udp);
            let reply = move |answer: &[u8]| send(&socket, answer, from);
            answer(&bytes[..length], shared, reply);
        }
        rests = false;
        if called {
            match tcp.accept() {
                Ok((stream, _)) => {
                    let shared = Arc::clone(shared);
                    aside(move || drop(converse(&stream, &shared)));
                }
                // Asked again at once, it would be as it is: too many files are open.
                Err(error) => rests = error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}

fn send(socket: &Weak<UdpSocket>, answer: &[u8], to: SocketAddr) {
    // A container that has ended meanwhile needs no answer, and its socket must not live on.
    if let Some(socket) = socket.upgrade() {
        let _ = socket.send_to(answer, to);
    }
}

/// One client over TCP: questions and answers, each with its length before it.
fn converse(stream: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Until the client has no more of them.
    loop {
        let question = forward::read_message(stream)?;
        let answer = match local_answer(&question, Way::Tcp, shared) {
            Local::Known(answer) => Some(answer),
            Local::Elsewhere(servers) => elsewhere(&question, &servers, Way::Tcp),
            Local::Nonsense => None,
        };
        match answer {
            Some(answer) => forward::write_message(stream, &answer)?,
            None => return Ok(()),
        }
    }
}

/// What others say, or that they say nothing.
fn elsewhere(message: &[u8], servers: &[SocketAddr], way: Way) -> Option<Vec<u8>> {
    let failure = || Question::read(message, way).map(|question| question.failure());
    forward::ask(message, servers, way).or_else(failure)
}

/// Answers at once what is known here, and the rest in a thread of its own.
fn answer(message: &[u8], shared: &Arc<Shared>, reply: impl FnOnce(&[u8]) + Send + 'static) {
    match local_answer(message, Way::Udp, shared) {
        Local::Known(answer) => reply(&answer),
        Local::Nonsense => {}
        Local::Elsewhere(servers) => {
            let message = message.to_owned();
            aside(move || {
                if let Some(answer) = elsewhere(&message, &servers, Way::Udp) {
                    reply(&answer);
                }
            });
        }
    }
}

/// Does something in a thread of its own, unless too many are at it.
fn aside(work: impl FnOnce() + Send + 'static) {
    let Some(place) = WAITING.enter() else {
        return;
    };
    // Without a thread both are dropped at once.
    let _ = Builder::new().name("question".to_owned()).spawn(move || {
        work();
        drop(place);
    });
}

/// What can be said of a question without asking others.
enum Local {
    Known(Vec<u8>),
    Elsewhere(Vec<SocketAddr>),
    Nonsense,
}

fn local_answer(message: &[u8], way: Way, shared: &Shared) -> Local {
    let Some(question) = Question::read(message, way) else {
        return Local::Nonsense;
    };
    let Ok(knowledge) = shared.knowledge.read() else {
        return Local::Nonsense;
    };
    let known = match question.kind {
        Kind::Pointer => knowledge.pointed_at(&question),
        // Nobody outside is to know what containers are called, or says that they are not there.
        Kind::Address | Kind::LongAddress | Kind::Other => {
            knowledge.places(&question.name).map(|mut places| {
                // Of several with one name each is the first now and then.
                let turn = usize::from(question.id()) % places.len();
                places.rotate_left(turn);
                let long = |place: &Endpoint| place.ipv6.map(|place| IpAddr::V6(place.address));
                let both = |place: &Endpoint| [Some(place.address.into()), long(place)];
                question.addresses(places.iter().flat_map(both).flatten())
            })
        }
        Kind::Elsewhere => Some(question.not_understood()),
    };
    match known {
        Some(answer) => Local::Known(answer),
        None if knowledge.servers.is_empty() => Local::Known(question.no_such_name()),
        None => Local::Elsewhere(knowledge.servers.clone()),
    }
}

impl Knowledge {
    fn definitions(&self) -> impl Iterator<Item = Definition> {
        self.networks.iter().filter_map(|name| definition::find(&self.store, name).ok())
    }

    /// The places of those who have a name, also with their network's name after it.
    fn places(&self, name: &str) -> Option<Vec<Endpoint>> {
        self.definitions().find_map(|network| {
            let bare = name.strip_suffix(&format!(".{}", network.name));
            [Some(name), bare].into_iter().flatten().find_map(|name| {
                let found = members::called(&self.store, &network, name).unwrap_or_default();
                (!found.is_empty()).then_some(found)
            })
        })
    }

    /// The name of who has an address. One of the networks' own that nobody has is nobody's
    /// outside either.
    fn pointed_at(&self, question: &Question<'_>) -> Option<Vec<u8>> {
        let address = question.address()?;
        let name = self.definitions().find_map(|network| {
            let name = members::name_of(&self.store, &network, address).ok()??;
            Some(format!("{name}.{}", network.name))
        });
        let is_own = || self.definitions().any(|network| network.has(address));
        let none = || is_own().then(|| question.no_such_name());
        name.map(|name| question.pointer(&name)).or_else(none)
    }
}
