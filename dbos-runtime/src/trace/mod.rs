//! The trace that a workflow belongs to.
//!
//! Whoever starts a workflow writes into one of its attributes, spelled as by the other SDKs, where in which trace that
//! was. Whoever runs it, here or elsewhere, now or after a crash, goes on there. Without the feature `otel` nothing of
//! it is written or read.

#[cfg(feature = "otel")]
mod carrier;

use tracing::Span;

#[cfg(feature = "otel")]
pub(crate) use carrier::in_attributes;
#[cfg(feature = "otel")]
pub use carrier::{current_context, remote_context};

/// The field that says how what a span is about has ended.
const STATUS: &str = "otel.status_code";

/// Where a workflow was started, seen from its execution.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    #[cfg(feature = "otel")]
    context: opentelemetry::trace::SpanContext,
}

impl Trace {
    /// What the attributes of a workflow say, as they are stored.
    pub(crate) fn of_attributes(attributes: Option<&str>) -> Option<Self> {
        #[cfg(feature = "otel")]
        return attributes.and_then(carrier::in_text).map(|context| Self { context });
        #[cfg(not(feature = "otel"))]
        attributes.and(None)
    }

    /// What is stored under the attribute. What cannot be read is ignored: nobody's workflow stops for it.
    pub(crate) fn of_carrier(carrier: Option<&str>) -> Option<Self> {
        #[cfg(feature = "otel")]
        return carrier.and_then(carrier::parse).map(|context| Self { context });
        #[cfg(not(feature = "otel"))]
        carrier.and(None)
    }

    /// Makes a span that nobody has entered yet a part of the trace.
    pub(crate) fn adopt(&self, span: &Span) {
        #[cfg(feature = "otel")]
        carrier::adopt(&self.context, span);
        #[cfg(not(feature = "otel"))]
        let _ = span;
    }
}

/// The attributes of a new workflow, with the place in the trace in which this is called, if it is called in one.
pub(crate) fn attached(attributes: Option<String>) -> Option<String> {
    #[cfg(feature = "otel")]
    return match carrier::current_context() {
        Some(context) => carrier::attach(&context, attributes),
        None => attributes,
    };
    #[cfg(not(feature = "otel"))]
    attributes
}

/// Says on a span how what it is about has ended. Why is in the database: a trace is no place for what errors quote.
pub(crate) fn ended(span: &Span, well: bool) {
    span.record(STATUS, if well { "OK" } else { "ERROR" });
}
