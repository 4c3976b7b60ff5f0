//! Events or a page; typed or as stored; redacted.

use dbos_axum::{Field, LastEventId, Redactor, StreamReply, StreamSse};

use super::*;

/// Only numbers are shown, and no secret ones.
struct NoSecrets;

impl Redactor for NoSecrets {
    fn redact(&self, workflow: &str, field: Field<'_>, value: &mut Value) {
        assert_eq!((workflow, field), ("scribe", Field::Stream("progress")));
        if let Some(secret) = value.get_mut("secret") {
            *secret = json!("****");
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    percent: u8,
}

async fn typed(
    ctx: DbosCtx,
    caller: Caller,
    Path(id): Path<WorkflowId>,
    at: LastEventId,
) -> Result<StreamSse, Problem> {
    ctx.on_behalf_of(&caller).stream::<Progress>(&id, "progress").resume(at).sse().await
}

async fn paged(
    ctx: DbosCtx,
    caller: Caller,
    Path(id): Path<WorkflowId>,
    wait: PreferWait,
) -> Result<StreamReply, Problem> {
    ctx.on_behalf_of(&caller).json_stream(&id, "progress").page(wait).await
}

harness::on_each_backend! {
    async fn a_page_holds_what_is_there_and_waits_for_the_first_value(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let page = async |query: &str, wait: &str| {
            let request = desk.ask(query).header("accept", "application/json");
            let answer = if wait.is_empty() { request.send().await } else { request.header("prefer", wait).send().await };
            assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
            assert_eq!(answer.header("cache-control"), Some("no-store, no-transform"));
            (answer.json(), answer.header("preference-applied").map(ToOwned::to_owned))
        };
        assert_eq!(page("", "").await, (json!({"values": [], "next": 0, "closed": false}), None));
        let (waited, ()) = tokio::join!(page("", "wait=20"), desk.write([json!("a"), json!(null)]));
        let (body, applied) = waited;
        assert_eq!((&body["values"][0], applied.as_deref()), (&json!({"offset": 0, "value": "a"}), Some("wait=20")));
        harness::until("both are written", async || page("", "").await.0["next"] == 2).await;
        let (body, _) = page("?after=0", "").await;
        assert_eq!(body, json!({"values": [{"offset": 1, "value": null}], "next": 2, "closed": false}));
        desk.write((2..150).map(Value::from)).await;
        desk.finish().await;
        let (body, _) = page("", "").await;
        assert_eq!((body["values"].as_array().unwrap().len(), &body["next"], &body["closed"]), (100, &json!(100), &json!(false)));
        let (body, _) = page("?after=99", "").await;
        assert_eq!((body["values"].as_array().unwrap().len(), &body["next"]), (50, &json!(150)));
        // There is nothing to wait for any more.
        let begun = std::time::Instant::now();
        let (body, _) = page("?after=149", "wait=25").await;
        assert_eq!(body, json!({"values": [], "next": 150, "closed": true}));
        assert!(begun.elapsed() < Duration::from_secs(20));
        end(&desk.dbos).await;
    }

    // B17
    async fn accept_decides_which_form_it_is(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.finish().await;
        for (accept, form) in [
            (None, "text/event-stream"),
            (Some("*/*"), "text/event-stream"),
            (Some("text/event-stream"), "text/event-stream"),
            (Some("application/json"), "application/json"),
            (Some("application/json, */*;q=0.5"), "application/json"),
        ] {
            let request = desk.ask("");
            let request = match accept {
                Some(accept) => request.header("accept", accept),
                None => request,
            };
            assert_eq!(request.send().await.header("content-type"), Some(form), "{accept:?}");
        }
        for accept in ["text/html", "application/json;q=0", "image/*"] {
            is_problem(&desk.ask("").header("accept", accept).send().await, 406, None);
        }
        end(&desk.dbos).await;
    }

    async fn a_redactor_sees_every_value_in_both_forms(fresh: Fresh) {
        let desk = Desk::with(&fresh, |layer| layer.redact(NoSecrets)).await;
        desk.write([json!({"secret": "4711", "n": 1}), json!(2)]).await;
        desk.finish().await;
        let clean = json!({"secret": "****", "n": 1});
        let events = desk.follow("").await.all().await;
        assert_eq!(events, [value(0, clean.clone()), value(1, json!(2)), end_of(1, "SUCCESS", "ended")]);
        let page = desk.ask("").header("accept", "application/json").send().await;
        assert_eq!(page.json()["values"][0]["value"], clean);
        assert!(!page.text().contains("4711"));
        end(&desk.dbos).await;
    }

    async fn a_handler_gives_out_its_own_type_and_goes_past_what_is_none(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let app = Router::new().route("/typed/{id}", get(typed)).route("/paged/{id}", get(paged));
        let client = Client::new(app.layer(DbosLayer::new(desk.dbos.clone())));
        desk.write([json!({"percent": 5, "internal": "x"}), json!("no progress"), json!({"percent": 6})]).await;
        desk.finish().await;
        let ask = |path: &str| client.get(path).header("x-user", "ada");
        let events = Events::of(ask("/typed/desk-1").open().await).all().await;
        assert_eq!(events[0], value(0, json!({"percent": 5})));
        // An error with the value's own id, and no end: the client comes back behind it.
        let error = &events[1];
        assert_eq!((error.id.as_deref(), error.name.as_deref()), (Some("1"), Some("stream-error")));
        let problem = error.data.as_ref().unwrap();
        assert_eq!((&problem["status"], &problem["instance"]), (&json!(500), &json!("/typed/desk-1")));
        assert!(!problem.to_string().contains("percent"));
        assert_eq!(events.len(), 2);
        let rest = Events::of(ask("/typed/desk-1").header("last-event-id", "1").open().await).all().await;
        assert_eq!(rest, [value(2, json!({"percent": 6})), end_of(2, "SUCCESS", "ended")]);
        let page = ask("/paged/desk-1").send().await.json();
        assert_eq!((&page["values"][1]["value"], &page["next"]), (&json!("no progress"), &json!(3)));
        end(&desk.dbos).await;
    }
}
