//! A datasource behind a network that swallows everything, while the system database is well (F10).

use dbos_runtime::WorkflowRef;
use harness::proxy::Mode;
use sqlx::{PgConnection, Postgres};
use tokio::time::timeout;

use super::*;

const SELLS: WorkflowRef<bool, u64> = WorkflowRef::named("sells");

/// Stops at the gate before its transaction; whether the network then fails within it, is its input.
async fn sells(ctx: Ctx, fails: bool, proxy: Arc<Proxy>, db: Datasource<Postgres>) -> Result<u64, Error> {
    let site = Arc::clone(ctx.state());
    site.pass().await;
    ctx.transaction(&db, "sell", async move |tx: &mut PgConnection| {
        let run = site.calls.fetch_add(1, Ordering::SeqCst);
        let rows =
            sqlx::query("INSERT INTO orders VALUES ($1, 1)").bind(format!("{fails}")).execute(tx).await?;
        if fails && run == 0 {
            proxy.set_mode(Mode::BlackHole);
        }
        Ok(rows.rows_affected())
    })
    .await
}

/// A runtime whose datasource has been used once.
async fn launch() -> (Fresh, Fresh, Arc<Site>, Arc<Proxy>, Dbos) {
    let fresh = harness::fresh(Backend::Postgres).await;
    let application = Fresh::new(Backend::Postgres).await;
    application.execute("CREATE TABLE public.orders (id TEXT PRIMARY KEY, n BIGINT NOT NULL)").await;
    let proxy = Arc::new(Proxy::before(application.url()).await);
    let db = Datasource::<Postgres>::connect(&proxy.url(application.url())).await.unwrap();
    let (site, builder) = site(&fresh, None).await;
    let network = Arc::clone(&proxy);
    let body = move |ctx: Ctx, fails: bool| sells(ctx, fails, Arc::clone(&network), db.clone());
    let dbos = builder.register_fn("sells", body).launch().await.unwrap();
    site.gate.add_permits(1);
    dbos.start(SELLS, false).await.unwrap().result().await.unwrap();
    application.execute("DELETE FROM public.orders").await;
    site.calls.store(0, Ordering::SeqCst);
    (fresh, application, site, proxy, dbos)
}

// Twelve seconds, because the engine's own deadline is ten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_leaves_a_datasource_that_is_swallowed_and_goes_on_when_it_is_back() {
    let (fresh, application, site, proxy, dbos) = launch().await;
    let handle = dbos.start(SELLS, true).id("w").await.unwrap();
    site.gate.add_permits(1);
    harness::until("its first run", async || site.calls() == 1).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(application.scalar("SELECT count(*) FROM orders").await, 0, "nothing got through");
    // What was sent before is lost for good, as is who sent it: the server has heard nothing of the commit.
    proxy.reset_all();
    proxy.set_mode(Mode::Pass);
    assert_eq!(timeout(Duration::from_secs(60), handle.result()).await.expect("it goes on").unwrap(), 1);
    assert_eq!(application.scalar("SELECT count(*) FROM orders").await, 1);
    assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'w'").await, 1);
}
