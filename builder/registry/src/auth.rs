//! Proves to one registry who asks: challenges answered, tokens fetched, kept and given up.

mod challenge;
mod scope;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};

pub(crate) use challenge::{Challenge, parse};
pub(crate) use scope::Scopes;

use crate::credential::{Credential, Secret};
use crate::endpoint::{Endpoint, Grant};
use crate::error::{Error, Result, Task};

/// How long a token lives whose server does not say.
const USUAL_LIFE: u64 = 60;
/// The longest life that is believed.
const LONGEST_LIFE: u64 = 24 * 60 * 60;
/// The most tokens that are kept for one registry.
const TOKENS: usize = 256;

/// What is known of proving oneself to one registry.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    state: Mutex<State>,
    credential: OnceCell<Option<Credential>>,
}

#[derive(Debug, Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: Vec<Token>,
    refresh: Option<String>,
}

#[derive(Debug)]
struct Token {
    scopes: Scopes,
    header: HeaderValue,
    until: Instant,
}

/// What a token server answers; one of the two names holds the token.
#[derive(Deserialize)]
struct Reply {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

impl Auth {
    /// Proves oneself with this credential, whatever the settings find.
    pub(crate) fn with(credential: Credential) -> Self {
        Self { credential: OnceCell::new_with(Some(Some(credential))), ..Self::default() }
    }

    /// The credential that was used, once one was looked for.
    pub(crate) fn used(&self) -> Option<&Credential> {
        self.credential.get()?.as_ref()
    }

    /// The identity token that the token server gave.
    pub(crate) async fn refresh(&self) -> Option<String> {
        self.state.lock().await.refresh.clone()
    }

    /// What a request carries by what earlier ones taught; nothing before the first challenge.
    pub(crate) async fn ready(
        &self,
        endpoint: &Endpoint,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>> {
        let mut state = self.state.lock().await;
        match state.challenge.clone() {
            None => Ok(None),
            Some(challenge) => self.header(&mut state, endpoint, &challenge, scopes).await,
        }
    }

    /// What the request carries that a server answered with these challenges. Nothing if none of
    /// them can be met.
    pub(crate) async fn answer(
        &self,
        endpoint: &Endpoint,
        challenges: Vec<Challenge>,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>> {
        let bearer = challenges.iter().find(|one| matches!(one, Challenge::Bearer { .. }));
        let Some(challenge) = bearer.or(challenges.first()).cloned() else {
            return Ok(None);
        };
        let mut state = self.state.lock().await;
        let header = self.header(&mut state, endpoint, &challenge, scopes).await?;
        state.challenge = header.is_some().then_some(challenge);
        Ok(header)
    }

    /// Gives up what was refused. The challenge goes too: a server names another token server to
    /// one who shows an old token than to one who shows none.
    pub(crate) async fn forget(&self, refused: &HeaderValue) {
        let mut state = self.state.lock().await;
        let before = state.tokens.len();
        state.tokens.retain(|token| token.header != *refused);
        // Another request may have been quicker, and what it learned is newer.
        if state.tokens.len() < before || state.tokens.is_empty() {
            state.challenge = None;
        }
    }

    async fn header(
        &self,
        state: &mut State,
        endpoint: &Endpoint,
        challenge: &Challenge,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>> {
        let credential = self.credential(endpoint).await;
        match challenge {
            Challenge::Basic => Ok(credential.and_then(basic)),
            Challenge::Bearer { realm, service, scope } => {
                if let Some(Credential { secret: Secret::Bearer(token), .. }) = credential {
                    return Ok(sensitive(&format!("Bearer {token}")));
                }
                let scopes = scopes.clone().with(scope.as_deref().unwrap_or_default());
                let now = Instant::now();
                state.tokens.retain(|token| token.until > now);
                if let Some(token) = state.tokens.iter().find(|token| token.scopes.cover(&scopes)) {
                    return Ok(Some(token.header.clone()));
                }
                let grant =
                    Grant { realm, service: service.as_deref(), scopes: &scopes, credential };
                let (task, body) = endpoint.token(&grant).await?;
                state.keep(&task, scopes, &body).map(Some)
            }
        }
    }

    /// Looks the credential up once; on a thread of its own, since helpers are processes.
    async fn credential(&self, endpoint: &Endpoint) -> Option<&Credential> {
        let look = || async {
            let (credentials, key) = endpoint.credentials();
            tokio::task::spawn_blocking(move || credentials(&key)).await.ok().flatten()
        };
        self.credential.get_or_init(look).await.as_ref()
    }
}

impl State {
    fn keep(&mut self, task: &Task, scopes: Scopes, body: &[u8]) -> Result<HeaderValue> {
        let reply: Reply = serde_json::from_slice(body)
            // The parser's message may quote the token.
            .map_err(|_| {
                Error::malformed(task, "the token server's answer is not the JSON of a token")
            })?;
        let token = reply.token.filter(|text| !text.is_empty()).or(reply.access_token);
        let header = token.and_then(|token| sensitive(&format!("Bearer {token}")));
        let header = header
            .ok_or_else(|| Error::malformed(task, "the token server's answer has no token"))?;
        let life = reply.expires_in.unwrap_or(USUAL_LIFE).min(LONGEST_LIFE);
        // A tenth of its life is left for the request to arrive.
        let until = Instant::now() + Duration::from_secs(life) * 9 / 10;
        if self.tokens.len() == TOKENS {
            self.tokens.remove(0);
        }
        self.tokens.push(Token { scopes, header: header.clone(), until });
        self.refresh = reply.refresh_token.or(self.refresh.take());
        Ok(header)
    }
}

/// The header of a user and password.
pub(crate) fn basic(credential: &Credential) -> Option<HeaderValue> {
    let Secret::Password(password) = &credential.secret else {
        return None;
    };
    let pair = format!("{}:{password}", credential.username);
    sensitive(&format!("Basic {}", STANDARD.encode(pair)))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests;
