//! Messages from outside of workflows.

use std::collections::HashSet;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::shared::Shared;
use super::{guard, signals, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::model::mailbox::NewMessage;
use crate::model::write::{Receipt, Write};
use crate::payload;
use crate::payload::Format;
use crate::store::enlisted::{SystemConnection, is_missing_destination};

/// One message, for [`send_all`](crate::Dbos::send_all).
#[derive(Debug, Clone)]
pub struct Message {
    to: WorkflowId,
    value: Result<String>,
    topic: Option<String>,
    key: Option<String>,
    format: Format,
}

impl Message {
    /// A message to a workflow.
    pub fn new<T: Serialize + ?Sized>(to: &WorkflowId, message: &T) -> Self {
        Self {
            to: to.clone(),
            value: payload::encode(message),
            topic: None,
            key: None,
            format: Format::Default,
        }
    }

    /// The topic; a receiver asks for it by name.
    #[must_use]
    pub fn topic(mut self, topic: &str) -> Self {
        self.topic = Some(topic.to_owned());
        self
    }

    /// A second message with this key to the same workflow is dropped.
    #[must_use]
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Stores it as portable JSON whatever [serializer](crate::Builder::serializer) is configured: for workflows of other
    /// languages.
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.format = Format::Portable;
        self
    }

    /// The message for this workflow, which may be another than the one that it was addressed to.
    fn addressed(&self, to: &WorkflowId) -> Result<NewMessage> {
        let message =
            signals::new_message(to, self.topic.as_deref(), self.key.as_deref(), self.value.clone()?)?;
        Ok(NewMessage { format: self.format.clone(), ..message })
    }
}

/// The messages as they are stored, in their order.
///
/// # Errors
///
/// When two of them have one key and one destination: which of them should arrive?
pub(crate) fn encode(messages: &[Message]) -> Result<Vec<NewMessage>> {
    let encoded =
        messages.iter().map(|message| message.addressed(&message.to)).collect::<Result<Vec<_>>>()?;
    let mut seen = HashSet::new();
    for message in &encoded {
        if !seen.insert(&message.id) {
            return Err(Error::invalid(format!("two messages have the idempotency key of {:?}", message.id)));
        }
    }
    Ok(encoded)
}

/// A message from outside that can be configured before it is awaited. Awaiting it says whether the message was new:
/// `false` for a duplicate of one with the same key.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have sent the message.
#[must_use = "a message is not sent until it is awaited"]
#[derive(Debug)]
pub struct SendMessage {
    all: SendMessages,
}

impl SendMessage {
    pub(crate) fn new(shared: &Arc<Shared>, message: Message) -> Self {
        Self { all: SendMessages::new(shared, vec![message]) }
    }

    /// The topic; a receiver asks for it by name.
    pub fn topic(self, topic: &str) -> Self {
        self.change(|message| message.topic(topic))
    }

    /// A second message with this key to the same workflow is dropped.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.change(|message| message.idempotency_key(key))
    }

    /// Stores it as portable JSON whatever [serializer](crate::Builder::serializer) is configured.
    pub fn portable(self) -> Self {
        self.change(Message::portable)
    }

    /// Sends it to every workflow that was forked from this one too, and to those forked from them.
    pub fn to_forks(self) -> Self {
        Self { all: self.all.to_forks() }
    }

    /// Sends it inside a transaction of the caller's on the system database: it arrives when the caller commits.
    ///
    /// # Errors
    ///
    /// As of a send. On Postgres a missing destination leaves the transaction fit for a rollback only.
    pub async fn within<C: SystemConnection + ?Sized>(self, connection: &mut C) -> Result<bool> {
        let keyed = self.is_keyed();
        Ok(self.all.within(connection).await? > 0 || !keyed)
    }

    fn change(mut self, change: impl FnOnce(Message) -> Message) -> Self {
        self.all.messages = self.all.messages.pop().map(change).into_iter().collect();
        self
    }

    fn is_keyed(&self) -> bool {
        self.all.messages.iter().any(|message| message.key.is_some())
    }
}

impl IntoFuture for SendMessage {
    type Output = Result<bool>;
    type IntoFuture = BoxFuture<'static, Result<bool>>;

    fn into_future(self) -> Self::IntoFuture {
        // Without a key nobody else has its identity: if it was there already, an answer was lost.
        let keyed = self.is_keyed();
        Box::pin(async move { Ok(self.all.send().await? > 0 || !keyed) })
    }
}

/// Several messages from outside. Awaiting it says how many of them were new.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have sent the messages.
#[must_use = "messages are not sent until this is awaited"]
pub struct SendMessages {
    shared: Arc<Shared>,
    messages: Vec<Message>,
    forks: bool,
}

impl SendMessages {
    pub(crate) fn new(shared: &Arc<Shared>, messages: Vec<Message>) -> Self {
        Self { shared: Arc::clone(shared), messages, forks: false }
    }

    /// Sends each to every workflow that was forked from its destination too, and to those forked from them.
    pub fn to_forks(self) -> Self {
        Self { forks: true, ..self }
    }

    /// Sends them inside a transaction of the caller's on the system database: they arrive when the caller commits.
    ///
    /// # Errors
    ///
    /// As of a send. On Postgres a missing destination leaves the transaction fit for a rollback only.
    pub async fn within<C: SystemConnection + ?Sized>(self, connection: &mut C) -> Result<usize> {
        let messages = self.resolved().await?;
        if messages.is_empty() {
            return Ok(0);
        }
        let destinations = destinations(&messages);
        let mut write = Write::Send(messages);
        self.shared.store.codec().seal(&mut write)?;
        match self.shared.store.apply_on(connection.enlist(), &write).await {
            Ok(Some(receipt)) => sent(Some(receipt), &destinations),
            Ok(None) => Err(wait::other_database()),
            Err(error) if is_missing_destination(&error) => Err(Error::no_workflow(&destinations)),
            Err(error) => Err(error.into()),
        }
    }

    async fn send(self) -> Result<usize> {
        guard::outside_of_transactions()?;
        let messages = self.resolved().await?;
        if messages.is_empty() {
            return Ok(0);
        }
        let (patience, destinations) = (self.shared.config.patience, destinations(&messages));
        let sending = self.shared.journal.write_within(Write::Send(messages), patience);
        let receipt = tokio::time::timeout(patience, sending).await.unwrap_or(Some(Receipt::Expired));
        sent(receipt, &destinations)
    }

    /// The messages with those to forks, each with an identity of its own.
    async fn resolved(&self) -> Result<Vec<NewMessage>> {
        let mut resolved = encode(&self.messages)?;
        if self.forks {
            for message in &self.messages {
                for fork in forks(&self.shared, &message.to).await? {
                    resolved.push(message.addressed(&fork)?);
                }
            }
        }
        Ok(resolved)
    }
}

/// The workflows forked from this one, and from those, in the order of their ids.
pub(crate) async fn forks(shared: &Shared, of: &WorkflowId) -> Result<Vec<WorkflowId>> {
    let forks = wait::briefly(shared, || shared.store.forks(of.as_str())).await?;
    Ok(forks.into_iter().map(WorkflowId::trusted).collect())
}

fn destinations(messages: &[NewMessage]) -> String {
    let mut ids: Vec<&str> = messages.iter().map(|message| message.destination.as_str()).collect();
    ids.dedup();
    ids.join(", ")
}

fn sent(receipt: Option<Receipt>, destinations: &str) -> Result<usize> {
    match receipt {
        Some(Receipt::Sent(new)) => Ok(new),
        Some(Receipt::NoDestination) => Err(Error::no_workflow(destinations)),
        Some(Receipt::Expired) => Err(wait::unavailable()),
        Some(Receipt::Unstorable(error)) => Err(error),
        Some(Receipt::Rejected(why)) => Err(Error::new(ErrorKind::Database, why)),
        Some(other) => {
            Err(Error::new(ErrorKind::Database, format!("unexpected answer to a send: {other:?}")))
        }
        None => Err(wait::shutting_down()),
    }
}

impl fmt::Debug for SendMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendMessages").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl IntoFuture for SendMessages {
    type Output = Result<usize>;
    type IntoFuture = BoxFuture<'static, Result<usize>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
