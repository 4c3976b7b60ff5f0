//! What a trace, an error or a `Debug` tells.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use harness::Backend;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::*;

/// Everything that is logged, from every library, at every level.
#[derive(Clone, Default)]
struct Everything {
    lines: Arc<Mutex<Vec<String>>>,
    /// The fields of our own spans.
    fields: Arc<Mutex<BTreeSet<String>>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Everything {
    fn add(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
        let mut line = Line(format!("{} {} {}", metadata.level(), metadata.target(), metadata.name()));
        record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Everything {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let metadata = attributes.metadata();
        self.add(metadata, |line| attributes.record(line));
        if metadata.target().starts_with("dbos") {
            let names = metadata.fields().iter().map(|field| field.name().to_owned());
            self.fields.lock().unwrap().extend(names);
        }
    }

    fn on_record(&self, _: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut line = Line("record".to_owned());
        record.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.add(event.metadata(), |line| event.record(line));
    }
}

/// The same database, with a password. Of SQLite's there is none.
fn with_password(url: &str) -> String {
    match url.strip_prefix("postgres://").and_then(|rest| rest.split_once('@')) {
        Some((user, rest)) if !user.contains(':') => format!("postgres://{user}:planted-password@{rest}"),
        _ => url.to_owned(),
    }
}

/// Does well and badly what can be done, each with a secret in it.
async fn do_everything(fresh: &Fresh) -> Vec<String> {
    let dbos = launch(&with_password(fresh.url())).await;
    let layer = DbosLayer::new(dbos.clone());
    let known = Tokens::new().add(Principal::new("ada"), "planted-token-of-adas").unwrap();
    let api = WorkflowApi::<BearerToken>::new(layer.clone()).expose(checkout).expose(parked);
    let mut shown = vec![format!("{dbos:?} {layer:?} {api:?} {known:?}")];
    let client = Client::new(Router::new().nest("/dbos", api.into_router()).with_state(known));
    let post = |path: &str| {
        let request = client.post(path).header("authorization", "Bearer planted-token-of-adas");
        request.header("cookie", "session=planted-cookie")
    };
    let started = post("/dbos/start/checkout")
        .header("prefer", "wait=25")
        .json(&json!({"item": "planted-item", "count": 1}));
    let started = started.send().await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.text());
    let failed = post("/dbos/start/checkout")
        .header("prefer", "wait=25")
        .json(&json!({"item": "planted-item", "count": 101}));
    assert_eq!(failed.send().await.json()["status"], "ERROR");
    let waits = post("/dbos/start/parked").json(&json!(7)).send().await;
    let id = waits.header("dbos-workflow-id").unwrap().to_owned();
    for (path, body) in [
        ("/dbos/start/checkout", json!({"item": ["planted-shape"], "count": "planted-count"})),
        ("/dbos/start/checkout?access_token=planted-query", cart()),
        ("/dbos/start/planted-name", cart()),
        (&*format!("/dbos/workflows/{id}/messages/other"), json!({"card": "planted-message"})),
    ] {
        assert!(!post(path).json(&body).send().await.status.is_server_error());
    }
    let broken =
        post("/dbos/start/checkout").header("content-type", "application/json").body("{\"planted-json\"");
    shown.push(broken.send().await.text().to_owned());
    let stranger = client
        .post("/dbos/start/checkout")
        .header("authorization", "Bearer planted-wrong-token")
        .json(&cart());
    shown.push(stranger.send().await.text().to_owned());
    // The database refuses what it is asked.
    fresh.execute("ALTER TABLE workflow_input RENAME TO elsewhere").await;
    let refused =
        post("/dbos/start/checkout").json(&json!({"item": "planted-item", "count": 3})).send().await;
    assert!(refused.status.is_server_error(), "{}", refused.text());
    assert!(!refused.text().contains("workflow_input"), "{}", refused.text());
    shown.push(refused.text().to_owned());
    fresh.execute("ALTER TABLE elsewhere RENAME TO workflow_input").await;
    end(&dbos).await;
    shown
}

// S25: payloads, too. One thread, so that everything that is logged is logged here.
#[tokio::test]
async fn s24_no_secret_and_no_payload_is_logged_or_shown() {
    for backend in Backend::ALL {
        let fresh = harness::fresh(backend).await;
        let everything = Everything::default();
        let shown = {
            let subscriber = tracing_subscriber::registry().with(everything.clone());
            let _logging = tracing::subscriber::set_default(subscriber);
            do_everything(&fresh).await
        };
        let lines = everything.lines.lock().unwrap().clone();
        assert!(lines.iter().any(|line| line.contains("dbos.operation.workflow_id=")), "{lines:#?}");
        assert!(lines.len() >= 8, "{lines:#?}");
        for line in lines.iter().chain(&shown) {
            assert!(!line.contains("planted"), "{backend:?}: {line}");
            assert!(!line.contains('\u{1b}') && !line.contains('\0'), "{backend:?}: {line:?}");
        }
    }
}

#[tokio::test]
async fn s25_spans_carry_ids_names_and_statuses_only() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let everything = Everything::default();
    {
        let subscriber = tracing_subscriber::registry().with(everything.clone());
        let _logging = tracing::subscriber::set_default(subscriber);
        do_everything(&fresh).await;
    }
    let fields = everything.fields.lock().unwrap().clone();
    let known = BTreeSet::from([
        "dbos.application.id",
        "dbos.application.version",
        "dbos.executor.id",
        "dbos.operation.name",
        "dbos.operation.type",
        "dbos.operation.workflow_id",
        "dbos.queue.name",
        "dbos.request.id",
        "dbos.user.name",
        "dbos.user.roles",
        "http.request.method",
        "http.route",
        "otel.name",
        "otel.status_code",
    ]);
    let found: BTreeSet<&str> = fields.iter().map(String::as_str).collect();
    assert_eq!(found, known);
}
