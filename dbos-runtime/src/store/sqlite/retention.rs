//! Changes to workflows by those who look after them: attributes, expiry, deletion of what is old.

use serde_json::{Map, Value};
use sqlx::Connection;
use tokio::sync::mpsc::Sender;

use super::Sqlite;
use crate::ids::WorkflowId;
use crate::model::retention::{Collected, Retention};
use crate::store::error::StoreError;

type Result<T, E = StoreError> = std::result::Result<T, E>;

const ATTRIBUTES: &str = "SELECT attributes FROM workflow_status WHERE workflow_uuid = ?1";

const SET_ATTRIBUTES: &str = "\
UPDATE workflow_status SET attributes = ?2, updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE workflow_uuid = ?1";

/// What was enqueued in a burst has a place that lies ahead of the clock; when it came is told by its last change, or by
/// its claim. `?3` is how far ahead a place may lie.
const CANCEL_INSERTED_BY: &str = "\
UPDATE workflow_status
SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    completed_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE created_at <= ?3 AND min(created_at, updated_at, coalesce(started_at_epoch_ms, updated_at)) <= ?1
    AND status IN ('DELAYED', 'ENQUEUED', 'PENDING')
    AND (?2 = '' OR application_name = ?2 OR application_name IS NULL)
RETURNING workflow_uuid";

/// When the oldest of so many ended that ended last.
const THRESHOLD: &str = "\
SELECT completed_at FROM workflow_status
WHERE completed_at IS NOT NULL AND (?2 = '' OR application_name = ?2 OR application_name IS NULL)
ORDER BY completed_at DESC LIMIT 1 OFFSET ?1 - 1";

const DOOMED: &str = "\
SELECT w.workflow_uuid FROM workflow_status w
WHERE w.completed_at < ?1 AND (?2 = '' OR w.application_name = ?2 OR w.application_name IS NULL)
    AND w.status IN ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
    AND NOT EXISTS (SELECT 1 FROM workflow_status p WHERE p.workflow_uuid = w.parent_workflow_id
        AND p.status IN ('DELAYED', 'ENQUEUED', 'PENDING'))
ORDER BY w.completed_at LIMIT ?3";

const COLLECT: [&str; 4] = [
    "DELETE FROM operation_outputs WHERE workflow_uuid IN (SELECT value FROM json_each(?1))",
    "DELETE FROM workflow_input WHERE workflow_uuid IN (SELECT value FROM json_each(?1))",
    "DELETE FROM workflow_output WHERE workflow_uuid IN (SELECT value FROM json_each(?1))",
    "DELETE FROM workflow_status WHERE workflow_uuid IN (SELECT value FROM json_each(?1))",
];

const ORPHANED_STEPS: &str = "\
DELETE FROM operation_outputs WHERE retention_timestamp < ?1 AND workflow_uuid IN (
    SELECT DISTINCT o.workflow_uuid FROM operation_outputs o WHERE o.retention_timestamp < ?1
        AND NOT EXISTS (SELECT 1 FROM workflow_status w WHERE w.workflow_uuid = o.workflow_uuid) LIMIT ?2)";

const ORPHANED_INPUTS: &str = "\
DELETE FROM workflow_input WHERE retention_timestamp < ?1 AND workflow_uuid IN (
    SELECT o.workflow_uuid FROM workflow_input o WHERE o.retention_timestamp < ?1
        AND NOT EXISTS (SELECT 1 FROM workflow_status w WHERE w.workflow_uuid = o.workflow_uuid) LIMIT ?2)";

const ORPHANED_OUTPUTS: &str = "\
DELETE FROM workflow_output WHERE retention_timestamp < ?1 AND workflow_uuid IN (
    SELECT o.workflow_uuid FROM workflow_output o WHERE o.retention_timestamp < ?1
        AND NOT EXISTS (SELECT 1 FROM workflow_status w WHERE w.workflow_uuid = o.workflow_uuid) LIMIT ?2)";

impl Sqlite {
    /// What is the runtimes' stays, unless it is named.
    pub(crate) async fn set_attributes(&self, id: &str, attributes: Option<&str>) -> Result<bool> {
        let given: Option<Map<String, Value>> = attributes.and_then(|text| serde_json::from_str(text).ok());
        let replaced = |mut stored: Map<String, Value>| {
            stored.retain(|name, _| name.starts_with("dbos."));
            let kept = given.is_some() || !stored.is_empty();
            stored.extend(given.clone().unwrap_or_default());
            kept.then_some(stored)
        };
        self.rewrite_attributes(id, replaced).await
    }

    pub(crate) async fn merge_attributes(&self, id: &str, attributes: &str) -> Result<bool> {
        let added: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
        let merged = |mut stored: Map<String, Value>| {
            stored.extend(added.clone());
            Some(stored)
        };
        self.rewrite_attributes(id, merged).await
    }

    /// Read, changed and written as the only writer: SQLite's own merge would take nulls for deletions.
    async fn rewrite_attributes(
        &self,
        id: &str,
        change: impl Fn(Map<String, Value>) -> Option<Map<String, Value>>,
    ) -> Result<bool> {
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let stored: Option<Option<String>> =
                sqlx::query_scalar(ATTRIBUTES).bind(id).fetch_optional(&mut *transaction).await?;
            let Some(stored) = stored else { return Ok(false) };
            let stored = stored.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            let changed = change(stored).map(|map| Value::from(map).to_string());
            sqlx::query(SET_ATTRIBUTES).bind(id).bind(changed).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    pub(crate) async fn cancel_inserted_by(&self, millis: i64, placed: i64) -> Result<Vec<String>> {
        let query = sqlx::query_scalar(CANCEL_INSERTED_BY).bind(millis).bind(self.identity.application());
        let query = query.bind(placed);
        self.change(async |c| query.fetch_all(c).await).await
    }

    /// Each batch takes its turn among the writers, so the others are not kept waiting for all of it.
    pub(crate) async fn collect(
        &self,
        retention: &Retention,
        cutoff: Option<i64>,
        gone: &Sender<Vec<WorkflowId>>,
    ) -> Result<Collected> {
        let batch = i64::from(retention.batch);
        let application = if retention.every_application { "" } else { self.identity.application() };
        let mut collected = Collected::default();
        let threshold = match retention.newest {
            Some(rows) => {
                let query = sqlx::query_scalar(THRESHOLD).bind(i64::from(rows)).bind(application);
                self.ask(async |c| query.fetch_optional(c).await).await?
            }
            None => None,
        };
        let Some(cutoff) = cutoff.max(threshold) else { return Ok(collected) };
        loop {
            let deleted = self.collect_batch(cutoff, application, batch).await?;
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
                let query = sqlx::query(orphans).bind(cutoff).bind(batch);
                let deleted = self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await?;
                collected.orphans += deleted;
                if deleted == 0 {
                    break;
                }
            }
        }
        Ok(collected)
    }

    async fn collect_batch(&self, cutoff: i64, application: &str, batch: i64) -> Result<Vec<String>> {
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let doomed: Vec<String> = sqlx::query_scalar(DOOMED)
                .bind(cutoff)
                .bind(application)
                .bind(batch)
                .fetch_all(&mut *transaction)
                .await?;
            let ids = Value::from(doomed.clone()).to_string();
            for statement in COLLECT {
                sqlx::query(statement).bind(&ids).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(doomed)
        })
        .await
    }
}
