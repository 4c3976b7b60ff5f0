//! Reading streams from outside of workflows.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::super::events;
use super::super::shared::Shared;
use super::super::wait;
use super::source::{Next, Source};
use super::values::Values;
use super::{decode, late};
use crate::error::{Error, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::stream::{StreamEnd, StreamRun};

/// Values of one page at most.
const LONGEST_PAGE: u32 = 1000;

/// The values of a workflow's stream with their offsets, from the first one to the end, live.
///
/// Set what is to be set before the first poll. It owns what it needs, so it can be the body of an HTTP response. While
/// it waits it holds no connection and asks the database nothing; readers of one stream in one process share its looks.
///
/// The stream ends where the workflow closed it, or with the workflow. A value that is [late](Self::timeout), of another
/// type, or in another language's format is an error in its place, and the reader goes on with the next one. Any other
/// error is the last item: [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow), [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not
/// answer, [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown).
#[must_use = "a stream reads nothing until it is polled"]
pub struct StreamReader<T> {
    values: Values,
    value: PhantomData<fn() -> T>,
}

impl<T> StreamReader<T> {
    pub(crate) fn new(shared: &Arc<Shared>, id: &WorkflowId, key: &str) -> Self {
        Self { values: Values::new(Source::new(shared, id, key)), value: PhantomData }
    }

    /// The offset of the first value to read; 0 by default.
    pub fn from(mut self, offset: u64) -> Self {
        self.values.from(offset);
        self
    }

    /// How long to wait for each value; for ever by default. What does not come in time is
    /// [`ErrorKind::StreamTimeout`](crate::ErrorKind::StreamTimeout), and the next poll waits anew. Zero takes what is there.
    pub fn timeout(mut self, for_each: Duration) -> Self {
        self.values.timeout(for_each);
        self
    }

    /// How the stream ended, once the reader has come to its end.
    pub fn end(&self) -> Option<StreamEnd> {
        self.values.end()
    }
}

impl<T: DeserializeOwned> StreamReader<T> {
    /// The next value with its offset, without the need for an extension trait. `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// Safe: a value is taken when it is returned.
    pub async fn next(&mut self) -> Option<Result<(u64, T)>> {
        StreamExt::next(self).await
    }
}

impl<T: DeserializeOwned> Stream for StreamReader<T> {
    type Item = Result<(u64, T)>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.values.poll_next_unpin(cx));
        Poll::Ready(item.map(|item| item.and_then(|value| decode(&value))))
    }
}

impl<T> fmt::Debug for StreamReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").field("running", &self.values.running()).finish_non_exhaustive()
    }
}

/// A part of a stream as it is now, without types.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StreamPage {
    /// The values with their offsets, without a gap. One in another language's format is given as its text.
    pub values: Vec<(u64, Json)>,
    /// The offset to go on at.
    pub next: u64,
    /// Whether the workflow closed the stream after the last of these values.
    pub closed: bool,
    /// Whether the workflow has ended: a page without values is the end then.
    pub ended: bool,
}

/// See [`Dbos::stream_page`].
pub(crate) async fn page(
    shared: &Shared,
    id: &WorkflowId,
    key: &str,
    from: u64,
    limit: u32,
) -> Result<StreamPage> {
    let run = run(shared, id, key, from, limit).await?;
    let (next, ended) = (super::unsigned(run.next()), run.ended());
    let values =
        (super::unsigned(run.from)..).zip(run.values).map(|(offset, stored)| (offset, events::value(stored)));
    Ok(StreamPage { values: values.collect(), next, closed: run.closed, ended })
}

/// The values that are there from an offset on.
pub(super) async fn run(
    shared: &Shared,
    id: &WorkflowId,
    key: &str,
    from: u64,
    limit: u32,
) -> Result<StreamRun> {
    limits::text("stream key", key)?;
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Error::invalid(format!("a page of {limit} values is not between 1 and {LONGEST_PAGE}")));
    }
    let from = super::source::offset(from)?;
    let run = wait::briefly(shared, || shared.store.stream(id.as_str(), key, from, limit)).await?;
    run.ok_or_else(|| Error::no_workflow(id.as_str()))
}

/// See [`Dbos::read_stream_offset`].
pub(crate) async fn value_at<T: DeserializeOwned>(
    shared: &Arc<Shared>,
    id: &WorkflowId,
    key: &str,
    offset: u64,
    timeout: Option<Duration>,
) -> Result<T> {
    limits::duration("a stream's time limit", timeout.unwrap_or_default())?;
    match Source::new(shared, id, key)?.from(offset)?.next(timeout).await? {
        Next::Value(value) => decode(&value).map(|(_, value)| value),
        Next::Late => Err(late()),
        Next::End(_) => Err(super::over(offset)),
    }
}
