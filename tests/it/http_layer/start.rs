//! Starts: one workflow for each key of each caller.

use std::collections::BTreeSet;

use axum::extract::State;
use dbos_axum::{Concurrent, Verbatim};
use dbos_runtime::WorkflowStatus;
use harness::proxy::{Mode, Proxy};
use harness::{Backend, on_each_backend};
use tokio::task::JoinSet;

use super::*;

const WORKFLOWS: &str = "SELECT count(*) FROM workflow_status";

/// The number of workflows on the database.
async fn workflows(fresh: &Fresh) -> i64 {
    let schema = if fresh.backend() == Backend::Postgres { "dbos." } else { "" };
    fresh.scalar(&WORKFLOWS.replace("workflow_status", &format!("{schema}workflow_status"))).await
}

on_each_backend! {
    async fn a_key_that_comes_again_finds_the_first_workflow(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let request = || client.post("/checkout").header("idempotency-key", KEY).json(&cart());
        let (first, second) = (request().send().await, request().send().await);

        let id = first.header("dbos-workflow-id").unwrap().to_owned();
        assert!(id.starts_with(&format!("h1:checkout:{KEY}:")), "{id}");
        assert_eq!((first.status, second.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
        let link = format!("/dbos/workflows/{id}");
        let links = json!({"self": link, "result": format!("{link}/result")});
        let expected = json!({"workflow_id": id, "status": "PENDING", "replayed": false, "links": links});
        assert_eq!(first.json(), expected);
        assert_eq!((first.header("location"), first.header("retry-after")), (Some(link.as_str()), Some("1")));
        assert_eq!(first.header("idempotent-replayed"), None);

        assert_eq!(second.header("dbos-workflow-id"), Some(id.as_str()));
        assert_eq!(second.header("idempotent-replayed"), Some("true"));
        assert_eq!((&second.json()["replayed"], &second.json()["links"]), (&json!(true), &links));
        assert_eq!(workflows(&fresh).await, 1);
        end(&dbos).await;
    }

    async fn the_same_input_in_another_spelling_is_the_same(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        for (body, replayed) in [(r#"{"item":"cup","count":2}"#, None), ("{ \"count\": 2,\n \"item\": \"c\\u0075p\" }", Some("true"))] {
            let request = client.post("/checkout").header("idempotency-key", KEY);
            let response = request.header("content-type", "application/json").body(body).send().await;
            assert_eq!((response.status, response.header("idempotent-replayed")), (StatusCode::ACCEPTED, replayed));
        }
        end(&dbos).await;
    }

    async fn a_key_with_another_input_is_refused(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let request = |cart| client.post("/checkout").header("idempotency-key", KEY).json(&cart);
        let first = request(cart()).send().await;
        let second = request(json!({"item": "cup", "count": 3})).send().await;
        is_problem(&second, 422, Some("idempotency-key-reused"));
        assert_eq!(second.json()["workflow_id"], first.json()["workflow_id"]);
        assert_eq!(second.json()["instance"], "/checkout");
        assert_eq!(workflows(&fresh).await, 1);

        // An application may not care.
        let lenient = Client::new(app(DbosLayer::new(dbos.clone()).attach_whatever_the_input()));
        let third = lenient.post("/checkout").header("idempotency-key", KEY).json(&json!({"item": "", "count": 0}));
        assert_eq!(third.send().await.header("idempotent-replayed"), Some("true"));
        end(&dbos).await;
    }

    async fn two_callers_with_one_key_have_two_workflows(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let mut ids = BTreeSet::new();
        for (user, tenant) in [("ada", ""), ("bob", ""), ("ada", "acme"), ("", "")] {
            for replayed in [None, Some("true")] {
                let request = client.post("/checkout").header("x-user", user).header("x-tenant", tenant);
                let response = request.header("idempotency-key", KEY).json(&cart()).send().await;
                assert_eq!(response.header("idempotent-replayed"), replayed, "{user} {tenant}");
                ids.insert(response.header("dbos-workflow-id").unwrap().to_owned());
            }
        }
        assert_eq!((ids.len(), workflows(&fresh).await), (4, 4));
        assert!(!ids.iter().any(|id| id.contains("ada") || id.contains("acme")), "{ids:?}");
        let info = dbos.info(ids.iter().next().unwrap().as_str()).await.unwrap();
        assert!(info.authenticated_user.is_none() || info.authenticated_roles == ["tester"]);
        end(&dbos).await;
    }

    async fn one_key_may_start_two_workflows(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        for path in ["/checkout", "/refund"] {
            let response = client.post(path).header("idempotency-key", KEY).json(&cart()).send().await;
            assert_eq!((response.status, response.header("idempotent-replayed")), (StatusCode::ACCEPTED, None));
        }
        assert_eq!(workflows(&fresh).await, 2);
        end(&dbos).await;
    }

    async fn without_a_key_every_request_starts_a_workflow(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        for _ in 0..2 {
            let response = client.post("/checkout").json(&cart()).send().await;
            assert_eq!((response.status, response.header("idempotent-replayed")), (StatusCode::ACCEPTED, None));
        }
        assert_eq!(workflows(&fresh).await, 2);
        let refused = client.post("/demand").json(&cart()).send().await;
        is_problem(&refused, 400, Some("idempotency-key-missing"));
        let link = refused.header("link").unwrap();
        assert!(link.ends_with("#idempotency-key-missing>; rel=\"describedby\""), "{link}");
        end(&dbos).await;
    }

    async fn a_key_may_come_in_the_path(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        for replayed in [None, Some("true")] {
            // It stands in for the one in the headers.
            let request = client.post(format!("/checkout/{KEY}")).header("idempotency-key", "");
            let response = request.json(&cart()).send().await;
            assert_eq!((response.status, response.header("idempotent-replayed")), (StatusCode::ACCEPTED, replayed));
        }
        let refused = client.post("/checkout/a%20b").json(&cart()).send().await;
        is_problem(&refused, 400, Some("invalid-argument"));
        assert!(refused.json()["detail"].as_str().unwrap().starts_with("The path: A key is 1 to 255"));
        end(&dbos).await;
    }

    async fn fifty_requests_at_once_start_one_workflow(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let mut requests = JoinSet::new();
        for _ in 0..50 {
            requests.spawn(client.post("/checkout").header("idempotency-key", KEY).json(&cart()).send());
        }
        let responses = requests.join_all().await;
        let ids: BTreeSet<_> = responses.iter().map(|response| response.header("dbos-workflow-id").unwrap()).collect();
        let fresh_starts = responses.iter().filter(|response| response.header("idempotent-replayed").is_none());
        assert_eq!((ids.len(), fresh_starts.count(), workflows(&fresh).await), (1, 1, 1));
        assert!(responses.iter().all(|response| response.status == StatusCode::ACCEPTED));
        end(&dbos).await;
    }

    async fn a_verbatim_key_is_the_id_and_belongs_to_whoever_came_first(fresh: Fresh) {
        let (dbos, _) = shop(&fresh).await;
        let client = Client::new(app(DbosLayer::new(dbos.clone()).idempotency(Verbatim).api_at("/api/")));
        let request = |path: &str| client.post(path).header("dbos-idempotency-key", "order-7").json(&cart());
        let first = request("/checkout").send().await;
        assert_eq!(first.header("dbos-workflow-id"), Some("order-7"));
        assert_eq!(first.header("location"), Some("/api/workflows/order-7"));
        assert_eq!(request("/checkout").send().await.header("idempotent-replayed"), Some("true"));

        let other = request("/refund").send().await;
        is_problem(&other, 409, Some("workflow-id-conflict"));
        assert_eq!((&other.json()["dbos_error_code"], &other.json()["workflow_id"]), (&json!(9), &json!("order-7")));
        assert!(!other.text().contains("checkout\""), "{}", other.text());
        is_problem(&request("/checkout").header("x-user", "ada").send().await, 409, Some("workflow-id-conflict"));
        let reserved = client.post("/checkout").header("idempotency-key", "sched-nightly").json(&cart());
        is_problem(&reserved.send().await, 400, Some("idempotency-key-invalid"));
        end(&dbos).await;
    }

    // What a handler starts on a queue is as safe to repeat as what it runs at once.
    async fn a_key_may_start_on_a_queue(fresh: Fresh) {
        async fn enqueue(ctx: DbosCtx, caller: Caller, Json(cart): Json<Cart>) -> Result<Started<Receipt>, Problem> {
            let start = ctx.on_behalf_of(&caller).start(checkout, cart).queue("slow").priority(3);
            start.timeout(Duration::from_secs(60)).attribute("campaign", "autumn").await
        }
        let dbos = launch(fresh.url()).await;
        let client = Client::new(Router::new().route("/", post(enqueue)).layer(DbosLayer::new(dbos.clone())));
        let request = |cart: &Value| client.post("/").header("idempotency-key", "k").header("x-user", "ada").header("x-tenant", "acme").json(cart);
        let mut ids = BTreeSet::new();
        for replayed in [None, Some("true")] {
            let response = request(&cart()).send().await;
            assert_eq!((response.status, response.header("idempotent-replayed")), (StatusCode::ACCEPTED, replayed));
            assert_eq!(response.json()["status"], "ENQUEUED");
            ids.insert(response.header("dbos-workflow-id").unwrap().to_owned());
        }
        is_problem(&request(&json!({"item": "cup", "count": 3})).send().await, 422, Some("idempotency-key-reused"));
        assert_eq!((ids.len(), workflows(&fresh).await), (1, 1));
        let info = dbos.info(ids.first().unwrap().as_str()).await.unwrap();
        assert_eq!((info.status, info.queue_name.as_deref()), (Some(WorkflowStatus::Enqueued), Some("slow")));
        assert_eq!((info.priority, info.timeout_ms), (3, Some(60_000)));
        assert_eq!((info.authenticated_user.as_deref(), info.authenticated_tenant()), (Some("ada"), Some("acme")));
        assert_eq!(info.attributes, json!({"campaign": "autumn", "dbos.tenant": "acme"}));
        end(&dbos).await;
    }

    async fn of_one_deduplication_id_there_is_one_workflow_whoever_asks(fresh: Fresh) {
        async fn enqueue(ctx: DbosCtx, caller: Caller, Path(attach): Path<bool>) -> Result<Started<u32>, Problem> {
            let start = ctx.on_behalf_of(&caller).start(parked, 7).queue("slow").deduplication_id("d");
            if attach { start.attach_to_duplicate().await } else { start.await }
        }
        let dbos = launch(fresh.url()).await;
        let client = Client::new(Router::new().route("/{attach}", post(enqueue)).layer(DbosLayer::new(dbos.clone())));
        let request = |attach: bool, user: &str, key: &str| {
            client.post(format!("/{attach}")).header("idempotency-key", key).header("x-user", user)
        };
        let first = request(false, "ada", "k").send().await;
        let id = first.header("dbos-workflow-id").unwrap();
        let attached = request(true, "ada", "l").send().await;
        assert_eq!((attached.header("dbos-workflow-id"), attached.header("idempotent-replayed")), (Some(id), Some("true")));
        for (attach, user, told) in [(false, "ada", true), (false, "bob", false), (true, "bob", false)] {
            let refused = request(attach, user, "m").send().await;
            is_problem(&refused, 409, Some("queue-deduplicated"));
            assert_eq!(refused.text().contains(id), told, "{attach} {user}: {}", refused.text());
        }
        assert_eq!(workflows(&fresh).await, 1);
        end(&dbos).await;
    }

    async fn a_start_that_breaks_a_rule_is_a_problem_and_starts_nothing(fresh: Fresh) {
        async fn bad(ctx: DbosCtx, Path(case): Path<String>) -> Result<Started<u32>, Problem> {
            let start = ctx.start(parked, 7);
            match case.as_str() {
                "queue" => start.queue("").await,
                "priority" => start.priority(1).await,
                "delay" => start.delay(Duration::from_secs(1)).await,
                "timeout" => start.timeout(Duration::ZERO).await,
                "tenant" => start.attribute("dbos.tenant", "acme").await,
                "tenants" => start.attributes(json!({"dbos.tenant": "acme"}).as_object().unwrap()).await,
                _ => start.attribute("nul", "\0").await,
            }
        }
        let dbos = launch(fresh.url()).await;
        let client = Client::new(Router::new().route("/{case}", post(bad)).layer(DbosLayer::new(dbos.clone())));
        for case in ["queue", "priority", "delay", "timeout", "tenant", "tenants", "attribute"] {
            is_problem(&client.post(format!("/{case}")).send().await, 400, Some("invalid-argument"));
        }
        assert_eq!(workflows(&fresh).await, 0);
        end(&dbos).await;
    }

    async fn further_starts_of_a_request_need_a_name(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        for headers in [vec![], vec![("idempotency-key", KEY)]] {
            let request = |path: &str| {
                let request = client.post(path).json(&cart());
                headers.iter().fold(request, |request, (name, value)| request.header(name, value))
            };
            let unnamed = request("/twice/-").send().await;
            is_problem(&unnamed, 500, None);
            assert!(unnamed.json()["detail"].as_str().unwrap().contains("sub_key"), "{}", unnamed.text());

            let (named, again) = (request("/twice/postage").send().await, request("/twice/postage").send().await);
            let (named, again) = (named.json(), again.json());
            assert_ne!(named[0], named[1]);
            let keyed = !headers.is_empty();
            // The first one was started by the request that failed.
            assert_eq!((&named[2], &named[3]), (&json!(keyed), &json!(false)));
            assert_eq!((&again[2], &again[3]), (&json!(keyed), &json!(keyed)));
            assert_ne!(named, again);
        }
        end(&dbos).await;
    }

    async fn a_running_workflow_is_a_conflict_where_that_is_asked_for(fresh: Fresh) {
        let (dbos, _) = shop(&fresh).await;
        let client = Client::new(app(DbosLayer::new(dbos.clone()).on_concurrent(Concurrent::Conflict)));
        let request = || client.post("/park").header("idempotency-key", KEY).json(&json!(7));
        let first = request().send().await;
        assert_eq!(first.status, StatusCode::ACCEPTED);
        let second = request().send().await;
        is_problem(&second, 409, Some("idempotency-key-in-use"));
        assert_eq!(second.header("retry-after"), Some("1"));

        let id = dbos_runtime::WorkflowId::parse(first.header("dbos-workflow-id").unwrap()).unwrap();
        dbos.send(&id, &true).topic("go").await.unwrap();
        harness::until("ended", async || {
            dbos.info(id.as_str()).await.unwrap().status == Some(WorkflowStatus::Success)
        })
        .await;
        let third = request().send().await;
        assert_eq!((third.status, &third.json()["output"]), (StatusCode::OK, &json!(7)));
        end(&dbos).await;
    }
}

/// The rows of the bad-input list that are about keys, and a few more.
#[tokio::test]
async fn a_key_is_valid_or_refused() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let (dbos, client) = shop(&fresh).await;
    let (longest, longer) = ("k".repeat(255), "k".repeat(256));
    let (kilobytes, many) = ("k".repeat(8 * 1024), "k".repeat(64 * 1024));
    let short = "k".repeat(31);
    let (ours, theirs) = ("idempotency-key", "dbos-idempotency-key");
    let quoted = format!("\"{KEY}\"");
    type Headers<'a> = &'a [(&'a str, &'a [u8])];
    let cases: &[(Headers<'_>, Option<&str>)] = &[
        (&[], Some("missing")),
        (&[(ours, b"")], Some("invalid")),
        (&[(theirs, b"")], Some("invalid")),
        (&[(ours, b"    ")], Some("invalid")),
        (&[(ours, b"8e03978e-40d5-43e8-bc93\t6894a57f9324")], Some("invalid")),
        (&[(ours, b"8e03978e-40d5-43e8-bc93-6894a57f9324 ")], Some("invalid")),
        (&[(ours, b"8e03978e-40d5-43e8-bc93-6894a57f9324\xe9")], Some("invalid")),
        (&[(ours, "8e03978e-40d5-43e8-bc93-6894a57f932é".as_bytes())], Some("invalid")),
        (&[(ours, KEY.as_bytes()), (ours, KEY.as_bytes())], Some("invalid")),
        (&[(ours, KEY.as_bytes()), (theirs, longest.as_bytes())], Some("invalid")),
        (&[(ours, longer.as_bytes())], Some("invalid")),
        (&[(ours, kilobytes.as_bytes())], Some("invalid")),
        (&[(ours, many.as_bytes())], Some("invalid")),
        (
            &[(ours, b"8e03978e-40d5-43e8-bc93-6894a57f9324'; DROP TABLE workflow_status; --")],
            Some("invalid"),
        ),
        (&[(ours, b"8e03978e-40d5-43e8-bc93-6894a57f9324%2F..")], Some("invalid")),
        (&[(ours, b"8e03978e-40d5-43e8-bc93-6894a57f9324::a")], Some("invalid")),
        (&[(ours, short.as_bytes())], Some("invalid")),
        (&[(ours, longest.as_bytes())], None),
        (&[(ours, quoted.as_bytes())], None),
        (&[(ours, KEY.as_bytes()), (theirs, quoted.as_bytes())], None),
    ];
    for (headers, slug) in cases {
        let request = client.post("/demand").json(&cart());
        let response =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send().await;
        match slug {
            Some(slug) => is_problem(&response, 400, Some(&format!("idempotency-key-{slug}"))),
            None => assert_eq!(response.status, StatusCode::ACCEPTED, "{headers:?}: {}", response.text()),
        }
    }
    // The two spellings of one key have led to one workflow.
    assert_eq!(workflows(&fresh).await, 2);
    end(&dbos).await;
}

/// Only Postgres can be away: SQLite is a file that this process has open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_answered_with_503() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let dbos = launch_impatient(&proxy.url(fresh.url())).await;
    let client = Client::new(app(DbosLayer::new(dbos.clone())));
    let request = || client.post("/checkout").header("idempotency-key", KEY).json(&cart());

    proxy.set_mode(Mode::RefuseNew);
    proxy.reset_all();
    let away = request().send().await;
    is_problem(&away, 503, Some("unavailable"));
    assert_eq!(away.header("retry-after"), Some("2"));
    assert!(!away.text().to_lowercase().contains("connect"), "{}", away.text());

    proxy.set_mode(Mode::Pass);
    harness::until("back", async || request().send().await.status == StatusCode::ACCEPTED).await;
    let replayed = async || request().send().await.header("idempotent-replayed") == Some("true");
    harness::until("answered again", replayed).await;
    assert_eq!(workflows(&fresh).await, 1);
    end(&dbos).await;
}

#[tokio::test]
async fn a_route_without_the_layer_says_so() {
    let router = Router::new().route("/checkout", post(start));
    let response = Client::new(router).post("/checkout").json(&cart()).send().await;
    is_problem(&response, 500, None);
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("DbosLayer") && detail.contains("/checkout"), "{detail}");
}

/// The application's own state, middleware and tower services are no business of the layer.
#[tokio::test]
async fn the_layer_fits_every_state_and_finds_the_caller_that_a_middleware_left() {
    #[derive(Clone)]
    struct Prices(u32);
    async fn start(ctx: DbosCtx, State(Prices(count)): State<Prices>) -> Result<Started<Receipt>, Problem> {
        let item = "cup".to_owned();
        ctx.start(checkout, Cart { item, count }).await
    }
    async fn whoami(caller: Principal, nobody: Option<Principal>) -> String {
        format!("{:?} {}", caller.user(), nobody.is_some())
    }
    let fresh = harness::fresh(Backend::Sqlite).await;
    let dbos = launch(fresh.url()).await;
    let log_in = axum::middleware::from_fn(
        async |mut request: axum::extract::Request, next: axum::middleware::Next| {
            request.extensions_mut().insert(Principal::new("ada"));
            next.run(request).await
        },
    );
    let inner = Router::new().route("/start", post(start)).route("/whoami", get(whoami));
    let client = Client::new(
        Router::new()
            .nest("/in", inner.layer(log_in))
            .layer(DbosLayer::new(dbos.clone()))
            .with_state(Prices(7)),
    );
    // Short, but Ada's.
    let response = client.post("/in/start").header("idempotency-key", "k").send().await;
    assert_eq!(response.status, StatusCode::ACCEPTED, "{}", response.text());
    let id = response.header("dbos-workflow-id").unwrap();
    assert_eq!(dbos.info(id).await.unwrap().authenticated_user.as_deref(), Some("ada"));
    assert_eq!(client.get("/in/whoami").send().await.text(), "Some(\"ada\") true");
    let anonymous = Client::new(Router::new().route("/", get(whoami))).get("/").send().await;
    is_problem(&anonymous, 401, Some("unauthenticated"));
    end(&dbos).await;
}
