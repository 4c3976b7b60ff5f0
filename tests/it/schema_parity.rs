//! The schema that we make is the one that the Python SDK makes, and each leaves the other's alone.
#![expect(clippy::unwrap_used, reason = "a test may fail in the shortest way there is")]

use std::collections::BTreeMap;

use dbos_runtime::Dbos;
use harness::backend::{Backend, Fresh};
use harness::python;

/// Kind of object, name, definition.
type Catalogue = BTreeMap<String, BTreeMap<String, String>>;

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    schemas_are_equal(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    schemas_are_equal(Backend::Postgres).await;
}

async fn schemas_are_equal(backend: Backend) {
    let (ours, theirs) = (Fresh::new(backend).await, Fresh::new(backend).await);
    launch(&ours).await;
    let expected = catalogue(&theirs, &["--official"]).await;
    let missing = differences(&expected, &catalogue(&ours, &[]).await);
    assert!(missing.is_empty(), "{}", missing.join("\n"));

    // Nothing is left to do on a database of theirs.
    launch(&theirs).await;
    assert_eq!(catalogue(&theirs, &[]).await, expected);
    // Nor has the SDK anything to do on one of ours.
    let before = catalogue(&ours, &[]).await;
    assert_eq!(catalogue(&ours, &["--official"]).await, before);
}

async fn launch(fresh: &Fresh) {
    let dbos = Dbos::builder("parity").database_url(fresh.url()).launch().await.unwrap();
    dbos.shutdown(std::time::Duration::ZERO).await;
}

/// What the database contains, after the Python SDK has migrated it if the options say so.
async fn catalogue(fresh: &Fresh, options: &'static [&str]) -> Catalogue {
    let url = fresh.url().to_owned();
    let read = move || python::script("schema_catalogue.py").args(options).arg(url).output();
    let output = tokio::task::spawn_blocking(read).await.unwrap().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every object of theirs that is not the same among ours. We may have others.
fn differences(theirs: &Catalogue, ours: &Catalogue) -> Vec<String> {
    let mut lines = Vec::new();
    for (kind, objects) in theirs {
        for (name, theirs) in objects {
            let ours = ours.get(kind).and_then(|objects| objects.get(name));
            if ours != Some(theirs) {
                lines.push(format!("{kind} {name}\n  theirs: {theirs}\n  ours:   {ours:?}"));
            }
        }
    }
    lines
}

#[test]
fn a_missing_or_different_object_is_reported_and_one_more_is_not() {
    let catalogue = |objects: &[(&str, &str)]| {
        let objects = objects.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Catalogue::from([("column".to_owned(), objects.collect())])
    };
    let theirs = catalogue(&[("a.x", "text"), ("a.y", "bigint"), ("a.z", "text")]);
    let ours = catalogue(&[("a.x", "text"), ("a.y", "integer"), ("a.extra", "text")]);
    let reported = differences(&theirs, &ours);
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(reported[0].starts_with("column a.y") && reported[1].starts_with("column a.z"));
}
