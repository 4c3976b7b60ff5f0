//! Addresses for somebody who cannot sign.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::routing::post;
use dbos_axum::webhooks::Callbacks;
use dbos_axum::{DbosCtx, Json};
use dbos_runtime::WorkflowId;
use harness::on_each_backend;

use super::*;

const BASE: &str = "https://shop.example/in";

pub(super) fn callbacks() -> Callbacks {
    Callbacks::new("a secret of the tests with 32 bytes", BASE).unwrap()
}

/// The path of an address, below the router.
pub(super) fn path(url: &str) -> String {
    format!("/in{}", url.strip_prefix(BASE).unwrap())
}

/// Gives out an address as an event, and waits for what comes there.
async fn asks(ctx: RuntimeCtx<(), Error>, valid_for: Duration) -> Result<Option<Value>, Error> {
    let until = ctx.now().await?.after(valid_for);
    ctx.set_event("address", &callbacks().url(ctx.workflow_id(), "answer", until)).await?;
    ctx.recv("answer").timeout(Duration::from_secs(3600)).await
}

const ASKS: WorkflowRef<Duration, Option<Value>> = WorkflowRef::named("asks");

async fn launch(fresh: &Fresh) -> Dbos {
    harness::builder(fresh).register_fn("asks", asks).register(payee).launch().await.unwrap()
}

on_each_backend! {
    // S19: nothing is ever called from here; an address only takes.
    async fn an_answer_comes_once_to_the_workflow_that_asked(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let client = client(Webhooks::new(DbosLayer::new(dbos.clone()).callbacks(callbacks())));
        let asking = dbos.start(ASKS, Duration::from_secs(60)).id("film-1").await.unwrap();
        let url: String = dbos.get_event(asking.id(), "address", harness::PATIENCE).await.unwrap().unwrap();
        for (value, duplicate) in [(json!({"frames": 7}), false), (json!("again"), true)] {
            let response = client.post(path(&url)).json(&value).send().await;
            assert_eq!((response.status, response.json()), (StatusCode::ACCEPTED, json!({"duplicate": duplicate})));
        }
        assert_eq!(asking.result().await.unwrap(), Some(json!({"frames": 7})));
        // Also after the end.
        assert_eq!(client.post(path(&url)).json(&json!(1)).send().await.json(), json!({"duplicate": true}));
        assert_eq!(fresh.scalar(MESSAGES).await, 1);
        end(&dbos).await;
    }

    async fn an_address_that_is_forged_or_old_is_refused_in_one_way(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let now = Arc::new(AtomicI64::new(dbos.now().as_millis()));
        let clock = Arc::clone(&now);
        let layer = DbosLayer::new(dbos.clone()).callbacks(callbacks());
        let client = client(Webhooks::new(layer).clock(move || Timestamp::from_millis(clock.load(Ordering::SeqCst))));
        let id = dbos.start(payee, ()).id("order-7").await.unwrap().id().clone();
        let until = |millis: i64| Timestamp::from_millis(now.load(Ordering::SeqCst) + millis);
        let good = path(&callbacks().url(&id, "payment", until(60_000)));
        let foreign = Callbacks::new("another secret with at least 32 bytes", BASE).unwrap();
        let longer = format!("{good}A");
        let bad = [
            "/in/callbacks/x",
            "/in/callbacks/.",
            "/in/callbacks/%00",
            "/in/callbacks/..%2Fx",
            &good[..good.len() - 1],
            &longer,
            &path(&foreign.url(&id, "payment", until(60_000))),
            &path(&callbacks().url(&id, "payment", until(0))),
        ];
        let mut bodies = std::collections::BTreeSet::new();
        for path in bad {
            let response = client.post(path).json(&json!(1)).send().await;
            is_problem(&response, 401, Some("delivery-unverified"));
            bodies.insert(response.text().to_owned());
        }
        assert_eq!(bodies.len(), 1, "an answer tells what was wrong, or repeats the address");
        now.fetch_add(59_999, Ordering::SeqCst);
        let other = path(&callbacks().url(&id, "other", until(1)));
        let missing = WorkflowId::parse("nowhere").unwrap();
        let nowhere = path(&callbacks().url(&missing, None, until(1)));

        // Known before anything of the body is read.
        is_problem(&client.post(&good[..good.len() - 1]).body("{").send().await, 401, Some("delivery-unverified"));
        is_problem(&client.post(&good).body("{}").send().await, 415, None);
        is_problem(&client.post(&good).header("content-type", "application/json").body("{").send().await, 400, Some("malformed-json"));
        let large = vec![b' '; 1024 * 1024 + 1];
        is_problem(&client.post(&good).header("content-type", "application/json").body(large).send().await, 413, None);
        is_problem(&client.post(&nowhere).json(&json!(1)).send().await, 404, Some("workflow-not-found"));
        is_problem(&client.get(&good).send().await, 405, None);
        assert_eq!(fresh.scalar(MESSAGES).await, 0);
        for path in [&good, &other] {
            assert_eq!(client.post(path).json(&json!(1)).send().await.json(), json!({"duplicate": false}));
        }
        now.fetch_add(1, Ordering::SeqCst);
        is_problem(&client.post(&good).json(&json!(1)).send().await, 401, Some("delivery-unverified"));
        assert_eq!(fresh.scalar(MESSAGES).await, 2);
        end(&dbos).await;
    }

    async fn a_handler_makes_addresses_when_its_layer_can(fresh: Fresh) {
        async fn address(ctx: DbosCtx) -> Result<Json<String>, Problem> {
            let id = WorkflowId::parse("order-7")?;
            ctx.callback_url(&id, "payment", Duration::from_secs(60)).map(Json)
        }
        let dbos = launch(&fresh).await;
        let target = dbos.start(payee, ()).id("order-7").await.unwrap();
        let with = |layer: DbosLayer| {
            let hooks = Webhooks::new(layer.clone()).into_router().unwrap();
            Client::new(Router::new().route("/address", post(address)).layer(layer).nest("/in", hooks))
        };
        is_problem(&with(DbosLayer::new(dbos.clone())).post("/address").send().await, 500, None);
        let client = with(DbosLayer::new(dbos.clone()).callbacks(callbacks()));
        let url = client.post("/address").send().await.json();
        let answer = client.post(path(url.as_str().unwrap())).json(&json!("paid")).send().await;
        assert_eq!((answer.status, answer.json()), (StatusCode::ACCEPTED, json!({"duplicate": false})));
        assert_eq!(target.result().await.unwrap(), Some(json!("paid")));
        end(&dbos).await;
    }
}
