//! Streams: appended to by workflows and their steps, read live from outside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dbos_runtime::{Dbos, Error, ErrorKind, Retry, StreamReader, WorkflowId};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, launch, launch_as, result_of, start, step, steps,
    until_rows,
};

/// The rows of all streams: workflow, key, offset, value, step.
pub(super) async fn stored(fresh: &Fresh) -> Vec<String> {
    let sql = "SELECT workflow_uuid AS a, key AS b, \"offset\" AS c, value AS d, function_id AS e, serialization AS f
        FROM streams ORDER BY workflow_uuid, key, \"offset\"";
    let line = |row: Vec<Option<String>>| row.into_iter().flatten().collect::<Vec<_>>().join(" ");
    fresh.query(sql).await.into_iter().map(line).collect()
}

/// Everything that a reader yields until it ends: values as they are, errors by their kind.
pub(super) async fn drain(reader: StreamReader<Value>) -> Vec<Value> {
    let read = reader.map(|item| match item {
        Ok((offset, value)) => json!([offset, value]),
        Err(error) => json!(format!("{:?}", error.kind())),
    });
    tokio::time::timeout(harness::PATIENCE, read.collect()).await.expect("the stream ends")
}

pub(super) async fn read(dbos: &Dbos, workflow: &str, key: &str) -> Vec<Value> {
    drain(dbos.read_stream(&id(workflow), key)).await
}

/// Some error.
fn failure() -> Error {
    WorkflowId::parse("").unwrap_err()
}

/// A row that another program writes.
pub(super) async fn insert(fresh: &Fresh, workflow: &str, key: &str, offset: i64, value: &str, format: &str) {
    let sql = format!(
        "INSERT INTO streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
         VALUES ('{workflow}', '{key}', '{value}', {offset}, 1, '{format}')"
    );
    fresh.execute(&sql).await;
}

on_each_backend! {
    // J233, J243, J258
    async fn values_come_back_in_order_until_the_stream_is_closed(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            ctx.write_stream("k", &json!({"z": 1, "a": [2]})).await?;
            ctx.write_stream("other", "x").await?;
            ctx.write_stream("k", &Value::Null).await?;
            ctx.close_stream("k").await?;
            ctx.write_stream("k", "after the end").await?;
            ctx.recv::<Value>("go").timeout(HOUR).await?;
            Ok(Value::Null)
        })
        .await;
        let handle = start(&dbos, "w").await;
        // While the workflow still runs.
        assert_eq!(read(&dbos, "w", "k").await, [json!([0, {"z": 1, "a": [2]}]), json!([1, null])]);
        until_rows(&fresh, 5, "streams").await;
        assert_eq!(
            stored(&fresh).await,
            [
                r#"w k 0 {"z":1,"a":[2]} 1 portable_json"#,
                "w k 1 null 3 portable_json",
                r#"w k 2 "__DBOS_STREAM_CLOSED__" 4 portable_json"#,
                r#"w k 3 "after the end" 5 portable_json"#,
                r#"w other 0 "x" 2 portable_json"#,
            ]
        );
        let write = |number| step(number, "DBOS.writeStream", None, None);
        let expected = [write(1), write(2), write(3), step(4, "DBOS.closeStream", None, None), write(5)];
        assert_eq!(steps(&fresh, "w").await[..5], expected);
        dbos.send(&id("w"), "go").topic("go").await.unwrap();
        result_of(&handle).await.unwrap();
        assert_eq!(read(&dbos, "w", "k").await.len(), 2, "also after the end");
        assert_eq!(read(&dbos, "w", "other").await, [json!([0, "x"])]);
        assert_eq!(read(&dbos, "w", "never written").await, [Value::Null; 0]);
    }

    // J234, J247
    async fn a_stream_can_be_read_from_any_offset(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            for n in 0..5 {
                ctx.write_stream("k", &n).await?;
            }
            Ok(Value::Null)
        })
        .await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        for from in 0..7 {
            let expected: Vec<Value> = (from..5).map(|n| json!([n, n])).collect();
            assert_eq!(drain(dbos.read_stream(&id("w"), "k").from(from)).await, expected, "from {from}");
        }
        assert_eq!(dbos.read_stream_offset::<u32>(&id("w"), "k", 3, None).await.unwrap(), 3);
        assert_kind(dbos.read_stream_offset::<u32>(&id("w"), "k", 5, None).await, ErrorKind::StreamTimeout);
        assert_kind(dbos.read_stream_offset::<u32>(&id("w"), "k", 1 << 31, None).await, ErrorKind::InvalidArgument);
        let largest = dbos.read_stream::<u32>(&id("w"), "k").from((1 << 31) - 1).next().await;
        assert_eq!(largest, None);
    }

    // J235, J236, J259, K48
    async fn a_reader_gets_the_value_that_is_written_as_the_workflow_ends(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let gate_too = Arc::clone(&gate);
        // Nobody looks by himself within the time of this test.
        let rare = harness::builder(&fresh).polling_interval(Duration::from_secs(3600));
        let dbos = launch_as(rare, move |ctx, _| {
            let gate = Arc::clone(&gate_too);
            async move {
                ctx.write_stream("k", "first").await?;
                gate.acquire().await.unwrap().forget();
                ctx.write_stream("k", "last").await?;
                Ok(Value::Null)
            }
        })
        .await;
        for n in 0..20 {
            let workflow = format!("w{n}");
            start(&dbos, &workflow).await;
            let mut reader = dbos.read_stream::<Value>(&id(&workflow), "k");
            assert_eq!(reader.next().await, Some(Ok((0, json!("first")))));
            let (rest, ()) = tokio::join!(drain(reader), async { gate.add_permits(1) });
            assert_eq!(rest, [json!([1, "last"])], "{workflow}");
        }
    }

    // J236
    async fn a_blocked_reader_ends_with_the_workflow_however_it_ends(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let gate_too = Arc::clone(&gate);
        let dbos = launch(&fresh, move |ctx, input| {
            let gate = Arc::clone(&gate_too);
            async move {
                ctx.write_stream("k", &1).await?;
                if input == "wait" {
                    ctx.sleep(HOUR).await?;
                }
                gate.acquire().await.unwrap().forget();
                Err(failure())
            }
        })
        .await;
        start(&dbos, "fails").await;
        dbos.start(W, json!("wait")).id("cancelled").await.unwrap();
        let (mut a, mut b) = (dbos.read_stream::<Value>(&id("fails"), "k"), dbos.read_stream::<Value>(&id("cancelled"), "k"));
        a.next().await.unwrap().unwrap();
        b.next().await.unwrap().unwrap();
        let act = async {
            gate.add_permits(1);
            assert!(dbos.cancel(&id("cancelled")).await.unwrap());
        };
        let (a, b, ()) = tokio::join!(drain(a), drain(b), act);
        assert_eq!((a.len(), b.len()), (0, 0));
    }

    // J238
    async fn pages_of_every_length_around_the_limit_yield_each_value_once(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            for n in 0..input.as_u64().unwrap() {
                ctx.write_stream("k", &n).await?;
            }
            Ok(Value::Null)
        })
        .await;
        for length in [0_u64, 99, 100, 101, 201] {
            let workflow = format!("w{length}");
            let handle = dbos.start(W, json!(length)).id(workflow.as_str()).await.unwrap();
            let live = read(&dbos, &workflow, "k");
            let (live, ended) = tokio::join!(live, result_of(&handle));
            ended.unwrap();
            let expected: Vec<Value> = (0..length).map(|n| json!([n, n])).collect();
            assert_eq!(live, expected, "live, {length}");
            assert_eq!(read(&dbos, &workflow, "k").await, expected, "afterwards, {length}");
        }
    }

    // J239, and formats of other languages
    async fn a_bad_value_fails_only_its_own_delivery(fresh: Fresh) {
        let dbos = launch(&fresh, async |_, _| Ok(Value::Null)).await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        for (offset, value, format) in [
            (0, "1", "portable_json"), (1, "gARLAi4=", "py_pickle"), (2, "{broken", "portable_json"), (3, "4", "portable_json"),
        ] {
            insert(&fresh, "w", "k", offset, value, format).await;
        }
        let bad = json!("Serialization");
        assert_eq!(read(&dbos, "w", "k").await, [json!([0, 1]), bad.clone(), bad, json!([3, 4])]);
        let typed: Vec<_> = dbos.read_stream::<String>(&id("w"), "k").collect().await;
        assert_eq!(typed.len(), 4);
        assert!(typed.iter().all(|item| item.as_ref().unwrap_err().kind() == ErrorKind::Serialization));
    }

    // B80
    async fn a_gap_is_waited_at_and_a_second_close_is_never_reached(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            ctx.recv::<Value>("go").timeout(HOUR).await?;
            Ok(Value::Null)
        })
        .await;
        start(&dbos, "w").await;
        for (offset, value) in [(0, "1"), (1, "2"), (3, "4")] {
            insert(&fresh, "w", "gap", offset, value, "portable_json").await;
            insert(&fresh, "w", "filled", offset, value, "portable_json").await;
        }
        let closed = "\"__DBOS_STREAM_CLOSED__\"";
        for (offset, value) in [(0, "1"), (1, closed), (2, "2"), (3, closed)] {
            insert(&fresh, "w", "closed", offset, value, "portable_json").await;
        }
        assert_eq!(read(&dbos, "w", "closed").await, [json!([0, 1])]);
        let (gap, filled) = (dbos.read_stream(&id("w"), "gap"), dbos.read_stream(&id("w"), "filled"));
        let mut late = dbos.read_stream::<Value>(&id("w"), "gap").from(2).timeout(Duration::from_millis(20));
        assert_kind(late.next().await.unwrap(), ErrorKind::StreamTimeout);
        let act = async {
            insert(&fresh, "w", "filled", 2, "3", "portable_json").await;
            dbos.send(&id("w"), "go").topic("go").await.unwrap();
        };
        let (gap, filled, ()) = tokio::join!(drain(gap), drain(filled), act);
        assert_eq!(gap, [json!([0, 1]), json!([1, 2])]);
        assert_eq!(filled, [json!([0, 1]), json!([1, 2]), json!([2, 3]), json!([3, 4])]);
    }

    // J242
    async fn a_stream_of_no_workflow_is_an_error(fresh: Fresh) {
        let dbos = launch(&fresh, async |_, _| Ok(Value::Null)).await;
        assert_eq!(read(&dbos, "nobody", "k").await, [json!("NonExistentWorkflow")]);
        assert_kind(dbos.read_stream_offset::<Value>(&id("nobody"), "k", 0, None).await, ErrorKind::NonExistentWorkflow);
        let page = dbos.stream_page(&id("nobody"), "k", 0, 10).await;
        assert_kind(page.map(|page| page.next), ErrorKind::NonExistentWorkflow);
    }

    // J244
    async fn the_time_limit_is_for_each_value_and_the_reader_goes_on_after_it(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            loop {
                let word: Option<Value> = ctx.recv("word").timeout(HOUR).await?;
                ctx.write_stream("k", &word).await?;
                if word == Some(json!("end")) {
                    return Ok(Value::Null);
                }
            }
        })
        .await;
        start(&dbos, "w").await;
        let (w, brief) = (id("w"), Duration::from_millis(60));
        let mut reader = dbos.read_stream::<Value>(&w, "k").timeout(brief);
        let since = Instant::now();
        assert_kind(reader.next().await.unwrap(), ErrorKind::StreamTimeout);
        assert!(since.elapsed() >= brief);
        dbos.send(&w, "one").topic("word").await.unwrap();
        let mut item = reader.next().await.unwrap();
        while item.as_ref().is_err_and(|error| error.kind() == ErrorKind::StreamTimeout) {
            item = reader.next().await.unwrap();
        }
        assert_eq!(item.unwrap(), (0, json!("one")));
        // Zero takes what is there.
        let mut at_once = dbos.read_stream::<Value>(&w, "k").timeout(Duration::ZERO);
        assert_eq!(at_once.next().await.unwrap().unwrap(), (0, json!("one")));
        assert_kind(at_once.next().await.unwrap(), ErrorKind::StreamTimeout);
        assert_eq!(dbos.read_stream_offset::<Value>(&w, "k", 0, Duration::ZERO).await.unwrap(), "one");
        assert_kind(dbos.read_stream_offset::<Value>(&w, "k", 1, brief).await, ErrorKind::StreamTimeout);
        // The end is not late.
        dbos.send(&w, "end").topic("word").await.unwrap();
        let rest = drain(dbos.read_stream(&w, "k").from(1).timeout(HOUR)).await;
        assert_eq!(rest, [json!([1, "end"])]);
        let too_long = dbos.read_stream::<Value>(&w, "k").timeout(Duration::MAX).next().await.unwrap();
        assert_kind(too_long, ErrorKind::InvalidArgument);
    }

    async fn a_page_is_what_is_there_now(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            for n in 0..3 {
                ctx.write_stream("k", &json!({"n": n})).await?;
            }
            ctx.recv::<Value>("go").timeout(HOUR).await?;
            ctx.close_stream("k").await?;
            Ok(Value::Null)
        })
        .await;
        let handle = start(&dbos, "w").await;
        until_rows(&fresh, 3, "streams").await;
        let w = id("w");
        let page = async |from, limit| {
            let page = dbos.stream_page(&w, "k", from, limit).await.unwrap();
            json!([page.values, page.next, page.closed, page.ended])
        };
        assert_eq!(page(0, 2).await, json!([[[0, {"n": 0}], [1, {"n": 1}]], 2, false, false]));
        assert_eq!(page(2, 2).await, json!([[[2, {"n": 2}]], 3, false, false]));
        assert_eq!(page(9, 2).await, json!([[], 9, false, false]));
        dbos.send(&w, "go").topic("go").await.unwrap();
        result_of(&handle).await.unwrap();
        assert_eq!(page(1, 9).await, json!([[[1, {"n": 1}], [2, {"n": 2}]], 3, true, true]));
        fresh.execute("UPDATE streams SET value = 'gARLAi4=', serialization = 'py_pickle' WHERE \"offset\" = 1").await;
        assert_eq!(page(1, 1).await, json!([[[1, "gARLAi4="]], 2, false, true]), "shown as it is");
        for limit in [0, 1001] {
            assert_kind(dbos.stream_page(&w, "k", 0, limit).await, ErrorKind::InvalidArgument);
        }
    }

    // J259, J258: within a batch and over many, and together with other workflows' writes.
    async fn many_writes_at_once_take_one_offset_each_without_a_gap(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            let keys = ["a", "b"];
            let writes: Vec<_> = (0..100).map(|n| ctx.write_stream(keys[n % 2], &n)).collect();
            for write in join_all(writes).await {
                write?;
            }
            Ok(Value::Null)
        })
        .await;
        let workflows: Vec<String> = (0..5).map(|n| format!("w{n}")).collect();
        let handles = join_all(workflows.iter().map(|workflow| start(&dbos, workflow))).await;
        for handle in handles {
            result_of(&handle).await.unwrap();
        }
        for workflow in workflows {
            let rows = fresh.rows(&format!("SELECT key, \"offset\" AS o, value, function_id AS f FROM streams
                WHERE workflow_uuid = '{workflow}' ORDER BY key, o")).await;
            assert_eq!(rows.len(), 100, "{workflow}");
            let mut numbers: Vec<i64> = Vec::new();
            for (row, n) in rows.iter().zip(0..) {
                let number = row["f"].as_i64().unwrap();
                let key = ["a", "b"][n / 50];
                assert_eq!((&row["key"], &row["o"]), (&json!(key), &json!(n % 50)), "{workflow}");
                assert_eq!(row["value"], (number - 1).to_string(), "{workflow}");
                numbers.push(number);
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (1..=100).collect::<Vec<_>>(), "{workflow}");
        }
    }

    // The promise: from workflow code, exactly once.
    async fn a_replayed_write_does_not_append_again(fresh: Fresh) {
        let body = async |ctx: Ctx, _| {
            for n in 0..3 {
                ctx.write_stream("k", &n).await?;
            }
            ctx.close_stream("k").await?;
            Ok(Value::Null)
        };
        let dbos = launch(&fresh, body).await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        let (rows, recorded) = (stored(&fresh).await, steps(&fresh, "w").await);
        assert_eq!(rows.len(), 4);
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        // The last step is lost, and with it the value that was one commit with it.
        fresh.execute("DELETE FROM streams WHERE \"offset\" = 3; DELETE FROM operation_outputs WHERE function_id = 4").await;
        let dbos = launch(&fresh, body).await;
        result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap();
        assert_eq!(stored(&fresh).await, rows);
        assert_eq!(steps(&fresh, "w").await, recorded);
    }

    // J240
    async fn a_step_appends_at_each_attempt_and_may_close(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            ctx.write_stream("k", "body").await?;
            let tried = ctx.step_with("s", async move |step| {
                step.write_stream("k", &step.attempt()).await?;
                if step.attempt() < 2 {
                    return Err(failure());
                }
                step.close_stream("k").await?;
                Ok(step.attempt())
            });
            let attempts = tried.retry(Retry::times(3).interval(Duration::from_millis(1))).await?;
            Ok(json!(attempts))
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), 2);
        assert_eq!(read(&dbos, "w", "k").await, [json!([0, "body"]), json!([1, 0]), json!([2, 1]), json!([3, 2])]);
        let rows = stored(&fresh).await;
        assert_eq!(rows[1..], ["w k 1 0 2 portable_json", "w k 2 1 2 portable_json", "w k 3 2 2 portable_json",
            r#"w k 4 "__DBOS_STREAM_CLOSED__" 2 portable_json"#]);
        let names: Vec<_> = steps(&fresh, "w").await.into_iter().map(|row| row[1].clone().unwrap()).collect();
        assert_eq!(names, ["DBOS.writeStream", "s"], "what a step writes is no step");
    }

    // J241
    async fn a_write_to_a_deleted_workflow_is_refused_and_not_tried_again(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let (tell, mut told) = mpsc::unbounded_channel();
        let gate_too = Arc::clone(&gate);
        let dbos = launch(&fresh, move |ctx, _| {
            let (gate, tell) = (Arc::clone(&gate_too), tell.clone());
            async move {
                gate.acquire().await.unwrap().forget();
                tell.send(ctx.write_stream("k", &1).await.unwrap_err().kind()).unwrap();
                Ok(Value::Null)
            }
        })
        .await;
        start(&dbos, "w").await;
        fresh.execute("DELETE FROM workflow_status").await;
        gate.add_permits(1);
        assert_eq!(told.recv().await.unwrap(), ErrorKind::LostOwnership);
        assert_eq!(fresh.scalar("SELECT count(*) FROM streams").await, 0);
    }

    async fn an_offset_that_another_writer_took_first_is_taken_after_it(fresh: Fresh) {
        // Writers of older SDKs do not lock the workflow: here one is always a moment faster.
        if fresh.backend() == harness::Backend::Postgres {
            fresh.execute(
                "CREATE TABLE dbos.race (n INT); INSERT INTO dbos.race VALUES (3);
                 CREATE FUNCTION dbos.race() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF NEW.value = '\"ours\"' AND nextval('dbos.raced') <= 3 THEN
                        RAISE unique_violation USING TABLE = 'streams', SCHEMA = 'dbos';
                    END IF;
                    RETURN NEW;
                 END $$;
                 CREATE SEQUENCE dbos.raced;
                 CREATE TRIGGER race BEFORE INSERT ON dbos.streams FOR EACH ROW EXECUTE FUNCTION dbos.race()",
            )
            .await;
        }
        let dbos = launch(&fresh, |ctx, _| async move {
            let (a, b, c) = (ctx.write_stream("k", "ours"), ctx.set_event("k", &1), ctx.write_stream("k", "too"));
            let (a, b, c) = tokio::join!(a, b, c);
            a.and(b).and(c)?;
            ctx.step_once("s", |step| async move { step.write_stream("k", "ours").await }).await?;
            Ok(Value::Null)
        })
        .await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(read(&dbos, "w", "k").await, [json!([0, "ours"]), json!([1, "too"]), json!([2, "ours"])]);
        assert_eq!(steps(&fresh, "w").await.len(), 4, "nothing was refused");
        if fresh.backend() == harness::Backend::Postgres {
            assert!(fresh.scalar("SELECT last_value FROM dbos.raced").await > 3, "the race took place");
        }
    }

    // B51
    async fn keys_and_values_beyond_the_rules_are_refused_before_they_take_a_number(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            let mut kinds = Vec::new();
            for key in ["x".repeat(513), String::new(), "a\0b".to_owned()] {
                kinds.push(ctx.write_stream(&key, &1).await.unwrap_err().kind());
                kinds.push(ctx.close_stream(&key).await.unwrap_err().kind());
                kinds.push(ctx.read_stream::<Value>(ctx.workflow_id(), &key).next().await.unwrap_err().kind());
                kinds.push(ctx.read_stream_offset::<Value>(ctx.workflow_id(), &key, 0).await.unwrap_err().kind());
            }
            kinds.push(ctx.write_stream("k", "__DBOS_STREAM_CLOSED__").await.unwrap_err().kind());
            assert!(kinds.iter().all(|kind| *kind == ErrorKind::InvalidArgument), "{kinds:?}");
            ctx.write_stream(&"x".repeat(512), &1).await?;
            Ok(Value::Null)
        })
        .await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(steps(&fresh, "w").await, [step(1, "DBOS.writeStream", None, None)]);
        assert_eq!(read(&dbos, "w", &"x".repeat(513)).await, [json!("InvalidArgument")]);
        assert_eq!(read(&dbos, "w", &"x".repeat(512)).await, [json!([0, 1])]);
    }

    // J248
    async fn reading_from_outside_records_nothing_even_inside_a_step(fresh: Fresh) {
        let slot: Arc<std::sync::OnceLock<Dbos>> = Arc::default();
        let slot_too = Arc::clone(&slot);
        let dbos = launch(&fresh, move |ctx, input| {
            let slot = Arc::clone(&slot_too);
            async move {
                if input == "write" {
                    ctx.write_stream("k", &7).await?;
                    return Ok(Value::Null);
                }
                let dbos = slot.get().unwrap().clone();
                ctx.step_once("s", |_| async move { Ok(json!(read(&dbos, "p", "k").await)) }).await
            }
        })
        .await;
        assert!(slot.set(dbos.clone()).is_ok());
        result_of(&dbos.start(W, json!("write")).id("p").await.unwrap()).await.unwrap();
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!([[0, 7]]));
        assert_eq!(steps(&fresh, "w").await.len(), 1);
    }
}
