//! What a workflow's handle tells, and how a workflow ends for those who wait.

use std::time::Duration;

use dbos_runtime::{Ctx as RuntimeCtx, Dbos, Error, ErrorKind, WorkflowId, WorkflowStatus, workflow};
use harness::{Fresh, on_each_backend, until};
use serde_json::json;
use tokio::task::JoinSet;

use super::support::{Failure, Log, builder, done, row, stop, text};
use super::workflows::{double, send_go, wait};

type Ctx = RuntimeCtx<Log, Failure>;

#[workflow]
async fn fail(ctx: Ctx, left: u32) -> Result<u32, Failure> {
    ctx.state().add("fail");
    Err(Failure::SoldOut { left })
}

#[workflow]
async fn panics(ctx: Ctx) -> Result<(), Failure> {
    ctx.state().add("panics");
    panic!("out of paper");
}

async fn launch_as(executor: &str, fresh: &Fresh, log: &Log) -> Dbos {
    let builder = builder(fresh, log).executor_id(executor).register(double).register(wait);
    builder.register(fail).register(panics).launch().await.unwrap()
}

async fn launch(fresh: &Fresh) -> (Dbos, Log) {
    let log = Log::default();
    (launch_as("one", fresh, &log).await, log)
}

on_each_backend! {
    // 33, 34
    async fn an_error_is_stored_and_comes_back_as_its_type(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        let failure = Failure::SoldOut { left: 2 };
        assert_eq!(dbos.start(fail, 2).id("w").await.unwrap().result().await.unwrap_err(), failure);
        let again = dbos.start(fail, 2).id("w").await.unwrap();
        assert!(!again.created());
        assert_eq!(again.result().await.unwrap_err(), failure);
        assert_eq!(again.try_result().await.unwrap_err(), failure);
        assert_eq!(log.count("fail"), 1);
        assert_eq!(text(&fresh, "workflow_status", "w", "status").await, "ERROR");
        let stored = r#"{"name":"Failure","message":"only 2 left","code":null,"data":{"SoldOut":{"left":2}}}"#;
        assert_eq!(row(&fresh, "workflow_output", "w", "output, error").await, json!({"output": null, "error": stored}));

        let untyped = dbos.retrieve::<u32, Error>("w").await.unwrap().result().await.unwrap_err();
        assert_eq!((untyped.kind(), untyped.name()), (ErrorKind::Foreign, "Failure"));
        assert_eq!((untyped.to_string().as_str(), untyped.data()), ("only 2 left", &json!({"SoldOut": {"left": 2}})));
        stop(dbos).await;
    }

    async fn a_panic_is_the_workflows_error_and_its_neighbours_go_on(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        let neighbour = dbos.start(wait, 1).id("n").await.unwrap();
        let error = dbos.start(panics, ()).id("w").await.unwrap().result().await.unwrap_err().runtime();
        assert_eq!(error.kind(), ErrorKind::Panicked);
        assert!(error.to_string().contains("out of paper"), "{error}");
        assert_eq!(text(&fresh, "workflow_status", "w", "status").await, "ERROR");
        send_go(&dbos, "n", 7).await;
        assert_eq!(neighbour.result().await.unwrap(), 7);
        assert_eq!((log.count("panics"), log.count("wait")), (1, 1));
        stop(dbos).await;
    }

    // 36
    async fn a_handle_tells_where_its_workflow_stands(fresh: Fresh) {
        let (dbos, _log) = launch(&fresh).await;
        let handle = dbos.start(wait, 1).id("w").await.unwrap();
        let info = handle.status().await.unwrap();
        assert_eq!((info.status, info.completed_at), (Some(WorkflowStatus::Pending), None));
        assert_eq!((info.id.as_str(), info.name.as_deref()), ("w", Some("wait")));
        assert_eq!((info.executor_id.as_deref(), info.application_version.as_deref()), (Some("one"), Some("v1")));
        assert_eq!((info.recovery_attempts, info.queue_name, info.parent_workflow_id), (1, None, None));
        assert_eq!(handle.try_result().await.unwrap(), None);

        send_go(&dbos, "w", 7).await;
        assert_eq!(handle.result().await.unwrap(), 7);
        assert_eq!(handle.try_result().await.unwrap(), Some(7));
        let info = dbos.info("w").await.unwrap();
        assert_eq!(info.status, Some(WorkflowStatus::Success));
        assert_eq!(info.completed_at, Some(info.updated_at));

        for missing in [dbos.info("none").await.map(drop), dbos.retrieve::<u32, Error>("none").await.map(drop)] {
            let error = missing.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NonExistentWorkflow);
            assert_eq!(error.workflow_id().map(WorkflowId::as_str), Some("none"));
        }
        stop(dbos).await;
    }

    async fn a_result_is_awaited_in_another_process(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        let other = launch_as("two", &fresh, &log).await;
        dbos.start(wait, 1).id("w").await.unwrap();
        let there = other.retrieve::<u32, Failure>("w").await.unwrap();
        assert!(!there.created());
        let mut waiting = JoinSet::new();
        waiting.spawn(async move { there.result().await });
        done(&log, "wait", 1).await;
        send_go(&other, "w", 7).await;
        assert_eq!(waiting.join_next().await.unwrap().unwrap().unwrap(), 7);

        dbos.start(fail, 2).id("f").await.unwrap();
        let there = other.retrieve::<u32, Failure>("f").await.unwrap();
        assert_eq!(there.result().await.unwrap_err(), Failure::SoldOut { left: 2 });
        assert_eq!(log.entries(), ["wait", "fail"], "the other process ran nothing");
        stop(other).await;
        stop(dbos).await;
    }

    // 38, 64
    async fn dropping_a_handle_or_a_waiter_stops_nothing(fresh: Fresh) {
        let (dbos, _log) = launch(&fresh).await;
        let handle = dbos.start(wait, 1).id("w").await.unwrap();
        let left = harness::drops::drop_after(handle.result(), 1).await;
        assert!(left.is_none(), "it was still waiting");
        drop(handle);
        let other = dbos.retrieve::<u32, Failure>("w").await.unwrap();
        send_go(&dbos, "w", 7).await;
        assert_eq!(other.result().await.unwrap(), 7);
        stop(dbos).await;
    }

    // 51, 52
    async fn a_shutdown_leaves_unfinished_work_to_the_next_process(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        let handle = dbos.start(wait, 1).id("w").await.unwrap();
        done(&log, "wait", 1).await;
        dbos.shutdown(Duration::ZERO).await;
        assert_eq!(handle.result().await.unwrap_err().runtime().kind(), ErrorKind::ShuttingDown);
        assert_eq!(dbos.start(double, 1).await.unwrap_err().kind(), ErrorKind::ShuttingDown);
        assert_eq!(text(&fresh, "workflow_status", "w", "status").await, "PENDING");

        let dbos = launch_as("one", &fresh, &log).await;
        send_go(&dbos, "w", 7).await;
        let handle = dbos.retrieve::<u32, Failure>("w").await.unwrap();
        assert_eq!(handle.result().await.unwrap(), 7);
        until("the outcome is there", async || fresh.scalar("SELECT count(*) FROM workflow_output").await == 1).await;
        assert_eq!(fresh.scalar("SELECT recovery_attempts FROM workflow_status").await, 2);
        assert_eq!(log.entries(), ["wait", "wait"]);
        stop(dbos).await;
    }
}
