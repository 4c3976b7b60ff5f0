//! Transaction steps when transactions collide, connections die and answers are lost: the body runs again, its rows
//! and its record are there once.
#![expect(clippy::unwrap_used, reason = "a test may fail in the shortest way there is")]

use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{
    Ctx as RuntimeCtx, Datasource, ErrorKind, IsolationLevel, TransactionOptions, WorkflowRef,
};
use harness::proxy::Proxy;
use harness::{Backend, Fresh, on_each_backend};
use sqlx::postgres::{PgConnection, Postgres};
use tokio::sync::Barrier;

use super::ledger::{
    App, Fail, Parts, W, add, entries, has_table, kill, launch, steal, steps, unaware, witnesses,
};

type Ctx = RuntimeCtx<App, Fail>;
/// With Postgres' own driver.
type Native = Arc<Parts<Postgres>>;
type NativeCtx = RuntimeCtx<Native, Fail>;

const READ_COMMITTED: IsolationLevel = IsolationLevel::ReadCommitted;

async fn native(fresh: &Fresh) -> Native {
    let db = Datasource::connect(fresh.url()).await.unwrap();
    run(&db, "CREATE TABLE ledger (entry TEXT NOT NULL)").await;
    Parts::with(db)
}

async fn run(db: &Datasource<Postgres>, sql: &'static str) {
    sqlx::raw_sql(sql).execute(db.pool()).await.unwrap();
}

async fn insert(tx: &mut PgConnection, entry: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO ledger VALUES ($1)").bind(entry).execute(tx).await.map(drop)
}

/// Adds one to a number, with a read and a write: it needs protection from others.
async fn increment(tx: &mut sqlx::AnyConnection) -> Result<(), sqlx::Error> {
    let n: i64 = sqlx::query_scalar("SELECT n FROM counter").fetch_one(&mut *tx).await?;
    sqlx::query("UPDATE counter SET n = $1").bind(n + 1).execute(tx).await.map(drop)
}

async fn counter(app: &App) {
    for sql in ["CREATE TABLE counter (n BIGINT NOT NULL)", "INSERT INTO counter VALUES (0)"] {
        sqlx::query(sql).execute(app.db.pool()).await.unwrap();
    }
}

/// The statement that ended a connection or its fate may have been lost, but not doubled.
async fn is_there_once(fresh: &Fresh) {
    assert_eq!(entries(fresh).await, ["x"]);
    assert_eq!(steps(fresh).await.len(), 1);
}

on_each_backend! {
    async fn two_workflows_that_read_and_write_one_row_lose_no_update(fresh: Fresh) {
        const EACH: i64 = 20;
        let app = Parts::on(&fresh).await;
        counter(&app).await;
        let dbos = launch(harness::builder(&fresh), app.clone(), async |ctx: Ctx| {
            let app = ctx.state().clone();
            for _ in 0..EACH {
                let app = app.clone();
                ctx.transaction(&ctx.state().db, "increment", async move |tx| {
                    app.run();
                    Ok(increment(tx).await?)
                })
                .await?;
            }
            Ok(String::new())
        })
        .await;
        let (one, two) = (dbos.start(W, ()).await.unwrap(), dbos.start(W, ()).await.unwrap());
        one.result().await.unwrap();
        two.result().await.unwrap();
        assert_eq!(fresh.scalar("SELECT n FROM counter").await, 2 * EACH);
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE error IS NULL").await, 2 * EACH);
        assert!(i64::from(app.runs()) >= 2 * EACH);
        kill(dbos).await;
    }
}

// Q476
#[tokio::test]
async fn a_serialization_failure_runs_the_whole_body_again() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let app = Parts::on(&fresh).await;
    counter(&app).await;
    let dbos = launch(harness::builder(&fresh), app.clone(), async |ctx: Ctx| {
        let app = ctx.state().clone();
        ctx.transaction(&ctx.state().db, "increment", async move |tx| {
            sqlx::query("SELECT n FROM counter").execute(&mut *tx).await?;
            if app.run() == 1 {
                app.door.pass().await;
            }
            Ok(increment(tx).await?)
        })
        .await?;
        Ok(String::new())
    })
    .await;
    let handle = dbos.start(W, ()).await.unwrap();
    app.door.knock().await;
    fresh.execute("UPDATE counter SET n = 10").await;
    app.door.let_in(1);
    handle.result().await.unwrap();
    assert_eq!((app.runs(), fresh.scalar("SELECT n FROM counter").await), (2, 11));
    assert_eq!(steps(&fresh).await.len(), 1);
    kill(dbos).await;
}

// F17
#[tokio::test]
async fn a_deadlock_runs_the_victims_body_again() {
    const SIDE: WorkflowRef<i64, (), Fail> = WorkflowRef::named("side");
    let fresh = harness::fresh(Backend::Postgres).await;
    let app = native(&fresh).await;
    run(&app.db, "CREATE TABLE shelf (id BIGINT PRIMARY KEY, n BIGINT NOT NULL); INSERT INTO shelf VALUES (1, 0), (2, 0)")
        .await;
    let both = Arc::new(Barrier::new(2));
    let body = move |ctx: NativeCtx, first: i64| {
        let both = Arc::clone(&both);
        async move {
            let app = ctx.state().clone();
            let options = TransactionOptions::named("two shelves").isolation(READ_COMMITTED);
            ctx.transaction(&ctx.state().db, options, async move |tx| {
                sqlx::query("SET LOCAL deadlock_timeout = '10ms'").execute(&mut *tx).await?;
                let add = "UPDATE shelf SET n = n + 1 WHERE id = $1";
                sqlx::query(add).bind(first).execute(&mut *tx).await?;
                if app.run() <= 2 {
                    both.wait().await;
                }
                sqlx::query(add).bind(3 - first).execute(tx).await?;
                Ok(())
            })
            .await
        }
    };
    let dbos = harness::builder(&fresh).state(app.clone()).register_fn("side", body).launch().await.unwrap();
    let (one, two) = (dbos.start(SIDE, 1).await.unwrap(), dbos.start(SIDE, 2).await.unwrap());
    one.result().await.unwrap();
    two.result().await.unwrap();
    assert_eq!(fresh.scalar("SELECT count(*) FROM shelf WHERE n = 2").await, 2);
    assert!(app.runs() >= 3, "nobody was a victim");
    assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE error IS NULL").await, 2);
    kill(dbos).await;
}

// Q492
#[tokio::test]
async fn the_isolation_level_is_what_the_database_reports() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let app = native(&fresh).await;
    let dbos = launch(harness::builder(&fresh), app, async |ctx: NativeCtx| {
        let mut seen = Vec::new();
        let level = |level| TransactionOptions::named("level").isolation(level);
        for options in [
            TransactionOptions::named("default"),
            level(IsolationLevel::Serializable),
            level(IsolationLevel::RepeatableRead),
            level(READ_COMMITTED),
        ] {
            let show = ctx.transaction(&ctx.state().db, options, async move |tx| {
                Ok(sqlx::query_scalar::<_, String>("SHOW transaction_isolation").fetch_one(tx).await?)
            });
            seen.push(show.await?);
        }
        Ok(seen.join(", "))
    })
    .await;
    let seen = dbos.start(W, ()).await.unwrap().result().await.unwrap();
    assert_eq!(seen, "serializable, serializable, repeatable read, read committed");
    kill(dbos).await;
}

// One commit is one transaction id, which Postgres writes into each row.
#[tokio::test]
async fn rows_and_record_carry_one_transaction_id_also_in_another_schema() {
    let fresh = Fresh::new(Backend::Postgres).await;
    let app = Parts::with(Datasource::<Postgres>::connect(fresh.url()).await.unwrap().schema("Work\"flows"));
    run(&app.db, "CREATE TABLE ledger (entry TEXT NOT NULL)").await;
    let dbos = launch(harness::builder(&fresh).schema("Work\"flows"), app, async |ctx: NativeCtx| {
        ctx.transaction(&ctx.state().db, "write", async move |tx| Ok(insert(tx, "x").await?)).await?;
        Ok(String::new())
    })
    .await;
    dbos.start(W, ()).await.unwrap().result().await.unwrap();
    let together =
        "SELECT count(*) FROM ledger l JOIN \"Work\"\"flows\".operation_outputs o ON l.xmin = o.xmin";
    assert_eq!(fresh.scalar(together).await, 1);
    assert!(!has_table(&fresh, "datasource_outputs").await);
    kill(dbos).await;
}

// K30
#[tokio::test]
async fn a_body_that_changes_the_search_path_does_not_lead_the_record_astray() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let app = native(&fresh).await;
    let decoys = "CREATE SCHEMA decoy; CREATE TABLE decoy.workflow_status (LIKE dbos.workflow_status INCLUDING ALL); \
                  CREATE TABLE decoy.operation_outputs (LIKE dbos.operation_outputs INCLUDING ALL)";
    run(&app.db, decoys).await;
    let dbos = launch(harness::builder(&fresh), app, async |ctx: NativeCtx| {
        ctx.transaction(&ctx.state().db, "moves", async move |tx| {
            insert(tx, "x").await?;
            sqlx::query("SET search_path TO decoy").execute(tx).await?;
            Ok(())
        })
        .await?;
        Ok(String::new())
    })
    .await;
    dbos.start(W, ()).await.unwrap().result().await.unwrap();
    is_there_once(&fresh).await;
    assert_eq!(fresh.scalar("SELECT count(*) FROM decoy.operation_outputs").await, 0);
    kill(dbos).await;
}

// Q478, with the loss in the middle of the body. A snapshot sees it as a conflict, and then the body runs once more.
#[tokio::test]
async fn a_workflow_that_is_taken_over_while_its_body_runs_is_not_committed() {
    for isolation in [READ_COMMITTED, IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        let fresh = harness::fresh(Backend::Postgres).await;
        let app = native(&fresh).await;
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let dbos = launch(unaware(harness::builder(&fresh)), app.clone(), move |ctx: NativeCtx| {
            let told = told.clone();
            async move {
                let app = ctx.state().clone();
                let late = TransactionOptions::named("late").isolation(isolation);
                let late = ctx.transaction(&ctx.state().db, late, async move |tx| {
                    insert(tx, "late").await?;
                    if app.run() == 1 {
                        app.door.pass().await;
                    }
                    Ok(())
                });
                told.send(late.await.err().and_then(|error| error.kind())).unwrap();
                Ok(String::new())
            }
        })
        .await;
        dbos.start(W, ()).await.unwrap();
        app.door.knock().await;
        steal(&fresh).await;
        app.door.let_in(1);
        assert_eq!(hears.recv().await.unwrap(), Some(ErrorKind::LostOwnership), "{isolation:?}");
        assert_eq!((entries(&fresh).await.len(), steps(&fresh).await.len()), (0, 0), "{isolation:?}");
        kill(dbos).await;
    }
}

// Q496
#[tokio::test]
async fn a_transaction_whose_connection_dies_is_run_again() {
    for at_once in [true, false] {
        let fresh = harness::fresh(Backend::Postgres).await;
        let app = native(&fresh).await;
        let dbos = launch(harness::builder(&fresh), app.clone(), move |ctx: NativeCtx| async move {
            let app = ctx.state().clone();
            ctx.transaction(&ctx.state().db, "dies", async move |tx| {
                insert(tx, "x").await?;
                if app.run() > 1 {
                    return Ok(());
                }
                let kill = "SELECT pg_terminate_backend(pg_backend_pid())";
                if at_once {
                    sqlx::query(kill).execute(tx).await?;
                } else {
                    // The body hears nothing of it; the commit does.
                    sqlx::query(kill).execute(tx).await.unwrap_err();
                }
                Ok(())
            })
            .await?;
            Ok(String::new())
        })
        .await;
        dbos.start(W, ()).await.unwrap().result().await.unwrap();
        assert_eq!(app.runs(), 2, "{at_once}");
        is_there_once(&fresh).await;
        kill(dbos).await;
    }
}

/// A transaction whose first COMMIT happens, and whose answer never arrives. A key of the application's own makes the
/// second run fail: it must not be taken for the result.
async fn lost_answer(fresh: &Fresh, application: &Fresh, caught: bool) {
    let proxy = Arc::new(Proxy::before(application.url()).await);
    let app = Parts::with(Datasource::<Postgres>::connect(&proxy.url(application.url())).await.unwrap());
    run(&app.db, "CREATE TABLE ledger (entry TEXT PRIMARY KEY)").await;
    let cut = Arc::clone(&proxy);
    let dbos = launch(harness::builder(fresh), app.clone(), move |ctx: NativeCtx| {
        let cut = Arc::clone(&cut);
        async move {
            let app = ctx.state().clone();
            ctx.transaction(&ctx.state().db, "unheard", async move |tx| {
                if app.run() == 1 {
                    cut.cut_after_commit();
                }
                let inserted = insert(tx, "x").await;
                if caught && inserted.is_err() {
                    return Err(Fail::SoldOut { left: 0 });
                }
                Ok("sold".to_owned())
            })
            .await
        }
    })
    .await;
    assert_eq!(dbos.start(W, ()).await.unwrap().result().await.unwrap(), "sold");
    assert_eq!(proxy.cuts(), 1, "the answer was not lost");
    assert_eq!((entries(application).await.len(), steps(fresh).await.len()), (1, 1));
    assert_eq!(steps(fresh).await[0].1, "\"sold\"");
    kill(dbos).await;
}

// Q480
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_and_not_repeated() {
    let fresh = harness::fresh(Backend::Postgres).await;
    lost_answer(&fresh, &fresh, true).await;
}

#[tokio::test]
async fn a_commit_in_another_database_whose_answer_was_lost_is_found_and_not_repeated() {
    let (fresh, application) = (harness::fresh(Backend::Sqlite).await, Fresh::new(Backend::Postgres).await);
    lost_answer(&fresh, &application, true).await;
    assert_eq!(witnesses(&application).await, 0);
}

// F16: a body that would rather fail than wait gets its failure.
#[tokio::test]
async fn a_lock_that_the_body_does_not_wait_for_is_its_error() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let app = Parts::on(&fresh).await;
    counter(&app).await;
    let mut other = app.db.pool().begin().await.unwrap();
    sqlx::query("SELECT n FROM counter FOR UPDATE").execute(&mut *other).await.unwrap();
    let dbos = launch(harness::builder(&fresh), app, async |ctx: Ctx| {
        let app = ctx.state().clone();
        ctx.transaction(&ctx.state().db, "impatient", async move |tx| {
            app.run();
            add(tx, "never").await?;
            sqlx::query("SELECT n FROM counter FOR UPDATE NOWAIT").execute(tx).await?;
            Ok(String::new())
        })
        .await
    })
    .await;
    let handle = dbos.start(W, ()).await.unwrap();
    let error = tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect("it tries for ever");
    assert_eq!(error.unwrap_err().kind(), Some(ErrorKind::Transaction));
    assert_eq!((entries(&fresh).await.len(), steps(&fresh).await.len()), (0, 1));
    kill(dbos).await;
}

/// For how long a connection, or a lock, is waited for at least.
const PATIENCE: Duration = Duration::from_millis(30);

/// Runs one transaction on that datasource, which is kept from it until `release`.
async fn waits_for<DB>(
    fresh: &Fresh,
    db: Datasource<DB>,
    patience: Duration,
    release: impl Future<Output = ()>,
) where
    DB: dbos_runtime::Backend,
{
    let app = Parts::with(db);
    let dbos = launch(harness::builder(fresh), app.clone(), async |ctx: RuntimeCtx<Arc<Parts<DB>>, Fail>| {
        let app = ctx.state().clone();
        let once = ctx.transaction(&ctx.state().db, "once", async move |_| Ok(app.run()));
        Ok(once.await?.to_string())
    })
    .await;
    let handle = dbos.start(W, ()).await.unwrap();
    // Many times as long as a connection, or a lock, is waited for.
    let too_soon = tokio::time::timeout(8 * patience, handle.result()).await;
    assert!(too_soon.is_err(), "{too_soon:?}");
    assert_eq!((app.runs(), steps(fresh).await.len()), (0, 0));
    release.await;
    let result = tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect("it goes on");
    assert_eq!((result.unwrap().as_str(), app.runs(), steps(fresh).await.len()), ("1", 1, 1));
    kill(dbos).await;
}

on_each_backend! {
    // Q493
    async fn a_pool_without_a_free_connection_is_waited_for(fresh: Fresh) {
        sqlx::any::install_default_drivers();
        let options = sqlx::any::AnyPoolOptions::new().max_connections(1);
        // A busy machine may take longer to connect than this pool waits.
        let mut patience = PATIENCE;
        let (pool, taken) = loop {
            let pool = options.clone().acquire_timeout(patience).connect_lazy(fresh.url()).unwrap();
            if let Ok(taken) = pool.acquire().await {
                break (pool, taken);
            }
            patience *= 2;
        };
        waits_for(&fresh, Datasource::from_pool(pool).unwrap(), patience, async { drop(taken) }).await;
    }
}

// Q477: no lock of this kind in the log's mode, which a pool of the application's own may not have.
#[tokio::test]
async fn a_look_that_meets_a_lock_is_tried_again_on_sqlite() {
    let (fresh, application) = (harness::fresh(Backend::Sqlite).await, Fresh::new(Backend::Sqlite).await);
    let options: sqlx::sqlite::SqliteConnectOptions = application.url().parse().unwrap();
    let options =
        options.journal_mode(sqlx::sqlite::SqliteJournalMode::Delete).busy_timeout(Duration::from_millis(1));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let locked = pool.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let refused = sqlx::query("SELECT name FROM sqlite_master").execute(&pool).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("5"));
    waits_for(&fresh, Datasource::from_pool(pool).unwrap(), PATIENCE, async {
        locked.rollback().await.unwrap()
    })
    .await;
}

// Q477: by one who sets a limit to the waiting.
#[tokio::test]
async fn a_look_that_meets_a_lock_is_tried_again_on_postgres() {
    let (fresh, application) = (harness::fresh(Backend::Sqlite).await, Fresh::new(Backend::Postgres).await);
    let options: sqlx::postgres::PgConnectOptions = application.url().parse().unwrap();
    let pool = sqlx::PgPool::connect_with(options.options([("lock_timeout", "5ms")])).await.unwrap();
    let earlier =
        launch(harness::builder(&fresh), Parts::with(Datasource::from_pool(pool.clone()).unwrap()), {
            async |ctx: NativeCtx| {
                ctx.transaction(&ctx.state().db, "makes the table", async |_| Ok(())).await?;
                Ok(String::new())
            }
        })
        .await;
    earlier.start(W, ()).id("earlier").await.unwrap().result().await.unwrap();
    kill(earlier).await;
    fresh.execute("DELETE FROM operation_outputs").await;
    let mut locked = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE dbos.datasource_outputs IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *locked)
        .await
        .unwrap();
    let refused = sqlx::query("SELECT FROM dbos.datasource_outputs").execute(&pool).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("55P03"));
    waits_for(&fresh, Datasource::from_pool(pool).unwrap(), PATIENCE, async {
        locked.rollback().await.unwrap()
    })
    .await;
}
