//! Questions about workflows.

use sqlx::Row;

use super::values::Values;
use super::{Sqlite, rows};
use crate::model::workflow::{Ending, Fence};
use crate::store::error::StoreError;
use crate::time::Timestamp;

type Result<T, E = StoreError> = std::result::Result<T, E>;

const NOW: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";

const ENDINGS: &str = "\
WITH f(id) AS (VALUES {rows})
SELECT w.workflow_uuid, w.status, coalesce(o.output, w.output) AS output, coalesce(o.error, w.error) AS error, w.serialization
FROM f JOIN workflow_status w ON w.workflow_uuid = f.id LEFT JOIN workflow_output o ON o.workflow_uuid = f.id";

const DISPLACED: &str = "\
WITH r(id, token) AS (VALUES {rows})
SELECT r.id, w.status FROM r LEFT JOIN workflow_status w ON w.workflow_uuid = r.id
WHERE w.owner_xid IS NOT r.token";

/// Back on its queue, or on `?4`: what is pending, of this version and application, whoever ran it.
macro_rules! recover {
    ($which:literal) => {
        concat!(
            "UPDATE workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER), queue_name = coalesce(nullif(queue_name, ''), ?4)
WHERE status = 'PENDING' AND application_version = ?2 AND (application_name = ?3 OR application_name IS NULL)
    AND ",
            $which
        )
    };
}

const RECOVER: &str = recover!("executor_id = ?1");

const RECOVER_OF: &str = recover!(
    "executor_id IN (SELECT value FROM json_each(?1))
    AND workflow_uuid NOT IN (SELECT value FROM json_each(?5)) RETURNING workflow_uuid"
);

const PARK: &str = "\
UPDATE workflow_status
SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', owner_xid = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    queue_name = NULL, updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    completed_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE workflow_uuid = ?1 AND status = 'PENDING' AND owner_xid = ?2";

impl Sqlite {
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let millis = self.ask(async |c| sqlx::query_scalar(NOW).fetch_one(c).await).await?;
        Ok(Timestamp::from_millis(millis))
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

    pub(crate) async fn recover_of(
        &self,
        executors: &[String],
        spare: &[String],
        queue: &str,
    ) -> Result<Vec<String>> {
        let identity = &self.identity;
        let list = |texts: &[String]| serde_json::to_string(texts).unwrap_or_default();
        let query = sqlx::query_scalar(RECOVER_OF).bind(list(executors)).bind(&identity.version);
        let query = query.bind(&identity.application).bind(queue).bind(list(spare));
        self.change(async |c| query.fetch_all(c).await).await
    }

    pub(crate) async fn park(&self, fence: &Fence) -> Result<u64> {
        let query = sqlx::query(PARK).bind(fence.id.as_str()).bind(fence.token.as_str());
        self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }
}
