//! Letting workflows go on that were cancelled, parked, delayed, or got stuck in their process.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::unit::{Caller, destination, displace, distinct, missing, to_its_end};
use super::{RecordedWorkflows, Workflows};
use crate::engine::child::ChildHandle;
use crate::engine::durable::Durable;
use crate::engine::handle::WorkflowHandle;
use crate::engine::recorded::recorded;
use crate::engine::shared::Shared;
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::WorkflowId;

/// A resume that can be configured before it is awaited.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have resumed.
#[must_use = "nothing is resumed until it is awaited"]
pub struct ResumeWorkflows {
    shared: Arc<Shared>,
    ids: Result<Vec<WorkflowId>>,
    queue: Option<String>,
}

impl ResumeWorkflows {
    /// The queue on which they wait, instead of the one that every process of their version serves at once.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }
}

impl fmt::Debug for ResumeWorkflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeWorkflows").field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl IntoFuture for ResumeWorkflows {
    type Output = Result<Vec<WorkflowHandle<Value>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { shared, ids, queue } = self;
        Box::pin(async move {
            let (ids, queue) = (ids?, destination(queue.as_deref(), None)?);
            let work = resume(Arc::clone(&shared), ids.clone(), queue, Caller::Outside);
            to_its_end(&shared, work).await?;
            Ok(ids.into_iter().map(|id| super::found(&shared, id)).collect())
        })
    }
}

impl Workflows {
    /// Lets workflows go on after their recorded steps: all of them, or none if one does not exist.
    ///
    /// A cancelled or parked one runs again, with all its attempts and without its old deadline; a delayed or waiting one
    /// is due now; a running one is handed over, and its present execution stops at its next durable call. One that
    /// has ended with an outcome is left as it is. A process of the workflow's own version takes it up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`], which names all that are missing; [`ErrorKind::InvalidArgument`] for a text
    /// that is no id or no name of a queue; [`ErrorKind::Unavailable`] when the database does not answer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Dbos, Error};
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// for order in dbos.workflows().resume(["order-1", "order-2"]).await? {
    ///     println!("{} has made {}", order.id(), order.result().await?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn resume<I>(&self, ids: I) -> ResumeWorkflows
    where
        I: IntoIterator<Item: TryInto<WorkflowId, Error: Into<Error>>>,
    {
        ResumeWorkflows { shared: Arc::clone(&self.shared), ids: distinct(ids), queue: None }
    }
}

/// What can still be set on a resume that a workflow orders.
#[derive(Debug, Default)]
pub struct ResumeOptions {
    queue: Option<String>,
}

impl<T, E> Durable<'_, ResumeOptions, T, E> {
    /// The queue on which they wait.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        let queue = queue.into();
        self.with(|options| options.queue = Some(queue))
    }
}

impl<E: DurableError> RecordedWorkflows<E> {
    /// Lets workflows go on, as [`Workflows::resume`] does.
    ///
    /// # Errors
    ///
    /// As there, and [`ErrorKind::InvalidArgument`] for the workflow itself: it would come here again and again.
    pub fn resume<I>(&self, ids: I) -> Durable<'static, ResumeOptions, Vec<ChildHandle<Value, Error, E>>, E>
    where
        I: IntoIterator<Item: TryInto<WorkflowId, Error: Into<Error>>>,
    {
        let ids = distinct(ids);
        Durable::build(&self.execution, 1, move |execution, number, options: ResumeOptions| async move {
            let order = || async {
                let (ids, queue) = (ids?, destination(options.queue.as_deref(), None)?);
                if ids.contains(&execution.fence.id) {
                    return Err(Error::invalid("a workflow cannot resume itself"));
                }
                let work = resume(Arc::clone(&execution.shared), ids.clone(), queue, Caller::Workflow);
                to_its_end(&execution.shared, work).await?;
                Ok(ids)
            };
            let ids: Vec<WorkflowId> = recorded(&execution, number, "DBOS.resumeWorkflow", order).await?;
            let handle = |id| ChildHandle::new(super::found(&execution.shared, id), &execution);
            Ok(ids.into_iter().map(handle).collect())
        })
    }
}

async fn resume(shared: Arc<Shared>, ids: Vec<WorkflowId>, queue: String, caller: Caller) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let resumed = caller.ask(&shared, || shared.store.resume(&ids, &queue)).await?;
    let found = resumed.map_err(|none| missing(&none.0))?;
    for found in found.iter().filter(|found| found.changed) {
        displace(&shared, found, ErrorKind::LostOwnership);
    }
    shared.wakeups.announce_queue(&queue);
    Ok(())
}
