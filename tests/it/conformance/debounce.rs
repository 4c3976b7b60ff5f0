//! Debouncing: of many calls one run, with the last input, once it is quiet or time is up.

use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{Client, Dbos, Error, ErrorKind, Queue, Start, WorkflowHandle, WorkflowRef};
use harness::{Fresh, on_each_backend, until};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::gauge::{Gauge, JOB};
use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, result_of, steps, take_over, until_rows,
};
use super::support::Log;

const QUIET: Duration = Duration::from_millis(300);

async fn launch<F, Fut>(fresh: &Fresh, gauge: &Gauge, body: F) -> Dbos
where
    F: Fn(Ctx, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, Error>> + Send + 'static,
{
    let builder = gauge.register(harness::builder(fresh)).queue(Queue::new("q"));
    builder.register_fn("w", body).launch().await.unwrap()
}

async fn jobs(fresh: &Fresh, gauge: &Gauge) -> Dbos {
    launch(fresh, gauge, async |_, _| Ok(Value::Null)).await
}

fn bounce(dbos: &Dbos, input: &str, period: Duration) -> Start<String, Error> {
    dbos.start(JOB, input.to_owned()).queue("q").debounce("k", period)
}

async fn ends(handle: &WorkflowHandle<String>) -> String {
    tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect("the job ends").unwrap()
}

/// The only row of a job: its columns.
async fn one(fresh: &Fresh, columns: &str) -> Value {
    let mut rows = fresh.rows(&format!("SELECT {columns} FROM workflow_status WHERE name = 'job'")).await;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

/// Lets the delayed workflow of key `k` go now.
async fn release(fresh: &Fresh) {
    fresh.execute("UPDATE workflow_status SET delay_until_epoch_ms = 1 WHERE status = 'DELAYED'").await;
}

/// A parent that debounces one job, and tells which workflow it got.
async fn debouncer(ctx: Ctx, input: Value) -> Result<Value, Error> {
    let start = ctx.start(JOB, input.as_str().unwrap().to_owned()).queue("q").debounce("k", HOUR);
    let found =
        start.await.map_or_else(|error| format!("{:?}", error.kind()), |child| child.id().to_string());
    ctx.step("next", async || Ok::<_, Error>(())).await?;
    Ok(json!(found))
}

async fn names(fresh: &Fresh, id: &str) -> Vec<String> {
    steps(fresh, id).await.into_iter().map(|mut step| step.remove(1).unwrap()).collect()
}

on_each_backend! {
    // N.407: a burst is one workflow, which runs once, with the last input.
    async fn a_burst_of_calls_is_one_run_with_the_last_input(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let first = bounce(&dbos, "first", HOUR).await.unwrap();
        assert!(first.created());
        let before = one(&fresh, "delay_until_epoch_ms AS d, debounce_deadline_epoch_ms AS most, deduplication_id AS k").await;
        assert_eq!((&before["k"], &before["most"]), (&json!("job-k"), &Value::Null));
        let again = async |input: &str, period: Duration| {
            let again = bounce(&dbos, input, period).await.unwrap();
            assert_eq!((again.id(), again.created()), (first.id(), false));
        };
        again("second", HOUR + Duration::from_secs(1)).await;
        again("third", HOUR + Duration::from_secs(2)).await;
        let after = one(&fresh, "delay_until_epoch_ms AS d").await;
        assert!(after["d"].as_i64() > before["d"].as_i64(), "the delay was moved");
        again("last", QUIET).await;
        assert_eq!(ends(&first).await, "last");
        assert_eq!(gauge.started(), ["last"]);
        let early = "SELECT count(*) FROM workflow_status WHERE started_at_epoch_ms < delay_until_epoch_ms";
        assert_eq!(fresh.scalar(early).await, 0);
        crash(&dbos).await;
    }

    // N.407: many at once, of different keys and on the runtime's own queue: one workflow for each key.
    async fn many_callers_at_once_share_one_workflow_for_each_key(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let calls = futures_util::future::join_all((0..30).map(async |n| {
            let start = dbos.start(JOB, format!("in-{n}")).debounce(&format!("k{}", n % 3), HOUR);
            start.await.unwrap()
        }))
        .await;
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE queue_name = '_dbos_internal_queue'").await, 3);
        assert_eq!(calls.iter().filter(|handle| handle.created()).count(), 3);
        release(&fresh).await;
        for handle in &calls {
            ends(handle).await;
        }
        assert_eq!(gauge.started().len(), 3);
        crash(&dbos).await;
    }

    // N.408, N.409: however often it is moved, and from the first delay on.
    async fn a_debounce_timeout_bounds_the_delay(fresh: Fresh) {
        let dbos = jobs(&fresh, &Gauge::open()).await;
        let most = HOUR / 2;
        let first = bounce(&dbos, "first", HOUR).debounce_timeout(most).await.unwrap();
        let facts = "delay_until_epoch_ms AS d, debounce_deadline_epoch_ms AS most, debounce_deadline_epoch_ms - created_at AS given";
        let before = one(&fresh, facts).await;
        assert_eq!(before["d"], before["most"]);
        // Counted from the call, which begins before there is a row.
        assert!((1_800_000..1_860_000).contains(&before["given"].as_i64().unwrap()), "{before}");
        bounce(&dbos, "second", HOUR).debounce_timeout(HOUR).await.unwrap();
        assert_eq!(one(&fresh, facts).await, before, "the first call's bound stays");
        release(&fresh).await;
        assert_eq!(ends(&first).await, "second");
        crash(&dbos).await;
    }

    // N.410: once released it is no longer moved, though it has not run yet.
    async fn a_call_after_the_release_starts_another(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = jobs(&fresh, &gauge).await;
        dbos.queues().update("q", |queue| queue.concurrency(0)).await.unwrap();
        let first = bounce(&dbos, "first", HOUR).await.unwrap();
        release(&fresh).await;
        until_rows(&fresh, 1, "workflow_status WHERE status = 'ENQUEUED' AND deduplication_id IS NULL").await;
        let second = bounce(&dbos, "second", HOUR).await.unwrap();
        assert!(second.created() && second.id() != first.id());
        release(&fresh).await;
        dbos.queues().update("q", |queue| queue.concurrency(None)).await.unwrap();
        gauge.let_go(2);
        assert_eq!((ends(&first).await, ends(&second).await), ("first".to_owned(), "second".to_owned()));
        crash(&dbos).await;
    }

    // N.410: callers that come while workflows are released all the time lose nothing: the last input always runs.
    async fn calls_that_race_with_releases_are_never_lost(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let period = Duration::from_millis(20);
        for n in 0..30 {
            let handle = bounce(&dbos, &format!("n-{n}"), period).await.unwrap();
            if n % 3 == 2 {
                // Whichever workflow it is, this input is in it, and it was the last one.
                assert_eq!(ends(&handle).await, format!("n-{n}"));
            } else {
                tokio::time::sleep(Duration::from_millis(n % 5 * 8)).await;
            }
        }
        let created = fresh.scalar("SELECT count(*) FROM workflow_status").await;
        assert!((10..=30).contains(&created), "{created}");
        until_rows(&fresh, 0, "workflow_status WHERE status <> 'SUCCESS'").await;
        crash(&dbos).await;
    }

    // N.411
    async fn a_cancel_frees_the_key(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let first = bounce(&dbos, "first", HOUR).await.unwrap();
        assert!(dbos.cancel(first.id()).await.unwrap());
        let second = bounce(&dbos, "second", Duration::from_millis(50)).await.unwrap();
        assert!(second.created());
        assert_eq!(ends(&second).await, "second");
        assert_kind(first.result().await, ErrorKind::AwaitedWorkflowCancelled);
        crash(&dbos).await;
    }

    // N.412, N.413: a holder that is not debounced, or of another workflow, is never moved.
    async fn a_key_that_another_kind_of_workflow_holds_is_refused(fresh: Fresh) {
        const B: WorkflowRef<Value, Value> = WorkflowRef::named("job-b");
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let plain = dbos.start(JOB, "plain".to_owned()).id("plain").queue("q").delay(HOUR).deduplication_id("job-k");
        plain.await.unwrap();
        let error = bounce(&dbos, "x", HOUR).await.unwrap_err();
        assert_eq!((error.kind(), error.workflow_id()), (ErrorKind::QueueDeduplicated, Some(&id("plain"))));

        // "job" with "b-c" and "job-b" with "c" are spelt alike.
        let first = dbos.start(JOB, "mine".to_owned()).queue("q").debounce("b-c", HOUR).await.unwrap();
        let error = dbos.start(B, json!("other")).queue("q").debounce("c", HOUR).await.unwrap_err();
        assert_eq!((error.kind(), error.workflow_id()), (ErrorKind::QueueDeduplicated, Some(first.id())));
        let inputs = fresh.query("SELECT inputs FROM workflow_input ORDER BY workflow_uuid <> 'plain'").await.concat();
        assert_eq!(inputs.len(), 2);
        assert!(inputs[0].as_deref().unwrap().contains("plain") && inputs[1].as_deref().unwrap().contains("mine"));
        crash(&dbos).await;
    }

    // N.414, and what makes no sense.
    async fn what_does_not_go_together_with_debouncing_is_refused(fresh: Fresh) {
        let dbos = jobs(&fresh, &Gauge::open()).await;
        dbos.queues().register(Queue::new("parts").partition_concurrency(1)).await.unwrap();
        let start = || bounce(&dbos, "x", HOUR);
        let century = Duration::from_secs(101 * 366 * 24 * 3600);
        let refused = [
            start().deduplication_id("d"),
            start().delay(HOUR),
            start().priority(1),
            start().partition_key("p"),
            start().deduplication_id("d").attach_to_duplicate(),
            start().attach_to_duplicate(),
            start().refuse_existing(),
            start().debounce_timeout(Duration::ZERO),
            start().debounce_timeout(century),
            start().queue("parts"),
            bounce(&dbos, "x", Duration::ZERO),
            bounce(&dbos, "x", century),
            dbos.start(JOB, String::new()).queue("q").debounce("", HOUR),
            dbos.start(JOB, String::new()).queue("q").debounce(&"x".repeat(513), HOUR),
            dbos.start(JOB, String::new()).queue("q").debounce_timeout(HOUR),
        ];
        for start in refused {
            assert_kind(start.await, ErrorKind::InvalidArgument);
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
        crash(&dbos).await;
    }

    // N.415, N.416: an id is the new workflow's; a call that only moves has no use for it.
    async fn an_id_is_used_when_a_workflow_is_made(fresh: Fresh) {
        let dbos = jobs(&fresh, &Gauge::open()).await;
        let first = bounce(&dbos, "first", HOUR).id("mine").await.unwrap();
        assert_eq!((first.id(), first.created()), (&id("mine"), true));
        let moved = bounce(&dbos, "second", HOUR).id("unused").await.unwrap();
        assert_eq!((moved.id(), moved.created()), (&id("mine"), false));
        assert_kind(dbos.info(id("unused")).await, ErrorKind::NonExistentWorkflow);
        release(&fresh).await;
        ends(&first).await;
        let calls = ["a", "b", "c", "d"].map(|name| bounce(&dbos, name, HOUR).id(name).into_future());
        let calls: Vec<_> = futures_util::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let new: Vec<_> = calls.iter().filter(|call| call.created()).collect();
        assert_eq!(new.len(), 1, "{calls:?}");
        assert!(["a", "b", "c", "d"].contains(&new[0].id().as_str()), "its own, not a made one");
        assert!(calls.iter().all(|call| call.id() == new[0].id()));
        crash(&dbos).await;
    }

    // N.417, N.418: the bounce and, of a new one, the enqueue are steps; a replay finds them, and moves nothing.
    async fn in_a_workflow_a_debounce_is_recorded_and_replayed(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = launch(&fresh, &gauge, debouncer).await;
        for (parent, input) in [("p1", "first"), ("p2", "second")] {
            let handle = dbos.start(W, json!(input)).id(parent).await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), "p1-2", "{parent}");
        }
        assert_eq!(names(&fresh, "p1").await, ["DBOS.debounce_delayed_workflow", "job", "next"]);
        assert_eq!(names(&fresh, "p2").await, ["DBOS.debounce_delayed_workflow", "next"]);
        let recorded = |step: &[Option<String>]| serde_json::from_str::<Value>(step[2].as_deref().unwrap()).unwrap();
        assert_eq!(recorded(&steps(&fresh, "p2").await[0]), json!({"bounced_workflow_id": "p1-2", "holder_workflow_id": null,
            "holder_is_debounced": null, "holder_workflow_name": null, "holder_application_name": null}));
        assert_eq!(recorded(&steps(&fresh, "p1").await[0])["bounced_workflow_id"], Value::Null);
        crash(&dbos).await;

        // Another call comes between. The replays get the same handles, and its input stays.
        let dbos = jobs(&fresh, &gauge).await;
        bounce(&dbos, "between", HOUR).await.unwrap();
        let facts = "delay_until_epoch_ms AS d, updated_at AS u, status AS s, parent_workflow_id AS p";
        let before = one(&fresh, facts).await;
        assert_eq!(before["p"], "p1");
        crash(&dbos).await;
        let rows = (steps(&fresh, "p1").await, steps(&fresh, "p2").await);
        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, &gauge, debouncer).await;
        for parent in ["p1", "p2"] {
            assert_eq!(result_of(&dbos.retrieve(parent).await.unwrap()).await.unwrap(), "p1-2", "{parent}");
        }
        assert_eq!((steps(&fresh, "p1").await, steps(&fresh, "p2").await), rows);
        assert_eq!(one(&fresh, facts).await, before);
        release(&fresh).await;
        assert_eq!(ends(&dbos.retrieve("p1-2").await.unwrap()).await, "between");
        crash(&dbos).await;
    }

    // N.419: the process dies after the commit of the bounce: the next one does not move it again.
    async fn a_bounce_whose_process_died_is_not_repeated(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = launch(&fresh, &gauge, debouncer).await;
        for (parent, input) in [("p1", "first"), ("p2", "second")] {
            result_of(&dbos.start(W, json!(input)).id(parent).await.unwrap()).await.unwrap();
        }
        crash(&dbos).await;
        // All that was recorded after the bounces is lost.
        fresh.execute("DELETE FROM operation_outputs WHERE function_name = 'next'").await;
        forget_outcomes(&fresh).await;
        let before = one(&fresh, "delay_until_epoch_ms AS d, updated_at AS u").await;
        let dbos = launch(&fresh, &gauge, debouncer).await;
        for parent in ["p1", "p2"] {
            assert_eq!(result_of(&dbos.retrieve(parent).await.unwrap()).await.unwrap(), "p1-2");
        }
        assert_eq!(one(&fresh, "delay_until_epoch_ms AS d, updated_at AS u").await, before);
        crash(&dbos).await;
    }

    // N.418: a process that has lost the parent records nothing, so it moves nothing.
    async fn a_displaced_parent_moves_nothing(fresh: Fresh) {
        let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
        let (notes, wait) = (log.clone(), Arc::clone(&gate));
        // So seldom that it learns of its loss by the debounce itself.
        let builder = harness::builder(&fresh).polling_interval(Duration::from_secs(3600)).register_fn("w", move |ctx: Ctx, input: Value| {
            let (notes, wait) = (notes.clone(), Arc::clone(&wait));
            async move {
                notes.add("waits");
                wait.acquire().await.unwrap().forget();
                let start = ctx.start(JOB, input.as_str().unwrap().to_owned()).queue("q").debounce("k", HOUR);
                notes.add(format!("{:?}", start.await.map(drop).map_err(|error| error.kind())));
                Ok(Value::Null)
            }
        });
        let dbos = builder.launch().await.unwrap();
        bounce(&dbos, "mine", HOUR).await.unwrap();
        let before = one(&fresh, "delay_until_epoch_ms AS d, updated_at AS u").await;
        dbos.start(W, json!("stale")).id("p").await.unwrap();
        until("it waits", async || log.count("waits") == 1).await;
        take_over(&fresh, "p").await;
        gate.add_permits(1);
        until("it has lost", async || log.count("Err(LostOwnership)") == 1).await;
        assert_eq!(one(&fresh, "delay_until_epoch_ms AS d, updated_at AS u").await, before);
        assert_eq!(names(&fresh, "p").await, Vec::<String>::new());
        crash(&dbos).await;
    }

    // N.420: it would be out of time while it is still delayed.
    async fn a_debounced_child_does_not_inherit_its_parents_deadline(fresh: Fresh) {
        let dbos = launch(&fresh, &Gauge::open(), debouncer).await;
        let parent = dbos.start(W, json!("first")).id("p").timeout(HOUR).await.unwrap();
        result_of(&parent).await.unwrap();
        let row = one(&fresh, "workflow_deadline_epoch_ms AS d, workflow_timeout_ms AS t, parent_workflow_id AS p").await;
        assert_eq!(row, json!({"d": null, "t": null, "p": "p"}));
        // A limit of its own counts from the claim.
        bounce(&dbos, "x", HOUR).timeout(HOUR).queue("r").await.unwrap();
        let own = "workflow_status WHERE queue_name = 'r' AND workflow_deadline_epoch_ms IS NULL AND workflow_timeout_ms = 3600000";
        until_rows(&fresh, 1, own).await;
        crash(&dbos).await;
    }

    // N.421, N.422: of this application or of none, and of another only where that is said.
    async fn another_applications_workflow_is_not_moved_unless_it_is_meant(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let another = dbos.start(JOB, "theirs".to_owned()).queue("q").application("another").debounce("k", HOUR);
        let theirs = another.await.unwrap();
        let row = one(&fresh, "application_name AS a, application_version AS v").await;
        assert_eq!(row, json!({"a": "another", "v": null}));
        let error = bounce(&dbos, "mine", HOUR).await.unwrap_err();
        assert_eq!((error.kind(), error.workflow_id()), (ErrorKind::QueueDeduplicated, Some(theirs.id())));
        let again = bounce(&dbos, "theirs again", HOUR).application("another").await.unwrap();
        assert_eq!((again.id(), again.created()), (theirs.id(), false));
        fresh.execute("UPDATE workflow_status SET application_name = NULL").await;
        let claimed = bounce(&dbos, "ours now", HOUR).await.unwrap();
        assert_eq!(claimed.id(), theirs.id());
        assert_eq!(one(&fresh, "application_name AS a").await["a"], "tests");
        crash(&dbos).await;
    }

    // N.423: a refusal of the enqueue that was recorded leads a replay where it led the first run: to another bounce.
    async fn a_recorded_refusal_of_the_enqueue_is_followed_by_another_bounce(fresh: Fresh) {
        let gauge = Gauge::open();
        let body = async |ctx: Ctx, input: Value| {
            if input == "refused" {
                ctx.start(JOB, String::new()).queue("q").deduplication_id("job-k").await.unwrap_err();
            }
            debouncer(ctx, input).await
        };
        let dbos = launch(&fresh, &gauge, body).await;
        let holder = bounce(&dbos, "holder", HOUR).id("holder").await.unwrap();
        for parent in ["p", "refused"] {
            let handle = dbos.start(W, json!(parent)).id(parent).await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), "holder");
        }
        crash(&dbos).await;
        // As if another caller had come between the bounce of `p` and its enqueue.
        let none = r#"{"bounced_workflow_id":null,"holder_workflow_id":null,"holder_is_debounced":null,"holder_workflow_name":null,"holder_application_name":null}"#;
        fresh.execute(&format!("
            UPDATE operation_outputs SET function_id = 4 WHERE workflow_uuid = 'p' AND function_id = 2;
            UPDATE operation_outputs SET function_id = 3 WHERE workflow_uuid = 'p' AND function_id = 1;
            INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, serialization)
                VALUES ('p', 1, 'DBOS.debounce_delayed_workflow', '{none}', 'portable_json');
            INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, error, serialization)
                SELECT 'p', 2, function_name, error, serialization FROM operation_outputs
                WHERE workflow_uuid = 'refused' AND function_id = 1")).await;
        forget_outcomes(&fresh).await;
        let dbos = launch(&fresh, &gauge, body).await;
        assert_eq!(result_of(&dbos.retrieve("p").await.unwrap()).await.unwrap(), holder.id().as_str());
        assert_eq!(names(&fresh, "p").await, ["DBOS.debounce_delayed_workflow", "job", "DBOS.debounce_delayed_workflow", "next"]);
        crash(&dbos).await;
    }

    // N.424
    async fn a_bounce_matches_the_class_and_the_instance(fresh: Fresh) {
        let dbos = jobs(&fresh, &Gauge::open()).await;
        let of = |class: &str, instance: &str| bounce(&dbos, "x", HOUR).class_name(class).config_name(instance);
        let first = of("Jobs", "eu").await.unwrap();
        assert_eq!(of("Jobs", "eu").await.unwrap().id(), first.id());
        for other in [of("Jobs", "us"), of("Others", "eu"), bounce(&dbos, "x", HOUR)] {
            let error = other.await.unwrap_err();
            assert_eq!((error.kind(), error.workflow_id()), (ErrorKind::QueueDeduplicated, Some(first.id())));
        }
        crash(&dbos).await;
    }

    // N.425
    async fn a_client_debounces_like_a_runtime(fresh: Fresh) {
        let gauge = Gauge::open();
        let client = Client::builder().database_url(fresh.url()).application("tests").connect().await.unwrap();
        let start = |input: &str| client.start(JOB, input.to_owned()).queue("q").debounce("k", HOUR);
        let first = start("first").debounce_timeout(HOUR).await.unwrap();
        let row = one(&fresh, "status AS s, deduplication_id AS k, application_name AS a, application_version AS v, creator_xid IS NULL AS c").await;
        assert_eq!((&row["s"], &row["k"], &row["a"], &row["v"]), (&json!("DELAYED"), &json!("job-k"), &json!("tests"), &Value::Null));
        assert_eq!(start("second").await.unwrap().id(), first.id());
        let dbos = jobs(&fresh, &gauge).await;
        assert_eq!(bounce(&dbos, "third", QUIET).await.unwrap().id(), first.id());
        assert_eq!(ends(&first).await, "third");
        assert_eq!(gauge.started(), ["third"]);
        crash(&dbos).await;
        client.close().await;
    }
}
