//! Inputs, outputs and errors as stored text; and rows that other programs wrote.

use std::collections::BTreeMap;

use dbos_runtime::{
    Builder, Ctx as RuntimeCtx, Dbos, Error, ErrorKind, Timestamp, WorkflowHandle, WorkflowRef,
};
use harness::{Fresh, on_each_backend};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::support::{Failure, Log, builder, row, stop, text};

type Ctx = RuntimeCtx<Log, Failure>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cart {
    sku: String,
    count: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Plain,
    With { n: u32 },
}

/// A workflow that hands back what it was given.
fn echoing<T: Serialize + DeserializeOwned + Send + 'static>(
    builder: Builder<Log>,
    name: &str,
) -> Builder<Log> {
    builder.register_fn(name, move |ctx: Ctx, input: T| async move {
        ctx.state().add("echo");
        Ok::<_, Failure>(input)
    })
}

/// Sends a value through a workflow, and compares both stored texts.
async fn echoes<T>(fresh: &Fresh, name: &'static str, value: T, input: &str, output: &str)
where
    T: Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + 'static,
{
    let dbos = echoing::<T>(builder(fresh, &Log::default()), name).launch().await.unwrap();
    let target = WorkflowRef::<T, T, Failure>::named(name);
    let handle = dbos.start(target, value.clone()).id(name).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), value, "{name}");
    assert_eq!(
        dbos.retrieve::<T, Failure>(name).await.unwrap().try_result().await.unwrap(),
        Some(value),
        "{name}"
    );
    assert_eq!(text(fresh, "workflow_input", name, "inputs").await, input, "{name}");
    assert_eq!(text(fresh, "workflow_output", name, "output").await, output, "{name}");
    stop(dbos).await;
}

/// A row as another program enqueues it: with the legacy column for inputs, or in the table of today.
async fn enqueue(
    fresh: &Fresh,
    id: &str,
    name: &str,
    serialization: Option<&str>,
    inputs: Option<&str>,
    legacy: bool,
) {
    let quoted = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
    let (serialization, inputs) = (quoted(serialization), quoted(inputs));
    if !legacy {
        fresh
            .execute(&format!("INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('{id}', {inputs})"))
            .await;
    }
    let inputs = if legacy { &inputs } else { "NULL" };
    fresh
        .execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, name, queue_name, status, inputs, serialization) \
        VALUES ('{id}', '{name}', '_dbos_internal_queue', 'ENQUEUED', {inputs}, {serialization})"
        ))
        .await;
}

/// Waits for a workflow's end and hands back its result as JSON.
async fn end(dbos: &Dbos, id: &str) -> Result<Value, Error> {
    let handle: WorkflowHandle<Value, Error> = dbos.retrieve(id).await.unwrap();
    tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect("it ends")
}

on_each_backend! {
    // 31, 32, 442
    async fn a_tuple_is_many_arguments_and_anything_else_is_one(fresh: Fresh) {
        echoes(&fresh, "unit", (), r#"{"positionalArgs":[],"namedArgs":{}}"#, "null").await;
        echoes(&fresh, "number", 5_u32, r#"{"positionalArgs":[5],"namedArgs":{}}"#, "5").await;
        let pair = (5_u32, "a\"ü\u{0}\u{1F600}".to_owned());
        let stored = "[5,\"a\\\"ü\\u0000\u{1F600}\"]";
        echoes(&fresh, "tuple", pair, &format!(r#"{{"positionalArgs":{stored},"namedArgs":{{}}}}"#), stored).await;
        echoes(&fresh, "one", ("a".to_owned(),), r#"{"positionalArgs":["a"],"namedArgs":{}}"#, r#"["a"]"#).await;
        echoes(&fresh, "list", vec![1_u32, 2], r#"{"positionalArgs":[[1,2]],"namedArgs":{}}"#, "[1,2]").await;
        let cart = Cart { sku: "w".to_owned(), count: 2 };
        let stored = r#"{"sku":"w","count":2}"#;
        echoes(&fresh, "struct", cart, &format!(r#"{{"positionalArgs":[{stored}],"namedArgs":{{}}}}"#), stored).await;
    }

    async fn options_enums_maps_and_large_numbers_survive(fresh: Fresh) {
        echoes(&fresh, "none", None::<u32>, r#"{"positionalArgs":[null],"namedArgs":{}}"#, "null").await;
        echoes(&fresh, "some", Some(5_u32), r#"{"positionalArgs":[5],"namedArgs":{}}"#, "5").await;
        echoes(&fresh, "plain", Choice::Plain, r#"{"positionalArgs":["Plain"],"namedArgs":{}}"#, r#""Plain""#).await;
        let with = r#"{"With":{"n":1}}"#;
        let input = format!(r#"{{"positionalArgs":[{with}],"namedArgs":{{}}}}"#);
        echoes(&fresh, "with", Choice::With { n: 1 }, &input, with).await;
        let map = BTreeMap::from([("a".to_owned(), u64::MAX)]);
        let stored = r#"{"a":18446744073709551615}"#;
        echoes(&fresh, "map", map, &format!(r#"{{"positionalArgs":[{stored}],"namedArgs":{{}}}}"#), stored).await;
    }

    // A parser that is content with the nearest float but one would give a replay another number than the step gave.
    async fn floats_come_back_to_the_last_bit(fresh: Fresh) {
        let floats: Vec<f64> = (0..1000).map(|n| f64::from(n).sqrt().sin() * f64::from(n - 500).exp2()).collect();
        let stored = serde_json::to_string(&floats).unwrap();
        let input = format!(r#"{{"positionalArgs":[{stored}],"namedArgs":{{}}}}"#);
        echoes(&fresh, "floats", floats, &input, &stored).await;
    }

    async fn keys_keep_the_order_in_which_they_were_given(fresh: Fresh) {
        let value: Value = serde_json::from_str(r#"{"z":1,"a":{"y":2,"b":[1.5,true,null]}}"#).unwrap();
        let stored = r#"{"z":1,"a":{"y":2,"b":[1.5,true,null]}}"#;
        echoes(&fresh, "value", value, &format!(r#"{{"positionalArgs":[{stored}],"namedArgs":{{}}}}"#), stored).await;
    }

    async fn a_failure_of_the_runtime_is_stored_under_its_shared_name_and_number(fresh: Fresh) {
        let log = Log::default();
        let dbos = builder(&fresh, &log).register_fn("w", |ctx: RuntimeCtx<Log>, (): ()| async move {
            ctx.send(&"none".parse()?, &1).await
        }).launch().await.unwrap();
        let handle = dbos.start(WorkflowRef::<(), ()>::named("w"), ()).id("w").await.unwrap();
        let error = handle.result().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonExistentWorkflow);
        let stored: Value = serde_json::from_str(&text(&fresh, "workflow_output", "w", "error").await).unwrap();
        assert_eq!((&stored["name"], &stored["code"]), (&json!("DBOSNonExistentWorkflowError"), &json!(5)));
        assert_eq!(stored["message"], json!(error.to_string()));
        assert_eq!(dbos.retrieve::<(), Error>("w").await.unwrap().result().await.unwrap_err(), error);
        stop(dbos).await;
    }

    // B35, 113
    async fn an_output_that_json_cannot_hold_is_the_workflows_error(fresh: Fresh) {
        let dbos = builder(&fresh, &Log::default()).register_fn("w", |_ctx: Ctx, (): ()| async move {
            Ok::<_, Failure>(BTreeMap::from([((1, 2), 3)]))
        }).launch().await.unwrap();
        dbos.start(WorkflowRef::<(), Value, Failure>::named("w"), ()).id("w").await.unwrap();
        assert_eq!(end(&dbos, "w").await.unwrap_err().kind(), ErrorKind::Serialization);
        assert_eq!(text(&fresh, "workflow_status", "w", "status").await, "ERROR");
        stop(dbos).await;
    }

    // B36
    async fn an_error_with_a_nul_is_stored_escaped(fresh: Fresh) {
        let dbos = builder(&fresh, &Log::default()).register_fn("w", |_ctx: Ctx, (): ()| async move {
            Err::<u32, Failure>(Failure::Runtime("\0".parse::<dbos_runtime::WorkflowId>().unwrap_err()))
        }).register_fn("panics", |_ctx: Ctx, (): ()| async move {
            if true { panic!("nul \0 here") }
            Ok::<u32, Failure>(1)
        }).launch().await.unwrap();
        for (id, kind) in [("w", ErrorKind::InvalidArgument), ("panics", ErrorKind::Panicked)] {
            let target = WorkflowRef::<(), u32, Failure>::named(id);
            let error = dbos.start(target, ()).id(id).await.unwrap().result().await.unwrap_err().runtime();
            assert_eq!(error.kind(), kind);
            assert_eq!(text(&fresh, "workflow_status", id, "status").await, "ERROR");
        }
        assert!(text(&fresh, "workflow_output", "panics", "error").await.contains(r"nul \u0000 here"));
        stop(dbos).await;
    }

    // 427, 428, 441, B72
    async fn rows_of_other_programs_are_run_whatever_their_spelling(fresh: Fresh) {
        let log = Log::default();
        let portable = Some("portable_json");
        let builder = echoing::<Cart>(echoing::<u32>(echoing::<()>(builder(&fresh, &log), "unit"), "number"), "cart");
        let dbos = echoing::<(u32, String)>(builder, "pair").launch().await.unwrap();
        let cases = [
            ("legacy", "number", portable, r#"{"positionalArgs":[5]}"#, true, json!(5)),
            ("spaced", "number", portable, r#"{"positionalArgs" : [5], "namedArgs" : {}}"#, false, json!(5)),
            ("python", "pair", portable, r#"{"namedArgs":{},"positionalArgs":[5,"a"]}"#, false, json!([5, "a"])),
            ("none", "unit", portable, r#"{"positionalArgs":[]}"#, true, Value::Null),
            ("named", "cart", portable, r#"{"namedArgs":{"count":2,"sku":"w"}}"#, false, json!({"sku": "w", "count": 2})),
            ("untagged", "number", None, r#"{"positionalArgs":[5]}"#, true, json!(5)),
        ];
        for (id, name, serialization, inputs, legacy, _) in &cases {
            enqueue(&fresh, id, name, *serialization, Some(inputs), *legacy).await;
        }
        for (id, _, serialization, _, _, expected) in &cases {
            assert_eq!(end(&dbos, id).await.unwrap(), *expected, "{id}");
            let columns = "status, serialization, recovery_attempts, application_name, application_version, executor_id";
            assert_eq!(row(&fresh, "workflow_status", id, columns).await, json!({
                "status": "SUCCESS", "serialization": serialization, "recovery_attempts": 1,
                "application_name": "tests", "application_version": "v1", "executor_id": "one",
            }));
        }
        assert_eq!(log.count("echo"), cases.len());
        stop(dbos).await;
    }

    // 426: the input that all SDKs share, in both spellings of its envelope.
    async fn the_shared_input_is_read_and_written_back_to_the_letter(fresh: Fresh) {
        type Golden = (String, i64, String, Vec<String>, Value, bool, Option<Value>);
        const ARGUMENTS: &str = r#"["hello-interop",42,"2025-06-15T10:30:00.000Z",["alpha","beta","gamma"],{"key1":"value1","key2":99,"nested":{"deep":true}},true,null]"#;
        let dbos = echoing::<Golden>(builder(&fresh, &Log::default()), "canonicalWorkflow").launch().await.unwrap();
        for (id, inputs) in [
            ("typescript", format!(r#"{{"positionalArgs":{ARGUMENTS}}}"#)),
            ("python", format!(r#"{{"namedArgs":{{}},"positionalArgs":{ARGUMENTS}}}"#)),
        ] {
            enqueue(&fresh, id, "canonicalWorkflow", Some("portable_json"), Some(&inputs), true).await;
            end(&dbos, id).await.unwrap();
            assert_eq!(text(&fresh, "workflow_output", id, "output").await, ARGUMENTS);
        }
        stop(dbos).await;
    }

    // 434, 435, 437, B70, B73
    async fn an_input_that_cannot_be_read_ends_the_workflow_with_an_error(fresh: Fresh) {
        let log = Log::default();
        let builder = echoing::<u32>(builder(&fresh, &log), "number");
        let builder = echoing::<Timestamp>(echoing::<Cart>(builder, "cart"), "instant");
        let dbos = echoing::<(u32, String)>(builder, "pair").launch().await.unwrap();
        let cases = [
            ("number", Some("not json {{{")),
            ("number", None),
            ("number", Some("")),
            ("number", Some("[5]")),
            ("number", Some("5")),
            ("number", Some(r#"{"positionalArgs":[]}"#)),
            ("number", Some(r#"{"positionalArgs":[5,6]}"#)),
            ("number", Some(r#"{"positionalArgs":[5],"namedArgs":{"x":1}}"#)),
            ("number", Some(r#"{"positionalArgs":["five"]}"#)),
            ("number", Some(r#"{"positionalArgs":[-5]}"#)),
            ("number", Some(r#"{"positionalArgs":{"n":5}}"#)),
            ("pair", Some(r#"{"positionalArgs":[5]}"#)),
            ("cart", Some(r#"{"namedArgs":{"sku":"w"}}"#)),
            ("instant", Some(r#"{"positionalArgs":["soon"]}"#)),
            ("instant", Some(r#"{"positionalArgs":["2026-13-01"]}"#)),
        ];
        for (index, (name, inputs)) in cases.iter().enumerate() {
            enqueue(&fresh, &format!("w{index}"), name, Some("portable_json"), *inputs, index % 2 == 0).await;
        }
        for (index, (name, inputs)) in cases.iter().enumerate() {
            let id = format!("w{index}");
            let error = end(&dbos, &id).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Serialization, "{name} {inputs:?}");
            let found = row(&fresh, "workflow_status", &id, "status, recovery_attempts").await;
            assert_eq!(found, json!({"status": "ERROR", "recovery_attempts": 1}), "at once: {name} {inputs:?}");
        }
        assert!(log.entries().is_empty());
        stop(dbos).await;
    }

    // 440, B71
    async fn a_foreign_format_ends_the_workflow_with_a_typed_error_and_blocks_nobody(fresh: Fresh) {
        let log = Log::default();
        let dbos = echoing::<u32>(builder(&fresh, &log), "number").launch().await.unwrap();
        let formats = ["py_pickle", "java_jackson", "js_superjson", "DBOS_JSON", "unheard-of"];
        for format in formats {
            enqueue(&fresh, format, "number", Some(format), Some("gASVBQAAAAAAAABLBYWULg=="), false).await;
        }
        enqueue(&fresh, "own", "number", Some("portable_json"), Some(r#"{"positionalArgs":[5]}"#), false).await;
        assert_eq!(end(&dbos, "own").await.unwrap(), json!(5));
        for format in formats {
            let error = end(&dbos, format).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Serialization);
            assert!(error.to_string().contains(format), "{error}");
            assert_eq!(text(&fresh, "workflow_status", format, "status").await, "ERROR");
            let stored: Value = serde_json::from_str(&text(&fresh, "workflow_output", format, "error").await).unwrap();
            assert!(stored["message"].as_str().unwrap().contains(format), "{stored}");
            assert_eq!(dbos.info(format).await.unwrap().name.as_deref(), Some("number"));
        }
        assert_eq!(log.count("echo"), 1);
        stop(dbos).await;
    }

    // 10.2: a result in a format of another language, awaited by us.
    async fn a_foreign_result_is_a_typed_error_for_who_waits(fresh: Fresh) {
        let dbos = echoing::<u32>(builder(&fresh, &Log::default()), "number").launch().await.unwrap();
        fresh.execute("INSERT INTO workflow_status (workflow_uuid, name, status, serialization) \
            VALUES ('p', 'theirs', 'SUCCESS', 'py_pickle'), ('e', 'theirs', 'ERROR', 'portable_json')").await;
        fresh.execute("INSERT INTO workflow_output (workflow_uuid, output) VALUES ('p', 'gARLAi4=')").await;
        fresh.execute(r#"INSERT INTO workflow_output (workflow_uuid, error) VALUES
            ('e', '{"name":"ValueError","message":"pe","code":null}')"#).await;
        assert_eq!(end(&dbos, "p").await.unwrap_err().kind(), ErrorKind::Serialization);
        let error = end(&dbos, "e").await.unwrap_err();
        assert_eq!((error.kind(), error.name(), error.to_string().as_str()), (ErrorKind::Foreign, "ValueError", "pe"));
        stop(dbos).await;
    }
}
