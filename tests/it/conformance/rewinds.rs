//! Rewinding: an ended workflow runs again, in place, from a step on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dbos_runtime::{ErrorKind, Rewind};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rows::{columns, insert, one_of_each, record, table};
use super::scene::{
    Ctx, W, assert_kind, crash, forget_outcomes, id, launch, launch_as, result_of, start, status, take_over,
    until_rows,
};

/// A workflow with something in every table, before and after its third step.
async fn ended(fresh: &Fresh, id: &str) {
    let more = [
        ("recovery_attempts", "9"),
        ("workflow_timeout_ms", "12"),
        ("workflow_deadline_epoch_ms", "11"),
        ("started_at_epoch_ms", "13"),
        ("completed_at", "14"),
        ("queue_partition_key", "'p'"),
        ("created_at", "17"),
        ("output", "'old'"),
        ("attributes", "'{\"a\":1}'"),
    ];
    insert(fresh, id, "SUCCESS", &more).await;
    let step = |number| (number, "s", Some("1"), None, None);
    record(fresh, id, &[step(1), step(2), step(3), step(4)]).await;
    let close = "\"__DBOS_STREAM_CLOSED__\"";
    fresh
        .execute(&format!(
            "INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('{id}', '{{\"positionalArgs\":[null]}}');
             INSERT INTO workflow_output (workflow_uuid, output) VALUES ('{id}', '1');
             INSERT INTO workflow_events (workflow_uuid, key, value, serialization) VALUES
                ('{id}', 'early', '1', 'f'), ('{id}', 'both', '3', 'h'), ('{id}', 'late', '3', 'f'), ('{id}', 'bare', '9', 'f');
             INSERT INTO workflow_events_history (workflow_uuid, function_id, key, value, serialization) VALUES
                ('{id}', 1, 'early', '1', 'f'), ('{id}', 1, 'both', '1', 'f'), ('{id}', 2, 'both', '2', 'g'),
                ('{id}', 3, 'both', '3', 'h'), ('{id}', 4, 'late', '3', 'f');
             INSERT INTO streams (workflow_uuid, key, value, \"offset\", function_id, serialization) VALUES
                ('{id}', 'a', '{close}', 0, 2, 'portable_json'), ('{id}', 'b', '1', 0, 3, 'f'),
                ('{id}', 'b', '{close}', 1, 4, 'portable_json'), ('{id}', 'c', '{close}', 0, 4, 'another');
             INSERT INTO notifications (message_uuid, destination_uuid, topic, message, consumed, consumed_by_function_id) VALUES
                ('{id}1', '{id}', 't', '1', TRUE, 2), ('{id}2', '{id}', 't', '2', TRUE, 3), ('{id}3', '{id}', 't', '3', FALSE, NULL),
                ('{id}4', '{id}', 't', '4', TRUE, NULL)"
        ))
        .await;
}

/// Every table of a workflow, as text.
async fn tables(fresh: &Fresh, id: &str) -> Vec<Vec<String>> {
    let own = format!("WHERE workflow_uuid = '{id}' ORDER BY 1, 2");
    let questions = [
        format!("SELECT function_id AS a, function_name AS b FROM operation_outputs {own}"),
        format!("SELECT key AS a, value AS b, serialization AS c FROM workflow_events {own}"),
        format!("SELECT function_id AS a, key AS b, value AS c FROM workflow_events_history {own}"),
        format!("SELECT key AS a, \"offset\" AS b, function_id AS c FROM streams {own}"),
        format!("SELECT message AS a, 1 AS b FROM notifications WHERE destination_uuid = '{id}' ORDER BY 1"),
        format!("SELECT output AS a, 1 AS b FROM workflow_output {own}"),
        format!("SELECT inputs AS a, 1 AS b FROM workflow_input {own}"),
    ];
    let mut tables = Vec::new();
    for question in questions {
        tables.push(table(fresh, &question).await);
    }
    tables
}

on_each_backend! {
    // L.353, L.354, L.360, H.214, I.231, J.257
    async fn every_table_is_as_it_was_before_the_step(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        ended(&fresh, "w").await;
        ended(&fresh, "other").await;
        let other = tables(&fresh, "other").await;
        let handle = dbos.workflows().rewind(Rewind::of("w", 3).queue("elsewhere")).await.unwrap();
        assert_eq!((handle.id(), handle.created()), (&id("w"), false));
        let input = vec!["{\"positionalArgs\":[null]}|1"];
        let expected = vec![
            vec!["1|s", "2|s"],
            vec!["bare|9|f", "both|2|g", "early|1|f"],
            vec!["1|both|1", "1|early|1", "2|both|2"],
            vec!["a|0|2", "b|0|3", "c|0|4"],
            vec!["1|1", "4|1"],
            vec![],
            input,
        ];
        assert_eq!(tables(&fresh, "w").await, expected);
        let row = "status, queue_name, queue_partition_key, owner_xid, recovery_attempts, workflow_deadline_epoch_ms,
            started_at_epoch_ms, completed_at, output, error, workflow_timeout_ms, created_at, application_version, executor_id";
        let expected = json!({ "status": "ENQUEUED", "queue_name": "elsewhere", "queue_partition_key": null, "owner_xid": null,
            "recovery_attempts": 0, "workflow_deadline_epoch_ms": null, "started_at_epoch_ms": null, "completed_at": null,
            "output": null, "error": null, "workflow_timeout_ms": 12, "created_at": 17, "application_version": "v1",
            "executor_id": "elsewhere" });
        assert_eq!(columns(&fresh, "w", row).await, expected);
        assert!(columns(&fresh, "w", "updated_at").await["updated_at"].as_i64() > Some(5));
        assert_eq!(dbos.info("w").await.unwrap().attributes, json!({ "a": 1 }));
        assert_eq!((tables(&fresh, "other").await, status(&fresh, "other").await.as_str()), (other, "SUCCESS"));
        // Another version, and a partition of the queue.
        let rewind = Rewind::of("other", 1).application_version("v9").queue("elsewhere").partition_key("q");
        dbos.workflows().rewind(rewind).await.unwrap();
        let row = columns(&fresh, "other", "application_version, queue_partition_key").await;
        assert_eq!(row, json!({ "application_version": "v9", "queue_partition_key": "q" }));
        let left: Vec<usize> = tables(&fresh, "other").await.iter().map(Vec::len).collect();
        assert_eq!(left, [0, 1, 0, 2, 1, 0, 1], "an event without a history, the values of streams, an old message, the input");
    }

    // L.357, L.358, B63
    async fn only_an_ended_workflow_is_rewound(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        for workflow in one_of_each(&fresh, &[]).await {
            record(&fresh, &workflow, &[(1, "s", Some("1"), None, None)]).await;
            let rewound = dbos.workflows().rewind(Rewind::of(workflow.as_str(), 1).queue("elsewhere")).await;
            let ended = ["success", "error", "cancelled", "max_recovery_attempts_exceeded"].contains(&workflow.as_str());
            let steps = fresh.scalar(&format!("SELECT count(*) FROM operation_outputs WHERE workflow_uuid = '{workflow}'")).await;
            if ended {
                rewound.unwrap();
                assert_eq!((status(&fresh, &workflow).await.as_str(), steps), ("ENQUEUED", 0), "{workflow}");
            } else {
                assert_kind(rewound, ErrorKind::InvalidArgument);
                assert_eq!((status(&fresh, &workflow).await, steps), (workflow.to_uppercase(), 1));
            }
        }
        assert_kind(dbos.workflows().rewind(Rewind::of("nobody", 1)).await, ErrorKind::NonExistentWorkflow);
        for refused in [Rewind::of("success", 0), Rewind::of("success", -1), Rewind::of("", 1), Rewind::of("success", 1).queue("")] {
            assert_kind(dbos.workflows().rewind(refused).await, ErrorKind::InvalidArgument);
        }
    }

    // L.355, L.356: rewound alone, a parent adopts its child's failure; child first, then parent, repairs it.
    async fn a_child_and_then_its_parent_are_rewound_to_repair_a_failure(fresh: Fresh) {
        let broken = Arc::new(AtomicU32::new(1));
        let (tell, mut told) = mpsc::unbounded_channel();
        let broken_too = Arc::clone(&broken);
        let dbos = launch(&fresh, move |ctx, input: Value| {
            let (broken, tell) = (Arc::clone(&broken_too), tell.clone());
            async move {
                if input == "child" {
                    let fail = broken.load(Ordering::SeqCst) == 1;
                    tell.send(fail).unwrap();
                    return if fail { Err("".parse::<dbos_runtime::WorkflowId>().unwrap_err()) } else { Ok(json!("fine")) };
                }
                ctx.start(W, json!("child")).id("child").await?.result().await
            }
        })
        .await;
        result_of(&start(&dbos, "parent").await).await.unwrap_err();
        broken.store(0, Ordering::SeqCst);
        let parent = dbos.workflows().rewind(Rewind::of("parent", 1)).await.unwrap();
        result_of(&parent).await.unwrap_err();
        let child = dbos.workflows().rewind(Rewind::of("child", 1)).await.unwrap();
        assert_eq!(result_of(&child).await.unwrap(), "fine");
        let parent = dbos.workflows().rewind(Rewind::of("parent", 1)).await.unwrap();
        assert_eq!(result_of(&parent).await.unwrap(), "fine");
        assert_eq!([told.recv().await, told.recv().await], [Some(true), Some(false)]);
        assert!(told.try_recv().is_err(), "no second child");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 2);
    }

    // L.359: neither a replay nor a crash before the record rewinds twice, for they are one commit.
    async fn a_rewind_by_a_workflow_happens_once(fresh: Fresh) {
        let body = |ctx: Ctx, _| async move {
            let active = ctx.workflows().rewind(Rewind::of("active", 1)).await.unwrap_err().kind();
            let itself = ctx.workflows().rewind(Rewind::of(ctx.workflow_id(), 1)).await.unwrap_err().kind();
            let rewound = ctx.workflows().rewind(Rewind::of("target", 1).queue("elsewhere")).await?;
            Ok(json!([format!("{active:?} {itself:?}"), rewound.id()]))
        };
        insert(&fresh, "target", "SUCCESS", &[]).await;
        insert(&fresh, "active", "PENDING", &[]).await;
        let dbos = launch(&fresh, body).await;
        let expected = json!(["InvalidArgument InvalidArgument", "target"]);
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), expected);
        assert_eq!(status(&fresh, "target").await, "ENQUEUED");
        let names = "SELECT function_name AS a FROM operation_outputs WHERE workflow_uuid = 'w'";
        assert_eq!(table(&fresh, names).await, ["DBOS.rewindWorkflow"; 3]);
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        fresh.execute("UPDATE workflow_status SET status = 'SUCCESS' WHERE workflow_uuid IN ('target', 'active')").await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), expected);
        assert_eq!(status(&fresh, "target").await, "SUCCESS", "the replay left it alone");
    }

    // The fence: who has lost its own workflow rewinds nobody else's.
    async fn an_execution_that_lost_its_workflow_rewinds_nothing(fresh: Fresh) {
        let (go, gone) = tokio::sync::watch::channel(false);
        let (tell, mut told) = mpsc::unbounded_channel();
        let rare = harness::builder(&fresh).polling_interval(std::time::Duration::from_secs(3600));
        let dbos = launch_as(rare, move |ctx, _| {
            let (mut gone, tell) = (gone.clone(), tell.clone());
            async move {
                ctx.set_event("k", &1).await?;
                gone.wait_for(|gone| *gone).await.unwrap();
                let refused = ctx.workflows().rewind(Rewind::of("target", 1)).await.unwrap_err().kind();
                tell.send(refused).unwrap();
                Ok(Value::Null)
            }
        })
        .await;
        insert(&fresh, "target", "SUCCESS", &[]).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "workflow_events").await;
        take_over(&fresh, "w").await;
        go.send(true).unwrap();
        assert_eq!(told.recv().await, Some(ErrorKind::LostOwnership));
        assert_eq!(status(&fresh, "target").await, "SUCCESS");
    }
}
