//! Workflows are cancelled, resumed, forked, rewound, delayed and deleted across the border between languages.

use std::time::Duration;

use dbos_runtime::{ErrorKind, Fork, Rewind, WorkflowStatus};
use harness::with_each_peer;
use serde_json::{Value, json};

use super::scene::{ECHO, HOUR, QUEUE, SIT, Shop, THREE_STEPS, assert_kind, id, launch, result_of};

with_each_peer! {
    // P458
    async fn they_cancel_resume_fork_rewind_and_delete_our_workflow(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let sit = dbos.start(SIT, ()).id("sit").await.unwrap();
        peer.tell("cancel", json!({"id": "sit"})).await;
        assert_kind(sit.result().await, ErrorKind::AwaitedWorkflowCancelled);
        peer.tell("resume", json!({"id": "sit", "queue": QUEUE})).await;
        dbos.send(&id("sit"), "up").topic("rise").await.unwrap();
        assert_eq!(result_of(&dbos, "sit").await.unwrap(), "up");

        dbos.start(THREE_STEPS, 3).id("steps").await.unwrap().result().await.unwrap();
        // What is recorded is not what the code would give: whoever replays it shows that.
        fresh.execute("UPDATE operation_outputs SET output = '100' WHERE workflow_uuid = 'steps' AND function_id = 2").await;
        let fork = json!({"id": "steps", "new_id": "fork", "step": 3, "queue": QUEUE, "version": null});
        assert_eq!(peer.tell("fork", fork).await, "fork");
        assert_eq!(result_of(&dbos, "fork").await.unwrap(), json!([4, 100]));
        assert_eq!(peer.tell("status", json!({"id": "fork"})).await["forked_from"], "steps");
        peer.tell("rewind", json!({"id": "steps", "step": 2, "queue": QUEUE})).await;
        assert_eq!(result_of(&dbos, "steps").await.unwrap(), json!([4, 8]));

        dbos.start(ECHO, json!("soon")).id("delayed").queue(QUEUE).delay(HOUR).await.unwrap();
        peer.tell("delay", json!({"id": "delayed", "seconds": 0.1})).await;
        assert_eq!(result_of(&dbos, "delayed").await.unwrap(), "soon");
        peer.tell("delete", json!({"id": "delayed"})).await;
        let gone = dbos.retrieve::<Value, Shop>("delayed").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NonExistentWorkflow);
    }

    async fn we_cancel_resume_fork_rewind_and_delete_their_workflow(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let (workflows, queue) = (dbos.workflows(), peer.queue());
        peer.tell("start", json!({"name": "sit", "args": [], "id": "sit"})).await;
        let report = workflows.cancel(["sit"]).await.unwrap();
        assert_eq!(report.cancelled, [id("sit")]);
        let error = peer.ask("result", json!({"id": "sit"})).await.unwrap_err();
        assert!(error["message"].as_str().unwrap().contains("cancelled"), "{error}");
        workflows.resume(["sit"]).queue(&queue).await.unwrap();
        dbos.send(&id("sit"), "up").topic("rise").await.unwrap();
        assert_eq!(peer.tell("result", json!({"id": "sit"})).await, "up");

        peer.tell("start", json!({"name": "three_steps", "args": [3], "id": "steps"})).await;
        assert_eq!(result_of(&dbos, "steps").await.unwrap(), json!([4, 8]));
        // Not every language counts from one.
        let steps = peer.tell("steps", json!({"id": "steps"})).await;
        let third = i32::try_from(steps[2]["number"].as_i64().unwrap()).unwrap();
        workflows.fork(Fork::of("steps", third).id("fork").queue(&queue)).await.unwrap();
        assert_eq!(peer.tell("result", json!({"id": "fork"})).await, json!([4, 8]));
        let of_fork = peer.tell("steps", json!({"id": "fork"})).await;
        assert_eq!(of_fork.as_array().unwrap().len(), 3, "{of_fork}");
        assert_eq!(of_fork[1], steps[1]);
        workflows.rewind(Rewind::of("steps", third).queue(&queue)).await.unwrap();
        assert_eq!(peer.tell("result", json!({"id": "steps"})).await, json!([4, 8]));
        let attempts = fresh.scalar("SELECT recovery_attempts FROM workflow_status WHERE workflow_uuid = 'steps'").await;
        assert!(attempts >= 1, "it ran again");

        let options = json!({"workflow_name": "echo", "queue_name": queue, "workflow_id": "delayed", "delay_seconds": 3600});
        peer.tell("enqueue", json!({"options": options, "args": ["soon"]})).await;
        assert_eq!(dbos.info("delayed").await.unwrap().status, Some(WorkflowStatus::Delayed));
        assert!(workflows.set_delay("delayed", Duration::ZERO).await.unwrap());
        assert_eq!(peer.tell("result", json!({"id": "delayed"})).await, "soon");
        workflows.delete(["delayed"]).await.unwrap();
        peer.ask("status", json!({"id": "delayed"})).await.unwrap_err();
    }
}
