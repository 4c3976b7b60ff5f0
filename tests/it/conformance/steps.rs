//! Steps: recorded once, numbered where they are called, refused where they could not be replayed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dbos_runtime::{
    Ctx as RuntimeCtx, Dbos, ErrorKind, Retry, StepCtx, WorkflowHandle, WorkflowRef, workflow,
};
use futures_util::future::join3;
use harness::{Fresh, on_each_backend};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::support::{Failure, Log, builder, done, stop, text, trail};

type Ctx = RuntimeCtx<Log, Failure>;

async fn one(log: &Log, name: &str) -> Result<u32, Failure> {
    log.add(name);
    Ok(1)
}

/// Adds a step to the log and to the history.
async fn step(ctx: &Ctx, name: &str) -> Result<u32, Failure> {
    ctx.step(name, || one(ctx.state(), name)).await
}

fn kind_of(result: Result<u32, Failure>) -> Option<ErrorKind> {
    result.err().map(|failure| failure.runtime().kind())
}

/// Runs `body` as a workflow named `w` with the id `w` to its end.
async fn run<F, Fut>(fresh: &Fresh, log: &Log, body: F) -> Result<u32, Failure>
where
    F: Fn(Ctx, ()) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, Failure>> + Send + 'static,
{
    let dbos = builder(fresh, log).register_fn("w", body).launch().await.unwrap();
    let result = start(&dbos).await.result().await;
    stop(dbos).await;
    result
}

async fn start(dbos: &Dbos) -> WorkflowHandle<u32, Failure> {
    dbos.start(WorkflowRef::<(), u32, Failure>::named("w"), ()).id("w").await.unwrap()
}

#[workflow]
async fn sums(ctx: Ctx, n: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for index in 0..n {
        let log = ctx.state();
        sum += ctx
            .step("add", || async move {
                log.add("add");
                Ok(index)
            })
            .await?;
    }
    Ok(sum)
}

on_each_backend! {
    async fn each_step_runs_once_and_is_recorded_with_its_result(fresh: Fresh) {
        let log = Log::default();
        let dbos = builder(&fresh, &log).register(sums).launch().await.unwrap();
        assert_eq!(dbos.start(sums, 4).id("w").await.unwrap().result().await.unwrap(), 6);
        assert_eq!(log.count("add"), 4);
        let rows = fresh.rows("SELECT function_id, function_name, output, error, child_workflow_id, serialization, \
            application_name FROM operation_outputs WHERE workflow_uuid = 'w' ORDER BY function_id").await;
        let expected: Vec<_> = (1..=4).map(|number| json!({
            "function_id": number, "function_name": "add", "output": (number - 1).to_string(), "error": null,
            "child_workflow_id": null, "serialization": "portable_json", "application_name": "tests",
        })).collect();
        assert_eq!(rows, expected);
        stop(dbos).await;
    }

    // 145
    async fn many_workflows_at_once_keep_their_own_steps(fresh: Fresh) {
        let log = Log::default();
        let dbos = builder(&fresh, &log).register(sums).launch().await.unwrap();
        let mut running = JoinSet::new();
        for n in 0..40 {
            let start = dbos.start(sums, n % 8).id(format!("w{n}"));
            running.spawn(async move { assert_eq!(start.await.unwrap().result().await.unwrap(), (0..n % 8).sum::<u32>()) });
        }
        running.join_all().await;
        let rows = fresh.rows("SELECT workflow_uuid, count(*) AS steps, min(function_id) AS low, max(function_id) AS high \
            FROM operation_outputs GROUP BY workflow_uuid").await;
        assert_eq!(rows.len(), 35, "five have no step");
        for row in rows {
            let n: i64 = row["workflow_uuid"].as_str().unwrap()[1..].parse().unwrap();
            let found = [&row["steps"], &row["low"], &row["high"]].map(|number| number.as_i64().unwrap());
            assert_eq!(found, [n % 8, 1, n % 8], "w{n}");
        }
        assert_eq!(log.count("add"), 5 * 28);
        stop(dbos).await;
    }

    // 101, 104
    async fn an_error_is_recorded_unwrapped_and_comes_back_typed(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let log = ctx.state();
            let failed = ctx.step("sell", || async move { log.add("sell"); Err::<u32, _>(Failure::SoldOut { left: 3 }) });
            failed.await
        });
        assert_eq!(result.await.unwrap_err(), Failure::SoldOut { left: 3 });
        assert_eq!(log.count("sell"), 1, "the default is one attempt");
        let stored = r#"{"name":"Failure","message":"only 3 left","code":null,"data":{"SoldOut":{"left":3}}}"#;
        assert_eq!(text(&fresh, "operation_outputs", "w", "error").await, stored);
        assert_eq!(text(&fresh, "workflow_output", "w", "error").await, stored);
    }

    async fn a_panic_in_a_step_is_its_recorded_error_and_the_body_goes_on(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let jammed = ctx.step::<u32, _, _>("print", || async { panic!("paper jam") }).await;
            let error = jammed.unwrap_err().runtime();
            assert_eq!(error.kind(), ErrorKind::Panicked);
            assert!(error.to_string().contains("paper jam") && error.to_string().contains("print"), "{error}");
            step(&ctx, "after").await
        });
        assert_eq!(result.await.unwrap(), 1);
        assert_eq!(trail(&fresh, "w").await, "1 print, 2 after");
        assert_eq!(log.entries(), ["after"]);
        let recorded = "SELECT count(*) FROM operation_outputs WHERE function_id = 1 AND error LIKE '%paper jam%'";
        assert_eq!(fresh.scalar(recorded).await, 1);
    }

    async fn a_step_that_runs_once_may_give_away_what_it_captured(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let parcel = vec![1_u32, 2, 3];
            ctx.step_once("ship", |step| async move {
                assert_eq!((step.number(), step.attempt(), step.attempts()), (1, 0, 1));
                Ok(parcel.into_iter().sum())
            })
            .await
        });
        assert_eq!(result.await.unwrap(), 6);
        assert_eq!(trail(&fresh, "w").await, "1 ship");
    }

    // 135
    async fn numbers_follow_the_calls_and_not_the_awaits(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let log = ctx.state();
            let (a, b) = (ctx.step("a", || one(log, "a")), ctx.step("b", || one(log, "b")));
            let first = b.await?;
            Ok(first + a.await?)
        });
        assert_eq!(result.await.unwrap(), 2);
        assert_eq!(log.entries(), ["b", "a"]);
        assert_eq!(trail(&fresh, "w").await, "1 a, 2 b");
    }

    async fn joined_steps_are_numbered_in_the_order_of_their_calls(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let (log, b_done, c_done) = (ctx.state(), &Notify::new(), &Notify::new());
            // Each waits for the one called after it, so they end in the opposite order.
            let a = ctx.step("a", || async move { b_done.notified().await; one(log, "a").await });
            let b = ctx.step("b", || async move { c_done.notified().await; b_done.notify_one(); one(log, "b").await });
            let c = ctx.step("c", || async move { c_done.notify_one(); one(log, "c").await });
            let (a, b, c) = join3(a, b, c).await;
            Ok(a? + b? + c?)
        });
        assert_eq!(result.await.unwrap(), 3);
        assert_eq!(log.entries()[0], "c");
        assert_eq!(trail(&fresh, "w").await, "1 a, 2 b, 3 c");
    }

    async fn a_dropped_call_uses_up_its_number_and_does_nothing(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            drop(ctx.step("dropped", || one(ctx.state(), "dropped")));
            step(&ctx, "kept").await
        });
        assert_eq!(result.await.unwrap(), 1);
        assert_eq!(log.entries(), ["kept"]);
        assert_eq!(trail(&fresh, "w").await, "2 kept");
    }

    // 137
    async fn a_call_that_breaks_a_rule_is_refused_without_a_number(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let long = "x".repeat(257);
            for name in ["", " a", "a\n", "a\0", long.as_str()] {
                assert_eq!(kind_of(step(&ctx, name).await), Some(ErrorKind::InvalidArgument), "{name:?}");
            }
            let once = ctx.step_once("", |_| async { Ok(1_u32) }).await;
            assert_eq!(kind_of(once), Some(ErrorKind::InvalidArgument));
            step(&ctx, &"x".repeat(256)).await
        });
        assert_eq!(result.await.unwrap(), 1);
        assert_eq!(log.entries().len(), 1);
        assert_eq!(trail(&fresh, "w").await, format!("1 {}", "x".repeat(256)));
    }

    // 99
    async fn a_durable_call_inside_a_step_is_refused_without_a_number(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let (inner, outside) = (&ctx, &ctx);
            let built = outside.step("built", || one(outside.state(), "built"));
            let mut built = Some(built);
            let kinds = ctx.step_once("outer", |_| async move {
                let built = built.take().unwrap();
                Ok([
                    kind_of(step(inner, "inner").await),
                    inner.sleep(Duration::from_secs(60)).await.err().map(|failure| failure.runtime().kind()),
                    inner.recv::<u32>("go").await.err().map(|failure| failure.runtime().kind()),
                    inner.uuid().await.err().map(|failure| failure.runtime().kind()),
                    kind_of(built.await),
                ])
            })
            .await?;
            assert_eq!(kinds, [Some(ErrorKind::Misplaced); 5]);
            step(&ctx, "next").await
        });
        assert_eq!(result.await.unwrap(), 1);
        assert_eq!(log.entries(), ["next"]);
        assert_eq!(trail(&fresh, "w").await, "2 outer, 3 next", "only the call built in the body took a number");
    }

    async fn a_durable_call_in_a_spawned_task_is_refused(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let mut tasks = JoinSet::new();
            let moved = ctx.clone();
            tasks.spawn(async move { step(&moved, "spawned").await });
            let log = ctx.state().clone();
            let built = ctx.step("moved", move || { log.add("moved"); async { Ok(1) } });
            tasks.spawn(built);
            while let Some(refused) = tasks.join_next().await {
                assert_eq!(kind_of(refused.unwrap()), Some(ErrorKind::Misplaced));
            }
            step(&ctx, "next").await
        });
        assert_eq!(result.await.unwrap(), 1);
        assert_eq!(log.entries(), ["next"]);
        assert_eq!(trail(&fresh, "w").await, "2 next", "1 went to the call that was built here and moved away");
    }

    async fn a_durable_call_of_another_workflow_or_from_outside_is_refused(fresh: Fresh) {
        let log = Log::default();
        let kept: Arc<Mutex<Option<Ctx>>> = Arc::default();
        let (keep, thief) = (Arc::clone(&kept), Arc::clone(&kept));
        let dbos = builder(&fresh, &log)
            .register_fn("w", move |ctx: Ctx, (): ()| {
                *keep.lock().unwrap() = Some(ctx.clone());
                async move {
                    ctx.state().add("kept");
                    ctx.recv::<u32>("go").await?;
                    step(&ctx, "own").await
                }
            })
            .register_fn("thief", move |ctx: Ctx, (): ()| {
                let stolen = thief.lock().unwrap().clone().unwrap();
                async move {
                    assert_eq!(kind_of(step(&stolen, "stolen").await), Some(ErrorKind::Misplaced));
                    step(&ctx, "mine").await
                }
            })
            .launch().await.unwrap();
        let victim = start(&dbos).await;
        done(&log, "kept", 1).await;
        let thief = WorkflowRef::<(), u32, Failure>::named("thief");
        assert_eq!(dbos.start(thief, ()).id("t").await.unwrap().result().await.unwrap(), 1);
        let outside = kept.lock().unwrap().clone().unwrap();
        assert_eq!(kind_of(step(&outside, "outside").await), Some(ErrorKind::Misplaced));

        dbos.send(victim.id(), &1).topic("go").await.unwrap();
        assert_eq!(victim.result().await.unwrap(), 1);
        assert_eq!(kind_of(step(&outside, "late").await), Some(ErrorKind::Misplaced), "nor after its end");
        assert_eq!(log.entries(), ["kept", "mine", "own"]);
        assert_eq!(trail(&fresh, "w").await, "1 DBOS.recv, 2 DBOS.sleep, 3 own");
        assert_eq!(trail(&fresh, "t").await, "1 mine");
        stop(dbos).await;
    }

    // 109, 110
    async fn a_body_is_told_its_number_its_attempt_and_a_key_of_its_own(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let log = ctx.state();
            let tell = |step: StepCtx| {
                log.add(format!("{} {}/{} {}", step.number(), step.attempt(), step.attempts(), step.idempotency_key()));
                async move { if step.attempt() < 2 { Err(Failure::SoldOut { left: 0 }) } else { Ok(step.attempt()) } }
            };
            let retry = Retry::times(4).interval(Duration::from_millis(1));
            let first = ctx.step_with("first", tell).retry(retry.clone()).await?;
            Ok(first + ctx.step_with("second", tell).retry(retry).await?)
        });
        assert_eq!(result.await.unwrap(), 4);
        let expected = ["1 0/4 w-1", "1 1/4 w-1", "1 2/4 w-1", "2 0/4 w-2", "2 1/4 w-2", "2 2/4 w-2"];
        assert_eq!(log.entries(), expected);
    }

    // B34, B35, K28
    async fn a_result_that_json_cannot_hold_is_a_recorded_error(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx, ()| async move {
            let pairs = ctx.step_once("pairs", |_| async { Ok(std::collections::BTreeMap::from([((1, 2), 3)])) }).await;
            assert_eq!(pairs.unwrap_err().runtime().kind(), ErrorKind::Serialization);
            step(&ctx, "after").await
        });
        assert_eq!(result.await.unwrap(), 1);
        assert_eq!(trail(&fresh, "w").await, "1 pairs, 2 after");
        let recorded = "SELECT count(*) FROM operation_outputs WHERE function_id = 1 AND output IS NULL AND error IS NOT NULL";
        assert_eq!(fresh.scalar(recorded).await, 1);
    }
}
