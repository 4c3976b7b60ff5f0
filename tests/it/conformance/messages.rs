//! Receiving: order, topics, time limits, and what is recorded of it.

use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{Dbos, Error, ErrorKind};
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::scene::{
    Ctx, HOUR, assert_kind, crash, forget_outcomes, id, launch, result_of, start, status, step, steps,
    until_rows,
};

/// Takes what is there.
async fn take(ctx: &Ctx, topic: Option<&str>) -> Result<Value, Error> {
    Ok(json!(ctx.recv::<Value>(topic).timeout(Duration::ZERO).await?))
}

/// A runtime whose workflow waits until this test has sent everything, then runs `body`.
async fn launch_gated<F, Fut>(fresh: &Fresh, body: F) -> (Dbos, Arc<Semaphore>)
where
    F: Fn(Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, Error>> + Send + 'static,
{
    let gate = Arc::new(Semaphore::new(0));
    let (gate_too, body) = (Arc::clone(&gate), Arc::new(body));
    let dbos = launch(fresh, move |ctx, _| {
        let (gate, body) = (Arc::clone(&gate_too), Arc::clone(&body));
        async move {
            gate.acquire().await.unwrap().forget();
            body(ctx).await
        }
    })
    .await;
    (dbos, gate)
}

/// A message that another program has written.
async fn insert(fresh: &Fresh, message: &str, topic: &str, format: &str, created: i64) {
    let sql = format!(
        "INSERT INTO notifications (message_uuid, destination_uuid, topic, message, serialization, created_at_epoch_ms)
         VALUES ('raw-{topic}-{created}', 'w', '{topic}', '{message}', '{format}', {created})"
    );
    fresh.execute(&sql).await;
}

on_each_backend! {
    // H190, H191, B50, B52
    async fn messages_arrive_in_order_and_topics_do_not_cross(fresh: Fresh) {
        let (dbos, gate) = launch_gated(&fresh, |ctx| async move {
            let mut got = Vec::new();
            for topic in [Some("a"), None, Some("a::b"), Some("a"), None, Some("a"), Some("a::b"), None] {
                got.push(take(&ctx, topic).await?);
            }
            Ok(json!(got))
        })
        .await;
        let handle = start(&dbos, "w").await;
        for (topic, message) in [(Some("a"), 1), (None, 10), (Some("a"), 2), (Some("a::b"), 20), (None, 11)] {
            let send = dbos.send(&id("w"), &message);
            let send = if let Some(topic) = topic { send.topic(topic) } else { send };
            assert!(send.await.unwrap());
        }
        gate.add_permits(1);
        assert_eq!(result_of(&handle).await.unwrap(), json!([1, 10, 20, 2, 11, null, null, null]));
        let topics = fresh.query("SELECT topic, count(*) AS n FROM notifications GROUP BY topic ORDER BY topic").await;
        let topics: Vec<String> = topics.into_iter().flatten().flatten().collect();
        assert_eq!(topics, ["__null__topic__", "2", "a", "2", "a::b", "1"]);
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE NOT consumed").await, 0);
    }

    // The recorded forms of the shared schema: steps 11 to 14 of its sample workflow.
    async fn a_receive_takes_two_numbers_and_records_the_message_and_its_deadline(fresh: Fresh) {
        let (dbos, gate) = launch_gated(&fresh, |ctx| async move {
            let hello = ctx.recv::<Value>("t").await?;
            let nothing = take(&ctx, Some("empty")).await?;
            ctx.step("after", || async { Ok(()) }).await?;
            Ok(json!([hello, nothing]))
        })
        .await;
        let handle = start(&dbos, "w").await;
        dbos.send(&id("w"), "hello").topic("t").idempotency_key("ik").await.unwrap();
        gate.add_permits(1);
        assert_eq!(result_of(&handle).await.unwrap(), json!(["hello", null]));

        let portable = Some("portable_json");
        let rows = steps(&fresh, "w").await;
        assert_eq!(rows[0], step(1, "DBOS.recv", Some("\"hello\""), portable));
        assert_eq!(rows[2], step(3, "DBOS.recv", Some("null"), portable));
        assert_eq!(rows[4], step(5, "after", Some("null"), portable));
        let times = "SELECT function_id AS a, output AS b, started_at_epoch_ms AS c, completed_at_epoch_ms AS d
             FROM operation_outputs WHERE function_name = 'DBOS.sleep' ORDER BY function_id";
        for (row, (number, seconds)) in fresh.rows(times).await.iter().zip([(2, 60_000), (4, 0)]) {
            assert_eq!(row["a"], number);
            let (started, completed) = (row["c"].as_i64().unwrap(), row["d"].as_i64().unwrap());
            let wake = row["b"].as_str().unwrap();
            // A JSON number of seconds, as Python writes it; the step itself took no time.
            let (whole, millis) = wake.split_once('.').unwrap();
            let wake = whole.parse::<i64>().unwrap() * 1000 + millis.parse::<i64>().unwrap();
            assert_eq!((millis.len(), wake), (3, started + seconds));
            assert!(completed - started < 10_000, "completed when it was recorded, not when it would have ended");
        }
        let message = fresh.rows("SELECT message_uuid, topic, message, serialization, consumed_by_function_id AS by
             FROM notifications WHERE consumed").await;
        assert_eq!(
            message,
            [json!({"message_uuid": "ik::w", "topic": "t", "message": "\"hello\"", "serialization": "portable_json", "by": 1})]
        );
    }

    // H201, H204
    async fn a_receive_that_times_out_is_never_early_and_replays_as_nothing(fresh: Fresh) {
        let body = async |ctx: Ctx, _| Ok(json!(ctx.recv::<Value>("t").timeout(Duration::from_millis(150)).await?));
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), Value::Null);
        let took = "SELECT completed_at_epoch_ms - started_at_epoch_ms FROM operation_outputs WHERE function_id = 1";
        assert!(fresh.scalar(took).await >= 150, "{}", fresh.scalar(took).await);
        dbos.send(&id("w"), "late").topic("t").await.unwrap();
        crash(&dbos).await;

        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, body).await;
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), Value::Null);
        assert_eq!(steps(&fresh, "w").await.len(), 2);
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE NOT consumed").await, 1);
    }

    // H202
    async fn the_deadline_of_a_receive_survives_a_restart(fresh: Fresh) {
        let body = async |ctx: Ctx, _| Ok(json!(ctx.recv::<Value>("t").timeout(HOUR).await?));
        let dbos = launch(&fresh, body).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 2").await;
        crash(&dbos).await;
        // The hour has passed while no process ran. A deadline that began anew would keep this test waiting.
        fresh.execute("UPDATE operation_outputs SET output = '1700000000.5'").await;

        let dbos = launch(&fresh, body).await;
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), Value::Null);
        let rows = steps(&fresh, "w").await;
        assert_eq!(rows[0], step(1, "DBOS.recv", Some("null"), Some("portable_json")));
        assert_eq!(rows[1], step(2, "DBOS.sleep", Some("1700000000.5"), Some("portable_json")));
    }

    // H205
    async fn receives_that_are_joined_take_each_message_once(fresh: Fresh) {
        let body = async |ctx: Ctx, _| {
            let receives = (0..8).map(|_| ctx.recv::<u32>("t").timeout(HOUR));
            let mut got = Vec::new();
            for message in join_all(receives).await {
                got.push(message?.unwrap());
            }
            got.sort_unstable();
            Ok(json!(got))
        };
        let dbos = launch(&fresh, body).await;
        // Messages that come while all eight wait, then eight that are there already.
        let handle = start(&dbos, "w").await;
        until_rows(&fresh, 8, "operation_outputs").await;
        for message in 0..8 {
            dbos.send(&id("w"), &message).topic("t").await.unwrap();
        }
        assert_eq!(result_of(&handle).await.unwrap(), json!([0, 1, 2, 3, 4, 5, 6, 7]));
        let by = fresh.query("SELECT DISTINCT consumed_by_function_id AS n FROM notifications ORDER BY n").await;
        let by: Vec<String> = by.into_iter().flatten().flatten().collect();
        assert_eq!(by, ["1", "3", "5", "7", "9", "11", "13", "15"]);

        let (gated, gate) = launch_gated(&fresh, move |ctx| body(ctx, Value::Null)).await;
        let handle = start(&gated, "w2").await;
        for message in 0..8 {
            gated.send(&id("w2"), &message).topic("t").await.unwrap();
        }
        gate.add_permits(1);
        assert_eq!(result_of(&handle).await.unwrap(), json!([0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE consumed").await, 16);
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE function_name = 'DBOS.recv'").await, 16);
    }

    // B79, K47: what cannot be read is taken, and the next message comes through.
    async fn a_message_that_cannot_be_read_fails_typed_and_does_not_block_the_topic(fresh: Fresh) {
        let (dbos, gate) = launch_gated(&fresh, |ctx| async move {
            let mut kinds = Vec::new();
            for _ in 0..3 {
                let refused = ctx.recv::<u32>("t").await.expect_err("unreadable");
                kinds.push(format!("{:?}", refused.kind()));
            }
            Ok(json!([kinds, ctx.recv::<u32>("t").await?]))
        })
        .await;
        let handle = start(&dbos, "w").await;
        insert(&fresh, "{bogus", "t", "portable_json", 1).await;
        insert(&fresh, "gARLAi4=", "t", "py_pickle", 2).await;
        insert(&fresh, "\"not a number\"", "t", "portable_json", 3).await;
        insert(&fresh, "4", "t", "portable_json", 4).await;
        gate.add_permits(1);
        let expected = json!([["Serialization", "Serialization", "Serialization"], 4]);
        assert_eq!(result_of(&handle).await.unwrap(), expected);
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE consumed").await, 4);
        let formats = fresh.query("SELECT serialization FROM operation_outputs WHERE function_id = 3").await;
        assert_eq!(formats, [[Some("py_pickle".to_owned())]], "the record keeps the message's own format");
    }

    // O436
    async fn a_workflow_that_lets_an_unreadable_message_through_ends_with_that_error(fresh: Fresh) {
        let body = async |ctx: Ctx, _| Ok(json!(ctx.recv::<Value>("t").await?));
        let dbos = launch(&fresh, body).await;
        let handle = start(&dbos, "w").await;
        insert(&fresh, "{bogus", "t", "portable_json", 1).await;
        assert_kind(result_of(&handle).await, ErrorKind::Serialization);
        assert_eq!(status(&fresh, "w").await, "ERROR");
    }

    // K49: the clock cannot tell them apart, and the heap has lost their order.
    async fn a_thousand_messages_of_one_instant_arrive_in_the_order_of_their_sending(fresh: Fresh) {
        const MANY: u32 = 1000;
        let (dbos, gate) = launch_gated(&fresh, |ctx| async move {
            let mut got = Vec::new();
            for _ in 0..MANY {
                got.push(ctx.recv::<u32>("t").timeout(Duration::ZERO).await?);
            }
            Ok(json!(got))
        })
        .await;
        let handle = start(&dbos, "w").await;
        let sent = join_all((0..MANY).map(|n| dbos.send(&id("w"), &n).topic("t").into_future())).await;
        assert!(sent.into_iter().all(|new| new.unwrap()));
        fresh.execute("UPDATE notifications SET created_at_epoch_ms = 7, message = message || ' ' WHERE message LIKE '%7'").await;
        fresh.execute("UPDATE notifications SET created_at_epoch_ms = 7 WHERE message LIKE '%3'").await;
        fresh.execute("UPDATE notifications SET created_at_epoch_ms = 7").await;
        gate.add_permits(1);
        let result = tokio::time::timeout(Duration::from_secs(60), handle.result()).await.unwrap().unwrap();
        assert_eq!(result, json!((0..MANY).collect::<Vec<_>>()));
    }

    // H207: refused without a number, so the workflow's own receive is step 2.
    async fn a_step_cannot_receive(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            let inner = ctx.clone();
            let refused = ctx
                .step("inside", || {
                    let ctx = inner.clone();
                    async move { Ok(format!("{:?}", ctx.recv::<Value>("t").await.unwrap_err().kind())) }
                })
                .await?;
            Ok(json!([refused, take(&ctx, Some("t")).await?]))
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!(["Misplaced", null]));
        let rows = steps(&fresh, "w").await;
        assert_eq!(rows[1], step(2, "DBOS.recv", Some("null"), Some("portable_json")));
        assert_eq!(rows.len(), 3);
    }

    // B51
    async fn a_topic_that_is_too_long_is_refused_before_it_takes_a_number(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            let mut kinds = Vec::new();
            for topic in ["x".repeat(513), "x".repeat(8000), String::new()] {
                kinds.push(format!("{:?}", ctx.recv::<Value>(topic.as_str()).await.unwrap_err().kind()));
            }
            let longest = "é".repeat(256);
            Ok(json!([kinds, take(&ctx, Some(&longest)).await?]))
        })
        .await;
        let handle = start(&dbos, "w").await;
        let kind = "InvalidArgument";
        assert_eq!(result_of(&handle).await.unwrap(), json!([[kind, kind, kind], null]));
        assert_eq!(steps(&fresh, "w").await[0][0].as_deref(), Some("1"));
    }
}
