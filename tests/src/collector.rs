//! An OpenTelemetry collector in this process, so that tests can look at what was exported.
#![expect(clippy::expect_used, reason = "the harness reports trouble by failing the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use dbos_axum::otel::Exporter;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Status;
use prost::Message as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// A span as it was received.
#[derive(Clone, Debug)]
pub struct Span {
    /// What it is called.
    pub name: String,
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Itself, in hexadecimal digits.
    pub id: String,
    /// Its parent; empty when it has none.
    pub parent: String,
    /// The traces and spans that it is linked to.
    pub links: Vec<(String, String)>,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// How many events it has.
    pub events: usize,
    /// Whether what it is about went well, if it says so.
    pub well: Option<bool>,
}

/// Receives what this process exports.
#[derive(Debug)]
pub struct Collector {
    exporter: Exporter,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// The one of this process. From the first call on, all spans of the process are exported to it.
    pub fn of_this_process() -> &'static Self {
        static COLLECTOR: OnceLock<Collector> = OnceLock::new();
        COLLECTOR.get_or_init(|| {
            let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
            let endpoint = serve(Arc::clone(&spans));
            let (layer, exporter) =
                dbos_axum::otel::export("tests", Some(&endpoint)).expect("it can be exported");
            let subscriber = tracing_subscriber::registry().with(layer);
            tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
            Self { exporter, spans }
        })
    }

    /// The spans of a trace, in the order of their ends, once there are so many. Fails the test when there are more.
    ///
    /// A workflow's outcome may be known a moment before its span ends.
    pub async fn trace(&self, trace: &str, count: usize) -> Vec<Span> {
        self.some(count, |span| span.trace == trace).await
    }

    /// The only span of which this holds, once it has ended.
    pub async fn only(&self, wanted: impl Fn(&Span) -> bool) -> Span {
        self.some(1, wanted).await.remove(0)
    }

    /// So many spans of which this holds, and no more.
    pub async fn some(&self, count: usize, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        crate::until("all spans have ended", async || self.all(&wanted).await.len() >= count).await;
        let found = self.all(wanted).await;
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }

    /// The spans that have ended of which this holds.
    pub async fn all(&self, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        self.exporter.flush().await.expect("the collector is there");
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| wanted(span)).cloned().collect()
    }
}

impl Span {
    /// One of its attributes; empty when it is not there.
    pub fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }

    /// It, as the end of a link.
    pub fn place(&self) -> (String, String) {
        (self.trace.clone(), self.id.clone())
    }
}

/// On a thread of its own, because the runtimes of tests end with them. Gives the endpoint.
fn serve(spans: Arc<Mutex<Vec<Span>>>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("a listener can be told so");
    let address = listener.local_addr().expect("it is bound");
    let receive = move |headers: HeaderMap, body: Bytes| async move {
        if headers.get("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE;
        }
        let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        let received = scopes.flat_map(|scope| scope.spans).map(read);
        spans.lock().unwrap_or_else(PoisonError::into_inner).extend(received);
        StatusCode::OK
    };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be had").block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
            let router = Router::new().route("/v1/traces", post(receive));
            axum::serve(listener, router).await.expect("it serves for ever");
        });
    });
    format!("http://{address}")
}

fn read(span: proto::Span) -> Span {
    let well = match span.status.map(|status| status.code()) {
        Some(Status::Ok) => Some(true),
        Some(Status::Error) => Some(false),
        Some(Status::Unset) | None => None,
    };
    Span {
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        attributes: span.attributes.into_iter().map(text).collect(),
        events: span.events.len(),
        well,
    }
}

fn text(attribute: KeyValue) -> (String, String) {
    let value = match attribute.value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => text,
        other => format!("{other:?}"),
    };
    (attribute.key, value)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}
