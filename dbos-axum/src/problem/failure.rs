//! Failures of the runtime as problems.

use dbos_runtime::{Error, ErrorKind, WorkflowId};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use super::Problem;
use super::catalogue::{
    CANCELLED, DEDUPLICATED, FAILED, ID_CONFLICT, INVALID_ARGUMENT, KEY_REUSED, NAME_IN_USE, NOT_AUTHORIZED,
    NOT_FOUND, TIMEOUT, UNAVAILABLE,
};

/// A failure of the runtime as what a client may know of it. What the client may not know is logged here.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        let problem = match kind {
            // The messages of these name a field and its limit, and nothing else.
            ErrorKind::InvalidArgument => Self::of(INVALID_ARGUMENT).with_detail(error.to_string()),
            ErrorKind::NonExistentWorkflow => Self::of(NOT_FOUND),
            ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND),
            ErrorKind::ConflictingWorkflow | ErrorKind::WorkflowIdInUse => Self::of(ID_CONFLICT),
            ErrorKind::QueueDeduplicated => Self::of(DEDUPLICATED),
            ErrorKind::NameInUse => Self::of(NAME_IN_USE),
            ErrorKind::NotAuthorized => Self::of(NOT_AUTHORIZED),
            ErrorKind::InputMismatch => Self::of(KEY_REUSED),
            ErrorKind::Cancelled | ErrorKind::AwaitedWorkflowCancelled => Self::of(CANCELLED),
            ErrorKind::QueryTimeout | ErrorKind::StreamTimeout => Self::of(TIMEOUT),
            ErrorKind::Unavailable | ErrorKind::ShuttingDown | ErrorKind::Initialization => {
                tracing::warn!(%error, "a request was turned away");
                Self::of(UNAVAILABLE).with_header(RETRY_AFTER, HeaderValue::from_static("2"))
            }
            ErrorKind::Foreign
            | ErrorKind::MaxStepRetriesExceeded
            | ErrorKind::MaxRecoveryAttemptsExceeded => {
                tracing::error!(%error, workflow.id = error.workflow_id().map(WorkflowId::as_str), "a workflow failed");
                Self::of(FAILED).with_member("source", "workflow")
            }
            _ => {
                tracing::error!(%error, ?kind, "a request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        let problem =
            if problem.status() == StatusCode::INTERNAL_SERVER_ERROR { problem } else { problem.named(kind) };
        match error.workflow_id() {
            // Another workflow's, perhaps of another owner.
            Some(_) if kind == ErrorKind::QueueDeduplicated => problem,
            Some(id) => problem.about(id),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_broken_limit_is_named_and_nothing_else_is() {
        let error = WorkflowId::parse("x".repeat(513)).unwrap_err();
        let problem = Problem::from(error);
        assert!(problem.is(INVALID_ARGUMENT));
        assert_eq!(problem.detail(), Some("workflow id has 513 bytes; the limit is 512"));
    }

    #[test]
    fn each_kind_of_failure_has_its_status_and_keeps_its_message() {
        let cases = [
            ("NonExistentWorkflow", 404, Some(5)),
            ("ConflictingWorkflow", 409, Some(9)),
            ("InputMismatch", 422, None),
            ("WorkflowIdInUse", 409, Some(27)),
            ("QueueDeduplicated", 409, Some(12)),
            ("NotFound", 404, None),
            ("NameInUse", 409, None),
            ("NotAuthorized", 403, Some(8)),
            ("QueryTimeout", 504, Some(26)),
            ("StreamTimeout", 504, Some(16)),
            ("Cancelled", 409, Some(10)),
            ("AwaitedWorkflowCancelled", 409, Some(13)),
            ("Unavailable", 503, None),
            ("ShuttingDown", 503, None),
            ("Initialization", 503, Some(3)),
            ("NotRegistered", 500, None),
            ("Database", 500, None),
            ("Transaction", 500, None),
            ("Panicked", 500, None),
            ("Serialization", 500, None),
            ("Foreign", 500, None),
        ];
        for (kind, status, code) in cases {
            // An error of the runtime is made by the runtime alone, but it can be read back.
            let stored = json!({"kind": kind, "message": "secret", "workflow_id": "w-1"});
            let error: Error = serde_json::from_value(stored).unwrap();
            let (answered, headers, body) = Problem::from(error).body();
            assert_eq!(answered.as_u16(), status, "{kind}");
            assert_eq!(body.get("dbos_error_code").and_then(Value::as_u64), code, "{kind}");
            assert_eq!(headers.contains_key(RETRY_AFTER), status == 503, "{kind}");
            assert!(!body.to_string().contains("secret"), "{kind}: {body}");
            let about = (kind != "QueueDeduplicated").then_some("w-1");
            assert_eq!(body.get("workflow_id").and_then(Value::as_str), about, "{kind}");
        }
    }
}
