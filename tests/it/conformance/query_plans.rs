//! What is asked over and over reads through its index, however many rows there are. Postgres's own statistics tell how
//! the statements that were really sent were carried out.

use std::time::Duration;

use dbos_runtime::{Dbos, Queue};
use harness::{Backend, Fresh, until};
use serde_json::Value;

use super::gauge::Gauge;
use super::scene::crash;

/// Many workflows that have ended, and `waiting` more rows of queue `q`.
async fn crowd(waiting: &str) -> Fresh {
    let fresh = harness::fresh(Backend::Postgres).await;
    fresh
        .execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, status, name, application_name, application_version, created_at,
                completed_at, started_at_epoch_ms, rate_limited)
             SELECT 'ended-' || n, 'SUCCESS', 'job', 'tests', 'v1', n, n, n, FALSE FROM generate_series(1, 20000) n;
             {waiting};
             ANALYZE workflow_status"
        ))
        .await;
    fresh.execute("VACUUM workflow_status").await;
    fresh
}

async fn launch(fresh: &Fresh, queue: Queue) -> Dbos {
    let builder = harness::builder(fresh).executor_id("one").polling_interval(Duration::from_millis(50));
    Gauge::open().register(builder).queue(queue).launch().await.unwrap()
}

/// How often an index was used, and how many rows it gave.
async fn index(fresh: &Fresh, name: &str) -> (i64, i64, i64) {
    let sql = format!(
        "SELECT idx_scan AS scans, idx_tup_read AS entries, idx_tup_fetch AS rows FROM pg_stat_user_indexes
         WHERE indexrelname = '{name}'"
    );
    let row = fresh.rows(&sql).await.remove(0);
    let number = |column: &str| row[column].as_i64().unwrap();
    (number("scans"), number("entries"), number("rows"))
}

/// Rows that were read one after the other, without an index.
async fn scanned(fresh: &Fresh) -> i64 {
    fresh
        .scalar("SELECT coalesce(seq_tup_read, 0) FROM pg_stat_user_tables WHERE relname = 'workflow_status'")
        .await
}

/// Lets the runtime look many times, until the statistics show that it used this index; then what it read meanwhile.
async fn looks(fresh: &Fresh, queue: Queue, name: &str) -> (i64, i64) {
    fresh.execute("SELECT pg_stat_reset()").await;
    until("the statistics are reset", async || scanned(fresh).await == 0).await;
    let dbos = launch(fresh, queue).await;
    until(&format!("{name} is used"), async || index(fresh, name).await.0 >= 10).await;
    crash(&dbos).await;
    // A session's statistics arrive when it ends at the latest.
    until("the sessions have ended", async || {
        fresh.scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'dbos_transact'").await == 0
    })
    .await;
    assert_eq!(scanned(fresh).await, 0, "rows were read without an index");
    let (scans, entries, rows) = index(fresh, name).await;
    (entries / scans, rows)
}

// G.183
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_of_deadlines_reads_through_its_index() {
    let fresh = crowd(
        "INSERT INTO workflow_status (workflow_uuid, status, name, application_name, workflow_deadline_epoch_ms)
         SELECT 'later-' || n, 'PENDING', 'job', 'tests', 9000000000000000 + n FROM generate_series(1, 2000) n",
    )
    .await;
    let (entries, rows) = looks(&fresh, Queue::new("q"), "idx_workflow_status_deadline").await;
    assert_eq!((entries, rows), (0, 0), "what is not due is not even read");
}

// K.275
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_of_a_rate_limits_window_reads_the_window() {
    let fresh = crowd(
        "INSERT INTO workflow_status (workflow_uuid, status, name, application_name, application_version, queue_name,
            started_at_epoch_ms, rate_limited)
         SELECT 'old-' || n, 'SUCCESS', 'job', 'tests', 'v1', 'q', n, TRUE FROM generate_series(1, 5000) n;
         INSERT INTO workflow_status (workflow_uuid, status, name, application_name, application_version, queue_name,
            started_at_epoch_ms, rate_limited)
         SELECT 'new-' || n, 'SUCCESS', 'job', 'tests', 'v1', 'q', (EXTRACT(epoch FROM now()) * 1000)::int8, TRUE
         FROM generate_series(1, 10) n;
         INSERT INTO workflow_status (workflow_uuid, status, name, application_name, application_version, queue_name)
         VALUES ('waits', 'ENQUEUED', 'job', 'tests', 'v1', 'q')",
    )
    .await;
    let queue =
        Queue::new("q").rate_limit(10, Duration::from_secs(3600)).polling_interval(Duration::from_millis(50));
    let (entries, _) = looks(&fresh, queue, "idx_workflow_status_rate_limited").await;
    assert_eq!(entries, 10, "the window, and nothing older");
    let waits: Vec<Value> =
        fresh.rows("SELECT status FROM workflow_status WHERE workflow_uuid = 'waits'").await;
    assert_eq!(waits[0]["status"], "ENQUEUED");
}

// K.276
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_of_what_runs_reads_the_index_alone() {
    let fresh = crowd(
        "INSERT INTO workflow_status (workflow_uuid, status, name, application_name, application_version, executor_id, queue_name)
         SELECT 'runs-' || n, 'PENDING', 'job', 'tests', 'v1', 'elsewhere', 'q' FROM generate_series(1, 500) n;
         INSERT INTO workflow_status (workflow_uuid, status, name, application_name, application_version, queue_name)
         SELECT 'waits-' || n, 'ENQUEUED', 'job', 'tests', 'v1', 'q' FROM generate_series(1, 500) n",
    )
    .await;
    let queue = Queue::new("q").concurrency(500).polling_interval(Duration::from_millis(50));
    looks(&fresh, queue, "idx_workflow_status_in_flight_v2").await;
    let running = fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'PENDING'").await;
    assert_eq!(running, 500, "the count was right");
    let (scans, entries, rows) = index(&fresh, "idx_workflow_status_in_flight_v2").await;
    assert!(entries > 500 * 3, "{entries} entries in {scans} scans");
    // The count itself needs no row; the looks for what waits fetch one each.
    assert!(rows <= scans, "{rows} rows for {entries} entries");
}

// K.277
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walk_over_partitions_reads_the_index_alone() {
    let fresh = crowd(
        "INSERT INTO workflow_status (workflow_uuid, status, name, application_name, application_version, queue_name, queue_partition_key)
         SELECT 'waits-' || n, 'ENQUEUED', 'job', 'tests', 'v1', 'q', 'p' || n % 5 FROM generate_series(1, 5000) n;
         INSERT INTO workflow_status (workflow_uuid, status, name, application_name, application_version, executor_id, queue_name, queue_partition_key)
         SELECT 'runs-' || n, 'PENDING', 'job', 'tests', 'v1', 'elsewhere', 'q', 'p' || n FROM generate_series(0, 4) n",
    )
    .await;
    let queue = Queue::new("q").partition_concurrency(1).polling_interval(Duration::from_millis(50));
    let (entries, rows) = looks(&fresh, queue, "idx_workflow_status_partition_dequeue_v3").await;
    // One probe for each key and one past the last, never the five thousand.
    assert!(entries <= 5, "{entries} entries for each scan");
    assert_eq!(rows, 0, "no row is looked at");
}
