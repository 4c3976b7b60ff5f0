//! Changing when a delayed workflow is due.

use std::sync::Arc;
use std::time::Duration;

use super::unit::{Caller, to_its_end};
use super::{RecordedWorkflows, Workflows};
use crate::engine::durable::Durable;
use crate::engine::recorded::recorded;
use crate::engine::shared::Shared;
use crate::error::{DurableError, Error, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::store::management::Due;
use crate::time::Timestamp;

/// When a delayed workflow becomes due: after a while, or at an instant, by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delay {
    /// So long from now.
    For(Duration),
    /// At this instant; one in the past is now.
    Until(Timestamp),
}

impl From<Duration> for Delay {
    fn from(wait: Duration) -> Self {
        Self::For(wait)
    }
}

impl From<Timestamp> for Delay {
    fn from(instant: Timestamp) -> Self {
        Self::Until(instant)
    }
}

impl Delay {
    fn due(self) -> Result<Due> {
        match self {
            Self::For(wait) => {
                limits::duration("the delay", wait)?;
                Ok(Due::In(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
            }
            Self::Until(instant) if instant.as_millis() < 0 => {
                Err(Error::invalid("a workflow cannot be due before 1970"))
            }
            Self::Until(instant) => Ok(Due::At(instant)),
        }
    }
}

impl Workflows {
    /// Sets when a delayed workflow is due. Says whether it was delayed still: one that is due, runs or has ended is
    /// left as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow);
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a delay of more than 100 years or an instant
    /// before 1970; [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it once polled may or may not have set the delay.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use dbos_runtime::{Dbos, Error};
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// let in_time = dbos.workflows().set_delay("reminder-1", Duration::from_secs(3600)).await?;
    /// # let _ = in_time;
    /// # Ok(()) }
    /// ```
    pub async fn set_delay(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        delay: impl Into<Delay>,
    ) -> Result<bool> {
        let (id, due) = (id.try_into().map_err(Into::into)?, delay.into().due()?);
        to_its_end(&self.shared, set(Arc::clone(&self.shared), id, due, Caller::Outside)).await
    }
}

impl<E: DurableError> RecordedWorkflows<E> {
    /// Sets when a delayed workflow is due, as [`Workflows::set_delay`] does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_delay(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        delay: impl Into<Delay>,
    ) -> Durable<'static, (), bool, E> {
        let (id, delay) = (id.try_into().map_err(Into::into), delay.into());
        Durable::build(&self.execution, 1, move |execution, number, ()| async move {
            let order = || async {
                let work = set(Arc::clone(&execution.shared), id?, delay.due()?, Caller::Workflow);
                to_its_end(&execution.shared, work).await
            };
            Ok(recorded(&execution, number, "DBOS.setWorkflowDelay", order).await?)
        })
    }
}

async fn set(shared: Arc<Shared>, id: WorkflowId, due: Due, caller: Caller) -> Result<bool> {
    let found = caller.ask(&shared, || shared.store.delay(&id, due)).await?;
    found.map(|found| found.changed).ok_or_else(|| Error::no_workflow(id.as_str()))
}
