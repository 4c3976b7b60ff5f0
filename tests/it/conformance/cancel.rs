//! Cancelling: who notices when, what is not written any more, and what the caller is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dbos_runtime::{Dbos, Error, ErrorKind, WorkflowRef};
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::clients::client;
use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, id, launch, launch_as, result_of, start, status, steps, until_rows,
};

type Told = mpsc::UnboundedReceiver<[ErrorKind; 2]>;

/// Waits in a durable call, named by the input, until it is stopped; reports that, and what the next call says.
fn waiting() -> (impl Fn(Ctx, Value) -> futures_util::future::BoxFuture<'static, Result<Value, Error>>, Told)
{
    let (tell, told) = mpsc::unbounded_channel();
    let body = move |ctx: Ctx, input: Value| {
        let tell = tell.clone();
        let run = async move {
            let stopped = match input.as_str().unwrap() {
                "sleep" => ctx.sleep(HOUR).await,
                "recv" => ctx.recv::<Value>("t").timeout(HOUR).await.map(drop),
                "get_event" => ctx.get_event::<Value>(&id("nobody"), "k").timeout(HOUR).await.map(drop),
                _ => {
                    ctx.step_with("s", |step| async move {
                        step.cancellation().cancelled().await;
                        Ok(())
                    })
                    .await
                }
            };
            let next = ctx.set_event("k", &1).await;
            let _ = tell.send([stopped.unwrap_err().kind(), next.unwrap_err().kind()]);
            // A body may swallow the signal: it does not help.
            Ok(json!("swallowed"))
        };
        Box::pin(run) as futures_util::future::BoxFuture<'static, Result<Value, Error>>
    };
    (body, told)
}

/// Starts one workflow for each way to wait, and gives their names.
async fn start_waiting(dbos: &Dbos, fresh: &Fresh) -> [&'static str; 4] {
    let all = ["sleep", "recv", "get_event", "step"];
    for verb in all {
        dbos.start(W, json!(verb)).id(verb).await.unwrap();
    }
    until_rows(fresh, 3, "operation_outputs WHERE function_name = 'DBOS.sleep'").await;
    all
}

async fn assert_cancelled(fresh: &Fresh, workflow: &str) {
    let left = "owner_xid IS NULL AND queue_name IS NULL AND started_at_epoch_ms IS NULL AND completed_at IS NOT NULL";
    let row =
        format!("workflow_status WHERE workflow_uuid = '{workflow}' AND status = 'CANCELLED' AND {left}");
    until_rows(fresh, 1, &row).await;
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output").await, 0, "no outcome");
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_events").await, 0, "no effect");
}

on_each_backend! {
    async fn a_cancel_in_the_same_process_is_seen_at_once_by_whatever_waits(fresh: Fresh) {
        let (body, mut told) = waiting();
        // No sweep comes to help.
        let dbos = launch_as(harness::builder(&fresh).polling_interval(Duration::from_secs(3600)), body).await;
        for verb in start_waiting(&dbos, &fresh).await {
            let handle = dbos.retrieve::<Value, Error>(verb).await.unwrap();
            assert!(dbos.cancel(&id(verb)).await.unwrap(), "{verb}");
            let kinds = tokio::time::timeout(harness::PATIENCE, told.recv()).await.expect("it wakes").unwrap();
            assert_eq!(kinds, [ErrorKind::Cancelled; 2], "{verb}");
            let error = result_of(&handle).await.unwrap_err();
            assert_eq!((error.kind(), error.workflow_id()), (ErrorKind::AwaitedWorkflowCancelled, Some(&id(verb))));
            assert_cancelled(&fresh, verb).await;
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, 3, "the three deadlines alone");
    }

    async fn a_cancel_from_another_process_is_seen_by_the_sweep(fresh: Fresh) {
        let (body, mut told) = waiting();
        let dbos = launch_as(harness::builder(&fresh).executor_id("runs"), body).await;
        let other = launch_as(harness::builder(&fresh).executor_id("cancels"), waiting().0).await;
        for verb in start_waiting(&dbos, &fresh).await {
            assert!(other.cancel(&id(verb)).await.unwrap(), "{verb}");
            let kinds = tokio::time::timeout(harness::PATIENCE, told.recv()).await.expect("it wakes").unwrap();
            assert_eq!(kinds, [ErrorKind::Cancelled; 2], "{verb}");
            assert_kind(result_of(&dbos.retrieve(verb).await.unwrap()).await, ErrorKind::AwaitedWorkflowCancelled);
            assert_kind(result_of(&other.retrieve(verb).await.unwrap()).await, ErrorKind::AwaitedWorkflowCancelled);
            assert_cancelled(&fresh, verb).await;
        }
    }

    // C94: no sweep has told this process; the fence does.
    async fn a_step_that_ends_after_a_cancel_elsewhere_is_not_recorded(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let (tell, mut told) = mpsc::unbounded_channel();
        let gate_too = Arc::clone(&gate);
        let rare = harness::builder(&fresh).executor_id("runs").polling_interval(Duration::from_secs(3600));
        let dbos = launch_as(rare, move |ctx, _| {
            let (gate, tell) = (Arc::clone(&gate_too), tell.clone());
            async move {
                let step = ctx.step("s", || async {
                    gate.acquire().await.unwrap().forget();
                    Ok(())
                });
                tell.send(step.await.unwrap_err().kind()).unwrap();
                Ok(json!("swallowed"))
            }
        })
        .await;
        let other = launch(&fresh, waiting().0).await;
        start(&dbos, "w").await;
        assert!(other.cancel(&id("w")).await.unwrap());
        gate.add_permits(1);
        assert_eq!(told.recv().await, Some(ErrorKind::Cancelled));
        crash(&dbos).await;
        assert!(steps(&fresh, "w").await.is_empty());
        assert_cancelled(&fresh, "w").await;
    }

    // C95, K23
    async fn a_body_that_returns_after_a_cancel_stays_cancelled(fresh: Fresh) {
        for elsewhere in [false, true] {
            let gate = Arc::new(Semaphore::new(0));
            let gate_too = Arc::clone(&gate);
            let rare = harness::builder(&fresh).executor_id("runs").polling_interval(Duration::from_secs(3600));
            let dbos = launch_as(rare, move |_, _| {
                let gate = Arc::clone(&gate_too);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(json!("done"))
                }
            })
            .await;
            let other = launch(&fresh, waiting().0).await;
            let workflow = if elsewhere { "a" } else { "b" };
            let handle = start(&dbos, workflow).await;
            let canceller = if elsewhere { &other } else { &dbos };
            assert!(canceller.cancel(&id(workflow)).await.unwrap());
            gate.add_permits(1);
            assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
            assert_cancelled(&fresh, workflow).await;
        }
    }

    // K24
    async fn a_cancel_says_whether_there_was_anything_to_cancel(fresh: Fresh) {
        let dbos = launch(&fresh, |_, input| async move {
            if input == "fails" { Err("".parse::<dbos_runtime::WorkflowId>().unwrap_err()) } else { Ok(json!(1)) }
        })
        .await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        let failed = dbos.start(W, json!("fails")).id("f").await.unwrap();
        result_of(&failed).await.unwrap_err();
        for workflow in ["w", "f", "nobody"] {
            assert!(!dbos.cancel(&id(workflow)).await.unwrap(), "{workflow}");
        }
        assert_eq!((status(&fresh, "w").await.as_str(), status(&fresh, "f").await.as_str()), ("SUCCESS", "ERROR"));
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), 1);
    }

    // K24: the answer agrees with what became of the row, whichever came first.
    async fn a_cancel_and_an_ending_at_once_agree(fresh: Fresh) {
        const MANY: usize = 60;
        let dbos = launch(&fresh, |ctx, _| async move {
            ctx.step("s", || async { Ok(()) }).await?;
            Ok(json!("done"))
        })
        .await;
        let race = async |n: usize| {
            let workflow = id(&format!("w{n}"));
            let handle = dbos.start(W, Value::Null).id(&workflow).await.unwrap();
            // At once, or when it may have ended.
            for _ in 0..n % 6 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(u64::try_from(n % 7).unwrap())).await;
            let cancelled = dbos.cancel(&workflow).await.unwrap();
            let result = result_of(&handle).await.map_err(|error| error.kind());
            let expected = if cancelled { Err(ErrorKind::AwaitedWorkflowCancelled) } else { Ok(json!("done")) };
            assert_eq!(result, expected, "{workflow}");
            let row = status(&fresh, workflow.as_str()).await;
            assert_eq!(row, if cancelled { "CANCELLED" } else { "SUCCESS" }, "{workflow}");
            cancelled
        };
        // Until each side has won: then they have raced.
        let (mut cancelled, mut ended) = (0, 0);
        for round in 0..50 {
            let outcomes = join_all((round * MANY..(round + 1) * MANY).map(race)).await;
            cancelled += outcomes.iter().filter(|cancelled| **cancelled).count();
            ended += outcomes.iter().filter(|cancelled| !**cancelled).count();
            if cancelled > 0 && ended > 0 {
                break;
            }
        }
        assert!(cancelled > 0 && ended > 0, "{cancelled} were cancelled, {ended} ended");
        let ended = i64::try_from(ended).unwrap();
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output").await, ended);
    }

    async fn what_waits_on_a_queue_and_what_was_left_behind_can_be_cancelled(fresh: Fresh) {
        const GONE: WorkflowRef<Value, Value> = WorkflowRef::named("gone");
        let (body, _told) = waiting();
        let dbos = launch_as(harness::builder(&fresh).register_fn("gone", waiting().0), body).await;
        dbos.start(GONE, json!("sleep")).id("queued").await.unwrap();
        crash(&dbos).await;
        let elsewhere = launch_as(harness::builder(&fresh).executor_id("elsewhere"), waiting().0).await;
        elsewhere.start(W, json!("sleep")).id("left").await.unwrap();
        crash(&elsewhere).await;
        let dbos = launch(&fresh, waiting().0).await;
        assert_eq!((status(&fresh, "queued").await.as_str(), status(&fresh, "left").await.as_str()), ("ENQUEUED", "PENDING"));
        for workflow in ["queued", "left"] {
            assert!(dbos.cancel(&id(workflow)).await.unwrap());
            assert_cancelled(&fresh, workflow).await;
        }
        crash(&dbos).await;
        // No launch brings them back.
        crash(&launch_as(harness::builder(&fresh).executor_id("elsewhere"), waiting().0).await).await;
        assert_eq!(status(&fresh, "left").await, "CANCELLED");
    }

    async fn a_parent_that_waits_for_a_cancelled_child_is_told(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, input| async move {
            if input == "child" {
                ctx.sleep(HOUR).await?;
            }
            let child = ctx.start(W, json!("child")).id("child").await?;
            let error = child.result().await.unwrap_err();
            Ok(json!([format!("{:?}", error.kind()), error.workflow_id()]))
        })
        .await;
        let handle = start(&dbos, "parent").await;
        until_rows(&fresh, 1, "operation_outputs WHERE workflow_uuid = 'child'").await;
        assert!(dbos.cancel(&id("child")).await.unwrap());
        assert_eq!(result_of(&handle).await.unwrap(), json!(["AwaitedWorkflowCancelled", "child"]));
        assert_eq!(status(&fresh, "parent").await, "SUCCESS");
    }
}

on_each_backend! {
    async fn a_waiter_hears_of_the_cancel_though_the_body_does_not_end(fresh: Fresh) {
        let dbos = harness::builder(&fresh)
            .register_fn("stuck", |_: dbos_runtime::Ctx, (): ()| std::future::pending::<Result<(), Error>>())
            .launch()
            .await
            .unwrap();
        let stuck = dbos_runtime::WorkflowRef::<(), ()>::named("stuck");
        let handle = dbos.start(stuck, ()).id("w").await.unwrap();
        assert!(dbos.cancel(handle.id()).await.unwrap());
        let error = tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect("it is told");
        assert_eq!(error.unwrap_err().kind(), ErrorKind::AwaitedWorkflowCancelled);
        dbos.shutdown(Duration::ZERO).await;
    }
}

/// Cancels the workflow when it is dropped, and does not end before that is done.
struct Canceller(Dbos);

impl Drop for Canceller {
    fn drop(&mut self) {
        let (dbos, here) = (self.0.clone(), tokio::runtime::Handle::current());
        let cancel = move || here.block_on(async { dbos.cancel(&id("w")).await.unwrap() });
        assert!(tokio::task::block_in_place(|| std::thread::spawn(cancel).join().unwrap()));
    }
}

on_each_backend! {
    // D121, D122
    async fn of_a_cancel_and_a_time_limit_the_first_decides(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let process = Arc::new(OnceLock::<Dbos>::new());
        let process_too = Arc::clone(&process);
        let dbos = launch(&fresh, move |ctx, input| {
            let (tell, process) = (tell.clone(), Arc::clone(&process_too));
            async move {
                let limit = if input == "cancel first" { HOUR } else { Duration::from_millis(20) };
                let step = ctx.step_with("s", |step| {
                    let late = (input == "while it is dropped").then(|| Canceller(process.get().unwrap().clone()));
                    let heeds = input == "cancel first";
                    let tell = tell.clone();
                    async move {
                        let _late = late;
                        tell.send(None).unwrap();
                        if heeds {
                            step.cancellation().cancelled().await;
                            return Ok(());
                        }
                        std::future::pending().await
                    }
                });
                let failed = step.timeout(limit).await.unwrap_err();
                tell.send(Some(failed.kind())).unwrap();
                ctx.sleep(HOUR).await?;
                Ok(Value::Null)
            }
        })
        .await;
        process.set(dbos.clone()).unwrap();
        for (case, kind, recorded) in [
            ("cancel first", ErrorKind::Cancelled, 0),
            ("while it is dropped", ErrorKind::Cancelled, 0),
            ("limit first", ErrorKind::StepTimeout, 1),
        ] {
            let handle = dbos.start(W, json!(case)).id("w").await.unwrap();
            assert_eq!(told.recv().await, Some(None), "{case}");
            if case == "cancel first" {
                assert!(dbos.cancel(&id("w")).await.unwrap());
            }
            assert_eq!(told.recv().await, Some(Some(kind)), "{case}");
            if case == "limit first" {
                until_rows(&fresh, 1, "operation_outputs WHERE function_name = 'DBOS.sleep'").await;
                assert!(dbos.cancel(&id("w")).await.unwrap());
            }
            assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
            assert_cancelled(&fresh, "w").await;
            let steps = steps(&fresh, "w").await.into_iter().filter(|row| row[1].as_deref() == Some("s"));
            assert_eq!(steps.count(), recorded, "{case}");
            dbos.workflows().delete(["w"]).await.unwrap();
        }
        crash(&dbos).await;
    }

    // D126: what a sweep has read about an execution is not told to the one after it.
    async fn an_old_cancel_does_not_stop_a_workflow_that_was_resumed(fresh: Fresh) {
        const ROUNDS: usize = 5;
        let (tell, mut told) = mpsc::unbounded_channel();
        // The sweep looks as often as it can.
        let often = harness::builder(&fresh).executor_id("runs").polling_interval(Duration::from_millis(10));
        let dbos = launch_as(often, move |ctx, _| {
            let tell = tell.clone();
            async move {
                tell.send(ctx.workflow_id().clone()).unwrap();
                Ok(json!(ctx.recv::<Value>("go").timeout(HOUR).await?))
            }
        })
        .await;
        // The client hears of the cancel by itself, the process by its sweep alone.
        let client = client(&fresh).await;
        let ids: Vec<_> = (0..20).map(|n| id(&format!("w{n}"))).collect();
        for workflow in &ids {
            dbos.start(W, Value::Null).id(workflow).await.unwrap();
        }
        for _ in 0..ROUNDS {
            for _ in &ids {
                let running = told.recv().await.unwrap();
                assert!(client.cancel(&running).await.unwrap());
                client.workflows().resume([running]).await.unwrap();
            }
        }
        for workflow in &ids {
            client.send(workflow, "go on").topic("go").await.unwrap();
        }
        for workflow in &ids {
            let handle = dbos.retrieve::<Value, Error>(workflow.as_str()).await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), "go on", "{workflow}");
        }
        client.close().await;
        crash(&dbos).await;
    }

    // D131
    async fn a_cancelled_workflow_is_not_even_answered_from_its_record(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let body = {
            let gate = Arc::clone(&gate);
            move |ctx: Ctx, _: Value| {
                let (gate, tell) = (Arc::clone(&gate), tell.clone());
                async move {
                    tell.send("arrived".to_owned()).unwrap();
                    gate.acquire().await.unwrap().forget();
                    let answer = ctx.step("s", || async { Ok("recorded".to_owned()) }).await;
                    tell.send(answer.unwrap_or_else(|error| format!("{:?}", error.kind()))).unwrap();
                    ctx.sleep(HOUR).await?;
                    Ok(Value::Null)
                }
            }
        };
        let process = |executor: &str| launch_as(harness::builder(&fresh).executor_id(executor), body.clone());
        let client = client(&fresh).await;
        for (workflow, elsewhere) in [("a", false), ("b", true)] {
            let first = process("runs").await;
            start(&first, workflow).await;
            gate.add_permits(1);
            for expected in ["arrived", "recorded"] {
                assert_eq!(told.recv().await.unwrap(), expected);
            }
            crash(&first).await;

            let second = process("runs").await;
            assert_eq!(told.recv().await.unwrap(), "arrived");
            let handle = second.retrieve::<Value, Error>(workflow).await.unwrap();
            let workflow = id(workflow);
            let cancel = if elsewhere { client.cancel(&workflow).await } else { second.cancel(&workflow).await };
            assert!(cancel.unwrap());
            // Its own process has heard of it.
            assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
            gate.add_permits(1);
            assert_eq!(told.recv().await.unwrap(), "Cancelled");
            crash(&second).await;
        }
        client.close().await;
    }

    // One statement asks about some thousands; these are more.
    async fn thousands_of_running_workflows_hear_of_their_cancel(fresh: Fresh) {
        const MANY: usize = 5200;
        let told = Arc::new(AtomicUsize::new(0));
        let told_too = Arc::clone(&told);
        let dbos = launch(&fresh, move |ctx, _| {
            let told = Arc::clone(&told_too);
            async move {
                ctx.step_with("s", |step| {
                    let told = Arc::clone(&told);
                    async move {
                        step.cancellation().cancelled().await;
                        told.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    }
                })
                .await?;
                Ok(Value::Null)
            }
        })
        .await;
        join_all((0..MANY).map(|_| async { dbos.start(W, Value::Null).await.unwrap() })).await;
        fresh.execute("UPDATE workflow_status SET status = 'CANCELLED', owner_xid = NULL").await;
        harness::until("all are told", async || told.load(Ordering::SeqCst) == MANY).await;
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, 0);
        crash(&dbos).await;
    }
}
