//! Events: published by workflows, read from anywhere, and what is recorded of both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dbos_runtime::{Error, ErrorKind};
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, launch, launch_as, result_of, start, step, steps,
    until_rows,
};

const SOON: Duration = harness::PATIENCE;

/// Reads what is there, under the key `k` of the workflow `p`.
async fn look(ctx: &Ctx) -> Result<Value, Error> {
    Ok(json!(ctx.get_event::<Value>(&id("p"), "k").timeout(Duration::ZERO).await?))
}

/// The publisher's row, made by another program.
async fn publish(fresh: &Fresh, workflow: &str, key: &str, value: &str) {
    let sql = format!(
        "INSERT INTO workflow_events (workflow_uuid, key, value, serialization)
         VALUES ('{workflow}', '{key}', '{value}', 'portable_json')"
    );
    fresh.execute(&sql).await;
}

on_each_backend! {
    // I216, I217, I225, I227
    async fn an_event_is_published_replaced_and_read_from_outside(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let gate_too = Arc::clone(&gate);
        let dbos = launch(&fresh, move |ctx, _| {
            let gate = Arc::clone(&gate_too);
            async move {
                ctx.set_event("k", &json!({"z": 1, "a": 2})).await?;
                ctx.set_event("other", "x").await?;
                gate.acquire().await.unwrap().forget();
                ctx.set_event("k", &2).await?;
                Ok(Value::Null)
            }
        })
        .await;
        let handle = start(&dbos, "p").await;
        let get = async |key: &str| dbos.get_event::<Value>(&id("p"), key, SOON).await.unwrap();
        assert_eq!(get("k").await.unwrap().to_string(), r#"{"z":1,"a":2}"#, "members keep their order");
        assert_eq!(get("other").await, Some(json!("x")));
        gate.add_permits(1);
        result_of(&handle).await.unwrap();
        assert_eq!(get("k").await, Some(json!(2)), "also after the end");
        let all = dbos.get_all_events(&id("p")).await.unwrap();
        assert_eq!(json!(all), json!({"k": 2, "other": "x"}));

        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_events").await, 2);
        let history = "SELECT function_id AS a, key AS b, value AS c, serialization AS d FROM workflow_events_history ORDER BY a";
        let history: Vec<String> = fresh.query(history).await.into_iter().flatten().flatten().collect();
        let portable = "portable_json";
        assert_eq!(
            history,
            ["1", "k", r#"{"z":1,"a":2}"#, portable, "2", "other", "\"x\"", portable, "3", "k", "2", portable]
        );
        let marker = |number| step(number, "DBOS.setEvent", None, None);
        assert_eq!(steps(&fresh, "p").await, [marker(1), marker(2), marker(3)]);
    }

    // B50
    async fn a_read_of_what_is_not_there_ends_with_its_time(fresh: Fresh) {
        // A process that does not look keeps the clock that it has.
        let rare = harness::builder(&fresh).polling_interval(HOUR);
        let dbos = launch_as(rare, async |_, _| Ok(Value::Null)).await;
        result_of(&start(&dbos, "p").await).await.unwrap();
        for workflow in ["p", "nobody"] {
            let began = Instant::now();
            let read = dbos.get_event::<Value>(&id(workflow), "k", Duration::ZERO).await.unwrap();
            assert_eq!(read, None);
            let read = dbos.get_event::<Value>(&id(workflow), "k", Duration::from_millis(100)).await.unwrap();
            assert_eq!(read, None);
            assert!(began.elapsed() >= Duration::from_millis(100));
            assert_eq!(dbos.get_all_events(&id(workflow)).await.unwrap().len(), 0);
        }
    }

    async fn a_reader_may_wait_before_the_event_and_before_the_workflow(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            if input == "reader" {
                return Ok(json!(ctx.get_event::<Value>(&id("p"), "k").timeout(HOUR).await?));
            }
            ctx.set_event("k", &7).await?;
            Ok(Value::Null)
        })
        .await;
        let reader = dbos.start(W, json!("reader")).id("reader").await.unwrap();
        until_rows(&fresh, 1, "operation_outputs WHERE function_name = 'DBOS.sleep'").await;
        let p = id("p");
        let outside = dbos.get_event::<Value>(&p, "k", HOUR);
        let publish = async {
            start(&dbos, "p").await;
        };
        let (outside, ()) = tokio::join!(outside, publish);
        assert_eq!(outside.unwrap(), Some(json!(7)));
        assert_eq!(result_of(&reader).await.unwrap(), json!(7));
    }

    // I218, I221, I222, and steps 17 and 18 of the shared schema's sample workflow.
    async fn a_read_takes_two_numbers_and_records_the_value_and_its_deadline(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            ctx.set_event("k", "v").await?;
            let me = ctx.workflow_id();
            let there = ctx.get_event::<Value>(me, "k").await?;
            let missing = ctx.get_event::<Value>(&id("nobody"), "k").timeout(Duration::ZERO).await?;
            Ok(json!([there, missing]))
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!(["v", null]));
        let rows = steps(&fresh, "w").await;
        let portable = Some("portable_json");
        assert_eq!(rows[1], step(2, "DBOS.getEvent", Some("\"v\""), portable));
        assert_eq!(rows[3], step(4, "DBOS.getEvent", Some("null"), portable));
        for (at, row) in [(2, "3"), (4, "5")] {
            assert_eq!(rows[at][..2], [Some(row.to_owned()), Some("DBOS.sleep".to_owned())]);
        }
        // The deadline's row is complete when it is written, however far away the deadline is.
        let projected = "SELECT max(completed_at_epoch_ms - started_at_epoch_ms) FROM operation_outputs";
        assert!(fresh.scalar(projected).await < 10_000);
        assert_eq!(rows.len(), 5);
    }

    // I219, I220
    async fn a_replayed_read_returns_what_the_first_run_saw(fresh: Fresh) {
        let body = async |ctx: Ctx, _| {
            let (first, all) = (look(&ctx).await?, ctx.get_all_events(&id("p")).await?);
            Ok(json!([first, all]))
        };
        for (workflow, change) in [("a", "UPDATE workflow_events SET value = '2'"), ("b", "DELETE FROM workflow_events")] {
            let dbos = launch(&fresh, body).await;
            if workflow == "a" {
                fresh.execute("INSERT INTO workflow_status (workflow_uuid, status, name, priority, was_forked_from,
                    rate_limited, is_debounced) VALUES ('p', 'SUCCESS', 'gone', 0, FALSE, FALSE, FALSE)").await;
                publish(&fresh, "p", "k", "1").await;
            } else {
                fresh.execute("UPDATE workflow_events SET value = '1'").await;
            }
            let seen = result_of(&start(&dbos, workflow).await).await.unwrap();
            assert_eq!(seen, json!([1, {"k": 1}]));
            let recorded = steps(&fresh, workflow).await;
            crash(&dbos).await;
            fresh.execute(change).await;
            forget_outcomes(&fresh).await;
            let dbos = launch(&fresh, body).await;
            let handle = dbos.retrieve::<Value, Error>(workflow).await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), seen);
            assert_eq!(steps(&fresh, workflow).await, recorded);
            assert_eq!(recorded[2][1].as_deref(), Some("DBOS.get_events"));
            crash(&dbos).await;
        }
    }

    // I218
    async fn a_read_that_saw_nothing_replays_as_nothing(fresh: Fresh) {
        let body = async |ctx: Ctx, _| look(&ctx).await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&start(&dbos, "p").await).await.unwrap(), Value::Null);
        crash(&dbos).await;
        publish(&fresh, "p", "k", "1").await;
        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("p").await.unwrap()).await.unwrap(), Value::Null);
        assert_eq!(dbos.get_event(&id("p"), "k", Duration::ZERO).await.unwrap(), Some(1));
    }

    async fn the_deadline_of_a_read_survives_a_restart(fresh: Fresh) {
        let body = async |ctx: Ctx, _| Ok(json!(ctx.get_event::<Value>(&id("p"), "k").timeout(HOUR).await?));
        let dbos = launch(&fresh, body).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 2").await;
        crash(&dbos).await;
        // The hour has passed while no process ran. A deadline that began anew would keep this test waiting.
        fresh.execute("UPDATE operation_outputs SET output = '1700000000.5'").await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), Value::Null);
        let rows = steps(&fresh, "w").await;
        assert_eq!(rows[0], step(1, "DBOS.getEvent", Some("null"), Some("portable_json")));
        assert_eq!(rows[1], step(2, "DBOS.sleep", Some("1700000000.5"), Some("portable_json")));
        assert_eq!(rows.len(), 2);
    }

    // I229
    async fn events_that_are_published_together_keep_the_numbers_of_their_calls(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            // Awaited in the opposite order of the calls.
            let calls: Vec<_> = (1..=20).map(|n| ctx.set_event(&format!("k{n}"), &n)).collect();
            for result in join_all(calls.into_iter().rev()).await {
                result?;
            }
            Ok(Value::Null)
        })
        .await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        let history = fresh.rows("SELECT function_id AS n, key, value FROM workflow_events_history ORDER BY n").await;
        assert_eq!(history.len(), 20);
        for (row, n) in history.iter().zip(1..) {
            assert_eq!(row, &json!({"n": n, "key": format!("k{n}"), "value": n.to_string()}));
        }
    }

    async fn an_event_of_another_type_or_format_is_refused(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            ctx.set_event("k", "text").await?;
            let me = ctx.workflow_id();
            let error = ctx.get_event::<u32>(me, "k").await.expect_err("not a number");
            Ok(json!(format!("{:?}", error.kind())))
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), "Serialization");
        let outside = dbos.get_event::<u32>(&id("w"), "k", Duration::ZERO).await;
        assert_kind(outside, ErrorKind::Serialization);
        fresh.execute("UPDATE workflow_events SET value = 'gARLAi4=', serialization = 'py_pickle'").await;
        let outside = dbos.get_event::<Value>(&id("w"), "k", Duration::ZERO).await;
        assert_kind(outside, ErrorKind::Serialization);
        let all = dbos.get_all_events(&id("w")).await.unwrap();
        assert_eq!(json!(all), json!({"k": "gARLAi4="}), "a listing shows the text as it is");
    }

    // B51
    async fn a_key_beyond_the_limits_is_refused_before_it_takes_a_number(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            let mut kinds = Vec::new();
            for key in ["x".repeat(513), String::new()] {
                kinds.push(ctx.set_event(&key, &1).await.unwrap_err().kind());
                kinds.push(ctx.get_event::<Value>(&id("p"), &key).await.unwrap_err().kind());
            }
            assert!(kinds.iter().all(|kind| *kind == ErrorKind::InvalidArgument), "{kinds:?}");
            ctx.set_event(&"x".repeat(512), &1).await?;
            Ok(Value::Null)
        })
        .await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(steps(&fresh, "w").await, [step(1, "DBOS.setEvent", None, None)]);
        let read = dbos.get_event::<Value>(&id("w"), &"x".repeat(513), Duration::ZERO).await;
        assert_kind(read, ErrorKind::InvalidArgument);
    }
}
