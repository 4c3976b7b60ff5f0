//! A pooler in front of the server that speaks for itself: what ends a session says nothing of the statement (F05, F12, F20).

use harness::proxy::{Farewell, Mode};

use super::lost_replies::{steps, survives};
use super::*;

/// PgBouncer of today and of yesterday, a server that stops, a proxy that gives up.
const ENDINGS: [Farewell; 4] = [
    Farewell("FATAL", "08P01"),
    Farewell("ERROR", "08P01"),
    Farewell("FATAL", "57P05"),
    Farewell("FATAL", "XX000"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_recorded_though_the_session_ended_in_an_error() {
    for ending in ENDINGS {
        let (fresh, site, _dbos) = survives(move |ctx: Ctx| async move {
            let site = Arc::clone(ctx.state());
            ctx.step("step", || async {
                site.calls.fetch_add(1, Ordering::SeqCst);
                site.proxy().say_farewell(ending);
                site.proxy().cut_reply_after(1);
                Ok(7)
            })
            .await
        })
        .await;
        assert_eq!((site.calls(), steps(&fresh, "step").await), (1, (1, 1)), "{ending:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_stays_what_it_is_though_the_session_ended_in_an_error() {
    for ending in ENDINGS {
        survives(move |ctx: Ctx| async move {
            ctx.state().proxy().say_farewell(ending);
            ctx.state().proxy().cut_reply_after(1);
            Ok(7)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_transaction_is_found_though_the_session_ended_in_an_error() {
    for ending in ENDINGS {
        let (fresh, site, _dbos) = survives(move |ctx: Ctx| async move {
            let site = Arc::clone(ctx.state());
            let db = site.db.clone();
            let bought = ctx.transaction(&db, "buy", async move |tx: &mut sqlx::AnyConnection| {
                site.calls.fetch_add(1, Ordering::SeqCst);
                sqlx::query("INSERT INTO orders VALUES ('one', 1)").execute(tx).await?;
                site.proxy().say_farewell(ending);
                site.proxy().cut_after_commit();
                Ok::<_, Error>(7)
            });
            bought.await
        })
        .await;
        assert_eq!((site.calls(), steps(&fresh, "buy").await), (1, (1, 1)), "{ending:?}");
        assert_eq!(fresh.scalar("SELECT count(*) FROM orders WHERE id = 'one'").await, 1);
    }
}

// A body whose statement meets it runs again. The same code from Postgres itself is the body's own mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_runs_again_after_a_poolers_error_and_not_after_its_own() {
    let (_fresh, site, _dbos) = survives(async |ctx: Ctx| {
        let site = Arc::clone(ctx.state());
        let db = site.db.clone();
        let first = ctx.transaction(&db, "count", async move |tx: &mut sqlx::AnyConnection| {
            if site.calls.fetch_add(1, Ordering::SeqCst) == 0 {
                site.proxy().say_farewell(ENDINGS[1]);
                site.proxy().cut_reply_after(1);
            }
            sqlx::query("SELECT 1").execute(tx).await?;
            Ok::<_, Error>(5)
        });
        let first: u32 = first.await?;
        let wrong = ctx.transaction(&db, "wrong", async move |tx: &mut sqlx::AnyConnection| {
            sqlx::query("SELECT $1::int4 + $2::int4").bind(1).execute(tx).await?;
            Ok::<_, Error>(())
        });
        Ok(first + 2 * u32::from(wrong.await.is_err()))
    })
    .await;
    assert_eq!(site.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_waited_out() {
    for refusal in [Farewell("FATAL", "28P01"), Farewell("FATAL", "3D000"), Farewell("ERROR", "08P01")] {
        let (fresh, site, dbos) = behind_a_proxy().await;
        let handle = dbos.start(two_steps, ()).id("w").await.unwrap();
        let steps = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'w'";
        harness::until("the first step", async || fresh.scalar(steps).await == 1).await;
        site.proxy().set_mode(Mode::RefuseLogin(refusal));
        site.proxy().reset_all();
        site.gate.add_permits(1);
        harness::until("two tries", async || site.proxy().refused() >= 2).await;
        assert_eq!(fresh.scalar(steps).await, 1, "nothing gets through");
        site.proxy().set_mode(Mode::Pass);
        assert_eq!(handle.result().await.unwrap(), 3, "{refusal:?}");
        assert_eq!(fresh.scalar(steps).await, 2);
    }
}
