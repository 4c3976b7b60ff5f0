//! The locks that name the living: who has which, and what happens without.

use harness::proxy::{Mode, Proxy};
use sqlx::{Connection as _, PgConnection};

use super::*;

/// The lock that a workflow's owner holds, as the row names it.
async fn lock_of(fresh: &Fresh, id: &str) -> i64 {
    fresh
        .scalar(&format!(
            "SELECT split_part(owner_xid, '@', 2) FROM workflow_status WHERE workflow_uuid = '{id}'"
        ))
        .await
}

/// The server process of the session that holds that lock.
async fn holder(fresh: &Fresh, lock: i64) -> Option<i64> {
    let sql = format!(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::int8 << 32) | objid::int8 = {lock}"
    );
    let rows = fresh.query(&sql).await;
    assert!(rows.len() <= 1, "two sessions hold one lock");
    rows.into_iter().flatten().flatten().next().map(|pid| pid.parse().unwrap())
}

pub(super) async fn end_session(fresh: &Fresh, pid: i64) {
    assert_eq!(fresh.query(&format!("SELECT pg_terminate_backend({pid})")).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_without_a_name_take_the_first_free_one() {
    let (fresh, calls) = postgres().await;
    let named = builder(&fresh, &calls).executor_id("executor-2").launch().await.unwrap();
    let (one, three) = (launch(&fresh, &calls).await, launch(&fresh, &calls).await);
    assert_eq!((one.executor_id(), three.executor_id()), ("executor-1", "executor-3"));
    // Other applications have names of their own.
    let other =
        Dbos::builder("others").database_url(fresh.url()).application_version("o").launch().await.unwrap();
    assert_eq!(other.executor_id(), "executor-1");
    kill(one).await;
    let again = launch(&fresh, &calls).await;
    assert_eq!(again.executor_id(), "executor-1", "free since its holder ended");
    let off = builder(&fresh, &calls).peer_recovery(false).launch().await.unwrap();
    assert_eq!(off.executor_id(), "local");
    join_all([named, three, other, again, off].map(kill)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_processes_that_launch_at_once_have_twenty_names() {
    let (fresh, calls) = postgres().await;
    let all = join_all((0..20).map(|_| launch(&fresh, &calls))).await;
    let mut names: Vec<_> = all.iter().map(|dbos| dbos.executor_id().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 20, "{names:?}");
    join_all(all.into_iter().map(kill)).await;
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(fresh.scalar(held).await, 0, "a shutdown lets go of everything");
}

// F31, K03: a rolling restart under one configured name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_name_keep_their_own_work_until_one_ends() {
    let (fresh, calls) = postgres().await;
    let named = || builder(&fresh, &calls).executor_id("pod");
    let old = named().launch().await.unwrap();
    start(&fresh, &old, "old", 3).await;
    let new = named().launch().await.unwrap();
    start(&fresh, &new, "new", 3).await;
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE recovery_attempts = 1").await, 6);
    kill(old).await;
    until_taken_up(&fresh, "old", 3).await;
    assert_eq!(facts(&fresh, "new0").await, "PENDING 1 v1");
    // The other way round: what the later one leaves is not stranded by the earlier one's having had the name first.
    let last = named().launch().await.unwrap();
    kill(new).await;
    until_taken_up(&fresh, "new", 3).await;
    finish(&last, "new", 3).await;
    finish(&last, "old", 3).await;
    assert_eq!(calls.load(SeqCst), 6);
    kill(last).await;
}

// A restart need not wait for a look: what is free is recovered at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_of_a_name_recovers_at_launch() {
    let (fresh, calls) = postgres().await;
    let never = || builder(&fresh, &calls).polling_interval(Duration::from_secs(3600));
    let dies = never().launch().await.unwrap();
    start(&fresh, &dies, "w", 3).await;
    kill(dies).await;
    let again = never().launch().await.unwrap();
    until_taken_up(&fresh, "w", 3).await;
    finish(&again, "w", 3).await;
    kill(again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lock_is_taken_back() {
    let (fresh, calls) = postgres().await;
    let dbos = launch(&fresh, &calls).await;
    start(&fresh, &dbos, "w", 1).await;
    let lock = lock_of(&fresh, "w0").await;
    let before = holder(&fresh, lock).await.expect("it holds its lock");
    end_session(&fresh, before).await;
    until("another session holds it", async || holder(&fresh, lock).await.is_some_and(|now| now != before))
        .await;
    finish(&dbos, "w", 1).await;
    assert_eq!(facts(&fresh, "w0").await, "SUCCESS 1 v1");
    kill(dbos).await;
}

// F30: declared dead by mistake, it takes no work, and what it ran is another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_lost_its_lock_claims_nothing_until_it_is_back_and_what_it_ran_is_another_s() {
    let (fresh, calls) = postgres().await;
    let proxy = Proxy::before(fresh.url()).await;
    let alive = builder(&fresh, &calls).database_url(proxy.url(fresh.url())).launch().await.unwrap();
    start(&fresh, &alive, "w", 3).await;
    let lock = lock_of(&fresh, "w0").await;
    // Its other sessions stay; only the one that holds the lock is begun anew, as soon as its end is known.
    proxy.set_mode(Mode::RefuseNew);
    // Somebody else stands in its place, so that it cannot come back yet.
    let mut rival = PgConnection::connect(fresh.url()).await.unwrap();
    let in_line = sqlx::query("SELECT pg_advisory_lock($1)").bind(lock);
    let session = holder(&fresh, lock).await.unwrap();
    let (taken, ()) = tokio::join!(in_line.execute(&mut rival), async {
        let waiting = format!(
            "pg_locks WHERE locktype = 'advisory' AND NOT granted AND (classid::int8 << 32) | objid::int8 = {lock}"
        );
        until_rows(&fresh, 1, &waiting).await;
        end_session(&fresh, session).await;
    });
    taken.unwrap();
    until("it knows", async || proxy.refused() > 0).await;
    proxy.set_mode(Mode::Pass);
    // To the others it looks alive for as long as its lock is held by anybody.
    let slow = builder(&fresh, &calls).polling_interval(Duration::from_millis(400)).launch().await.unwrap();
    let enqueue = "UPDATE workflow_status SET status = 'ENQUEUED', owner_xid = NULL, queue_name = '_dbos_internal_queue'";
    fresh.execute(enqueue).await;
    until_taken_up(&fresh, "w", 3).await;
    let claimed_by = format!("workflow_status WHERE executor_id = '{}'", slow.executor_id());
    until_rows(&fresh, 3, &claimed_by).await;
    finish(&slow, "w", 3).await;
    rival.close().await.unwrap();

    until("it is back", async || holder(&fresh, lock).await.is_some()).await;
    kill(slow).await;
    fresh
        .execute(
            "UPDATE workflow_status SET status = 'PENDING', completed_at = NULL; DELETE FROM workflow_output",
        )
        .await;
    fresh.execute(enqueue).await;
    until_rows(&fresh, 3, "workflow_status WHERE status = 'SUCCESS' AND recovery_attempts = 3").await;
    assert_eq!(calls.load(SeqCst), 3);
    kill(alive).await;
}

// F30: while it is held for dead, its peers take its work up; it learns of that and stops, and both agree on the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_held_for_dead_while_it_lives_loses_its_work_and_nothing_else() {
    let (fresh, calls) = postgres().await;
    let proxy = Proxy::before(fresh.url()).await;
    let alive = builder(&fresh, &calls).database_url(proxy.url(fresh.url()));
    let alive = alive.polling_interval(Duration::from_secs(3600)).launch().await.unwrap();
    start(&fresh, &alive, "w", 5).await;
    let lock = lock_of(&fresh, "w0").await;
    let peer = launch(&fresh, &calls).await;
    // Its session ends, and it gets no other, while those that it works with stay. So the peer misses it at every look.
    proxy.set_mode(Mode::RefuseNew);
    end_session(&fresh, holder(&fresh, lock).await.expect("it holds its lock")).await;
    until_taken_up(&fresh, "w", 5).await;
    proxy.set_mode(Mode::Pass);
    let handle = alive.retrieve::<String, Error>("w0").await.unwrap();
    finish(&peer, "w", 5).await;
    assert_eq!(handle.result().await.unwrap(), "on", "the one that was held for dead adopts the outcome");
    assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, 15);
    assert_eq!(calls.load(SeqCst), 5);
    // It is as good as any other once it has its lock again.
    until("it is back", async || holder(&fresh, lock).await.is_some()).await;
    start(&fresh, &alive, "later", 1).await;
    finish(&alive, "later", 1).await;
    join_all([alive, peer].map(kill)).await;
}
