//! Bad input at the API. The numbers are those of the list of bad input; what has no row here is in `body.rs` (B13, B14,
//! B19-B23, B28-B30), `start.rs` (B01-B06), `serve.rs` (B06, B07, B12, B18), `streams` (B15, B17) and `security` (B08-B11,
//! B13, B14, B26, B27, B32, B33); what ends a workflow that ran (B34-B36) in the engine's own tests.

use dbos_axum::{AllowAnyone, StartOption, WorkflowApi};
use dbos_runtime::Queue;
use harness::on_each_backend;

use super::*;

/// Gives back what it got.
#[workflow]
async fn echo(_ctx: Ctx, value: Value) -> Result<Value, ShopError> {
    Ok(value)
}

async fn api(fresh: &Fresh) -> (Dbos, Client) {
    let builder =
        Dbos::builder("http-tests").database_url(fresh.url()).polling_interval(Duration::from_millis(50));
    let dbos =
        builder.state(()).register(echo).register(checkout).queue(Queue::new("q")).launch().await.unwrap();
    let options =
        [StartOption::Delay, StartOption::Queue, StartOption::DeduplicationId, StartOption::Priority];
    let api = WorkflowApi::<AllowAnyone>::new(dbos.clone()).expose(echo).allow(options).expose_all();
    let client = Client::new(Router::new().nest("/dbos", api.into_router()));
    (dbos, client)
}

fn start(client: &Client, name: &str, body: &str) -> harness::http::Request {
    let request = client.post(format!("/dbos/start/{name}")).header("content-type", "application/json");
    request.header("prefer", "wait=25").body(body.to_owned())
}

on_each_backend! {
    // B16
    async fn a_wait_or_a_delay_that_is_no_number_is_refused(fresh: Fresh) {
        let (dbos, client) = api(&fresh).await;
        for (wait, status) in [
            ("wait=-1", 400), ("wait=NaN", 400), ("wait=inf", 400), ("wait=1e300", 400), ("wait=0.0000001", 400), ("wait=", 400),
            ("wait", 400), ("wait=\"\"", 400), ("wait=1 2", 400), ("wait=0", 202),
        ] {
            let request = client.post("/dbos/start/echo?queue=none-that-works&delay_ms=1").header("prefer", wait);
            let answer = request.json(&json!(1)).send().await;
            assert_eq!(answer.status.as_u16(), status, "{wait}: {}", answer.text());
        }
        for query in ["delay_ms=-1", "delay_ms=NaN", "delay_ms=inf", "delay_ms=1e300", "delay_ms=0.5", "delay_ms=", "delay_ms",
            "delay_ms=18446744073709551615", "delay_ms=18446744073709551616", "priority=0", "priority=-1", "priority=4294967296",
            "priority=2147483648", "queue=", "queue=%00", "queue=a%0ab", "dedup_id=", "dedup_id=%00", "timeout=1", "delay_ms=1&delay_ms=1"] {
            let answer = client.post(format!("/dbos/start/echo?queue=q&{query}")).json(&json!(1)).send().await;
            is_problem(&answer, 400, Some("invalid-argument"));
        }
        let long = format!("/dbos/start/echo?queue=q&dedup_id={}", "d".repeat(513));
        is_problem(&client.post(long).json(&json!(1)).send().await, 400, Some("invalid-argument"));
        end(&dbos).await;
    }

    // B23, B24, B27
    async fn what_json_can_say_comes_back_as_it_went_in(fresh: Fresh) {
        let (dbos, client) = api(&fresh).await;
        for body in ["9007199254740993", "-9223372036854775808", "18446744073709551615", "0.1", "\"a\\u0000b\"", "\"\\ud83d\\ude00\"",
            "\"\\u202e\"", "null", "[]", "{}", "{\"\":{\"\":[]}}", "{\"positionalArgs\":1,\"other\":2}", "\"\\\"\\\\\\/\""] {
            let answer = start(&client, "echo", body).send().await;
            assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.text());
            let expected: Value = serde_json::from_str(body).unwrap();
            assert_eq!(answer.json()["output"], expected, "{body}");
        }
        for body in ["1e400", "\"\\ud800\"", "{\"a\":1e999}"] {
            is_problem(&start(&client, "echo", body).send().await, 400, Some("malformed-json"));
        }
        end(&dbos).await;
    }

    // B25, B31
    async fn arguments_in_their_stored_form_have_that_form(fresh: Fresh) {
        let (dbos, client) = api(&fresh).await;
        let good = start(&client, "checkout", r#"{"positionalArgs":[{"item":"cup","count":2}],"namedArgs":{}}"#).send().await;
        assert_eq!(good.json()["output"], json!({"cents": 1990}));
        let before = fresh.scalar("SELECT count(*) FROM workflow_status").await;
        for body in [r#"{"positionalArgs":1}"#, r#"{"positionalArgs":{"item":"cup"}}"#, r#"{"namedArgs":[1]}"#] {
            let answer = start(&client, "checkout", body).send().await;
            assert_eq!(answer.status.as_u16(), 422, "{body}: {}", answer.text());
            is_problem(&answer, 422, Some("invalid-body"));
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, before);
        // A member that comes twice is refused where the type is known.
        let twice = client.post("/dbos/start/echo?queue=q&queue=q").json(&json!(1)).send().await;
        is_problem(&twice, 400, Some("invalid-argument"));
        end(&dbos).await;
    }

    // B16, B30: what the engine asks of an id, a topic or a key holds for those of a path.
    async fn names_in_a_path_keep_the_engines_rules(fresh: Fresh) {
        let (dbos, client) = api(&fresh).await;
        let started = start(&client, "echo", "1").header("idempotency-key", KEY).send().await;
        let id = started.header("dbos-workflow-id").unwrap();
        for name in ["%00".to_owned(), "a%0ab".to_owned(), "%20".to_owned(), "x".repeat(513), "%ff".to_owned()] {
            let get = client.get(format!("/dbos/workflows/{id}/events/{name}")).send().await;
            let post = client.post(format!("/dbos/workflows/{id}/messages/{name}")).json(&json!(1)).send().await;
            for answer in [get, post] {
                is_problem(&answer, 400, Some("invalid-argument"));
            }
            let unknown = client.get(format!("/dbos/workflows/{name}")).send().await;
            is_problem(&unknown, 400, Some("invalid-argument"));
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 0);
        end(&dbos).await;
    }
}
