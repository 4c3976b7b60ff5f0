//! Messages, events and streams cross the border between languages.

use harness::with_each_peer;
use serde_json::{Value, json};

use super::scene::{CONVERSE, WAIT, id, launch, result_of};

with_each_peer! {
    // O438, H190, J233
    async fn they_talk_with_our_workflow(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        // They wait for what is not there yet.
        let greeting = peer.tell("event", json!({"id": "w", "key": "greeting"}));
        let (greeting, started) = tokio::join!(greeting, dbos.start(CONVERSE, "Ada".to_owned()).id("w").into_future());
        started.unwrap();
        assert_eq!(greeting, json!({"hello": "Ada"}));
        let progress = peer.tell("stream", json!({"id": "w", "key": "progress"})).await;
        assert_eq!(progress, json!([{"n": 1}, {"n": 2}]));
        // The second has the key of the first.
        for message in ["first", "second"] {
            peer.tell("send", json!({"id": "w", "message": {"m": message}, "topic": "answer", "key": "k"})).await;
        }
        assert_eq!(result_of(&dbos, "w").await.unwrap(), json!({"name": "Ada", "got": {"m": "first"}}));
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 1);
    }

    async fn we_talk_with_their_workflow(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let workflow = id("w");
        let greeting = dbos.get_event::<Value>(&workflow, "greeting", WAIT);
        let start = peer.tell("start", json!({"name": "converse", "args": ["Ada"], "id": "w"}));
        let (greeting, _) = tokio::join!(greeting, start);
        assert_eq!(greeting.unwrap(), Some(json!({"hello": "Ada"})));
        let mut reader = dbos.read_stream::<Value>(&workflow, "progress").timeout(WAIT);
        let mut progress = Vec::new();
        while let Some(value) = reader.next().await {
            progress.push(value.unwrap());
        }
        assert_eq!(progress, [(0, json!({"n": 1})), (1, json!({"n": 2}))]);
        let send = |message| dbos.send(&workflow, &json!({"m": message})).topic("answer").idempotency_key("k");
        assert!(send("first").await.unwrap());
        assert!(!send("second").await.unwrap());
        assert_eq!(result_of(&dbos, "w").await.unwrap(), json!({"name": "Ada", "got": {"m": "first"}}));
    }
}
