//! Files at plain URLs: asked for again with what is known of the last time, begun again where a
//! connection broke.

use std::io;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, Response, StatusCode, Url};

use crate::auth::Scopes;
use crate::client::Client;
use crate::endpoint::{Call, Endpoint, Place, authority, header};
use crate::error::{Error, Result, Task};

/// A file to fetch.
#[derive(Clone, Default)]
pub struct FileRequest {
    /// The URL, `http` or `https`.
    pub url: String,
    /// The value of the header `Authorization`. It is shown to the URL's own host only.
    pub authorization: Option<String>,
    /// What the server called the version that is known.
    pub etag: Option<String>,
    /// When the server said that the known version was changed last.
    pub last_modified: Option<String>,
}

impl std::fmt::Debug for FileRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileRequest")
            .field("url", &redacted(&self.url))
            .field("authorization", &self.authorization.is_some())
            .field("etag", &self.etag)
            .field("last_modified", &self.last_modified)
            .finish()
    }
}

/// A piece of a file that comes in.
#[derive(Debug)]
pub enum FilePart<'a> {
    /// The file begins; what came before was broken off and does not count.
    Begin {
        /// Its length in bytes, where the server knows it.
        size: Option<u64>,
    },
    /// More of its bytes.
    Bytes(&'a [u8]),
}

/// What became of a request for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAnswer {
    /// The known version is still the one.
    Unchanged,
    /// The file has come whole.
    Came {
        /// What the server calls this version.
        etag: Option<String>,
        /// When the server says that it was changed last, as an HTTP date.
        last_modified: Option<String>,
    },
}

impl Client {
    /// Fetches the file at a URL into `sink`, unless the version that is known is still the one.
    ///
    /// # Errors
    /// A URL that is none, a server that cannot be reached or answers another status than 2xx, a
    /// body that ends early, or a sink that takes no more.
    pub async fn file(
        &self,
        request: &FileRequest,
        mut sink: impl FnMut(FilePart<'_>) -> io::Result<()> + Send,
    ) -> Result<FileAnswer> {
        let shown = redacted(&request.url);
        let url = parse(&request.url, &shown)?;
        let endpoint = self.web(&authority(&url));
        let path = url.path().to_owned();
        let task = Task::new("fetch", path, &authority(&url));
        let mut failures = 0;
        loop {
            let error = match endpoint.file(&url, request, &task, &mut sink).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            let Some(pause) = self.pause(failures, &error) else {
                return Err(error);
            };
            tracing::debug!(%error, ?pause, "the file is fetched again");
            self.sleep(pause).await;
        }
    }
}

impl Endpoint {
    async fn file(
        &self,
        url: &Url,
        request: &FileRequest,
        task: &Task,
        sink: &mut (impl FnMut(FilePart<'_>) -> io::Result<()> + Send),
    ) -> Result<FileAnswer> {
        let scopes = Scopes::default();
        let mut call = Call::new(Method::GET, Place::Url(url.clone()), &scopes, task);
        call.headers = headers(request, task)?;
        let response = self.send(&call).await?;
        let etag = text(&response, ETAG);
        let known = etag.is_some() && etag == request.etag;
        // Without a condition there is nothing that could have stayed as it was.
        let was_asked = request.etag.is_some() || request.last_modified.is_some();
        if (response.status() == StatusCode::NOT_MODIFIED && was_asked)
            || (response.status().is_success() && known)
        {
            return Ok(FileAnswer::Unchanged);
        }
        if !response.status().is_success() {
            return Err(self.refusal(response, task, false).await);
        }
        let last_modified = text(&response, LAST_MODIFIED);
        let size = header(&response, CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let write = |part: FilePart<'_>, sink: &mut dyn FnMut(FilePart<'_>) -> io::Result<()>| {
            sink(part).map_err(|source| Error::Body { task: Box::new(task.clone()), source })
        };
        write(FilePart::Begin { size }, sink)?;
        let mut body = response.bytes_stream();
        let mut got = 0;
        while let Some(bytes) = self.within_stall(body.next(), task).await? {
            let bytes: Bytes = bytes.map_err(|error| self.failed(error, task))?;
            got += bytes.len() as u64;
            write(FilePart::Bytes(&bytes), sink)?;
        }
        match size {
            Some(size) if got < size => {
                Err(Error::Truncated { task: Box::new(task.clone()), got, size })
            }
            _ => Ok(FileAnswer::Came { etag, last_modified }),
        }
    }
}

fn headers(request: &FileRequest, task: &Task) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, value: &Option<String>, secret: bool| {
        let Some(value) = value else { return Ok(()) };
        let mut value = HeaderValue::from_str(value.trim())
            .map_err(|_| Error::malformed(task, format!("the header {name} is not printable")))?;
        value.set_sensitive(secret);
        headers.insert(name, value);
        Ok(())
    };
    add(AUTHORIZATION, &request.authorization, true)?;
    add(IF_NONE_MATCH, &request.etag, false)?;
    if request.etag.is_none() {
        add(IF_MODIFIED_SINCE, &request.last_modified, false)?;
    }
    Ok(headers)
}

fn text(response: &Response, name: HeaderName) -> Option<String> {
    header(response, name).map(str::to_owned)
}

fn parse(url: &str, shown: &str) -> Result<Url> {
    let refuse = |reason: String| Error::Setting { name: format!("URL `{shown}`"), reason };
    let url = Url::parse(url).map_err(|error| refuse(error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(refuse(format!("`{scheme}` is not http or https"))),
    }
}

/// A URL without what may be secret in it, as it is shown. For the web a user's name can be a token;
/// for other schemes, such as ssh, only the password is hidden.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((login, host)) = rest[..end].rsplit_once('@') else {
        return url.to_owned();
    };
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let shown = match login.split_once(':') {
        Some(_) if web => format!("{MASK}:{MASK}"),
        None if web => MASK.to_owned(),
        Some((user, _)) => format!("{user}:{MASK}"),
        None => login.to_owned(),
    };
    format!("{scheme}://{shown}@{host}{}", &rest[end..])
}

/// What is shown in place of a name or password.
const MASK: &str = "xxxxx";

#[cfg(test)]
mod tests;
