//! Checksums of rows: what a damaged file makes of a row is noticed.

/// Puts the checksum of a row before its value.
pub(crate) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&checksum(key, value), value].concat()
}

/// The value of a row, unless something of the row has changed since it was sealed.
pub(crate) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, value) = sealed.split_first_chunk::<8>()?;
    (*sum == checksum(key, value)).then_some(value)
}

/// The first bytes of the hash of a row, key and value.
fn checksum(key: &[u8], value: &[u8]) -> [u8; 8] {
    let mut hash = blake3::Hasher::new();
    hash.update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
    let mut sum = [0; 8];
    hash.finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_in_doubt_is_no_row() {
        let sealed = seal(b"key", b"value");
        assert_eq!(unseal(b"key", &sealed).unwrap(), b"value");
        assert_eq!(unseal(b"other", &sealed), None);
        assert_eq!(unseal(b"key", &sealed[..7]), None);
        for place in 0..sealed.len() {
            let mut wrong = sealed.clone();
            wrong[place] ^= 1;
            assert_eq!(unseal(b"key", &wrong), None);
        }
    }
}
