//! How a workflow ended, and what a client is told of it.

use dbos_runtime::{DurableError, Error, ErrorKind, WorkflowHandle, WorkflowId, WorkflowStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::problem::Problem;

/// How a workflow ended.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Outcome<O> {
    /// With a result.
    Success(O),
    /// With an error.
    Failed(Error),
    /// It was cancelled.
    Cancelled,
    /// It was parked after too many attempts to run it.
    Parked,
}

impl<O: DeserializeOwned> Outcome<O> {
    /// Waits for the end; nothing when the runtime ends first.
    pub(crate) async fn of(handle: &WorkflowHandle<O>) -> Result<Option<Self>, Problem> {
        match handle.result().await {
            Ok(output) => Ok(Some(Self::Success(output))),
            Err(error) => Self::failed(handle, error).await,
        }
    }

    /// Looks whether it has ended. Does not wait, not even for a database that is away.
    pub(crate) async fn now(handle: &WorkflowHandle<O>) -> Result<Option<Self>, Problem> {
        match handle.try_result().await {
            Ok(output) => Ok(output.map(Self::Success)),
            Err(error) => Self::failed(handle, error).await,
        }
    }

    /// Tells how the workflow ended from a failure to learn it.
    async fn failed(handle: &WorkflowHandle<O>, error: Error) -> Result<Option<Self>, Problem> {
        // The failure of a workflow may itself be about another one.
        let own = error.workflow_id() == Some(handle.id());
        match error.kind() {
            ErrorKind::ShuttingDown => Ok(None),
            ErrorKind::AwaitedWorkflowCancelled if own => Ok(Some(Self::Cancelled)),
            ErrorKind::MaxRecoveryAttemptsExceeded if own => Ok(Some(Self::Parked)),
            ErrorKind::NonExistentWorkflow | ErrorKind::Serialization if own => Err(error.into()),
            // Either is possible here, and the row knows.
            ErrorKind::Database | ErrorKind::Unavailable => match handle.status().await?.status {
                Some(WorkflowStatus::Error) => Ok(Some(Self::Failed(error))),
                _ => Err(error.into()),
            },
            _ => Ok(Some(Self::Failed(error))),
        }
    }
}

impl<O> Outcome<O> {
    /// The JSON of the outcome.
    pub(crate) fn body<'a>(&'a self, workflow_id: &'a WorkflowId) -> Body<'a, O> {
        let body = |status| Body { workflow_id, status, output: None, error: None };
        match self {
            Self::Success(output) => Body { output: Some(output), ..body(WorkflowStatus::Success) },
            Self::Failed(error) => Body { error: Some(told(error)), ..body(WorkflowStatus::Error) },
            Self::Cancelled => body(WorkflowStatus::Cancelled),
            Self::Parked => body(WorkflowStatus::MaxRecoveryAttemptsExceeded),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Body<'a, O> {
    workflow_id: &'a WorkflowId,
    status: WorkflowStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a O>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

/// An application's error in its own words; the runtime's in ours, since its words may quote a database.
fn told(error: &Error) -> Value {
    let message = match error.kind() {
        ErrorKind::Foreign => &error.to_string(),
        ErrorKind::MaxStepRetriesExceeded => "A step used up its attempts.",
        ErrorKind::StepTimeout => "A step took too long.",
        ErrorKind::Cancelled | ErrorKind::AwaitedWorkflowCancelled => "A workflow was cancelled.",
        _ => "The workflow failed.",
    };
    json!({"name": error.name(), "message": message})
}

/// A workflow's error as its own type.
pub(crate) fn typed<E: DurableError>(error: Error) -> E {
    if error.kind() == ErrorKind::Foreign
        && let Ok(own) = E::deserialize(error.data())
    {
        return own;
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_runtime_stay_inside() {
        let id = WorkflowId::parse("w").unwrap();
        for (kind, name) in
            [("Transaction", "Transaction"), ("Panicked", "Panicked"), ("Database", "Database")]
        {
            let stored = json!({"kind": kind, "message": "duplicate key in \"users\""});
            let failed: Outcome<()> = Outcome::Failed(serde_json::from_value(stored).unwrap());
            let body = serde_json::to_value(failed.body(&id)).unwrap();
            let error = json!({"name": name, "message": "The workflow failed."});
            assert_eq!(body, json!({"workflow_id": "w", "status": "ERROR", "error": error}));
        }
    }

    #[test]
    fn a_result_that_is_null_is_there() {
        let id = WorkflowId::parse("w").unwrap();
        let ended = |outcome: Outcome<()>| serde_json::to_value(outcome.body(&id)).unwrap();
        let success = json!({"workflow_id": "w", "status": "SUCCESS", "output": null});
        assert_eq!(ended(Outcome::Success(())), success);
        assert_eq!(ended(Outcome::Cancelled), json!({"workflow_id": "w", "status": "CANCELLED"}));
    }
}
