//! Attempts of a step: how many, how far apart, how long each.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dbos_runtime::{Ctx as RuntimeCtx, Error, ErrorKind, Retry, StepCtx, WorkflowRef};
use harness::{Fresh, on_each_backend};
use serde::{Deserialize, Serialize};

use super::support::{Failure, Log, builder, done, stop, text, trail};

type Ctx = RuntimeCtx<Log, Failure>;

const TARGET: WorkflowRef<(), u32, Failure> = WorkflowRef::named("w");

/// Runs `body` as a workflow to its end, in one process and once more in another that finds the step recorded.
async fn run<F, Fut>(fresh: &Fresh, log: &Log, body: F) -> Result<u32, Failure>
where
    F: Fn(Ctx) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, Failure>> + Send + 'static,
{
    let process = || {
        let body = body.clone();
        // A process that does not look keeps the clock that it has.
        let rare = builder(fresh, log).polling_interval(Duration::from_secs(3600));
        rare.register_fn("w", move |ctx: Ctx, (): ()| {
            let body = body.clone();
            async move {
                let result = body(ctx.clone()).await;
                ctx.state().add(format!("{result:?}"));
                ctx.recv::<u32>("go").await?;
                result
            }
        })
    };
    let dbos = process().launch().await.unwrap();
    dbos.start(TARGET, ()).id("w").await.unwrap();
    harness::until("the workflow waits", async || trail(fresh, "w").await.contains("DBOS.sleep")).await;
    stop(dbos).await;
    let before = log.entries();

    let dbos = process().launch().await.unwrap();
    let first = before.last().unwrap();
    done(log, first, before.iter().filter(|entry| *entry == first).count() + 1).await;
    assert_eq!(log.entries().len(), before.len() + 1, "the replay made no attempt");
    dbos.send(&"w".parse().unwrap(), &1).topic("go").await.unwrap();
    let result = dbos.retrieve::<u32, Failure>("w").await.unwrap().result().await;
    stop(dbos).await;
    result
}

fn soon(attempts: u32) -> Retry {
    Retry::times(attempts).interval(Duration::from_millis(1))
}

fn sold_out(left: u32) -> Failure {
    Failure::SoldOut { left }
}

on_each_backend! {
    async fn a_step_is_tried_until_it_succeeds(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            let log = ctx.state();
            ctx.step_with("try", |step| async move {
                log.add(format!("attempt {} of {}", step.attempt(), step.attempts()));
                if step.attempt() < 2 { Err(sold_out(step.attempt())) } else { Ok(7) }
            })
            .retry(soon(5))
            .await
        });
        assert_eq!(result.await.unwrap(), 7);
        assert_eq!(log.entries()[..3], ["attempt 0 of 5", "attempt 1 of 5", "attempt 2 of 5"]);
        assert_eq!(trail(&fresh, "w").await, "1 try, 2 DBOS.recv, 3 DBOS.sleep", "one row for all attempts");
    }

    // 102
    async fn used_up_attempts_are_an_error_that_lists_what_each_met(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            let log = ctx.state();
            ctx.step_with("try", |step| async move {
                log.add("attempt");
                Err(sold_out(step.attempt()))
            })
            .retry(soon(3))
            .await
        });
        let error = result.await.unwrap_err().runtime();
        assert_eq!(error.kind(), ErrorKind::MaxStepRetriesExceeded);
        assert_eq!(error.attempts(), ["only 0 left", "only 1 left", "only 2 left"]);
        assert!(error.to_string().contains("\"try\"") && error.to_string().contains("only 2 left"), "{error}");
        assert_eq!(log.count("attempt"), 3);
        let stored = "SELECT count(*) FROM operation_outputs WHERE function_id = 1 AND output IS NULL \
            AND error LIKE '%\"kind\":\"MaxStepRetriesExceeded\"%\"only 0 left\"%'";
        assert_eq!(fresh.scalar(stored).await, 1);
    }

    // 102, 129
    async fn the_waits_grow_and_the_recorded_times_enclose_them(fresh: Fresh) {
        let log = Log::default();
        let instants: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let seen = Arc::clone(&instants);
        let result = run(&fresh, &log, move |ctx| {
            let seen = Arc::clone(&seen);
            async move {
                ctx.step("try", || async { seen.lock().unwrap().push(Instant::now()); Err(sold_out(0)) })
                    .retry(Retry::times(3).interval(Duration::from_millis(20)).backoff(3.0))
                    .await
            }
        });
        result.await.unwrap_err();
        let instants = instants.lock().unwrap().clone();
        let waits: Vec<Duration> = instants.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits.len(), 2);
        // The clock counts whole milliseconds, so a wait may be short by a part of one.
        assert!(waits[0] >= Duration::from_millis(19) && waits[1] >= Duration::from_millis(59), "{waits:?}");
        let took = "SELECT completed_at_epoch_ms - started_at_epoch_ms FROM operation_outputs WHERE function_id = 1";
        assert!(fresh.scalar(took).await >= 79);
    }

    // 103, K27: a wait after the last attempt would be one of a thousand seconds.
    async fn nothing_is_waited_for_after_the_last_attempt(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            let log = ctx.state();
            ctx.step("try", || async { log.add("attempt"); Err(sold_out(0)) })
                .retry(Retry::times(2).interval(Duration::from_millis(1)).backoff(1_000_000.0))
                .await
        });
        assert_eq!(result.await.unwrap_err().runtime().attempts().len(), 2);
        assert_eq!(log.count("attempt"), 2);
    }

    // 105, 106
    async fn an_error_that_is_not_worth_another_try_is_recorded_as_it_is(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            for refused_at in 0..3 {
                let (log, name) = (ctx.state(), &format!("refused at {refused_at}"));
                let failed = ctx.step_with(name, |step| async move {
                    log.add(name);
                    Err::<u32, _>(sold_out(step.attempt()))
                });
                let failed = failed.retry(soon(3)).retry_if(move |failure| *failure != sold_out(refused_at)).await;
                assert_eq!(failed.unwrap_err(), sold_out(refused_at), "not wrapped");
            }
            Ok(7)
        });
        assert_eq!(result.await.unwrap(), 7);
        for (refused_at, attempts) in [(0, 1), (1, 2), (2, 3)] {
            assert_eq!(log.count(&format!("refused at {refused_at}")), attempts);
        }
        let stored = "SELECT count(*) FROM operation_outputs WHERE error LIKE '%{\"SoldOut\":{\"left\":%'";
        assert_eq!(fresh.scalar(stored).await, 3);
    }

    async fn a_panic_is_a_failed_attempt(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            let log = ctx.state();
            ctx.step_with("try", |step| async move {
                log.add("attempt");
                assert!(step.attempt() > 0, "not yet");
                Ok(7)
            })
            .retry(soon(3))
            .await
        });
        assert_eq!(result.await.unwrap(), 7);
        assert_eq!(log.count("attempt"), 2);
    }

    // 111
    async fn a_restart_among_the_attempts_begins_them_anew(fresh: Fresh) {
        let log = Log::default();
        let process = || builder(&fresh, &log).register_fn("w", |ctx: Ctx, (): ()| async move {
            let log = ctx.state();
            ctx.step_with("try", |step| async move {
                log.add(format!("attempt {}", step.attempt()));
                if log.entries().len() < 3 { Err(sold_out(0)) } else { Ok(step.attempt()) }
            })
            // The second wait is never slept to its end.
            .retry(Retry::times(5).interval(Duration::from_millis(1)).backoff(100_000.0))
            .await
        });
        let dbos = process().launch().await.unwrap();
        dbos.start(TARGET, ()).id("w").await.unwrap();
        done(&log, "attempt 1", 1).await;
        stop(dbos).await;
        assert_eq!(trail(&fresh, "w").await, "");
        let dbos = process().launch().await.unwrap();
        assert_eq!(dbos.retrieve::<u32, Failure>("w").await.unwrap().result().await.unwrap(), 0);
        assert_eq!(log.entries(), ["attempt 0", "attempt 1", "attempt 0"]);
        stop(dbos).await;
    }

    // 115, 116, 123
    async fn an_attempt_out_of_time_is_told_dropped_and_recorded_as_failed(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            ctx.step_with("slow", |step| {
                let dropped = SaysWhetherTold(ctx.state().clone(), step);
                async move {
                    let _dropped = dropped;
                    std::future::pending::<()>().await;
                    Ok(7)
                }
            })
            .timeout(Duration::from_millis(20))
            .await
        });
        let error = result.await.unwrap_err().runtime();
        assert_eq!(error.kind(), ErrorKind::StepTimeout);
        assert!(error.to_string().contains("\"slow\"") && error.to_string().contains("0.02 s"), "{error}");
        assert_eq!(log.count("dropped, told: true"), 1);
        let stored = "SELECT count(*) FROM operation_outputs WHERE function_id = 1 AND error LIKE '%\"StepTimeout\"%'";
        assert_eq!(fresh.scalar(stored).await, 1);
    }

    // 117: the attempts together take longer than one may.
    async fn each_attempt_has_the_whole_time(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            let log = ctx.state();
            ctx.step_with("slow", |step| async move {
                log.add("attempt");
                if step.attempt() < 2 {
                    step.cancellation().cancelled().await;
                    std::future::pending::<()>().await;
                }
                Ok(7)
            })
            .timeout(Duration::from_millis(40))
            .retry(soon(3))
            .await
        });
        assert_eq!(result.await.unwrap(), 7);
        assert_eq!(log.count("attempt"), 3);
        let took = "SELECT completed_at_epoch_ms - started_at_epoch_ms FROM operation_outputs WHERE function_id = 1";
        assert!(fresh.scalar(took).await >= 79);
    }

    // 118
    async fn what_ends_in_time_keeps_its_own_end(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            let kept = ctx.step("good", || async { Ok(7) }).timeout(Duration::from_secs(60)).await?;
            let failed = ctx.step::<u32, _, _>("bad", || async { Err(sold_out(1)) }).timeout(Duration::from_secs(60));
            assert_eq!(failed.await.unwrap_err(), sold_out(1));
            Ok(kept)
        });
        assert_eq!(result.await.unwrap(), 7);
    }

    // 120
    async fn a_time_limit_of_nothing_is_refused_and_the_body_does_not_run(fresh: Fresh) {
        let log = Log::default();
        let result = run(&fresh, &log, |ctx| async move {
            let log = ctx.state();
            ctx.step("never", || async { log.add("ran"); Ok(7) }).timeout(Duration::ZERO).await
        });
        assert_eq!(result.await.unwrap_err().runtime().kind(), ErrorKind::InvalidArgument);
        assert_eq!(log.count("ran"), 0);
    }

    // K25, 63
    async fn an_error_that_looks_like_a_lost_connection_is_still_the_steps_own(fresh: Fresh) {
        let log = Log::default();
        let dbos = builder(&fresh, &log).register_fn("w", |ctx: RuntimeCtx<Log, Looks>, (): ()| async move {
            let log = ctx.state();
            let result = ctx.step("ask", || async { log.add("attempt"); Err::<u32, _>(Looks::lost()) }).await;
            log.add("after");
            result
        }).launch().await.unwrap();
        let target = WorkflowRef::<(), u32, Looks>::named("w");
        let error = dbos.start(target, ()).id("w").await.unwrap().result().await.unwrap_err();
        assert_eq!(error, Looks::lost());
        assert_eq!(log.entries(), ["attempt", "after"]);
        assert_eq!(text(&fresh, "workflow_status", "w", "status").await, "ERROR");
        assert!(text(&fresh, "operation_outputs", "w", "error").await.contains("08006"));
        stop(dbos).await;
    }
}

/// Says, when its attempt is dropped, whether the attempt had been told by then.
struct SaysWhetherTold(Log, StepCtx);

impl Drop for SaysWhetherTold {
    fn drop(&mut self) {
        self.0.add(format!("dropped, told: {}", self.1.cancellation().is_cancelled()));
    }
}

/// An application's error about a connection of its own.
#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
enum Looks {
    #[error("error returned from database: connection failure ({code})")]
    Database { code: String },
    #[error(transparent)]
    Runtime(#[from] Error),
}

impl Looks {
    fn lost() -> Self {
        Self::Database { code: "08006".to_owned() }
    }
}
