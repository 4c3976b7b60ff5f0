//! Rewinds: what a workflow did from a step on is taken back.

use sqlx::{Connection, PgConnection, Row};

use super::Postgres;
use super::statements::Statements;
use crate::model::management::{Cut, Rewound};
use crate::model::step::StepRow;
use crate::model::workflow::Fence;
use crate::store::error::StoreError;

/// The workflow and, if one asks for it, the asking one.
const LOCK: &str = "\
SELECT workflow_uuid, status, owner_xid, updated_at FROM {s}.workflow_status
WHERE workflow_uuid = ANY($1) ORDER BY workflow_uuid FOR NO KEY UPDATE";

const RECORDED: &str = "\
SELECT completed_at_epoch_ms FROM {s}.operation_outputs WHERE workflow_uuid = $1 AND function_id = $2";

const RECORD: &str = "\
INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, serialization,
    started_at_epoch_ms, completed_at_epoch_ms, application_name)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const REWIND: &str = "\
WITH cut AS (
    SELECT DISTINCT key FROM {s}.workflow_events_history WHERE workflow_uuid = $1 AND function_id >= $2
), kept AS (
    SELECT DISTINCT ON (h.key) h.key, h.value, h.serialization
    FROM cut JOIN {s}.workflow_events_history h ON h.workflow_uuid = $1 AND h.key = cut.key AND h.function_id < $2
    ORDER BY h.key, h.function_id DESC
), restored AS (
    INSERT INTO {s}.workflow_events (workflow_uuid, key, value, serialization)
    SELECT $1, key, value, serialization FROM kept
    ON CONFLICT (workflow_uuid, key) DO UPDATE SET value = EXCLUDED.value, serialization = EXCLUDED.serialization
), removed AS (
    DELETE FROM {s}.workflow_events e USING cut WHERE e.workflow_uuid = $1 AND e.key = cut.key
        AND NOT EXISTS (SELECT FROM kept WHERE kept.key = e.key)
), reopened AS (
    DELETE FROM {s}.streams WHERE workflow_uuid = $1 AND function_id >= $2
        AND value = '\"__DBOS_STREAM_CLOSED__\"' AND serialization = 'portable_json'
), steps AS (
    DELETE FROM {s}.operation_outputs WHERE workflow_uuid = $1 AND function_id >= $2
), history AS (
    DELETE FROM {s}.workflow_events_history WHERE workflow_uuid = $1 AND function_id >= $2
), messages AS (
    DELETE FROM {s}.notifications WHERE destination_uuid = $1 AND (NOT consumed OR consumed_by_function_id >= $2)
), outcome AS (
    DELETE FROM {s}.workflow_output WHERE workflow_uuid = $1
)
UPDATE {s}.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, queue_name = $3, queue_partition_key = $4, recovery_attempts = 0,
    application_version = coalesce($5, application_version), workflow_deadline_epoch_ms = NULL, deduplication_id = NULL,
    started_at_epoch_ms = NULL, completed_at = NULL, output = NULL, error = NULL,
    updated_at = greatest((EXTRACT(epoch FROM now()) * 1000)::int8, updated_at + 1)
WHERE workflow_uuid = $1 AND status = $6 AND status IN ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')";

impl Postgres {
    pub(crate) async fn rewind(&self, cut: &Cut) -> Result<Rewound, StoreError> {
        let application = self.identity.application.as_deref();
        self.ask(async |c| {
            let mut transaction = c.begin().await?;
            let rewound = rewind(&mut transaction, &self.statements, application, cut).await?;
            if rewound == Rewound::Done {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            Ok(rewound)
        })
        .await
    }
}

async fn rewind(
    connection: &mut PgConnection,
    statements: &Statements,
    application: Option<&str>,
    cut: &Cut,
) -> Result<Rewound, sqlx::Error> {
    let mut ids = vec![cut.id.as_str()];
    ids.extend(cut.by.iter().map(|(fence, _)| fence.id.as_str()));
    let locked = sqlx::query(statements.get(LOCK)).bind(ids).fetch_all(&mut *connection).await?;
    let row_of = |id: &str| locked.iter().find(|row| row.try_get::<&str, _>(0).is_ok_and(|it| it == id));
    if let Some((fence, step)) = &cut.by {
        let asking = row_of(fence.id.as_str());
        let (status, owner): (Option<String>, Option<String>) = match asking {
            Some(row) => (row.try_get("status")?, row.try_get("owner_xid")?),
            None => (None, None),
        };
        if owner.as_deref() != Some(fence.token.as_str()) {
            return Ok(Rewound::Lost(status));
        }
        if record(connection, statements, application, fence, step).await? {
            return Ok(Rewound::Done);
        }
    }
    let Some(row) = row_of(cut.id.as_str()) else { return Ok(Rewound::Changed) };
    if !cut.seen.is(row.try_get::<Option<&str>, _>("status")?, row.try_get("updated_at")?) {
        return Ok(Rewound::Changed);
    }
    let query = sqlx::query(statements.get(REWIND)).bind(cut.id.as_str()).bind(cut.step).bind(&cut.queue);
    let query = query.bind(&cut.partition).bind(&cut.version).bind(&cut.seen.status);
    let rewound = query.execute(connection).await?.rows_affected();
    Ok(if rewound == 1 { Rewound::Done } else { Rewound::Changed })
}

/// Records the asking step; says whether it is there already, together with its effect.
async fn record(
    connection: &mut PgConnection,
    statements: &Statements,
    application: Option<&str>,
    fence: &Fence,
    step: &StepRow,
) -> Result<bool, sqlx::Error> {
    let there = sqlx::query_scalar(statements.get(RECORDED)).bind(fence.id.as_str()).bind(step.number);
    let there: Option<Option<i64>> = there.fetch_optional(&mut *connection).await?;
    if there.is_some_and(|completed| completed == step.completed) {
        return Ok(true);
    }
    let query =
        sqlx::query(statements.get(RECORD)).bind(fence.id.as_str()).bind(step.number).bind(&step.name);
    let query = query.bind(&step.output).bind(&step.serialization).bind(step.started).bind(step.completed);
    query.bind(application).execute(connection).await?;
    Ok(false)
}
