//! An upload that a registry has open: begun, added to, found again after a connection broke.

use reqwest::header::{CONTENT_RANGE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, Url};

use super::{Known, Upload};
use crate::auth::Scopes;
use crate::endpoint::{Call, Payload, Place, header};
use crate::error::{Error, Result};

/// An open upload.
pub(super) struct Session {
    /// Where the next request goes.
    pub(super) url: Url,
    /// The bytes that the registry has.
    pub(super) offset: u64,
    /// Whether nobody knows how much the registry got of the last request.
    pub(super) is_lost: bool,
    /// Whether it was lost and found again.
    pub(super) is_resumed: bool,
}

/// What became of the wish to upload something.
pub(super) enum Started {
    /// It is there, taken over from another repository.
    Mounted,
    /// It may be sent.
    Open(Session),
}

impl Upload<'_> {
    /// Opens an upload. A registry that cannot take the blob over opens a plain one all the same,
    /// or does so when it is asked for nothing else.
    pub(super) async fn start(&self, known: Option<&Known>) -> Result<Started> {
        if let (Some(from), Some(known)) = (self.from, known) {
            let rest = format!("blobs/uploads/?mount={}&from={from}", known.digest);
            match self.open(&rest, &self.scopes, &[201, 202]).await {
                Ok(response) if response.status() == 201 => return Ok(Started::Mounted),
                Ok(response) => return self.session(&response, 0).map(Started::Open),
                Err(error) if error.is_denied() || error.is_not_found() => {
                    tracing::debug!(%error, "the other repository does not lend the blob");
                }
                Err(error) => return Err(error),
            }
        }
        let own = Scopes::push(self.repository);
        let response = self.open("blobs/uploads/", &own, &[202]).await?;
        self.session(&response, 0).map(Started::Open)
    }

    async fn open(&self, rest: &str, scopes: &Scopes, expected: &[u16]) -> Result<Response> {
        let place = Place::Repository(self.repository, rest);
        let call = Call::new(Method::POST, place, scopes, &self.task);
        self.endpoint.expect(&call, expected).await
    }

    /// Sends all that the registry does not have yet, and finds out what it has then.
    pub(super) async fn patch(&self, session: &mut Session) -> Result<()> {
        let (start, known) = (session.offset, (self.known)());
        let make = || (self.body)(start);
        let mut call =
            Call::new(Method::PATCH, Place::Url(session.url.clone()), &self.scopes, &self.task);
        call.payload = Some(match &known {
            Some(known) => Payload::Content(known.size - start, &make),
            None => Payload::Growing(&make),
        });
        // A registry that has nothing yet needs no range, and some take none.
        if let Some(known) = known.filter(|_| start > 0) {
            let range = format!("{start}-{}", known.size - 1);
            let range = HeaderValue::from_str(&range).expect("digits and a dash are a header");
            call.headers.insert(CONTENT_RANGE, range);
        }
        let response = self.endpoint.expect(&call, &[201, 202, 204]).await?;
        let end = (self.known)().map_or(start, |known| known.size);
        let got = header(&response, RANGE).and_then(bytes_of).unwrap_or(end);
        let next = self.session(&response, got)?;
        session.url = next.url;
        session.offset = got;
        if got == end {
            return Ok(());
        }
        let reason = format!("the registry says that it got {got} of {end} bytes");
        Err(Error::malformed(&self.task, reason))
    }

    /// Asks how much the registry got; false where it has forgotten all of it.
    pub(super) async fn resume(&self, session: &mut Session) -> Result<bool> {
        let place = Place::Url(session.url.clone());
        let call = Call::new(Method::GET, place, &self.scopes, &self.task);
        let response = match self.endpoint.expect(&call, &[200, 202, 204]).await {
            Ok(response) => response,
            Err(error) if error.is_unanswered() || error.is_denied() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "the upload begins again");
                return Ok(false);
            }
        };
        let Some(offset) = header(&response, RANGE).and_then(bytes_of) else {
            return Ok(false);
        };
        if (self.known)().is_some_and(|known| offset > known.size) {
            return Ok(false);
        }
        if header(&response, LOCATION).is_some() {
            session.url = self.session(&response, offset)?.url;
        }
        *session = Session { offset, is_lost: false, is_resumed: true, url: session.url.clone() };
        Ok(true)
    }

    /// The upload whose next request goes where an answer says.
    fn session(&self, response: &Response, offset: u64) -> Result<Session> {
        let malformed = |reason| Error::malformed(&self.task, reason);
        let location = header(response, LOCATION)
            .ok_or_else(|| malformed("the registry opens an upload nowhere"))?;
        let own = response.url();
        let mut url = own
            .join(location)
            .map_err(|_| malformed("the registry's upload address is no address"))?;
        if own.scheme() == "https" && url.scheme() != "https" {
            // Behind a proxy that ends TLS a registry may not know its own scheme.
            if url.host_str() != own.host_str() {
                return Err(malformed("the registry wants the content at a place without TLS"));
            }
            let same = format!("{}?{}", url.path(), url.query().unwrap_or_default());
            url = own.join(&same).map_err(|_| malformed("the upload address is no address"))?;
        }
        Ok(Session { url, offset, is_lost: false, is_resumed: false })
    }
}

/// How many bytes `0-9` are, which is how registries say what they have. They say `0-0` for one
/// byte and for none: then it is none, since one that comes twice is refused.
fn bytes_of(range: &str) -> Option<u64> {
    let range = range.trim().trim_start_matches("bytes=");
    let (start, end) = range.split_once('-')?;
    let end: u64 = end.trim().parse().ok()?;
    (start.trim() == "0").then(|| if end == 0 { 0 } else { end.saturating_add(1) })
}

#[cfg(test)]
mod tests {
    use super::bytes_of;

    #[test]
    fn ranges_say_how_much_is_there() {
        let read = ["0-99", "bytes=0-99", "0-0", "5-9", "0", ""].map(bytes_of);
        assert_eq!(read, [Some(100), Some(100), Some(0), None, None, None]);
    }
}
