//! The look that every process takes once a second, in one statement.

use serde::Deserialize;
use sqlx::Row;

use super::Postgres;
use crate::model::peer::Peers;
use crate::model::queue::{QueueRow, Tick};
use crate::store::error::StoreError;

/// How many are released, and how many cancelled, by one look: what it holds locked should not be too much. More follow
/// at once.
const RELEASED: i64 = 10_000;
const EXPIRED: usize = 1000;

/// Releases what is due, cancels what is out of time, and walks the names of queues, one index probe each, to those that
/// have something for this process.
///
/// A peer that is at the same rows has them locked, and they are passed over. The walk sees the rows as they were before
/// the release, so the released ones' queues are added to it.
const TICK: &str = "\
WITH RECURSIVE released AS (
    UPDATE {s}.workflow_status SET status = 'ENQUEUED',
        deduplication_id = CASE WHEN is_debounced THEN NULL ELSE deduplication_id END
    WHERE status = 'DELAYED' AND workflow_uuid IN (
        SELECT workflow_uuid FROM {s}.workflow_status
        WHERE status = 'DELAYED' AND delay_until_epoch_ms <= (EXTRACT(epoch FROM now()) * 1000)::int8
            AND (workflow_deadline_epoch_ms IS NULL
                OR workflow_deadline_epoch_ms > (EXTRACT(epoch FROM now()) * 1000)::int8)
            AND (application_name = $1 OR application_name IS NULL)
        ORDER BY delay_until_epoch_ms LIMIT 10000 FOR UPDATE SKIP LOCKED)
    RETURNING queue_name
), expired AS (
    UPDATE {s}.workflow_status SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL, deduplication_id = NULL,
        started_at_epoch_ms = NULL, updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8,
        completed_at = (EXTRACT(epoch FROM now()) * 1000)::int8
    WHERE status IN ('ENQUEUED', 'PENDING', 'DELAYED') AND workflow_uuid IN (
        SELECT workflow_uuid FROM {s}.workflow_status
        WHERE status IN ('ENQUEUED', 'PENDING', 'DELAYED')
            AND workflow_deadline_epoch_ms <= (EXTRACT(epoch FROM now()) * 1000)::int8
            AND (application_name = $1 OR application_name IS NULL)
        ORDER BY workflow_deadline_epoch_ms LIMIT 1000 FOR UPDATE SKIP LOCKED)
    RETURNING workflow_uuid
), walk(name) AS (
    (SELECT queue_name FROM {s}.workflow_status WHERE status IN ('ENQUEUED', 'PENDING') AND queue_name IS NOT NULL
        ORDER BY queue_name LIMIT 1)
    UNION ALL
    SELECT (SELECT n.queue_name FROM {s}.workflow_status n
        WHERE n.status IN ('ENQUEUED', 'PENDING') AND n.queue_name > walk.name ORDER BY n.queue_name LIMIT 1)
    FROM walk WHERE walk.name IS NOT NULL
), held AS MATERIALIZED (
    SELECT ((classid::int8 << 32) | objid::int8)::text AS lock FROM pg_locks
    WHERE $4::int8 IS NOT NULL AND locktype = 'advisory' AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), latest AS MATERIALIZED (
    SELECT coalesce((SELECT version_name FROM {s}.application_versions
        WHERE application_name = $1 OR application_name IS NULL ORDER BY version_timestamp DESC LIMIT 1), $2) = $2 AS mine
)
SELECT (EXTRACT(epoch FROM now()) * 1000)::int8 AS now,
    (SELECT count(*) FROM released) AS released, ARRAY(SELECT workflow_uuid FROM expired) AS expired,
    ARRAY(SELECT queue_name FROM released WHERE queue_name IS NOT NULL
        UNION
        SELECT name FROM walk WHERE name IS NOT NULL AND EXISTS (
            SELECT FROM {s}.workflow_status w
            WHERE w.queue_name = walk.name AND w.status = 'ENQUEUED'
                AND concat(w.name, chr(31), w.config_name) = ANY($3)
                AND (w.application_name = $1 OR w.application_name IS NULL)
                AND (w.application_version = $2
                    OR (w.application_version IS NULL AND (SELECT mine FROM latest))))) AS ready,
    (SELECT json_agg(json_build_object('name', name, 'concurrency', concurrency, 'worker_concurrency', worker_concurrency,
        'rate_limit_max', rate_limit_max, 'rate_limit_period', rate_limit_period_sec::text,
        'partition_queue', partition_queue, 'polling_interval', polling_interval_sec::text,
        'partition_concurrency', partition_concurrency, 'partition_worker_concurrency', partition_worker_concurrency,
        'partition_rate_limit_max', partition_rate_limit_max,
        'partition_rate_limit_period', partition_rate_limit_period_sec::text, 'application', application_name))::text
     FROM {s}.queues WHERE application_name = $1 OR application_name IS NULL) AS queues,
    (SELECT md5(string_agg(concat_ws('|', schedule_id, status, schedule, cron_timezone, workflow_name,
        workflow_class_name, queue_name, automatic_backfill, md5(context)), ',' ORDER BY schedule_id))
     FROM {s}.workflow_schedules WHERE application_name = $1 OR application_name IS NULL) AS schedules,
    EXISTS (SELECT FROM held WHERE lock = $4::text) AS present,
    CASE WHEN $4 IS NOT NULL THEN ARRAY(
        SELECT DISTINCT split_part(owner_xid, '@', 2) FROM {s}.workflow_status
        WHERE status = 'PENDING' AND owner_xid LIKE '%@%' AND (application_name = $1 OR application_name IS NULL)
            AND NOT EXISTS (SELECT FROM held WHERE lock = split_part(owner_xid, '@', 2))) END AS dead";

impl Postgres {
    pub(crate) async fn tick(&self, names: &[String], own: Option<i64>) -> Result<Tick, StoreError> {
        let identity = &self.identity;
        let query = sqlx::query(self.statements.get(TICK));
        let query = query.bind(&identity.application).bind(&identity.version).bind(names).bind(own);
        self.ask(async |c| {
            let row = query.fetch_one(c).await?;
            let queues: Option<String> = row.try_get("queues")?;
            let queues: Vec<Listed> = match queues {
                Some(json) => {
                    serde_json::from_str(&json).map_err(|error| sqlx::Error::Decode(error.into()))?
                }
                None => Vec::new(),
            };
            let dead: Option<Vec<String>> = row.try_get("dead")?;
            let present = row.try_get("present")?;
            // What is not a number was not written by us.
            let locks = |dead: Vec<String>| dead.iter().filter_map(|lock| lock.parse().ok()).collect();
            let released = row.try_get("released")?;
            let expired: Vec<String> = row.try_get("expired")?;
            Ok(Tick {
                more: released >= RELEASED || expired.len() >= EXPIRED,
                peers: dead.map(|dead| Peers { present, dead: locks(dead) }),
                now: row.try_get("now")?,
                schedules: row.try_get("schedules")?,
                queues: queues.into_iter().map(QueueRow::from).collect(),
                ready: row.try_get("ready")?,
                released,
                expired,
            })
        })
        .await
    }
}

/// A queue's row as JSON. Fractions are texts: JSON has no NaN, and a foreign row may.
#[derive(Deserialize)]
struct Listed {
    name: String,
    concurrency: Option<i64>,
    worker_concurrency: Option<i64>,
    rate_limit_max: Option<i64>,
    rate_limit_period: Option<String>,
    partition_queue: bool,
    polling_interval: Option<String>,
    partition_concurrency: Option<i64>,
    partition_worker_concurrency: Option<i64>,
    partition_rate_limit_max: Option<i64>,
    partition_rate_limit_period: Option<String>,
    application: Option<String>,
}

impl From<Listed> for QueueRow {
    fn from(listed: Listed) -> Self {
        let fraction = |text: Option<String>| text.and_then(|text| text.parse().ok());
        Self {
            name: listed.name,
            concurrency: listed.concurrency,
            worker_concurrency: listed.worker_concurrency,
            rate_limit_max: listed.rate_limit_max,
            rate_limit_period: fraction(listed.rate_limit_period),
            partition_queue: listed.partition_queue,
            polling_interval: fraction(listed.polling_interval),
            partition_concurrency: listed.partition_concurrency,
            partition_worker_concurrency: listed.partition_worker_concurrency,
            partition_rate_limit_max: listed.partition_rate_limit_max,
            partition_rate_limit_period: fraction(listed.partition_rate_limit_period),
            application: listed.application,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_has_the_portions() {
        assert!(TICK.contains(&format!("ORDER BY delay_until_epoch_ms LIMIT {RELEASED} FOR")));
        assert!(TICK.contains(&format!("ORDER BY workflow_deadline_epoch_ms LIMIT {EXPIRED} FOR")));
    }
}
