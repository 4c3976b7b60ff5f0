//! What can be done from outside of workflows: the verbs that a runtime and a client share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::handle::{self, Origin, WorkflowHandle};
use super::shared::Shared;
use super::workflows::Workflows;
use super::{events, wait};
use crate::error::{DurableError, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::info::Payload;
use crate::model::mailbox::Stored;
use crate::payload;

/// The verbs, for a type that has `fn shared(&self) -> &Arc<Shared>`.
macro_rules! outside_verbs {
    () => {
        /// Starts a workflow, or finds the one that has the id.
        ///
        /// ```
        /// # use dbos_runtime::{Ctx, Dbos, Error, workflow};
        /// # #[workflow] async fn pay(_ctx: Ctx, cents: u64) -> Result<u64, Error> { Ok(cents) }
        /// # async fn example(dbos: Dbos) -> Result<(), Error> {
        /// let handle = dbos.start(pay, 995).id("order-7").await?;
        /// let cents = handle.result().await?;
        ///
        /// // On a queue, for whichever process claims it.
        /// dbos.start(pay, 995).queue("payments").priority(2).await?;
        /// # Ok(()) }
        /// ```
        pub fn start<W: $crate::Target>(
            &self,
            workflow: W,
            input: W::Input,
        ) -> $crate::Start<W::Output, W::Error> {
            $crate::engine::start::Start::new(self.shared(), &workflow, &input)
        }

        /// Puts a workflow on a queue by its name alone, as programs in other languages do. Its input is encoded like
        /// that of a typed one: a tuple is as many arguments, and [`Arguments`](crate::Arguments) may have names; its
        /// result is JSON.
        ///
        /// ```
        /// # async fn example(client: dbos_runtime::Client) -> Result<(), dbos_runtime::Error> {
        /// let handle = client.enqueue("reports", "build_report", &("2026-11", true)).await?;
        /// let report: serde_json::Value = handle.result().await?;
        /// # Ok(()) }
        /// ```
        pub fn enqueue<I: serde::Serialize + ?Sized>(
            &self,
            queue: &str,
            workflow: &str,
            input: &I,
        ) -> $crate::Start<serde_json::Value, $crate::Error> {
            let input = $crate::payload::encode_input(input);
            $crate::engine::start::Start::named(self.shared(), workflow, input).queue(queue)
        }

        /// Puts many workflows on their queues at once: all of them or none, in this order. One whose id is there already
        /// is left as it is, so the same call can be made again; handles to those that are new come back.
        ///
        /// ```
        /// # use dbos_runtime::{Client, Error, WorkflowRef};
        /// # const PAY: WorkflowRef<u64, u64> = WorkflowRef::named("pay");
        /// # async fn example(client: Client, bills: Vec<(String, u64)>) -> Result<(), Error> {
        /// let pay = |(id, cents): (String, u64)| client.start(PAY, cents).queue("payments").id(id);
        /// let started = client.start_all(bills.into_iter().map(pay)).await?;
        /// println!("{} of them are new", started.len());
        /// # Ok(()) }
        /// ```
        pub fn start_all<T, E>(
            &self,
            starts: impl IntoIterator<Item = $crate::Start<T, E>>,
        ) -> $crate::StartAll<T, E> {
            $crate::engine::start_all::StartAll::new(self.shared(), starts)
        }

        /// A handle to a workflow that exists.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow), or
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        pub async fn retrieve<T: serde::de::DeserializeOwned, E: $crate::DurableError>(
            &self,
            id: impl TryInto<$crate::WorkflowId, Error: Into<$crate::Error>>,
        ) -> $crate::Result<$crate::WorkflowHandle<T, E>> {
            $crate::engine::outside::retrieve(self.shared(), id.try_into().map_err(Into::into)?).await
        }

        /// A handle to a workflow that was just looked up or listed. The database is not asked again.
        pub fn handle<T, E: $crate::DurableError>(
            &self,
            found: &$crate::WorkflowInfo,
        ) -> $crate::WorkflowHandle<T, E> {
            $crate::engine::outside::handle_to(self.shared(), &found.id)
        }

        /// Waits until one of these workflows has ended, however it ended, and says which. Of several that have, the first
        /// one given.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) without any id, or with one twice;
        /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow);
        /// [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown) when this runtime ends first.
        ///
        /// # Cancel safety
        ///
        /// Safe: dropping it only stops the waiting.
        ///
        /// ```
        /// # use dbos_runtime::{Ctx, Dbos, Error, workflow};
        /// # #[workflow] async fn quote(_ctx: Ctx, shop: String) -> Result<u64, Error> { Ok(shop.len() as u64) }
        /// # async fn example(dbos: Dbos) -> Result<u64, Error> {
        /// let left = dbos.start(quote, "left".to_owned()).await?;
        /// let right = dbos.start(quote, "right".to_owned()).await?;
        /// let first = dbos.wait_first([left.id(), right.id()]).await?;
        /// if first == *left.id() { left.result().await } else { right.result().await }
        /// # }
        /// ```
        pub async fn wait_first<'i>(
            &self,
            ids: impl IntoIterator<Item = &'i $crate::WorkflowId>,
        ) -> $crate::Result<$crate::WorkflowId> {
            $crate::engine::first::wait_first(self.shared(), ids).await
        }

        /// The facts of a workflow.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow), or
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        pub async fn info(
            &self,
            id: impl TryInto<$crate::WorkflowId, Error: Into<$crate::Error>>,
        ) -> $crate::Result<$crate::WorkflowInfo> {
            $crate::engine::handle::info(self.shared(), &id.try_into().map_err(Into::into)?).await
        }

        /// Sends a message to a workflow. With an [idempotency key](crate::SendMessage::idempotency_key) it arrives once,
        /// however often it is sent; without one, a send that failed may have arrived.
        pub fn send<T: serde::Serialize + ?Sized>(
            &self,
            to: &$crate::WorkflowId,
            message: &T,
        ) -> $crate::SendMessage {
            $crate::engine::send::SendMessage::new(self.shared(), $crate::Message::new(to, message))
        }

        /// Sends several messages, all of them or none.
        pub fn send_all(&self, messages: impl IntoIterator<Item = $crate::Message>) -> $crate::SendMessages {
            $crate::engine::send::SendMessages::new(self.shared(), messages.into_iter().collect())
        }

        /// Reads a workflow's event, waiting for it at most that long; `None` when it has not been published by then.
        ///
        /// A workflow that does not exist, or has ended, is waited for too. Zero looks once.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer,
        /// [`ErrorKind::Serialization`](crate::ErrorKind::Serialization) for another type.
        ///
        /// # Cancel safety
        ///
        /// Safe. Nothing is held while it waits.
        pub async fn get_event<T: serde::de::DeserializeOwned>(
            &self,
            from: &$crate::WorkflowId,
            key: &str,
            timeout: std::time::Duration,
        ) -> $crate::Result<Option<T>> {
            $crate::engine::outside::get_event(self.shared(), from, key, timeout).await
        }

        /// The same, for a reader that does not know the value's type.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        ///
        /// # Cancel safety
        ///
        /// Safe. Nothing is held while it waits.
        pub async fn event_payload(
            &self,
            from: &$crate::WorkflowId,
            key: &str,
            timeout: std::time::Duration,
        ) -> $crate::Result<Option<$crate::Payload>> {
            $crate::engine::outside::event_payload(self.shared(), from, key, timeout).await
        }

        /// All events that a workflow has published, each with its format.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        pub async fn event_payloads(
            &self,
            from: &$crate::WorkflowId,
        ) -> $crate::Result<std::collections::BTreeMap<String, $crate::Payload>> {
            $crate::engine::outside::event_payloads(self.shared(), from).await
        }

        /// All events that a workflow has published; the text of those that only another language reads.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        pub async fn get_all_events(
            &self,
            from: &$crate::WorkflowId,
        ) -> $crate::Result<std::collections::BTreeMap<String, serde_json::Value>> {
            $crate::engine::outside::get_all_events(self.shared(), from).await
        }

        /// Cancels a workflow that has not ended. It stops at its next durable call; a step that is running may finish,
        /// but is not recorded. Says whether this call cancelled it: `false` for one that has ended, was cancelled
        /// before, or does not exist. [`Workflows::cancel`](crate::Workflows::cancel) tells these apart.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        pub async fn cancel(&self, id: &$crate::WorkflowId) -> $crate::Result<bool> {
            $crate::engine::outside::cancel(self.shared(), id).await
        }

        /// Reads a workflow's stream, from the first value on and live; see [`StreamReader`](crate::StreamReader).
        ///
        /// # Examples
        ///
        /// ```
        /// # use dbos_runtime::{Dbos, Error, WorkflowId};
        /// async fn follow(dbos: &Dbos, id: &WorkflowId) -> Result<(), Error> {
        ///     let mut progress = dbos.read_stream::<u32>(id, "progress").from(3);
        ///     while let Some(item) = progress.next().await {
        ///         let (offset, percent) = item?;
        ///         println!("{offset}: {percent} %");
        ///     }
        ///     Ok(())
        /// }
        /// ```
        pub fn read_stream<T: serde::de::DeserializeOwned>(
            &self,
            id: &$crate::WorkflowId,
            key: &str,
        ) -> $crate::StreamReader<T> {
            $crate::engine::streams::StreamReader::new(self.shared(), id, key)
        }

        /// Reads one value of a stream, waiting for it at most that long; for ever without a limit.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::StreamTimeout`](crate::ErrorKind::StreamTimeout) when it does not come in time, or the stream ends before it;
        /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow); [`ErrorKind::Serialization`](crate::ErrorKind::Serialization) for another type.
        ///
        /// # Cancel safety
        ///
        /// Safe. Nothing is held while it waits.
        pub async fn read_stream_offset<T: serde::de::DeserializeOwned>(
            &self,
            id: &$crate::WorkflowId,
            key: &str,
            offset: u64,
            timeout: impl Into<Option<std::time::Duration>>,
        ) -> $crate::Result<T> {
            $crate::engine::streams::value_at(self.shared(), id, key, offset, timeout.into()).await
        }

        /// The values of a stream that are there now: up to `limit`, which is at most 1000, from an offset on.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow), or [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        pub async fn stream_page(
            &self,
            id: &$crate::WorkflowId,
            key: &str,
            from: u64,
            limit: u32,
        ) -> $crate::Result<$crate::StreamPage> {
            $crate::engine::streams::page(self.shared(), id, key, from, limit).await
        }

        /// Reads a workflow's stream as JSON, live, for what hands it on; see [`EncodedStream`](crate::EncodedStream).
        ///
        /// # Errors
        ///
        /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a key that no stream can have.
        pub fn read_encoded_stream(
            &self,
            id: &$crate::WorkflowId,
            key: &str,
        ) -> $crate::Result<$crate::EncodedStream> {
            $crate::EncodedStream::new(self.shared(), id, key)
        }

        /// The values of a stream that are there now, as JSON; otherwise as [`stream_page`](Self::stream_page).
        ///
        /// # Errors
        ///
        /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow), or [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        pub async fn encoded_page(
            &self,
            id: &$crate::WorkflowId,
            key: &str,
            from: u64,
            limit: u32,
        ) -> $crate::Result<$crate::EncodedPage> {
            $crate::engine::streams::encoded_page(self.shared(), id, key, from, limit).await
        }

        /// How many values a stream has now: the offset of the next one. It is 0 where there is no stream.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
        pub async fn stream_length(&self, id: &$crate::WorkflowId, key: &str) -> $crate::Result<u64> {
            $crate::engine::streams::length(self.shared(), id, key).await
        }

        /// The workflows of the database: listed, looked into, managed.
        pub fn workflows(&self) -> $crate::Workflows {
            $crate::Workflows { shared: std::sync::Arc::clone(self.shared()) }
        }

        /// The schedules of the database: made, paused, fired by hand. A client does not know what other programs register,
        /// so it takes workflows and queues at their names.
        pub fn schedules(&self) -> $crate::Schedules {
            $crate::Schedules { shared: std::sync::Arc::clone(self.shared()) }
        }

        /// The versions of the application; of all applications, for a client that has none.
        pub fn versions(&self) -> $crate::Versions {
            $crate::Versions { shared: std::sync::Arc::clone(self.shared()) }
        }

        /// The queues on the database.
        pub fn queues(&self) -> $crate::Queues {
            $crate::engine::queues::Queues::new(self.shared())
        }

        /// Whether the database answers now.
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when it does not.
        pub async fn ping(&self) -> $crate::Result<()> {
            let shared = self.shared();
            $crate::engine::wait::briefly(shared, || shared.store.now()).await.map(|_| ())
        }
    };
}

pub(crate) use outside_verbs;

pub(crate) async fn retrieve<T: DeserializeOwned, E: DurableError>(
    shared: &Arc<Shared>,
    id: WorkflowId,
) -> Result<WorkflowHandle<T, E>> {
    let found = handle_to(shared, &id);
    if !found.is_local() {
        handle::info(shared, &id).await?;
    }
    Ok(found)
}

/// A handle to a workflow that exists.
pub(crate) fn handle_to<T, E>(shared: &Arc<Shared>, id: &WorkflowId) -> WorkflowHandle<T, E> {
    WorkflowHandle::new(shared, id.clone(), shared.running.completion_of(id), Origin::Found)
}

pub(crate) async fn get_event<T: DeserializeOwned>(
    shared: &Shared,
    from: &WorkflowId,
    key: &str,
    timeout: Duration,
) -> Result<Option<T>> {
    let Some(stored) = stored_event(shared, from, key, timeout).await? else { return Ok(None) };
    payload::readable(stored.serialization.as_deref())?;
    payload::decode(&stored.value).map(Some)
}

pub(crate) async fn event_payload(
    shared: &Shared,
    from: &WorkflowId,
    key: &str,
    timeout: Duration,
) -> Result<Option<Payload>> {
    Ok(stored_event(shared, from, key, timeout).await?.map(payload_of))
}

pub(crate) async fn event_payloads(shared: &Shared, from: &WorkflowId) -> Result<BTreeMap<String, Payload>> {
    let events = wait::briefly(shared, || shared.store.events(from.as_str())).await?;
    Ok(events.into_iter().map(|(key, stored)| (key, payload_of(stored))).collect())
}

fn payload_of(stored: Stored) -> Payload {
    Payload::new(stored.value, stored.serialization)
}

async fn stored_event(
    shared: &Shared,
    from: &WorkflowId,
    key: &str,
    timeout: Duration,
) -> Result<Option<Stored>> {
    limits::text("event key", key)?;
    limits::duration("the time limit", timeout)?;
    // The first look is brief, so that a database that is away is reported and not waited for.
    let now = wait::briefly(shared, || shared.store.event(from.as_str(), key)).await?;
    Ok(match now {
        None if !timeout.is_zero() => {
            let waiting = wait::event(shared, from, key, shared.clock.now().after(timeout));
            let most = timeout.saturating_add(shared.config.patience);
            tokio::time::timeout(most, waiting).await.unwrap_or_else(|_| Err(wait::unavailable()))?
        }
        now => now,
    })
}

pub(crate) async fn get_all_events(shared: &Shared, from: &WorkflowId) -> Result<BTreeMap<String, Value>> {
    let events = wait::briefly(shared, || shared.store.events(from.as_str())).await?;
    Ok(events::values(events))
}

pub(crate) async fn cancel(shared: &Arc<Shared>, id: &WorkflowId) -> Result<bool> {
    let workflows = Workflows { shared: Arc::clone(shared) };
    Ok(!workflows.cancel([id]).await?.cancelled.is_empty())
}
