//! Values to stored text and back: portable JSON, which every DBOS SDK reads.
//!
//! Inputs are `{"positionalArgs":[…],"namedArgs":{…}}`, everything else is the bare value, and an error is
//! `{"name":…,"message":…,"code":…,"data":…}`.

mod args;
mod arguments;
mod failure;
mod finite;
mod format;
mod serializer;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

pub(crate) use args::{decode_input, encode_input};
pub use arguments::Arguments;
pub(crate) use failure::{decode_error, encode_error, panicked};
pub(crate) use format::Format;
pub use serializer::Serializer;
pub(crate) use serializer::{Codec, Custom};

/// The `serialization` tag of everything we write, unless a serializer is configured.
pub(crate) const PORTABLE: &str = "portable_json";

/// A value as the text of a result, a message or an event.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    finite::to_string(value).map_err(|error| unencodable(&error))
}

/// Attributes as text: at most [`limits::ATTRIBUTE_BYTES`] bytes, and, since Postgres keeps them as `jsonb`, without NUL.
pub(crate) fn attributes(attributes: &Map<String, Value>) -> Result<String> {
    if attributes.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)) {
        return Err(Error::invalid("attributes must not contain NUL"));
    }
    let text = encode(attributes)?;
    if text.len() > limits::ATTRIBUTE_BYTES {
        let (length, most) = (text.len(), limits::ATTRIBUTE_BYTES);
        return Err(Error::invalid(format!("the attributes have {length} bytes; the limit is {most}")));
    }
    Ok(text)
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A stored text as a value.
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| undecodable(&error))
}

/// Refuses text in a format that only another program reads.
pub(crate) fn readable(serialization: Option<&str>) -> Result<()> {
    match serialization {
        None | Some(PORTABLE) => Ok(()),
        Some(other) => Err(Error::new(
            ErrorKind::Serialization,
            format!("the value is stored as {other:?}, which this program cannot read"),
        )),
    }
}

fn unencodable(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Serialization, format!("the value cannot be stored as JSON: {error}"))
}

fn undecodable(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Serialization, format!("the stored JSON is not of the asked type: {error}"))
}
