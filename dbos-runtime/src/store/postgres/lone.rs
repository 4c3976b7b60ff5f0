//! A batch of one, the usual case without load: the same writes with plain parameters.
//!
//! Arrays and a statement of many parts cost the server more than the write itself. What has no lone form goes the way
//! of the batch.

use std::sync::Arc;

use sqlx::postgres::{PgConnection, PgQueryResult};

use super::statements::Statements;
use crate::model::step::StepRow;
use crate::model::workflow::Identity;
use crate::model::write::{Record, Write};
use crate::time::Timestamp;

const STEP: &str = "\
WITH owned AS MATERIALIZED (
    SELECT workflow_uuid AS id FROM {s}.workflow_status WHERE workflow_uuid = $1 AND owner_xid = $2 FOR NO KEY UPDATE
)
INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
SELECT id, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM owned
ON CONFLICT DO NOTHING";

/// One value for a stream together with its step; the value's row is counted.
const APPEND: &str = "\
WITH owned AS MATERIALIZED (
    SELECT workflow_uuid AS id FROM {s}.workflow_status WHERE workflow_uuid = $1 AND owner_xid = $2 FOR NO KEY UPDATE
), step AS (
    INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, started_at_epoch_ms,
        completed_at_epoch_ms, application_name)
    SELECT id, $3, $4, $5, $6, $7 FROM owned
    ON CONFLICT DO NOTHING
    RETURNING workflow_uuid AS id
)
INSERT INTO {s}.streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
SELECT id, $8, $9, coalesce((SELECT max(\"offset\") FROM {s}.streams WHERE workflow_uuid = $1 AND key = $8), -1) + 1, $3,
    $10
FROM step";

const START: &str = "\
WITH created AS (
    INSERT INTO {s}.workflow_status (workflow_uuid, status, name, authenticated_user, authenticated_roles, executor_id,
        application_version, application_id, recovery_attempts, owner_xid, creator_xid, serialization, attributes,
        application_name, class_name, config_name, workflow_timeout_ms, workflow_deadline_epoch_ms, assumed_role)
    VALUES ($1, 'PENDING', $2, $3, $4, $5, $6, $7, 1, $8, $8, $17, $9::jsonb, $10, $12, $13, $14, $15, $16)
    ON CONFLICT DO NOTHING
    RETURNING workflow_uuid
)
INSERT INTO {s}.workflow_input (workflow_uuid, inputs) SELECT workflow_uuid, $11 FROM created
ON CONFLICT DO NOTHING";

const OUTCOME: &str = "\
WITH finished AS (
    UPDATE {s}.workflow_status
    SET status = $3, owner_xid = NULL, deduplication_id = NULL,
        updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, completed_at = (EXTRACT(epoch FROM now()) * 1000)::int8
    WHERE workflow_uuid = $1 AND owner_xid = $2 AND coalesce(status, '') = 'PENDING'
    RETURNING workflow_uuid
)
INSERT INTO {s}.workflow_output (workflow_uuid, output, error) SELECT workflow_uuid, $4, $5 FROM finished
ON CONFLICT (workflow_uuid) DO UPDATE SET output = EXCLUDED.output, error = EXCLUDED.error";

/// Applies the batch if it is one write that has a lone form. `Some(true)`: it is applied. `Some(false)`: something
/// stands in its place. `None`: it has no lone form.
pub(super) async fn apply(
    connection: &mut PgConnection,
    statements: &Arc<Statements>,
    identity: &Identity,
    batch: &[Write],
) -> Result<Option<bool>, sqlx::Error> {
    let [write] = batch else { return Ok(None) };
    let result: PgQueryResult = match write {
        Write::Record(record) if appends_one(record) => {
            let ([step], [appended]) = (record.steps.as_slice(), record.effects.streams.as_slice()) else {
                return Ok(None);
            };
            sqlx::query(statements.get(APPEND))
                .bind(record.fence.id.as_str())
                .bind(record.fence.token.as_str())
                .bind(step.number)
                .bind(&step.name)
                .bind(step.started)
                .bind(step.completed)
                .bind(&identity.application)
                .bind(&appended.key)
                .bind(&appended.value)
                .bind(appended.format.name())
                .execute(connection)
                .await?
        }
        Write::Record(record) if record.effects.are_none() => {
            let [step] = record.steps.as_slice() else {
                return Ok(None);
            };
            sqlx::query(statements.get(STEP))
                .bind(record.fence.id.as_str())
                .bind(record.fence.token.as_str())
                .bind(step.number)
                .bind(&step.name)
                .bind(&step.output)
                .bind(&step.error)
                .bind(&step.child)
                .bind(step.started)
                .bind(step.completed)
                .bind(&step.serialization)
                .bind(&identity.application)
                .execute(connection)
                .await?
        }
        Write::Start(new) if new.parent.is_none() && new.queued().is_none() => {
            sqlx::query(statements.get(START))
                .bind(new.id.as_str())
                .bind(&new.name)
                .bind(&new.user)
                .bind(&new.roles)
                .bind(&identity.executor)
                .bind(&identity.version)
                .bind(&identity.application_id)
                .bind(new.token.as_str())
                .bind(&new.attributes)
                .bind(&identity.application)
                .bind(&new.input)
                .bind(&new.class_name)
                .bind(&new.config_name)
                .bind(new.timeout)
                .bind(new.deadline.map(Timestamp::as_millis))
                .bind(&new.assumed)
                .bind(new.format.name())
                .execute(connection)
                .await?
        }
        Write::Outcome(outcome) => {
            sqlx::query(statements.get(OUTCOME))
                .bind(outcome.fence.id.as_str())
                .bind(outcome.fence.token.as_str())
                .bind(if outcome.error.is_none() { "SUCCESS" } else { "ERROR" })
                .bind(&outcome.output)
                .bind(&outcome.error)
                .execute(connection)
                .await?
        }
        _ => return Ok(None),
    };
    Ok(Some(result.rows_affected() == 1))
}

/// Whether a record is one value for a stream, and the step without a result that wrote it.
fn appends_one(record: &Record) -> bool {
    let effects = &record.effects;
    let marker = |step: &StepRow| step.output.is_none() && step.error.is_none() && step.child.is_none();
    record.steps.iter().all(marker)
        && effects.events.is_empty()
        && effects.messages.is_empty()
        && !effects.streams.is_empty()
}
