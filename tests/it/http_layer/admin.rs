//! The admin routes, and the official server as their witness.

use std::sync::Mutex;

use dbos_axum::{Admin, AllowAnyone, BearerToken, Field, Redactor, Tokens};
use dbos_runtime::{Filter, Queue, WorkflowRef};
use harness::proxy::{Mode, Proxy};
use harness::{Backend, on_each_backend, until};

use super::*;

mod witness;

const TOKEN: &str = "c2f5a9d07be14386";
const BEARER: &str = "Bearer c2f5a9d07be14386";

/// Every route, and whether anybody may ask.
const ROUTES: [(&str, &str, bool); 18] = [
    ("GET", "/dbos-healthz", true),
    ("GET", "/readyz", true),
    ("GET", "/conductor", false),
    ("GET", "/deactivate", false),
    ("POST", "/deactivate", false),
    ("POST", "/reactivate", false),
    ("GET", "/dbos-workflow-queues-metadata", false),
    ("POST", "/dbos-workflow-recovery", false),
    ("POST", "/dbos-garbage-collect", false),
    ("POST", "/dbos-global-timeout", false),
    ("POST", "/workflows", false),
    ("POST", "/queues", false),
    ("GET", "/workflows/w", false),
    ("GET", "/workflows/w/steps", false),
    ("POST", "/workflows/w/cancel", false),
    ("POST", "/workflows/w/resume", false),
    ("POST", "/workflows/w/restart", false),
    ("POST", "/workflows/w/fork", false),
];

fn tokens() -> Tokens {
    Tokens::new().add(Principal::new("ops").with_roles(["operator"]), TOKEN).unwrap()
}

/// The routes as an application mounts them.
fn mounted(admin: Admin<BearerToken>) -> Operator {
    Operator(Client::new(Router::new().nest("/admin", admin.into_router()).with_state(tokens())))
}

/// A client with the token.
struct Operator(Client);

impl Operator {
    fn request(&self, method: &str, path: &str) -> harness::http::Request {
        let method = method.parse().unwrap();
        self.0.request(method, format!("/admin{path}")).header("authorization", BEARER)
    }

    async fn get(&self, path: &str) -> Response {
        self.request("GET", path).send().await
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.request("POST", path).json(&body).send().await
    }

    /// A `POST` without a body.
    async fn order(&self, path: &str) -> Response {
        self.request("POST", path).send().await
    }

    /// The ids that a listing finds.
    async fn ids(&self, body: Value) -> Vec<String> {
        let response = self.post("/workflows", body).await;
        assert_eq!(response.status, StatusCode::OK, "{}", response.text());
        let rows = response.json();
        rows.as_array().unwrap().iter().map(|row| row["WorkflowUUID"].as_str().unwrap().to_owned()).collect()
    }
}

async fn status(fresh: &Fresh, id: &str) -> String {
    let sql = format!("SELECT status FROM workflow_status WHERE workflow_uuid = '{id}'");
    fresh.query(&sql).await.remove(0).remove(0).unwrap()
}

/// Ends with a receipt, after one step.
async fn bought(dbos: &Dbos, id: &str) {
    let cart = Cart { item: "cup".to_owned(), count: 2 };
    dbos.start(checkout, cart).id(id).await.unwrap().result().await.unwrap();
}

on_each_backend! {
    async fn routes_below_a_path_with_parameters_take_no_other_for_theirs(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        bought(&dbos, "sold-1").await;
        let admin = Admin::<BearerToken>::new(dbos.clone()).into_router();
        let client = Client::new(Router::new().nest("/regions/{region}/admin", admin).with_state(tokens()));
        let found = client.get("/regions/eu/admin/workflows/sold-1").header("authorization", BEARER).send().await;
        assert_eq!((found.status.as_u16(), &found.json()["WorkflowUUID"]), (200, &json!("sold-1")));
        let steps = client.get("/regions/eu/admin/workflows/sold-1/steps").header("authorization", BEARER).send().await;
        assert_eq!(steps.json().as_array().map(Vec::len), Some(1), "{}", steps.text());
        end(&dbos).await;
    }

    // S01
    async fn without_credentials_every_route_is_closed_but_those_of_probes(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = mounted(Admin::new(dbos.clone())).0;
        for (method, path, open) in ROUTES {
            let request = || client.request(method.parse().unwrap(), format!("/admin{path}"));
            let attempts = [
                request(),
                request().header("authorization", "Bearer c2f5a9d07be14387"),
                request().header("authorization", format!("Basic {TOKEN}")),
                request().header("cookie", format!("token={TOKEN}")),
                request().json(&json!({"a": 1})),
                request().header("content-type", "application/json").body("{"),
            ];
            for attempt in attempts {
                let response = attempt.send().await;
                if open {
                    assert_eq!(response.status, StatusCode::OK, "{path}");
                    continue;
                }
                is_problem(&response, 401, Some("unauthenticated"));
                assert_eq!(response.header("www-authenticate"), Some("Bearer"), "{path}");
            }
        }
        assert!(dbos.is_active());
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
        // Layers that are added in whatever order do not open it.
        let open = Router::new().nest("/admin", Admin::<BearerToken>::new(dbos.clone()).into_router());
        let client = Client::new(open.layer(DbosLayer::new(dbos.clone()).policy(dbos_axum::AnyOwner)).with_state(tokens()));
        is_problem(&client.post("/admin/workflows").send().await, 401, Some("unauthenticated"));
        is_problem(&client.get("/admin/nowhere").send().await, 404, None);
        end(&dbos).await;
    }

    // S29
    async fn what_is_not_in_the_table_has_no_effect(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let operator = mounted(Admin::new(dbos.clone()));
        bought(&dbos, "w").await;
        let before = fresh.rows("SELECT * FROM workflow_status").await;
        let mut paths: Vec<&str> = ROUTES.iter().map(|(_, path, _)| *path).collect();
        paths.dedup();
        for path in paths {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
                let listed = |method: &str| ROUTES.iter().any(|(m, p, _)| (*m, *p) == (method, path));
                if listed(method) {
                    continue;
                }
                let response = operator.request(method, path).send().await;
                if method == "HEAD" && listed("GET") && path != "/deactivate" {
                    assert_eq!((response.status, response.body.len()), (StatusCode::OK, 0), "{path}");
                } else {
                    assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                }
            }
        }
        assert!(dbos.is_active());
        assert_eq!(fresh.rows("SELECT * FROM workflow_status").await, before);
        end(&dbos).await;
    }

    // S23
    async fn the_pages_of_other_sites_reach_nothing(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        // Nobody has to say who they are: what is left are the marks of a browser.
        let open = Admin::<AllowAnyone>::new(dbos.clone()).hosts(["ops.example.com"]).into_router();
        let client = Client::new(Router::new().nest("/admin", open));
        let ours = |path: &str| client.post(path).header("host", "ops.example.com");
        let form = "application/x-www-form-urlencoded";
        for path in ["/workflows", "/dbos-global-timeout", "/dbos-garbage-collect", "/dbos-workflow-recovery", "/workflows/w/fork"] {
            for content_type in [form, "text/plain", "multipart/form-data"] {
                let response = ours(&format!("/admin{path}")).header("content-type", content_type).body("a=1").send().await;
                is_problem(&response, 415, None);
            }
        }
        for path in ["/admin/deactivate", "/admin/workflows/w/cancel", "/admin/workflows"] {
            for (name, value) in [
                ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"),
                ("origin", "https://evil.example"), ("origin", "null"),
            ] {
                is_problem(&ours(path).header(name, value).send().await, 403, None);
            }
            is_problem(&client.post(path).header("host", "evil.example").send().await, 421, None);
            is_problem(&client.get("/admin/conductor").header("host", "evil.example").send().await, 421, None);
        }
        // An image of another site's page.
        is_problem(&client.get("/admin/deactivate").send().await, 401, Some("unauthenticated"));
        assert!(dbos.is_active());
        // A page of one's own, and a probe by whatever address.
        let response = ours("/admin/workflows").header("origin", "https://ops.example.com").send().await;
        assert_eq!((response.status, response.text()), (StatusCode::OK, "[]"));
        assert_eq!(response.header("access-control-allow-origin"), None);
        assert_eq!(response.header("cache-control"), Some("no-store"));
        for path in ["/admin/dbos-healthz", "/admin/readyz"] {
            assert_eq!(client.get(path).header("host", "10.1.2.3:3000").send().await.status, StatusCode::OK);
        }
        end(&dbos).await;
    }

    async fn a_get_deactivates_with_a_bearer_token_and_never_with_a_cookie(fresh: Fresh) {
        /// Lets in whoever has the cookie.
        struct Session;

        impl<S: Send + Sync> FromRequestParts<S> for Session {
            type Rejection = StatusCode;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
                parts.headers.get("cookie").map(|_| Self).ok_or(StatusCode::UNAUTHORIZED)
            }
        }

        impl IntoPrincipal for Session {
            fn principal(&self) -> Principal {
                Principal::new("ops")
            }
        }

        let dbos = launch(fresh.url()).await;
        let client = Client::new(Admin::<Session>::new(dbos.clone()).into_router());
        let get = || client.get("/deactivate").header("cookie", "session=1");
        is_problem(&get().send().await, 401, Some("unauthenticated"));
        is_problem(&get().header("authorization", "Basic b3BzOm9wcw==").send().await, 401, Some("unauthenticated"));
        assert_eq!(get().header("authorization", BEARER).send().await.status, StatusCode::UNAUTHORIZED);
        assert!(dbos.is_active());
        assert_eq!(client.post("/deactivate").header("cookie", "session=1").send().await.text(), "deactivated");
        assert!(!dbos.is_active());
        dbos.reactivate();
        let operator = mounted(Admin::new(dbos.clone()));
        assert_eq!(operator.get("/deactivate").await.text(), "deactivated");
        assert!(!dbos.is_active());
        end(&dbos).await;
    }

    async fn a_process_is_ready_as_long_as_it_takes_work(fresh: Fresh) {
        let (dbos, shop) = shop(&fresh).await;
        let operator = mounted(Admin::new(dbos.clone()));
        let ready = operator.get("/readyz").await;
        let expected = json!({"status": "ready", "database": true, "active": true, "draining": false,
            "application": "http-tests", "application_version": "v1", "executor_id": dbos.executor_id()});
        assert_eq!((ready.status, ready.json()), (StatusCode::OK, expected));
        assert_eq!(operator.0.get("/admin/readyz").send().await.json(), json!({"status": "ready"}));

        assert_eq!(operator.order("/deactivate").await.text(), "deactivated");
        let ready = operator.0.get("/admin/readyz").send().await;
        assert_eq!((ready.status, ready.json()), (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "unready"})));
        assert_eq!(operator.get("/readyz").await.json()["active"], false);
        assert_eq!(operator.get("/dbos-healthz").await.text(), "healthy");
        let refused = shop.post("/checkout").json(&cart()).send().await;
        is_problem(&refused, 503, Some("unavailable"));
        assert!(refused.header("retry-after").is_some());
        assert_eq!(operator.order("/reactivate").await.text(), "reactivated");
        assert_eq!(operator.get("/readyz").await.status, StatusCode::OK);
        assert_eq!(shop.post("/checkout").json(&cart()).send().await.status, StatusCode::ACCEPTED);
        end(&dbos).await;
        let ready = operator.get("/readyz").await;
        assert_eq!((ready.status, &ready.json()["draining"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(true)));
        assert_eq!(operator.get("/dbos-healthz").await.status, StatusCode::OK);
    }

    async fn s22_a_prefix_is_taken_literally_and_an_id_may_have_any_character(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let operator = mounted(Admin::new(dbos.clone()));
        let ids = ["a%b", "a_b", "axb", r"a\b", "a/b/c", "a b", "a?b#c", "ä::'; --"];
        for id in ids {
            bought(&dbos, id).await;
        }
        for (prefix, found) in [("a%", "a%b"), ("a_", "a_b"), (r"a\", r"a\b"), ("a/", "a/b/c"), ("ä", "ä::'; --")] {
            assert_eq!(operator.ids(json!({"workflow_id_prefix": prefix})).await, [found]);
        }
        for id in ids {
            let path: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
            assert_eq!(operator.get(&format!("/workflows/{path}")).await.json()["WorkflowUUID"], id);
            let steps = operator.get(&format!("/workflows/{path}/steps")).await.json();
            assert_eq!(steps[0]["function_name"], "charge", "{id}");
            assert_eq!(operator.order(&format!("/workflows/{path}/cancel")).await.status, StatusCode::NO_CONTENT);
        }
        for bad in ["%00", "%20", "a%0Ab", "%FF", &"x".repeat(513)] {
            for (method, rest) in [("GET", ""), ("GET", "/steps"), ("POST", "/cancel"), ("POST", "/resume"), ("POST", "/restart")] {
                let response = operator.request(method, &format!("/workflows/{bad}{rest}")).send().await;
                is_problem(&response, 400, Some("invalid-argument"));
                assert_eq!(response.json()["error"], response.json()["detail"]);
            }
        }
        end(&dbos).await;
    }

    // B64
    async fn a_listing_that_makes_no_sense_is_refused_and_says_why(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let operator = mounted(Admin::new(dbos.clone()));
        let senseless = [
            json!({"limit": 0}), json!({"limit": -1}), json!({"limit": 1_000_000_000}), json!({"offset": -1}),
            json!({"status": "DONE"}), json!({"start_time": "soon"}), json!({"workflow_uuids": ["a\u{0}b"]}),
            json!({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}),
        ];
        for path in ["/workflows", "/queues"] {
            for body in &senseless {
                let response = operator.post(path, body.clone()).await;
                is_problem(&response, 400, Some("invalid-argument"));
                assert!(response.json()["error"].is_string(), "{body}");
            }
            for body in [json!([]), json!("x"), json!({"limit": "1"}), json!({"status": 1})] {
                let response = operator.post(path, body).await;
                is_problem(&response, 422, Some("invalid-body"));
                assert!(response.json()["error"].is_string());
            }
            let broken = operator.request("POST", path).header("content-type", "application/json").body("{").send().await;
            is_problem(&broken, 400, Some("malformed-json"));
            assert!(broken.json()["error"].is_string());
            assert_eq!(operator.order(path).await.json(), json!([]), "no body is no filter");
        }
        for query in ["?limit=0", "?limit=x", "?offset=-1", "?limit=10001"] {
            is_problem(&operator.get(&format!("/workflows/w/steps{query}")).await, 400, Some("invalid-argument"));
        }
        let large = json!({"workflow_uuids": vec!["x".repeat(500); 2200]});
        is_problem(&operator.post("/workflows", large).await, 413, None);
        end(&dbos).await;
    }

    async fn filters_beyond_those_of_the_official_servers_narrow_too(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let operator = mounted(Admin::new(dbos.clone()));
        bought(&dbos, "plain").await;
        let tagged = dbos.start(checkout, Cart { item: "cup".to_owned(), count: 1 }).id("tagged");
        let attributes = serde_json::Map::from_iter([("tenant".to_owned(), json!(7))]);
        tagged.attributes(&attributes).await.unwrap().result().await.unwrap();
        dbos.start(parked, 1).id("parked").await.unwrap();
        assert_eq!(operator.ids(json!({"attributes": {"tenant": 7}})).await, ["tagged"]);
        assert_eq!(operator.ids(json!({"status": ["PENDING", "ERROR"]})).await, ["parked"]);
        assert_eq!(operator.ids(json!({"executor_id": "nobody"})).await, [""; 0]);
        assert_eq!(operator.ids(json!({"application_name": "others"})).await, [""; 0]);
        assert_eq!(operator.ids(json!({"sort_desc": true, "limit": 1, "offset": 1})).await, ["tagged"]);
        let dates = json!({"completed_after": "2020-01-01T00:00:00", "workflow_name": ["checkout"], "has_parent": false});
        assert_eq!(operator.ids(dates).await, ["plain", "tagged"]);
        end(&dbos).await;
    }

    // S25
    async fn payloads_are_hidden_unless_they_are_to_be_shown_and_then_redacted(fresh: Fresh) {
        struct NoItems;

        impl Redactor for NoItems {
            fn redact(&self, workflow: &str, field: Field<'_>, value: &mut Value) {
                assert_eq!(workflow, "checkout");
                match field {
                    Field::Input => value["positionalArgs"][0]["item"] = json!("*"),
                    Field::Output => value["cents"] = json!("*"),
                    Field::Error => value["message"] = json!("*"),
                    Field::Step("charge") => *value = json!("*"),
                    other => panic!("{other:?}"),
                }
            }
        }

        let dbos = launch(fresh.url()).await;
        bought(&dbos, "w").await;
        let many = Cart { item: "secret".to_owned(), count: 101 };
        dbos.start(checkout, many).id("failed").await.unwrap().result().await.unwrap_err();
        fresh.execute("INSERT INTO workflow_status (workflow_uuid, name, status, inputs, output, created_at, updated_at, serialization)
            VALUES ('foreign', 'checkout', 'SUCCESS', 'gASVsecret', 'gASVsecret', 1, 1, 'py_pickle')").await;
        let all = json!({"load_input": true, "load_output": true, "workflow_uuids": ["w", "failed", "foreign"]});
        let payloads = |row: &Value| json!([row["Input"], row["Output"], row["Error"]]);

        let hiding = mounted(Admin::new(dbos.clone()));
        let rows = hiding.post("/workflows", all.clone()).await;
        for row in rows.json().as_array().unwrap() {
            assert_eq!(payloads(row), json!([null, null, null]));
            let id = row["WorkflowUUID"].as_str().unwrap();
            assert_eq!(&hiding.get(&format!("/workflows/{id}")).await.json(), row);
        }
        assert_eq!(hiding.get("/workflows/w/steps").await.json()[0]["output"], Value::Null);

        let showing = mounted(Admin::new(dbos.clone()).show_payloads(true));
        let shown = async |id: &str| payloads(&showing.get(&format!("/workflows/{id}")).await.json());
        let input = r#"{"positionalArgs":[{"item":"cup","count":2}],"namedArgs":{}}"#;
        assert_eq!(shown("w").await, json!([input, r#"{"cents":1990}"#, null]));
        assert_eq!(shown("failed").await[2], "only 3 left");
        assert_eq!(shown("foreign").await, json!(["<py_pickle>", "<py_pickle>", null]));
        assert_eq!(showing.get("/workflows/w/steps").await.json()[0]["output"], "1990");
        let row = &showing.post("/workflows", json!({"workflow_uuids": ["w"]})).await.json()[0];
        assert_eq!(payloads(row), json!([null, null, null]), "a listing loads what it is asked for");

        let redacting = mounted(Admin::new(DbosLayer::new(dbos.clone()).redact(NoItems)).show_payloads(true));
        let input = r#"{"positionalArgs":[{"item":"*","count":2}],"namedArgs":{}}"#;
        let row = &redacting.post("/workflows", json!({"workflow_uuids": ["w"], "load_input": true, "load_output": true})).await.json()[0];
        assert_eq!(payloads(row), json!([input, r#"{"cents":"*"}"#, null]));
        assert_eq!(&redacting.get("/workflows/w").await.json(), row);
        assert_eq!(redacting.get("/workflows/failed").await.json()["Error"], "*");
        assert_eq!(redacting.get("/workflows/w/steps").await.json()[0]["output"], r#""*""#);
        end(&dbos).await;
    }

    async fn workflows_are_managed_and_what_is_missing_is_said(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let operator = mounted(Admin::new(dbos.clone()));
        bought(&dbos, "w").await;
        dbos.start(parked, 1).id("p").await.unwrap();

        assert_eq!(operator.order("/workflows/p/cancel").await.status, StatusCode::NO_CONTENT);
        assert_eq!(status(&fresh, "p").await, "CANCELLED");
        assert_eq!(operator.order("/workflows/p/resume").await.status, StatusCode::NO_CONTENT);
        until("it goes on", async || status(&fresh, "p").await == "PENDING").await;
        let restarted = operator.order("/workflows/w/restart").await.json();
        let restarted = restarted["workflow_id"].as_str().unwrap();
        dbos.retrieve::<Receipt, ShopError>(restarted).await.unwrap().result().await.unwrap();
        let body = json!({"start_step": 2, "new_workflow_id": "fork", "application_version": "v1", "timeout_ms": 60_000});
        assert_eq!(operator.post("/workflows/w/fork", body).await.json(), json!({"workflow_id": "fork"}));
        dbos.retrieve::<Receipt, ShopError>("fork").await.unwrap().result().await.unwrap();
        let fork = operator.get("/workflows/fork").await.json();
        assert_eq!(json!([fork["ForkedFrom"], fork["WorkflowTimeoutMS"]]), json!(["w", "60000"]));
        assert_eq!(operator.get("/workflows/w").await.json()["WasForkedFrom"], true);

        for (method, path) in [("GET", ""), ("POST", "/resume"), ("POST", "/restart")] {
            let response = operator.request(method, &format!("/workflows/none{path}")).send().await;
            is_problem(&response, 404, Some("workflow-not-found"));
            assert!(response.json()["error"].is_string());
        }
        is_problem(&operator.post("/workflows/none/fork", json!({})).await, 404, Some("workflow-not-found"));
        assert_eq!(operator.order("/workflows/none/cancel").await.status, StatusCode::NO_CONTENT);
        assert_eq!(operator.get("/workflows/none/steps").await.json(), json!([]));
        is_problem(&operator.post("/workflows/w/fork", json!({"new_workflow_id": "p"})).await, 409, Some("workflow-id-conflict"));
        for (body, status, slug) in [
            (json!({"start_step": -1}), 400, "invalid-argument"), (json!({"start_step": 99}), 400, "invalid-argument"),
            (json!({"new_workflow_id": "\u{0}"}), 400, "invalid-argument"), (json!({"timeout_ms": 0}), 400, "invalid-argument"),
            (json!({"start_step": "1"}), 422, "invalid-body"), (json!({"start_step": i64::MAX}), 422, "invalid-body"),
        ] {
            is_problem(&operator.post("/workflows/w/fork", body).await, status, Some(slug));
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 4);
        end(&dbos).await;
    }

    async fn upkeep_is_done_on_demand(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        dbos.queues().register(Queue::new("q").concurrency(0).rate_limit(5, Duration::from_millis(1500))).await.unwrap();
        let operator = mounted(Admin::new(dbos.clone()));
        let queues = operator.get("/dbos-workflow-queues-metadata").await.json();
        let expected = json!([{"name": "_dbos_internal_queue"}, {"name": "q", "concurrency": 0, "rateLimit": {"limit": 5, "period": 1.5}}]);
        assert_eq!(queues, expected);

        bought(&dbos, "old").await;
        const DOUBLE: WorkflowRef<u32, u32> = WorkflowRef::named("parked");
        dbos.start(DOUBLE, 1).id("waiting").queue("q").await.unwrap();
        fresh.execute("INSERT INTO workflow_status (workflow_uuid, name, status, created_at, updated_at, executor_id, application_version, application_name)
            VALUES ('left', 'refund', 'PENDING', 1, 1, 'dead', 'v1', 'http-tests')").await;
        let recovered = operator.post("/dbos-workflow-recovery", json!(["dead", "nobody"])).await;
        assert_eq!((recovered.status, recovered.json()), (StatusCode::OK, json!(["left"])));
        until("it is run here", async || status(&fresh, "left").await == "ERROR").await;
        assert_eq!(operator.post("/dbos-workflow-recovery", json!(["dead"])).await.json(), json!([]));
        is_problem(&operator.post("/dbos-workflow-recovery", json!({"a": 1})).await, 422, Some("invalid-body"));

        let queued = operator.order("/queues").await.json();
        assert_eq!((queued.as_array().unwrap().len(), &queued[0]["WorkflowUUID"]), (1, &json!("waiting")));
        for (cutoff, expected) in [(1, "ENQUEUED"), (i64::MAX, "CANCELLED")] {
            let body = json!({"cutoff_epoch_timestamp_ms": cutoff});
            assert_eq!(operator.post("/dbos-global-timeout", body).await.status, StatusCode::NO_CONTENT);
            assert_eq!(status(&fresh, "waiting").await, expected);
        }
        for (path, body) in [
            ("/dbos-global-timeout", json!({})), ("/dbos-global-timeout", json!([1])),
            ("/dbos-garbage-collect", json!([1, 1])), ("/workflows/old/fork", json!([1])),
        ] {
            is_problem(&operator.post(path, body).await, 422, Some("invalid-body"));
        }

        let count = async || dbos.workflows().list(&Filter::new()).await.unwrap().len();
        for (body, left) in [
            (json!({}), 3), (json!({"cutoff_epoch_timestamp_ms": 1, "rows_threshold": null}), 3),
            (json!({"rows_threshold": 3}), 3), (json!({"rows_threshold": 2}), 2),
            (json!({"cutoff_epoch_timestamp_ms": i64::MAX}), 0),
        ] {
            assert_eq!(operator.post("/dbos-garbage-collect", body.clone()).await.status, StatusCode::NO_CONTENT, "{body}");
            assert_eq!(count().await, left, "{body}");
        }
        is_problem(&operator.post("/dbos-garbage-collect", json!({"rows_threshold": 0})).await, 400, Some("invalid-argument"));
        end(&dbos).await;
    }
}

/// The answer comes from the database or, within a bound, not at all; and only one question is asked at a time.
#[tokio::test]
async fn without_its_database_a_process_is_not_ready_and_says_so_in_time() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let dbos = launch(&proxy.url(fresh.url())).await;
    let operator = mounted(Admin::new(dbos.clone()));
    until("it is ready", async || operator.get("/readyz").await.status == StatusCode::OK).await;
    proxy.set_mode(Mode::BlackHole);
    until("it is not ready", async || {
        operator.get("/readyz").await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let begun = tokio::time::Instant::now();
    let slowest = Mutex::new(Duration::ZERO);
    futures_util::future::join_all((0..200).map(async |_| {
        let response = operator.get("/readyz").await;
        assert_eq!(
            (response.status, &response.json()["database"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!(false))
        );
        *slowest.lock().unwrap() = begun.elapsed();
    }))
    .await;
    // One after another they would take a second each.
    assert!(*slowest.lock().unwrap() < harness::PATIENCE, "{slowest:?}");
    assert_eq!(operator.get("/dbos-healthz").await.text(), "healthy");
    proxy.set_mode(Mode::Pass);
    until("it is ready again", async || operator.get("/readyz").await.status == StatusCode::OK).await;
    end(&dbos).await;
}

/// S02: nothing of this crate opens a port, so that nothing can be bound to all interfaces by accident.
#[test]
fn s02_the_crate_listens_where_it_is_told_to_and_nowhere_else() {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dbos-axum/src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            assert!(!code.into_iter().any(|line| line.contains("::bind(")), "{}", path.display());
        }
    }
    assert!(files > 30);
}
