//! Claims: one statement each, which also returns all that is needed to run what was claimed.
//!
//! Limits of a queue that processes share are spent against one view of the database: such a claim runs serializable, so
//! of two that together would exceed a limit one fails, and tries again. A claim without shared limits passes over rows
//! that another one has locked.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres as Db, Row};

use super::Postgres;
use crate::ids::OwnerToken;
use crate::model::queue::{Claim, RateLimit};
use crate::model::step::StepRow;
use crate::model::workflow::Claimed;
use crate::payload::Format;
use crate::store::error::StoreError;

macro_rules! now {
    () => {
        "(EXTRACT(epoch FROM now()) * 1000)::int8"
    };
}

/// A row that this process may run: of its application, its version and its workflows.
macro_rules! eligible {
    () => {
        "w.queue_name = $1 AND w.status = 'ENQUEUED' AND concat(w.name, chr(31), w.config_name) = ANY($2)
        AND (w.application_name = $3 OR w.application_name IS NULL)
        AND (w.application_version = $4 OR (w.application_version IS NULL AND $4 = coalesce((
            SELECT version_name FROM {s}.application_versions WHERE application_name = $3 OR application_name IS NULL
            ORDER BY version_timestamp DESC LIMIT 1), $4)))"
    };
}

/// Starts of the queue within the last `$period` milliseconds that count against a rate limit.
macro_rules! recent {
    ($period:literal, $more:literal) => {
        concat!(
            "(SELECT count(*) FROM {s}.workflow_status r WHERE r.queue_name = $1 AND r.rate_limited = TRUE
            AND r.status NOT IN ('ENQUEUED', 'DELAYED') AND r.started_at_epoch_ms > ",
            now!(),
            " - ",
            $period,
            "::int8 ",
            $more,
            ")"
        )
    };
}

/// What the queue as a whole has left: no limit leaves `$7`, what this process has room for.
macro_rules! budget {
    () => {
        concat!(
            "budget AS MATERIALIZED (
    SELECT greatest(0, least($7::int8,
        CASE WHEN $8::int8 IS NOT NULL THEN $8 - (
            SELECT count(*) FROM {s}.workflow_status p WHERE p.queue_name = $1 AND p.status = 'PENDING'
            AND (p.application_name = $3 OR p.application_name IS NULL)) END,
        CASE WHEN $9::int8 IS NOT NULL THEN $9 - ",
            recent!("$10", "AND (r.application_name = $3 OR r.application_name IS NULL)"),
            " END)) AS room
)"
        )
    };
}

/// From the rows `picked` to the claimed ones with input and history.
///
/// The lock finds a row's newest version, everything else is read as of the statement's beginning. A row that was
/// claimed, run and given back in between would come with a history that misses its last steps, so it is left for the
/// next claim: `known` is the row as the history knows it.
///
/// `OFFSET 0`, the array and the `coalesce` keep to the primary key, whatever is believed of how many rows a claim has:
/// a join, or an index of all that is enqueued, would go through the whole table for each claim.
macro_rules! claimed {
    ($limited:literal) => {
        concat!(
            "current AS (
    SELECT picked.workflow_uuid FROM picked WHERE EXISTS (SELECT FROM {s}.workflow_status known
        WHERE known.workflow_uuid = picked.workflow_uuid AND known.updated_at = picked.updated_at
            AND known.recovery_attempts IS NOT DISTINCT FROM picked.recovery_attempts OFFSET 0)
), claimed AS (
    UPDATE {s}.workflow_status w
    SET status = 'PENDING', owner_xid = $6, application_version = $4, executor_id = $5, application_name = $3,
        started_at_epoch_ms = ",
            now!(),
            ", rate_limited = ",
            $limited,
            ", updated_at = ",
            now!(),
            ", recovery_attempts = least(coalesce(w.recovery_attempts, 0), 9223372036854775806) + 1,
        workflow_deadline_epoch_ms = CASE
            WHEN w.workflow_timeout_ms IS NULL OR w.workflow_deadline_epoch_ms IS NOT NULL THEN w.workflow_deadline_epoch_ms
            WHEN w.workflow_timeout_ms > 9223372036854775807 - ",
            now!(),
            " THEN 9223372036854775807 ELSE ",
            now!(),
            " + w.workflow_timeout_ms END
    WHERE w.workflow_uuid = ANY(ARRAY(SELECT workflow_uuid FROM current)) AND coalesce(w.status, '') = 'ENQUEUED'
    RETURNING w.*
)
SELECT c.workflow_uuid, c.name, c.class_name, c.config_name, c.queue_partition_key, c.workflow_deadline_epoch_ms,
    coalesce(i.inputs, c.inputs) AS input, c.serialization, c.recovery_attempts, c.authenticated_user,
    c.authenticated_roles, (c.attributes -> 'dbos.otelContext')::text AS trace,
    (c.attributes -> 'dbos.tenant')::text AS tenant, (
    SELECT json_agg(json_build_array(o.function_id, o.function_name, o.output, o.error, o.child_workflow_id,
        o.started_at_epoch_ms, o.completed_at_epoch_ms, o.serialization))::text
    FROM {s}.operation_outputs o WHERE o.workflow_uuid = c.workflow_uuid
) AS history
FROM claimed c LEFT JOIN {s}.workflow_input i USING (workflow_uuid)
ORDER BY c.priority, c.created_at, c.workflow_uuid"
        )
    };
}

const PLAIN: &str = concat!(
    "WITH picked AS (
    SELECT w.workflow_uuid, w.recovery_attempts, w.updated_at FROM {s}.workflow_status w
    WHERE ",
    eligible!(),
    " ORDER BY w.priority, w.created_at, w.workflow_uuid LIMIT $7 FOR UPDATE SKIP LOCKED
), ",
    claimed!("FALSE")
);

const LIMITED: &str = concat!(
    "WITH ",
    budget!(),
    ", picked AS (
    SELECT w.workflow_uuid, w.recovery_attempts, w.updated_at FROM {s}.workflow_status w
    WHERE ",
    eligible!(),
    " ORDER BY w.priority, w.created_at, w.workflow_uuid LIMIT (SELECT room FROM budget) FOR UPDATE NOWAIT
), ",
    claimed!("$11")
);

/// Every partition with something on the queue, each with what it has left; the heads of all of them, in turn, as far as
/// the queue's own budget goes. Partitions are shuffled, so that none of them waits for ever behind the others.
const PARTITIONED: &str = concat!(
    "WITH RECURSIVE keys(key) AS (
    (SELECT queue_partition_key FROM {s}.workflow_status
        WHERE queue_name = $1 AND status = 'ENQUEUED' AND queue_partition_key IS NOT NULL
        ORDER BY queue_partition_key LIMIT 1)
    UNION ALL
    SELECT (SELECT n.queue_partition_key FROM {s}.workflow_status n
        WHERE n.queue_name = $1 AND n.status = 'ENQUEUED' AND n.queue_partition_key > keys.key
        ORDER BY n.queue_partition_key LIMIT 1)
    FROM keys WHERE keys.key IS NOT NULL
), ",
    budget!(),
    ", room AS (
    SELECT k.key, least((SELECT room FROM budget),
        CASE WHEN $12::int8 IS NOT NULL THEN $12 - (
            SELECT count(*) FROM {s}.workflow_status p
            WHERE p.queue_name = $1 AND p.status = 'PENDING' AND p.queue_partition_key = k.key) END,
        CASE WHEN $13::int8 IS NOT NULL THEN $13 - coalesce(l.load, 0) END,
        CASE WHEN $14::int8 IS NOT NULL THEN $14 - ",
    recent!("$15", "AND r.queue_partition_key = k.key"),
    " END) AS room
    FROM (SELECT key FROM keys WHERE key IS NOT NULL ORDER BY random() LIMIT 8192) k
    LEFT JOIN unnest($16::text[], $17::int8[]) AS l(key, load) ON l.key = k.key
    WHERE (SELECT room FROM budget) > 0
), heads AS (
    SELECT h.workflow_uuid, row_number() OVER (PARTITION BY r.key ORDER BY h.priority, h.created_at, h.workflow_uuid) AS turn
    FROM room r CROSS JOIN LATERAL (
        SELECT w.workflow_uuid, w.priority, w.created_at FROM {s}.workflow_status w
        WHERE w.queue_partition_key = r.key AND ",
    eligible!(),
    " ORDER BY w.priority, w.created_at, w.workflow_uuid LIMIT greatest(r.room, 0)) h
), chosen AS (
    SELECT workflow_uuid FROM heads ORDER BY turn, random() LIMIT (SELECT room FROM budget)
), picked AS (
    SELECT w.workflow_uuid, w.recovery_attempts, w.updated_at FROM {s}.workflow_status w
    WHERE w.workflow_uuid IN (SELECT workflow_uuid FROM chosen) AND w.status = 'ENQUEUED' AND w.queue_name = $1
    ORDER BY w.workflow_uuid FOR UPDATE SKIP LOCKED
), ",
    claimed!("$11")
);

const GIVE_BACK: &str = "\
UPDATE {s}.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, recovery_attempts = greatest(recovery_attempts - 1, 0),
    updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8,
    workflow_deadline_epoch_ms = nullif(workflow_deadline_epoch_ms::numeric, started_at_epoch_ms::numeric + workflow_timeout_ms)::int8
WHERE queue_name = $1 AND status = 'PENDING' AND owner_xid = $2";

impl Postgres {
    pub(crate) async fn give_back(&self, queue: &str, token: &OwnerToken) -> Result<u64, StoreError> {
        let query = sqlx::query(self.statements.get(GIVE_BACK)).bind(queue).bind(token.as_str());
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn claim(
        &self,
        claim: &Claim<'_>,
        token: &OwnerToken,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (queue, identity) = (claim.queue, &self.identity);
        let text = match (queue.is_partitioned(), queue.is_shared_out()) {
            (true, _) => PARTITIONED,
            (false, true) => LIMITED,
            (false, false) => PLAIN,
        };
        let query = sqlx::query(self.statements.get(text)).bind(&queue.name).bind(claim.names);
        let query = query.bind(&identity.application).bind(&identity.version).bind(&identity.executor);
        let mut query = query.bind(token.as_str()).bind(i64::from(claim.most));
        if text != PLAIN {
            query = query.bind(queue.concurrency.map(i64::from));
            query = with_rate(query, queue.rate_limit).bind(queue.has_rate_limit());
        }
        if text == PARTITIONED {
            let (keys, loads): (Vec<&str>, Vec<i64>) =
                claim.loads.iter().map(|(key, load)| (key.as_str(), *load)).unzip();
            query = query.bind(queue.partition_concurrency.map(i64::from));
            query = query.bind(queue.partition_worker_concurrency.map(i64::from));
            query = with_rate(query, queue.partition_rate_limit).bind(keys).bind(loads);
        }
        let pool = if queue.is_shared_out() { &self.serializable } else { &self.pool };
        self.ask_on(pool, async |c| query.fetch_all(c).await?.iter().map(claimed).collect()).await
    }
}

type PgQuery<'q> = Query<'q, Db, PgArguments>;

fn with_rate(query: PgQuery<'_>, limit: Option<RateLimit>) -> PgQuery<'_> {
    let millis = |limit: RateLimit| i64::try_from(limit.period.as_millis()).unwrap_or(i64::MAX);
    query.bind(limit.map(|limit| i64::from(limit.limit))).bind(limit.map(millis))
}

fn claimed(row: &PgRow) -> Result<Claimed, sqlx::Error> {
    let history: Option<String> = row.try_get("history")?;
    Ok(Claimed {
        id: row.try_get("workflow_uuid")?,
        name: row.try_get::<Option<String>, _>("name")?.unwrap_or_default(),
        class_name: row.try_get("class_name")?,
        config_name: row.try_get("config_name")?,
        partition_key: row.try_get("queue_partition_key")?,
        deadline: row.try_get("workflow_deadline_epoch_ms")?,
        input: row.try_get("input")?,
        format: Format::of_row(row.try_get("serialization")?),
        serialization: row.try_get("serialization")?,
        attempts: row.try_get::<Option<i64>, _>("recovery_attempts")?.unwrap_or_default(),
        user: row.try_get("authenticated_user")?,
        roles: row.try_get("authenticated_roles")?,
        tenant: row.try_get("tenant")?,
        trace: row.try_get("trace")?,
        history: history.as_deref().map_or_else(|| Ok(Vec::new()), recorded)?,
    })
}

type Recorded =
    (i32, String, Option<String>, Option<String>, Option<String>, Option<i64>, Option<i64>, Option<String>);

fn recorded(json: &str) -> Result<Vec<StepRow>, sqlx::Error> {
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
