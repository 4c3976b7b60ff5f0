//! Values in a form of the application's own.

use std::time::Duration;

use dbos_runtime::{
    Builder, Client, Error, ErrorKind, Filter, Queue, Serializer, StepFilter, WorkflowHandle,
};
use futures_util::StreamExt;
use harness::{Fresh, on_each_backend, until};
use serde_json::{Value, json};

use super::clients::{Caller, own_table};
use super::ledger::{self, Parts};
use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, launch_as, result_of, start, status, steps,
};
use super::schedules;
use super::support::text;
use super::transactions::sells;
use super::witness;

type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// An error that a step can end with.
fn failure(text: &str) -> Error {
    sqlx::Error::Protocol(text.to_owned()).into()
}

/// Hexadecimal digits of the bytes, each changed by a key: nothing of the JSON is left, and JSON is none of it.
struct Xor(&'static str, u8);

const OURS: Xor = Xor("xor", 0x5a);

impl Serializer for Xor {
    fn name(&self) -> &str {
        self.0
    }

    fn encode(&self, json: &str) -> Result<String, Refusal> {
        if json.contains("unspeakable") {
            return Err("not this word".into());
        }
        Ok(json.bytes().map(|byte| format!("{:02x}", byte ^ self.1)).collect())
    }

    fn decode(&self, text: &str) -> Result<String, Refusal> {
        let byte = |at| Some(u8::from_str_radix(text.get(at..at + 2)?, 16).ok()? ^ self.1);
        let bytes = (0..text.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>();
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| "no such text".into())
    }
}

fn sealed(json: &str) -> String {
    OURS.encode(json).unwrap()
}

fn ours(fresh: &Fresh) -> Builder<()> {
    harness::builder(fresh).serializer(OURS)
}

/// Does a little of everything: two payloads of its own a kind, a failed step, a pause.
async fn everything(ctx: Ctx, input: Value) -> Result<Value, Error> {
    let stepped: String = ctx.step("step", async || Ok("secret step".to_owned())).await?;
    let failed = ctx.step_once("fails", async |_| Err::<(), _>(failure("secret failure"))).await;
    let failed = failed.unwrap_err().to_string();
    ctx.set_event("event", "secret event").await?;
    ctx.write_stream("stream", "secret value").await?;
    ctx.close_stream("stream").await?;
    let own = ctx.workflow_id().clone();
    ctx.send(&own, "secret message").await?;
    let received: Option<String> = ctx.recv(None).await?;
    let event: Option<String> = ctx.get_event(&own, "event").await?;
    ctx.sleep(Duration::from_millis(1)).await?;
    Ok(json!([input, stepped, failed, received, event]))
}

fn all_of_it(input: &Value) -> Value {
    json!([input, "secret step", failure("secret failure").to_string(), "secret message", "secret event"])
}

/// Each column with a format beside it, as `table: format format`.
async fn formats(fresh: &Fresh, table: &str) -> String {
    let sql =
        format!("SELECT DISTINCT serialization FROM {table} WHERE serialization IS NOT NULL ORDER BY 1");
    fresh.query(&sql).await.into_iter().flatten().flatten().collect::<Vec<_>>().join(" ")
}

/// A row as another program enqueues it.
async fn enqueue(fresh: &Fresh, id: &str, serialization: Option<&str>, inputs: &str) {
    let serialization = serialization.map_or("NULL".to_owned(), |name| format!("'{name}'"));
    let sql = format!(
        "INSERT INTO workflow_status (workflow_uuid, name, queue_name, status, inputs, serialization)
         VALUES ('{id}', 'w', '_dbos_internal_queue', 'ENQUEUED', '{inputs}', {serialization})"
    );
    fresh.execute(&sql).await;
}

async fn end(dbos: &dbos_runtime::Dbos, id: &str) -> Result<Value, Error> {
    let handle: WorkflowHandle<Value> = dbos.retrieve(id).await.unwrap();
    result_of(&handle).await
}

on_each_backend! {
    // O432
    async fn the_serializers_name_is_beside_everything_that_it_stored(fresh: Fresh) {
        let dbos = launch_as(ours(&fresh), everything).await;
        let handle = dbos.start(W, json!("secret input")).id("a").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), all_of_it(&json!("secret input")));
        assert_eq!(end(&dbos, "a").await.unwrap(), all_of_it(&json!("secret input")));

        for table in ["workflow_status", "workflow_events", "workflow_events_history", "notifications"] {
            assert_eq!(formats(&fresh, table).await, "xor", "{table}");
        }
        // The mark that closes a stream and the ends of waits are the same in every program.
        assert_eq!(formats(&fresh, "streams").await, "portable_json xor");
        let portable = "SELECT count(*) FROM operation_outputs WHERE serialization = 'portable_json' AND function_name <> 'DBOS.sleep'";
        assert_eq!(fresh.scalar(portable).await, 0);
        assert_eq!(
            text(&fresh, "workflow_input", "a", "inputs").await,
            sealed(r#"{"positionalArgs":["secret input"],"namedArgs":{}}"#)
        );
        assert_eq!(text(&fresh, "workflow_output", "a", "output").await, sealed(&all_of_it(&json!("secret input")).to_string()));
        for (table, column) in [
            ("workflow_input", "inputs"), ("workflow_output", "output"), ("operation_outputs", "output"),
            ("operation_outputs", "error"), ("workflow_events", "value"), ("workflow_events_history", "value"),
            ("streams", "value"), ("notifications", "message"),
        ] {
            let (all, plain) = (format!("SELECT count(*) FROM {table} WHERE {column} IS NOT NULL"), format!("SELECT count(*) FROM {table} WHERE {column} LIKE '%secret%'"));
            assert!(fresh.scalar(&all).await > 0, "{table}.{column}");
            assert_eq!(fresh.scalar(&plain).await, 0, "{table}.{column}");
        }
        crash(&dbos).await;
    }

    async fn a_scheduled_run_is_sealed_like_any_other(fresh: Fresh) {
        let dbos = schedules::builder(&fresh).serializer(OURS).launch().await.unwrap();
        let secret = || schedules::idle("s").context(&"secret");
        dbos.schedules().create(secret()).await.unwrap();
        let stored = "SELECT context FROM workflow_schedules WHERE schedule_name = 's'";
        let stored = async || fresh.query(stored).await.remove(0).remove(0).unwrap();
        assert_eq!(stored().await, format!("sealed:xor:{}", sealed("\"secret\"")));
        assert_eq!(schedules::get(&dbos, "s").await.context, json!("secret"));

        let triggered = dbos.schedules().trigger("s").await.unwrap();
        let leap_day = (schedules::at("2024-02-28T00:00:00Z"), schedules::at("2024-03-01T00:00:00Z"));
        let mut runs = dbos.schedules().backfill("s", leap_day.0, leap_day.1).await.unwrap();
        assert_eq!(runs.len(), 1);
        runs.push(triggered);
        for run in &runs {
            assert_eq!(end(&dbos, run.as_str()).await.unwrap()[1], "secret");
            let input = text(&fresh, "workflow_input", run.as_str(), "inputs").await;
            assert!(OURS.decode(&input).unwrap().contains("secret"), "{input}");
            let output = text(&fresh, "workflow_output", run.as_str(), "output").await;
            assert!(OURS.decode(&output).unwrap().contains("secret"), "{output}");
        }
        assert_eq!(formats(&fresh, "workflow_status").await, "xor");
        crash(&dbos).await;

        // By the clock: the next launch makes up for a leap day.
        fresh.execute("DELETE FROM workflow_status").await;
        fresh.execute("UPDATE workflow_schedules SET automatic_backfill = TRUE, last_fired_at = '2022-01-01T00:00:00+00:00'").await;
        let dbos = schedules::builder(&fresh).serializer(OURS).launch().await.unwrap();
        until("it has run", async || fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").await == 1).await;
        assert_eq!(formats(&fresh, "workflow_status").await, "xor");
        dbos.schedules().apply([secret().portable()]).await.unwrap();
        assert_eq!(stored().await, "\"secret\"");
        let open = dbos.schedules().trigger("s").await.unwrap();
        assert_eq!(end(&dbos, open.as_str()).await.unwrap()[1], "secret");
        assert_eq!(text(&fresh, "workflow_status", open.as_str(), "serialization").await, "portable_json");
        assert!(text(&fresh, "workflow_output", open.as_str(), "output").await.contains("secret"));

        // A program without the serializer sees that there is a context, and fires nothing of it.
        dbos.schedules().apply([secret()]).await.unwrap();
        crash(&dbos).await;
        let dbos = schedules::builder(&fresh).launch().await.unwrap();
        assert_eq!(schedules::get(&dbos, "s").await.context, json!(stored().await));
        assert_kind(dbos.schedules().trigger("s").await, ErrorKind::Serialization);
        crash(&dbos).await;
    }

    async fn a_replay_reads_what_the_serializer_stored(fresh: Fresh) {
        let first = launch_as(ours(&fresh), everything).await;
        let before = result_of(&start(&first, "a").await).await.unwrap();
        crash(&first).await;
        forget_outcomes(&fresh).await;
        let recorded = steps(&fresh, "a").await;
        let second = launch_as(ours(&fresh), everything).await;
        assert_eq!(end(&second, "a").await.unwrap(), before);
        assert_eq!(steps(&fresh, "a").await, recorded);
        crash(&second).await;
    }

    // O433
    async fn after_a_change_of_serializers_old_values_are_named_and_portable_ones_read(fresh: Fresh) {
        let first = launch_as(ours(&fresh), everything).await;
        result_of(&start(&first, "sealed").await).await.unwrap();
        let portable = first.start(W, json!(1)).id("portable").portable().await.unwrap();
        result_of(&portable).await.unwrap();
        crash(&first).await;

        for builder in [harness::builder(&fresh).serializer(Xor("other", 7)), harness::builder(&fresh)] {
            let dbos = launch_as(builder, everything).await;
            let refused = end(&dbos, "sealed").await;
            assert!(refused.as_ref().unwrap_err().to_string().contains("\"xor\""), "{refused:?}");
            assert_kind(refused, ErrorKind::Serialization);
            assert_kind(dbos.get_event::<String>(&id("sealed"), "event", Duration::ZERO).await, ErrorKind::Serialization);
            assert_eq!(end(&dbos, "portable").await.unwrap(), all_of_it(&json!(1)));
            let event: Option<String> = dbos.get_event(&id("portable"), "event", Duration::ZERO).await.unwrap();
            assert_eq!(event.as_deref(), Some("secret event"));
            crash(&dbos).await;
        }
        let again = launch_as(ours(&fresh), everything).await;
        assert_eq!(end(&again, "sealed").await.unwrap(), all_of_it(&Value::Null));
        crash(&again).await;
    }

    // O440
    async fn a_listing_shows_what_the_serializer_can_read_and_the_text_of_the_rest(fresh: Fresh) {
        let first = launch_as(ours(&fresh), everything).await;
        result_of(&start(&first, "a").await).await.unwrap();
        let filter = Filter::new().with_input().with_output();
        let listed = first.workflows().list(&filter).await.unwrap();
        let output = listed[0].output.clone().unwrap();
        assert_eq!((output.json(), output.format()), (Some(all_of_it(&Value::Null)), Some("portable_json")));
        let listed = first.workflows().steps(&id("a"), &StepFilter::new()).await.unwrap();
        assert_eq!(listed[0].output.clone().unwrap().json(), Some(json!("secret step")));
        assert!(listed[1].error.clone().unwrap().text().contains("secret failure"));
        crash(&first).await;

        let other = launch_as(harness::builder(&fresh), everything).await;
        let listed = other.workflows().list(&filter).await.unwrap();
        let output = listed[0].output.clone().unwrap();
        assert_eq!((output.text(), output.format()), (&*sealed(&all_of_it(&Value::Null).to_string()), Some("xor")));
        assert_eq!(output.json(), None);
        crash(&other).await;
    }

    // O439
    async fn what_others_enqueue_as_portable_answers_portable(fresh: Fresh) {
        let dbos = launch_as(ours(&fresh), async |ctx: Ctx, input: Value| {
            let done = everything(ctx.clone(), input.clone()).await?;
            if input == "fail" {
                ctx.step_once("last", async |_| Err::<(), _>(failure("out of ink"))).await?;
            }
            Ok(done)
        }).await;
        enqueue(&fresh, "good", Some("portable_json"), r#"{"positionalArgs":["go"]}"#).await;
        enqueue(&fresh, "bad", Some("portable_json"), r#"{"positionalArgs":["fail"]}"#).await;
        assert_eq!(end(&dbos, "good").await.unwrap(), all_of_it(&json!("go")));
        assert_eq!(end(&dbos, "bad").await.unwrap_err().to_string(), failure("out of ink").to_string());
        assert_eq!(text(&fresh, "workflow_output", "good", "output").await, all_of_it(&json!("go")).to_string());
        let error: Value = serde_json::from_str(&text(&fresh, "workflow_output", "bad", "error").await).unwrap();
        assert_eq!(error["message"], failure("out of ink").to_string());
        for table in ["workflow_status", "workflow_events", "streams", "notifications"] {
            assert_eq!(formats(&fresh, table).await, "portable_json", "{table}");
        }
        // What is recorded for the replay is for this program alone.
        let last = steps(&fresh, "bad").await.pop().unwrap();
        assert_eq!((last[1].as_deref(), last[4].as_deref()), (Some("last"), Some("xor")));
        crash(&dbos).await;
    }

    // O441, O440
    async fn a_value_without_a_format_is_the_serializers(fresh: Fresh) {
        let dbos = launch_as(ours(&fresh), async |_: Ctx, input: Value| Ok(input)).await;
        enqueue(&fresh, "none", None, &sealed(r#"{"positionalArgs":[7]}"#)).await;
        assert_eq!(end(&dbos, "none").await.unwrap(), json!(7));
        assert_eq!(text(&fresh, "workflow_output", "none", "output").await, sealed("7"));
        // Neither of these is, and both end at once.
        enqueue(&fresh, "plain", None, r#"{"positionalArgs":[7]}"#).await;
        enqueue(&fresh, "foreign", Some("py_pickle"), "gARLBy4=").await;
        for unreadable in ["plain", "foreign"] {
            assert_kind(end(&dbos, unreadable).await, ErrorKind::Serialization);
            assert_eq!(status(&fresh, unreadable).await, "ERROR");
        }
        assert!(text(&fresh, "workflow_output", "foreign", "error").await.contains("py_pickle"));
        crash(&dbos).await;
    }

    // O438
    async fn each_call_can_ask_for_the_portable_form(fresh: Fresh) {
        let dbos = launch_as(ours(&fresh), async |ctx: Ctx, _: Value| {
            ctx.set_event("event", "plain").portable().await?;
            ctx.write_stream("stream", "plain").portable().await?;
            let own = ctx.workflow_id().clone();
            ctx.send(&own, "plain").portable().await?;
            ctx.step_once("step", async move |step| step.send(&own, "plain").portable().await).await?;
            Ok(json!("sealed"))
        }).await;
        let handle = start(&dbos, "a").await;
        assert_eq!(result_of(&handle).await.unwrap(), json!("sealed"));
        assert!(dbos.send(&id("a"), "plain").portable().await.unwrap());
        for (table, rows) in [("workflow_events", 1), ("workflow_events_history", 1), ("streams", 1), ("notifications", 3)] {
            assert_eq!(formats(&fresh, table).await, "portable_json", "{table}");
            assert_eq!(fresh.scalar(&format!("SELECT count(*) FROM {table}")).await, rows, "{table}");
        }
        assert_eq!(formats(&fresh, "workflow_status").await, "xor");
        crash(&dbos).await;
    }

    async fn a_debounced_workflow_runs_with_the_last_sealed_input(fresh: Fresh) {
        let dbos = launch_as(ours(&fresh), async |_: Ctx, input: Value| Ok(input)).await;
        let first = dbos.start(W, json!(1)).debounce("k", HOUR).await.unwrap();
        let second = dbos.start(W, json!(2)).debounce("k", Duration::from_millis(10)).await.unwrap();
        assert_eq!(first.id(), second.id());
        assert_eq!(result_of(&first).await.unwrap(), json!(2));
        assert_eq!(text(&fresh, "workflow_input", first.id().as_str(), "inputs").await, sealed(r#"{"positionalArgs":[2],"namedArgs":{}}"#));
        assert_eq!(formats(&fresh, "workflow_status").await, "xor");
        crash(&dbos).await;
    }

    async fn a_transaction_is_recorded_in_the_serializers_form(fresh: Fresh) {
        let app = Parts::on(&fresh).await;
        let first = ledger::process(&fresh, "a", app.clone(), sells).serializer(OURS).launch().await.unwrap();
        first.start(sells, "ink".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        assert_eq!(ledger::steps(&fresh).await, [("sell".to_owned(), sealed("\"ink sold\""))]);
        ledger::kill(first).await;
        let second = ledger::process(&fresh, "a", app.clone(), sells).serializer(OURS).launch().await.unwrap();
        app.door.knock().await;
        app.door.let_in(1);
        let handle = second.retrieve::<String, ledger::Fail>("w").await.unwrap();
        assert_eq!((handle.result().await.unwrap(), app.runs()), ("ink sold".to_owned(), 1));
        ledger::kill(second).await;
    }

    async fn a_client_writes_and_reads_in_the_serializers_form(fresh: Fresh) {
        let client = Client::builder().database_url(fresh.url()).application("tests");
        let client = client.polling_interval(Duration::from_millis(50)).serializer(OURS).connect().await.unwrap();
        let handle = client.start(W, json!("secret input")).id("a").queue("q").await.unwrap();
        let by_name: WorkflowHandle<Value> = client.enqueue("q", "w", "secret input").id("b").await.unwrap();
        let inputs = "SELECT DISTINCT inputs FROM workflow_input";
        let stored = fresh.query(inputs).await.concat();
        assert_eq!(stored, [Some(sealed(r#"{"positionalArgs":["secret input"],"namedArgs":{}}"#))]);
        assert_eq!(formats(&fresh, "workflow_status").await, "xor");

        let dbos = launch_as(ours(&fresh).queue(Queue::new("q")), everything).await;
        for handle in [handle, by_name] {
            assert_eq!(result_of(&handle).await.unwrap(), all_of_it(&json!("secret input")));
        }
        let event: Option<String> = client.get_event(&id("a"), "event", Duration::ZERO).await.unwrap();
        assert_eq!(event.as_deref(), Some("secret event"));
        assert!(client.send(&id("a"), "secret message").idempotency_key("k").await.unwrap());
        let sent = "SELECT message FROM notifications WHERE message_uuid LIKE 'k%'";
        assert_eq!(fresh.query(sent).await.concat(), [Some(sealed("\"secret message\""))]);
        let values: Vec<String> = client.read_stream::<String>(&id("a"), "stream").map(|read| read.unwrap().1).collect().await;
        assert_eq!(values, ["secret value"]);
        client.close().await;
        crash(&dbos).await;
    }

    async fn a_start_within_the_callers_transaction_is_sealed(fresh: Fresh) {
        own_table(&fresh).await;
        let dbos = launch_as(ours(&fresh).queue(Queue::new("q")), async |_: Ctx, input: Value| Ok(input)).await;
        let mut caller = Caller::begin(&fresh).await;
        let handle = caller.start(dbos.start(W, json!("secret input")).id("a").queue("q")).await.unwrap();
        caller.run("COMMIT").await;
        assert_eq!(result_of(&handle).await.unwrap(), "secret input");
        assert_eq!(text(&fresh, "workflow_input", "a", "inputs").await, sealed(r#"{"positionalArgs":["secret input"],"namedArgs":{}}"#));
        assert_eq!(text(&fresh, "workflow_output", "a", "output").await, sealed("\"secret input\""));
        assert_eq!(formats(&fresh, "workflow_status").await, "xor");
        crash(&dbos).await;
    }

    // The crash between the two commits leaves the witness without the record.
    async fn a_sealed_witness_answers_for_the_body(fresh: Fresh) {
        let (application, app) = witness::elsewhere(&fresh).await;
        let process = || ledger::process(&fresh, "a", app.clone(), witness::sells).serializer(OURS);
        let first = process().launch().await.unwrap();
        first.start(witness::sells, "after".to_owned()).id("w").await.unwrap();
        app.door.knock().await;
        ledger::kill(first).await;
        let kept = application.query("SELECT output, serialization FROM datasource_outputs").await.concat();
        assert_eq!(kept, [Some(sealed("\"ink sold in run 1\"")), Some("xor".to_owned())]);
        fresh.execute("DELETE FROM operation_outputs").await;

        let second = process().launch().await.unwrap();
        app.door.let_in(1);
        let handle = second.retrieve::<String, ledger::Fail>("w").await.unwrap();
        assert_eq!((handle.result().await.unwrap(), app.runs()), ("ink sold in run 1".to_owned(), 1));
        assert_eq!(ledger::steps(&fresh).await[0], ("sell".to_owned(), sealed("\"ink sold in run 1\"")));
        ledger::kill(second).await;
    }

    async fn what_the_serializer_refuses_is_not_stored_and_holds_nothing_up(fresh: Fresh) {
        let dbos = launch_as(ours(&fresh), async |ctx: Ctx, input: Value| {
            assert_kind(ctx.set_event("event", "unspeakable").await, ErrorKind::Serialization);
            assert_kind(ctx.send(ctx.workflow_id(), "unspeakable").await, ErrorKind::Serialization);
            Ok(json!({ "unspeakable": input }))
        }).await;
        assert_kind(dbos.start(W, json!("unspeakable")).id("never").await, ErrorKind::Serialization);
        assert_kind(result_of(&start(&dbos, "a").await).await, ErrorKind::Serialization);
        assert_kind(dbos.send(&id("a"), "unspeakable").await, ErrorKind::Serialization);
        assert_eq!(status(&fresh, "a").await, "ERROR");
        for table in ["workflow_events", "notifications", "workflow_status WHERE workflow_uuid = 'never'"] {
            assert_eq!(fresh.scalar(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
        crash(&dbos).await;
    }

    async fn a_serializer_needs_a_name_of_its_own(fresh: Fresh) {
        for name in ["", "portable_json", "py_pickle", "js_superjson", "DBOS_JSON", "DBOS_GOB", "java_jackson", "rust_serde", "a\0b"] {
            let refused = harness::builder(&fresh).serializer(Xor(name, 1)).launch().await;
            assert_kind(refused, ErrorKind::InvalidArgument);
            let refused = Client::builder().database_url(fresh.url()).serializer(Xor(name, 1)).connect().await;
            assert_kind(refused, ErrorKind::InvalidArgument);
        }
        let long: &'static str = Box::leak("é".repeat(65).into_boxed_str());
        assert_kind(harness::builder(&fresh).serializer(Xor(long, 1)).launch().await, ErrorKind::InvalidArgument);
    }
}
