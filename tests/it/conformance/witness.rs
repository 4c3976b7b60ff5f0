//! Transaction steps on another database than the system's: a witness row there proves the commit.
#![expect(clippy::unwrap_used, reason = "a test may fail in the shortest way there is")]

use std::sync::Arc;

use dbos_runtime::{
    Ctx as RuntimeCtx, Datasource, ErrorKind, Retention, Rewind, Timestamp, TransactionOptions, workflow,
};
use harness::{Backend, Fresh, on_each_backend};
use sqlx::postgres::{PgPoolOptions, Postgres};

use super::ledger::{
    App, Fail, Parts, W, add, entries, give_away, has_table, kill, launch, process, steal, steps, unaware,
    witnesses,
};

type Ctx = RuntimeCtx<App, Fail>;

/// Stops at the door before its transaction, in the body, and after it, as far as its name says so.
#[workflow]
pub(super) async fn sells(ctx: Ctx, stops: String) -> Result<String, Fail> {
    let app = ctx.state().clone();
    if stops.contains("before") {
        app.door.pass().await;
    }
    let inside = stops.contains("inside");
    let sell = ctx.transaction(&ctx.state().db, "sell", async move |tx| {
        let run = app.run();
        add(tx, "ink").await?;
        if inside && run == 1 {
            app.door.pass().await;
        }
        Ok(format!("ink sold in run {run}"))
    });
    let sold = sell.await?;
    ctx.step("count", async || Ok(())).await?;
    ctx.step("count", async || Ok(())).await?;
    if stops.contains("after") {
        ctx.state().door.pass().await;
    }
    if stops.contains("error") { Err(Fail::SoldOut { left: 0 }) } else { Ok(sold) }
}

/// An application's database of its own.
pub(super) async fn elsewhere(fresh: &Fresh) -> (Fresh, App) {
    let application = Fresh::new(fresh.backend()).await;
    let app = Parts::on(&application).await;
    (application, app)
}

/// As `elsewhere`, with the witness table that an earlier workflow has made.
async fn in_use(fresh: &Fresh) -> (Fresh, App) {
    let (application, app) = elsewhere(fresh).await;
    let dbos = process(fresh, "earlier", app.clone(), sells).launch().await.unwrap();
    dbos.start(sells, String::new()).await.unwrap().result().await.unwrap();
    kill(dbos).await;
    for (database, table) in
        [(fresh, "workflow_status"), (fresh, "operation_outputs"), (&application, "ledger")]
    {
        database.execute(&format!("DELETE FROM {table}")).await;
    }
    (application, Parts::with(app.db.clone()))
}

on_each_backend! {
    async fn the_witness_is_committed_before_the_steps_record(fresh: Fresh) {
        let (application, app) = in_use(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        let handle = dbos.start(sells, "inside".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        // Nothing is written to the system database until this lock goes.
        let system = Datasource::<sqlx::Any>::connect(fresh.url()).await.unwrap();
        let (begin, lock) = match fresh.backend() {
            Backend::Sqlite => ("BEGIN IMMEDIATE", "SELECT 1"),
            Backend::Postgres => ("BEGIN", "LOCK TABLE dbos.operation_outputs IN EXCLUSIVE MODE"),
        };
        let mut locked = system.pool().begin_with(begin).await.unwrap();
        sqlx::query(lock).execute(&mut *locked).await.unwrap();
        app.door.let_in(1);
        harness::until("a witness", async || witnesses(&application).await == 1).await;
        assert_eq!((entries(&application).await.len(), steps(&fresh).await.len()), (1, 0));
        locked.rollback().await.unwrap();
        handle.result().await.unwrap();
        assert_eq!(steps(&fresh).await.len(), 3);
        assert!(!has_table(&fresh, "datasource_outputs").await);
        kill(dbos).await;
    }

    // Q474: what a crash between the two commits leaves.
    async fn a_witness_without_a_record_answers_for_the_body(fresh: Fresh) {
        let (application, app) = in_use(&fresh).await;
        let first = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        first.start(sells, "before".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        kill(first).await;
        let left = "INSERT INTO datasource_outputs (workflow_id, step_id, output, serialization) \
                    VALUES ('w', 1, '\"ink sold by a ghost\"', 'portable_json')";
        application.execute(left).await;

        let second = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        app.door.let_in(1);
        let handle = second.retrieve::<String, Fail>("w").await.unwrap();
        assert_eq!(handle.result().await.unwrap(), "ink sold by a ghost");
        assert_eq!((app.runs(), entries(&application).await.len()), (0, 0));
        assert_eq!(steps(&fresh).await[0], ("sell".to_owned(), "\"ink sold by a ghost\"".to_owned()));
        assert_eq!(witnesses(&application).await, 0);
        kill(second).await;
    }

    // Q486
    async fn witnesses_go_with_the_outcome_whatever_it_is(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        for (stops, is_ok) in [("after", true), ("after error", false)] {
            let handle = dbos.start(sells, stops.to_owned()).await.unwrap();
            app.door.knock().await;
            assert_eq!(witnesses(&application).await, 1);
            app.door.let_in(1);
            assert_eq!(handle.result().await.is_ok(), is_ok);
            assert_eq!(witnesses(&application).await, 0);
        }
        assert_eq!(entries(&application).await.len(), 2);
        kill(dbos).await;
    }

    // Q486: the execution that ends the workflow is not the one that left the witness.
    async fn witnesses_go_when_another_process_ends_the_workflow(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let first = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        first.start(sells, "after".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        kill(first).await;
        assert_eq!(witnesses(&application).await, 1);

        // A process that has a pool of its own, and has never run a transaction.
        let reopened = Parts::with(Datasource::connect(application.url()).await.unwrap());
        let second = process(&fresh, "a", reopened.clone(), sells).launch().await.unwrap();
        reopened.door.let_in(1);
        second.retrieve::<String, Fail>("w").await.unwrap().result().await.unwrap();
        assert_eq!((reopened.runs(), witnesses(&application).await), (0, 0));
        kill(second).await;
    }

    // Q487: a resume may need them.
    async fn a_cancelled_workflow_keeps_its_witnesses(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        let handle = dbos.start(sells, "after".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        assert!(dbos.cancel(handle.id()).await.unwrap());
        app.door.let_in(1);
        handle.result().await.unwrap_err();
        assert_eq!(witnesses(&application).await, 1);
        kill(dbos).await;
    }

    // K32: an id that retention has freed is as good as new.
    async fn a_collected_workflow_takes_its_witnesses_along(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        let handle = dbos.start(sells, "after".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        assert!(dbos.cancel(handle.id()).await.unwrap());
        app.door.let_in(1);
        handle.result().await.unwrap_err();
        assert_eq!(witnesses(&application).await, 1);
        let everything = Retention::before(Timestamp::from_millis(4_000_000_000_000));
        assert_eq!(dbos.workflows().collect(&everything).await.unwrap().workflows, 1);
        assert_eq!(witnesses(&application).await, 0);
        let again = dbos.start(sells, String::new()).id("w").await.unwrap();
        assert_eq!((again.created(), again.result().await.unwrap()), (true, "ink sold in run 2".to_owned()));
        assert_eq!(entries(&application).await, ["ink", "ink"]);
        kill(dbos).await;
    }

    // What a datasource cannot forget now is not made worse: the rows of later batches stay.
    async fn a_retention_that_cannot_forget_stops(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        for n in 0..6 {
            dbos.start(sells, String::new()).id(format!("w{n}")).await.unwrap().result().await.unwrap();
        }
        let table = if application.backend() == Backend::Postgres { "dbos.datasource_outputs" } else { "datasource_outputs" };
        application.execute(&format!("ALTER TABLE {table} RENAME COLUMN step_id TO elsewhere")).await;
        let one_by_one = Retention::before(Timestamp::from_millis(4_000_000_000_000)).batch(1);
        dbos.workflows().collect(&one_by_one).await.unwrap_err();
        // One is being forgotten and one is told of while the third is deleted.
        assert!((3..=5).contains(&fresh.scalar("SELECT count(*) FROM workflow_status").await));
        application.execute(&format!("ALTER TABLE {table} RENAME COLUMN elsewhere TO step_id")).await;
        dbos.workflows().collect(&one_by_one).await.unwrap();
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
        kill(dbos).await;
    }

    // Upstream cleans them in a rewind too: by a process that was told of the database and has never used it.
    async fn a_rewind_and_a_delete_take_the_witnesses_along(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let first = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        for workflow in ["w", "other"] {
            first.start(sells, "after".to_owned()).id(workflow).await.unwrap();
            app.door.knock().await;
            assert!(first.cancel(&workflow.parse().unwrap()).await.unwrap());
        }
        kill(first).await;
        assert_eq!((witnesses(&application).await, entries(&application).await.len()), (2, 2));

        let reopened = Parts::with(Datasource::connect(application.url()).await.unwrap());
        let second = process(&fresh, "b", reopened.clone(), sells).datasource(&reopened.db);
        let second = second.launch().await.unwrap();
        second.workflows().delete(["other"]).await.unwrap();
        assert_eq!(witnesses(&application).await, 1);
        reopened.door.let_in(1);
        let again = second.workflows().rewind(Rewind::of("w", 1)).await.unwrap();
        assert_eq!(again.result().await.unwrap(), "ink sold in run 1");
        // The body ran again, for nothing was left of what it had done before.
        assert_eq!((reopened.runs(), entries(&application).await.len()), (1, 3));
        kill(second).await;
    }

    // Q490: the witnesses go first, the system database last, so there is always something to repeat.
    async fn a_rewind_that_fails_leaves_the_workflow_as_it_is_and_can_be_repeated(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        let handle = dbos.start(sells, "after".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        assert!(dbos.cancel(handle.id()).await.unwrap());
        app.door.let_in(1);
        handle.result().await.unwrap_err();
        let table = if fresh.backend() == Backend::Postgres { "dbos.datasource_outputs" } else { "datasource_outputs" };
        let rewind = async || dbos.workflows().rewind(Rewind::of("w", 1)).await;
        let row = async || fresh.rows("SELECT * FROM workflow_status").await;
        let before = row().await;

        application.execute(&format!("ALTER TABLE {table} RENAME COLUMN step_id TO elsewhere")).await;
        rewind().await.unwrap_err();
        assert_eq!((row().await, steps(&fresh).await.len(), witnesses(&application).await), (before.clone(), 3, 1));
        application.execute(&format!("ALTER TABLE {table} RENAME COLUMN elsewhere TO step_id")).await;

        let trigger = "TRIGGER refuse BEFORE UPDATE ON workflow_status";
        let (refuse, allow) = match fresh.backend() {
            Backend::Sqlite => (format!("CREATE {trigger} BEGIN SELECT RAISE(ABORT, 'planted'); END"), "DROP TRIGGER refuse"),
            Backend::Postgres => (
                format!("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$;
                    CREATE {trigger} FOR EACH ROW EXECUTE FUNCTION refuse()"),
                "DROP TRIGGER refuse ON workflow_status",
            ),
        };
        fresh.execute(&refuse).await;
        rewind().await.unwrap_err();
        assert_eq!((row().await, steps(&fresh).await.len(), witnesses(&application).await), (before, 3, 0));
        fresh.execute(allow).await;

        app.door.let_in(1);
        let again = tokio::time::timeout(harness::PATIENCE, rewind().await.unwrap().result()).await;
        assert_eq!(again.unwrap().unwrap(), "ink sold in run 2");
        assert_eq!((app.runs(), entries(&application).await.len()), (2, 2));
        kill(dbos).await;
    }

    // Q484
    async fn a_witness_table_of_before_the_versions_is_adopted(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let first = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        first.start(sells, "before".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        kill(first).await;
        let schema = if fresh.backend() == Backend::Postgres { "CREATE SCHEMA dbos;" } else { "" };
        let table = if schema.is_empty() { "datasource_outputs" } else { "dbos.datasource_outputs" };
        application
            .execute(&format!(
                "{schema} CREATE TABLE {table} (workflow_id TEXT NOT NULL, step_id INT NOT NULL, output TEXT, error TEXT,
                    serialization TEXT, created_at BIGINT NOT NULL, PRIMARY KEY (workflow_id, step_id));
                 INSERT INTO {table} VALUES ('w', 1, '\"ink sold by a ghost\"', NULL, 'portable_json', 7)"
            ))
            .await;
        assert!(!has_table(&application, "dbos_datasource_migrations").await);

        let second = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        app.door.let_in(1);
        let handle = second.retrieve::<String, Fail>("w").await.unwrap();
        assert_eq!(handle.result().await.unwrap(), "ink sold by a ghost");
        assert_eq!((app.runs(), witnesses(&application).await), (0, 0));
        assert_eq!(application.scalar("SELECT sum(version) FROM dbos_datasource_migrations").await, 1);
        kill(second).await;
    }

    // Q488
    async fn an_execution_that_lost_its_workflow_leaves_the_witnesses(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells);
        let dbos = unaware(dbos).launch().await.unwrap();
        dbos.start(sells, "after".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        steal(&fresh).await;
        app.door.let_in(1);
        // A shutdown that waits for the execution to end.
        dbos.shutdown(harness::PATIENCE).await;
        assert_eq!(witnesses(&application).await, 1);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'PENDING'").await, 1);
    }

    // Q491
    async fn an_outcome_does_not_depend_on_the_removal_of_witnesses(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        let handle = dbos.start(sells, "after".to_owned()).await.unwrap();
        app.door.knock().await;
        application.execute("DROP TABLE datasource_outputs").await;
        app.door.let_in(1);
        handle.result().await.unwrap();
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").await, 1);
        kill(dbos).await;
    }

    async fn a_workflow_id_that_comes_back_finds_no_old_witness(fresh: Fresh) {
        let (application, app) = elsewhere(&fresh).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        for run in ["1", "2"] {
            let handle = dbos.start(sells, String::new()).id("w").await.unwrap();
            assert_eq!(handle.result().await.unwrap(), format!("ink sold in run {run}"));
            for table in ["operation_outputs", "workflow_status"] {
                fresh.execute(&format!("DELETE FROM {table}")).await;
            }
        }
        assert_eq!(entries(&application).await.len(), 2);
        kill(dbos).await;
    }

    // Q478, Q479: neither a result nor an error of an execution that is not the owner any more.
    async fn a_stale_execution_commits_and_records_nothing(fresh: Fresh) {
        for fails in [false, true] {
            let (application, app) = in_use(&fresh).await;
            let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
            let dbos = launch(unaware(harness::builder(&fresh)), app.clone(), move |ctx: Ctx| {
                let told = told.clone();
                async move {
                    let app = ctx.state().clone();
                    let late = ctx.transaction(&ctx.state().db, "late", async move |tx| {
                        app.run();
                        add(tx, "late").await?;
                        app.door.pass().await;
                        if fails { Err(Fail::SoldOut { left: 1 }) } else { Ok(()) }
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
            assert_eq!(hears.recv().await.unwrap(), Some(ErrorKind::LostOwnership), "{fails}");
            assert_eq!((app.runs(), entries(&application).await.len(), witnesses(&application).await), (1, 0, 0));
            assert_eq!(steps(&fresh).await.len(), 0, "{fails}");
            kill(dbos).await;
        }
    }

    // K22, Q481: the first owner is in the middle of the body when a second one takes the workflow over.
    async fn two_executions_of_one_workflow_have_one_effect_and_one_trail(fresh: Fresh) {
        let (application, app) = in_use(&fresh).await;
        let first = unaware(process(&fresh, "a", app.clone(), sells)).launch().await.unwrap();
        first.start(sells, "inside".to_owned()).id("w").await.unwrap();
        app.door.knock().await;

        let other = Parts::with(Datasource::connect(application.url()).await.unwrap());
        // Its own first run does not stop at the door.
        other.run();
        give_away(&fresh).await;
        let second = process(&fresh, "b", other.clone(), sells).launch().await.unwrap();
        let taken = "SELECT count(*) FROM workflow_status WHERE executor_id = 'b' AND owner_xid IS NOT NULL";
        harness::until("taken over", async || fresh.scalar(taken).await == 1).await;
        app.door.let_in(1);

        // A shutdown that waits for the execution to end.
        first.shutdown(harness::PATIENCE).await;
        let adopted = second.retrieve::<String, Fail>("w").await.unwrap();
        let result = adopted.result().await.unwrap();
        // The two transactions may meet in a serialization failure, after which a body runs once more.
        assert_eq!(result, format!("ink sold in run {}", other.runs()));
        assert!((1..=2).contains(&app.runs()) && (2..=3).contains(&other.runs()), "{} {}", app.runs(), other.runs());
        assert_eq!(entries(&application).await, ["ink"]);
        let names: Vec<String> = steps(&fresh).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["sell", "count", "count"]);
        kill(second).await;
    }

    async fn the_two_databases_may_be_of_different_kinds(fresh: Fresh) {
        let kind = if fresh.backend() == Backend::Sqlite { Backend::Postgres } else { Backend::Sqlite };
        let application = Fresh::new(kind).await;
        let app = Parts::on(&application).await;
        let dbos = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        let handle = dbos.start(sells, "after".to_owned()).await.unwrap();
        app.door.knock().await;
        assert_eq!((witnesses(&application).await, entries(&application).await.len()), (1, 1));
        app.door.let_in(1);
        handle.result().await.unwrap();
        assert_eq!((app.runs(), witnesses(&application).await), (1, 0));
        kill(dbos).await;
    }
}

/// A datasource that was not told of the system tables' schema treats its database as another one.
#[tokio::test]
async fn a_datasource_that_looks_in_the_wrong_schema_is_still_exact() {
    let fresh = Fresh::new(Backend::Postgres).await;
    let app = Parts::on(&fresh).await;
    let first = process(&fresh, "a", app.clone(), sells).schema("engine").launch().await.unwrap();
    first.start(sells, "after".to_owned()).id("w").await.unwrap();
    app.door.knock().await;
    assert_eq!(fresh.scalar("SELECT count(*) FROM dbos.datasource_outputs").await, 1);
    kill(first).await;
    let second = process(&fresh, "a", app.clone(), sells).schema("engine").launch().await.unwrap();
    app.door.let_in(1);
    second.retrieve::<String, Fail>("w").await.unwrap().result().await.unwrap();
    assert_eq!(fresh.scalar("SELECT count(*) FROM dbos.datasource_outputs").await, 0);
    assert_eq!((app.runs(), fresh.scalar("SELECT count(*) FROM ledger").await), (1, 1));
    kill(second).await;
}

/// A commit that has begun is finished and recorded though the workflow has stopped waiting for it.
#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_recorded() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (application, app) = in_use(&fresh).await;
    let mut locked = app.db.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE dbos.datasource_outputs IN EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let dbos = launch(harness::builder(&fresh), app.clone(), async |ctx: Ctx| {
        let app = ctx.state().clone();
        let write = TransactionOptions::named("unloved");
        let write = ctx.transaction(&ctx.state().db, write, async move |tx| Ok(add(tx, "x").await?));
        tokio::select! {
            written = write => written?,
            () = app.door.pass() => {}
        }
        app.door.pass().await;
        Ok(String::new())
    })
    .await;
    let handle = dbos.start(W, ()).await.unwrap();
    app.door.knock().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                   AND query LIKE 'INSERT INTO \"dbos\".datasource_outputs%'";
    harness::until("committing", async || application.scalar(waiting).await == 1).await;
    app.door.let_in(1);
    app.door.knock().await;
    locked.rollback().await.unwrap();
    harness::until("recorded", async || steps(&fresh).await.len() == 1).await;
    assert_eq!(entries(&application).await, ["x"]);
    app.door.let_in(1);
    handle.result().await.unwrap();
    kill(dbos).await;
}

// Q483
#[tokio::test]
async fn a_role_that_may_not_create_tables_uses_those_that_are_there() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let application = Fresh::new(Backend::Postgres).await;
    let app = Parts::on(&application).await;
    let dbos = process(&fresh, "a", app, sells).launch().await.unwrap();
    dbos.start(sells, String::new()).await.unwrap().result().await.unwrap();
    kill(dbos).await;
    // A role that every server has, and that may do nothing in a schema unless it is told.
    let grants = "GRANT USAGE ON SCHEMA dbos TO pg_monitor; GRANT SELECT ON dbos.dbos_datasource_migrations TO pg_monitor; \
                  GRANT SELECT, INSERT, DELETE ON dbos.datasource_outputs TO pg_monitor; \
                  GRANT SELECT, INSERT ON ledger TO pg_monitor; REVOKE CREATE ON SCHEMA public FROM PUBLIC";
    application.execute(grants).await;

    let options: sqlx::postgres::PgConnectOptions = application.url().parse().unwrap();
    let pool = PgPoolOptions::new().connect_with(options.options([("role", "pg_monitor")])).await.unwrap();
    let db = Datasource::<Postgres>::from_pool(pool).unwrap();
    let dbos = launch(
        harness::builder(&fresh),
        Arc::new(db),
        async |ctx: RuntimeCtx<Arc<Datasource<Postgres>>, Fail>| {
            let write = ctx.transaction(ctx.state(), "write", async move |tx| {
                sqlx::query("CREATE TABLE forbidden (n INT)").execute(&mut *tx).await.unwrap_err();
                Ok(())
            });
            // The forbidden statement has spoiled the transaction.
            assert_eq!(write.await.unwrap_err().kind(), Some(ErrorKind::Transaction));
            let write = ctx.transaction(ctx.state(), "write", async move |tx| {
                sqlx::query("INSERT INTO ledger VALUES ('modest')").execute(tx).await?;
                Ok(String::new())
            });
            write.await
        },
    )
    .await;
    dbos.start(W, ()).await.unwrap().result().await.unwrap();
    assert_eq!(entries(&application).await, ["ink", "modest"]);
    assert_eq!(witnesses(&application).await, 0);
    kill(dbos).await;
}
