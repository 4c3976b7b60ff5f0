//! Several applications on one database: each its own rows, its own latest version, and what belongs to nobody is for
//! whoever takes it.

use std::time::Duration;

use dbos_runtime::{Dbos, Error, OnConflict, Queue, WorkflowStatus};
use harness::{Fresh, on_each_backend, until};
use serde_json::{Value, json};

use super::gauge::{Gauge, JOB};
use super::scene::{Ctx, W, crash, id, launch, result_of, start, until_rows};

/// A runtime of this application whose executor has the same name as everybody's.
async fn launch_as(fresh: &Fresh, application: &str, version: &str, gauge: &Gauge, queue: &str) -> Dbos {
    let builder =
        Dbos::builder(application).database_url(fresh.url()).application_version(version).executor_id("same");
    let builder = builder.peer_recovery(false).polling_interval(Duration::from_millis(50));
    gauge.register(builder).queue(Queue::new(queue)).launch().await.unwrap()
}

on_each_backend! {
    // P.461: every row that tells whose it is.
    async fn everything_that_a_runtime_writes_bears_its_applications_name(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, input: Value| {
            if input == "child" {
                return Ok(Value::Null);
            }
            ctx.step("plain", || async { Ok(()) }).await?;
            ctx.sleep(Duration::from_millis(1)).await?;
            ctx.set_event("e", &1).await?;
            ctx.write_stream("s", &1).await?;
            ctx.send(ctx.workflow_id(), "m").await?;
            ctx.recv::<Value>(None).await?;
            ctx.recv::<Value>("never").timeout(Duration::ZERO).await?;
            ctx.run(W, json!("child")).await?;
            ctx.start(W, json!("child")).queue("q").await?.result().await?;
            ctx.start(W, json!("child")).queue("q").debounce("k", Duration::from_millis(1)).await?;
            Ok(Value::Null)
        })
        .await;
        dbos.queues().register(Queue::new("q")).await.unwrap();
        result_of(&start(&dbos, "w").await).await.unwrap();
        for (table, least) in [("workflow_status", 4), ("operation_outputs", 13), ("queues", 1), ("application_versions", 1)] {
            assert!(fresh.scalar(&format!("SELECT count(*) FROM {table}")).await >= least, "{table}");
            let others = format!("SELECT count(*) FROM {table} WHERE application_name IS NULL OR application_name NOT IN ('tests', 'template')");
            assert_eq!(fresh.scalar(&others).await, 0, "{table}");
        }
        crash(&dbos).await;
    }

    // P.463, P.470: queues and recoveries of one application leave the other's rows alone.
    async fn applications_run_their_own_workflows(fresh: Fresh) {
        let (ours, theirs) = (Gauge::closed(), Gauge::closed());
        let our = launch_as(&fresh, "ours", "v1", &ours, "q").await;
        let their = launch_as(&fresh, "theirs", "v2", &theirs, "r").await;
        our.start(JOB, "our-direct".to_owned()).id("our-direct").await.unwrap();
        their.start(JOB, "their-direct".to_owned()).id("their-direct").await.unwrap();
        our.start(JOB, "our-queued".to_owned()).id("our-queued").queue("q").await.unwrap();
        their.start(JOB, "their-queued".to_owned()).id("their-queued").queue("r").await.unwrap();
        // For another application's queue, and so for its workers.
        our.start(JOB, "sent-over".to_owned()).id("sent-over").queue("r").application("theirs").await.unwrap();
        // On a queue of ours, but theirs.
        their.start(JOB, "not-ours".to_owned()).id("not-ours").queue("q").await.unwrap();
        ours.settles_at(2).await;
        theirs.settles_at(3).await;
        crash(&our).await;
        let our = launch_as(&fresh, "ours", "v1", &ours, "q").await;
        until("ours run again", async || ours.started().len() == 4).await;
        ours.let_go(4);
        theirs.let_go(3);
        until_rows(&fresh, 5, "workflow_status WHERE status = 'SUCCESS'").await;
        let names = |gauge: &Gauge| {
            let mut started = gauge.started();
            started.sort();
            started
        };
        assert_eq!(names(&ours), ["our-direct", "our-direct", "our-queued", "our-queued"]);
        assert_eq!(names(&theirs), ["sent-over", "their-direct", "their-queued"]);
        let attempts = "SELECT count(*) FROM workflow_status WHERE application_name = 'theirs' AND recovery_attempts > 1";
        assert_eq!(fresh.scalar(attempts).await, 0, "not touched by our restart");
        assert_eq!(our.info(id("not-ours")).await.unwrap().status, Some(WorkflowStatus::Enqueued));
        // Reads by id know no borders.
        assert_eq!(our.retrieve::<String, Error>("their-queued").await.unwrap().result().await.unwrap(), "their-queued");
        crash(&our).await;
        crash(&their).await;
    }

    // P.462, P.464: rows that belong to nobody are claimed, recovered and released by whoever comes, and are theirs then.
    async fn what_belongs_to_nobody_is_for_whoever_takes_it(fresh: Fresh) {
        let sql = "INSERT INTO workflow_status (workflow_uuid, status, name, queue_name, inputs, serialization, executor_id,
                application_version, delay_until_epoch_ms) VALUES
            ('queued', 'ENQUEUED', 'job', 'q', '{\"positionalArgs\":[\"queued\"]}', 'portable_json', NULL, NULL, NULL),
            ('delayed', 'DELAYED', 'job', 'q', '{\"positionalArgs\":[\"delayed\"]}', 'portable_json', NULL, NULL, 1),
            ('dead', 'PENDING', 'job', NULL, '{\"positionalArgs\":[\"dead\"]}', 'portable_json', 'same', 'v1', NULL)";
        fresh.execute(sql).await;
        let gauge = Gauge::open();
        let dbos = launch_as(&fresh, "ours", "v1", &gauge, "q").await;
        until_rows(&fresh, 3, "workflow_status WHERE status = 'SUCCESS'").await;
        until_rows(&fresh, 3, "workflow_status WHERE application_name = 'ours' AND application_version = 'v1'").await;
        crash(&dbos).await;
    }

    // P.465: a newer version of another application does not make ours an old one.
    async fn the_latest_version_is_each_applications_own(fresh: Fresh) {
        let (ours, theirs) = (Gauge::open(), Gauge::open());
        let our = launch_as(&fresh, "ours", "v1", &ours, "q").await;
        let their = launch_as(&fresh, "theirs", "v2", &theirs, "r").await;
        let rows = fresh.rows("SELECT version_name AS v, application_name AS a FROM application_versions WHERE application_name <> 'template' ORDER BY 1").await;
        assert_eq!(rows, [json!({"v": "v1", "a": "ours"}), json!({"v": "v2", "a": "theirs"})]);
        let sql = "INSERT INTO workflow_status (workflow_uuid, status, name, queue_name, inputs, serialization, application_name)
            VALUES ('ours', 'ENQUEUED', 'job', 'q', '{\"positionalArgs\":[\"ours\"]}', 'portable_json', 'ours')";
        fresh.execute(sql).await;
        until("it ran", async || ours.started() == ["ours"]).await;
        our.queues().register_with(Queue::new("q").concurrency(7), OnConflict::UpdateIfLatestVersion).await.unwrap();
        assert_eq!(our.queues().get("q").await.unwrap().unwrap().concurrency, Some(7), "v1 is our latest");
        crash(&our).await;
        crash(&their).await;
        // B.56: registered once; a restart is no release.
        let stamp = "SELECT version_timestamp FROM application_versions WHERE version_name = 'v1'";
        let before = fresh.scalar(stamp).await;
        let again = launch_as(&fresh, "ours", "v1", &ours, "q").await;
        assert_eq!((fresh.scalar(stamp).await, fresh.scalar("SELECT count(*) FROM application_versions").await), (before, 3));
        let newer = launch_as(&fresh, "ours", "v3", &ours, "q").await;
        again.queues().register_with(Queue::new("q").concurrency(9), OnConflict::UpdateIfLatestVersion).await.unwrap();
        assert_eq!(again.queues().get("q").await.unwrap().unwrap().concurrency, None, "v1 is no longer the latest");
        crash(&again).await;
        crash(&newer).await;
    }
}
