//! Reads what servers answer: bounded bodies, and refusals in words for people.

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::HeaderName;
use serde::Deserialize;

use super::{Endpoint, authority};
use crate::error::{Error, Result, Task};
use crate::reference::DOCKER_HUB;
use crate::retry::retry_after;
use crate::tls::certificate_error;

/// The longest error document that is read.
const REFUSAL_LIMIT: u64 = 64 * 1024;
/// The longest message of a server that is passed on, in characters.
const SAID_LIMIT: usize = 300;

/// The documents in which registries, token servers and services of other kinds say why.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<Reason>,
    error: Option<String>,
    error_description: Option<String>,
    details: Option<String>,
    msg: Option<String>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// A header as text.
pub(crate) fn header(response: &Response, name: impl Into<HeaderName>) -> Option<&str> {
    response.headers().get(name.into())?.to_str().ok()
}

/// Reads a whole body of at most that many bytes.
pub(crate) async fn read(
    mut response: Response,
    limit: u64,
    task: &Task,
    endpoint: &Endpoint,
) -> Result<Bytes> {
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(Error::too_long(task, limit));
    }
    let mut whole = BytesMut::new();
    loop {
        let part = endpoint.within_stall(response.chunk(), task).await?;
        let Some(part) = part.map_err(|error| endpoint.failed(error, task))? else {
            break;
        };
        if (whole.len() + part.len()) as u64 > limit {
            return Err(Error::too_long(task, limit));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

/// Makes an error of a connection's failure.
pub(super) fn failed(error: reqwest::Error, host: &str, task: &Task) -> Error {
    // Addresses that registries redirect to carry signatures.
    let error = error.without_url();
    let certificate = certificate_error(&error);
    let hint = certificate.map(|problem| {
        format!(
            "the certificate of {host} is not accepted ({problem}): give the certificate of its \
             authority (for docker, {host}/ca.crt in the certs.d folder), or name it with \
             --insecure-registry"
        )
    });
    let transient = certificate.is_none() && !error.is_redirect() && !error.is_builder();
    Error::Connection { task: Box::new(task.clone()), hint, transient, source: Box::new(error) }
}

impl Endpoint {
    /// Makes an error of a refusal; `shown` says whether that server was shown the credential.
    pub(crate) async fn refusal(&self, response: Response, task: &Task, shown: bool) -> Error {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let (from, hint) = if shown {
            (String::new(), self.hint(status))
        } else {
            (format!(" from {}", authority(response.url())), None)
        };
        let body = read(response, REFUSAL_LIMIT, task, self).await.unwrap_or_default();
        let asked = retry_after.filter(|time| !time.is_zero());
        let wait = asked.map(|time| format!(" (it asks to wait {} s)", time.as_secs()));
        let wait = wait.unwrap_or_default();
        let said = format!("{}{from}{}{wait}", named(status), said(&body));
        Error::Status { task: Box::new(task.clone()), status, said, hint, retry_after }
    }

    /// What the user may do about a status, with the credential that was used.
    fn hint(&self, status: u16) -> Option<String> {
        let registry = if self.mirror { &self.host } else { &self.registry };
        match (status, self.auth.used()) {
            (401 | 403, Some(used)) => {
                Some(format!("{} was used for {registry}, and does not suffice", used.described()))
            }
            (401 | 403, None) => {
                Some(format!("no credential for {registry} was found: log in to it"))
            }
            (404, None) => Some(format!(
                "no credential for {registry} was found; a private repository may answer so"
            )),
            (429, None) if registry == DOCKER_HUB => Some(
                "Docker Hub gives more pulls to users who log in; a mirror helps too".to_owned(),
            ),
            _ => None,
        }
    }
}

/// The name of a status, with a blank before it.
fn named(status: u16) -> String {
    let known = reqwest::StatusCode::from_u16(status).ok();
    let reason = known.and_then(|status| status.canonical_reason()).unwrap_or_default();
    if reason.is_empty() { String::new() } else { format!(" {}", reason.to_lowercase()) }
}

/// The server's own words, with a colon before them; nothing where it sent a page or nothing.
fn said(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.text(),
        Err(_) if body.starts_with(b"<") || body.starts_with(b"{") => String::new(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = printable.take(SAID_LIMIT).collect();
    if text.trim().is_empty() { text.trim().to_owned() } else { format!(": {}", text.trim()) }
}

impl Refusal {
    fn text(self) -> String {
        let reasons = self.errors.iter().map(|reason| match (&*reason.code, &*reason.message) {
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{code}: {message}"),
        });
        let others =
            [self.error, self.error_description, self.details, self.msg].into_iter().flatten();
        reasons.chain(others).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_servers_are_passed_on_bounded() {
        let registry =
            br#"{"errors":[{"code":"DENIED","message":"not yours","detail":null},{"code":"X"}]}"#;
        assert_eq!(said(registry), ": DENIED: not yours; X");
        assert_eq!(
            said(br#"{"details":"incorrect username or password"}"#),
            ": incorrect username or password"
        );
        assert_eq!(
            said(br#"{"error":"invalid_scope","error_description":"no"}"#),
            ": invalid_scope; no"
        );
        assert_eq!(said(br#"{"code":"permission_denied","msg":"read only"}"#), ": read only");
        assert_eq!(said(b"slow\x1b[31m down\n"), ": slow [31m down");
        assert_eq!(said(b"<html>sign in</html>"), "");
        assert_eq!(said(b"{\"errors\":7}"), "");
        assert_eq!(said(b""), "");
        assert_eq!(said("é".repeat(1000).as_bytes()).chars().count(), SAID_LIMIT + 2);
    }
}
