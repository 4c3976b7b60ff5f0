//! Waiting for the first of several workflows, and for all of them.

use dbos_runtime::{Client, Dbos, Error, ErrorKind, WorkflowId, WorkflowRef};
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};

use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, launch, result_of, start, step, steps, until_rows,
};

/// Ends when it gets a message, with that.
async fn told(ctx: Ctx, _: Value) -> Result<Value, Error> {
    Ok(json!(ctx.recv::<Value>("end").timeout(HOUR).await?))
}

async fn end(dbos: &Dbos, workflow: &str) {
    dbos.send(&id(workflow), &json!(workflow)).topic("end").await.unwrap();
}

async fn launch_both(
    fresh: &Fresh,
    w: fn(Ctx) -> futures_util::future::BoxFuture<'static, Result<Value, Error>>,
) -> Dbos {
    harness::builder(fresh)
        .register_fn("told", told)
        .register_fn("w", move |ctx: Ctx, _: Value| w(ctx))
        .launch()
        .await
        .unwrap()
}

const TOLD: WorkflowRef<Value, Value> = WorkflowRef::named("told");

on_each_backend! {
    // B59, B61
    async fn the_first_workflow_to_end_is_found_however_it_ended(fresh: Fresh) {
        let dbos = launch(&fresh, told).await;
        let ids: Vec<WorkflowId> = ["a", "b", "c"].map(id).into();
        for id in &ids {
            start(&dbos, id.as_str()).await;
        }
        let (first, ()) = tokio::join!(dbos.wait_first(&ids), end(&dbos, "b"));
        assert_eq!(first.unwrap(), ids[1]);
        assert!(dbos.cancel(&ids[0]).await.unwrap());
        let client = Client::builder().database_url(fresh.url()).connect().await.unwrap();
        assert_eq!(client.wait_first([&ids[2], &ids[1]]).await.unwrap(), ids[1]);
        // Of several that have ended the first one given, in either order.
        assert_eq!(dbos.wait_first(&ids).await.unwrap(), ids[0]);
        assert_eq!(dbos.wait_first(ids.iter().rev()).await.unwrap(), ids[1]);
        fresh.execute("UPDATE workflow_status SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED' WHERE workflow_uuid = 'c'").await;
        assert_eq!(dbos.wait_first([&ids[2]]).await.unwrap(), ids[2]);
    }

    // B59
    async fn workflows_that_wait_on_a_queue_have_not_ended(fresh: Fresh) {
        let dbos = launch(&fresh, told).await;
        for (name, status) in [("a", "ENQUEUED"), ("b", "DELAYED"), ("c", "PENDING")] {
            fresh
                .execute(&format!(
                    "INSERT INTO workflow_status (workflow_uuid, status, name, application_name, queue_name)
                     VALUES ('{name}', '{status}', 'elsewhere', 'another', 'q')"
                ))
                .await;
        }
        let ids = ["a", "b", "c"].map(id);
        let waiting = dbos.wait_first(&ids);
        let mut waiting = Box::pin(waiting);
        let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut waiting).await;
        assert!(early.is_err(), "{early:?}");
        // Another process ends it: no hint tells of that.
        fresh.execute("UPDATE workflow_status SET status = 'ERROR' WHERE workflow_uuid = 'b'").await;
        assert_eq!(waiting.await.unwrap(), ids[1]);
    }

    // B60
    async fn nothing_to_wait_for_the_same_twice_and_an_unknown_workflow_are_refused(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, _| {
            let own = ctx.workflow_id().clone();
            assert_kind(ctx.wait_first([]).await, ErrorKind::InvalidArgument);
            assert_kind(ctx.wait_first([&own, &own]).await, ErrorKind::InvalidArgument);
            assert_kind(ctx.wait_first([&id("nobody")]).await, ErrorKind::NonExistentWorkflow);
            ctx.step("after", || async { Ok(Value::Null) }).await
        })
        .await;
        assert_kind(dbos.wait_first([]).await, ErrorKind::InvalidArgument);
        assert_kind(dbos.wait_first([&id("a"), &id("a")]).await, ErrorKind::InvalidArgument);
        assert_kind(dbos.wait_first([&id("a")]).await, ErrorKind::NonExistentWorkflow);
        result_of(&start(&dbos, "w").await).await.unwrap();
        let names: Vec<_> = steps(&fresh, "w").await.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        let name = |number: &str, name: &str| (Some(number.to_owned()), Some(name.to_owned()));
        assert_eq!(names, [name("1", "DBOS.waitFirst"), name("2", "after")], "only the third question was one");
    }

    // B59
    async fn a_workflow_that_waits_for_the_first_records_it_and_replays_it(fresh: Fresh) {
        let body: fn(Ctx) -> futures_util::future::BoxFuture<'static, Result<Value, Error>> = |ctx| {
            Box::pin(async move {
                let first = ctx.wait_first([&id("a"), &id("b")]).await?;
                Ok(json!(first))
            })
        };
        let dbos = launch_both(&fresh, body).await;
        for name in ["a", "b"] {
            dbos.start(TOLD, Value::Null).id(name).await.unwrap();
        }
        let handle = dbos.start(W, Value::Null).id("w").await.unwrap();
        end(&dbos, "b").await;
        assert_eq!(result_of(&handle).await.unwrap(), json!("b"));
        assert_eq!(steps(&fresh, "w").await, [step(1, "DBOS.waitFirst", Some("\"b\""), Some("portable_json"))]);
        end(&dbos, "a").await;
        until_rows(&fresh, 0, "workflow_status WHERE status = 'PENDING'").await;
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        // Both have ended now, `a` is the first one given, and the answer is the recorded one.
        let dbos = launch_both(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), json!("b"));
    }

    // B61: a wait ends with its workflow, and records nothing then.
    async fn a_cancelled_workflow_waits_for_nobody(fresh: Fresh) {
        let body: fn(Ctx) -> futures_util::future::BoxFuture<'static, Result<Value, Error>> =
            |ctx| Box::pin(async move { Ok(json!(ctx.wait_first([&id("a")]).await?)) });
        let dbos = launch_both(&fresh, body).await;
        dbos.start(TOLD, Value::Null).id("a").await.unwrap();
        let handle = dbos.start(W, Value::Null).id("w").await.unwrap();
        assert!(dbos.cancel(handle.id()).await.unwrap());
        assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
        assert_eq!(steps(&fresh, "w").await.len(), 0);
    }

    // B62
    async fn joined_results_come_in_the_order_of_the_workflows_and_not_of_their_ends(fresh: Fresh) {
        let body: fn(Ctx) -> futures_util::future::BoxFuture<'static, Result<Value, Error>> = |ctx| {
            Box::pin(async move {
                let mut children = Vec::new();
                for name in ["a", "b", "c"] {
                    children.push(ctx.start(TOLD, Value::Null).id(name).await?);
                }
                let results = join_all(children.iter().map(dbos_runtime::ChildHandle::result)).await;
                Ok(json!(results.into_iter().collect::<Result<Vec<_>, _>>()?))
            })
        };
        let dbos = launch_both(&fresh, body).await;
        let handle = dbos.start(W, Value::Null).id("w").await.unwrap();
        for (ended, name) in (1..).zip(["c", "a", "b"]) {
            harness::until("the child is there", async || dbos.info(name).await.is_ok()).await;
            end(&dbos, name).await;
            until_rows(&fresh, ended, "operation_outputs WHERE function_name = 'DBOS.getResult'").await;
        }
        assert_eq!(result_of(&handle).await.unwrap(), json!(["a", "b", "c"]));
    }
}
