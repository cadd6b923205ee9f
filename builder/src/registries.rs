//! Where images come from and go to: settings, and a client that is made when it is first used.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use rbuild_registry::{
    Access, Actions, Bucket, Credential, Identity, Location, Mirror, Proxies, Retry, Rule, Secret,
    Serves, Trust,
};
use rbuild_registry::{Client, Settings};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How the place of a blob in a bucket begins: `s3+REGION+ADDRESS#KEY`.
const IN_BUCKET: &str = "s3+";

/// The place of blobs whose keys begin with `key`.
pub(crate) fn place_in(bucket: &Bucket, key: &str) -> String {
    format!("{IN_BUCKET}{}+{}#{key}", bucket.region, bucket.address)
}

/// How the place of a blob in a cache service of GitHub Actions begins: `gha+ADDRESS`.
const IN_ACTIONS: &str = "gha+";

/// The place of the blobs in a cache service.
pub(crate) fn place_in_actions(service: &Actions) -> String {
    format!("{IN_ACTIONS}{}", service.url)
}

/// The registries of a caller; cheap to clone, and nothing is contacted before it is needed.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    settings: Settings,
    buckets: Vec<Bucket>,
    bucket_access: Option<Access>,
    services: Vec<Actions>,
    client: Arc<OnceLock<Client>>,
    unpacking: Unpacking,
}

/// Layers that are unpacked while they come: each has threads and buffers.
const UNPACKING: usize = 8;

/// The places for layers that are unpacked while they come.
#[derive(Debug, Clone)]
struct Unpacking(Arc<Semaphore>);

impl Default for Unpacking {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNPACKING)))
    }
}

impl Registries {
    /// Every registry at its own place, without credentials.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self.client = Arc::default();
        self
    }

    /// Asks a mirror before a registry; of several mirrors the first one that has an image serves.
    #[must_use]
    pub fn mirror(self, mirror: Mirror) -> Self {
        self.with(|settings| settings.mirrors.push(mirror))
    }

    /// Finds the images of names that begin alike elsewhere, or not at all.
    #[must_use]
    pub fn rule(self, rule: Rule) -> Self {
        self.with(|settings| settings.rules.push(rule))
    }

    /// Talks to a registry (`host[:port]`) without TLS, or without checking its certificate.
    #[must_use]
    pub fn insecure(self, registry: impl Into<String>) -> Self {
        self.with(|settings| settings.insecure.push(registry.into()))
    }

    /// Trusts the certificate authorities of a PEM file, beside those of the machine.
    #[must_use]
    pub fn authority(self, pem: Vec<u8>) -> Self {
        self.with(|settings| settings.authorities.push(pem))
    }

    /// Trusts other authorities, or shows a certificate, to one registry.
    #[must_use]
    pub fn trust(self, registry: impl Into<String>, trust: Trust) -> Self {
        self.with(|settings| {
            settings.trust.insert(registry.into(), trust);
        })
    }

    /// Finds the credential of a registry when one is asked for.
    #[must_use]
    pub fn credentials(
        self,
        find: impl Fn(&str) -> Option<Credential> + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.credentials = Arc::new(find))
    }

    /// Reaches registries through proxies.
    #[must_use]
    pub fn proxies(self, proxies: Proxies) -> Self {
        self.with(|settings| settings.proxies = proxies)
    }

    /// Asks nobody at all: what is not in the store is an error.
    #[must_use]
    pub fn offline(self, offline: bool) -> Self {
        self.with(|settings| settings.offline = offline)
    }

    /// Whether nobody is asked.
    pub(crate) fn is_offline(&self) -> bool {
        self.settings.offline
    }

    /// Tries again, so often and so patiently.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|settings| settings.retry = retry)
    }

    /// Counts a request as failed when nothing moved for so long; a server gets five times as long
    /// to answer an upload.
    #[must_use]
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.with(|settings| settings.stall = time)
    }

    /// Finds layers in a bucket of an object store, too.
    #[must_use]
    pub fn bucket(mut self, bucket: Bucket) -> Self {
        self.buckets.push(bucket);
        self
    }

    /// Asks for what is in other buckets as this user.
    #[must_use]
    pub fn bucket_access(mut self, access: Access) -> Self {
        self.bucket_access = Some(access);
        self
    }

    /// The bucket in which a blob is, and what the key of the blob begins with.
    pub(crate) fn in_bucket<'a>(&self, from: &'a str) -> Option<(Bucket, &'a str)> {
        let (region, place) = from.strip_prefix(IN_BUCKET)?.split_once('+')?;
        let (address, key) = place.split_once('#')?;
        let known = self.buckets.iter().find(|bucket| bucket.address == address).cloned();
        let bucket = known.unwrap_or_else(|| Bucket {
            address: address.to_owned(),
            region: region.to_owned(),
            access: self.bucket_access.clone(),
        });
        Some((bucket, key))
    }

    /// Finds layers in a cache service of GitHub Actions, too; the token is for this one alone.
    #[must_use]
    pub fn actions(mut self, service: Actions) -> Self {
        self.services.push(service);
        self
    }

    /// The cache service in which a blob is; without a token where none is known for it.
    pub(crate) fn in_actions(&self, from: &str) -> Option<Actions> {
        let url = from.strip_prefix(IN_ACTIONS)?;
        let mut services = self.services.iter().rev();
        let known = services.find(|service| service.url == url).cloned();
        Some(known.unwrap_or_else(|| Actions { url: url.to_owned(), token: String::new() }))
    }

    /// Waits for a place among the layers that are unpacked while they come.
    pub(crate) async fn unpacking(&self) -> OwnedSemaphorePermit {
        let place = self.unpacking.0.clone().acquire_owned();
        place.await.expect("the semaphore is never closed")
    }

    /// The client, made now if it was not yet.
    pub(crate) fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(self.settings.clone()))
    }

    /// Checks a credential with a registry; gives the identity token to keep in place of the
    /// password, where the registry hands one out.
    ///
    /// # Errors
    /// A registry that cannot be reached or refuses the credential.
    pub async fn login(
        &self,
        registry: &str,
        credential: Credential,
    ) -> crate::Result<Option<String>> {
        let login = self.client().login(registry, credential).await;
        let login = login.map_err(crate::Error::registry(format!("log in to {registry}")))?;
        Ok(login.identity_token)
    }
}
