//! Durable calls that race: who wins, what is recorded of it, and what the losers leave behind.

use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{Error, ErrorKind, StepCtx, WorkflowId, WorkflowRef};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::scene::{
    HOUR, W, assert_kind, crash, forget_outcomes, id, result_of, status, step, steps, take_over, until_rows,
};
use super::support::{Log, builder, done, trail};

type Ctx = dbos_runtime::Ctx<Log, Error>;

const CHILD: WorkflowRef<bool, Value> = WorkflowRef::named("child");
const PORTABLE: Option<&str> = Some("portable_json");

/// A step that never ends, and writes down when it is told to stop and when it is dropped.
fn endless<'a>(ctx: &Ctx, name: &'static str) -> dbos_runtime::Step<'a, Value, Error> {
    let log = ctx.state().clone();
    ctx.step_with(name, move |step| {
        let log = log.clone();
        async move {
            struct Dropped(Log, &'static str, StepCtx);
            impl Drop for Dropped {
                fn drop(&mut self) {
                    let told = if self.2.cancellation().is_cancelled() { "told" } else { "not told" };
                    self.0.add(format!("{} dropped, {told}", self.1));
                }
            }
            log.add(format!("{name} began"));
            let _dropped = Dropped(log, name, step);
            std::future::pending().await
        }
    })
}

async fn launch<F, Fut>(fresh: &Fresh, log: &Log, body: F) -> dbos_runtime::Dbos
where
    F: Fn(Ctx, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, Error>> + Send + 'static,
{
    builder(fresh, log).register_fn("w", body).launch().await.unwrap()
}

async fn start(dbos: &dbos_runtime::Dbos, id: &str) -> dbos_runtime::WorkflowHandle<Value> {
    let handle = dbos.start(W, Value::Null).id(id).await.unwrap();
    assert!(handle.created(), "{id} was there before");
    handle
}

async fn retrieve(dbos: &dbos_runtime::Dbos, id: &str) -> dbos_runtime::WorkflowHandle<Value> {
    dbos.retrieve(id).await.unwrap()
}

/// Either a message or the endless step.
async fn message_or_step(ctx: Ctx, _: Value) -> Result<Value, Error> {
    ctx.select()
        .on(endless(&ctx, "endless"), |value| value)
        .on(ctx.recv::<Value>("t").timeout(HOUR), |message| json!({ "message": message }))
        .await
}

on_each_backend! {
    // E141, E142, E144
    async fn the_winner_is_recorded_the_loser_is_stopped_and_a_replay_runs_only_the_winner(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log, message_or_step).await;
        let handle = start(&dbos, "w").await;
        done(&log, "endless began", 1).await;
        dbos.send(&id("w"), "hello").topic("t").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), json!({ "message": "hello" }));
        assert_eq!(log.entries(), ["endless began", "endless dropped, told"]);
        crash(&dbos).await;

        let rows = steps(&fresh, "w").await;
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert_eq!(rows[0], step(1, "DBOS.select", Some("1"), PORTABLE));
        assert_eq!(rows[1], step(3, "DBOS.recv", Some("\"hello\""), PORTABLE));
        assert_eq!(trail(&fresh, "w").await, "1 DBOS.select, 3 DBOS.recv, 4 DBOS.sleep");
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE consumed").await, 1);

        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, &log, message_or_step).await;
        assert_eq!(result_of(&retrieve(&dbos, "w").await).await.unwrap(), json!({ "message": "hello" }));
        assert_eq!(log.count("endless began"), 1, "a loser does not run again");
        assert_eq!(steps(&fresh, "w").await, rows);
    }

    // E142
    async fn a_step_that_wins_is_recorded_together_with_its_victory(fresh: Fresh) {
        let log = Log::default();
        let body = async |ctx: Ctx, _: Value| {
            let log = ctx.state().clone();
            let quick = ctx.step("quick", move || {
                log.add("quick");
                async { Ok(7) }
            });
            let won = ctx
                .select()
                .on(ctx.recv::<Value>("t").timeout(HOUR), |_| json!("message"))
                .on(quick, |seven| json!(seven))
                .on(ctx.sleep(HOUR), |()| json!("late"))
                .await?;
            let after = ctx.step("after", || async { Ok(json!("after")) }).await?;
            Ok(json!([won, after]))
        };
        let dbos = launch(&fresh, &log, body).await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!([7, "after"]));
        crash(&dbos).await;
        let rows = steps(&fresh, "w").await;
        assert_eq!(rows[0], step(1, "quick", Some("7"), PORTABLE));
        assert_eq!(rows[1], step(2, "DBOS.select", Some("1"), PORTABLE));
        // The receive's deadline is there from its first look on; the sleep had not begun.
        assert_eq!(trail(&fresh, "w").await, "1 quick, 2 DBOS.select, 4 DBOS.sleep, 6 after");
        if fresh.backend() == harness::Backend::Postgres {
            let commits = "SELECT count(DISTINCT xmin::text) FROM operation_outputs WHERE function_id IN (1, 2)";
            assert_eq!(fresh.scalar(commits).await, 1, "one commit");
        }

        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, &log, body).await;
        // It is there now, but the race is over.
        dbos.send(&id("w"), "hello").topic("t").await.unwrap();
        assert_eq!(result_of(&retrieve(&dbos, "w").await).await.unwrap(), json!([7, "after"]));
        assert_eq!(log.entries(), ["quick"]);
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE NOT consumed").await, 1);
    }

    // E142, H194
    async fn of_two_receives_only_the_winner_takes_its_message(fresh: Fresh) {
        let log = Log::default();
        let gate = Arc::new(Semaphore::new(0));
        let gated = Arc::clone(&gate);
        let body = move |ctx: Ctx, _: Value| {
            let gate = Arc::clone(&gated);
            async move {
                gate.acquire().await.unwrap().forget();
                let mut won = Vec::new();
                for _ in 0..3 {
                    let (a, b) = (ctx.recv::<u8>("a").timeout(HOUR), ctx.recv::<u8>("b").timeout(HOUR));
                    won.push(ctx.select().on(a, |a| json!({ "a": a })).on(b, |b| json!({ "b": b })).await?);
                }
                Ok(json!(won))
            }
        };
        let dbos = launch(&fresh, &log, body.clone()).await;
        let handle = start(&dbos, "w").await;
        for (topic, message) in [("b", 1), ("a", 2), ("b", 3), ("b", 4)] {
            dbos.send(&id("w"), &message).topic(topic).await.unwrap();
        }
        gate.add_permits(1);
        let won = json!([{ "a": 2 }, { "b": 1 }, { "b": 3 }]);
        assert_eq!(result_of(&handle).await.unwrap(), won);
        let unread = fresh.query("SELECT topic, message FROM notifications WHERE NOT consumed").await;
        assert_eq!(unread, [[Some("b".to_owned()), Some("4".to_owned())]]);
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        gate.add_permits(1);
        let dbos = launch(&fresh, &log, body).await;
        assert_eq!(result_of(&retrieve(&dbos, "w").await).await.unwrap(), won);
    }

    // E142: whatever wins, a message is taken if and only if its receive has won.
    async fn messages_that_arrive_while_a_step_ends_are_neither_lost_nor_taken_twice(fresh: Fresh) {
        const WORKFLOWS: i64 = 30;
        let log = Log::default();
        let dbos = launch(&fresh, &log, async |ctx: Ctx, _| {
            let (log, own) = (ctx.state().clone(), ctx.workflow_id().to_string());
            let quick = ctx.step("quick", move || {
                log.add(own.clone());
                async {
                    tokio::task::yield_now().await;
                    Ok(())
                }
            });
            let won = ctx.select().on(ctx.recv::<u8>("t").timeout(HOUR), |_| "message").on(quick, |()| "step").await?;
            let later = ctx.recv::<u8>("t").timeout(if won == "step" { HOUR } else { Duration::ZERO }).await?;
            Ok(json!([won, later]))
        })
        .await;
        let mut handles = Vec::new();
        for number in 0..WORKFLOWS {
            let name = format!("w{number}");
            let (handle, sent) = tokio::join!(dbos.start(W, Value::Null).id(name.as_str()), async {
                // The row has to be there before its message.
                harness::until("the workflow is there", async || dbos.info(name.as_str()).await.is_ok()).await;
                dbos.send(&id(&name), &7).topic("t").await
            });
            assert!(sent.unwrap());
            handles.push(handle.unwrap());
        }
        for handle in &handles {
            let result = result_of(handle).await.unwrap();
            assert!(result == json!(["message", null]) || result == json!(["step", 7]), "{result}");
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications WHERE consumed").await, WORKFLOWS);
        let races = "SELECT count(*) FROM operation_outputs WHERE function_name = 'DBOS.select'";
        assert_eq!(fresh.scalar(races).await, WORKFLOWS);
        // The winner's row and no loser's: each race has exactly one of the two.
        let ends = "SELECT count(*) FROM operation_outputs WHERE function_id IN (1, 3) AND function_name <> 'DBOS.sleep'";
        assert_eq!(fresh.scalar(ends).await, WORKFLOWS);
    }

    // E143
    async fn a_cancel_wins_no_race_and_records_nothing(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log, message_or_step).await;
        let handle = start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        assert!(dbos.cancel(&id("w")).await.unwrap());
        assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
        done(&log, "endless dropped, told", 1).await;
        assert_eq!(trail(&fresh, "w").await, "4 DBOS.sleep");
        assert_eq!(status(&fresh, "w").await, "CANCELLED");
    }

    // E143, C
    async fn an_execution_that_was_displaced_wins_no_race(fresh: Fresh) {
        let log = Log::default();
        let gate = Arc::new(Semaphore::new(0));
        let gated = Arc::clone(&gate);
        let dbos = launch(&fresh, &log, move |ctx: Ctx, _| {
            let gate = Arc::clone(&gated);
            async move {
                let gated = ctx.step("gated", move || {
                    let gate = Arc::clone(&gate);
                    async move {
                        gate.acquire().await.unwrap().forget();
                        Ok(json!("step"))
                    }
                });
                ctx.select().on(gated, |value| value).on(ctx.sleep(HOUR), |()| json!("late")).await
            }
        })
        .await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        take_over(&fresh, "w").await;
        gate.add_permits(1);
        dbos.shutdown(Duration::from_secs(5)).await;
        assert_eq!(trail(&fresh, "w").await, "3 DBOS.sleep");
        assert_eq!(status(&fresh, "w").await, "PENDING");
    }

    // E142: a crash before anybody has won.
    async fn a_race_goes_on_after_a_restart_and_its_waits_do_not_begin_anew(fresh: Fresh) {
        let log = Log::default();
        let body = async |ctx: Ctx, _| {
            ctx.select()
                .on(ctx.recv::<Value>("t").timeout(HOUR), |message| json!(message))
                .on(ctx.sleep(HOUR), |()| json!("late"))
                .await
        };
        let dbos = launch(&fresh, &log, body).await;
        for name in ["taken", "slept"] {
            start(&dbos, name).await;
        }
        until_rows(&fresh, 4, "operation_outputs").await;
        crash(&dbos).await;
        // The hour of one sleep has passed meanwhile.
        fresh
            .execute("UPDATE operation_outputs SET output = '1700000000.5' WHERE workflow_uuid = 'slept' AND function_id = 4")
            .await;
        let dbos = launch(&fresh, &log, body).await;
        assert_eq!(result_of(&retrieve(&dbos, "slept").await).await.unwrap(), json!("late"));
        dbos.send(&id("taken"), "hello").topic("t").await.unwrap();
        assert_eq!(result_of(&retrieve(&dbos, "taken").await).await.unwrap(), json!("hello"));
        assert_eq!(trail(&fresh, "slept").await, "1 DBOS.select, 3 DBOS.sleep, 4 DBOS.sleep");
        assert_eq!(trail(&fresh, "taken").await, "1 DBOS.select, 2 DBOS.recv, 3 DBOS.sleep, 4 DBOS.sleep");
    }

    // E142: a failure is an end too.
    async fn a_call_that_fails_first_has_won_with_its_error(fresh: Fresh) {
        let log = Log::default();
        let body = async |ctx: Ctx, _| {
            let log = ctx.state().clone();
            let fails = ctx.step("fails", move || {
                log.add("fails");
                async { Err::<Value, _>("".parse::<WorkflowId>().unwrap_err()) }
            });
            ctx.select().on(ctx.sleep(HOUR), |()| json!("late")).on(fails, |value| value).await
        };
        let dbos = launch(&fresh, &log, body).await;
        assert_kind(result_of(&start(&dbos, "w").await).await, ErrorKind::InvalidArgument);
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, &log, body).await;
        assert_kind(result_of(&retrieve(&dbos, "w").await).await, ErrorKind::InvalidArgument);
        assert_eq!(log.entries(), ["fails"]);
        assert_eq!(trail(&fresh, "w").await, "1 fails, 2 DBOS.select, 3 DBOS.sleep");
    }

    // E137, E143
    async fn a_refused_call_decides_no_race_and_a_race_needs_a_call(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log, async |ctx: Ctx, _| {
            assert_kind(ctx.select::<Value>().await, ErrorKind::InvalidArgument);
            let never = ctx.step("", || async { Ok(json!(1)) });
            let race = ctx.select().on(ctx.sleep(HOUR), |()| json!("late")).on(never, |value| value);
            assert_kind(race.await, ErrorKind::InvalidArgument);
            ctx.step("after", || async { Ok(json!("after")) }).await
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!("after"));
        assert_eq!(trail(&fresh, "w").await, "3 DBOS.sleep, 4 after");
    }

    // E142: events and the results of children race as well.
    async fn events_and_children_can_be_raced(fresh: Fresh) {
        let log = Log::default();
        let body = async |ctx: Ctx, _: Value| {
            let (slow, quick) = (ctx.start(CHILD, true).await?, ctx.start(CHILD, false).await?);
            let first = ctx.select().on(slow.result(), |value| value).on(quick.result(), |value| value).await?;
            let event = ctx.get_event::<u8>(slow.id(), "progress").timeout(HOUR);
            let second = ctx.select().on(slow.result(), |value| value).on(event, |event| json!(event)).await?;
            Ok(json!([first, second]))
        };
        let start_all = async || {
            builder(&fresh, &log)
                .register_fn("w", body)
                .register_fn("child", async |ctx: Ctx, slow: bool| {
                    if slow {
                        ctx.set_event("progress", &5).await?;
                        ctx.recv::<()>("end").timeout(HOUR).await?;
                    }
                    Ok(json!(slow))
                })
                .launch()
                .await
                .unwrap()
        };
        let dbos = start_all().await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!([false, 5]));
        let rows = steps(&fresh, "w").await;
        assert_eq!(
            trail(&fresh, "w").await,
            "1 child, 2 child, 3 DBOS.select, 5 DBOS.getResult, 6 DBOS.getEvent, 7 DBOS.sleep, 8 DBOS.select"
        );
        dbos.send(&id("w-1"), &()).topic("end").await.unwrap();
        assert_eq!(result_of(&retrieve(&dbos, "w-1").await).await.unwrap(), json!(true));
        crash(&dbos).await;
        // Now the slow one has ended, and loses all the same.
        forget_outcomes(&fresh).await;
        let dbos = start_all().await;
        assert_eq!(result_of(&retrieve(&dbos, "w").await).await.unwrap(), json!([false, 5]));
        assert_eq!(steps(&fresh, "w").await, rows);
    }

    // E134, E142
    async fn a_race_over_fewer_calls_than_the_recorded_winner_is_refused(fresh: Fresh) {
        let log = Log::default();
        let body = async |ctx: Ctx, _| {
            ctx.select()
                .on(ctx.sleep(HOUR), |()| json!("late"))
                .on(ctx.step("quick", || async { Ok(json!(1)) }), |value| value)
                .await
        };
        let dbos = launch(&fresh, &log, body).await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!(1));
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        let less = async |ctx: Ctx, _| ctx.select().on(ctx.sleep(HOUR), |()| json!("late")).await;
        let dbos = launch(&fresh, &log, less).await;
        assert_kind(result_of(&retrieve(&dbos, "w").await).await, ErrorKind::UnexpectedStep);
    }
}
