//! Digests as registries write them: `sha256:` and 64 hexadecimal digits.

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result, Task};

/// Writes a finished sha256 as a digest.
pub(crate) fn written(hash: Sha256) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").expect("a string takes every write");
    }
    text
}

/// Hashes bytes.
pub(crate) fn of(bytes: &[u8]) -> String {
    written(Sha256::new().chain_update(bytes))
}

/// Accepts digests that can be verified, and so be put into a URL.
pub(crate) fn check(digest: &str, task: &Task) -> Result<()> {
    if is_sha256(digest) {
        return Ok(());
    }
    let shown: String = digest.chars().take(100).filter(|c| !c.is_control()).collect();
    Err(Error::malformed(task, format!("`{shown}` is not a sha256 digest")))
}

/// Whether the text is a sha256 digest in its one valid spelling.
pub(crate) fn is_sha256(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| is_lower_hex(hex, 64))
}

/// Whether the text is that many lower case hexadecimal digits.
pub(crate) fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_of_a_digest_is_taken() {
        let empty = of(b"");
        assert_eq!(
            empty,
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(is_sha256(&empty));
        for wrong in
            ["", "sha256:", "sha256:../../x", &empty[7..], &empty.to_uppercase(), "sha512:00"]
        {
            assert!(!is_sha256(wrong), "{wrong}");
        }
    }
}
