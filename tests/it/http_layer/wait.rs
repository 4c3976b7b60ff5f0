//! Answers that wait: `Prefer: wait`, the outcome of a workflow, and what ends a wait.

use harness::{Backend, on_each_backend};

use super::*;

on_each_backend! {
    async fn a_result_that_comes_in_time_is_the_answer(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        for replayed in [None, Some("true")] {
            let request = client.post("/quick").header("idempotency-key", KEY).header("prefer", "wait=20");
            let response = request.json(&cart()).send().await;
            assert_eq!(response.status, StatusCode::OK, "{}", response.text());
            assert_eq!(response.header("preference-applied"), Some("wait=20"));
            assert_eq!(response.header("idempotent-replayed"), replayed);
            let id = response.header("dbos-workflow-id").unwrap();
            let expected = json!({"workflow_id": id, "status": "SUCCESS", "output": {"cents": 1990}});
            assert_eq!(response.json(), expected);
        }
        // A workflow that has ended needs no waiting.
        let request = client.post("/quick").header("idempotency-key", KEY).header("prefer", "respond-async");
        let response = request.json(&cart()).send().await;
        assert_eq!((response.status, response.header("preference-applied")), (StatusCode::OK, None));
        end(&dbos).await;
    }

    async fn a_result_that_does_not_come_in_time_is_asked_for_again(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let request = |prefer: &str| {
            client.post("/park").header("idempotency-key", KEY).header("prefer", prefer).json(&json!(7))
        };
        let first = request("wait=0").send().await;
        assert_eq!((first.status, first.header("preference-applied")), (StatusCode::ACCEPTED, None));
        assert_eq!(first.header("location").map(|link| link.starts_with("/dbos/workflows/h1:parked:")), Some(true));
        let second = request("respond-async, wait=1").send().await;
        assert_eq!(second.status, StatusCode::ACCEPTED);
        assert_eq!(second.header("preference-applied"), Some("respond-async, wait=1"));
        assert_eq!((second.header("idempotent-replayed"), second.header("retry-after")), (Some("true"), Some("1")));

        let tell = client.post(format!("/tell/{}", first.header("dbos-workflow-id").unwrap())).json(&json!(null));
        let (third, told) = tokio::join!(request("wait=20").send(), tell.send());
        assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.text());
        assert_eq!((third.status, &third.json()["output"]), (StatusCode::OK, &json!(7)));
        end(&dbos).await;
    }

    async fn a_workflow_that_failed_is_an_answer_or_the_applications_problem(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let too_many = json!({"item": "cup", "count": 101});
        let failed = client.post("/quick").header("prefer", "wait=20").json(&too_many).send().await;
        assert_eq!(failed.status, StatusCode::OK);
        assert_eq!(failed.json()["status"], "ERROR");
        assert_eq!(failed.json()["error"], json!({"name": "ShopError", "message": "only 3 left"}));

        let strict = |cart: &Value| client.post("/strict").header("prefer", "wait=20").json(cart);
        let refused = strict(&too_many).send().await;
        is_problem(&refused, 409, None);
        assert_eq!((&refused.json()["left"], &refused.json()["instance"]), (&json!(3), &json!("/strict")));
        assert_eq!(strict(&cart()).send().await.json()["output"], json!({"cents": 1990}));
        end(&dbos).await;
    }

    async fn a_start_answers_with_what_its_workflow_publishes_first(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let request = |key: &str| client.post(format!("/park/{key}")).header("idempotency-key", KEY).json(&json!(7));
        for replayed in [None, Some("true")] {
            let response = request("given").send().await;
            assert_eq!(response.status, StatusCode::OK, "{}", response.text());
            assert_eq!(response.json(), json!({"key": "given", "value": 7}));
            assert_eq!(response.header("idempotent-replayed"), replayed);
            assert!(response.header("dbos-workflow-id").unwrap().starts_with("h1:parked:"));
        }
        // Nobody waits for what a workflow that has ended has not published.
        let id = request("nothing").send().await.header("dbos-workflow-id").unwrap().to_owned();
        let told = client.post(format!("/tell/{id}")).json(&json!(null)).send();
        let (never, told) = tokio::join!(request("never").send(), told);
        assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.text());
        is_problem(&never, 404, Some("event-never-set"));
        end(&dbos).await;
    }

    async fn a_workflow_that_was_cancelled_is_an_answer_too(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let request = |prefer: &str| {
            client.post("/park").header("idempotency-key", KEY).header("prefer", prefer).json(&json!(7))
        };
        let first = request("wait=0").send().await;
        let id = dbos_runtime::WorkflowId::parse(first.header("dbos-workflow-id").unwrap()).unwrap();
        assert!(dbos.cancel(&id).await.unwrap());
        let cancelled = request("wait=20").send().await;
        assert_eq!((cancelled.status, &cancelled.json()["status"]), (StatusCode::OK, &json!("CANCELLED")));
        end(&dbos).await;
    }
}

#[tokio::test]
async fn a_wait_that_is_no_number_of_seconds_is_refused() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let (dbos, client) = shop(&fresh).await;
    for value in ["-1", "NaN", "inf", "1e300", "0.0000001", ""] {
        let response =
            client.post("/quick").header("prefer", format!("wait={value}")).json(&cart()).send().await;
        is_problem(&response, 400, Some("invalid-argument"));
    }
    end(&dbos).await;
}

#[tokio::test]
async fn more_waits_than_allowed_are_not_waited_for() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let dbos = launch(fresh.url()).await;
    let client = Client::new(app(DbosLayer::new(dbos.clone()).long_polls(0)));
    let response = client.post("/park").header("prefer", "wait=20").json(&json!(7)).send().await;
    assert_eq!((response.status, response.header("preference-applied")), (StatusCode::ACCEPTED, None));
    end(&dbos).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_when_the_runtime_shuts_down() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let (dbos, client) = shop(&fresh).await;
    let waiting = async {
        let response = client.post("/park").header("prefer", "wait=20").json(&json!(7)).send().await;
        assert_eq!((response.status, response.header("preference-applied")), (StatusCode::ACCEPTED, None));
    };
    let ending = async {
        harness::until("started", async || {
            fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'PENDING'").await == 1
        })
        .await;
        dbos.shutdown(Duration::ZERO).await;
    };
    tokio::time::timeout(harness::PATIENCE, async { tokio::join!(waiting, ending) }).await.unwrap();

    let late = client.post("/checkout").json(&cart()).send().await;
    is_problem(&late, 503, Some("unavailable"));
    assert_eq!(late.header("retry-after"), Some("2"));
}
