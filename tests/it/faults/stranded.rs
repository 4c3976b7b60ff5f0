//! Sessions that nobody drives any more: the server ends them, and what they had locked is free.

use dbos_runtime::Client;
use harness::proxy::Mode;
use sqlx::{AnyConnection, Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::*;

// G.189
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_frozen_in_a_transaction_does_not_hold_up_a_cancel() {
    let (fresh, site, dbos) = behind_a_proxy().await;
    for name in ["a", "b"] {
        dbos.start(two_steps, ()).id(name).await.unwrap();
    }
    let first = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid IN ('a', 'b')";
    harness::until("both are at the gate", async || fresh.scalar(first).await == 2).await;
    let mut rival = PgConnection::connect(fresh.url()).await.unwrap();
    let mut lock = rival.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM dbos.workflow_status WHERE workflow_uuid = 'b' FOR UPDATE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let mut frozen = JoinSet::new();
    frozen.spawn(dbos.workflows().delete(["a", "b"]).into_future());
    let sessions = |what: &str| {
        format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND {what}"
        )
    };
    let waits = sessions("wait_event_type = 'Lock'");
    harness::until("it waits for the second row", async || fresh.scalar(&waits).await == 1).await;
    site.proxy().set_mode(Mode::BlackHole);
    lock.rollback().await.unwrap();
    let idle = sessions("state = 'idle in transaction'");
    harness::until("it has locked both", async || fresh.scalar(&idle).await == 1).await;

    let client = Client::builder().database_url(fresh.url()).application("tests");
    let client = client.patience(Duration::from_secs(30)).connect().await.unwrap();
    assert!(client.cancel(&id("a")).await.unwrap(), "it was neither deleted nor out of reach");
    assert_eq!(fresh.scalar(&idle).await, 0, "the server has ended the session");
}

/// What a session of a datasource knows of the life of its other end.
#[workflow]
async fn told(ctx: Ctx, _: ()) -> Result<String, Error> {
    let db = ctx.state().db.clone();
    ctx.transaction(&db, "ask", async |tx: &mut AnyConnection| {
        Ok(sqlx::query_scalar("SELECT current_setting('tcp_keepalives_idle')").fetch_one(tx).await?)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datasources_sessions_are_given_up_when_their_host_vanishes() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (_site, builder) = site(&fresh, None).await;
    let dbos = builder.register(told).launch().await.unwrap();
    assert_eq!(dbos.start(told, ()).await.unwrap().result().await.unwrap(), "10");
}
