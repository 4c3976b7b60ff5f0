//! W3C trace context, as it is stored and as OpenTelemetry has it. Baggage stays out: it has no bound, and holds what
//! people have put there.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use serde_json::{Map, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::payload;

/// The attribute. Every SDK spells it so.
const ATTRIBUTE: &str = "dbos.otelContext";
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// As long a `tracestate` has to be passed on; a longer one is not.
const STATE_BYTES: usize = 512;

/// The remote place in a trace that these two W3C headers name; nothing when `traceparent` is malformed. A `tracestate`
/// that is malformed, or longer than 512 bytes, is left out.
///
/// # Examples
///
/// ```
/// use dbos_runtime::otel::remote_context;
///
/// let place = remote_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
/// assert_eq!(place.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
/// assert!(remote_context("00-1-2-01", None).is_none());
/// ```
pub fn remote_context(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    // Of these very lengths: the parsers of OpenTelemetry's types take shorter numbers too, and signs.
    let mut hex = |digits: usize| {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        parts.next().filter(|part| part.len() == digits && part.bytes().all(lower))
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    // Version 00 ends here, later ones may say more, and ff is none.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let state = tracestate.filter(|state| state.len() <= STATE_BYTES);
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, state)).filter(SpanContext::is_valid)
}

/// Where in a trace the caller is: in a span of `tracing` that OpenTelemetry follows, or in one of its own. It is what a
/// workflow that is started here belongs to.
pub fn current_context() -> Option<SpanContext> {
    let of = |context: &Context| Some(context.span().span_context().clone()).filter(SpanContext::is_valid);
    of(&Span::current().context()).or_else(|| of(&Context::current()))
}

pub(super) fn adopt(context: &SpanContext, span: &Span) {
    // It fails where nothing is traced.
    let _ = span.set_parent(Context::new().with_remote_span_context(context.clone()));
}

/// The attributes with the place among them, in the place of any other. They stay as they are where it does not fit in.
pub(super) fn attach(context: &SpanContext, attributes: Option<String>) -> Option<String> {
    let attached = |attributes: Option<&str>| {
        let mut map = match attributes {
            Some(text) => serde_json::from_str::<Map<String, Value>>(text).ok()?,
            None => Map::new(),
        };
        map.insert(ATTRIBUTE.to_owned(), Value::Object(written(context)));
        payload::attributes(&map).ok()
    };
    attached(attributes.as_deref()).or(attributes)
}

fn written(context: &SpanContext) -> Map<String, Value> {
    let (trace, span) = (context.trace_id(), context.span_id());
    let flags = (context.trace_flags() & TraceFlags::SAMPLED).to_u8();
    let mut carrier = Map::new();
    carrier.insert(PARENT.to_owned(), format!("00-{trace}-{span}-{flags:02x}").into());
    let state = context.trace_state().header();
    if (1..=STATE_BYTES).contains(&state.len()) && state.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        carrier.insert(STATE.to_owned(), state.into());
    }
    carrier
}

pub(super) fn in_text(attributes: &str) -> Option<SpanContext> {
    if !attributes.contains(ATTRIBUTE) {
        return None;
    }
    in_attributes(&serde_json::from_str(attributes).ok()?)
}

pub(crate) fn in_attributes(attributes: &Value) -> Option<SpanContext> {
    read(attributes.get(ATTRIBUTE)?)
}

pub(super) fn parse(carrier: &str) -> Option<SpanContext> {
    read(&serde_json::from_str(carrier).ok()?)
}

fn read(carrier: &Value) -> Option<SpanContext> {
    remote_context(carrier.get(PARENT)?.as_str()?, carrier.get(STATE).and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const HEAD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_exactly_one() {
        let well = [
            (HEAD.to_owned(), true),
            (HEAD.replace("-01", "-00"), false),
            (HEAD.replace("-01", "-03"), true),
            (HEAD.replacen("00", "cc", 1) + "-what-is-new", true),
        ];
        for (head, sampled) in well {
            let place = remote_context(&head, None).unwrap();
            assert_eq!(
                (place.trace_id().to_string(), place.is_sampled()),
                (TRACE.to_owned(), sampled),
                "{head}"
            );
            assert!(place.is_remote());
        }
        let malformed = [
            String::new(),
            "00".to_owned(),
            HEAD.to_uppercase(),
            HEAD.replacen("00", "ff", 1),
            HEAD.replacen("00", "0", 1),
            format!("{HEAD}-more"),
            format!(" {HEAD}"),
            HEAD.replace("0af7", "+af7"),
            HEAD.replace("0af7", "af7"),
            HEAD.replace(TRACE, &"0".repeat(32)),
            HEAD.replace("b7ad6b7169203331", &"0".repeat(16)),
            HEAD.replace("b7ad", "ü7a"),
            HEAD.replace("-01", "-1"),
            HEAD.replace("-01", ""),
        ];
        for head in malformed {
            assert_eq!(remote_context(&head, Some("a=b")), None, "{head}");
        }
    }

    #[test]
    fn a_tracestate_that_is_malformed_or_long_is_left_out() {
        let long = format!("a={},b={}", "v".repeat(256), "v".repeat(256));
        for (state, expected) in [("a=b,c@d=e", "a=b,c@d=e"), ("", ""), ("A=b", ""), ("a", ""), (&long, "")] {
            assert_eq!(
                remote_context(HEAD, Some(state)).unwrap().trace_state().header(),
                expected,
                "{state}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read_again_among_the_other_attributes() {
        let place = remote_context(HEAD, Some("a=b")).unwrap();
        let expected = json!({ATTRIBUTE: {"traceparent": HEAD, "tracestate": "a=b"}});
        let written = attach(&place, None).unwrap();
        assert_eq!(written, expected.to_string());
        assert_eq!(in_text(&written), Some(place.clone()));

        let plain = remote_context(HEAD, None).unwrap();
        let written = attach(&plain, Some(json!({"n": 1, ATTRIBUTE: "mine"}).to_string())).unwrap();
        assert_eq!(written, json!({"n": 1, ATTRIBUTE: {"traceparent": HEAD}}).to_string());
        assert_eq!(in_text(&written), Some(plain));

        let full = json!({"text": "x".repeat(65_500)}).to_string();
        assert_eq!(attach(&place, Some(full.clone())), Some(full));
    }

    #[test]
    fn what_others_have_put_there_is_ignored() {
        let attributes = ["null", "7", "{", r#"{"n": 1}"#, r#"{"dbos.otelContext": {"traceparent": 7}}"#];
        assert!(attributes.into_iter().all(|text| in_text(text).is_none()));
        let carriers =
            ["null", "[]", "{", r#""00""#, r#"{"traceparent": "00-1-2-03"}"#, r#"{"tracestate": "a=b"}"#];
        assert!(carriers.into_iter().all(|text| parse(text).is_none()));
        let untyped = json!({"traceparent": HEAD, "tracestate": 7}).to_string();
        assert_eq!(parse(&untyped), remote_context(HEAD, None));
    }
}
