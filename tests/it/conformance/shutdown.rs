//! Shutting down: what runs gets its time, the rest is left to be recovered, and nothing stays open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dbos_runtime::{Dbos, Error, ErrorKind};
use futures_util::future::join_all;
use harness::{Backend, Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, id, launch, launch_as, result_of, start, status, steps, until_rows,
};

async fn waits(ctx: Ctx, _: Value) -> Result<Value, Error> {
    Ok(json!(ctx.recv::<Value>("go").timeout(HOUR).await?))
}

/// A body that goes on when the gate opens, inside a step.
fn gated(
    gate: &Arc<Semaphore>,
) -> impl Fn(Ctx, Value) -> futures_util::future::BoxFuture<'static, Result<Value, Error>> + use<> {
    let gate = Arc::clone(gate);
    move |ctx, _| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            ctx.step("gated", || async {
                gate.acquire().await.unwrap().forget();
                Ok(())
            })
            .await?;
            Ok(json!("done"))
        })
    }
}

/// Fails when anything of a runtime still holds the database open.
async fn assert_closed(fresh: &Fresh) {
    match fresh.backend() {
        Backend::Postgres => {
            let others = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
            until_rows(fresh, 0, others).await;
        }
        // The last connection to close takes the log away.
        Backend::Sqlite => {
            let log = format!("{}-wal", fresh.url().trim_start_matches("sqlite://"));
            assert!(!std::path::Path::new(&log).exists(), "a connection is open");
        }
    }
}

/// Whether anything holds the database open: the check above can fail.
async fn is_open(fresh: &Fresh) -> bool {
    match fresh.backend() {
        Backend::Postgres => {
            let others = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
            fresh.scalar(&format!("SELECT count(*) FROM {others}")).await > 0
        }
        Backend::Sqlite => {
            std::path::Path::new(&format!("{}-wal", fresh.url().trim_start_matches("sqlite://"))).exists()
        }
    }
}

/// No test waits for an hour, so what ends was not waiting.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(harness::PATIENCE, what).await.expect("it ends in time")
}

on_each_backend! {
    async fn what_runs_may_end_within_the_drain_and_no_longer_is_waited_for_than_needed(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let dbos = launch(&fresh, gated(&gate)).await;
        let handle = start(&dbos, "w").await;
        assert!(is_open(&fresh).await);
        let token = dbos.shutdown_token();
        let open = async {
            token.cancelled().await;
            gate.add_permits(1);
            result_of(&handle).await
        };
        let both = async { tokio::join!(dbos.shutdown(HOUR), open) };
        let ((), result) = within(both).await;
        assert_eq!(result.unwrap(), "done");
        assert_closed(&fresh).await;
        assert_eq!(status(&fresh, "w").await, "SUCCESS");
        // A second call has nothing to do, and a clone is the same runtime.
        within(dbos.clone().shutdown(HOUR)).await;
    }

    // 53
    async fn what_is_written_during_a_shutdown_carries_the_name_of_its_process(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let gate_too = Arc::clone(&gate);
        let dbos = launch_as(harness::builder(&fresh).executor_id("leaving"), move |ctx, _| {
            let gate = Arc::clone(&gate_too);
            async move {
                gate.acquire().await.unwrap().forget();
                ctx.step("late", async || Ok(())).await?;
                ctx.set_event("late", &1).await?;
                Ok(json!("done"))
            }
        })
        .await;
        let handle = start(&dbos, "w").await;
        let token = dbos.shutdown_token();
        let open = async {
            token.cancelled().await;
            gate.add_permits(1);
            result_of(&handle).await
        };
        let both = async { tokio::join!(dbos.shutdown(HOUR), open) };
        let ((), result) = within(both).await;
        assert_eq!(result.unwrap(), "done");
        assert_eq!(steps(&fresh, "w").await.len(), 2);
        let named = "workflow_status WHERE executor_id = 'leaving' AND status = 'SUCCESS'";
        until_rows(&fresh, 1, named).await;
    }

    async fn what_does_not_end_in_time_is_left_to_be_recovered(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let dbos = launch(&fresh, gated(&gate)).await;
        let handle = start(&dbos, "w").await;
        let began = Instant::now();
        within(dbos.shutdown(Duration::from_millis(50))).await;
        assert!(began.elapsed() >= Duration::from_millis(50), "it had its time");
        assert_closed(&fresh).await;
        let left = "workflow_status WHERE status = 'PENDING' AND executor_id = 'local' AND completed_at IS NULL";
        until_rows(&fresh, 1, left).await;
        assert!(steps(&fresh, "w").await.is_empty());
        assert_kind(within(handle.result()).await, ErrorKind::ShuttingDown);

        gate.add_permits(1);
        let dbos = launch(&fresh, gated(&gate)).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), "done");
        crash(&dbos).await;
    }

    // A body that swallows the signal, and one that never comes back.
    async fn a_body_that_does_not_cooperate_neither_records_an_outcome_nor_holds_up_the_end(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            if input == "never" {
                std::future::pending::<()>().await;
            }
            let stopped = ctx.recv::<Value>("go").timeout(HOUR).await.unwrap_err().kind();
            assert_eq!(stopped, ErrorKind::ShuttingDown);
            assert_eq!(ctx.set_event("k", &1).await.unwrap_err().kind(), ErrorKind::ShuttingDown);
            Ok(json!("swallowed"))
        })
        .await;
        start(&dbos, "swallows").await;
        dbos.start(W, json!("never")).id("never").await.unwrap();
        until_rows(&fresh, 1, "operation_outputs").await;
        within(dbos.shutdown(Duration::ZERO)).await;
        assert_closed(&fresh).await;
        until_rows(&fresh, 2, "workflow_status WHERE status = 'PENDING'").await;
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output").await, 0);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_events").await, 0);
    }

    // F39: a loop that takes every error for one that passes.
    async fn a_body_that_ignores_its_control_signal_is_dropped(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            loop {
                let _ = ctx.step("poll", async || Ok(())).await;
                let _ = match input.as_str() {
                    Some("sleeps") => ctx.sleep(HOUR).await,
                    _ => ctx.recv::<Value>("go").timeout(HOUR).await.map(drop),
                };
            }
        })
        .await;
        for (name, input) in [("sleeps", json!("sleeps")), ("receives", Value::Null), ("stays", Value::Null)] {
            dbos.start(W, input).id(name).await.unwrap();
        }
        until_rows(&fresh, 3, "operation_outputs WHERE function_name = 'DBOS.sleep'").await;
        for name in ["sleeps", "receives"] {
            assert!(dbos.cancel(&id(name)).await.unwrap());
        }
        harness::until("the cancelled ones have stopped", async || dbos.runtime_metrics().running == 1).await;
        within(dbos.shutdown(Duration::ZERO)).await;
        assert_closed(&fresh).await;
        assert_eq!(status(&fresh, "stays").await, "PENDING");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'CANCELLED'").await, 2);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output").await, 0);
    }

    // Q501
    async fn whatever_is_asked_after_a_shutdown_is_refused_and_does_not_hang(fresh: Fresh) {
        let dbos = launch(&fresh, waits).await;
        start(&dbos, "w").await;
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        crash(&dbos).await;
        let rows = fresh.scalar("SELECT count(*) FROM workflow_status").await;
        let w = id("w");
        let refused = ErrorKind::ShuttingDown;
        assert_kind(within(dbos.start(W, Value::Null).id("new").into_future()).await, refused);
        assert_kind(within(dbos.start(W, Value::Null).id("w").into_future()).await, refused);
        assert_kind(within(dbos.send(&w, "m").into_future()).await, refused);
        assert_kind(within(dbos.cancel(&w)).await, refused);
        assert_kind(within(dbos.get_event::<Value>(&w, "k", HOUR)).await, refused);
        assert_kind(within(dbos.get_all_events(&w)).await, refused);
        assert_kind(within(dbos.info("w")).await.map(drop), refused);
        assert_kind(within(handle.result()).await, refused);
        assert_kind(within(handle.try_result()).await, refused);
        let pinged = within(dbos.ping()).await.unwrap_err();
        assert!(pinged.is_transient(), "{pinged}");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, rows);
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 0);
    }

    async fn no_new_work_is_taken_while_the_rest_drains(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let dbos = launch(&fresh, gated(&gate)).await;
        start(&dbos, "w").await;
        let token = dbos.shutdown_token();
        let meanwhile = async {
            token.cancelled().await;
            assert_kind(dbos.start(W, Value::Null).id("new").await, ErrorKind::ShuttingDown);
            gate.add_permits(1);
        };
        tokio::join!(within(dbos.shutdown(HOUR)), meanwhile);
        assert_eq!(fresh.query("SELECT status FROM workflow_status").await, [[Some("SUCCESS".to_owned())]]);
    }

    // K51. A second and more: a thousand workflows, and the like of outside waiters.
    async fn a_thousand_waiters_are_released(fresh: Fresh) {
        const MANY: usize = 1000;
        let dbos = launch(&fresh, waits).await;
        let starts = (0..MANY).map(|n| dbos.start(W, Value::Null).id(format!("w{n}")).into_future());
        let handles: Vec<_> = join_all(starts).await.into_iter().map(Result::unwrap).collect();
        until_rows(&fresh, 1000, "operation_outputs").await;
        let nobody = id("nobody");
        let results = join_all(handles.iter().map(|handle| handle.result()));
        let events = join_all((0..MANY).map(|_| dbos.get_event::<Value>(&nobody, "k", HOUR)));
        let all = async { tokio::join!(results, events, crash(&dbos)) };
        let (results, events, ()) = within(all).await;
        let kinds = results.into_iter().map(|result| result.unwrap_err().kind());
        let kinds = kinds.chain(events.into_iter().map(|event| event.unwrap_err().kind()));
        assert_eq!(kinds.filter(|kind| *kind == ErrorKind::ShuttingDown).count(), 2 * MANY);
        assert_closed(&fresh).await;
        until_rows(&fresh, 1000, "workflow_status WHERE status = 'PENDING'").await;
    }

    async fn a_runtime_that_was_shut_down_leaves_its_neighbours_alone(fresh: Fresh) {
        let launch_named = async |executor: &str| -> Dbos {
            launch_as(harness::builder(&fresh).executor_id(executor), waits).await
        };
        let (one, two) = (launch_named("one").await, launch_named("two").await);
        let handle = start(&two, "w").await;
        start(&one, "v").await;
        crash(&one).await;
        two.send(&id("w"), "go").topic("go").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), "go");
        assert_eq!(status(&fresh, "v").await, "PENDING");
        crash(&two).await;
        assert_closed(&fresh).await;
    }
}
