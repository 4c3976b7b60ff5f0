//! Who takes a workflow up again, and what it keeps.

use std::time::Duration;

use dbos_runtime::{Ctx as RuntimeCtx, WorkflowRef, workflow};
use futures_util::future::join3;
use harness::proxy::Proxy;
use harness::{Backend, on_each_backend, until};

use super::replay::{finish, interrupted, wait};
use super::support::{Failure, Log, builder, done, stop, text, trail};

type Ctx = RuntimeCtx<Log, Failure>;

/// Steps `a`, `b` and `c` at once, of which one more is let through by each process; the others wait to be stopped.
#[workflow]
async fn joins(ctx: Ctx, order: [usize; 3]) -> Result<u32, Failure> {
    let log = ctx.state();
    let process = log.count("process");
    let id = ctx.workflow_id().as_str();
    let call = |index: usize, name: &'static str| {
        ctx.step_once(name, move |step| async move {
            if order[..process.min(3)].contains(&index) {
                log.add(format!("{id} {name}"));
                return Ok(1);
            }
            step.cancellation().cancelled().await;
            Err(Failure::SoldOut { left: 0 })
        })
    };
    let (a, b, c) = join3(call(0, "a"), call(1, "b"), call(2, "c")).await;
    Ok(a? + b? + c? + wait(&ctx).await?)
}

#[workflow]
async fn for_whom(ctx: Ctx) -> Result<Option<String>, Failure> {
    wait(&ctx).await?;
    Ok(ctx.authenticated_user().map(ToOwned::to_owned))
}

on_each_backend! {
    async fn another_executor_or_another_version_takes_nothing_up(fresh: Fresh) {
        let log = Log::default();
        interrupted(&log, builder(&fresh, &log).register(for_whom), for_whom).await;
        let stranger = builder(&fresh, &log).executor_id("two").register(for_whom).launch().await.unwrap();
        let newer = builder(&fresh, &log).application_version("v2").register(for_whom).launch().await.unwrap();
        assert_eq!(text(&fresh, "workflow_status", "w", "status").await, "PENDING", "recovery is over at launch");
        stop(stranger).await;
        stop(newer).await;
        let dbos = builder(&fresh, &log).register(for_whom).launch().await.unwrap();
        finish::<Option<String>, Failure>(&dbos, "w").await.unwrap();
        assert_eq!(log.count("waits"), 2);
        stop(dbos).await;
    }

    // K19, K20: 34 workflows, each taken up three times with another part of its steps recorded.
    async fn joined_steps_keep_their_numbers_over_a_hundred_recoveries(fresh: Fresh) {
        const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        const MANY: usize = 34;
        let log = Log::default();
        for process in 1..=4_usize {
            log.add("process");
            let dbos = builder(&fresh, &log).register(joins).launch().await.unwrap();
            if process == 1 {
                for index in 0..MANY {
                    dbos.start(joins, ORDERS[index % 6]).id(format!("w{index}")).await.unwrap();
                }
            }
            let recorded = i64::try_from(MANY * process.min(3)).unwrap();
            let steps = "SELECT count(*) FROM operation_outputs WHERE function_id <= 3";
            until("one more step of each is recorded", async || fresh.scalar(steps).await == recorded).await;
            if process >= 3 {
                done(&log, "waits", MANY * (process - 2)).await;
            }
            if process == 4 {
                for index in 0..MANY {
                    assert_eq!(finish::<u32, Failure>(&dbos, &format!("w{index}")).await.unwrap(), 4);
                }
            }
            stop(dbos).await;
        }
        let recoveries = fresh.scalar("SELECT sum(recovery_attempts - 1) FROM workflow_status").await;
        assert_eq!(recoveries, 102);
        for index in 0..MANY {
            let id = format!("w{index}");
            assert_eq!(trail(&fresh, &id).await, "1 a, 2 b, 3 c, 4 DBOS.recv, 5 DBOS.sleep");
            for name in ["a", "b", "c"] {
                assert_eq!(log.count(&format!("{id} {name}")), 1, "{name} of {id}");
            }
        }
    }

    // 110
    async fn a_step_that_was_cut_short_runs_again_with_the_same_key(fresh: Fresh) {
        let log = Log::default();
        let process = || builder(&fresh, &log).register_fn("cut", |ctx: Ctx, (): ()| async move {
            let log = ctx.state();
            ctx.step_with("charge", |step| async move {
                log.add(format!("{} {}", step.number(), step.idempotency_key()));
                if log.entries().len() == 1 {
                    step.cancellation().cancelled().await;
                    log.add("told to stop");
                }
                Ok(step.attempt())
            })
            .await
        });
        let dbos = process().launch().await.unwrap();
        dbos.start(WorkflowRef::<(), u32, Failure>::named("cut"), ()).id("w").await.unwrap();
        done(&log, "1 w-1", 1).await;
        stop(dbos).await;
        assert_eq!(trail(&fresh, "w").await, "", "what ends after the signal is not recorded");
        let dbos = process().launch().await.unwrap();
        assert_eq!(dbos.retrieve::<u32, Failure>("w").await.unwrap().result().await.unwrap(), 0);
        assert_eq!(log.entries(), ["1 w-1", "told to stop", "1 w-1"]);
        assert_eq!(trail(&fresh, "w").await, "1 charge");
        stop(dbos).await;
    }

    // K17
    async fn the_user_is_still_known_after_a_recovery(fresh: Fresh) {
        let log = Log::default();
        interrupted(&log, builder(&fresh, &log).register(for_whom), for_whom).await;
        let dbos = builder(&fresh, &log).register(for_whom).launch().await.unwrap();
        assert_eq!(finish::<Option<String>, Failure>(&dbos, "w").await.unwrap().as_deref(), Some("ada"));
        stop(dbos).await;
    }

    // K05
    async fn a_workflow_that_nobody_registered_does_not_hold_up_the_others(fresh: Fresh) {
        let log = Log::default();
        let double = |ctx: Ctx, n: u32| async move { ctx.state().add("double"); Ok::<_, Failure>(n * 2) };
        for n in 0..10 {
            let name = if n == 2 { "unknown" } else { "double" };
            fresh.execute(&format!("INSERT INTO workflow_status (workflow_uuid, status, name, queue_name, serialization, \
                application_name, application_version, inputs, executor_id, recovery_attempts) VALUES ('w{n}', 'PENDING', \
                '{name}', NULL, 'portable_json', 'tests', 'v1', '{{\"positionalArgs\":[{n}]}}', 'one', 1)")).await;
        }
        let dbos = builder(&fresh, &log).register_fn("double", double).launch().await.unwrap();
        let ended = "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'";
        until("the nine others have ended", async || fresh.scalar(ended).await == 9).await;
        assert_eq!(log.count("double"), 9);
        assert_eq!(text(&fresh, "workflow_status", "w2", "status").await, "ENQUEUED", "for a process that knows it");
        assert_eq!(text(&fresh, "workflow_output", "w9", "output").await, "18");
        stop(dbos).await;
    }
}

/// K21. On SQLite no acknowledgement can be lost on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_acknowledgement_repeats_neither_the_step_nor_its_number() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let log = Log::default();
    let steps = |ctx: Ctx, (): ()| async move {
        let log = ctx.state();
        for name in ["a", "b", "c"] {
            ctx.step(name, || async {
                log.add(name);
                Ok(())
            })
            .await?;
        }
        Ok::<_, Failure>(())
    };
    // A quiet process: the statements that are counted are the journal's.
    let dbos = builder(&fresh, &log)
        .database_url(proxy.url(fresh.url()))
        .polling_interval(Duration::from_secs(3600))
        .schedule_poll(Duration::from_secs(3600))
        .register_fn("steps", steps)
        .launch()
        .await
        .unwrap();
    let target = WorkflowRef::<(), (), Failure>::named("steps");
    // The first statement starts the workflow, the next three record its steps, the fifth its outcome.
    for lost in 1..=5 {
        proxy.settle().await;
        proxy.cut_reply_after(lost);
        let id = format!("w{lost}");
        dbos.start(target, ()).id(id.as_str()).await.unwrap().result().await.unwrap();
        assert_eq!(proxy.cuts(), lost, "the answer was lost");
        assert_eq!(trail(&fresh, &id).await, "1 a, 2 b, 3 c");
        assert_eq!(text(&fresh, "workflow_status", &id, "status").await, "SUCCESS");
        for name in ["a", "b", "c"] {
            assert_eq!(log.count(name), lost, "{name}, when answer {lost} was lost");
        }
    }
    stop(dbos).await;
}
