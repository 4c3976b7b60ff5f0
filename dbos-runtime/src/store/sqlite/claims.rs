//! Claims. There is no other writer meanwhile, so a claim counts first and takes what is left.

use std::collections::HashMap;

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row, Sqlite as Db};

use super::{Sqlite, rows};
use crate::ids::OwnerToken;
use crate::model::queue::{Claim, Queue, RateLimit};
use crate::model::step::StepRow;
use crate::model::workflow::{Claimed, Identity};
use crate::payload::Format;
use crate::store::error::StoreError;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A row that this process may run. The list of statuses is what proves the partial index usable.
macro_rules! eligible {
    () => {
        "w.queue_name = ?1 AND w.status = 'ENQUEUED' AND w.status IN ('ENQUEUED', 'PENDING')
    AND w.workflow_uuid IS NOT NULL
    AND w.name || char(31) || coalesce(w.config_name, '') IN (SELECT value FROM json_each(?2))
    AND (w.application_name = ?3 OR w.application_name IS NULL)
    AND (w.application_version = ?4 OR (w.application_version IS NULL AND ?4 = coalesce((
        SELECT version_name FROM application_versions WHERE application_name = ?3 OR application_name IS NULL
        ORDER BY version_timestamp DESC LIMIT 1), ?4)))"
    };
}

const PICK: &str = concat!(
    "SELECT w.workflow_uuid FROM workflow_status w WHERE ",
    eligible!(),
    " ORDER BY w.priority, w.created_at, w.workflow_uuid LIMIT ?5"
);

const PICK_OF_PARTITION: &str = concat!(
    "SELECT w.workflow_uuid FROM workflow_status w WHERE w.queue_partition_key = ?6 AND ",
    eligible!(),
    " ORDER BY w.priority, w.created_at, w.workflow_uuid LIMIT ?5"
);

/// The walk takes one probe of the index for each partition, however much waits in it. In any order, so that none waits for
/// ever behind the others.
const PARTITIONS: &str = "\
WITH RECURSIVE walk(key) AS (
    SELECT min(queue_partition_key) FROM workflow_status
    WHERE queue_name = ?1 AND status = 'ENQUEUED' AND status IN ('ENQUEUED', 'PENDING') AND queue_partition_key IS NOT NULL
    UNION ALL
    SELECT (SELECT min(n.queue_partition_key) FROM workflow_status n
        WHERE n.queue_name = ?1 AND n.status = 'ENQUEUED' AND n.status IN ('ENQUEUED', 'PENDING')
            AND n.queue_partition_key IS NOT NULL AND n.queue_partition_key > walk.key)
    FROM walk WHERE walk.key IS NOT NULL
)
SELECT key FROM walk WHERE key IS NOT NULL ORDER BY random() LIMIT 8192";

const RUNNING: &str = "\
SELECT count(*) FROM workflow_status WHERE queue_name = ?1 AND status = 'PENDING' AND status IN ('ENQUEUED', 'PENDING')
    AND (application_name = ?2 OR application_name IS NULL)";

const RUNNING_BY_PARTITION: &str = "\
SELECT queue_partition_key, count(*) FROM workflow_status
WHERE queue_name = ?1 AND status = 'PENDING' AND status IN ('ENQUEUED', 'PENDING') AND queue_partition_key IS NOT NULL
GROUP BY queue_partition_key";

const RECENT: &str = "\
SELECT count(*) FROM workflow_status WHERE queue_name = ?1 AND rate_limited = TRUE AND status NOT IN ('ENQUEUED', 'DELAYED')
    AND started_at_epoch_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?3
    AND (application_name = ?2 OR application_name IS NULL)";

const RECENT_BY_PARTITION: &str = "\
SELECT queue_partition_key, count(*) FROM workflow_status
WHERE queue_name = ?1 AND rate_limited = TRUE AND status NOT IN ('ENQUEUED', 'DELAYED')
    AND started_at_epoch_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?2 AND queue_partition_key IS NOT NULL
GROUP BY queue_partition_key";

const CLAIM: &str = "\
UPDATE workflow_status
SET status = 'PENDING', owner_xid = ?2, application_version = ?3, executor_id = ?4, application_name = ?5,
    started_at_epoch_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER), rate_limited = ?6,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER), 
    recovery_attempts = min(CAST(coalesce(recovery_attempts, 0) AS INTEGER), 9223372036854775806) + 1,
    workflow_deadline_epoch_ms = CASE
        WHEN workflow_timeout_ms IS NULL OR workflow_deadline_epoch_ms IS NOT NULL THEN workflow_deadline_epoch_ms
        WHEN workflow_timeout_ms > 9223372036854775807 - CAST(unixepoch('subsec') * 1000 AS INTEGER)
            THEN 9223372036854775807
        ELSE CAST(unixepoch('subsec') * 1000 AS INTEGER) + workflow_timeout_ms END
WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const CLAIMED: &str = "\
SELECT w.workflow_uuid, w.name, w.class_name, w.config_name, w.queue_partition_key, w.workflow_deadline_epoch_ms,
    coalesce(i.inputs, w.inputs) AS input, w.serialization, w.recovery_attempts, w.authenticated_user, w.authenticated_roles,
    CASE WHEN json_valid(w.attributes) THEN w.attributes -> '$.\"dbos.otelContext\"' END AS trace,
    CASE WHEN json_valid(w.attributes) THEN w.attributes -> '$.\"dbos.tenant\"' END AS tenant
FROM workflow_status w LEFT JOIN workflow_input i USING (workflow_uuid)
WHERE w.workflow_uuid IN (SELECT value FROM json_each(?1)) ORDER BY w.priority, w.created_at, w.workflow_uuid";

const HISTORIES: &str = "\
SELECT workflow_uuid, function_id, function_name, output, error, child_workflow_id, started_at_epoch_ms,
    completed_at_epoch_ms, serialization
FROM operation_outputs WHERE workflow_uuid IN (SELECT value FROM json_each(?1)) ORDER BY workflow_uuid, function_id";

const GIVE_BACK: &str = "\
UPDATE workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, recovery_attempts = max(recovery_attempts - 1, 0),
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    workflow_deadline_epoch_ms = nullif(workflow_deadline_epoch_ms, started_at_epoch_ms + workflow_timeout_ms)
WHERE queue_name = ?1 AND status = 'PENDING' AND status IN ('ENQUEUED', 'PENDING') AND owner_xid = ?2";

impl Sqlite {
    pub(crate) async fn give_back(
        &self,
        queue: &str,
        token: &OwnerToken,
    ) -> std::result::Result<u64, StoreError> {
        let query = sqlx::query(GIVE_BACK).bind(queue).bind(token.as_str());
        self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn claim(
        &self,
        claim: &Claim<'_>,
        token: &OwnerToken,
    ) -> std::result::Result<Vec<Claimed>, StoreError> {
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let claiming = Claiming { connection: &mut transaction, claim, identity: &self.identity };
            let claimed = claiming.claim(token).await?;
            transaction.commit().await?;
            Ok(claimed)
        })
        .await
    }
}

/// A claim inside its transaction.
struct Claiming<'a> {
    connection: &'a mut SqliteConnection,
    claim: &'a Claim<'a>,
    identity: &'a Identity,
}

impl<'a> Claiming<'a> {
    async fn claim(mut self, token: &OwnerToken) -> Result<Vec<Claimed>> {
        let ids = self.pick().await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = serde_json::to_string(&ids).unwrap_or_default();
        let update = sqlx::query(CLAIM).bind(&ids).bind(token.as_str()).bind(&self.identity.version);
        let update = update.bind(&self.identity.executor).bind(&self.identity.application);
        update.bind(self.claim.queue.has_rate_limit()).execute(&mut *self.connection).await?;
        let mut histories: HashMap<String, Vec<StepRow>> = HashMap::new();
        for row in sqlx::query(HISTORIES).bind(&ids).fetch_all(&mut *self.connection).await? {
            histories.entry(row.try_get(0)?).or_default().push(rows::step(&row)?);
        }
        let rows = sqlx::query(CLAIMED).bind(&ids).fetch_all(self.connection).await?;
        rows.iter().map(|row| claimed(row, &mut histories)).collect()
    }

    async fn pick(&mut self) -> Result<Vec<String>> {
        let room = self.room().await?;
        if room <= 0 {
            return Ok(Vec::new());
        }
        if !self.claim.queue.is_partitioned() {
            return self.heads(PICK, room, None).await;
        }
        let most = usize::try_from(room).unwrap_or(usize::MAX);
        let partitions: Vec<String> = self.question(PARTITIONS).fetch_all(&mut *self.connection).await?;
        let spent = self.spent().await?;
        let mut heads = Vec::new();
        for key in partitions {
            // In turn each of these gives one: more of them cannot be taken.
            if heads.len() >= most {
                break;
            }
            let room = spent.room(self.claim.queue, &key, room);
            if room > 0 {
                let found = self.heads(PICK_OF_PARTITION, room, Some(&key)).await?;
                heads.extend(Some(found).filter(|found| !found.is_empty()).map(Vec::into_iter));
            }
        }
        Ok(in_turn(heads, most))
    }

    /// What the queue as a whole has left.
    async fn room(&mut self) -> Result<i64> {
        let queue = self.claim.queue;
        let mut room = i64::from(self.claim.most);
        if let Some(most) = queue.concurrency {
            let running = self.question::<i64>(RUNNING).bind(&self.identity.application);
            room = room.min(i64::from(most) - running.fetch_one(&mut *self.connection).await?);
        }
        if let Some(rate) = queue.rate_limit {
            let recent = self.question::<i64>(RECENT).bind(&self.identity.application).bind(millis(rate));
            room = room.min(i64::from(rate.limit) - recent.fetch_one(&mut *self.connection).await?);
        }
        Ok(room)
    }

    /// What the partitions have used up of their limits: a question a limit, not one a partition.
    async fn spent(&mut self) -> Result<Spent<'a>> {
        let queue = self.claim.queue;
        let mut spent = Spent::default();
        if queue.partition_concurrency.is_some() {
            let query = sqlx::query_as(RUNNING_BY_PARTITION).bind(&queue.name);
            spent.running = query.fetch_all(&mut *self.connection).await?.into_iter().collect();
        }
        if let Some(rate) = queue.partition_rate_limit {
            let query = sqlx::query_as(RECENT_BY_PARTITION).bind(&queue.name).bind(millis(rate));
            spent.recent = query.fetch_all(&mut *self.connection).await?.into_iter().collect();
        }
        spent.here = self.claim.loads.iter().map(|(key, load)| (key.as_str(), *load)).collect();
        Ok(spent)
    }

    async fn heads(&mut self, text: &'static str, most: i64, key: Option<&str>) -> Result<Vec<String>> {
        let names = serde_json::to_string(self.claim.names).unwrap_or_default();
        let query = self.question(text).bind(names).bind(&self.identity.application);
        let query = query.bind(&self.identity.version).bind(most);
        let query = if let Some(key) = key { query.bind(key) } else { query };
        query.fetch_all(&mut *self.connection).await
    }

    /// A question whose first parameter is the queue.
    fn question<'q, T>(&self, text: &'static str) -> sqlx::query::QueryScalar<'q, Db, T, SqliteArguments>
    where
        (T,): for<'r> sqlx::FromRow<'r, SqliteRow>,
    {
        sqlx::query_scalar(AssertSqlSafe(text)).bind(self.claim.queue.name.clone())
    }
}

/// By partition: what runs in all processes and in this one, and what started lately.
#[derive(Default)]
struct Spent<'a> {
    running: HashMap<String, i64>,
    recent: HashMap<String, i64>,
    here: HashMap<&'a str, i64>,
}

impl Spent<'_> {
    /// What a partition has left of its limits, at most as much as the queue has.
    fn room(&self, queue: &Queue, key: &str, most: i64) -> i64 {
        let left = |limit: Option<u32>, spent: Option<&i64>| {
            limit.map_or(most, |limit| i64::from(limit) - spent.copied().unwrap_or_default())
        };
        most.min(left(queue.partition_concurrency, self.running.get(key)))
            .min(left(queue.partition_worker_concurrency, self.here.get(key)))
            .min(left(queue.partition_rate_limit.map(|rate| rate.limit), self.recent.get(key)))
    }
}

/// The first of each partition, then the second of each, and so on.
fn in_turn(mut heads: Vec<std::vec::IntoIter<String>>, most: usize) -> Vec<String> {
    let mut chosen = Vec::new();
    while !heads.is_empty() && chosen.len() < most {
        heads.retain_mut(|head| {
            let next = head.next();
            let found = next.is_some();
            chosen.extend(next);
            found
        });
    }
    chosen.truncate(most);
    chosen
}

fn millis(limit: RateLimit) -> i64 {
    i64::try_from(limit.period.as_millis()).unwrap_or(i64::MAX)
}

/// Unchecked, as in `rows`.
fn claimed(row: &SqliteRow, histories: &mut HashMap<String, Vec<StepRow>>) -> Result<Claimed> {
    let id: String = row.try_get_unchecked(0)?;
    Ok(Claimed {
        history: histories.remove(&id).unwrap_or_default(),
        id,
        name: row.try_get_unchecked::<Option<String>, _>("name")?.unwrap_or_default(),
        class_name: row.try_get_unchecked("class_name")?,
        config_name: row.try_get_unchecked("config_name")?,
        partition_key: row.try_get_unchecked("queue_partition_key")?,
        deadline: row.try_get_unchecked("workflow_deadline_epoch_ms")?,
        input: row.try_get_unchecked("input")?,
        format: Format::of_row(row.try_get_unchecked("serialization")?),
        serialization: row.try_get_unchecked("serialization")?,
        attempts: row.try_get_unchecked::<Option<i64>, _>("recovery_attempts")?.unwrap_or_default(),
        user: row.try_get_unchecked("authenticated_user")?,
        roles: row.try_get_unchecked("authenticated_roles")?,
        tenant: row.try_get_unchecked("tenant")?,
        trace: row.try_get_unchecked("trace")?,
    })
}
