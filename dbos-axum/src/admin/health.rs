//! Whether this process lives, is ready for work, and is to take any.

use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use dbos_runtime::Dbos;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::operator::{Explicit, Operator, Visitor};
use crate::json::Json;

/// A database that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody needs to know more often, and anybody may ask.
const FRESH: Duration = Duration::from_millis(200);

/// Whether the database answered when it was last asked.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    last: Mutex<Option<(Instant, bool)>>,
}

impl Pulse {
    /// One question at a time, whose answer is good for all who waited for it.
    async fn take(&self, dbos: &Dbos) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, answered)) = *last
            && at.elapsed() < FRESH
        {
            return answered;
        }
        let answered = matches!(tokio::time::timeout(PATIENCE, dbos.ping()).await, Ok(Ok(())));
        *last = Some((Instant::now(), answered));
        answered
    }
}

pub(super) async fn health() -> &'static str {
    "healthy"
}

pub(super) async fn ready<E>(visitor: Visitor<E>) -> Response {
    let dbos = visitor.ctx.dbos();
    let draining = visitor.ctx.shutdown_token().is_cancelled();
    let active = dbos.is_active();
    let database = visitor.settings.pulse.take(dbos).await;
    let is_ready = database && active && !draining;
    let mut body = json!({"status": if is_ready { "ready" } else { "unready" }});
    if visitor.is_operator
        && let Value::Object(members) = &mut body
    {
        members.insert("database".to_owned(), database.into());
        members.insert("active".to_owned(), active.into());
        members.insert("draining".to_owned(), draining.into());
        members.insert("application".to_owned(), dbos.name().into());
        members.insert("application_version".to_owned(), dbos.application_version().into());
        members.insert("executor_id".to_owned(), dbos.executor_id().into());
    }
    if is_ready {
        return Json(body).into_response();
    }
    let soon = [(RETRY_AFTER, HeaderValue::from_static("2"))];
    (StatusCode::SERVICE_UNAVAILABLE, soon, Json(body)).into_response()
}

pub(super) async fn conductor<E>(_: Operator<E>) -> Json<Value> {
    Json(json!({"status": true}))
}

pub(super) async fn deactivate<E>(operator: Operator<E>) -> &'static str {
    operator.note("deactivated", None);
    operator.dbos().deactivate();
    "deactivated"
}

pub(super) async fn deactivate_by_get<E>(Explicit(operator): Explicit<E>) -> &'static str {
    deactivate(operator).await
}

pub(super) async fn reactivate<E>(operator: Operator<E>) -> &'static str {
    operator.note("reactivated", None);
    operator.dbos().reactivate();
    "reactivated"
}
