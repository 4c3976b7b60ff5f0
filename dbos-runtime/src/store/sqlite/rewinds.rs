//! Rewinds: what a workflow did from a step on is taken back.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::Sqlite;
use crate::model::management::{Cut, Rewound};
use crate::model::step::StepRow;
use crate::model::workflow::Fence;
use crate::store::error::StoreError;

const LOOK: &str = "SELECT status, owner_xid, updated_at FROM workflow_status WHERE workflow_uuid = ?1";

const RECORDED: &str =
    "SELECT completed_at_epoch_ms FROM operation_outputs WHERE workflow_uuid = ?1 AND function_id = ?2";

const RECORD: &str = "\
INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, serialization, started_at_epoch_ms,
    completed_at_epoch_ms, application_name, retention_timestamp)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, CAST(unixepoch('subsec') * 1000 AS INTEGER))";

const REMOVE_EVENTS: &str = "\
DELETE FROM workflow_events WHERE workflow_uuid = ?1 AND key IN (
    SELECT key FROM workflow_events_history WHERE workflow_uuid = ?1 AND function_id >= ?2)";

const REMOVE_HISTORY: &str =
    "DELETE FROM workflow_events_history WHERE workflow_uuid = ?1 AND function_id >= ?2";

/// The latest of what is left in the history, for the keys that have no event now.
const RESTORE_EVENTS: &str = "\
INSERT INTO workflow_events (workflow_uuid, key, value, serialization)
SELECT ?1, h.key, h.value, h.serialization FROM workflow_events_history h
WHERE h.workflow_uuid = ?1 AND h.function_id < ?2 AND h.function_id = (
    SELECT max(later.function_id) FROM workflow_events_history later
    WHERE later.workflow_uuid = ?1 AND later.key = h.key)
ON CONFLICT (workflow_uuid, key) DO NOTHING";

const REOPEN_STREAMS: &str = "\
DELETE FROM streams WHERE workflow_uuid = ?1 AND function_id >= ?2
    AND value = '\"__DBOS_STREAM_CLOSED__\"' AND serialization = 'portable_json'";

const REMOVE_STEPS: &str = "DELETE FROM operation_outputs WHERE workflow_uuid = ?1 AND function_id >= ?2";

const REMOVE_MESSAGES: &str = "\
DELETE FROM notifications
WHERE destination_uuid = ?1 AND (NOT consumed OR consumed_by_function_id >= ?2)";

const REMOVE_OUTCOME: &str = "DELETE FROM workflow_output WHERE workflow_uuid = ?1";

const REWIND: &str = "\
UPDATE workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, queue_name = ?2, queue_partition_key = ?3, recovery_attempts = 0,
    application_version = coalesce(?4, application_version), workflow_deadline_epoch_ms = NULL, deduplication_id = NULL,
    started_at_epoch_ms = NULL, completed_at = NULL, output = NULL, error = NULL,
    updated_at = max(CAST(unixepoch('subsec') * 1000 AS INTEGER), updated_at + 1)
WHERE workflow_uuid = ?1 AND status = ?5
    AND status IN ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')";

impl Sqlite {
    pub(crate) async fn rewind(&self, cut: &Cut) -> Result<Rewound, StoreError> {
        let application = self.identity.application.as_deref();
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let rewound = rewind(&mut transaction, application, cut).await?;
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
    connection: &mut SqliteConnection,
    application: Option<&str>,
    cut: &Cut,
) -> Result<Rewound, sqlx::Error> {
    if let Some((fence, step)) = &cut.by {
        let asking = sqlx::query(LOOK).bind(fence.id.as_str()).fetch_optional(&mut *connection).await?;
        let (status, owner): (Option<String>, Option<String>) = match asking {
            Some(row) => (row.try_get("status")?, row.try_get("owner_xid")?),
            None => (None, None),
        };
        if owner.as_deref() != Some(fence.token.as_str()) {
            return Ok(Rewound::Lost(status));
        }
        if record(connection, application, fence, step).await? {
            return Ok(Rewound::Done);
        }
    }
    let id = cut.id.as_str();
    let Some(row) = sqlx::query(LOOK).bind(id).fetch_optional(&mut *connection).await? else {
        return Ok(Rewound::Changed);
    };
    if !cut.seen.is(row.try_get::<Option<&str>, _>("status")?, row.try_get("updated_at")?) {
        return Ok(Rewound::Changed);
    }
    let query = sqlx::query(REWIND).bind(id).bind(&cut.queue).bind(&cut.partition).bind(&cut.version);
    if query.bind(&cut.seen.status).execute(&mut *connection).await?.rows_affected() != 1 {
        return Ok(Rewound::Changed);
    }
    let statements =
        [REMOVE_EVENTS, REMOVE_HISTORY, RESTORE_EVENTS, REOPEN_STREAMS, REMOVE_STEPS, REMOVE_MESSAGES];
    for statement in statements {
        sqlx::query(statement).bind(id).bind(cut.step).execute(&mut *connection).await?;
    }
    sqlx::query(REMOVE_OUTCOME).bind(id).execute(connection).await?;
    Ok(Rewound::Done)
}

/// Records the asking step; says whether it is there already, together with its effect.
async fn record(
    connection: &mut SqliteConnection,
    application: Option<&str>,
    fence: &Fence,
    step: &StepRow,
) -> Result<bool, sqlx::Error> {
    let there = sqlx::query_scalar(RECORDED).bind(fence.id.as_str()).bind(step.number);
    let there: Option<Option<i64>> = there.fetch_optional(&mut *connection).await?;
    if there.is_some_and(|completed| completed == step.completed) {
        return Ok(true);
    }
    let query = sqlx::query(RECORD).bind(fence.id.as_str()).bind(step.number).bind(&step.name);
    let query = query.bind(&step.output).bind(&step.serialization).bind(step.started).bind(step.completed);
    query.bind(application).execute(connection).await?;
    Ok(false)
}
