//! Lets a claimed workflow in: runs it, parks one that was tried too often, ends one that cannot be read.

use std::sync::Arc;

use super::execution::{Execution, Facts};
use super::load::Slot;
use super::registry::Body;
use super::run;
use super::shared::Shared;
use crate::error::{Error, ErrorKind};
use crate::ids::{OwnerToken, WorkflowId};
use crate::model::tenant;
use crate::model::workflow::{Claimed, Fence};
use crate::model::write::{Outcome, Write};
use crate::payload;
use crate::payload::Format;
use crate::time::Timestamp;
use crate::trace::Trace;

/// Runs a claimed workflow to its end. It keeps its slot until then.
pub(crate) async fn admit(shared: Arc<Shared>, workflow: Claimed, token: OwnerToken, slot: Slot) {
    let fence = Fence { id: WorkflowId::trusted(workflow.id.as_str()), token };
    if shared.config.max_recovery_attempts.is_some_and(|most| workflow.attempts > most.saturating_add(1)) {
        return park(&shared, &fence, workflow.attempts).await;
    }
    let body = match readable(&shared, &workflow) {
        Ok(body) => body,
        Err(error) if error.kind() == ErrorKind::NotRegistered => return leave(&fence, &error),
        Err(error) => return end(&shared, fence, workflow.format, &error).await,
    };
    let facts = Facts {
        name: workflow.name,
        user: workflow.user,
        roles: workflow.roles,
        tenant: tenant::of_value(workflow.tenant.as_deref()),
        deadline: workflow.deadline.map(Timestamp::from_millis),
        history: workflow.history,
        format: workflow.format,
        trace: Trace::of_carrier(workflow.trace.as_deref()),
        queue: slot.queue(),
    };
    let execution = Execution::new(Arc::clone(&shared), fence, facts);
    shared.running.add(&execution);
    run::drive(execution, body, workflow.input.unwrap_or_else(|| "{}".to_owned())).await;
    drop(slot);
}

fn readable(shared: &Shared, workflow: &Claimed) -> Result<Body, Error> {
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

async fn end(shared: &Shared, fence: Fence, format: Format, error: &Error) {
    tracing::error!(workflow.id = %fence.id, %error, error_kind = ?ErrorKind::Serialization, "a claimed workflow cannot be run");
    let error = Some(payload::encode_error(error));
    shared.journal.write(Write::Outcome(Outcome { fence, output: None, error, format })).await;
}
