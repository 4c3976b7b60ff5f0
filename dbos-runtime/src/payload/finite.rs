//! JSON has no number for NaN or infinity, and its writer puts null there, which no float is read back from: a step would
//! have a result now and none after a restart. So a value with a null in its text is gone through once more.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

type Result<T = (), E = serde_json::Error> = std::result::Result<T, E>;

/// A value as JSON.
pub(super) fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let text = serde_json::to_string(value)?;
    if text.contains("null") {
        value.serialize(Finite)?;
    }
    Ok(text)
}

/// Writes nothing; refuses floats that are no numbers.
struct Finite;

impl Finite {
    fn float(number: f64) -> Result {
        if number.is_finite() {
            Ok(())
        } else {
            Err(serde_json::Error::custom(format!("{number} is not a number")))
        }
    }
}

macro_rules! passes {
    ($($method:ident($($argument:ty),*);)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result { Ok(()) })*
    };
}

macro_rules! opens {
    ($($method:ident($($argument:ty),*);)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<Self> { Ok(self) })*
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = serde_json::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    passes! {
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_i128(i128); serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64);
        serialize_u128(u128); serialize_char(char); serialize_str(&str); serialize_bytes(&[u8]); serialize_none();
        serialize_unit(); serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    opens! {
        serialize_seq(Option<usize>); serialize_tuple(usize); serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize); serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }

    fn serialize_f32(self, number: f32) -> Result {
        Self::float(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result {
        Self::float(number)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result {
        value.serialize(self)
    }
}

/// The parts of a compound: each is gone through, and its end is nothing.
macro_rules! parts {
    ($($compound:ident::$part:ident($($key:ty)?);)*) => {
        $(impl $compound for Finite {
            type Ok = ();
            type Error = serde_json::Error;

            fn $part<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result {
                value.serialize(Finite)
            }

            fn end(self) -> Result {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(&'static str);
    SerializeStructVariant::serialize_field(&'static str);
}

/// Keys are texts by now: the writer has refused any other.
impl SerializeMap for Finite {
    type Ok = ();
    type Error = serde_json::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(Self)
    }

    fn end(self) -> Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Nothing,
        One(f32),
        Two(f64, Option<u8>),
        Named { depth: f64 },
    }

    #[derive(Serialize)]
    struct Measured<T> {
        note: Option<&'static str>,
        value: T,
    }

    fn refused<T: Serialize>(value: T) -> bool {
        let measured = Measured { note: None, value };
        to_string(&measured).is_err_and(|error| error.to_string().ends_with("is not a number"))
    }

    #[test]
    fn what_is_no_number_is_refused_wherever_it_is() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(refused(number));
            assert!(refused(Some(vec![1.0, number])));
            assert!(refused((1, number)));
            assert!(refused(BTreeMap::from([("k", number)])));
            assert!(refused(Shape::Two(number, None)));
            assert!(refused(Shape::Named { depth: number }));
        }
        assert!(refused(Shape::One(f32::NAN)));
    }

    #[test]
    fn anything_else_with_a_null_is_written_as_it_is() {
        assert_eq!(to_string(&()).unwrap(), "null");
        assert_eq!(
            to_string(&Measured { note: None, value: "null" }).unwrap(),
            r#"{"note":null,"value":"null"}"#
        );
        assert_eq!(to_string(&(None::<f64>, 1.5, 1e308, u128::MAX)).unwrap().split(',').count(), 4);
        let shapes = [Shape::Nothing, Shape::One(1.0), Shape::Two(2.0, None), Shape::Named { depth: 0.0 }];
        assert!(to_string(&shapes).is_ok());
    }
}
