//! JSON bodies, in and out. A body that is not taken is a problem which says where it went wrong.

use std::borrow::Cow;
use std::error::Error as _;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, JsonRejection};
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use crate::problem::{self, Problem};
use crate::seen::Seen;

/// More of a message than this is cut off; it may quote the body.
const DETAIL_BYTES: usize = 300;

/// A JSON body, as axum's type of the name, whose refusals are problems.
///
/// | the request | the answer |
/// |---|---|
/// | `Content-Type` missing, not JSON, or of a charset other than UTF-8; any `Content-Encoding` | 415 |
/// | a body over axum's limit (2 MB, or what `DefaultBodyLimit` says) | 413 |
/// | no body, a byte order mark, bytes that are not UTF-8, text that is not JSON | 400, with `line` and `column` |
/// | JSON of another shape than `T` | 422, with the `path` of the offending part |
///
/// A member that comes twice is treated as serde does for `T`.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::post};
/// use dbos_axum::Json;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Cart {
///     items: Vec<String>,
/// }
///
/// async fn count(Json(cart): Json<Cart>) -> Json<usize> {
///     Json(cart.items.len())
/// }
/// # let _: Router = Router::new().route("/count", post(count));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let seen = Seen::of_request(&request);
        let read = async { parse(&text(request).await?) };
        read.await.map(Self).map_err(|problem| problem.within(&seen))
    }
}

/// The body of a request that says that it is JSON.
pub(crate) async fn text(request: Request) -> Result<Bytes, Problem> {
    content(request.headers())?;
    Bytes::from_request(request, &()).await.map_err(|rejection| unread(&rejection))
}

/// Refuses a body that is something else than JSON in plain UTF-8, going by its headers.
pub(crate) fn content(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let problem = unsupported("The body must not be compressed.");
        return Err(problem.with_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let Some(content_type) = types.next() else {
        return Err(unsupported("The request has no `Content-Type`; send `application/json`."));
    };
    let text = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parameters = text.split(';').map(str::trim);
    let essence = parameters.next().unwrap_or_default();
    let suffixed = essence.strip_prefix("application/").and_then(|subtype| subtype.strip_suffix("+json"));
    if types.next().is_some()
        || !(essence == "application/json" || suffixed.is_some_and(|subtype| !subtype.is_empty()))
    {
        return Err(unsupported("The body has to be `application/json`."));
    }
    for parameter in parameters {
        if let Some((name, charset)) = parameter.split_once('=')
            && name.trim_end() == "charset"
            && !matches!(charset.trim().trim_matches('"'), "utf-8" | "utf8")
        {
            return Err(unsupported("JSON is sent in UTF-8."));
        }
    }
    Ok(())
}

fn unsupported(detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).with_detail(detail)
}

pub(crate) fn unread(rejection: &BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => too_large(),
        _ => broken_off(),
    }
}

pub(crate) fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail("The body is too large.")
}

pub(crate) fn broken_off() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).with_detail("The body could not be read to its end.")
}

/// A body as a value.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if let Err(error) = str::from_utf8(bytes) {
        return Err(malformed("The body is not UTF-8.", position(bytes, error.valid_up_to())));
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        return Err(malformed("The body begins with a byte order mark.", (1, 1)));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(malformed("The body is empty.", (1, 1)));
    }
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // A body of the wrong shape may be broken further on; then it is no JSON in the first place.
    let broken = match error.classify() {
        Category::Data => serde_json::from_slice::<IgnoredAny>(bytes).err(),
        _ => Some(error),
    };
    Err(match broken {
        Some(error) => malformed(short(error.to_string()), (error.line(), error.column())),
        None => misshapen::<T>(bytes),
    })
}

fn malformed(detail: impl Into<Cow<'static, str>>, (line, column): (usize, usize)) -> Problem {
    let problem = Problem::of(problem::MALFORMED_JSON).with_detail(detail);
    problem.with_member("line", line).with_member("column", column)
}

/// Parses once more, with axum's extractor: it keeps track of the path, which costs time that a good body need not pay.
fn misshapen<T: DeserializeOwned>(bytes: &[u8]) -> Problem {
    let problem = Problem::of(problem::INVALID_BODY);
    let Err(JsonRejection::JsonDataError(rejection)) = axum::Json::<T>::from_bytes(bytes) else {
        return problem;
    };
    let Some(message) = rejection.source().map(ToString::to_string) else { return problem };
    let at = serde_json::from_slice::<T>(bytes).err().map(|error| format!(": {error}"));
    let path = at.and_then(|at| message.strip_suffix(&at).map(ToOwned::to_owned));
    let problem = problem.with_detail(short(message));
    match path {
        Some(path) => problem.with_member("path", short(path)),
        None => problem,
    }
}

/// The line and the column of a byte, both from 1.
fn position(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (before.iter().filter(|byte| **byte == b'\n').count() + 1, before.len() - line_start + 1)
}

fn short(mut text: String) -> String {
    if text.len() > DETAIL_BYTES {
        text.truncate(text.floor_char_boundary(DETAIL_BYTES));
        text.push('…');
    }
    text
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "a response cannot be encoded");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Cart {
        items: Vec<Item>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Item {
        sku: String,
        count: u8,
    }

    #[test]
    fn a_body_that_is_no_json_is_refused_with_its_position() {
        let cases: &[(&[u8], &str, u64, u64)] = &[
            (b"", "empty", 1, 1),
            (b" \n\t ", "empty", 1, 1),
            (b"{", "EOF", 1, 1),
            (b"{\"items\":\n [}", "expected value", 2, 3),
            (b"{\"items\":[]} 1", "trailing characters", 1, 14),
            (b"\xef\xbb\xbf{}", "byte order mark", 1, 1),
            (b"{\"items\":[\n\"\xff\"]}", "UTF-8", 2, 2),
            (b"{\"items\": NaN}", "expected", 1, 11),
            (b"{'items': []}", "key must be a string", 1, 2),
            // The shape is wrong from the first byte on, but this is no JSON at all.
            (b"[1, 2", "EOF", 1, 5),
        ];
        for (body, detail, line, column) in cases {
            let problem = parse::<Cart>(body).unwrap_err();
            assert!(problem.is(problem::MALFORMED_JSON), "{body:?}: {problem}");
            assert!(problem.detail().unwrap().contains(detail), "{body:?}: {problem}");
            let shown = format!("{problem:?}");
            assert!(shown.contains(&format!("\"line\": Number({line})")), "{body:?}: {shown}");
            assert!(shown.contains(&format!("\"column\": Number({column})")), "{body:?}: {shown}");
        }
    }

    #[test]
    fn what_json_cannot_hold_is_malformed_too() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        for body in [deep.as_str(), "1e400", "\"\\ud800\""] {
            let problem = parse::<serde_json::Value>(body.as_bytes()).unwrap_err();
            assert!(problem.is(problem::MALFORMED_JSON), "{body}: {problem}");
        }
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert!(parse::<serde_json::Value>(deep.as_bytes()).is_ok());
    }

    #[test]
    fn another_shape_is_refused_with_its_path() {
        let cases = [
            (r#"{"items": [{"sku": "a", "count": 1}, {"sku": 7, "count": 1}]}"#, Some("items[1].sku")),
            (r#"{"items": [{"sku": "a", "count": 300}]}"#, Some("items[0].count")),
            (r#"{"items": [{"sku": "a"}]}"#, Some("items[0]")),
            (r#"{"items": null}"#, Some("items")),
            ("{}", None),
            ("null", None),
            ("7", None),
            ("[1]", Some("[0]")),
        ];
        for (body, path) in cases {
            let problem = parse::<Cart>(body.as_bytes()).unwrap_err();
            assert!(problem.is(problem::INVALID_BODY), "{body}: {problem}");
            let shown = format!("{problem:?}");
            match path {
                Some(path) => {
                    assert!(shown.contains(&format!("\"path\": String(\"{path}\")")), "{body}: {shown}")
                }
                None => assert!(!shown.contains("\"path\""), "{body}: {shown}"),
            }
        }
    }

    #[test]
    fn a_long_value_is_not_sent_back() {
        let body = format!(r#"{{"items": "{}"}}"#, "é".repeat(10_000));
        let problem = parse::<Cart>(body.as_bytes()).unwrap_err();
        assert!(problem.detail().unwrap().len() < 310);
    }

    #[test]
    fn the_headers_decide_whether_it_is_json_at_all() {
        let cases: &[(&[(http::HeaderName, &str)], bool)] = &[
            (&[(CONTENT_TYPE, "application/json")], true),
            (&[(CONTENT_TYPE, "Application/JSON; Charset=UTF-8")], true),
            (&[(CONTENT_TYPE, "application/json; charset=\"utf-8\"")], true),
            (&[(CONTENT_TYPE, "application/json;charset=utf8; x=y")], true),
            (&[(CONTENT_TYPE, "application/vnd.shop.cart+json")], true),
            (&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "identity")], true),
            (&[], false),
            (&[(CONTENT_TYPE, "")], false),
            (&[(CONTENT_TYPE, "text/plain")], false),
            (&[(CONTENT_TYPE, "text/json")], false),
            (&[(CONTENT_TYPE, "application/+json")], false),
            (&[(CONTENT_TYPE, "application/jsonp")], false),
            (&[(CONTENT_TYPE, "application/x-www-form-urlencoded")], false),
            (&[(CONTENT_TYPE, "multipart/form-data; boundary=x")], false),
            (&[(CONTENT_TYPE, "application/json; charset=utf-16")], false),
            (&[(CONTENT_TYPE, "application/json; charset=latin1; charset=utf-8")], false),
            (&[(CONTENT_TYPE, "application/json"), (CONTENT_TYPE, "text/plain")], false),
            (&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")], false),
            (&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "identity, gzip")], false),
        ];
        for (given, good) in cases {
            let pair = |(name, value): &(http::HeaderName, &'static str)| {
                (name.clone(), HeaderValue::from_static(value))
            };
            let headers = given.iter().map(pair).collect();
            assert_eq!(content(&headers).is_ok(), *good, "{given:?}");
        }
    }
}
