//! What a process left behind is taken up by the next one of its name: all of it, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use dbos_runtime::{Builder, Error, ErrorKind, WorkflowRef};
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};

use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, id, launch, launch_as, result_of, start, status, steps, until_rows,
};

/// One recorded step, then a wait for the message that lets the workflow end.
async fn waits(ctx: Ctx, calls: Arc<AtomicU32>) -> Result<Value, Error> {
    ctx.step("once", || async {
        calls.fetch_add(1, SeqCst);
        Ok(())
    })
    .await?;
    Ok(json!(ctx.recv::<Value>("go").timeout(HOUR).await?))
}

fn counted(
    calls: &Arc<AtomicU32>,
) -> impl Fn(Ctx, Value) -> futures_util::future::BoxFuture<'static, Result<Value, Error>> + use<> {
    let calls = Arc::clone(calls);
    move |ctx, _| Box::pin(waits(ctx, Arc::clone(&calls)))
}

/// A runtime on the same database with another name, executor or version.
fn other(fresh: &Fresh, application: &str, executor: &str, version: &str) -> Builder<()> {
    dbos_runtime::Dbos::builder(application)
        .database_url(fresh.url())
        .polling_interval(Duration::from_millis(50))
        .executor_id(executor)
        .application_version(version)
        .peer_recovery(false)
}

/// How far a recovered row has come: status, attempts, queue, executor.
async fn facts(fresh: &Fresh, id: &str) -> Vec<Option<String>> {
    let sql = format!(
        "SELECT status AS a, recovery_attempts AS b, queue_name AS c, executor_id AS d FROM workflow_status
         WHERE workflow_uuid = '{id}'"
    );
    fresh.query(&sql).await.remove(0)
}

fn row(status: &str, attempts: &str, queue: Option<&str>, executor: &str) -> Vec<Option<String>> {
    [Some(status), Some(attempts), queue, Some(executor)].map(|text| text.map(str::to_owned)).to_vec()
}

on_each_backend! {
    // C66, C67, C68, C71, C80
    async fn unfinished_work_resumes_after_its_last_recorded_step_through_the_internal_queue(fresh: Fresh) {
        let calls = Arc::default();
        let dbos = launch(&fresh, counted(&calls)).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 3").await;
        for attempts in 2..=4 {
            crash(&dbos).await;
            assert_eq!(status(&fresh, "w").await, "PENDING");
            let dbos = launch(&fresh, counted(&calls)).await;
            let claimed = format!("workflow_status WHERE status = 'PENDING' AND recovery_attempts = {attempts}");
            until_rows(&fresh, 1, &claimed).await;
            crash(&dbos).await;
        }
        assert_eq!(facts(&fresh, "w").await, row("PENDING", "4", Some("_dbos_internal_queue"), "local"));
        let dbos = launch(&fresh, counted(&calls)).await;
        dbos.send(&id("w"), "done").topic("go").await.unwrap();
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), "done");
        assert_eq!(calls.load(SeqCst), 1, "a recorded step never runs again");
        assert_eq!(facts(&fresh, "w").await, row("SUCCESS", "5", Some("_dbos_internal_queue"), "local"));
        assert_eq!(steps(&fresh, "w").await.len(), 3);
    }

    // C69, C72, C73
    async fn the_work_of_another_executor_version_or_application_is_left_alone(fresh: Fresh) {
        let calls = Arc::default();
        let owners = [("tests", "a", "v1"), ("tests", "b", "v1"), ("tests", "a", "v2"), ("others", "a", "v3")];
        for (n, (application, executor, version)) in owners.into_iter().enumerate() {
            let dbos = launch_as(other(&fresh, application, executor, version), counted(&calls)).await;
            start(&dbos, &format!("w{n}")).await;
            until_rows(&fresh, 1, &format!("operation_outputs WHERE workflow_uuid = 'w{n}' AND function_id = 3")).await;
            crash(&dbos).await;
        }
        let dbos = launch_as(other(&fresh, "tests", "a", "v1"), counted(&calls)).await;
        for n in 0..4 {
            dbos.send(&id(&format!("w{n}")), "done").topic("go").await.unwrap();
        }
        assert_eq!(result_of(&dbos.retrieve("w0").await.unwrap()).await.unwrap(), "done");
        // Another turn of the dispatcher: whatever it would take by mistake, it has had the time to.
        let later = start(&dbos, "later").await;
        dbos.send(&id("later"), "done").topic("go").await.unwrap();
        result_of(&later).await.unwrap();
        for (n, (_, executor, _)) in owners.into_iter().enumerate().skip(1) {
            assert_eq!(facts(&fresh, &format!("w{n}")).await, row("PENDING", "1", None, executor));
        }
    }

    // K13: one that waits for ten minutes holds nobody up.
    async fn a_recovered_workflow_that_waits_does_not_hold_up_the_launch_or_the_others(fresh: Fresh) {
        let calls = Arc::default();
        let dbos = launch(&fresh, counted(&calls)).await;
        for n in 0..3 {
            start(&dbos, &format!("w{n}")).await;
        }
        until_rows(&fresh, 3, "operation_outputs WHERE function_id = 3").await;
        crash(&dbos).await;
        let launching = launch(&fresh, counted(&calls));
        let dbos = tokio::time::timeout(harness::PATIENCE, launching).await.unwrap();
        dbos.send(&id("w2"), "done").topic("go").await.unwrap();
        assert_eq!(result_of(&dbos.retrieve("w2").await.unwrap()).await.unwrap(), "done");
        for waiting in ["w0", "w1"] {
            assert_eq!(facts(&fresh, waiting).await[..2], row("PENDING", "2", None, "")[..2]);
        }
    }

    // C74, K05
    async fn a_workflow_whose_code_is_gone_stays_queued_and_the_rest_recover(fresh: Fresh) {
        const GONE: WorkflowRef<Value, Value> = WorkflowRef::named("gone");
        let calls = Arc::default();
        let with_both = || harness::builder(&fresh).register_fn("gone", counted(&calls));
        let dbos = launch_as(with_both(), counted(&calls)).await;
        for n in 0..10 {
            let id = format!("w{n}");
            let start = if n == 2 { dbos.start(GONE, Value::Null) } else { dbos.start(W, Value::Null) };
            start.id(id).await.unwrap();
        }
        until_rows(&fresh, 10, "operation_outputs WHERE function_id = 3").await;
        crash(&dbos).await;
        let dbos = launch(&fresh, counted(&calls)).await;
        for n in (0..10).filter(|n| *n != 2) {
            dbos.send(&id(&format!("w{n}")), "done").topic("go").await.unwrap();
            let handle = dbos.retrieve(format!("w{n}")).await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), "done");
        }
        assert_eq!(facts(&fresh, "w2").await, row("ENQUEUED", "1", Some("_dbos_internal_queue"), "local"));
        crash(&dbos).await;
        // When the code comes back, so does the workflow.
        let dbos = launch_as(with_both(), counted(&calls)).await;
        dbos.send(&id("w2"), "done").topic("go").await.unwrap();
        assert_eq!(result_of(&dbos.retrieve("w2").await.unwrap()).await.unwrap(), "done");
    }

    // C76, C78, K06: limit n allows n + 1 dispatches, and a parked one holds nobody up.
    async fn a_workflow_that_was_tried_too_often_is_parked_and_the_rest_recover(fresh: Fresh) {
        let calls = Arc::default();
        let limited = || harness::builder(&fresh).max_recovery_attempts(2);
        let dbos = launch_as(limited(), counted(&calls)).await;
        for n in 0..3 {
            start(&dbos, &format!("w{n}")).await;
        }
        until_rows(&fresh, 3, "operation_outputs WHERE function_id = 3").await;
        crash(&dbos).await;
        fresh.execute("UPDATE workflow_status SET recovery_attempts = 0 WHERE workflow_uuid <> 'w1'").await;
        for dispatch in 2..=3 {
            let dbos = launch_as(limited(), counted(&calls)).await;
            until_rows(&fresh, 3, "workflow_status WHERE status = 'PENDING' AND owner_xid IS NOT NULL
                AND queue_name IS NOT NULL AND started_at_epoch_ms IS NOT NULL").await;
            assert_eq!(facts(&fresh, "w1").await[1], Some(dispatch.to_string()));
            crash(&dbos).await;
        }
        let dbos = launch_as(limited(), counted(&calls)).await;
        let handle = dbos.retrieve::<Value, Error>("w1").await.unwrap();
        assert_kind(result_of(&handle).await, ErrorKind::MaxRecoveryAttemptsExceeded);
        for n in [0, 2] {
            dbos.send(&id(&format!("w{n}")), "done").topic("go").await.unwrap();
            assert_eq!(result_of(&dbos.retrieve(format!("w{n}")).await.unwrap()).await.unwrap(), "done");
        }
        assert_eq!(facts(&fresh, "w1").await, row("MAX_RECOVERY_ATTEMPTS_EXCEEDED", "4", None, "local"));
        let parked = "workflow_status WHERE workflow_uuid = 'w1' AND completed_at IS NOT NULL AND owner_xid IS NULL
            AND started_at_epoch_ms IS NULL";
        until_rows(&fresh, 1, parked).await;
        // A start under its id finds it and runs nothing.
        let again = dbos.start(W, Value::Null).id("w1").await.unwrap();
        assert!(!again.created());
        assert_kind(result_of(&again).await, ErrorKind::MaxRecoveryAttemptsExceeded);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output").await, 2);
        crash(&dbos).await;
        // Parked is an end: no later launch touches it.
        crash(&launch_as(limited(), counted(&calls)).await).await;
        assert_eq!(facts(&fresh, "w1").await[1].as_deref(), Some("4"));
    }

    // C75, K09
    async fn a_row_without_an_id_is_ended_and_not_run(fresh: Fresh) {
        let calls = Arc::default();
        let dbos = launch(&fresh, counted(&calls)).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 3").await;
        crash(&dbos).await;
        fresh.execute("DELETE FROM operation_outputs; UPDATE workflow_status SET workflow_uuid = ''").await;
        let dbos = launch(&fresh, counted(&calls)).await;
        until_rows(&fresh, 1, "workflow_status WHERE workflow_uuid = '' AND status = 'ERROR'").await;
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1, "nothing was made of it");
        assert_eq!(calls.load(SeqCst), 1);
        crash(&dbos).await;
    }

    // More than one claim's worth.
    async fn three_hundred_unfinished_workflows_are_recovered(fresh: Fresh) {
        const MANY: usize = 300;
        let calls = Arc::default();
        let dbos = launch(&fresh, counted(&calls)).await;
        let starts = (0..MANY).map(|n| dbos.start(W, Value::Null).id(format!("w{n}")).into_future());
        assert!(join_all(starts).await.into_iter().all(|handle| handle.unwrap().created()));
        until_rows(&fresh, 300, "operation_outputs WHERE function_id = 3").await;
        crash(&dbos).await;
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'PENDING'").await, 300);

        let dbos = launch(&fresh, counted(&calls)).await;
        let ids: Vec<_> = (0..MANY).map(|n| id(&format!("w{n}"))).collect();
        join_all(ids.iter().map(|id| dbos.send(id, "done").topic("go").into_future())).await;
        until_rows(&fresh, 300, "workflow_status WHERE status = 'SUCCESS' AND recovery_attempts = 2").await;
        assert_eq!(calls.load(SeqCst), 300);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output WHERE output = '\"done\"'").await, 300);
    }

    // F29, F31, K02: several sweeps at once, by processes that wrongly share a name.
    async fn launches_at_once_under_one_name_run_everything_to_one_end(fresh: Fresh) {
        const MANY: usize = 30;
        let body = async |ctx: Ctx, input: Value| {
            if input == "sink" {
                return Ok(Value::Null);
            }
            ctx.step("work", || async { Ok(()) }).await?;
            ctx.send(&id("sink"), ctx.workflow_id().as_str()).await?;
            Ok(json!(ctx.recv::<Value>("go").timeout(HOUR).await?))
        };
        let first = launch(&fresh, body).await;
        first.start(W, json!("sink")).id("sink").await.unwrap().result().await.unwrap();
        join_all((0..MANY).map(|n| first.start(W, Value::Null).id(format!("w{n}")).into_future())).await;
        crash(&first).await;
        let all = join_all((0..8).map(|_| launch(&fresh, body))).await;
        for n in 0..MANY {
            all[n % 8].send(&id(&format!("w{n}")), "done").topic("go").await.unwrap();
        }
        let handles = join_all((0..MANY).map(|n| all[0].retrieve::<Value, Error>(format!("w{n}")))).await;
        for handle in handles {
            assert_eq!(result_of(&handle.unwrap()).await.unwrap(), "done");
        }
        let sent = fresh.scalar("SELECT count(DISTINCT message) FROM notifications WHERE destination_uuid = 'sink'").await;
        assert_eq!((sent, fresh.scalar("SELECT count(*) FROM notifications").await), (30, 60), "each effect once");
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, 30 * 4);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output").await, 31);
        let most = fresh.scalar("SELECT max(recovery_attempts) FROM workflow_status").await;
        assert!((2..=9).contains(&most), "{most} dispatches for one start and eight launches");
        join_all(all.iter().map(crash)).await;
    }

    async fn a_result_reaches_the_handle_of_the_process_that_lost_the_workflow(fresh: Fresh) {
        let calls = Arc::default();
        let old = launch(&fresh, counted(&calls)).await;
        let handle = start(&old, "w").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 3").await;
        let new = launch(&fresh, counted(&calls)).await;
        until_rows(&fresh, 1, "workflow_status WHERE status = 'PENDING' AND recovery_attempts = 2").await;
        new.send(&id("w"), "done").topic("go").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), "done");
        assert_eq!(calls.load(SeqCst), 1);
        assert_eq!(steps(&fresh, "w").await.len(), 3);
    }

    // K03, F31: a rolling restart. What drains must not take back what its successor recovered.
    async fn a_process_that_drains_leaves_the_work_to_its_successor(fresh: Fresh) {
        let calls = Arc::default();
        let old = launch(&fresh, counted(&calls)).await;
        start(&old, "w").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 3").await;
        let draining = old.shutdown(Duration::from_secs(60));
        let successor = async {
            old.shutdown_token().cancelled().await;
            let new = launch(&fresh, counted(&calls)).await;
            until_rows(&fresh, 1, "workflow_status WHERE status = 'PENDING' AND recovery_attempts = 2").await;
            new
        };
        // The drain ends as soon as the old process has noticed that it has nothing left to run.
        let both = Box::pin(async { tokio::join!(draining, successor) });
        let ((), new) = tokio::time::timeout(harness::PATIENCE, both).await.expect("the drain ends");
        new.send(&id("w"), "done").topic("go").await.unwrap();
        assert_eq!(result_of(&new.retrieve("w").await.unwrap()).await.unwrap(), "done");
        assert_eq!(facts(&fresh, "w").await[1].as_deref(), Some("2"));
        assert_eq!(calls.load(SeqCst), 1);
    }

    // K11: a start that was refused for its name leaves the first one durable.
    async fn a_refused_start_under_a_used_id_does_not_harm_the_first(fresh: Fresh) {
        const OTHER: WorkflowRef<Value, Value> = WorkflowRef::named("other");
        let calls = Arc::default();
        let both = || harness::builder(&fresh).register_fn("other", counted(&calls));
        let dbos = launch_as(both(), counted(&calls)).await;
        start(&dbos, "w").await;
        let refused = dbos.start(OTHER, Value::Null).id("w").await;
        assert_kind(refused, ErrorKind::ConflictingWorkflow);
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 3").await;
        crash(&dbos).await;
        let dbos = launch_as(both(), counted(&calls)).await;
        dbos.send(&id("w"), "done").topic("go").await.unwrap();
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), "done");
        assert_eq!(calls.load(SeqCst), 1);
    }

    // K17, P472
    async fn a_recovered_workflow_still_knows_on_whose_behalf_it_runs(fresh: Fresh) {
        let body = async |ctx: Ctx, _| {
            let user = ctx.authenticated_user().map(str::to_owned);
            ctx.recv::<Value>("go").timeout(HOUR).await?;
            Ok(json!(user))
        };
        let dbos = launch(&fresh, body).await;
        let roles = ["admin", "buyer"];
        dbos.start(W, Value::Null).id("w").authenticated_user("ada").authenticated_roles(&roles).await.unwrap();
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 2").await;
        crash(&dbos).await;
        let dbos = launch(&fresh, body).await;
        dbos.send(&id("w"), "go").topic("go").await.unwrap();
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), "ada");
        let info = handle.status().await.unwrap();
        assert_eq!((info.authenticated_user.as_deref(), info.authenticated_roles), (Some("ada"), roles.map(str::to_owned).to_vec()));
    }
}
