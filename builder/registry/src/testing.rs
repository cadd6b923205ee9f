//! A server that answers as a test wants, and a clock that waits for nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Semaphore;

use crate::retry::Clock;
use crate::{Client, Credential, Reference, Settings};

/// The stall that tests set; it ends when a server holds an answer back.
pub(crate) const STALL: Duration = Duration::from_secs(12_345);

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What to answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    sent: Option<usize>,
    held: bool,
    unmeasured: bool,
    silent: bool,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Does not say how long the body is, and closes after it.
    pub(crate) fn unmeasured(mut self) -> Self {
        self.unmeasured = true;
        self.sent = Some(self.body.len());
        self
    }

    /// Sends nothing at all, and closes.
    pub(crate) fn broken(mut self) -> Self {
        self.silent = true;
        self.cut(0)
    }

    /// Sends only the first bytes of the body, and closes.
    pub(crate) fn cut(mut self, sent: usize) -> Self {
        self.sent = Some(sent);
        self
    }

    /// Sends only the first bytes of the body, and keeps the connection open.
    pub(crate) fn held(mut self, sent: usize) -> Self {
        self.held = true;
        self.cut(sent)
    }

    fn write(&self, stream: &mut impl Write, head_only: bool) -> std::io::Result<()> {
        if self.silent {
            return Ok(());
        }
        let mut to = Vec::new();
        write!(to, "HTTP/1.1 {} X\r\n", self.status)?;
        if !self.unmeasured {
            write!(to, "Content-Length: {}\r\n", self.body.len())?;
        }
        for (name, value) in &self.headers {
            write!(to, "{name}: {value}\r\n")?;
        }
        to.write_all(b"\r\n")?;
        if !head_only {
            to.write_all(&self.body[..self.sent.unwrap_or(self.body.len())])?;
        }
        stream.write_all(&to)?;
        stream.flush()
    }
}

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}
type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// What the threads of a server share.
struct Shared {
    handler: Box<Handler>,
    log: Mutex<Vec<Request>>,
    kept: Mutex<Vec<Box<dyn Connection>>>,
    holds: Arc<Semaphore>,
    tls: Option<Arc<rustls::ServerConfig>>,
    ended: AtomicBool,
}

/// An http server on a free port of this machine.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(Box::new(handler), None)
    }

    pub(crate) fn start_tls(
        tls: Arc<rustls::ServerConfig>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Box::new(handler), Some(tls))
    }

    fn listen(handler: Box<Handler>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler,
            log: Mutex::default(),
            kept: Mutex::default(),
            holds: Arc::new(Semaphore::new(0)),
            tls,
            ended: AtomicBool::new(false),
        });
        let seen = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.ended.load(Ordering::Relaxed) {
                    break;
                }
                let (seen, stream) = (seen.clone(), stream.unwrap());
                std::thread::spawn(move || seen.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// The server as a registry's name.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    /// The same server by another name of this machine.
    pub(crate) fn other_name(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.name()).parse().unwrap()
    }

    /// What was asked, without the probe for plain http.
    pub(crate) fn log(&self) -> Vec<Request> {
        let log = self.shared.log.lock().unwrap().clone();
        log.into_iter().skip_while(|request| request.path == "/v2/").collect()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.log().iter().map(Request::line).collect()
    }

    /// What was asked, all of it.
    pub(crate) fn all_lines(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().iter().map(Request::line).collect()
    }

    /// A client for this server that tells its pauses.
    pub(crate) fn client(&self, settings: Settings) -> (Client, Pauses) {
        let pauses = Pauses::default();
        let settings = Settings { stall: STALL, ..settings };
        (Client::with_clock(settings, pauses.clock(&self.shared.holds)), pauses)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        self.shared.kept.lock().unwrap().clear();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let connection: Box<dyn Connection> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let session = rustls::ServerConnection::new(tls.clone()).unwrap();
                Box::new(rustls::StreamOwned::new(session, stream))
            }
        };
        let mut connection = BufReader::new(connection);
        while let Some(request) = read(&mut connection) {
            let reply = (self.handler)(&request);
            let head_only = request.method == "HEAD";
            self.log.lock().unwrap().push(request);
            if reply.write(connection.get_mut(), head_only).is_err() {
                return;
            }
            if reply.held {
                self.kept.lock().unwrap().push(connection.into_inner());
                self.holds.add_permits(1);
                return;
            }
            if reply.sent.is_some() {
                return;
            }
        }
    }
}

fn read(from: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|&length| length > 0)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let mut first = lines.first()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: BTreeMap<_, _> = lines[1..].iter().filter_map(header).collect();
    let body = match headers.get("content-length") {
        None if headers.contains_key("transfer-encoding") => read_chunks(from)?,
        length => {
            let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
            from.read_exact(&mut body).ok()?;
            body
        }
    };
    Some(Request { method, path, headers, body })
}

fn read_chunks(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let length = u64::from_str_radix(line.trim(), 16).ok()?;
        from.by_ref().take(length).read_to_end(&mut body).ok()?;
        from.read_line(&mut line).ok()?;
        if length == 0 {
            return Some(body);
        }
    }
}

/// The pauses that a client made between tries. They take no time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pauses(Arc<Mutex<Vec<Duration>>>);

impl Pauses {
    pub(crate) fn made(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }

    fn clock(&self, holds: &Arc<Semaphore>) -> Clock {
        let (pauses, holds) = (self.0.clone(), holds.clone());
        Clock::new(move |time| {
            // Uploads are given more time than one stall.
            if time == STALL || time == STALL * 5 {
                let holds = holds.clone();
                return async move { holds.acquire().await.unwrap().forget() }.boxed();
            }
            pauses.lock().unwrap().push(time);
            futures::future::ready(()).boxed()
        })
    }
}

/// Settings with one user, whoever asks.
pub(crate) fn as_user(name: &'static str, password: &'static str) -> Settings {
    let credential = Credential::password(name, password, "the test");
    Settings { credentials: Arc::new(move |_| Some(credential.clone())), ..Settings::default() }
}
