//! Questions about workflows.

use sqlx::Row;

use super::{Postgres, rows};
use crate::ids::OwnerToken;
use crate::model::step::StepRow;
use crate::model::workflow::{Claimed, Ending, Fence, WorkflowRow};
use crate::store::error::StoreError;
use crate::time::Timestamp;

type Result<T> = std::result::Result<T, StoreError>;

const NOW: &str = "SELECT (EXTRACT(epoch FROM now()) * 1000)::int8";

const LOOK: &str = "\
SELECT workflow_uuid, status, name, executor_id, application_version, authenticated_user, authenticated_roles,
    attributes::text AS attributes, queue_name, parent_workflow_id, recovery_attempts, created_at, updated_at, completed_at
FROM {s}.workflow_status WHERE workflow_uuid = $1";

const ENDINGS: &str = "\
SELECT w.workflow_uuid, w.status, coalesce(o.output, w.output) AS output, coalesce(o.error, w.error) AS error, w.serialization
FROM {s}.workflow_status w LEFT JOIN {s}.workflow_output o USING (workflow_uuid)
WHERE w.workflow_uuid = ANY($1)";

const DISPLACED: &str = "\
SELECT r.id, w.status, (EXTRACT(epoch FROM now()) * 1000)::int8 AS now
FROM unnest($1::text[], $2::text[]) AS r(id, token)
LEFT JOIN {s}.workflow_status w ON w.workflow_uuid = r.id
WHERE w.owner_xid IS DISTINCT FROM r.token
UNION ALL SELECT NULL, NULL, (EXTRACT(epoch FROM now()) * 1000)::int8";

const RECOVER: &str = "\
UPDATE {s}.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL,
    updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, queue_name = coalesce(queue_name, $4)
WHERE status = 'PENDING' AND executor_id = $1 AND application_version = $2
    AND (application_name = $3 OR application_name IS NULL)";

/// Claims and reads in one statement all that is needed to run what was claimed.
///
/// The lock finds a row's newest version, everything else is read as of the statement's beginning. A row that was
/// claimed, run and given back in between would come with a history that misses its last steps, so it is left for the
/// next claim: `known` is the row as the history knows it.
const CLAIM: &str = "\
WITH picked AS (
    SELECT workflow_uuid, recovery_attempts, updated_at FROM {s}.workflow_status
    WHERE queue_name = $1 AND status = 'ENQUEUED' AND name = ANY($2)
        AND (application_name = $3 OR application_name IS NULL)
        AND (application_version = $4 OR (application_version IS NULL AND $4 = coalesce((
            SELECT version_name FROM {s}.application_versions WHERE application_name = $3 OR application_name IS NULL
            ORDER BY version_timestamp DESC LIMIT 1), $4)))
    ORDER BY priority, created_at LIMIT $7 FOR UPDATE SKIP LOCKED
), current AS (
    SELECT picked.workflow_uuid FROM picked JOIN {s}.workflow_status known USING (workflow_uuid)
    WHERE known.recovery_attempts IS NOT DISTINCT FROM picked.recovery_attempts AND known.updated_at = picked.updated_at
), claimed AS (
    UPDATE {s}.workflow_status w
    SET status = 'PENDING', owner_xid = $6, application_version = $4, executor_id = $5, application_name = $3,
        started_at_epoch_ms = (EXTRACT(epoch FROM now()) * 1000)::int8, rate_limited = FALSE,
        updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8,
        recovery_attempts = coalesce(w.recovery_attempts, 0) + 1
    FROM current WHERE w.workflow_uuid = current.workflow_uuid AND w.status = 'ENQUEUED'
    RETURNING w.*
)
SELECT c.workflow_uuid, c.name, c.class_name, c.config_name, coalesce(i.inputs, c.inputs) AS input, c.serialization, c.recovery_attempts,
    c.authenticated_user, c.authenticated_roles, (
    SELECT json_agg(json_build_array(o.function_id, o.function_name, o.output, o.error, o.child_workflow_id,
        o.started_at_epoch_ms, o.completed_at_epoch_ms, o.serialization))::text
    FROM {s}.operation_outputs o WHERE o.workflow_uuid = c.workflow_uuid
) AS history
FROM claimed c LEFT JOIN {s}.workflow_input i USING (workflow_uuid)
ORDER BY c.priority, c.created_at";

const PARK: &str = "\
UPDATE {s}.workflow_status
SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', owner_xid = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    queue_name = NULL, updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8,
    completed_at = (EXTRACT(epoch FROM now()) * 1000)::int8
WHERE workflow_uuid = $1 AND status = 'PENDING' AND owner_xid = $2";

const CANCEL: &str = "\
UPDATE {s}.workflow_status
SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, completed_at = (EXTRACT(epoch FROM now()) * 1000)::int8
WHERE workflow_uuid = $1 AND status NOT IN ('SUCCESS', 'ERROR')";

impl Postgres {
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let millis = self.ask(async |c| sqlx::query_scalar(NOW).fetch_one(c).await).await?;
        Ok(Timestamp::from_millis(millis))
    }

    pub(crate) async fn look(&self, id: &str) -> Result<Option<WorkflowRow>> {
        let query = sqlx::query(self.statements.get(LOOK)).bind(id);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(rows::workflow).transpose()).await
    }

    pub(crate) async fn endings(&self, ids: &[&str]) -> Result<Vec<Ending>> {
        let query = sqlx::query(self.statements.get(ENDINGS)).bind(ids);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::ending).collect()).await
    }

    pub(crate) async fn displaced(
        &self,
        fences: &[Fence],
    ) -> Result<(Timestamp, Vec<(String, Option<String>)>)> {
        let ids: Vec<&str> = fences.iter().map(|fence| fence.id.as_str()).collect();
        let tokens: Vec<&str> = fences.iter().map(|fence| fence.token.as_str()).collect();
        let query = sqlx::query(self.statements.get(DISPLACED)).bind(ids).bind(tokens);
        self.ask(async |c| {
            let mut displaced = Vec::new();
            let mut now = 0;
            for row in query.fetch_all(c).await? {
                now = row.try_get("now")?;
                if let Some(id) = row.try_get("id")? {
                    displaced.push((id, row.try_get("status")?));
                }
            }
            Ok((Timestamp::from_millis(now), displaced))
        })
        .await
    }

    pub(crate) async fn recover(&self, queue: &str) -> Result<u64> {
        let identity = &self.identity;
        let query =
            sqlx::query(self.statements.get(RECOVER)).bind(&identity.executor).bind(&identity.version);
        let query = query.bind(&identity.application).bind(queue);
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn claim(
        &self,
        queue: &str,
        names: &[String],
        token: &OwnerToken,
        most: i64,
    ) -> Result<Vec<Claimed>> {
        let identity = &self.identity;
        let query =
            sqlx::query(self.statements.get(CLAIM)).bind(queue).bind(names).bind(&identity.application);
        let query = query.bind(&identity.version).bind(&identity.executor).bind(token.as_str()).bind(most);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(claimed).collect()).await
    }

    pub(crate) async fn park(&self, fence: &Fence) -> Result<u64> {
        let query = sqlx::query(self.statements.get(PARK)).bind(fence.id.as_str()).bind(fence.token.as_str());
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<u64> {
        let query = sqlx::query(self.statements.get(CANCEL)).bind(id);
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }
}

fn claimed(row: &sqlx::postgres::PgRow) -> std::result::Result<Claimed, sqlx::Error> {
    let history: Option<String> = row.try_get("history")?;
    Ok(Claimed {
        id: row.try_get("workflow_uuid")?,
        name: row.try_get::<Option<String>, _>("name")?.unwrap_or_default(),
        class_name: row.try_get("class_name")?,
        config_name: row.try_get("config_name")?,
        input: row.try_get("input")?,
        serialization: row.try_get("serialization")?,
        attempts: row.try_get::<Option<i64>, _>("recovery_attempts")?.unwrap_or_default(),
        user: row.try_get("authenticated_user")?,
        roles: row.try_get("authenticated_roles")?,
        history: history.as_deref().map_or_else(|| Ok(Vec::new()), recorded)?,
    })
}

type Recorded =
    (i32, String, Option<String>, Option<String>, Option<String>, Option<i64>, Option<i64>, Option<String>);

fn recorded(json: &str) -> std::result::Result<Vec<StepRow>, sqlx::Error> {
    let rows: Vec<Recorded> =
        serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let step = |(number, name, output, error, child, started, completed, serialization)| StepRow {
        number,
        name,
        output,
        error,
        child,
        started,
        completed,
        serialization,
    };
    Ok(rows.into_iter().map(step).collect())
}
