//! Resuming: what was cancelled, parked, delayed or running goes on.

use std::sync::Arc;

use dbos_runtime::ErrorKind;
use harness::on_each_backend;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::rows::{columns, insert, one_of_each, table};
use super::scene::{
    Ctx, assert_kind, crash, forget_outcomes, id, launch, result_of, start, status, steps, until_rows,
};

const FULL: &[(&str, &str)] = &[
    ("owner_xid", "'t'"),
    ("recovery_attempts", "9"),
    ("workflow_deadline_epoch_ms", "11"),
    ("workflow_timeout_ms", "12"),
    ("started_at_epoch_ms", "13"),
    ("completed_at", "14"),
    ("queue_partition_key", "'p'"),
    ("priority", "15"),
    ("delay_until_epoch_ms", "16"),
    ("created_at", "17"),
    ("is_debounced", "TRUE"),
];

on_each_backend! {
    // L.332
    async fn a_cancelled_workflow_goes_on_after_its_recorded_steps(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let (tell, mut told) = mpsc::unbounded_channel();
        let gate_too = Arc::clone(&gate);
        let dbos = launch(&fresh, move |ctx, _| {
            let (gate, tell) = (Arc::clone(&gate_too), tell.clone());
            async move {
                ctx.step("first", || async { tell.send("first").map_err(|_| unreachable!()) }).await?;
                gate.acquire().await.unwrap().forget();
                ctx.step("second", || async { tell.send("second").map_err(|_| unreachable!()) }).await?;
                Ok(json!("done"))
            }
        })
        .await;
        let handle = start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        assert!(dbos.cancel(&id("w")).await.unwrap());
        gate.add_permits(1);
        assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
        gate.add_permits(1);
        let resumed = dbos.workflows().resume(["w"]).await.unwrap();
        assert_eq!((resumed.len(), resumed[0].created()), (1, false));
        assert_eq!(result_of(&resumed[0]).await.unwrap(), "done");
        assert_eq!([told.recv().await, told.recv().await], [Some("first"), Some("second")]);
        assert!(told.try_recv().is_err(), "nothing ran twice");
        assert_eq!(result_of(&handle).await.unwrap(), "done", "the first handle sees it too");
    }

    // L.336, L.338, K.298, K.301, K.302, B63
    async fn a_resume_sets_its_columns_and_no_others(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        let ids = one_of_each(&fresh, FULL).await;
        dbos.workflows().resume(ids.iter().map(String::as_str)).queue("elsewhere").await.unwrap();
        for workflow in &ids {
            let set = "status, queue_name, owner_xid, recovery_attempts, workflow_deadline_epoch_ms, started_at_epoch_ms, completed_at";
            let kept = "workflow_timeout_ms, queue_partition_key, priority, delay_until_epoch_ms, created_at, executor_id, application_version";
            let (set, mut kept) = (columns(&fresh, workflow, set).await, columns(&fresh, workflow, kept).await);
            let untouched = matches!(workflow.as_str(), "success" | "error" | "unheard_of");
            let expected = if untouched {
                json!({ "status": workflow.to_uppercase(), "queue_name": "nobodys", "owner_xid": "t", "recovery_attempts": 9,
                    "workflow_deadline_epoch_ms": 11, "started_at_epoch_ms": 13, "completed_at": 14 })
            } else {
                json!({ "status": "ENQUEUED", "queue_name": "elsewhere", "owner_xid": null, "recovery_attempts": 0,
                    "workflow_deadline_epoch_ms": null, "started_at_epoch_ms": null, "completed_at": null })
            };
            assert_eq!(set, expected, "{workflow}");
            let as_before = json!({ "workflow_timeout_ms": 12, "queue_partition_key": "p", "priority": 15,
                "delay_until_epoch_ms": 16, "created_at": 17, "executor_id": "elsewhere", "application_version": "v1" });
            assert_eq!(kept.take(), as_before, "{workflow}");
            let updated = columns(&fresh, workflow, "updated_at").await["updated_at"].as_i64().unwrap();
            assert_eq!(updated == 5, untouched, "{workflow}");
        }
        // A held deduplication id is let go.
        insert(&fresh, "held", "DELAYED", &[("deduplication_id", "'d'")]).await;
        dbos.workflows().resume(["held"]).queue("elsewhere").await.unwrap();
        assert_eq!(columns(&fresh, "held", "deduplication_id").await["deduplication_id"], Value::Null);
    }

    // L.337, B63
    async fn a_resume_with_a_missing_id_resumes_nothing_and_names_all_that_are_missing(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        insert(&fresh, "there", "CANCELLED", &[]).await;
        let error = dbos.workflows().resume(["gone", "there", "lost"]).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()),
            (ErrorKind::NonExistentWorkflow, "workflows gone, lost do not exist"));
        let one = dbos.workflows().resume(["gone"]).await.unwrap_err();
        assert_eq!((one.kind(), one.workflow_id()), (ErrorKind::NonExistentWorkflow, Some(&id("gone"))));
        assert_eq!(status(&fresh, "there").await, "CANCELLED");
        assert!(dbos.workflows().resume(Vec::<String>::new()).await.unwrap().is_empty());
        assert_kind(dbos.workflows().resume(["there"]).queue(" ").await, ErrorKind::InvalidArgument);
    }

    // B63: the execution that has it stops, the next one answers for both.
    async fn a_running_workflow_is_handed_over(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let (tell, mut told) = mpsc::unbounded_channel();
        let gate_too = Arc::clone(&gate);
        let dbos = launch(&fresh, move |ctx, _| {
            let (gate, tell) = (Arc::clone(&gate_too), tell.clone());
            async move {
                tell.send(None).unwrap();
                gate.acquire().await.unwrap().forget();
                let kind = ctx.step("s", || async { Ok(()) }).await.err().map(|error| error.kind());
                tell.send(Some(kind)).unwrap();
                Ok(json!("done"))
            }
        })
        .await;
        let handle = start(&dbos, "w").await;
        assert_eq!(told.recv().await, Some(None));
        dbos.workflows().resume(["w"]).await.unwrap();
        assert_eq!(told.recv().await, Some(None), "a second execution");
        gate.add_permits(2);
        let mut ends = vec![told.recv().await.flatten(), told.recv().await.flatten()];
        ends.sort_by_key(|end| end.flatten().is_none());
        assert_eq!(ends, [Some(Some(ErrorKind::LostOwnership)), Some(None)]);
        assert_eq!(result_of(&handle).await.unwrap(), "done");
        assert_eq!(steps(&fresh, "w").await.len(), 1);
    }

    // The dead letter: parked, listed as such, resumed with all its attempts.
    async fn a_parked_workflow_gets_all_its_attempts_again(fresh: Fresh) {
        let input = "INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('w', '{\"positionalArgs\":[null]}')";
        insert(&fresh, "w", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", &[("recovery_attempts", "102"), ("queue_name", "NULL")]).await;
        fresh.execute(input).await;
        let dbos = launch(&fresh, |_, _| async { Ok(json!("at last")) }).await;
        let resumed = dbos.workflows().resume(["w"]).await.unwrap();
        assert_eq!(result_of(&resumed[0]).await.unwrap(), "at last");
        let row = columns(&fresh, "w", "status, recovery_attempts, executor_id").await;
        assert_eq!(row, json!({ "status": "SUCCESS", "recovery_attempts": 1, "executor_id": "local" }));
    }

    // L.301, L.337, L.379: the order of a workflow is one of its steps.
    async fn a_resume_by_a_workflow_is_recorded(fresh: Fresh) {
        let body = |ctx: Ctx, _| async move {
            let missing = ctx.workflows().resume(["nobody"]).await.unwrap_err().kind();
            let itself = ctx.workflows().resume([ctx.workflow_id()]).await.unwrap_err().kind();
            let resumed = ctx.workflows().resume(["other"]).queue("elsewhere").await?;
            Ok(json!([format!("{missing:?}"), format!("{itself:?}"), resumed[0].id()]))
        };
        insert(&fresh, "other", "CANCELLED", &[]).await;
        let dbos = launch(&fresh, body).await;
        let expected = json!(["NonExistentWorkflow", "InvalidArgument", "other"]);
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), expected);
        let names = table(&fresh, "SELECT function_name FROM operation_outputs ORDER BY function_id").await;
        assert_eq!(names, ["DBOS.resumeWorkflow"; 3]);
        assert_eq!(status(&fresh, "other").await, "ENQUEUED");
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        insert(&fresh, "nobody", "CANCELLED", &[]).await;
        fresh.execute("UPDATE workflow_status SET status = 'CANCELLED' WHERE workflow_uuid = 'other'").await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), expected);
        assert_eq!((status(&fresh, "other").await, status(&fresh, "nobody").await), ("CANCELLED".into(), "CANCELLED".into()));
    }

    // K.300, K.301: an enqueued row that is cancelled is never claimed; resumed, it runs once.
    async fn a_queued_workflow_that_was_cancelled_runs_once_when_it_is_resumed(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let dbos = launch(&fresh, move |_, _| {
            let tell = tell.clone();
            async move {
                tell.send(()).unwrap();
                Ok(Value::Null)
            }
        })
        .await;
        insert(&fresh, "w", "ENQUEUED", &[("deduplication_id", "'d'")]).await;
        let input = "INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('w', '{\"positionalArgs\":[null]}')";
        fresh.execute(input).await;
        assert!(dbos.cancel(&id("w")).await.unwrap());
        let row = columns(&fresh, "w", "queue_name, deduplication_id").await;
        assert_eq!(row, json!({ "queue_name": null, "deduplication_id": null }));
        // Twice, while it may be claimed in between.
        for _ in 0..2 {
            dbos.workflows().resume(["w"]).await.unwrap();
        }
        result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap();
        told.recv().await.unwrap();
        dbos.shutdown(harness::PATIENCE).await;
        let outcomes = fresh.scalar("SELECT count(*) FROM workflow_output").await;
        assert_eq!(outcomes, 1);
    }
}
