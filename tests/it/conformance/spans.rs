//! What a trace shows of a workflow, under the field names of the other SDKs.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, OnceLock};

use dbos_runtime::{Ctx as RuntimeCtx, Error, workflow};
use harness::on_each_backend;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

type Ctx = RuntimeCtx<(), Error>;

/// The fields of a span, with its own and its parent's name.
type Span = BTreeMap<&'static str, String>;

static SPANS: Mutex<Vec<Span>> = Mutex::new(Vec::new());

struct Recorder;

struct Fields<'a>(&'a mut Span);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S> tracing_subscriber::Layer<S> for Recorder
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut span = Span::from([("name", attributes.metadata().name().to_owned())]);
        if let Some(parent) = context.span(id).and_then(|span| span.parent()) {
            span.insert("parent", parent.name().to_owned());
        }
        attributes.record(&mut Fields(&mut span));
        SPANS.lock().unwrap().push(span);
    }
}

/// Installed once: tests of one process share it and look for their own workflow's spans.
fn record() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let recorder = tracing_subscriber::registry().with(Recorder);
        tracing::subscriber::set_global_default(recorder).expect("no other subscriber");
    });
}

#[workflow]
async fn traced(ctx: Ctx) -> Result<u32, Error> {
    ctx.step("compute", || async { Ok(7) }).await
}

on_each_backend! {
    async fn a_workflow_and_its_steps_are_spans_with_the_shared_names(fresh: Fresh) {
        record();
        let id = format!("traced-{:?}", fresh.backend());
        let dbos = harness::builder(&fresh).executor_id("here").register(traced).launch().await.unwrap();
        let handle = dbos.start(traced, ()).id(id.as_str()).authenticated_user("ada").await.unwrap();
        assert_eq!(handle.result().await.unwrap(), 7);
        dbos.shutdown(harness::PATIENCE).await;

        let mine = |span: &&Span| span.get("dbos.operation.workflow_id").is_some_and(|other| *other == id);
        let spans: Vec<Span> = SPANS.lock().unwrap().iter().filter(mine).cloned().collect();
        let expected = [
            Span::from([
                ("name", "workflow".to_owned()),
                ("otel.name", "traced".to_owned()),
                ("dbos.operation.type", "workflow".to_owned()),
                ("dbos.operation.name", "traced".to_owned()),
                ("dbos.operation.workflow_id", id.clone()),
                ("dbos.application.version", "v1".to_owned()),
                ("dbos.executor.id", "here".to_owned()),
                ("dbos.user.name", "ada".to_owned()),
            ]),
            Span::from([
                ("name", "step".to_owned()),
                ("parent", "workflow".to_owned()),
                ("otel.name", "compute".to_owned()),
                ("dbos.operation.type", "step".to_owned()),
                ("dbos.operation.name", "compute".to_owned()),
                ("dbos.operation.workflow_id", id.clone()),
            ]),
        ];
        assert_eq!(spans, expected);
    }
}
