//! One trace from a request to the last step of what it started, wherever that runs; seen by a collector.

use std::sync::atomic::{AtomicU64, Ordering};

use dbos_axum::{Admin, AllowAnyone, WorkflowApi};
use dbos_runtime::{Builder, Queue};
use harness::collector::{Collector, Span};
use harness::on_each_backend;
use tracing::Instrument as _;

use super::*;

const QUEUE: &str = "traced";

/// Somebody else's span, of which a request comes.
struct Elsewhere {
    trace: String,
    span: String,
}

impl Elsewhere {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            trace: format!("{:032x}", 0xc0de_0000_0000_0000_u64 + n),
            span: format!("{:016x}", 0xface_0000 + n),
        }
    }

    fn header(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }

    fn place(&self) -> (String, String) {
        (self.trace.clone(), self.span.clone())
    }
}

/// Starts one workflow as a child and another one on the queue, and waits for both.
#[workflow]
async fn family(ctx: Ctx, n: u32) -> Result<u32, ShopError> {
    let direct: u32 = ctx.run(sum, (n, 1)).await?;
    let queued = ctx.start(sum, (n, 2)).queue(QUEUE).await?;
    Ok(direct + queued.result().await?)
}

#[workflow]
async fn sum(ctx: Ctx, (a, b): (u32, u32)) -> Result<u32, ShopError> {
    ctx.step("add", || async { Ok(a + b) }).await
}

#[workflow]
async fn fails(ctx: Ctx) -> Result<(), ShopError> {
    ctx.step("secretive", || async { Err::<(), _>(ShopError::SoldOut { left: 4711 }) }).await
}

fn builder(url: &str) -> Builder<()> {
    let builder =
        Dbos::builder("http-tests").database_url(url).application_version("v1").peer_recovery(false);
    let builder = builder.polling_interval(Duration::from_millis(50));
    let queue = Queue::new(QUEUE).polling_interval(Duration::from_millis(50));
    builder
        .queue(queue)
        .register(checkout)
        .register(refund)
        .register(parked)
        .register(family)
        .register(sum)
        .register(fails)
}

async fn launched(url: &str) -> Dbos {
    builder(url).launch().await.unwrap()
}

fn client_of(dbos: &Dbos) -> Client {
    Client::new(app(DbosLayer::new(dbos.clone())))
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

on_each_backend! {
    // S25
    async fn a_request_its_workflow_and_its_steps_are_one_trace(fresh: Fresh) {
        let (collector, caller) = (Collector::of_this_process(), Elsewhere::new());
        let dbos = launched(fresh.url()).await;
        let request = client_of(&dbos).post("/checkout?token=hush").header("x-user", "ada").header("x-request-id", "r-1");
        let request = request.header("traceparent", caller.header()).header("tracestate", "a=b").header("baggage", "who=ada");
        let response = request.json(&json!({"item": "teacup", "count": 4})).send().await;
        let id = response.header("dbos-workflow-id").unwrap().to_owned();
        dbos.retrieve::<Value, Error>(id.as_str()).await.unwrap().result().await.unwrap();

        let spans = collector.trace(&caller.trace, 3).await;
        let (start, run, step) = (named(&spans, "dbos.start"), named(&spans, "checkout"), named(&spans, "charge"));
        assert_eq!((&start.parent, &run.parent, &step.parent), (&caller.span, &start.id, &run.id));
        assert_eq!((start.well, run.well, step.well), (None, Some(true), Some(true)));
        assert!(spans.iter().all(|span| span.get("dbos.operation.workflow_id") == id && span.links.is_empty()));
        let about = |span: &Span, names: &[&str]| names.iter().map(|name| span.get(name).to_owned()).collect::<Vec<_>>();
        let names = ["http.route", "http.request.method", "dbos.operation.name", "dbos.request.id"];
        assert_eq!(about(start, &names), ["/checkout", "POST", "checkout", "r-1"]);
        let names = ["dbos.operation.type", "dbos.operation.name", "dbos.application.version", "dbos.user.name", "dbos.user.roles"];
        assert_eq!(about(run, &names), ["workflow", "checkout", "v1", "ada", "[\"tester\"]"]);
        assert_eq!(about(step, &names[..2]), ["step", "charge"]);
        // What the request and the workflow were given, and what they gave, is nobody's business here.
        let all = format!("{spans:?}");
        for secret in ["hush", "token", "teacup", "3980", "who="] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }

        // The form of every SDK: the two headers, without baggage.
        let info = dbos.info(id.as_str()).await.unwrap();
        let parent = format!("00-{}-{}-01", caller.trace, start.id);
        assert_eq!(info.attributes, json!({"dbos.otelContext": {"traceparent": parent, "tracestate": "a=b"}}));
        assert_eq!(info.trace_context().unwrap().span_id().to_string(), start.id);
        // And not for the client.
        let api = WorkflowApi::<Caller>::new(dbos.clone()).into_router();
        let status = Client::new(api).get(format!("/workflows/{id}")).header("x-user", "ada").send().await;
        assert_eq!(status.json()["attributes"], json!({}));
        end(&dbos).await;
    }

    async fn a_workflow_on_a_queue_continues_its_trace_in_another_process_and_so_do_its_children(fresh: Fresh) {
        let collector = Collector::of_this_process();
        let here = builder(fresh.url()).executor_id("here").listen_queues([""; 0]).launch().await.unwrap();
        let span = tracing::info_span!("caller");
        let handle = here.start(family, 5).queue(QUEUE).into_future().instrument(span.clone()).await.unwrap();
        drop(span);
        let id = handle.id().to_string();
        let there = builder(fresh.url()).executor_id("there").launch().await.unwrap();
        assert_eq!(there.retrieve::<u32, ShopError>(id.as_str()).await.unwrap().result().await.unwrap(), 13);
        there.shutdown(harness::PATIENCE).await;

        let root = collector.only(|span| span.get("dbos.operation.workflow_id") == id).await;
        let caller = collector.only(|span| span.trace == root.trace && span.name == "caller").await;
        assert_eq!((&root.parent, caller.parent.as_str()), (&caller.id, ""));
        assert_eq!((root.get("dbos.queue.name"), root.get("dbos.executor.id")), (QUEUE, "there"));
        let spans = collector.trace(&root.trace, 6).await;
        let children: Vec<&Span> = spans.iter().filter(|span| span.name == "sum").collect();
        assert_eq!(children.len(), 2, "{spans:#?}");
        assert!(children.iter().all(|child| child.parent == root.id));
        let mut queues: Vec<&str> = children.iter().map(|child| child.get("dbos.queue.name")).collect();
        queues.sort_unstable();
        assert_eq!(queues, ["", QUEUE]);
        let steps = spans.iter().filter(|span| span.name == "add");
        let parents: std::collections::BTreeSet<&str> = steps.map(|step| step.parent.as_str()).collect();
        assert_eq!(parents, children.iter().map(|child| child.id.as_str()).collect());
        end(&here).await;
    }

    async fn a_recovered_workflow_goes_on_in_its_trace(fresh: Fresh) {
        let (collector, caller) = (Collector::of_this_process(), Elsewhere::new());
        let first = launched(fresh.url()).await;
        let response = client_of(&first).post("/park").header("traceparent", caller.header()).json(&json!(7)).send().await;
        let id = response.header("dbos-workflow-id").unwrap().to_owned();
        harness::until("it waits", async || fresh.scalar("SELECT count(*) FROM operation_outputs WHERE function_name = 'DBOS.sleep'").await == 1).await;
        end(&first).await;

        let second = launched(fresh.url()).await;
        let handle = second.retrieve::<u32, ShopError>(id.as_str()).await.unwrap();
        second.send(handle.id(), &json!(null)).topic("go").await.unwrap();
        assert_eq!(handle.result().await.unwrap(), 7);
        let spans = collector.trace(&caller.trace, 3).await;
        let start = named(&spans, "dbos.start");
        let runs: Vec<(&str, Option<bool>)> = spans.iter().filter(|span| span.name == "parked").map(|run| (run.parent.as_str(), run.well)).collect();
        // The first one did not end: it was left.
        assert_eq!(runs, [(start.id.as_str(), None), (start.id.as_str(), Some(true))]);
        end(&second).await;
    }

    async fn who_sends_or_comes_again_is_linked_to_the_workflows_trace(fresh: Fresh) {
        let (collector, one, two, three) = (Collector::of_this_process(), Elsewhere::new(), Elsewhere::new(), Elsewhere::new());
        let dbos = launched(fresh.url()).await;
        let client = client_of(&dbos);
        let park = |from: &Elsewhere| client.post("/park").header("idempotency-key", KEY).header("traceparent", from.header()).json(&json!(7));
        let id = park(&one).send().await.header("dbos-workflow-id").unwrap().to_owned();
        assert_eq!(park(&two).send().await.header("idempotent-replayed"), Some("true"));
        let tell = client.post(format!("/tell/{id}")).header("traceparent", three.header()).json(&json!(null));
        assert_eq!(tell.send().await.status, StatusCode::ACCEPTED);
        dbos.retrieve::<u32, ShopError>(id.as_str()).await.unwrap().result().await.unwrap();

        let first = collector.trace(&one.trace, 2).await;
        let start = named(&first, "dbos.start");
        assert_eq!(start.links, []);
        assert_eq!(named(&first, "parked").parent, start.id);
        let again = collector.trace(&two.trace, 1).await;
        assert_eq!((&again[0].parent, &again[0].links[..]), (&two.span, &[start.place()][..]));
        let sent = collector.trace(&three.trace, 1).await;
        assert_eq!((sent[0].name.as_str(), &sent[0].links[..]), ("dbos.send", &[start.place()][..]));
        assert_eq!((sent[0].get("http.route"), sent[0].get("dbos.operation.workflow_id")), ("/tell/{id}", id.as_str()));

        // A refusal is no failure of the server's.
        let api = WorkflowApi::<AllowAnyone>::new(dbos.clone()).into_router();
        let admin = Admin::<AllowAnyone>::new(dbos.clone()).into_router();
        let client = Client::new(Router::new().nest("/dbos", api).nest("/admin", admin));
        let cases = [
            ("/dbos/workflows/{id}/cancel", "dbos.cancel", 409),
            ("/admin/workflows/{id}/cancel", "dbos.cancel", 204),
            ("/admin/workflows/{id}/resume", "dbos.resume", 204),
            ("/admin/workflows/{id}/restart", "dbos.fork", 200),
            ("/admin/workflows/{id}/fork", "dbos.fork", 200),
        ];
        for (route, name, status) in cases {
            let from = Elsewhere::new();
            let request = client.post(route.replace("{id}", &id)).header("traceparent", from.header());
            let request = request.header("host", "localhost").json(&json!({}));
            assert_eq!(request.send().await.status.as_u16(), status, "{route}");
            let span = &collector.trace(&from.trace, 1).await[0];
            assert_eq!((span.name.as_str(), &span.links[..]), (name, &[start.place()][..]), "{route}");
            assert_eq!((span.well, span.get("http.route")), (None, route));
        }
        end(&dbos).await;
    }

    async fn a_malformed_traceparent_is_ignored(fresh: Fresh) {
        let collector = Collector::of_this_process();
        let dbos = launched(fresh.url()).await;
        let caller = Elsewhere::new();
        let malformed = [
            caller.header().to_uppercase(),
            caller.header() + "-more",
            caller.header().replacen("00", "ff", 1),
            format!("00-{}-{}-01", "0".repeat(32), caller.span),
            format!("00-{}-{}-01", &caller.trace[1..], caller.span),
            "\u{e9}".to_owned(),
            "x".repeat(8000),
            String::new(),
        ];
        for header in &malformed {
            let response = client_of(&dbos).post("/checkout").header("traceparent", header).header("tracestate", "a=b").json(&cart()).send().await;
            assert_eq!(response.status, StatusCode::ACCEPTED, "{header}");
            let id = response.header("dbos-workflow-id").unwrap().to_owned();
            dbos.retrieve::<Value, Error>(id.as_str()).await.unwrap().result().await.unwrap();
            let start = collector.only(|span| span.name == "dbos.start" && span.get("dbos.operation.workflow_id") == id).await;
            assert_eq!((start.parent.as_str(), &start.links[..]), ("", &[][..]), "{header}");
            collector.trace(&start.trace, 3).await;
            assert!(dbos.info(id.as_str()).await.unwrap().attributes["dbos.otelContext"].get("tracestate").is_none());
        }
        end(&dbos).await;
    }

    async fn at_a_public_edge_a_trace_begins_that_is_linked_to_the_callers(fresh: Fresh) {
        let (collector, caller) = (Collector::of_this_process(), Elsewhere::new());
        let dbos = launched(fresh.url()).await;
        let client = Client::new(app(DbosLayer::new(dbos.clone()).trust_incoming_trace(false)));
        let response = client.post("/checkout").header("traceparent", caller.header()).json(&cart()).send().await;
        let id = response.header("dbos-workflow-id").unwrap().to_owned();
        dbos.retrieve::<Value, Error>(id.as_str()).await.unwrap().result().await.unwrap();
        let start = collector.only(|span| span.name == "dbos.start" && span.get("dbos.operation.workflow_id") == id).await;
        assert_eq!((start.parent.as_str(), &start.links[..]), ("", &[caller.place()][..]));
        let spans = collector.trace(&start.trace, 3).await;
        assert_eq!(named(&spans, "checkout").parent, start.id);
        assert!(collector.all(|span| span.trace == caller.trace).await.is_empty());
        end(&dbos).await;
    }

    async fn the_applications_own_span_of_a_request_is_in_between(fresh: Fresh) {
        let (collector, caller) = (Collector::of_this_process(), Elsewhere::new());
        let dbos = launched(fresh.url()).await;
        let client = client_of(&dbos);
        let own = tracing::info_span!("request");
        client.post("/checkout").json(&cart()).send().instrument(own.clone()).await;
        let continued = client.post("/checkout").header("traceparent", caller.header()).json(&cart()).send();
        continued.instrument(own.clone()).await;
        dbos.shutdown(harness::PATIENCE).await;
        drop(own);

        let there = collector.trace(&caller.trace, 3).await;
        let linked = named(&there, "dbos.start");
        assert_eq!((&linked.parent, linked.links.len()), (&caller.span, 1));
        let own = collector.trace(&linked.links[0].0, 4).await;
        let request = named(&own, "request");
        assert_eq!(request.place(), linked.links[0]);
        assert_eq!(named(&own, "dbos.start").parent, request.id);
    }

    async fn a_failure_is_marked_and_not_quoted(fresh: Fresh) {
        let collector = Collector::of_this_process();
        let dbos = launched(fresh.url()).await;
        let handle = dbos.start(fails, ()).id("fails").await.unwrap();
        assert!(handle.result().await.is_err());
        let spans = collector.some(2, |span| span.get("dbos.operation.workflow_id") == "fails").await;
        let marked: Vec<(&str, Option<bool>, usize)> = spans.iter().map(|span| (span.name.as_str(), span.well, span.events)).collect();
        assert_eq!(marked, [("secretive", Some(false), 0), ("fails", Some(false), 0)]);
        assert!(!format!("{spans:?}").contains("4711"));
        end(&dbos).await;
    }

    async fn without_a_trace_nothing_is_written_and_what_is_no_trace_stops_nobody(fresh: Fresh) {
        let collector = Collector::of_this_process();
        let dbos = launched(fresh.url()).await;
        let plain = dbos.start(sum, (1, 2)).id("plain").attribute("n", 1).await.unwrap();
        assert_eq!(plain.result().await.unwrap(), 3);
        assert_eq!(plain.status().await.unwrap().attributes, json!({"n": 1}));
        for (n, junk) in [json!(null), json!("00-1-2-3"), json!({"traceparent": 7}), json!([{}])].into_iter().enumerate() {
            let id = format!("junk-{n}");
            let queued = dbos.start(sum, (1, 2)).id(id.as_str()).queue(QUEUE).attribute("dbos.otelContext", junk.clone());
            assert_eq!(queued.await.unwrap().result().await.unwrap(), 3, "{junk}");
            let run = collector.only(|span| span.name == "sum" && span.get("dbos.operation.workflow_id") == id).await;
            assert_eq!(run.parent, "", "{junk}");
        }
        end(&dbos).await;
    }
}
