//! What a step's body may do for its workflow while it runs: events, messages, streams. Not recorded, but fenced.

use std::fmt;
use std::future::IntoFuture;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::step::StepCtx;
use super::{events, guard, signals, streams};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::model::mailbox::NewMessage;
use crate::model::write::Effects;
use crate::payload;
use crate::payload::Format;

/// # Effects of a running step
///
/// These are committed when they return, before the step is recorded, and belong to it. An attempt that is repeated
/// repeats them: a stream gets its values again. They are refused with a control signal when this execution no longer
/// owns the workflow, and with [`ErrorKind::Misplaced`] when the attempt has ended.
///
/// ```
/// # use dbos_runtime::{Ctx, Error};
/// async fn import(ctx: Ctx, files: Vec<String>) -> Result<usize, Error> {
///     ctx.step_once("import", async move |step| {
///         for file in &files {
///             step.write_stream("progress", file).await?;
///         }
///         Ok(files.len())
///     })
///     .await
/// }
/// ```
impl StepCtx {
    /// Publishes an event of the workflow; see [`Ctx::set_event`](crate::Ctx::set_event).
    ///
    /// # Cancel safety
    ///
    /// Dropping it once polled may or may not have published the value; the same holds for the other effects.
    pub async fn set_event<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let event = events::new_event(key, value)?;
        self.effect(Effects::event(event)).await
    }

    /// Appends a value to a stream of the workflow; see [`Ctx::write_stream`](crate::Ctx::write_stream).
    pub async fn write_stream<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let value = streams::appended(key, value)?;
        self.effect(Effects::stream(value)).await
    }

    /// Closes a stream of the workflow; see [`Ctx::close_stream`](crate::Ctx::close_stream).
    pub async fn close_stream(&self, key: &str) -> Result<()> {
        let mark = streams::closing(key)?;
        self.effect(Effects::stream(mark)).await
    }

    /// Sends a message. With an [idempotency key](StepSend::idempotency_key) it arrives once, however often the step is
    /// tried.
    pub fn send<T: Serialize + ?Sized>(&self, to: &WorkflowId, message: &T) -> StepSend {
        StepSend {
            step: self.clone(),
            to: to.clone(),
            value: payload::encode(message),
            topic: None,
            key: None,
            format: Format::Default,
        }
    }

    async fn effect(&self, effects: Effects) -> Result<()> {
        guard::outside_of_transactions()?;
        self.execution.live()?;
        if self.over.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::Misplaced,
                format!("the attempt of step {} that asks for this has ended", self.number),
            )
            .about(&self.execution.fence.id));
        }
        self.execution.effect(self.number, effects).await
    }
}

/// A message from a step's body that can be configured before it is awaited.
#[must_use = "a message is not sent until it is awaited"]
pub struct StepSend {
    step: StepCtx,
    to: WorkflowId,
    value: Result<String>,
    topic: Option<String>,
    key: Option<String>,
    format: Format,
}

impl StepSend {
    /// The topic; a receiver asks for it by name.
    pub fn topic(mut self, topic: &str) -> Self {
        self.topic = Some(topic.to_owned());
        self
    }

    /// A second message with this key to the same workflow is dropped.
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Stores it as portable JSON whatever [serializer](crate::Builder::serializer) is configured.
    pub fn portable(mut self) -> Self {
        self.format = Format::Portable;
        self
    }
}

impl fmt::Debug for StepSend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepSend").field("to", &self.to).field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl IntoFuture for StepSend {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let message =
                signals::new_message(&self.to, self.topic.as_deref(), self.key.as_deref(), self.value?)?;
            let message = NewMessage { format: self.format, ..message };
            match self.step.effect(Effects::message(message)).await {
                Err(error) if error.kind() == ErrorKind::NonExistentWorkflow => {
                    Err(Error::no_workflow(self.to.as_str()))
                }
                sent => sent,
            }
        })
    }
}
