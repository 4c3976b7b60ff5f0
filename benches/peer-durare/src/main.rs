//! The benchmark of the crate `durare`.
//!
//! It takes a pool of the application's making, which is what its guide to operations says to do
//! "for deliberate sizing"; everything else is its default. See `providers` for the settings.

mod providers;

use std::sync::Arc;
use std::time::Duration;

use bench_common::{Args, BoxError, Engine, Workload, measure};
use durare::{DurableContext, DurableEngine, Error, WorkflowOptions};

/// The engine; `adds` is registered by its macro.
struct Peer(DurableEngine);

impl Engine for Peer {
    async fn run(&self, steps: u32) -> Result<u64, BoxError> {
        let options = WorkflowOptions::default();
        let handle = self.0.start_with(Adds, steps, options).await?;
        Ok(handle.result().await?)
    }
}

#[durare::workflow]
async fn adds(ctx: DurableContext, steps: u32) -> durare::Result<u64> {
    let mut sum = 0;
    for i in 0..steps {
        sum += ctx
            .step("add", move || async move { Ok::<_, Error>(u64::from(i)) })
            .await?;
    }
    Ok(sum)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::from_env()?;
    let provider = match args.workload {
        Workload::Sqlite => providers::sqlite(&args).await?,
        _ => providers::postgres(&args).await?,
    };
    let peer = Arc::new(Peer(DurableEngine::new(provider).await?));
    peer.0.launch().await?;
    println!("{}", measure(&peer, &args).await?);
    peer.0.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
