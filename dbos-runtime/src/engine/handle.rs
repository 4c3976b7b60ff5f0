//! A started workflow, seen from outside.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::execution::{Completion, Ended};
use super::outcome::Outcome;
use super::shared::Shared;
use super::wait;
use crate::error::{DurableError, Error, Result};
use crate::ids::WorkflowId;
use crate::model::info::WorkflowInfo;
use crate::model::status::WorkflowStatus;

/// A workflow that was started, or found. Cheap to clone; dropping it changes nothing.
pub struct WorkflowHandle<T, E = Error> {
    shared: Arc<Shared>,
    id: WorkflowId,
    local: Option<Arc<Completion>>,
    origin: Origin,
    seen: Option<WorkflowStatus>,
    types: PhantomData<fn() -> (T, E)>,
}

/// How a handle came to its workflow.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Its start made it.
    Created,
    /// Its start found it, running with this input.
    Attached(Arc<str>),
    /// By its id.
    Found,
}

impl<T, E> Clone for WorkflowHandle<T, E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            id: self.id.clone(),
            local: self.local.clone(),
            origin: self.origin.clone(),
            seen: self.seen,
            types: PhantomData,
        }
    }
}

impl<T, E> fmt::Debug for WorkflowHandle<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T, E> WorkflowHandle<T, E> {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        id: WorkflowId,
        local: Option<Arc<Completion>>,
        origin: Origin,
    ) -> Self {
        Self { shared: Arc::clone(shared), id, local, origin, seen: None, types: PhantomData }
    }

    pub(crate) fn seen(self, status: Option<WorkflowStatus>) -> Self {
        Self { seen: status, ..self }
    }

    /// Whether it runs in this process.
    pub(crate) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// The workflow's id.
    pub fn id(&self) -> &WorkflowId {
        &self.id
    }

    /// Whether this handle's start made the workflow, rather than finding it.
    pub fn created(&self) -> bool {
        matches!(self.origin, Origin::Created)
    }

    /// Of a workflow that a start found in its place: the stored text of the input that it runs with.
    pub fn stored_input(&self) -> Option<&str> {
        match &self.origin {
            Origin::Attached(input) => Some(input),
            Origin::Created | Origin::Found => None,
        }
    }

    /// Where the workflow stood when this handle's start made it or found it; `None` for other handles.
    pub fn seen_status(&self) -> Option<WorkflowStatus> {
        self.seen
    }

    /// Where the workflow stands.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow), or [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    pub async fn status(&self) -> Result<WorkflowInfo> {
        info(&self.shared, &self.id).await
    }
}

impl<T: DeserializeOwned, E: DurableError> WorkflowHandle<T, E> {
    /// Waits for the workflow's result, wherever it runs and however often it is recovered.
    ///
    /// # Errors
    ///
    /// The workflow's own error, as its type; [`ErrorKind::AwaitedWorkflowCancelled`](crate::ErrorKind::AwaitedWorkflowCancelled),
    /// [`ErrorKind::MaxRecoveryAttemptsExceeded`](crate::ErrorKind::MaxRecoveryAttemptsExceeded), [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow) when it ended otherwise;
    /// [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown) when this runtime ends first.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it only stops the waiting.
    pub async fn result(&self) -> std::result::Result<T, E> {
        self.outcome().await?.into_result(&self.id)
    }

    /// Waits for the workflow's end, as [`result`](Self::result) does, and says how it ended. An error of the workflow
    /// is told from a failure to learn of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`](crate::ErrorKind::NonExistentWorkflow); [`ErrorKind::Serialization`](crate::ErrorKind::Serialization) for a result of another type, or in a format
    /// that only another language reads; [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown) when this runtime ends first.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it only stops the waiting.
    pub async fn outcome(&self) -> Result<Outcome<T, E>> {
        if let Some(local) = &self.local {
            let ended = tokio::select! {
                ended = local.wait() => ended,
                () = self.shared.tasks.stopped.cancelled() => return Err(wait::shutting_down()),
            };
            if let Ended::Outcome { output, error } = ended {
                return Outcome::recorded(output.as_deref(), error.as_deref(), &self.id);
            }
        }
        Outcome::of(&wait::ending(&self.shared, &self.id).await?)
    }

    /// The result if the workflow has ended, `None` if it has not. Looks once, at the database.
    ///
    /// # Errors
    ///
    /// As [`result`](Self::result), and [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    pub async fn try_result(&self) -> std::result::Result<Option<T>, E> {
        let outcome = self.try_outcome().await?;
        outcome.map(|outcome| outcome.into_result(&self.id)).transpose()
    }

    /// How the workflow ended, `None` if it has not. Looks once, at the database.
    ///
    /// # Errors
    ///
    /// As [`outcome`](Self::outcome), and [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    pub async fn try_outcome(&self) -> Result<Option<Outcome<T, E>>> {
        let shared = &self.shared;
        let ids = [self.id.as_str()];
        let mut endings = wait::briefly(shared, || shared.store.endings(&ids)).await?;
        let ending = endings.pop().ok_or_else(|| Error::no_workflow(self.id.as_str()))?;
        if WorkflowStatus::from_text(&ending.status).is_some_and(WorkflowStatus::is_terminal) {
            return Outcome::of(&ending).map(Some);
        }
        Ok(None)
    }
}

pub(crate) async fn info(shared: &Shared, id: &WorkflowId) -> Result<WorkflowInfo> {
    let row = wait::briefly(shared, || shared.store.look(id.as_str())).await?;
    row.ok_or_else(|| Error::no_workflow(id.as_str()))
}
