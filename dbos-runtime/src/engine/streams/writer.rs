//! Appending to a stream of one's own.

use std::sync::Arc;

use serde::Serialize;

use super::super::context::Ctx;
use super::super::durable::Durable;
use super::super::events::{Publish, PublishOptions};
use super::super::execution::Execution;
use super::super::replay;
use crate::error::{DurableError, Error, Result};
use crate::limits;
use crate::model::step::StepRow;
use crate::model::stream::{CLOSED, NewStreamValue};
use crate::model::write::Effects;
use crate::payload;
use crate::payload::Format;

const WRITE: &str = "DBOS.writeStream";
const CLOSE: &str = "DBOS.closeStream";

impl<S, E: DurableError> Ctx<S, E> {
    /// Appends a value to a stream of this workflow, exactly once: the value and this step are one commit.
    ///
    /// A workflow may have any number of streams, each with its key. Offsets count from 0. Writes that are awaited one
    /// after another keep their order; of writes that are awaited together, any may be first.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Ctx, Error};
    /// async fn import(ctx: Ctx, files: Vec<String>) -> Result<(), Error> {
    ///     for file in &files {
    ///         ctx.write_stream("progress", file).await?;
    ///     }
    ///     ctx.close_stream("progress").await
    /// }
    /// ```
    pub fn write_stream<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Publish<E> {
        match appended(key, value) {
            Err(error) => Durable::refused(&self.execution, error),
            Ok(value) => Durable::build(
                &self.execution,
                1,
                move |execution, number, options: PublishOptions| async move {
                    let value = NewStreamValue { format: options.format, ..value };
                    Ok(append(&execution, number, WRITE, value).await?)
                },
            ),
        }
    }

    /// Closes a stream: its readers end here, also before the workflow does. A stream that is not closed ends with the
    /// workflow.
    pub fn close_stream(&self, key: &str) -> Durable<'static, (), (), E> {
        match closing(key) {
            Err(error) => Durable::refused(&self.execution, error),
            Ok(value) => Durable::build(&self.execution, 1, move |execution, number, ()| async move {
                Ok(append(&execution, number, CLOSE, value).await?)
            }),
        }
    }
}

/// A value for a stream.
pub(crate) fn appended<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<NewStreamValue> {
    limits::text("stream key", key)?;
    let value = payload::encode(value)?;
    if value == CLOSED {
        return Err(Error::invalid("this text is how a closed stream is marked; close the stream instead"));
    }
    Ok(NewStreamValue { key: key.to_owned(), value, format: Format::Default })
}

/// The mark that closes a stream.
pub(crate) fn closing(key: &str) -> Result<NewStreamValue> {
    limits::text("stream key", key)?;
    Ok(NewStreamValue { key: key.to_owned(), value: CLOSED.to_owned(), format: Format::Portable })
}

async fn append(
    execution: &Arc<Execution>,
    number: i32,
    name: &'static str,
    value: NewStreamValue,
) -> Result<()> {
    let recorded = execution.recorded(number);
    if replay::look(recorded.as_ref(), &execution.fence.id, number, name)?.is_some() {
        return Ok(());
    }
    execution.live()?;
    let now = execution.now();
    execution.record_effect(StepRow::marker(number, name, now, now), Effects::stream(value)).await
}
