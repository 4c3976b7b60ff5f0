//! The register of queues.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::Postgres;
use crate::model::queue::QueueRow;
use crate::store::error::StoreError;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An owned queue stays its owner's: the conflicting row is left alone, and the caller sees whose it is.
const REGISTER: &str = "\
INSERT INTO {s}.queues (queue_id, name, concurrency, worker_concurrency, rate_limit_max, rate_limit_period_sec,
    priority_enabled, partition_queue, polling_interval_sec, partition_concurrency, partition_worker_concurrency,
    partition_rate_limit_max, partition_rate_limit_period_sec, application_name)
VALUES ($1, $2, $3, $4, $5, $6, TRUE, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (name) DO UPDATE SET concurrency = EXCLUDED.concurrency, worker_concurrency = EXCLUDED.worker_concurrency,
    rate_limit_max = EXCLUDED.rate_limit_max, rate_limit_period_sec = EXCLUDED.rate_limit_period_sec,
    priority_enabled = TRUE, partition_queue = EXCLUDED.partition_queue,
    polling_interval_sec = EXCLUDED.polling_interval_sec, partition_concurrency = EXCLUDED.partition_concurrency,
    partition_worker_concurrency = EXCLUDED.partition_worker_concurrency,
    partition_rate_limit_max = EXCLUDED.partition_rate_limit_max,
    partition_rate_limit_period_sec = EXCLUDED.partition_rate_limit_period_sec,
    updated_at = (EXTRACT(epoch FROM clock_timestamp()) * 1000)::int8,
    application_name = coalesce({s}.queues.application_name, EXCLUDED.application_name)
WHERE $14 AND ({s}.queues.application_name IS NULL OR EXCLUDED.application_name IS NULL
    OR {s}.queues.application_name = EXCLUDED.application_name)";

const OWNER: &str = "SELECT application_name FROM {s}.queues WHERE name = $1";

const CHANGE: &str = "\
UPDATE {s}.queues SET concurrency = $2, worker_concurrency = $3, rate_limit_max = $4, rate_limit_period_sec = $5,
    partition_queue = $6, polling_interval_sec = $7, partition_concurrency = $8, partition_worker_concurrency = $9,
    partition_rate_limit_max = $10, partition_rate_limit_period_sec = $11,
    updated_at = (EXTRACT(epoch FROM clock_timestamp()) * 1000)::int8
WHERE name = $1 AND concurrency IS NOT DISTINCT FROM $12 AND worker_concurrency IS NOT DISTINCT FROM $13
    AND rate_limit_max IS NOT DISTINCT FROM $14 AND rate_limit_period_sec IS NOT DISTINCT FROM $15
    AND partition_queue = $16 AND polling_interval_sec IS NOT DISTINCT FROM $17
    AND partition_concurrency IS NOT DISTINCT FROM $18 AND partition_worker_concurrency IS NOT DISTINCT FROM $19
    AND partition_rate_limit_max IS NOT DISTINCT FROM $20
    AND partition_rate_limit_period_sec IS NOT DISTINCT FROM $21";

const DELETE: &str = "DELETE FROM {s}.queues WHERE name = $1";

const QUEUE: &str = "\
SELECT name, concurrency::int8, worker_concurrency::int8, rate_limit_max::int8, rate_limit_period_sec, partition_queue,
    polling_interval_sec, partition_concurrency::int8, partition_worker_concurrency::int8, partition_rate_limit_max::int8,
    partition_rate_limit_period_sec, application_name
FROM {s}.queues WHERE name = $1";

const QUEUES: &str = "\
SELECT name, concurrency::int8, worker_concurrency::int8, rate_limit_max::int8, rate_limit_period_sec, partition_queue,
    polling_interval_sec, partition_concurrency::int8, partition_worker_concurrency::int8, partition_rate_limit_max::int8,
    partition_rate_limit_period_sec, application_name
FROM {s}.queues WHERE $1::text IS NULL OR application_name = $1 OR application_name IS NULL ORDER BY name";

impl Postgres {
    pub(crate) async fn register_queue(
        &self,
        id: &str,
        row: &QueueRow,
        update: bool,
    ) -> Result<Option<String>> {
        let insert = sqlx::query(self.statements.get(REGISTER)).bind(id).bind(&row.name);
        let insert = insert.bind(int(row.concurrency)).bind(int(row.worker_concurrency));
        let insert = insert.bind(int(row.rate_limit_max)).bind(row.rate_limit_period);
        let insert = insert.bind(row.partition_queue).bind(row.polling_interval);
        let insert = insert.bind(int(row.partition_concurrency)).bind(int(row.partition_worker_concurrency));
        let insert = insert.bind(int(row.partition_rate_limit_max)).bind(row.partition_rate_limit_period);
        let insert = insert.bind(&row.application).bind(update);
        let owner = sqlx::query_scalar(self.statements.get(OWNER)).bind(&row.name);
        self.ask(async |c| {
            insert.execute(&mut *c).await?;
            Ok(owner.fetch_optional(c).await?.flatten())
        })
        .await
    }

    pub(crate) async fn change_queue(&self, from: &QueueRow, to: &QueueRow) -> Result<bool> {
        let mut query = sqlx::query(self.statements.get(CHANGE)).bind(&to.name);
        for row in [to, from] {
            query = query.bind(int(row.concurrency)).bind(int(row.worker_concurrency));
            query = query.bind(int(row.rate_limit_max)).bind(row.rate_limit_period);
            query = query.bind(row.partition_queue).bind(row.polling_interval);
            query = query.bind(int(row.partition_concurrency)).bind(int(row.partition_worker_concurrency));
            query = query.bind(int(row.partition_rate_limit_max)).bind(row.partition_rate_limit_period);
        }
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected() == 1)).await
    }

    pub(crate) async fn delete_queue(&self, name: &str) -> Result<bool> {
        let query = sqlx::query(self.statements.get(DELETE)).bind(name);
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected() == 1)).await
    }

    pub(crate) async fn queue(&self, name: &str) -> Result<Option<QueueRow>> {
        let query = sqlx::query(self.statements.get(QUEUE)).bind(name);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(queue).transpose()).await
    }

    pub(crate) async fn queues(&self) -> Result<Vec<QueueRow>> {
        let query = sqlx::query(self.statements.get(QUEUES)).bind(&self.identity.application);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(queue).collect()).await
    }
}

/// The columns hold 32 bits; what is larger was refused before.
fn int(value: Option<i64>) -> Option<i32> {
    value.map(|value| i32::try_from(value).unwrap_or(i32::MAX))
}

fn queue(row: &PgRow) -> Result<QueueRow, sqlx::Error> {
    Ok(QueueRow {
        name: row.try_get(0)?,
        concurrency: row.try_get(1)?,
        worker_concurrency: row.try_get(2)?,
        rate_limit_max: row.try_get(3)?,
        rate_limit_period: row.try_get(4)?,
        partition_queue: row.try_get(5)?,
        polling_interval: row.try_get(6)?,
        partition_concurrency: row.try_get(7)?,
        partition_worker_concurrency: row.try_get(8)?,
        partition_rate_limit_max: row.try_get(9)?,
        partition_rate_limit_period: row.try_get(10)?,
        application: row.try_get(11)?,
    })
}
