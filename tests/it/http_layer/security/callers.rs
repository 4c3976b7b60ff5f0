//! Who is asking, and for what.

use dbos_axum::Verbatim;
use harness::on_each_backend;

use super::*;

on_each_backend! {
    async fn s01_nothing_answers_to_somebody_without_credentials(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let id = parked_by_ada(&client).await;
        let before = fresh.rows("SELECT * FROM workflow_status").await;
        let mut refused = 0;
        for (method, path) in routes(&id).into_iter().chain(routes("%00")) {
            for credentials in ["", "Bearer", "Bearer adas-token-0123456780", "Basic YWRhOmFkYXMtdG9rZW4=", ADAS] {
                let request = with_body(client.request(method.clone(), &path), &method);
                let answer = if credentials.is_empty() { request } else { request.header("authorization", credentials) };
                let answer = answer.send().await;
                is_problem(&answer, 401, Some("unauthenticated"));
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{method} {path}");
                refused += 1;
            }
        }
        assert!(refused >= 80, "{refused}");
        assert_eq!(fresh.rows("SELECT * FROM workflow_status").await, before);
        assert_eq!(count(&fresh, "notifications").await, 0);
        end(&dbos).await;
    }

    async fn s03_another_users_workflow_can_neither_be_seen_nor_touched(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let id = parked_by_ada(&client).await;
        let before = fresh.rows("SELECT * FROM workflow_status").await;
        let mut routes = routes(&id);
        routes.retain(|(_, path)| path.contains(&id));
        assert!(routes.len() >= 7);
        for (method, path) in &routes {
            let answer = with_body(of(&client, BOBS, method, path), method).header("prefer", "wait=1").send().await;
            is_problem(&answer, 404, Some("workflow-not-found"));
        }
        assert_eq!(fresh.rows("SELECT * FROM workflow_status").await, before);
        assert_eq!(count(&fresh, "notifications").await, 0);
        // To Ada, each of them answers.
        for (method, path) in &routes {
            let answer = with_body(of(&client, ADAS, method, path), method).open().await;
            assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        }
        end(&dbos).await;
    }

    async fn s04_a_foreign_workflow_is_answered_like_one_that_is_not_there(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let id = parked_by_ada(&client).await;
        let missing: String = id.chars().rev().collect();
        let mut compared = 0;
        for ((method, foreign), (_, none)) in routes(&id).into_iter().zip(routes(&missing)) {
            if foreign == none {
                continue;
            }
            let foreign = with_body(of(&client, BOBS, &method, &foreign), &method).send().await;
            let none = with_body(of(&client, BOBS, &method, &none), &method).send().await;
            assert_eq!((foreign.status, &foreign.headers), (none.status, &none.headers));
            assert_eq!(foreign.text().replace(&id, "ID"), none.text().replace(&missing, "ID"));
            compared += 1;
        }
        assert!(compared >= 7, "{compared}");
        end(&dbos).await;
    }

    async fn s05_a_key_means_something_to_its_caller_route_and_body_alone(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let start = async |token: &str, name: &str, input: Value| {
            let request = of(&client, token, &Method::POST, &format!("/dbos/start/{name}"));
            request.header("idempotency-key", "order-1").json(&input).send().await
        };
        let first = start(ADAS, "checkout", cart()).await;
        let mut ids = vec![first.header("dbos-workflow-id").unwrap().to_owned()];
        for (token, name, input) in [(BOBS, "checkout", cart()), (ADAS, "parked", json!(1)), (BOBS, "parked", json!(1))] {
            let other = start(token, name, input).await;
            assert_eq!((other.status, other.header("idempotent-replayed")), (StatusCode::ACCEPTED, None));
            ids.push(other.header("dbos-workflow-id").unwrap().to_owned());
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
        is_problem(&start(ADAS, "checkout", json!({"item": "cup", "count": 3})).await, 422, Some("idempotency-key-reused"));
        let again = start(ADAS, "checkout", cart()).await;
        assert_eq!(again.header("dbos-workflow-id"), first.header("dbos-workflow-id"));
        assert_eq!(count(&fresh, "workflow_status").await, 4);
        end(&dbos).await;
    }

    // B11
    async fn s06_no_key_reaches_an_id_that_others_make(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let trusting = Client::new(app(DbosLayer::new(dbos.clone()).idempotency(Verbatim)));
        let reserved = ["sched-nightly-2026", "dbos.webhook", "dbos", "_dbos_internal", "h1:checkout:a:b", "wh:stripe:evt_1"];
        for key in reserved {
            let start = of(&client, ADAS, &Method::POST, "/dbos/start/checkout").header("idempotency-key", key);
            let started = start.json(&cart()).send().await;
            let id = started.header("dbos-workflow-id").unwrap();
            let scope = id.rsplit(':').next().unwrap();
            assert!(id.starts_with(&format!("h1:checkout:{key}:")), "{id}");
            assert!(scope.len() == 32 && scope.bytes().all(|byte| byte.is_ascii_hexdigit()), "no child has it: {id}");
            let verbatim = trusting.post("/checkout").header("idempotency-key", key).json(&cart()).send().await;
            is_problem(&verbatim, 400, Some("idempotency-key-invalid"));
        }
        assert_eq!(count(&fresh, "workflow_status").await, i64::try_from(reserved.len()).unwrap());
        end(&dbos).await;
    }

    async fn s07_only_what_is_exposed_can_be_started_and_by_its_name_alone(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let unknown = of(&client, ADAS, &Method::POST, "/dbos/start/unknown").json(&cart()).send().await;
        is_problem(&unknown, 404, Some("workflow-not-exposed"));
        let names = ["refund", "Checkout", "checkout%20", "%20checkout", "checkout%00", "dbos.webhook", "_dbos_internal",
            "http-tests.checkout", "..%2Fcheckout", "%2e%2e", "checkout%2F", "%63heckout%0a", "*"];
        for name in names {
            let path = format!("/dbos/start/{name}");
            let answer = of(&client, ADAS, &Method::POST, &path).json(&cart()).send().await;
            is_problem(&answer, 404, Some("workflow-not-exposed"));
            assert_eq!(answer.text().replace(&path, "P"), unknown.text().replace("/dbos/start/unknown", "P"), "{name}");
        }
        assert_eq!(count(&fresh, "workflow_status").await, 0);
        end(&dbos).await;
    }

    // A caller whom the browser knows, by a password or a cookie, has credentials that every page makes it send.
    async fn s23_a_page_of_another_site_has_no_effect(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let open = WorkflowApi::<AllowAnyone>::new(dbos.clone()).expose(checkout).expose(parked);
        let client = Client::new(Router::new().nest("/dbos", open.into_router()));
        let start = client.post("/dbos/start/parked").header("idempotency-key", KEY).json(&json!(7)).send().await;
        let id = start.header("dbos-workflow-id").unwrap();
        let before = fresh.rows("SELECT * FROM workflow_status").await;
        let marks: [&[(&str, &str)]; 3] = [
            &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
        ];
        let mut refused = 0;
        for (method, path) in routes(id) {
            if method != Method::POST {
                continue;
            }
            for marks in marks {
                // What a form, or a page without leave, can send.
                for kind in ["", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain"] {
                    let request = client.request(method.clone(), &path).header("host", "shop.example").body("{\"a\":\"=\"}");
                    let request = marks.iter().fold(request, |request, (name, value)| request.header(name, value));
                    let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
                    is_problem(&request.send().await, 403, Some("cross-site-request"));
                    refused += 1;
                }
            }
        }
        assert!(refused >= 48, "{refused}");
        assert_eq!(fresh.rows("SELECT * FROM workflow_status").await, before);
        assert_eq!(count(&fresh, "notifications").await, 0);
        let ours = client.post(format!("/dbos/workflows/{id}/cancel")).header("host", "shop.example");
        let ours = ours.header("sec-fetch-site", "same-origin").header("origin", "https://shop.example");
        assert_eq!(ours.send().await.status, StatusCode::ACCEPTED);
        // No answer gives another site leave to read it.
        let asked = client.get(format!("/dbos/workflows/{id}")).header("origin", "https://evil.example").send().await;
        assert_eq!((asked.status, asked.header("access-control-allow-origin")), (StatusCode::OK, None));
        end(&dbos).await;
    }
}
