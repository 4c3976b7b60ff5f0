//! The shape that all waiting shares: subscribe, look, wait. No connection is held between two looks.

use std::future::Future;
use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::model::mailbox::Stored;
use crate::model::status::WorkflowStatus;
use crate::model::workflow::Ending;
use crate::model::write::Touched;
use crate::store::error::StoreError;
use crate::time::Timestamp;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// The caller's connection is to another kind of database than the system database.
pub(crate) fn other_database() -> Error {
    Error::invalid("the connection is not to the system database")
}

/// Asks the database until it answers, as far as another try can help. For callers that may wait as long as it takes:
/// workflows, and the runtime's own loops.
pub(crate) async fn patiently<T, F>(shared: &Shared, question: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, StoreError>>,
{
    let mut backoff = FIRST_BACKOFF;
    loop {
        // Boxed: a caller that goes on to wait does not keep the room of its question.
        match Box::pin(question()).await {
            Ok(answer) => return Ok(answer),
            Err(error) if !error.is_transient() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a question is asked again")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.mul_f64(0.5 + rand::random::<f64>())) => {}
            () = shared.tasks.stopped.cancelled() => return Err(shutting_down()),
        }
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// Asks the database for callers who would rather have an error soon: at most as long as the configured patience.
pub(crate) async fn briefly<T, F>(shared: &Shared, question: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, StoreError>>,
{
    match tokio::time::timeout(shared.config.patience, patiently(shared, question)).await {
        Ok(answer) => answer,
        Err(_) => Err(unavailable()),
    }
}

/// Asks what may take as long as it takes, but asks again only as long as the configured patience lasts.
pub(crate) async fn unhurriedly<T, F>(shared: &Shared, question: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, StoreError>>,
{
    let begun = Instant::now();
    loop {
        match Box::pin(question()).await {
            Ok(answer) => return Ok(answer),
            Err(error) if !error.is_transient() || begun.elapsed() >= shared.config.patience => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a question is asked again")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(FIRST_BACKOFF.mul_f64(0.5 + rand::random::<f64>())) => {}
            () = shared.tasks.stopped.cancelled() => return Err(shutting_down()),
        }
    }
}

/// Waits for an event until an instant.
pub(crate) async fn event(
    shared: &Shared,
    from: &WorkflowId,
    key: &str,
    until: Timestamp,
) -> Result<Option<Stored>> {
    let touched = Touched::Event { id: from.as_str().to_owned(), key: key.to_owned() };
    let subscription = shared.wakeups.subscribe(&touched);
    loop {
        let hint = subscription.hint();
        let found = event_now(shared, from, key).await?;
        let left = until.since(shared.clock.now());
        if found.is_some() || left.is_zero() {
            return Ok(found);
        }
        tokio::select! {
            () = hint => {}
            () = tokio::time::sleep(left) => {}
            () = shared.tasks.stopped.cancelled() => return Err(shutting_down()),
        }
    }
}

/// The event as it is now.
pub(crate) async fn event_now(shared: &Shared, from: &WorkflowId, key: &str) -> Result<Option<Stored>> {
    patiently(shared, || shared.store.event(from.as_str(), key)).await
}

/// Waits until a workflow has ended, wherever it runs.
pub(crate) async fn ending(shared: &Shared, id: &WorkflowId) -> Result<Ending> {
    let ids = [id.as_str()];
    let subscription = shared.wakeups.subscribe(&Touched::Ended(id.clone()));
    loop {
        let hint = subscription.hint();
        let mut endings = patiently(shared, || shared.store.endings(&ids)).await?;
        let Some(ending) = endings.pop() else {
            return Err(Error::no_workflow(id.as_str()));
        };
        if WorkflowStatus::from_text(&ending.status).is_some_and(WorkflowStatus::is_terminal) {
            return Ok(ending);
        }
        tokio::select! {
            () = hint => {}
            () = shared.tasks.stopped.cancelled() => return Err(shutting_down()),
        }
    }
}

pub(crate) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "the database does not answer")
}

pub(crate) fn shutting_down() -> Error {
    Error::new(ErrorKind::ShuttingDown, "the runtime is shutting down")
}
