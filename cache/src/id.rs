//! Names of things by their content: three kinds of 256-bit ids that cannot be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A string that is not 64 lower-case hexadecimal digits, with the prefix that its kind asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid {1}")]
pub struct InvalidId(String, &'static str);

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes that are already such an id.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 lower-case hexadecimal digits of the id, without any prefix.
            pub fn hex(&self) -> String {
                let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
                digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &self.hex()[..12])
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(parse_hex)
                    .map(Self)
                    .ok_or_else(|| InvalidId(text.to_owned(), $what))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// The sha256 of bytes, as OCI writes it: `sha256:` and 64 hexadecimal digits.
    ///
    /// Names blobs (compressed layers, manifests, configs) and diff ids (uncompressed layer tars);
    /// see the OCI image specification, "Digests".
    Digest,
    "sha256:",
    "digest (sha256:<64 hex digits>)"
);
id!(
    /// The blake3 name of a file tree without its times: equal ids mean equal contents.
    ///
    /// The converse does not hold: the same contents reached by another road may have another id.
    ContentId,
    "",
    "content id"
);
id!(
    /// The blake3 name of a question to the cache: an operation together with its inputs.
    Key,
    "",
    "key"
);

/// The name of one unpacked layer in this store: random, so it says nothing about the contents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId([u8; 16]);

impl LayerId {
    /// Wraps 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the name.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerId({self})")
    }
}

impl FromStr for LayerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let padded = format!("{text:0<64}");
        match parse_hex(&padded) {
            Some(bytes) if text.len() == 32 => {
                let mut id = [0; 16];
                id.copy_from_slice(&bytes[..16]);
                Ok(Self(id))
            }
            _ => Err(InvalidId(text.to_owned(), "layer id")),
        }
    }
}

impl Serialize for LayerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LayerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse() {
        let digest = Digest::from_bytes([0xab; 32]);
        assert_eq!(digest.to_string(), format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let layer = LayerId::from_bytes([7; 16]);
        assert_eq!(layer.to_string().parse(), Ok(layer));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "sha256:", "sha512:00", &format!("sha256:{}", "AB".repeat(32))] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert!("é".repeat(32).parse::<Digest>().is_err());
        assert!("00".repeat(15).parse::<LayerId>().is_err());
    }
}
