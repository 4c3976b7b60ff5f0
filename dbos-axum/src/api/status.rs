//! Where a workflow stands, and cancelling it.

use axum::response::IntoResponse;
use dbos_runtime::{WorkflowInfo, WorkflowStatus};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::caller::Caller;
use super::params::ById;
use crate::access::Action;
use crate::json::Json;
use crate::path::Path;
use crate::problem::{self, Problem};
use crate::trace;

/// Attributes of this name belong to the runtimes.
const INTERNAL: &str = "dbos.";

/// Where a workflow stands.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct Status {
    workflow_id: String,
    name: Option<String>,
    status: String,
    queue: Option<String>,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    created_at: String,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    updated_at: String,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    completed_at: Option<String>,
    application_version: Option<String>,
    executor_id: Option<String>,
    attributes: Map<String, Value>,
}

impl Status {
    /// The status as it is stored.
    pub(crate) fn text(&self) -> &str {
        &self.status
    }

    /// The status, if it is one that is known.
    pub(crate) fn known(&self) -> Option<WorkflowStatus> {
        serde_json::from_value(Value::from(self.status.as_str())).ok()
    }
}

impl From<WorkflowInfo> for Status {
    fn from(info: WorkflowInfo) -> Self {
        let mut attributes = match info.attributes {
            Value::Object(attributes) => attributes,
            _ => Map::new(),
        };
        attributes.retain(|name, _| !name.starts_with(INTERNAL));
        Self {
            workflow_id: info.id.into(),
            name: info.name,
            status: info.status_text,
            queue: info.queue_name,
            created_at: info.created_at.to_string(),
            updated_at: info.updated_at.to_string(),
            completed_at: info.completed_at.map(|at| at.to_string()),
            application_version: info.application_version,
            executor_id: info.executor_id,
            attributes,
        }
    }
}

pub(super) async fn show<E>(
    Caller { ctx, .. }: Caller<E>,
    Path(ById { id }): Path<ById>,
) -> Result<Json<Status>, Problem> {
    let info = ctx.look(&id, Action::Read).await.map_err(|problem| problem.within(&ctx.seen))?;
    Ok(Json(info.into()))
}

pub(super) async fn cancel<E>(
    Caller { ctx, .. }: Caller<E>,
    Path(ById { id }): Path<ById>,
) -> Result<impl IntoResponse, Problem> {
    let span = ctx.trace.cancel(&id);
    let cancelled = async {
        trace::link(&span, &ctx.look(&id, Action::Cancel).await?);
        if !ctx.dbos().cancel(&id).await? {
            return Err(Problem::of(problem::ALREADY_ENDED).about(&id));
        }
        Ok(ctx.dbos().info(&*id).await?)
    };
    let info = trace::within(&span, cancelled).await.map_err(|problem| problem.within(&ctx.seen))?;
    Ok((StatusCode::ACCEPTED, Json(Status::from(info))))
}
