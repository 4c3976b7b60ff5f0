//! The HTTP layer, as its clients see it.

mod admin;
mod api;
mod bad_requests;
mod body;
mod frames;
mod message;
mod metrics;
mod openapi;
mod security;
mod serve;
mod start;
mod streams;
mod traces;
mod wait;
mod webhooks;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::routing::{get, post};
use dbos_axum::{
    DbosCtx, DbosLayer, EventReply, IdempotencyKey, IntoPrincipal, Json, Path, PreferWait, Principal,
    Problem, Reply, Sent, Started, WorkflowId,
};
use dbos_runtime::{Ctx as RuntimeCtx, Dbos, Error, workflow};
use harness::Fresh;
use harness::http::{Client, Response};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Ctx = RuntimeCtx<(), ShopError>;

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
enum ShopError {
    #[error("only {left} left")]
    SoldOut { left: u32 },
    #[error(transparent)]
    Runtime(#[from] Error),
}

impl From<ShopError> for Problem {
    fn from(error: ShopError) -> Self {
        match error {
            ShopError::SoldOut { left } => Self::new(StatusCode::CONFLICT).with_member("left", left),
            ShopError::Runtime(error) => error.into(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Cart {
    item: String,
    count: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    cents: u32,
}

/// Ends by itself.
#[workflow]
async fn checkout(ctx: Ctx, cart: Cart) -> Result<Receipt, ShopError> {
    if cart.count > 100 {
        return Err(ShopError::SoldOut { left: 3 });
    }
    let cents = ctx.step("charge", || async { Ok(995 * cart.count) }).await?;
    Ok(Receipt { cents })
}

/// The same in and out as `checkout`, under another name.
#[workflow]
async fn refund(_ctx: Ctx, cart: Cart) -> Result<Receipt, ShopError> {
    Ok(Receipt { cents: cart.count })
}

/// Publishes what it was given, then waits to be told to go on.
#[workflow]
async fn parked(ctx: Ctx, n: u32) -> Result<u32, ShopError> {
    ctx.set_event("given", &n).await?;
    ctx.set_event("nothing", &()).await?;
    ctx.recv::<Value>("go").timeout(Duration::from_secs(3600)).await?;
    ctx.set_event("gone", &n).await?;
    Ok(n)
}

/// The caller, by the word of a header: tests have nobody to distrust.
struct Caller(Principal);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let named = |header: &str| {
            parts.headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        Ok(Self(Principal::new(named("x-user")).with_tenant(named("x-tenant")).with_roles(["tester"])))
    }
}

impl IntoPrincipal for Caller {
    fn principal(&self) -> Principal {
        self.0.clone()
    }
}

async fn start(ctx: DbosCtx, caller: Caller, Json(cart): Json<Cart>) -> Result<Started<Receipt>, Problem> {
    ctx.on_behalf_of(&caller).start(checkout, cart).await
}

async fn start_refund(
    ctx: DbosCtx,
    caller: Caller,
    Json(cart): Json<Cart>,
) -> Result<Started<Receipt>, Problem> {
    ctx.on_behalf_of(&caller).start(refund, cart).await
}

async fn demand(ctx: DbosCtx, caller: Caller, Json(cart): Json<Cart>) -> Result<Started<Receipt>, Problem> {
    ctx.on_behalf_of(&caller).require_key().start(checkout, cart).await
}

async fn quick(
    ctx: DbosCtx,
    caller: Caller,
    wait: PreferWait,
    Json(cart): Json<Cart>,
) -> Result<Reply<Receipt>, Problem> {
    ctx.on_behalf_of(&caller).start(checkout, cart).await?.wait(wait).await
}

async fn strict(
    ctx: DbosCtx,
    caller: Caller,
    wait: PreferWait,
    Json(cart): Json<Cart>,
) -> Result<Reply<Receipt>, Problem> {
    ctx.on_behalf_of(&caller).start(checkout, cart).await?.wait(wait).await?.or_problem::<ShopError>()
}

async fn park(
    ctx: DbosCtx,
    caller: Caller,
    wait: PreferWait,
    Json(n): Json<u32>,
) -> Result<Reply<u32>, Problem> {
    ctx.on_behalf_of(&caller).start(parked, n).await?.wait(wait).await
}

/// The key is a part of the path.
async fn at_key(
    ctx: DbosCtx,
    Path(key): Path<IdempotencyKey>,
    Json(cart): Json<Cart>,
) -> Result<Started<Receipt>, Problem> {
    ctx.with_key(key).start(checkout, cart).await
}

/// Starts twice; the second one by the name that the path gives, if it gives one.
async fn twice(
    ctx: DbosCtx,
    caller: Caller,
    Path(sub_key): Path<String>,
    Json(cart): Json<Cart>,
) -> Result<Json<Value>, Problem> {
    let ctx = ctx.on_behalf_of(&caller);
    let second = if sub_key == "-" { ctx.clone() } else { ctx.sub_key(&sub_key) };
    let first = ctx.start(checkout, Cart { ..cart }).await?;
    let cart = Cart { item: "postage".to_owned(), count: 1 };
    let second = second.start(checkout, cart).await?;
    Ok(Json(json!([first.id(), second.id(), first.replayed(), second.replayed()])))
}

async fn tell(
    ctx: DbosCtx,
    caller: Caller,
    Path(id): Path<WorkflowId>,
    Json(message): Json<Value>,
) -> Result<Sent, Problem> {
    ctx.on_behalf_of(&caller).send(&id, "go", &message).await
}

async fn read(
    ctx: DbosCtx,
    caller: Caller,
    Path((id, key)): Path<(WorkflowId, String)>,
    wait: PreferWait,
) -> Result<EventReply<Value>, Problem> {
    ctx.on_behalf_of(&caller).event(&id, &key, wait).await
}

/// Starts, and answers with the first event.
async fn park_and_read(
    ctx: DbosCtx,
    caller: Caller,
    Path(key): Path<String>,
    Json(n): Json<u32>,
) -> Result<EventReply<Value>, Problem> {
    let wait = PreferWait::up_to(Duration::from_secs(20));
    ctx.on_behalf_of(&caller).start(parked, n).await?.event(&key, wait).await
}

/// A runtime with all workflows, and a client of an application on it.
async fn shop(fresh: &Fresh) -> (Dbos, Client) {
    let dbos = launch(fresh.url()).await;
    let client = Client::new(app(DbosLayer::new(dbos.clone())));
    (dbos, client)
}

async fn launch(url: &str) -> Dbos {
    launch_with(url, harness::PATIENCE).await
}

/// With the patience of a second, for tests that take the database away.
async fn launch_impatient(url: &str) -> Dbos {
    launch_with(url, Duration::from_secs(1)).await
}

async fn launch_with(url: &str, patience: Duration) -> Dbos {
    let builder = Dbos::builder("http-tests").database_url(url).application_version("v1");
    let builder = builder.polling_interval(Duration::from_millis(50)).patience(patience);
    builder.state(()).register(checkout).register(refund).register(parked).launch().await.unwrap()
}

fn app(layer: DbosLayer) -> Router {
    Router::new()
        .route("/checkout", post(start))
        .route("/refund", post(start_refund))
        .route("/demand", post(demand))
        .route("/quick", post(quick))
        .route("/strict", post(strict))
        .route("/park", post(park))
        .route("/park/{key}", post(park_and_read))
        .route("/checkout/{key}", post(at_key))
        .route("/twice/{sub_key}", post(twice))
        .route("/tell/{id}", post(tell))
        .route("/events/{id}/{key}", get(read))
        .layer(layer)
        .fallback(dbos_axum::not_found)
        .method_not_allowed_fallback(dbos_axum::method_not_allowed)
}

/// Long enough for a caller without a name.
const KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

fn cart() -> Value {
    json!({"item": "cup", "count": 2})
}

/// Ends the runtime. Workflows that are parked are left as they are.
async fn end(dbos: &Dbos) {
    dbos.shutdown(Duration::ZERO).await;
}

/// Checks the answer to be a problem of that type, or of a plain status.
#[track_caller]
fn is_problem(response: &Response, status: u16, slug: Option<&str>) {
    let body = response.json();
    assert_eq!(response.status.as_u16(), status, "{body}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{body}");
    assert_eq!(body["status"], status);
    let kind = body["type"].as_str().unwrap();
    assert_eq!(kind.rsplit_once('#').map(|(_, slug)| slug), slug, "{body}");
}
