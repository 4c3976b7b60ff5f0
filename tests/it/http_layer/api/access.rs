//! Who may see and do what: tests of every route that there is.

use std::collections::BTreeMap;

use dbos_axum::{AccessPolicy, Action, AnyOwner, OwnersOnly, ReadOnly};
use dbos_runtime::WorkflowInfo;
use harness::proxy::{Mode, Proxy};
use http::Method;

use super::*;

/// Sees everything, and changes nothing that is not its own.
struct Support;

impl AccessPolicy for Support {
    fn allows(&self, who: &Principal, to: Action, workflow: &WorkflowInfo) -> bool {
        (who.user() == Some("support") && to == Action::Read) || OwnersOnly.allows(who, to, workflow)
    }
}

/// Every route about one workflow, with its parameters filled in.
fn about(id: &str) -> Vec<(Method, String)> {
    let routes = WorkflowApi::<User>::routes().filter(|(_, path)| path.contains("{id}"));
    let fill = |path: &str| path.replace("{id}", id).replace("{key}", "given").replace("{topic}", "x");
    routes.map(|(method, path)| (method, format!("/dbos{}", fill(path)))).collect()
}

/// A request with a body where there may be one.
fn request(client: &Client, (method, path): &(Method, String), user: &str) -> harness::http::Request {
    let request = client.request(method.clone(), path).header("x-user", user);
    if method == Method::POST { request.json(&json!(null)) } else { request }
}

/// A problem without what names the request's own workflow.
fn anonymous(response: &Response, id: &str) -> (u16, BTreeMap<String, String>, Value) {
    let headers = response.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().replace(id, "*")));
    let body: Value = serde_json::from_str(&response.text().replace(id, "*")).unwrap();
    (response.status.as_u16(), headers.collect(), body)
}

on_each_backend! {
    // S03, S04
    async fn a_foreign_workflow_is_answered_like_one_that_is_not_there(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let id = started(&client, "parked", &json!(7)).await;
        until("it waits", async || shown(&client, &id, "/events").await.json()["events"].get("nothing").is_some()).await;
        let missing = id.replace("h1:", "h1:x");
        let mut asked = 0;
        for (theirs, nowhere) in about(&id).iter().zip(&about(&missing)) {
            for (user, tenant) in [("bob", ""), ("ada", "acme"), ("support", "")] {
                let foreign = request(&client, theirs, user).header("x-tenant", tenant).send().await;
                let absent = request(&client, nowhere, user).header("x-tenant", tenant).send().await;
                is_problem(&foreign, 404, Some("workflow-not-found"));
                assert_eq!(foreign.json()["workflow_id"], json!(id));
                assert_eq!(anonymous(&foreign, &id), anonymous(&absent, &missing), "{theirs:?} {user}");
                asked += 1;
            }
        }
        assert_eq!((asked, fresh.scalar("SELECT count(*) FROM notifications").await), (3 * about("x").len(), 0));
        assert!(about("x").len() >= 7, "{:?}", about("x"));
        assert_eq!(shown(&client, &id, "").await.header("cache-control"), Some("no-store"));
        // Nothing has happened to it, and its owner may do all of it.
        assert_eq!(shown(&client, &id, "").await.json()["status"], "PENDING");
        for route in about(&id) {
            let own = request(&client, &route, "ada").open().await;
            assert!(own.status().is_success(), "{route:?}: {}", own.status());
        }
        assert_eq!(shown(&client, &id, "").await.json()["status"], "CANCELLED");
        end(&dbos).await;
    }

    // S03
    async fn a_child_is_its_parents_owners(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = client_of(api(dbos.clone()).expose(family));
        let mut asked = 0;
        for (user, tenant) in [("ada", "acme"), ("ada", "")] {
            let start = client.post("/dbos/start/family").header("x-user", user).header("x-tenant", tenant);
            let start = start.header("prefer", "wait=20").json(&json!({"item": "cup", "count": 2})).send().await;
            assert_eq!(start.status, StatusCode::OK, "{}", start.text());
            let child = format!("{}-1", start.header("dbos-workflow-id").unwrap());
            for route in about(&child) {
                let (other, whose) = if tenant.is_empty() { ("acme", "") } else { ("", "acme") };
                let foreign = request(&client, &route, user).header("x-tenant", other).send().await;
                is_problem(&foreign, 404, Some("workflow-not-found"));
                let own = request(&client, &route, user).header("x-tenant", whose).open().await;
                // It has ended: there is nothing to cancel, and no such event, as is said of what is the caller's own.
                let ended = [("/cancel", 409), ("/events/given", 404)];
                let ended = ended.iter().find(|(end, _)| route.1.ends_with(end));
                let expected = ended.map_or(own.status().is_success(), |(_, status)| own.status() == *status);
                assert!(expected, "{route:?}: {}", own.status());
                asked += 1;
            }
        }
        assert_eq!(asked, 2 * about("x").len());
        end(&dbos).await;
    }

    // S03
    async fn owners_who_may_only_look_change_nothing(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = client_of(api(DbosLayer::new(dbos.clone()).policy(ReadOnly)));
        let id = started(&client, "parked", &json!(7)).await;
        until("it waits", async || shown(&client, &id, "/events").await.json()["events"].get("nothing").is_some()).await;
        let mut refused = 0;
        for route in about(&id) {
            let own = request(&client, &route, "ada").open().await;
            if route.0 == Method::GET {
                assert!(own.status().is_success(), "{route:?}: {}", own.status());
            } else {
                assert_eq!(own.status(), StatusCode::NOT_FOUND, "{route:?}");
                refused += 1;
            }
            assert_eq!(request(&client, &route, "bob").open().await.status(), StatusCode::NOT_FOUND);
        }
        assert_eq!((refused, fresh.scalar("SELECT count(*) FROM notifications").await), (3, 0));
        assert_eq!(shown(&client, &id, "").await.json()["status"], "PENDING");
        end(&dbos).await;
    }

    async fn a_policy_says_who_sees_and_does_what(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let support = client_of(api(DbosLayer::new(dbos.clone()).policy(Support)));
        let id = started(&support, "parked", &json!(7)).await;
        for route in about(&id) {
            let response = request(&support, &route, "support").open().await;
            assert_eq!(response.status().is_success(), route.0 == Method::GET, "{route:?}: {}", response.status());
            assert_eq!(request(&support, &route, "bob").open().await.status(), StatusCode::NOT_FOUND);
        }
        let trusting = client_of(api(DbosLayer::new(dbos.clone()).policy(AnyOwner)));
        for route in about(&id) {
            assert!(request(&trusting, &route, "bob").open().await.status().is_success(), "{route:?}");
        }
        end(&dbos).await;
    }

    // B08, B09, S27
    async fn an_id_in_a_path_is_valid_or_refused(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let bad = ["%00", "%2e%2e", "a%2Fb", "%C0%AF", "a%20b", "%22", "%5C", "a%25", "%7B%7D", "%E2%80%AE", &"x".repeat(513)];
        let mut asked = 0;
        for id in bad {
            for route in about(id) {
                let response = request(&client, &route, "ada").send().await;
                assert_eq!(response.status, StatusCode::BAD_REQUEST, "{route:?}: {}", response.text());
                asked += 1;
            }
        }
        assert_eq!(asked, bad.len() * about("x").len());
        for id in ["';DROP", "$1", "...", "a:b@c", "_", &"x".repeat(512)] {
            is_problem(&shown(&client, id, "").await, 404, Some("workflow-not-found"));
        }
        end(&dbos).await;
    }
}

// S33, F05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_says_that_the_database_is_away_and_answers_when_it_is_back() {
    let fresh = harness::fresh(harness::Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let dbos = builder(&proxy.url(fresh.url())).patience(Duration::from_secs(1)).launch().await.unwrap();
    let client = client_of(api(dbos.clone()));
    let id = started(&client, "parked", &json!(7)).await;
    until("it waits", async || shown(&client, &id, "/events").await.json()["events"] != json!({})).await;
    let ask = async || {
        let start = (Method::POST, "/dbos/start/parked".to_owned());
        // Not what would change the answers of the others, nor what has no end.
        let left_out =
            |path: &str| ["/cancel", "/watch", "/streams/given"].iter().any(|end| path.ends_with(end));
        let asked = about(&id).into_iter().filter(|(_, path)| !left_out(path)).chain([start]);
        let requests = asked.map(|route| {
            let request = client.request(route.0.clone(), &route.1).header("x-user", "ada");
            if route.0 == Method::POST { request.json(&json!(1)).send() } else { request.send() }
        });
        futures_util::future::join_all(requests).await
    };
    proxy.set_mode(Mode::RefuseNew);
    proxy.reset_all();
    let away = ask().await;
    assert!(away.len() >= 7, "{}", away.len());
    for response in away {
        is_problem(&response, 503, Some("unavailable"));
        assert_eq!(response.header("retry-after"), Some("2"));
    }
    proxy.set_mode(Mode::Pass);
    let last = std::sync::Mutex::new(String::new());
    let answered = async || {
        let answers = ask().await;
        let refused = answers.iter().find(|response| !response.status.is_success());
        *last.lock().unwrap() = refused.map(Response::text).unwrap_or_default().to_owned();
        // Whoever is refused for another reason is not answered later either.
        assert!(
            refused.is_none_or(|response| response.status == StatusCode::SERVICE_UNAVAILABLE),
            "{last:?}"
        );
        refused.is_none()
    };
    until("every route answers again", answered).await;
    end(&dbos).await;
}

// S01, S29
#[tokio::test]
async fn every_route_stays_locked_in_every_order_of_layers() {
    let fresh = harness::fresh(harness::Backend::Sqlite).await;
    let dbos = launch(fresh.url()).await;
    let router = || api(dbos.clone()).expose_all().into_router::<()>();
    let layer = || DbosLayer::new(dbos.clone()).policy(AnyOwner);
    let open = |headers: http::HeaderMap| async move { headers.len().to_string() };
    let apps = [
        Router::new().nest("/dbos", router()),
        Router::new().nest("/dbos", router()).layer(layer()),
        Router::new().layer(layer()).nest("/dbos", router()),
        Router::new().nest("/dbos", router().layer(layer())),
        Router::new().nest("/dbos", router().route("/open", get(open))).fallback(open),
        Router::new().nest("/dbos", Router::new().merge(router()).layer(layer())).route("/open", get(open)),
        Router::new().nest_service("/dbos", router()),
    ];
    let id = dbos.start(parked, 7).await.unwrap().id().to_string();
    let mut asked = 0;
    for app in apps {
        let client = Client::new(app);
        for (method, path) in WorkflowApi::<User>::routes() {
            let path = path.replace("{id}", &id).replace("{name}", "checkout");
            // Whatever else is wrong with the request: who is asking comes first.
            for header in
                [("x", "y"), ("idempotency-key", "::"), ("content-length", "99999999"), ("prefer", "wait=x")]
            {
                let path = format!("/dbos{path}?queue=a&queue=b");
                let response =
                    client.request(method.clone(), path).header(header.0, header.1).body("{").send().await;
                is_problem(&response, 401, None);
                asked += 1;
            }
            for other in [Method::PUT, Method::PATCH, Method::DELETE, Method::GET, Method::POST] {
                if other != method {
                    let response = client.request(other.clone(), format!("/dbos{path}")).send().await;
                    is_problem(&response, 405, None);
                }
            }
        }
        let nowhere = client.get("/dbos/nowhere").send().await;
        is_problem(&nowhere, 404, None);
    }
    assert_eq!(asked, 7 * 4 * WorkflowApi::<User>::routes().count());
    assert_eq!(workflows(&fresh).await, 1);
    assert_eq!(dbos.info(id.as_str()).await.unwrap().status, Some(WorkflowStatus::Pending));
    end(&dbos).await;
}
