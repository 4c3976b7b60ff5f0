//! The benchmark of `dbos-runtime`, with all settings at their defaults.

mod parked;

use std::sync::Arc;
use std::time::Duration;

use bench_common::{Args, BoxError, Engine, Workload, measure};
use dbos_runtime::{Ctx as RtCtx, Dbos, Error, workflow};

type Ctx = RtCtx<(), Error>;

/// The launched engine.
struct Ours(Dbos);

impl Engine for Ours {
    async fn run(&self, steps: u32) -> Result<u64, BoxError> {
        Ok(self.0.start(adds, steps).await?.result().await?)
    }
}

#[workflow]
async fn adds(ctx: Ctx, steps: u32) -> Result<u64, Error> {
    let mut sum = 0;
    for i in 0..steps {
        sum += ctx.step("add", || async move { Ok(u64::from(i)) }).await?;
    }
    Ok(sum)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::from_env()?;
    let dbos = Dbos::builder("bench")
        .database_url(&args.url)
        .state(())
        .register(adds)
        .register(parked::sleeps)
        .register(parked::receives)
        .launch()
        .await?;
    let ours = Arc::new(Ours(dbos));
    let report = match args.workload {
        Workload::Parked => parked::measure(&ours, &args).await?,
        _ => measure(&ours, &args).await?,
    };
    println!("{report}");
    ours.0.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
