//! Events, messages and cancelling.

use super::*;

on_each_backend! {
    async fn an_event_is_there_or_not_yet_or_never(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let id = started(&client, "parked", &json!(7)).await;
        let event = |key: &str, prefer: &str| {
            ada(client.get(format!("/dbos/workflows/{id}/events/{key}"))).header("prefer", prefer).send()
        };
        for (key, value) in [("given", json!(7)), ("nothing", json!(null))] {
            let there = event(key, "wait=20").await;
            assert_eq!((there.status.as_u16(), there.json()), (200, json!({"key": key, "value": value})));
        }
        let not_yet = event("gone", "wait=0").await;
        assert_eq!((not_yet.status.as_u16(), not_yet.json()), (202, json!({"key": "gone"})));
        assert_eq!((not_yet.header("retry-after"), not_yet.header("dbos-workflow-id")), (Some("1"), Some(id.as_str())));
        let all = shown(&client, &id, "/events").await;
        assert_eq!((all.status.as_u16(), all.json()), (200, json!({"events": {"given": 7, "nothing": null}})));

        let (there, ()) = tokio::join!(event("gone", "wait=20"), go(&client, &id));
        assert_eq!((there.status.as_u16(), &there.json()["value"]), (200, &json!(7)));
        assert_eq!(there.header("preference-applied"), Some("wait=20"));
        assert_eq!(ended(&client, &id).await["output"], 7);
        is_problem(&event("never", "wait=20").await, 404, Some("event-never-set"));
        for key in ["%20", "%0A", "a%00", "a%20", &"k".repeat(513)] {
            is_problem(&event(key, "wait=0").await, 400, Some("invalid-argument"));
        }
        end(&dbos).await;
    }

    async fn an_event_in_another_languages_format_is_its_text_alone_and_among_all(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let id = started(&client, "parked", &json!(7)).await;
        let there = ada(client.get(format!("/dbos/workflows/{id}/events/given"))).header("prefer", "wait=20").send().await;
        assert_eq!(there.status, 200);
        let changed = "UPDATE workflow_events SET value = 'gARLBy4=', serialization = 'py_pickle' WHERE key = 'given'";
        fresh.execute(changed).await;
        assert_eq!(shown(&client, &id, "/events/given").await.json(), json!({"key": "given", "value": "gARLBy4="}));
        assert_eq!(shown(&client, &id, "/events").await.json()["events"]["given"], "gARLBy4=");
        end(&dbos).await;
    }

    async fn a_message_arrives_at_its_topic_and_with_a_key_once(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let id = started(&client, "parked", &json!(7)).await;
        let send = async |below: &str, key: Option<&str>| {
            let request = ada(client.post(format!("/dbos/workflows/{id}/messages{below}")));
            let request = if let Some(key) = key { request.header("idempotency-key", key) } else { request };
            request.json(&json!({"n": 1})).send().await
        };
        for (below, key, duplicate) in [
            ("", None, false), ("", None, false), ("", Some("a"), false), ("", Some("a"), true), ("/x", Some("a"), false),
            ("/x", Some("a"), true), ("/caf%C3%A9%2F%20a", Some("a"), false),
        ] {
            let response = send(below, key).await;
            assert_eq!((response.status.as_u16(), response.json()), (202, json!({"duplicate": duplicate})), "{below} {key:?}");
            assert_eq!(response.header("idempotent-replayed"), duplicate.then_some("true"));
        }
        let topics = fresh.query("SELECT topic, count(*) FROM notifications GROUP BY topic ORDER BY count(*) DESC, topic").await;
        let row = |topic: &str, count: &str| vec![Some(topic.to_owned()), Some(count.to_owned())];
        assert_eq!(topics.len(), 3);
        assert_eq!(topics[0], row("__null__topic__", "3"));
        assert!(topics.contains(&row("x", "1")) && topics.contains(&row("café/ a", "1")), "{topics:?}");

        for below in ["/%20", "/%0A", "/a%20", &format!("/{}", "t".repeat(513))] {
            is_problem(&send(below, None).await, 400, Some("invalid-argument"));
        }
        is_problem(&send("", Some("a b")).await, 400, Some("idempotency-key-invalid"));
        let text = ada(client.post(format!("/dbos/workflows/{id}/messages"))).body("hello").send().await;
        is_problem(&text, 415, None);
        // B26
        for (depth, status) in [(127, 202), (128, 400)] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let request = ada(client.post(format!("/dbos/workflows/{id}/messages"))).header("content-type", "application/json");
            assert_eq!(request.body(deep).send().await.status.as_u16(), status);
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 6);
        end(&dbos).await;
    }

    async fn a_workflow_is_cancelled_once_and_not_after_its_end(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let cancel = |id: &str| ada(client.post(format!("/dbos/workflows/{id}/cancel"))).send();
        let running = started(&client, "parked", &json!(7)).await;
        let response = cancel(&running).await;
        assert_eq!((response.status.as_u16(), &response.json()["status"]), (202, &json!("CANCELLED")));
        assert_eq!(response.json()["workflow_id"], json!(running));
        let done = started(&client, "checkout", &cart()).await;
        assert_eq!(ended(&client, &done).await["status"], "SUCCESS");
        for id in [&running, &done] {
            let response = cancel(id).await;
            is_problem(&response, 409, Some("workflow-ended"));
            assert_eq!(response.json()["workflow_id"], json!(id));
        }
        let status = dbos.info(done.as_str()).await.unwrap().status;
        assert_eq!(status, Some(WorkflowStatus::Success));
        end(&dbos).await;
    }
}
