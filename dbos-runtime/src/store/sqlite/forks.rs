//! Forks: rows copied within the database.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::Sqlite;
use crate::model::fork::{NewFork, Recorded, Unforkable};
use crate::store::error::StoreError;

const MARK: &str = "\
UPDATE workflow_status SET was_forked_from = TRUE WHERE workflow_uuid IN (
    SELECT json_extract(value, '$.source') FROM json_each(?1))
RETURNING workflow_uuid";

const RECORDED: &str = "\
SELECT max(o.function_id) AS last, max(CASE WHEN o.error IS NOT NULL THEN o.function_id END) AS failed,
    max(CASE WHEN o.function_name = json_extract(f.value, '$.named') THEN o.function_id END) AS named
FROM json_each(?1) f LEFT JOIN operation_outputs o ON o.workflow_uuid = json_extract(f.value, '$.source')
GROUP BY f.key ORDER BY f.key";

const CREATE: &str = "\
INSERT INTO workflow_status (workflow_uuid, status, forked_from, queue_name, queue_partition_key, application_version,
    workflow_timeout_ms, name, class_name, config_name, application_id, application_name, authenticated_user,
    authenticated_roles, assumed_role, serialization, attributes, created_at, updated_at)
SELECT json_extract(f.value, '$.id'), 'ENQUEUED', w.workflow_uuid, json_extract(f.value, '$.queue'),
    json_extract(f.value, '$.partition'), json_extract(f.value, '$.version'), json_extract(f.value, '$.timeout'),
    w.name, w.class_name, w.config_name, w.application_id, coalesce(w.application_name, ?2), w.authenticated_user,
    w.authenticated_roles, w.assumed_role, w.serialization, w.attributes,
    CAST(unixepoch('subsec') * 1000 AS INTEGER), CAST(unixepoch('subsec') * 1000 AS INTEGER)
FROM json_each(?1) f JOIN workflow_status w ON w.workflow_uuid = json_extract(f.value, '$.source') WHERE TRUE
ON CONFLICT (workflow_uuid) DO NOTHING RETURNING workflow_uuid";

const INPUTS: &str = "\
INSERT INTO workflow_input (workflow_uuid, inputs, retention_timestamp)
SELECT json_extract(f.value, '$.id'), coalesce(i.inputs, w.inputs), CAST(unixepoch('subsec') * 1000 AS INTEGER)
FROM json_each(?1) f JOIN workflow_status w ON w.workflow_uuid = json_extract(f.value, '$.source')
LEFT JOIN workflow_input i ON i.workflow_uuid = w.workflow_uuid WHERE TRUE
ON CONFLICT (workflow_uuid) DO UPDATE SET inputs = excluded.inputs";

const STEPS: &str = "\
WITH made AS (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.source') AS source,
        json_extract(value, '$.start') AS start, value FROM json_each(?1)
)
INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name, retention_timestamp)
SELECT made.id, o.function_id, o.function_name, o.output, o.error, coalesce((
    SELECT json_extract(r.value, '$.new') FROM json_each(made.value, '$.replaced') r
    WHERE json_extract(r.value, '$.old') = o.child_workflow_id), o.child_workflow_id),
    o.started_at_epoch_ms, o.completed_at_epoch_ms, o.serialization, w.application_name,
    CAST(unixepoch('subsec') * 1000 AS INTEGER)
FROM made JOIN workflow_status w ON w.workflow_uuid = made.id
JOIN operation_outputs o ON o.workflow_uuid = made.source AND o.function_id < made.start WHERE made.start > 1";

const HISTORY: &str = "\
WITH made AS (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.source') AS source,
        json_extract(value, '$.start') AS start FROM json_each(?1)
)
INSERT INTO workflow_events_history (workflow_uuid, function_id, key, value, serialization)
SELECT made.id, h.function_id, h.key, h.value, h.serialization
FROM made JOIN workflow_events_history h ON h.workflow_uuid = made.source AND h.function_id < made.start
WHERE made.start > 1";

/// The copied history is the fork's whole history, so its latest values are the fork's events.
const EVENTS: &str = "\
INSERT INTO workflow_events (workflow_uuid, key, value, serialization)
SELECT h.workflow_uuid, h.key, h.value, h.serialization
FROM json_each(?1) f JOIN workflow_events_history h ON h.workflow_uuid = json_extract(f.value, '$.id')
WHERE h.function_id = (SELECT max(later.function_id) FROM workflow_events_history later
    WHERE later.workflow_uuid = h.workflow_uuid AND later.key = h.key)";

const STREAMS: &str = "\
WITH made AS (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.source') AS source,
        json_extract(value, '$.start') AS start FROM json_each(?1)
)
INSERT INTO streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
SELECT made.id, s.key, s.value, s.\"offset\", s.function_id, s.serialization
FROM made JOIN streams s ON s.workflow_uuid = made.source AND s.function_id < made.start WHERE made.start > 1";

/// An id under which there is something else than this fork.
const TAKEN: &str = "\
SELECT w.workflow_uuid FROM json_each(?1) f JOIN workflow_status w ON w.workflow_uuid = json_extract(f.value, '$.id')
WHERE w.forked_from IS NOT json_extract(f.value, '$.source') LIMIT 1";

impl Sqlite {
    pub(crate) async fn fork(&self, forks: &[NewFork]) -> Result<Result<(), Unforkable>, StoreError> {
        let application = self.identity.application.as_deref();
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let forked = fork(&mut transaction, application, forks).await?;
            if forked.is_ok() {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            Ok(forked)
        })
        .await
    }
}

async fn fork(
    connection: &mut SqliteConnection,
    application: Option<&str>,
    forks: &[NewFork],
) -> Result<Result<(), Unforkable>, sqlx::Error> {
    let json = serde_json::to_string(forks).unwrap_or_default();
    let marked: Vec<String> = sqlx::query_scalar(MARK).bind(&json).fetch_all(&mut *connection).await?;
    if let Some(missing) = Unforkable::missing(forks, &marked) {
        return Ok(Err(missing));
    }
    let mut placed = forks.to_vec();
    let recorded = sqlx::query(RECORDED).bind(&json).fetch_all(&mut *connection).await?;
    for (fork, row) in placed.iter_mut().zip(recorded) {
        let recorded = Recorded {
            last: row.try_get("last")?,
            failed: row.try_get("failed")?,
            named: row.try_get("named")?,
        };
        match fork.start(recorded) {
            Ok(start) => fork.start = start,
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    let json = serde_json::to_string(&placed).unwrap_or_default();
    let create = sqlx::query_scalar(CREATE).bind(&json).bind(application);
    let created: HashSet<String> = create.fetch_all(&mut *connection).await?.into_iter().collect();
    placed.retain(|fork| created.contains(fork.id.as_str()));
    let made = serde_json::to_string(&placed).unwrap_or_default();
    for statement in [INPUTS, STEPS, HISTORY, EVENTS, STREAMS] {
        sqlx::query(statement).bind(&made).execute(&mut *connection).await?;
    }
    let taken = sqlx::query_scalar(TAKEN).bind(&json).fetch_optional(connection).await?;
    Ok(taken.map_or(Ok(()), |id| Err(Unforkable::Taken { id })))
}
