//! What the benchmark binaries share: the command line, the workloads, the clock and the report.
//!
//! An engine only says how it does what [`Engine`] asks of it; every workload is driven from here,
//! so that all engines are measured by the same code.

mod args;
mod backlog;
mod database;
mod engine;
mod latency;
pub mod mark;
mod report;
mod second;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use args::{Args, Workload};
pub use database::{Database, connections};
pub use engine::{Engine, Flow, KEY, PATIENCE, Place, queue};
pub use report::{Report, rss_kib, rss_kib_of};

/// Any failure of a benchmark.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Workflows run before the clock starts: they open the pool and prepare the statements.
const WARM_UP: usize = 50;

/// A process that runs workflows and has no queues.
pub const ALONE: Place = Place { executor: "alone", queues: 0, works: true };

/// The queues of [`Workload::Idle`].
const QUEUES: usize = 5;

/// From an idle process's launch to the first look at its statements.
const SETTLE: Duration = Duration::from_secs(5);

/// Runs the workload of this process's arguments, and prints the report.
pub async fn main<E: Engine>(args: &Args) -> Result<(), BoxError> {
    if args.second {
        return second::be::<E>(args).await;
    }
    let report = match args.workload {
        Workload::Parked => return Err("this engine has no `parked` workload".into()),
        Workload::Enqueue | Workload::Event | Workload::Message | Workload::Stream => {
            let started = Instant::now();
            let mut samples = latency::samples::<E>(args).await?;
            let mut report = Report::new(args, started.elapsed(), samples.len(), &mut samples);
            report.more.push(("latency_us_worst", samples.last().map_or(0, |worst| *worst as i64)));
            report
        }
        Workload::Drain | Workload::Recovery => {
            let seconds = backlog::seconds::<E>(args).await?;
            Report::new(args, Duration::from_secs_f64(seconds), args.count, &mut [])
        }
        Workload::Idle => idle::<E>(args).await?,
        _ => {
            let engine = Arc::new(E::launch(args, ALONE).await?);
            let report = measure(&engine, args).await?;
            engine.shutdown().await?;
            report
        }
    };
    println!("{report}");
    Ok(())
}

/// Warms the engine up and runs a workload of one process.
async fn measure<E: Engine>(engine: &Arc<E>, args: &Args) -> Result<Report, BoxError> {
    let (workflows, steps, concurrency) = match args.workload {
        Workload::Steps => (1, args.steps, 1),
        Workload::Empty64 | Workload::Empty1 => (args.count, 0, args.concurrency),
        _ => (args.count, args.steps, args.concurrency),
    };
    warm_up(engine, args).await?;

    let rss_before = rss_kib()?;
    let started = Instant::now();
    let mut latencies = drive(engine, workflows, steps, concurrency).await?;
    let elapsed = started.elapsed();

    let mut report = Report::new(args, elapsed, latencies.len(), &mut latencies);
    if args.workload == Workload::Steps {
        report.operations = u64::from(steps);
        // The one workflow has no latency of interest: here it is the mean of its steps.
        report.latency_us_median = elapsed.as_secs_f64() * 1e6 / f64::from(steps.max(1));
    }
    report.rss_kib_before = rss_before;
    Ok(report)
}

/// Counts the statements of `count` seconds in which nothing happens.
async fn idle<E: Engine>(args: &Args) -> Result<Report, BoxError> {
    let database = Database::connect(&args.url).await?;
    database.count_statements().await?;
    let engine = E::launch(args, Place { executor: "alone", queues: QUEUES, works: true }).await?;
    tokio::time::sleep(SETTLE).await;
    let before = database.statements().await?;
    let started = Instant::now();
    tokio::time::sleep(Duration::from_secs(args.count as u64)).await;
    let statements = database.statements().await? - before;
    let elapsed = started.elapsed();
    engine.shutdown().await?;
    Ok(Report::new(args, elapsed, usize::try_from(statements)?, &mut []))
}

/// Runs 50 small workflows at the workload's own concurrency.
pub async fn warm_up<E: Engine>(engine: &Arc<E>, args: &Args) -> Result<(), BoxError> {
    drive(engine, WARM_UP, args.steps.min(5), args.concurrency).await.map(drop)
}

/// Runs `workflows` workflows from `concurrency` tasks, each starting one and awaiting its result
/// in a loop. Returns the latency of each, in microseconds.
async fn drive<E: Engine>(
    engine: &Arc<E>,
    workflows: usize,
    steps: u32,
    concurrency: usize,
) -> Result<Vec<f64>, BoxError> {
    let steps = i64::from(steps);
    let expected: i64 = (0..steps).sum();
    many(engine, workflows, concurrency, move |engine| async move {
        let started = Instant::now();
        let sum = engine.run(steps).await?;
        if sum == expected {
            Ok(started.elapsed().as_secs_f64() * 1e6)
        } else {
            Err(format!("a workflow returned {sum}, not {expected}").into())
        }
    })
    .await
}

/// Does something `count` times from `concurrency` tasks, each in a loop.
async fn many<E, T, F>(
    engine: &Arc<E>,
    count: usize,
    concurrency: usize,
    once: impl Fn(Arc<E>) -> F + Clone + Send + 'static,
) -> Result<Vec<T>, BoxError>
where
    E: Engine,
    T: Send + 'static,
    F: Future<Output = Result<T, BoxError>> + Send,
{
    let taken = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let (engine, taken, once) = (Arc::clone(engine), Arc::clone(&taken), once.clone());
            tokio::spawn(async move {
                let mut results = Vec::new();
                while taken.fetch_add(1, Ordering::Relaxed) < count {
                    results.push(once(Arc::clone(&engine)).await?);
                }
                Ok::<_, BoxError>(results)
            })
        })
        .collect();

    let mut results = Vec::with_capacity(count);
    for task in tasks {
        results.extend(task.await??);
    }
    Ok(results)
}
