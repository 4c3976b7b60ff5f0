//! What a workflow's body is given. A plain struct: each file of verbs adds its own methods.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::execution::Execution;
use crate::error::Error;
use crate::ids::WorkflowId;
use crate::time::Timestamp;

/// The context of a running workflow: the application's state, and the durable verbs.
///
/// Name it once in an application, with its own state and error: `type Ctx = dbos_runtime::Ctx<AppState, AppError>;`.
/// Cheap to clone; helpers take `&Ctx`. Every verb takes its step number when it is called and returns a future, so the
/// numbers follow the order of the calls, not of the awaits.
///
/// A verb is refused ([`ErrorKind::Misplaced`](crate::ErrorKind::Misplaced)) inside a step, in a spawned task and in
/// another workflow, where it could not be replayed.
pub struct Ctx<S = (), E = Error> {
    pub(crate) execution: Arc<Execution>,
    state: Arc<S>,
    error: PhantomData<fn() -> E>,
}

impl<S, E> Ctx<S, E> {
    pub(crate) fn new(execution: Arc<Execution>, state: Arc<S>) -> Self {
        Self { execution, state, error: PhantomData }
    }

    /// The application's state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The id of this workflow.
    pub fn workflow_id(&self) -> &WorkflowId {
        &self.execution.fence.id
    }

    /// The name under which this workflow is registered.
    pub fn workflow_name(&self) -> &str {
        &self.execution.name
    }

    /// When the workflow is cancelled if it has not ended by then, by the database's clock.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.execution.deadline
    }

    /// Cancelled when this execution has to stop: the workflow was cancelled, another process took it over, or the
    /// runtime shuts down.
    pub fn cancellation(&self) -> CancellationToken {
        self.execution.interrupt.clone()
    }
}

impl<S, E> Clone for Ctx<S, E> {
    fn clone(&self) -> Self {
        Self { execution: Arc::clone(&self.execution), state: Arc::clone(&self.state), error: PhantomData }
    }
}

impl<S, E> fmt::Debug for Ctx<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("workflow_id", self.workflow_id()).finish_non_exhaustive()
    }
}

/// The types behind an application's alias of [`Ctx`]. Only `#[workflow]` needs it.
#[doc(hidden)]
pub trait Context {
    /// The application's state.
    type State;
    /// The application's error.
    type Error;
}

impl<S, E> Context for Ctx<S, E> {
    type State = S;
    type Error = E;
}
