//! How a workflow ended.

use serde::de::DeserializeOwned;

use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::model::status::WorkflowStatus;
use crate::model::workflow::Ending;
use crate::payload;

/// How a workflow ended.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Outcome<T, E = Error> {
    /// With a result.
    Success(T),
    /// With an error of its own.
    Failed(E),
    /// It was cancelled.
    Cancelled,
    /// It was parked after too many attempts to run it.
    Parked,
}

impl<T: DeserializeOwned, E: DurableError> Outcome<T, E> {
    /// What a row says that has ended.
    pub(crate) fn of(ending: &Ending) -> Result<Self> {
        match WorkflowStatus::from_text(&ending.status) {
            Some(WorkflowStatus::Cancelled) => Ok(Self::Cancelled),
            Some(WorkflowStatus::MaxRecoveryAttemptsExceeded) => Ok(Self::Parked),
            _ => {
                let id = WorkflowId::trusted(ending.id.as_str());
                payload::readable(ending.serialization.as_deref()).map_err(|error| error.about(&id))?;
                Self::recorded(ending.output.as_deref(), ending.error.as_deref(), &id)
            }
        }
    }

    /// What an execution has recorded.
    pub(crate) fn recorded(output: Option<&str>, error: Option<&str>, id: &WorkflowId) -> Result<Self> {
        match (error, output) {
            (Some(error), _) => Ok(Self::Failed(payload::decode_error(error))),
            (None, output) => {
                let output = payload::decode(output.unwrap_or("null"));
                output.map(Self::Success).map_err(|error| error.about(id))
            }
        }
    }
}

impl<T, E: DurableError> Outcome<T, E> {
    /// The result, or whatever else it was as an error.
    pub(crate) fn into_result(self, id: &WorkflowId) -> std::result::Result<T, E> {
        let (kind, message) = match self {
            Self::Success(output) => return Ok(output),
            Self::Failed(error) => return Err(error),
            Self::Cancelled => (ErrorKind::AwaitedWorkflowCancelled, format!("workflow {id} was cancelled")),
            Self::Parked => {
                let message = format!("workflow {id} was parked after too many attempts to run it");
                (ErrorKind::MaxRecoveryAttemptsExceeded, message)
            }
        };
        Err(Error::new(kind, message).about(id).into())
    }
}
