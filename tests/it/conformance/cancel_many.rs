//! Cancelling many at once, and whole trees.

use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{CancelReport, ErrorKind, WorkflowId, WorkflowStatus};
use harness::on_each_backend;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rows::{columns, insert, one_of_each, table};
use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, launch, launch_as, result_of, start, status,
    steps, until_rows,
};

fn names(ids: &[WorkflowId]) -> Vec<&str> {
    ids.iter().map(WorkflowId::as_str).collect()
}

on_each_backend! {
    // L.333, L.334, B63, K24
    async fn a_cancel_of_many_says_what_became_of_each(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        let ids = one_of_each(&fresh, &[("completed_at", "7"), ("deduplication_id", "NULL")]).await;
        let asked: Vec<&str> = ids.iter().map(String::as_str).chain(["nobody", "pending"]).collect();
        let report = dbos.workflows().cancel(asked.clone()).await.unwrap();
        assert_eq!(names(&report.cancelled), ["delayed", "enqueued", "pending", "max_recovery_attempts_exceeded"]);
        assert_eq!(names(&report.missing), ["nobody"]);
        let ended = [
            (id("success"), Some(WorkflowStatus::Success)),
            (id("error"), Some(WorkflowStatus::Error)),
            (id("cancelled"), Some(WorkflowStatus::Cancelled)),
            (id("unheard_of"), None),
        ];
        assert_eq!(report.ended, ended);
        for cancelled in names(&report.cancelled) {
            let row = columns(&fresh, cancelled, "status, queue_name, completed_at, updated_at").await;
            assert_eq!((&row["status"], &row["queue_name"]), (&json!("CANCELLED"), &Value::Null), "{cancelled}");
            assert!(row["completed_at"].as_i64() > Some(7) && row["completed_at"] == row["updated_at"], "{row}");
        }
        for left in ["success", "error", "cancelled", "unheard_of"] {
            let row = columns(&fresh, left, "completed_at, queue_name, updated_at").await;
            assert_eq!(row, json!({ "completed_at": 7, "queue_name": "nobodys", "updated_at": 5 }), "{left}");
        }
        // Once more: nothing moves.
        let before = table(&fresh, "SELECT workflow_uuid, status, completed_at FROM workflow_status ORDER BY 1").await;
        let again = dbos.workflows().cancel(asked).await.unwrap();
        assert_eq!((again.cancelled.len(), again.ended.len(), again.missing.len()), (0, 8, 1));
        assert!(!dbos.cancel(&id("pending")).await.unwrap());
        let after = table(&fresh, "SELECT workflow_uuid, status, completed_at FROM workflow_status ORDER BY 1").await;
        assert_eq!(before, after);
        assert_eq!(dbos.workflows().cancel(Vec::<WorkflowId>::new()).await.unwrap(), CancelReport::default());
        assert_kind(dbos.workflows().cancel(["fine", " "]).await, ErrorKind::InvalidArgument);
    }

    // L.335: two branches, a grandchild that has ended, and a cycle.
    async fn a_tree_is_cancelled_with_its_root_and_a_cycle_ends(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        let tree = [("root", "c"), ("a", "root"), ("b", "root"), ("c", "a"), ("d", "c"), ("beside", "other")];
        for (workflow, parent) in tree {
            let state = if workflow == "b" { "SUCCESS" } else { "PENDING" };
            insert(&fresh, workflow, state, &[("parent_workflow_id", &format!("'{parent}'"))]).await;
        }
        let alone = dbos.workflows().cancel(["d"]).await.unwrap();
        assert_eq!(names(&alone.cancelled), ["d"]);
        let report = dbos.workflows().cancel(["root"]).with_children().await.unwrap();
        assert_eq!(names(&report.cancelled), ["root", "a", "c"], "parents first");
        let ended = [(id("b"), Some(WorkflowStatus::Success)), (id("d"), Some(WorkflowStatus::Cancelled))];
        assert_eq!(report.ended, ended);
        assert_eq!(status(&fresh, "beside").await, "PENDING");
    }

    // L.335: without a sweep, parent and child of this process hear of it at once.
    async fn the_children_of_this_process_stop_at_once(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let rare = harness::builder(&fresh).polling_interval(Duration::from_secs(3600));
        let dbos = launch_as(rare, move |ctx, input| {
            let tell = tell.clone();
            async move {
                if input.is_null() {
                    ctx.start(W, json!("child")).id("child").await?;
                }
                let stopped = ctx.sleep(HOUR).await.unwrap_err().kind();
                tell.send((ctx.workflow_id().to_string(), stopped)).unwrap();
                Ok(Value::Null)
            }
        })
        .await;
        start(&dbos, "parent").await;
        until_rows(&fresh, 2, "operation_outputs WHERE function_name = 'DBOS.sleep'").await;
        let report = dbos.workflows().cancel(["parent"]).with_children().await.unwrap();
        assert_eq!(names(&report.cancelled), ["parent", "child"]);
        let mut both = vec![told.recv().await.unwrap(), told.recv().await.unwrap()];
        both.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = ["child", "parent"].map(|name| (name.to_owned(), ErrorKind::Cancelled));
        assert_eq!(both, expected);
    }

    // L.379, 3.1: also an empty cancel is a step.
    async fn a_cancel_by_a_workflow_is_recorded_and_not_repeated(fresh: Fresh) {
        let body = |ctx: Ctx, _| async move {
            let none = ctx.workflows().cancel(Vec::<WorkflowId>::new()).await?;
            let report = ctx.workflows().cancel(["other"]).with_children().await?;
            Ok(json!([none.cancelled.len(), report.cancelled, report.missing]))
        };
        let dbos = launch(&fresh, body).await;
        insert(&fresh, "other", "PENDING", &[]).await;
        insert(&fresh, "below", "ENQUEUED", &[("parent_workflow_id", "'other'")]).await;
        let expected = json!([0, ["other", "below"], []]);
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), expected);
        let names: Vec<_> = steps(&fresh, "w").await.into_iter().map(|mut step| step.remove(1).unwrap()).collect();
        assert_eq!(names, ["DBOS.cancelWorkflow"; 2]);
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        fresh.execute("UPDATE workflow_status SET status = 'ENQUEUED' WHERE workflow_uuid = 'other'").await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), expected);
        assert_eq!(status(&fresh, "other").await, "ENQUEUED");
    }

    async fn a_workflow_that_cancels_itself_stops_there(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let tell = Arc::new(tell);
        let dbos = launch(&fresh, move |ctx, _| {
            let tell = Arc::clone(&tell);
            async move {
                let first = ctx.workflows().cancel([ctx.workflow_id()]).await.unwrap_err().kind();
                let next = ctx.step("s", || async { Ok(()) }).await.unwrap_err().kind();
                tell.send([first, next]).unwrap();
                Ok(Value::Null)
            }
        })
        .await;
        let handle = start(&dbos, "w").await;
        assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
        assert_eq!(told.recv().await, Some([ErrorKind::Cancelled; 2]));
        assert_eq!((status(&fresh, "w").await.as_str(), steps(&fresh, "w").await.len()), ("CANCELLED", 0));
    }
}
