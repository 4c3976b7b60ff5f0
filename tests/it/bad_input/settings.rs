//! What a launch is told.

use super::*;

type Change = fn(Builder<()>) -> Builder<()>;

on_each_backend! {
    // B66, B68
    async fn settings_that_break_a_rule_are_refused_before_anything_is_opened(fresh: Fresh) {
        let proxy = match fresh.backend() {
            Backend::Postgres => Some(Proxy::before(fresh.url()).await),
            Backend::Sqlite => None,
        };
        let url = proxy.as_ref().map_or_else(|| fresh.url().to_owned(), |proxy| proxy.url(fresh.url()));
        let cases: Vec<(Change, &str)> = vec![
            (|b| b.executor_id(""), "executor id must not be empty"),
            (|b| b.executor_id(" x"), "executor id must not start or end with white space"),
            (|b| b.executor_id("x".repeat(257)), "executor id has 257 bytes; the limit is 256"),
            (|b| b.executor_id("a\0"), "executor id must not contain control characters"),
            (|b| b.application_version(""), "application version must not be empty"),
            (|b| b.application_version("x".repeat(257)), "application version has 257 bytes; the limit is 256"),
            (|b| b.schema(""), "schema name must not be empty"),
            (|b| b.schema("a\0b"), "schema name must not contain control characters"),
            (|b| b.schema("x".repeat(64)), "is longer than 63 bytes"),
            (|b| b.schema("a$body$b"), "$body$"),
            (|b| b.pool_size(0), "pool size 0 is not between 1 and 1000"),
            (|b| b.journal_lanes(0), "0 journal lanes are not between 1 and 16"),
            (|b| b.journal_lanes(17), "17 journal lanes are not between 1 and 16"),
            (|b| b.polling_interval(Duration::ZERO), "the polling interval must be at least 10 ms"),
            (|b| b.polling_interval(Duration::MAX), "is longer than 100 years"),
            (|b| b.patience(Duration::MAX), "is longer than 100 years"),
            (|b| b.register(echo), r#"two workflows are registered under the name "echo""#),
            (|b| b.register_fn("", |_: Ctx, _: ()| async { Ok::<(), Error>(()) }), "workflow name must not be empty"),
            (|b| b.database_url("mysql://u:hunter2@h/d"), "the database URL must start with postgres:// or sqlite:"),
            (|b| b.database_url(""), "the database URL must start with postgres:// or sqlite:"),
            (|b| b.database_url("sqlite::memory:"), "a SQLite database must be a file: memory does not survive the process"),
            (|b| b.database_url("sqlite:"), "a SQLite database must be a file: memory does not survive the process"),
        ];
        let mut wrong = Vec::new();
        for (n, (change, message)) in cases.into_iter().enumerate() {
            let launched = change(builder(&fresh).database_url(url.clone())).launch().await;
            match launched {
                Ok(dbos) => {
                    dbos.shutdown(Duration::ZERO).await;
                    wrong.push(format!("{n}: launched, not refused with {message:?}"));
                }
                Err(error) if error.kind() != ErrorKind::InvalidArgument || !error.to_string().contains(message) => {
                    wrong.push(format!("{n}: {:?}: {error}, not {message:?}", error.kind()));
                }
                Err(_) => {}
            }
            let sent = proxy.as_ref().map_or(0, |proxy| proxy.take_messages().round_trips);
            if sent > 0 {
                wrong.push(format!("{n}: {sent} messages were sent"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[tokio::test]
async fn names_of_applications_follow_the_shared_rule() {
    for name in ["", "ab", "Shop", "a b c", "é23", "a.b", &"x".repeat(257)] {
        let error = Dbos::builder(name).launch().await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name:?}");
    }
}

// B66: quoted, a schema may have any name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_may_have_a_name_that_has_to_be_quoted() {
    for schema in ["user", "a-b", "Mixed Case", "we\"ird", "{s}", &"é".repeat(31)] {
        let fresh = Fresh::new(Backend::Postgres).await;
        let dbos = builder(&fresh).schema(schema).launch().await.unwrap();
        let handle = dbos.start(echo, json!(schema)).await.unwrap();
        assert_eq!(handle.result().await.unwrap(), json!(schema));
        dbos.shutdown(Duration::ZERO).await;
        let name = schema.replace('\'', "''");
        let tables = format!(
            "SELECT count(*) FROM pg_tables WHERE schemaname = '{name}' AND tablename = 'workflow_status'"
        );
        assert_eq!(fresh.scalar(&tables).await, 1, "{schema}");
    }
}

// B67
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_never_said() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let elsewhere = "127.0.0.1:1";
    let urls = [
        format!("postgres://u:hunter2@{elsewhere}/d"),
        "postgres://u:hunter2@h:port/d".to_owned(),
        "postgres://u:hunter2@h:99999/d".to_owned(),
        format!("postgres://u:hunter2@{elsewhere}/d?sslmode=weird"),
        "postgres://u:hunter2@[::zz]/d".to_owned(),
        format!("postgres://u:hun%zzter2@{elsewhere}/d"),
        format!("postgres://u:hunter2@{elsewhere}/d?password=hunter2&application_name=%00"),
        "hunter2://u:hunter2@h/d".to_owned(),
        "postgres://nobody:hunter2@".to_owned() + fresh.url().rsplit_once('@').unwrap().1,
    ];
    for url in urls {
        let builder = builder(&fresh).database_url(url.clone());
        let shown = format!("{builder:?}");
        let error = builder.launch().await.map(drop).expect_err(&url);
        assert!(
            matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Initialization),
            "{url}: {error:?}"
        );
        for said in [shown, error.to_string(), format!("{error:?}")] {
            assert!(!said.contains("hunter2") && !said.contains("ter2"), "{url}: {said}");
        }
    }
}

// B67
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_no_file_is_a_typed_error_which_names_it() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let file = fresh.url().trim_start_matches("sqlite://");
    let folder = file.trim_end_matches("/db.sqlite");
    for path in [folder.to_owned(), format!("{folder}/none/db.sqlite"), format!("{file}/db.sqlite")] {
        for url in [format!("sqlite:{path}"), format!("sqlite://{path}")] {
            let error = builder(&fresh).database_url(&url).launch().await.map(drop).expect_err(&url);
            assert_eq!(error.kind(), ErrorKind::Initialization, "{url}: {error}");
            assert!(error.to_string().contains(&path), "{url}: {error}");
        }
    }
    for url in [
        format!("{}?mode=weird", fresh.url()),
        format!("{}?mode=memory", fresh.url()),
        "sqlite://:memory:".to_owned(),
    ] {
        let error = builder(&fresh).database_url(&url).launch().await.map(drop).expect_err(&url);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}: {error}");
    }
    let spaced = format!("sqlite:{folder}/a b.sqlite");
    let dbos = builder(&fresh).database_url(spaced).launch().await.unwrap();
    assert_eq!(dbos.start(echo, json!(1)).await.unwrap().result().await.unwrap(), json!(1));
    dbos.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_debug_form_of_a_runtime_has_no_url() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let dbos = Arc::new(builder(&fresh).launch().await.unwrap());
    assert!(!format!("{dbos:?}").contains("postgres"));
    dbos.shutdown(Duration::ZERO).await;
}
