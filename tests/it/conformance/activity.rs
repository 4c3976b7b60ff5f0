//! A process that is to take no more work, and work that is taken up on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use dbos_runtime::{Builder, Dbos, Error, ErrorKind, Queue, Schedule, Timestamp};
use harness::{Backend, Fresh, on_each_backend, until};
use serde_json::{Value, json};

use super::scene::{Ctx, HOUR, W, assert_kind, crash, id, launch_as, result_of, start, status, until_rows};

/// A process of its own name, version and application. Without a lock of its own, nobody can tell whether it lives.
fn process(fresh: &Fresh, application: &str, executor: &str, version: &str) -> Builder<()> {
    Dbos::builder(application)
        .database_url(fresh.url())
        .polling_interval(Duration::from_millis(50))
        .executor_id(executor)
        .application_version(version)
        .peer_recovery(false)
}

/// Waits to be told to go on, unless it is a child; then runs a child.
async fn parent(ctx: Ctx, input: Value) -> Result<Value, Error> {
    if input == "child" {
        return Ok(input);
    }
    ctx.step("once", || async { Ok(()) }).await?;
    ctx.recv::<Value>("go").timeout(HOUR).await?;
    ctx.run(W, json!("child")).await
}

async fn executor_of(fresh: &Fresh, id: &str) -> Option<String> {
    let sql = format!("SELECT executor_id FROM workflow_status WHERE workflow_uuid = '{id}'");
    fresh.query(&sql).await.remove(0).remove(0)
}

on_each_backend! {
    async fn a_deactivated_process_takes_no_work_and_finishes_what_it_has(fresh: Fresh) {
        let with_queue = |executor: &str| process(&fresh, "tests", executor, "v1").queue(Queue::new("q"));
        let a = launch_as(with_queue("a"), parent).await;
        let running = start(&a, "running").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 1").await;
        a.deactivate();
        a.deactivate();
        assert!(!a.is_active());

        assert_kind(a.start(W, json!("child")).id("new").await, ErrorKind::ShuttingDown);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'new'").await, 0);
        // It has seen each of these in the same instant, and leaves them to somebody else.
        for n in 0..5 {
            a.start(W, json!("child")).id(format!("queued-{n}")).queue("q").await.unwrap();
        }
        a.send(&id("running"), "now").topic("go").await.unwrap();
        assert_eq!(result_of(&running).await.unwrap(), "child", "a child belongs to what was under way");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'ENQUEUED'").await, 5);

        let b = launch_as(with_queue("b"), parent).await;
        for n in 0..5 {
            let queued = format!("queued-{n}");
            result_of(&b.retrieve(&*queued).await.unwrap()).await.unwrap();
            assert_eq!(executor_of(&fresh, &queued).await.as_deref(), Some("b"));
        }
        crash(&b).await;
        let later = a.start(W, json!("child")).id("later").queue("q").await.unwrap();
        a.reactivate();
        assert!(a.is_active());
        result_of(&later).await.unwrap();
        assert_eq!(executor_of(&fresh, "later").await.as_deref(), Some("a"));
        result_of(&a.start(W, json!("child")).id("new").await.unwrap()).await.unwrap();
        a.shutdown(Duration::ZERO).await;
        assert!(!a.is_active());
    }

    async fn a_deactivated_process_fires_no_schedule_and_makes_up_for_none(fresh: Fresh) {
        let dbos = launch_as(process(&fresh, "tests", "a", "v1"), parent).await;
        let schedule = Schedule::new("tick", "* * * * * *").workflow(W).automatic_backfill(false);
        dbos.schedules().create(schedule).await.unwrap();
        let ticks = async || {
            let sql = "SELECT workflow_uuid FROM workflow_status WHERE schedule_name = 'tick' ORDER BY workflow_uuid";
            let ids = fresh.query(sql).await.into_iter().flatten().flatten();
            ids.map(|id| id.trim_start_matches("sched-tick-").parse().unwrap()).collect::<Vec<Timestamp>>()
        };
        until("it fires", async || !ticks().await.is_empty()).await;
        dbos.deactivate();
        let begun = tokio::time::Instant::now();
        until("two of its times have passed", async || begun.elapsed() > Duration::from_millis(2200)).await;
        let meanwhile = ticks().await.len();
        dbos.reactivate();
        until("it fires again", async || ticks().await.len() > meanwhile).await;
        let ticks = ticks().await;
        let pauses = ticks.windows(2).filter(|pair| pair[1].as_millis() - pair[0].as_millis() >= 3000);
        assert_eq!(pauses.count(), 1, "{ticks:?}");
    }

    async fn the_work_of_executors_that_are_known_to_be_dead_goes_on_on_demand(fresh: Fresh) {
        let owners = [
            ("tests", "dead", "v1"), ("tests", "gone", "v1"), ("tests", "other", "v1"),
            ("tests", "dead", "v2"), ("others", "dead", "v3"),
        ];
        for (n, (application, executor, version)) in owners.into_iter().enumerate() {
            let dbos = launch_as(process(&fresh, application, executor, version), parent).await;
            start(&dbos, &format!("w{n}")).await;
            until_rows(&fresh, 1, &format!("operation_outputs WHERE workflow_uuid = 'w{n}' AND function_id = 1")).await;
            crash(&dbos).await;
        }
        let steps = Arc::new(AtomicU32::new(0));
        let entered = Arc::new(AtomicU32::new(0));
        let (counted, entering) = (Arc::clone(&steps), Arc::clone(&entered));
        let body = move |ctx: Ctx, input| {
            let (counted, entering) = (Arc::clone(&counted), Arc::clone(&entering));
            async move {
                if input != "child" {
                    entering.fetch_add(1, SeqCst);
                    ctx.step("once", || async {
                        counted.fetch_add(1, SeqCst);
                        Ok(())
                    }).await?;
                    ctx.recv::<Value>("go").timeout(HOUR).await?;
                }
                Ok(input)
            }
        };
        let dbos = launch_as(process(&fresh, "tests", "alive", "v1"), body).await;
        assert_eq!(dbos.recover(Vec::<String>::new()).await.unwrap(), []);
        assert_eq!(dbos.recover(["dead", "gone", "nobody"]).await.unwrap(), [id("w0"), id("w1")]);
        until_rows(&fresh, 2, "workflow_status WHERE status = 'PENDING' AND executor_id = 'alive'").await;
        until("the two run", async || entered.load(SeqCst) == 2).await;
        assert_eq!(dbos.recover(["dead", "gone", "alive"]).await.unwrap(), [], "they run");
        for n in 2..5 {
            assert_eq!(status(&fresh, &format!("w{n}")).await, "PENDING");
            assert_ne!(executor_of(&fresh, &format!("w{n}")).await.as_deref(), Some("alive"));
        }
        for n in 0..2 {
            dbos.send(&id(&format!("w{n}")), "now").topic("go").await.unwrap();
            result_of(&dbos.retrieve(&*format!("w{n}")).await.unwrap()).await.unwrap();
        }
        assert_eq!(steps.load(SeqCst), 0, "a recorded step does not run again");
        assert_kind(dbos.recover(["a\0b"]).await, ErrorKind::InvalidArgument);
        assert_kind(dbos.recover(vec!["x"; 10_001]).await, ErrorKind::InvalidArgument);
    }

    async fn what_is_known_to_run_is_not_recovered(fresh: Fresh) {
        let a = launch_as(process(&fresh, "tests", "a", "v1"), parent).await;
        let b = launch_as(process(&fresh, "tests", "b", "v1").peer_recovery(true), parent).await;
        let (of_a, of_b) = (start(&a, "of-a").await, start(&b, "of-b").await);
        until_rows(&fresh, 2, "operation_outputs WHERE function_id = 1").await;
        assert_eq!(a.recover(["a"]).await.unwrap(), []);
        // A file does not tell who lives.
        if fresh.backend() == Backend::Postgres {
            assert_eq!(a.recover(["b"]).await.unwrap(), []);
        }
        until_rows(&fresh, 2, "workflow_status WHERE status = 'PENDING' AND recovery_attempts = 1").await;
        for handle in [of_a, of_b] {
            a.send(handle.id(), "now").topic("go").await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), "child");
        }
    }
}
