//! Moving workflows to another database.

use super::Workflows;
use crate::engine::{guard, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::model::export::{self, ExportedWorkflow};

impl Workflows {
    /// A workflow as it lies in the database, and with `children` all that descend from it, for
    /// [`import`](Self::import) into another. Messages that it has been sent are not part of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`], [`ErrorKind::QueryTimeout`] when it takes longer than a listing may,
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn export(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        children: bool,
    ) -> Result<Vec<ExportedWorkflow>> {
        let id = id.try_into().map_err(Into::into)?;
        let shared = &self.shared;
        let exported = wait::unhurriedly(shared, || shared.store.export(id.as_str(), children)).await?;
        if exported.is_empty() { Err(Error::no_workflow(id.as_str())) } else { Ok(exported) }
    }

    /// Inserts workflows as they were exported: all of them or none. Nothing is started by it: one that was enqueued
    /// waits on its queue, one that was running waits to be recovered or resumed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WorkflowIdInUse`] when there are workflows of these ids, or such that hold their deduplication ids;
    /// [`ErrorKind::InvalidArgument`] for an export that does not hold together; [`ErrorKind::Unavailable`] when the
    /// database does not answer: then they may be there all the same.
    pub async fn import(&self, workflows: &[ExportedWorkflow]) -> Result<()> {
        guard::outside_of_transactions()?;
        export::check(workflows)?;
        if workflows.is_empty() {
            return Ok(());
        }
        // Not tried again: the second time would find the workflows of the first.
        let in_use = self.shared.store.import(workflows).await?;
        if in_use.is_empty() {
            return Ok(());
        }
        let ids = in_use.join(", ");
        let message = format!("nothing was imported: the ids, or deduplication ids, of {ids} are in use");
        Err(Error::new(ErrorKind::WorkflowIdInUse, message))
    }
}
