//! Several applications share one database, and each keeps to its own.

use dbos_runtime::{ErrorKind, Queue};
use harness::with_each_peer;
use serde_json::json;

use super::scene::{ECHO, QUEUE, builder, launch, result_of};

with_each_peer! {
    // P463: the same queue and, where one is named, the same version; only the application differs.
    async fn work_for_another_application_is_left_where_it_is(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        // On our queue for them, on theirs for us: nobody listens there who may run it.
        let enqueue = async |id: &str, queue: &str, application: &str| {
            let options = json!({"workflow_name": "echo", "queue_name": queue, "workflow_id": id, "application_name": application});
            peer.tell("enqueue", json!({"options": options, "args": [id]})).await;
        };
        enqueue("theirs-here", QUEUE, &peer.application()).await;
        dbos.start(ECHO, json!("ours")).id("ours-there").queue(&peer.queue()).application("rust-app").await.unwrap();
        // What came later is done, so what came before was passed over.
        enqueue("ours", QUEUE, "rust-app").await;
        enqueue("theirs", &peer.queue(), &peer.application()).await;
        assert_eq!(result_of(&dbos, "ours").await.unwrap(), "ours");
        assert_eq!(result_of(&dbos, "theirs").await.unwrap(), "theirs");
        for id in ["theirs-here", "ours-there"] {
            assert_eq!(peer.tell("status", json!({"id": id})).await["status"], "ENQUEUED", "{id}");
        }
        // A row of nobody is run by whoever comes, and is theirs from then on.
        fresh.execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, name, queue_name, status, inputs, serialization) VALUES
             ('nobodys', 'echo', '{QUEUE}', 'ENQUEUED', '{{\"positionalArgs\":[1]}}', 'portable_json')")).await;
        assert_eq!(result_of(&dbos, "nobodys").await.unwrap(), 1);
        assert_eq!(peer.tell("status", json!({"id": "nobodys"})).await["application"], "rust-app");
    }

    // P466
    async fn a_name_that_another_application_has_is_refused(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let error = dbos.queues().register(Queue::new(peer.queue())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NameInUse, "{error}");
        peer.ask("register_queue", json!({"name": QUEUE, "concurrency": 1})).await.unwrap_err();
        let error = builder(&fresh).application_version(peer.version()).launch().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Initialization, "{error}");
        let error = builder(&fresh).executor_id("two").queue(Queue::new(peer.queue())).launch().await.unwrap_err();
        assert!(error.to_string().contains(&peer.queue()), "{error}");
        assert_eq!(dbos.queues().get(QUEUE).await.unwrap().unwrap().concurrency, None);
    }

    // K270: one row serves all.
    async fn the_rows_of_queues_are_read_both_ways(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        dbos.queues().register(Queue::new("ours").concurrency(3).worker_concurrency(2)).await.unwrap();
        let queues = peer.tell("queues", json!({"application": "rust-app"})).await;
        let ours = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "ours").unwrap();
        assert_eq!((&ours["concurrency"], &ours["worker_concurrency"]), (&json!(3), &json!(2)));
        peer.tell("register_queue", json!({"name": "theirs", "concurrency": 4})).await;
        let theirs = dbos.queues().get("theirs").await.unwrap().unwrap();
        assert_eq!((theirs.concurrency, theirs.worker_concurrency, theirs.is_partitioned()), (Some(4), None, false));
        let own: Vec<String> = dbos.queues().list().await.unwrap().into_iter().map(|queue| queue.name).collect();
        assert_eq!(own, ["ours", QUEUE]);
    }
}
