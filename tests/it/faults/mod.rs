//! Databases and networks that misbehave.

mod black_holes;
mod files;
mod isolation;
mod lost_replies;
mod outages;
mod poolers;
mod server;
mod stranded;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dbos_runtime::{Builder, Ctx as RuntimeCtx, Datasource, Dbos, Error, ErrorKind, WorkflowId, workflow};
use harness::proxy::Proxy;
use harness::{Backend, Fresh};
use sqlx::Any;
use tokio::sync::Semaphore;

type Ctx = RuntimeCtx<Arc<Site>, Error>;

const HOUR: Duration = Duration::from_secs(3600);

/// What the workflows of these tests share with the test.
struct Site {
    proxy: Option<Proxy>,
    db: Datasource<Any>,
    /// Workflows that wait for the test stop here.
    gate: Semaphore,
    calls: AtomicU32,
}

impl Site {
    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn pass(&self) {
        self.gate.acquire().await.unwrap().forget();
    }
}

/// A runtime whose connections all go through a proxy, with one lane and neither polling nor hints: what the test does
/// not cause is not sent.
async fn behind_a_proxy() -> (Fresh, Arc<Site>, Dbos) {
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let (site, builder) = site(&fresh, Some(proxy)).await;
    let builder = builder.polling_interval(HOUR).schedule_poll(HOUR);
    let builder = builder.journal_lanes(1).listen_notify(false);
    let dbos = builder.launch().await.unwrap();
    warm_up_quietly(&dbos, &site).await;
    (fresh, site, dbos)
}

async fn site(fresh: &Fresh, proxy: Option<Proxy>) -> (Arc<Site>, Builder<Arc<Site>>) {
    let table = match fresh.backend() {
        Backend::Sqlite => "CREATE TABLE orders (id TEXT PRIMARY KEY, n BIGINT NOT NULL)",
        Backend::Postgres => "CREATE TABLE public.orders (id TEXT PRIMARY KEY, n BIGINT NOT NULL)",
    };
    fresh.execute(table).await;
    let url = proxy.as_ref().map_or_else(|| fresh.url().to_owned(), |proxy| proxy.url(fresh.url()));
    let db = Datasource::connect(&url).await.unwrap();
    let site = Arc::new(Site { proxy, db, gate: Semaphore::new(0), calls: AtomicU32::new(0) });
    let builder = harness::builder(fresh).database_url(url).state(Arc::clone(&site));
    let builder = builder.register(counted).register(inbox).register(buys).register(two_steps);
    (site, builder)
}

/// Repeats what a runtime without patience may give up on a slow machine.
async fn sure<T>(call: impl AsyncFn() -> Result<T, Error>) -> T {
    let calls = async {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    };
    tokio::time::timeout(harness::PATIENCE, calls).await.expect("the database is there")
}

/// Has every kind of connection made, and the datasource find out where it is.
async fn warm_up(dbos: &Dbos, site: &Site) {
    let stepped = sure(async || dbos.start(counted, ()).id("warm-up-step").await).await;
    sure(async || stepped.result().await).await;
    let bought = sure(async || dbos.start(buys, "warm-up".to_owned()).id("warm-up").await).await;
    sure(async || bought.result().await).await;
    sure(async || dbos.ping().await).await;
    site.calls.store(0, Ordering::SeqCst);
}

/// The same for a runtime that does not poll: afterwards it has said all that it says by itself.
async fn warm_up_quietly(dbos: &Dbos, site: &Site) {
    let looks = || {
        let messages = site.proxy().client_messages();
        messages.work().iter().filter(|sql| sql.contains("SELECT s.schedule_id")).count()
    };
    harness::until("the schedules are read", async || looks() >= 1).await;
    warm_up(dbos, site).await;
    site.proxy().settle().await;
}

/// One step that counts its calls.
#[workflow]
async fn counted(ctx: Ctx, _: ()) -> Result<u32, Error> {
    let site = Arc::clone(ctx.state());
    ctx.step("count", || async { Ok(site.calls.fetch_add(1, Ordering::SeqCst) + 1) }).await
}

#[workflow]
async fn inbox(ctx: Ctx, topic: String) -> Result<Option<String>, Error> {
    ctx.recv(topic.as_str()).timeout(HOUR).await
}

/// One transaction; a second commit of it would break the primary key.
#[workflow]
async fn buys(ctx: Ctx, order: String) -> Result<u64, Error> {
    let site = Arc::clone(ctx.state());
    let db = site.db.clone();
    ctx.transaction(&db, "buy", async move |tx| {
        site.calls.fetch_add(1, Ordering::SeqCst);
        let insert = sqlx::query("INSERT INTO orders VALUES ($1, 1)").bind(order.as_str());
        Ok(insert.execute(tx).await?.rows_affected())
    })
    .await
}

/// Stops at the gate between two steps.
#[workflow]
async fn two_steps(ctx: Ctx, _: ()) -> Result<u32, Error> {
    let site = Arc::clone(ctx.state());
    let first = ctx.step("first", || async { Ok(1) }).await?;
    site.pass().await;
    let second = ctx.step("second", || async { Ok(2) }).await?;
    Ok(first + second)
}

fn id(text: &str) -> WorkflowId {
    WorkflowId::parse(text).unwrap()
}
