//! The right to one stream in an address.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use dbos_axum::StreamTokens;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id as SpanId, Record};
use tracing::{Event as LogEvent, Metadata, Subscriber};

use super::*;

/// Lets in whoever has a name.
struct Member(Principal);

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, StatusCode> {
        let Ok(Caller(principal)) = Caller::from_request_parts(parts, state).await;
        if principal.is_anonymous() { Err(StatusCode::UNAUTHORIZED) } else { Ok(Self(principal)) }
    }
}

impl IntoPrincipal for Member {
    fn principal(&self) -> Principal {
        self.0.clone()
    }
}

async fn mint(
    ctx: DbosCtx,
    member: Member,
    Path((id, key)): Path<(WorkflowId, String)>,
) -> Result<String, Problem> {
    ctx.on_behalf_of(&member).stream_token(&id, &key, Duration::from_secs(600)).await
}

/// The same desk behind a door that asks for a name.
fn locked(desk: &Desk, layer: DbosLayer) -> Client {
    let api = WorkflowApi::<Member>::new(layer.clone()).public_stream("open");
    let mint = Router::new().route("/mint/{id}/{key}", get(mint)).layer(layer);
    let _ = desk;
    Client::new(mint.nest("/dbos", api.into_router()))
}

const STREAM: &str = "/dbos/workflows/desk-1/streams/progress";

harness::on_each_backend! {
    // S03
    async fn a_token_opens_its_stream_for_its_time_and_nothing_else(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.write([json!(0)]).await;
        desk.finish().await;
        let now = Arc::new(AtomicU64::new(1_800_000_000));
        let clock = Arc::clone(&now);
        let tokens = StreamTokens::new([7; 32]).unwrap();
        let tokens = tokens.clock(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed)));
        let layer = DbosLayer::new(desk.dbos.clone());
        let client = locked(&desk, layer.clone().stream_tokens(tokens));
        assert_eq!(client.get(STREAM).send().await.status, 401);

        let token = client.get("/mint/desk-1/progress").header("x-user", "ada").send().await.text().to_owned();
        assert_eq!(client.get("/mint/desk-1/progress").header("x-user", "bob").send().await.status, 404);
        let ask = async |path: &str, token: &str| client.get(format!("{path}?access_token={token}")).send().await;
        let answer = ask(STREAM, &token).await;
        assert!(answer.text().contains("id: 0.end\n"), "{}", answer.text());
        // A name does not make up for a token that is none.
        for token in ["", "x", "a.b", &token[1..], &format!("{token}&access_token={token}")] {
            let request = client.get(format!("{STREAM}?access_token={token}")).header("x-user", "ada");
            is_problem(&request.send().await, 401, Some("unauthenticated"));
        }
        for path in ["/dbos/workflows/desk-1/streams/other", "/dbos/workflows/desk-2/streams/progress"] {
            is_problem(&ask(path, &token).await, 401, Some("unauthenticated"));
        }
        for path in ["/dbos/workflows/desk-1", "/dbos/workflows/desk-1/watch"] {
            assert_eq!(ask(path, &token).await.status, 401);
        }
        // The policy has the last word, for a token too.
        let bobs = client.get("/mint/desk-1/progress").header("x-user", "ada").header("x-tenant", "acme").send().await;
        assert_eq!(bobs.status, 404);
        now.fetch_add(600, Ordering::Relaxed);
        is_problem(&ask(STREAM, &token).await, 401, Some("unauthenticated"));
        // Without a secret, no token is one.
        let without = locked(&desk, layer);
        let asked = without.get(format!("{STREAM}?access_token={token}")).header("x-user", "ada");
        assert_eq!(asked.send().await.status, 401);
        let minted = without.get("/mint/desk-1/progress").header("x-user", "ada").send().await;
        is_problem(&minted, 500, None);
        end(&desk.dbos).await;
    }

    async fn a_public_stream_is_everybodys_and_the_others_are_not(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.finish().await;
        let client = locked(&desk, DbosLayer::new(desk.dbos.clone()));
        let open = Events::of(client.get("/dbos/workflows/desk-1/streams/open").open().await);
        assert_eq!(open.all().await, [end_of(-1, "SUCCESS", "ended")]);
        assert_eq!(client.get(STREAM).send().await.status, 401);
        assert_eq!(client.get("/dbos/workflows/%00/streams/open").send().await.status, 401);
        assert_eq!(client.get("/dbos/workflows/none/streams/open").send().await.status, 404);
        end(&desk.dbos).await;
    }
}

/// Writes down everything that is logged, and every field of every span.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<String>>);

impl Everything {
    fn note(&self, what: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        writeln!(self.0.lock().unwrap(), "{what:?}").unwrap();
    }
}

impl Visit for Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.note(&(field.name(), format!("{value:?}")));
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> SpanId {
        self.note(&span.metadata().name());
        span.record(&mut self.clone());
        SpanId::from_u64(1)
    }

    fn record(&self, _: &SpanId, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &SpanId, _: &SpanId) {}

    fn event(&self, event: &LogEvent<'_>) {
        self.note(&event.metadata().name());
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &SpanId) {}

    fn exit(&self, _: &SpanId) {}
}

#[tokio::test]
async fn no_log_and_no_answer_repeats_a_token() {
    let written = Everything::default();
    let _guard = tracing::subscriber::set_default(written.clone());
    let fresh = harness::fresh(harness::Backend::Sqlite).await;
    let desk = Desk::open(&fresh).await;
    desk.write([json!(0)]).await;
    desk.finish().await;
    let layer = DbosLayer::new(desk.dbos.clone()).stream_tokens(StreamTokens::new([7; 32]).unwrap());
    let client = locked(&desk, layer);
    let token = client.get("/mint/desk-1/progress").header("x-user", "ada").send().await.text().to_owned();
    assert!(token.len() > 60);
    let ask = |query: &str| client.get(format!("{STREAM}?access_token={token}{query}"));
    assert_eq!(ask("").send().await.status, 200);
    let refused = [
        ask("x").send().await,
        ask("&after=x").send().await,
        ask("").header("accept", "image/png").send().await,
    ];
    assert_eq!(refused.each_ref().map(|answer| answer.status.as_u16()), [401, 400, 406]);
    for answer in &refused {
        assert!(
            !answer.text().contains(&token[..20]) && !format!("{:?}", answer.headers).contains(&token[..20])
        );
    }
    end(&desk.dbos).await;
    let written = written.0.lock().unwrap();
    assert!(written.contains("workflow"), "the log was heard");
    assert!(!written.contains(&token[..20]) && !written.contains("access_token"), "{written}");
}
