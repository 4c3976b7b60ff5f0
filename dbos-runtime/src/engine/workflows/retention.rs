//! Getting rid of what is old.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Workflows;
use crate::engine::shared::Shared;
use crate::engine::{guard, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::model::retention::{Collected, Retention};
use crate::time::Timestamp;

impl Workflows {
    /// Deletes ended workflows that need not be kept, each with all that belongs to it, in batches that are committed
    /// one by one; then what earlier deletions have left without a workflow.
    ///
    /// Of several processes on one Postgres, one at a time does this; the others report that it was [busy].
    ///
    /// [busy]: Collected::busy
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a retention that says nothing, [`ErrorKind::Unavailable`] when the database
    /// does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it stops it between two batches, or before the commit of one.
    pub async fn collect(&self, retention: &Retention) -> Result<Collected> {
        guard::outside_of_transactions()?;
        retention.check()?;
        collect(&self.shared, retention).await
    }

    /// Cancels this application's workflows that were inserted by then and have not ended. Says how many there were.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn global_timeout(&self, inserted_by: Timestamp) -> Result<u64> {
        guard::outside_of_transactions()?;
        let shared = &self.shared;
        let cancelled = wait::unhurriedly(shared, || shared.store.cancel_inserted_by(inserted_by)).await?;
        for id in &cancelled {
            if let Some(execution) = shared.running.get(&WorkflowId::trusted(id.as_str())) {
                execution.latch(ErrorKind::Cancelled);
            }
        }
        Ok(cancelled.len() as u64)
    }
}

async fn collect(shared: &Shared, retention: &Retention) -> Result<Collected> {
    let cutoff = retention.cutoff(shared.clock.now());
    let (tell, mut gone) = mpsc::channel(1);
    let collecting = async move {
        let tell = tell;
        wait::unhurriedly(shared, || shared.store.collect(retention, cutoff, &tell)).await
    };
    // After the rows, as a delete does it. What cannot be forgotten now would be found by the next workflow of its id,
    // so then no more rows go.
    let forgetting = async move {
        while let Some(batch) = gone.recv().await {
            shared.registry.datasources.forget(&batch, 1).await?;
        }
        Ok::<_, Error>(())
    };
    let (collected, forgotten) = tokio::join!(collecting, forgetting);
    let collected = collected?;
    forgotten?;
    if collected.busy {
        tracing::warn!("old workflows are not deleted now: another process is at it");
    } else {
        tracing::info!(collected.workflows, collected.orphans, "old workflows were deleted");
    }
    Ok(collected)
}

/// Deletes what is old from time to time, until the runtime stops. Processes that were launched together drift apart.
pub(crate) async fn keep(shared: Arc<Shared>, retention: Retention) {
    loop {
        let interval = retention.interval.mul_f64(0.5 + rand::random::<f64>());
        tokio::select! {
            () = shared.tasks.draining.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        tokio::select! {
            () = shared.tasks.stopped.cancelled() => return,
            collected = collect(&shared, &retention) => if let Err(error) = collected {
                tracing::warn!(error = &error as &dyn std::error::Error, "old workflows were not deleted");
            }
        }
    }
}
