//! Recovery, retention and the global timeout, on demand.

use dbos_runtime::{Retention, Timestamp};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::body::Object;
use super::operator::Operator;
use crate::json::Json;
use crate::problem::{self, Problem};

pub(super) async fn recover<E>(
    operator: Operator<E>,
    executors: Result<Json<Vec<String>>, Problem>,
) -> Result<Json<Vec<String>>, Problem> {
    let Json(executors) = executors.map_err(|problem| operator.told(problem))?;
    operator.note("recovered", None);
    let recovered = operator.dbos().recover(executors).await.map_err(|error| operator.told(error))?;
    Ok(Json(recovered.into_iter().map(String::from).collect()))
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct Collect {
    cutoff_epoch_timestamp_ms: Option<i64>,
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 4_294_967_295i64))]
    rows_threshold: Option<i64>,
}

impl Collect {
    /// Nothing when nothing is asked for.
    fn retention(&self) -> Result<Option<Retention>, Problem> {
        let retention =
            self.cutoff_epoch_timestamp_ms.map(|cutoff| Retention::before(Timestamp::from_millis(cutoff)));
        let Some(rows) = self.rows_threshold else { return Ok(retention) };
        let rows = u32::try_from(rows).ok().filter(|rows| *rows > 0);
        let rows = rows.ok_or_else(|| {
            Problem::of(problem::INVALID_ARGUMENT)
                .with_detail("`rows_threshold` is at least 1, and less than 2^32.")
        })?;
        Ok(Some(retention.unwrap_or_default().keep_newest(rows)))
    }
}

pub(super) async fn collect<E>(
    operator: Operator<E>,
    body: Result<Json<Object<Collect>>, Problem>,
) -> Result<StatusCode, Problem> {
    let Json(Object(body)) = body.map_err(|problem| operator.told(problem))?;
    let Some(retention) = body.retention().map_err(|problem| operator.told(problem))? else {
        return Ok(StatusCode::NO_CONTENT);
    };
    operator.note("old workflows are deleted", None);
    let workflows = operator.dbos().workflows();
    let collected = workflows.collect(&retention).await.map_err(|error| operator.told(error))?;
    if collected.busy {
        let problem =
            Problem::of(problem::UNAVAILABLE).with_detail("Another process deletes old workflows just now.");
        return Err(operator.told(problem.with_header(RETRY_AFTER, HeaderValue::from_static("10"))));
    }
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct Cutoff {
    cutoff_epoch_timestamp_ms: i64,
}

pub(super) async fn global_timeout<E>(
    operator: Operator<E>,
    body: Result<Json<Object<Cutoff>>, Problem>,
) -> Result<StatusCode, Problem> {
    let Json(Object(body)) = body.map_err(|problem| operator.told(problem))?;
    operator.note("old workflows are cancelled", None);
    let cutoff = Timestamp::from_millis(body.cutoff_epoch_timestamp_ms);
    operator.dbos().workflows().global_timeout(cutoff).await.map_err(|error| operator.told(error))?;
    Ok(StatusCode::NO_CONTENT)
}
