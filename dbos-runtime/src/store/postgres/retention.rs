//! Changes to workflows by those who look after them: attributes, expiry, deletion of what is old.

use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc::Sender;

use super::Postgres;
use crate::ids::WorkflowId;
use crate::model::retention::{Collected, Retention};
use crate::store::error::StoreError;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What is the runtimes' stays, unless it is named.
const SET_ATTRIBUTES: &str = "\
UPDATE {s}.workflow_status SET attributes = coalesce((
        SELECT jsonb_object_agg(key, value)
        FROM jsonb_each(CASE WHEN jsonb_typeof(attributes) = 'object' THEN attributes ELSE '{}' END)
        WHERE starts_with(key, 'dbos.')
    ) || coalesce($2::jsonb, '{}'), $2::jsonb), updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8
WHERE workflow_uuid = $1";

const MERGE_ATTRIBUTES: &str = "\
UPDATE {s}.workflow_status
SET attributes = CASE WHEN jsonb_typeof(attributes) = 'object' THEN attributes ELSE '{}' END || $2::jsonb,
    updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8
WHERE workflow_uuid = $1";

/// What was enqueued in a burst has a place that lies ahead of the clock; when it came is told by its last change, or by
/// its claim. `$3` is how far ahead a place may lie.
const CANCEL_INSERTED_BY: &str = "\
UPDATE {s}.workflow_status
SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, completed_at = (EXTRACT(epoch FROM now()) * 1000)::int8
WHERE created_at <= $3 AND least(created_at, updated_at, started_at_epoch_ms) <= $1
    AND status IN ('DELAYED', 'ENQUEUED', 'PENDING')
    AND ($2 = '' OR application_name = $2 OR application_name IS NULL)
RETURNING workflow_uuid";

const LOCK: &str = "SELECT pg_try_advisory_lock($1)";

const UNLOCK: &str = "SELECT pg_advisory_unlock($1)";

/// When the oldest of so many ended that ended last.
const THRESHOLD: &str = "\
SELECT completed_at FROM {s}.workflow_status
WHERE completed_at IS NOT NULL AND ($2 = '' OR application_name = $2 OR application_name IS NULL)
ORDER BY completed_at DESC OFFSET $1 - 1 LIMIT 1";

const COLLECT: &str = "\
WITH doomed AS MATERIALIZED (
    SELECT w.workflow_uuid AS id FROM {s}.workflow_status w
    WHERE w.completed_at < $1 AND ($2 = '' OR w.application_name = $2 OR w.application_name IS NULL)
        AND w.status IN ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
        AND NOT EXISTS (SELECT FROM {s}.workflow_status p WHERE p.workflow_uuid = w.parent_workflow_id
            AND p.status IN ('DELAYED', 'ENQUEUED', 'PENDING'))
    ORDER BY w.completed_at LIMIT $3 FOR UPDATE OF w SKIP LOCKED
), steps AS (
    DELETE FROM {s}.operation_outputs o USING doomed WHERE o.workflow_uuid = doomed.id
), inputs AS (
    DELETE FROM {s}.workflow_input i USING doomed WHERE i.workflow_uuid = doomed.id
), outputs AS (
    DELETE FROM {s}.workflow_output o USING doomed WHERE o.workflow_uuid = doomed.id
)
DELETE FROM {s}.workflow_status w USING doomed WHERE w.workflow_uuid = doomed.id RETURNING w.workflow_uuid";

const ORPHANED_STEPS: &str = "\
DELETE FROM {s}.operation_outputs WHERE retention_timestamp < $1 AND workflow_uuid IN (
    SELECT DISTINCT o.workflow_uuid FROM {s}.operation_outputs o WHERE o.retention_timestamp < $1
        AND NOT EXISTS (SELECT FROM {s}.workflow_status w WHERE w.workflow_uuid = o.workflow_uuid) LIMIT $2)";

const ORPHANED_INPUTS: &str = "\
DELETE FROM {s}.workflow_input WHERE retention_timestamp < $1 AND workflow_uuid IN (
    SELECT o.workflow_uuid FROM {s}.workflow_input o WHERE o.retention_timestamp < $1
        AND NOT EXISTS (SELECT FROM {s}.workflow_status w WHERE w.workflow_uuid = o.workflow_uuid) LIMIT $2)";

const ORPHANED_OUTPUTS: &str = "\
DELETE FROM {s}.workflow_output WHERE retention_timestamp < $1 AND workflow_uuid IN (
    SELECT o.workflow_uuid FROM {s}.workflow_output o WHERE o.retention_timestamp < $1
        AND NOT EXISTS (SELECT FROM {s}.workflow_status w WHERE w.workflow_uuid = o.workflow_uuid) LIMIT $2)";

impl Postgres {
    pub(crate) async fn set_attributes(&self, id: &str, attributes: Option<&str>) -> Result<bool> {
        let query = sqlx::query(self.statements.get(SET_ATTRIBUTES)).bind(id).bind(attributes);
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected() > 0)).await
    }

    pub(crate) async fn merge_attributes(&self, id: &str, attributes: &str) -> Result<bool> {
        let query = sqlx::query(self.statements.get(MERGE_ATTRIBUTES)).bind(id).bind(attributes);
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected() > 0)).await
    }

    pub(crate) async fn cancel_inserted_by(&self, millis: i64, placed: i64) -> Result<Vec<String>> {
        let query = sqlx::query_scalar(self.statements.get(CANCEL_INSERTED_BY))
            .bind(millis)
            .bind(self.identity.application())
            .bind(placed);
        self.ask_within(&self.pool, None, async |c| query.fetch_all(c).await).await
    }

    /// One process at a time, over all programs on the schema: the lock is the one that the other SDKs take.
    pub(crate) async fn collect(
        &self,
        retention: &Retention,
        cutoff: Option<i64>,
        gone: &Sender<Vec<WorkflowId>>,
    ) -> Result<Collected> {
        let name = format!("dbos.retention.{}", self.schema);
        let key = Sha256::digest(name.as_bytes()).first_chunk().map_or(0, |first| i64::from_be_bytes(*first));
        self.ask_within(&self.pool, None, async |c| {
            let locked: bool = sqlx::query_scalar(LOCK).bind(key).fetch_one(&mut *c).await?;
            if !locked {
                return Ok(Collected { busy: true, ..Collected::default() });
            }
            let collected = self.sweep(c, retention, cutoff, gone).await;
            sqlx::query(UNLOCK).bind(key).execute(c).await?;
            collected
        })
        .await
    }

    async fn sweep(
        &self,
        connection: &mut PgConnection,
        retention: &Retention,
        cutoff: Option<i64>,
        gone: &Sender<Vec<WorkflowId>>,
    ) -> Result<Collected, sqlx::Error> {
        let batch = i64::from(retention.batch);
        let application = if retention.every_application { "" } else { self.identity.application() };
        let mut collected = Collected::default();
        let threshold = match retention.newest {
            Some(rows) => {
                let query = sqlx::query_scalar(self.statements.get(THRESHOLD)).bind(i64::from(rows));
                query.bind(application).fetch_optional(&mut *connection).await?
            }
            None => None,
        };
        let Some(cutoff) = cutoff.max(threshold) else { return Ok(collected) };
        loop {
            let query = sqlx::query_scalar(self.statements.get(COLLECT));
            let query = query.bind(cutoff).bind(application).bind(batch);
            let deleted: Vec<String> = query.fetch_all(&mut *connection).await?;
            collected.workflows += deleted.len() as u64;
            if deleted.is_empty() {
                break;
            }
            if gone.send(deleted.into_iter().map(WorkflowId::trusted).collect()).await.is_err() {
                return Ok(collected);
            }
        }
        for orphans in [ORPHANED_STEPS, ORPHANED_INPUTS, ORPHANED_OUTPUTS] {
            loop {
                let query = sqlx::query(self.statements.get(orphans)).bind(cutoff).bind(batch);
                let deleted = query.execute(&mut *connection).await?.rows_affected();
                collected.orphans += deleted;
                if deleted == 0 {
                    break;
                }
            }
        }
        Ok(collected)
    }
}
