//! Queues: what is enqueued runs, in which order, and how queues are registered and changed.

use std::time::Duration;

use dbos_runtime::{Dbos, ErrorKind, OnConflict, Queue, WorkflowHandle, WorkflowStatus};
use harness::{Fresh, on_each_backend, until};
use serde_json::json;

use super::gauge::{Gauge, JOB};
use super::scene::{assert_kind, id};

/// A runtime with a queue `q` and jobs.
async fn launch(fresh: &Fresh, gauge: &Gauge, queue: Queue) -> Dbos {
    gauge.register(harness::builder(fresh)).queue(queue).launch().await.unwrap()
}

async fn enqueue(dbos: &Dbos, name: &str) -> WorkflowHandle<String> {
    dbos.start(JOB, name.to_owned()).id(name).queue("q").await.unwrap()
}

async fn results(handles: Vec<WorkflowHandle<String>>) -> Vec<String> {
    let mut results = Vec::new();
    for handle in handles {
        results.push(tokio::time::timeout(harness::PATIENCE, handle.result()).await.unwrap().unwrap());
    }
    results
}

on_each_backend! {
    // K.260, K.281, K.292, A Appendix: the columns of an enqueued and of a claimed row.
    async fn what_is_enqueued_is_claimed_run_and_keeps_its_queue(fresh: Fresh) {
        let gauge = Gauge::closed();
        let dbos = launch(&fresh, &gauge, Queue::new("q").concurrency(0)).await;
        let handle = enqueue(&dbos, "a").await;
        assert!(handle.created());
        let columns = "status, queue_name, priority, recovery_attempts, owner_xid, application_version, \
            started_at_epoch_ms, executor_id, application_name";
        let row = &fresh.rows(&format!("SELECT {columns} FROM workflow_status")).await[0];
        assert_eq!(row["status"], "ENQUEUED");
        assert_eq!(row["priority"], 0);
        assert_eq!(row["recovery_attempts"], 0);
        assert_eq!(row["application_version"], "v1");
        assert_eq!(row["application_name"], "tests");
        assert!(row["owner_xid"].is_null() && row["started_at_epoch_ms"].is_null());

        dbos.queues().update("q", |queue| queue.concurrency(None)).await.unwrap();
        gauge.settles_at(1).await;
        let row = &fresh.rows(&format!("SELECT {columns} FROM workflow_status")).await[0];
        assert_eq!((&row["status"], &row["recovery_attempts"]), (&json!("PENDING"), &json!(1)));
        assert!(row["owner_xid"].is_string() && row["started_at_epoch_ms"].is_number());
        gauge.let_go(1);
        assert_eq!(results(vec![handle]).await, ["a"]);
        let info = dbos.info(id("a")).await.unwrap();
        assert_eq!(info.status, Some(WorkflowStatus::Success));
        assert_eq!(info.queue_name.as_deref(), Some("q"));
        dbos.shutdown(Duration::ZERO).await;
    }

    // K.269, K.280, F45: priority first, none before all, then the order of enqueueing, also within a millisecond.
    async fn a_queue_of_one_keeps_priority_and_order(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = launch(&fresh, &gauge, Queue::new("q").concurrency(0)).await;
        let mut handles = Vec::new();
        let start = |name: &str, priority: Option<u32>| {
            let start = dbos.start(JOB, name.to_owned()).id(name).queue("q");
            if let Some(priority) = priority { start.priority(priority) } else { start }
        };
        for (name, priority) in [("p9", Some(9)), ("p2", Some(2)), ("p2b", Some(2)), ("max", Some(i32::MAX as u32))] {
            handles.push(start(name, priority).await.unwrap());
        }
        // Names in an order of their own: it is not the ids that keep the order.
        let plain: Vec<String> = (0..20).map(|n| format!("n{}", (n * 7) % 20)).collect();
        for name in &plain {
            handles.push(start(name, None).await.unwrap());
        }
        dbos.queues().update("q", |queue| queue.concurrency(1)).await.unwrap();
        results(handles).await;
        let expected: Vec<&str> =
            plain.iter().map(String::as_str).chain(["p2", "p2b", "p9", "max"]).collect();
        assert_eq!(gauge.started(), expected);
        assert_eq!(gauge.most(), 1);
        dbos.shutdown(Duration::ZERO).await;
    }

    // K.261, K.262, K.263, B42, B43
    async fn queues_are_registered_listed_changed_and_deleted(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = launch(&fresh, &gauge, Queue::new("q").worker_concurrency(3)).await;
        let queues = dbos.queues();
        let mail = Queue::new("mail").concurrency(10).rate_limit(50, Duration::from_millis(1500));
        queues.register(mail.clone()).await.unwrap();
        assert_eq!(queues.get("mail").await.unwrap(), Some(mail.clone()));
        let names: Vec<String> = queues.list().await.unwrap().into_iter().map(|queue| queue.name).collect();
        assert_eq!(names, ["mail", "q"]);
        let stored = &fresh.rows("SELECT * FROM queues WHERE name = 'mail'").await[0];
        assert_eq!((&stored["rate_limit_max"], &stored["rate_limit_period_sec"]), (&json!(50), &json!(1.5)));
        assert_eq!(stored["application_name"], "tests");

        let before = fresh.query("SELECT queue_id, created_at FROM queues WHERE name = 'mail'").await;
        queues.register_with(Queue::new("mail"), OnConflict::NeverUpdate).await.unwrap();
        assert_eq!(queues.get("mail").await.unwrap(), Some(mail));
        let changed = queues.update("mail", |queue| queue.concurrency(20).worker_concurrency(4)).await.unwrap();
        assert_eq!((changed.concurrency, changed.worker_concurrency), (Some(20), Some(4)));
        assert_eq!(queues.get("mail").await.unwrap(), Some(changed));
        assert_eq!(before, fresh.query("SELECT queue_id, created_at FROM queues WHERE name = 'mail'").await);

        let bad = queues.update("mail", |queue| queue.worker_concurrency(21)).await;
        assert_kind(bad, ErrorKind::InvalidArgument);
        assert_kind(queues.update("none", |queue| queue).await, ErrorKind::NotFound);
        assert_kind(queues.register(Queue::new("_dbos_internal_queue")).await, ErrorKind::InvalidArgument);
        assert_kind(queues.register(Queue::new("x").rate_limit(0, Duration::from_secs(1))).await, ErrorKind::InvalidArgument);
        assert!(queues.delete("mail").await.unwrap());
        assert!(!queues.delete("mail").await.unwrap());
        assert_eq!(queues.get("mail").await.unwrap(), None);
        assert_eq!(fresh.scalar("SELECT count(*) FROM queues").await, 1);
        dbos.shutdown(Duration::ZERO).await;
    }

    // P.466
    async fn a_queue_of_another_application_is_left_alone(fresh: Fresh) {
        let other = harness::builder(&fresh).launch().await.unwrap();
        other.queues().register(Queue::new("theirs").concurrency(2)).await.unwrap();
        other.shutdown(Duration::ZERO).await;
        let dbos = Dbos::builder("another").database_url(fresh.url()).application_version("v2").launch().await.unwrap();
        for on_conflict in [OnConflict::AlwaysUpdate, OnConflict::NeverUpdate, OnConflict::UpdateIfLatestVersion] {
            let refused = dbos.queues().register_with(Queue::new("theirs"), on_conflict).await;
            assert_kind(refused, ErrorKind::NameInUse);
        }
        assert_kind(dbos.queues().update("theirs", |queue| queue.concurrency(9)).await, ErrorKind::NameInUse);
        assert_eq!(dbos.queues().list().await.unwrap(), []);
        assert_eq!(dbos.queues().get("theirs").await.unwrap().unwrap().concurrency, Some(2));
        dbos.shutdown(Duration::ZERO).await;
    }

    // K.267, K.268: work for a queue that nobody has registered waits for it.
    async fn work_waits_for_its_queue_to_be_registered(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = gauge.register(harness::builder(&fresh)).launch().await.unwrap();
        let handle = enqueue(&dbos, "a").await;
        dbos.queues().register(Queue::new("other")).await.unwrap();
        let other = dbos.start(JOB, "b".to_owned()).queue("other").await.unwrap();
        results(vec![other]).await;
        assert_eq!(gauge.started(), ["b"]);
        dbos.queues().register(Queue::new("q")).await.unwrap();
        results(vec![handle]).await;
        dbos.queues().delete("q").await.unwrap();
        let waiting = enqueue(&dbos, "c").await;
        let other = dbos.start(JOB, "d".to_owned()).queue("other").await.unwrap();
        results(vec![other]).await;
        assert_eq!(dbos.info(id("c")).await.unwrap().status, Some(WorkflowStatus::Enqueued));
        dbos.queues().register(Queue::new("q")).await.unwrap();
        results(vec![waiting]).await;
        dbos.shutdown(Duration::ZERO).await;
    }

    // K.319, K.320, K.321
    async fn a_process_works_on_the_queues_it_listens_to(fresh: Fresh) {
        let gauge = Gauge::open();
        let builder = gauge.register(harness::builder(&fresh)).listen_queues(["q"]);
        let dbos = builder.queue(Queue::new("q")).queue(Queue::new("deaf")).launch().await.unwrap();
        let deaf = dbos.start(JOB, "x".to_owned()).id("x").queue("deaf").await.unwrap();
        results(vec![enqueue(&dbos, "a").await, enqueue(&dbos, "b").await]).await;
        assert_eq!(deaf.status().await.unwrap().status, Some(WorkflowStatus::Enqueued));
        dbos.shutdown(Duration::ZERO).await;

        // Nothing but the internal queue, on which recovered work comes back.
        fresh.execute("UPDATE workflow_status SET status = 'PENDING', queue_name = NULL, completed_at = NULL WHERE workflow_uuid = 'a';
            DELETE FROM workflow_output").await;
        let builder = gauge.register(harness::builder(&fresh)).listen_queues(Vec::<String>::new());
        let dbos = builder.launch().await.unwrap();
        until("the recovered one ends", async || dbos.info(id("a")).await.unwrap().status == Some(WorkflowStatus::Success)).await;
        assert_eq!(dbos.info(id("x")).await.unwrap().status, Some(WorkflowStatus::Enqueued));
        dbos.shutdown(Duration::ZERO).await;
    }

    // K.323, K43: each queue goes its own way.
    async fn a_paused_queue_does_not_hold_up_the_others(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = launch(&fresh, &gauge, Queue::new("q").worker_concurrency(0)).await;
        dbos.queues().register(Queue::new("r")).await.unwrap();
        let paused: Vec<_> = futures_util::future::join_all((0..50).map(|n| enqueue(&dbos, Box::leak(format!("p{n}").into_boxed_str())))).await;
        let other = dbos.start(JOB, "r1".to_owned()).queue("r").await.unwrap();
        results(vec![other]).await;
        assert_eq!(gauge.started(), ["r1"]);
        dbos.queues().update("q", |queue| queue.worker_concurrency(None)).await.unwrap();
        results(paused).await;
        assert_eq!(gauge.started().len(), 51);
        dbos.shutdown(Duration::ZERO).await;
    }

    // K.326, K05, F38: a row that nobody here can run stays for somebody who can, and blocks nobody.
    async fn rows_that_cannot_run_do_not_block_those_behind_them(fresh: Fresh) {
        let gauge = Gauge::open();
        let dbos = launch(&fresh, &gauge, Queue::new("q").concurrency(1)).await;
        let unknown = dbos.enqueue("q", "nobody_has_this", &1).id("unknown").await.unwrap();
        let sql = "INSERT INTO workflow_status (workflow_uuid, status, name, queue_name, inputs, serialization, priority) VALUES
            ('foreign', 'ENQUEUED', 'job', 'q', 'gASVBgAAAAAAAACMAnB5lC4=', 'py_pickle', 0),
            ('broken', 'ENQUEUED', 'job', 'q', 'not json {{{', 'portable_json', 0),
            ('odd', 'RUNNING', 'job', 'q', '{}', 'portable_json', 0)";
        fresh.execute(sql).await;
        results(vec![enqueue(&dbos, "a").await, enqueue(&dbos, "b").await]).await;
        let ended = "SELECT count(*) FROM workflow_status WHERE status = 'ERROR'";
        until("both unreadable ones have ended", async || fresh.scalar(ended).await == 2).await;
        for (id_, status) in [("foreign", "ERROR"), ("broken", "ERROR"), ("odd", "RUNNING"), ("unknown", "ENQUEUED")] {
            let found = fresh.query(&format!("SELECT status FROM workflow_status WHERE workflow_uuid = '{id_}'")).await;
            assert_eq!(found[0][0].as_deref(), Some(status), "{id_}");
        }
        assert_eq!(unknown.status().await.unwrap().recovery_attempts, 0, "it was not even tried");
        dbos.shutdown(Duration::ZERO).await;
    }

    // K.266, K.318: a change is seen by the other processes at their next look.
    async fn a_changed_limit_reaches_the_other_processes(fresh: Fresh) {
        let gauge = Gauge::closed();
        let worker = launch(&fresh, &gauge, Queue::new("q").concurrency(1)).await;
        let admin = harness::builder(&fresh).executor_id("admin").launch().await.unwrap();
        for name in ["a", "b", "c"] {
            enqueue(&admin, name).await;
        }
        gauge.settles_at(1).await;
        admin.queues().update("q", |queue| queue.concurrency(3)).await.unwrap();
        gauge.settles_at(3).await;
        gauge.let_go(3);
        worker.shutdown(Duration::from_secs(5)).await;
        admin.shutdown(Duration::ZERO).await;
    }
}
