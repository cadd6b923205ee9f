//! PAX records: what a tar says about an entry beyond its header.

use super::archive::{Time, invalid};
use crate::error::Result;

/// The PAX records of an entry, as far as they matter.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) modified: Option<Time>,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Records {
    /// Parses records of the form `length key=value\n`, where a later one of a key wins.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let Some((key, value, rest)) = record(bytes) else {
                return invalid("its PAX records are malformed");
            };
            if records.set(key, value).is_none() {
                let key = String::from_utf8_lossy(key);
                return invalid(format!("the PAX record `{key}` is malformed or not supported"));
            }
            bytes = rest;
        }
        Ok(records)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let text = str::from_utf8(value);
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(text.ok()?.parse().ok()?),
            b"uid" => self.user = Some(text.ok()?.parse().ok()?),
            b"gid" => self.group = Some(text.ok()?.parse().ok()?),
            b"mtime" => self.modified = Some(time(text.ok()?)?),
            _ if key.starts_with(b"GNU.sparse.") => return None,
            _ => {
                if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attributes.push((name(attribute)?, value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// A path or name of which no zero byte cuts off the end.
fn name(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec())
}

/// Splits the first record off: its key, its value, and the rest.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// Seconds with a decimal fraction, as seconds and nanoseconds since 1970.
fn time(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}
