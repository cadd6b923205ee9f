//! Hashing values so that equal hashes mean equal values: canonical, and apart by domain.
//!
//! The rules, which are a format and must not change while stores live:
//!
//! - Everything is encoded into one string of bytes, of which the blake3 is taken.
//! - First comes the domain, a text that names the kind of thing being hashed, as a string.
//! - A string of bytes or of text is its length as a `u64`, then the bytes. A `u64` or `i64` is
//!   its eight bytes, little-endian; a `bool` is one byte, 0 or 1; an id is its 32 bytes.
//! - An option is the `bool` of being there, then the value. A sequence is its length as a `u64`,
//!   then the values.
//!
//! So no encoding is the beginning of another of the same shape. A [`serde::Serialize`] value does
//! not have a shape known beforehand, so there every value begins with a tag (see the `value`
//! module below), names of fields and of variants are hashed as strings, and the entries of a map
//! are sorted by the encoding of their keys.

mod value;

use serde::Serialize;

use crate::id::{ContentId, Key};

pub use value::Unhashable;

/// How much is encoded before it is given to blake3.
const CHUNK: usize = 1 << 16;

/// Hashes fields one after the other; see the module for the rules.
#[derive(Debug)]
pub struct Hasher {
    bytes: Vec<u8>,
    /// What did not fit into `bytes`; most values never need it.
    hashed: Option<Box<blake3::Hasher>>,
}

impl Hasher {
    /// Starts a hash of the kind of thing that `domain` names.
    pub fn new(domain: &'static str) -> Self {
        let mut hasher = Self { bytes: Vec::with_capacity(512), hashed: None };
        hasher.str(domain);
        hasher
    }

    /// Hashes a string of bytes, with its length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u64(bytes.len() as u64);
        self.raw(bytes)
    }

    /// Hashes a text, with its length.
    pub fn str(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Hashes a number.
    pub fn u64(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_le_bytes())
    }

    /// Hashes a number that may be negative.
    pub fn i64(&mut self, number: i64) -> &mut Self {
        self.raw(&number.to_le_bytes())
    }

    /// Hashes a truth value.
    pub fn bool(&mut self, truth: bool) -> &mut Self {
        self.raw(&[truth.into()])
    }

    /// Hashes the 32 bytes of an id.
    pub fn id(&mut self, id: &[u8; 32]) -> &mut Self {
        self.raw(id)
    }

    /// Hashes whether there is a value, and the value by `hash` if there is.
    pub fn option<T>(&mut self, value: Option<T>, hash: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            hash(self, value);
        }
        self
    }

    /// Hashes the number of values, and each by `hash`.
    pub fn sequence<T, I>(&mut self, values: I, mut hash: impl FnMut(&mut Self, T)) -> &mut Self
    where
        I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    {
        let values = values.into_iter();
        self.u64(values.len() as u64);
        for value in values {
            hash(self, value);
        }
        self
    }

    /// Hashes any serializable value.
    ///
    /// Fails only for what has no canonical form: a map with one key twice, or a value whose own
    /// `Serialize` fails.
    pub fn value(&mut self, value: &impl Serialize) -> Result<&mut Self, Unhashable> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 8]);
        if let Err(error) = value::encode(value, &mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        let (length, encoded) = self.bytes[start..].split_at_mut(8);
        length.copy_from_slice(&(encoded.len() as u64).to_le_bytes());
        // What has become too long is hashed now.
        Ok(self.raw(&[]))
    }

    /// Ends as the name of a question to the cache.
    pub fn key(self) -> Key {
        Key::from_bytes(self.finish())
    }

    /// Ends as the name of contents.
    pub fn content(self) -> ContentId {
        ContentId::from_bytes(self.finish())
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        match self.hashed {
            Some(mut hashed) => hashed.update(&self.bytes).finalize().into(),
            None => blake3::hash(&self.bytes).into(),
        }
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        if self.bytes.len() + bytes.len() > CHUNK {
            let hashed = self.hashed.get_or_insert_default();
            hashed.update(&self.bytes);
            hashed.update(bytes);
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        self
    }
}

/// The key of any serializable value, apart from the values of other domains.
///
/// ```
/// let key = rbuild_cache::hash::key_of("example", &("make", ["all"]))?;
/// assert_ne!(key, rbuild_cache::hash::key_of("example", &("make", ["test"]))?);
/// # Ok::<(), rbuild_cache::hash::Unhashable>(())
/// ```
pub fn key_of(domain: &'static str, value: &impl Serialize) -> Result<Key, Unhashable> {
    let mut hasher = Hasher::new(domain);
    hasher.value(value)?;
    Ok(hasher.key())
}

#[cfg(test)]
mod tests;
