//! Deleting.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::cancel::TreeOptions;
use super::unit::{Caller, displace, distinct, to_its_end};
use super::{RecordedWorkflows, Workflows};
use crate::engine::durable::Durable;
use crate::engine::execution::Execution;
use crate::engine::recorded::recorded;
use crate::engine::shared::Shared;
use crate::engine::wait;
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::WorkflowId;

/// A delete that can be configured before it is awaited.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have deleted; that happens whole or not at all.
#[must_use = "nothing is deleted until it is awaited"]
pub struct DeleteWorkflows {
    shared: Arc<Shared>,
    ids: Result<Vec<WorkflowId>>,
    children: bool,
}

impl DeleteWorkflows {
    /// Also what these workflows have started, what that has started, and so on.
    pub fn with_children(mut self) -> Self {
        self.children = true;
        self
    }
}

impl fmt::Debug for DeleteWorkflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeleteWorkflows").field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl IntoFuture for DeleteWorkflows {
    type Output = Result<Vec<WorkflowId>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { shared, ids, children } = self;
        Box::pin(async move {
            let work = delete(Arc::clone(&shared), ids?, children, Caller::Outside);
            to_its_end(&shared, work).await
        })
    }
}

impl Workflows {
    /// Removes workflows and everything that is recorded of them, in whatever state they are. Says which there were;
    /// missing ones are no error.
    ///
    /// A running one stops at its next durable call, and who waits for it is told that it does not exist. Its id is
    /// free again.
    ///
    /// In other databases than the system database, the witnesses of transactions are removed as
    /// [`rewind`](Self::rewind) removes them; the application's own rows stay.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a text that is no id, [`ErrorKind::Unavailable`] when the database does not
    /// answer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Dbos, Error};
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// let deleted = dbos.workflows().delete(["order-1"]).with_children().await?;
    /// println!("{} workflows are gone", deleted.len());
    /// # Ok(()) }
    /// ```
    pub fn delete<I>(&self, ids: I) -> DeleteWorkflows
    where
        I: IntoIterator<Item: TryInto<WorkflowId, Error: Into<Error>>>,
    {
        DeleteWorkflows { shared: Arc::clone(&self.shared), ids: distinct(ids), children: false }
    }
}

impl<E: DurableError> RecordedWorkflows<E> {
    /// Removes other workflows, as [`Workflows::delete`] does. After a crash in between it is done again, and then finds
    /// fewer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a text that is no id, for the workflow itself, and for one that it descends from.
    pub fn delete<I>(&self, ids: I) -> Durable<'static, TreeOptions, Vec<WorkflowId>, E>
    where
        I: IntoIterator<Item: TryInto<WorkflowId, Error: Into<Error>>>,
    {
        let ids = distinct(ids);
        Durable::build(&self.execution, 1, move |execution, number, options: TreeOptions| async move {
            let order = || async {
                let ids = ids?;
                spare_ancestry(&execution, &ids).await?;
                let work = delete(Arc::clone(&execution.shared), ids, options.children, Caller::Workflow);
                to_its_end(&execution.shared, work).await
            };
            Ok(recorded(&execution, number, "DBOS.deleteWorkflow", order).await?)
        })
    }
}

/// A workflow that deletes what it descends from would take the record of this very step with it, or its own parent's.
async fn spare_ancestry(execution: &Execution, ids: &[WorkflowId]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let shared = &execution.shared;
    let ancestry = wait::patiently(shared, || shared.store.ancestry(&execution.fence.id)).await?;
    match ids.iter().find(|id| ancestry.contains(id)) {
        Some(id) => {
            Err(Error::invalid("a workflow can delete neither itself nor what it descends from").about(id))
        }
        None => Ok(()),
    }
}

async fn delete(
    shared: Arc<Shared>,
    ids: Vec<WorkflowId>,
    children: bool,
    caller: Caller,
) -> Result<Vec<WorkflowId>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = caller.ask(&shared, || shared.store.delete(&ids, children)).await?;
    for found in &found {
        displace(&shared, found, ErrorKind::LostOwnership);
    }
    // After the rows: until then an execution may leave another witness. Also of those that were missing, so that a
    // delete that got no further than the rows can be repeated.
    let mut gone: Vec<WorkflowId> = found.into_iter().map(|found| found.id).collect();
    let missing: Vec<WorkflowId> = ids.into_iter().filter(|id| !gone.contains(id)).collect();
    let existed = gone.len();
    gone.extend(missing);
    shared.registry.datasources.forget(&gone, 1).await?;
    gone.truncate(existed);
    Ok(gone)
}
