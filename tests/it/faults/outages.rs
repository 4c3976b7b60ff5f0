//! The database is away: calls from outside say so soon, workflows wait, and nothing is lost.

use dbos_runtime::{WorkflowHandle, WorkflowStatus};
use harness::proxy::Mode;
use sqlx::{PgConnection, Postgres};
use tokio::time::{Instant, timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(1);
/// What a busy machine may add to it. Who does not give up waits for ever.
const SOON: Duration = harness::PATIENCE;

async fn impatient() -> (Fresh, Arc<Site>, Dbos) {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = site(&fresh, Some(Proxy::before(fresh.url()).await)).await;
    let dbos = builder.patience(PATIENCE).journal_lanes(1).launch().await.unwrap();
    warm_up(&dbos, &site).await;
    (fresh, site, dbos)
}

async fn two_steps_of(dbos: &Dbos, id: &str) -> WorkflowHandle<u32> {
    sure(async || dbos.start(two_steps, ()).id(id).await).await
}

/// Ends every session, and lets nobody in.
async fn take_away(fresh: &Fresh, site: &Site) {
    site.proxy().set_mode(Mode::RefuseNew);
    site.proxy().reset_all();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    harness::until("the sessions are gone", async || fresh.scalar(sessions).await == 0).await;
}

/// The kind of error that a call ends with, within the patience.
async fn gives_up<T, E: std::fmt::Debug>(
    call: impl IntoFuture<Output = Result<T, E>>,
    kind: impl FnOnce(E) -> ErrorKind,
) {
    let begun = Instant::now();
    let ended = timeout(SOON, call.into_future()).await.expect("the call never gives up");
    assert_eq!(ended.map(drop).map_err(kind), Err(ErrorKind::Unavailable), "after {:?}", begun.elapsed());
}

/// A test for each call: one that never gives up must not hide the others.
macro_rules! unavailable_soon {
    ($($name:ident: |$dbos:ident, $handle:ident| $call:expr;)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (fresh, site, $dbos) = impatient().await;
            let $handle = two_steps_of(&$dbos, "there").await;
            take_away(&fresh, &site).await;
            gives_up($call, |error: Error| error.kind()).await;
            site.proxy().set_mode(Mode::Pass);
            harness::until("it answers again", async || $dbos.ping().await.is_ok()).await;
            site.gate.add_permits(1);
            assert_eq!(sure(async || $handle.result().await).await, 3);
        }
    )* };
}

unavailable_soon! {
    a_start_gives_up: |dbos, handle| dbos.start(counted, ());
    a_send_gives_up: |dbos, handle| dbos.send(handle.id(), "x");
    a_status_gives_up: |dbos, handle| handle.status();
    a_look_at_a_result_gives_up: |dbos, handle| handle.try_result();
    a_retrieve_gives_up: |dbos, handle| dbos.retrieve::<u32, Error>("elsewhere");
    an_info_gives_up: |dbos, handle| dbos.info("there");
    a_read_of_an_event_gives_up: |dbos, handle| dbos.get_event::<u32>(handle.id(), "key", HOUR);
    a_read_of_all_events_gives_up: |dbos, handle| dbos.get_all_events(handle.id());
    a_cancel_gives_up: |dbos, handle| dbos.cancel(handle.id());
    a_ping_gives_up: |dbos, handle| dbos.ping();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_an_event_ends_with_its_time_limit() {
    let (fresh, site, dbos) = impatient().await;
    let there = two_steps_of(&dbos, "there").await;
    let waiting = dbos.get_event::<u32>(there.id(), "key", Duration::from_millis(400));
    let taking = async {
        harness::until("a step", async || fresh.scalar("SELECT count(*) FROM operation_outputs").await == 3)
            .await;
        take_away(&fresh, &site).await;
    };
    let (ended, ()) =
        timeout(SOON, async { tokio::join!(waiting, taking) }).await.expect("the wait never ends");
    assert!(matches!(&ended, Ok(None)) || ended.is_err_and(|error| error.kind() == ErrorKind::Unavailable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_expired_unsent_is_not_applied_later() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = site(&fresh, Some(Proxy::before(fresh.url()).await)).await;
    // Nobody but the lane connects by itself.
    let builder = builder.polling_interval(HOUR).schedule_poll(HOUR).listen_notify(false);
    let dbos = builder.patience(PATIENCE).journal_lanes(1).launch().await.unwrap();
    warm_up(&dbos, &site).await;
    let waits = two_steps_of(&dbos, "waits").await;
    let steps = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'waits'";
    harness::until("its first step", async || fresh.scalar(steps).await == 1).await;
    take_away(&fresh, &site).await;
    let refused = site.proxy().refused();
    // The second step finds the connection dead and is tried from now on; the start stands behind it.
    site.gate.add_permits(1);
    harness::until("the workflow goes on", async || site.gate.available_permits() == 0).await;
    harness::until("its write is tried again", async || site.proxy().refused() >= refused + 2).await;
    gives_up(dbos.start(counted, ()).id("expired"), |error| error.kind()).await;
    site.proxy().set_mode(Mode::Pass);
    assert_eq!(timeout(SOON, waits.result()).await.unwrap().unwrap(), 3);
    // Through the same lane, so it comes after whatever was left there.
    let later = sure(async || dbos.start(counted, ()).id("later").await).await;
    sure(async || later.result().await).await;
    let rows = "SELECT count(*) FROM workflow_status WHERE workflow_uuid IN ('expired', 'later')";
    assert_eq!((fresh.scalar(rows).await, site.calls()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_wait_and_go_on_when_it_is_back() {
    let (fresh, site, dbos) = impatient().await;
    let receives = sure(async || dbos.start(inbox, "t".to_owned()).id("receives").await).await;
    let mut handles = Vec::new();
    for n in 0..5 {
        handles.push(two_steps_of(&dbos, &format!("w{n}")).await);
    }
    let steps = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid LIKE 'w_'";
    harness::until("all first steps", async || fresh.scalar(steps).await == 5).await;
    take_away(&fresh, &site).await;
    site.gate.add_permits(5);
    harness::until("all go on", async || site.gate.available_permits() == 0).await;
    assert_eq!(fresh.scalar(steps).await, 5, "nothing gets through");
    site.proxy().set_mode(Mode::Pass);
    for handle in &handles {
        assert_eq!(sure(async || handle.result().await).await, 3);
    }
    assert_eq!(fresh.scalar(steps).await, 10);
    harness::until("it answers", async || dbos.ping().await.is_ok()).await;
    sure(async || dbos.send(receives.id(), "back").topic("t").idempotency_key("back").await).await;
    assert_eq!(sure(async || receives.result().await).await.as_deref(), Some("back"));
    assert_eq!(sure(async || receives.status().await).await.status, Some(WorkflowStatus::Success));
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status <> 'SUCCESS'").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_waits_out_an_outage_also_as_the_first_one() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = site(&fresh, Some(Proxy::before(fresh.url()).await)).await;
    // A pool that does not try its connections before it hands them out.
    let db = Datasource::<Postgres>::connect(&site.proxy().url(fresh.url())).await.unwrap();
    let late = move |ctx: Ctx, _: ()| late(ctx, db.clone());
    let dbos = builder.register_fn("late", late).launch().await.unwrap();
    let handle = dbos.start(dbos_runtime::WorkflowRef::<(), u64>::named("late"), ()).await.unwrap();
    // Every connection that stands is dead, and nobody has noticed.
    site.proxy().reset_all();
    site.gate.add_permits(1);
    assert_eq!(handle.result().await.unwrap(), 1);
    assert_eq!(fresh.scalar("SELECT count(*) FROM orders").await, 1);
}

async fn late(ctx: Ctx, db: Datasource<Postgres>) -> Result<u64, Error> {
    ctx.state().pass().await;
    ctx.transaction(&db, "buy", async |tx: &mut PgConnection| {
        Ok(sqlx::query("INSERT INTO orders VALUES ('late', 1)").execute(tx).await?.rows_affected())
    })
    .await
}

// Twelve seconds, because the engine's own deadline is ten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_is_left_after_the_deadline() {
    let (fresh, site, dbos) = behind_a_proxy().await;
    let handle = dbos.start(two_steps, ()).id("w").await.unwrap();
    let steps = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'w'";
    harness::until("its first step", async || fresh.scalar(steps).await == 1).await;
    site.proxy().set_mode(Mode::BlackHole);
    site.gate.add_permits(1);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(fresh.scalar(steps).await, 1, "nothing got through");
    site.proxy().set_mode(Mode::Pass);
    assert_eq!(timeout(SOON, handle.result()).await.expect("it goes on").unwrap(), 3);
    // What the black hole held has arrived by now, as well as the second try.
    assert_eq!(fresh.scalar(steps).await, 2);
}
