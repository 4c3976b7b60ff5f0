//! The schema is made by whoever comes first, continued from wherever it was left, and refused when it is strange.

use std::path::Path;
use std::time::Duration;

use dbos_runtime::{Builder, Ctx, Dbos, Error, ErrorKind, Queue, WorkflowRef};
use futures_util::future::join_all;
use harness::{Backend, Fresh, on_each_backend};

const LATEST: i64 = 125;

fn builder(fresh: &Fresh) -> Builder<()> {
    Dbos::builder("tests").database_url(fresh.url()).application_version("v1").executor_id("e")
}

async fn number(fresh: &Fresh) -> i64 {
    fresh.scalar("SELECT sum(version) FROM dbos_migrations").await
}

async fn launch_and_shut_down(builder: Builder<()>) {
    builder.launch().await.unwrap().shutdown(Duration::ZERO).await;
}

async fn refusal(builder: Builder<()>) -> ErrorKind {
    builder.launch().await.expect_err("it is refused").kind()
}

/// Takes back what the last migrations made, so that the database is at 123.
async fn take_back(fresh: &Fresh) {
    fresh.execute("DROP INDEX idx_application_versions_owner_timestamp").await;
    fresh.execute("DROP INDEX idx_application_versions_timestamp").await;
    fresh.execute("UPDATE dbos_migrations SET version = 123").await;
}

async fn indexes(fresh: &Fresh) -> i64 {
    let table = match fresh.backend() {
        Backend::Postgres => "pg_class WHERE relname",
        Backend::Sqlite => "sqlite_master WHERE name",
    };
    let names = "('idx_application_versions_owner_timestamp', 'idx_application_versions_timestamp')";
    fresh.scalar(&format!("SELECT count(*) FROM {table} IN {names}")).await
}

on_each_backend! {
    // A.10, A.11, A.12: each looks again when it is its turn.
    async fn ten_launches_at_once_make_the_schema_once(fresh: Fresh) {
        let empty = Fresh::new(fresh.backend()).await;
        let all = join_all((0..10).map(|n| builder(&empty).executor_id(format!("e{n}")).launch())).await;
        join_all(all.iter().map(|dbos| dbos.as_ref().unwrap().shutdown(Duration::ZERO))).await;
        assert_eq!((number(&empty).await, indexes(&empty).await), (LATEST, 2));
    }

    // A.6, A.7, A.9
    async fn a_schema_in_the_middle_of_its_history_is_continued_unless_it_is_only_checked(fresh: Fresh) {
        take_back(&fresh).await;
        assert_eq!(refusal(builder(&fresh).migrate(false)).await, ErrorKind::Initialization);
        assert_eq!((number(&fresh).await, indexes(&fresh).await), (123, 0), "checked and left as it is");
        launch_and_shut_down(builder(&fresh)).await;
        assert_eq!((number(&fresh).await, indexes(&fresh).await), (LATEST, 2));
        launch_and_shut_down(builder(&fresh).migrate(false)).await;
    }

    // A.7: another SDK may know more.
    async fn a_schema_that_is_ahead_is_used_as_it_is(fresh: Fresh) {
        fresh.execute("UPDATE dbos_migrations SET version = 500").await;
        launch_and_shut_down(builder(&fresh)).await;
        launch_and_shut_down(builder(&fresh).migrate(false)).await;
        assert_eq!(number(&fresh).await, 500);
    }

    // A.14
    async fn a_migration_that_fails_is_not_counted_and_can_be_repeated(fresh: Fresh) {
        take_back(&fresh).await;
        fresh.execute("ALTER TABLE application_versions RENAME TO elsewhere").await;
        assert_eq!(refusal(builder(&fresh)).await, ErrorKind::Initialization);
        assert_eq!((number(&fresh).await, indexes(&fresh).await), (123, 0));
        fresh.execute("ALTER TABLE elsewhere RENAME TO application_versions").await;
        launch_and_shut_down(builder(&fresh)).await;
        assert_eq!((number(&fresh).await, indexes(&fresh).await), (LATEST, 2));
    }

    async fn a_run_that_only_migrates_registers_nothing(fresh: Fresh) {
        let empty = Fresh::new(fresh.backend()).await;
        builder(&empty).queue(Queue::new("q")).migrate(false).migrate_only().await.unwrap();
        assert_eq!((number(&empty).await, indexes(&empty).await), (LATEST, 2));
        for table in ["application_versions", "queues", "workflow_status"] {
            assert_eq!(empty.scalar(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
        take_back(&empty).await;
        builder(&empty).migrate_only().await.unwrap();
        assert_eq!((number(&empty).await, indexes(&empty).await), (LATEST, 2));
        launch_and_shut_down(builder(&empty).migrate(false)).await;
    }

    async fn what_a_launch_would_refuse_is_not_migrated(fresh: Fresh) {
        take_back(&fresh).await;
        let twice = || async |_: Ctx, (): ()| Ok::<_, Error>(());
        let refused = [
            builder(&fresh).pool_size(0),
            builder(&fresh).application_version(""),
            builder(&fresh).executor_id(""),
            builder(&fresh).register_fn("w", twice()).register_fn("w", twice()),
        ];
        for builder in refused {
            let error = builder.migrate_only().await.expect_err("it is refused");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert_eq!(number(&fresh).await, 123, "{error}");
        }
        // Another application has the version.
        fresh.execute("INSERT INTO application_versions (version_id, version_name, application_name)
            VALUES ('1', 'v1', 'another')").await;
        for _ in 0..2 {
            let error = builder(&fresh).migrate_only().await.expect_err("it is refused");
            assert_eq!(error.kind(), ErrorKind::Initialization);
            assert_eq!(refusal(builder(&fresh)).await, ErrorKind::Initialization);
        }
    }

    // A.27
    async fn a_sharded_schema_is_refused(fresh: Fresh) {
        fresh.execute("ALTER TABLE workflow_status ADD COLUMN shard_key TEXT").await;
        assert_eq!(refusal(builder(&fresh)).await, ErrorKind::Initialization);
        assert_eq!(refusal(builder(&fresh).migrate(false)).await, ErrorKind::Initialization);
        let error = builder(&fresh).migrate_only().await.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Initialization);
    }
}

// A.13, A.15: what a killed process left half-built does not pass for the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_left_half_built_is_built_again() {
    let fresh = harness::fresh(Backend::Postgres).await;
    fresh.execute("UPDATE dbos_migrations SET version = 123").await;
    let unfinished = "pg_index WHERE NOT indisvalid";
    fresh
        .execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid =
                (SELECT oid FROM pg_class WHERE relname = 'idx_application_versions_timestamp')",
        )
        .await;
    assert_eq!(fresh.scalar(&format!("SELECT count(*) FROM {unfinished}")).await, 1);
    launch_and_shut_down(builder(&fresh)).await;
    assert_eq!(fresh.scalar(&format!("SELECT count(*) FROM {unfinished}")).await, 0);
    assert_eq!((number(&fresh).await, indexes(&fresh).await), (LATEST, 2));
}

// A.2, A.4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schemas_of_one_database_know_nothing_of_each_other() {
    const ECHO: WorkflowRef<String, String> = WorkflowRef::named("echo");
    let empty = Fresh::new(Backend::Postgres).await;
    let launch = async |schema: &str| {
        let echo = async |_: Ctx, text: String| Ok::<_, Error>(text);
        builder(&empty).schema(schema).register_fn("echo", echo).launch().await.unwrap()
    };
    let (one, two) = (launch("one").await, launch("two").await);
    let first = one.start(ECHO, "one".to_owned()).id("same").await.unwrap();
    assert_eq!(first.result().await.unwrap(), "one");
    assert_eq!(two.info("same").await.unwrap_err().kind(), ErrorKind::NonExistentWorkflow);
    let second = two.start(ECHO, "two".to_owned()).id("same").await.unwrap();
    assert!(second.created());
    assert_eq!(second.result().await.unwrap(), "two");
    for schema in ["one", "two"] {
        assert_eq!(empty.scalar(&format!("SELECT count(*) FROM {schema}.workflow_status")).await, 1);
    }
    assert_eq!(empty.scalar("SELECT count(*) FROM pg_namespace WHERE nspname = 'dbos'").await, 0);
    one.shutdown(Duration::ZERO).await;
    two.shutdown(Duration::ZERO).await;
}

/// The system schema as the ninth migration left it.
async fn at_nine() -> Fresh {
    let empty = Fresh::new(Backend::Postgres).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dbos-runtime/migrations/postgres");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut sql =
        String::from("CREATE SCHEMA dbos; CREATE TABLE dbos.dbos_migrations (version BIGINT PRIMARY KEY);");
    for file in &files[..9] {
        sql += &std::fs::read_to_string(file).unwrap().replace("{schema}", "dbos");
    }
    sql += "INSERT INTO dbos.dbos_migrations VALUES (9);
        INSERT INTO dbos.workflow_status (workflow_uuid, status) VALUES ('w', 'SUCCESS');
        INSERT INTO dbos.notifications (message_uuid, destination_uuid, message) VALUES ('m', 'w', '1');";
    empty.execute(&sql).await;
    empty
}

// A.16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_long_ago_get_a_key_and_those_that_have_one_keep_it() {
    for keyless in [true, false] {
        let old = at_nine().await;
        if keyless {
            old.execute("ALTER TABLE dbos.notifications DROP CONSTRAINT notifications_pkey").await;
        }
        launch_and_shut_down(builder(&old)).await;
        assert_eq!(number(&old).await, LATEST);
        let keys = "SELECT count(*) FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = conrelid AND attnum = ALL (conkey)
            WHERE conrelid = 'dbos.notifications'::regclass AND contype = 'p' AND attname = 'message_uuid'";
        assert_eq!(old.scalar(keys).await, 1, "{keyless}");
        assert_eq!(old.scalar("SELECT count(*) FROM notifications WHERE message_uuid = 'm'").await, 1);
    }
}

// A.22, S32
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s32_a_role_that_may_create_nothing_runs_what_another_one_has_migrated() {
    const GREET: WorkflowRef<String, String> = WorkflowRef::named("greet");
    let fresh = harness::fresh(Backend::Postgres).await;
    // A role that every server has, with the rights of docs/guide/security.md.
    let grants = "REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA dbos TO pg_monitor;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dbos TO pg_monitor;
        ALTER DEFAULT PRIVILEGES IN SCHEMA dbos GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO pg_monitor;
        CREATE TABLE dbos.of_a_later_release (n INT)";
    fresh.execute(grants).await;
    let separator = if fresh.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}options=-c%20role%3Dpg_monitor", fresh.url());
    let mut modest = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    for forbidden in ["CREATE TABLE dbos.t (n INT)", "CREATE TABLE public.t (n INT)", "CREATE SCHEMA s"] {
        let refused = sqlx::raw_sql(forbidden).execute(&mut modest).await.unwrap_err();
        assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"));
    }

    let written =
        sqlx::raw_sql("INSERT INTO dbos.of_a_later_release VALUES (1)").execute(&mut modest).await.unwrap();
    assert_eq!(written.rows_affected(), 1);

    let greet = async |ctx: Ctx, name: String| {
        let greeting = ctx.step("greet", async || Ok(format!("hello {name}"))).await?;
        ctx.set_event("greeting", &greeting).await?;
        ctx.write_stream("words", &greeting).await?;
        ctx.close_stream("words").await?;
        ctx.send(ctx.workflow_id(), &greeting).await?;
        ctx.sleep(Duration::from_millis(1)).await?;
        let received: Option<String> = ctx.recv(None).await?;
        Ok::<_, Error>(received.unwrap_or_default())
    };
    let builder = builder(&fresh).database_url(url).register_fn("greet", greet);
    let dbos = builder.queue(Queue::new("q").concurrency(1)).launch().await.unwrap();
    let handle = dbos.start(GREET, "ada".to_owned()).id("w").queue("q").await.unwrap();
    assert_eq!(handle.result().await.unwrap(), "hello ada");
    assert!(!dbos.cancel(handle.id()).await.unwrap());
    dbos.workflows().delete(["w"]).await.unwrap();
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
    dbos.shutdown(Duration::ZERO).await;
}
