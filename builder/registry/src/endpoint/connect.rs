//! The connections to one server: TLS, proxies and redirects as the settings want them.

use reqwest::{NoProxy, Proxy, Url, redirect};

use super::{Endpoint, authority, is_loopback};
use crate::error::{Error, Result};
use crate::tls::{self, Trusted};

/// The most redirects that are followed.
const REDIRECTS: usize = 10;

impl Endpoint {
    /// The connections, made when the first request needs them.
    pub(super) fn http(&self) -> Result<&reqwest::Client> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let http = self.connect()?;
        Ok(self.http.get_or_init(|| http))
    }

    fn connect(&self) -> Result<reqwest::Client> {
        let settings = &self.shared.settings;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls()?)
            .redirect(self.redirects())
            .referer(false)
            .user_agent(&settings.user_agent)
            .connect_timeout(settings.connect)
            .tcp_nodelay(true)
            .http2_adaptive_window(true)
            .no_proxy();
        for proxy in self.proxies()? {
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(|error| setting("user agent or TLS", &error.to_string()))
    }

    fn proxies(&self) -> Result<Vec<Proxy>> {
        if is_loopback(&self.host) {
            return Ok(Vec::new());
        }
        let proxies = &self.shared.settings.proxies;
        let except = proxies.except.as_deref().and_then(NoProxy::from_string);
        let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        let plain = given(&proxies.http).map(Proxy::http);
        let secure = given(&proxies.https).map(Proxy::https);
        let made: reqwest::Result<Vec<_>> = plain.into_iter().chain(secure).collect();
        let made = made.map_err(|_| setting("proxy", "it is not a URL"))?;
        Ok(made.into_iter().map(|proxy| proxy.no_proxy(except.clone())).collect())
    }

    fn tls(&self) -> Result<rustls::ClientConfig> {
        let settings = &self.shared.settings;
        let trust = settings.trust.get(&self.host);
        let identity = trust.and_then(|trust| trust.identity.as_ref());
        if self.insecure {
            return tls::config(Trusted::Anyone, identity);
        }
        let own = trust.map(|trust| trust.authorities.as_slice()).unwrap_or_default();
        let mut extra = Vec::new();
        for pem in settings.authorities.iter().chain(own) {
            extra.extend(tls::certificates(pem, "certificate authority")?);
        }
        tls::config(Trusted::Roots { system: self.shared.roots.clone(), extra }, identity)
    }

    /// Follows redirects. The library takes the credentials off where the host changes.
    fn redirects(&self) -> redirect::Policy {
        let insecure = self.shared.settings.insecure.clone();
        redirect::Policy::custom(move |attempt| {
            match may_follow(attempt.previous(), attempt.url(), &insecure) {
                Ok(()) => attempt.follow(),
                Err(reason) => attempt.error(reason),
            }
        })
    }
}

/// Whether a redirect is followed: not too many, and from https to plain http only where plain http
/// is allowed.
pub(super) fn may_follow(
    previous: &[Url],
    next: &Url,
    insecure: &[String],
) -> Result<(), &'static str> {
    if previous.len() > REDIRECTS {
        return Err("more than 10 redirects");
    }
    let secure = previous.last().is_some_and(|url| url.scheme() == "https");
    let host = authority(next);
    let allowed = is_loopback(&host) || insecure.contains(&host);
    if secure && next.scheme() != "https" && !allowed {
        return Err("a redirect from https to plain http");
    }
    Ok(())
}

fn setting(name: &str, reason: &str) -> Error {
    Error::Setting { name: name.to_owned(), reason: reason.to_owned() }
}
