//! The database did it, and the answer was lost (F07, F08): each write has one effect, and nobody hears of it.

use dbos_runtime::{ErrorKind, WorkflowRef};
use harness::proxy::Mode;
use sqlx::Connection as _;

use super::*;

const CASE: WorkflowRef<(), u32, Error> = WorkflowRef::named("case");

/// Runs a workflow that arms the cut itself, and sees that the cut came, once, and that all went well.
pub(super) async fn survives<F, Fut>(body: F) -> (Fresh, Arc<Site>, Dbos)
where
    F: Fn(Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, Error>> + Send + 'static,
{
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = site(&fresh, Some(Proxy::before(fresh.url()).await)).await;
    let builder = builder.polling_interval(HOUR).schedule_poll(HOUR).journal_lanes(1).listen_notify(false);
    let dbos = builder.register_fn("case", move |ctx: Ctx, _: ()| body(ctx)).launch().await.unwrap();
    warm_up_quietly(&dbos, &site).await;
    let result = dbos.start(CASE, ()).id("case").await.unwrap().result().await;
    assert_eq!(result.unwrap(), 7);
    assert_eq!(site.proxy().cuts(), 1, "the answer that was to be lost");
    check_outcome(&fresh).await;
    (fresh, site, dbos)
}

async fn check_outcome(fresh: &Fresh) {
    let outcome = "SELECT count(*) FROM workflow_status w JOIN workflow_output o USING (workflow_uuid) \
         WHERE workflow_uuid = 'case' AND status = 'SUCCESS' AND o.output = '7' AND o.error IS NULL";
    assert_eq!(fresh.scalar(outcome).await, 1);
}

/// Steps of the case by that name, and the steps in all.
pub(super) async fn steps(fresh: &Fresh, name: &str) -> (i64, i64) {
    let all = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'case'";
    (fresh.scalar(&format!("{all} AND function_name = '{name}'")).await, fresh.scalar(all).await)
}

/// Until a step of that name is recorded.
async fn wait_for(fresh: &Fresh, step: &str) {
    let recorded = format!("SELECT count(*) FROM operation_outputs WHERE function_name = '{step}'");
    harness::until("a step is recorded", async || fresh.scalar(&recorded).await == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_recorded_once() {
    let (fresh, site, _dbos) = survives(async |ctx: Ctx| {
        let site = Arc::clone(ctx.state());
        ctx.step("step", || async {
            site.calls.fetch_add(1, Ordering::SeqCst);
            site.proxy().cut_reply_after(1);
            Ok(7)
        })
        .await
    })
    .await;
    assert_eq!((site.calls(), steps(&fresh, "step").await), (1, (1, 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_published_once() {
    let (fresh, _site, dbos) = survives(async |ctx: Ctx| {
        ctx.state().proxy().cut_reply_after(1);
        ctx.set_event("key", &1).await?;
        Ok(7)
    })
    .await;
    assert_eq!(steps(&fresh, "DBOS.setEvent").await, (1, 1));
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_events_history").await, 1);
    assert_eq!(dbos.get_event(&id("case"), "key", Duration::ZERO).await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_sent_and_received_once() {
    let (fresh, _site, _dbos) = survives(async |ctx: Ctx| {
        ctx.state().proxy().cut_reply_after(1);
        ctx.send(ctx.workflow_id(), &7).await?;
        ctx.recv::<u32>(None).timeout(Duration::ZERO).await.map(|message| message.unwrap_or(0))
    })
    .await;
    assert_eq!(steps(&fresh, "DBOS.send").await.0, 1);
    assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_taken_is_not_lost() {
    let (fresh, _site, _dbos) = survives(async |ctx: Ctx| {
        ctx.send(ctx.workflow_id(), &7).await?;
        ctx.send(ctx.workflow_id(), &8).await?;
        ctx.state().proxy().cut_reply_after(1);
        ctx.recv::<u32>(None).timeout(Duration::ZERO).await.map(|message| message.unwrap_or(0))
    })
    .await;
    assert_eq!(steps(&fresh, "DBOS.recv").await.0, 1);
    assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE consumed").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_found_nothing_looks_again() {
    let (fresh, _site, _dbos) = survives(async |ctx: Ctx| {
        ctx.state().proxy().cut_reply_after(1);
        let none = ctx.recv::<u32>(None).timeout(Duration::from_millis(20)).await?;
        Ok(none.map_or(7, |_| 0))
    })
    .await;
    assert_eq!(steps(&fresh, "DBOS.recv").await, (1, 2), "the receive and its deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleep_is_recorded_once() {
    let (fresh, _site, _dbos) = survives(async |ctx: Ctx| {
        ctx.state().proxy().cut_reply_after(1);
        ctx.sleep(Duration::from_millis(1)).await?;
        Ok(7)
    })
    .await;
    assert_eq!(steps(&fresh, "DBOS.sleep").await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_is_started_once_and_runs() {
    let (fresh, site, _dbos) = survives(async |ctx: Ctx| {
        ctx.state().proxy().cut_reply_after(1);
        let child = ctx.start(counted, ()).await?;
        Ok(child.result().await? + 6)
    })
    .await;
    assert_eq!((site.calls(), steps(&fresh, "counted").await), (1, (1, 2)));
    assert_eq!(
        fresh.scalar("SELECT count(*) FROM workflow_status WHERE parent_workflow_id = 'case'").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_is_the_one_that_was_recorded() {
    survives(async |ctx: Ctx| {
        ctx.state().proxy().cut_reply_after(1);
        Ok(7)
    })
    .await;
}

// The body must not run again over its own rows: here it would break the primary key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_transaction_is_found_and_not_repeated() {
    let (fresh, site, _dbos) = survives(async |ctx: Ctx| {
        let site = Arc::clone(ctx.state());
        let db = site.db.clone();
        let bought = ctx.transaction(&db, "buy", async move |tx: &mut sqlx::AnyConnection| {
            site.calls.fetch_add(1, Ordering::SeqCst);
            sqlx::query("INSERT INTO orders VALUES ('one', 1)").execute(tx).await?;
            site.proxy().cut_after_commit();
            Ok::<_, Error>(7)
        });
        bought.await
    })
    .await;
    assert_eq!(steps(&fresh, "buy").await, (1, 1));
    assert_eq!(fresh.scalar("SELECT count(*) FROM orders WHERE id = 'one'").await, 1);
    assert_eq!(site.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_knows_its_own_row_and_runs_once() {
    let (fresh, site, dbos) = behind_a_proxy().await;
    site.proxy().cut_reply_after(1);
    let handle = dbos.start(counted, ()).id("w").await.unwrap();
    assert!(handle.created(), "our own row is not somebody else's");
    assert_eq!(handle.result().await.unwrap(), 1);
    assert_eq!((site.proxy().cuts(), site.calls()), (1, 1));
    assert_eq!(
        fresh.scalar("SELECT recovery_attempts FROM workflow_status WHERE workflow_uuid = 'w'").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_from_outside_knows_its_own_message() {
    let (fresh, site, dbos) = behind_a_proxy().await;
    let waits = dbos.start(inbox, "elsewhere".to_owned()).id("inbox").await.unwrap();
    wait_for(&fresh, "DBOS.sleep").await;
    site.proxy().settle().await;
    site.proxy().cut_reply_after(1);
    let new = dbos.send(waits.id(), "hello").topic("t").await.unwrap();
    assert_eq!(site.proxy().cuts(), 1);
    assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 1);
    assert!(new, "a message without a key is never a duplicate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_is_done_though_its_answer_was_lost() {
    let (fresh, site, dbos) = behind_a_proxy().await;
    let waits = dbos.start(inbox, "t".to_owned()).id("inbox").await.unwrap();
    wait_for(&fresh, "DBOS.sleep").await;
    site.proxy().settle().await;
    site.proxy().cut_reply_after(1);
    dbos.cancel(waits.id()).await.unwrap();
    assert_eq!(site.proxy().cuts(), 1);
    assert_eq!(waits.result().await.unwrap_err().kind(), ErrorKind::AwaitedWorkflowCancelled);
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'CANCELLED'").await, 1);
}

// The server has the statement and goes on with it after its client is gone; the engine sends it again meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_the_middle_of_a_write_leaves_one_record() {
    let (fresh, site, dbos) = behind_a_proxy().await;
    let handle = dbos.start(two_steps, ()).id("case").await.unwrap();
    harness::until("the first step", async || steps(&fresh, "first").await.0 == 1).await;
    let mut rival = sqlx::PgConnection::connect(fresh.url()).await.unwrap();
    let mut lock = rival.begin().await.unwrap();
    sqlx::query("LOCK TABLE dbos.operation_outputs IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    site.gate.add_permits(1);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    harness::until("the write waits", async || fresh.scalar(waiting).await == 1).await;
    site.proxy().reset_all();
    harness::until("it waits twice", async || fresh.scalar(waiting).await == 2).await;
    lock.rollback().await.unwrap();
    assert_eq!(handle.result().await.unwrap(), 3);
    assert_eq!(steps(&fresh, "second").await, (1, 2));
}

// The rows are taken, and nobody runs them: the claim is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_leaves_nothing_behind() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (site, builder) = site(&fresh, Some(Proxy::before(fresh.url()).await)).await;
    let builder = builder.polling_interval(HOUR).schedule_poll(HOUR).journal_lanes(1).listen_notify(false);
    let builder = builder.register_fn("case", async |ctx: Ctx, _: ()| {
        ctx.step("step", async || {
            ctx.state().calls.fetch_add(1, Ordering::SeqCst);
            Ok(7)
        })
        .await
    });
    let dbos = builder.queue(dbos_runtime::Queue::new("q")).launch().await.unwrap();
    warm_up_quietly(&dbos, &site).await;
    // Of the start, then of the claim.
    site.proxy().cut_reply_after(2);
    let handle = dbos.start(CASE, ()).queue("q").id("case").timeout(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), 7);
    assert_eq!(site.proxy().cuts(), 1, "the answer that was to be lost");
    check_outcome(&fresh).await;
    let given = "SELECT workflow_deadline_epoch_ms - started_at_epoch_ms FROM workflow_status WHERE workflow_uuid = 'case'";
    assert_eq!(fresh.scalar(given).await, 3_600_000, "its time runs from the claim that ran it");
    let attempts = "SELECT recovery_attempts FROM workflow_status WHERE workflow_uuid = 'case'";
    assert_eq!((site.calls(), fresh.scalar(attempts).await), (1, 1));
}

// L.339: asked again until it is answered, and recorded once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_a_workflow_is_recorded_with_its_answer() {
    let (fresh, _site, _dbos) = survives(async |ctx: Ctx| {
        ctx.state().proxy().cut_reply_after(1);
        let report = ctx.workflows().cancel(["nobody"]).await?;
        Ok(if report.missing.len() == 1 { 7 } else { 0 })
    })
    .await;
    assert_eq!(steps(&fresh, "DBOS.cancelWorkflow").await, (1, 1));
    assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE error IS NOT NULL").await, 0);
}

// What happened to a workflow while its start was not answered is not undone by the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_somebody_elses_by_now_does_not_run_here() {
    let gone = ["status = 'CANCELLED', owner_xid = NULL", "executor_id = 'peer', owner_xid = 'peer'"];
    for (n, change) in gone.into_iter().enumerate() {
        let (fresh, site, dbos) = behind_a_proxy().await;
        site.proxy().settle().await;
        site.proxy().cut_reply_after(1);
        // The write is not tried again before the test says so.
        site.proxy().set_mode(Mode::RefuseNew);
        let starting = async { dbos.start(counted, ()).id("w").await.unwrap() };
        let meanwhile = async {
            harness::until("the answer is lost", async || site.proxy().cuts() == 1).await;
            fresh
                .execute(&format!("UPDATE dbos.workflow_status SET {change} WHERE workflow_uuid = 'w'"))
                .await;
            let owned = "SELECT count(*) FROM workflow_status WHERE owner_xid IS NULL OR owner_xid = 'peer'";
            assert_eq!(fresh.scalar(owned).await, 3, "and the two of the warm-up");
            site.proxy().set_mode(Mode::Pass);
        };
        let (handle, ()) = tokio::join!(starting, meanwhile);
        assert!(handle.created(), "it was this start all the same");
        if n == 1 {
            let status =
                "SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'w' AND status = 'PENDING'";
            assert_eq!(fresh.scalar(status).await, 1, "it waits for the peer");
            dbos.cancel(handle.id()).await.unwrap();
        }
        assert_eq!(handle.result().await.unwrap_err().kind(), ErrorKind::AwaitedWorkflowCancelled);
        assert_eq!((site.calls(), dbos.runtime_metrics().running), (0, 0));
    }
}
