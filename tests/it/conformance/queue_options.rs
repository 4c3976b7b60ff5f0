//! What a start says about its place on a queue: ids that are held, limits of numbers and texts, delays, versions,
//! applications.

use std::time::Duration;

use dbos_runtime::{
    Arguments, Dbos, Error, ErrorKind, Queue, Start, WorkflowHandle, WorkflowRef, WorkflowStatus,
};
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend, until};
use serde_json::{Value, json};

use super::gauge::{Gauge, JOB};
use super::scene::{Ctx, HOUR, W, assert_kind, crash, id, result_of, status, steps, until_rows};

/// Jobs, a queue `q` and a workflow with this body.
async fn launch<F, Fut>(fresh: &Fresh, gauge: &Gauge, executor: &str, body: F) -> Dbos
where
    F: Fn(Ctx, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, Error>> + Send + 'static,
{
    let builder = gauge.register(harness::builder(fresh)).executor_id(executor).queue(Queue::new("q"));
    builder.register_fn("w", body).launch().await.unwrap()
}

async fn jobs(fresh: &Fresh, gauge: &Gauge) -> Dbos {
    launch(fresh, gauge, "one", async |_, _| Ok(Value::Null)).await
}

fn job(dbos: &Dbos, name: &str) -> Start<String, Error> {
    dbos.start(JOB, name.to_owned()).id(name).queue("q")
}

async fn ends(handle: &WorkflowHandle<String>) -> String {
    tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect("the job ends").unwrap()
}

async fn column(fresh: &Fresh, id: &str, column: &str) -> Value {
    let sql = format!("SELECT {column} AS it FROM workflow_status WHERE workflow_uuid = '{id}'");
    fresh.rows(&sql).await.remove(0)["it"].take()
}

async fn pause(dbos: &Dbos) {
    dbos.queues().update("q", |queue| queue.concurrency(0)).await.unwrap();
}

async fn go_on(dbos: &Dbos) {
    dbos.queues().update("q", |queue| queue.concurrency(None)).await.unwrap();
}

/// A parent that enqueues one job in the way that its input says, and tells what came of it.
async fn enqueuer(ctx: Ctx, how: Value) -> Result<Value, Error> {
    let start = ctx.start(JOB, "child".to_owned()).queue("q");
    let started = match how.as_str().unwrap() {
        "reject" => start.deduplication_id("d").await,
        "attach" => start.deduplication_id("d").attach_to_duplicate().await,
        "refuse" => start.id("holder").refuse_existing().await,
        "plain" => start.await,
        "needs a queue" => ctx.start(JOB, "child".to_owned()).priority(1).await,
        "both" => start.deduplication_id("d").partition_key("p").await,
        "priority" => start.priority(0).await,
        "timeout" => start.timeout(Duration::ZERO).await,
        other => panic!("{other}?"),
    };
    let found = started.map_or_else(|error| format!("{:?}", error.kind()), |child| child.id().to_string());
    ctx.step("next", async || Ok::<_, Error>(())).await?;
    Ok(json!(found))
}

/// Puts a workflow back to just before its outcome, and runs it again in a process of its own.
async fn replay(fresh: &Fresh, gauge: &Gauge, id: &str, executor: &str) -> Value {
    let sql = format!(
        "DELETE FROM workflow_output WHERE workflow_uuid = '{id}';
         UPDATE workflow_status SET status = 'PENDING', completed_at = NULL, executor_id = '{executor}' WHERE workflow_uuid = '{id}'"
    );
    fresh.execute(&sql).await;
    let dbos = launch(fresh, gauge, executor, enqueuer).await;
    let result = result_of(&dbos.retrieve(id).await.unwrap()).await.unwrap();
    crash(&dbos).await;
    result
}

on_each_backend! {
    // K.282, K44: held while it waits and while it runs, by queue; and free when its workflow has ended.
    async fn a_deduplication_id_is_held_until_its_workflow_has_ended(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = jobs(&fresh, &gauge).await;
        dbos.queues().register(Queue::new("r")).await.unwrap();
        pause(&dbos).await;
        let holder = job(&dbos, "a").deduplication_id("d").await.unwrap();
        let error = job(&dbos, "b").deduplication_id("d").await.unwrap_err();
        assert_eq!((error.kind(), error.kind().code()), (ErrorKind::QueueDeduplicated, Some(12)));
        for part in ["workflow a", "\"d\"", "\"q\""] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // Another queue, another id, none, and its own workflow once more.
        dbos.start(JOB, "r".to_owned()).id("r").queue("r").deduplication_id("d").await.unwrap();
        job(&dbos, "c").deduplication_id("d2").await.unwrap();
        job(&dbos, "e").await.unwrap();
        assert!(!job(&dbos, "a").deduplication_id("d").await.unwrap().created());
        go_on(&dbos).await;
        gauge.settles_at(4).await;
        assert_kind(job(&dbos, "b").deduplication_id("d").await, ErrorKind::QueueDeduplicated);
        assert_eq!(column(&fresh, "a", "deduplication_id").await, "d");
        gauge.let_go(4);
        ends(&holder).await;
        until_rows(&fresh, 1, "workflow_status WHERE workflow_uuid = 'a' AND deduplication_id IS NULL").await;
        assert!(job(&dbos, "b").deduplication_id("d").await.unwrap().created());
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 5, "what is refused leaves no row");
        crash(&dbos).await;
    }

    // C.79, K.282, K.300, K44: cancelled, or parked, its workflow does not hold it either.
    async fn a_deduplication_id_is_free_after_a_cancel_and_a_parking(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        pause(&dbos).await;
        job(&dbos, "a").deduplication_id("d").await.unwrap();
        assert!(dbos.cancel(&id("a")).await.unwrap());
        // As often as none may be tried.
        let sql = "INSERT INTO workflow_status (workflow_uuid, status, name, queue_name, deduplication_id, recovery_attempts,
                application_name, application_version)
            VALUES ('b', 'ENQUEUED', 'job', 'q', 'd', 1000, 'tests', 'v1')";
        fresh.execute(sql).await;
        go_on(&dbos).await;
        let parked = "workflow_status WHERE workflow_uuid = 'b' AND status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'
            AND deduplication_id IS NULL AND queue_name IS NULL";
        until_rows(&fresh, 1, parked).await;
        assert_eq!(ends(&job(&dbos, "c").deduplication_id("d").await.unwrap()).await, "c");
        assert_eq!(gauge.started(), ["c"]);
        crash(&dbos).await;
    }

    // K.284, K.287: a handle to the holder; the pinned id is used as soon as nobody holds the other one.
    async fn a_start_can_attach_to_the_holder(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = jobs(&fresh, &gauge).await;
        let holder = job(&dbos, "a").deduplication_id("d").await.unwrap();
        let attached = job(&dbos, "mine").deduplication_id("d").attach_to_duplicate().await.unwrap();
        assert_eq!((attached.id(), attached.created()), (&id("a"), false));
        gauge.let_go(1);
        assert_eq!((ends(&attached).await, ends(&holder).await), ("a".to_owned(), "a".to_owned()));
        gauge.let_go(1);
        let own = job(&dbos, "mine").deduplication_id("d").attach_to_duplicate().await.unwrap();
        assert_eq!((own.id(), own.created()), (&id("mine"), true));
        assert_eq!(ends(&own).await, "mine");
        crash(&dbos).await;
    }

    // K.284, K.286: of many at once one is new, and nobody is refused, though ids are freed all the time.
    async fn attaching_finds_a_holder_or_becomes_it(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let rounds = join_all((0..8).map(async |caller| {
            let mut created = 0;
            for round in 0..12 {
                let start = job(&dbos, &format!("{caller}-{round}")).deduplication_id("d").attach_to_duplicate();
                let handle = start.await.unwrap();
                assert_eq!(ends(&handle).await, handle.id().as_str());
                created += usize::from(handle.created());
            }
            created
        }));
        let created: usize = rounds.await.into_iter().sum();
        assert!((12..=96).contains(&created), "{created}");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, i64::try_from(created).unwrap());
        assert_eq!(gauge.started().len(), created);
        assert_eq!(gauge.most(), 1, "one holder at a time");
        crash(&dbos).await;
    }

    // K.283, K.285: in a parent both outcomes are one step, which a replay finds, whoever holds the id by then.
    async fn in_a_parent_a_duplicate_is_one_recorded_step(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = launch(&fresh, &gauge, "one", enqueuer).await;
        let holder = job(&dbos, "holder").deduplication_id("d").await.unwrap();
        for (how, found) in [("attach", "holder"), ("reject", "QueueDeduplicated")] {
            let parent = dbos.start(W, json!(how)).id(how).await.unwrap();
            assert_eq!(result_of(&parent).await.unwrap(), found);
        }
        gauge.let_go(1);
        ends(&holder).await;
        crash(&dbos).await;
        for (how, found) in [("attach", "holder"), ("reject", "QueueDeduplicated")] {
            let before = steps(&fresh, how).await;
            assert_eq!(before.iter().map(|step| step[1].clone().unwrap()).collect::<Vec<_>>(), ["job", "next"]);
            assert_eq!(replay(&fresh, &gauge, how, "again").await, found);
            assert_eq!(steps(&fresh, how).await, before);
        }
        let children = "SELECT workflow_uuid AS a, child_workflow_id AS b FROM operation_outputs
            WHERE function_id = 1 AND workflow_uuid <> 'holder' ORDER BY 1";
        assert_eq!(fresh.rows(children).await, [json!({"a": "attach", "b": "holder"}), json!({"a": "reject", "b": null})]);
        let error: Value = serde_json::from_str(steps(&fresh, "reject").await[0][3].as_deref().unwrap()).unwrap();
        assert_eq!(error["code"], 12);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 3);
    }

    // K.288, K.289, K.290: said with its status and name, before the names are compared; in a parent it is recorded.
    async fn a_start_can_refuse_an_id_that_is_in_use(fresh: Fresh) {
        const OTHER: WorkflowRef<Value, Value> = WorkflowRef::named("other");
        let gauge = Gauge::open();
        let dbos = launch(&fresh, &gauge, "one", enqueuer).await;
        ends(&job(&dbos, "holder").refuse_existing().await.unwrap()).await;
        let refused = [
            job(&dbos, "holder").refuse_existing().await.map(drop),
            dbos.start(JOB, String::new()).id("holder").refuse_existing().await.map(drop),
            dbos.start(W, Value::Null).id("holder").refuse_existing().await.map(drop),
            dbos.start(OTHER, Value::Null).id("holder").queue("q").refuse_existing().await.map(drop),
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert_eq!((error.kind(), error.kind().code()), (ErrorKind::WorkflowIdInUse, Some(27)));
            assert_eq!(error.workflow_id(), Some(&id("holder")));
            assert!(error.to_string().contains("\"job\"") && error.to_string().contains("SUCCESS"), "{error}");
        }
        assert!(!job(&dbos, "holder").await.unwrap().created());
        let parent = dbos.start(W, json!("refuse")).id("p").await.unwrap();
        assert_eq!(result_of(&parent).await.unwrap(), "WorkflowIdInUse");
        crash(&dbos).await;
        let before = steps(&fresh, "p").await;
        fresh.execute("DELETE FROM workflow_status WHERE workflow_uuid = 'holder'").await;
        assert_eq!(replay(&fresh, &gauge, "p", "again").await, "WorkflowIdInUse");
        assert_eq!(steps(&fresh, "p").await, before);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
    }

    // K.291, B44, B45, B46, K.327, B47, B48
    async fn what_breaks_a_rule_or_does_not_go_together_is_refused(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = launch(&fresh, &gauge, "one", enqueuer).await;
        dbos.queues().register(Queue::new("parts").partition_concurrency(1)).await.unwrap();
        let direct = || dbos.start(JOB, String::new());
        let queued = || direct().queue("q");
        let too_long = Duration::from_secs(100 * 366 * 24 * 3600 + 1);
        let cases: Vec<(Start<String, Error>, &str)> = vec![
            (direct().priority(1), "a priority needs a queue"),
            (direct().partition_key("p"), "a partition key needs a queue"),
            (direct().deduplication_id("d"), "a deduplication id needs a queue"),
            (direct().delay(Duration::from_secs(1)), "a delay needs a queue"),
            (direct().application_version("v2"), "an application version needs a queue"),
            (direct().application("another"), "another application needs a queue"),
            (queued().attach_to_duplicate(), "a start needs a deduplication id"),
            (queued().deduplication_id("d").partition_key("p"), "do not go together"),
            (direct().queue("parts").deduplication_id("d"), "a partition key is needed"),
            (direct().queue("parts"), "a partition key is needed"),
            (queued().partition_key("p"), "has no partitions"),
            (queued().priority(0), "priority 0 is not between 1 and 2147483647"),
            (queued().priority(1 << 31), "priority 2147483648 is not between"),
            (queued().priority(u32::MAX), "priority 4294967295 is not between"),
            (queued().partition_key(""), "partition key must not be empty"),
            (queued().deduplication_id(""), "deduplication id must not be empty"),
            (queued().deduplication_id(&"x".repeat(513)), "the limit is 512"),
            (queued().class_name(""), "class name must not be empty"),
            (queued().config_name(" x"), "white space"),
            (queued().application("No"), "application name"),
            (queued().application_version(""), "must not be empty"),
            (queued().delay(too_long), "longer than 100 years"),
            (queued().delay(Duration::MAX), "longer than 100 years"),
            (queued().timeout(Duration::ZERO), "longer than nothing"),
            (direct().timeout(Duration::ZERO), "longer than nothing"),
            (direct().timeout(too_long), "longer than 100 years"),
            (queued().timeout(Duration::MAX), "longer than 100 years"),
        ];
        for (start, said) in cases {
            let error = start.await.expect_err(said);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.to_string().contains(said), "{error}, not {said}");
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
        for how in ["needs a queue", "both", "priority", "timeout"] {
            let parent = dbos.start(W, json!(how)).id(how).await.unwrap();
            assert_eq!(result_of(&parent).await.unwrap(), "InvalidArgument", "{how}");
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 4, "no child of them");

        // What just fits.
        let longest = Duration::from_secs(100 * 366 * 24 * 3600);
        let fits = [
            queued().id("last").priority(i32::MAX as u32),
            queued().id("delay").delay(longest).timeout(longest),
            queued().id("soon").delay(Duration::ZERO),
            direct().queue("parts").id("part").partition_key(&"é".repeat(256)),
        ];
        for start in fits {
            start.await.unwrap();
        }
        until_rows(&fresh, 3, "workflow_status WHERE status = 'SUCCESS' AND name = 'job'").await;
        assert_eq!(column(&fresh, "last", "priority").await, i32::MAX);
        let wait = column(&fresh, "delay", "delay_until_epoch_ms - created_at").await.as_i64().unwrap();
        assert!((wait - 100 * 366 * 86_400_000).abs() < 1000, "{wait}");
        crash(&dbos).await;
    }

    // B41
    async fn a_queues_name_is_a_name_and_not_one_of_the_runtimes(fresh: Fresh) {
        let dbos = jobs(&fresh, &Gauge::open()).await;
        for name in ["", " q", "q\n", "_dbos_internal_queue", "_dbos_mine", &"x".repeat(257)] {
            assert_kind(dbos.start(JOB, String::new()).queue(name).await, ErrorKind::InvalidArgument);
            assert_kind(dbos.enqueue(name, "job", "x").await, ErrorKind::InvalidArgument);
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
        for name in ["nobody registered this", "'; --", &"x".repeat(256)] {
            let handle = dbos.start(JOB, String::new()).queue(name).await.unwrap();
            assert_eq!(handle.status().await.unwrap().queue_name.as_deref(), Some(name));
        }
        crash(&dbos).await;
    }

    // K.297, K44: not before its time, and with its deduplication id from the beginning to the end.
    async fn a_delayed_workflow_waits_and_then_runs(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = jobs(&fresh, &gauge).await;
        let delayed = job(&dbos, "a").delay(HOUR).deduplication_id("d").await.unwrap();
        let info = delayed.status().await.unwrap();
        assert_eq!((info.status, info.queue_name.as_deref()), (Some(WorkflowStatus::Delayed), Some("q")));
        assert_kind(job(&dbos, "b").deduplication_id("d").await, ErrorKind::QueueDeduplicated);
        let given = fresh.scalar("SELECT delay_until_epoch_ms - created_at FROM workflow_status").await;
        assert!((3_599_990..=3_600_010).contains(&given), "{given}");
        dbos.workflows().set_delay("a", Duration::from_millis(300)).await.unwrap();
        gauge.settles_at(1).await;
        let in_time = "SELECT count(*) FROM workflow_status WHERE started_at_epoch_ms >= delay_until_epoch_ms";
        assert_eq!(fresh.scalar(in_time).await, 1);
        assert_kind(job(&dbos, "b").deduplication_id("d").await, ErrorKind::QueueDeduplicated);
        gauge.let_go(1);
        assert_eq!(ends(&delayed).await, "a");
        crash(&dbos).await;
    }

    // K.298: a cancel finds it where it is. (Its resume, its list and a changed delay: delays.rs, resumes.rs.)
    async fn a_delayed_workflow_can_be_cancelled(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let handle = job(&dbos, "a").delay(HOUR).deduplication_id("d").await.unwrap();
        assert!(dbos.cancel(&id("a")).await.unwrap());
        assert_kind(handle.result().await, ErrorKind::AwaitedWorkflowCancelled);
        let later = job(&dbos, "b").delay(Duration::from_millis(200)).deduplication_id("d").await.unwrap();
        assert_eq!(ends(&later).await, "b");
        assert_eq!(gauge.started(), ["b"]);
        assert_eq!(status(&fresh, "a").await, "CANCELLED");
        crash(&dbos).await;
    }

    // K.293, K.294, K.295, K.296, P.451: each version its own, and what names none is for the latest.
    async fn a_workflow_is_claimed_by_the_version_that_it_names(fresh: Fresh) {
        let (old_jobs, new_jobs) = (Gauge::open(), Gauge::open());
        let launch = async |gauge: &Gauge, version: &str| {
            let builder = gauge.register(harness::builder(&fresh)).application_version(version).executor_id(version);
            builder.queue(Queue::new("q").worker_concurrency(1)).launch().await.unwrap()
        };
        let old = launch(&old_jobs, "v1").await;
        let admin = harness::builder(&fresh).executor_id("admin").application_version("v1").launch().await.unwrap();
        let new = launch(&new_jobs, "v2").await;
        let handles = [
            job(&old, "old-own").await.unwrap(),
            job(&new, "new-own").await.unwrap(),
            job(&old, "new-named").application_version("v2").await.unwrap(),
            job(&new, "old-named").application_version("v1").await.unwrap(),
            // Of a workflow that it has not registered, a process does not know which version can run it.
            job(&admin, "new-none").await.unwrap(),
        ];
        assert!(column(&fresh, "new-none", "coalesce(application_version, 'none')").await != "v1");
        for handle in &handles {
            ends(handle).await;
        }
        let mut started = old_jobs.started();
        started.sort();
        assert_eq!(started, ["old-named", "old-own"]);
        let mut started = new_jobs.started();
        started.sort();
        assert_eq!(started, ["new-named", "new-none", "new-own"]);
        assert_eq!(column(&fresh, "new-none", "application_version").await, "v2");
        // A version that nobody runs.
        let waits = job(&old, "nobody").application_version("v3").await.unwrap();
        ends(&job(&old, "behind").await.unwrap()).await;
        assert_eq!(waits.status().await.unwrap().status, Some(WorkflowStatus::Enqueued));
        for dbos in [old, admin, new] {
            crash(&dbos).await;
        }
    }

    // Names of classes and of configured instances are kept, and tell workflows apart.
    async fn the_names_of_a_class_and_of_an_instance_are_kept(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = jobs(&fresh, &gauge).await;
        let start = |id: &str| job(&dbos, id).class_name("Jobs").config_name("eu");
        // It waits for a process that has this instance.
        start("a").await.unwrap();
        assert_eq!(
            fresh.rows("SELECT class_name, config_name, status FROM workflow_status").await,
            [json!({"class_name": "Jobs", "config_name": "eu", "status": "ENQUEUED"})]
        );
        assert!(!start("a").await.unwrap().created());
        for other in [start("a").config_name("us"), start("a").class_name("Others"), job(&dbos, "a")] {
            assert_kind(other.await, ErrorKind::ConflictingWorkflow);
        }
        assert_eq!(ends(&job(&dbos, "b").class_name("Jobs").await.unwrap()).await, "b");
        assert_eq!((column(&fresh, "b", "class_name").await, status(&fresh, "a").await), (json!("Jobs"), "ENQUEUED".to_owned()));
        crash(&dbos).await;
    }

    // K.322
    async fn a_recovered_parent_finds_the_child_that_it_enqueued(fresh: Fresh) {
        let gauge = Gauge::closed();
        let body = async |ctx: Ctx, _| {
            let child = ctx.start(JOB, "child".to_owned()).queue("q").await?;
            Ok(json!([child.id(), child.result().await?]))
        };
        let dbos = launch(&fresh, &gauge, "one", body).await;
        dbos.start(W, Value::Null).id("p").await.unwrap();
        gauge.settles_at(1).await;
        crash(&dbos).await;
        let dbos = launch(&fresh, &gauge, "one", body).await;
        until("the child runs again", async || gauge.started().len() == 2).await;
        gauge.let_go(2);
        assert_eq!(result_of(&dbos.retrieve("p").await.unwrap()).await.unwrap(), json!(["p-1", "child"]));
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 2);
        let row = &fresh.rows("SELECT parent_workflow_id, queue_name FROM workflow_status WHERE workflow_uuid = 'p-1'").await[0];
        assert_eq!(row, &json!({"parent_workflow_id": "p", "queue_name": "q"}));
        crash(&dbos).await;
    }

    // K.324, O.428: by name alone, with arguments by position or by name; a process need not know the workflow.
    async fn a_workflow_is_enqueued_by_its_name(fresh: Fresh) {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Order {
            item: String,
            count: u32,
        }
        let sender = harness::builder(&fresh).executor_id("sender").launch().await.unwrap();
        let by_position = sender.enqueue("q", "pair", &("bolt", 2)).id("position").await.unwrap();
        let named = json!({"item": "nut", "count": 3});
        let arguments = Arguments { named: named.as_object().unwrap().clone(), ..Arguments::default() };
        let by_name = sender.enqueue("q", "order", &arguments).id("name").await.unwrap();
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE application_version IS NULL").await, 2);
        let inputs = fresh.query("SELECT inputs FROM workflow_input ORDER BY workflow_uuid").await;
        let inputs: Vec<Value> = inputs.concat().iter().map(|text| serde_json::from_str(text.as_deref().unwrap()).unwrap()).collect();
        assert_eq!(inputs, [
            json!({"positionalArgs": [], "namedArgs": named}),
            json!({"positionalArgs": ["bolt", 2], "namedArgs": {}}),
        ]);
        let worker = harness::builder(&fresh).executor_id("worker").queue(Queue::new("q"));
        let worker = worker
            .register_fn("pair", async |_: Ctx, (item, count): (String, u32)| Ok::<_, Error>(format!("{count} {item}")))
            .register_fn("order", async |_: Ctx, order: Order| Ok::<_, Error>(format!("{} {}", order.count, order.item)));
        let worker = worker.launch().await.unwrap();
        let results = join_all([result_of(&by_position), result_of(&by_name)]).await;
        assert_eq!(results.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["2 bolt", "3 nut"]);
        crash(&sender).await;
        crash(&worker).await;
    }

    // K.300, K.301: cancelled where it waits, a workflow makes room; started again under its id, it stays cancelled.
    async fn a_queued_workflow_that_is_cancelled_makes_room(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = jobs(&fresh, &gauge).await;
        dbos.queues().update("q", |queue| queue.concurrency(1)).await.unwrap();
        for name in ["runs", "waits", "last"] {
            job(&dbos, name).await.unwrap();
        }
        gauge.settles_at(1).await;
        assert!(dbos.cancel(&id("waits")).await.unwrap());
        assert!(dbos.cancel(&id("runs")).await.unwrap());
        gauge.let_go(2);
        let last = dbos.retrieve::<String, Error>("last").await.unwrap();
        assert_eq!(ends(&last).await, "last");
        assert_eq!(gauge.started(), ["runs", "last"]);
        let found = job(&dbos, "waits").await.unwrap();
        assert_kind(found.result().await, ErrorKind::AwaitedWorkflowCancelled);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE queue_name IS NOT NULL AND status = 'CANCELLED'").await, 0);
        crash(&dbos).await;
    }
}
