//! Streams read inside of workflows, where each value is a step; and what wakes their readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use dbos_runtime::{Dbos, Error, ErrorKind};
use futures_util::future::join_all;
use harness::{Backend, on_each_backend};
use serde_json::{Value, json};

use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, launch, launch_as, result_of, start, step, steps,
    until_rows,
};
use super::streams::{drain, insert, read};

/// Writes as many values as its input says, waits for a word if there is an odd number of them, and ends.
async fn producer(ctx: &Ctx, values: u64) -> Result<Value, Error> {
    for n in 0..values {
        ctx.write_stream("k", &n).await?;
    }
    if values % 2 == 1 {
        ctx.recv::<Value>("go").timeout(HOUR).await?;
    }
    Ok(Value::Null)
}

/// Reads the stream of `p` to its end.
async fn reader(ctx: &Ctx, limit: Duration) -> Result<Value, Error> {
    let mut values = ctx.read_stream::<Value>(&id("p"), "k").timeout(limit);
    let mut seen = Vec::new();
    while let Some((offset, value)) = values.next().await? {
        seen.push(json!([offset, value]));
    }
    assert!(values.next().await?.is_none(), "the end stays the end, and is not a step again");
    Ok(json!(seen))
}

async fn both(ctx: Ctx, input: Value) -> Result<Value, Error> {
    match input.as_u64() {
        Some(values) => producer(&ctx, values).await,
        None => reader(&ctx, Duration::from_millis(if input == "brief" { 30 } else { 60_000 })).await,
    }
}

async fn produce(dbos: &Dbos, values: u64) {
    let handle = dbos.start(W, json!(values)).id("p").await.unwrap();
    if values.is_multiple_of(2) {
        result_of(&handle).await.unwrap();
    }
}

const PORTABLE: Option<&str> = Some("portable_json");

on_each_backend! {
    // J246
    async fn each_value_and_the_end_are_steps_and_replay_without_the_stream(fresh: Fresh) {
        let dbos = launch(&fresh, both).await;
        produce(&dbos, 2).await;
        let seen = result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(seen, json!([[0, 0], [1, 1]]));
        let recorded = steps(&fresh, "w").await;
        let row = |number, output| step(number, "DBOS.readStream", Some(output), PORTABLE);
        assert_eq!(recorded, [row(1, "0"), row(2, "1"), row(3, "\"__DBOS_STREAM_CLOSED__\"")]);
        crash(&dbos).await;
        fresh.execute("DELETE FROM streams").await;
        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, both).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), seen);
        assert_eq!(steps(&fresh, "w").await, recorded);
    }

    // J246: a crash in the middle of a stream.
    async fn a_recovered_reader_goes_on_after_the_recorded_values(fresh: Fresh) {
        let dbos = launch(&fresh, both).await;
        produce(&dbos, 3).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 3, "operation_outputs WHERE function_name = 'DBOS.readStream'").await;
        crash(&dbos).await;
        fresh.execute("UPDATE streams SET value = '\"changed\"' WHERE \"offset\" < 3").await;
        insert(&fresh, "p", "k", 3, "\"more\"", "portable_json").await;
        let dbos = launch(&fresh, both).await;
        until_rows(&fresh, 4, "operation_outputs WHERE function_name = 'DBOS.readStream'").await;
        dbos.send(&id("p"), "go").topic("go").await.unwrap();
        let seen = result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap();
        assert_eq!(seen, json!([[0, 0], [1, 1], [2, 2], [3, "more"]]));
    }

    // J245
    async fn the_lack_of_a_value_in_time_is_recorded_and_replayed_without_waiting(fresh: Fresh) {
        let body = async |ctx: Ctx, input: Value| {
            if let Some(values) = input.as_u64() {
                return producer(&ctx, values).await;
            }
            let (p, brief) = (id("p"), Duration::from_millis(if input == "replay" { 60_000 } else { 20 }));
            let mut values = ctx.read_stream::<Value>(&p, "k").from(1).timeout(brief);
            let late = values.next().await.unwrap_err();
            let at = ctx.read_stream_offset::<Value>(&p, "k", 1).timeout(brief).await.unwrap_err();
            let nobody = ctx.read_stream::<Value>(&id("nobody"), "k").next().await.unwrap_err();
            Ok(json!([late, at, nobody].map(|error| format!("{:?}", error.kind()))))
        };
        let dbos = launch(&fresh, body).await;
        produce(&dbos, 1).await;
        let seen = result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(seen, json!(["StreamTimeout", "StreamTimeout", "NonExistentWorkflow"]));
        let recorded = steps(&fresh, "w").await;
        for (row, (name, code)) in recorded.iter().zip([("DBOS.readStream", 16), ("DBOS.readStreamOffset", 16), ("DBOS.readStream", 5)]) {
            assert_eq!(row[1].as_deref(), Some(name));
            let error: Value = serde_json::from_str(row[3].as_deref().unwrap()).unwrap();
            assert_eq!(error["code"], code);
        }
        assert_eq!(recorded.len(), 3);
        crash(&dbos).await;
        // The value is there by now, and the patience is a minute.
        insert(&fresh, "p", "k", 1, "1", "portable_json").await;
        fresh.execute("UPDATE workflow_input SET inputs = '{\"positionalArgs\":[\"replay\"]}' WHERE workflow_uuid = 'w'").await;
        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), seen);
        assert_eq!(steps(&fresh, "w").await, recorded);
    }

    // J247
    async fn one_value_is_read_in_one_step(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            if let Some(values) = input.as_u64() {
                return producer(&ctx, values).await;
            }
            let there = ctx.read_stream_offset::<Value>(&id("p"), "k", 1).await?;
            let beyond = ctx.read_stream_offset::<Value>(&id("p"), "k", 2).await.unwrap_err();
            Ok(json!([there, format!("{:?}", beyond.kind())]))
        })
        .await;
        produce(&dbos, 2).await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!([1, "StreamTimeout"]));
        let recorded = steps(&fresh, "w").await;
        assert_eq!(recorded[0], step(1, "DBOS.readStreamOffset", Some("1"), PORTABLE));
        assert_eq!((recorded.len(), recorded[1][2].as_deref()), (2, None));
    }

    // J239 in a workflow
    async fn a_bad_value_is_recorded_as_it_is_and_fails_again_in_a_replay(fresh: Fresh) {
        let body = async |ctx: Ctx, input: Value| {
            if let Some(values) = input.as_u64() {
                return producer(&ctx, values).await;
            }
            let mut values = ctx.read_stream::<u64>(&id("p"), "k");
            let bad = values.next().await.unwrap_err();
            let good = values.next().await?;
            Ok(json!([format!("{:?}", bad.kind()), good]))
        };
        let dbos = launch(&fresh, body).await;
        produce(&dbos, 2).await;
        fresh.execute("UPDATE streams SET value = 'gARLAi4=', serialization = 'py_pickle' WHERE \"offset\" = 0").await;
        let seen = result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(seen, json!(["Serialization", [1, 1]]));
        assert_eq!(steps(&fresh, "w").await[0], step(1, "DBOS.readStream", Some("gARLAi4="), Some("py_pickle")));
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), seen);
    }

    // J255
    async fn two_streams_are_not_awaited_at_the_same_time(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            if let Some(values) = input.as_u64() {
                return producer(&ctx, values).await;
            }
            let (mut a, mut b) = (ctx.read_stream::<Value>(&id("p"), "k"), ctx.read_stream::<Value>(&id("p"), "k"));
            let (first, second) = tokio::join!(a.next(), b.next());
            let refused = second.expect_err("it is refused");
            // One after the other is no matter of chance.
            let third = b.next().await?;
            Ok(json!([first?, format!("{:?}", refused.kind()), third]))
        })
        .await;
        produce(&dbos, 2).await;
        let seen = result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(seen, json!([[0, 0], "StreamNondeterminism", [0, 0]]));
        assert_eq!(steps(&fresh, "w").await.len(), 2, "what is refused takes no number");
    }

    // J250
    async fn a_reader_that_stops_early_holds_nothing(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            if let Some(values) = input.as_u64() {
                return producer(&ctx, values).await;
            }
            let mut values = ctx.read_stream::<u64>(&id("p"), "k");
            values.next().await?;
            drop(values);
            // Neither its number nor its turn is kept.
            let again = ctx.read_stream::<u64>(&id("p"), "k").next().await?;
            ctx.step("after", || async { Ok(()) }).await?;
            Ok(json!(again))
        })
        .await;
        produce(&dbos, 3).await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!([0, 0]));
        let names: Vec<_> = steps(&fresh, "w").await.into_iter().map(|row| format!("{} {}", row[0].as_deref().unwrap(), row[1].as_deref().unwrap())).collect();
        assert_eq!(names, ["1 DBOS.readStream", "2 DBOS.readStream", "3 after"]);
        // Outside: dropped while it waits.
        for _ in 0..3 {
            let mut waiting = dbos.read_stream::<Value>(&id("p"), "k").from(3).timeout(HOUR);
            assert!(tokio::time::timeout(Duration::from_millis(20), waiting.next()).await.is_err());
        }
        dbos.send(&id("p"), "go").topic("go").await.unwrap();
        assert_eq!(read(&dbos, "p", "k").await.len(), 3);
    }

    // J249
    async fn a_reader_notices_its_own_cancellation(fresh: Fresh) {
        let stopped = Arc::new(AtomicBool::new(false));
        let stopped_too = Arc::clone(&stopped);
        let dbos = launch(&fresh, move |ctx, input| {
            let stopped = Arc::clone(&stopped_too);
            async move {
                if let Some(values) = input.as_u64() {
                    return producer(&ctx, values).await;
                }
                let end = reader(&ctx, HOUR).await;
                stopped.store(end.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled), SeqCst);
                end
            }
        })
        .await;
        produce(&dbos, 1).await;
        let handle = start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_name = 'DBOS.readStream'").await;
        assert!(dbos.cancel(&id("w")).await.unwrap());
        assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
        harness::until("it stops", async || stopped.load(SeqCst)).await;
    }

    // J251, J252
    async fn readers_in_another_process_are_woken(fresh: Fresh) {
        // Where hints travel between processes nobody looks by himself within the time of this test.
        let process = |executor: &str| {
            let builder = harness::builder(&fresh).executor_id(executor);
            if fresh.backend() == Backend::Postgres { builder.polling_interval(Duration::from_secs(3600)) } else { builder }
        };
        let body = async |ctx: Ctx, _| {
            let key = "k".repeat(512);
            for n in 0..3 {
                ctx.recv::<Value>("word").timeout(HOUR).await?;
                ctx.write_stream(&key, &n).await?;
            }
            ctx.recv::<Value>("word").timeout(HOUR).await?;
            ctx.close_stream(&key).await?;
            ctx.sleep(HOUR).await?;
            Ok(Value::Null)
        };
        let writing = launch_as(process("e1"), body).await;
        let reading = launch_as(process("e2"), body).await;
        if fresh.backend() == Backend::Postgres {
            until_rows(&fresh, 2, "pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'").await;
        }
        let workflow = "w".repeat(256);
        start(&writing, &workflow).await;
        let mut values = reading.read_stream::<Value>(&id(&workflow), &"k".repeat(512));
        let since = Instant::now();
        for n in 0..3 {
            let word = async { writing.send(&id(&workflow), "go").topic("word").await.unwrap() };
            let (value, _) = tokio::join!(values.next(), word);
            assert_eq!(value.unwrap().unwrap(), (n, json!(n)));
        }
        writing.send(&id(&workflow), "go").topic("word").await.unwrap();
        assert_eq!(values.next().await, None);
        assert!(since.elapsed() < harness::PATIENCE, "{:?}", since.elapsed());
    }

    // J254
    async fn what_was_written_before_a_shutdown_reaches_other_processes(fresh: Fresh) {
        let rare = |executor: &str| {
            let builder = harness::builder(&fresh).executor_id(executor);
            if fresh.backend() == Backend::Postgres { builder.polling_interval(Duration::from_secs(3600)) } else { builder }
        };
        let body = async |ctx: Ctx, _| {
            ctx.recv::<Value>("word").timeout(HOUR).await?;
            ctx.write_stream("k", "last words").await?;
            ctx.sleep(HOUR).await?;
            Ok(Value::Null)
        };
        let writing = launch_as(rare("e1"), body).await;
        let reading = launch_as(rare("e2"), body).await;
        if fresh.backend() == Backend::Postgres {
            until_rows(&fresh, 2, "pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'").await;
        }
        start(&writing, "w").await;
        let mut values = reading.read_stream::<Value>(&id("w"), "k");
        let act = async {
            writing.send(&id("w"), "go").topic("word").await.unwrap();
            until_rows(&fresh, 1, "streams").await;
            crash(&writing).await;
        };
        let value = async { tokio::time::timeout(harness::PATIENCE, values.next()).await.expect("it is woken") };
        let (value, ()) = tokio::join!(value, act);
        assert_eq!(value.unwrap().unwrap(), (0, json!("last words")));
    }

    // K48: many readers, at many places, of one stream that is being written.
    async fn every_reader_gets_every_value_once_whenever_it_comes(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            for n in 0..300 {
                ctx.write_stream("k", &n).await?;
            }
            Ok(Value::Null)
        })
        .await;
        let handle = start(&dbos, "w").await;
        let readers = (0..60_u64).map(|n| {
            let dbos = dbos.clone();
            Box::pin(async move {
                let from = n * 7 % 310;
                // Come at different times.
                if n % 3 > 0 {
                    dbos.read_stream_offset::<Value>(&id("w"), "k", n * 4, None).await.unwrap();
                }
                (from, drain(dbos.read_stream(&id("w"), "k").from(from)).await)
            })
        });
        for (from, read) in join_all(readers).await {
            let expected: Vec<Value> = (from..300).map(|n| json!([n, n])).collect();
            assert_eq!(read, expected, "from {from}");
        }
        result_of(&handle).await.unwrap();
    }

    async fn a_reader_ends_with_the_runtime(fresh: Fresh) {
        let dbos = launch(&fresh, both).await;
        produce(&dbos, 1).await;
        let mut values = dbos.read_stream::<Value>(&id("p"), "k");
        values.next().await.unwrap().unwrap();
        let (next, ()) = tokio::join!(values.next(), crash(&dbos));
        assert_kind(next.unwrap(), ErrorKind::ShuttingDown);
        assert_eq!(values.next().await, None);
    }

    async fn effects_of_a_step_end_with_the_attempt_and_keep_to_the_rules(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            if input == "inbox" {
                return Ok(Value::Null);
            }
            let mut kept = None;
            let seen = ctx.step_with("s", |step| {
                kept = Some(step.clone());
                async move {
                    step.set_event("k", &1).await?;
                    step.send(&id("inbox"), "m").topic("t").idempotency_key("once").await?;
                    let kinds = [
                        step.send(&id("nobody"), "m").await.unwrap_err(),
                        step.set_event("", &1).await.unwrap_err(),
                        step.write_stream("k", "__DBOS_STREAM_CLOSED__").await.unwrap_err(),
                        step.close_stream(&"x".repeat(513)).await.unwrap_err(),
                    ];
                    Ok(json!(kinds.map(|error| format!("{:?}", error.kind()))))
                }
            });
            let seen = seen.await?;
            let late = kept.unwrap().set_event("k", &2).await.unwrap_err();
            Ok(json!([seen, format!("{:?}", late.kind())]))
        })
        .await;
        result_of(&dbos.start(W, json!("inbox")).id("inbox").await.unwrap()).await.unwrap();
        let seen = result_of(&start(&dbos, "w").await).await.unwrap();
        let invalid = "InvalidArgument";
        assert_eq!(seen, json!([["NonExistentWorkflow", invalid, invalid, invalid], "Misplaced"]));
        let events = fresh.rows("SELECT function_id, value FROM workflow_events_history").await;
        assert_eq!(events, [json!({"function_id": 1, "value": "1"})]);
        let messages = fresh.rows("SELECT message_uuid, topic, message FROM notifications").await;
        assert_eq!(messages, [json!({"message_uuid": "once::inbox", "topic": "t", "message": "\"m\""})]);
        assert_eq!(steps(&fresh, "w").await.len(), 1);
    }
}
