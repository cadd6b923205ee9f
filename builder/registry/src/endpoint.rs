//! One server that speaks the distribution protocol: its address, its connections, its requests.

mod answer;
mod connect;
mod request;
mod token;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

pub(crate) use answer::{header, read};
pub(crate) use request::{Call, Payload, Place};
pub(crate) use token::Grant;

use crate::auth::Auth;
use crate::credential::Credential;
use crate::error::{Error, Result, Task};
use crate::reference::DOCKER_HUB;
use crate::retry::Clock;
use crate::rules::Location;
use crate::settings::{Credentials, Mirror, Settings};
use crate::tls::SystemRoots;

/// What all endpoints of a client have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) roots: Arc<SystemRoots>,
}

/// Whether a server is asked over plain http.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Never,
    /// It is found out with a request that carries no secret.
    Perhaps,
    Always,
}

/// A registry, or a mirror of one.
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
    /// The registry as references name it.
    registry: String,
    /// `host[:port]`.
    host: String,
    /// What goes before the repository: empty, or ends in a slash.
    prefix: String,
    /// What is left out of the repository's name, at its start.
    covered: String,
    mirror: bool,
    plain: Plain,
    insecure: bool,
    /// Whether an identity token is asked for.
    login: bool,
    auth: Auth,
    base: OnceCell<Url>,
    http: OnceLock<reqwest::Client>,
    downloads: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

impl Endpoint {
    /// The registry itself.
    pub(crate) fn upstream(shared: &Arc<Shared>, registry: &str) -> Self {
        let host = if registry == DOCKER_HUB { "registry-1.docker.io" } else { registry };
        let insecure = shared.settings.insecure.iter().any(|name| name == registry);
        Self::new(shared, registry, host, insecure)
    }

    /// The registry, as this user and nobody else.
    pub(crate) fn login(shared: &Arc<Shared>, registry: &str, credential: Credential) -> Self {
        Self { auth: Auth::with(credential), login: true, ..Self::upstream(shared, registry) }
    }

    /// A mirror of a registry.
    pub(crate) fn mirror(shared: &Arc<Shared>, mirror: &Mirror) -> Self {
        let text = mirror.endpoint.trim_end_matches('/');
        let (plain, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Plain::Always), rest),
            Some(("https", rest)) => (Some(Plain::Never), rest),
            _ => (None, text),
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let insecure = mirror.insecure || shared.settings.insecure.iter().any(|name| name == host);
        let found = Self::new(shared, &mirror.registry, host, insecure);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { mirror: true, plain: plain.unwrap_or(found.plain), prefix, ..found }
    }

    /// What stands in the place of a registry, or of the part of it that has the names that begin
    /// with `covered`.
    pub(crate) fn instead(
        shared: &Arc<Shared>,
        registry: &str,
        covered: &str,
        place: &Location,
    ) -> Self {
        let (registry, endpoint) = (registry.to_owned(), place.place.clone());
        let mirror = Mirror { registry, endpoint, insecure: place.insecure };
        let mut found = Self::mirror(shared, &mirror);
        if !covered.is_empty() && !covered.ends_with('/') {
            // The prefix names one repository, and so does its place.
            found.prefix.truncate(found.prefix.trim_end_matches('/').len());
        }
        Self { covered: covered.to_owned(), ..found }
    }

    fn new(shared: &Arc<Shared>, registry: &str, host: &str, insecure: bool) -> Self {
        let secured = shared.settings.trust.contains_key(host);
        let plain =
            if insecure || (is_loopback(host) && !secured) { Plain::Perhaps } else { Plain::Never };
        Self {
            shared: shared.clone(),
            registry: registry.to_owned(),
            host: host.to_owned(),
            prefix: String::new(),
            covered: String::new(),
            mirror: false,
            plain,
            insecure,
            login: false,
            auth: Auth::default(),
            base: OnceCell::new(),
            http: OnceLock::new(),
            downloads: Arc::new(Semaphore::new(shared.settings.parallel.max(1))),
            uploads: Arc::new(Semaphore::new(shared.settings.parallel.max(1))),
        }
    }

    /// Says what is being done here.
    pub(crate) fn task(&self, verb: &'static str, subject: impl Into<String>) -> Task {
        if self.mirror {
            Task::new(verb, subject, &format!("{} (mirror {})", self.registry, self.host))
        } else {
            Task::new(verb, subject, &self.registry)
        }
    }

    /// The finder of credentials, and what to ask it for.
    pub(crate) fn credentials(&self) -> (Credentials, String) {
        let key = if self.mirror { &self.host } else { &self.registry };
        (self.shared.settings.credentials.clone(), key.clone())
    }

    /// The identity token that a login brought.
    pub(crate) async fn identity(&self) -> Option<String> {
        self.auth.refresh().await
    }

    /// Waits for a place among the blobs that come in.
    pub(crate) async fn download(&self) -> OwnedSemaphorePermit {
        place(&self.downloads).await
    }

    /// Waits for a place among the blobs that go out. They have places of their own: the content
    /// of an upload may be a download from the same registry.
    pub(crate) async fn upload(&self) -> OwnedSemaphorePermit {
        place(&self.uploads).await
    }

    /// The address that paths are added to, found out once.
    async fn base(&self, task: &Task) -> Result<&Url> {
        let find = || async {
            match self.plain {
                Plain::Never => self.address("https"),
                Plain::Always => self.address("http"),
                Plain::Perhaps => self.probe(task).await,
            }
        };
        self.base.get_or_try_init(find).await
    }

    fn address(&self, scheme: &str) -> Result<Url> {
        let refuse = |reason: &str| Error::Setting {
            name: format!("registry `{}`", self.host),
            reason: reason.to_owned(),
        };
        let url = Url::parse(&format!("{scheme}://{}/", self.host))
            .map_err(|error| refuse(&error.to_string()))?;
        let bare = url.path() == "/" && url.username().is_empty() && url.password().is_none();
        if bare && url.query().is_none() && url.fragment().is_none() {
            Ok(url)
        } else {
            Err(refuse("it must be host[:port]"))
        }
    }

    /// Asks over plain http, and over https where that is not understood. No secret is sent.
    async fn probe(&self, task: &Task) -> Result<Url> {
        let plain = self.address("http")?;
        let secure = self.address("https")?;
        let refused = match self.ping(&plain, task).await {
            Ok(response) if response.url().scheme() == "https" => return Ok(secure),
            Ok(response) if response.status() != 400 => return Ok(plain),
            Ok(response) => {
                let said = read(response, 4096, task, self).await.unwrap_or_default();
                return Ok(if wants_https(&said) { secure } else { plain });
            }
            Err(error) => error,
        };
        // With a port both schemes would knock at the same door.
        let absent = matches!(&refused, Error::Connection { source, .. } if is_connect(source));
        if absent && plain.port().is_some() {
            return Err(refused);
        }
        match self.ping(&secure, task).await {
            Ok(_) => Ok(secure),
            Err(_) if absent => Err(refused),
            Err(error) => Err(error),
        }
    }

    async fn ping(&self, base: &Url, task: &Task) -> Result<reqwest::Response> {
        let url = base.join("v2/").expect("a fixed path joins every base");
        self.exchange(self.http()?.get(url), None, task).await
    }

    fn stall(&self) -> Duration {
        self.shared.settings.stall
    }

    /// Awaits the next thing that a server sends.
    pub(crate) async fn within_stall<T>(
        &self,
        work: impl Future<Output = T>,
        task: &Task,
    ) -> Result<T> {
        self.watch(work, || 0, self.stall(), task).await
    }

    /// Makes an error of a connection's failure.
    pub(crate) fn failed(&self, error: reqwest::Error, task: &Task) -> Error {
        answer::failed(error, &self.host, task)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("registry", &self.registry)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

async fn place(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    slots.clone().acquire_owned().await.expect("the semaphore is never closed")
}

/// What servers say, with status 400, to plain http on their https port.
fn wants_https(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    [
        "http request to an https server",
        "plain http request was sent to https port",
        "speaking plain http to an ssl-enabled server",
    ]
    .iter()
    .any(|said| text.contains(said))
}

fn is_connect(source: &crate::error::Cause) -> bool {
    source.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
}

/// `host[:port]` of an address.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a host (`host[:port]`) is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
