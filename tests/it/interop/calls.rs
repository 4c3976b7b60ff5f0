//! Workflows are enqueued across the border between languages, and their ends awaited.

use dbos_runtime::{Arguments, Error, ErrorKind, WorkflowRef};
use harness::with_each_peer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::scene::{Ctx, ECHO, QUEUE, RELAY, SIT, SOLD_OUT, Shop, WAIT, builder, launch, result_of};

with_each_peer! {
    // O428, O443, P450, P451
    async fn they_enqueue_our_workflow(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let options = |id: &str, name: &str| json!({"workflow_name": name, "queue_name": QUEUE, "workflow_id": id,
            "application_name": "rust-app", "authenticated_user": "ada", "authenticated_roles": ["admin"],
            "attributes": {"tenant": 7}});
        peer.tell("enqueue", json!({"options": options("echo", "echo"), "args": [{"a": [1, null]}]})).await;
        assert_eq!(peer.tell("result", json!({"id": "echo"})).await, json!({"a": [1, null]}));
        peer.tell("enqueue", json!({"options": options("sold-out", "sold_out"), "args": [3]})).await;
        let error = peer.ask("result", json!({"id": "sold-out"})).await.unwrap_err();
        assert_eq!((&error["name"], &error["data"]), (&json!("Shop"), &json!({"SoldOut": {"left": 3}})));

        // The claim has stamped who runs it; who asked for it is known to us.
        let status = peer.tell("status", json!({"id": "echo"})).await;
        for (member, expected) in [("application", "rust-app"), ("version", "rust-v1"), ("executor", "rust"), ("user", "ada")] {
            assert_eq!(status[member], expected);
        }
        let info = dbos.retrieve::<Value, Shop>("echo").await.unwrap().status().await.unwrap();
        assert_eq!(info.authenticated_user.as_deref(), Some("ada"));
        assert_eq!(info.authenticated_roles, ["admin"]);
        assert_eq!(info.attributes, json!({"tenant": 7}));
        assert_eq!(info.queue_name.as_deref(), Some(QUEUE));
    }

    // O428, O435: arguments by position or by name; too many of them end the workflow, for them too.
    async fn their_arguments_are_our_struct_or_tuple(fresh: Fresh, peer: Peer) {
        #[derive(Debug, Serialize, Deserialize)]
        struct Order {
            sku: String,
            count: u32,
        }
        let _dbos = builder(&fresh)
            .register_fn("order", async |_: Ctx, order: Order| Ok::<_, Shop>(order))
            .register_fn("pair", async |_: Ctx, (a, b): (u32, String)| Ok::<_, Shop>(json!([b, a])))
            .launch()
            .await
            .unwrap();
        let enqueue = async |id: &str, name: &str, args: Value, named: Value| {
            let options = json!({"workflow_name": name, "queue_name": QUEUE, "workflow_id": id, "application_name": "rust-app"});
            peer.tell("enqueue", json!({"options": options, "args": args, "named": named})).await;
            peer.ask("result", json!({"id": id})).await
        };
        let order = json!({"sku": "w", "count": 2});
        assert_eq!(enqueue("named", "order", json!([]), order.clone()).await.unwrap(), order);
        assert_eq!(enqueue("one", "order", json!([order]), json!({})).await.unwrap(), order);
        assert_eq!(enqueue("both", "order", json!(["w"]), json!({"count": 2})).await.unwrap(), order);
        assert_eq!(enqueue("pair", "pair", json!([1, "a"]), json!({})).await.unwrap(), json!(["a", 1]));
        let error = enqueue("many", "pair", json!([1, "a", 3]), json!({})).await.unwrap_err();
        assert_eq!(error["name"], "Serialization", "{error}");
        // A workflow that nobody here knows stays for somebody who does.
        let options = json!({"workflow_name": "unknown", "queue_name": QUEUE, "workflow_id": "unknown", "application_name": "rust-app"});
        peer.tell("enqueue", json!({"options": options})).await;
        enqueue("after", "order", json!([order]), json!({})).await.unwrap();
        assert_eq!(peer.tell("status", json!({"id": "unknown"})).await["status"], "ENQUEUED");
    }

    // O445: one queue, one deduplication id, whoever asks.
    async fn their_second_enqueue_under_a_deduplication_id_is_refused(fresh: Fresh, peer: Peer) {
        let enqueue = async |id: &str| {
            let options = json!({"workflow_name": "echo", "queue_name": QUEUE, "workflow_id": id, "deduplication_id": "d",
                "application_name": "rust-app"});
            peer.ask("enqueue", json!({"options": options, "args": [id]})).await
        };
        enqueue("first").await.unwrap();
        let error = enqueue("second").await.unwrap_err();
        assert!(error["message"].as_str().unwrap().contains("dedup"), "{error}");
        let _dbos = launch(&fresh).await;
        assert_eq!(peer.tell("result", json!({"id": "first"})).await, "first");
        enqueue("second").await.unwrap();
        assert_eq!(peer.tell("result", json!({"id": "second"})).await, "second");
    }

    // P450, P451, O428
    async fn we_enqueue_their_workflow(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let (queue, application) = (peer.queue(), peer.application());
        let echo = dbos.start(ECHO, json!({"a": [1, null]})).id("echo").queue(&queue).application(&application);
        let echo = echo.authenticated_user("ada").authenticated_roles(&["admin"]).await.unwrap();
        let result = tokio::time::timeout(WAIT, echo.result()).await.unwrap();
        assert_eq!(result.unwrap(), json!({"a": [1, null]}));
        let sold_out = dbos.start(SOLD_OUT, 3).queue(&queue).application(&application).await.unwrap();
        let error = sold_out.result().await.unwrap_err().runtime();
        assert_eq!((error.kind(), error.name(), error.code()), (ErrorKind::Foreign, "SoldOut", &json!(409)));
        assert_eq!(error.data(), &json!({"left": 3}));

        let status = peer.tell("status", json!({"id": "echo"})).await;
        let expected = json!([peer.application(), peer.version(), "ada", ["admin"]]);
        assert_eq!(json!([status["application"], status["version"], status["user"], status["roles"]]), expected);

        // Arguments by name are for the languages that have them.
        let named: WorkflowRef<Arguments, Value, Error> = WorkflowRef::named("echo");
        if peer.language() == harness::peer::Language::Python {
            let start = dbos.start(named, Arguments::default().named("value", json!(7))).queue(&queue);
            assert_eq!(start.application(&application).await.unwrap().result().await.unwrap(), 7);
        }
    }

    async fn our_second_enqueue_under_a_deduplication_id_is_refused(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let options = json!({"workflow_name": "sit", "queue_name": peer.queue(), "workflow_id": "first", "deduplication_id": "d"});
        peer.tell("enqueue", json!({"options": options})).await;
        let start = || dbos.start(SIT, ()).queue(&peer.queue()).application(&peer.application()).deduplication_id("d");
        assert_eq!(start().await.unwrap_err().kind(), ErrorKind::QueueDeduplicated);
        let first = start().attach_to_duplicate().await.unwrap();
        assert_eq!((first.id().as_str(), first.created()), ("first", false));
        assert!(dbos.send(first.id(), &"up").topic("rise").await.unwrap());
        assert_eq!(tokio::time::timeout(WAIT, first.result()).await.unwrap().unwrap(), "up");
        assert!(start().await.unwrap().created());
    }

    // F182: the child is theirs, the step that started it and its result are ours.
    async fn our_workflow_starts_theirs_and_talks_with_it(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let handle = dbos.start(RELAY, (peer.queue(), peer.application())).id("relay").await.unwrap();
        let relayed = tokio::time::timeout(WAIT, handle.result()).await.unwrap().unwrap();
        assert_eq!(relayed["greeting"], json!({"hello": "Ada"}));
        assert_eq!(relayed["progress"], json!([{"n": 1}, {"n": 2}]));
        assert_eq!(relayed["result"], json!({"name": "Ada", "got": {"from": "relay"}}));
        let child = peer.tell("status", json!({"id": relayed["child"]})).await;
        let expected = json!(["relay", peer.application(), peer.version(), peer.queue()]);
        assert_eq!(json!([child["parent"], child["application"], child["version"], child["queue"]]), expected);
        let steps = peer.tell("steps", json!({"id": "relay"})).await;
        assert_eq!((&steps[0]["name"], &steps[0]["child"]), (&json!("converse"), &relayed["child"]));
    }

    // F182, J233: the same in the other direction.
    async fn their_workflow_starts_ours_and_talks_with_it(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let options = json!({"workflow_name": "converse", "queue_name": QUEUE, "application_name": "rust-app"});
        peer.tell("start", json!({"name": "relay", "args": [options, ["Ada"]], "id": "relay"})).await;
        let relayed = result_of(&dbos, "relay").await.unwrap();
        assert_eq!(relayed["greeting"], json!({"hello": "Ada"}));
        assert_eq!(relayed["progress"], json!([{"n": 1}, {"n": 2}]));
        assert_eq!(relayed["result"], json!({"name": "Ada", "got": {"from": "relay"}}));
        let child = dbos.info(relayed["child"].as_str().unwrap()).await.unwrap();
        assert_eq!((child.parent_workflow_id.as_deref(), child.executor_id.as_deref()), (Some("relay"), Some("rust")));
    }
}
