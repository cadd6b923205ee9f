//! Buckets of object stores that speak Amazon's S3: objects are read, looked for and written whole.

mod sign;

use std::fmt;

use bytes::Bytes;
use futures::FutureExt;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Method, Response, Url};

use crate::auth::Scopes;
use crate::blob::BlobStream;
use crate::client::Client;
use crate::digest;
use crate::endpoint::{Call, Payload, Place, authority, read};
use crate::error::{Error, Result, Task};
use crate::flow::Opened;
use crate::object;
use crate::push::Body;
use sign::Request;

/// A bucket, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// What the addresses of all of its objects begin with, such as `http://host:9000/name/`.
    pub address: String,
    /// The region that it is in; `us-east-1` where a server knows none.
    pub region: String,
    /// Who asks; nobody in particular where there is none.
    pub access: Option<Access>,
}

/// The keys of a user of an object store.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// The name of the key.
    pub id: String,
    /// The key.
    pub secret: String,
    /// What proves that the key was lent for a time.
    pub session: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Bucket {
    /// The bucket of a name in a region: of the server `endpoint`, or else of Amazon. With
    /// `in_path` the name is in the paths of addresses, and not in their host.
    pub fn new(name: &str, region: &str, endpoint: Option<&str>, in_path: bool) -> Self {
        let amazon = format!("s3.{region}.amazonaws.com");
        let server = endpoint.unwrap_or(&amazon).trim_end_matches('/');
        let (scheme, host) = server.split_once("://").unwrap_or(("https", server));
        let address = if in_path {
            format!("{scheme}://{host}/{name}/")
        } else {
            format!("{scheme}://{name}.{host}/")
        };
        Self { address, region: region.to_owned(), access: None }
    }

    /// The address of an object.
    fn url(&self, key: &str) -> Result<Url> {
        let refuse = |reason| Error::Setting { name: format!("bucket {}", self.address), reason };
        let url = Url::parse(&format!("{}{}", self.address, sign::encoded(key)));
        let url = url.map_err(|error| refuse(error.to_string()))?;
        match url.scheme() {
            "http" | "https" if url.has_host() => Ok(url),
            scheme => Err(refuse(format!("`{scheme}` is not http or https"))),
        }
    }
}

/// An object that is asked about.
struct Object<'a> {
    bucket: &'a Bucket,
    url: Url,
    task: Task,
    scopes: Scopes,
}

impl<'a> Object<'a> {
    fn new(bucket: &'a Bucket, key: &str, verb: &'static str) -> Result<Self> {
        let url = bucket.url(key)?;
        let task = Task::new(verb, key.to_owned(), &bucket.address);
        Ok(Self { bucket, url, task, scopes: Scopes::default() })
    }

    /// A request for it; `content` is the sha256 of what is sent.
    fn call(&self, method: Method, content: &str) -> Result<Call<'_>> {
        let headers = self.headers(&method, content)?;
        let place = Place::Url(self.url.clone());
        Ok(Call { headers, ..Call::new(method, place, &self.scopes, &self.task) })
    }

    /// The headers that say who asks, for what and when.
    fn headers(&self, method: &Method, content: &str) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let Some(access) = &self.bucket.access else { return Ok(headers) };
        let request = Request {
            method: method.as_str(),
            host: &authority(&self.url),
            path: self.url.path(),
            region: &self.bucket.region,
            content,
            time: jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string(),
        };
        for (name, value) in request.signed(access) {
            let mut value = HeaderValue::from_str(&value).map_err(|_| {
                Error::malformed(&self.task, format!("the header {name} is not printable"))
            })?;
            value.set_sensitive(name == AUTHORIZATION.as_str() || name.ends_with("token"));
            let name = HeaderName::from_bytes(name.as_bytes()).expect("it is one of four names");
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

impl Client {
    /// Reads a small object, of at most `limit` bytes; there may be none.
    pub async fn object(&self, bucket: &Bucket, key: &str, limit: u64) -> Result<Option<Bytes>> {
        let object = &Object::new(bucket, key, "fetch")?;
        self.retrying(|| async move {
            let response = self.ask(object, Method::GET, sign::EMPTY, None, &[200, 404]).await?;
            if response.status() == 404 {
                return Ok(None);
            }
            read(response, limit, &object.task, &self.web(&authority(&object.url))).await.map(Some)
        })
        .await
    }

    /// Whether there is an object.
    pub async fn has_object(&self, bucket: &Bucket, key: &str) -> Result<bool> {
        let object = &Object::new(bucket, key, "look up")?;
        self.retrying(|| async move {
            let response = self.ask(object, Method::HEAD, sign::EMPTY, None, &[200, 404]).await?;
            Ok(response.status() == 200)
        })
        .await
    }

    /// Writes an object of `size` bytes with this digest. `body` makes them anew for each try.
    pub async fn put_object(
        &self,
        bucket: &Bucket,
        key: &str,
        digest: &str,
        size: u64,
        body: impl Fn() -> Body + Send + Sync,
    ) -> Result<()> {
        let object = &Object::new(bucket, key, "write")?;
        digest::check(digest, &object.task)?;
        let content = digest.trim_start_matches("sha256:");
        let payload = &Payload::Content(size, &body);
        self.retrying(|| async move {
            let _slot = self.web(&authority(&object.url)).upload().await;
            let payload = Some(payload.clone());
            self.ask(object, Method::PUT, content, payload, &[200, 201, 204]).await.map(drop)
        })
        .await
    }

    /// Downloads an object of a known size and digest, verified while it passes.
    pub fn object_blob(&self, bucket: &Bucket, key: &str, digest: &str, size: u64) -> BlobStream {
        let task = Task::new("fetch", key.to_owned(), &bucket.address);
        let (this, bucket, key) = (self.clone(), bucket.clone(), key.to_owned());
        let open = move |from| {
            let (this, bucket, key) = (this.clone(), bucket.clone(), key.clone());
            async move { this.open_object(&bucket, &key, from).await }.boxed()
        };
        object::download(self, task, digest, size, Box::new(open))
    }

    async fn open_object(&self, bucket: &Bucket, key: &str, from: u64) -> Result<Opened> {
        let object = Object::new(bucket, key, "fetch")?;
        let endpoint = self.web(&authority(&object.url));
        let slot = endpoint.download().await;
        let mut call = object.call(Method::GET, sign::EMPTY)?;
        call.headers.extend(object::range(from).map(|range| (RANGE, range)));
        let response = endpoint.expect(&call, &[200, 206]).await?;
        Ok(Opened { response, endpoint, slot })
    }

    async fn ask(
        &self,
        object: &Object<'_>,
        method: Method,
        content: &str,
        payload: Option<Payload<'_>>,
        expected: &[u16],
    ) -> Result<Response> {
        let mut call = object.call(method, content)?;
        call.payload = payload;
        self.web(&authority(&object.url)).expect(&call, expected).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_in_the_host_or_in_the_path() {
        let url = |endpoint: Option<&str>, in_path| {
            let bucket = Bucket::new("b", "eu-west-1", endpoint, in_path);
            bucket.url("a b/sha256:1").map(|url| url.to_string()).ok()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(url(Some("http://h:9/"), true), some("http://h:9/b/a%20b/sha256%3A1"));
        assert_eq!(url(Some("http://s.test"), false), some("http://b.s.test/a%20b/sha256%3A1"));
        assert!(url(None, false).is_some_and(|url| url.contains("//b.s3.eu-west-1.")));
        assert_eq!(url(Some("h:9"), true), some("https://h:9/b/a%20b/sha256%3A1"));
        assert_eq!(url(Some("file:///h"), true), None);
    }
}
