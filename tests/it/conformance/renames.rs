//! A new name for an application: what moves with it, and what does not.

use std::time::Duration;

use dbos_runtime::{Client, Dbos, ErrorKind, Queue, Schedule, WorkflowStatus};
use harness::{Backend, Fresh, on_each_backend};

use super::clients::{Caller, own_table};
use super::gauge::{Gauge, JOB};
use super::scene::assert_kind;

const TABLES: [&str; 5] =
    ["queues", "workflow_schedules", "application_versions", "workflow_status", "operation_outputs"];

/// An application with five ended workflows of a step each, one that waits, a queue, a schedule and a version.
async fn lived(fresh: &Fresh, name: &str, version: &str) {
    let gauge = Gauge::open();
    let builder =
        Dbos::builder(name).database_url(fresh.url()).application_version(version).peer_recovery(false);
    let queue = Queue::new(format!("{name}-queue")).concurrency(0);
    let schedule = Schedule::new(format!("{name}-nightly"), "0 3 * * *").workflow(JOB);
    let dbos = gauge.register(builder).queue(queue).schedule(schedule).launch().await.unwrap();
    for n in 0..5 {
        dbos.start(JOB, "x".to_owned()).id(format!("{name}-{n}")).await.unwrap().result().await.unwrap();
    }
    dbos.start(JOB, "x".to_owned())
        .id(format!("{name}-waits"))
        .queue(&format!("{name}-queue"))
        .await
        .unwrap();
    dbos.shutdown(Duration::ZERO).await;
}

/// Rows of an application in each of the tables that know it.
async fn owned(fresh: &Fresh, name: &str) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in TABLES {
        counts.push(
            fresh.scalar(&format!("SELECT count(*) FROM {table} WHERE application_name = '{name}'")).await,
        );
    }
    counts
}

on_each_backend! {
    // P.467, P.468: every table, in portions; another application's rows and those of nobody stay.
    async fn a_rename_moves_every_table_of_one_application(fresh: Fresh) {
        lived(&fresh, "old", "v1").await;
        lived(&fresh, "other", "v2").await;
        fresh.execute("UPDATE workflow_status SET application_name = NULL WHERE workflow_uuid = 'old-0'").await;
        let client = Client::builder().database_url(fresh.url()).connect().await.unwrap();
        let renamed = client.rename_application("old", "new").batch_size(2).await.unwrap();
        assert_eq!((renamed.queues, renamed.schedules, renamed.versions), (1, 1, 1));
        assert_eq!((renamed.workflows, renamed.steps), (5, 5));
        assert_eq!(owned(&fresh, "old").await, [0, 0, 0, 0, 0]);
        assert_eq!(owned(&fresh, "new").await, [1, 1, 1, 5, 5]);
        assert_eq!(owned(&fresh, "other").await, [1, 1, 1, 6, 5]);
        // Again: nothing is left to move.
        let again = client.rename_application("old", "new").await.unwrap();
        assert_eq!((again.workflows, again.steps), (0, 0));

        // P.469
        let adopted = client.rename_application(None, "new").adopt_unclaimed().await.unwrap();
        assert_eq!((adopted.workflows, adopted.queues), (1, 0));
        assert_eq!(owned(&fresh, "new").await, [1, 1, 1, 6, 5]);
        client.close().await;

        // The new name runs what the old one had enqueued.
        let gauge = Gauge::open();
        let builder = Dbos::builder("new").database_url(fresh.url()).application_version("v1").peer_recovery(false);
        let dbos = gauge.register(builder).launch().await.unwrap();
        dbos.queues().update("old-queue", |queue| queue.concurrency(None)).await.unwrap();
        let waiting = dbos.retrieve::<String, dbos_runtime::Error>("old-waits").await.unwrap();
        assert_eq!(waiting.result().await.unwrap(), "x");
        assert_eq!(waiting.status().await.unwrap().status, Some(WorkflowStatus::Success));
        dbos.shutdown(Duration::ZERO).await;
    }

    // A statement may take longer than callers otherwise wait: on a large database it reads whole tables.
    async fn a_rename_takes_as_long_as_it_takes(fresh: Fresh) {
        lived(&fresh, "old", "v1").await;
        own_table(&fresh).await;
        let client = Client::builder().database_url(fresh.url()).patience(Duration::from_millis(50)).connect().await.unwrap();
        let mut caller = Caller::begin(&fresh).await;
        if fresh.backend() == Backend::Postgres {
            caller.run("LOCK TABLE dbos.workflow_status IN EXCLUSIVE MODE").await;
        }
        let rename = async { client.rename_application("old", "new").await };
        let hold = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            caller.run("ROLLBACK").await;
        };
        let (renamed, ()) = tokio::join!(rename, hold);
        let renamed = renamed.unwrap();
        assert_eq!((renamed.workflows, renamed.steps), (6, 5));
        assert_eq!(owned(&fresh, "new").await, [1, 1, 1, 6, 5]);
        client.close().await;
    }

    async fn a_rename_that_makes_no_sense_is_refused(fresh: Fresh) {
        let client = Client::builder().database_url(fresh.url()).connect().await.unwrap();
        for (from, to, batch) in [(Some(""), "new", 1), (Some("new"), "new", 1), (Some("old"), "N", 1), (Some("old"), "new", 0), (None, "new", 1)] {
            let refused = client.rename_application(from, to).batch_size(batch).await;
            assert_kind(refused, ErrorKind::InvalidArgument);
        }
        client.close().await;
    }
}
