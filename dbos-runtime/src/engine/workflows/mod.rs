//! Management of workflows from outside: what is there, and what is to become of it.

mod aggregates;
mod attributes;
mod cancel;
mod delay;
mod delete;
mod fork;
mod recorded;
mod resume;
mod retention;
mod rewind;
mod transfer;
mod unit;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::handle::{Origin, WorkflowHandle};
use super::shared::Shared;
use super::wait;
use crate::error::{Error, Result};
use crate::ids::WorkflowId;
use crate::model::filter::{Filter, StepFilter};
use crate::model::info::{StepInfo, WorkflowInfo};

pub use self::cancel::{CancelReport, CancelWorkflows, TreeOptions};
pub use self::delay::Delay;
pub use self::delete::DeleteWorkflows;
pub use self::fork::Fork;
pub use self::recorded::RecordedWorkflows;
pub use self::resume::{ResumeOptions, ResumeWorkflows};
pub(crate) use self::retention::keep;
pub use self::rewind::Rewind;

/// The workflows of the database, seen from outside. Made by [`Dbos::workflows`](crate::Dbos::workflows).
///
/// ```
/// use dbos_runtime::{Dbos, Error, Filter, StepFilter, WorkflowStatus};
///
/// async fn report(dbos: &Dbos) -> Result<(), Error> {
///     let failed = Filter::new().statuses([WorkflowStatus::Error]).newest_first().limit(10).with_output();
///     for workflow in dbos.workflows().list(&failed).await? {
///         println!("{} {:?}", workflow.id, workflow.error.and_then(|error| error.json()));
///         for step in dbos.workflows().steps(workflow.id, &StepFilter::new()).await? {
///             println!("  {} {}", step.number, step.name);
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct Workflows {
    pub(crate) shared: Arc<Shared>,
}

impl Workflows {
    /// The workflows that the filter selects, the oldest first unless it says otherwise.
    ///
    /// A row that another program has written is listed as it is: an unknown status keeps its text, and a payload that
    /// only another language reads keeps its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a filter that makes no sense,
    /// [`ErrorKind::QueryTimeout`](crate::ErrorKind::QueryTimeout) when it takes longer than
    /// [`Builder::listing_timeout`](crate::Builder::listing_timeout),
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<WorkflowInfo>> {
        filter.check()?;
        let shared = &self.shared;
        wait::unhurriedly(shared, || shared.store.list(filter)).await
    }

    /// Of the selected workflows, those that are on a queue: delayed, enqueued or pending unless the filter names
    /// states.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn list_queued(&self, filter: &Filter) -> Result<Vec<WorkflowInfo>> {
        self.list(&filter.clone().queued()).await
    }

    /// The facts of one workflow, with what it was started with and what it returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow), or
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    pub async fn info(&self, id: impl TryInto<WorkflowId, Error: Into<Error>>) -> Result<WorkflowInfo> {
        let id = id.try_into().map_err(Into::into)?;
        let shared = &self.shared;
        let found = wait::briefly(shared, || shared.store.whole(id.as_str())).await?;
        found.ok_or_else(|| Error::no_workflow(id.as_str()))
    }

    /// The recorded steps of a workflow, by number; none when there is no such workflow.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    pub async fn steps(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        filter: &StepFilter,
    ) -> Result<Vec<StepInfo>> {
        let id = id.try_into().map_err(Into::into)?;
        let (limit, offset) = filter.page()?;
        let shared = &self.shared;
        wait::briefly(shared, || shared.store.steps(id.as_str(), limit, offset, filter.output)).await
    }
}

impl fmt::Debug for Workflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflows").finish_non_exhaustive()
    }
}

/// A handle to a workflow that is there.
fn found(shared: &Arc<Shared>, id: WorkflowId) -> WorkflowHandle<Value> {
    WorkflowHandle::new(shared, id, None, Origin::Found)
}
