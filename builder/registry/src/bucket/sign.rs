//! Signatures of requests, as "Authenticating Requests (AWS Signature Version 4)" has them.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

use super::Access;

/// The sha256 of nothing.
pub(super) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed of a request without a query.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    /// As it is sent.
    pub(super) path: &'a str,
    pub(super) region: &'a str,
    /// The sha256 of what is sent, in hexadecimal digits.
    pub(super) content: &'a str,
    /// `20130524T000000Z`.
    pub(super) time: String,
}

impl Request<'_> {
    /// The headers that the request gets.
    pub(super) fn signed(&self, access: &Access) -> Vec<(String, String)> {
        let mut headers = vec![
            ("x-amz-content-sha256".to_owned(), self.content.to_owned()),
            ("x-amz-date".to_owned(), self.time.clone()),
        ];
        if let Some(session) = &access.session {
            headers.push(("x-amz-security-token".to_owned(), session.clone()));
        }
        let authorization = self.authorization(access, &headers);
        headers.push(("authorization".to_owned(), authorization));
        headers
    }

    /// The header that proves who asks; `headers` are signed beside the host, in order.
    fn authorization(&self, access: &Access, headers: &[(String, String)]) -> String {
        let mut all = vec![("host".to_owned(), self.host.to_owned())];
        all.extend_from_slice(headers);
        all.sort();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let Self { method, path, content, time, region, .. } = self;
        let mut request = format!("{method}\n{path}\n\n");
        for (name, value) in &all {
            let _ = writeln!(request, "{name}:{}", value.trim());
        }
        let _ = write!(request, "\n{names}\n{content}");
        let day = &time[..time.len().min(8)];
        let scope = format!("{day}/{region}/s3/aws4_request");
        let digest = hex(&Sha256::digest(request));
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{digest}");
        let first = format!("AWS4{}", access.secret).into_bytes();
        let parts = [day, region, "s3", "aws4_request"];
        let key = parts.into_iter().fold(first, |key, part| keyed(&key, part));
        let (id, signature) = (&access.id, hex(&keyed(&key, &text)));
        format!("{ALGORITHM} Credential={id}/{scope},SignedHeaders={names},Signature={signature}")
    }
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A key of an object as it stands in an address.
pub(super) fn encoded(key: &str) -> String {
    key.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            other => {
                let _ = write!(text, "%{other:02X}");
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_in_the_documentation() {
        let access = Access {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session: None,
        };
        let request = Request {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            region: "us-east-1",
            content: EMPTY,
            time: "20130524T000000Z".to_owned(),
        };
        let headers = [
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let signed = request.authorization(&access, &headers);
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(signed.ends_with(&format!("Signature={expected}")), "{signed}");
    }
}
