//! Time limits: of direct starts, of queued work, of children; through restarts, and whoever runs the workflow.

use std::time::Duration;

use dbos_runtime::{Dbos, Error, ErrorKind, Queue, WorkflowHandle};
use harness::{Backend, Fresh, on_each_backend, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::gauge::{Gauge, JOB};
use super::scene::{Ctx, HOUR, W, assert_kind, crash, id, launch, result_of, start, status, until_rows};
use super::support::Log;

const SHORT: Duration = Duration::from_millis(250);

async fn cancelled(handle: &WorkflowHandle<Value>) {
    assert_kind(result_of(handle).await, ErrorKind::AwaitedWorkflowCancelled);
}

async fn columns(fresh: &Fresh, id: &str, columns: &str) -> Value {
    let sql = format!("SELECT {columns} FROM workflow_status WHERE workflow_uuid = '{id}'");
    fresh.rows(&sql).await.remove(0)
}

/// A runtime with jobs and a queue `q`.
async fn jobs(fresh: &Fresh, gauge: &Gauge, queue: Queue) -> Dbos {
    gauge.register(harness::builder(fresh)).queue(queue).launch().await.unwrap()
}

/// A row of the harness's application, unless `changes` says otherwise.
async fn insert(fresh: &Fresh, id: &str, status: &str, deadline: &str, changes: &[(&str, &str)]) {
    let mut row = vec![
        ("workflow_uuid", format!("'{id}'")),
        ("status", format!("'{status}'")),
        ("workflow_deadline_epoch_ms", deadline.to_owned()),
    ];
    let own = [
        ("name", "'job'"),
        ("application_name", "'tests'"),
        ("application_version", "'v1'"),
        ("executor_id", "'elsewhere'"),
    ];
    for (column, value) in
        own.iter().filter(|(column, _)| changes.iter().all(|(other, _)| other != column)).chain(changes)
    {
        row.push((column, (*value).to_owned()));
    }
    let (names, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
    fresh
        .execute(&format!(
            "INSERT INTO workflow_status ({}) VALUES ({})",
            names.join(", "),
            values.join(", ")
        ))
        .await;
}

on_each_backend! {
    // G.174: wherever it waits, its body learns of it, and no later durable call goes through.
    async fn past_its_time_limit_a_workflow_is_cancelled(fresh: Fresh) {
        let log = Log::default();
        let notes = log.clone();
        let dbos = launch(&fresh, move |ctx: Ctx, how: Value| {
            let notes = notes.clone();
            async move {
                let how = how.as_str().unwrap().to_owned();
                let token = ctx.cancellation();
                let ended = match how.as_str() {
                    "sleep" => ctx.sleep(HOUR).await,
                    "recv" => ctx.recv::<Value>("never").timeout(HOUR).await.map(drop),
                    "event" => ctx.get_event::<Value>(&id("sleep"), "never").timeout(HOUR).await.map(drop),
                    // The body of a step is told by the token.
                    _ => ctx.step_once("step", |_| async move { token.cancelled().await; Ok(()) }).await,
                };
                notes.add(format!("{how} {:?}", ended.unwrap_err().kind()));
                let after = ctx.step("after", || async { Ok(()) }).await.unwrap_err();
                notes.add(format!("after {how} {:?}", after.kind()));
                Ok(json!("the body's own outcome is nobody's"))
            }
        })
        .await;
        let kinds = ["sleep", "recv", "event", "step"];
        let mut handles = Vec::new();
        for how in kinds {
            handles.push(dbos.start(W, json!(how)).id(how).timeout(SHORT).await.unwrap());
        }
        for handle in &handles {
            cancelled(handle).await;
        }
        for how in kinds {
            for entry in [format!("{how} Cancelled"), format!("after {how} Cancelled")] {
                until(&entry, async || log.count(&entry) == 1).await;
            }
            let row = columns(&fresh, how, "status, owner_xid, workflow_timeout_ms, workflow_deadline_epoch_ms - created_at AS given,
                completed_at - workflow_deadline_epoch_ms AS late").await;
            assert_eq!((&row["status"], &row["workflow_timeout_ms"]), (&json!("CANCELLED"), &json!(250)));
            assert!(row["owner_xid"].is_null());
            let (given, late) = (row["given"].as_i64().unwrap(), row["late"].as_i64().unwrap());
            assert!((-5_000..=260).contains(&given), "counted from the start, which may be before the commit: {given}");
            assert!((0..60_000).contains(&late), "never early: {late}");
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE function_name IN ('step', 'after')").await, 0);
    }

    // G.184, G.186: in time is in time, and what has ended stays as it ended.
    async fn a_workflow_that_ends_in_time_is_left_alone(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, _| Ok(json!(ctx.deadline().is_some()))).await;
        let in_time = dbos.start(W, Value::Null).id("in-time").timeout(HOUR).await.unwrap();
        assert_eq!(result_of(&in_time).await.unwrap(), true);
        insert(&fresh, "failed", "ERROR", "1", &[]).await;
        fresh.execute("UPDATE workflow_status SET workflow_deadline_epoch_ms = 1").await;
        insert(&fresh, "swept", "PENDING", "1", &[]).await;
        until_rows(&fresh, 1, "workflow_status WHERE status = 'CANCELLED'").await;
        assert_eq!(status(&fresh, "in-time").await, "SUCCESS");
        assert_eq!(status(&fresh, "failed").await, "ERROR");
        assert_eq!(result_of(&start_again(&dbos, "in-time").await).await.unwrap(), true);
        let none = start(&dbos, "without").await;
        assert_eq!(result_of(&none).await.unwrap(), false);
    }

    // G.175, G.176, G.177, G.180, and an enqueued child's clock is its parent's.
    async fn children_end_with_their_parent_unless_they_have_a_limit_of_their_own(fresh: Fresh) {
        let gauge = Gauge::closed();
        let builder = gauge.register(harness::builder(&fresh)).queue(Queue::new("q").concurrency(0));
        let dbos = builder.register_fn("w", async |ctx: Ctx, input: Value| {
            if input == "child" {
                ctx.sleep(HOUR).await?;
            }
            let child = || json!("child");
            ctx.start(W, child()).id("inherits").await?;
            ctx.start(W, child()).id("own").timeout(2 * HOUR).await?;
            ctx.start(W, child()).id("declines").no_timeout().await?;
            ctx.start(JOB, String::new()).queue("q").id("enqueued").await?;
            ctx.start(JOB, String::new()).queue("q").id("enqueued-own").timeout(2 * HOUR).await?;
            ctx.start(JOB, String::new()).queue("q").id("enqueued-declines").no_timeout().await?;
            // Waits for one that ends at the same instant: whichever it learns first, it was cancelled.
            ctx.recv::<Value>("never").timeout(HOUR).await?;
            Ok(Value::Null)
        });
        let dbos = builder_launch(dbos).await;
        let parent = dbos.start(W, Value::Null).id("parent").timeout(HOUR).await.unwrap();
        until_rows(&fresh, 7, "workflow_status").await;
        let deadline = columns(&fresh, "parent", "workflow_deadline_epoch_ms").await["workflow_deadline_epoch_ms"].as_i64().unwrap();
        let sql = "SELECT workflow_uuid AS id, workflow_timeout_ms AS t, workflow_deadline_epoch_ms AS d, created_at AS c
            FROM workflow_status WHERE parent_workflow_id = 'parent' ORDER BY 1";
        for row in fresh.rows(sql).await {
            let (timeout, until) = (row["t"].as_i64(), row["d"].as_i64());
            match row["id"].as_str().unwrap() {
                "inherits" | "enqueued" => assert_eq!((timeout, until), (None, Some(deadline)), "{row}"),
                "declines" | "enqueued-declines" => assert_eq!((timeout, until), (None, None), "{row}"),
                // Its clock starts at the claim.
                "enqueued-own" => assert_eq!((timeout, until), (Some(7_200_000), None), "{row}"),
                _ => assert!(timeout == Some(7_200_000) && until > Some(deadline), "{row}"),
            }
        }
        let end = format!("UPDATE workflow_status SET workflow_deadline_epoch_ms = 1 WHERE workflow_deadline_epoch_ms = {deadline}");
        fresh.execute(&end).await;
        cancelled(&parent).await;
        until_rows(&fresh, 3, "workflow_status WHERE status = 'CANCELLED' AND workflow_uuid IN ('parent', 'inherits', 'enqueued')").await;
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status IN ('PENDING', 'ENQUEUED')").await, 4);
        assert_eq!(gauge.started(), Vec::<String>::new());
        crash(&dbos).await;
    }

    // G.175: a parent that waits for a child that ran out of time is told so, and goes on.
    async fn a_parent_learns_that_its_child_ran_out_of_time(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, input: Value| {
            if input == "child" {
                ctx.sleep(HOUR).await?;
            }
            let error = ctx.run(W, json!("child")).timeout(Duration::from_millis(100)).await.unwrap_err();
            Ok(json!(format!("{:?}", error.kind())))
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "p").await).await.unwrap(), "AwaitedWorkflowCancelled");
        assert_eq!((status(&fresh, "p").await, status(&fresh, "p-1").await), ("SUCCESS".to_owned(), "CANCELLED".to_owned()));
    }

    // G.178, G.179: the clock of queued work starts at its first claim, and a recovery does not set it back.
    async fn the_clock_of_queued_work_starts_at_its_claim_and_runs_through_restarts(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = jobs(&fresh, &gauge, Queue::new("q").concurrency(0)).await;
        let waits = dbos.start(JOB, "a".to_owned()).id("a").queue("q").timeout(HOUR).await.unwrap();
        // As if it had waited for long.
        fresh.execute("UPDATE workflow_status SET created_at = created_at - 100000").await;
        let row = columns(&fresh, "a", "workflow_timeout_ms AS t, workflow_deadline_epoch_ms AS d").await;
        assert_eq!(row, json!({"t": 3_600_000, "d": null}));
        dbos.queues().update("q", |queue| queue.concurrency(None)).await.unwrap();
        gauge.settles_at(1).await;
        let facts = "workflow_deadline_epoch_ms AS d, started_at_epoch_ms + 3600000 AS from_claim, recovery_attempts AS n";
        let claimed = columns(&fresh, "a", facts).await;
        assert_eq!((&claimed["d"], &claimed["n"]), (&claimed["from_claim"], &json!(1)));
        crash(&dbos).await;
        let dbos = jobs(&fresh, &gauge, Queue::new("q")).await;
        until("it runs again", async || gauge.started().len() == 2).await;
        let again = columns(&fresh, "a", facts).await;
        assert_eq!((&again["d"], &again["n"]), (&claimed["d"], &json!(2)));
        fresh.execute("UPDATE workflow_status SET workflow_deadline_epoch_ms = 1").await;
        let handle = dbos.retrieve::<String, Error>("a").await.unwrap();
        assert_kind(tokio::time::timeout(harness::PATIENCE, handle.result()).await.unwrap(), ErrorKind::AwaitedWorkflowCancelled);
        let late = columns(&fresh, "a", "completed_at >= workflow_deadline_epoch_ms AND workflow_timeout_ms = 3600000 AS kept").await;
        assert!(late["kept"] == true || late["kept"] == 1, "{late}");
        drop(waits);
        crash(&dbos).await;
    }

    // G.185, G.179: a direct start's too; it may even have passed while nobody ran the workflow.
    async fn a_direct_starts_deadline_survives_a_restart(fresh: Fresh) {
        let body = async |ctx: Ctx, _| {
            ctx.sleep(HOUR).await?;
            Ok(Value::Null)
        };
        let dbos = launch(&fresh, body).await;
        dbos.start(W, Value::Null).id("kept").timeout(HOUR).await.unwrap();
        dbos.start(W, Value::Null).id("passed").timeout(HOUR).await.unwrap();
        let before = columns(&fresh, "kept", "workflow_deadline_epoch_ms").await;
        crash(&dbos).await;
        // The end of a process is no time limit.
        assert_eq!((status(&fresh, "kept").await, status(&fresh, "passed").await), ("PENDING".to_owned(), "PENDING".to_owned()));
        fresh.execute("UPDATE workflow_status SET workflow_deadline_epoch_ms = 1 WHERE workflow_uuid = 'passed'").await;
        let dbos = launch(&fresh, body).await;
        cancelled(&dbos.retrieve("passed").await.unwrap()).await;
        until_rows(&fresh, 1, "workflow_status WHERE workflow_uuid = 'kept' AND recovery_attempts = 2 AND status = 'PENDING'").await;
        assert_eq!(columns(&fresh, "kept", "workflow_deadline_epoch_ms").await, before);
        crash(&dbos).await;
    }

    // G.181
    async fn a_time_limit_beyond_all_time_is_the_end_of_time(fresh: Fresh) {
        let gauge = Gauge::open();
        for (name, timeout) in [("max", "9223372036854775807"), ("near", "9223372036854775000"), ("plain", "NULL")] {
            let input = format!("'{{\"positionalArgs\":[\"{name}\"]}}'");
            let queued = [("queue_name", "'q'"), ("serialization", "'portable_json'"), ("inputs", &input), ("workflow_timeout_ms", timeout)];
            insert(&fresh, name, "ENQUEUED", "NULL", &queued).await;
        }
        let dbos = jobs(&fresh, &gauge, Queue::new("q")).await;
        until_rows(&fresh, 3, "workflow_status WHERE status = 'SUCCESS'").await;
        let rows = fresh.query("SELECT workflow_deadline_epoch_ms AS d FROM workflow_status ORDER BY workflow_uuid").await.concat();
        let end = Some("9223372036854775807".to_owned());
        assert_eq!(rows, [end.clone(), end, None]);
        crash(&dbos).await;
    }

    // G.182, G.187: any that is due, of this application or of none, by whichever process looks first.
    async fn whoever_looks_first_ends_what_is_out_of_time(fresh: Fresh) {
        insert(&fresh, "running-elsewhere", "PENDING", "5", &[("owner_xid", "'x'"), ("started_at_epoch_ms", "3"),
            ("queue_name", "'q'"), ("deduplication_id", "'d'"), ("workflow_timeout_ms", "4")]).await;
        insert(&fresh, "other-version", "ENQUEUED", "5", &[("application_version", "'v9'"), ("queue_name", "'q'")]).await;
        insert(&fresh, "nobodys", "ENQUEUED", "5", &[("application_name", "NULL"), ("name", "'unknown'"), ("queue_name", "'q'")]).await;
        insert(&fresh, "delayed", "DELAYED", "5", &[("delay_until_epoch_ms", "1"), ("queue_name", "'q'")]).await;
        insert(&fresh, "anothers", "PENDING", "5", &[("application_name", "'another'")]).await;
        insert(&fresh, "anothers-queued", "ENQUEUED", "5", &[("application_name", "'another'"), ("queue_name", "'q'")]).await;
        insert(&fresh, "later", "PENDING", "9000000000000000000", &[]).await;
        insert(&fresh, "unlimited", "PENDING", "NULL", &[]).await;
        insert(&fresh, "parked", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "5", &[]).await;
        let gauge = Gauge::open();
        let two = futures_util::future::join_all(["first", "second"].map(|executor| {
            gauge.register(harness::builder(&fresh)).executor_id(executor).queue(Queue::new("q")).launch()
        }));
        let two: Vec<Dbos> = two.await.into_iter().map(Result::unwrap).collect();
        until_rows(&fresh, 4, "workflow_status WHERE status = 'CANCELLED'").await;
        // One more look, by each.
        for dbos in &two {
            let last = dbos.start(JOB, "x".to_owned()).queue("q").await.unwrap();
            last.result().await.unwrap();
        }
        let swept = fresh.query("SELECT workflow_uuid FROM workflow_status WHERE status = 'CANCELLED' ORDER BY 1").await;
        assert_eq!(swept.concat().into_iter().flatten().collect::<Vec<_>>(), ["delayed", "nobodys", "other-version", "running-elsewhere"]);
        let row = columns(&fresh, "running-elsewhere", "owner_xid, started_at_epoch_ms, queue_name, deduplication_id,
            workflow_timeout_ms, workflow_deadline_epoch_ms").await;
        assert_eq!(row, json!({"owner_xid": null, "started_at_epoch_ms": null, "queue_name": null, "deduplication_id": null,
            "workflow_timeout_ms": 4, "workflow_deadline_epoch_ms": 5}));
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'CANCELLED' AND completed_at IS NULL").await, 0);
        assert!(!gauge.started().iter().any(|name| name != "x"), "{:?}", gauge.started());
        for dbos in two {
            crash(&dbos).await;
        }
    }
}

async fn start_again(dbos: &Dbos, id: &str) -> WorkflowHandle<Value> {
    let handle = dbos.start(W, Value::Null).id(id).timeout(SHORT).await.unwrap();
    assert!(!handle.created());
    handle
}

async fn builder_launch(builder: dbos_runtime::Builder<()>) -> Dbos {
    builder.launch().await.unwrap()
}

// A row that a stranded session has locked is passed over, and holds up no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_does_not_hold_up_the_others() {
    let fresh = harness::fresh(Backend::Postgres).await;
    insert(&fresh, "locked", "PENDING", "5", &[]).await;
    insert(&fresh, "other", "PENDING", "6", &[]).await;
    let mut stranded = PgConnection::connect(fresh.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT 1 FROM dbos.workflow_status WHERE workflow_uuid = 'locked' FOR UPDATE")
        .execute(&mut stranded)
        .await
        .unwrap();
    let gauge = Gauge::open();
    let dbos = jobs(&fresh, &gauge, Queue::new("q")).await;
    until_rows(&fresh, 1, "workflow_status WHERE status = 'CANCELLED' AND workflow_uuid = 'other'").await;
    let runs = dbos.start(JOB, "a".to_owned()).queue("q").await.unwrap();
    assert_eq!(runs.result().await.unwrap(), "a");
    assert_eq!(status(&fresh, "locked").await, "PENDING");
    drop(stranded);
    until_rows(&fresh, 1, "workflow_status WHERE status = 'CANCELLED' AND workflow_uuid = 'locked'").await;
    crash(&dbos).await;
}
