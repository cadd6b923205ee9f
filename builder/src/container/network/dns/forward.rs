//! Asking other name servers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(4);
const LONGEST: usize = 64 << 10;

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In one packet.
    Udp,
    /// Over a connection, for long answers.
    Tcp,
}

/// The answer of the first server that gives one.
pub(super) fn ask(question: &[u8], servers: &[SocketAddr], way: Way) -> Option<Vec<u8>> {
    servers.iter().find_map(|server| match way {
        Way::Udp => by_packet(question, *server).ok(),
        Way::Tcp => by_connection(question, *server).ok(),
    })
}

fn by_packet(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.send(question)?;
    let until = Instant::now() + PATIENCE;
    let mut answer = vec![0; LONGEST];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut answer)?;
        // What answers another question came too late for that one.
        if length >= 12 && answer[..2] == question[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

fn by_connection(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_message(&stream, question)?;
    read_message(&stream)
}

/// Reads a message with its length before it.
pub(super) fn read_message(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Writes a message with its length before it.
pub(super) fn write_message(mut stream: &TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat())
}
