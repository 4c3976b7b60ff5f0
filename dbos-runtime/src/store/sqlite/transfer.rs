//! Workflows on their way out of a database and into another.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row};

use super::Sqlite;
use crate::model::export::{self, ExportedWorkflow};
use crate::store::conditions::{Bind, Statement};
use crate::store::error::StoreError;

type Result<T, E = StoreError> = std::result::Result<T, E>;

const EXPORT: &str = "\
WITH RECURSIVE tree(id) AS (
    SELECT $1
    UNION
    SELECT w.workflow_uuid FROM tree JOIN workflow_status w ON w.parent_workflow_id = tree.id WHERE $2 = 1
)
SELECT json_object(
    'workflow_status', json_object('workflow_uuid', w.workflow_uuid, 'status', w.status, 'name', w.name,
        'authenticated_user', w.authenticated_user, 'assumed_role', w.assumed_role,
        'authenticated_roles', w.authenticated_roles, 'request', w.request, 'executor_id', w.executor_id,
        'created_at', w.created_at, 'updated_at', w.updated_at, 'application_version', w.application_version,
        'application_id', w.application_id, 'class_name', w.class_name, 'config_name', w.config_name,
        'recovery_attempts', w.recovery_attempts, 'queue_name', w.queue_name,
        'workflow_timeout_ms', w.workflow_timeout_ms, 'workflow_deadline_epoch_ms', w.workflow_deadline_epoch_ms,
        'started_at_epoch_ms', w.started_at_epoch_ms, 'deduplication_id', w.deduplication_id,
        'priority', w.priority, 'queue_partition_key', w.queue_partition_key, 'forked_from', w.forked_from,
        'parent_workflow_id', w.parent_workflow_id, 'serialization', w.serialization,
        'delay_until_epoch_ms', w.delay_until_epoch_ms,
        'was_forked_from', json(iif(w.was_forked_from, 'true', 'false')),
        'rate_limited', json(iif(w.rate_limited, 'true', 'false')), 'completed_at', w.completed_at,
        'attributes', json(iif(json_valid(w.attributes), w.attributes, 'null')), 'schedule_name', w.schedule_name,
        'debounce_deadline_epoch_ms', w.debounce_deadline_epoch_ms,
        'is_debounced', json(iif(w.is_debounced, 'true', 'false')), 'application_name', w.application_name,
        'inputs', coalesce(i.inputs, w.inputs), 'output', coalesce(p.output, w.output),
        'error', coalesce(p.error, w.error)),
    'operation_outputs', json((SELECT json_group_array(json_object('workflow_uuid', o.workflow_uuid,
            'function_id', o.function_id, 'function_name', o.function_name, 'output', o.output, 'error', o.error,
            'child_workflow_id', o.child_workflow_id, 'started_at_epoch_ms', o.started_at_epoch_ms,
            'completed_at_epoch_ms', o.completed_at_epoch_ms, 'serialization', o.serialization,
            'application_name', o.application_name))
        FROM (SELECT * FROM operation_outputs WHERE workflow_uuid = w.workflow_uuid ORDER BY function_id) o)),
    'workflow_events', json((SELECT json_group_array(json_object('workflow_uuid', e.workflow_uuid, 'key', e.key,
            'value', e.value, 'serialization', e.serialization))
        FROM (SELECT * FROM workflow_events WHERE workflow_uuid = w.workflow_uuid ORDER BY key) e)),
    'workflow_events_history', json((SELECT json_group_array(json_object('workflow_uuid', h.workflow_uuid,
            'function_id', h.function_id, 'key', h.key, 'value', h.value, 'serialization', h.serialization))
        FROM (SELECT * FROM workflow_events_history WHERE workflow_uuid = w.workflow_uuid
            ORDER BY function_id, key) h)),
    'streams', json((SELECT json_group_array(json_object('workflow_uuid', t.workflow_uuid, 'key', t.key,
            'value', t.value, 'offset', t.\"offset\", 'function_id', t.function_id, 'serialization', t.serialization))
        FROM (SELECT * FROM streams WHERE workflow_uuid = w.workflow_uuid ORDER BY key, \"offset\") t))
)
FROM tree JOIN workflow_status w ON w.workflow_uuid = tree.id
    LEFT JOIN workflow_input i ON i.workflow_uuid = w.workflow_uuid
    LEFT JOIN workflow_output p ON p.workflow_uuid = w.workflow_uuid
ORDER BY w.created_at, w.workflow_uuid";

/// An id that is in use, or a deduplication id that is, leaves its workflow out of the answer.
const IMPORT: &str = "\
INSERT INTO workflow_status (workflow_uuid, status, name, authenticated_user, assumed_role, authenticated_roles,
    request, executor_id, created_at, updated_at, application_version, application_id, class_name, config_name,
    recovery_attempts, queue_name, workflow_timeout_ms, workflow_deadline_epoch_ms, started_at_epoch_ms,
    deduplication_id, priority, queue_partition_key, forked_from, parent_workflow_id, serialization,
    delay_until_epoch_ms, was_forked_from, rate_limited, completed_at, attributes, schedule_name,
    debounce_deadline_epoch_ms, is_debounced, application_name)
SELECT value->>'workflow_uuid', value->>'status', value->>'name', value->>'authenticated_user',
    value->>'assumed_role', value->>'authenticated_roles', value->>'request', value->>'executor_id',
    value->>'created_at', value->>'updated_at', value->>'application_version', value->>'application_id',
    value->>'class_name', value->>'config_name', value->>'recovery_attempts', value->>'queue_name',
    value->>'workflow_timeout_ms', value->>'workflow_deadline_epoch_ms', value->>'started_at_epoch_ms',
    value->>'deduplication_id', value->>'priority', value->>'queue_partition_key', value->>'forked_from',
    value->>'parent_workflow_id', value->>'serialization', value->>'delay_until_epoch_ms',
    value->>'was_forked_from', value->>'rate_limited', value->>'completed_at',
    nullif(value->'attributes', 'null'), value->>'schedule_name', value->>'debounce_deadline_epoch_ms',
    value->>'is_debounced', value->>'application_name'
FROM json_each(?1) WHERE true
ON CONFLICT DO NOTHING
RETURNING workflow_uuid";

/// What an earlier workflow of the id has left behind is not this one's history.
const FORGET: &str = "\
DELETE FROM operation_outputs WHERE workflow_uuid IN (SELECT value->>'workflow_uuid' FROM json_each(?1))";

const INPUTS: &str = "\
INSERT INTO workflow_input (workflow_uuid, inputs)
SELECT value->>'workflow_uuid', value->>'inputs' FROM json_each(?1) WHERE true
ON CONFLICT (workflow_uuid) DO UPDATE SET inputs = excluded.inputs, retention_timestamp = excluded.retention_timestamp";

const OUTPUTS: &str = "\
INSERT INTO workflow_output (workflow_uuid, output, error)
SELECT value->>'workflow_uuid', value->>'output', value->>'error' FROM json_each(?1)
WHERE value->>'output' IS NOT NULL OR value->>'error' IS NOT NULL
ON CONFLICT (workflow_uuid) DO UPDATE SET output = excluded.output, error = excluded.error,
    retention_timestamp = excluded.retention_timestamp";

const STEPS: &str = "\
INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
SELECT value->>'workflow_uuid', value->>'function_id', value->>'function_name', value->>'output', value->>'error',
    value->>'child_workflow_id', value->>'started_at_epoch_ms', value->>'completed_at_epoch_ms',
    value->>'serialization', value->>'application_name'
FROM json_each(?1)";

const EVENTS: &str = "\
INSERT INTO workflow_events (workflow_uuid, key, value, serialization)
SELECT value->>'workflow_uuid', value->>'key', value->>'value', value->>'serialization' FROM json_each(?1)";

const HISTORY: &str = "\
INSERT INTO workflow_events_history (workflow_uuid, function_id, key, value, serialization)
SELECT value->>'workflow_uuid', value->>'function_id', value->>'key', value->>'value', value->>'serialization'
FROM json_each(?1)";

const STREAMS: &str = "\
INSERT INTO streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
SELECT value->>'workflow_uuid', value->>'key', value->>'value', value->>'offset', value->>'function_id',
    value->>'serialization'
FROM json_each(?1)";

impl Sqlite {
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
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let inserted: Vec<String> =
                sqlx::query_scalar(IMPORT).bind(statuses).fetch_all(&mut *transaction).await?;
            let in_use = export::missing(workflows, &inserted);
            if !in_use.is_empty() {
                transaction.rollback().await?;
                return Ok(in_use);
            }
            for (statement, rows) in rest {
                sqlx::query(statement).bind(rows).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(in_use)
        })
        .await
    }
}

fn exported(row: &SqliteRow) -> Result<ExportedWorkflow, sqlx::Error> {
    serde_json::from_str(row.try_get(0)?).map_err(|error| sqlx::Error::Decode(error.into()))
}
