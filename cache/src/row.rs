//! Values of rows of the index in few bytes: a build reads many, and nothing else ever does.
//!
//! An id is its bytes, a number is little-endian, a text or a list is its length as a `u32` and
//! what is in it, and what may be missing has a byte before it that says whether it is there.

use crate::id::{ContentId, Digest, LayerId};
use crate::snapshot::{Blob, Layer, Outputs, Snapshot};

const MADE: u8 = 0;
const PULLED: u8 = 1;
const FOLDER: u8 = 2;

/// The bytes of results.
pub(crate) fn encode(outputs: &[Snapshot]) -> Vec<u8> {
    let mut row = Row(Vec::with_capacity(256));
    row.length(outputs.len());
    for Snapshot { content, layers } in outputs {
        row.bytes(content.as_bytes());
        row.length(layers.len());
        layers.iter().for_each(|layer| row.layer(layer));
    }
    row.0
}

/// The results that bytes stand for, if they stand for any.
pub(crate) fn decode(bytes: &[u8]) -> Option<Outputs> {
    let mut rest = Rest(bytes);
    let outputs = rest.list(|rest| {
        let content = ContentId::from_bytes(rest.array()?);
        Some(Snapshot { content, layers: rest.list(Rest::layer)?.into() })
    })?;
    rest.0.is_empty().then(|| outputs.into())
}

/// A row that grows.
struct Row(Vec<u8>);

impl Row {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn length(&mut self, length: usize) {
        let length = u32::try_from(length).expect("a row is far smaller than four gibibytes");
        self.bytes(&length.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.0.push(value.is_some().into());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn layer(&mut self, layer: &Layer) {
        match layer {
            Layer::Made(id) => {
                self.0.push(MADE);
                self.bytes(id.as_bytes());
            }
            Layer::Pulled { diff_id, blob } => {
                let Blob { digest, size, media_type, from, created } = blob;
                self.0.push(PULLED);
                self.bytes(diff_id.as_bytes());
                self.bytes(digest.as_bytes());
                self.bytes(&size.to_le_bytes());
                self.text(media_type);
                self.option(from.as_deref(), Self::text);
                self.option(*created, |row, created| row.bytes(&created.to_le_bytes()));
            }
            Layer::Folder { name } => {
                self.0.push(FOLDER);
                self.text(name);
            }
        }
    }
}

/// What is left of a row that is read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn length(&mut self) -> Option<usize> {
        u32::from_le_bytes(self.array()?).try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }

    fn list<T>(&mut self, mut take: impl FnMut(&mut Rest<'a>) -> Option<T>) -> Option<Vec<T>> {
        (0..self.length()?).map(|_| take(self)).collect()
    }

    #[expect(clippy::option_option, reason = "whether it can be read, and whether it is there")]
    fn option<T>(&mut self, take: impl FnOnce(&mut Rest<'a>) -> Option<T>) -> Option<Option<T>> {
        match self.array()? {
            [0] => Some(None),
            [1] => take(self).map(Some),
            _ => None,
        }
    }

    fn layer(&mut self) -> Option<Layer> {
        match self.array()? {
            [MADE] => Some(Layer::Made(LayerId::from_bytes(self.array()?))),
            [PULLED] => Some(Layer::Pulled {
                diff_id: Digest::from_bytes(self.array()?),
                blob: Blob {
                    digest: Digest::from_bytes(self.array()?),
                    size: u64::from_le_bytes(self.array()?),
                    media_type: self.text()?,
                    from: self.option(Self::text)?,
                    created: self.option(|rest| rest.array().map(i64::from_le_bytes))?,
                },
            }),
            [FOLDER] => Some(Layer::Folder { name: self.text()? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_whole_or_not_at_all() {
        let digest = Digest::from_bytes([7; 32]);
        let pulled = |from: Option<&str>, created| {
            let (media_type, from) = ("tär".to_owned(), from.map(str::to_owned));
            let blob = Blob { digest, size: u64::MAX, media_type, from, created };
            Layer::Pulled { diff_id: digest, blob }
        };
        let layers = [
            Layer::Made(LayerId::from_bytes([9; 16])),
            pulled(None, Some(-1)),
            pulled(Some("registry/image:tag"), None),
            Layer::Folder { name: String::new() },
        ];
        let snapshot = |layers: &[Layer]| {
            let content = ContentId::from_bytes([1; 32]);
            Snapshot { content, layers: layers.into() }
        };
        let outputs: Outputs = [snapshot(&layers), snapshot(&[])].into();
        let row = encode(&outputs);
        assert_eq!(decode(&row).unwrap(), outputs);
        assert_eq!(decode(&encode(&[])).unwrap().len(), 0);
        for length in 0..row.len() {
            assert_eq!(decode(&row[..length]), None, "{length}");
        }
        assert_eq!(decode(&[&row[..], &[0]].concat()), None);
        assert_eq!(decode(&[0xff; 8]), None, "a length that is a lie takes no memory");
        assert_eq!(decode(&serde_json::to_vec(&outputs).unwrap()), None);
    }
}
