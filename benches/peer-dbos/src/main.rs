//! The benchmark of the crate `dbos`. It has no streams and no SQLite.
//!
//! All settings are its defaults (`LISTEN`/`NOTIFY` on, `polling_concurrency` half the pool) but
//! the pool's size: 10 by default, here 20.

use bench_common::{Args, BoxError, Engine, Flow, KEY, PATIENCE, Place, Workload, mark, queue};
use dbos::{
    Config, DBOS, Enqueue, QueueConflict, QueueOptions, SendOptions, StartOptions, WorkflowRef,
};
use tokio::sync::mpsc;

/// The connections of the pool, unless `--pool` says otherwise.
const POOL: u32 = 20;

type Registered = WorkflowRef<i64, i64>;

/// The instance and its registered workflows.
struct Peer {
    dbos: DBOS,
    adds: Registered,
    begins: Registered,
    publishes: Registered,
    receives: Registered,
}

impl Peer {
    fn of(&self, flow: Flow) -> Result<&Registered, BoxError> {
        match flow {
            Flow::Adds => Ok(&self.adds),
            Flow::Begins => Ok(&self.begins),
            Flow::Publishes => Ok(&self.publishes),
            Flow::Receives => Ok(&self.receives),
            Flow::Writes => Err("dbos 0.5.0 has no streams".into()),
        }
    }
}

impl Engine for Peer {
    async fn launch(args: &Args, place: Place) -> Result<Self, BoxError> {
        if args.workload == Workload::Sqlite {
            return Err("dbos 0.5.0 has no SQLite".into());
        }
        let dbos = DBOS::new(Config {
            // It computes no version and does not launch without one.
            app_version: Some("1".to_owned()),
            executor_id: Some(place.executor.to_owned()),
            listen_queues: (!place.works).then(Vec::new),
            max_connections: args.pool.unwrap_or(POOL),
            ..Config::new("bench", args.url.as_str())
        });
        let peer = Self {
            adds: dbos.register_workflow("adds", adds)?,
            begins: dbos.register_workflow("begins", begins)?,
            publishes: dbos.register_workflow("publishes", publishes)?,
            receives: dbos.register_workflow("receives", receives)?,
            dbos,
        };
        peer.dbos.launch().await?;
        for number in 0..place.queues {
            let (name, options) = (queue(number), QueueOptions::default());
            peer.dbos.register_queue(&name, options, QueueConflict::UpdateIfLatestVersion).await?;
        }
        Ok(peer)
    }

    async fn run(&self, steps: i64) -> Result<i64, BoxError> {
        Ok(self.adds.start(steps).await?.result().await?)
    }

    async fn start(&self, flow: Flow, id: Option<&str>, input: i64) -> Result<(), BoxError> {
        let options = StartOptions { workflow_id: id, ..StartOptions::default() };
        self.of(flow)?.start_with(input, options).await?;
        Ok(())
    }

    async fn enqueue(&self, flow: Flow, input: i64) -> Result<(), BoxError> {
        let name = queue(0);
        let options =
            StartOptions { queue: Some(Enqueue::new(&name)), ..StartOptions::default() };
        self.of(flow)?.start_with(input, options).await?;
        Ok(())
    }

    async fn send(&self, to: &str, value: i64) -> Result<(), BoxError> {
        let options = SendOptions { topic: Some(KEY), ..SendOptions::default() };
        Ok(self.dbos.send_with(to, &value, options).await?)
    }

    async fn event(&self, of: &str) -> Result<i64, BoxError> {
        let event: Option<i64> = self.dbos.get_event(of, KEY, PATIENCE).await?;
        event.ok_or_else(|| "no event came".into())
    }

    async fn read(&self, _of: &str, _values: mpsc::UnboundedSender<i64>) -> Result<(), BoxError> {
        Err("dbos 0.5.0 has no streams".into())
    }

    async fn shutdown(&self) -> Result<(), BoxError> {
        self.dbos.shutdown().await;
        Ok(())
    }
}

async fn adds(steps: i64) -> dbos::Result<i64> {
    let mut sum = 0;
    for i in 0..steps {
        sum += dbos::step("add", move || async move { dbos::Result::Ok(i) }).await?;
    }
    mark::ran().await;
    Ok(sum)
}

async fn begins(sent: i64) -> dbos::Result<i64> {
    mark::began(sent);
    Ok(0)
}

async fn publishes(_: i64) -> dbos::Result<i64> {
    dbos::set_event(KEY, &mark::now()).await?;
    Ok(0)
}

async fn receives(count: i64) -> dbos::Result<i64> {
    for _ in 0..count {
        if let Some(sent) = dbos::recv(Some(KEY), PATIENCE).await? {
            mark::began(sent);
        }
    }
    Ok(0)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    bench_common::main::<Peer>(&Args::from_env()?).await
}
