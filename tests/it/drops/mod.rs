//! Every future of the public API, dropped after each of its polls (F09, K52): what a timeout, a `select!` or a client
//! that hangs up does to it. Nothing acknowledged is lost, nothing is left open, nothing is orphaned.

mod calls;
mod verbs;

use std::time::Duration;

use dbos_runtime::{Begun, Ctx as RuntimeCtx, Datasource, Dbos, Error, WorkflowId, workflow};
use harness::drops::drop_after;
use harness::{Backend, Fresh, on_each_backend};
use sqlx::{Any, Connection as _, SqliteConnection};

type Ctx = RuntimeCtx<Datasource<Any>, Error>;

/// More awaits than any call has.
const TOO_MANY: usize = 60;

struct World {
    fresh: Fresh,
    dbos: Dbos,
}

impl World {
    async fn new(fresh: Fresh) -> Self {
        let orders = match fresh.backend() {
            Backend::Sqlite => "CREATE TABLE orders (id TEXT NOT NULL)",
            Backend::Postgres => "CREATE TABLE public.orders (id TEXT NOT NULL)",
        };
        fresh.execute(orders).await;
        let db = Datasource::connect(fresh.url()).await.unwrap();
        let builder =
            harness::builder(&fresh).state(db).register(add).register(parked).register(verbs::dropped);
        // A small pool, so that a connection which is not given back is missed.
        let dbos = builder.pool_size(2).launch().await.unwrap();
        dbos.start(parked, ()).id("parked").await.unwrap();
        Self { fresh, dbos }
    }

    /// Drops the call after 0, 1, 2… polls until it ends by itself; `call` says whether it did. Returns how often it was
    /// dropped.
    async fn sweep(&self, name: &str, call: impl AsyncFn(usize) -> bool) -> usize {
        for polls in 0..TOO_MANY {
            let ended = tokio::time::timeout(harness::PATIENCE, call(polls)).await;
            let ended = ended.unwrap_or_else(|_| panic!("{name} hangs after {polls} polls"));
            self.check_connections(name, polls).await;
            if ended {
                return polls;
            }
        }
        panic!("{name} never ends");
    }

    /// No session is in a transaction that nobody will end, and the others can write.
    async fn check_connections(&self, name: &str, polls: usize) {
        let what = format!("free of open transactions: {name} after {polls} polls");
        harness::until(&what, async || !self.is_held().await).await;
    }

    /// Whether a transaction is open and idle, or holds the file.
    async fn is_held(&self) -> bool {
        match self.fresh.backend() {
            Backend::Postgres => {
                let open = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
                self.fresh.scalar(open).await > 0
            }
            Backend::Sqlite => {
                let mut other = SqliteConnection::connect(self.fresh.url()).await.unwrap();
                sqlx::query("PRAGMA busy_timeout = 100").execute(&mut other).await.unwrap();
                match other.begin_with("BEGIN IMMEDIATE").await {
                    Ok(held) => held.rollback().await.is_err(),
                    Err(_) => true,
                }
            }
        }
    }

    /// The pool still has its connections, and whatever was started has ended.
    async fn check_liveness(&self, name: &str) {
        let still = async {
            for _ in 0..4 {
                self.dbos.ping().await.unwrap();
            }
            let sum = self.dbos.start(add, (1, 2)).await.unwrap().result().await.unwrap();
            assert_eq!(sum, 3);
        };
        tokio::time::timeout(harness::PATIENCE, still).await.unwrap_or_else(|_| panic!("stuck after {name}"));
        let orphans =
            "SELECT count(*) FROM workflow_status WHERE status = 'PENDING' AND workflow_uuid <> 'parked'";
        harness::until(&format!("without orphans: {name}"), async || self.fresh.scalar(orphans).await == 0)
            .await;
    }
}

#[workflow]
async fn add(ctx: Ctx, numbers: (i64, i64)) -> Result<i64, Error> {
    ctx.step("add", || async { Ok(numbers.0 + numbers.1) }).await
}

#[workflow]
async fn parked(ctx: Ctx, _: ()) -> Result<(), Error> {
    ctx.set_event("there", &1).await?;
    ctx.recv::<u32>("never").timeout(Duration::from_secs(3600)).await.map(drop)
}

on_each_backend! {
    async fn an_open_transaction_would_be_seen(fresh: Fresh) {
        let world = World::new(fresh).await;
        world.check_connections("nothing", 0).await;
        let db = Datasource::<Any>::connect(world.fresh.url()).await.unwrap();
        let begin = if world.fresh.backend() == Backend::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        let planted = db.pool().begin_with(begin).await.unwrap();
        assert!(world.is_held().await);
        planted.rollback().await.unwrap();
        world.check_connections("a rollback", 0).await;
    }
}
