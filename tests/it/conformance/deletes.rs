//! Deleting: nothing of a workflow is left, whatever was under way.

use std::sync::Arc;

use dbos_runtime::{ErrorKind, WorkflowId};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::rows::{insert, one_of_each, record, table};
use super::scene::{
    Ctx, W, assert_kind, crash, forget_outcomes, id, launch, result_of, start, status, steps, until_rows,
};

const TABLES: [(&str, &str); 8] = [
    ("workflow_status", "workflow_uuid"),
    ("workflow_input", "workflow_uuid"),
    ("workflow_output", "workflow_uuid"),
    ("operation_outputs", "workflow_uuid"),
    ("workflow_events", "workflow_uuid"),
    ("workflow_events_history", "workflow_uuid"),
    ("streams", "workflow_uuid"),
    ("notifications", "destination_uuid"),
];

/// A row in every table.
async fn everything_of(fresh: &Fresh, workflow: &str, parent: &str) {
    insert(fresh, workflow, "SUCCESS", &[("parent_workflow_id", parent)]).await;
    record(fresh, workflow, &[(1, "s", Some("1"), None, None)]).await;
    fresh
        .execute(&format!(
            "INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('{workflow}', '{{}}');
             INSERT INTO workflow_output (workflow_uuid, output) VALUES ('{workflow}', '1');
             INSERT INTO workflow_events (workflow_uuid, key, value) VALUES ('{workflow}', 'k', '1');
             INSERT INTO workflow_events_history (workflow_uuid, function_id, key, value) VALUES ('{workflow}', 1, 'k', '1');
             INSERT INTO streams (workflow_uuid, key, value, \"offset\") VALUES ('{workflow}', 'k', '1', 0);
             INSERT INTO notifications (destination_uuid, topic, message) VALUES ('{workflow}', 't', '1')"
        ))
        .await;
}

/// Which workflows have rows, table by table.
async fn owners(fresh: &Fresh) -> Vec<Vec<String>> {
    let mut owners = Vec::new();
    for (name, column) in TABLES {
        owners.push(table(fresh, &format!("SELECT {column} FROM {name} ORDER BY 1")).await);
    }
    owners
}

on_each_backend! {
    // L.351, B63
    async fn nothing_of_a_deleted_workflow_is_left_and_children_go_when_asked(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        for (workflow, parent) in [("a", "NULL"), ("b", "'a'"), ("c", "'b'"), ("other", "NULL")] {
            everything_of(&fresh, workflow, parent).await;
        }
        fresh.execute("UPDATE workflow_status SET parent_workflow_id = 'c' WHERE workflow_uuid = 'a'").await;
        assert_eq!(owners(&fresh).await, vec![vec!["a", "b", "c", "other"]; 8]);
        assert_eq!(dbos.workflows().delete(["c", "nobody"]).await.unwrap(), [id("c")]);
        assert_eq!(owners(&fresh).await, vec![vec!["a", "b", "other"]; 8]);
        let mut gone = dbos.workflows().delete(["a"]).with_children().await.unwrap();
        gone.sort();
        assert_eq!(gone, [id("a"), id("b")]);
        assert_eq!(owners(&fresh).await, vec![vec!["other"]; 8]);
        assert!(dbos.workflows().delete(["a"]).await.unwrap().is_empty());
        assert!(dbos.workflows().delete(Vec::<WorkflowId>::new()).await.unwrap().is_empty());
        let every = one_of_each(&fresh, &[]).await;
        assert_eq!(dbos.workflows().delete(every.iter().map(String::as_str)).await.unwrap().len(), 8);
    }

    // K34, F41: delete while a step is under way, here and in another process.
    async fn a_step_that_ends_after_a_delete_leaves_no_row(fresh: Fresh) {
        for elsewhere in [false, true] {
            let gate = Arc::new(Semaphore::new(0));
            let (tell, mut told) = mpsc::unbounded_channel();
            let gate_too = Arc::clone(&gate);
            let dbos = launch(&fresh, move |ctx, _| {
                let (gate, tell) = (Arc::clone(&gate_too), tell.clone());
                async move {
                    ctx.set_event("k", &1).await?;
                    let step = ctx.step("s", || async {
                        gate.acquire().await.unwrap().forget();
                        Ok(())
                    });
                    let stopped = step.await.unwrap_err().kind();
                    let child = ctx.start(W, Value::Null).await.unwrap_err().kind();
                    tell.send([stopped, child]).unwrap();
                    Ok(json!("swallowed"))
                }
            })
            .await;
            let other = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
            let handle = start(&dbos, "w").await;
            until_rows(&fresh, 1, "workflow_events").await;
            let deleter = if elsewhere { &other } else { &dbos };
            assert_eq!(deleter.workflows().delete(["w"]).await.unwrap(), [id("w")]);
            assert_kind(result_of(&handle).await, ErrorKind::NonExistentWorkflow);
            gate.add_permits(1);
            assert_eq!(told.recv().await, Some([ErrorKind::LostOwnership; 2]));
            crash(&dbos).await;
            assert_eq!(owners(&fresh).await, vec![Vec::<String>::new(); 8]);
        }
    }

    // K32: a reused id begins from nothing.
    async fn a_deleted_id_is_free_again(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let dbos = launch(&fresh, move |ctx, _| {
            let tell = tell.clone();
            async move {
                ctx.step("s", || async { tell.send(()).map_err(|_| unreachable!()) }).await?;
                Ok(Value::Null)
            }
        })
        .await;
        for _ in 0..2 {
            result_of(&start(&dbos, "w").await).await.unwrap();
            told.try_recv().expect("the step ran");
            assert_eq!(dbos.workflows().delete(["w"]).await.unwrap().len(), 1);
        }
    }

    // L.352, L.379
    async fn a_workflow_deletes_others_once_and_neither_itself_nor_an_ancestor(fresh: Fresh) {
        let body = |ctx: Ctx, input: Value| async move {
            if input != "child" {
                return ctx.start(W, json!("child")).id("child").await?.result().await;
            }
            let mut said = Vec::new();
            for refused in ["child", "parent"] {
                let error = ctx.workflows().delete(["other", refused]).with_children().await.unwrap_err();
                said.push(json!(format!("{:?} {}", error.kind(), error.workflow_id().unwrap())));
            }
            let mut gone = ctx.workflows().delete(["other"]).with_children().await?;
            gone.sort();
            said.push(json!(gone));
            Ok(Value::Array(said))
        };
        let dbos = launch(&fresh, body).await;
        insert(&fresh, "other", "PENDING", &[]).await;
        insert(&fresh, "below", "PENDING", &[("parent_workflow_id", "'other'")]).await;
        let expected = json!(["InvalidArgument child", "InvalidArgument parent", ["below", "other"]]);
        assert_eq!(result_of(&start(&dbos, "parent").await).await.unwrap(), expected);
        let names: Vec<_> = steps(&fresh, "child").await.into_iter().map(|mut step| step.remove(1).unwrap()).collect();
        assert_eq!(names, ["DBOS.deleteWorkflow"; 3]);
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        insert(&fresh, "other", "PENDING", &[]).await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("parent").await.unwrap()).await.unwrap(), expected);
        assert_eq!(status(&fresh, "other").await, "PENDING", "a recorded delete is not done again");
    }
}
