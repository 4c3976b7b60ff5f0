//! Messages between workflows, and into them from outside.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Ctx;
use super::durable::{Alone, Durable};
use super::execution::Execution;
use super::held::Deciding;
use super::send::{Message, encode};
use super::{replay, sleep};
use crate::error::{DurableError, Error, ErrorKind};
use crate::ids::{self, WorkflowId};
use crate::limits;
use crate::model::mailbox::{NO_TOPIC, NewMessage, Stored};
use crate::model::step::StepRow;
use crate::model::write::{Effects, Receipt, Receive, Touched, Write};
use crate::payload;
use crate::payload::Format;

const RECV: &str = "DBOS.recv";
const SEND: &str = "DBOS.send";
const SEND_ALL: &str = "DBOS.send_bulk";

/// A receive that has been called and not yet awaited.
pub type Recv<T, E> = Durable<'static, RecvOptions, Option<T>, E>;

/// What can still be set on a [`Recv`].
#[derive(Debug)]
pub struct RecvOptions {
    timeout: Duration,
}

impl Default for RecvOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60) }
    }
}

impl<T, E> Recv<T, E> {
    /// How long to wait; 60 seconds by default. Zero takes what is there. Counted from the first execution.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = timeout)
    }
}

/// A send from a workflow that has been called and not yet awaited.
pub type Send<E> = Durable<'static, SendOptions, (), E>;

/// What can still be set on a [`Send`].
#[derive(Debug, Default)]
pub struct SendOptions {
    topic: Option<String>,
    key: Option<String>,
    format: Format,
}

impl<E> Send<E> {
    /// The topic; a receiver asks for it by name.
    pub fn topic(self, topic: &str) -> Self {
        self.with(|options| options.topic = Some(topic.to_owned()))
    }

    /// A second message with this key to the same workflow is dropped. A workflow's own sends are exactly once without.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.with(|options| options.key = Some(key.to_owned()))
    }

    /// Stores it as portable JSON whatever [serializer](crate::Builder::serializer) is configured: for workflows of other
    /// languages.
    pub fn portable(self) -> Self {
        self.with(|options| options.format = Format::Portable)
    }
}

impl<S, E: DurableError> Ctx<S, E> {
    /// Takes the oldest message of a topic, or waits for one; `None` when the time is up.
    ///
    /// `topic` is a name, or `None` for messages without one. A message is taken once: taking and recording it are one
    /// commit. Takes two step numbers. Holds nothing while it waits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialization`] when the message is of another type, or in a format of another language; it is
    /// consumed then, and does not block the topic. A control signal when the workflow has to stop.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use dbos_runtime::{Ctx, Error};
    /// async fn approval(ctx: Ctx, _: ()) -> Result<bool, Error> {
    ///     let answer = ctx.recv::<bool>("approval").timeout(Duration::from_secs(24 * 3600)).await?;
    ///     Ok(answer.unwrap_or(false))
    /// }
    /// ```
    pub fn recv<'t, T: DeserializeOwned + std::marker::Send + 'static>(
        &self,
        topic: impl Into<Option<&'t str>>,
    ) -> Recv<T, E> {
        let topic = match topic_text(topic.into()) {
            Ok(topic) => topic,
            Err(error) => return Durable::refused(&self.execution, error),
        };
        Durable::build(&self.execution, 2, move |execution, number, options: RecvOptions| async move {
            limits::duration("a receive's time limit", options.timeout)?;
            let message = receive(&execution, number, &topic, options.timeout).await?;
            payload::readable(message.serialization.as_deref())?;
            Ok(payload::decode(&message.value)?)
        })
    }

    /// Sends a message to a workflow, exactly once: the message and this step are one commit.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`] when there is no such workflow; recorded, so a replay gives it again.
    pub fn send<T: Serialize + ?Sized>(&self, to: &WorkflowId, message: &T) -> Send<E> {
        let value = match payload::encode(message) {
            Ok(value) => value,
            Err(error) => return Durable::refused(&self.execution, error),
        };
        let to = to.clone();
        Durable::build(&self.execution, 1, move |execution, number, options: SendOptions| async move {
            let message = new_message(&to, options.topic.as_deref(), options.key.as_deref(), value)?;
            let message = NewMessage { format: options.format, ..message };
            Ok(send(&execution, number, SEND, vec![message]).await?)
        })
    }

    /// Sends several messages as one step, exactly once: all of them or none. None at all is a step too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] when two of them have one key and one destination;
    /// [`ErrorKind::NonExistentWorkflow`] when a destination does not exist, recorded like that of a send.
    pub fn send_all(&self, messages: impl IntoIterator<Item = Message>) -> Durable<'static, Alone, (), E> {
        let messages: Vec<Message> = messages.into_iter().collect();
        match encode(&messages) {
            Err(error) => Durable::refused(&self.execution, error),
            Ok(messages) => {
                Durable::build(&self.execution, 1, move |execution, number, _: Alone| async move {
                    Ok(send(&execution, number, SEND_ALL, messages).await?)
                })
            }
        }
    }
}

/// A message with its identity: `<key>::<destination>` when it has a key, as every SDK spells it.
pub(crate) fn new_message(
    to: &WorkflowId,
    topic: Option<&str>,
    key: Option<&str>,
    value: String,
) -> Result<NewMessage, Error> {
    let id = match key {
        Some(key) => {
            limits::text("idempotency key", key)?;
            format!("{key}::{to}")
        }
        None => ids::message(),
    };
    Ok(NewMessage {
        id,
        destination: to.as_str().to_owned(),
        topic: topic_text(topic)?,
        value,
        format: Format::Default,
    })
}

fn topic_text(topic: Option<&str>) -> Result<String, Error> {
    let Some(topic) = topic else {
        return Ok(NO_TOPIC.to_owned());
    };
    limits::text("topic", topic)?;
    Ok(topic.to_owned())
}

async fn send(
    execution: &Arc<Execution>,
    number: i32,
    name: &str,
    messages: Vec<NewMessage>,
) -> Result<(), Error> {
    let recorded = execution.recorded(number);
    if let Some(row) = replay::look(recorded.as_ref(), &execution.fence.id, number, name)? {
        return row.error.as_deref().map_or(Ok(()), |error| Err(payload::decode_error(error)));
    }
    execution.live()?;
    let now = execution.now();
    let destinations: Vec<&str> = messages.iter().map(|message| message.destination.as_str()).collect();
    let destinations = destinations.join(", ");
    let row = StepRow::marker(number, name, now, now);
    let sent = execution.record_effect(row.clone(), Effects { messages, ..Effects::default() }).await;
    match sent {
        Err(error) if error.kind() == ErrorKind::NonExistentWorkflow => {
            let error = Error::no_workflow(&destinations);
            execution.record(vec![row.with_error(payload::encode_error(&error))]).await?;
            Err(error)
        }
        other => other,
    }
}

async fn receive(
    execution: &Arc<Execution>,
    number: i32,
    topic: &str,
    timeout: Duration,
) -> Result<Stored, Error> {
    let fence = &execution.fence;
    let recorded = execution.recorded(number);
    if let Some(row) = replay::look(recorded.as_ref(), &fence.id, number, RECV)? {
        let value = row.output.clone().unwrap_or_else(|| "null".to_owned());
        return Ok(Stored { value, serialization: row.serialization.clone() });
    }
    execution.live()?;
    let started = execution.now();
    let (wake, mut deadline) = match sleep::recorded(execution, number + 1)? {
        Some(wake) => (wake, None),
        None => {
            let wake = started.after(timeout);
            (wake, Some(sleep::row(number + 1, started, wake, started)))
        }
    };
    let id = fence.id.as_str().to_owned();
    let subscription = execution.shared.wakeups.subscribe(&Touched::Message { id, topic: topic.to_owned() });
    loop {
        let hint = subscription.hint();
        let now = execution.now();
        let deciding = Deciding::begin();
        let ask = Receive {
            fence: fence.clone(),
            number,
            topic: topic.to_owned(),
            started,
            completed: now,
            deadline: deadline.take(),
            expired: now >= wake,
            victory: deciding.victory(now),
        };
        match execution.shared.journal.write(Write::Receive(ask)).await {
            Some(Receipt::Received(message)) => {
                deciding.won();
                return Ok(message);
            }
            Some(Receipt::TimedOut) => {
                deciding.won();
                return Ok(Stored { value: "null".to_owned(), serialization: None });
            }
            Some(Receipt::Nothing) => {}
            // Our own record, whose acknowledgement was lost: the message it took is in it.
            Some(Receipt::Taken(row)) if row.name == RECV => {
                deciding.won();
                let value = row.output.unwrap_or_else(|| "null".to_owned());
                return Ok(Stored { value, serialization: row.serialization });
            }
            Some(receipt) => return Err(execution.refused(receipt, number)),
            None => return Err(execution.latch(ErrorKind::ShuttingDown)),
        }
        drop(deciding);
        tokio::select! {
            () = hint => execution.live()?,
            slept = execution.sleep_until(wake) => slept?,
        }
    }
}
