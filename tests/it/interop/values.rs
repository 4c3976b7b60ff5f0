//! Inputs, results and errors cross the border between languages.

use dbos_runtime::{Error, ErrorKind};
use harness::with_each_peer;
use serde_json::{Value, json};

use super::scene::{ECHO, SOLD_OUT, Shop, THREE_STEPS, assert_kind, launch, result_of};

/// What has to arrive as it left: each kind of JSON, and numbers at the edges of what all languages hold.
fn values() -> Value {
    json!({"text": "Grüße \u{1F600} \"\\\n", "whole": 9_007_199_254_740_991_i64, "part": 0.1, "none": null,
        "flags": [true, false], "deep": {"z": 1, "a": [{}, []]}})
}

with_each_peer! {
    // O429
    async fn our_results_and_typed_errors_are_theirs(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        dbos.start(ECHO, values()).id("echo").await.unwrap();
        assert_eq!(peer.tell("result", json!({"id": "echo"})).await, values());
        dbos.start(SOLD_OUT, 3).id("sold-out").await.unwrap();
        let error = peer.ask("result", json!({"id": "sold-out"})).await.unwrap_err();
        let ours = json!({"name": "Shop", "message": "only 3 left", "code": null, "data": {"SoldOut": {"left": 3}}});
        assert_eq!(error, ours);

        // Their listing shows the same, and the steps that we recorded.
        dbos.start(THREE_STEPS, 3).id("steps").await.unwrap().result().await.unwrap();
        let found = peer.tell("status", json!({"id": "steps"})).await;
        let expected = json!({"id": "steps", "status": "SUCCESS", "name": "three_steps", "class": null,
            "application": "rust-app", "version": "rust-v1", "executor": "rust", "queue": null, "parent": null,
            "forked_from": null, "user": null, "roles": null, "attributes": null, "priority": 0,
            "deduplication": null, "schedule": null, "input": [3], "output": [4, 8], "error": null});
        assert_eq!(found, expected);
        assert_eq!(peer.tell("status", json!({"id": "sold-out"})).await["error"], ours);
        let step = |number, name, output| {
            json!({"number": number, "name": name, "output": output, "error": null, "child": null})
        };
        let expected = [step(1, "one", json!(4)), step(2, "two", json!(8)), step(3, "three", json!([4, 8]))];
        assert_eq!(peer.tell("steps", json!({"id": "steps"})).await, json!(expected));
    }

    // O429
    async fn their_results_and_typed_errors_are_ours(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        peer.tell("start", json!({"name": "echo", "args": [values()], "id": "echo"})).await;
        assert_eq!(result_of(&dbos, "echo").await.unwrap(), values());
        peer.tell("start", json!({"name": "sold_out", "args": [3], "id": "sold-out"})).await;
        let error: Error = result_of(&dbos, "sold-out").await.unwrap_err().runtime();
        assert_eq!((error.kind(), error.name(), error.to_string()), (ErrorKind::Foreign, "SoldOut", "only 3 left".to_owned()));
        assert_eq!((error.code(), error.data()), (&json!(409), &json!({"left": 3})));
    }

    // O440: the value is theirs alone, the row is everybody's.
    async fn a_result_in_a_format_of_their_own_is_a_typed_error(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        peer.tell("start", json!({"name": "native", "args": [], "id": "native"})).await;
        assert_kind(result_of(&dbos, "native").await, ErrorKind::Serialization);
        let info = dbos.retrieve::<Value, Shop>("native").await.unwrap().status().await.unwrap();
        assert_eq!((info.name.as_deref(), info.executor_id.as_deref()), (Some("native"), Some(peer.executor())));
    }
}
