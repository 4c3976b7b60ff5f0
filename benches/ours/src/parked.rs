//! Many workflows that wait: what each of them keeps in memory, and what they hold of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench_common::{Args, BoxError, Database, Report, connections, rss_kib, warm_up};
use dbos_runtime::{Error, workflow};

use crate::{Ctx, Ours};

/// Longer than any run.
const LONG: Duration = Duration::from_secs(3600);

/// From the start of the last wait to the measurement.
const SETTLE: Duration = Duration::from_secs(5);

/// How many workflows have come to their wait.
static WAITING: AtomicUsize = AtomicUsize::new(0);

#[workflow]
pub async fn sleeps(ctx: Ctx, _number: u64) -> Result<(), Error> {
    WAITING.fetch_add(1, Ordering::Relaxed);
    ctx.sleep(LONG).await?;
    Ok(())
}

#[workflow]
pub async fn waits(ctx: Ctx, _number: u64) -> Result<(), Error> {
    WAITING.fetch_add(1, Ordering::Relaxed);
    ctx.recv::<String>("topic").timeout(LONG).await?;
    Ok(())
}

/// Parks `count` workflows, half in a sleep and half in a receive, and reports the growth of the
/// resident memory and the connections to the database, all of them and those not idle.
///
/// The handles are dropped at once: they are the caller's memory, not the engine's.
pub async fn measure(ours: &Arc<Ours>, args: &Args) -> Result<Report, BoxError> {
    warm_up(ours, args).await?;
    let rss_before = rss_kib()?;
    let started = Instant::now();
    start_all(ours, args).await?;
    while WAITING.load(Ordering::Relaxed) < args.count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let elapsed = started.elapsed();
    tokio::time::sleep(SETTLE).await;
    let rss_after = rss_kib()?;
    let (total, busy) = connections(&Database::connect(&args.url).await?).await?;
    Ok(Report {
        rss_kib_before: rss_before,
        rss_kib_after: rss_after,
        more: vec![("connections", total), ("connections_busy", busy)],
        ..Report::new(args, elapsed, args.count, &mut [])
    })
}

/// Starts the workflows from `concurrency` tasks.
async fn start_all(ours: &Arc<Ours>, args: &Args) -> Result<(), BoxError> {
    let (count, taken) = (args.count, Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..args.concurrency)
        .map(|_| {
            let (ours, taken) = (Arc::clone(ours), Arc::clone(&taken));
            tokio::spawn(async move {
                loop {
                    let number = taken.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok::<_, BoxError>(());
                    }
                    if number % 2 == 0 {
                        ours.0.start(sleeps, number as u64).await?;
                    } else {
                        ours.0.start(waits, number as u64).await?;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}
