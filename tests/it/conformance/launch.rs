//! Launching: refusals are typed and prompt, and a process knows its own name and version.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dbos_runtime::{Builder, Dbos, Error, ErrorKind, WorkflowRef};
use harness::on_each_backend;
use serde_json::Value;
use tokio::process::Command;

use super::scene::{Ctx, crash, start, until_rows};

async fn done(_: Ctx, _: Value) -> Result<Value, Error> {
    Ok(Value::Null)
}

/// The kind of refusal of a launch, which must not take long to come.
async fn refusal<S: Send + Sync + 'static>(builder: Builder<S>) -> ErrorKind {
    // Sooner than one that waits for a database would give up.
    let launch = tokio::time::timeout(Duration::from_secs(25), builder.launch());
    launch.await.expect("a launch that fails does not hang").expect_err("it is refused").kind()
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_said_so() {
    // A port that is never given out, with nobody behind it.
    let dead = |scheme: &str| Dbos::builder("tests").database_url(format!("{scheme}://nobody@127.0.0.1:1/x"));
    assert_eq!(refusal(dead("postgres")).await, ErrorKind::Initialization);
    assert_eq!(refusal(dead("postgresql").migrate(false)).await, ErrorKind::Initialization);

    let folder = tempfile::tempdir().unwrap();
    let at = |path: &Path| Dbos::builder("tests").database_url(format!("sqlite://{}", path.display()));
    assert_eq!(refusal(at(folder.path())).await, ErrorKind::Initialization, "a folder");
    assert_eq!(refusal(at(&folder.path().join("no/such/folder/x.sqlite"))).await, ErrorKind::Initialization);
    let text = folder.path().join("text");
    std::fs::write(
        &text,
        "this is no database, though it is longer than the header of one would be. ".repeat(9),
    )
    .unwrap();
    assert_eq!(refusal(at(&text)).await, ErrorKind::Initialization);
    assert_eq!(
        refusal(at(&folder.path().join("empty.sqlite")).migrate(false)).await,
        ErrorKind::Initialization
    );
    assert_eq!(refusal(Dbos::builder("tests").database_url("mysql://x")).await, ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_setting_that_breaks_a_rule_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sqlite");
    let good = |name: &str| Dbos::builder(name).database_url(format!("sqlite://{}", path.display()));
    let bad = [
        good("Bad Name"),
        good("tests").executor_id(""),
        good("tests").executor_id("x".repeat(257)),
        good("tests").executor_id(" padded "),
        good("tests").application_version(""),
        good("tests").application_version("line\nbreak"),
        good("tests").pool_size(0),
        good("tests").journal_lanes(0),
        good("tests").polling_interval(Duration::ZERO),
        good("tests").register_fn("w", done).register_fn("w", done),
        good("tests").register_fn("", done),
    ];
    for builder in bad {
        let shown = format!("{builder:?}");
        assert_eq!(refusal(builder).await, ErrorKind::InvalidArgument, "{shown}");
    }
    assert!(!path.exists());
}

on_each_backend! {
    // P465: the owner of a version is the application that made it.
    async fn a_version_of_another_application_is_not_taken(fresh: Fresh) {
        let named = |name: &str| Dbos::builder(name).database_url(fresh.url()).application_version("v1");
        let first = named("first").register_fn("w", done).launch().await.unwrap();
        assert_eq!(refusal(named("second")).await, ErrorKind::Initialization);
        // The refused launch has let go of everything, and has not harmed the first.
        start(&first, "w").await.result().await.unwrap();
        crash(&first).await;
        crash(&named("first").launch().await.unwrap()).await;
        until_rows(&fresh, 1, "application_versions WHERE version_name = 'v1' AND application_name = 'first'").await;
    }

    async fn what_a_process_writes_carries_its_name_version_and_application(fresh: Fresh) {
        let builder = harness::builder(&fresh).executor_id("vm-7").application_version("2026.11");
        let dbos = builder.register_fn("w", done).launch().await.unwrap();
        assert_eq!((dbos.name(), dbos.executor_id(), dbos.application_version()), ("tests", "vm-7", "2026.11"));
        start(&dbos, "w").await.result().await.unwrap();
        until_rows(&fresh, 1, "workflow_status WHERE executor_id = 'vm-7' AND application_version = '2026.11'
            AND application_name = 'tests' AND application_id = ''").await;
    }

    async fn the_computed_version_follows_the_registered_names(fresh: Fresh) {
        let version = async |names: &[&str]| {
            let builder = Dbos::builder("tests").database_url(fresh.url());
            let builder = names.iter().fold(builder, |builder, name| builder.register_fn(name, done));
            let dbos = builder.launch().await.unwrap();
            let version = dbos.application_version().to_owned();
            crash(&dbos).await;
            version
        };
        let one = version(&["a", "b"]).await;
        assert_eq!(one, version(&["b", "a"]).await, "in any order");
        assert_ne!(one, version(&["a"]).await);
        assert_ne!(one, version(&["a", "c"]).await);
        assert_ne!(one, version(&["ab"]).await);
        assert!(one.len() == 32 && one.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
    }

    async fn a_start_of_what_is_not_registered_is_refused(fresh: Fresh) {
        const UNKNOWN: WorkflowRef<Value, Value> = WorkflowRef::named("unknown");
        let dbos = harness::builder(&fresh).register_fn("w", done).launch().await.unwrap();
        let error = dbos.start(UNKNOWN, Value::Null).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotRegistered);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
    }
}

/// Run in a process of its own by the test below, since the environment belongs to the whole process.
#[tokio::test]
#[ignore = "a part of another test"]
async fn says_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let builder =
        Dbos::builder("tests").database_url(format!("sqlite://{}/x.sqlite", folder.path().display()));
    let builder = match std::env::var("CONFIGURED") {
        Ok(configured) => builder.executor_id(configured.as_str()).application_version(configured),
        Err(_) => builder,
    };
    let dbos = builder.launch().await.unwrap();
    println!("I am {} {}.", dbos.executor_id(), dbos.application_version());
    crash(&dbos).await;
}

#[tokio::test]
async fn the_environment_names_the_process_where_the_program_does_not_and_always_in_the_cloud() {
    let vm = ("DBOS__VMID", "vm");
    let version = ("DBOS__APPVERSION", "ver");
    let configured = ("CONFIGURED", "own");
    let cloud = ("DBOS__CLOUD", "true");
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[vm, version], "I am vm ver."),
        (&[vm, version, configured], "I am own own."),
        (&[configured], "I am own own."),
        (&[vm, version, configured, cloud], "I am vm ver."),
        (&[configured, cloud], "I am own own."),
        (&[("DBOS__VMID", ""), version], "I am local ver."),
        (&[version], "I am local ver."),
    ];
    for (environment, expected) in cases {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "--nocapture", "conformance::launch::says_who_it_is"]);
        for name in ["DBOS__VMID", "DBOS__APPVERSION", "DBOS__CLOUD", "CONFIGURED"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(expected), "{environment:?}: {said}");
    }
}
