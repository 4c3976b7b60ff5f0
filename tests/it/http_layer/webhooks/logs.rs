//! What a log shows of deliveries, at the level that shows everything.

use std::fmt::{Debug, Write as _};

use dbos_runtime::WorkflowId;
use harness::on_each_backend;
use harness::web;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::callbacks::callbacks;
use super::processes::Server;
use super::*;

/// Prints all that is traced from now on in this process.
pub(super) fn show_everything() {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Printer)).unwrap();
}

struct Printer;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl<S: tracing::Subscriber> Layer<S> for Printer {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut line = Line(format!("span {}", attributes.metadata().name()));
        attributes.record(&mut line);
        println!("{}", line.0);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut line = Line("recorded".to_owned());
        values.record(&mut line);
        println!("{}", line.0);
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line(format!("event {}", event.metadata().target()));
        event.record(&mut line);
        println!("{}", line.0);
    }
}

on_each_backend! {
    // S24, S25.
    async fn a_log_shows_that_something_came_and_nothing_of_what_it_was(fresh: Fresh) {
        let mut server = Server::logging(&fresh, "logs").await;
        let body = |what: Value, to: &str| json!({"what": what, "to": to, "value": "planted-payload"}).to_string();
        let signed = |id: &str, body: &str| Sender::Standard.headers(SECRET, id, NOW, body.as_bytes());
        let post = async |headers: &[(&str, String)], body: &str| {
            web::post(server.address, "/in/hooks/standard?planted-query", headers, body).await.unwrap().status
        };
        let good = body(json!("send"), "order-7");
        assert_eq!(post(&signed("d-1", &good), &good).await, 202);
        assert_eq!(post(&signed("d-2", "another body"), &good).await, 401);
        // The message of the parser quotes what it does not take.
        let odd = body(json!(["planted-odd-one"]), "order-7");
        let odd = odd.replace(r#""to":"order-7""#, r#""to":{"planted-key":1}"#);
        assert_eq!(post(&signed("d-3", &odd), &odd).await, 400);
        let lost = body(json!("send"), "");
        assert_eq!(post(&signed("d-4", &lost), &lost).await, 400);
        let expires = Timestamp::from_millis((NOW + 60) * 1000);
        let url = callbacks().url(&WorkflowId::parse("nowhere").unwrap(), "planted-topic", expires);
        let path = super::callbacks::path(&url);
        let answer = web::post(server.address, &path, &[], r#""planted-answer""#).await.unwrap();
        assert_eq!(answer.status, 404);
        assert!(!answer.body.contains("callbacks"), "{}", answer.body);
        let token = path.rsplit_once('/').unwrap().1;
        let signature = &signed("d-1", &good)[0].1;

        server.process.line(2 * harness::PATIENCE, |line| line.contains("waits for its workflow")).await;
        server.process.terminate(2 * harness::PATIENCE).await;
        let log = server.process.output();
        for shown in ["webhook.source=\"standard\"", "webhook.delivery=\"d-1\"", "is not authentic", "cannot be used", "wh:standard:d-1"] {
            assert!(log.contains(shown), "{shown} is not in the log:\n{log}");
        }
        for hidden in ["planted", SECRET, token, signature.as_str()] {
            let line = log.lines().find(|line| line.contains(hidden));
            assert_eq!(line, None, "{hidden}");
        }
    }
}
