//! As much of HTTP/1.1 as a registry and a server of files need.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A port of loopback that is open.
#[derive(Debug)]
pub(crate) struct Port {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Port {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a listener has an address");
        Self { listener, address }
    }

    /// Serves each connection in a thread of its own.
    pub(crate) fn serve(
        self,
        serve: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static,
    ) -> Server {
        let ended = Arc::new(AtomicBool::new(false));
        let (server, serve) =
            (Server { address: self.address, ended: ended.clone() }, Arc::new(serve));
        thread::spawn(move || {
            for stream in self.listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let serve = serve.clone();
                // A client that goes away in the middle is its own affair.
                thread::spawn(move || drop(serve(stream)));
            }
        });
        server
    }
}

/// A server that runs as long as this lives.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// A request as it came in.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// What stands behind the question mark.
    pub(crate) query: BTreeMap<String, String>,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Reads the next request of a connection; `None` when there is none.
    pub(crate) fn read(from: &mut impl BufRead) -> Result<Option<Self>> {
        let Some(mut request) = Self::read_head(from)? else {
            return Ok(None);
        };
        request.read_body(from, u64::MAX)?;
        Ok(Some(request))
    }

    /// The same without its body.
    pub(crate) fn read_head(from: &mut impl BufRead) -> Result<Option<Self>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), pairs(query));
        let headers = read_headers(from)?;
        Ok(Some(Self { method, path, query, headers, body: Vec::new() }))
    }

    /// Reads the body, or the first bytes of it.
    pub(crate) fn read_body(&mut self, from: &mut impl BufRead, most: u64) -> Result<()> {
        self.body = read_body(from, &self.headers, most)?;
        Ok(())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn asks(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

fn read_headers(from: &mut impl BufRead) -> Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(headers);
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

fn read_body(
    from: &mut impl BufRead,
    headers: &BTreeMap<String, String>,
    most: u64,
) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        from.take(most.min(length.parse().unwrap_or(0))).read_to_end(&mut body)?;
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        while (body.len() as u64) < most {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
            from.by_ref().take(length).read_to_end(&mut body)?;
            line.clear();
            from.read_line(&mut line)?;
            if length == 0 {
                break;
            }
        }
    }
    Ok(body)
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        // What is said more than once is one value, with blanks.
        let all: &mut String = pairs.entry(decode(name)).or_default();
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(&decode(value));
    }
    pairs
}

/// Undoes percent encoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let coded = (first == b'%').then(|| tail.get(..2)).flatten();
        let coded = coded.and_then(|digits| std::str::from_utf8(digits).ok());
        let coded = coded.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(coded.unwrap_or(first));
        rest = if coded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What to answer.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Send half of the body, and no more until the other side closes.
    pub(crate) held: bool,
    /// Send so many bytes of the body, and end the connection.
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn write(&self, to: &mut (impl Read + Write), head_only: bool) -> Result<()> {
        let mut head = Vec::new();
        write!(head, "HTTP/1.1 {} -\r\n", self.status)?;
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        write!(head, "Content-Length: {}\r\n\r\n", self.body.len())?;
        to.write_all(&head)?;
        if let Some(length) = self.cut {
            to.write_all(&self.body[..length])?;
            to.flush()?;
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        if self.held {
            to.write_all(&self.body[..self.body.len() / 2])?;
            to.flush()?;
            // It ends when the other side is gone.
            let _ = to.read(&mut [0])?;
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        if !head_only {
            to.write_all(&self.body)?;
        }
        to.flush()
    }
}
