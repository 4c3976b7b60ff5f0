//! Sending: from outside and from workflows, once, and to whom.

use std::time::Duration;

use dbos_runtime::{Error, ErrorKind};
use futures_util::future::join_all;
use harness::on_each_backend;
use serde_json::{Value, json};

use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, launch, result_of, start, status, step, steps,
    until_rows,
};

async fn done(_: Ctx, _: Value) -> Result<Value, Error> {
    Ok(Value::Null)
}

on_each_backend! {
    // H192
    async fn a_key_delivers_once_to_each_destination(fresh: Fresh) {
        let dbos = launch(&fresh, done).await;
        for workflow in ["w", "v"] {
            result_of(&start(&dbos, workflow).await).await.unwrap();
        }
        let send = async |to: &str, message: u32, key: &str| dbos.send(&id(to), &message).idempotency_key(key).await;
        assert!(send("w", 1, "k").await.unwrap());
        assert!(!send("w", 2, "k").await.unwrap(), "the key counts, not the message");
        assert!(send("v", 3, "k").await.unwrap());
        assert!(send("w", 4, "k2").await.unwrap());
        let rows = fresh.query("SELECT message_uuid AS a, message AS b FROM notifications ORDER BY a").await;
        let rows: Vec<String> = rows.into_iter().flatten().flatten().collect();
        assert_eq!(rows, ["k2::w", "4", "k::v", "3", "k::w", "1"]);
    }

    async fn of_many_sends_with_one_key_at_once_a_single_one_is_new(fresh: Fresh) {
        let dbos = launch(&fresh, done).await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        let send = || dbos.send(&id("w"), "m").idempotency_key("k").into_future();
        let new = join_all((0..40).map(|_| send())).await.into_iter().filter(|new| *new.as_ref().unwrap()).count();
        assert_eq!(new, 1);
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 1);
    }

    async fn a_workflow_that_has_ended_can_still_be_sent_to(fresh: Fresh) {
        let dbos = launch(&fresh, done).await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        assert!(dbos.send(&id("w"), "late").await.unwrap());
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE NOT consumed").await, 1);
        assert_eq!(status(&fresh, "w").await, "SUCCESS");
    }

    async fn a_send_to_nobody_is_refused_and_does_not_spoil_its_neighbours(fresh: Fresh) {
        let dbos = launch(&fresh, done).await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        let to = |n: usize| if n.is_multiple_of(3) { id("nobody") } else { id("w") };
        let sent = join_all((0..30).map(|n| dbos.send(&to(n), &n).into_future())).await;
        for (n, result) in sent.into_iter().enumerate() {
            if n.is_multiple_of(3) {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NonExistentWorkflow);
                assert_eq!(error.workflow_id(), Some(&id("nobody")));
            } else {
                assert!(result.unwrap());
            }
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 20);
    }

    // H198
    async fn a_workflows_send_to_nobody_is_recorded_and_replayed_though_the_destination_appears(fresh: Fresh) {
        let body = async |ctx: Ctx, input: Value| {
            if input == "appear" {
                return Ok(Value::Null);
            }
            let error = ctx.send(&id("later"), "m").await.expect_err("nobody is there");
            Ok(json!([format!("{:?}", error.kind()), error.to_string(), error.workflow_id()]))
        };
        let dbos = launch(&fresh, body).await;
        let first = result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(first[0], "NonExistentWorkflow");
        assert_eq!(first[2], "later");
        let recorded = steps(&fresh, "w").await.remove(0);
        assert_eq!(recorded[1].as_deref(), Some("DBOS.send"));
        let error: Value = serde_json::from_str(recorded[3].as_deref().unwrap()).unwrap();
        assert_eq!((&error["name"], &error["code"]), (&json!("DBOSNonExistentWorkflowError"), &json!(5)));
        crash(&dbos).await;

        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, body).await;
        dbos.start(W, json!("appear")).id("later").await.unwrap();
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), first);
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 0);
        assert_eq!(steps(&fresh, "w").await, [recorded]);
    }

    // H199, and the promise: from a workflow, exactly once.
    async fn a_workflows_sends_are_delivered_once_however_often_it_is_recovered(fresh: Fresh) {
        let body = async |ctx: Ctx, input: Value| {
            if input == "sink" {
                return Ok(Value::Null);
            }
            ctx.send(&id("sink"), "plain").topic("t").await?;
            ctx.send(&id("sink"), "keyed").topic("t").idempotency_key("k").await?;
            ctx.send(&id("sink"), "dropped").topic("t").idempotency_key("k").await?;
            ctx.recv::<Value>("go").timeout(HOUR).await?;
            ctx.send(&id("sink"), "after").await?;
            Ok(Value::Null)
        };
        let dbos = launch(&fresh, body).await;
        dbos.start(W, json!("sink")).id("sink").await.unwrap().result().await.unwrap();
        start(&dbos, "w").await;
        for _ in 0..3 {
            until_rows(&fresh, 1, "operation_outputs WHERE function_id = 5").await;
            let dbos = launch(&fresh, body).await;
            until_rows(&fresh, 1, "workflow_status WHERE workflow_uuid = 'w' AND status = 'PENDING'").await;
            crash(&dbos).await;
        }
        crash(&dbos).await;
        let dbos = launch(&fresh, body).await;
        dbos.send(&id("w"), "go").topic("go").await.unwrap();
        result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap();
        let rows = fresh.query("SELECT message FROM notifications WHERE destination_uuid = 'sink'
             ORDER BY created_at_epoch_ms, message_uuid = 'k::sink', topic DESC").await;
        let mut rows: Vec<String> = rows.into_iter().flatten().flatten().collect();
        rows.sort();
        assert_eq!(rows, ["\"after\"", "\"keyed\"", "\"plain\""]);
        let keyed = "notifications WHERE message_uuid = 'k::sink' AND message = '\"keyed\"' AND topic = 't'";
        until_rows(&fresh, 1, keyed).await;
        let rows = steps(&fresh, "w").await;
        assert_eq!(rows[0], step(1, "DBOS.send", None, None));
        assert_eq!(rows.len(), 6, "three sends, a receive with its deadline, a send");
    }

    async fn a_workflow_may_send_to_itself(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            ctx.send(ctx.workflow_id(), &json!({"z": 1, "a": 2})).await?;
            Ok(json!(ctx.recv::<Value>(None).timeout(Duration::ZERO).await?))
        })
        .await;
        let got = result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(got.to_string(), r#"{"z":1,"a":2}"#, "members keep their order");
    }

    // B51
    async fn a_send_beyond_the_limits_is_refused_before_the_database_is_asked(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            let long = "x".repeat(513);
            let to = ctx.workflow_id().clone();
            let mut kinds = Vec::new();
            kinds.push(ctx.send(&to, "m").topic(&long).await.unwrap_err().kind());
            kinds.push(ctx.send(&to, "m").idempotency_key(&long).await.unwrap_err().kind());
            Ok(json!(kinds.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>()))
        })
        .await;
        let kind = "InvalidArgument";
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!([kind, kind]));
        for long in ["x".repeat(513), "x".repeat(8000), String::new()] {
            assert_kind(dbos.send(&id("w"), "m").topic(&long).await, ErrorKind::InvalidArgument);
            assert_kind(dbos.send(&id("w"), "m").idempotency_key(&long).await, ErrorKind::InvalidArgument);
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 0);
        let longest = "x".repeat(512);
        assert!(dbos.send(&id("w"), "m").topic(&longest).idempotency_key(&longest).await.unwrap());
    }
}
