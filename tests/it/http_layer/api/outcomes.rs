//! `GET /workflows/{id}` and `/result`.

use dbos_axum::{Field, Redactor};

use super::*;

/// Blots out what a client need not see.
struct Blot;

impl Redactor for Blot {
    fn redact(&self, workflow: &str, field: Field<'_>, value: &mut Value) {
        match field {
            Field::Output if workflow == "checkout" => value["cents"] = json!("***"),
            Field::Error => value["message"] = json!(format!("{workflow} failed")),
            Field::Event(key @ "given") => *value = json!(format!("{workflow}: {key}")),
            _ => {}
        }
    }
}

/// Blots out the numbers of cards, where it finds any.
struct NoCards;

impl Redactor for NoCards {
    fn redact(&self, _: &str, _: Field<'_>, value: &mut Value) {
        if let Some(card) = value.get_mut("card") {
            *card = json!("***");
        }
    }
}

on_each_backend! {
    async fn a_status_has_the_facts_and_nothing_of_the_runtimes_own(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let request = ada(client.post("/dbos/start/checkout")).header("x-tenant", "acme").json(&cart());
        let id = request.send().await.header("dbos-workflow-id").unwrap().to_owned();
        let look = |below: &str| ada(client.get(format!("/dbos/workflows/{id}{below}"))).header("x-tenant", "acme");
        assert_eq!(look("/result").header("prefer", "wait=20").send().await.status, StatusCode::OK);
        let response = look("").send().await;
        assert_eq!((response.status.as_u16(), response.header("content-type")), (200, Some("application/json")));
        let mut status = response.json();
        for instant in ["created_at", "updated_at", "completed_at"] {
            let text = status[instant].take();
            let text = text.as_str().unwrap();
            assert!(text.len() == "2026-11-22T22:43:00.000Z".len() && text.ends_with('Z'), "{text}");
        }
        let expected = json!({
            "workflow_id": id, "name": "checkout", "status": "SUCCESS", "queue": null, "created_at": null, "updated_at": null,
            "completed_at": null, "application_version": "v1", "executor_id": dbos.executor_id(), "attributes": {},
        });
        assert_eq!(status, expected);
        end(&dbos).await;
    }

    async fn a_result_is_pending_until_it_is_there(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let id = started(&client, "parked", &json!(7)).await;
        let result = |prefer: &str| ada(client.get(format!("/dbos/workflows/{id}/result"))).header("prefer", prefer).send();
        let link = format!("/dbos/workflows/{id}");
        let links = json!({"self": link, "result": format!("{link}/result")});
        for (prefer, applied) in [("x", None), ("wait=0", None), ("wait=1", Some("wait=1"))] {
            let pending = result(prefer).await;
            assert_eq!((pending.status.as_u16(), pending.header("retry-after")), (202, Some("1")));
            assert_eq!(pending.json(), json!({"workflow_id": id, "status": "PENDING", "links": links}));
            assert_eq!((pending.header("preference-applied"), pending.header("dbos-workflow-id")), (applied, Some(id.as_str())));
        }
        let (response, ()) = tokio::join!(result("wait=20"), go(&client, &id));
        assert_eq!((response.status.as_u16(), response.header("preference-applied")), (200, Some("wait=20")));
        assert_eq!(response.json(), json!({"workflow_id": id, "status": "SUCCESS", "output": 7}));
        assert_eq!(result("wait=0").await.json(), response.json());
        is_problem(&result("wait=soon").await, 400, Some("invalid-argument"));
        end(&dbos).await;
    }

    async fn whatever_the_end_the_read_of_it_is_a_success(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = client_of(api(dbos.clone()).expose_all());
        let sold_out = started(&client, "checkout", &json!({"item": "cup", "count": 101})).await;
        let error = json!({"name": "ShopError", "message": "only 3 left"});
        assert_eq!(ended(&client, &sold_out).await, json!({"workflow_id": sold_out, "status": "ERROR", "error": error}));

        let refused = started(&client, "audit", &json!(null)).await;
        let message = "The caller has none of the roles that the workflow requires.";
        let error = json!({"name": "DBOSNotAuthorizedError", "message": message});
        assert_eq!(ended(&client, &refused).await, json!({"workflow_id": refused, "status": "ERROR", "error": error}));

        let cancelled = started(&client, "parked", &json!(1)).await;
        let cancel = ada(client.post(format!("/dbos/workflows/{cancelled}/cancel"))).send().await;
        assert_eq!(cancel.status, StatusCode::ACCEPTED);
        assert_eq!(ended(&client, &cancelled).await, json!({"workflow_id": cancelled, "status": "CANCELLED"}));

        let status = "MAX_RECOVERY_ATTEMPTS_EXCEEDED";
        fresh.execute(&format!("UPDATE workflow_status SET status = '{status}' WHERE workflow_uuid = '{cancelled}'")).await;
        assert_eq!(ended(&client, &cancelled).await, json!({"workflow_id": cancelled, "status": status}));
        end(&dbos).await;
    }

    // S20
    async fn what_only_another_language_reads_is_not_given_out(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let request = || ada(client.post("/dbos/start/checkout")).header("idempotency-key", "a").header("prefer", "wait=20");
        let id = request().json(&cart()).send().await.header("dbos-workflow-id").unwrap().to_owned();
        fresh.execute("UPDATE workflow_output SET output = 'gARLBy4='").await;
        for (stored, told) in [("'py_pickle'", "py_pickle"), ("NULL", "native")] {
            fresh.execute(&format!("UPDATE workflow_status SET serialization = {stored}")).await;
            assert_eq!(ended(&client, &id).await, json!({"workflow_id": id, "status": "SUCCESS", "format": told}));
        }
        end(&dbos).await;
    }

    async fn what_a_router_gives_out_goes_through_the_redactor(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = client_of(api(DbosLayer::new(dbos.clone()).redact(Blot)));
        let start = |cart: Value| ada(client.post("/dbos/start/checkout")).header("prefer", "wait=20").json(&cart).send();
        let good = start(cart()).await;
        assert_eq!(good.json()["output"], json!({"cents": "***"}));
        let bad = start(json!({"item": "cup", "count": 101})).await;
        assert_eq!(bad.json()["error"], json!({"name": "ShopError", "message": "checkout failed"}));
        for response in [good, bad] {
            let id = response.header("dbos-workflow-id").unwrap();
            assert_eq!(ended(&client, id).await, response.json());
        }
        let id = started(&client, "parked", &json!(7)).await;
        let event = ada(client.get(format!("/dbos/workflows/{id}/events/given"))).header("prefer", "wait=20").send().await;
        assert_eq!(event.json()["value"], "parked: given");
        assert_eq!(shown(&client, &id, "/events").await.json()["events"]["given"], "parked: given");
        end(&dbos).await;
    }

    // S20. What another language has pickled is no text that a redactor could look into.
    async fn what_cannot_be_redacted_is_not_given_out(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let redacted = client_of(api(DbosLayer::new(dbos.clone()).redact(NoCards)));
        let whole = client_of(api(dbos.clone()));
        let id = started(&whole, "parked", &json!(7)).await;
        until("it waits", async || shown(&whole, &id, "/events").await.json()["events"].get("nothing").is_some()).await;
        let look = async |client: &Client| {
            let look = async |below: &str| {
                let request = ada(client.get(format!("/dbos/workflows/{id}{below}")));
                let response = request.header("accept", "application/json").send().await;
                assert_eq!(response.status, StatusCode::OK, "{below}: {}", response.text());
                response.json()
            };
            let (all, one, page) = (look("/events").await, look("/events/given").await, look("/streams/given").await);
            [all["events"]["given"].clone(), one["value"].clone(), page["values"][0]["value"].clone()]
        };
        let (json, pickle, superjson) = (r#"{"card":"4242"}"#, "Y2FyZA==", r#"{"json":{"card":"4242"}}"#);
        let cases = [
            (json, "'portable_json'", json!({"card": "4242"}), json!({"card": "***"})),
            (pickle, "'py_pickle'", json!(pickle), json!(null)),
            (pickle, "NULL", json!(pickle), json!(null)),
            (superjson, "'js_superjson'", json!({"json": {"card": "4242"}}), json!(null)),
        ];
        for (value, format, told, left) in cases {
            fresh.execute(&format!("UPDATE workflow_events SET value = '{value}', serialization = {format} WHERE key = 'given'")).await;
            fresh.execute("DELETE FROM streams").await;
            fresh.execute(&format!(
                "INSERT INTO streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
                 VALUES ('{id}', 'given', '{value}', 0, 1, {format})"
            )).await;
            assert_eq!(look(&whole).await, [told.clone(), told.clone(), told], "{format}");
            assert_eq!(look(&redacted).await, [left.clone(), left.clone(), left], "{format}");
        }
        end(&dbos).await;
    }
}
