//! The second look at writes of a batch that did not all go through: what stands in their place?

use sqlx::sqlite::SqliteConnection;

use super::rows;
use crate::model::step::StepRow;
use crate::model::workflow::{Existing, NewWorkflow};

const STEP: &str = "\
SELECT function_id, function_name, output, error, child_workflow_id, started_at_epoch_ms, completed_at_epoch_ms,
    serialization
FROM operation_outputs WHERE workflow_uuid = ?1 AND function_id = ?2";

const EXISTING: &str = "\
SELECT w.status, w.name, w.class_name, w.config_name, w.creator_xid, w.owner_xid, coalesce(i.inputs, w.inputs) AS input, w.serialization
FROM workflow_status w LEFT JOIN workflow_input i USING (workflow_uuid) WHERE w.workflow_uuid = ?1";

pub(super) async fn step(
    connection: &mut SqliteConnection,
    id: &str,
    number: i32,
) -> Result<Option<StepRow>, sqlx::Error> {
    sqlx::query(STEP)
        .bind(id)
        .bind(number)
        .fetch_optional(connection)
        .await?
        .as_ref()
        .map(rows::step)
        .transpose()
}

pub(super) async fn existing(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Existing>, sqlx::Error> {
    sqlx::query(EXISTING).bind(id).fetch_optional(connection).await?.as_ref().map(rows::existing).transpose()
}

const HOLDER: &str =
    "SELECT workflow_uuid FROM workflow_status WHERE queue_name = ?1 AND deduplication_id = ?2";

/// Who holds the start's deduplication id, if it has one.
pub(super) async fn holder(
    connection: &mut SqliteConnection,
    new: &NewWorkflow,
) -> Result<Option<String>, sqlx::Error> {
    let Some((queue, id)) =
        new.queued().and_then(|queued| Some((&queued.queue, queued.deduplication_id.as_ref()?)))
    else {
        return Ok(None);
    };
    sqlx::query_scalar(HOLDER).bind(queue).bind(id).fetch_optional(connection).await
}
