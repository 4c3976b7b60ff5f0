//! Questions that change workflows from outside of them.

use super::{Answer, Store};
use crate::failpoint::{self, Boundary, Side};
use crate::ids::WorkflowId;
use crate::model::fork::{NewFork, Unforkable};
use crate::model::management::{Cut, Found, Missing, Rewound};
use crate::time::Timestamp;

/// When a delayed workflow is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// So many milliseconds from now, by the database's clock.
    In(i64),
    At(Timestamp),
}

impl Due {
    /// The wait and the instant; one of them.
    pub(crate) fn parts(self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::In(millis) => (Some(millis), None),
            Self::At(instant) => (None, Some(instant.as_millis())),
        }
    }
}

impl Store {
    /// Cancels those of these workflows that have not ended; all of them that exist, as they were.
    pub(crate) async fn cancel(&self, ids: &[WorkflowId]) -> Answer<Vec<Found>> {
        failpoint::pass(Boundary::Cancel, Side::Before);
        let found = ask!(self, backend => backend.cancel(ids).await)?;
        failpoint::pass(Boundary::Cancel, Side::After);
        Ok(found)
    }

    /// Puts those of these workflows that have no outcome on a queue; as they were. All exist, or nothing happens.
    pub(crate) async fn resume(
        &self,
        ids: &[WorkflowId],
        queue: &str,
    ) -> Answer<Result<Vec<Found>, Missing>> {
        failpoint::pass(Boundary::Resume, Side::Before);
        let found = ask!(self, backend => backend.resume(ids, queue).await)?;
        failpoint::pass(Boundary::Resume, Side::After);
        Ok(found)
    }

    /// Makes these forks, all or none. One that is there already, as a fork of the same source, is left as it is.
    pub(crate) async fn fork(&self, forks: &[NewFork]) -> Answer<Result<(), Unforkable>> {
        failpoint::pass(Boundary::Fork, Side::Before);
        let forked = ask!(self, backend => backend.fork(forks).await)?;
        failpoint::pass(Boundary::Fork, Side::After);
        Ok(forked)
    }

    /// Takes back what an ended workflow did from a step on, and puts it on a queue.
    pub(crate) async fn rewind(&self, cut: &Cut) -> Answer<Rewound> {
        failpoint::pass(Boundary::Rewind, Side::Before);
        let rewound = ask!(self, backend => backend.rewind(cut).await)?;
        failpoint::pass(Boundary::Rewind, Side::After);
        Ok(rewound)
    }

    /// Removes these workflows, and with `children` all that they started, and everything that is recorded of them; as
    /// they were.
    pub(crate) async fn delete(&self, ids: &[WorkflowId], children: bool) -> Answer<Vec<Found>> {
        failpoint::pass(Boundary::Delete, Side::Before);
        let found = ask!(self, backend => backend.delete(ids, children).await)?;
        failpoint::pass(Boundary::Delete, Side::After);
        Ok(found)
    }

    /// Sets when a delayed workflow is due; as it was, if it exists.
    pub(crate) async fn delay(&self, id: &WorkflowId, due: Due) -> Answer<Option<Found>> {
        failpoint::pass(Boundary::Delay, Side::Before);
        let found = ask!(self, backend => backend.delay(id, due).await)?;
        failpoint::pass(Boundary::Delay, Side::After);
        Ok(found)
    }

    /// The workflows that these have started.
    pub(crate) async fn children(&self, ids: &[WorkflowId]) -> Answer<Vec<WorkflowId>> {
        ask!(self, backend => backend.children(ids).await)
    }

    /// This workflow, the one that started it, the one that started that, and so on.
    pub(crate) async fn ancestry(&self, id: &WorkflowId) -> Answer<Vec<WorkflowId>> {
        ask!(self, backend => backend.ancestry(id).await)
    }
}
