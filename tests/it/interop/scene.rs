//! Our application among the others: the same workflows as in `witness.py` and `witness.mjs`.

use std::time::Duration;

use dbos_runtime::{Builder, Dbos, Error, ErrorKind, Queue, WorkflowHandle, WorkflowId, WorkflowRef};
use harness::Fresh;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) type Ctx = dbos_runtime::Ctx<(), Shop>;

pub(super) const ECHO: WorkflowRef<Value, Value, Shop> = WorkflowRef::named("echo");
pub(super) const SOLD_OUT: WorkflowRef<u32, Value, Shop> = WorkflowRef::named("sold_out");
pub(super) const CONVERSE: WorkflowRef<String, Value, Shop> = WorkflowRef::named("converse");
pub(super) const RELAY: WorkflowRef<(String, String), Value, Shop> = WorkflowRef::named("relay");
pub(super) const SIT: WorkflowRef<(), Value, Shop> = WorkflowRef::named("sit");
pub(super) const THREE_STEPS: WorkflowRef<u32, Value, Shop> = WorkflowRef::named("three_steps");

/// The one queue that our application works on.
pub(super) const QUEUE: &str = "rust-queue";

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// As long as a witness waits for anything.
pub(super) const WAIT: Duration = Duration::from_secs(120);

/// What this application's workflows fail with.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub(super) enum Shop {
    #[error("only {left} left")]
    SoldOut { left: u32 },
    #[error(transparent)]
    Runtime(#[from] Error),
}

impl Shop {
    /// The runtime's error in it.
    #[track_caller]
    pub(super) fn runtime(self) -> Error {
        match self {
            Self::Runtime(error) => error,
            own @ Self::SoldOut { .. } => panic!("an error of the application: {own}"),
        }
    }
}

pub(super) fn builder(fresh: &Fresh) -> Builder<()> {
    Dbos::builder("rust-app")
        .database_url(fresh.url())
        .application_version("rust-v1")
        .executor_id("rust")
        .polling_interval(Duration::from_millis(50))
        .queue(Queue::new(QUEUE).polling_interval(Duration::from_millis(50)))
        .listen_queues([QUEUE])
        .register_fn("echo", async |_: Ctx, value: Value| Ok::<_, Shop>(value))
        .register_fn("sold_out", async |_: Ctx, left: u32| Err::<Value, _>(Shop::SoldOut { left }))
        .register_fn("converse", converse)
        .register_fn("sit", async |ctx: Ctx, ()| ctx.recv::<Value>("rise").timeout(HOUR).await)
        .register_fn("three_steps", three_steps)
        .register_fn("relay", relay)
        .register_fn("nightly", async |_: Ctx, (at, context): (String, Value)| {
            Ok::<_, Shop>(json!({"at": at, "context": context}))
        })
}

pub(super) async fn launch(fresh: &Fresh) -> Dbos {
    builder(fresh).launch().await.unwrap()
}

async fn converse(ctx: Ctx, name: String) -> Result<Value, Shop> {
    ctx.set_event("greeting", &json!({"hello": name})).await?;
    ctx.write_stream("progress", &json!({"n": 1})).await?;
    ctx.write_stream("progress", &json!({"n": 2})).await?;
    ctx.close_stream("progress").await?;
    let got = ctx.recv::<Value>("answer").timeout(WAIT).await?;
    Ok(json!({"name": name, "got": got}))
}

/// Starts `converse` elsewhere, and talks with it from inside a workflow.
async fn relay(ctx: Ctx, (queue, application): (String, String)) -> Result<Value, Shop> {
    let child = ctx.start(CONVERSE, "Ada".to_owned()).queue(&queue).application(&application).await?;
    let greeting = ctx.get_event::<Value>(child.id(), "greeting").timeout(WAIT).await?;
    let mut progress = Vec::new();
    let mut reader = ctx.read_stream::<Value>(child.id(), "progress").timeout(WAIT);
    while let Some((_, value)) = reader.next().await? {
        progress.push(value);
    }
    ctx.send(child.id(), &json!({"from": ctx.workflow_id()})).topic("answer").await?;
    let result = child.result().await?;
    Ok(json!({"child": child.id(), "greeting": greeting, "progress": progress, "result": result}))
}

async fn three_steps(ctx: Ctx, base: u32) -> Result<Vec<u32>, Shop> {
    let a = ctx.step("one", || async { Ok(base + 1) }).await?;
    let b = ctx.step("two", || async { Ok(a * 2) }).await?;
    ctx.step("three", || async { Ok(vec![a, b]) }).await
}

pub(super) fn id(text: &str) -> WorkflowId {
    WorkflowId::parse(text).unwrap()
}

/// A handle to a workflow of anybody.
pub(super) async fn find(dbos: &Dbos, id: &str) -> WorkflowHandle<Value, Shop> {
    dbos.retrieve(id).await.unwrap()
}

/// The end of a workflow of anybody, within a time in which no witness's own timeout comes round.
pub(super) async fn result_of(dbos: &Dbos, id: &str) -> Result<Value, Shop> {
    tokio::time::timeout(WAIT, find(dbos, id).await.result()).await.expect("the workflow ends")
}

#[track_caller]
pub(super) fn assert_kind(result: Result<Value, Shop>, kind: ErrorKind) {
    let error = result.expect_err("it fails").runtime();
    assert_eq!(error.kind(), kind, "{error}");
}
