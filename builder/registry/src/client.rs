//! The client: which servers stand for a registry, and tries that are made again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;

use crate::auth::Scopes;
use crate::credential::Credential;
use crate::endpoint::{Call, Endpoint, Place, Shared};
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::retry::Clock;
use crate::rules::{self, Location};
use crate::settings::Settings;

/// Talks to registries. It is cheap to clone, and clones share connections and tokens.
///
/// Nothing is read or contacted before the first request. Dropping a future or stream cancels it.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    endpoints: Arc<Mutex<HashMap<String, Arc<Endpoint>>>>,
}

/// What a login brought.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// A token that stands for user and password, to be kept in their place, if the registry
    /// gives one.
    pub identity_token: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("identity_token", &self.identity_token.is_some()).finish()
    }
}

impl Client {
    /// Makes a client. Settings that cannot be used are reported by the requests that need them.
    pub fn new(settings: Settings) -> Self {
        Self::with_clock(settings, Clock::default())
    }

    pub(crate) fn with_clock(settings: Settings, clock: Clock) -> Self {
        let shared = Shared { settings, clock, roots: Arc::default() };
        Self { shared: Arc::new(shared), endpoints: Arc::default() }
    }

    /// Finds out whether a registry (`host[:port]`, `docker.io`) accepts a credential.
    pub async fn login(&self, registry: &str, credential: Credential) -> Result<Login> {
        let endpoint = Endpoint::login(&self.shared, registry, credential);
        self.retrying(|| root(&endpoint, "log in to")).await?;
        Ok(Login { identity_token: endpoint.identity().await })
    }

    /// Finds out whether a registry (`host[:port]`, `docker.io`) is there and lets the settings'
    /// credential in.
    pub async fn ping(&self, registry: &str) -> Result<()> {
        let endpoint = self.upstream(registry);
        self.retrying(|| root(&endpoint, "reach")).await
    }

    /// The registry itself.
    pub(crate) fn upstream(&self, registry: &str) -> Arc<Endpoint> {
        self.endpoint(registry, || Endpoint::upstream(&self.shared, registry))
    }

    /// A server of files, which is not asked whether it is a registry and gets no credential of
    /// one.
    pub(crate) fn web(&self, host: &str) -> Arc<Endpoint> {
        self.endpoint(&format!("files of {host}"), || Endpoint::upstream(&self.shared, host))
    }

    /// The mirrors of an image's registry, then the registry itself, or what stands in its place.
    pub(crate) fn sources(&self, reference: &Reference) -> Result<Vec<Arc<Endpoint>>> {
        let (settings, registry) = (&self.shared.settings, reference.registry());
        let mirrors = settings.mirrors.iter().filter(|one| one.registry == registry);
        let mut sources: Vec<_> = mirrors
            .map(|mirror| {
                let name = format!("{registry} {}", mirror.endpoint);
                self.endpoint(&name, || Endpoint::mirror(&self.shared, mirror))
            })
            .collect();
        let Some((rule, covered)) = rules::find(&settings.rules, reference) else {
            sources.push(self.upstream(registry));
            return Ok(sources);
        };
        if rule.blocked {
            let (name, reason) = (format!("`{}`", rule.prefix), &rule.origin);
            return Err(Error::Setting { name, reason: format!("it is blocked in {reason}") });
        }
        let place = |place: &Location| {
            let name = format!("{registry}/{covered} {}", place.place);
            self.endpoint(&name, || Endpoint::instead(&self.shared, registry, &covered, place))
        };
        sources.extend(rule.mirrors.iter().filter(|one| one.is_for(reference)).map(place));
        sources.push(rule.location.as_ref().map_or_else(|| self.upstream(registry), place));
        Ok(sources)
    }

    fn endpoint(&self, name: &str, make: impl FnOnce() -> Endpoint) -> Arc<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.entry(name.to_owned()).or_insert_with(|| Arc::new(make())).clone()
    }

    /// Tries each mirror once, and the registry as often as the settings say.
    pub(crate) async fn anywhere<T, F>(
        &self,
        reference: &Reference,
        work: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut sources = self.sources(reference)?;
        let upstream = sources.pop().expect("the registry itself is always a source");
        for mirror in sources {
            match work(mirror).await {
                Ok(found) => return Ok(found),
                Err(error) => tracing::debug!(%error, "the mirror is passed over"),
            }
        }
        self.retrying(|| work(upstream.clone())).await
    }

    /// Does something as often as the settings say.
    pub(crate) async fn retrying<T, F>(&self, work: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut failures = 0;
        loop {
            let error = match work().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            failures += 1;
            let Some(pause) = self.pause(failures, &error) else {
                return Err(error);
            };
            tracing::debug!(%error, ?pause, "it is tried again");
            self.sleep(pause).await;
        }
    }

    pub(crate) fn pause(&self, failures: u32, error: &Error) -> Option<Duration> {
        self.shared.settings.retry.pause(failures, error)
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.shared.clock.sleep(time).await;
    }
}

async fn root(endpoint: &Endpoint, verb: &'static str) -> Result<()> {
    let (task, scopes) = (endpoint.task(verb, "the registry"), Scopes::default());
    let call = Call::new(Method::GET, Place::Root, &scopes, &task);
    endpoint.expect(&call, &[200]).await.map(drop)
}
