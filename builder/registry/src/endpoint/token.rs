//! Asks a token server for a token.

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{RequestBuilder, Url};

use super::answer::read;
use super::{Endpoint, authority, is_loopback};
use crate::auth::{Scopes, basic};
use crate::credential::{Credential, Secret};
use crate::error::{Error, Result, Task};

/// The longest answer of a token server that is read.
const REPLY_LIMIT: u64 = 256 * 1024;
/// The name by which this client asks for tokens.
const CLIENT: &str = "rbuild";

/// What is asked of a token server.
pub(crate) struct Grant<'a> {
    pub(crate) realm: &'a str,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: &'a Scopes,
    pub(crate) credential: Option<&'a Credential>,
}

impl Endpoint {
    /// Asks the token server that a challenge names; answers its document.
    pub(crate) async fn token(&self, grant: &Grant<'_>) -> Result<(Task, Bytes)> {
        let what = match grant.scopes.to_string() {
            none if none.is_empty() => none,
            scopes => format!("for `{scopes}` "),
        };
        let task = self.task("get a token", format!("{what}from an unknown place"));
        let realm = self.realm(grant.realm, &task)?;
        let task = self.task("get a token", format!("{what}from {}", authority(&realm)));
        let request = match grant.credential.map(|credential| &credential.secret) {
            Some(Secret::Identity(token)) => self.exchanged(realm, grant, token)?,
            _ => self.asked(realm, grant)?,
        };
        let response = self.exchange(request, None, &task).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response, &task, true).await);
        }
        let body = read(response, REPLY_LIMIT, &task, self).await?;
        Ok((task, body))
    }

    /// Takes a realm that a password may be sent to: https, unless the registry itself is plain.
    fn realm(&self, realm: &str, task: &Task) -> Result<Url> {
        let url = Url::parse(realm)
            .map_err(|_| Error::malformed(task, "the registry names no address for tokens"))?;
        let plain = self.base.get().is_some_and(|base| base.scheme() == "http");
        let near = is_loopback(&authority(&url)) && is_loopback(&self.host);
        match url.scheme() {
            "https" => Ok(url),
            "http" if plain || near => Ok(url),
            _ => {
                Err(Error::malformed(task, "the registry sends for tokens to a place without TLS"))
            }
        }
    }

    /// The usual way: a GET, with user and password if there are any.
    fn asked(&self, mut url: Url, grant: &Grant<'_>) -> Result<RequestBuilder> {
        let known: Vec<String> =
            url.query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
        let mut wanted = Vec::new();
        wanted.extend(grant.service.map(|service| ("service", service.to_owned())));
        wanted.extend(grant.scopes.iter().map(|scope| ("scope", scope)));
        let authorization = grant.credential.and_then(basic);
        if let Some(credential) = grant.credential.filter(|_| authorization.is_some()) {
            wanted.push(("account", credential.username.clone()));
        }
        if self.login {
            wanted.push(("client_id", CLIENT.to_owned()));
            wanted.push(("offline_token", "true".to_owned()));
        }
        wanted.retain(|(name, value)| !known.contains(&format!("{name}={value}")));
        if !wanted.is_empty() {
            url.query_pairs_mut().extend_pairs(wanted);
        }
        let request = self.http()?.get(url);
        Ok(match authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        })
    }

    /// The way of identity tokens: a form that is exchanged for an access token.
    fn exchanged(&self, url: Url, grant: &Grant<'_>, token: &str) -> Result<RequestBuilder> {
        let mut form = url.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token)
            .append_pair("client_id", CLIENT)
            .append_pair("scope", &grant.scopes.to_string())
            .extend_pairs(grant.service.map(|service| ("service", service)));
        let body = form.query().unwrap_or_default().to_owned();
        let request = self.http()?.post(url);
        Ok(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body))
    }
}
