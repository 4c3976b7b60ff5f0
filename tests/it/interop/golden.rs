//! The vectors that the SDKs share: one workflow whose rows have the same text in every language.

use dbos_runtime::Builder;
use harness::{Fresh, on_each_backend, with_each_peer};
use serde_json::{Map, Value, json};

use super::scene::{Ctx, QUEUE, Shop, builder, result_of};

const NAME: &str = "canonicalWorkflow";
const INPUT: &str = r#""positionalArgs":["hello-interop",42,"2025-06-15T10:30:00.000Z",["alpha","beta","gamma"],{"key1":"value1","key2":99,"nested":{"deep":true}},true,null]"#;
const MESSAGE: &str = r#"{"sender":"test","payload":[1,2,3]}"#;
const EVENT: &str = r#"{"text":"hello-interop","num":42,"flag":true}"#;
const STREAM: &str = r#"{"item":"hello-interop"}"#;
const OUTPUT: &str = r#"{"echo_text":"hello-interop","echo_num":42,"echo_dt":"2025-06-15T10:30:00.000Z","items_count":3,"meta_keys":["key1","key2","nested"],"flag":true,"empty":null,"received":{"sender":"test","payload":[1,2,3]}}"#;

type Given = (String, i64, String, Vec<String>, Map<String, Value>, bool, Option<Value>);

async fn canonical(ctx: Ctx, (text, num, at, items, meta, flag, empty): Given) -> Result<Value, Shop> {
    ctx.set_event("interop_status", &json!({"text": text, "num": num, "flag": flag})).await?;
    ctx.write_stream("interop_stream", &json!({"item": text})).await?;
    ctx.close_stream("interop_stream").await?;
    let received = ctx.recv::<Value>("interop_topic").await?;
    Ok(json!({"echo_text": text, "echo_num": num, "echo_dt": at, "items_count": items.len(),
        "meta_keys": meta.keys().collect::<Vec<_>>(), "flag": flag, "empty": empty, "received": received}))
}

fn builder_with_canonical(fresh: &Fresh) -> Builder<()> {
    builder(fresh).register_fn(NAME, canonical)
}

/// Every row that the workflow has left, as text and format.
async fn assert_golden(fresh: &Fresh, id: &str) {
    let of = |sql: &str| sql.replace("$1", &format!("'{id}'"));
    let cases = [
        (
            "SELECT o.output AS a, serialization AS b FROM workflow_output o JOIN workflow_status USING (workflow_uuid) WHERE workflow_uuid = $1",
            json!([{"a": OUTPUT, "b": "portable_json"}]),
        ),
        (
            "SELECT value AS a, serialization AS b FROM workflow_events WHERE workflow_uuid = $1",
            json!([{"a": EVENT, "b": "portable_json"}]),
        ),
        (
            "SELECT value AS a, serialization AS b FROM workflow_events_history WHERE workflow_uuid = $1",
            json!([{"a": EVENT, "b": "portable_json"}]),
        ),
        (
            "SELECT value AS a, serialization AS b FROM streams WHERE workflow_uuid = $1 ORDER BY \"offset\"",
            json!([{"a": STREAM, "b": "portable_json"}, {"a": "\"__DBOS_STREAM_CLOSED__\"", "b": "portable_json"}]),
        ),
        (
            "SELECT message AS a, serialization AS b FROM notifications WHERE destination_uuid = $1",
            json!([{"a": MESSAGE, "b": "portable_json"}]),
        ),
        (
            "SELECT name AS a, class_name AS b FROM workflow_status WHERE workflow_uuid = $1",
            json!([{"a": NAME, "b": "interop"}]),
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(json!(fresh.rows(&of(sql)).await), expected, "{sql}");
    }
}

on_each_backend! {
    // O426, O427: nothing but the columns that a program without an SDK would fill.
    async fn a_row_of_plain_sql_gives_the_golden_rows(fresh: Fresh) {
        fresh.execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, name, class_name, queue_name, status, inputs, created_at, serialization)
             VALUES ('w', '{NAME}', 'interop', '{QUEUE}', 'ENQUEUED', '{{{INPUT}}}', 1700000000000, 'portable_json')")).await;
        fresh.execute(&format!(
            "INSERT INTO notifications (destination_uuid, topic, message, serialization)
             VALUES ('w', 'interop_topic', '{MESSAGE}', 'portable_json')")).await;
        let dbos = builder_with_canonical(&fresh).launch().await.unwrap();
        let result: Value = result_of(&dbos, "w").await.unwrap();
        assert_eq!(result.to_string(), OUTPUT);
        assert_golden(&fresh, "w").await;
    }
}

with_each_peer! {
    // O426, O429
    async fn a_start_of_theirs_gives_the_golden_rows(fresh: Fresh, peer: Peer) {
        let dbos = builder_with_canonical(&fresh).launch().await.unwrap();
        let input: Value = serde_json::from_str(&format!("{{{INPUT}}}")).unwrap();
        let options = json!({"workflow_name": NAME, "class_name": "interop", "queue_name": QUEUE, "workflow_id": "w",
            "application_name": "rust-app"});
        peer.tell("enqueue", json!({"options": options, "args": input["positionalArgs"]})).await;
        let message: Value = serde_json::from_str(MESSAGE).unwrap();
        peer.tell("send", json!({"id": "w", "message": message, "topic": "interop_topic"})).await;
        let output: Value = serde_json::from_str(OUTPUT).unwrap();
        assert_eq!(peer.tell("result", json!({"id": "w"})).await, output);
        assert_eq!(peer.tell("stream", json!({"id": "w", "key": "interop_stream"})).await, json!([{"item": "hello-interop"}]));
        assert_golden(&fresh, "w").await;
        let envelope = if peer.language() == Language::Python { r#""namedArgs":{},"# } else { "" };
        let stored = fresh.query("SELECT inputs FROM workflow_input WHERE workflow_uuid = 'w'").await.remove(0).remove(0);
        assert_eq!(stored.unwrap(), format!("{{{envelope}{INPUT}}}"));
        drop(dbos);
    }
}
