//! What the benchmark binaries share: the command line, the workloads, the clock and the report.
//!
//! An engine only says how it runs one workflow of `n` trivial steps ([`Engine::run`]); every
//! workload is driven from here, so that all engines are measured by the same code.

mod args;
mod report;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub use args::{Args, Workload};
pub use report::{Report, rss_kib};

/// Any failure of a benchmark.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Workflows run before the clock starts: they open the pool and prepare the statements.
const WARM_UP: usize = 50;

/// A durable workflow engine under test.
pub trait Engine: Send + Sync + 'static {
    /// Starts a workflow of `steps` trivial steps, awaits its result and returns it.
    ///
    /// Step `i` returns `i`, the workflow returns their sum.
    fn run(&self, steps: u32) -> impl Future<Output = Result<u64, BoxError>> + Send;
}

/// Warms the engine up, runs the workload of `args` and reports.
pub async fn measure<E: Engine>(engine: &Arc<E>, args: &Args) -> Result<Report, BoxError> {
    let (workflows, steps, concurrency) = match args.workload {
        Workload::Steps => (1, args.steps, 1),
        Workload::Throughput | Workload::Sqlite => (args.count, args.steps, args.concurrency),
        Workload::Empty64 | Workload::Empty1 => (args.count, 0, args.concurrency),
        Workload::Parked => return Err("this engine has no `parked` workload".into()),
    };
    warm_up(engine, args).await?;

    let rss_before = rss_kib()?;
    let started = Instant::now();
    let mut latencies = drive(engine, workflows, steps, concurrency).await?;
    let elapsed = started.elapsed();

    let operations = match args.workload {
        Workload::Steps => u64::from(steps),
        _ => latencies.len() as u64,
    };
    // The one workflow of `steps` has no latency of interest: there it is the mean of its steps.
    let latency_us_median = match args.workload {
        Workload::Steps => elapsed.as_secs_f64() * 1e6 / f64::from(steps.max(1)),
        _ => median(&mut latencies),
    };
    Ok(Report {
        workload: args.workload,
        seconds: elapsed.as_secs_f64(),
        operations,
        latency_us_median,
        rss_kib_before: rss_before,
        rss_kib_after: rss_kib()?,
        more: Vec::new(),
    })
}

/// Runs 50 small workflows at the workload's own concurrency.
pub async fn warm_up<E: Engine>(engine: &Arc<E>, args: &Args) -> Result<(), BoxError> {
    drive(engine, WARM_UP, args.steps.min(5), args.concurrency)
        .await
        .map(drop)
}

/// Runs `workflows` workflows from `concurrency` tasks, each starting one and awaiting its result
/// in a loop. Returns the latency of each, in microseconds.
async fn drive<E: Engine>(
    engine: &Arc<E>,
    workflows: usize,
    steps: u32,
    concurrency: usize,
) -> Result<Vec<f64>, BoxError> {
    let expected: u64 = (0..u64::from(steps)).sum();
    let taken = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let (engine, taken) = (Arc::clone(engine), Arc::clone(&taken));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while taken.fetch_add(1, Ordering::Relaxed) < workflows {
                    let started = Instant::now();
                    let sum = engine.run(steps).await?;
                    latencies.push(started.elapsed().as_secs_f64() * 1e6);
                    if sum != expected {
                        return Err(format!("a workflow returned {sum}, not {expected}").into());
                    }
                }
                Ok::<_, BoxError>(latencies)
            })
        })
        .collect();

    let mut latencies = Vec::with_capacity(workflows);
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(latencies)
}

/// The median of `values`, 0 for none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
