//! What a request may say of ids: a workflow's in a path, an event's in `Last-Event-ID`.

use std::ops::Deref;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer, Serialize};

use crate::problem::{self, Problem};
use crate::seen::Seen;

/// As long as the runtime takes them.
const LABEL_BYTES: usize = 512;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A workflow's id as it comes in a request: 1 to 512 of the characters that stand for themselves in a path, which are
/// `A-Z`, `a-z`, `0-9` and `-._~!$&'()*+,;=:@`. Anything else is answered with 400, `.` and `..` too.
///
/// Take it with [`Path`](crate::Path) or [`Json`](crate::Json); it dereferences to the runtime's
/// [`WorkflowId`](dbos_runtime::WorkflowId).
///
/// # Examples
///
/// ```
/// use dbos_axum::{DbosCtx, Path, Problem, Sent, WorkflowId};
///
/// async fn approve(ctx: DbosCtx, Path(id): Path<WorkflowId>) -> Result<Sent, Problem> {
///     ctx.send(&id, "approval", &true).await
/// }
/// # let _ = axum::Router::<()>::new().route("/approve/{id}", axum::routing::post(approve));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct WorkflowId(dbos_runtime::WorkflowId);

impl Deref for WorkflowId {
    type Target = dbos_runtime::WorkflowId;

    fn deref(&self) -> &dbos_runtime::WorkflowId {
        &self.0
    }
}

impl FromStr for WorkflowId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
        if text.bytes().all(plain) && !matches!(text, "" | "." | "..") {
            return Ok(Self(dbos_runtime::WorkflowId::parse(text)?));
        }
        Err(invalid("A workflow's id is 1 to 512 of A-Z, a-z, 0-9 and -._~!$&'()*+,;=:@."))
    }
}

impl<'de> Deserialize<'de> for WorkflowId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl From<WorkflowId> for dbos_runtime::WorkflowId {
    fn from(id: WorkflowId) -> Self {
        id.0
    }
}

/// Deserializes what is parsed from text, keeping what the problem says.
pub(crate) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Problem>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|problem: Problem| serde::de::Error::custom(problem.detail().unwrap_or_default()))
}

/// A topic of messages, or the key of an event or a stream, in a path: 1 to 512 bytes without control characters, and
/// without white space at its ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Label(String);

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let fits = (1..=LABEL_BYTES).contains(&text.len());
        if fits && !text.chars().any(char::is_control) && text.trim() == text {
            return Ok(Self(text.to_owned()));
        }
        Err(invalid("A topic or a key is 1 to 512 bytes without control characters and outer white space."))
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// How far a reader of a stream has come: the header `Last-Event-ID`, else the query's `after`.
///
/// It is the offset of the last value that was read, or `{offset}.end` for a reader who has seen the stream's end, with
/// `-1` for a stream without values. `-1.tail` is a reader who has been waiting for the first value. Nothing, or an empty
/// text, is the start. Anything else is answered with 400.
///
/// # Examples
///
/// ```
/// use dbos_axum::LastEventId;
///
/// let at: LastEventId = "41".parse()?;
/// assert_eq!((at.next_offset(), at.saw_end()), (42, false));
/// let at: LastEventId = "41.end".parse()?;
/// assert_eq!((at.next_offset(), at.saw_end()), (42, true));
/// # Ok::<(), dbos_axum::Problem>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LastEventId {
    next: i64,
    end: bool,
    /// Whether it has been said at all.
    said: bool,
}

impl LastEventId {
    /// The offset of the first value that the reader does not have.
    pub fn next_offset(self) -> i64 {
        self.next
    }

    /// Whether the reader has been here before, and says how far it came.
    pub(crate) fn is_said(self) -> bool {
        self.said
    }

    /// Whether the reader knows that the stream has ended there.
    pub fn saw_end(self) -> bool {
        self.end
    }

    fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(LAST_EVENT_ID).iter();
        let Some(value) = values.next() else { return Ok(None) };
        match str::from_utf8(value.as_bytes()) {
            Ok(text) if values.next().is_none() => text.parse().map(Some),
            _ => Err(not_an_offset()),
        }
    }
}

impl FromStr for LastEventId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let (offset, end) = text.strip_suffix(".end").map_or((text, false), |offset| (offset, true));
        let digits = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_digit());
        match offset.parse::<i64>() {
            Ok(offset) if digits => Ok(Self { next: offset.saturating_add(1), end, said: true }),
            _ if text.is_empty() => Ok(Self::default()),
            _ if matches!(text, "-1.end" | "-1.tail") => Ok(Self { next: 0, end, said: true }),
            _ => Err(not_an_offset()),
        }
    }
}

fn not_an_offset() -> Problem {
    invalid("The last event's id is an offset of the stream, as `41`, or `41.end` after its end.")
}

fn invalid(detail: &'static str) -> Problem {
    Problem::of(problem::INVALID_ARGUMENT).with_detail(detail)
}

#[derive(Deserialize)]
struct After {
    after: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let read = || match Self::read(&parts.headers)? {
            Some(at) => Ok(at),
            None => match Query::<After>::try_from_uri(&parts.uri) {
                Ok(Query(After { after })) => after.as_deref().unwrap_or_default().parse(),
                Err(_) => Err(not_an_offset()),
            },
        };
        read().map_err(|problem| problem.within(&Seen::of(parts)))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_label_is_short_and_printable() {
        let (longest, longer) = ("é".repeat(256), "é".repeat(257));
        for good in ["a", "payment status", "a/b", "a::b", "é", longest.as_str()] {
            assert_eq!(&*good.parse::<Label>().unwrap(), good);
        }
        for bad in ["", " ", " a", "a ", "a\0", "a\nb", "\u{85}", longer.as_str()] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_taken_when_it_stands_for_itself_in_a_path() {
        let good = ["order-1001", "h1:checkout:k!refund:0f", "a.b", "...", "$1", "x'y", "sched-nightly"];
        for id in good {
            assert_eq!(id.parse::<WorkflowId>().unwrap().as_str(), id);
        }
        let long = "x".repeat(513);
        let bad = [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "%",
            "%zz",
            "a%2Fb",
            "a\0b",
            "a b",
            " ",
            "'; DROP TABLE x; --",
            "\"",
            "{}",
            "a\nb",
            "é",
            "e\u{301}",
            "\u{200b}",
            "\u{202e}",
            "\u{feff}a",
            &long,
        ];
        for id in bad {
            assert!(id.parse::<WorkflowId>().is_err(), "{id:?}");
        }
        assert!("x".repeat(512).parse::<WorkflowId>().is_ok());
    }

    #[test]
    fn a_last_event_id_is_an_offset_or_an_end() {
        let cases = [
            ("", Some((0, false))),
            ("0", Some((1, false))),
            ("41", Some((42, false))),
            ("9223372036854775806", Some((i64::MAX, false))),
            ("9223372036854775807", Some((i64::MAX, false))),
            ("0.end", Some((1, true))),
            ("-1.end", Some((0, true))),
            ("-1.tail", Some((0, false))),
            ("0.tail", None),
            ("-1", None),
            ("-2.end", None),
            ("abc", None),
            ("1e3", None),
            ("+1", None),
            ("1.5", None),
            (" 1", None),
            ("1 ", None),
            (".end", None),
            ("1.END", None),
            ("1.end.end", None),
            ("٣", None),
            ("9223372036854775808", None),
        ];
        for (text, expected) in cases {
            let at = text.parse::<LastEventId>().ok().map(|at| (at.next_offset(), at.saw_end()));
            assert_eq!(at, expected, "{text:?}");
        }
    }

    #[tokio::test]
    async fn the_header_is_asked_before_the_query() {
        type Case<'a> = (&'a str, &'a [&'a [u8]], Option<i64>);
        let cases: &[Case<'_>] = &[
            ("/", &[], Some(0)),
            ("/?after=3", &[], Some(4)),
            ("/?after=", &[], Some(0)),
            ("/?after=3", &[b"7"], Some(8)),
            ("/?after=x", &[b"7"], Some(8)),
            ("/?after=x", &[], None),
            ("/?after=1&after=2", &[], None),
            ("/", &[b"7", b"7"], None),
            ("/", &[b"\xff"], None),
            ("/", &[b""], Some(0)),
        ];
        for (uri, headers, expected) in cases {
            let mut request = http::Request::get(*uri).body(()).unwrap();
            for value in *headers {
                request.headers_mut().append(LAST_EVENT_ID, HeaderValue::from_bytes(value).unwrap());
            }
            let (mut parts, ()) = request.into_parts();
            let at = LastEventId::from_request_parts(&mut parts, &()).await;
            assert_eq!(at.ok().map(LastEventId::next_offset), *expected, "{uri} {headers:?}");
        }
    }
}
