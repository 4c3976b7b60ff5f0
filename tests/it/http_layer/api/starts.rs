//! `POST /start/{name}`: which workflow a request has.

use std::collections::BTreeSet;

use dbos_runtime::Retention;
use tokio::task::JoinSet;

use super::*;

/// A start by Bob.
fn start_by_bob(client: &Client, key: &str) -> harness::http::Request {
    client.post("/dbos/start/family").header("x-user", "bob").header("idempotency-key", key)
}

on_each_backend! {
    async fn a_start_says_where_its_workflow_is_and_a_second_one_finds_it(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let request = |cart: Value| {
            ada(client.post("/dbos/start/checkout")).header("idempotency-key", "order-1001").json(&cart).send()
        };
        let first = request(cart()).await;
        let id = first.header("dbos-workflow-id").unwrap().to_owned();
        let link = format!("/dbos/workflows/{id}");
        let links = json!({"self": link, "result": format!("{link}/result")});
        let expected = json!({"workflow_id": id, "status": "PENDING", "replayed": false, "links": links});
        assert_eq!((first.status.as_u16(), first.json()), (202, expected));
        assert_eq!((first.header("location"), first.header("retry-after")), (Some(link.as_str()), Some("1")));
        assert_eq!(first.header("idempotent-replayed"), None);

        let outcome = json!({"workflow_id": id, "status": "SUCCESS", "output": {"cents": 1990}});
        assert_eq!(ended(&client, &id).await, outcome);
        let second = request(cart()).await;
        assert_eq!((second.status.as_u16(), second.json()), (200, outcome));
        assert_eq!((second.header("idempotent-replayed"), second.header("idempotency-expires")), (Some("true"), None));
        let other = request(json!({"item": "cup", "count": 3})).await;
        is_problem(&other, 422, Some("idempotency-key-reused"));
        assert_eq!((&other.json()["workflow_id"], &other.json()["instance"]), (&json!(id), &json!("/dbos/start/checkout")));
        assert_eq!(workflows(&fresh).await, 1);
        end(&dbos).await;
    }

    async fn a_start_that_comes_again_while_its_workflow_runs_joins_it(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let request = |prefer: &str| {
            let request = ada(client.post("/dbos/start/parked")).header("idempotency-key", "a").header("prefer", prefer);
            request.json(&json!(7))
        };
        let first = request("respond-async").send().await;
        let second = request("respond-async").send().await;
        for (response, replayed) in [(&first, None), (&second, Some("true"))] {
            assert_eq!((response.status.as_u16(), response.header("idempotent-replayed")), (202, replayed));
            assert_eq!(response.header("preference-applied"), Some("respond-async"));
            assert_eq!(response.json()["workflow_id"], first.json()["workflow_id"]);
        }
        let id = first.header("dbos-workflow-id").unwrap();
        let (third, ()) = tokio::join!(request("wait=20").send(), go(&client, id));
        assert_eq!((third.status.as_u16(), &third.json()["output"]), (200, &json!(7)));
        assert_eq!((third.header("preference-applied"), third.header("idempotent-replayed")), (Some("wait=20"), Some("true")));
        assert_eq!(workflows(&fresh).await, 1);
        end(&dbos).await;
    }

    async fn a_repetition_is_told_how_long_its_key_counts(fresh: Fresh) {
        let day = Duration::from_secs(24 * 60 * 60);
        let dbos = builder(fresh.url()).retention(Retention::older_than(day)).launch().await.unwrap();
        let client = client_of(api(dbos.clone()));
        let start = || ada(client.post("/dbos/start/checkout")).header("idempotency-key", "a").header("prefer", "wait=20");
        let (first, second) = (start().json(&cart()).send().await, start().json(&cart()).send().await);
        assert_eq!((first.status.as_u16(), first.header("idempotency-expires")), (200, None));
        let end_of_it = dbos.info(first.header("dbos-workflow-id").unwrap()).await.unwrap().completed_at.unwrap();
        assert_eq!(second.header("idempotency-expires"), Some(end_of_it.after(day).to_string().as_str()));
        end(&dbos).await;
    }

    // S05
    async fn one_key_of_several_callers_and_workflows_is_as_many_workflows(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let mut ids = BTreeSet::new();
        let callers = [("ada", ""), ("bob", ""), ("ada", "acme"), ("ada", "globex")];
        for (user, tenant) in callers {
            for workflow in ["checkout", "money-back"] {
                for replayed in [None, Some("true")] {
                    let request = client.post(format!("/dbos/start/{workflow}")).header("x-user", user).header("x-tenant", tenant);
                    let response = request.header("idempotency-key", "order-1001").json(&cart()).send().await;
                    assert!(response.status.is_success(), "{}", response.text());
                    assert_eq!(response.header("idempotent-replayed"), replayed, "{user} {tenant} {workflow}");
                    ids.insert(response.header("dbos-workflow-id").unwrap().to_owned());
                }
            }
        }
        assert_eq!((ids.len(), workflows(&fresh).await), (8, 8));
        // The public name of a workflow is another word for it, so both share its keys.
        assert_eq!(ids.iter().filter(|id| id.starts_with("h1:refund:order-1001:")).count(), 4);
        end(&dbos).await;
    }

    async fn fifty_identical_requests_at_once_start_one_workflow(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let mut requests = JoinSet::new();
        for _ in 0..50 {
            let request = ada(client.post("/dbos/start/checkout")).header("idempotency-key", "order-1001");
            requests.spawn(request.header("prefer", "wait=20").json(&cart()).send());
        }
        let responses = requests.join_all().await;
        assert_eq!(responses.len(), 50);
        assert!(responses.iter().all(|response| response.status == StatusCode::OK));
        let bodies: BTreeSet<&str> = responses.iter().map(Response::text).collect();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        let first = responses.iter().filter(|response| response.header("idempotent-replayed").is_none());
        assert_eq!((first.count(), workflows(&fresh).await), (1, 1));
        end(&dbos).await;
    }

    async fn links_are_right_wherever_the_api_is_nested(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let inner = Router::new().nest("/jobs", api(dbos.clone()).into_router());
        let app = Router::new().nest("/v1/{shop}", inner).merge(api(dbos.clone()).into_router());
        let client = Client::new(app);
        for at in ["/v1/caf%C3%A9/jobs", ""] {
            let start = ada(client.post(format!("{at}/start/parked"))).json(&json!(1)).send().await;
            let link = start.header("location").unwrap();
            assert_eq!(link, format!("{at}/workflows/{}", start.header("dbos-workflow-id").unwrap()));
            assert_eq!(ada(client.get(link)).send().await.json()["name"], "parked");
            let result = start.json()["links"]["result"].as_str().unwrap().to_owned();
            let pending = ada(client.get(&result)).send().await;
            assert_eq!((pending.status.as_u16(), &pending.json()["links"]), (202, &start.json()["links"]));
        }
        end(&dbos).await;
    }

    // S07
    async fn only_what_is_exposed_can_be_started(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        for name in ["refund", "family", "dbos.internal", "missing", "Checkout", "checkout%20", "a%2Fcheckout", "%00"] {
            // Whatever the body is: it is not looked at.
            for body in ["{}", "{", ""] {
                let request = ada(client.post(format!("/dbos/start/{name}"))).header("content-type", "application/json");
                let response = request.body(body).send().await;
                is_problem(&response, 404, Some("workflow-not-exposed"));
                let mut told = response.json();
                assert_eq!(told["instance"].take(), json!(format!("/dbos/start/{name}")));
                let title = "No workflow of that name can be started";
                let kind = "https://docs.rs/dbos-axum/latest/dbos_axum/problem/#workflow-not-exposed";
                assert_eq!(told, json!({"type": kind, "title": title, "status": 404, "instance": null, "source": "http"}));
            }
        }
        assert_eq!(workflows(&fresh).await, 0);
        let id = started(&client, "money-back", &cart()).await;
        assert_eq!(shown(&client, &id, "").await.json()["name"], "refund");
        end(&dbos).await;
    }

    async fn everything_may_be_exposed_and_takes_arguments_as_they_are(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = client_of(api(dbos.clone()).expose_all());
        let cases = [
            ("checkout", cart(), json!({"cents": 1990})),
            ("refund", cart(), json!({"cents": 2})),
            ("family", json!({"positionalArgs": [cart()]}), json!({"cents": 1990})),
            ("sum", json!({"positionalArgs": [1, 2], "namedArgs": {}}), json!(3)),
            ("nothing", json!(null), json!(null)),
        ];
        for (name, input, output) in cases {
            let id = started(&client, name, &input).await;
            assert_eq!(ended(&client, &id).await["output"], output, "{name}");
        }
        // What is exposed with its type keeps it; of the rest the runtime finds out.
        let typed = ada(client.post("/dbos/start/checkout")).json(&json!([1, 2])).send().await;
        is_problem(&typed, 422, Some("invalid-body"));
        let untyped = started(&client, "refund", &json!([1, 2])).await;
        assert_eq!(ended(&client, &untyped).await["status"], "ERROR");
        let before = workflows(&fresh).await;
        for (name, input, status) in [
            ("dbos.internal", json!(null), 404),
            ("missing", json!(null), 404),
            ("sum", json!({"positionalArgs": 1}), 422),
        ] {
            let response = ada(client.post(format!("/dbos/start/{name}"))).json(&input).send().await;
            assert_eq!(response.status.as_u16(), status, "{}", response.text());
        }
        assert_eq!(workflows(&fresh).await, before);
        end(&dbos).await;
    }

    // S06, B11
    async fn the_id_of_a_child_is_not_taken_for_a_key(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let api = |layer: DbosLayer| client_of(api(layer).expose(family));
        let start = async |client: &Client, workflow: &str, key: &str| {
            let request = ada(client.post(format!("/dbos/start/{workflow}"))).header("prefer", "wait=20");
            request.header("idempotency-key", key).json(&cart()).send().await
        };
        let verbatim = api(DbosLayer::new(dbos.clone()).trust_client_workflow_ids());
        assert_eq!(start(&verbatim, "family", "inv-7").await.json()["output"], json!({"cents": 1990}));
        let child = fresh.query("SELECT workflow_uuid FROM workflow_status WHERE name = 'checkout'").await;
        let [child] = child.as_slice() else { panic!("{child:?}") };
        let child = child[0].clone().unwrap();
        assert!(child.starts_with("inv-7-"), "{child}");
        is_problem(&start(&verbatim, "money-back", &child).await, 409, Some("workflow-id-conflict"));
        assert_eq!(workflows(&fresh).await, 2);
        for reserved in ["sched-nightly", "dbos-x", "_dbos_x", "h1:checkout:a:b", "wh:stripe:a"] {
            is_problem(&start(&verbatim, "checkout", reserved).await, 400, Some("idempotency-key-invalid"));
        }

        // Nobody finds out what a foreign workflow was started with.
        for count in [2, 3] {
            let request = start_by_bob(&verbatim, "inv-7").json(&json!({"item": "cup", "count": count}));
            is_problem(&request.send().await, 409, Some("workflow-id-conflict"));
        }

        // A key that is scoped leads to no child of anybody, whatever its name is.
        let scoped = api(DbosLayer::new(dbos.clone()));
        for (workflow, key) in [("family", "inv-7"), ("checkout", "inv-7-1"), ("money-back", child.as_str())] {
            let response = start(&scoped, workflow, key).await;
            assert_eq!((response.status.as_u16(), response.header("idempotent-replayed")), (200, None));
        }
        assert_eq!(workflows(&fresh).await, 2 + 4);
        end(&dbos).await;
    }
}
