//! What is old is deleted, what is needed is kept, and nobody waits for what is gone.

use std::time::Duration;

use dbos_runtime::{Collected, Dbos, Error, ErrorKind, Retention, Timestamp, WorkflowInfo, WorkflowStatus};
use harness::{Backend, Fresh, on_each_backend, until};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::listing::{insert, observer, series};
use super::scene::{HOUR, W, assert_kind, crash, id, launch, result_of, status, until_rows};

const OLD: &str = "1000";

fn before(millis: i64) -> Retention {
    Retention::before(Timestamp::from_millis(millis))
}

async fn left(fresh: &Fresh) -> String {
    let ids = fresh.query("SELECT workflow_uuid FROM workflow_status ORDER BY workflow_uuid").await;
    ids.into_iter().flatten().flatten().collect::<Vec<_>>().join(" ")
}

async fn collect(dbos: &Dbos, retention: Retention) -> Collected {
    let collected = dbos.workflows().collect(&retention).await.unwrap();
    assert!(!collected.busy);
    collected
}

/// Ended workflows of this application, each with an input, an output and a step, one per millisecond from 1.
async fn ended(fresh: &Fresh, count: u32) {
    let rows = series(fresh, count);
    fresh
        .execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, status, application_name, created_at, completed_at)
                 SELECT 'w-' || i, 'SUCCESS', 'tests', i, i FROM {rows};
             INSERT INTO workflow_input (workflow_uuid, inputs, retention_timestamp) SELECT 'w-' || i, '1', i FROM {rows};
             INSERT INTO workflow_output (workflow_uuid, output, retention_timestamp) SELECT 'w-' || i, '1', i FROM {rows};
             INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, retention_timestamp)
                 SELECT 'w-' || i, 1, 's', i FROM {rows}"
        ))
        .await;
}

async fn counts(fresh: &Fresh) -> [i64; 4] {
    let mut counts = [0; 4];
    for (count, table) in
        counts.iter_mut().zip(["workflow_status", "workflow_input", "workflow_output", "operation_outputs"])
    {
        *count = fresh.scalar(&format!("SELECT count(*) FROM {table}")).await;
    }
    counts
}

/// A parent that starts a child, waits for a message, and then for the child's result.
async fn launch_parents(fresh: &Fresh) -> Dbos {
    launch(fresh, async |ctx, input| {
        if input == "child" {
            return Ok(json!("from the child"));
        }
        let child = ctx.start(W, json!("child")).await?;
        if input == "result first" {
            child.result().await?;
        }
        ctx.recv::<Value>("go").timeout(HOUR).await?;
        child.result().await
    })
    .await
}

on_each_backend! {
    // L361
    async fn ended_workflows_that_are_old_or_too_many_go_and_the_others_stay(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        let own = ("application_name", "'tests'");
        let done = ("completed_at", OLD);
        for (id, columns) in [
            ("error", &[own, done, ("status", "'ERROR'")][..]),
            ("cancelled", &[own, done, ("status", "'CANCELLED'")]),
            ("parked", &[own, done, ("status", "'MAX_RECOVERY_ATTEMPTS_EXCEEDED'")]),
            ("unclaimed", &[done, ("status", "'SUCCESS'")]),
            ("young", &[own, ("completed_at", "2000"), ("status", "'SUCCESS'")]),
            ("youngest", &[own, ("completed_at", "3000"), ("status", "'SUCCESS'")]),
            ("pending", &[own, ("created_at", "1"), ("executor_id", "'else'"), ("status", "'PENDING'")]),
            ("enqueued", &[own, ("created_at", "1"), ("queue_name", "'x'"), ("status", "'ENQUEUED'")]),
            ("delayed", &[own, ("created_at", "1"), ("delay_until_epoch_ms", "9000000000000"), ("status", "'DELAYED'")]),
            ("odd", &[own, done, ("status", "'PENDING'"), ("executor_id", "'else'")]),
            ("other", &[("application_name", "'shop'"), done, ("status", "'SUCCESS'")]),
        ] {
            insert(&fresh, id, columns).await;
        }
        fresh.execute(
            "INSERT INTO notifications (destination_uuid, topic, message) VALUES ('error', 't', '1');
             INSERT INTO workflow_events (workflow_uuid, key, value) VALUES ('error', 'k', '1')",
        ).await;
        // The cutoff itself is not before it.
        assert_eq!(collect(&dbos, before(1000)).await, Collected::default());
        assert_eq!(collect(&dbos, before(1001)).await.workflows, 4);
        assert_eq!(left(&fresh).await, "delayed enqueued odd other pending young youngest");
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 0);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_events").await, 0);
        assert_eq!(collect(&dbos, Retention::new().keep_newest(3)).await.workflows, 0);
        assert_eq!(collect(&dbos, Retention::new().keep_newest(1)).await.workflows, 1);
        assert_eq!(left(&fresh).await, "delayed enqueued odd other pending youngest");
        assert_eq!(collect(&dbos, Retention::older_than(Duration::from_secs(3600)).every_application()).await.workflows, 2);
        assert_eq!(left(&fresh).await, "delayed enqueued odd pending");
        for bad in [Retention::new(), Retention::new().keep_newest(0), before(1).batch(0)] {
            assert_kind(dbos.workflows().collect(&bad).await, ErrorKind::InvalidArgument);
        }
    }

    // L362
    async fn batches_take_what_belongs_to_a_workflow_and_orphans_with_it(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        ended(&fresh, 25).await;
        // Left behind by a deletion of another program, and by one that is too young for this cutoff.
        fresh.execute(
            "DELETE FROM workflow_status WHERE workflow_uuid IN ('w-3', 'w-24');
             INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, retention_timestamp)
                 VALUES ('w-3', 2, 's', 3), ('w-25', 2, 's', 3)",
        ).await;
        let collected = collect(&dbos, before(21).batch(7)).await;
        assert_eq!((collected.workflows, collected.orphans), (19, 4));
        assert_eq!(counts(&fresh).await, [4, 5, 5, 6]);
        assert_eq!(left(&fresh).await, "w-21 w-22 w-23 w-25");
        assert_eq!(collect(&dbos, before(21).batch(7)).await, Collected::default());
    }

    // F42, K33
    async fn a_finished_child_stays_as_long_as_its_parent_may_ask_for_it(fresh: Fresh) {
        let dbos = launch_parents(&fresh).await;
        let parent = dbos.start(W, Value::Null).id("p").await.unwrap();
        until_rows(&fresh, 1, "workflow_status WHERE workflow_uuid = 'p-1' AND status = 'SUCCESS'").await;
        fresh.execute("UPDATE workflow_status SET completed_at = 1 WHERE workflow_uuid = 'p-1'").await;
        assert_eq!(collect(&dbos, before(1_000_000)).await.workflows, 0);
        dbos.send(&id("p"), "now").topic("go").await.unwrap();
        assert_eq!(result_of(&parent).await.unwrap(), "from the child");
        assert_eq!(collect(&dbos, before(1_000_000)).await.workflows, 1);
        assert_eq!(left(&fresh).await, "p");
    }

    // F42, K33, B75: with a deletion that takes no notice of parents.
    async fn a_parent_whose_child_was_deleted_ends_by_its_record_or_with_an_error(fresh: Fresh) {
        let dbos = launch_parents(&fresh).await;
        dbos.start(W, json!("result first")).id("known").await.unwrap();
        dbos.start(W, Value::Null).id("unknown").await.unwrap();
        let finished = "workflow_status WHERE status = 'SUCCESS'";
        until_rows(&fresh, 2, finished).await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_name = 'DBOS.getResult'").await;
        crash(&dbos).await;
        fresh.execute(
            "DELETE FROM workflow_output WHERE workflow_uuid IN ('known-1', 'unknown-1');
             DELETE FROM workflow_status WHERE workflow_uuid IN ('known-1', 'unknown-1')",
        ).await;
        let dbos = launch_parents(&fresh).await;
        for parent in ["known", "unknown"] {
            dbos.send(&id(parent), "now").topic("go").await.unwrap();
        }
        // The first result was recorded; asked for once more, it is gone. Neither waits.
        let results = async |parent: &str| {
            let handle = dbos.retrieve::<Value, Error>(parent).await.unwrap();
            result_of(&handle).await.unwrap_err().kind()
        };
        assert_eq!(results("unknown").await, ErrorKind::NonExistentWorkflow);
        assert_eq!(results("known").await, ErrorKind::NonExistentWorkflow);
        let asked = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'known' AND function_name = 'DBOS.getResult'";
        assert_eq!(fresh.scalar(asked).await, 2);
        let recorded = "SELECT output FROM operation_outputs WHERE workflow_uuid = 'known' AND function_id = 2";
        assert_eq!(fresh.query(recorded).await, [[Some("\"from the child\"".to_owned())]]);
    }

    // L363
    async fn what_was_inserted_by_then_and_has_not_ended_is_cancelled(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx, _| {
            ctx.sleep(HOUR).await?;
            Ok(Value::Null)
        })
        .await;
        let running = dbos.start(W, Value::Null).id("running").await.unwrap();
        fresh.execute("UPDATE workflow_status SET created_at = 500").await;
        let own = ("application_name", "'tests'");
        for (id, columns) in [
            ("delayed", &[own, ("created_at", "1000"), ("delay_until_epoch_ms", "9000000000000"), ("status", "'DELAYED'")][..]),
            ("young", &[own, ("created_at", "1001"), ("executor_id", "'else'"), ("status", "'PENDING'")]),
            ("ended", &[own, ("created_at", "1"), ("completed_at", "1"), ("status", "'ERROR'")]),
            ("other", &[("application_name", "'shop'"), ("created_at", "1"), ("status", "'PENDING'")]),
        ] {
            insert(&fresh, id, columns).await;
        }
        assert_eq!(dbos.workflows().global_timeout(Timestamp::from_millis(1000)).await.unwrap(), 2);
        let cancelled: Vec<WorkflowInfo> = dbos.workflows()
            .list(&dbos_runtime::Filter::new().statuses([WorkflowStatus::Cancelled])).await.unwrap();
        let ids: Vec<&str> = cancelled.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["running", "delayed"]);
        assert!(cancelled.iter().all(|row| row.completed_at.is_some()));
        assert_eq!(result_of(&running).await.unwrap_err().kind(), ErrorKind::AwaitedWorkflowCancelled);
        assert_eq!(status(&fresh, "young").await, "PENDING");
        assert_eq!(dbos.workflows().global_timeout(Timestamp::from_millis(1000)).await.unwrap(), 0);
    }

    // L361: by itself.
    async fn a_runtime_with_a_retention_collects_from_time_to_time(fresh: Fresh) {
        ended(&fresh, 3).await;
        let retention = before(3).interval(Duration::from_millis(10));
        let dbos = harness::builder(&fresh).retention(retention).launch().await.unwrap();
        until("two are gone", async || left(&fresh).await == "w-3").await;
        fresh.execute("UPDATE workflow_status SET completed_at = 2").await;
        until("none is left", async || left(&fresh).await.is_empty()).await;
        dbos.shutdown(Duration::from_secs(5)).await;
        let none = harness::builder(&fresh).retention(Retention::new()).launch().await;
        assert_kind(none.map(drop), ErrorKind::InvalidArgument);
    }
}

// L361, and the lock that the other SDKs take: its number for the schema `dbos` is theirs.
#[tokio::test]
async fn a_collection_leaves_the_field_to_another_program_that_is_at_it() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let dbos = observer(&fresh).await;
    ended(&fresh, 2).await;
    let mut other = PgConnection::connect(fresh.url()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(7208852302618897048)").execute(&mut other).await.unwrap();
    let busy = dbos.workflows().collect(&before(10)).await.unwrap();
    assert_eq!((busy.busy, busy.workflows), (true, 0));
    other.close().await.unwrap();
    until("the lock is free", async || {
        fresh.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").await == 0
    })
    .await;
    assert_eq!(collect(&dbos, before(10)).await.workflows, 2);
    // It is given back.
    assert_eq!(collect(&dbos, before(10)).await.workflows, 0);
    assert_eq!(fresh.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").await, 0);
}
