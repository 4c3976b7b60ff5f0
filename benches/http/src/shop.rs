//! What is measured: a `POST` that starts a workflow under its idempotency key and answers with an event of it.

use std::io::Write;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bench_common::{Args, BoxError};
use dbos_axum::{DbosCtx, DbosLayer, EventReply, Json, PreferWait, Problem};
use dbos_runtime::{Ctx as RtCtx, Dbos, Error, workflow};
use tokio::net::TcpListener;

type Ctx = RtCtx<(), Error>;

/// How long the answer may wait for the event.
const PATIENCE: Duration = Duration::from_secs(10);

/// A step, and the event that the request waits for.
#[workflow]
async fn buys(ctx: Ctx, widgets: i64) -> Result<i64, Error> {
    let order = ctx.step("order", || async { Ok(widgets + 1) }).await?;
    ctx.set_event("order", &order).await?;
    Ok(order)
}

async fn buy(ctx: DbosCtx, Json(widgets): Json<i64>) -> Result<EventReply<i64>, Problem> {
    let started = ctx.require_key().start(buys, widgets).await?;
    started.event("order", PreferWait::up_to(PATIENCE)).await
}

/// Serves until it is killed; says where on the first line.
pub async fn serve(args: &Args) -> Result<(), BoxError> {
    let dbos = Dbos::builder("bench").database_url(&args.url).register(buys).launch().await?;
    let app = Router::new().route("/buy", post(buy)).layer(DbosLayer::new(dbos.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    dbos_axum::serve(listener, app, dbos).await?;
    Ok(())
}
