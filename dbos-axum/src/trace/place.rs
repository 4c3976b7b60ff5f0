//! In which trace the spans of a request are: the one that its headers name, or the one that it is in here.

use dbos_runtime::otel::{current_context, remote_context};
use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What the headers of a request say about the trace it belongs to.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    context: Option<SpanContext>,
    trusted: bool,
}

#[derive(PartialEq, Debug)]
enum Parent {
    /// The span in which the handler runs; a new trace where there is none.
    Here,
    /// The span of the caller.
    There(SpanContext),
    /// None: a new trace begins.
    Nobody,
}

impl Incoming {
    pub(super) fn of(headers: &HeaderMap, trusted: bool) -> Self {
        Self { context: read(headers), trusted }
    }

    /// Puts a span that nobody has entered yet into its place.
    pub(super) fn place(&self, span: &Span) {
        let (parent, related) = decide(current_context(), self.context.clone(), self.trusted);
        // They fail where nothing is traced.
        let _ = match parent {
            Parent::Here => Ok(()),
            Parent::There(context) => span.set_parent(Context::new().with_remote_span_context(context)),
            Parent::Nobody => span.set_parent(Context::new()),
        };
        link(span, related);
    }
}

/// Whether OpenTelemetry knows the span.
#[cfg(feature = "admin")]
pub(super) fn is_followed(span: &Span) -> bool {
    span.context().span().span_context().is_valid()
}

pub(super) fn link(span: &Span, to: Option<SpanContext>) {
    if let Some(to) = to {
        span.add_link(to);
    }
}

/// The parent of a request's spans, and to what they are linked.
///
/// Where the application has continued the caller's trace itself, its span is between the two. Where it has begun
/// another one, the caller's is continued, and linked. What is not trusted is never continued.
fn decide(
    here: Option<SpanContext>,
    there: Option<SpanContext>,
    trusted: bool,
) -> (Parent, Option<SpanContext>) {
    let Some(there) = there else { return (Parent::Here, None) };
    let same = here.as_ref().is_some_and(|here| here.trace_id() == there.trace_id());
    match (trusted, same) {
        (true, true) => (Parent::Here, None),
        (true, false) => (Parent::There(there), here),
        (false, true) => (Parent::Nobody, here),
        (false, false) => (Parent::Here, Some(there)),
    }
}

fn read(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all("traceparent").iter();
    let parent = parents.next()?.to_str().ok()?;
    // Two of them are malformed.
    if parents.next().is_some() {
        return None;
    }
    let states: Result<Vec<&str>, _> =
        headers.get_all("tracestate").iter().map(http::HeaderValue::to_str).collect();
    remote_context(parent, states.ok().map(|states| states.join(",")).as_deref())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn context(trace: u8, span: u8) -> SpanContext {
        remote_context(&format!("00-{trace:032x}-{span:016x}-01"), None).unwrap()
    }

    #[test]
    fn a_span_is_in_the_callers_trace_unless_that_is_not_trusted() {
        use Parent::{Here, Nobody, There};
        let (ours, same, other) = (context(1, 1), context(1, 2), context(2, 2));
        let cases = [
            (None, None, true, (Here, None)),
            (None, None, false, (Here, None)),
            (Some(&ours), None, true, (Here, None)),
            (Some(&ours), None, false, (Here, None)),
            (None, Some(&other), true, (There(other.clone()), None)),
            (None, Some(&other), false, (Here, Some(&other))),
            (Some(&ours), Some(&same), true, (Here, None)),
            (Some(&ours), Some(&same), false, (Nobody, Some(&ours))),
            (Some(&ours), Some(&other), true, (There(other.clone()), Some(&ours))),
            (Some(&ours), Some(&other), false, (Here, Some(&other))),
        ];
        for (here, there, trusted, expected) in cases {
            let (parent, link) = decide(here.cloned(), there.cloned(), trusted);
            assert_eq!((parent, link.as_ref()), expected, "{here:?} {there:?} {trusted}");
        }
    }

    #[test]
    fn only_one_well_formed_traceparent_is_read() {
        const HEAD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let cases = [
            ("", None),
            ("traceparent: HEAD", Some("")),
            ("traceparent: HEAD\ntracestate: a=b", Some("a=b")),
            ("traceparent: HEAD\ntracestate: a=b\ntracestate: c=d", Some("a=b,c=d")),
            ("traceparent: HEAD\ntracestate: é", Some("")),
            ("traceparent: HEAD\nbaggage: a=b", Some("")),
            ("traceparent: HEAD\ntraceparent: HEAD", None),
            ("traceparent: 00-é-1-01\ntracestate: a=b", None),
            ("tracestate: a=b", None),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in given.lines().filter_map(|line| line.split_once(": ")) {
                let value = HeaderValue::from_bytes(value.replace("HEAD", HEAD).as_bytes()).unwrap();
                headers.append(HeaderName::try_from(name).unwrap(), value);
            }
            let state = read(&headers).map(|context| context.trace_state().header());
            assert_eq!(state.as_deref(), expected, "{given}");
        }
    }
}
