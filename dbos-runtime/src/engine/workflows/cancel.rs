//! Cancelling.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::unit::{Caller, displace, distinct, to_its_end};
use super::{RecordedWorkflows, Workflows};
use crate::engine::durable::Durable;
use crate::engine::recorded::recorded;
use crate::engine::shared::Shared;
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::model::status::WorkflowStatus;

/// What a cancel did with each workflow that it was asked for, and with each child that it found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CancelReport {
    /// Cancelled by this call.
    pub cancelled: Vec<WorkflowId>,
    /// Left as they were, because they had ended already, and how; `None` is a status that no SDK writes.
    pub ended: Vec<(WorkflowId, Option<WorkflowStatus>)>,
    /// There are none of these ids.
    pub missing: Vec<WorkflowId>,
}

/// A cancel that can be configured before it is awaited.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have cancelled; a cancel of several levels may stop between two of them.
#[must_use = "nothing is cancelled until it is awaited"]
pub struct CancelWorkflows {
    shared: Arc<Shared>,
    ids: Result<Vec<WorkflowId>>,
    children: bool,
}

impl CancelWorkflows {
    /// Also what these workflows have started, what that has started, and so on: level by level, parents first, so that
    /// no new child comes after the look.
    pub fn with_children(mut self) -> Self {
        self.children = true;
        self
    }
}

impl fmt::Debug for CancelWorkflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelWorkflows").field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl IntoFuture for CancelWorkflows {
    type Output = Result<CancelReport>;
    type IntoFuture = BoxFuture<'static, Result<CancelReport>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { shared, ids, children } = self;
        Box::pin(async move {
            let ids = ids?;
            let work = cancel(Arc::clone(&shared), ids, children, Caller::Outside);
            to_its_end(&shared, work).await
        })
    }
}

impl Workflows {
    /// Cancels workflows that have not ended with an outcome, and says what became of each.
    ///
    /// They stop at their next durable call; a step that is running may finish, but is not recorded. A parked workflow
    /// becomes a cancelled one; one that is cancelled already keeps the time of its cancellation. [`resume`](Self::resume)
    /// lets a cancelled workflow go on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a text that is no id, [`ErrorKind::Unavailable`] when the database does not
    /// answer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Dbos, Error};
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// let report = dbos.workflows().cancel(["order-1", "order-2"]).with_children().await?;
    /// for (id, status) in report.ended {
    ///     println!("{id} was over already: {status:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn cancel<I>(&self, ids: I) -> CancelWorkflows
    where
        I: IntoIterator<Item: TryInto<WorkflowId, Error: Into<Error>>>,
    {
        CancelWorkflows { shared: Arc::clone(&self.shared), ids: distinct(ids), children: false }
    }
}

/// What can still be set on a cancel or a delete that a workflow orders.
#[derive(Debug, Default)]
pub struct TreeOptions {
    pub(super) children: bool,
}

impl<T, E> Durable<'_, TreeOptions, T, E> {
    /// Also what these workflows have started, and so on.
    pub fn with_children(self) -> Self {
        self.with(|options| options.children = true)
    }
}

impl<E: DurableError> RecordedWorkflows<E> {
    /// Cancels workflows, as [`Workflows::cancel`] does.
    ///
    /// A workflow may cancel itself. It stops here, before the step is recorded, so a resumed one comes to the same
    /// cancel again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a text that is no id.
    pub fn cancel<I>(&self, ids: I) -> Durable<'static, TreeOptions, CancelReport, E>
    where
        I: IntoIterator<Item: TryInto<WorkflowId, Error: Into<Error>>>,
    {
        let ids = distinct(ids);
        Durable::build(&self.execution, 1, move |execution, number, options: TreeOptions| async move {
            let order = || async {
                let work = cancel(Arc::clone(&execution.shared), ids?, options.children, Caller::Workflow);
                to_its_end(&execution.shared, work).await
            };
            Ok(recorded(&execution, number, "DBOS.cancelWorkflow", order).await?)
        })
    }
}

async fn cancel(
    shared: Arc<Shared>,
    ids: Vec<WorkflowId>,
    children: bool,
    caller: Caller,
) -> Result<CancelReport> {
    let began = shared.clock.now().as_millis();
    let mut seen: HashSet<WorkflowId> = ids.iter().cloned().collect();
    let mut report = CancelReport::default();
    let mut level = ids;
    while !level.is_empty() {
        let tries = AtomicU32::new(0);
        let question = || {
            tries.fetch_add(1, Ordering::Relaxed);
            shared.store.cancel(&level)
        };
        let found = caller.ask(&shared, question).await?;
        let again = tries.load(Ordering::Relaxed) > 1;
        let mut found: HashMap<_, _> = found.into_iter().map(|found| (found.id.clone(), found)).collect();
        for id in &level {
            let Some(found) = found.remove(id) else {
                report.missing.push(id.clone());
                continue;
            };
            let status = WorkflowStatus::from_text(&found.status);
            // The answer to an earlier try may have been lost.
            let ours = again
                && status == Some(WorkflowStatus::Cancelled)
                && found.completed_at.is_some_and(|at| at >= began);
            if found.changed {
                displace(&shared, &found, ErrorKind::Cancelled);
            } else if ours && let Some(execution) = shared.running.get(id) {
                // Whose owner it was went with the lost answer. A cancelled row has none, so whoever runs it has lost it.
                execution.latch(ErrorKind::Cancelled);
            }
            if found.changed || ours {
                report.cancelled.push(found.id);
            } else {
                report.ended.push((found.id, status));
            }
        }
        if !children {
            break;
        }
        let below = caller.ask(&shared, || shared.store.children(&level)).await?;
        level = below.into_iter().filter(|id| seen.insert(id.clone())).collect();
    }
    Ok(report)
}
