//! Workflows are cancelled, resumed and run again.

use std::time::Duration;

use dbos_runtime::Fork;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::body::Object;
use super::operator::{Id, Operator};
use crate::json::Json;
use crate::problem::Problem;

pub(super) async fn cancel<E>(operator: Operator<E>, Id(id): Id) -> Result<StatusCode, Problem> {
    let id = id.map_err(|problem| operator.told(problem))?;
    let cancelled = operator.dbos().cancel(&id).await.map_err(|error| operator.told(error))?;
    if cancelled {
        operator.note("cancelled", Some(&id));
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn resume<E>(operator: Operator<E>, Id(id): Id) -> Result<StatusCode, Problem> {
    let id = id.map_err(|problem| operator.told(problem))?;
    operator.dbos().workflows().resume([&id]).await.map_err(|error| operator.told(error))?;
    operator.note("resumed", Some(&id));
    Ok(StatusCode::NO_CONTENT)
}

/// The new workflow.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct Forked {
    workflow_id: String,
}

pub(super) async fn restart<E>(operator: Operator<E>, Id(id): Id) -> Result<Json<Forked>, Problem> {
    let id = id.map_err(|problem| operator.told(problem))?;
    let fork = Fork::of(&id, 1);
    let fork = operator.dbos().workflows().fork(fork).await.map_err(|error| operator.told(error))?;
    operator.note("restarted", Some(&id));
    Ok(Json(Forked { workflow_id: fork.id().to_string() }))
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct ForkBody {
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    start_step: Option<i32>,
    new_workflow_id: Option<String>,
    application_version: Option<String>,
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
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
    let fork = operator.dbos().workflows().fork(fork).await.map_err(|error| operator.told(error))?;
    operator.note("forked", Some(&id));
    Ok(Json(Forked { workflow_id: fork.id().to_string() }))
}
