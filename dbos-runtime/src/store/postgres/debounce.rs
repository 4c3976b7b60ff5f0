//! Bounces.

use sqlx::Row;

use super::Postgres;
use crate::model::debounce::{Bounce, Bounced, STEP};
use crate::store::error::StoreError;

/// `allowed` is one row unless the bounce is a step of a workflow that has lost its row, or was recorded before.
const BOUNCE: &str = "\
WITH owned AS MATERIALIZED (
    SELECT workflow_uuid FROM {s}.workflow_status WHERE workflow_uuid = $9 AND owner_xid = $10 FOR NO KEY UPDATE
), allowed AS MATERIALIZED (
    SELECT 1 WHERE $9::text IS NULL OR (EXISTS (SELECT FROM owned) AND NOT EXISTS (
        SELECT FROM {s}.operation_outputs WHERE workflow_uuid = $9 AND function_id = $11))
), bounced AS (
    UPDATE {s}.workflow_status
    SET delay_until_epoch_ms = least($7, debounce_deadline_epoch_ms), serialization = $15,
        updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, application_name = coalesce(application_name, $6)
    WHERE EXISTS (SELECT FROM allowed) AND queue_name = $4 AND deduplication_id = $5 AND name = $1
        AND class_name IS NOT DISTINCT FROM $2 AND config_name IS NOT DISTINCT FROM $3
        AND status = 'DELAYED' AND is_debounced
        AND ($6::text IS NULL OR application_name = $6 OR application_name IS NULL)
    RETURNING workflow_uuid
), inputs AS (
    INSERT INTO {s}.workflow_input (workflow_uuid, inputs) SELECT workflow_uuid, $8 FROM bounced
    ON CONFLICT (workflow_uuid) DO UPDATE SET inputs = EXCLUDED.inputs
    RETURNING 1
), found AS (
    SELECT (SELECT workflow_uuid FROM bounced) AS bounced, h.workflow_uuid AS holder, h.name, h.application_name,
        CASE WHEN h.is_debounced
            THEN h.class_name IS NOT DISTINCT FROM $2 AND h.config_name IS NOT DISTINCT FROM $3
            ELSE h.is_debounced END AS is_debounced
    FROM allowed LEFT JOIN {s}.workflow_status h
        ON h.queue_name = $4 AND h.deduplication_id = $5 AND NOT EXISTS (SELECT FROM bounced)
), step AS (
    INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, started_at_epoch_ms,
        completed_at_epoch_ms, serialization, application_name)
    SELECT $9, $11, $12, json_build_object('bounced_workflow_id', bounced, 'holder_workflow_id', holder,
        'holder_is_debounced', is_debounced, 'holder_workflow_name', name, 'holder_application_name', application_name)::text,
        $13, $13, 'portable_json', $14
    FROM found WHERE $9 IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT bounced, holder, is_debounced, name, application_name FROM found";

impl Postgres {
    /// `None` when the bounce is a step that may not be recorded: its workflow was lost, or it is recorded already.
    pub(crate) async fn bounce(&self, bounce: &Bounce) -> Result<Option<Bounced>, StoreError> {
        let query = sqlx::query(self.statements.get(BOUNCE));
        let query = query.bind(&bounce.name).bind(&bounce.class_name).bind(&bounce.config_name);
        let query = query.bind(&bounce.queue).bind(&bounce.deduplication_id).bind(&bounce.application);
        let query = query.bind(bounce.delay_until.as_millis()).bind(&bounce.input);
        let step = bounce.step.as_ref();
        let query = query.bind(step.map(|step| step.fence.id.as_str()));
        let query = query.bind(step.map(|step| step.fence.token.as_str()));
        let query = query.bind(step.map(|step| step.number)).bind(STEP);
        let query = query.bind(step.map(|step| step.at.as_millis())).bind(&self.identity.application);
        let query = query.bind(bounce.format.name());
        self.ask(async |c| {
            let Some(row) = query.fetch_optional(c).await? else { return Ok(None) };
            Ok(Some(Bounced {
                bounced_workflow_id: row.try_get(0)?,
                holder_workflow_id: row.try_get(1)?,
                holder_is_debounced: row.try_get(2)?,
                holder_workflow_name: row.try_get(3)?,
                holder_application_name: row.try_get(4)?,
            }))
        })
        .await
    }
}
