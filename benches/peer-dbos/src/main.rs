//! The benchmark of the crate `dbos`.
//!
//! All settings are its defaults (`LISTEN`/`NOTIFY` on, `polling_concurrency` half the pool) but
//! the pool's size: 10 by default, here 20.

use std::sync::Arc;

use bench_common::{Args, BoxError, Engine, Workload, measure};
use dbos::{Config, DBOS, WorkflowRef};

/// The connections of the pool, unless `--pool` says otherwise.
const POOL: u32 = 20;

/// The one registered workflow.
struct Peer(WorkflowRef<u32, u64>);

impl Engine for Peer {
    async fn run(&self, steps: u32) -> Result<u64, BoxError> {
        Ok(self.0.start(steps).await?.result().await?)
    }
}

async fn adds(steps: u32) -> dbos::Result<u64> {
    let mut sum = 0;
    for i in 0..steps {
        sum += dbos::step("add", move || async move { dbos::Result::Ok(u64::from(i)) }).await?;
    }
    Ok(sum)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::from_env()?;
    if args.workload == Workload::Sqlite {
        return Err("dbos 0.5.0 has no SQLite".into());
    }
    let dbos = DBOS::new(Config {
        // It computes no version and does not launch without one.
        app_version: Some("1".to_owned()),
        max_connections: args.pool.unwrap_or(POOL),
        ..Config::new("bench", args.url.as_str())
    });
    let peer = Arc::new(Peer(dbos.register_workflow("adds", adds)?));
    dbos.launch().await?;
    println!("{}", measure(&peer, &args).await?);
    dbos.shutdown().await;
    Ok(())
}
