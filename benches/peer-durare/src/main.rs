//! The benchmark of the crate `durare`.
//!
//! It takes a pool of the application's making, which is what its guide to operations says to do
//! "for deliberate sizing". See `providers` for the settings, and `launch` for those of a queue;
//! everything else is its default.

mod providers;

use std::time::Duration;

use bench_common::{Args, BoxError, Engine, Flow, KEY, PATIENCE, Place, Workload, mark, queue};
use durare::{
    DurableContext, DurableEngine, EngineConfig, Error, WorkflowHandle, WorkflowOptions,
    WorkflowQueue,
};
use futures_util::StreamExt;
use tokio::sync::mpsc;

/// The engine; the workflows are registered by its macro.
struct Peer(DurableEngine);

impl Peer {
    async fn begin(
        &self,
        flow: Flow,
        input: i64,
        options: WorkflowOptions,
    ) -> durare::Result<WorkflowHandle<i64>> {
        match flow {
            Flow::Adds => self.0.start_with(Adds, input, options).await,
            Flow::Begins => self.0.start_with(Begins, input, options).await,
            Flow::Publishes => self.0.start_with(Publishes, input, options).await,
            Flow::Receives => self.0.start_with(Receives, input, options).await,
            Flow::Writes => self.0.start_with(Writes, input, options).await,
        }
    }
}

impl Engine for Peer {
    async fn launch(args: &Args, place: Place) -> Result<Self, BoxError> {
        let provider = match args.workload {
            Workload::Sqlite => providers::sqlite(args).await?,
            _ => providers::postgres(args).await?,
        };
        let config = EngineConfig::default().executor_id(place.executor).recover_on_launch(true);
        let mut engine = DurableEngine::with_config(provider, config).await?;
        for number in 0..place.queues {
            let mut queue = WorkflowQueue::new(queue(number));
            if args.workload == Workload::Drain {
                // By default it would claim 100 a second.
                queue = queue.max_tasks_per_iteration(10_000);
            }
            engine.register_queue(queue);
        }
        if !place.works {
            engine.listen_queues(Vec::<String>::new());
        }
        engine.launch().await?;
        Ok(Self(engine))
    }

    async fn run(&self, steps: i64) -> Result<i64, BoxError> {
        let handle = self.begin(Flow::Adds, steps, WorkflowOptions::default()).await?;
        Ok(handle.result().await?)
    }

    async fn start(&self, flow: Flow, id: Option<&str>, input: i64) -> Result<(), BoxError> {
        let options = id.map_or_else(WorkflowOptions::default, WorkflowOptions::with_id);
        self.begin(flow, input, options).await?;
        Ok(())
    }

    async fn enqueue(&self, flow: Flow, input: i64) -> Result<(), BoxError> {
        self.begin(flow, input, WorkflowOptions::default().queue(queue(0))).await?;
        Ok(())
    }

    async fn send(&self, to: &str, value: i64) -> Result<(), BoxError> {
        Ok(self.0.send(to, value, KEY).await?)
    }

    async fn event(&self, of: &str) -> Result<i64, BoxError> {
        self.0.get_event(of, KEY, PATIENCE).await?.ok_or_else(|| "no event came".into())
    }

    async fn read(&self, of: &str, values: mpsc::UnboundedSender<i64>) -> Result<(), BoxError> {
        let mut stream = std::pin::pin!(self.0.read_stream_values(of, KEY));
        while let Some(value) = stream.next().await {
            values.send(value?)?;
        }
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), BoxError> {
        Ok(self.0.shutdown(Duration::from_secs(5)).await?)
    }
}

#[durare::workflow]
async fn adds(ctx: DurableContext, steps: i64) -> durare::Result<i64> {
    let mut sum = 0;
    for i in 0..steps {
        sum += ctx.step("add", move || async move { Ok::<_, Error>(i) }).await?;
    }
    mark::ran().await;
    Ok(sum)
}

#[durare::workflow]
async fn begins(_ctx: DurableContext, sent: i64) -> durare::Result<i64> {
    mark::began(sent);
    Ok(0)
}

#[durare::workflow]
async fn publishes(ctx: DurableContext, _input: i64) -> durare::Result<i64> {
    ctx.set_event(KEY, mark::now()).await?;
    Ok(0)
}

#[durare::workflow]
async fn receives(ctx: DurableContext, count: i64) -> durare::Result<i64> {
    for _ in 0..count {
        if let Some(sent) = ctx.recv(KEY, PATIENCE).await? {
            mark::began(sent);
        }
    }
    Ok(0)
}

#[durare::workflow]
async fn writes(ctx: DurableContext, count: i64) -> durare::Result<i64> {
    for _ in 0..count {
        mark::turn().await;
        ctx.write_stream(KEY, mark::now()).await?;
    }
    Ok(0)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    bench_common::main::<Peer>(&Args::from_env()?).await
}
