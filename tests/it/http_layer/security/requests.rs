//! Requests of the wrong method, type, size or path.

use std::time::Instant;

use harness::on_each_backend;

use super::*;

on_each_backend! {
    async fn s29_a_method_that_a_route_does_not_have_has_no_effect(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let id = parked_by_ada(&client).await;
        let before = fresh.rows("SELECT * FROM workflow_status").await;
        let routes = routes(&id);
        let mut refused = 0;
        for (_, path) in &routes {
            let have: Vec<&Method> = routes.iter().filter(|(_, other)| other == path).map(|(method, _)| method).collect();
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"] {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let answered_as_get = method == Method::HEAD && have.contains(&&Method::GET);
                if have.contains(&&method) || answered_as_get {
                    continue;
                }
                let answer = of(&client, ADAS, &method, path).json(&cart()).send().await;
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                let allowed = answer.header("allow").unwrap_or_default();
                assert!(have.iter().all(|method| allowed.contains(method.as_str())), "{path}: {allowed}");
                refused += 1;
            }
            if have.contains(&&Method::GET) {
                let head = of(&client, ADAS, &Method::HEAD, path).send().await;
                assert!(head.status.is_success() && head.body.is_empty(), "{path}: {}", head.status);
            }
        }
        assert!(refused >= 60, "{refused}");
        assert_eq!(fresh.rows("SELECT * FROM workflow_status").await, before);
        assert_eq!(count(&fresh, "notifications").await, 0);
        end(&dbos).await;
    }

    // B13, B14
    async fn s30_a_body_of_another_type_is_refused(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let id = parked_by_ada(&client).await;
        let kinds = ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b",
            "application/json; charset=utf-16", "application/json, text/plain", "application/jsonp", "*/*"];
        let mut refused = 0;
        for (method, path) in routes(&id) {
            if method != Method::POST || path.ends_with("/cancel") {
                continue;
            }
            for kind in kinds {
                let request = of(&client, ADAS, &method, &path).body(cart().to_string());
                let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
                is_problem(&request.send().await, 415, None);
                refused += 1;
            }
            let zipped = of(&client, ADAS, &method, &path).json(&cart()).header("content-encoding", "gzip").send().await;
            is_problem(&zipped, 415, None);
        }
        assert_eq!(refused, 27);
        assert_eq!((count(&fresh, "workflow_status").await, count(&fresh, "notifications").await), (1, 0));
        end(&dbos).await;
    }

    // B08
    async fn s27_a_path_is_decoded_once_and_what_comes_out_is_an_id_or_refused(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        let id = parked_by_ada(&client).await;
        let tricks = ["%00", "%2e%2e", "%2e", "%2F", "..%2F..%2Fetc%2Fpasswd", "%5c..%5c", "%C0%AF", "%c0%ae%c0%ae", "%ff", "%",
            "%zz", "%2", "%252e%252e", "%2500", "%E2%80%AE", "%EF%BB%BF", "%0d%0aset-cookie:%20a=b", "%1b%5B31m", "%20", "a%20b", "+%20"];
        for trick in tricks {
            for (shape, place) in [("alone", trick.to_owned()), ("behind", format!("{id}{trick}")), ("before", format!("{trick}{id}"))] {
                for route in ["", "/result", "/events", "/events/given"] {
                    let path = format!("/dbos/workflows/{place}{route}");
                    let answer = of(&client, ADAS, &Method::GET, &path).send().await;
                    assert!([400, 404].contains(&answer.status.as_u16()), "{shape} {path}: {}", answer.status);
                    assert_eq!(answer.header("set-cookie"), None);
                }
            }
        }
        // A second decoding, a matrix parameter or a path that is tidied up would find it.
        for none in [format!("{id};v=1"), format!("x/../{id}"), format!("./{id}"), format!("/{id}"), format!("{id}/"), id.to_uppercase()] {
            let answer = of(&client, ADAS, &Method::GET, &format!("/dbos/workflows/{none}")).send().await;
            assert!([400, 404].contains(&answer.status.as_u16()), "{none}: {}", answer.status);
        }
        // Written in another way, it is the same id.
        let spelled: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = of(&client, ADAS, &Method::GET, &format!("/dbos/workflows/{spelled}")).send().await;
        assert_eq!(answer.json()["workflow_id"], json!(id));
        end(&dbos).await;
    }

    async fn s20_a_row_in_a_format_of_another_language_is_named_and_not_read(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let client = api(&dbos);
        // cos.system('echo') as Python pickles it.
        let pickle = "Y29zCnN5c3RlbQooUydlY2hvJwp0Ui4=";
        fresh
            .execute(&format!(
                "INSERT INTO workflow_status (workflow_uuid, name, status, output, serialization, authenticated_user)
                 VALUES ('pickled', 'checkout', 'SUCCESS', '{pickle}', 'py_pickle', 'ada');
                 INSERT INTO workflow_events (workflow_uuid, key, value, serialization) VALUES ('pickled', 'given', '{pickle}', 'py_pickle')"
            ))
            .await;
        let get = async |path: &str| of(&client, ADAS, &Method::GET, &format!("/dbos/workflows/pickled{path}")).send().await;
        let result = get("/result").await;
        assert_eq!((result.status, &result.json()["format"]), (StatusCode::OK, &json!("py_pickle")), "{}", result.text());
        assert!(!result.text().contains(pickle), "{}", result.text());
        // An event is the text that it is.
        for path in ["/events", ""] {
            let answer = get(path).await;
            assert!(answer.status.as_u16() < 500, "{path}: {}", answer.text());
        }
        end(&dbos).await;
    }
}

// B26, B32, B33
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s13_a_payload_bomb_is_refused_or_taken_in_bounded_time() {
    const MIB: usize = 1024 * 1024;
    let fresh = harness::fresh(harness::Backend::Sqlite).await;
    let dbos = launch(fresh.url()).await;
    let client = api(&dbos);
    let id = parked_by_ada(&client).await;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let keys = (0..90_000).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",");
    let full = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let path = format!("/dbos/workflows/{id}/messages/none");
    for (what, body, status) in [
        ("the largest", full(MIB), 202),
        ("a byte more", full(MIB + 1), 413),
        ("much more", full(20 * MIB), 413),
        ("deep enough", deep(127), 202),
        ("too deep", deep(128), 400),
        ("very deep", deep(MIB / 2), 400),
        ("half a million elements", format!("[{}0]", "0,".repeat(MIB / 2 - 2)), 202),
        ("ninety thousand keys", format!("{{{keys}}}"), 202),
        ("one key many times", format!("{{{}\"k\":0}}", "\"k\":0,".repeat(150_000)), 202),
        ("a number of a million digits", "1".repeat(MIB), 400),
    ] {
        let begun = Instant::now();
        let request = of(&client, ADAS, &Method::POST, &path).header("content-type", "application/json");
        let answer = request.body(body).send().await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{what}: {}",
            &answer.text()[..answer.text().len().min(300)]
        );
        assert!(answer.body.len() < 1000, "{what}: the answer is small");
        assert!(begun.elapsed() < harness::PATIENCE, "{what} took {:?}", begun.elapsed());
    }
    assert_eq!(count(&fresh, "notifications").await, 5);
    end(&dbos).await;
}
