//! Steps: run once, recorded, replayed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dbos_runtime::{Ctx as RuntimeCtx, Error, ErrorKind, Retry, workflow};
use harness::on_each_backend;

type Calls = Arc<AtomicU32>;
type Ctx = RuntimeCtx<Calls, Error>;

#[workflow]
async fn counts(ctx: Ctx, n: u32) -> Result<u32, Error> {
    let calls = ctx.state().clone();
    let mut sum = 0;
    for i in 0..n {
        sum += ctx
            .step("add", || {
                calls.fetch_add(1, Ordering::SeqCst);
                async move { Ok(i) }
            })
            .await?;
    }
    Ok(sum)
}

#[workflow]
async fn flaky(ctx: Ctx, fail: u32) -> Result<u32, Error> {
    ctx.step_with("flaky", |step| async move {
        if step.attempt() < fail {
            Err("nope"
                .parse::<dbos_runtime::WorkflowId>()
                .map(|_| ())
                .err()
                .unwrap_or_else(|| dbos_runtime::WorkflowId::parse("").unwrap_err()))
        } else {
            Ok(step.attempt())
        }
    })
    .retry(Retry::times(3).interval(Duration::from_millis(1)))
    .await
}

on_each_backend! {
    async fn a_workflow_runs_its_steps_and_keeps_its_result(fresh: Fresh) {
        let calls = Calls::default();
        let dbos = harness::builder(&fresh).state(calls.clone()).register(counts).register(flaky).launch().await.unwrap();
        let handle = dbos.start(counts, 5).id("w").await.unwrap();
        assert_eq!(handle.result().await.unwrap(), 10);
        assert_eq!(calls.load(Ordering::SeqCst), 5);
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, 5);
        assert_eq!(dbos.start(flaky, 2).await.unwrap().result().await.unwrap(), 2);
        let error = dbos.start(flaky, 5).await.unwrap().result().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MaxStepRetriesExceeded);
        assert_eq!(error.attempts().len(), 3);
        dbos.shutdown(Duration::from_secs(1)).await;
    }
}
