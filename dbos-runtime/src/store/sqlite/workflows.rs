//! Questions about workflows.

use std::collections::HashMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Executor, Row};

use super::values::Values;
use super::{Sqlite, rows};
use crate::ids::OwnerToken;
use crate::model::step::StepRow;
use crate::model::workflow::{Claimed, Ending, Fence, Identity, WorkflowRow};
use crate::store::error::StoreError;
use crate::time::Timestamp;

type Result<T, E = StoreError> = std::result::Result<T, E>;

const NOW: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";

const LOOK: &str = "\
SELECT workflow_uuid, status, name, executor_id, application_version, authenticated_user, authenticated_roles,
    attributes, queue_name, parent_workflow_id, recovery_attempts, created_at, updated_at, completed_at
FROM workflow_status WHERE workflow_uuid = ?1";

const ENDINGS: &str = "\
WITH f(id) AS (VALUES {rows})
SELECT w.workflow_uuid, w.status, coalesce(o.output, w.output) AS output, coalesce(o.error, w.error) AS error, w.serialization
FROM f JOIN workflow_status w ON w.workflow_uuid = f.id LEFT JOIN workflow_output o ON o.workflow_uuid = f.id";

const DISPLACED: &str = "\
WITH r(id, token) AS (VALUES {rows})
SELECT r.id, w.status FROM r LEFT JOIN workflow_status w ON w.workflow_uuid = r.id
WHERE w.owner_xid IS NOT r.token";

const RECOVER: &str = "\
UPDATE workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER), queue_name = coalesce(queue_name, ?4)
WHERE status = 'PENDING' AND executor_id = ?1 AND application_version = ?2
    AND (application_name = ?3 OR application_name IS NULL)";

const PICK: &str = "\
SELECT w.workflow_uuid, w.name, w.class_name, w.config_name, coalesce(i.inputs, w.inputs) AS input, w.serialization,
    w.recovery_attempts, w.authenticated_user, w.authenticated_roles
FROM workflow_status w LEFT JOIN workflow_input i USING (workflow_uuid)
WHERE w.queue_name = ?1 AND w.status = 'ENQUEUED' AND w.status IN ('ENQUEUED','PENDING')
    AND w.name IN (SELECT value FROM json_each(?2))
    AND (w.application_name = ?3 OR w.application_name IS NULL)
    AND (w.application_version = ?4 OR (w.application_version IS NULL AND ?4 = coalesce((
        SELECT version_name FROM application_versions WHERE application_name = ?3 OR application_name IS NULL
        ORDER BY version_timestamp DESC LIMIT 1), ?4)))
ORDER BY w.priority, w.created_at LIMIT ?5";

const CLAIM: &str = "\
UPDATE workflow_status
SET status = 'PENDING', owner_xid = ?2, application_version = ?3, executor_id = ?4, application_name = ?5,
    started_at_epoch_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER), rate_limited = FALSE,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER), recovery_attempts = coalesce(recovery_attempts, 0) + 1
WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const HISTORIES: &str = "\
SELECT workflow_uuid, function_id, function_name, output, error, child_workflow_id, started_at_epoch_ms,
    completed_at_epoch_ms, serialization
FROM operation_outputs WHERE workflow_uuid IN (SELECT value FROM json_each(?1)) ORDER BY workflow_uuid, function_id";

const PARK: &str = "\
UPDATE workflow_status
SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', owner_xid = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    queue_name = NULL, updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    completed_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE workflow_uuid = ?1 AND status = 'PENDING' AND owner_xid = ?2";

const CANCEL: &str = "\
UPDATE workflow_status
SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    completed_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE workflow_uuid = ?1 AND status NOT IN ('SUCCESS', 'ERROR')";

impl Sqlite {
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let millis = self.ask(async |c| sqlx::query_scalar(NOW).fetch_one(c).await).await?;
        Ok(Timestamp::from_millis(millis))
    }

    pub(crate) async fn look(&self, id: &str) -> Result<Option<WorkflowRow>> {
        let query = sqlx::query(LOOK).bind(id);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(rows::workflow).transpose()).await
    }

    pub(crate) async fn endings(&self, ids: &[&str]) -> Result<Vec<Ending>> {
        self.ask(async |c| {
            let rows = Values::default().fetch(c, ENDINGS, 1, ids, |query, id| query.bind(*id)).await?;
            rows.iter().map(rows::ending).collect()
        })
        .await
    }

    pub(crate) async fn displaced(
        &self,
        fences: &[Fence],
    ) -> Result<(Timestamp, Vec<(String, Option<String>)>)> {
        self.ask(async |c| {
            let rows = Values::default()
                .fetch(c, DISPLACED, 2, fences, |query, fence| {
                    query.bind(fence.id.as_str()).bind(fence.token.as_str())
                })
                .await?;
            let displaced = rows
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect::<Result<_, sqlx::Error>>()?;
            let now = sqlx::query_scalar(NOW).fetch_one(c).await?;
            Ok((Timestamp::from_millis(now), displaced))
        })
        .await
    }

    pub(crate) async fn recover(&self, queue: &str) -> Result<u64> {
        let identity = &self.identity;
        let query = sqlx::query(RECOVER).bind(&identity.executor).bind(&identity.version);
        let query = query.bind(&identity.application).bind(queue);
        self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn claim(
        &self,
        queue: &str,
        names: &[String],
        token: &OwnerToken,
        most: i64,
    ) -> Result<Vec<Claimed>> {
        let names = serde_json::to_string(names).unwrap_or_default();
        let empty = self.ask(async |c| pick(c, queue, &names, &self.identity, 1).await).await?.is_empty();
        if empty {
            // Nothing to claim: the file is not locked for it.
            return Ok(Vec::new());
        }
        self.change(async |c| {
            c.execute("BEGIN IMMEDIATE").await?;
            let claimed = claim(c, queue, &names, &self.identity, token, most).await;
            c.execute(if claimed.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
            claimed
        })
        .await
    }

    pub(crate) async fn park(&self, fence: &Fence) -> Result<u64> {
        let query = sqlx::query(PARK).bind(fence.id.as_str()).bind(fence.token.as_str());
        self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<u64> {
        let query = sqlx::query(CANCEL).bind(id);
        self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }
}

async fn pick(
    connection: &mut SqliteConnection,
    queue: &str,
    names: &str,
    identity: &Identity,
    most: i64,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let query = sqlx::query(PICK).bind(queue).bind(names).bind(&identity.application);
    query.bind(&identity.version).bind(most).fetch_all(connection).await
}

async fn claim(
    connection: &mut SqliteConnection,
    queue: &str,
    names: &str,
    identity: &Identity,
    token: &OwnerToken,
    most: i64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let picked = pick(connection, queue, names, identity, most).await?;
    let ids: Vec<String> = picked.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let ids = serde_json::to_string(&ids).unwrap_or_default();
    let update = sqlx::query(CLAIM).bind(&ids).bind(token.as_str()).bind(&identity.version);
    update.bind(&identity.executor).bind(&identity.application).execute(&mut *connection).await?;
    let mut histories: HashMap<String, Vec<StepRow>> = HashMap::new();
    for row in sqlx::query(HISTORIES).bind(&ids).fetch_all(&mut *connection).await? {
        histories.entry(row.try_get(0)?).or_default().push(rows::step(&row)?);
    }
    let claimed = |row: &SqliteRow| {
        let id: String = row.try_get(0)?;
        Ok(Claimed {
            history: histories.get(&id).cloned().unwrap_or_default(),
            id,
            name: row.try_get::<Option<String>, _>("name")?.unwrap_or_default(),
            class_name: row.try_get("class_name")?,
            config_name: row.try_get("config_name")?,
            input: row.try_get("input")?,
            serialization: row.try_get("serialization")?,
            attempts: row.try_get::<Option<i64>, _>("recovery_attempts")?.unwrap_or_default() + 1,
            user: row.try_get("authenticated_user")?,
            roles: row.try_get("authenticated_roles")?,
        })
    };
    picked.iter().map(claimed).collect()
}
