//! Reading streams inside of workflows: each delivered value is a step.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::super::context::Ctx;
use super::super::durable::Durable;
use super::super::execution::Execution;
use super::super::replay;
use super::source::{Next, Source};
use super::{late, over};
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::mailbox::Stored;
use crate::model::step::StepRow;
use crate::model::stream::CLOSED;
use crate::payload;

const READ: &str = "DBOS.readStream";
const READ_OFFSET: &str = "DBOS.readStreamOffset";

/// A workflow's stream as another workflow reads it, from the first value on.
///
/// Each value that [`next`](Self::next) gives is recorded as a step, and so are the end and the lack of a value in time.
/// A replay gives the same again without a look at the stream. Stop whenever you like: nothing is held between two
/// values.
#[must_use = "a stream reads nothing until its next value is asked for"]
pub struct RecordedStream<T, E> {
    execution: Arc<Execution>,
    place: Place,
    timeout: Option<Duration>,
    ended: bool,
    value: PhantomData<fn() -> (T, E)>,
}

/// A read of one value that has been called and not yet awaited.
pub type ReadStreamOffset<T, E> = Durable<'static, ReadStreamOptions, T, E>;

/// What can still be set on a [`ReadStreamOffset`].
#[derive(Debug, Default)]
pub struct ReadStreamOptions {
    timeout: Option<Duration>,
}

impl<T, E> ReadStreamOffset<T, E> {
    /// How long to wait for the value; for ever by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = Some(timeout))
    }
}

impl<S, E: DurableError> Ctx<S, E> {
    /// Reads a workflow's stream, value by value; each one is a step.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Ctx, Error, WorkflowId};
    /// async fn sum(ctx: Ctx, of: WorkflowId) -> Result<u64, Error> {
    ///     let (mut numbers, mut sum) = (ctx.read_stream::<u64>(&of, "numbers"), 0);
    ///     while let Some((_offset, number)) = numbers.next().await? {
    ///         sum += number;
    ///     }
    ///     Ok(sum)
    /// }
    /// ```
    pub fn read_stream<T: DeserializeOwned>(&self, from: &WorkflowId, key: &str) -> RecordedStream<T, E> {
        let place = Place { id: from.clone(), key: key.to_owned(), offset: 0, source: None };
        let execution = Arc::clone(&self.execution);
        RecordedStream { execution, place, timeout: None, ended: false, value: PhantomData }
    }

    /// Reads one value of a stream, waiting for it, and records it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StreamTimeout`] when it does not come in [time](ReadStreamOffset::timeout), or the stream ends before
    /// it; [`ErrorKind::NonExistentWorkflow`]. Both are recorded: a replay gives the same.
    pub fn read_stream_offset<T: DeserializeOwned + Send + 'static>(
        &self,
        from: &WorkflowId,
        key: &str,
        offset: u64,
    ) -> ReadStreamOffset<T, E> {
        let mut place = Place { id: from.clone(), key: key.to_owned(), offset, source: None };
        if let Err(error) = place.check() {
            return Durable::refused(&self.execution, error);
        }
        Durable::build(&self.execution, 1, move |execution, number, options: ReadStreamOptions| async move {
            limits::duration("a stream's time limit", options.timeout.unwrap_or_default())?;
            let stored = read(&execution, number, READ_OFFSET, &mut place, options.timeout).await?;
            let stored = stored.ok_or_else(|| over(offset))?;
            payload::readable(stored.serialization.as_deref())?;
            Ok(payload::decode(&stored.value)?)
        })
    }
}

impl<T, E> RecordedStream<T, E> {
    /// The offset of the first value to read; 0 by default.
    pub fn from(mut self, offset: u64) -> Self {
        self.place.offset = offset;
        self
    }

    /// How long to wait for each value; for ever by default.
    pub fn timeout(self, for_each: Duration) -> Self {
        Self { timeout: Some(for_each), ..self }
    }
}

impl<T: DeserializeOwned + Send + 'static, E: DurableError> RecordedStream<T, E> {
    /// The next value with its offset; `None` at the end. Takes one step number, after the end none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StreamTimeout`] for a value that does not come in time, and [`ErrorKind::Serialization`] for one of
    /// another type; the reader can go on after both. [`ErrorKind::NonExistentWorkflow`].
    /// [`ErrorKind::StreamNondeterminism`] while a value of another stream is awaited: which comes first is chance, and a
    /// replay would mix them up.
    #[expect(clippy::should_implement_trait, reason = "a stream's next, which is awaited, and no iterator's")]
    pub fn next(&mut self) -> Durable<'_, (), Option<(u64, T)>, E> {
        let Self { execution, place, timeout, ended, .. } = self;
        if *ended {
            return Durable::build(execution, 0, |_, _, ()| async { Ok(None) });
        }
        let timeout = *timeout;
        let checked = place
            .check()
            .and_then(|()| limits::duration("a stream's time limit", timeout.unwrap_or_default()))
            .and_then(|()| Reading::begin(execution));
        let reading = match checked {
            Ok(reading) => reading,
            Err(error) => return Durable::refused(execution, error),
        };
        Durable::build(execution, 1, move |execution, number, ()| async move {
            let offset = place.offset;
            let stored = read(&execution, number, READ, place, timeout).await?;
            drop(reading);
            let Some(stored) = stored else {
                *ended = true;
                return Ok(None);
            };
            place.offset += 1;
            payload::readable(stored.serialization.as_deref())?;
            Ok(Some((offset, payload::decode(&stored.value)?)))
        })
    }
}

impl<T, E> fmt::Debug for RecordedStream<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedStream")
            .field("of", &self.place.id)
            .field("key", &self.place.key)
            .field("offset", &self.place.offset)
            .finish_non_exhaustive()
    }
}

/// Where a workflow stands in a stream.
struct Place {
    id: WorkflowId,
    key: String,
    offset: u64,
    /// Opened by the first value that is not in the record.
    source: Option<Source>,
}

impl Place {
    fn check(&self) -> Result<()> {
        limits::text("stream key", &self.key)?;
        super::source::offset(self.offset).map(drop)
    }
}

/// One value of a stream is awaited by this execution.
struct Reading(Arc<Execution>);

impl Reading {
    fn begin(execution: &Arc<Execution>) -> Result<Self> {
        if execution.reading.swap(true, Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::StreamNondeterminism,
                "two streams were read at the same time: which value comes first cannot be replayed",
            )
            .about(&execution.fence.id));
        }
        Ok(Self(Arc::clone(execution)))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.store(false, Ordering::Relaxed);
    }
}

/// A value, or the end, from the record; else from the stream, recorded. A refusal is an answer too.
async fn read(
    execution: &Arc<Execution>,
    number: i32,
    name: &'static str,
    place: &mut Place,
    timeout: Option<Duration>,
) -> Result<Option<Stored>> {
    let recorded = execution.recorded(number);
    if let Some(row) = replay::look(recorded.as_ref(), &execution.fence.id, number, name)? {
        return answer(row);
    }
    execution.live()?;
    let started = execution.now();
    let source = match &mut place.source {
        Some(source) => source,
        none => {
            none.insert(Source::new(&execution.shared, &place.id, &place.key)?.from(place.offset)?.patient())
        }
    };
    let next = tokio::select! {
        next = source.next(timeout) => next,
        () = execution.interrupt.cancelled() => {
            execution.live()?;
            return Err(execution.latch(ErrorKind::ShuttingDown));
        }
    };
    let found = match next {
        Ok(Next::Value(value)) => value.stored().cloned().map(Some).ok_or_else(late),
        Ok(Next::End(_)) if name == READ_OFFSET => Err(over(place.offset)),
        Ok(Next::End(_)) => Ok(None),
        Ok(Next::Late) => Err(late()),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => Err(error),
    };
    let row = StepRow::marker(number, name, started, execution.now());
    let row = match &found {
        Ok(Some(stored)) => StepRow {
            output: Some(stored.value.clone()),
            serialization: stored.serialization.clone().or_else(|| Some(payload::PORTABLE.to_owned())),
            ..row
        },
        Ok(None) => row.with_output(CLOSED.to_owned()),
        Err(error) => row.with_error(payload::encode_error(error)),
    };
    execution.record(vec![row]).await?;
    found
}

/// What a recorded read answers.
fn answer(row: &StepRow) -> Result<Option<Stored>> {
    if let Some(error) = &row.error {
        return Err(payload::decode_error(error));
    }
    let value = row.output.clone().unwrap_or_else(|| "null".to_owned());
    let ended = value == CLOSED && payload::readable(row.serialization.as_deref()).is_ok();
    Ok((!ended).then_some(Stored { value, serialization: row.serialization.clone() }))
}
