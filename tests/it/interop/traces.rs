//! A trace goes on across the border between languages.

use std::future::IntoFuture as _;

use dbos_runtime::WorkflowId;
use harness::collector::Collector;
use harness::on_each_backend;
use harness::peer::{Language, Peer};
use serde_json::json;
use tracing::Instrument as _;

use super::scene::{QUEUE, SIT, launch, result_of};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

on_each_backend! {
    async fn we_continue_their_trace(fresh: Fresh) {
        let collector = Collector::of_this_process();
        let peer = Peer::launch(Language::Python, &fresh).await;
        let carrier = json!({"traceparent": format!("00-{TRACE}-b7ad6b7169203331-01"), "tracestate": "a=b"});
        let options = json!({"workflow_name": "three_steps", "queue_name": QUEUE, "workflow_id": "theirs",
            "application_name": "rust-app", "attributes": {"tenant": 7}});
        let request = json!({"options": options, "args": [1], "carrier": carrier});
        peer.tell("enqueue_in_trace", request).await;
        let dbos = launch(&fresh).await;
        result_of(&dbos, "theirs").await.unwrap();

        let spans = collector.some(4, |span| span.get("dbos.operation.workflow_id") == "theirs").await;
        assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
        let shape: Vec<(&str, &str)> =
            spans.iter().map(|span| (span.name.as_str(), span.parent.as_str())).collect();
        let run = spans[3].id.as_str();
        assert_eq!(shape, [("one", run), ("two", run), ("three", run), ("three_steps", "b7ad6b7169203331")]);
        // What they have written is what we would have.
        let attributes = dbos.info("theirs").await.unwrap().attributes;
        assert_eq!(attributes, json!({"tenant": 7, "dbos.otelContext": carrier}));
    }

    async fn they_continue_our_trace(fresh: Fresh) {
        let collector = Collector::of_this_process();
        let peer = Peer::launch(Language::Python, &fresh).await;
        let dbos = launch(&fresh).await;
        let span = tracing::info_span!("ours");
        let start = dbos.start(SIT, ()).id("ours").queue("nobody's").into_future();
        start.instrument(span.clone()).await.unwrap();
        drop(span);
        let ours = collector.only(|span| span.name == "ours").await;
        let expected = json!({"trace": ours.trace, "span": ours.id, "state": ""});
        assert_eq!(peer.tell("trace", json!({"id": "ours"})).await, expected);
        assert!(dbos.cancel(&WorkflowId::parse("ours").unwrap()).await.unwrap());
    }
}
