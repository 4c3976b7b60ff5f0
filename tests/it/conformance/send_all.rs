//! Several messages as one: all of them or none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dbos_runtime::{Error, ErrorKind, Message};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};

use super::scene::{Ctx, W, assert_kind, crash, forget_outcomes, id, launch, result_of, start, step, steps};

/// The messages that are there: to whom, topic, text.
async fn delivered(fresh: &Fresh) -> Vec<String> {
    let sql = "SELECT destination_uuid AS a, topic AS b, message AS c FROM notifications ORDER BY 1, 2, 3";
    let none = |topic: &str| topic.replace("__null__topic__", "-");
    fresh
        .query(sql)
        .await
        .into_iter()
        .map(|row| none(&row.into_iter().flatten().collect::<Vec<_>>().join(" ")))
        .collect()
}

async fn sink(_: Ctx, _: Value) -> Result<Value, Error> {
    Ok(Value::Null)
}

on_each_backend! {
    // H.193
    async fn several_messages_from_outside_are_delivered_together(fresh: Fresh) {
        let dbos = launch(&fresh, sink).await;
        for workflow in ["a", "b"] {
            result_of(&start(&dbos, workflow).await).await.unwrap();
        }
        let messages = |text: &str| vec![
            Message::new(&id("a"), text),
            Message::new(&id("a"), text).topic("t"),
            Message::new(&id("b"), text).topic("t").idempotency_key("k"),
        ];
        assert_eq!(dbos.send_all(messages("one")).await.unwrap(), 3);
        let one = ["a - \"one\"", "a t \"one\"", "b t \"one\""];
        assert_eq!(delivered(&fresh).await, one);
        // The keyed one is there already; the others have no identity that could be known again.
        assert_eq!(dbos.send_all(messages("two")).await.unwrap(), 2);
        assert_eq!(delivered(&fresh).await.len(), 5);

        let with_nobody = messages("three").into_iter().chain([Message::new(&id("nobody"), "three")]);
        let error = dbos.send_all(with_nobody).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonExistentWorkflow);
        assert_eq!(delivered(&fresh).await.len(), 5, "all of them or none");
        crash(&dbos).await;
    }

    // H.193, H.199: one step; a replay sends nothing.
    async fn several_messages_of_a_workflow_are_one_step(fresh: Fresh) {
        let body = async |ctx: Ctx, input: Value| {
            if input == "sink" {
                return Ok(Value::Null);
            }
            let to = id("sink");
            ctx.send_all([Message::new(&to, "x"), Message::new(&to, "y").topic("t").idempotency_key("k")]).await?;
            let error = ctx.send_all([Message::new(&to, "z"), Message::new(&id("nobody"), "z")]).await.unwrap_err();
            Ok(json!(format!("{:?}", error.kind())))
        };
        let dbos = launch(&fresh, body).await;
        dbos.start(W, json!("sink")).id("sink").await.unwrap().result().await.unwrap();
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), "NonExistentWorkflow");
        let rows = steps(&fresh, "w").await;
        assert_eq!(rows[0], step(1, "DBOS.send_bulk", None, None));
        assert_eq!((rows.len(), rows[1][1].as_deref()), (2, Some("DBOS.send_bulk")));
        let error: Value = serde_json::from_str(rows[1][3].as_deref().unwrap()).unwrap();
        assert_eq!(error["code"], 5);
        assert_eq!(delivered(&fresh).await, ["sink - \"x\"", "sink t \"y\""]);
        crash(&dbos).await;

        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, body).await;
        // Even now that the destination is there.
        dbos.start(W, json!("sink")).id("nobody").await.unwrap().result().await.unwrap();
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), "NonExistentWorkflow");
        assert_eq!(delivered(&fresh).await.len(), 2);
        assert_eq!(steps(&fresh, "w").await, rows);
        crash(&dbos).await;
    }

    // H.194: refused before anything is written, and without a number.
    async fn two_messages_with_one_key_for_one_workflow_are_refused(fresh: Fresh) {
        let messages = || ["a", "b", "c"].map(|text| {
            let to = if text == "b" { id("other") } else { id("sink") };
            Message::new(&to, text).idempotency_key("k")
        });
        let dbos = launch(&fresh, move |ctx: Ctx, input: Value| async move {
            if input == "sink" {
                return Ok(Value::Null);
            }
            let error = ctx.send_all(messages()).await.unwrap_err();
            ctx.step("first", || async { Ok(()) }).await?;
            Ok(json!(format!("{:?}", error.kind())))
        })
        .await;
        for sink in ["sink", "other"] {
            dbos.start(W, json!("sink")).id(sink).await.unwrap().result().await.unwrap();
        }
        assert_kind(dbos.send_all(messages()).await, ErrorKind::InvalidArgument);
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), "InvalidArgument");
        let rows = steps(&fresh, "w").await;
        assert_eq!((rows.len(), rows[0][0].as_deref(), rows[0][1].as_deref()), (1, Some("1"), Some("first")));
        assert_eq!(delivered(&fresh).await, Vec::<String>::new());
        // One key for two workflows is no duplicate.
        assert_eq!(dbos.send_all(messages().into_iter().take(2)).await.unwrap(), 2);
        crash(&dbos).await;
    }

    // H.195, H.196
    async fn no_messages_at_all_are_nothing_outside_and_a_step_inside(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, _| {
            ctx.send_all([]).await?;
            ctx.step("second", || async { Ok(()) }).await?;
            Ok(Value::Null)
        })
        .await;
        assert_eq!(dbos.send_all([]).await.unwrap(), 0);
        result_of(&start(&dbos, "w").await).await.unwrap();
        let rows = steps(&fresh, "w").await;
        assert_eq!(rows[0], step(1, "DBOS.send_bulk", None, None));
        assert_eq!((rows.len(), rows[1][0].as_deref()), (2, Some("2")));
        assert_eq!(delivered(&fresh).await, Vec::<String>::new());
        crash(&dbos).await;
    }

    // H.197: to the forks and to those forked from them, to each once.
    async fn a_message_can_go_to_all_forks_too(fresh: Fresh) {
        let dbos = launch(&fresh, sink).await;
        for workflow in ["w", "f1", "f2", "f11", "other", "g"] {
            result_of(&start(&dbos, workflow).await).await.unwrap();
        }
        for (fork, of) in [("f1", "w"), ("f2", "w"), ("f11", "f1"), ("g", "other")] {
            let sql = format!("UPDATE workflow_status SET forked_from = '{of}' WHERE workflow_uuid = '{fork}'");
            fresh.execute(&sql).await;
        }
        for new in [true, false] {
            assert_eq!(dbos.send(&id("w"), "m").topic("t").idempotency_key("k").to_forks().await.unwrap(), new);
        }
        let all = ["f1 t \"m\"", "f11 t \"m\"", "f2 t \"m\"", "w t \"m\""];
        assert_eq!(delivered(&fresh).await, all);
        assert_eq!(dbos.send_all([Message::new(&id("f1"), "n"), Message::new(&id("other"), "n")]).to_forks().await.unwrap(), 4);
        assert_eq!(delivered(&fresh).await.iter().filter(|row| row.ends_with("\"n\"")).count(), 4);
        crash(&dbos).await;
    }

    // H.200
    async fn a_send_is_not_replayed_as_several_nor_the_other_way_round(fresh: Fresh) {
        let changed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&changed);
        let body = move |ctx: Ctx, input: Value| {
            let changed = flag.load(Ordering::SeqCst);
            async move {
                let to = ctx.workflow_id().clone();
                let sent = if (input == "one") == changed {
                    ctx.send_all([Message::new(&to, "m")]).await
                } else {
                    ctx.send(&to, "m").await
                };
                Ok(json!(sent.err().map(|error| format!("{:?}", error.kind()))))
            }
        };
        let dbos = launch(&fresh, body.clone()).await;
        for kind in ["one", "several"] {
            let handle = dbos.start(W, json!(kind)).id(kind).await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), Value::Null);
        }
        crash(&dbos).await;
        changed.store(true, Ordering::SeqCst);
        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, body).await;
        for kind in ["one", "several"] {
            assert_eq!(result_of(&dbos.retrieve(kind).await.unwrap()).await.unwrap(), "UnexpectedStep", "{kind}");
        }
        assert_eq!(delivered(&fresh).await.len(), 2);
        crash(&dbos).await;
    }
}
