//! The document of the webhooks, held against what they answer.

use axum::body::Body;
use futures_util::stream;
use harness::on_each_backend;

use super::super::openapi::Held;
use super::*;

on_each_backend! {
    async fn webhooks_answer_as_their_document_says(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let target = dbos.start(payee, ()).id("order-7").await.unwrap();
        let layer = DbosLayer::new(dbos.clone()).callbacks(callbacks::callbacks());
        let hooks = || sources(layer.clone()).direct().body_limit(200).body_deadline(Duration::from_millis(50));
        let document = serde_json::to_value(hooks().openapi()).unwrap();
        let (open, busy) = (client(hooks()), client(hooks().at_once(0)));
        let mut held = Held::new(document, &open);

        for (template, path) in [("/hooks/{source}", "/in/hooks/github"), ("/hooks/{source}/{*tail}", "/in/hooks/github/a/b")] {
            let signed = |client: &Client, id: &str, body: &str| {
                let headers = Sender::GitHub.headers(SECRET, id, NOW, body.as_bytes());
                let request = headers.iter().fold(client.post(path), |request, (name, value)| request.header(name, value));
                request.body(body.to_owned())
            };
            let event = |event: Value| signed(&open, "d", &event.to_string()).header("content-type", "application/json");
            let json = |request: harness::http::Request| request.header("content-type", "application/json");
            let template = template.replace("{*", "{");
            for (request, status) in [
                (event(json!({"what": "send", "to": "order-7"})), 202),
                (event(json!({"what": "?"})), 202),
                (event(json!({"what": 1})), 400),
                (json(signed(&open, "d", "{")), 400),
                (event(json!({"what": "send", "to": ""})), 400),
                (open.post(path), 401),
                (open.post(path.replace("github", "paypal")), 404),
                (event(json!({"what": "send", "to": "nobody"})), 404),
                (open.post(path).body(Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>())), 408),
                (event(json!({"what": "add at", "to": "order-7"})), 409),
                (event(json!({"what": "x".repeat(300)})), 413),
                (signed(&open, "d", "{}"), 415),
                (json(signed(&busy, "d", "{}")), 429),
            ] {
                let response = held.ask(&template, request, "post").await;
                assert_eq!(response.status.as_u16(), status, "{path}: {}", response.text());
            }
        }

        let soon = dbos.now().after(Duration::from_secs(60));
        let (path, nobody) = (callbacks::path(&callbacks::callbacks().url(target.id(), "answer", soon)), dbos_runtime::WorkflowId::parse("nobody").unwrap());
        let lost = callbacks::path(&callbacks::callbacks().url(&nobody, "answer", soon));
        let none = client(sources(dbos.clone()).direct());
        for (request, status) in [
            (open.post(&path).json(&json!(1)), 202),
            (open.post(&path).json(&json!(2)), 202),
            (open.post(&path).header("content-type", "application/json").body("{"), 400),
            (open.post("/in/callbacks/%ff").json(&json!(1)), 400),
            (open.post("/in/callbacks/x").json(&json!(1)), 401),
            (open.post(&lost).json(&json!(1)), 404),
            (none.post(&path).json(&json!(1)), 404),
            (open.post(&path).body(Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>())), 408),
            (open.post(&path).json(&json!("x".repeat(300))), 413),
            (open.post(&path).body("1"), 415),
            (busy.post(&path).json(&json!(1)), 429),
        ] {
            let response = held.ask("/callbacks/{token}", request, "post").await;
            assert_eq!(response.status.as_u16(), status, "{}", response.text());
        }
        // Nothing is broken, and the database is there.
        held.has_given_all_but(&[500, 503]);
        end(&dbos).await;
    }
}
