//! Clients: programs that run no workflows, and writes that join a transaction of the caller's own.

use std::time::Duration;

use dbos_runtime::{Client, Dbos, Error, ErrorKind, OnConflict, Queue, Start, WorkflowHandle};
use harness::{Backend, Fresh, on_each_backend, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::gauge::{Gauge, JOB};
use super::scene::{Ctx, HOUR, W, assert_kind, crash, id, launch, launch_as, result_of, start, steps};

const NOTHING_BUT_QUEUES: &str = "a client runs no workflows";

pub(super) async fn client(fresh: &Fresh) -> Client {
    let builder = Client::builder().database_url(fresh.url()).application("tests");
    builder.polling_interval(Duration::from_millis(50)).connect().await.unwrap()
}

/// A connection of the caller's own, in a transaction.
pub(super) enum Caller {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Caller {
    pub(super) async fn begin(fresh: &Fresh) -> Self {
        let mut caller = match fresh.backend() {
            Backend::Sqlite => Self::Sqlite(SqliteConnection::connect(fresh.url()).await.unwrap()),
            Backend::Postgres => Self::Postgres(PgConnection::connect(fresh.url()).await.unwrap()),
        };
        caller.run("BEGIN").await;
        caller.run("INSERT INTO own VALUES (1)").await;
        caller
    }

    pub(super) async fn run(&mut self, sql: &'static str) {
        match self {
            Self::Sqlite(connection) => drop(sqlx::raw_sql(sql).execute(connection).await.unwrap()),
            Self::Postgres(connection) => drop(sqlx::raw_sql(sql).execute(connection).await.unwrap()),
        }
    }

    pub(super) async fn start<T>(&mut self, start: Start<T, Error>) -> Result<WorkflowHandle<T>, Error> {
        match self {
            Self::Sqlite(connection) => start.within(connection).await,
            Self::Postgres(connection) => start.within(connection).await,
        }
    }

    async fn send(&mut self, client: &Client, to: &str, key: &str) -> Result<bool, Error> {
        let send = client.send(&id(to), "hello").idempotency_key(key);
        match self {
            Self::Sqlite(connection) => send.within(connection).await,
            Self::Postgres(connection) => send.within(connection).await,
        }
    }
}

/// A table of the application's own.
pub(super) async fn own_table(fresh: &Fresh) {
    let table = if fresh.backend() == Backend::Postgres { "public.own" } else { "own" };
    fresh.execute(&format!("CREATE TABLE {table} (n INTEGER)")).await;
}

async fn count(fresh: &Fresh, from: &str) -> i64 {
    fresh.scalar(&format!("SELECT count(*) FROM {from}")).await
}

/// The tables of a database.
async fn tables(fresh: &Fresh) -> i64 {
    match fresh.backend() {
        Backend::Sqlite => count(fresh, "sqlite_master").await,
        Backend::Postgres => {
            count(
                fresh,
                "information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
            )
            .await
        }
    }
}

on_each_backend! {
    // P.450, P.451, P.462: what a client without a name writes belongs to nobody until it is claimed.
    async fn a_client_enqueues_for_whoever_takes_it_and_waits_for_the_result(fresh: Fresh) {
        let nobody = Client::builder().database_url(fresh.url()).polling_interval(Duration::from_millis(50));
        let nobody = nobody.connect().await.unwrap();
        let named = client(&fresh).await;
        let typed = nobody.start(JOB, "a".to_owned()).id("a").queue("q").await.unwrap();
        let by_name = nobody.enqueue("q", "job", "b").id("b").await.unwrap();
        named.start(JOB, "c".to_owned()).id("c").queue("q").await.unwrap();
        let facts = "SELECT workflow_uuid AS id, application_name AS app, application_version AS v, executor_id AS e, status AS s
            FROM workflow_status ORDER BY 1";
        assert_eq!(fresh.rows(facts).await, [
            json!({"id": "a", "app": null, "v": null, "e": null, "s": "ENQUEUED"}),
            json!({"id": "b", "app": null, "v": null, "e": null, "s": "ENQUEUED"}),
            json!({"id": "c", "app": "tests", "v": null, "e": null, "s": "ENQUEUED"}),
        ]);
        assert_eq!(typed.try_result().await.unwrap(), None);
        let gauge = Gauge::open();
        let dbos = gauge.register(harness::builder(&fresh)).executor_id("worker").queue(Queue::new("q")).launch().await.unwrap();
        assert_eq!(typed.result().await.unwrap(), "a");
        assert_eq!(by_name.result().await.unwrap(), "b");
        until("all have ended", async || count(&fresh, "workflow_status WHERE status = 'SUCCESS'").await == 3).await;
        for row in fresh.rows(facts).await {
            assert_eq!((&row["app"], &row["v"], &row["e"]), (&json!("tests"), &json!("v1"), &json!("worker")), "{row}");
        }
        crash(&dbos).await;
        nobody.close().await;
        named.close().await;
    }

    // P.450: it talks to workflows that run elsewhere.
    async fn a_client_sends_reads_and_cancels(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, _| {
            let said = ctx.recv::<String>("t").timeout(HOUR).await?;
            ctx.set_event("said", &said).await?;
            ctx.sleep(HOUR).await?;
            Ok(Value::Null)
        })
        .await;
        start(&dbos, "w").await;
        let client = client(&fresh).await;
        assert!(client.send(&id("w"), "hello").topic("t").await.unwrap());
        let said = client.get_event::<String>(&id("w"), "said", harness::PATIENCE).await.unwrap();
        assert_eq!(said.as_deref(), Some("hello"));
        assert_eq!(client.info("w").await.unwrap().name.as_deref(), Some("w"));
        assert!(client.cancel(&id("w")).await.unwrap());
        let handle = client.retrieve::<Value, Error>("w").await.unwrap();
        assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
        assert_kind(client.info("nobody").await, ErrorKind::NonExistentWorkflow);
        client.ping().await.unwrap();
        client.close().await;
        crash(&dbos).await;
    }

    // P.452: it neither makes tables nor files, and says what is missing.
    async fn a_client_does_not_migrate(fresh: Fresh) {
        let empty = Fresh::new(fresh.backend()).await;
        let before = tables(&empty).await;
        for _ in 0..2 {
            let error = Client::builder().database_url(empty.url()).connect().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Initialization, "{error}");
        }
        assert_eq!((before, tables(&empty).await), (0, 0));
        if fresh.backend() == Backend::Sqlite {
            let folder = tempfile::tempdir().unwrap();
            let missing = folder.path().join("missing.sqlite");
            let builder = Client::builder().database_url(format!("sqlite://{}", missing.display()));
            assert_kind(builder.connect().await, ErrorKind::Initialization);
            assert!(!missing.exists());
        }
    }

    // P.455: a database that is not there is said so, soon.
    async fn a_database_that_cannot_be_reached_fails_the_connect(fresh: Fresh) {
        let url = match fresh.backend() {
            Backend::Sqlite => "sqlite:///no/such/folder/db.sqlite",
            Backend::Postgres => "postgres://nobody@127.0.0.1:1/nothing",
        };
        let connect = Client::builder().database_url(url).connect();
        let error = tokio::time::timeout(harness::PATIENCE, connect).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Initialization, "{error}");
        assert_kind(Client::builder().connect().await, ErrorKind::InvalidArgument);
        let bad_name = Client::builder().database_url(fresh.url()).application("No").connect();
        assert_kind(bad_name.await, ErrorKind::InvalidArgument);
    }

    // A client has nobody who would run it.
    async fn a_client_cannot_start_a_workflow_without_a_queue(fresh: Fresh) {
        let client = client(&fresh).await;
        let error = client.start(JOB, "a".to_owned()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(NOTHING_BUT_QUEUES), "{error}");
        assert_kind(client.start(JOB, "a".to_owned()).priority(1).await, ErrorKind::InvalidArgument);
        assert_eq!(count(&fresh, "workflow_status").await, 0);
        client.close().await;
        assert!(client.start(JOB, "a".to_owned()).queue("q").await.is_err(), "it is closed");
        assert_eq!(count(&fresh, "workflow_status").await, 0);
    }

    // P.459
    async fn a_client_registers_queues_but_not_by_version(fresh: Fresh) {
        let nobody = Client::builder().database_url(fresh.url()).connect().await.unwrap();
        let by_version = nobody.queues().register_with(Queue::new("q"), OnConflict::UpdateIfLatestVersion).await;
        assert_kind(by_version, ErrorKind::InvalidArgument);
        assert_eq!(count(&fresh, "queues").await, 0);
        nobody.queues().register(Queue::new("q").concurrency(3)).await.unwrap();
        nobody.queues().register_with(Queue::new("q"), OnConflict::NeverUpdate).await.unwrap();
        assert_eq!(nobody.queues().get("q").await.unwrap().unwrap().concurrency, Some(3));
        assert_eq!(count(&fresh, "queues WHERE application_name IS NULL").await, 1);
        // What it once knew does not bind it: it does not look again by itself.
        let named = client(&fresh).await;
        named.queues().register(Queue::new("p")).await.unwrap();
        nobody.queues().update("p", |queue| queue.partition_concurrency(1)).await.unwrap();
        named.start(JOB, "a".to_owned()).queue("p").partition_key("k").await.unwrap();
        nobody.close().await;
        named.close().await;
    }

    // P.460
    async fn what_a_workflow_does_with_a_client_is_no_step(fresh: Fresh) {
        let client = client(&fresh).await;
        let inside = client.clone();
        let dbos = launch(&fresh, move |ctx: Ctx, input: Value| {
            let client = inside.clone();
            async move {
                if input == "other" {
                    ctx.sleep(HOUR).await?;
                }
                ctx.step("first", || async { Ok(()) }).await?;
                client.info("other").await?;
                client.start(JOB, "x".to_owned()).id("x").queue("q").await?;
                client.send(&id("other"), "m").await?;
                let cancelled = client.cancel(&id("other")).await?;
                ctx.step("second", || async { Ok(()) }).await?;
                Ok(json!(cancelled))
            }
        })
        .await;
        dbos.start(W, json!("other")).id("other").await.unwrap();
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), true);
        let names: Vec<_> = steps(&fresh, "w").await.into_iter().map(|step| step[1].clone().unwrap()).collect();
        assert_eq!(names, ["first", "second"]);
        assert_eq!(count(&fresh, "workflow_status WHERE workflow_uuid = 'x' AND parent_workflow_id IS NULL").await, 1);
        crash(&dbos).await;
        client.close().await;
    }

    // P.456, H.213: it is there when the caller commits, and not before.
    async fn what_is_started_and_sent_within_a_transaction_is_there_after_its_commit(fresh: Fresh) {
        own_table(&fresh).await;
        let gauge = Gauge::open();
        let dbos = gauge.register(harness::builder(&fresh)).queue(Queue::new("q")).launch().await.unwrap();
        dbos.start(JOB, "there".to_owned()).id("there").await.unwrap().result().await.unwrap();
        let client = client(&fresh).await;
        let mut caller = Caller::begin(&fresh).await;
        let handle = caller.start(client.start(JOB, "a".to_owned()).id("a").queue("q")).await.unwrap();
        assert!(handle.created());
        // A runtime joins a transaction just as well.
        let own = caller.start(dbos.start(JOB, "b".to_owned()).id("b").queue("q")).await.unwrap();
        assert!(caller.send(&client, "there", "k").await.unwrap());
        assert!(!caller.send(&client, "there", "k").await.unwrap(), "it sees its own");
        assert_kind(client.info("a").await, ErrorKind::NonExistentWorkflow);
        assert_eq!((count(&fresh, "workflow_status").await, count(&fresh, "notifications").await), (1, 0));
        caller.run("COMMIT").await;
        assert_eq!((handle.result().await.unwrap(), own.result().await.unwrap()), ("a".to_owned(), "b".to_owned()));
        assert_eq!((count(&fresh, "own").await, count(&fresh, "notifications").await), (1, 1));
        crash(&dbos).await;
        client.close().await;
    }

    // P.456, H.212
    async fn what_is_started_and_sent_within_a_transaction_goes_with_its_rollback(fresh: Fresh) {
        own_table(&fresh).await;
        let client = client(&fresh).await;
        client.start(JOB, "there".to_owned()).id("there").queue("q").await.unwrap();
        let mut caller = Caller::begin(&fresh).await;
        let start = || client.start(JOB, "a".to_owned()).id("a").queue("q").deduplication_id("d");
        caller.start(start()).await.unwrap();
        caller.send(&client, "there", "k").await.unwrap();
        caller.run("ROLLBACK").await;
        for table in ["own", "notifications", "workflow_status WHERE workflow_uuid = 'a'", "workflow_input WHERE workflow_uuid = 'a'"] {
            assert_eq!(count(&fresh, table).await, 0, "{table}");
        }
        // And nothing of it is remembered.
        assert!(start().await.unwrap().created());
        assert!(client.send(&id("there"), "hello").idempotency_key("k").await.unwrap());
        client.close().await;
    }

    // P.457: a refusal is the caller's to handle; its transaction can go on.
    async fn a_refusal_within_a_transaction_leaves_it_fit_to_go_on(fresh: Fresh) {
        own_table(&fresh).await;
        let client = client(&fresh).await;
        let start = |id: &str| client.start(JOB, "a".to_owned()).id(id).queue("q");
        start("holder").deduplication_id("d").await.unwrap();
        let mut caller = Caller::begin(&fresh).await;
        assert_kind(caller.start(start("new").deduplication_id("d")).await, ErrorKind::QueueDeduplicated);
        assert_kind(caller.start(start("holder").refuse_existing()).await, ErrorKind::WorkflowIdInUse);
        assert_kind(caller.start(start("holder").class_name("Other")).await, ErrorKind::ConflictingWorkflow);
        let found = caller.start(start("holder")).await.unwrap();
        assert!(!found.created());
        // One that it started itself holds its id too.
        caller.start(start("first").deduplication_id("e")).await.unwrap();
        assert_kind(caller.start(start("second").deduplication_id("e")).await, ErrorKind::QueueDeduplicated);
        for unfit in [
            start("x").deduplication_id("d").attach_to_duplicate(),
            start("x").debounce("k", HOUR),
            start("x").priority(0),
        ] {
            assert_kind(caller.start(unfit).await, ErrorKind::InvalidArgument);
        }
        caller.run("COMMIT").await;
        assert_eq!(count(&fresh, "own").await, 1);
        assert_eq!(count(&fresh, "workflow_status").await, 2);
        client.close().await;
    }

    // P.456: who would run it before it is there?
    async fn a_direct_start_within_a_transaction_is_refused(fresh: Fresh) {
        own_table(&fresh).await;
        let gauge = Gauge::open();
        let dbos = gauge.register(harness::builder(&fresh)).launch().await.unwrap();
        let mut caller = Caller::begin(&fresh).await;
        assert_kind(caller.start(dbos.start(JOB, "a".to_owned())).await, ErrorKind::InvalidArgument);
        caller.run("COMMIT").await;
        assert_eq!((count(&fresh, "own").await, count(&fresh, "workflow_status").await), (1, 0));
        assert_eq!(gauge.started(), Vec::<String>::new());
        crash(&dbos).await;
    }

    // A connection to the other kind of database cannot be to the system database.
    async fn a_connection_to_another_kind_of_database_is_refused(fresh: Fresh) {
        let client = client(&fresh).await;
        client.start(JOB, "there".to_owned()).id("there").queue("q").await.unwrap();
        let other = if fresh.backend() == Backend::Sqlite { Backend::Postgres } else { Backend::Sqlite };
        let other = harness::fresh(other).await;
        own_table(&other).await;
        let mut caller = Caller::begin(&other).await;
        let refused = caller.start(client.start(JOB, "a".to_owned()).queue("q")).await;
        assert_kind(refused, ErrorKind::InvalidArgument);
        assert_kind(caller.send(&client, "there", "k").await, ErrorKind::InvalidArgument);
        caller.run("COMMIT").await;
        assert_eq!((count(&other, "own").await, count(&other, "workflow_status").await), (1, 0));
        assert_eq!(count(&fresh, "workflow_status").await, 1);
        client.close().await;
    }
}

async fn sessions(fresh: &Fresh, more: &str) -> i64 {
    let of = "pg_stat_activity WHERE datname = current_database() AND application_name = 'dbos_transact'";
    count(fresh, &format!("{of} {more}")).await
}

// P.454, P.453: no connection for hints unless asked for, few others, and none after it is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_holds_few_connections_and_listens_only_when_asked() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let quiet = Client::builder().database_url(fresh.url()).application("tests").pool_size(2);
    let quiet = quiet.polling_interval(Duration::from_millis(50)).connect().await.unwrap();
    for n in 0..20 {
        quiet.start(JOB, "a".to_owned()).id(format!("w{n}").as_str()).queue("q").await.unwrap();
        quiet.info(format!("w{n}").as_str()).await.unwrap();
    }
    let held = sessions(&fresh, "").await;
    assert!((1..=3).contains(&held), "one for writes, two for reads: {held}");
    let waiting = quiet.clone();
    assert_eq!(waiting.get_event::<u32>(&id("w0"), "e", Duration::from_millis(300)).await.unwrap(), None);
    assert!(sessions(&fresh, "").await <= 3);
    let listening = "AND query ILIKE 'LISTEN%'";
    assert_eq!(sessions(&fresh, listening).await, 0);
    let eager = Client::builder().database_url(fresh.url()).listen_notify(true).connect().await.unwrap();
    until("it listens", async || sessions(&fresh, listening).await == 1).await;
    eager.close().await;
    quiet.close().await;
    until("all have gone", async || sessions(&fresh, "").await == 0).await;
}

// P.454: with a connection for hints it learns at once what another process did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_listens_need_not_look() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let client = Client::builder().database_url(fresh.url()).listen_notify(true);
    let client = client.polling_interval(Duration::from_secs(3600)).connect().await.unwrap();
    let dbos: Dbos = launch_as(harness::builder(&fresh), async |ctx: Ctx, _| {
        ctx.recv::<Value>("go").timeout(HOUR).await?;
        ctx.set_event("key", &7).await?;
        Ok(Value::Null)
    })
    .await;
    start(&dbos, "w").await;
    let waiting = client.clone();
    let key = id("w");
    let both = Box::pin(async {
        tokio::join!(waiting.get_event::<u32>(&key, "key", HOUR), async {
            client.send(&id("w"), "go").topic("go").await.unwrap();
        })
    });
    let (found, ()) = tokio::time::timeout(harness::PATIENCE, both).await.expect("no poll comes round");
    assert_eq!(found.unwrap(), Some(7));
    crash(&dbos).await;
    client.close().await;
}
