//! The register of queues.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::Sqlite;
use crate::model::queue::QueueRow;
use crate::model::workflow::Identity;
use crate::store::error::StoreError;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An owned queue stays its owner's: the conflicting row is left alone, and the caller sees whose it is.
const REGISTER: &str = "\
INSERT INTO queues (queue_id, name, concurrency, worker_concurrency, rate_limit_max, rate_limit_period_sec,
    priority_enabled, partition_queue, polling_interval_sec, partition_concurrency, partition_worker_concurrency,
    partition_rate_limit_max, partition_rate_limit_period_sec, application_name)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, TRUE, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency, worker_concurrency = excluded.worker_concurrency,
    rate_limit_max = excluded.rate_limit_max, rate_limit_period_sec = excluded.rate_limit_period_sec,
    priority_enabled = TRUE, partition_queue = excluded.partition_queue,
    polling_interval_sec = excluded.polling_interval_sec, partition_concurrency = excluded.partition_concurrency,
    partition_worker_concurrency = excluded.partition_worker_concurrency,
    partition_rate_limit_max = excluded.partition_rate_limit_max,
    partition_rate_limit_period_sec = excluded.partition_rate_limit_period_sec,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    application_name = coalesce(queues.application_name, excluded.application_name)
WHERE ?14 AND (queues.application_name IS NULL OR excluded.application_name IS NULL
    OR queues.application_name = excluded.application_name)";

const OWNER: &str = "SELECT application_name FROM queues WHERE name = ?1";

/// If the row is still what it was read as, whatever type its values have.
const CHANGE: &str = "\
UPDATE queues SET concurrency = ?2, worker_concurrency = ?3, rate_limit_max = ?4, rate_limit_period_sec = ?5,
    partition_queue = ?6, polling_interval_sec = ?7, partition_concurrency = ?8, partition_worker_concurrency = ?9,
    partition_rate_limit_max = ?10, partition_rate_limit_period_sec = ?11,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE name = ?1 AND CAST(concurrency AS INTEGER) IS ?12 AND CAST(worker_concurrency AS INTEGER) IS ?13
    AND CAST(rate_limit_max AS INTEGER) IS ?14 AND CAST(rate_limit_period_sec AS REAL) IS ?15
    AND (CAST(partition_queue AS INTEGER) <> 0) = ?16 AND CAST(polling_interval_sec AS REAL) IS ?17
    AND CAST(partition_concurrency AS INTEGER) IS ?18 AND CAST(partition_worker_concurrency AS INTEGER) IS ?19
    AND CAST(partition_rate_limit_max AS INTEGER) IS ?20
    AND CAST(partition_rate_limit_period_sec AS REAL) IS ?21";

const DELETE: &str = "DELETE FROM queues WHERE name = ?1";

const QUEUE: &str = "\
SELECT name, concurrency, worker_concurrency, rate_limit_max, rate_limit_period_sec, partition_queue,
    polling_interval_sec, partition_concurrency, partition_worker_concurrency, partition_rate_limit_max,
    partition_rate_limit_period_sec, application_name
FROM queues WHERE name = ?1";

const QUEUES: &str = "\
SELECT name, concurrency, worker_concurrency, rate_limit_max, rate_limit_period_sec, partition_queue,
    polling_interval_sec, partition_concurrency, partition_worker_concurrency, partition_rate_limit_max,
    partition_rate_limit_period_sec, application_name
FROM queues WHERE ?1 IS NULL OR application_name = ?1 OR application_name IS NULL ORDER BY name";

impl Sqlite {
    pub(crate) async fn register_queue(
        &self,
        id: &str,
        row: &QueueRow,
        update: bool,
    ) -> Result<Option<String>> {
        let insert = sqlx::query(REGISTER).bind(id).bind(&row.name);
        let insert = insert.bind(row.concurrency).bind(row.worker_concurrency);
        let insert = insert.bind(row.rate_limit_max).bind(row.rate_limit_period);
        let insert = insert.bind(row.partition_queue).bind(row.polling_interval);
        let insert = insert.bind(row.partition_concurrency).bind(row.partition_worker_concurrency);
        let insert = insert.bind(row.partition_rate_limit_max).bind(row.partition_rate_limit_period);
        let insert = insert.bind(&row.application).bind(update);
        let owner = sqlx::query_scalar(OWNER).bind(&row.name);
        self.change(async |c| {
            insert.execute(&mut *c).await?;
            Ok(owner.fetch_optional(c).await?.flatten())
        })
        .await
    }

    pub(crate) async fn change_queue(&self, from: &QueueRow, to: &QueueRow) -> Result<bool> {
        let mut query = sqlx::query(CHANGE).bind(&to.name);
        for row in [to, from] {
            query = query.bind(row.concurrency).bind(row.worker_concurrency);
            query = query.bind(row.rate_limit_max).bind(row.rate_limit_period);
            query = query.bind(row.partition_queue).bind(row.polling_interval);
            query = query.bind(row.partition_concurrency).bind(row.partition_worker_concurrency);
            query = query.bind(row.partition_rate_limit_max).bind(row.partition_rate_limit_period);
        }
        self.change(async |c| Ok(query.execute(c).await?.rows_affected() == 1)).await
    }

    pub(crate) async fn delete_queue(&self, name: &str) -> Result<bool> {
        let query = sqlx::query(DELETE).bind(name);
        self.change(async |c| Ok(query.execute(c).await?.rows_affected() == 1)).await
    }

    pub(crate) async fn queue(&self, name: &str) -> Result<Option<QueueRow>> {
        let query = sqlx::query(QUEUE).bind(name);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(queue).transpose()).await
    }

    pub(crate) async fn queues(&self) -> Result<Vec<QueueRow>> {
        self.ask(async |c| listed(c, &self.identity).await).await
    }
}

/// The queues of this application, and those of nobody.
pub(super) async fn listed(
    connection: &mut SqliteConnection,
    identity: &Identity,
) -> Result<Vec<QueueRow>, sqlx::Error> {
    let query = sqlx::query(QUEUES).bind(&identity.application);
    query.fetch_all(connection).await?.iter().map(queue).collect()
}

/// Unchecked, as in `rows`.
fn queue(row: &SqliteRow) -> Result<QueueRow, sqlx::Error> {
    Ok(QueueRow {
        name: row.try_get_unchecked(0)?,
        concurrency: row.try_get_unchecked(1)?,
        worker_concurrency: row.try_get_unchecked(2)?,
        rate_limit_max: row.try_get_unchecked(3)?,
        rate_limit_period: row.try_get_unchecked(4)?,
        partition_queue: row.try_get_unchecked(5)?,
        polling_interval: row.try_get_unchecked(6)?,
        partition_concurrency: row.try_get_unchecked(7)?,
        partition_worker_concurrency: row.try_get_unchecked(8)?,
        partition_rate_limit_max: row.try_get_unchecked(9)?,
        partition_rate_limit_period: row.try_get_unchecked(10)?,
        application: row.try_get_unchecked(11)?,
    })
}
