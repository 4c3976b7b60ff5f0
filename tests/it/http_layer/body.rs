//! Bodies, paths and cursors that are not taken. None of it reaches a database.

use axum::extract::DefaultBodyLimit;
use dbos_axum::LastEventId;

use super::*;

fn client() -> Client {
    async fn count(Json(cart): Json<Cart>) -> Json<u32> {
        Json(cart.count)
    }
    async fn show(Path(id): Path<WorkflowId>) -> String {
        id.as_str().to_owned()
    }
    async fn resume(at: LastEventId) -> String {
        format!("{} {}", at.next_offset(), at.saw_end())
    }
    let router = Router::new()
        .route("/count", post(count))
        .route("/small", post(count).layer(DefaultBodyLimit::max(64)))
        .route("/show/{id}", get(show))
        .route("/resume", get(resume))
        .fallback(dbos_axum::not_found)
        .method_not_allowed_fallback(dbos_axum::method_not_allowed);
    Client::new(router)
}

#[tokio::test]
async fn a_body_is_taken_or_refused_for_a_reason() {
    let good = r#"{"item":"cup","count":2}"#;
    let long = format!(r#"{{"item":"{}","count":2}}"#, "x".repeat(64));
    let huge = format!(r#"{{"item":"{}","count":2}}"#, "x".repeat(2 * 1024 * 1024));
    let json = Some("application/json");
    type Case<'a> = (&'a str, Option<&'a str>, &'a [u8], u16, Option<&'a str>);
    let cases: &[Case<'_>] = &[
        ("/count", json, good.as_bytes(), 200, None),
        ("/count", Some("application/json; charset=utf-8"), good.as_bytes(), 200, None),
        ("/count", Some("application/problem+json"), good.as_bytes(), 200, None),
        ("/small", json, good.as_bytes(), 200, None),
        ("/small", json, long.as_bytes(), 413, None),
        ("/count", json, huge.as_bytes(), 413, None),
        ("/count", None, good.as_bytes(), 415, None),
        ("/count", Some("text/plain"), good.as_bytes(), 415, None),
        ("/count", Some("application/json; charset=utf-16"), good.as_bytes(), 415, None),
        ("/count", Some("application/x-www-form-urlencoded"), b"item=cup&count=2", 415, None),
        ("/count", json, b"", 400, Some("malformed-json")),
        ("/count", json, b"  \r\n", 400, Some("malformed-json")),
        ("/count", json, b"{\"item\":\"cup\",\"count\":2", 400, Some("malformed-json")),
        ("/count", json, b"{\"item\":\"cup\",\"count\":2} 1", 400, Some("malformed-json")),
        ("/count", json, b"\xef\xbb\xbf{\"item\":\"cup\",\"count\":2}", 400, Some("malformed-json")),
        ("/count", json, b"{\"item\":\"cup\",\"count\":NaN}", 400, Some("malformed-json")),
        ("/count", json, b"{\"item\":\"\xff\",\"count\":2}", 400, Some("malformed-json")),
        ("/count", json, b"{\"item\":\"\\ud800\",\"count\":2}", 400, Some("malformed-json")),
        ("/count", json, b"null", 422, Some("invalid-body")),
        ("/count", json, b"{\"item\":\"cup\"}", 422, Some("invalid-body")),
        ("/count", json, b"{\"item\":\"cup\",\"count\":\"2\"}", 422, Some("invalid-body")),
        ("/count", json, b"{\"item\":\"cup\",\"count\":18446744073709551616}", 422, Some("invalid-body")),
    ];
    let client = client();
    for (path, content_type, body, status, slug) in cases {
        let mut request = client.post(path).body(body.to_vec());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let response = request.send().await;
        match status {
            200 => assert_eq!((response.status, response.text()), (StatusCode::OK, "2")),
            status => {
                is_problem(&response, *status, *slug);
                assert!(response.json()["detail"].is_string() && response.json()["instance"] == *path);
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_says_where_the_body_goes_wrong() {
    let client = client();
    let send = |body: &'static str| {
        client.post("/count").header("content-type", "application/json").body(body).send()
    };
    let malformed = send("{\"item\":\n\"cup\",}").await.json();
    assert_eq!((&malformed["line"], &malformed["column"]), (&json!(2), &json!(7)), "{malformed}");
    let misshapen = send(r#"{"item":"cup","count":-1}"#).await.json();
    assert_eq!(misshapen["path"], "count", "{misshapen}");
    assert!(
        misshapen["detail"].as_str().unwrap().starts_with("count: invalid value: integer `-1`"),
        "{misshapen}"
    );
}

#[tokio::test]
async fn a_compressed_body_is_not_taken() {
    let request =
        client().post("/count").header("content-encoding", "gzip").header("content-type", "application/json");
    let response = request.body(vec![0x1f, 0x8b]).send().await;
    is_problem(&response, 415, None);
    assert_eq!(response.header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn an_id_in_a_path_is_data_or_refused() {
    let client = client();
    let good = [
        ("order-1001", "order-1001"),
        ("h1:checkout:k:0f", "h1:checkout:k:0f"),
        ("%24%31", "$1"),
        ("x'y", "x'y"),
    ];
    for (path, id) in good {
        let response = client.get(format!("/show/{path}")).send().await;
        assert_eq!((response.status, response.text()), (StatusCode::OK, id));
    }
    let long = "x".repeat(513);
    let bad = [
        "%00",
        "a%00b",
        "%2e%2e",
        "%2E",
        "%2F",
        "a%2Fb",
        "%C0%AF",
        "%ff",
        "%25",
        "%25zz",
        "%zz",
        "%",
        "%27%3B%20DROP%20TABLE",
        "%22",
        "%5C",
        "%7B%7D",
        "a%20b",
        "%0d%0aset-cookie:x",
        "e%CC%81",
        "%E2%80%AE",
        &long,
    ];
    for path in bad {
        is_problem(&client.get(format!("/show/{path}")).send().await, 400, Some("invalid-argument"));
    }
}

#[tokio::test]
async fn a_cursor_is_an_offset_or_refused() {
    let client = client();
    let cases = [
        (None, "/resume", Some("0 false")),
        (Some(""), "/resume", Some("0 false")),
        (Some("41"), "/resume", Some("42 false")),
        (Some("41.end"), "/resume?after=7", Some("42 true")),
        (None, "/resume?after=7", Some("8 false")),
        (Some("-1"), "/resume", None),
        (Some("abc"), "/resume", None),
        (Some("1e3"), "/resume", None),
        (Some("9223372036854775808"), "/resume", None),
        (None, "/resume?after=-1", None),
    ];
    for (id, path, expected) in cases {
        let request = client.get(path);
        let request = if let Some(id) = id { request.header("last-event-id", id) } else { request };
        let response = request.send().await;
        match expected {
            Some(text) => assert_eq!((response.status, response.text()), (StatusCode::OK, text)),
            None => is_problem(&response, 400, Some("invalid-argument")),
        }
    }
}

#[tokio::test]
async fn what_a_router_does_not_have_is_a_problem_too() {
    let client = client();
    let nowhere = client.get("/nowhere?token=secret").send().await;
    is_problem(&nowhere, 404, None);
    assert_eq!(nowhere.json()["instance"], "/nowhere");
    let method = client.get("/count").send().await;
    is_problem(&method, 405, None);
    assert_eq!(method.header("allow"), Some("POST"));
}
