//! Transaction steps on the system database: the application's rows and the step's record are one commit.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail in the shortest way there is"
)]

use std::time::Duration;

use dbos_runtime::{
    Ctx as RuntimeCtx, Datasource, ErrorKind, IsolationLevel, Queue, TransactionOptions, workflow,
};
use harness::on_each_backend;
use sqlx::AnyConnection;

use super::ledger::{
    self, App, Fail, Parts, W, add, entries, has_table, kill, launch, process, steal, steps, unaware,
};

type Ctx = RuntimeCtx<App, Fail>;

/// Writes a row and its record, then waits at the door.
#[workflow]
pub(super) async fn sells(ctx: Ctx, item: String) -> Result<String, Fail> {
    let app = ctx.state().clone();
    let sold = ctx
        .transaction(&ctx.state().db, "sell", async move |tx| {
            app.run();
            add(tx, &item).await?;
            Ok(format!("{item} sold"))
        })
        .await?;
    ctx.state().door.pass().await;
    Ok(sold)
}

/// Its first transaction fails after a write; what it saw of that is decided again after a crash.
#[workflow]
async fn sells_out(ctx: Ctx) -> Result<String, Fail> {
    let app = ctx.state().clone();
    let sold = ctx
        .transaction(&ctx.state().db, "sell", async move |tx| {
            app.run();
            add(tx, "never").await?;
            Err::<(), _>(Fail::SoldOut { left: 3 })
        })
        .await;
    ctx.transaction(&ctx.state().db, "apologize", async move |tx| Ok(add(tx, "sorry").await?)).await?;
    ctx.state().door.pass().await;
    sold.map(|()| String::new())
}

on_each_backend! {
    // Q474
    async fn a_transaction_is_recorded_and_not_run_again(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let first = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        first.start(sells, "ink".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        assert_eq!(steps(&fresh).await, [("sell".to_owned(), "\"ink sold\"".to_owned())]);
        kill(first).await;

        let second = process(&fresh, "a", app.clone(), sells).launch().await.unwrap();
        app.door.knock().await;
        app.door.let_in(1);
        let handle = second.retrieve::<String, Fail>("w").await.unwrap();
        assert_eq!(handle.result().await.unwrap(), "ink sold");
        assert_eq!((app.runs(), entries(&fresh).await), (1, vec!["ink".to_owned()]));
        assert!(!has_table(&fresh, "datasource_outputs").await, "the record alone is enough here");
        kill(second).await;
    }

    // Q475
    async fn an_error_rolls_back_and_is_handed_out_typed_by_every_replay(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let first = process(&fresh, "a", app.clone(), sells_out).launch().await.unwrap();
        first.start(sells_out, ()).id("w").await.unwrap();
        app.door.knock().await;
        assert_eq!(entries(&fresh).await, ["sorry"]);
        assert!(steps(&fresh).await[0].1.contains(r#"{"SoldOut":{"left":3}}"#), "{:?}", steps(&fresh).await);
        kill(first).await;

        let second = process(&fresh, "a", app.clone(), sells_out).launch().await.unwrap();
        app.door.knock().await;
        app.door.let_in(1);
        let error = second.retrieve::<String, Fail>("w").await.unwrap().result().await.unwrap_err();
        assert_eq!(error, Fail::SoldOut { left: 3 });
        assert_eq!((app.runs(), entries(&fresh).await), (1, vec!["sorry".to_owned()]));
        kill(second).await;
    }

    async fn a_panic_rolls_back_and_is_the_steps_error(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let dbos = launch(harness::builder(&fresh), app, async |ctx: Ctx| {
            let panicked = ctx
                .transaction(&ctx.state().db, "panics", async move |tx| -> Result<(), Fail> {
                    add(tx, "never").await?;
                    panic!("no ink");
                })
                .await;
            // The connection is as good as new.
            ctx.transaction(&ctx.state().db, "goes on", async move |tx| Ok(add(tx, "after").await?)).await?;
            let Err(Fail::Runtime(error)) = panicked else { panic!("{panicked:?}") };
            assert_eq!(error.kind(), ErrorKind::Panicked);
            Ok(error.to_string())
        })
        .await;
        let said = dbos.start(W, ()).await.unwrap().result().await.unwrap();
        assert!(said.contains("no ink"), "{said}");
        assert_eq!(entries(&fresh).await, ["after"]);
        assert_eq!(steps(&fresh).await.len(), 2);
        kill(dbos).await;
    }

    // K31
    async fn a_durable_call_inside_a_body_is_refused_and_takes_no_number(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let dbos = launch(harness::builder(&fresh), app, async |ctx: Ctx| {
            let inside = ctx.clone();
            let kinds = ctx
                .transaction(&ctx.state().db, "outer", async move |tx| {
                    add(tx, "outer").await?;
                    let step = inside.step("step", async || Ok(())).await.unwrap_err();
                    let nested = inside.transaction(&inside.state().db, "inner", async move |tx| Ok(add(tx, "inner").await?));
                    Ok(vec![step.kind(), nested.await.unwrap_err().kind()])
                })
                .await?;
            assert_eq!(kinds, [Some(ErrorKind::Misplaced); 2]);
            ctx.step("next", async || Ok(String::new())).await
        })
        .await;
        dbos.start(W, ()).await.unwrap().result().await.unwrap();
        assert_eq!(entries(&fresh).await, ["outer"]);
        let rows = fresh.query("SELECT function_id, function_name FROM operation_outputs ORDER BY function_id").await;
        let rows: Vec<String> = rows.into_iter().flatten().flatten().collect();
        assert_eq!(rows, ["1", "outer", "2", "next"]);
        kill(dbos).await;
    }

    async fn two_transactions_at_once_are_numbered_in_the_order_of_their_calls(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let dbos = launch(harness::builder(&fresh), app, async |ctx: Ctx| {
            let db = ctx.state().db.clone();
            let one = ctx.transaction(&db, "one", async move |tx| Ok(add(tx, "1").await?));
            let two = ctx.transaction(&db, "two", async move |tx| Ok(add(tx, "2").await?));
            let (two, one) = tokio::join!(two, one);
            one.and(two)?;
            Ok(String::new())
        })
        .await;
        dbos.start(W, ()).await.unwrap().result().await.unwrap();
        assert_eq!(entries(&fresh).await, ["1", "2"]);
        assert_eq!(steps(&fresh).await.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["one", "two"]);
        kill(dbos).await;
    }

    // Q478. The datasource is known to be the system database already, so nothing but the commit can notice.
    async fn an_execution_that_lost_its_workflow_cannot_commit(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let dbos = launch(unaware(harness::builder(&fresh)), app.clone(), move |ctx: Ctx| {
            let told = told.clone();
            async move {
                let app = ctx.state().clone();
                ctx.transaction(&ctx.state().db, "before", async move |tx| Ok(add(tx, "before").await?)).await?;
                app.door.pass().await;
                for name in ["late", "later"] {
                    let (app, entry) = (app.clone(), name.to_owned());
                    let late = ctx.transaction(&ctx.state().db, name, async move |tx| {
                        app.run();
                        Ok(add(tx, &entry).await?)
                    });
                    told.send(late.await.err().and_then(|error| error.kind())).unwrap();
                }
                Ok(String::new())
            }
        })
        .await;
        dbos.start(W, ()).id("w").await.unwrap();
        app.door.knock().await;
        steal(&fresh).await;
        app.door.let_in(1);
        for _ in 0..2 {
            assert_eq!(hears.recv().await.unwrap(), Some(ErrorKind::LostOwnership));
        }
        assert_eq!(app.runs(), 1, "the body ran, and after the loss no other does");
        assert_eq!(entries(&fresh).await, ["before"]);
        assert_eq!(steps(&fresh).await.len(), 1);
        kill(dbos).await;
    }

    async fn what_a_body_wrote_is_seen_inside_at_once_and_outside_after_the_commit(fresh: Fresh) {
        async fn count(executor: impl sqlx::Executor<'_, Database = sqlx::Any>) -> i64 {
            sqlx::query_scalar("SELECT count(*) FROM ledger").fetch_one(executor).await.unwrap()
        }
        let app = Parts::on(&fresh).await;
        let dbos = launch(harness::builder(&fresh), app, async |ctx: Ctx| {
            let db = ctx.state().db.clone();
            let pool = db.pool().clone();
            let seen = ctx
                .transaction(&db, "write", async move |tx: &mut AnyConnection| {
                    add(tx, "x").await?;
                    Ok((count(&mut *tx).await, count(&pool).await))
                })
                .await?;
            assert_eq!(seen, (1, 0));
            assert_eq!(count(db.pool()).await, 1);
            Ok(String::new())
        })
        .await;
        dbos.start(W, ()).await.unwrap().result().await.unwrap();
        kill(dbos).await;
    }

    // A constraint that is checked at the end fails the commit itself.
    async fn a_refused_commit_is_recorded_like_any_error(fresh: Fresh) {
        #[workflow]
        async fn orphan(ctx: Ctx) -> Result<String, Fail> {
            let app = ctx.state().clone();
            let adopt = ctx.transaction(&ctx.state().db, "adopt", async move |tx| {
                app.run();
                sqlx::query("INSERT INTO child (parent) VALUES (1)").execute(tx).await?;
                Ok(())
            });
            let refused = adopt.await;
            ctx.state().door.pass().await;
            refused.map(|()| String::new())
        }
        let app = Parts::on(&fresh).await;
        for table in [
            "CREATE TABLE parent (id BIGINT PRIMARY KEY)",
            "CREATE TABLE child (parent BIGINT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
        ] {
            sqlx::query(table).execute(app.db.pool()).await.unwrap();
        }
        let first = process(&fresh, "a", app.clone(), orphan).launch().await.unwrap();
        first.start(orphan, ()).id("w").await.unwrap();
        app.door.knock().await;
        kill(first).await;

        // Now it would succeed, but the workflow has seen it fail.
        fresh.execute("INSERT INTO parent (id) VALUES (1)").await;
        let second = process(&fresh, "a", app.clone(), orphan).launch().await.unwrap();
        app.door.let_in(1);
        let error = second.retrieve::<String, Fail>("w").await.unwrap().result().await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::Transaction));
        assert_eq!((app.runs(), fresh.scalar("SELECT count(*) FROM child").await), (1, 0));
        kill(second).await;
    }

    async fn a_result_that_cannot_be_stored_rolls_back_and_is_recorded_as_an_error(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let dbos = launch(harness::builder(&fresh), app, async |ctx: Ctx| {
            let odd = ctx.transaction(&ctx.state().db, "odd", async move |tx| {
                add(tx, "never").await?;
                // JSON has no such key.
                Ok(std::collections::BTreeMap::from([((1, 2), 3)]))
            });
            let error = odd.await.unwrap_err();
            assert_eq!(error.kind(), Some(ErrorKind::Serialization));
            Ok(String::new())
        })
        .await;
        dbos.start(W, ()).await.unwrap().result().await.unwrap();
        assert_eq!(entries(&fresh).await.len(), 0);
        assert_eq!(steps(&fresh).await.len(), 1);
        kill(dbos).await;
    }

    // On SQLite all of these want the one writer: they queue, and nobody meets SQLITE_BUSY.
    async fn many_workflows_write_through_transactions_and_the_journal_at_once(fresh: Fresh) {
        const WORKFLOWS: i64 = 20;
        let app = Parts::on(&fresh).await;
        let dbos = launch(harness::builder(&fresh), app.clone(), async |ctx: Ctx| {
            let app = ctx.state().clone();
            for name in ["1", "2"] {
                let (app, entry) = (app.clone(), name.to_owned());
                let write = TransactionOptions::named(name).isolation(IsolationLevel::ReadCommitted);
                ctx.transaction(&ctx.state().db, write, async move |tx| {
                    app.run();
                    Ok(add(tx, &entry).await?)
                })
                .await?;
                ctx.step("step", async || Ok(())).await?;
                ctx.set_event("at", name).await?;
            }
            Ok(String::new())
        })
        .await;
        let all = async {
            let mut handles = Vec::new();
            for _ in 0..WORKFLOWS {
                handles.push(dbos.start(W, ()).await.unwrap());
            }
            for handle in handles {
                handle.result().await.unwrap();
            }
        };
        tokio::time::timeout(harness::PATIENCE, all).await.expect("they stand in each other's way");
        assert_eq!(fresh.scalar("SELECT count(*) FROM ledger").await, 2 * WORKFLOWS);
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, 6 * WORKFLOWS);
        assert_eq!(i64::from(app.runs()), 2 * WORKFLOWS, "no body ran in vain");
        kill(dbos).await;
    }
}

#[tokio::test]
async fn the_native_drivers_work_as_well() {
    let fresh = harness::fresh(harness::Backend::Sqlite).await;
    let db = Datasource::<sqlx::Sqlite>::connect(fresh.url()).await.unwrap();
    sqlx::query("CREATE TABLE ledger (entry TEXT)").execute(db.pool()).await.unwrap();
    let dbos =
        launch(harness::builder(&fresh), db, async |ctx: RuntimeCtx<Datasource<sqlx::Sqlite>, Fail>| {
            let write = ctx.transaction(ctx.state(), "write", async move |tx| {
                sqlx::query("INSERT INTO ledger VALUES ('x')").execute(tx).await?;
                Ok("done".to_owned())
            });
            write.await
        })
        .await;
    assert_eq!(dbos.start(W, ()).await.unwrap().result().await.unwrap(), "done");
    assert_eq!(ledger::entries(&fresh).await, ["x"]);
    kill(dbos).await;
}

on_each_backend! {
    // Where the database has one writer, each of these would wait for the transaction that waits for it.
    async fn the_runtime_refuses_to_write_from_inside_a_body(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let runtime = std::sync::Arc::new(std::sync::OnceLock::<dbos_runtime::Dbos>::new());
        let inside = runtime.clone();
        let dbos = launch(harness::builder(&fresh), app, move |ctx: Ctx| {
            let inside = inside.clone();
            async move {
                let id = ctx.workflow_id().clone();
                let kinds = ctx.transaction(&ctx.state().db, "writes", async move |_| {
                    let dbos = inside.get().expect("launched");
                    let refused = [
                        dbos.send(&id, "x").await.err(),
                        dbos.start(W, ()).await.err(),
                        dbos.start(W, ()).debounce("k", Duration::from_secs(1)).await.err(),
                        dbos.queues().register(Queue::new("q")).await.err(),
                        dbos.queues().delete("q").await.err(),
                        dbos.workflows().update_attributes(&id, None).await.err(),
                        dbos.workflows().resume([&id]).await.err(),
                        dbos.cancel(&id).await.err(),
                    ];
                    Ok(refused.map(|error| error.map(|error| error.kind())).to_vec())
                });
                Ok(format!("{:?}", kinds.await?))
            }
        })
        .await;
        runtime.set(dbos.clone()).expect("set once");
        let result = dbos.start(W, ()).await.unwrap();
        let kinds = tokio::time::timeout(harness::PATIENCE, result.result()).await;
        assert_eq!(kinds.expect("nothing waits for itself").unwrap(), format!("{:?}", [Some(ErrorKind::Misplaced); 8]));
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
        kill(dbos).await;
    }
}
