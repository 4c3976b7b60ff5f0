//! Limits of queues: in one process, over several, by partition, and over time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dbos_runtime::{Ctx, Dbos, Error, Queue, WorkflowHandle, WorkflowRef, WorkflowStatus};
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend, stays_within, until};
use tokio::sync::Semaphore;

use super::gauge::{Gauge, JOB};

async fn launch(fresh: &Fresh, gauge: &Gauge, executor: &str, queue: &Queue) -> Dbos {
    gauge.register(harness::builder(fresh)).executor_id(executor).queue(queue.clone()).launch().await.unwrap()
}

/// Several processes on one queue.
async fn fleet(fresh: &Fresh, gauge: &Gauge, count: usize, queue: &Queue) -> Vec<Dbos> {
    let names: Vec<String> = (0..count).map(|n| format!("e{n}")).collect();
    join_all(names.iter().map(|name| launch(fresh, gauge, name, queue))).await
}

async fn enqueue(dbos: &Dbos, names: &[&str], partitioned: bool) -> Vec<WorkflowHandle<String>> {
    let mut handles = Vec::new();
    for name in names {
        let start = dbos.start(JOB, (*name).to_owned()).id(*name).queue("q");
        let key = name.split('-').next().unwrap();
        handles.push(if partitioned { start.partition_key(key) } else { start }.await.unwrap());
    }
    handles
}

async fn end(fleet: Vec<Dbos>) {
    join_all(fleet.iter().map(|dbos| dbos.shutdown(Duration::ZERO))).await;
}

async fn all(handles: Vec<WorkflowHandle<String>>) {
    for handle in handles {
        tokio::time::timeout(harness::PATIENCE, handle.result()).await.unwrap().unwrap();
    }
}

/// How many run now, and how many of the partition that runs most.
const RUNNING: &str = "SELECT count(*) FROM workflow_status WHERE status = 'PENDING'";
const OF_A_PARTITION: &str = "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM workflow_status
    WHERE status = 'PENDING' GROUP BY queue_partition_key) AS counted";

on_each_backend! {
    // K.278, K.269, K39: a limit for all processes together, kept by four that compete for it.
    async fn concurrency_holds_over_all_processes(fresh: Fresh) {
        let gauge = Gauge::open();
        let queue = Queue::new("q").concurrency(3);
        let fleet = fleet(&fresh, &gauge, 4, &queue).await;
        let names: Vec<String> = (0..60).map(|n| format!("j-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let handles = enqueue(&fleet[0], &names, false).await;
        stays_within(3, &fresh, RUNNING, all(handles)).await;
        assert!(gauge.most() <= 3, "{} at once", gauge.most());
        assert_eq!(gauge.started().len(), 60, "each ran once");
        end(fleet).await;
    }

    // K.270, K.271
    async fn worker_concurrency_holds_for_each_process(fresh: Fresh) {
        let gauge = Gauge::closed();
        let fleet = fleet(&fresh, &gauge, 2, &Queue::new("q").worker_concurrency(2)).await;
        let handles = enqueue(&fleet[0], &["a", "b", "c", "d", "e", "f"], false).await;
        gauge.settles_at(4).await;
        let claims = fresh.query("SELECT executor_id, count(*) AS n FROM workflow_status WHERE status = 'PENDING' GROUP BY executor_id ORDER BY 1").await;
        assert_eq!(claims.concat().into_iter().flatten().collect::<Vec<_>>(), ["e0", "2", "e1", "2"]);
        gauge.let_go(6);
        all(handles).await;
        assert_eq!(gauge.most(), 4);
        end(fleet).await;
    }

    // C90: a workflow that was moved is on two queues of this process for a while, and each execution has its own place.
    async fn executions_of_one_workflow_free_the_places_that_they_took(fresh: Fresh) {
        const MOVED: WorkflowRef<(), ()> = WorkflowRef::named("moved");
        let gates: Arc<[Semaphore; 2]> = Arc::new([Semaphore::new(0), Semaphore::new(0)]);
        let runs = Arc::new(AtomicUsize::new(0));
        let (gates_too, runs_too) = (Arc::clone(&gates), Arc::clone(&runs));
        let moved = move |_: Ctx, (): ()| {
            let (gates, run) = (Arc::clone(&gates_too), runs_too.fetch_add(1, Ordering::SeqCst));
            async move {
                gates[run].acquire().await.unwrap().forget();
                Ok::<_, Error>(())
            }
        };
        let gauge = Gauge::closed();
        let builder = gauge.register(harness::builder(&fresh)).register_fn("moved", moved);
        let queue = |name| Queue::new(name).worker_concurrency(1);
        let dbos = builder.queue(queue("a")).queue(queue("b")).launch().await.unwrap();
        dbos.start(MOVED, ()).id("w").queue("a").await.unwrap();
        until("it runs", async || runs.load(Ordering::SeqCst) == 1).await;
        let sql = "UPDATE workflow_status SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, queue_name = 'b'";
        fresh.execute(sql).await;
        until("it runs again", async || runs.load(Ordering::SeqCst) == 2).await;

        for queue in ["a", "b"] {
            dbos.start(JOB, format!("next on {queue}")).queue(queue).await.unwrap();
        }
        gauge.settles_at(0).await;
        gates[0].add_permits(1);
        gauge.settles_at(1).await;
        assert_eq!(gauge.started(), ["next on a"]);
        gates[1].add_permits(1);
        gauge.settles_at(2).await;
        gauge.let_go(2);
        until("all have ended", async || fresh.scalar("SELECT count(*) FROM workflow_output").await == 3).await;
        end(vec![dbos]).await;
    }

    // K.272: what a dead process ran counts until it is recovered.
    async fn the_rows_of_a_dead_process_count_until_they_are_recovered(fresh: Fresh) {
        let gauge = Gauge::closed();
        let queue = Queue::new("q").concurrency(1);
        let first = launch(&fresh, &gauge, "dead", &queue).await;
        let mut handles = enqueue(&first, &["a"], false).await;
        gauge.settles_at(1).await;
        first.shutdown(Duration::ZERO).await;
        let second = launch(&fresh, &gauge, "alive", &queue).await;
        handles = enqueue(&second, &["b"], false).await.into_iter().chain(handles.split_off(1)).collect();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(gauge.started(), ["a"], "the queue is full");
        let again = launch(&fresh, &gauge, "dead", &queue).await;
        gauge.let_go(2);
        all(handles).await;
        until("both have ended", async || fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").await == 2).await;
        assert_eq!(gauge.started(), ["a", "a", "b"], "recovered work keeps its place at the head");
        end(vec![second, again]).await;
    }

    // K.273, K41: at most so many starts in any window, and no slot of a window is wasted.
    async fn a_rate_limit_holds_in_every_window(fresh: Fresh) {
        let gauge = Gauge::open();
        // Opened when all twelve are there.
        let queue = Queue::new("q").rate_limit(4, Duration::from_millis(400)).concurrency(0);
        let fleet = fleet(&fresh, &gauge, 2, &queue).await;
        let names: Vec<String> = (0..12).map(|n| format!("j-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let handles = enqueue(&fleet[0], &names, false).await;
        let begun = tokio::time::Instant::now();
        fleet[0].queues().update("q", |queue| queue.concurrency(None)).await.unwrap();
        all(handles).await;
        assert!(begun.elapsed() >= Duration::from_millis(780), "{:?}", begun.elapsed());
        let within = "SELECT max(n) FROM (SELECT (SELECT count(*) FROM workflow_status b
            WHERE b.started_at_epoch_ms > a.started_at_epoch_ms - 400 AND b.started_at_epoch_ms <= a.started_at_epoch_ms) AS n
            FROM workflow_status a) AS counted";
        assert_eq!(fresh.scalar(within).await, 4);
        let first = "SELECT count(*) FROM workflow_status
            WHERE started_at_epoch_ms < (SELECT min(started_at_epoch_ms) FROM workflow_status) + 400";
        assert_eq!(fresh.scalar(first).await, 4, "no slot of the first window is wasted");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE NOT rate_limited").await, 0);
        end(fleet).await;
    }

    // K.303, K.304, K.310, K42: limits by partition, with one for all of them.
    async fn limits_by_partition_and_for_the_queue_hold_together(fresh: Fresh) {
        let gauge = Gauge::closed();
        let queue = Queue::new("q").concurrency(5).partition_concurrency(2);
        let fleet = fleet(&fresh, &gauge, 2, &queue).await;
        let names = ["a-1", "a-2", "a-3", "a-4", "b-1", "b-2", "b-3", "c-1", "c-2"];
        let handles = enqueue(&fleet[0], &names, true).await;
        gauge.settles_at(5).await;
        for kind in ["a", "b", "c"] {
            assert!((1..=2).contains(&gauge.running_of(kind)), "{kind}: {:?}", gauge.started());
        }
        gauge.let_go(9);
        stays_within(2, &fresh, OF_A_PARTITION, all(handles)).await;
        assert!(gauge.most() <= 5);
        end(fleet).await;
    }

    // K.305, K.313: several processes over many partitions never let two of one in, nor more than the queue allows.
    async fn partitions_are_exclusive_under_contention(fresh: Fresh) {
        let gauge = Gauge::open();
        let queue = Queue::new("q").partition_concurrency(1);
        let fleet = fleet(&fresh, &gauge, 3, &queue).await;
        let names: Vec<String> = (0..60).map(|n| format!("p{}-{n}", n % 6)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let handles = enqueue(&fleet[0], &names, true).await;
        stays_within(1, &fresh, OF_A_PARTITION, all(handles)).await;
        // Within a partition the order of enqueueing is kept.
        for partition in 0..6 {
            let started: Vec<usize> = gauge.started().iter().filter(|name| name.starts_with(&format!("p{partition}-")))
                .map(|name| name.split('-').nth(1).unwrap().parse().unwrap()).collect();
            assert_eq!(started.len(), 10);
            assert!(started.is_sorted(), "partition {partition}: {started:?}");
        }
        end(fleet).await;
    }

    // K.314: what another version has to run is passed over, in its partition too.
    async fn rows_of_another_version_do_not_hold_up_their_partition(fresh: Fresh) {
        let gauge = Gauge::open();
        let queue = Queue::new("q").partition_concurrency(1);
        let fleet = fleet(&fresh, &gauge, 1, &queue).await;
        let start = |name: &str| fleet[0].start(JOB, name.to_owned()).id(name).queue("q").partition_key("a");
        let theirs = start("a-theirs").application_version("another").await.unwrap();
        all(vec![start("a-ours").await.unwrap()]).await;
        assert_eq!(gauge.started(), ["a-ours"]);
        assert_eq!(theirs.status().await.unwrap().status, Some(WorkflowStatus::Enqueued));
        end(fleet).await;
    }

    // K.309: a large partition does not keep small ones waiting.
    async fn small_partitions_move_beside_a_large_one(fresh: Fresh) {
        let gauge = Gauge::closed();
        let queue = Queue::new("q").worker_concurrency(4).partition_worker_concurrency(3);
        let fleet = fleet(&fresh, &gauge, 1, &queue).await;
        let large: Vec<String> = (0..30).map(|n| format!("large-{n}")).collect();
        let mut names: Vec<&str> = large.iter().map(String::as_str).collect();
        names.push("small-1");
        let handles = enqueue(&fleet[0], &names, true).await;
        until("the small one runs", async || gauge.running_of("small") == 1).await;
        assert!(gauge.running_of("large") <= 3);
        gauge.let_go(31);
        all(handles).await;
        end(fleet).await;
    }

    // K.306
    async fn a_rate_limit_by_partition_leaves_the_others_alone(fresh: Fresh) {
        let gauge = Gauge::closed();
        let queue = Queue::new("q").rate_limit(5, Duration::from_secs(60)).partition_rate_limit(2, Duration::from_secs(60));
        let fleet = fleet(&fresh, &gauge, 1, &queue).await;
        enqueue(&fleet[0], &["a-1", "a-2", "a-3", "b-1", "c-1", "c-2", "c-3"], true).await;
        gauge.settles_at(5).await;
        assert_eq!((gauge.running_of("a"), gauge.running_of("b"), gauge.running_of("c")), (2, 1, 2));
        end(fleet).await;
    }

    // K.316: the row of an older SDK means its limits by partition; K.328: half a rate limit is none.
    async fn rows_of_older_sdks_keep_their_meaning(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = gauge.register(harness::builder(&fresh)).launch().await.unwrap();
        let sql = "INSERT INTO queues (queue_id, name, concurrency, rate_limit_max, partition_queue, priority_enabled, polling_interval_sec)
            VALUES ('1', 'q', 1, 1, TRUE, FALSE, 1.0)";
        fresh.execute(sql).await;
        until("the queue is known", async || dbos.queues().get("q").await.unwrap().is_some()).await;
        assert_eq!(dbos.queues().get("q").await.unwrap(), Some(Queue::new("q").partition_concurrency(1)));
        enqueue(&dbos, &["a-1", "a-2", "b-1"], true).await;
        gauge.settles_at(2).await;
        dbos.shutdown(Duration::ZERO).await;
    }

    // K.303: without a key a partitioned queue never lets a row out; with one, a plain queue does.
    async fn a_row_without_a_key_stays_on_a_partitioned_queue(fresh: Fresh) {
        let gauge = Gauge::open();
        let queue = Queue::new("q").partition_concurrency(1);
        let fleet = fleet(&fresh, &gauge, 1, &queue).await;
        let sql = "INSERT INTO workflow_status (workflow_uuid, status, name, queue_name, inputs, serialization)
            VALUES ('keyless', 'ENQUEUED', 'job', 'q', '{\"positionalArgs\":[\"keyless\"]}', 'portable_json')";
        fresh.execute(sql).await;
        all(enqueue(&fleet[0], &["a-1"], true).await).await;
        assert_eq!(gauge.started(), ["a-1"]);
        fleet[0].queues().update("q", |queue| queue.partition_concurrency(None)).await.unwrap();
        until("it runs", async || gauge.started().len() == 2).await;
        end(fleet).await;
    }
}
