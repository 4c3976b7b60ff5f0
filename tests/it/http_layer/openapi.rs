//! The documents, and whether the routers keep to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use dbos_axum::openapi::{Http, HttpAuthScheme, OpenApi, SecurityScheme};
use dbos_axum::{Admin, AllowAnyone, BearerToken, Metrics, StartOption, Tokens, WorkflowApi};
use dbos_runtime::Queue;
use harness::{Backend, on_each_backend, python};
use http::Method;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};

use super::*;

/// Gives back what it was given.
#[workflow]
async fn echo(_ctx: Ctx, value: Value) -> Result<Value, ShopError> {
    Ok(value)
}

/// Publishes what it was given, and waits.
#[workflow]
async fn hold(ctx: Ctx, value: Value) -> Result<Value, ShopError> {
    ctx.set_event("given", &value).await?;
    let told = ctx.recv::<Value>("go").timeout(Duration::from_secs(3600)).await?;
    Ok(told.unwrap_or_default())
}

/// The same, but not for long: a stream of it ends.
#[workflow]
async fn brief(ctx: Ctx, value: Value) -> Result<Value, ShopError> {
    ctx.set_event("given", &value).await?;
    ctx.write_stream("given", &value).await?;
    ctx.recv::<Value>("go").timeout(Duration::from_millis(100)).await?;
    Ok(value)
}

async fn launch_all(fresh: &Fresh) -> Dbos {
    let builder = harness::builder(fresh).queue(Queue::new("shut").concurrency(0));
    builder
        .state(())
        .register(checkout)
        .register(refund)
        .register(echo)
        .register(hold)
        .register(brief)
        .launch()
        .await
        .unwrap()
}

fn api(dbos: &Dbos) -> WorkflowApi<Caller> {
    WorkflowApi::new(DbosLayer::new(dbos.clone()).trust_client_workflow_ids())
        .expose(checkout)
        .expose(refund)
        .expose(echo)
        .expose(hold)
}

/// A document, and what was answered to its operations.
pub(super) struct Held {
    document: Value,
    client: Client,
    pub(super) seen: BTreeSet<(String, u16)>,
}

impl Held {
    pub(super) fn new(document: Value, client: &Client) -> Self {
        Self { document, client: client.clone(), seen: BTreeSet::new() }
    }

    /// Sends a request to where `{id}` and the like have been filled in, and checks the answer against the document.
    pub(super) async fn ask(
        &mut self,
        template: &str,
        request: harness::http::Request,
        method: &str,
    ) -> Response {
        let response = request.send().await;
        let status = response.status.as_u16();
        let operation = &self.document["paths"][template][method];
        let answer = &operation["responses"][status.to_string()];
        assert!(
            answer.is_object(),
            "{method} {template} answers {status}, undocumented: {}",
            response.text()
        );
        let media = response.header("content-type").map(|media| media.split(';').next().unwrap().to_owned());
        match &media {
            Some(media) => {
                assert!(answer["content"][media].is_object(), "{method} {template} {status}: {media}")
            }
            None => assert!(answer["content"].is_null(), "{method} {template} {status} has no body"),
        }
        if media.as_deref() == Some("application/problem+json") {
            let kind = response.json()["type"].as_str().unwrap().to_owned();
            let slug = kind.rsplit_once('#').map(|(_, slug)| format!("`{slug}`"));
            let text = answer["description"].as_str().unwrap();
            assert!(
                slug.is_none_or(|slug| text.contains(&slug)),
                "{method} {template} {status}: {kind}: {text}"
            );
        }
        for name in response.headers.keys().map(http::HeaderName::as_str) {
            let known = ["content-type", "content-length", "cache-control", "vary", "x-accel-buffering"]
                .contains(&name);
            let problem = media.as_deref() == Some("application/problem+json");
            assert!(
                known || problem || answer["headers"][name].is_object(),
                "{method} {template} {status}: {name}"
            );
        }
        self.seen.insert((operation["operationId"].as_str().unwrap().to_owned(), status));
        response
    }

    /// Whether each answer that the document has was given, but for those that are tested elsewhere.
    pub(super) fn has_given_all_but(&self, elsewhere: &[u16]) {
        for (path, method, operation) in operations(&self.document) {
            let id = operation["operationId"].as_str().unwrap();
            for status in operation["responses"].as_object().unwrap().keys() {
                let status: u16 = status.parse().unwrap();
                let seen = self.seen.contains(&(id.to_owned(), status)) || elsewhere.contains(&status);
                assert!(seen, "{method} {path} is said to answer {status}");
            }
        }
    }
}

on_each_backend! {
    /// Each answer that the document has is given, and no other.
    async fn routers_answer_as_their_document_says(fresh: Fresh) {
        let dbos = launch_all(&fresh).await;
        let api = api(&dbos).allow([StartOption::Queue, StartOption::DeduplicationId]).body_limit(100);
        let document = serde_json::to_value(api.openapi()).unwrap();
        let client = Client::new(Router::new().nest("/dbos", api.into_router()));
        let mut held = Held::new(document, &client);
        let post = |path: &str, body: Value| client.post(format!("/dbos{path}")).header("x-user", "ada").json(&body);
        let get = |path: &str| client.get(format!("/dbos{path}")).header("x-user", "ada");

        let start = "/start/{name}";
        for (request, status) in [
            (post("/start/echo", json!(1)).header("prefer", "wait=25").header("idempotency-key", "ended"), 200),
            (post("/start/echo", json!(1)).header("idempotency-key", "ended"), 200),
            (post("/start/hold", json!(2)).header("idempotency-key", "held"), 202),
            (post("/start/hold", json!(2)).header("idempotency-key", "held"), 202),
            (post("/start/hold", json!(2)).header("idempotency-key", "a b"), 400),
            (post("/start/hold", json!(2)).header("prefer", "wait=soon"), 400),
            (post("/start/hold?priority=1", json!(2)), 400),
            (client.post("/dbos/start/echo").header("content-type", "application/json").body("{"), 400),
            (post("/start/nothing", json!(1)), 404),
            (post("/start/refund", cart()).header("idempotency-key", "ended"), 409),
            (post("/start/echo?queue=shut&dedup_id=a", json!(1)), 202),
            (post("/start/echo?queue=shut&dedup_id=a", json!(2)), 409),
            (post("/start/echo", json!("x".repeat(100))), 413),
            (client.post("/dbos/start/echo").body("1"), 415),
            (post("/start/checkout", json!(1)), 422),
            (post("/start/hold", json!(3)).header("idempotency-key", "held"), 422),
        ] {
            let response = held.ask(start, request, "post").await;
            assert_eq!(response.status.as_u16(), status, "{}", response.text());
        }
        harness::until("published", async || {
            let id = dbos_runtime::WorkflowId::parse("held").unwrap();
            dbos.get_event::<Value>(&id, "given", Duration::ZERO).await.unwrap().is_some()
        })
        .await;
        for (template, path, status) in [
            ("/workflows/{id}", "/workflows/held", 200),
            ("/workflows/{id}", "/workflows/a%20b", 400),
            ("/workflows/{id}", "/workflows/nobody", 404),
            ("/workflows/{id}/result", "/workflows/ended/result", 200),
            ("/workflows/{id}/result", "/workflows/held/result", 202),
            ("/workflows/{id}/result", "/workflows/%00/result", 400),
            ("/workflows/{id}/result", "/workflows/nobody/result", 404),
            ("/workflows/{id}/events", "/workflows/held/events", 200),
            ("/workflows/{id}/events", "/workflows/%00/events", 400),
            ("/workflows/{id}/events", "/workflows/nobody/events", 404),
            ("/workflows/{id}/events/{key}", "/workflows/held/events/given", 200),
            ("/workflows/{id}/events/{key}", "/workflows/held/events/taken", 202),
            ("/workflows/{id}/events/{key}", "/workflows/held/events/%00", 400),
            ("/workflows/{id}/events/{key}", "/workflows/ended/events/given", 404),
        ] {
            let response = held.ask(template, get(path), "get").await;
            assert_eq!(response.status.as_u16(), status, "{path}: {}", response.text());
        }
        let (stream, watch) = ("/workflows/{id}/streams/{key}", "/workflows/{id}/watch");
        for (template, path, accept, status) in [
            (stream, "/workflows/ended/streams/k", "text/event-stream", 200),
            (stream, "/workflows/held/streams/k", "application/json", 200),
            (stream, "/workflows/ended/streams/k?after=-1.end", "*/*", 204),
            (stream, "/workflows/ended/streams/k?after=x", "*/*", 400),
            (stream, "/workflows/ended/streams/k?access_token=x", "*/*", 401),
            (stream, "/workflows/nobody/streams/k", "*/*", 404),
            (stream, "/workflows/ended/streams/k", "text/html", 406),
            (watch, "/workflows/ended/watch", "*/*", 200),
            (watch, "/workflows/ended/watch?after=0.end", "*/*", 204),
            (watch, "/workflows/%00/watch", "*/*", 400),
            (watch, "/workflows/nobody/watch", "*/*", 404),
            (watch, "/workflows/ended/watch", "application/json", 406),
        ] {
            let response = held.ask(template, get(path).header("accept", accept), "get").await;
            assert_eq!(response.status.as_u16(), status, "{path}: {}", response.text());
        }
        let told = get("/workflows/held").send().await.json();
        let created = dbos.info("held").await.unwrap().created_at;
        assert_eq!(told["created_at"].as_str().unwrap().parse::<dbos_runtime::Timestamp>().unwrap(), created);
        assert!(told["created_at"].as_str().unwrap().ends_with('Z'), "{told}");
        let (send, topic) = ("/workflows/{id}/messages", "/workflows/{id}/messages/{topic}");
        for (template, path) in [(send, "/workflows/held/messages"), (topic, "/workflows/held/messages/other")] {
            for (request, status) in [
                (post(path, json!(null)), 202),
                (post(path, json!(1)).header("idempotency-key", "m"), 202),
                (post(path, json!(1)).header("idempotency-key", "m"), 202),
                (post(path, json!(1)).header("idempotency-key", "::"), 400),
                (post(&path.replace("held", "nobody"), json!(1)), 404),
                (post(path, json!("x".repeat(100))), 413),
                (client.post(format!("/dbos{path}")).header("x-user", "ada"), 415),
            ] {
                let response = held.ask(template, request, "post").await;
                assert_eq!(response.status.as_u16(), status, "{path}: {}", response.text());
            }
        }
        let cancel = "/workflows/{id}/cancel";
        for (path, status) in [("held", 202), ("held", 409), ("nobody", 404), ("%20", 400)] {
            let request = client.post(format!("/dbos/workflows/{path}/cancel")).header("x-user", "ada");
            let response = held.ask(cancel, request, "post").await;
            assert_eq!(response.status.as_u16(), status, "{path}: {}", response.text());
        }

        let events = |path: &str| get(path).header("accept", "text/event-stream");
        let stream = "/workflows/{id}/streams/{key}";
        for (request, status) in [
            (events("/workflows/ended/streams/s"), 200),
            (get("/workflows/ended/streams/s").header("accept", "application/json"), 200),
            (events("/workflows/ended/streams/s").header("last-event-id", "-1.end"), 204),
            (events("/workflows/ended/streams/s?after=x"), 400),
            (events("/workflows/ended/streams/s?access_token=x"), 401),
            (events("/workflows/nobody/streams/s"), 404),
            (get("/workflows/ended/streams/s").header("accept", "image/png"), 406),
        ] {
            let response = held.ask(stream, request, "get").await;
            assert_eq!(response.status.as_u16(), status, "{}", response.text());
        }
        let watch = "/workflows/{id}/watch";
        let watched = held.ask(watch, events("/workflows/ended/watch"), "get").await;
        let ended = watched.text().lines().filter_map(|line| line.strip_prefix("id:")).next_back().unwrap().trim();
        for (request, status) in [
            (events("/workflows/ended/watch").header("last-event-id", ended), 204),
            (events("/workflows/%00/watch"), 400),
            (events("/workflows/nobody/watch"), 404),
            (get("/workflows/ended/watch").header("accept", "image/png"), 406),
        ] {
            let response = held.ask(watch, request, "get").await;
            assert_eq!(response.status.as_u16(), status, "{}", response.text());
        }

        // Nobody lacks a role here, and nothing is broken.
        held.has_given_all_but(&[403, 500, 503]);
        assert!(held.seen.len() >= 30, "{:?}", held.seen);
        assert_eq!(held.client.get("/dbos/openapi.json").send().await.status, StatusCode::OK);
        end(&dbos).await;
    }

    /// Requests by the document and against it: no answer that it does not have, and none that is a 5xx.
    async fn a_fuzzer_finds_nothing(fresh: Fresh) {
        let dbos = launch_all(&fresh).await;
        let router = WorkflowApi::<Caller>::new(dbos.clone()).expose(echo).expose(brief).into_router();
        fuzz(Router::new().nest("/dbos", router), "dbos", &["--max-examples", "15", "--header", "X-User: ada"]).await;
        let started = fresh.scalar("SELECT count(*) FROM workflow_status").await;
        assert!(started > 20, "only {started} workflows were started");
        end(&dbos).await;
    }

    async fn a_fuzzer_finds_nothing_in_the_admin_routes(fresh: Fresh) {
        let dbos = launch_all(&fresh).await;
        dbos.start(echo, json!(1)).id("w").await.unwrap().result().await.unwrap();
        let operators = Tokens::new().add(Principal::new("ops"), TOKEN).unwrap();
        let router = Admin::<BearerToken>::new(dbos.clone()).security("bearer", bearer()).into_router();
        let app = Router::new().nest("/admin", router).with_state(operators);
        let authorization = format!("Authorization: Bearer {TOKEN}");
        // A process that was deactivated is not ready, which is a 503. What a listing or a fork may be asked for follows
        // rules that no schema has.
        let apart = ["--exclude-path", "/deactivate", "--exclude-checks", "positive_data_acceptance"];
        let arguments = [&["--max-examples", "8", "--header", &authorization][..], &apart].concat();
        fuzz(app, "admin", &arguments).await;
        end(&dbos).await;
    }
}

const TOKEN: &str = "c2f5a9d07be14386";

fn bearer() -> SecurityScheme {
    SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer))
}

/// Serves the application, and has a fuzzer read its document and try what it says and what it forbids.
async fn fuzz(app: Router, below: &str, arguments: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let document = format!("http://{}/{below}/openapi.json", listener.local_addr().unwrap());
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await });

    let config = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("python/schemathesis.toml");
    let mut fuzzer = python::http_tool("schemathesis");
    fuzzer.arg("--config-file").arg(config).args(["--no-color", "run", &document, "--checks", "all"]);
    fuzzer.args(["--seed", "7", "--workers", "1", "--no-shrink"]).args(arguments);
    let run = move || {
        // It keeps a database of what it has found.
        let folder = tempfile::tempdir().unwrap();
        fuzzer.current_dir(folder.path()).output().unwrap()
    };
    let output = spawn_blocking(run).await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Path, method and operation of each row.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter().map(move |(method, operation)| (path.clone(), method, operation)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn a_document_has_the_routes_of_its_router_and_is_for_everybody() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let dbos = launch_all(&fresh).await;
    let api = WorkflowApi::<Principal>::new(dbos.clone()).expose(echo).security("bearer", bearer());
    let document: OpenApi = api.openapi();
    let document = serde_json::to_value(document).unwrap();
    let routes: BTreeSet<(Method, String)> =
        WorkflowApi::<Principal>::routes().map(|(method, path)| (method, path.to_owned())).collect();
    let described: BTreeMap<(Method, String), Value> = operations(&document)
        .into_iter()
        .map(|(path, method, operation)| ((method.to_uppercase().parse().unwrap(), path), operation))
        .collect();
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), routes);
    assert!(routes.len() >= 8);
    let ids: BTreeSet<_> =
        described.values().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), routes.len());
    for ((method, path), operation) in &described {
        assert_eq!(operation["security"], json!([{"bearer": []}]), "{method} {path}");
        assert!(operation["responses"]["401"].is_object(), "{method} {path}");
    }
    assert_eq!((&document["openapi"], &document["servers"]), (&json!("3.1.0"), &json!([{"url": "/dbos"}])));
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let name = &document["paths"]["/start/{name}"]["post"]["parameters"][0];
    assert_eq!((&name["name"], &name["schema"]["enum"]), (&json!("name"), &json!(["echo"])));

    // Every reference leads somewhere.
    let text = document.to_string();
    let references: BTreeSet<&str> =
        text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for name in &references {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    assert!(references.contains("Problem") && references.len() > 8, "{references:?}");

    // The API itself is locked; its document says so to everybody, wherever it is.
    let client = Client::new(Router::new().nest("/v1/work", api.into_router()));
    is_problem(&client.get("/v1/work/workflows/w").send().await, 401, Some("unauthenticated"));
    let served = client.get("/v1/work/openapi.json").send().await;
    assert_eq!((served.status, served.header("content-type")), (StatusCode::OK, Some("application/json")));
    let mut served = served.json();
    assert_eq!(served["servers"], json!([{"url": "/v1/work"}]));
    served["servers"] = document["servers"].clone();
    assert_eq!(served, document);
    is_one_of_ours(&client, "/v1/work/openapi.json").await;

    let root = Client::new(WorkflowApi::<AllowAnyone>::new(dbos.clone()).expose_all().into_router());
    let served = root.get("/openapi.json").send().await.json();
    assert_eq!(served["servers"], json!([{"url": "/"}]));
    assert_eq!(served["paths"]["/start/{name}"]["post"]["parameters"][0]["schema"]["enum"], Value::Null);
    assert_eq!(served["paths"]["/workflows/{id}"]["get"]["security"], Value::Null);
    end(&dbos).await;
}

/// What is in no table answers like the rest: with problems, and for no cache.
async fn is_one_of_ours(client: &Client, path: &str) {
    assert_eq!(client.get(path).send().await.header("cache-control"), Some("no-store"), "{path}");
    let refused = client.request(http::Method::PUT, path).send().await;
    is_problem(&refused, 405, None);
    assert_eq!(refused.header("cache-control"), Some("no-store"), "{path}");
}

/// Operators alone learn which routes there are, and see the numbers.
#[tokio::test]
async fn the_admin_document_and_the_metrics_are_for_operators() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let dbos = launch_all(&fresh).await;
    let operators = Tokens::new().add(Principal::new("ops"), TOKEN).unwrap();
    let metrics = Metrics::install(dbos.clone()).unwrap();
    let admin = Admin::<BearerToken>::new(dbos.clone()).security("bearer", bearer()).metrics(metrics);
    let document = serde_json::to_value(admin.openapi()).unwrap();
    let client = Client::new(Router::new().nest("/admin", admin.into_router()).with_state(operators));
    for path in ["/admin/openapi.json", "/admin/metrics"] {
        is_problem(&client.get(path).send().await, 401, Some("unauthenticated"));
        is_one_of_ours(&client, path).await;
        let request = client.get(path).header("authorization", format!("Bearer {TOKEN}"));
        assert_eq!(
            request.header("host", "evil.example").send().await.status,
            StatusCode::MISDIRECTED_REQUEST
        );
    }
    let operator = |path: &str| client.get(path).header("authorization", format!("Bearer {TOKEN}"));
    let mut served = operator("/admin/openapi.json").send().await.json();
    assert_eq!(served["servers"], json!([{"url": "/admin"}]));
    served["servers"] = document["servers"].clone();
    assert_eq!(served, document);
    let page = operator("/admin/metrics").send().await;
    assert!(page.text().contains("dbos_executor_info{"), "{}", page.text());

    assert_eq!(operations(&document).len(), 18);
    assert_eq!(document["paths"]["/readyz"]["get"]["security"], json!([]));
    assert_eq!(document["paths"]["/workflows"]["post"]["security"], json!([{"bearer": []}]));
    let hooks = dbos_axum::webhooks::Webhooks::new(dbos.clone()).openapi();
    assert_eq!(operations(&serde_json::to_value(hooks).unwrap()).len(), 3);
    // Nothing of what operators may do is in the public document.
    let public = serde_json::to_string(&WorkflowApi::<AllowAnyone>::new(dbos.clone()).openapi()).unwrap();
    assert!(!public.contains("garbage") && !public.contains("WorkflowUUID"));
    end(&dbos).await;
}
