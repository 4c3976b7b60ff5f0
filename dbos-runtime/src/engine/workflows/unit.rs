//! What the changing verbs share: who waits how long, work that is finished though nobody listens, and what a change
//! means for executions of this process.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use crate::engine::shared::Shared;
use crate::engine::{guard, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::management::Found;
use crate::model::write::Hint;
use crate::store::error::StoreError;

/// Who waits for a database that is away.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    /// Somebody outside, who would rather have an error soon.
    Outside,
    /// A workflow, which has time.
    Workflow,
}

impl Caller {
    pub(super) async fn ask<T, F>(self, shared: &Shared, question: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, StoreError>>,
    {
        match self {
            Self::Outside => wait::briefly(shared, question).await,
            Self::Workflow => wait::patiently(shared, question).await,
        }
    }
}

/// Does the work in a task of its own: a caller who leaves does not stop it between a commit and what follows from it.
pub(super) async fn to_its_end<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    guard::outside_of_transactions()?;
    let task = shared.tasks.workflows.spawn_on(work, &shared.handle);
    task.await.map_err(|_| wait::shutting_down())?
}

/// The ids, each once.
pub(super) fn distinct<I>(ids: I) -> Result<Vec<WorkflowId>>
where
    I: IntoIterator<Item: TryInto<WorkflowId, Error: Into<Error>>>,
{
    let mut seen = HashSet::new();
    let mut distinct = Vec::new();
    for id in ids {
        let id = id.try_into().map_err(Into::into)?;
        if seen.insert(id.clone()) {
            distinct.push(id);
        }
    }
    Ok(distinct)
}

/// A queue that was named, or the one of every process; and a partition, which only a named queue can have.
pub(super) fn destination(queue: Option<&str>, partition: Option<&str>) -> Result<String> {
    if let Some(partition) = partition {
        limits::text("partition key", partition)?;
        if queue.is_none() {
            return Err(Error::invalid("a partition key needs the queue that it is a partition of"));
        }
    }
    match queue {
        Some(queue) => {
            limits::name("queue name", queue)?;
            Ok(queue.to_owned())
        }
        None => Ok(crate::engine::shared::INTERNAL_QUEUE.to_owned()),
    }
}

/// These workflows do not exist.
pub(super) fn missing(ids: &[String]) -> Error {
    match ids {
        [one] => Error::no_workflow(one),
        many => {
            Error::new(ErrorKind::NonExistentWorkflow, format!("workflows {} do not exist", many.join(", ")))
        }
    }
}

/// Tells the execution that owned this row, if it is one of this process, and whoever waits for its end to look again.
///
/// Only the execution that the change found: another may own the workflow already.
pub(super) fn displace(shared: &Shared, found: &Found, signal: ErrorKind) {
    if let Some(execution) = shared.running.get(&found.id)
        && found.owner.as_deref() == Some(execution.token().as_str())
    {
        execution.latch(signal);
    }
    shared.wakeups.poke(Hint::Ended, found.id.as_str().to_owned());
}
