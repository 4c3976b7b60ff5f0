//! Which of several workflows ends first?

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::select_all;

use super::context::Ctx;
use super::durable::Durable;
use super::execution::Execution;
use super::recorded::recorded;
use super::shared::Shared;
use super::wait;
use crate::error::{DurableError, Error, Result};
use crate::ids::WorkflowId;
use crate::model::status::WorkflowStatus;
use crate::model::workflow::Ending;
use crate::model::write::Touched;

const WAIT_FIRST: &str = "DBOS.waitFirst";

/// Waits until one of these workflows has ended.
pub(crate) async fn wait_first<'i>(
    shared: &Shared,
    ids: impl IntoIterator<Item = &'i WorkflowId>,
) -> Result<WorkflowId> {
    first(shared, &distinct(ids)?).await
}

impl<S, E: DurableError> Ctx<S, E> {
    /// Waits until one of these workflows has ended, however it ended, and says which. A replay says the same.
    ///
    /// Waiting for all of them needs no verb: `join!` and `join_all` over the results keep their order.
    ///
    /// # Errors
    ///
    /// As [`Dbos::wait_first`](crate::Dbos::wait_first).
    pub fn wait_first<'i>(
        &self,
        ids: impl IntoIterator<Item = &'i WorkflowId>,
    ) -> Durable<'static, (), WorkflowId, E> {
        match distinct(ids) {
            Err(error) => Durable::refused(&self.execution, error),
            Ok(ids) => Durable::build(&self.execution, 1, move |execution, number, ()| async move {
                Ok(recorded(&execution, number, WAIT_FIRST, || unless_stopped(&execution, &ids)).await?)
            }),
        }
    }
}

fn distinct<'i>(ids: impl IntoIterator<Item = &'i WorkflowId>) -> Result<Vec<WorkflowId>> {
    let ids: Vec<WorkflowId> = ids.into_iter().cloned().collect();
    if ids.is_empty() {
        return Err(Error::invalid("there is no workflow to wait for"));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = ids.iter().find(|id| !seen.insert(id.as_str())) {
        return Err(Error::invalid(format!("workflow {twice} is waited for twice")));
    }
    Ok(ids)
}

async fn unless_stopped(execution: &Arc<Execution>, ids: &[WorkflowId]) -> Result<WorkflowId> {
    tokio::select! {
        first = first(&execution.shared, ids) => first,
        () = execution.interrupt.cancelled() => {
            execution.live()?;
            Err(wait::shutting_down())
        }
    }
}

async fn first(shared: &Shared, ids: &[WorkflowId]) -> Result<WorkflowId> {
    let texts: Vec<&str> = ids.iter().map(WorkflowId::as_str).collect();
    let subscriptions: Vec<_> =
        ids.iter().map(|id| shared.wakeups.subscribe(&Touched::Ended(id.clone()))).collect();
    loop {
        let hints = subscriptions.iter().map(|subscription| Box::pin(subscription.hint()));
        let hint = select_all(hints);
        let endings = wait::patiently(shared, || shared.store.endings(&texts)).await?;
        for id in ids {
            let Some(ending) = endings.iter().find(|ending| ending.id == id.as_str()) else {
                return Err(Error::no_workflow(id.as_str()));
            };
            if has_ended(ending) {
                return Ok(id.clone());
            }
        }
        tokio::select! {
            _ = hint => {}
            () = shared.tasks.stopped.cancelled() => return Err(wait::shutting_down()),
        }
    }
}

/// A status that no SDK writes counts as an end: nobody would say otherwise later.
fn has_ended(ending: &Ending) -> bool {
    WorkflowStatus::from_text(&ending.status).is_none_or(WorkflowStatus::is_terminal)
}
