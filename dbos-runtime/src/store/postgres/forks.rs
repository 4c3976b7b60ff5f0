//! Forks: rows copied within the database.

use sqlx::{Connection, PgConnection, Row};

use super::Postgres;
use super::statements::Statements;
use crate::model::fork::{NewFork, Recorded, Unforkable};
use crate::store::error::StoreError;

/// Marks the sources and locks them, so that a running one writes nothing until its fork is there.
const MARK: &str = "\
WITH locked AS (
    SELECT workflow_uuid FROM {s}.workflow_status WHERE workflow_uuid = ANY($1)
    ORDER BY workflow_uuid FOR NO KEY UPDATE
)
UPDATE {s}.workflow_status w SET was_forked_from = TRUE FROM locked WHERE w.workflow_uuid = locked.workflow_uuid
RETURNING w.workflow_uuid";

const RECORDED: &str = "\
SELECT max(o.function_id) AS last, max(o.function_id) FILTER (WHERE o.error IS NOT NULL) AS failed,
    max(o.function_id) FILTER (WHERE o.function_name = f.value->>'named') AS named
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS f(value, n)
LEFT JOIN {s}.operation_outputs o ON o.workflow_uuid = f.value->>'source'
GROUP BY f.n ORDER BY f.n";

const COPY: &str = "\
WITH f AS (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS f(source text, id text, start int4, version text, queue text,
        partition text, timeout int8, replaced jsonb)
), created AS (
    INSERT INTO {s}.workflow_status (workflow_uuid, status, forked_from, queue_name, queue_partition_key,
        application_version, workflow_timeout_ms, name, class_name, config_name, application_id, application_name,
        authenticated_user, authenticated_roles, assumed_role, serialization, attributes)
    SELECT f.id, 'ENQUEUED', f.source, f.queue, f.partition, f.version, f.timeout, w.name, w.class_name, w.config_name,
        w.application_id, coalesce(w.application_name, $2), w.authenticated_user, w.authenticated_roles,
        w.assumed_role, w.serialization, w.attributes
    FROM f JOIN {s}.workflow_status w ON w.workflow_uuid = f.source
    ON CONFLICT (workflow_uuid) DO NOTHING RETURNING workflow_uuid, application_name
), made AS (
    SELECT f.*, created.application_name AS owner FROM f JOIN created ON created.workflow_uuid = f.id
), inputs AS (
    INSERT INTO {s}.workflow_input (workflow_uuid, inputs)
    SELECT made.id, coalesce(i.inputs, w.inputs) FROM made JOIN {s}.workflow_status w ON w.workflow_uuid = made.source
    LEFT JOIN {s}.workflow_input i ON i.workflow_uuid = made.source
    ON CONFLICT (workflow_uuid) DO UPDATE SET inputs = EXCLUDED.inputs
), steps AS (
    INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
        started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
    SELECT made.id, o.function_id, o.function_name, o.output, o.error, coalesce((
        SELECT r.new FROM jsonb_to_recordset(made.replaced) AS r(old text, new text) WHERE r.old = o.child_workflow_id),
        o.child_workflow_id), o.started_at_epoch_ms, o.completed_at_epoch_ms, o.serialization, made.owner
    FROM made JOIN {s}.operation_outputs o ON o.workflow_uuid = made.source AND o.function_id < made.start
    WHERE made.start > 1
), history AS (
    INSERT INTO {s}.workflow_events_history (workflow_uuid, function_id, key, value, serialization)
    SELECT made.id, h.function_id, h.key, h.value, h.serialization
    FROM made JOIN {s}.workflow_events_history h ON h.workflow_uuid = made.source AND h.function_id < made.start
    WHERE made.start > 1
), events AS (
    INSERT INTO {s}.workflow_events (workflow_uuid, key, value, serialization)
    SELECT DISTINCT ON (made.id, h.key) made.id, h.key, h.value, h.serialization
    FROM made JOIN {s}.workflow_events_history h ON h.workflow_uuid = made.source AND h.function_id < made.start
    WHERE made.start > 1 ORDER BY made.id, h.key, h.function_id DESC
), streamed AS (
    INSERT INTO {s}.streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
    SELECT made.id, s.key, s.value, s.\"offset\", s.function_id, s.serialization
    FROM made JOIN {s}.streams s ON s.workflow_uuid = made.source AND s.function_id < made.start
    WHERE made.start > 1
)
SELECT count(*) FROM made";

/// An id under which there is something else than this fork.
const TAKEN: &str = "\
SELECT w.workflow_uuid FROM jsonb_to_recordset($1::jsonb) AS f(source text, id text)
JOIN {s}.workflow_status w ON w.workflow_uuid = f.id WHERE w.forked_from IS DISTINCT FROM f.source LIMIT 1";

impl Postgres {
    pub(crate) async fn fork(&self, forks: &[NewFork]) -> Result<Result<(), Unforkable>, StoreError> {
        let application = self.identity.application.as_deref();
        self.ask(async |c| {
            let mut transaction = c.begin().await?;
            let forked = fork(&mut transaction, &self.statements, application, forks).await?;
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
    connection: &mut PgConnection,
    statements: &Statements,
    application: Option<&str>,
    forks: &[NewFork],
) -> Result<Result<(), Unforkable>, sqlx::Error> {
    let sources: Vec<&str> = forks.iter().map(|fork| fork.source.as_str()).collect();
    let marked = sqlx::query_scalar(statements.get(MARK)).bind(sources);
    let marked: Vec<String> = marked.fetch_all(&mut *connection).await?;
    if let Some(missing) = Unforkable::missing(forks, &marked) {
        return Ok(Err(missing));
    }
    let json = serde_json::to_string(forks).unwrap_or_default();
    let mut placed = forks.to_vec();
    let recorded = sqlx::query(statements.get(RECORDED)).bind(json).fetch_all(&mut *connection).await?;
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
    sqlx::query(statements.get(COPY)).bind(&json).bind(application).execute(&mut *connection).await?;
    let taken = sqlx::query_scalar(statements.get(TAKEN)).bind(&json).fetch_optional(connection).await?;
    Ok(taken.map_or(Ok(()), |id| Err(Unforkable::Taken { id })))
}
