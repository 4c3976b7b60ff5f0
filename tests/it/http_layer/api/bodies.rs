//! `POST /start/{name}`: keys and bodies.

use super::*;

on_each_backend! {
    // B02, B03, B04, B05, B06
    async fn a_key_is_taken_or_refused_and_never_mended(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let (longest, longer) = ("k".repeat(255), "k".repeat(256));
        let start = async |keys: &[&[u8]]| {
            let request = keys.iter().fold(ada(client.post("/dbos/start/money-back")), |request, key| {
                request.header("idempotency-key", key)
            });
            request.header("prefer", "wait=20").json(&cart()).send().await
        };
        let good: [&[u8]; 5] = [b"order-1001", b"\"order-1001\"", b"shop:7", longest.as_bytes(), b".._~-"];
        let mut replays = 0;
        for key in good {
            let response = start(&[key]).await;
            assert_eq!(response.status, StatusCode::OK, "{}", response.text());
            replays += i64::from(response.header("idempotent-replayed").is_some());
        }
        // Quoted and bare are one key.
        assert_eq!((replays, workflows(&fresh).await), (1, 4));
        let bad: [&[&[u8]]; 17] = [
            &[b""], &[b"\"\""], &[b"  "], &[b"a b"], &[b"a\tb"], &[b"a::b"], &[b":a"], &[b"a:"], &[b"a/b"], &[b"a%2Fb"],
            &[b"a%00b"], &[b"\xe9"], &["🦀".as_bytes()], &[longer.as_bytes()], &[b"'; DROP TABLE x"], &[b"a", b"a"], &[b"a", b"b"],
        ];
        for keys in bad {
            is_problem(&start(keys).await, 400, Some("idempotency-key-invalid"));
        }
        assert_eq!(workflows(&fresh).await, 4);
        end(&dbos).await;
    }

    // B01
    async fn an_api_may_demand_keys_and_anonymous_callers_need_long_ones(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let open = WorkflowApi::<AllowAnyone>::new(dbos.clone()).expose(checkout).require_key();
        let client = Client::new(Router::new().nest("/dbos", open.into_router()));
        let start = async |key: Option<&str>| {
            let request = client.post("/dbos/start/checkout");
            let request = if let Some(key) = key { request.header("idempotency-key", key) } else { request };
            request.json(&cart()).send().await
        };
        let missing = start(None).await;
        is_problem(&missing, 400, Some("idempotency-key-missing"));
        assert!(missing.header("link").unwrap().ends_with("#idempotency-key-missing>; rel=\"describedby\""));
        is_problem(&start(Some("order-1001")).await, 400, Some("idempotency-key-invalid"));
        assert_eq!(workflows(&fresh).await, 0);
        let first = start(Some(KEY)).await;
        assert_eq!(first.status, StatusCode::ACCEPTED);
        let link = first.header("location").unwrap();
        assert_eq!(client.get(link).send().await.json()["name"], "checkout");
        end(&dbos).await;
    }

    // B13, B14, B19, B20, B21, B22, B23, B26, B28, B29, B30, B32, S13
    async fn a_body_of_another_shape_starts_nothing(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = client_of(api(dbos.clone()).body_limit(2048));
        let start = async |header: (&str, &str), body: &[u8]| {
            ada(client.post("/dbos/start/checkout")).header(header.0, header.1).body(body.to_vec()).send().await
        };
        let json_type = ("content-type", "application/json");
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        let large = format!(r#"{{"item": "{}", "count": 1}}"#, "x".repeat(2048));
        let bodies: &[(&[u8], u16, Option<&str>)] = &[
            (b"", 400, Some("malformed-json")),
            (b"  ", 400, Some("malformed-json")),
            (b"{\"item\": \"cup\"", 400, Some("malformed-json")),
            (b"{\"item\":\"cup\",\"count\":1} 2", 400, Some("malformed-json")),
            (b"\xef\xbb\xbf{}", 400, Some("malformed-json")),
            (b"{\"item\":\"cup\",\"count\":NaN}", 400, Some("malformed-json")),
            (b"{\"item\":\"\xff\",\"count\":1}", 400, Some("malformed-json")),
            (b"{\"item\":\"\\ud800\",\"count\":1}", 400, Some("malformed-json")),
            (deep.as_bytes(), 422, Some("invalid-body")),
            (b"null", 422, Some("invalid-body")),
            (b"[]", 422, Some("invalid-body")),
            (b"{\"item\":\"cup\"}", 422, Some("invalid-body")),
            (b"{\"item\":\"cup\",\"count\":-1}", 422, Some("invalid-body")),
            (b"{\"item\":\"cup\",\"count\":4294967296}", 422, Some("invalid-body")),
            (b"{\"item\":\"cup\",\"count\":1.5}", 422, Some("invalid-body")),
            (large.as_bytes(), 413, None),
        ];
        for (body, status, slug) in bodies {
            is_problem(&start(json_type, body).await, *status, *slug);
        }
        let shaped = start(json_type, b"{\"item\":7,\"count\":1}").await;
        assert_eq!((shaped.status.as_u16(), &shaped.json()["path"]), (422, &json!("item")));
        for header in [("x", "y"), ("content-type", "text/plain"), ("content-type", "application/json; charset=utf-16")] {
            is_problem(&start(header, cart().to_string().as_bytes()).await, 415, None);
        }
        let packed = ada(client.post("/dbos/start/checkout")).header("content-encoding", "gzip").json(&cart()).send().await;
        is_problem(&packed, 415, None);
        assert_eq!(workflows(&fresh).await, 0);
        end(&dbos).await;
    }

    // S13
    async fn a_body_may_have_a_mebibyte_and_no_more(fresh: Fresh) {
        let (dbos, client) = served(&fresh).await;
        let id = started(&client, "parked", &json!(1)).await;
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        for (bytes, status) in [(1024 * 1024, 202), (1024 * 1024 + 1, 413)] {
            let request = ada(client.post(format!("/dbos/workflows/{id}/messages"))).header("content-type", "application/json");
            assert_eq!(request.body(text(bytes)).send().await.status.as_u16(), status, "{bytes}");
        }
        end(&dbos).await;
    }
}
