//! A transaction step as an open transaction in the workflow's own hands.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test may fail in the shortest way there is")]

use dbos_runtime::{Begun, Ctx as RuntimeCtx, Datasource, ErrorKind, workflow};
use harness::{Backend, Fresh, on_each_backend};

use super::ledger::{
    App, Fail, Parts, W, add, entries, kill, launch, process, steal, steps, unaware, witnesses,
};

type Ctx = RuntimeCtx<App, Fail>;

/// Sells in a transaction of its own making, which borrows what it needs; stops at the door before the commit or after.
#[workflow]
async fn sells(ctx: Ctx, (item, stop): (String, String)) -> Result<String, Fail> {
    let app = ctx.state();
    let sold = match ctx.begin(&app.db, "sell").await? {
        Begun::Recorded(sold) => format!("recorded: {sold}"),
        Begun::Fresh(mut tx) => {
            let run = app.run();
            add(&mut tx, &item).await?;
            if stop == "inside" && run == 1 {
                app.door.pass().await;
            }
            tx.commit(format!("{item} sold in run {run}")).await?
        }
    };
    if stop == "after" {
        app.door.pass().await;
    }
    Ok(sold)
}

/// Kills a process whose workflow is at the door, and gives the result that the next one finds.
async fn recovered(fresh: &Fresh, app: &App, stop: &str) -> String {
    let first = process(fresh, "a", app.clone(), sells).launch().await.unwrap();
    first.start(sells, ("ink".to_owned(), stop.to_owned())).id("w").await.unwrap();
    app.door.knock().await;
    kill(first).await;
    app.door.let_in(1);
    let second = process(fresh, "a", app.clone(), sells).launch().await.unwrap();
    let result = second.retrieve::<String, Fail>("w").await.unwrap().result().await.unwrap();
    kill(second).await;
    result
}

on_each_backend! {
    async fn a_committed_transaction_is_found_recorded(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        assert_eq!(recovered(&fresh, &app, "after").await, "recorded: ink sold in run 1");
        assert_eq!((app.runs(), entries(&fresh).await), (1, vec!["ink".to_owned()]));
        assert_eq!(steps(&fresh).await, [("sell".to_owned(), "\"ink sold in run 1\"".to_owned())]);
    }

    async fn one_that_was_dropped_is_rolled_back_and_fresh_again(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        assert_eq!(recovered(&fresh, &app, "inside").await, "ink sold in run 2");
        assert_eq!((app.runs(), entries(&fresh).await), (2, vec!["ink".to_owned()]));
        assert_eq!(steps(&fresh).await.len(), 1);
    }

    async fn it_is_as_exact_in_another_database(fresh: Fresh) {
        for (stop, result, runs) in [
            ("after", "recorded: ink sold in run 1", 1),
            ("inside", "ink sold in run 2", 2),
        ] {
            fresh.execute("DELETE FROM operation_outputs").await;
            fresh.execute("DELETE FROM workflow_status").await;
            let application = Fresh::new(fresh.backend()).await;
            let app = Parts::on(&application).await;
            assert_eq!(recovered(&fresh, &app, stop).await, result);
            assert_eq!((app.runs(), entries(&application).await.len()), (runs, 1), "{stop}");
            assert_eq!((steps(&fresh).await.len(), witnesses(&application).await), (1, 0), "{stop}");
        }
    }

    async fn a_workflow_that_drops_it_goes_on_without_its_rows(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let dbos = launch(harness::builder(&fresh), app, async |ctx: Ctx| {
            let app = ctx.state();
            if let Begun::<_, String, _>::Fresh(mut tx) = ctx.begin(&app.db, "given up").await? {
                add(&mut tx, "never").await?;
            }
            // On SQLite this one waits for the writer that was given back.
            match ctx.begin(&app.db, "next").await? {
                Begun::Recorded(done) => Ok(done),
                Begun::Fresh(mut tx) => {
                    add(&mut tx, "next").await?;
                    tx.commit("done".to_owned()).await
                }
            }
        })
        .await;
        assert_eq!(dbos.start(W, ()).await.unwrap().result().await.unwrap(), "done");
        assert_eq!(entries(&fresh).await, ["next"]);
        assert_eq!(steps(&fresh).await.len(), 1);
        kill(dbos).await;
    }

    async fn a_refused_commit_is_an_error_and_leaves_nothing(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        for table in [
            "CREATE TABLE parent (id BIGINT PRIMARY KEY)",
            "CREATE TABLE child (parent BIGINT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
        ] {
            sqlx::query(table).execute(app.db.pool()).await.unwrap();
        }
        let dbos = launch(harness::builder(&fresh), app, async |ctx: Ctx| {
            let Begun::Fresh(mut tx) = ctx.begin(&ctx.state().db, "adopt").await? else { panic!("recorded") };
            add(&mut tx, "never").await?;
            sqlx::query("INSERT INTO child (parent) VALUES (1)").execute(&mut *tx).await?;
            tx.commit(String::new()).await
        })
        .await;
        let error = dbos.start(W, ()).await.unwrap().result().await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::Transaction));
        assert_eq!(fresh.scalar("SELECT (SELECT count(*) FROM child) + (SELECT count(*) FROM ledger)").await, 0);
        assert_eq!(steps(&fresh).await.len(), 0);
        kill(dbos).await;
    }

    async fn a_stale_execution_cannot_commit_it(fresh: Fresh) {
        // In a database of the application's own, because an open transaction on SQLite would keep the thief out.
        let application = Fresh::new(fresh.backend()).await;
        let app = Parts::on(&application).await;
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let dbos = launch(unaware(harness::builder(&fresh)), app.clone(), move |ctx: Ctx| {
            let told = told.clone();
            async move {
                let app = ctx.state();
                let Begun::Fresh(mut tx) = ctx.begin(&app.db, "late").await? else { panic!("recorded") };
                add(&mut tx, "late").await?;
                app.door.pass().await;
                let refused = tx.commit(String::new()).await.err();
                told.send(refused.and_then(|error| error.kind())).unwrap();
                Ok(String::new())
            }
        })
        .await;
        dbos.start(W, ()).await.unwrap();
        app.door.knock().await;
        steal(&fresh).await;
        app.door.let_in(1);
        assert_eq!(hears.recv().await.unwrap(), Some(ErrorKind::LostOwnership));
        assert_eq!((entries(&application).await.len(), witnesses(&application).await), (0, 0));
        assert_eq!(steps(&fresh).await.len(), 0);
        kill(dbos).await;
    }
}

/// The same code for a driver of its own: what it dereferences to is that driver's connection.
macro_rules! native {
    ($($name:ident: $driver:ty, $connection:ty, $backend:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            async fn insert(tx: &mut $connection, entry: &str) -> Result<(), sqlx::Error> {
                sqlx::query("INSERT INTO ledger VALUES ($1)").bind(entry).execute(tx).await.map(drop)
            }
            let fresh = harness::fresh($backend).await;
            let db = Datasource::<$driver>::connect(fresh.url()).await.unwrap();
            sqlx::query("CREATE TABLE ledger (entry TEXT NOT NULL)").execute(db.pool()).await.unwrap();
            let dbos = launch(harness::builder(&fresh), db, async |ctx: RuntimeCtx<Datasource<$driver>, Fail>| {
                match ctx.begin(ctx.state(), "native").await? {
                    Begun::Recorded(done) => Ok(done),
                    Begun::Fresh(mut tx) => {
                        insert(&mut tx, "x").await?;
                        tx.commit("done".to_owned()).await
                    }
                }
            })
            .await;
            assert_eq!(dbos.start(W, ()).await.unwrap().result().await.unwrap(), "done");
            assert_eq!((entries(&fresh).await.len(), steps(&fresh).await.len()), (1, 1));
            kill(dbos).await;
        }
    )*};
}

native! {
    it_is_a_sqlite_connection: sqlx::Sqlite, sqlx::SqliteConnection, Backend::Sqlite;
    it_is_a_postgres_connection: sqlx::Postgres, sqlx::PgConnection, Backend::Postgres;
}
