//! Workflows are cancelled, resumed and run again.

use std::future::{Future, IntoFuture as _};
use std::time::Duration;

use dbos_runtime::{Fork, Result as Done, WorkflowId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::Span;

use super::body::Object;
use super::operator::{Id, Operator};
use crate::json::Json;
use crate::problem::Problem;
use crate::trace;

/// Does something to a workflow inside of a span that is linked to the workflow's trace.
async fn change<E, T>(
    operator: &Operator<E>,
    span: Span,
    id: &WorkflowId,
    changing: impl Future<Output = Done<T>>,
) -> Result<T, Problem> {
    let changed = async {
        trace::link_to(&span, operator.dbos(), id).await;
        changing.await.map_err(|error| operator.told(error))
    };
    trace::within(&span, changed).await
}

pub(super) async fn cancel<E>(operator: Operator<E>, Id(id): Id) -> Result<StatusCode, Problem> {
    let id = id.map_err(|problem| operator.told(problem))?;
    let span = operator.ctx.trace.cancel(&id);
    let cancelled = change(&operator, span, &id, operator.dbos().cancel(&id)).await?;
    if cancelled {
        operator.note("cancelled", Some(&id));
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn resume<E>(operator: Operator<E>, Id(id): Id) -> Result<StatusCode, Problem> {
    let id = id.map_err(|problem| operator.told(problem))?;
    let resuming = operator.dbos().workflows().resume([&id]).into_future();
    change(&operator, operator.ctx.trace.resume(&id), &id, resuming).await?;
    operator.note("resumed", Some(&id));
    Ok(StatusCode::NO_CONTENT)
}

/// The new workflow.
#[derive(Debug, Serialize)]
pub(super) struct Forked {
    workflow_id: String,
}

async fn make<E>(operator: &Operator<E>, id: &WorkflowId, fork: Fork) -> Result<Forked, Problem> {
    let workflows = operator.dbos().workflows();
    let fork = change(operator, operator.ctx.trace.fork(id), id, workflows.fork(fork)).await?;
    Ok(Forked { workflow_id: fork.id().to_string() })
}

pub(super) async fn restart<E>(operator: Operator<E>, Id(id): Id) -> Result<Json<Forked>, Problem> {
    let id = id.map_err(|problem| operator.told(problem))?;
    let fork = Fork::of(&id, 1);
    let forked = make(&operator, &id, fork).await?;
    operator.note("restarted", Some(&id));
    Ok(Json(forked))
}

#[derive(Debug, Deserialize)]
pub(super) struct ForkBody {
    start_step: Option<i32>,
    new_workflow_id: Option<String>,
    application_version: Option<String>,
    timeout_ms: Option<u64>,
}

pub(super) async fn fork<E>(
    operator: Operator<E>,
    Id(id): Id,
    body: Result<Json<Object<ForkBody>>, Problem>,
) -> Result<Json<Forked>, Problem> {
    let id = id.map_err(|problem| operator.told(problem))?;
    let Json(Object(body)) = body.map_err(|problem| operator.told(problem))?;
    let mut fork = Fork::of(&id, body.start_step.unwrap_or(1));
    if let Some(new) = body.new_workflow_id {
        fork = fork.id(new);
    }
    if let Some(version) = body.application_version {
        fork = fork.application_version(version);
    }
    if let Some(millis) = body.timeout_ms {
        fork = fork.timeout(Duration::from_millis(millis));
    }
    let forked = make(&operator, &id, fork).await?;
    operator.note("forked", Some(&id));
    Ok(Json(forked))
}
