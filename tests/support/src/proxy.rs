//! A proxy that leads every CONNECT to one server, whatever name it is asked for.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::http::{Port, Server};

/// A proxy that runs as long as this lives.
#[derive(Debug)]
pub struct Proxy {
    server: Server,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy in front of the server at this address (`host:port`).
    pub fn to(address: &str) -> Self {
        let to: SocketAddr = address.parse().expect("it is an address");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = asked.clone();
        let server = Port::open().serve(move |stream| lead(stream, to, &seen));
        Self { server, asked }
    }

    /// Where it is, as `HTTPS_PROXY` has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// What it was asked for, as `host:port`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn lead(client: TcpStream, to: SocketAddr, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut from = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    from.read_line(&mut line)?;
    let name = line.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let Some(name) = name else { return Ok(()) };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
    while from.read_line(&mut line)? > 2 {}
    (&client).write_all(b"HTTP/1.1 200 -\r\n\r\n")?;
    let server = TcpStream::connect(to)?;
    let (mut back, mut out) = (server.try_clone()?, client);
    let answers = thread::spawn(move || copy(&mut back, &mut out));
    let sent = copy(&mut from, &mut &server);
    server.shutdown(std::net::Shutdown::Write)?;
    drop(answers.join());
    sent.map(drop)
}
