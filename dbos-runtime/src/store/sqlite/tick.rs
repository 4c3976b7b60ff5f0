//! The look that every process takes once a second. It only reads, unless something is due.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::{Sqlite, queues};
use crate::model::queue::Tick;
use crate::store::error::StoreError;

const NOW: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// A row that is due: its delay has passed, or its deadline.
const DUE: &str = "\
SELECT EXISTS (SELECT 1 FROM workflow_status WHERE status = 'DELAYED'
        AND delay_until_epoch_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
        AND (application_name = ?1 OR application_name IS NULL))
    OR EXISTS (SELECT 1 FROM workflow_status
        WHERE status IN ('ENQUEUED','PENDING','DELAYED') AND workflow_deadline_epoch_ms IS NOT NULL
        AND workflow_deadline_epoch_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
        AND (application_name = ?1 OR application_name IS NULL))";

const EXPIRE: &str = "\
UPDATE workflow_status SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL, deduplication_id = NULL,
    started_at_epoch_ms = NULL, updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    completed_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE status IN ('ENQUEUED','PENDING','DELAYED') AND workflow_deadline_epoch_ms IS NOT NULL
    AND workflow_deadline_epoch_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
    AND (application_name = ?1 OR application_name IS NULL)
RETURNING workflow_uuid";

const RELEASE: &str = "\
UPDATE workflow_status SET status = 'ENQUEUED',
    deduplication_id = CASE WHEN is_debounced THEN NULL ELSE deduplication_id END
WHERE status = 'DELAYED' AND delay_until_epoch_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
    AND (application_name = ?1 OR application_name IS NULL)";

const READY: &str = "\
WITH RECURSIVE walk(name) AS (
    SELECT min(queue_name) FROM workflow_status WHERE status IN ('ENQUEUED','PENDING')
    UNION ALL
    SELECT (SELECT min(n.queue_name) FROM workflow_status n
        WHERE n.status IN ('ENQUEUED','PENDING') AND n.queue_name > walk.name)
    FROM walk WHERE walk.name IS NOT NULL
)
SELECT name FROM walk WHERE name IS NOT NULL AND EXISTS (
    SELECT 1 FROM workflow_status w
    WHERE w.queue_name = walk.name AND w.status = 'ENQUEUED' AND w.status IN ('ENQUEUED','PENDING')
        AND w.name || char(31) || coalesce(w.config_name, '') IN (SELECT value FROM json_each(?3))
        AND (w.application_name = ?1 OR w.application_name IS NULL)
        AND (w.application_version = ?2 OR (w.application_version IS NULL AND ?2 = coalesce((
            SELECT version_name FROM application_versions WHERE application_name = ?1 OR application_name IS NULL
            ORDER BY version_timestamp DESC LIMIT 1), ?2))))";

const SCHEDULES: &str = "\
SELECT group_concat(facts, ',') FROM (
    SELECT concat_ws('|', schedule_id, status, schedule, cron_timezone, workflow_name, workflow_class_name, queue_name,
        automatic_backfill, context) AS facts
    FROM workflow_schedules WHERE application_name = ?1 OR application_name IS NULL ORDER BY schedule_id)";

impl Sqlite {
    pub(crate) async fn tick(&self, names: &[String], _own: Option<i64>) -> Result<Tick, StoreError> {
        let identity = &self.identity;
        let names = serde_json::to_string(names).unwrap_or_default();
        let due = sqlx::query_scalar(DUE).bind(&identity.application);
        let due: bool = self.ask(async |c| due.fetch_one(c).await).await?;
        let (expired, released) = if due { self.release().await? } else { Default::default() };
        let ready =
            sqlx::query_scalar(READY).bind(&identity.application).bind(&identity.version).bind(&names);
        let schedules = sqlx::query_scalar(SCHEDULES).bind(&identity.application);
        self.ask(async |c| {
            Ok(Tick {
                schedules: schedules.fetch_one(&mut *c).await?,
                now: sqlx::query_scalar(NOW).fetch_one(&mut *c).await?,
                queues: queues::listed(c, identity).await?,
                ready: ready.fetch_all(c).await?,
                released,
                expired,
                more: false,
                // A file has no sessions whose end could be noticed, so nobody is judged here.
                peers: None,
            })
        })
        .await
    }

    async fn release(&self) -> Result<(Vec<String>, i64), StoreError> {
        let application = &self.identity.application;
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let released = release(&mut transaction, application.as_deref()).await?;
            transaction.commit().await?;
            Ok(released)
        })
        .await
    }
}

/// Deadlines first: what is out of time is not released any more.
async fn release(
    connection: &mut SqliteConnection,
    application: Option<&str>,
) -> Result<(Vec<String>, i64), sqlx::Error> {
    let expired = sqlx::query(EXPIRE).bind(application).fetch_all(&mut *connection).await?;
    let expired = expired.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let released = sqlx::query(RELEASE).bind(application).execute(connection).await?.rows_affected();
    Ok((expired, i64::try_from(released).unwrap_or(i64::MAX)))
}
