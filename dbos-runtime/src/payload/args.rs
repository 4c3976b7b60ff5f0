//! A workflow's input as positional and named arguments.
//!
//! A tuple is as many positional arguments as it has parts, unit is none, [`Arguments`] are what they say, and any other
//! value is one. Only the serializer knows which of the four a type is, so a probe asks it.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::ser::{Error as _, Impossible, Serialize, Serializer};
use serde_json::Value;

use super::arguments::{Arguments, ENVELOPE};
use super::{undecodable, unencodable};
use crate::error::Result;

/// An input as stored text.
pub(crate) fn encode_input<T: Serialize + ?Sized>(input: &T) -> Result<String> {
    let value = serde_json::to_string(input).map_err(|error| unencodable(&error))?;
    let arguments = match shape_of(input) {
        Shape::Envelope => return Ok(value),
        Shape::None => "[]".to_owned(),
        Shape::Many => value,
        Shape::One => format!("[{value}]"),
    };
    Ok(format!(r#"{{"positionalArgs":{arguments},"namedArgs":{{}}}}"#))
}

/// A stored input as a value: positional arguments first, named ones as the fields of a struct.
pub(crate) fn decode_input<T: DeserializeOwned>(text: &str) -> Result<T> {
    let given: Arguments = serde_json::from_str(text).map_err(|error| undecodable(&error))?;
    T::deserialize(Given(given)).map_err(|error| undecodable(&error))
}

enum Shape {
    None,
    One,
    Many,
    Envelope,
}

fn shape_of<T: Serialize + ?Sized>(value: &T) -> Shape {
    match value.serialize(Probe) {
        Err(error) if error.to_string() == TUPLE => Shape::Many,
        Err(error) if error.to_string() == UNIT => Shape::None,
        Err(error) if error.to_string() == ENVELOPE => Shape::Envelope,
        _ => Shape::One,
    }
}

const TUPLE: &str = "tuple";
const UNIT: &str = "unit";
const OTHER: &str = "other";

/// Writes nothing; its error says at the first call which of the four shapes the value has.
struct Probe;

type Never = Impossible<(), serde_json::Error>;

macro_rules! other {
    ($($method:ident($($argument:ty),*);)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<(), serde_json::Error> { Err(serde_json::Error::custom(OTHER)) })*
    };
}

impl Serializer for Probe {
    type Ok = ();
    type Error = serde_json::Error;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    other! {
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64); serialize_f32(f32);
        serialize_f64(f64); serialize_char(char); serialize_str(&str); serialize_bytes(&[u8]); serialize_none();
        serialize_unit_struct(&'static str); serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_unit(self) -> Result<(), Self::Error> {
        Err(Self::Error::custom(UNIT))
    }

    fn serialize_tuple(self, _: usize) -> Result<Never, Self::Error> {
        Err(Self::Error::custom(TUPLE))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Self::Error> {
        Err(Self::Error::custom(OTHER))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: &T,
    ) -> Result<(), Self::Error> {
        Err(Self::Error::custom(if name == ENVELOPE { ENVELOPE } else { OTHER }))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Self::Error> {
        Err(Self::Error::custom(OTHER))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Never, Self::Error> {
        Err(Self::Error::custom(OTHER))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Never, Self::Error> {
        Err(Self::Error::custom(OTHER))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, Self::Error> {
        Err(Self::Error::custom(OTHER))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Never, Self::Error> {
        Err(Self::Error::custom(OTHER))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Never, Self::Error> {
        Err(Self::Error::custom(OTHER))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, Self::Error> {
        Err(Self::Error::custom(OTHER))
    }
}

/// The stored arguments as what the workflow asks for.
struct Given(Arguments);

impl Given {
    /// The single argument that a type other than a tuple stands for.
    fn one(self) -> Result<Value, serde_json::Error> {
        let Arguments { mut positional, named } = self.0;
        match (positional.pop(), positional.len(), named.is_empty()) {
            (Some(value), 0, true) => Ok(value),
            (None, _, false) => Ok(Value::Object(named)),
            (None, _, true) => Ok(Value::Null),
            (Some(_), more, _) => Err(serde::de::Error::custom(format_args!(
                "expected one argument, found {} positional and {} named",
                more + 1,
                named.len()
            ))),
        }
    }
}

macro_rules! one_argument {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> { self.one()?.$method(visitor) })*
    };
}

impl<'de> Deserializer<'de> for Given {
    type Error = serde_json::Error;

    one_argument! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_option deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.one()?.deserialize_unit(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.one()?.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Self::Error> {
        let Arguments { positional, named } = self.0;
        if positional.len() != len || !named.is_empty() {
            return Err(serde::de::Error::custom(format_args!(
                "expected {len} positional arguments, found {} and {} named",
                positional.len(),
                named.len()
            )));
        }
        let mut parts = SeqDeserializer::new(positional.into_iter());
        let value = visitor.visit_seq(&mut parts)?;
        parts.end()?;
        Ok(value)
    }

    /// A struct may be the one argument; else each argument is a field, by its position or by its name.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Arguments { positional, named } = &self.0;
        if positional.len() <= 1 && named.is_empty() {
            return self.one()?.deserialize_struct(name, fields, visitor);
        }
        if positional.len() > fields.len() {
            return Err(serde::de::Error::custom(format_args!(
                "expected at most {} arguments, found {}",
                fields.len(),
                positional.len()
            )));
        }
        let Arguments { positional, named } = self.0;
        let by_position = fields.iter().map(|field| (*field).to_owned()).zip(positional);
        visitor.visit_map(MapDeserializer::new(by_position.chain(named)))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if name == ENVELOPE {
            let envelope = serde_json::to_value(self.0)?;
            return visitor.visit_newtype_struct(envelope);
        }
        self.one()?.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.one()?.deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.one()?.into_deserializer().deserialize_enum(name, variants, visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    struct Cart {
        sku: String,
        count: u32,
    }

    fn cart() -> Cart {
        Cart { sku: "w".to_owned(), count: 2 }
    }

    #[test]
    fn a_tuple_is_many_arguments_and_anything_else_is_one() {
        let cases = [
            (encode_input(&()).unwrap(), r#"{"positionalArgs":[],"namedArgs":{}}"#),
            (encode_input(&5).unwrap(), r#"{"positionalArgs":[5],"namedArgs":{}}"#),
            (encode_input(&(5, "a")).unwrap(), r#"{"positionalArgs":[5,"a"],"namedArgs":{}}"#),
            (encode_input(&vec![1, 2]).unwrap(), r#"{"positionalArgs":[[1,2]],"namedArgs":{}}"#),
            (encode_input(&None::<u8>).unwrap(), r#"{"positionalArgs":[null],"namedArgs":{}}"#),
            (encode_input(&cart()).unwrap(), r#"{"positionalArgs":[{"sku":"w","count":2}],"namedArgs":{}}"#),
        ];
        for (encoded, expected) in cases {
            assert_eq!(encoded, expected);
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        decode_input::<()>(&encode_input(&()).unwrap()).unwrap();
        assert_eq!(
            decode_input::<(u8, String)>(&encode_input(&(5, "a")).unwrap()).unwrap(),
            (5, "a".to_owned())
        );
        assert_eq!(decode_input::<Vec<u8>>(&encode_input(&vec![1, 2]).unwrap()).unwrap(), [1, 2]);
        assert_eq!(decode_input::<Option<u8>>(&encode_input(&None::<u8>).unwrap()).unwrap(), None);
        assert_eq!(decode_input::<Cart>(&encode_input(&cart()).unwrap()).unwrap(), cart());
    }

    #[test]
    fn the_spellings_of_other_languages_are_read() {
        let spaced = r#"{"positionalArgs" : [5], "namedArgs" : {}}"#;
        assert_eq!(decode_input::<u8>(spaced).unwrap(), 5);
        assert_eq!(decode_input::<u8>(r#"{"positionalArgs":[5]}"#).unwrap(), 5);
        decode_input::<()>(r#"{"namedArgs":null,"positionalArgs":null}"#).unwrap();
        for text in [
            r#"{"namedArgs":{"sku":"w","count":2}}"#,
            r#"{"positionalArgs":["w",2]}"#,
            r#"{"positionalArgs":["w"],"namedArgs":{"count":2}}"#,
        ] {
            assert_eq!(decode_input::<Cart>(text).unwrap(), cart(), "{text}");
        }
    }

    #[test]
    fn arguments_are_stored_and_handed_back_as_they_are() {
        let text = r#"{"positionalArgs":[5],"namedArgs":{"b":[]}}"#;
        let arguments = decode_input::<Arguments>(text).unwrap();
        assert_eq!(encode_input(&arguments).unwrap(), text);
        assert_eq!(decode_input::<Arguments>("{}").unwrap(), Arguments::default());
    }

    #[test]
    fn the_wrong_number_of_arguments_is_refused() {
        for (text, part) in [
            (r#"{"positionalArgs":[1,2]}"#, "expected one argument"),
            (r#"{"positionalArgs":[1],"namedArgs":{"x":1}}"#, "expected one argument"),
            ("not json {{{", "expected"),
            ("[]", "invalid length"),
        ] {
            let error = decode_input::<u8>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(decode_input::<(u8, u8)>(r#"{"positionalArgs":[1]}"#).is_err());
        for text in [
            r#"{"positionalArgs":["w",2,3]}"#,
            r#"{"positionalArgs":["w"],"namedArgs":{"sku":"w","count":2}}"#,
            r#"{"positionalArgs":["w"],"namedArgs":{"number":2}}"#,
        ] {
            assert!(decode_input::<Cart>(text).is_err(), "{text}");
        }
    }
}
