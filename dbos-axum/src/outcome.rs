//! What a client is told of the end of a workflow.

use dbos_runtime::{DurableError, Error, ErrorKind, Outcome, WorkflowId, WorkflowStatus};
use serde::Serialize;
use serde_json::{Value, json};

/// The JSON of an outcome.
pub(crate) fn body<'a, O>(outcome: &'a Outcome<O>, workflow_id: &'a WorkflowId) -> Body<'a, O> {
    let body = |status| Body { workflow_id, status, output: None, error: None };
    match outcome {
        Outcome::Success(output) => Body { output: Some(output), ..body(WorkflowStatus::Success) },
        Outcome::Cancelled => body(WorkflowStatus::Cancelled),
        Outcome::Parked => body(WorkflowStatus::MaxRecoveryAttemptsExceeded),
        Outcome::Failed(error) => Body { error: Some(told(error)), ..body(WorkflowStatus::Error) },
        _ => body(WorkflowStatus::Error),
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
pub(crate) fn told(error: &Error) -> Value {
    let message = match error.kind() {
        ErrorKind::Foreign => &error.to_string(),
        ErrorKind::MaxStepRetriesExceeded => "A step used up its attempts.",
        ErrorKind::NotAuthorized => "The caller has none of the roles that the workflow requires.",
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
            let told = serde_json::to_value(body(&failed, &id)).unwrap();
            let error = json!({"name": name, "message": "The workflow failed."});
            assert_eq!(told, json!({"workflow_id": "w", "status": "ERROR", "error": error}));
        }
    }

    #[test]
    fn a_result_that_is_null_is_there() {
        let id = WorkflowId::parse("w").unwrap();
        let ended = |outcome: Outcome<()>| serde_json::to_value(body(&outcome, &id)).unwrap();
        let success = json!({"workflow_id": "w", "status": "SUCCESS", "output": null});
        assert_eq!(ended(Outcome::Success(())), success);
        assert_eq!(ended(Outcome::Cancelled), json!({"workflow_id": "w", "status": "CANCELLED"}));
    }
}
