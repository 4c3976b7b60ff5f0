//! Streams: values that a workflow appends under a key, for anybody to read, live.

mod encoded;
mod reader;
mod recorded;
mod source;
mod tail;
mod values;
mod writer;

use serde::de::DeserializeOwned;

use self::source::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::payload;

pub use self::encoded::{EncodedPage, EncodedStream, EncodedValue};
pub use self::reader::{StreamPage, StreamReader};
pub use self::recorded::{ReadStreamOffset, ReadStreamOptions, RecordedStream};

pub(crate) use self::encoded::{length, page as encoded_page};
pub(crate) use self::reader::{page, value_at};
pub(crate) use self::tail::Streams;
pub(crate) use self::writer::{appended, closing};

/// A value as the reader's type.
fn decode<T: DeserializeOwned>(value: &Value) -> Result<(u64, T)> {
    let Some(stored) = value.stored() else {
        return Err(Error::new(ErrorKind::Database, "a stream's value is not there"));
    };
    payload::readable(stored.serialization.as_deref())?;
    Ok((unsigned(value.offset), payload::decode(&stored.value)?))
}

/// Offsets are never negative.
fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

fn late() -> Error {
    Error::new(ErrorKind::StreamTimeout, "the stream had no further value in time")
}

fn over(offset: u64) -> Error {
    Error::new(ErrorKind::StreamTimeout, format!("the stream ended before offset {offset}"))
}
