//! Messages to workflows and their events, and who may send and read them.

use harness::on_each_backend;

use super::*;

/// Starts a workflow for that caller, and gives its id.
async fn started(client: &Client, user: &str) -> String {
    let response = client.post("/park").header("x-user", user).json(&json!(7)).send().await;
    response.header("dbos-workflow-id").unwrap().to_owned()
}

on_each_backend! {
    async fn a_message_with_a_key_arrives_once(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let (one, two) = (started(&client, "ada").await, started(&client, "ada").await);
        let tell = |id: &str, key: &str| {
            let request = client.post(format!("/tell/{id}")).header("x-user", "ada");
            request.header("idempotency-key", key).json(&json!("paid"))
        };
        let cases = [(&one, "k", false), (&one, "k", true), (&one, "other", false), (&two, "k", false)];
        for (id, key, duplicate) in cases {
            let response = tell(id, key).send().await;
            assert_eq!((response.status, response.json()), (StatusCode::ACCEPTED, json!({"duplicate": duplicate})));
            assert_eq!(response.header("idempotent-replayed"), duplicate.then_some("true"));
            assert_eq!(response.header("dbos-workflow-id"), Some(id.as_str()));
        }
        is_problem(&tell(&one, "a b").send().await, 400, Some("idempotency-key-invalid"));
        is_problem(&tell("nowhere", "k").send().await, 404, Some("workflow-not-found"));
        end(&dbos).await;
    }

    async fn a_verbatim_key_counts_for_each_topic(fresh: Fresh) {
        async fn post_to(ctx: DbosCtx, Path((id, topic)): Path<(WorkflowId, String)>) -> Result<Sent, Problem> {
            ctx.send(&id, (topic != "-").then_some(topic.as_str()), &true).await
        }
        async fn post_both(ctx: DbosCtx, Path(id): Path<WorkflowId>) -> Result<Json<[bool; 2]>, Problem> {
            let (a, b) = (ctx.send(&id, "a", &1).await?, ctx.send(&id, "b", &2).await?);
            Ok(Json([a.duplicate(), b.duplicate()]))
        }
        let (dbos, client) = shop(&fresh).await;
        let id = started(&client, "").await;
        let router = Router::new().route("/{id}/{topic}", post(post_to)).route("/{id}", post(post_both));
        let client = Client::new(router.layer(DbosLayer::new(dbos.clone()).trust_client_workflow_ids()));
        let send = async |path: String, key: &str| client.post(path).header("idempotency-key", key).send().await;
        for (topic, duplicate) in [("x", false), ("y", false), ("x", true), ("-", false), ("-", true)] {
            let response = send(format!("/{id}/{topic}"), "k").await;
            assert_eq!(response.json(), json!({"duplicate": duplicate}), "{topic}");
        }
        for duplicate in [false, true] {
            assert_eq!(send(format!("/{id}"), "l").await.json(), json!([duplicate, duplicate]));
        }
        // Nor does a key take the place of what a webhook or a callback sends.
        for key in ["wh:stripe:evt_1", "cb:0f"] {
            is_problem(&send(format!("/{id}/x"), key).await, 400, Some("idempotency-key-invalid"));
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 5);
        end(&dbos).await;
    }

    async fn an_event_is_there_or_not_yet_or_never(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let id = started(&client, "").await;
        let read = |key: &str, prefer: &str| client.get(format!("/events/{id}/{key}")).header("prefer", prefer);

        let given = read("given", "wait=20").send().await;
        assert_eq!((given.status, given.json()), (StatusCode::OK, json!({"key": "given", "value": 7})));
        assert_eq!(given.header("preference-applied"), Some("wait=20"));
        let nothing = read("nothing", "wait=20").send().await;
        assert_eq!(nothing.json(), json!({"key": "nothing", "value": null}));
        // A key that is not valid is none of a reader's business.
        let gone = read("gone", "wait=0").header("idempotency-key", "").send().await;
        assert_eq!((gone.status, gone.json()), (StatusCode::ACCEPTED, json!({"key": "gone"})));
        assert_eq!(gone.header("retry-after"), Some("1"));

        let tell = client.post(format!("/tell/{id}")).json(&json!(null));
        let (gone, never, told) = tokio::join!(read("gone", "wait=20").send(), read("never", "wait=20").send(), tell.send());
        assert_eq!(told.status, StatusCode::ACCEPTED);
        assert_eq!((gone.status, &gone.json()["value"]), (StatusCode::OK, &json!(7)));
        is_problem(&never, 404, Some("event-never-set"));
        is_problem(&client.get("/events/nowhere/given").send().await, 404, Some("workflow-not-found"));
        end(&dbos).await;
    }

    async fn a_foreign_workflow_is_not_there(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let id = started(&client, "ada").await;
        for (user, status) in [("ada", 200), ("bob", 404), ("", 404)] {
            let read = client.get(format!("/events/{id}/given")).header("x-user", user).header("prefer", "wait=20");
            assert_eq!(read.send().await.status.as_u16(), status, "{user}");
        }
        let foreign = client.get(format!("/events/{id}/given")).header("x-user", "bob").send().await;
        let missing = client.get("/events/nowhere/given").header("x-user", "bob").send().await;
        is_problem(&foreign, 404, Some("workflow-not-found"));
        is_problem(&missing, 404, Some("workflow-not-found"));
        // But for the names that the client has given, nothing tells the two apart.
        let anonymous = |response: &Response, id: &str| response.text().replace(id, "…");
        assert_eq!(anonymous(&foreign, &id), anonymous(&missing, "nowhere"));
        let tell = client.post(format!("/tell/{id}")).header("x-user", "bob").json(&json!(null));
        is_problem(&tell.send().await, 404, Some("workflow-not-found"));

        // The application itself may address every workflow.
        async fn all(ctx: DbosCtx, Path(id): Path<WorkflowId>) -> Result<EventReply<u32>, Problem> {
            ctx.as_system().event(&id, "given", PreferWait::up_to(harness::PATIENCE)).await
        }
        let router = Router::new().route("/{id}", get(all)).layer(DbosLayer::new(dbos.clone()));
        assert_eq!(Client::new(router).get(format!("/{id}")).send().await.json()["value"], json!(7));
        end(&dbos).await;
    }

    async fn an_event_of_another_type_is_an_error_without_details(fresh: Fresh) {
        async fn typed(ctx: DbosCtx, Path(id): Path<WorkflowId>) -> Result<EventReply<bool>, Problem> {
            ctx.event(&id, "given", PreferWait::up_to(harness::PATIENCE)).await
        }
        let (dbos, client) = shop(&fresh).await;
        let id = started(&client, "").await;
        let router = Router::new().route("/{id}", get(typed)).layer(DbosLayer::new(dbos.clone()));
        let response = Client::new(router).get(format!("/{id}")).header("x-request-id", "r-1").send().await;
        is_problem(&response, 500, None);
        assert_eq!(response.json()["request_id"], "r-1");
        assert!(response.json().get("detail").is_none(), "{}", response.text());
        end(&dbos).await;
    }
}
