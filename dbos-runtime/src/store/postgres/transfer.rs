//! Workflows on their way out of a database and into another.

use sqlx::postgres::PgRow;
use sqlx::{Connection, Row};

use super::Postgres;
use crate::model::export::{self, ExportedWorkflow};
use crate::store::conditions::{Bind, Statement};
use crate::store::error::StoreError;

type Result<T, E = StoreError> = std::result::Result<T, E>;

const EXPORT: &str = "\
WITH RECURSIVE tree(id) AS (
    SELECT $1
    UNION
    SELECT w.workflow_uuid FROM tree JOIN {s}.workflow_status w ON w.parent_workflow_id = tree.id WHERE $2 = 1
)
SELECT json_build_object(
    'workflow_status', to_jsonb(w) || jsonb_build_object('inputs', coalesce(i.inputs, w.inputs),
        'output', coalesce(p.output, w.output), 'error', coalesce(p.error, w.error)),
    'operation_outputs', coalesce((SELECT json_agg(o ORDER BY o.function_id) FROM {s}.operation_outputs o
        WHERE o.workflow_uuid = w.workflow_uuid), '[]'),
    'workflow_events', coalesce((SELECT json_agg(e ORDER BY e.key) FROM {s}.workflow_events e
        WHERE e.workflow_uuid = w.workflow_uuid), '[]'),
    'workflow_events_history', coalesce((SELECT json_agg(h ORDER BY h.function_id, h.key)
        FROM {s}.workflow_events_history h WHERE h.workflow_uuid = w.workflow_uuid), '[]'),
    'streams', coalesce((SELECT json_agg(t ORDER BY t.key, t.\"offset\") FROM {s}.streams t
        WHERE t.workflow_uuid = w.workflow_uuid), '[]')
)::text
FROM tree JOIN {s}.workflow_status w ON w.workflow_uuid = tree.id
    LEFT JOIN {s}.workflow_input i ON i.workflow_uuid = w.workflow_uuid
    LEFT JOIN {s}.workflow_output p ON p.workflow_uuid = w.workflow_uuid
ORDER BY w.created_at, w.workflow_uuid";

/// An id that is in use, or a deduplication id that is, leaves its workflow out of the answer.
const IMPORT: &str = "\
INSERT INTO {s}.workflow_status (workflow_uuid, status, name, authenticated_user, assumed_role, authenticated_roles,
    request, executor_id, created_at, updated_at, application_version, application_id, class_name, config_name,
    recovery_attempts, queue_name, workflow_timeout_ms, workflow_deadline_epoch_ms, started_at_epoch_ms,
    deduplication_id, priority, queue_partition_key, forked_from, parent_workflow_id, serialization,
    delay_until_epoch_ms, was_forked_from, rate_limited, completed_at, attributes, schedule_name,
    debounce_deadline_epoch_ms, is_debounced, application_name)
SELECT workflow_uuid, status, name, authenticated_user, assumed_role, authenticated_roles,
    request, executor_id, created_at, updated_at, application_version, application_id, class_name, config_name,
    recovery_attempts, queue_name, workflow_timeout_ms, workflow_deadline_epoch_ms, started_at_epoch_ms,
    deduplication_id, priority, queue_partition_key, forked_from, parent_workflow_id, serialization,
    delay_until_epoch_ms, was_forked_from, rate_limited, completed_at, attributes, schedule_name,
    debounce_deadline_epoch_ms, is_debounced, application_name
FROM json_populate_recordset(NULL::{s}.workflow_status, $1::json)
ON CONFLICT DO NOTHING
RETURNING workflow_uuid";

/// What an earlier workflow of the id has left behind is not this one's history.
const FORGET: &str = "\
DELETE FROM {s}.operation_outputs o USING json_populate_recordset(NULL::{s}.workflow_status, $1::json) r
WHERE o.workflow_uuid = r.workflow_uuid";

const INPUTS: &str = "\
INSERT INTO {s}.workflow_input (workflow_uuid, inputs)
SELECT workflow_uuid, inputs FROM json_populate_recordset(NULL::{s}.workflow_status, $1::json)
ON CONFLICT (workflow_uuid) DO UPDATE SET inputs = EXCLUDED.inputs, retention_timestamp = EXCLUDED.retention_timestamp";

const OUTPUTS: &str = "\
INSERT INTO {s}.workflow_output (workflow_uuid, output, error)
SELECT workflow_uuid, output, error FROM json_populate_recordset(NULL::{s}.workflow_status, $1::json)
WHERE output IS NOT NULL OR error IS NOT NULL
ON CONFLICT (workflow_uuid) DO UPDATE SET output = EXCLUDED.output, error = EXCLUDED.error,
    retention_timestamp = EXCLUDED.retention_timestamp";

const STEPS: &str = "\
INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
SELECT workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name
FROM json_populate_recordset(NULL::{s}.operation_outputs, $1::json)";

const EVENTS: &str = "\
INSERT INTO {s}.workflow_events (workflow_uuid, key, value, serialization)
SELECT workflow_uuid, key, value, serialization FROM json_populate_recordset(NULL::{s}.workflow_events, $1::json)";

const HISTORY: &str = "\
INSERT INTO {s}.workflow_events_history (workflow_uuid, function_id, key, value, serialization)
SELECT workflow_uuid, function_id, key, value, serialization
FROM json_populate_recordset(NULL::{s}.workflow_events_history, $1::json)";

const STREAMS: &str = "\
INSERT INTO {s}.streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
SELECT workflow_uuid, key, value, \"offset\", function_id, serialization
FROM json_populate_recordset(NULL::{s}.streams, $1::json)";

impl Postgres {
    pub(crate) async fn export(&self, id: &str, children: bool) -> Result<Vec<ExportedWorkflow>> {
        let binds = vec![Bind::Text(id.to_owned()), Bind::Int(children.into())];
        self.survey(Statement { text: EXPORT.to_owned(), binds }, exported).await
    }

    pub(crate) async fn import(&self, workflows: &[ExportedWorkflow]) -> Result<Vec<String>> {
        let tables = export::tables(workflows);
        let statuses = &tables.statuses;
        let rest = [
            (FORGET, statuses),
            (INPUTS, statuses),
            (OUTPUTS, statuses),
            (STEPS, &tables.operations),
            (EVENTS, &tables.events),
            (HISTORY, &tables.history),
            (STREAMS, &tables.streams),
        ];
        self.ask_within(&self.pool, self.listing_timeout, async |c| {
            let mut transaction = c.begin().await?;
            let inserted: Vec<String> = sqlx::query_scalar(self.statements.get(IMPORT))
                .bind(statuses)
                .fetch_all(&mut *transaction)
                .await?;
            let in_use = export::missing(workflows, &inserted);
            if !in_use.is_empty() {
                transaction.rollback().await?;
                return Ok(in_use);
            }
            for (statement, rows) in rest {
                sqlx::query(self.statements.get(statement)).bind(rows).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(in_use)
        })
        .await
    }
}

fn exported(row: &PgRow) -> Result<ExportedWorkflow, sqlx::Error> {
    serde_json::from_str(row.try_get(0)?).map_err(|error| sqlx::Error::Decode(error.into()))
}
