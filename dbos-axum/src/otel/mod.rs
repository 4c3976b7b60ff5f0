//! Traces to a collector, by OTLP over HTTP.
//!
//! What a request starts belongs to the request's trace without anything of this module: it needs a layer of
//! [`tracing_opentelemetry`], whichever the application has. [`export`] makes one for applications that have none.

mod client;

use std::fmt;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use client::Client;

/// Below the endpoint, as with the environment's variable of that name.
const TRACES: &str = "/v1/traces";
/// As long a dropped [`Exporter`] waits for the collector.
const FAREWELL: Duration = Duration::from_secs(5);

/// A layer that sends spans to an OpenTelemetry collector, and the exporter that it sends them with.
///
/// `service` is what the traces are named after. `endpoint` is the collector's address, `http://localhost:4318` for
/// example. `None` takes it from the environment, as every exporter does (`OTEL_EXPORTER_OTLP_ENDPOINT`,
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`), and that very address if it is not there; headers, samplers and further
/// attributes of the resource always come from there. It speaks protobuf over plain HTTP: a collector belongs next to
/// the application, and from there on the way may be encrypted.
///
/// Spans of level `INFO` and above are sent, in batches, from threads of its own. Events are not: what they quote stays
/// in the log. The global tracer provider stays as it is; an application with a provider of its own needs no more than
/// a layer of `tracing_opentelemetry` on it.
///
/// # Errors
///
/// When the service has no name, the endpoint is no address or asks for TLS, or no thread can be had.
///
/// # Examples
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// # fn main() -> Result<(), dbos_axum::otel::ExportError> {
/// let (layer, exporter) = dbos_axum::otel::export("shop", Some("http://localhost:4318"))?;
/// let subscriber = tracing_subscriber::registry().with(layer);
/// tracing::subscriber::with_default(subscriber, || {
///     // … the application …
/// });
/// // At the end of `main`: what has not been sent is sent now.
/// drop(exporter);
/// # Ok(()) }
/// ```
pub fn export<S>(
    service: &str,
    endpoint: Option<&str>,
) -> Result<(impl Layer<S> + Send + Sync + use<S>, Exporter), ExportError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if service.trim().is_empty() {
        return Err(ExportError::new("the service has no name"));
    }
    let (client, thread) = Client::launch().map_err(ExportError::new)?;
    let mut builder = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    if let Some(endpoint) = endpoint {
        plain(endpoint)?;
        builder = builder.with_endpoint(format!("{}{TRACES}", endpoint.trim_end_matches('/')));
    } else {
        for variable in ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
            std::env::var(variable).map_or(Ok(()), |endpoint| plain(&endpoint))?;
        }
    }
    let exporter = builder.with_http_client(client).build().map_err(ExportError::new)?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("dbos"))
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(FilterFn::new(is_exported as fn(&Metadata<'_>) -> bool));
    Ok((layer, Exporter { provider, _thread: thread }))
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO
}

fn plain(endpoint: &str) -> Result<(), ExportError> {
    let tls = endpoint.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    if tls { Err(ExportError::new("spans are sent by plain HTTP, to a collector nearby")) } else { Ok(()) }
}

/// Sends the spans of [`export`]'s layer. Keep it to the end of `main`: dropping it sends what is left, for which it
/// waits up to five seconds, and ends the sending.
#[must_use = "dropping it ends the export"]
pub struct Exporter {
    provider: SdkTracerProvider,
    /// Declared after the provider, which sends by it to the end.
    _thread: client::Thread,
}

impl Exporter {
    /// Sends all spans that have ended.
    ///
    /// # Errors
    ///
    /// When the collector does not take them in time.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it still sends.
    pub async fn flush(&self) -> Result<(), ExportError> {
        let provider = self.provider.clone();
        let flushed = tokio::task::spawn_blocking(move || provider.force_flush()).await;
        flushed.map_err(ExportError::new)?.map_err(ExportError::new)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FAREWELL) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// Why spans are not exported.
#[derive(Debug)]
pub struct ExportError(Box<dyn std::error::Error + Send + Sync>);

impl ExportError {
    fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "traces are not exported: {}", self.0)
    }
}

impl std::error::Error for ExportError {}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;

    use super::*;

    #[test]
    fn what_cannot_be_exported_to_is_refused_at_once() {
        let cases = [
            ("shop", "http://localhost:4318", true),
            ("shop", "http://localhost:4318/", true),
            ("", "http://localhost:4318", false),
            ("shop", "https://collector.example", false),
            ("shop", "HTTPS://collector.example", false),
            ("shop", "no address", false),
        ];
        for (service, endpoint, fine) in cases {
            let made = export::<Registry>(service, Some(endpoint));
            assert_eq!(made.is_ok(), fine, "{service:?} {endpoint}");
        }
    }
}
