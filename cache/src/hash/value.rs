//! The canonical encoding of any serializable value: a tag, then lengths and values.
//!
//! Tags: `n` nothing (`()` and unit structs), `-` and `+` an absent and a present option, `b` bool,
//! `i` and `u` integers of up to 128 bits (16 bytes, whatever their width was), `f` the bits of an
//! `f64`, `c` char, `s` text, `x` bytes, `l` a sequence, a tuple or a tuple struct (values until
//! `.`), `m` a map (entries sorted by encoded key, then `.`), `o` a struct (names and values in the
//! order of the type, then `.`), `v` a variant: its name, then its contents as one of the above.

use std::fmt::Display;

use serde::ser::{self, Serialize};

/// A value without a canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be hashed: {0}")]
pub struct Unhashable(String);

impl ser::Error for Unhashable {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

/// Puts the encoding of `value` behind what `bytes` holds.
pub(super) fn encode(
    value: &(impl Serialize + ?Sized),
    bytes: &mut Vec<u8>,
) -> Result<(), Unhashable> {
    value.serialize(Encoder(bytes))
}

struct Encoder<'a>(&'a mut Vec<u8>);

impl<'a> Encoder<'a> {
    fn put(self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(bytes);
    }

    fn put_string(self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn open(self, tag: u8) -> Open<'a> {
        self.0.push(tag);
        Open(self.0)
    }

    fn variant(self, name: &str) -> Self {
        Encoder(self.0).put_string(b'v', name.as_bytes());
        self
    }
}

macro_rules! numbers {
    ($tag:literal, $wide:ty: $($method:ident $type:ty),*) => {$(
        fn $method(self, number: $type) -> Result<(), Unhashable> {
            self.put($tag, &<$wide>::from(number).to_le_bytes());
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for Encoder<'a> {
    type Ok = ();
    type Error = Unhashable;
    type SerializeSeq = Open<'a>;
    type SerializeTuple = Open<'a>;
    type SerializeTupleStruct = Open<'a>;
    type SerializeTupleVariant = Open<'a>;
    type SerializeMap = OpenMap<'a>;
    type SerializeStruct = Open<'a>;
    type SerializeStructVariant = Open<'a>;

    numbers!(b'i', i128: serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128);
    numbers!(b'u', u128: serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128);

    fn serialize_bool(self, truth: bool) -> Result<(), Unhashable> {
        self.put(b'b', &[truth.into()]);
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Unhashable> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Unhashable> {
        self.put(b'f', &number.to_bits().to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, letter: char) -> Result<(), Unhashable> {
        self.put(b'c', &u32::from(letter).to_le_bytes());
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Unhashable> {
        self.put_string(b's', text.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Unhashable> {
        self.put_string(b'x', bytes);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Unhashable> {
        self.put(b'-', &[]);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unhashable> {
        self.0.push(b'+');
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unhashable> {
        self.put(b'n', &[]);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unhashable> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &str, _: u32, variant: &str) -> Result<(), Unhashable> {
        self.variant(variant).serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unhashable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unhashable> {
        value.serialize(self.variant(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'a>, Unhashable> {
        Ok(self.open(b'l'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Open<'a>, Unhashable> {
        Ok(self.open(b'l'))
    }

    fn serialize_tuple_struct(self, _: &str, _: usize) -> Result<Open<'a>, Unhashable> {
        Ok(self.open(b'l'))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Open<'a>, Unhashable> {
        Ok(self.variant(variant).open(b'l'))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<OpenMap<'a>, Unhashable> {
        Ok(OpenMap { out: self.0, entries: Vec::new() })
    }

    fn serialize_struct(self, _: &str, _: usize) -> Result<Open<'a>, Unhashable> {
        Ok(self.open(b'o'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Open<'a>, Unhashable> {
        Ok(self.variant(variant).open(b'o'))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A sequence or a struct that is not closed yet.
struct Open<'a>(&'a mut Vec<u8>);

impl Open<'_> {
    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unhashable> {
        value.serialize(Encoder(self.0))
    }

    fn close(self) {
        self.0.push(b'.');
    }
}

macro_rules! open {
    ($($trait:ident $method:ident),*) => {$(
        impl ser::$trait for Open<'_> {
            type Ok = ();
            type Error = Unhashable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unhashable> {
                self.element(value)
            }

            fn end(self) -> Result<(), Unhashable> {
                self.close();
                Ok(())
            }
        }
    )*};
    (named $($trait:ident),*) => {$(
        impl ser::$trait for Open<'_> {
            type Ok = ();
            type Error = Unhashable;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Unhashable> {
                self.element(name)?;
                self.element(value)
            }

            fn end(self) -> Result<(), Unhashable> {
                self.close();
                Ok(())
            }
        }
    )*};
}

open!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);
open!(named SerializeStruct, SerializeStructVariant);

/// A map that is not closed yet: its entries wait to be sorted.
struct OpenMap<'a> {
    out: &'a mut Vec<u8>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ser::SerializeMap for OpenMap<'_> {
    type Ok = ();
    type Error = Unhashable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unhashable> {
        let mut bytes = Vec::new();
        encode(key, &mut bytes)?;
        self.entries.push((bytes, Vec::new()));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unhashable> {
        let entry =
            self.entries.last_mut().ok_or_else(|| Unhashable("a value without key".into()))?;
        encode(value, &mut entry.1)
    }

    fn end(mut self) -> Result<(), Unhashable> {
        self.entries.sort_unstable();
        if self.entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Unhashable("a map has one key twice".into()));
        }
        self.out.push(b'm');
        for (key, value) in self.entries {
            self.out.extend_from_slice(&key);
            self.out.extend_from_slice(&value);
        }
        self.out.push(b'.');
        Ok(())
    }
}
