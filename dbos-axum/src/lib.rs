//! Durable HTTP for axum: handlers start workflows of [`dbos_runtime`] exactly once per idempotency key.
//!
//! ```toml
//! [dependencies]
//! dbos-runtime = "0.1"                                      # its features choose the databases
//! dbos-axum = { version = "0.1", features = ["admin"] }     # also: metrics, openapi, otel, webhooks
//! axum = "0.8"
//! serde = { version = "1", features = ["derive"] }
//! tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
//! ```
//!
//! A whole application: a checkout that survives crashes, and does not charge twice when the customer clicks twice.
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::post};
//! use dbos_axum::{DbosCtx, DbosLayer, Json, PreferWait, Problem, Reply};
//! use dbos_runtime::{Ctx, Dbos, Error, workflow};
//! use serde::{Deserialize, Serialize};
//! use tokio::net::TcpListener;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Cart {
//!     items: Vec<String>,
//! }
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Receipt {
//!     charged: usize,
//! }
//!
//! #[workflow]
//! async fn checkout(ctx: Ctx, cart: Cart) -> Result<Receipt, Error> {
//!     let charged = ctx.step("charge", || async { Ok(cart.items.len() * 995) }).await?;
//!     Ok(Receipt { charged })
//! }
//!
//! // 200 with the receipt if the client waits for it (`Prefer: wait=10`) and it is there in time, else 202.
//! async fn post_checkout(
//!     ctx: DbosCtx,
//!     wait: PreferWait,
//!     Json(cart): Json<Cart>,
//! ) -> Result<Reply<Receipt>, Problem> {
//!     ctx.require_key().start(checkout, cart).await?.wait(wait).await
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #   let file = std::env::temp_dir().join(format!("dbos-axum-{}.sqlite", std::process::id()));
//! #   let url = format!("sqlite:{}", file.display());
//!     let dbos = Dbos::builder("shop").database_url(url).register(checkout).launch().await?;
//!     let app = Router::new()
//!         .route("/checkout", post(post_checkout))
//!         .layer(DbosLayer::new(dbos.clone()))
//!         .fallback(dbos_axum::not_found);
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//! #   let address = listener.local_addr()?;
//! #   let until = async move {
//! #       for replayed in [false, true] {
//! #           let answer = doc_request(address).await;
//! #           assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
//! #           assert!(answer.ends_with(r#""output":{"charged":1990}}"#), "{answer}");
//! #           assert_eq!(answer.contains("idempotent-replayed: true"), replayed, "{answer}");
//! #       }
//! #   };
//! #   #[cfg(any())]
//!     let until = dbos_axum::terminated();
//!     dbos_axum::serve(listener, app, dbos).until(until).drain(Duration::from_secs(20)).await?;
//! #   std::fs::remove_file(file)?;
//!     Ok(())
//! }
//! #
//! # async fn doc_request(address: std::net::SocketAddr) -> String {
//! #     use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! #     let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
//! #     let body = r#"{"items":["cup","cap"]}"#;
//! #     let head = "POST /checkout HTTP/1.1\r\nhost: shop\r\nconnection: close\r\nprefer: wait=10\r\n\
//! #         idempotency-key: 8e03978e-40d5-43e8-bc93-6894a57f9324\r\ncontent-type: application/json";
//! #     stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
//! #     let mut answer = String::new();
//! #     stream.read_to_string(&mut answer).await.unwrap();
//! #     answer
//! # }
//! ```
//!
//! ```text
//! curl localhost:3000/checkout -H 'Prefer: wait=10' -H "Idempotency-Key: $(uuidgen)" --json '{"items": ["cup", "cap"]}'
//! ```
//!
//! # The nouns
//!
//! * [`DbosLayer`] gives handlers their [`DbosCtx`], which starts workflows, sends to them and reads their events and
//!   streams.
//! * An [`IdempotencyKey`] names an operation. Keys are [`Scoped`] to the caller, a [`Principal`], unless they are
//!   [`Verbatim`].
//! * A handler answers with [`Started`], with [`Reply`] when it waits as long as the client's [`PreferWait`] says, with
//!   [`Sent`], with [`EventReply`], or with [`StreamSse`], a workflow's stream as server-sent events.
//! * [`WorkflowApi`] is a router: clients start the workflows you expose, and follow, message and cancel their own.
//! * `Webhooks` takes signed messages from other services, and hands each to a workflow once.
//! * `Admin` has the routes of the DBOS admin servers, `MetricsPage` a page for Prometheus.
//! * Each router names its extractor in its type: it says who is asking, like [`BearerToken`]. [`AllowAnyone`] lets
//!   everybody in.
//! * Everything that goes wrong is a [`Problem`].
//! * [`serve`] is an HTTP server with time limits that shuts down cleanly.
//!
//! A 202 leads to the [`WorkflowApi`]: mount one, at `/dbos` or where [`DbosLayer::api_at`] says. The guide in `docs/guide`
//! of the source has a page for each of these. The crate logs with `tracing`, under `dbos_axum`; what answers do not say is
//! there, and nothing is shown without a subscriber, such as `tracing_subscriber::fmt().init()`.
//!
//! # All of it, mounted
//!
#![cfg_attr(
    all(feature = "admin", feature = "metrics", feature = "webhooks"),
    doc = r#"
```
use axum::Router;
use axum::extract::FromRef;
use dbos_axum::webhooks::{Deliver, Misconfigured, StandardWebhooks, Webhooks};
use dbos_axum::{Admin, AllowAnyone, BearerToken, DbosLayer, Problem, ReadOnly, Tokens, WorkflowApi};
use dbos_runtime::{Ctx, Dbos, Error, WorkflowId, workflow};
use serde::Deserialize;

#[workflow]
async fn checkout(_ctx: Ctx, cart: Vec<String>) -> Result<usize, Error> {
    Ok(cart.len())
}

#[derive(Deserialize)]
struct Payment {
    order: String,
    paid: bool,
}

#[derive(Clone)]
struct App {
    operators: Tokens,
}

impl FromRef<App> for Tokens {
    fn from_ref(app: &App) -> Self {
        app.operators.clone()
    }
}

fn app(dbos: Dbos, operators: Tokens, secret: &str) -> Result<Router, Misconfigured> {
    // Whether an order is paid, the payment provider says, and no customer.
    let layer = DbosLayer::new(dbos.clone()).policy(ReadOnly);
    let hooks = Webhooks::new(layer.clone()).source(
        "payments",
        StandardWebhooks::new(secret)?,
        |payment: Payment| -> Result<Deliver, Problem> {
            Ok(Deliver::send(WorkflowId::parse(payment.order)?, "payment", &payment.paid))
        },
    );
    Ok(Router::new()
        .nest("/dbos", WorkflowApi::<AllowAnyone>::new(layer.clone()).expose(checkout).into_router())
        .nest("/in", hooks.into_router()?)
        .nest("/admin", Admin::<BearerToken>::new(dbos).into_router())
        .with_state(App { operators }))
}
```
"#
)]
//!
//! # Features
//!
//! * `admin`: `Admin`, the routes of the DBOS admin servers, behind authentication, and readiness.
//! * `metrics`: `Metrics` and `MetricsPage`, a page for Prometheus.
//! * `openapi`: the OpenAPI documents of the routers, in the module `openapi`.
//! * `otel`: what a request starts belongs to the request's trace, and the module `otel` exports traces.
//! * `serve`, on by default: [`serve`] and [`terminated`].
//! * `webhooks`: the module `webhooks`, for signed webhooks and callbacks.
//!
//! The databases are chosen with the features of [`dbos_runtime`].

#[cfg(feature = "openapi")]
pub mod openapi;
pub mod problem;
#[cfg(feature = "webhooks")]
pub mod webhooks;

mod access;
#[cfg(feature = "admin")]
mod admin;
mod api;
mod auth;
mod ctx;
mod event;
mod fallback;
#[cfg(doctest)]
mod guide;
mod ids;
mod json;
mod key;
mod keyed_start;
mod layer;
mod links;
mod meter;
#[cfg(feature = "otel")]
pub mod otel;
mod outcome;
mod path;
mod patience;
mod prefer;
mod principal;
mod redact;
mod reply;
mod routes;
mod scope;
mod seen;
mod send;
#[cfg(feature = "serve")]
mod serve;
mod sse;
mod start;
mod trace;

pub use dbos_runtime::Outcome;

pub use access::{AccessPolicy, Action, AnyOwner, OwnersOnly, ReadOnly};
#[cfg(feature = "admin")]
pub use admin::Admin;
pub use api::{Exposed, StartOption, WorkflowApi};
pub use auth::{AllowAnyone, Basic, BearerToken, InvalidSecret, Passwords, Tokens};
pub use ctx::DbosCtx;
pub use event::EventReply;
pub use fallback::{method_not_allowed, not_found};
pub use ids::{LastEventId, WorkflowId};
pub use json::Json;
pub use key::IdempotencyKey;
pub use keyed_start::KeyedStart;
pub use layer::{Concurrent, DbosLayer, DbosService};
#[cfg(feature = "metrics")]
pub use meter::{Metrics, MetricsPage, RecorderTaken};
pub use path::Path;
pub use prefer::PreferWait;
pub use principal::{IntoPrincipal, Principal};
pub use problem::Problem;
pub use redact::{Field, Redactor};
pub use reply::{Reply, Started};
pub use scope::{KeyMapping, Scoped, Verbatim};
pub use send::Sent;
#[cfg(feature = "serve")]
pub use serve::{Serve, serve, terminated};
pub use sse::{ShortSecret, StreamLimits, StreamRead, StreamReply, StreamSse, StreamTokens};
