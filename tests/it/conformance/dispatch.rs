//! The dispatcher under load: long queues, claims that fail, bursts, and what falls due all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dbos_runtime::{Builder, Ctx, Error, Queue, Timestamp};
use harness::{Backend, Fresh, on_each_backend, until};

use super::gauge::{Gauge, JOB};
use super::scene::crash;

const NO_POLL: Duration = Duration::from_secs(60);

/// So many jobs on queue `q`, by plain SQL, the first of them called 1; `key` is the partition as SQL, of the job's number `n`.
async fn waiting(fresh: &Fresh, jobs: u32, key: &str) {
    let sql = format!(
        "INSERT INTO workflow_status (workflow_uuid, status, name, queue_name, inputs, serialization, application_name,
            application_version, queue_partition_key, created_at, updated_at)
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {jobs})
         SELECT 'w' || n, 'ENQUEUED', 'job', 'q', '{{\"positionalArgs\":[\"\"]}}', 'portable_json', 'tests', 'v1', {key}, n, n
         FROM numbers"
    );
    fresh.execute(&sql).await;
}

/// Jobs that do nothing, counted.
fn counting(fresh: &Fresh) -> (Arc<AtomicUsize>, Builder<()>) {
    let started = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&started);
    let builder = harness::builder(fresh).register_fn("job", move |_: Ctx, name: String| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, Error>(name) }
    });
    (started, builder)
}

const ENQUEUED: &str = "SELECT count(*) FROM workflow_status WHERE status = 'ENQUEUED'";
const CANCELLED: &str = "SELECT count(*) FROM workflow_status WHERE status = 'CANCELLED'";

on_each_backend! {
    // K43, K.266: the other queues, what is due and a pause all come between two claims.
    async fn a_long_queue_holds_up_neither_the_others_nor_its_own_pause(fresh: Fresh) {
        const JOBS: u32 = 30_000;
        waiting(&fresh, JOBS, "NULL").await;
        let (started, builder) = counting(&fresh);
        let dbos = builder.queue(Queue::new("q")).queue(Queue::new("other")).launch().await.unwrap();
        until("the first run", async || started.load(Ordering::SeqCst) > 0).await;
        fresh.execute("INSERT INTO workflow_status (workflow_uuid, status, name, application_name, workflow_deadline_epoch_ms)
            VALUES ('due', 'PENDING', 'job', 'tests', 1)").await;
        let other = dbos.start(JOB, "other".to_owned()).queue("other").await.unwrap();
        assert_eq!(other.result().await.unwrap(), "other");
        until("what is due is cancelled", async || fresh.scalar(CANCELLED).await == 1).await;
        let left = fresh.scalar(ENQUEUED).await;
        assert!(left > 0, "the others came after all of it");
        dbos.queues().update("q", |queue| queue.concurrency(0)).await.unwrap();
        let paused = started.load(Ordering::SeqCst);
        until("the last have ended", async || {
            fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'PENDING'").await == 0
        }).await;
        assert!(started.load(Ordering::SeqCst) - paused <= 1024 + 256, "it went on");
        assert!(fresh.scalar(ENQUEUED).await > 0);
        crash(&dbos).await;
    }

    // F35: what cannot be claimed together is claimed in smaller portions.
    async fn a_claim_that_is_too_large_is_made_smaller(fresh: Fresh) {
        waiting(&fresh, 40, "NULL").await;
        let too_many = "(SELECT count(*) FROM $s$workflow_status WHERE owner_xid = NEW.owner_xid) > 10";
        fresh.execute(&match fresh.backend() {
            Backend::Sqlite => format!("CREATE TRIGGER refuse AFTER UPDATE ON workflow_status
                WHEN NEW.status = 'PENDING' AND {} BEGIN SELECT RAISE(ABORT, 'too many'); END", too_many.replace("$s$", "")),
            Backend::Postgres => format!("CREATE FUNCTION dbos.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN IF {} THEN RAISE EXCEPTION 'too many'; END IF; RETURN NULL; END $$;
                CREATE TRIGGER refuse AFTER UPDATE ON dbos.workflow_status FOR EACH ROW WHEN (NEW.status = 'PENDING')
                EXECUTE FUNCTION dbos.refuse()", too_many.replace("$s$", "dbos.")),
        }).await;
        let (started, builder) = counting(&fresh);
        // It is not the next tick that tries again.
        let dbos = builder.queue(Queue::new("q")).polling_interval(NO_POLL).launch().await.unwrap();
        until("all of them have run", async || {
            fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").await == 40
        }).await;
        assert_eq!(started.load(Ordering::SeqCst), 40);
        crash(&dbos).await;
    }

    // G.182: more than one look handles; the next follows at once.
    async fn what_is_due_all_at_once_is_ended_without_waiting_for_the_next_tick(fresh: Fresh) {
        waiting(&fresh, 3500, "NULL").await;
        fresh.execute("UPDATE workflow_status SET status = 'PENDING', executor_id = 'elsewhere', workflow_deadline_epoch_ms = 1").await;
        let (started, builder) = counting(&fresh);
        let dbos = builder.queue(Queue::new("q")).polling_interval(NO_POLL).launch().await.unwrap();
        until("all are cancelled", async || fresh.scalar(CANCELLED).await == 3500).await;
        assert_eq!(started.load(Ordering::SeqCst), 0);
        crash(&dbos).await;
    }

    // K.269, F45: a burst keeps its order whatever the ids, and its places ahead of the clock hide nothing.
    async fn a_burst_has_an_order_and_is_there_for_a_global_timeout(fresh: Fresh) {
        let queue = Queue::new("q").concurrency(0);
        let dbos = Gauge::open().register(harness::builder(&fresh)).queue(queue).launch().await.unwrap();
        let starts = (0..300).map(|n| dbos.start(JOB, String::new()).id(format!("{}", 999 - n)).queue("q").into_future());
        let handles = futures_util::future::try_join_all(starts).await.unwrap();
        assert_eq!(handles.len(), 300);
        assert_eq!(fresh.scalar("SELECT count(DISTINCT created_at) FROM workflow_status").await, 300);
        let order = fresh.query("SELECT workflow_uuid FROM workflow_status ORDER BY created_at LIMIT 3").await.concat();
        assert_eq!(order.into_iter().flatten().collect::<Vec<_>>(), ["999", "998", "997"]);
        // As if it had been a much longer one.
        fresh.execute("UPDATE workflow_status SET created_at = created_at + 500000").await;
        let now = fresh.scalar(match fresh.backend() {
            Backend::Sqlite => "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Backend::Postgres => "SELECT (EXTRACT(epoch FROM now()) * 1000)::int8",
        }).await;
        assert_eq!(dbos.workflows().global_timeout(Timestamp::from_millis(now - 100_000)).await.unwrap(), 0);
        assert_eq!(dbos.workflows().global_timeout(Timestamp::from_millis(now)).await.unwrap(), 300);
        crash(&dbos).await;
    }
}

// K.309: a claim asks about the partitions together, and goes on until it has what it may take. On SQLite nobody else writes
// meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_partitions_cost_a_claim_little() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    waiting(&fresh, 20_000, "'customer-' || n").await;
    let (started, builder) = counting(&fresh);
    let queue = Queue::new("q").partition_concurrency(1);
    let dbos = builder.queue(queue).queue(Queue::new("other")).launch().await.unwrap();
    until("a claim has filled its room", async || started.load(Ordering::SeqCst) >= 256).await;
    let other = dbos.start(JOB, "other".to_owned()).queue("other").await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), other.result()).await.expect("it is not held up").unwrap();
    assert!(fresh.scalar(ENQUEUED).await > 0, "it was not among the last");
    crash(&dbos).await;
}
