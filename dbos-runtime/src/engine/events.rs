//! Events: values that a workflow publishes under a key, for anybody to read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::context::Ctx;
use super::durable::Durable;
use super::execution::Execution;
use super::recorded::recorded;
use super::shared::Shared;
use super::{replay, sleep, wait};
use crate::error::{DurableError, Error};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::mailbox::{NewEvent, Stored};
use crate::model::step::StepRow;
use crate::model::write::Effects;
use crate::payload;
use crate::payload::Format;

const SET: &str = "DBOS.setEvent";
const GET: &str = "DBOS.getEvent";
const GET_ALL: &str = "DBOS.get_events";

/// A read of an event that has been called and not yet awaited.
pub type GetEvent<T, E> = Durable<'static, GetEventOptions, Option<T>, E>;

/// What can still be set on a [`GetEvent`].
#[derive(Debug)]
pub struct GetEventOptions {
    timeout: Duration,
}

impl Default for GetEventOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60) }
    }
}

impl<T, E> GetEvent<T, E> {
    /// How long to wait for the event; 60 seconds by default. Zero looks once.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = timeout)
    }
}

/// What can still be set on a call that publishes a value: an event, or the value of a stream.
#[derive(Debug, Default)]
pub struct PublishOptions {
    pub(crate) format: Format,
}

/// A call that publishes a value, and has not been awaited yet.
pub type Publish<E> = Durable<'static, PublishOptions, (), E>;

impl<E> Publish<E> {
    /// Stores it as portable JSON whatever [serializer](crate::Builder::serializer) is configured: for readers in other
    /// languages.
    pub fn portable(self) -> Self {
        self.with(|options| options.format = Format::Portable)
    }
}

impl<S, E: DurableError> Ctx<S, E> {
    /// Publishes a value under a key, in place of the one before, exactly once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Ctx, Error};
    /// async fn checkout(ctx: Ctx, _: ()) -> Result<(), Error> {
    ///     ctx.set_event("payment_id", ctx.workflow_id()).await
    /// }
    /// ```
    pub fn set_event<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Publish<E> {
        match new_event(key, value) {
            Err(error) => Durable::refused(&self.execution, error),
            Ok(event) => Durable::build(
                &self.execution,
                1,
                move |execution, number, options: PublishOptions| async move {
                    let event = NewEvent { format: options.format, ..event };
                    Ok(set(&execution, number, event).await?)
                },
            ),
        }
    }

    /// Reads another workflow's event, waiting for it if need be; `None` when the time is up.
    ///
    /// What was read is recorded: a replay reads the same. Takes two step numbers.
    pub fn get_event<T: DeserializeOwned + Send + 'static>(
        &self,
        from: &WorkflowId,
        key: &str,
    ) -> GetEvent<T, E> {
        if let Err(error) = limits::text("event key", key) {
            return Durable::refused(&self.execution, error);
        }
        let (from, key) = (from.clone(), key.to_owned());
        Durable::build(&self.execution, 2, move |execution, number, options: GetEventOptions| async move {
            limits::duration("the time limit", options.timeout)?;
            let stored = get(&execution, number, &from, &key, options.timeout).await?;
            payload::readable(stored.serialization.as_deref())?;
            Ok(payload::decode(&stored.value)?)
        })
    }

    /// Reads all events that a workflow has published so far, and records what was read.
    pub fn get_all_events(&self, from: &WorkflowId) -> Durable<'static, (), BTreeMap<String, Value>, E> {
        let from = from.clone();
        Durable::build(&self.execution, 1, move |execution, number, ()| async move {
            Ok(recorded(&execution, number, GET_ALL, || all(&execution.shared, &from)).await?)
        })
    }
}

/// An event's new value.
pub(crate) fn new_event<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<NewEvent, Error> {
    limits::text("event key", key)?;
    Ok(NewEvent { key: key.to_owned(), value: payload::encode(value)?, format: Format::Default })
}

async fn set(execution: &Arc<Execution>, number: i32, event: NewEvent) -> Result<(), Error> {
    let recorded = execution.recorded(number);
    if replay::look(recorded.as_ref(), &execution.fence.id, number, SET)?.is_some() {
        return Ok(());
    }
    execution.live()?;
    let now = execution.now();
    execution.record_effect(StepRow::marker(number, SET, now, now), Effects::event(event)).await
}

async fn get(
    execution: &Arc<Execution>,
    number: i32,
    from: &WorkflowId,
    key: &str,
    timeout: Duration,
) -> Result<Stored, Error> {
    let recorded = execution.recorded(number);
    if let Some(row) = replay::look(recorded.as_ref(), &execution.fence.id, number, GET)? {
        let value = row.output.clone().unwrap_or_else(|| "null".to_owned());
        return Ok(Stored { value, serialization: row.serialization.clone() });
    }
    execution.live()?;
    let started = execution.now();
    let mut steps = Vec::new();
    let wake = match sleep::recorded(execution, number + 1)? {
        Some(wake) => wake,
        None => {
            let wake = started.after(timeout);
            // Recorded before a wait, so that a restart does not wait anew; with the answer when there is one already.
            let row = sleep::row(number + 1, started, wake, started);
            if wait::event_now(&execution.shared, from, key).await?.is_none() && !timeout.is_zero() {
                execution.record_now(row).await?;
            } else {
                steps.push(row);
            }
            wake
        }
    };
    let found = tokio::select! {
        found = wait::event(&execution.shared, from, key, wake) => found?,
        () = execution.interrupt.cancelled() => {
            execution.live()?;
            None
        }
    };
    let found = found.unwrap_or_else(|| Stored { value: "null".to_owned(), serialization: None });
    let row = StepRow {
        output: Some(found.value.clone()),
        serialization: found.serialization.clone().or_else(|| Some(payload::PORTABLE.to_owned())),
        ..StepRow::marker(number, GET, started, execution.now())
    };
    steps.insert(0, row);
    execution.record(steps).await?;
    Ok(found)
}

/// All events of a workflow.
pub(crate) async fn all(shared: &Shared, from: &WorkflowId) -> Result<BTreeMap<String, Value>, Error> {
    Ok(values(wait::patiently(shared, || shared.store.events(from.as_str())).await?))
}

/// Stored events as values. One in a foreign format is given as its text.
pub(crate) fn values(events: Vec<(String, Stored)>) -> BTreeMap<String, Value> {
    events.into_iter().map(|(key, stored)| (key, value(stored))).collect()
}

/// A stored value without a type; its text, when it is in a foreign format.
pub(crate) fn value(stored: Stored) -> Value {
    serde_json::from_str(&stored.value).unwrap_or(Value::String(stored.value))
}
