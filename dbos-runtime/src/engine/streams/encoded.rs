//! Streams as they are stored, as JSON: for what hands them on without looking into them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_util::StreamExt;
use serde::de::IgnoredAny;

use super::super::shared::Shared;
use super::super::wait;
use super::source::{Source, Value};
use super::values::Values;
use crate::error::Result;
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::stream::StreamEnd;
use crate::payload;

/// The values of a workflow's stream as JSON, live: a [`StreamReader`](crate::StreamReader) that decodes nothing.
///
/// Readers of one stream in one process share the text of its values, so that a thousand of them hold it once. Any error
/// is the last item.
#[must_use = "a stream reads nothing until it is polled"]
pub struct EncodedStream {
    values: Values,
}

impl EncodedStream {
    pub(crate) fn new(shared: &Arc<Shared>, id: &WorkflowId, key: &str) -> Result<Self> {
        Ok(Self { values: Values::new(Ok(Source::new(shared, id, key)?)) })
    }

    /// The offset of the first value to read; 0 by default. Set it before the first poll.
    pub fn from(mut self, offset: u64) -> Self {
        self.values.from(offset);
        self
    }

    /// The next value, without the need for an extension trait. `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// Safe: a value is taken when it is returned.
    pub async fn next(&mut self) -> Option<Result<EncodedValue>> {
        StreamExt::next(self).await
    }

    /// How the stream ended, once the reader has come to its end.
    pub fn end(&self) -> Option<StreamEnd> {
        self.values.end()
    }
}

impl Stream for EncodedStream {
    type Item = Result<EncodedValue>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.values.poll_next_unpin(cx));
        Poll::Ready(item.map(|item| item.map(EncodedValue)))
    }
}

impl fmt::Debug for EncodedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedStream").field("running", &self.values.running()).finish_non_exhaustive()
    }
}

/// A value of a stream as JSON, shared with the other readers of this process.
///
/// The text is one line without CR and LF. What another language stored in a format of its own is a string with that.
pub struct EncodedValue(Value);

impl EncodedValue {
    /// The value's place in the stream.
    pub fn offset(&self) -> u64 {
        super::unsigned(self.0.offset)
    }

    /// The value's text.
    pub fn json(&self) -> &str {
        self.0.line().unwrap_or("null")
    }

    /// Whether the value is stored as JSON, and not in a format that only another language reads.
    pub fn is_readable(&self) -> bool {
        self.0.stored().is_some_and(|stored| {
            let json = serde_json::from_str::<IgnoredAny>(&stored.value).is_ok();
            json && payload::readable(stored.serialization.as_deref()).is_ok()
        })
    }
}

/// The bytes of the JSON.
impl AsRef<[u8]> for EncodedValue {
    fn as_ref(&self) -> &[u8] {
        self.json().as_bytes()
    }
}

impl fmt::Debug for EncodedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedValue").field("offset", &self.offset()).finish_non_exhaustive()
    }
}

/// A part of a stream as it is now, as JSON.
#[derive(Debug)]
#[non_exhaustive]
pub struct EncodedPage {
    /// The values, without a gap.
    pub values: Vec<EncodedValue>,
    /// The offset to go on at.
    pub next: u64,
    /// Whether the workflow closed the stream after the last of these values.
    pub closed: bool,
    /// Whether the workflow has ended: a page without values is the end then.
    pub ended: bool,
}

/// See [`Dbos::encoded_page`].
pub(crate) async fn page(
    shared: &Shared,
    id: &WorkflowId,
    key: &str,
    from: u64,
    limit: u32,
) -> Result<EncodedPage> {
    let run = Arc::new(super::reader::run(shared, id, key, from, limit).await?);
    let (next, closed, ended) = (super::unsigned(run.next()), run.closed, run.ended());
    let values = (0..run.values.len()).map(|index| EncodedValue(Value::of(&run, index))).collect();
    Ok(EncodedPage { values, next, closed, ended })
}

/// See [`Dbos::stream_length`].
pub(crate) async fn length(shared: &Shared, id: &WorkflowId, key: &str) -> Result<u64> {
    limits::text("stream key", key)?;
    wait::briefly(shared, || shared.store.stream_length(id.as_str(), key)).await.map(super::unsigned)
}
