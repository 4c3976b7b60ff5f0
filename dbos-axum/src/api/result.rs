//! How a workflow ended, or that it has not.

use axum::response::{IntoResponse, Response};
use dbos_runtime::{ErrorKind, Outcome, WorkflowHandle, WorkflowStatus};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::params::ById;
use crate::access::Action;
use crate::ctx::DbosCtx;
use crate::json::Json;
use crate::outcome;
use crate::path::Path;
use crate::patience::Looked;
use crate::prefer::{self, PreferWait};
use crate::problem::Problem;
use crate::redact::Field;
use crate::reply;

/// A result whose format nobody has named is in the one that its language uses.
const NATIVE: &str = "native";

/// The end of a workflow as it is given out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    workflow_id: dbos_runtime::WorkflowId,
    status: WorkflowStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    /// That of an output or an error which only another language can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
}

pub(super) async fn show<E>(
    Caller { ctx, .. }: Caller<E>,
    Path(ById { id }): Path<ById>,
    wait: PreferWait,
) -> Result<Response, Problem> {
    let shown = async {
        let info = ctx.look(&id, Action::Read).await?;
        let ended = info.status.is_some_and(WorkflowStatus::is_terminal);
        let mut headers = HeaderMap::new();
        reply::name(&mut headers, &id);
        let handle = ctx.dbos().handle(&info);
        let looked = look(&ctx, info.name.as_deref().unwrap_or_default(), &handle, ended, wait).await?;
        let mut response = match looked.found {
            Some(told) => (headers, Json(told)).into_response(),
            None => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                let links = ctx.asked().links;
                let pending = json!({
                    "workflow_id": id,
                    "status": info.status_text,
                    "links": {"self": links.workflow(&id), "result": links.result(&id)},
                });
                (StatusCode::ACCEPTED, headers, Json(pending)).into_response()
            }
        };
        prefer::applied(&mut response, looked.applied);
        Ok(response)
    };
    shown.await.map_err(|problem: Problem| problem.within(&ctx.seen))
}

/// The end of a workflow, waited for as long as the client prefers.
pub(super) async fn look(
    ctx: &DbosCtx,
    workflow: &str,
    handle: &WorkflowHandle<Value>,
    ended: bool,
    wait: PreferWait,
) -> Result<Looked<Told>, Problem> {
    let id = handle.id();
    match ctx.asked().patience.outcome(handle, ended, wait).await {
        Ok(Looked { found, applied }) => {
            let found = found.map(|outcome| told(ctx, workflow, id, outcome));
            Ok(Looked { found, applied })
        }
        // It has ended, but with something that is no JSON.
        Err(error) if error.kind() == ErrorKind::Serialization && error.workflow_id() == Some(id) => {
            let info = ctx.dbos().workflows().info(id).await?;
            let Some(status) = info.status else { return Err(error.into()) };
            let payload = info.error.or(info.output);
            let format = payload.as_ref().and_then(|payload| payload.format()).unwrap_or(NATIVE).to_owned();
            let workflow_id = id.clone();
            let told = Told { workflow_id, status, output: None, error: None, format: Some(format) };
            Ok(Looked::new(Some(told), wait, true))
        }
        Err(error) => Err(error.into()),
    }
}

fn told(ctx: &DbosCtx, workflow: &str, id: &dbos_runtime::WorkflowId, outcome: Outcome<Value>) -> Told {
    let settings = &ctx.scope.settings;
    let (mut output, mut error) = (None, None);
    let status = match outcome {
        Outcome::Success(mut value) => {
            settings.redact(workflow, Field::Output, &mut value);
            output = Some(value);
            WorkflowStatus::Success
        }
        Outcome::Cancelled => WorkflowStatus::Cancelled,
        Outcome::Parked => WorkflowStatus::MaxRecoveryAttemptsExceeded,
        Outcome::Failed(failure) => {
            let mut value = outcome::told(&failure);
            settings.redact(workflow, Field::Error, &mut value);
            error = Some(value);
            WorkflowStatus::Error
        }
        _ => WorkflowStatus::Error,
    };
    Told { workflow_id: id.clone(), status, output, error, format: None }
}
