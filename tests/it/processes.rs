//! Several real processes that share a queue.

use std::collections::BTreeSet;
use std::time::Duration;

use dbos_runtime::{Ctx, Dbos, Error, Queue, WorkflowRef};
use harness::process::Process;
use harness::{Backend, Fresh, stays_within, until};
use tokio::process::Command;

const JOB: WorkflowRef<String, String> = WorkflowRef::named("job");
const JOBS: u32 = 200;

/// Run in processes of their own by the tests below.
#[tokio::test]
#[ignore = "a part of other tests"]
async fn works_on_the_shared_queue() {
    let (url, name) = (std::env::var("WORKER_URL").unwrap(), std::env::var("WORKER_NAME").unwrap());
    let builder =
        dbos_runtime::Dbos::builder("tests").database_url(url).application_version("v1").executor_id(name);
    let builder = builder.peer_recovery(false).polling_interval(Duration::from_millis(20));
    let builder = builder.register_fn("job", async |ctx: Ctx, name: String| {
        ctx.step("work", || async {
            println!("ran {name};");
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, Error>(())
        })
        .await?;
        Ok::<_, Error>(name)
    });
    let _dbos = builder.launch().await.unwrap();
    println!("ready");
    // Until it is killed.
    std::future::pending::<()>().await;
}

async fn worker(fresh: &Fresh, name: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", "processes::works_on_the_shared_queue"]);
    command.env("WORKER_URL", fresh.url()).env("WORKER_NAME", name).env_remove("DBOS__VMID");
    let mut process = Process::spawn(&mut command);
    process.line(Duration::from_secs(120), |line| line.ends_with("ready")).await;
    process
}

async fn all_end(fresh: &Fresh, prefix: &str, jobs: u32) {
    let ended = format!(
        "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS' AND workflow_uuid LIKE '{prefix}-%'"
    );
    let all = async {
        while fresh.scalar(&ended).await < i64::from(jobs) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("all jobs end");
}

/// The same processes share a queue with a limit for each key, and one with a limit over time.
async fn other_limits(fresh: &Fresh, admin: &Dbos) {
    admin
        .queues()
        .register(Queue::new("keyed").partition_concurrency(1).worker_concurrency(1))
        .await
        .unwrap();
    let jobs = (0..60).map(|n| {
        let (name, key) = (format!("k-{n}"), format!("key-{}", n % 6));
        admin.start(JOB, name.clone()).id(name).queue("keyed").partition_key(&key).application_version("v1")
    });
    let work = async {
        admin.start_all(jobs).await.unwrap();
        all_end(fresh, "k", 60).await;
    };
    let of_a_key = "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM workflow_status
        WHERE status = 'PENDING' AND queue_name = 'keyed' GROUP BY queue_partition_key) AS counted";
    stays_within(1, fresh, of_a_key, work).await;
    let shares = "SELECT count(DISTINCT executor_id) FROM workflow_status WHERE workflow_uuid LIKE 'k-%'";
    assert!(fresh.scalar(shares).await >= 2, "they did compete");

    admin.queues().register(Queue::new("rated").rate_limit(10, Duration::from_millis(250))).await.unwrap();
    let jobs = (0..25).map(|n| {
        let name = format!("r-{n}");
        admin.start(JOB, name.clone()).id(name).queue("rated").application_version("v1")
    });
    admin.start_all(jobs).await.unwrap();
    all_end(fresh, "r", 25).await;
    let of_a_window = "SELECT max(n) FROM (SELECT (SELECT count(*) FROM workflow_status b WHERE b.workflow_uuid LIKE 'r-%'
            AND b.started_at_epoch_ms > a.started_at_epoch_ms - 250 AND b.started_at_epoch_ms <= a.started_at_epoch_ms) AS n
        FROM workflow_status a WHERE a.workflow_uuid LIKE 'r-%') AS counted";
    assert_eq!(fresh.scalar(of_a_window).await, 10);
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE recovery_attempts <> 1").await, 0);
}

/// So many processes run all jobs, one in each and two in all; each job once.
async fn share(backend: Backend, processes: usize) {
    let fresh = harness::fresh(backend).await;
    // Enqueues and changes the queue, and runs nothing itself.
    let admin = harness::builder(&fresh)
        .executor_id("admin")
        .queue(Queue::new("q").concurrency(0))
        .launch()
        .await
        .unwrap();
    let mut workers = Vec::new();
    for n in 0..processes {
        workers.push(worker(&fresh, &format!("worker-{n}")).await);
    }
    for n in 0..JOBS {
        let name = format!("j-{n}");
        admin.start(JOB, name.clone()).id(name).queue("q").application_version("v1").await.unwrap();
    }
    // The process that has just ended a job is the first to claim again: so it may have no more than one.
    admin.queues().update("q", |queue| queue.concurrency(2).worker_concurrency(1)).await.unwrap();
    let running = "SELECT count(*) FROM workflow_status WHERE status = 'PENDING'";
    stays_within(2, &fresh, running, all_end(&fresh, "j", JOBS)).await;

    let ran = || workers.iter().map(|worker| worker.output().matches("ran j-").count()).sum::<usize>();
    until("all have said what they ran", async || ran() >= JOBS as usize).await;
    assert_eq!(ran(), JOBS as usize, "each body ran once");
    let said: String = workers.iter().map(Process::output).collect();
    let names: BTreeSet<&str> =
        said.split("ran ").skip(1).filter_map(|rest| rest.split(';').next()).collect();
    assert_eq!(names.len(), JOBS as usize);
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE recovery_attempts <> 1").await, 0);
    assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, i64::from(JOBS));
    let shares = fresh.scalar("SELECT count(DISTINCT executor_id) FROM workflow_status").await;
    assert!(shares >= 2, "they did compete");
    other_limits(&fresh, &admin).await;
    for worker in &mut workers {
        worker.kill9().await;
    }
    admin.shutdown(Duration::ZERO).await;
}

// K37, F22, K.278: two processes on one file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_sqlite_file_run_each_job_once_within_the_queues_limit() {
    share(Backend::Sqlite, 2).await;
}

// K37, K39, K.278, K.279: three on one server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_one_postgres_run_each_job_once_within_the_queues_limit() {
    share(Backend::Postgres, 3).await;
}
