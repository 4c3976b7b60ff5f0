//! The safety net, once an interval: what no hint told this process.
//!
//! One statement for some thousands of running executions asks whether they still own their rows, one where awaited
//! workflows of other processes stand. Awaited messages and events are looked up rarely while hints come in, and every
//! time while they do not. An idle process asks nothing here; a client asks what time it is, rarely.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::execution::Execution;
use super::shared::Shared;
use crate::model::status::WorkflowStatus;
use crate::model::workflow::Fence;
use crate::model::write::{Hint, Touched};
use crate::store::error::StoreError;

/// While hints come in, awaited messages and events are looked up every so many rounds.
const RARELY: u32 = 10;

/// How many executions one statement asks about at most.
const PORTION: usize = 5000;

pub(crate) async fn watch(shared: Arc<Shared>) {
    for round in 1_u32.. {
        tokio::select! {
            () = shared.tasks.stopped.cancelled() => return,
            () = tokio::time::sleep(shared.config.poll) => {}
        }
        if let Err(error) = look(&shared, round.is_multiple_of(RARELY)).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a look was missed; the next one follows"
            );
        }
    }
}

async fn look(shared: &Shared, thoroughly: bool) -> Result<(), StoreError> {
    displaced(shared).await?;
    if thoroughly && shared.is_client() {
        // Elsewhere the dispatcher does it with each of its looks.
        let asked = Instant::now();
        shared.clock.anchor(shared.store.now().await?, asked);
    }
    let waited_for = shared.wakeups.waited_for();
    let (ends, rest): (Vec<_>, Vec<_>) =
        waited_for.into_iter().partition(|touched| touched.hint() == Hint::Ended);
    ended(shared, &ends).await?;
    if !rest.is_empty() && (thoroughly || !shared.wakeups.heard()) {
        for touched in shared.store.present(&rest).await? {
            shared.wakeups.poke(touched.hint(), touched.payload());
        }
    }
    Ok(())
}

/// Stops executions whose row was cancelled or taken over; wakes their sleeps and receives.
async fn displaced(shared: &Shared) -> Result<(), StoreError> {
    let running: Vec<Arc<Execution>> = shared.running.all();
    for portion in running.chunks(PORTION) {
        let fences: Vec<Fence> = portion.iter().map(|execution| execution.fence.clone()).collect();
        let asked = Instant::now();
        let (now, displaced) = shared.store.displaced(&fences).await?;
        shared.clock.anchor(now, asked);
        if displaced.is_empty() {
            continue;
        }
        let asked: HashMap<&str, &Arc<Execution>> =
            portion.iter().map(|execution| (execution.fence.id.as_str(), execution)).collect();
        for (id, status) in displaced {
            // To an execution that has just recorded its own outcome it makes no difference any more.
            if let Some(execution) = asked.get(id.as_str()) {
                execution.lost(status.as_deref());
            }
        }
    }
    Ok(())
}

async fn ended(shared: &Shared, ends: &[Touched]) -> Result<(), StoreError> {
    let ids: Vec<&str> = ends
        .iter()
        .filter_map(|touched| if let Touched::Ended(id) = touched { Some(id.as_str()) } else { None })
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    for ending in shared.store.endings(&ids).await? {
        if WorkflowStatus::from_text(&ending.status).is_some_and(WorkflowStatus::is_terminal) {
            shared.wakeups.poke(Hint::Ended, ending.id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn a_clients_clock_follows_the_database() {
        use super::*;
        use crate::config::Config;
        use crate::model::workflow::Identity;
        use crate::time::Timestamp;

        let file =
            std::env::temp_dir().join(format!("{}.sqlite", crate::ids::OwnerToken::generate(None).as_str()));
        let mut config = Config::new("watch".to_owned());
        config.database_url = format!("sqlite:{}", file.display());
        // The test looks by itself.
        config.poll = std::time::Duration::from_secs(3600);
        let identity = Identity { application: None, executor: None, version: None, application_id: None };
        let shared = Shared::for_client(config, identity).await.unwrap();
        let begun = shared.clock.now();
        let behind = Timestamp::from_millis(begun.as_millis() - 600_000);
        shared.clock.anchor(behind, Instant::now());
        look(&shared, false).await.unwrap();
        assert!(shared.clock.now() < begun, "not at each look");
        look(&shared, true).await.unwrap();
        assert!(shared.clock.now() >= begun);
        shared.shut_down(std::time::Duration::ZERO).await;
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", file.display()));
        }
    }
}
