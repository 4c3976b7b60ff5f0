//! Workflows that move to another database, of the same kind or the other.

use dbos_runtime::{Dbos, ErrorKind, ExportedWorkflow, Filter, StepFilter};
use harness::{Backend, Fresh, on_each_backend};
use serde_json::{Value, json};

use super::listing::{insert, observer};
use super::scene::{W, assert_kind, id, launch, result_of};

/// Everything of these workflows that an import brings along, as it is stored.
async fn stored(fresh: &Fresh) -> Vec<Value> {
    let mut all = fresh
        .rows(
            "SELECT workflow_uuid, status, name, authenticated_user, authenticated_roles, executor_id, created_at,
                 updated_at, application_version, application_id, recovery_attempts, queue_name, deduplication_id,
                 priority, parent_workflow_id, serialization, completed_at, application_name, schedule_name,
                 workflow_timeout_ms, owner_xid, creator_xid
             FROM workflow_status ORDER BY workflow_uuid",
        )
        .await;
    for row in &mut all {
        // Who owned it stays behind.
        row["owner_xid"].take();
        row["creator_xid"].take();
    }
    for (table, columns, order) in [
        ("workflow_input", "workflow_uuid, inputs", "workflow_uuid"),
        ("workflow_output", "workflow_uuid, output, error", "workflow_uuid"),
        (
            "operation_outputs",
            "workflow_uuid, function_id, function_name, output, error, child_workflow_id, started_at_epoch_ms,
             completed_at_epoch_ms, serialization, application_name",
            "workflow_uuid, function_id",
        ),
        ("workflow_events", "workflow_uuid, key, value, serialization", "workflow_uuid, key"),
        (
            "workflow_events_history",
            "workflow_uuid, function_id, key, value, serialization",
            "workflow_uuid, function_id",
        ),
        (
            "streams",
            "workflow_uuid, key, value, \"offset\", function_id, serialization",
            "workflow_uuid, key, \"offset\"",
        ),
    ] {
        all.extend(fresh.rows(&format!("SELECT {columns} FROM {table} ORDER BY {order}")).await);
    }
    all
}

/// A parent, its child and its grandchild, with steps, events, streams and a message.
async fn family(fresh: &Fresh) -> Dbos {
    let dbos = launch(fresh, async |ctx, input| {
        let left = input.as_i64().unwrap_or(2);
        ctx.step("compose", || async move { Ok("é\"\\\n".to_owned()) }).await?;
        ctx.set_event("left", &left).await?;
        ctx.set_event("left", &(left + 100)).await?;
        ctx.recv::<Value>("hello").timeout(std::time::Duration::ZERO).await?;
        if left > 0 {
            ctx.run(W, json!(left - 1)).await?;
        }
        Ok(json!({"left": left}))
    })
    .await;
    let started = dbos.start(W, json!(2)).id("w").attributes(&attributes()).authenticated_user("ada").await;
    result_of(&started.unwrap()).await.unwrap();
    dbos.send(&id("w"), "too late").await.unwrap();
    fresh
        .execute(
            "INSERT INTO streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
             VALUES ('w', 's', '1', 0, 1, 'portable_json'), ('w', 's', '2', 1, 1, NULL)",
        )
        .await;
    dbos
}

fn attributes() -> serde_json::Map<String, Value> {
    serde_json::Map::from_iter([("deep".to_owned(), json!({"a": [1, 2.5, null, true]}))])
}

on_each_backend! {
    // L364
    async fn an_exported_tree_is_the_same_in_another_database_of_either_kind(fresh: Fresh) {
        let dbos = family(&fresh).await;
        let exported = dbos.workflows().export("w", true).await.unwrap();
        let ids: Vec<&str> = exported.iter().map(ExportedWorkflow::id).collect();
        assert_eq!(ids, ["w", "w-6", "w-6-6"]);
        // On its way it is text.
        let text = serde_json::to_string(&exported).unwrap();
        let exported: Vec<ExportedWorkflow> = serde_json::from_str(&text).unwrap();
        let before = stored(&fresh).await;
        assert!(before.len() > 30, "{}", before.len());
        for backend in Backend::ALL {
            let other = harness::fresh(backend).await;
            let there = observer(&other).await;
            // What an earlier workflow of the id has left behind is none of the new one's.
            other.execute(
                "INSERT INTO operation_outputs (workflow_uuid, function_id, function_name) VALUES ('w', 99, 'stray');
                 INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('w', 'stray')",
            ).await;
            there.workflows().import(&exported).await.unwrap();
            assert_eq!(stored(&other).await, before, "{backend:?}");
            assert_eq!(other.scalar("SELECT count(*) FROM notifications").await, 0);
            let (here, moved) = (dbos.workflows().info("w").await.unwrap(), there.workflows().info("w").await.unwrap());
            assert_eq!(moved.attributes, Value::from(attributes()));
            assert_eq!(serde_json::to_value(&moved).unwrap(), serde_json::to_value(&here).unwrap());
            let filter = StepFilter::new();
            assert_eq!(
                there.workflows().steps("w", &filter).await.unwrap(),
                dbos.workflows().steps("w", &filter).await.unwrap()
            );
            assert_eq!(there.workflows().export("w", true).await.unwrap(), exported);
            let result = there.retrieve::<Value, dbos_runtime::Error>("w").await.unwrap().result().await;
            assert_eq!(result.unwrap(), json!({"left": 2}));
        }
    }

    // L364: the refusals.
    async fn an_import_is_all_or_nothing(fresh: Fresh) {
        let dbos = family(&fresh).await;
        let workflows = dbos.workflows();
        let exported = workflows.export("w", true).await.unwrap();
        assert_eq!(workflows.export("w", false).await.unwrap().len(), 1);
        assert_kind(workflows.export("nobody", true).await, ErrorKind::NonExistentWorkflow);

        let other = harness::fresh(fresh.backend()).await;
        let there = observer(&other).await;
        insert(&other, "w-6", &[("status", "'SUCCESS'")]).await;
        let refused = there.workflows().import(&exported).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WorkflowIdInUse);
        assert!(refused.to_string().contains("w-6 are in use"), "{refused}");
        for (table, rows) in [("workflow_status", 1), ("workflow_input", 0), ("operation_outputs", 0), ("streams", 0)] {
            assert_eq!(other.scalar(&format!("SELECT count(*) FROM {table}")).await, rows, "{table}");
        }
        let twice = [exported[0].clone(), exported[0].clone()];
        assert_kind(there.workflows().import(&twice).await, ErrorKind::InvalidArgument);
        let mut text = serde_json::to_value(&exported[0]).unwrap();
        text["streams"][0]["workflow_uuid"] = json!("another");
        let alien: ExportedWorkflow = serde_json::from_value(text).unwrap();
        assert_kind(there.workflows().import(&[alien]).await, ErrorKind::InvalidArgument);
        there.workflows().import(&[]).await.unwrap();
        assert_eq!(there.workflows().list(&Filter::new()).await.unwrap().len(), 1);
    }
}
