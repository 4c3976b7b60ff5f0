//! Messages to a workflow.

use serde_json::Value;

use super::caller::Caller;
use super::params::{ById, ByTopic};
use crate::json::Json;
use crate::path::Path;
use crate::problem::Problem;
use crate::send::Sent;

pub(super) async fn send<E>(
    Caller { ctx, .. }: Caller<E>,
    Path(ById { id }): Path<ById>,
    Json(message): Json<Value>,
) -> Result<Sent, Problem> {
    ctx.send(&id, None, &message).await
}

pub(super) async fn send_to_topic<E>(
    Caller { ctx, .. }: Caller<E>,
    Path(ByTopic { id, topic }): Path<ByTopic>,
    Json(message): Json<Value>,
) -> Result<Sent, Problem> {
    ctx.send(&id, &*topic, &message).await
}
