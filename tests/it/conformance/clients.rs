//! Programs that run no workflows: they enqueue, send, read and manage from outside, also within transactions of their
//! own.

use std::time::{Duration, Instant};

use dbos_runtime::{Client, ClientBuilder, Dbos, Error, ErrorKind, Message, OnConflict, Queue, WorkflowRef};
use harness::{Backend, Fresh, on_each_backend};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::scene::{self, W, id, launch_as, status};

fn client(fresh: &Fresh) -> ClientBuilder {
    let builder = Client::builder().database_url(fresh.url()).application("tests");
    builder.polling_interval(Duration::from_millis(20))
}

async fn connect(fresh: &Fresh) -> Client {
    client(fresh).connect().await.unwrap()
}

/// A runtime that works on the queue `q`; its workflow gives back what it is given.
async fn worker(fresh: &Fresh) -> Dbos {
    let queue = Queue::new("q").polling_interval(Duration::from_millis(20));
    launch_as(harness::builder(fresh).queue(queue), async |_, input| Ok(input)).await
}

async fn row(fresh: &Fresh, id: &str, columns: &str) -> Value {
    let sql = format!("SELECT {columns} FROM workflow_status WHERE workflow_uuid = '{id}'");
    fresh.rows(&sql).await.remove(0)
}

async fn count(fresh: &Fresh, table: &str) -> i64 {
    fresh.scalar(&format!("SELECT count(*) FROM {table}")).await
}

/// Runs the same steps in a transaction on the test's own connection, and commits it or rolls it back.
macro_rules! in_a_transaction {
    ($fresh:expr, $commit:expr, |$connection:ident| $steps:block) => {
        match $fresh.backend() {
            Backend::Postgres => in_a_transaction!(PgConnection, $fresh, $commit, |$connection| $steps),
            Backend::Sqlite => in_a_transaction!(SqliteConnection, $fresh, $commit, |$connection| $steps),
        }
    };
    ($driver:ident, $fresh:expr, $commit:expr, |$connection:ident| $steps:block) => {{
        let mut own = $driver::connect($fresh.url()).await.unwrap();
        let mut transaction = own.begin().await.unwrap();
        {
            let $connection = &mut *transaction;
            $steps
        }
        if $commit {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
    }};
}

on_each_backend! {
    // P450, P451
    async fn a_client_enqueues_by_name_and_waits_for_the_result(fresh: Fresh) {
        let client = connect(&fresh).await;
        let handle = client.enqueue("q", "w", &json!({"n": 1})).id("w").await.unwrap();
        let columns = "status, executor_id, application_name, application_version, owner_xid";
        let expected = json!({"status": "ENQUEUED", "executor_id": null, "application_name": "tests",
            "application_version": null, "owner_xid": null});
        assert_eq!(row(&fresh, "w", columns).await, expected);
        let _worker = worker(&fresh).await;
        let result = tokio::time::timeout(scene::HOUR, handle.result()).await.unwrap();
        assert_eq!(result.unwrap(), json!({"n": 1}));
        let claimed = row(&fresh, "w", "executor_id, application_version").await;
        assert_eq!(claimed, json!({"executor_id": "local", "application_version": "v1"}));
        client.close().await;
    }

    // P452
    async fn a_client_never_migrates(fresh: Fresh) {
        let empty = Fresh::new(fresh.backend()).await;
        let refused = client(&empty).connect().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Initialization, "{refused}");
        let tables = match empty.backend() {
            Backend::Sqlite => "SELECT count(*) FROM sqlite_master",
            Backend::Postgres => "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'dbos'",
        };
        assert_eq!(empty.scalar(tables).await, 0);
    }

    // P456: a start and a message, and nothing of either unless the caller commits.
    async fn what_joins_a_transaction_exists_when_it_commits(fresh: Fresh) {
        let client = connect(&fresh).await;
        let _worker = worker(&fresh).await;
        for commit in [false, true] {
            in_a_transaction!(fresh, commit, |connection| {
                let handle = client.start(W, json!(7)).id("w").queue("q").within(connection).await.unwrap();
                assert!(handle.created());
                let send = client.send(&id("w"), &"hello").topic("t").idempotency_key("k");
                assert!(send.within(connection).await.unwrap());
            });
            let rows = i64::from(commit);
            assert_eq!((count(&fresh, "workflow_status").await, count(&fresh, "notifications").await), (rows, rows));
        }
        let handle = client.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), handle.result()).await.unwrap().unwrap(), json!(7));
    }

    // P457: the refusal leaves the rest of the transaction as it is.
    async fn a_refusal_inside_a_transaction_does_not_end_it(fresh: Fresh) {
        let client = connect(&fresh).await;
        client.start(W, Value::Null).id("holder").queue("q").deduplication_id("d").await.unwrap();
        in_a_transaction!(fresh, true, |connection| {
            let start = |id: &str| client.start(W, Value::Null).id(id).queue("q");
            let refused = start("second").deduplication_id("d").within(connection).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::QueueDeduplicated, "{refused}");
            start("third").within(connection).await.unwrap();
            for unqueued in [client.start(W, Value::Null).id("direct"), start("x").deduplication_id("d").attach_to_duplicate()] {
                assert_eq!(unqueued.within(connection).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
            }
        });
        in_a_transaction!(fresh, false, |connection| {
            let nobody = client.send(&id("nobody"), &1).within(connection).await.unwrap_err();
            assert_eq!(nobody.kind(), ErrorKind::NonExistentWorkflow, "{nobody}");
        });
        let ids = fresh.query("SELECT workflow_uuid FROM workflow_status ORDER BY workflow_uuid").await.concat();
        assert_eq!(ids, ["holder", "third"].map(|id| Some(id.to_owned())));
    }

    // P459
    async fn a_client_has_no_version_to_register_a_queue_by(fresh: Fresh) {
        let client = connect(&fresh).await;
        let register = client.queues().register_with(Queue::new("q"), OnConflict::UpdateIfLatestVersion).await;
        assert_eq!(register.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(count(&fresh, "queues").await, 0);
        client.queues().register(Queue::new("q").concurrency(2)).await.unwrap();
        assert_eq!(client.queues().get("q").await.unwrap().unwrap().concurrency, Some(2));
    }

    // P460
    async fn what_a_client_does_inside_a_workflow_is_no_step(fresh: Fresh) {
        let client = connect(&fresh).await;
        let inside = client.clone();
        let dbos = launch_as(harness::builder(&fresh), move |ctx, _| {
            let client = inside.clone();
            async move {
                client.enqueue("elsewhere", "another", &()).id("other").await?;
                client.send(ctx.workflow_id(), &1).await?;
                Ok(json!(client.cancel(&id("other")).await?))
            }
        })
        .await;
        let handle = scene::start(&dbos, "w").await;
        assert_eq!(scene::result_of(&handle).await.unwrap(), json!(true));
        assert_eq!(scene::steps(&fresh, "w").await.len(), 0);
        assert_eq!((status(&fresh, "other").await, count(&fresh, "notifications").await), ("CANCELLED".to_owned(), 1));
    }

    // P462, P464: nobody's work is done by whoever comes first, and is theirs from then on.
    async fn a_client_without_an_application_writes_rows_that_belong_to_nobody(fresh: Fresh) {
        let nobody = Client::builder().database_url(fresh.url()).connect().await.unwrap();
        nobody.enqueue("q", "w", &1).id("w").await.unwrap();
        assert_eq!(row(&fresh, "w", "application_name").await, json!({"application_name": null}));
        let worker = worker(&fresh).await;
        let handle = worker.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(scene::result_of(&handle).await.unwrap(), json!(1));
        assert_eq!(row(&fresh, "w", "application_name").await, json!({"application_name": "tests"}));
    }

    // P463: everything else is the same.
    async fn another_applications_work_is_neither_claimed_nor_recovered(fresh: Fresh) {
        let client = connect(&fresh).await;
        let start = |id: &str| client.start(WorkflowRef::<Value, Value>::named("w"), json!(1)).id(id).queue("q");
        start("theirs").application("others").application_version("v1").await.unwrap();
        start("running").application("others").await.unwrap();
        fresh.execute("UPDATE workflow_status SET status = 'PENDING', executor_id = 'local', application_version = 'v1'
            WHERE workflow_uuid = 'running'").await;
        let worker = worker(&fresh).await;
        // What came last is done, so the others were passed over.
        let ours = start("ours").await.unwrap();
        assert_eq!(scene::result_of(&ours).await.unwrap(), json!(1));
        assert_eq!(status(&fresh, "theirs").await, "ENQUEUED");
        assert_eq!(status(&fresh, "running").await, "PENDING");
        worker.shutdown(Duration::ZERO).await;
    }

    // P461: all that a runtime writes bears its name, all that a workflow of its does too.
    async fn a_runtime_stamps_everything_it_writes(fresh: Fresh) {
        let queue = Queue::new("q");
        let dbos = launch_as(harness::builder(&fresh).queue(queue), async |ctx, input: Value| {
            ctx.step("one", || async { Ok(()) }).await?;
            Ok(input)
        })
        .await;
        for queue in [None, Some("q")] {
            let start = dbos.start(W, Value::Null);
            let start = if let Some(queue) = queue { start.queue(queue) } else { start };
            scene::result_of(&start.await.unwrap()).await.unwrap();
        }
        for (table, rows) in [("workflow_status", 2), ("operation_outputs", 2), ("queues", 1)] {
            assert_eq!(count(&fresh, &format!("{table} WHERE application_name = 'tests'")).await, rows, "{table}");
            assert_eq!(count(&fresh, table).await, rows, "{table}");
        }
        let version = "application_versions WHERE version_name = 'v1' AND application_name = 'tests'";
        assert_eq!(count(&fresh, version).await, 1);
    }

    // P470: two applications with the same names for everything that may be the same.
    async fn two_applications_share_a_database_and_see_their_own(fresh: Fresh) {
        let launch = async |name: &str, version: &str| {
            let queue = Queue::new(format!("{name}-queue"));
            let builder = Dbos::builder(name).database_url(fresh.url()).application_version(version);
            let builder = builder.polling_interval(Duration::from_millis(20)).listen_queues([queue.name.clone()]);
            launch_as(builder.queue(queue), async |ctx, _| Ok(json!(ctx.workflow_id()))).await
        };
        let apps = [launch("one-app", "one").await, launch("two-app", "two").await];
        for (app, other) in [(&apps[0], &apps[1]), (&apps[1], &apps[0])] {
            let queue = format!("{}-queue", other.name());
            let across = app.start(W, Value::Null).queue(&queue).application(other.name()).await.unwrap();
            let direct = app.start(W, Value::Null).await.unwrap();
            for handle in [across, direct] {
                assert_eq!(scene::result_of(&handle).await.unwrap(), json!(handle.id()));
            }
            let queues: Vec<String> = app.queues().list().await.unwrap().into_iter().map(|queue| queue.name).collect();
            assert_eq!(queues, [format!("{}-queue", app.name())]);
        }
        for app in apps {
            let own = format!("workflow_status WHERE application_name = '{}' AND application_version = '{}'",
                app.name(), app.application_version());
            assert_eq!(count(&fresh, &own).await, 2);
        }
    }

    // All of them or none, and each key once.
    async fn several_messages_go_out_as_one(fresh: Fresh) {
        let client = connect(&fresh).await;
        client.enqueue("q", "w", &1).id("w").await.unwrap();
        let message = |key: &str| Message::new(&id("w"), &key).topic("t").idempotency_key(key);
        assert_eq!(client.send_all([message("a"), message("b")]).await.unwrap(), 2);
        assert_eq!(client.send_all([message("b"), message("c")]).await.unwrap(), 1);
        let lost = Message::new(&id("nobody"), &1);
        let refused = client.send_all([message("d"), lost]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NonExistentWorkflow);
        assert_eq!(count(&fresh, "notifications").await, 3);
    }
}

// P454
#[tokio::test(flavor = "multi_thread")]
async fn a_client_listens_only_when_it_is_asked_to() {
    let fresh = harness::fresh(Backend::Postgres).await;
    for listen in [false, true] {
        let client = client(&fresh).listen_notify(listen).connect().await.unwrap();
        let listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        harness::until("listening as asked", async || (fresh.scalar(listening).await > 0) == listen).await;
        client.close().await;
    }
}

// P455
#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_that_the_database_is_away() {
    // A port that was free a moment ago: nobody answers there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let begun = Instant::now();
    let builder = Client::builder().database_url(format!("postgres://nobody@127.0.0.1:{port}/none"));
    let refused = builder.patience(Duration::from_millis(200)).connect().await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Initialization | ErrorKind::Unavailable), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
