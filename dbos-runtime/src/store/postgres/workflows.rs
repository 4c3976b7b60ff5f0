//! Questions about workflows.

use sqlx::Row;

use super::{Postgres, rows};
use crate::model::workflow::{Ending, Fence};
use crate::store::error::StoreError;
use crate::time::Timestamp;

type Result<T> = std::result::Result<T, StoreError>;

const NOW: &str = "SELECT (EXTRACT(epoch FROM now()) * 1000)::int8";

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

/// Back on its queue, or on `$4`: what is pending, of this version and application, whoever ran it. What a process that
/// lives has under the same name is its own.
macro_rules! recover {
    ($which:literal) => {
        concat!(
            "UPDATE {s}.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL,
    updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, queue_name = coalesce(nullif(queue_name, ''), $4)
WHERE status = 'PENDING' AND application_version = $2 AND (application_name = $3 OR application_name IS NULL)
    AND NOT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND ((classid::int8 << 32) | objid::int8)::text = split_part(owner_xid, '@', 2)
    ) AND ",
            $which
        )
    };
}

const RECOVER: &str = recover!("executor_id = $1");

const RECOVER_OF: &str =
    recover!("executor_id = ANY($1) AND workflow_uuid <> ALL($5) RETURNING workflow_uuid");

const PARK: &str = "\
UPDATE {s}.workflow_status
SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', owner_xid = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    queue_name = NULL, updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8,
    completed_at = (EXTRACT(epoch FROM now()) * 1000)::int8
WHERE workflow_uuid = $1 AND status = 'PENDING' AND owner_xid = $2";

impl Postgres {
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let millis = self.ask(async |c| sqlx::query_scalar(NOW).fetch_one(c).await).await?;
        Ok(Timestamp::from_millis(millis))
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

    pub(crate) async fn recover_of(
        &self,
        executors: &[String],
        spare: &[String],
        queue: &str,
    ) -> Result<Vec<String>> {
        let identity = &self.identity;
        let query = sqlx::query_scalar(self.statements.get(RECOVER_OF)).bind(executors);
        let query = query.bind(&identity.version).bind(&identity.application).bind(queue).bind(spare);
        self.ask(async |c| query.fetch_all(c).await).await
    }

    pub(crate) async fn park(&self, fence: &Fence) -> Result<u64> {
        let query = sqlx::query(self.statements.get(PARK)).bind(fence.id.as_str()).bind(fence.token.as_str());
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }
}
