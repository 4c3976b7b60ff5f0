//! How long something takes from one process to another.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::engine::{Engine, Flow, PATIENCE, Place};
use crate::second::{LONG_RUNNING, Second};
use crate::{Args, BoxError, Workload, mark};

/// The samples in microseconds, each taken when everything is quiet again.
pub async fn samples<E: Engine>(args: &Args) -> Result<Vec<f64>, BoxError> {
    let mut second = Second::start().await?;
    let queues = usize::from(args.workload == Workload::Enqueue);
    let engine = E::launch(args, Place { executor: "client", queues, works: false }).await?;
    let (values, written) = mpsc::unbounded_channel();
    let reads = async {
        match args.workload {
            Workload::Stream => engine.read(LONG_RUNNING, values).await,
            _ => std::future::pending().await,
        }
    };
    let mut samples = tokio::select! {
        samples = take(&engine, &mut second, written, args) => samples?,
        read = reads => return Err(format!("the stream has ended: {read:?}").into()),
    };
    second.kill().await?;
    engine.shutdown().await?;
    // The first samples open connections and prepare statements.
    Ok(samples.split_off(args.count / 10))
}

async fn take<E: Engine>(
    engine: &E,
    second: &mut Second,
    mut written: mpsc::UnboundedReceiver<i64>,
    args: &Args,
) -> Result<Vec<f64>, BoxError> {
    let mut samples = Vec::with_capacity(args.count);
    for number in 0..args.count {
        pause(args.workload, number).await;
        let sample = match args.workload {
            Workload::Enqueue => {
                engine.enqueue(Flow::Begins, mark::now()).await?;
                second.answer().await?
            }
            Workload::Message => {
                engine.send(LONG_RUNNING, mark::now()).await?;
                second.answer().await?
            }
            Workload::Event => event(engine, second, number).await?,
            _ => {
                second.ask("").await?;
                let value = tokio::time::timeout(PATIENCE, written.recv()).await?;
                mark::now() - value.ok_or("the stream has ended")?
            }
        };
        samples.push(sample as f64);
    }
    Ok(samples)
}

async fn event<E: Engine>(
    engine: &E,
    second: &mut Second,
    number: usize,
) -> Result<i64, BoxError> {
    let id = &format!("publisher-{number}");
    let read = async {
        let set = engine.event(id).await?;
        Ok::<_, BoxError>(mark::now() - set)
    };
    let publish = async {
        // The reader waits by then.
        pause(Workload::Event, number).await;
        second.ask(id).await
    };
    tokio::try_join!(read, publish).map(|(sample, ())| sample)
}

/// Waits until all is quiet, no two times equally long: an engine that polls is met at any point
/// of its interval, which is a second for queues.
async fn pause(workload: Workload, number: usize) {
    let longest = if workload == Workload::Enqueue { 1000.0 } else { 30.0 };
    let part = (number as f64 * 0.618_034).fract();
    tokio::time::sleep(Duration::from_millis(30) + Duration::from_micros((longest * part * 1e3) as u64)).await;
}
