//! What the client is told from outside. It reads no file and no environment itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::credential::Credential;
use crate::retry::Retry;
use crate::rules::Rule;

/// Finds the credential for a registry, named as references name it (`docker.io`,
/// `localhost:5000`); for a mirror, by the mirror's host. It may block (a credential helper is a
/// process): it is called on a thread for that, once per registry.
pub type Credentials = Arc<dyn Fn(&str) -> Option<Credential> + Send + Sync>;

/// How registries are reached.
#[derive(Clone)]
pub struct Settings {
    /// Mirrors, asked in this order before the registry that they stand for.
    pub mirrors: Vec<Mirror>,
    /// Where the images of names that begin alike are; mirrors of these come after `mirrors`.
    pub rules: Vec<Rule>,
    /// Registries (`host[:port]`) that may be asked over plain http, or over https with a
    /// certificate that nobody vouches for.
    pub insecure: Vec<String>,
    /// Certificates (PEM) of authorities that are trusted for every registry, beside the system's.
    pub authorities: Vec<Vec<u8>>,
    /// What is trusted and shown for single registries, by `host[:port]`.
    pub trust: BTreeMap<String, Trust>,
    /// Finds credentials.
    pub credentials: Credentials,
    /// The proxies between here and the registries; loopback is never asked through one.
    pub proxies: Proxies,
    /// Whether nothing is asked at all: every request fails at once.
    pub offline: bool,
    /// When a failed request is tried again.
    pub retry: Retry,
    /// What the client calls itself.
    pub user_agent: String,
    /// How many blobs of one registry come in at a time, and how many go out.
    pub parallel: usize,
    /// How long a server may take to accept a connection.
    pub connect: Duration,
    /// How long nothing may move before a request counts as failed. A server gets five times as
    /// long to answer an upload: it may have to hash it first.
    pub stall: Duration,
}

/// A server that has copies of a registry's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry that it mirrors, such as `docker.io`.
    pub registry: String,
    /// Where it is: `[http[s]://]host[:port][/prefix]`. A prefix goes before the repository.
    pub endpoint: String,
    /// Whether it may be asked as an insecure registry may.
    pub insecure: bool,
}

/// What is trusted and shown for one registry, as Docker's `certs.d` has it.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Certificates (PEM) of authorities that may vouch for this registry.
    pub authorities: Vec<Vec<u8>>,
    /// What this client proves itself with.
    pub identity: Option<Identity>,
}

/// A client certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate chain (PEM).
    pub certificates: Vec<u8>,
    /// The private key (PEM).
    pub key: Vec<u8>,
}

/// The proxies of the environment, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` have them.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For plain http.
    pub http: Option<String>,
    /// For https.
    pub https: Option<String>,
    /// The hosts that are asked directly, as a comma list.
    pub except: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            rules: Vec::new(),
            insecure: Vec::new(),
            authorities: Vec::new(),
            trust: BTreeMap::new(),
            credentials: Arc::new(|_| None),
            proxies: Proxies::default(),
            offline: false,
            retry: Retry::default(),
            user_agent: concat!("rbuild/", env!("CARGO_PKG_VERSION")).to_owned(),
            parallel: 6,
            connect: Duration::from_secs(30),
            stall: Duration::from_mins(1),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("mirrors", &self.mirrors)
            .field("insecure", &self.insecure)
            .field("proxies", &self.proxies)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(a secret)")
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may carry a password.
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("except", &self.except)
            .finish()
    }
}
