//! A registry in this process, on a port of loopback: the distribution protocol with pull and push,
//! and a token server where it wants logins. It has the base image from the start.

mod content;
mod fault;

use std::collections::HashSet;
use std::io::BufReader;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use content::Content;
pub use fault::Fault;
use fault::Faults;

use crate::http::{Port, Reply, Request, Server};
use crate::tls::{Authority, Connection, Identity};

/// A registry that runs as long as this lives.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    login: Login,
    authority: Option<Authority>,
    content: Mutex<Content>,
    /// The tokens given out: token, repository, action.
    tokens: Mutex<HashSet<(String, String, String)>>,
    /// How many were given out.
    given: AtomicUsize,
    log: Mutex<Vec<String>>,
    holds: AtomicBool,
    lends: AtomicBool,
    /// The bytes of blobs that were sent, and the answers that were held.
    sent: AtomicUsize,
    held: AtomicUsize,
    faults: Faults,
}

/// Who is let in.
#[derive(Debug)]
enum Login {
    Everybody,
    /// This user, with a password.
    Basic(String, String),
    /// This user, with a token that the password gets.
    Token(String, String),
}

impl Registry {
    /// A registry that lets everybody do everything.
    pub fn start() -> Self {
        Self::listen(Login::Everybody, None)
    }

    /// A registry that wants a token for everything, and whose token server knows one user.
    pub fn with_login(user: &str, password: &str) -> Self {
        Self::listen(Login::Token(user.to_owned(), password.to_owned()), None)
    }

    /// A registry with TLS that knows one user by a password.
    pub fn secure(user: &str, password: &str) -> Self {
        let login = Login::Basic(user.to_owned(), password.to_owned());
        Self::listen(login, Some(Authority::new(false)))
    }

    /// A registry with TLS that lets everybody in who shows a certificate.
    pub fn with_certificates() -> Self {
        Self::listen(Login::Everybody, Some(Authority::new(true)))
    }

    fn listen(login: Login, authority: Option<Authority>) -> Self {
        let port = Port::open();
        let shared = Arc::new(Shared {
            address: port.address,
            login,
            authority,
            content: Mutex::new(Content::with_base()),
            tokens: Mutex::default(),
            given: AtomicUsize::new(0),
            log: Mutex::default(),
            holds: AtomicBool::new(false),
            lends: AtomicBool::new(true),
            sent: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            faults: Faults::default(),
        });
        let served = shared.clone();
        let server = port.serve(move |stream| serve(&served, stream));
        Self { server, shared }
    }

    /// The certificate of the authority that vouches for it, in PEM.
    pub fn authority(&self) -> Option<&str> {
        self.shared.authority.as_ref().map(|authority| authority.certificate.as_str())
    }

    /// A certificate that it lets in.
    pub fn client(&self) -> Option<Identity> {
        self.shared.authority.as_ref().map(|authority| authority.client.clone())
    }

    /// From now on the next so many requests of these methods (`GET`, `PATCH|PUT`) whose path has
    /// this part meet a fault.
    pub fn fails(&self, methods: &'static str, part: &str, fault: Fault, times: usize) {
        self.shared.faults.expect(methods, part, fault, times);
    }

    /// From now on nothing fails any more; how many requests met a fault.
    pub fn mends(&self) -> usize {
        self.shared.faults.end()
    }

    /// How many bytes of blobs it has sent so far.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// How many answers it has held back so far.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Takes a blob in.
    pub fn add_blob(&self, repository: &str, bytes: &[u8]) -> String {
        lock(&self.shared.content).add_blob(repository, bytes.to_owned())
    }

    /// Takes a manifest of this media type in, and gives it a tag.
    pub fn add_manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) {
        lock(&self.shared.content).add_manifest(repository, tag, kind, bytes);
    }

    /// What is not as it must be in it: manifests that name what is not there, and bytes of another
    /// digest.
    pub fn damage(&self) -> Vec<String> {
        lock(&self.shared.content).damage()
    }

    /// Host and port, as they stand in the name of an image.
    pub fn host(&self) -> String {
        self.server.address.to_string()
    }

    /// The requests so far, as method and path.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.log).clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        lock(&self.shared.log).clear();
    }

    /// From now on takes no blob over from another repository.
    pub fn lends_nothing(&self) {
        self.shared.lends.store(false, Ordering::Relaxed);
    }

    /// From now on gives half of each blob and then nothing, or all of it again.
    pub fn hold_blobs(&self, holds: bool) {
        self.shared.holds.store(holds, Ordering::Relaxed);
    }

    /// Has a blob no more, which its manifests still name.
    pub fn forget_blob(&self, repository: &str, name: &str) {
        lock(&self.shared.content).forget_blob(repository, name);
    }

    /// The bytes of a manifest, where there is one.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Vec<u8>> {
        lock(&self.shared.content).manifest(repository, reference).map(|(_, bytes)| bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    let tls = shared.authority.as_ref().map(|authority| authority.server.clone());
    let mut connection = BufReader::new(Connection::new(stream, tls));
    while let Some(mut request) = Request::read_head(&mut connection)? {
        lock(&shared.log).push(format!("{} {}", request.method, request.path));
        let fault = shared.faults.meet(&request);
        if !shared.lends.load(Ordering::Relaxed) {
            request.query.remove("mount");
        }
        let sends = matches!(request.method.as_str(), "PATCH" | "PUT");
        if let Some(fault @ (Fault::Truncated | Fault::Stalled | Fault::Reset)) = fault
            && sends
        {
            return break_upload(shared, request, &mut connection, fault);
        }
        request.read_body(&mut connection, u64::MAX)?;
        if let (Some(Fault::Corrupt), Some(byte)) = (fault, request.body.first_mut()) {
            *byte ^= 1;
        }
        let mut reply = match fault {
            Some(Fault::Status(status)) => Reply::new(status).with("Retry-After", "0"),
            Some(Fault::Expired) => shared.refuse(&request),
            _ => shared.answer(&request),
        };
        let is_blob = request.method == "GET" && request.path.contains("/blobs/");
        reply.held =
            fault == Some(Fault::Stalled) || is_blob && shared.holds.load(Ordering::Relaxed);
        let length = reply.body.len();
        reply.cut = match fault {
            Some(Fault::Truncated | Fault::Reset) => Some(length / 2),
            Some(Fault::Cut(thousandths)) => Some(length * thousandths / 1000),
            _ => None,
        };
        if is_blob {
            let sent = if reply.held { length / 2 } else { reply.cut.unwrap_or(length) };
            shared.sent.fetch_add(sent, Ordering::Relaxed);
            shared.held.fetch_add(usize::from(reply.held), Ordering::Relaxed);
        }
        if let (Some(Fault::Corrupt), false, Some(byte)) = (fault, sends, reply.body.last_mut()) {
            *byte ^= 1;
        }
        let written = reply.write(connection.get_mut(), request.method == "HEAD");
        if fault == Some(Fault::Reset) {
            tear_down(connection.get_ref())?;
        }
        written?;
    }
    Ok(())
}

/// Takes half of what is sent, and ends the connection.
fn break_upload(
    shared: &Shared,
    mut request: Request,
    connection: &mut BufReader<Connection>,
    fault: Fault,
) -> std::io::Result<()> {
    let length: u64 = request.header("content-length").parse().unwrap_or(64 << 10);
    request.read_body(connection, length / 2)?;
    lock(&shared.content).keep_part(&request);
    match fault {
        Fault::Stalled => {
            // Whatever else is sent is not taken; it ends when the other side is gone.
            let gone = rustix::event::PollFlags::RDHUP | rustix::event::PollFlags::HUP;
            let fd = rustix::event::PollFd::new(connection.get_ref(), gone);
            rustix::event::poll(&mut [fd], None)?;
            Ok(())
        }
        Fault::Reset => tear_down(connection.get_ref()),
        _ => Ok(()),
    }
}

/// Has the connection end with a reset.
fn tear_down(connection: &Connection) -> std::io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(connection, Some(Duration::ZERO))?)
}

impl Shared {
    fn answer(&self, request: &Request) -> Reply {
        if request.path == "/token" {
            return self.give_token(request);
        }
        let Some(rest) = request.path.strip_prefix("/v2/") else {
            return Reply::new(404);
        };
        if !self.may(request, rest) {
            return self.refuse(request);
        }
        lock(&self.content).answer(request, rest)
    }

    /// Asks for a login, and forgets the tokens that were given out.
    fn refuse(&self, request: &Request) -> Reply {
        let (repository, action) = wish(request);
        let challenge = match &self.login {
            Login::Everybody => return Reply::new(401),
            Login::Basic(..) => "Basic realm=\"tests\"".to_owned(),
            Login::Token(..) => {
                let bearer = request.header("authorization").strip_prefix("Bearer ");
                lock(&self.tokens).retain(|(token, ..)| Some(token.as_str()) != bearer);
                format!(
                    "Bearer realm=\"http://{}/token\",service=\"tests\",scope=\"repository:{repository}:{action}\"",
                    self.address
                )
            }
        };
        Reply::new(401).with("WWW-Authenticate", challenge)
    }

    fn may(&self, request: &Request, rest: &str) -> bool {
        let authorization = request.header("authorization");
        match &self.login {
            Login::Everybody => true,
            Login::Basic(user, password) => authorization == basic(user, password),
            Login::Token(..) => {
                let Some(token) = authorization.strip_prefix("Bearer ") else {
                    return false;
                };
                let (repository, action) = wish(request);
                let has = (token.to_owned(), repository.to_owned(), action.to_owned());
                let tokens = lock(&self.tokens);
                tokens.contains(&has) || rest.is_empty() && tokens.iter().any(|one| one.0 == token)
            }
        }
    }

    /// Gives a token for what is asked for to the one user that there is.
    fn give_token(&self, request: &Request) -> Reply {
        let Login::Token(user, password) = &self.login else {
            return Reply::new(404);
        };
        if request.header("authorization") != basic(user, password) {
            return Reply::new(401);
        }
        let mut tokens = lock(&self.tokens);
        let token = format!("token-{}", self.given.fetch_add(1, Ordering::Relaxed));
        tokens.insert((token.clone(), String::new(), String::new()));
        for scope in request.asks("scope").split(' ') {
            let mut parts = scope.splitn(3, ':').skip(1);
            let (repository, actions) = (parts.next(), parts.next().unwrap_or_default());
            for action in actions.split(',') {
                let repository = repository.unwrap_or_default().to_owned();
                tokens.insert((token.clone(), repository, action.to_owned()));
            }
        }
        let body = json!({ "token": token, "expires_in": 300 });
        Reply::new(200).with("Content-Type", "application/json").body(body.to_string())
    }
}

/// The header of a user and a password.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The repository that a request is about, and what it wants to do there.
fn wish(request: &Request) -> (&str, &'static str) {
    let rest = request.path.strip_prefix("/v2/").unwrap_or_default();
    let is_upload = request.path.contains("/uploads/");
    let action = match request.method.as_str() {
        "GET" | "HEAD" if !is_upload => "pull",
        _ => "push",
    };
    (content::repository(rest), action)
}
