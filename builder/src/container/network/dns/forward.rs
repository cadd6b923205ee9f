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

/// The answer of the first server that gives one. One that cannot or does not want to say is
/// believed only when no other knows more.
pub(super) fn ask(question: &[u8], servers: &[SocketAddr], way: Way) -> Option<Vec<u8>> {
    const FAILED: u8 = 2;
    const REFUSED: u8 = 5;
    let mut last = None;
    for server in servers {
        let answered = match way {
            Way::Udp => by_packet(question, *server),
            Way::Tcp => by_connection(question, *server),
        };
        match answered {
            Ok(answer) if ![FAILED, REFUSED].contains(&(answer[3] & 0xf)) => return Some(answer),
            Ok(answer) => last = Some(answer),
            Err(_) => {}
        }
    }
    last
}

/// Whether a message answers a question: by its number, and by what it repeats.
fn answers(message: &[u8], question: &[u8]) -> bool {
    const HEADER: usize = 12;
    let asked = |message: &[u8]| {
        let is_end = |byte: &u8| *byte == 0;
        let name = message.get(HEADER..)?.split_inclusive(is_end).next()?.to_ascii_lowercase();
        Some([&name, message.get(HEADER + name.len()..)?.get(..4)?].concat())
    };
    let is_answer = message.len() >= HEADER && message[2] & 0x80 != 0;
    // A server that understood nothing repeats nothing.
    let repeats = || message[4..6] == [0; 2] || asked(message) == asked(question);
    is_answer && message[..2] == question[..2] && repeats()
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
        if answers(&answer[..length], question) {
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
    let answer = read_message(&stream)?;
    if answers(&answer, question) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02ab\0\0\x01\0\x01";

    /// The question as a server answers it, with a code.
    fn answer(code: u8) -> Vec<u8> {
        let mut answer = QUESTION.to_vec();
        (answer[2], answer[3]) = (0x81, 0x80 | code);
        answer
    }

    fn server(answers: Vec<Vec<u8>>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let (_, from) = socket.recv_from(&mut [0; 512]).unwrap();
            for answer in &answers {
                let _ = socket.send_to(answer, from);
            }
        });
        address
    }

    #[test]
    fn a_server_that_fails_is_believed_last() {
        let ask = |codes: &[u8]| {
            let servers: Vec<_> = codes.iter().map(|code| server(vec![answer(*code)])).collect();
            super::ask(QUESTION, &servers, Way::Udp).map(|answer| answer[3] & 0xf)
        };
        assert_eq!(ask(&[2, 5, 0]), Some(0));
        assert_eq!(ask(&[3, 0]), Some(3), "that there is none is an answer");
        assert_eq!(ask(&[2, 5]), Some(5));
        assert_eq!(ask(&[]), None);
    }

    #[test]
    fn what_answers_another_question_is_no_answer() {
        let other = |place: usize, byte: u8| {
            let mut answer = answer(3);
            answer[place] = byte;
            answer
        };
        let wrong =
            vec![other(0, 9), other(13, b'x'), other(2, 1), other(17, 28), vec![0x12, 0x34]];
        let mut right = answer(0);
        right[13] = b'A';
        let address = server([wrong, vec![right]].concat());
        assert_eq!(super::ask(QUESTION, &[address], Way::Udp).unwrap()[3], 0x80);
    }

    #[test]
    fn over_a_connection_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            assert_eq!(read_message(&stream).unwrap(), QUESTION);
            write_message(&stream, &answer(3)).unwrap();
        });
        assert_eq!(super::ask(QUESTION, &[address], Way::Tcp).unwrap()[3], 0x83);
        assert_eq!(super::ask(QUESTION, &[address], Way::Tcp), None, "nobody is there any more");
    }
}
