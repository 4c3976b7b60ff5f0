//! Claims what waits on the internal queue, and runs it.

use std::sync::Arc;

use super::execution::Execution;
use super::run;
use super::shared::{INTERNAL_QUEUE, Shared};
use crate::error::{Error, ErrorKind};
use crate::ids::{OwnerToken, WorkflowId};
use crate::model::workflow::{Claimed, Fence};
use crate::model::write::{Outcome, Write};
use crate::payload;

/// Workflows of one claim: enough to recover thousands in a second, few enough to leave other processes their share.
const MOST: i64 = 256;

/// What the loop woke up for.
enum Event {
    Look,
    Stop,
}

/// The loop: look at once when there is a hint, and once a polling interval anyway.
pub(crate) async fn dispatch(shared: Arc<Shared>) {
    let names = shared.registry.names();
    loop {
        let event = tokio::select! {
            biased;
            () = shared.tasks.draining.cancelled() => Event::Stop,
            () = shared.enqueued.notified() => Event::Look,
            () = tokio::time::sleep(shared.config.poll) => Event::Look,
        };
        match event {
            Event::Stop => return,
            Event::Look => look(&shared, &names).await,
        }
    }
}

/// Claims until the queue is empty.
async fn look(shared: &Arc<Shared>, names: &[String]) {
    while !shared.tasks.draining.is_cancelled() {
        let token = OwnerToken::generate();
        let claimed = match shared.store.claim(INTERNAL_QUEUE, names, &token, MOST).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a claim failed; the next poll tries again"
                );
                return;
            }
        };
        let full = i64::try_from(claimed.len()) == Ok(MOST);
        for workflow in claimed {
            let shared_too = Arc::clone(shared);
            let token = token.clone();
            shared.tasks.workflows.spawn(async move { admit(shared_too, workflow, token).await });
        }
        if !full {
            return;
        }
    }
}

/// Runs a claimed workflow; parks one that was tried too often, and ends one whose input cannot be read.
async fn admit(shared: Arc<Shared>, workflow: Claimed, token: OwnerToken) {
    let fence = Fence { id: WorkflowId::trusted(workflow.id.as_str()), token };
    if shared.config.max_recovery_attempts.is_some_and(|most| workflow.attempts > most.saturating_add(1)) {
        return park(&shared, &fence, workflow.attempts).await;
    }
    let body = match readable(&shared, &workflow) {
        Ok(body) => body,
        Err(error) if error.kind() == ErrorKind::NotRegistered => return leave(&fence, &error),
        Err(error) => return end(&shared, fence, &error).await,
    };
    let caller = (workflow.user, workflow.roles);
    let execution = Execution::new(Arc::clone(&shared), fence, workflow.name, caller, workflow.history);
    shared.running.add(&execution);
    run::drive(execution, body, workflow.input.unwrap_or_else(|| "{}".to_owned())).await;
}

fn readable(shared: &Shared, workflow: &Claimed) -> Result<super::registry::Body, Error> {
    if workflow.id.trim().is_empty() {
        return Err(Error::invalid("a workflow without an id cannot be run"));
    }
    payload::readable(workflow.serialization.as_deref())?;
    let (class, instance) = (workflow.class_name.as_deref(), workflow.config_name.as_deref());
    shared.registry.body_of(&workflow.name, class, instance)
}

/// A workflow of an instance that this process does not have stays as it is, to be recovered by one that has it.
fn leave(fence: &Fence, error: &Error) {
    tracing::error!(workflow.id = %fence.id, %error, "a claimed workflow is left pending");
}

async fn park(shared: &Shared, fence: &Fence, attempts: i64) {
    tracing::error!(workflow.id = %fence.id, attempts, "a workflow is parked after too many attempts to run it");
    let parked = super::wait::patiently(shared, || shared.store.park(fence)).await;
    if let Err(error) = parked {
        tracing::error!(workflow.id = %fence.id, %error, "a workflow could not be parked");
    }
}

async fn end(shared: &Shared, fence: Fence, error: &Error) {
    tracing::error!(workflow.id = %fence.id, %error, error_kind = ?ErrorKind::Serialization, "a claimed workflow cannot be run");
    let error = Some(payload::encode_error(error));
    shared.journal.write(Write::Outcome(Outcome { fence, output: None, error })).await;
}
