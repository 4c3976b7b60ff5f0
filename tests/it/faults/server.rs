//! What a server and its administrator do to those who use it (F12, F16, F17).

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};

use dbos_runtime::{WorkflowRef, WorkflowStatus};
use sqlx::{AnyConnection, Connection as _, PgConnection};
use tokio::sync::Barrier;

use super::*;

async fn set_up(fresh: &Fresh) -> (Arc<Site>, Builder<Arc<Site>>) {
    let (site, builder) = site(fresh, None).await;
    (site, builder.journal_lanes(1))
}

/// The URL for sessions whose statements may take a second.
fn hurried(fresh: &Fresh) -> String {
    let separator = if fresh.url().contains('?') { '&' } else { '?' };
    format!("{}{separator}options=-c%20statement_timeout%3D1000", fresh.url())
}

/// Changes a setting of the test's database, and ends the sessions that do not have it yet.
async fn set(fresh: &Fresh, setting: &str) {
    fresh
        .execute(&format!(
            "DO $do$ BEGIN EXECUTE format('ALTER DATABASE %I ', current_database()) || $q${setting}$q$; END $do$;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_became_read_only_is_waited_for() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = set_up(&fresh).await;
    let dbos = builder.register(bought_late).launch().await.unwrap();
    warm_up(&dbos, &site).await;
    let steps = dbos.start(two_steps, ()).id("steps").await.unwrap();
    let written = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid IN ('steps', 'buys')";
    let late = dbos.start(bought_late, ()).id("buys").await.unwrap();
    harness::until("the first step", async || fresh.scalar(written).await == 1).await;
    set(&fresh, "SET default_transaction_read_only = on").await;
    site.gate.add_permits(2);
    harness::until("both go on", async || site.gate.available_permits() == 0).await;
    // Long enough for writes and transactions to meet the refusal on new connections.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fresh.scalar(written).await, 1);
    let set_back = "BEGIN READ WRITE; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', \
         current_database()); END $$; COMMIT";
    fresh.execute(set_back).await;
    let soon = harness::PATIENCE;
    assert_eq!(tokio::time::timeout(soon, steps.result()).await.expect("steps go on").unwrap(), 3);
    let bought = tokio::time::timeout(soon, late.result()).await;
    assert_eq!(bought.expect("a connection to what was read-only is not kept").unwrap(), 1);
    assert_eq!(fresh.scalar("SELECT count(*) FROM orders").await, 2);
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'ERROR'").await, 0);
}

#[workflow]
async fn bought_late(ctx: Ctx, _: ()) -> Result<u64, Error> {
    let site = Arc::clone(ctx.state());
    site.pass().await;
    ctx.transaction(&site.db.clone(), "buy", async |tx| {
        Ok(sqlx::query("INSERT INTO orders VALUES ('late', 1)").execute(tx).await?.rows_affected())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_timeout_delays_writes_and_fails_none() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = set_up(&fresh).await;
    let dbos = builder.database_url(hurried(&fresh)).launch().await.unwrap();
    warm_up(&dbos, &site).await;
    let handle = dbos.start(two_steps, ()).id("w").await.unwrap();
    let steps = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'w'";
    harness::until("the first step", async || fresh.scalar(steps).await == 1).await;
    let mut rival = PgConnection::connect(fresh.url()).await.unwrap();
    let mut lock = rival.begin().await.unwrap();
    sqlx::query("LOCK TABLE dbos.operation_outputs IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    site.gate.add_permits(1);
    let tries = Mutex::new(HashSet::new());
    let waiting = "SELECT query_start FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let seen = async || {
        let now = fresh.query(waiting).await;
        let mut tries = tries.lock().unwrap();
        tries.extend(now);
        tries.len() >= 3
    };
    harness::until("two tries were cut short", seen).await;
    lock.rollback().await.unwrap();
    assert_eq!(handle.result().await.unwrap(), 3);
    assert_eq!(fresh.scalar(steps).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_always_too_slow_fails_and_is_not_repeated_for_ever() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = set_up(&fresh).await;
    let db = Datasource::<Any>::connect(&hurried(&fresh)).await.unwrap();
    let builder = builder.register_fn("too_slow", move |ctx: Ctx, (): ()| too_slow(ctx, db.clone()));
    let dbos = builder.launch().await.unwrap();
    let handle = dbos.start(WorkflowRef::<(), ()>::named("too_slow"), ()).await.unwrap();
    let ended = tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect("it ends");
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Transaction);
    assert_eq!(handle.status().await.unwrap().status, Some(WorkflowStatus::Error));
    assert_eq!((site.calls(), fresh.scalar("SELECT count(*) FROM orders").await), (1, 0));
}

async fn too_slow(ctx: Ctx, db: Datasource<Any>) -> Result<(), Error> {
    let site = Arc::clone(ctx.state());
    ctx.transaction(&db, "slow", async move |tx: &mut AnyConnection| {
        site.calls.fetch_add(1, Ordering::SeqCst);
        sqlx::query("INSERT INTO orders VALUES ('slow', 1)").execute(&mut *tx).await?;
        sqlx::query("SELECT pg_sleep(3600)").execute(tx).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_server_ended_for_idling_is_begun_again() {
    let fresh = harness::fresh(Backend::Postgres).await;
    set(&fresh, "SET idle_in_transaction_session_timeout = '1s'").await;
    let (site, builder) = set_up(&fresh).await;
    let dbos = builder.register(idles_once).launch().await.unwrap();
    dbos.start(idles_once, ()).await.unwrap().result().await.unwrap();
    // More often where the machine paused.
    assert!(site.calls() >= 2, "{}", site.calls());
    assert_eq!(fresh.scalar("SELECT count(*) FROM orders").await, 1);
}

#[workflow]
async fn idles_once(ctx: Ctx, _: ()) -> Result<(), Error> {
    let site = Arc::clone(ctx.state());
    ctx.transaction(&site.db.clone(), "idles", async move |tx: &mut AnyConnection| {
        sqlx::query("INSERT INTO orders VALUES ('idle', 1)").execute(&mut *tx).await?;
        if site.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        sqlx::query("UPDATE orders SET n = 2").execute(tx).await?;
        Ok(())
    })
    .await
}

/// Meets its rival between two rows, the first time.
static MEET: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));

async fn moves(ctx: Ctx, (from, to): (String, String)) -> Result<(), Error> {
    let site = Arc::clone(ctx.state());
    let first = std::sync::atomic::AtomicBool::new(true);
    ctx.transaction(&site.db.clone(), "move", async move |tx: &mut AnyConnection| {
        site.calls.fetch_add(1, Ordering::SeqCst);
        sqlx::query("UPDATE orders SET n = n - 1 WHERE id = $1")
            .bind(from.as_str())
            .execute(&mut *tx)
            .await?;
        if first.swap(false, Ordering::SeqCst) {
            MEET.wait().await;
        }
        sqlx::query("UPDATE orders SET n = n + 1 WHERE id = $1").bind(to.as_str()).execute(tx).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_transactions_in_a_deadlock_both_succeed() {
    let fresh = harness::fresh(Backend::Postgres).await;
    set(&fresh, "SET deadlock_timeout = '20ms'").await;
    let (site, builder) = set_up(&fresh).await;
    let dbos = builder.register_fn("moves", moves).launch().await.unwrap();
    fresh.execute("INSERT INTO orders VALUES ('a', 10), ('b', 10)").await;
    let moves = WorkflowRef::<(String, String), ()>::named("moves");
    let there = dbos.start(moves, ("a".to_owned(), "b".to_owned())).await.unwrap();
    let back = dbos.start(moves, ("b".to_owned(), "a".to_owned())).await.unwrap();
    there.result().await.unwrap();
    back.result().await.unwrap();
    assert!(site.calls() >= 3, "one of them ran again");
    assert_eq!(fresh.scalar("SELECT count(*) FROM orders WHERE n = 10").await, 2);
    assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE error IS NULL").await, 2);
}

// A question that its caller left must not keep a connection of the pool until the server answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_nobody_waits_for_give_their_connections_up() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = set_up(&fresh).await;
    let builder = builder.pool_size(2).listen_notify(false).polling_interval(HOUR);
    let dbos = builder.patience(Duration::from_secs(1)).launch().await.unwrap();
    warm_up(&dbos, &site).await;
    let mut rival = PgConnection::connect(fresh.url()).await.unwrap();
    let mut lock = rival.begin().await.unwrap();
    sqlx::query("LOCK TABLE dbos.workflow_status IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(dbos.info("anything").await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    // This question needs no table, only a connection.
    harness::until("a connection is free", async || dbos.ping().await.is_ok()).await;
    lock.rollback().await.unwrap();
}
