//! Work that is there when a process starts: a full queue, or what a killed process left behind.

use std::time::Instant;

use crate::database::Database;
use crate::engine::{Engine, Place};
use crate::second::Second;
use crate::{Args, BoxError, Workload, mark};

/// Prepares the work, launches the engine and returns the seconds until `count` workflows have
/// ended well, counted from before the launch.
pub async fn seconds<E: Engine>(args: &Args) -> Result<f64, BoxError> {
    let second = Second::start().await?;
    second.kill().await?;
    let database = Database::connect(&args.url).await?;
    database.alone().await?;
    let drain = args.workload == Workload::Drain;
    check(&database, args, if drain { ("ENQUEUED", 0) } else { ("PENDING", 1) }).await?;
    if args.behind > 0 {
        database.multiply(args.behind).await?;
    }
    database.settle().await?;

    let started = Instant::now();
    let place = Place { executor: "worker", queues: usize::from(drain), works: true };
    let engine = E::launch(args, place).await?;
    mark::all_ran(args.count).await;
    database.succeeded(args.count).await?;
    let seconds = started.elapsed().as_secs_f64();
    // What is behind is left where it is.
    if args.behind == 0 {
        engine.shutdown().await?;
    }
    Ok(seconds)
}

/// That all is there, with as many recorded steps each.
async fn check(
    database: &Database,
    args: &Args,
    (status, steps): (&str, usize),
) -> Result<(), BoxError> {
    let found = database.workflows(status).await?;
    let recorded = database.number("SELECT count(*) FROM dbos.operation_outputs").await?;
    let expected = (i64::try_from(args.count)?, i64::try_from(args.count * steps)?);
    if (found, recorded) != expected {
        return Err(format!("{found} workflows {status} and {recorded} steps, not {expected:?}").into());
    }
    Ok(())
}
