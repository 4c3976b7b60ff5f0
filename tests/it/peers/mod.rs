//! Processes that share a Postgres notice each other's death, and go on with what the dead have left.

mod locks;
mod processes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use dbos_runtime::{Builder, Ctx as RuntimeCtx, Dbos, Error, WorkflowId, WorkflowRef};
use futures_util::future::join_all;
use harness::{Backend, Fresh, until};

type Ctx = RuntimeCtx<Calls, Error>;
type Calls = Arc<AtomicU32>;

const W: WorkflowRef<(), String> = WorkflowRef::named("w");

/// One recorded step, then a wait for the message that lets the workflow end.
async fn waits(ctx: Ctx, (): ()) -> Result<String, Error> {
    let calls = Arc::clone(ctx.state());
    ctx.step("once", || async {
        calls.fetch_add(1, SeqCst);
        Ok(())
    })
    .await?;
    let word = ctx.recv::<String>("go").timeout(Duration::from_secs(3600)).await?;
    Ok(word.unwrap_or_default())
}

/// A process that is known to its peers, and looks for them four times a second.
fn builder(fresh: &Fresh, calls: &Calls) -> Builder<Calls> {
    let builder = harness::builder(fresh).peer_recovery(true).polling_interval(Duration::from_millis(60));
    builder.state(Arc::clone(calls)).register_fn("w", waits)
}

async fn launch(fresh: &Fresh, calls: &Calls) -> Dbos {
    builder(fresh, calls).launch().await.unwrap()
}

/// Starts workflows `<prefix>0`, `<prefix>1`, … and waits until all of them wait.
async fn start(fresh: &Fresh, dbos: &Dbos, prefix: &str, many: usize) {
    join_all((0..many).map(|n| dbos.start(W, ()).id(format!("{prefix}{n}")).into_future())).await;
    let waiting = format!("operation_outputs WHERE workflow_uuid LIKE '{prefix}%' AND function_id = 3");
    until_rows(fresh, many, &waiting).await;
}

/// Ends a process in the middle of its work.
async fn kill(dbos: Dbos) {
    dbos.shutdown(Duration::ZERO).await;
}

async fn until_rows(fresh: &Fresh, rows: usize, from: &str) {
    let (sql, rows) = (format!("SELECT count(*) FROM {from}"), i64::try_from(rows).unwrap());
    until(&sql, async || fresh.scalar(&sql).await == rows).await;
}

/// Waits until so many of them run in another process than they began in, and in their second dispatch.
async fn until_taken_up(fresh: &Fresh, prefix: &str, many: usize) {
    let taken = "status = 'PENDING' AND recovery_attempts = 2";
    until_rows(fresh, many, &format!("workflow_status WHERE workflow_uuid LIKE '{prefix}%' AND {taken}"))
        .await;
}

/// Status, dispatches and version of a workflow.
async fn facts(fresh: &Fresh, id: &str) -> String {
    let columns = "status AS a, recovery_attempts AS b, application_version AS c";
    let sql = format!("SELECT {columns} FROM workflow_status WHERE workflow_uuid = '{id}'");
    fresh.query(&sql).await.remove(0).into_iter().flatten().collect::<Vec<_>>().join(" ")
}

async fn finish(dbos: &Dbos, prefix: &str, many: usize) {
    for n in 0..many {
        let id = WorkflowId::parse(format!("{prefix}{n}")).unwrap();
        dbos.send(&id, "on").topic("go").await.unwrap();
        let handle = dbos.retrieve::<String, Error>(&id).await.unwrap();
        assert_eq!(handle.result().await.unwrap(), "on", "{id}");
    }
}

async fn postgres() -> (Fresh, Calls) {
    (harness::fresh(Backend::Postgres).await, Calls::default())
}

// F29: each of eight notices, and one puts the work back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_peers_that_notice_a_death_one_puts_the_work_back_and_it_runs_once() {
    const MANY: usize = 40;
    let (fresh, calls) = postgres().await;
    let dies = launch(&fresh, &calls).await;
    start(&fresh, &dies, "w", MANY).await;
    let peers = join_all((0..8).map(|_| launch(&fresh, &calls))).await;
    kill(dies).await;
    until_taken_up(&fresh, "w", MANY).await;
    finish(&peers[0], "w", MANY).await;
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE recovery_attempts = 2").await, 40);
    assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, 40 * 3);
    assert_eq!(calls.load(SeqCst), 40, "a recorded step never runs again");
    join_all(peers.into_iter().map(kill)).await;
}

// C72: it goes back on its queue, and waits there for its own version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_dead_process_of_another_version_waits_for_a_process_of_its_own() {
    let (fresh, calls) = postgres().await;
    let old = launch(&fresh, &calls).await;
    start(&fresh, &old, "w", 1).await;
    let new = builder(&fresh, &calls).application_version("v2").launch().await.unwrap();
    kill(old).await;
    until_rows(
        &fresh,
        1,
        "workflow_status WHERE status = 'ENQUEUED' AND queue_name = '_dbos_internal_queue'",
    )
    .await;
    assert_eq!(facts(&fresh, "w0").await, "ENQUEUED 1 v1");
    let again = launch(&fresh, &calls).await;
    until_taken_up(&fresh, "w", 1).await;
    finish(&again, "w", 1).await;
    assert_eq!(facts(&fresh, "w0").await, "SUCCESS 2 v1");
    join_all([new, again].map(kill)).await;
}

// C69, C73: executors of other languages, other applications, and those that do not take part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_take_part_is_left_alone() {
    let (fresh, calls) = postgres().await;
    let stranger =
        builder(&fresh, &calls).peer_recovery(false).executor_id("stranger").launch().await.unwrap();
    start(&fresh, &stranger, "stranger", 1).await;
    let mute = builder(&fresh, &calls).listen_notify(false).executor_id("mute").launch().await.unwrap();
    start(&fresh, &mute, "mute", 1).await;
    let other = Dbos::builder("others").database_url(fresh.url()).application_version("other");
    let other = other.state(Arc::clone(&calls)).register_fn("w", waits).launch().await.unwrap();
    start(&fresh, &other, "other", 1).await;
    let foreign = "INSERT INTO workflow_status (workflow_uuid, status, name, executor_id, application_version, \
         application_name, recovery_attempts, owner_xid) VALUES \
         ('foreign0', 'PENDING', 'w', 'local', 'v1', 'tests', 1, '7f1c3e1e-6d2a-4a39-9a55-0d5f7f3b8f10'), \
         ('foreign1', 'PENDING', 'w', 'local', 'v1', 'tests', 1, 'someone@somewhere'), \
         ('foreign2', 'PENDING', 'w', 'local', 'v1', 'tests', 1, NULL)";
    fresh.execute(foreign).await;
    join_all([stranger, mute, other].map(kill)).await;

    // Two deaths one after the other: between them everybody has been looked at twice.
    let peer = launch(&fresh, &calls).await;
    for prefix in ["first", "second"] {
        let dies = launch(&fresh, &calls).await;
        start(&fresh, &dies, prefix, 1).await;
        kill(dies).await;
        until_taken_up(&fresh, prefix, 1).await;
    }
    for id in ["stranger0", "mute0", "foreign0", "foreign1", "foreign2"] {
        assert_eq!(facts(&fresh, id).await, "PENDING 1 v1", "{id}");
    }
    assert_eq!(facts(&fresh, "other0").await, "PENDING 1 other");
    kill(peer).await;
}

// Turned off on the other side: it judges nobody either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_the_switch_off_takes_nothing_up() {
    let (fresh, calls) = postgres().await;
    let dies = launch(&fresh, &calls).await;
    start(&fresh, &dies, "w", 1).await;
    let off = builder(&fresh, &calls).peer_recovery(false).executor_id("off").launch().await.unwrap();
    kill(dies).await;
    // Longer than a peer would need: three looks.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(facts(&fresh, "w0").await, "PENDING 1 v1");
    let peer = launch(&fresh, &calls).await;
    until_taken_up(&fresh, "w", 1).await;
    join_all([off, peer].map(kill)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_process_is_local_and_recovers_its_own_work_alone() {
    let (fresh, calls) = (harness::fresh(Backend::Sqlite).await, Calls::default());
    let dies = launch(&fresh, &calls).await;
    assert_eq!(dies.executor_id(), "local");
    start(&fresh, &dies, "w", 1).await;
    let other = builder(&fresh, &calls).executor_id("other").launch().await.unwrap();
    kill(dies).await;
    // Several looks, and nobody else puts it back.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(facts(&fresh, "w0").await, "PENDING 1 v1");
    // Once it is back on its queue either of the two may run it.
    let again = launch(&fresh, &calls).await;
    until_taken_up(&fresh, "w", 1).await;
    join_all([other, again].map(kill)).await;
}
