//! Rows that other programs have written, as bad as the columns allow.

use dbos_runtime::{ErrorKind, Filter, Queue};
use harness::until;

use super::*;

/// A row on the queue; further columns are SQL, in place of these.
async fn insert(fresh: &Fresh, id: &str, more: &[(&str, &str)]) {
    let mut columns = vec![
        ("workflow_uuid", format!("'{id}'")),
        ("status", "'ENQUEUED'".to_owned()),
        ("name", "'echo'".to_owned()),
        ("queue_name", "'q'".to_owned()),
        ("application_version", "'v1'".to_owned()),
        ("serialization", "'portable_json'".to_owned()),
        ("inputs", format!("'{{\"positionalArgs\":[\"{id}\"]}}'")),
    ];
    for (column, value) in more {
        columns.retain(|(there, _)| there != column);
        columns.push((column, (*value).to_owned()));
    }
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let sql = format!("INSERT INTO workflow_status ({}) VALUES ({})", names.join(", "), values.join(", "));
    fresh.execute(&sql).await;
}

async fn result(dbos: &Dbos, id: &str) -> Result<Value, Error> {
    let handle = dbos.retrieve::<Value, Error>(id).await.unwrap();
    tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect(id)
}

const HUGE: &str = "9223372036854775807";

on_each_backend! {
    // B69, B76, B78: each ends, and the good one behind them runs.
    async fn no_row_holds_up_the_rows_behind_it(fresh: Fresh) {
        let rows: &[(&str, &[(&str, &str)])] = &[
            ("huge", &[("recovery_attempts", HUGE)]),
            ("negative", &[("recovery_attempts", "-7")]),
            ("nobody", &[("executor_id", "NULL"), ("application_name", "NULL"), ("recovery_attempts", "NULL")]),
            ("ns", &[("created_at", "1795355486819907200"), ("updated_at", "1795355486819907200")]),
            ("zero", &[("created_at", "0"), ("updated_at", "0")]),
            ("first", &[("priority", "-1")]),
            ("last", &[("priority", "2147483647")]),
            ("patient", &[("workflow_timeout_ms", HUGE)]),
            ("hurried", &[("workflow_timeout_ms", "-1")]),
            ("unnamed", &[("name", "NULL")]),
            ("empty-name", &[("name", "''")]),
            ("stranger", &[("name", "'nobody'")]),
            ("foreign-version", &[("application_version", "'v9'")]),
            ("empty-version", &[("application_version", "''")]),
            ("lower", &[("status", "'enqueued'")]),
            ("running", &[("status", "'RUNNING'")]),
            ("statusless", &[("status", "NULL")]),
            ("queueless", &[("queue_name", "''")]),
            ("good", &[("created_at", "1795355486819907201"), ("priority", "2147483647")]),
        ];
        for (id, more) in rows {
            insert(&fresh, id, more).await;
        }
        let dbos = builder(&fresh).max_recovery_attempts(Some(5)).queue(Queue::new("q")).launch().await.unwrap();
        for id in ["good", "negative", "nobody", "ns", "zero", "first", "last", "patient"] {
            assert_eq!(result(&dbos, id).await.unwrap(), json!(id));
        }
        let status = async |id: &str| dbos.info(id).await.unwrap().status_text;
        until("it is parked", async || status("huge").await == "MAX_RECOVERY_ATTEMPTS_EXCEEDED").await;
        until("it has ended", async || ["CANCELLED", "SUCCESS"].contains(&&*status("hurried").await)).await;
        let kept = [
            ("unnamed", "ENQUEUED"), ("empty-name", "ENQUEUED"), ("stranger", "ENQUEUED"), ("foreign-version", "ENQUEUED"),
            ("empty-version", "ENQUEUED"), ("lower", "enqueued"), ("running", "RUNNING"), ("statusless", ""),
            ("queueless", "ENQUEUED"),
        ];
        for (id, expected) in kept {
            assert_eq!(status(id).await, expected, "{id}");
        }
        assert_eq!(dbos.info("patient").await.unwrap().deadline.unwrap().as_millis(), i64::MAX);
        let listed = dbos.workflows().list(&Filter::new().with_input().with_output()).await.unwrap();
        assert_eq!(listed.len(), rows.len());
    }

    // B77: an empty queue name is none, so what ran without a queue is recovered.
    async fn what_ran_on_a_queue_without_a_name_is_recovered(fresh: Fresh) {
        insert(&fresh, "w", &[("status", "'PENDING'"), ("queue_name", "''"), ("executor_id", "'one'"), ("recovery_attempts", HUGE)]).await;
        insert(&fresh, "x", &[("status", "'PENDING'"), ("queue_name", "''"), ("executor_id", "'one'")]).await;
        let dbos = builder(&fresh).executor_id("one").max_recovery_attempts(Some(5)).launch().await.unwrap();
        assert_eq!(result(&dbos, "x").await.unwrap(), json!("x"));
        let status = async || dbos.info("w").await.unwrap().status_text;
        until("it is parked", async || status().await == "MAX_RECOVERY_ATTEMPTS_EXCEEDED").await;
    }

    // B42, B43, B77
    async fn a_queues_row_with_any_numbers_is_read_and_holds_up_no_other_queue(fresh: Fresh) {
        let rows = [
            ("legacy-and-new", "concurrency, partition_queue, partition_concurrency", "1, TRUE, 2"),
            ("negative", "concurrency, worker_concurrency", "-1, -1"),
            ("inverted", "concurrency, worker_concurrency", "1, 9"),
            ("half", "rate_limit_max", "5"),
            ("other-half", "rate_limit_period_sec", "5"),
            ("no-period", "rate_limit_max, rate_limit_period_sec", "5, 0"),
            ("back", "rate_limit_max, rate_limit_period_sec", "5, -1"),
            ("for-ever", "rate_limit_max, rate_limit_period_sec", "5, 1e300"),
            ("aeons", "polling_interval_sec", "1.8e19"),
            ("never", "polling_interval_sec", "1e300"),
            ("always", "polling_interval_sec", "-1"),
        ];
        for (name, columns, values) in rows {
            let sql = format!("INSERT INTO queues (queue_id, name, {columns}) VALUES ('id-{name}', '{name}', {values})");
            fresh.execute(&sql).await;
        }
        if fresh.backend() == Backend::Postgres {
            fresh.execute("INSERT INTO queues (queue_id, name, rate_limit_max, rate_limit_period_sec, polling_interval_sec)
                VALUES ('nan', 'nan', 1, 'NaN', 'NaN')").await;
        } else {
            // Such a column takes any text.
            fresh.execute("INSERT INTO queues (queue_id, name, concurrency, rate_limit_period_sec, polling_interval_sec)
                VALUES ('nan', 'nan', 'many', 'long', 'often')").await;
        }
        let runs = ["inverted", "half", "other-half", "no-period", "back", "for-ever", "aeons", "never", "always", "q"];
        let keeps = ["negative", "legacy-and-new"];
        for name in runs.into_iter().chain(keeps) {
            insert(&fresh, name, &[("queue_name", &format!("'{name}'"))]).await;
        }
        let dbos = builder(&fresh).queue(Queue::new("q")).launch().await.unwrap();
        for name in runs {
            assert_eq!(result(&dbos, name).await.unwrap(), json!(name));
        }
        // A second look at the one whose interval has no end.
        insert(&fresh, "again", &[]).await;
        assert_eq!(result(&dbos, "again").await.unwrap(), json!("again"));
        for name in keeps {
            assert_eq!(dbos.info(name).await.unwrap().status_text, "ENQUEUED", "{name}");
        }
        let queues = dbos.queues();
        assert_eq!(queues.list().await.unwrap().len(), rows.len() + 2);
        let both = queues.get("legacy-and-new").await.unwrap().unwrap();
        assert_eq!((both.concurrency, both.partition_concurrency), (Some(1), Some(2)));
        assert_eq!(queues.get("half").await.unwrap(), Some(Queue::new("half")));
        // What breaks a rule can be put right.
        let right = queues.update("nan", |queue| queue.concurrency(3).polling_interval(Duration::from_secs(1))).await.unwrap();
        assert_eq!(queues.get("nan").await.unwrap(), Some(right));
    }

    // B74: numbers that the code never asks for are left alone, and one that is missing runs.
    async fn records_at_numbers_that_no_step_has_are_ignored(fresh: Fresh) {
        insert(&fresh, "w", &[("name", "'two'")]).await;
        for (number, name, output) in [(-1, "first", "1"), (0, "first", "2"), (2, "second", "3"), (i32::MAX, "x", "4")] {
            fresh.execute(&format!("INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output)
                VALUES ('w', {number}, '{name}', '{output}')")).await;
        }
        let dbos = builder(&fresh).queue(Queue::new("q")).register_fn("two", |ctx: Ctx, _: Value| async move {
            let first = ctx.step("first", || async { Ok(10) }).await?;
            Ok::<_, Error>(json!([first, ctx.step("second", || async { Ok(20) }).await?]))
        });
        let dbos = dbos.launch().await.unwrap();
        assert_eq!(result(&dbos, "w").await.unwrap(), json!([10, 3]));
        assert_eq!(dbos.workflows().steps("w", &dbos_runtime::StepFilter::new()).await.unwrap().len(), 5);
    }

    // B74
    async fn a_record_of_another_step_is_a_typed_error(fresh: Fresh) {
        insert(&fresh, "w", &[("name", "'one'")]).await;
        fresh.execute("INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, error)
            VALUES ('w', 1, 'refund', '1', '{\"name\":\"E\",\"message\":\"m\"}')").await;
        let dbos = builder(&fresh).queue(Queue::new("q")).register_fn("one", |ctx: Ctx, _: Value| async move {
            ctx.step("charge", || async { Ok(json!(1)) }).await
        });
        let dbos = dbos.launch().await.unwrap();
        assert_eq!(result(&dbos, "w").await.unwrap_err().kind(), ErrorKind::UnexpectedStep);
    }

    // B80: the schema has no NULL there; what is no JSON is a typed error, and a text among all events.
    async fn an_event_that_cannot_be_read_is_a_typed_error(fresh: Fresh) {
        insert(&fresh, "w", &[("status", "'SUCCESS'")]).await;
        for (key, value) in [("empty", ""), ("bogus", "{{{"), ("null", "null")] {
            fresh.execute(&format!("INSERT INTO workflow_events (workflow_uuid, key, value) VALUES ('w', '{key}', '{value}')")).await;
        }
        let dbos = builder(&fresh).launch().await.unwrap();
        let id: WorkflowId = "w".parse().unwrap();
        for key in ["empty", "bogus", "null"] {
            let error = dbos.get_event::<u32>(&id, key, Duration::ZERO).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Serialization, "{key}");
        }
        assert_eq!(dbos.get_event::<Value>(&id, "null", Duration::ZERO).await.unwrap(), Some(Value::Null));
        assert_eq!(dbos.get_all_events(&id).await.unwrap().len(), 3);
        let nulls = "SELECT count(*) FROM workflow_events WHERE value IS NULL";
        assert_eq!(fresh.scalar(nulls).await, 0);
    }
}

/// Such columns take values of any type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_the_wrong_type_fails_neither_a_listing_nor_a_claim() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    insert(
        &fresh,
        "w",
        &[("priority", "'high'"), ("recovery_attempts", "'few'"), ("authenticated_user", "x'41'")],
    )
    .await;
    insert(&fresh, "x", &[("workflow_timeout_ms", "'long'"), ("created_at", "1.5"), ("executor_id", "7")])
        .await;
    insert(&fresh, "none", &[("workflow_uuid", "NULL")]).await;
    fresh.execute("INSERT INTO operation_outputs (workflow_uuid, function_id, started_at_epoch_ms) VALUES ('w', 9, 'once')").await;
    insert(&fresh, "good", &[("priority", "1")]).await;
    let dbos = builder(&fresh).queue(Queue::new("q")).launch().await.unwrap();
    assert_eq!(result(&dbos, "good").await.unwrap(), json!("good"));
    assert_eq!(result(&dbos, "w").await.unwrap(), json!("w"));
    assert_eq!(dbos.workflows().list(&Filter::new()).await.unwrap().len(), 4);
    assert_eq!(dbos.workflows().steps("w", &dbos_runtime::StepFilter::new()).await.unwrap().len(), 1);
}
