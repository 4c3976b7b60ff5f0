//! Deliveries from outside: what is taken, what is refused, and what becomes of it.

mod callbacks;
mod deliveries;
mod described;
mod logs;
mod outages;
mod processes;
mod senders;
mod signatures;

use std::time::Duration;

use axum::Router;
use dbos_axum::webhooks::{self, Deliver, GitHub, Hmac, StandardWebhooks, Stripe, Webhooks};
use dbos_axum::{DbosLayer, Principal, Problem};
use dbos_runtime::{Builder, Ctx as RuntimeCtx, Dbos, Error, Timestamp, WorkflowRef, workflow};
use harness::Fresh;
use harness::http::{Client, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::is_problem;
use senders::{SECRET, Sender};

type Ctx = RuntimeCtx<(), Error>;

/// The time of all deliveries, in seconds.
const NOW: i64 = 1_795_353_448;

/// What every sender of these tests sends.
#[derive(Deserialize)]
struct Event {
    /// What is to be done about it.
    what: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    value: Value,
}

/// Waits to be paid.
#[workflow]
async fn payee(ctx: Ctx, _: ()) -> Result<Option<Value>, Error> {
    ctx.recv("payment").timeout(Duration::from_secs(3600)).await
}

#[workflow]
async fn add(_ctx: Ctx, (a, b): (u32, u32)) -> Result<u32, Error> {
    Ok(a + b)
}

/// Nobody has it.
const NOT_REGISTERED: WorkflowRef<(), ()> = WorkflowRef::named("not registered");

fn meaning(event: Event) -> Result<Deliver, Problem> {
    Ok(match event.what.as_str() {
        "send" => Deliver::send(event.to.as_str(), "payment", &event.value),
        "add" => Deliver::start(add, (3, 4)),
        "add at" => Deliver::start(add, (3, 4)).id(event.to.as_str()),
        "add for" => Deliver::start(add, (3, 4))
            .owner(&Principal::new(event.to).with_tenant("acme").with_roles(["buyer"])),
        "queue" => Deliver::start(add, (3, 4)).queue(event.to.as_str()),
        "not registered" => Deliver::start(NOT_REGISTERED, ()),
        "refuse" => return Err(Problem::new(StatusCode::CONFLICT).with_detail("Not now.")),
        _ => Deliver::ignore(),
    })
}

fn builder(fresh: &Fresh) -> Builder<()> {
    harness::builder(fresh).register(payee).register(add).register(webhooks::inbox())
}

/// A source for each kind of sender, each with the same secret.
fn sources(layer: impl Into<DbosLayer>) -> Webhooks {
    let custom = Hmac::custom(SECRET).header("x-shop-signature").timestamp("x-shop-time");
    let custom = custom.delivery_id("x-shop-id").signs("{timestamp}|{id}|{body}").build().unwrap();
    let encoded = senders::base64(SECRET.as_bytes());
    Webhooks::new(layer)
        .source("standard", StandardWebhooks::new(format!("whsec_{encoded}")).unwrap(), meaning)
        .source("stripe", Stripe::new(SECRET).unwrap(), meaning)
        .source("github", GitHub::new(SECRET).unwrap(), meaning)
        .source("custom", custom, meaning)
        .clock(|| Timestamp::from_millis(NOW * 1000 + 500))
}

fn client(hooks: Webhooks) -> Client {
    Client::new(Router::new().nest("/in", hooks.into_router().unwrap()).fallback(dbos_axum::not_found))
}

/// A runtime that knows the workflows, and a client of all sources.
async fn receiving(fresh: &Fresh) -> (Dbos, Client) {
    let dbos = builder(fresh).launch().await.unwrap();
    let client = client(sources(dbos.clone()));
    (dbos, client)
}

/// Sends an event as a sender does that keeps the rules.
async fn deliver(client: &Client, sender: Sender, id: &str, event: Value) -> Response {
    let mut event = event;
    event["id"] = json!(id);
    let body = event.to_string();
    send(client, sender, &sender.headers(SECRET, id, NOW, body.as_bytes()), body.into_bytes()).await
}

/// Sends exactly that.
async fn send(client: &Client, sender: Sender, headers: &[(&str, String)], body: Vec<u8>) -> Response {
    let request =
        client.post(format!("/in/hooks/{}", sender.name())).header("content-type", "application/json");
    headers.iter().fold(request, |request, (name, value)| request.header(name, value)).body(body).send().await
}

#[track_caller]
fn is_accepted(response: &Response, delivery: &str, duplicate: bool) {
    assert_eq!(response.status, StatusCode::ACCEPTED, "{}", response.text());
    assert_eq!(response.json(), json!({"delivery": delivery, "duplicate": duplicate}));
}

const WORKFLOWS: &str = "SELECT count(*) FROM workflow_status";
const MESSAGES: &str = "SELECT count(*) FROM notifications";

async fn end(dbos: &Dbos) {
    dbos.shutdown(Duration::ZERO).await;
}
