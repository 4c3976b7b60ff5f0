//! The benchmark of `dbos-runtime`, with all settings at their defaults.

mod parked;

use std::sync::Arc;
use std::time::Duration;

use bench_common::{ALONE, Args, BoxError, Engine, Flow, KEY, PATIENCE, Place, Workload, mark, queue};
use dbos_runtime::{Ctx as RtCtx, Dbos, Error, Queue, WorkflowId, workflow};
use tokio::sync::mpsc;

type Ctx = RtCtx<(), Error>;

/// The launched engine.
struct Ours(Dbos);

impl Engine for Ours {
    async fn launch(args: &Args, place: Place) -> Result<Self, BoxError> {
        let mut builder = Dbos::builder("bench")
            .database_url(&args.url)
            .executor_id(place.executor)
            .state(())
            .register(adds)
            .register(begins)
            .register(publishes)
            .register(receives)
            .register(writes)
            .register(parked::sleeps)
            .register(parked::waits);
        for number in 0..place.queues {
            builder = builder.queue(Queue::new(queue(number)));
        }
        if !place.works {
            builder = builder.listen_queues(Vec::<String>::new());
        }
        Ok(Self(builder.launch().await?))
    }

    async fn run(&self, steps: i64) -> Result<i64, BoxError> {
        Ok(self.0.start(adds, steps).await?.result().await?)
    }

    async fn start(&self, flow: Flow, id: Option<&str>, input: i64) -> Result<(), BoxError> {
        let start = match flow {
            Flow::Adds => self.0.start(adds, input),
            Flow::Begins => self.0.start(begins, input),
            Flow::Publishes => self.0.start(publishes, input),
            Flow::Receives => self.0.start(receives, input),
            Flow::Writes => self.0.start(writes, input),
        };
        match id {
            Some(id) => start.id(id).await?,
            None => start.await?,
        };
        Ok(())
    }

    async fn enqueue(&self, flow: Flow, input: i64) -> Result<(), BoxError> {
        let start = match flow {
            Flow::Adds => self.0.start(adds, input),
            _ => self.0.start(begins, input),
        };
        start.queue(&queue(0)).await?;
        Ok(())
    }

    async fn send(&self, to: &str, value: i64) -> Result<(), BoxError> {
        self.0.send(&WorkflowId::try_from(to)?, &value).topic(KEY).await?;
        Ok(())
    }

    async fn event(&self, of: &str) -> Result<i64, BoxError> {
        let event = self.0.get_event(&WorkflowId::try_from(of)?, KEY, PATIENCE).await?;
        event.ok_or_else(|| "no event came".into())
    }

    async fn read(&self, of: &str, values: mpsc::UnboundedSender<i64>) -> Result<(), BoxError> {
        let mut stream = self.0.read_stream(&WorkflowId::try_from(of)?, KEY);
        while let Some(item) = stream.next().await {
            values.send(item?.1)?;
        }
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), BoxError> {
        self.0.shutdown(Duration::from_secs(5)).await;
        Ok(())
    }
}

#[workflow]
async fn adds(ctx: Ctx, steps: i64) -> Result<i64, Error> {
    let mut sum = 0;
    for i in 0..steps {
        sum += ctx.step("add", || async move { Ok(i) }).await?;
    }
    mark::ran().await;
    Ok(sum)
}

#[workflow]
async fn begins(_ctx: Ctx, sent: i64) -> Result<i64, Error> {
    mark::began(sent);
    Ok(0)
}

#[workflow]
async fn publishes(ctx: Ctx, _input: i64) -> Result<i64, Error> {
    ctx.set_event(KEY, &mark::now()).await?;
    Ok(0)
}

#[workflow]
async fn receives(ctx: Ctx, count: i64) -> Result<i64, Error> {
    for _ in 0..count {
        if let Some(sent) = ctx.recv(KEY).timeout(PATIENCE).await? {
            mark::began(sent);
        }
    }
    Ok(0)
}

#[workflow]
async fn writes(ctx: Ctx, count: i64) -> Result<i64, Error> {
    for _ in 0..count {
        mark::turn().await;
        ctx.write_stream(KEY, &mark::now()).await?;
    }
    Ok(0)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::from_env()?;
    if args.workload != Workload::Parked {
        return bench_common::main::<Ours>(&args).await;
    }
    let ours = Arc::new(Ours::launch(&args, ALONE).await?);
    println!("{}", parked::measure(&ours, &args).await?);
    ours.shutdown().await
}
