//! A registry in this process, on a port of loopback: the distribution protocol with pull and push,
//! and a token server where it wants logins. It has the base image from the start.

mod content;

use std::collections::HashSet;
use std::io::BufReader;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use content::Content;

use crate::http::{Port, Reply, Request, Server};

/// A registry that runs as long as this lives.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    /// User and password, where it wants a login.
    login: Option<(String, String)>,
    content: Mutex<Content>,
    /// The tokens given out: token, repository, action.
    tokens: Mutex<HashSet<(String, String, String)>>,
    log: Mutex<Vec<String>>,
    holds: AtomicBool,
}

impl Registry {
    /// A registry that lets everybody do everything.
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// A registry that wants a token for everything, and whose token server knows one user.
    pub fn with_login(user: &str, password: &str) -> Self {
        Self::listen(Some((user.to_owned(), password.to_owned())))
    }

    fn listen(login: Option<(String, String)>) -> Self {
        let port = Port::open();
        let shared = Arc::new(Shared {
            address: port.address,
            login,
            content: Mutex::new(Content::with_base()),
            tokens: Mutex::default(),
            log: Mutex::default(),
            holds: AtomicBool::new(false),
        });
        let served = shared.clone();
        let server = port.serve(move |stream| serve(&served, stream));
        Self { server, shared }
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

fn serve(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut from)? {
        lock(&shared.log).push(format!("{} {}", request.method, request.path));
        let mut reply = shared.answer(&request);
        let is_blob = request.method == "GET" && request.path.contains("/blobs/");
        reply.held = is_blob && shared.holds.load(Ordering::Relaxed);
        reply.write(&mut stream, request.method == "HEAD")?;
    }
    Ok(())
}

impl Shared {
    fn answer(&self, request: &Request) -> Reply {
        if request.path == "/token" {
            return self.give_token(request);
        }
        let Some(rest) = request.path.strip_prefix("/v2/") else {
            return Reply::new(404);
        };
        let action = match request.method.as_str() {
            "GET" | "HEAD" => "pull",
            _ => "push",
        };
        let repository = content::repository(rest);
        if !self.may(request, repository, action) {
            let scope = format!("repository:{repository}:{action}");
            let challenge = format!(
                "Bearer realm=\"http://{}/token\",service=\"tests\",scope=\"{scope}\"",
                self.address
            );
            return Reply::new(401).with("WWW-Authenticate", challenge);
        }
        lock(&self.content).answer(request, rest)
    }

    fn may(&self, request: &Request, repository: &str, action: &str) -> bool {
        if self.login.is_none() {
            return true;
        }
        let Some(token) = request.header("authorization").strip_prefix("Bearer ") else {
            return false;
        };
        let has = (token.to_owned(), repository.to_owned(), action.to_owned());
        repository.is_empty() || lock(&self.tokens).contains(&has)
    }

    /// Gives a token for what is asked for to the one user that there is.
    fn give_token(&self, request: &Request) -> Reply {
        let Some((user, password)) = &self.login else {
            return Reply::new(404);
        };
        let right = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        if request.header("authorization") != right {
            return Reply::new(401);
        }
        let mut tokens = lock(&self.tokens);
        let token = format!("token-{}", tokens.len());
        let mut parts = request.asks("scope").splitn(3, ':').skip(1);
        let (repository, actions) = (parts.next(), parts.next().unwrap_or_default());
        tokens.insert((token.clone(), String::new(), String::new()));
        for action in actions.split(',') {
            let repository = repository.unwrap_or_default().to_owned();
            tokens.insert((token.clone(), repository, action.to_owned()));
        }
        let body = json!({ "token": token, "expires_in": 300 });
        Reply::new(200).with("Content-Type", "application/json").body(body.to_string())
    }
}
