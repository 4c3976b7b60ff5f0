//! The crate's one error: opaque, with a kind to branch on.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::WorkflowId;

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the runtime, or of a workflow whose own error type is not known here.
///
/// Branch on [`kind`](Error::kind); the wording may change. The error travels through workflow results, so it can be
/// serialized; an application's error type wraps it in a variant (see [`DurableError`]).
///
/// ```
/// use dbos_runtime::{ErrorKind, WorkflowId};
///
/// let error = WorkflowId::parse("").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
/// assert_eq!(error.to_string(), "workflow id must not be empty");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error {
    repr: Box<Repr>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Repr {
    kind: ErrorKind,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workflow_id: Option<WorkflowId>,
    /// Of a foreign failure: the name that its own language gave it, its code and its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    code: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    data: Value,
    /// What each attempt of an exhausted step said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<String>,
    /// Of a failed statement: the driver's error, as long as it has not been stored.
    #[serde(skip)]
    cause: Option<Arc<sqlx::Error>>,
}

/// What went wrong, as far as a program can act on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument breaks a documented limit. Nothing was sent.
    InvalidArgument,
    /// The runtime could not start: configuration, schema, or a database that refuses.
    Initialization,
    /// No workflow of that name was registered in this process.
    NotRegistered,
    /// No workflow of that id exists.
    NonExistentWorkflow,
    /// The id belongs to a workflow of another name.
    ConflictingWorkflow,
    /// The id was started with another input (only where asked to compare).
    InputMismatch,
    /// The id is in use, and the start asked not to attach to the workflow that has it.
    WorkflowIdInUse,
    /// Another workflow on the queue holds the deduplication id.
    QueueDeduplicated,
    /// There is no schedule, queue or version of that name.
    NotFound,
    /// The name is taken, by something else or by another application.
    NameInUse,
    /// The workflow's user has none of the roles that it requires.
    NotAuthorized,
    /// The replayed code asks for another step than the one recorded at this position.
    UnexpectedStep,
    /// Two durable calls of one execution recorded the same position.
    StepNondeterminism,
    /// A patch was asked for while sibling calls were taking step numbers.
    PatchNondeterminism,
    /// Two recorded reads of streams overlapped in one workflow.
    StreamNondeterminism,
    /// A stream gave no value in time, or ended before the asked offset.
    StreamTimeout,
    /// A listing took longer than its time limit.
    QueryTimeout,
    /// A step used up its attempts; [`Error::attempts`] says what each one met.
    MaxStepRetriesExceeded,
    /// One attempt of a step took longer than its time limit.
    StepTimeout,
    /// The code panicked; the message is the panic's.
    Panicked,
    /// A durable call from a place where it could not be replayed. It took no step number.
    Misplaced,
    /// This workflow was cancelled.
    Cancelled,
    /// The workflow that was waited for had been cancelled.
    AwaitedWorkflowCancelled,
    /// The workflow was parked after too many attempts to run it.
    MaxRecoveryAttemptsExceeded,
    /// Another process has taken this execution over.
    LostOwnership,
    /// The runtime is shutting down; the workflow will be recovered.
    ShuttingDown,
    /// The database cannot be reached or does not answer in time. The same call may succeed later.
    Unavailable,
    /// The database refused a statement for a reason that trying again does not cure.
    Database,
    /// A value could not be encoded, or a stored one could not be decoded as the asked type.
    Serialization,
    /// A failure that was recorded by other code, perhaps in another language.
    Foreign,
    /// A transaction of the application failed in its own SQL.
    Transaction,
}

impl ErrorKind {
    /// The number that all DBOS SDKs give this failure.
    pub const fn code(self) -> Option<u16> {
        Some(match self {
            Self::LostOwnership => 1,
            Self::Initialization => 3,
            Self::NotRegistered => 4,
            Self::NonExistentWorkflow => 5,
            Self::MaxStepRetriesExceeded => 7,
            Self::NotAuthorized => 8,
            Self::ConflictingWorkflow => 9,
            Self::Cancelled => 10,
            Self::UnexpectedStep => 11,
            Self::QueueDeduplicated => 12,
            Self::AwaitedWorkflowCancelled => 13,
            Self::MaxRecoveryAttemptsExceeded => 14,
            Self::PatchNondeterminism => 15,
            Self::StreamTimeout => 16,
            Self::StreamNondeterminism => 17,
            Self::StepTimeout => 18,
            Self::QueryTimeout => 26,
            Self::WorkflowIdInUse => 27,
            Self::StepNondeterminism => 28,
            _ => return None,
        })
    }

    /// The name under which the other SDKs know this failure; our own where they have none.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::Initialization => "DBOSInitializationError",
            Self::NotRegistered => "DBOSWorkflowFunctionNotFoundError",
            Self::NonExistentWorkflow => "DBOSNonExistentWorkflowError",
            Self::ConflictingWorkflow => "DBOSConflictingWorkflowError",
            Self::InputMismatch => "InputMismatch",
            Self::WorkflowIdInUse => "DBOSWorkflowIDInUseError",
            Self::QueueDeduplicated => "DBOSQueueDeduplicatedError",
            Self::NotFound => "NotFound",
            Self::NameInUse => "NameInUse",
            Self::NotAuthorized => "DBOSNotAuthorizedError",
            Self::PatchNondeterminism => "DBOSPatchNondeterminismError",
            Self::StreamNondeterminism => "DBOSStreamNondeterminismError",
            Self::StreamTimeout => "DBOSStreamTimeoutError",
            Self::QueryTimeout => "DBOSQueryTimeoutError",
            Self::UnexpectedStep => "DBOSUnexpectedStepError",
            Self::StepNondeterminism => "DBOSStepNondeterminismError",
            Self::MaxStepRetriesExceeded => "DBOSMaxStepRetriesExceeded",
            Self::StepTimeout => "DBOSStepTimeoutError",
            Self::Panicked => "Panicked",
            Self::Misplaced => "Misplaced",
            Self::Cancelled => "DBOSWorkflowCancelledError",
            Self::AwaitedWorkflowCancelled => "DBOSAwaitedWorkflowCancelledError",
            Self::MaxRecoveryAttemptsExceeded => "DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded",
            Self::LostOwnership => "DBOSWorkflowConflictIDError",
            Self::ShuttingDown => "ShuttingDown",
            Self::Unavailable => "Unavailable",
            Self::Database => "Database",
            Self::Serialization => "Serialization",
            Self::Foreign => "Foreign",
            Self::Transaction => "Transaction",
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let repr = Repr {
            kind,
            message: message.into(),
            workflow_id: None,
            name: None,
            code: Value::Null,
            data: Value::Null,
            attempts: Vec::new(),
            cause: None,
        };
        Self { repr: Box::new(repr) }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn no_workflow(id: &str) -> Self {
        let error = Self::new(ErrorKind::NonExistentWorkflow, format!("workflow {id} does not exist"));
        error.about(&WorkflowId::trusted(id))
    }

    pub(crate) fn about(mut self, workflow_id: &WorkflowId) -> Self {
        self.repr.workflow_id = Some(workflow_id.clone());
        self
    }

    pub(crate) fn with_attempts(mut self, attempts: Vec<String>) -> Self {
        self.repr.attempts = attempts;
        self
    }

    pub(crate) fn foreign(name: String, message: String, code: Value, data: Value) -> Self {
        let mut error = Self::new(ErrorKind::Foreign, message);
        error.repr.name = Some(name);
        error.repr.code = code;
        error.repr.data = data;
        error
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.repr.kind
    }

    /// The name of the failure: a foreign one's own, else the kind's.
    pub fn name(&self) -> &str {
        self.repr.name.as_deref().unwrap_or_else(|| self.repr.kind.name())
    }

    /// The workflow that the failure is about, where it is about one.
    pub fn workflow_id(&self) -> Option<&WorkflowId> {
        self.repr.workflow_id.as_ref()
    }

    /// Of a foreign failure: its code, or null.
    pub fn code(&self) -> &Value {
        &self.repr.code
    }

    /// Of a foreign failure: its data, or null.
    pub fn data(&self) -> &Value {
        &self.repr.data
    }

    /// What each attempt of an exhausted step said, in order.
    pub fn attempts(&self) -> &[String] {
        &self.repr.attempts
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        matches!(self.repr.kind, ErrorKind::Unavailable | ErrorKind::ShuttingDown)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repr.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.repr.cause.as_deref().map(|cause| cause as _)
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.repr.kind == other.repr.kind && self.repr.message == other.repr.message
    }
}

/// A failed statement of the application inside a transaction step: the text of the driver's error.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let mut failed = Self::new(ErrorKind::Transaction, error.to_string());
        failed.repr.cause = Some(Arc::new(error));
        failed
    }
}

/// What accepts an id as text accepts a [`WorkflowId`] too, whose conversion into itself cannot fail.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// An error that a workflow or a step can end with: it is stored, and handed back as the same type.
///
/// Implemented for every type that has the parts; nothing is left to write.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Serialize, Deserialize, thiserror::Error)]
/// enum StoreError {
///     #[error("sold out")]
///     SoldOut,
///     #[error(transparent)]
///     Runtime(#[from] dbos_runtime::Error),
/// }
///
/// fn is_durable<E: dbos_runtime::DurableError>() {}
/// is_durable::<StoreError>();
/// ```
pub trait DurableError:
    std::error::Error + Serialize + for<'de> Deserialize<'de> + From<Error> + Send + Sync + 'static
{
}

impl<E> DurableError for E where
    E: std::error::Error + Serialize + for<'de> Deserialize<'de> + From<Error> + Send + Sync + 'static
{
}
