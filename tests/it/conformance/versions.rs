//! The versions of an application.

use std::time::Duration;

use dbos_runtime::{Client, Ctx, Dbos, Error, ErrorKind, Queue, WorkflowRef, WorkflowStatus};
use harness::{Fresh, on_each_backend};

use super::scene::assert_kind;
use super::schedules::{at, builder, idle};

async fn launch(fresh: &Fresh, version: &str) -> Dbos {
    builder(fresh).application_version(version).executor_id(version).launch().await.unwrap()
}

async fn names(dbos: &Dbos) -> Vec<String> {
    dbos.versions().list().await.unwrap().into_iter().map(|version| version.name).collect()
}

async fn latest(dbos: &Dbos) -> String {
    dbos.versions().latest().await.unwrap().unwrap().name
}

on_each_backend! {
    // B56
    async fn the_latest_version_is_the_one_launched_first_or_promoted_last(fresh: Fresh) {
        let one = launch(&fresh, "one").await;
        // A clock of milliseconds: the second is later.
        fresh.execute("UPDATE application_versions SET version_timestamp = version_timestamp - 1000, created_at = created_at - 1000").await;
        let two = launch(&fresh, "two").await;
        assert_eq!(names(&one).await, ["two", "one"]);
        assert_eq!(one.versions().list().await.unwrap(), two.versions().list().await.unwrap());
        let before = one.versions().list().await.unwrap();
        one.shutdown(Duration::ZERO).await;
        let one = launch(&fresh, "one").await;
        assert_eq!(one.versions().list().await.unwrap(), before, "a relaunch changes nothing");

        one.versions().set_latest("one").await.unwrap();
        assert_eq!((latest(&one).await.as_str(), names(&two).await), ("one", vec!["one".to_owned(), "two".to_owned()]));
        // At once, in the same millisecond perhaps.
        two.versions().set_latest("two").await.unwrap();
        assert_eq!(latest(&one).await, "two");
        let promoted = one.versions().latest().await.unwrap().unwrap();
        assert!(promoted.promoted_at > promoted.created_at);
        assert_eq!(promoted.application_name.as_deref(), Some("tests"));
        assert_kind(one.versions().set_latest("three").await, ErrorKind::NotFound);
        assert_kind(one.versions().set_latest("").await, ErrorKind::InvalidArgument);
    }

    // P465, P466
    async fn versions_of_other_applications_do_not_count(fresh: Fresh) {
        let dbos = launch(&fresh, "mine").await;
        fresh.execute("INSERT INTO application_versions (version_id, version_name, version_timestamp, application_name)
            VALUES ('t', 'theirs', 9000000000000, 'another'), ('n', 'nobodys', 5, NULL)").await;
        assert_eq!(names(&dbos).await, ["mine", "nobodys"]);
        assert_eq!(latest(&dbos).await, "mine");
        assert_kind(dbos.versions().set_latest("theirs").await, ErrorKind::NameInUse);
        dbos.versions().set_latest("nobodys").await.unwrap();
        let claimed = dbos.versions().latest().await.unwrap().unwrap();
        assert_eq!((claimed.name.as_str(), claimed.application_name.as_deref()), ("nobodys", Some("tests")));
    }

    // M394
    async fn scheduled_runs_are_for_the_latest_version_of_their_owner(fresh: Fresh) {
        let dbos = launch(&fresh, "one").await;
        dbos.schedules().create(idle("s")).await.unwrap();
        fresh.execute("INSERT INTO application_versions (version_id, version_name, version_timestamp, application_name)
            VALUES ('2', 'two', 9000000000000, 'tests'), ('t', 'theirs', 9500000000000, 'another')").await;
        dbos.schedules().trigger("s").await.unwrap();
        dbos.versions().set_latest("one").await.unwrap();
        let ids = dbos.schedules().backfill("s", at("2028-01-01"), at("2029-01-01")).await.unwrap();
        assert_eq!(ids.len(), 1);
        fresh.execute("UPDATE workflow_schedules SET application_name = 'another'").await;
        dbos.schedules().trigger("s").await.unwrap();
        let rows = fresh.query("SELECT application_version, application_name FROM workflow_status ORDER BY application_version").await;
        let texts: Vec<String> = rows.into_iter().flatten().flatten().collect();
        assert_eq!(texts, ["one", "tests", "theirs", "another", "two", "tests"]);
    }

    async fn after_going_back_new_work_waits_until_the_older_version_is_the_latest_again(fresh: Fresh) {
        const ECHO: WorkflowRef<String, String> = WorkflowRef::named("echo");
        let echo = async |_: Ctx, text: String| Ok::<_, Error>(text);
        launch(&fresh, "one").await.shutdown(Duration::ZERO).await;
        fresh.execute("UPDATE application_versions SET version_timestamp = version_timestamp - 1000").await;
        launch(&fresh, "two").await.shutdown(Duration::ZERO).await;
        let back = builder(&fresh).application_version("one").register_fn("echo", echo).queue(Queue::new("q"));
        let back = back.polling_interval(Duration::from_millis(50)).launch().await.unwrap();
        let client = Client::builder().database_url(fresh.url()).application("tests").connect().await.unwrap();
        let handle = client.start(ECHO, "hello".to_owned()).id("w").queue("q").await.unwrap();
        // What is of this version and came later is claimed before it.
        let later = back.start(ECHO, "later".to_owned()).queue("q").await.unwrap();
        assert_eq!(later.result().await.unwrap(), "later");
        assert_eq!(handle.status().await.unwrap().status, Some(WorkflowStatus::Enqueued));

        back.versions().set_latest(back.application_version()).await.unwrap();
        let handle = back.retrieve::<String, Error>("w").await.unwrap();
        assert_eq!(handle.result().await.unwrap(), "hello");
    }
}
