//! The same verbs inside a workflow: each is one of its steps, so that a replay sees what the first run saw.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::engine::context::Ctx;
use crate::engine::execution::Execution;

/// The workflows of the database, seen from inside a workflow. Made by [`Ctx::workflows`].
///
/// What a verb found or did is recorded, and a replay is given the same.
pub struct RecordedWorkflows<E> {
    pub(crate) execution: Arc<Execution>,
    pub(crate) error: PhantomData<fn() -> E>,
}

impl<S, E> Ctx<S, E> {
    /// The workflows of the database: listed, looked into and managed by recorded steps.
    pub fn workflows(&self) -> RecordedWorkflows<E> {
        RecordedWorkflows { execution: Arc::clone(&self.execution), error: PhantomData }
    }
}

impl<E> fmt::Debug for RecordedWorkflows<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedWorkflows").finish_non_exhaustive()
    }
}
