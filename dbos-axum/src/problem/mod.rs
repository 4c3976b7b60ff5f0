//! Every error as `application/problem+json` (RFC 9457). Nothing internal leaves: a database's text, a panic's
//! message or a type's name go to the log, and the client gets a stable type with a sentence of ours.
//!
//! The `type` of a problem is the address of its heading below; a plain status has `about:blank`. Where a problem is
//! one of DBOS's own failures, `dbos_error` and `dbos_error_code` name it as the other SDKs do, and `workflow_id` says
//! which workflow it is about. `source` tells a failure of the request (`http`) from one of the workflow behind it.
//!
//! # idempotency-key-missing
//!
//! Status 400. The operation takes an idempotency key and the request has none.
//!
//! # idempotency-key-invalid
//!
//! Status 400. The key breaks the [rule for keys](crate::IdempotencyKey), or two headers disagree.
//!
//! # idempotency-key-reused
//!
//! Status 422. The key was used before, with another input.
//!
//! # idempotency-key-in-use
//!
//! Status 409. The first request with the key is still at work. Only where a layer
//! [answers so](crate::Concurrent::Conflict).
//!
//! # workflow-id-conflict
//!
//! Status 409. The id belongs to another workflow.
//!
//! # queue-deduplicated
//!
//! Status 409. Another workflow on the queue holds the deduplication id. `workflow_id` names it, if it is the caller's.
//!
//! # name-in-use
//!
//! Status 409. The name is taken.
//!
//! # not-authorized
//!
//! Status 403. The caller has none of the roles that the workflow requires.
//!
//! # workflow-not-exposed
//!
//! Status 404. There is no workflow of that name, or clients may not start it.
//!
//! # workflow-not-found
//!
//! Status 404. There is no such workflow, or it belongs to somebody else.
//!
//! # workflow-ended
//!
//! Status 409. The workflow has ended already, so it cannot be cancelled.
//!
//! # workflow-cancelled
//!
//! Status 409. The workflow was cancelled.
//!
//! # workflow-failed
//!
//! Status 500. The workflow behind the request ended with an error that the handler did not expect.
//!
//! # event-never-set
//!
//! Status 404. The workflow has ended without publishing the event.
//!
//! # invalid-argument
//!
//! Status 400. A part of the request breaks a documented limit; `detail` says which.
//!
//! # unauthenticated
//!
//! Status 401. The operation needs to know who is asking.
//!
//! # cross-site-request
//!
//! Status 403. A page of another site made a browser send the request. With `Content-Type: application/json` it is
//! taken, where the application allows that site with a CORS layer.
//!
//! # malformed-json
//!
//! Status 400. The body is not JSON; `line` and `column` say where it stops being JSON.
//!
//! # invalid-body
//!
//! Status 422. The body is JSON of another shape than the operation takes; `path` says where, if that is known.
//!
//! # timeout
//!
//! Status 504. The answer took longer than the time limit for it.
//!
//! # delivery-unverified
//!
//! Status 401. A webhook without a signature, or with one that does not fit; a callback that is forged or has expired.
//!
//! # delivery-invalid
//!
//! Status 400. A webhook that can be read in no way, or in more than one; `detail` says why.
//!
//! # unavailable
//!
//! Status 503. The database is away, or this process is shutting down. The same request may succeed soon.

mod catalogue;
mod failure;

use std::borrow::Cow;
use std::fmt;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{ErrorKind, WorkflowId};
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::meter;
use crate::seen::Seen;

pub(crate) use catalogue::*;

/// Where the headings above are published.
const CATALOGUE: &str = "https://docs.rs/dbos-axum/latest/dbos_axum/problem/";

/// An error response. Handlers return it, and `?` makes it from the runtime's errors.
///
/// # Examples
///
/// ```
/// use axum::http::StatusCode;
/// use dbos_axum::Problem;
///
/// async fn order(id: u64) -> Result<&'static str, Problem> {
///     Err(Problem::new(StatusCode::GONE).with_detail(format!("Order {id} was archived.")))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let problem = order(7).await.unwrap_err();
/// assert_eq!(problem.status(), StatusCode::GONE);
/// assert_eq!(problem.type_uri(), "about:blank");
/// # });
/// ```
#[derive(Clone)]
pub struct Problem {
    // One word wide: it is the error of every handler.
    repr: Box<Repr>,
}

#[derive(Clone, Debug)]
struct Repr {
    status: StatusCode,
    kind: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
    instance: Option<String>,
    members: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    /// The plain problem of a status: type `about:blank`, and the status's own words as the title.
    pub fn new(status: StatusCode) -> Self {
        Self::build(status, Cow::Borrowed("about:blank"), status.canonical_reason().unwrap_or("Error"))
    }

    pub(crate) fn of(kind: Kind) -> Self {
        Self::build(kind.status, Cow::Owned(format!("{CATALOGUE}#{}", kind.slug)), kind.title)
    }

    fn build(status: StatusCode, kind: Cow<'static, str>, title: &'static str) -> Self {
        let repr = Repr {
            status,
            kind,
            title: Cow::Borrowed(title),
            detail: None,
            instance: None,
            members: Map::new(),
            headers: HeaderMap::new(),
        };
        Self { repr: Box::new(repr) }
    }

    /// The address that identifies this kind of problem, best one where a reader finds it explained.
    #[must_use]
    pub fn with_type(mut self, uri: impl Into<Cow<'static, str>>) -> Self {
        self.repr.kind = uri.into();
        self
    }

    /// A few words that are the same for every problem of the type.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.repr.title = title.into();
        self
    }

    /// A sentence about this occurrence, for the person who reads it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.repr.detail = Some(detail.into());
        self
    }

    /// A further member of the body, for programs. The members of RFC 9457 keep their meaning and are not replaced.
    #[must_use]
    pub fn with_member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.repr.members.insert(name.into(), value.into());
        self
    }

    /// A header of the response, in place of any of that name.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.repr.headers.insert(name, value);
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.repr.status
    }

    /// The address that identifies this kind of problem.
    pub fn type_uri(&self) -> &str {
        &self.repr.kind
    }

    /// What is said about this occurrence.
    pub fn detail(&self) -> Option<&str> {
        self.repr.detail.as_deref()
    }

    /// The heading of the catalogue, if it is one of ours.
    fn slug(&self) -> Option<&str> {
        self.type_uri().strip_prefix(CATALOGUE)?.strip_prefix('#')
    }

    #[cfg(test)]
    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.slug() == Some(kind.slug)
    }

    /// Adds a link to the page that explains the problem.
    pub(crate) fn described(self) -> Self {
        let link = HeaderValue::try_from(format!("<{}>; rel=\"describedby\"", self.type_uri()));
        match link {
            Ok(link) => self.with_header(LINK, link),
            Err(_) => self,
        }
    }

    pub(crate) fn about(self, id: &WorkflowId) -> Self {
        self.with_member("workflow_id", id.as_str())
    }

    /// Gives it the name and the number that the other SDKs know it by, if they do.
    pub(crate) fn named(self, kind: ErrorKind) -> Self {
        match kind.code() {
            Some(code) => self.with_member("dbos_error", kind.name()).with_member("dbos_error_code", code),
            None => self,
        }
    }

    /// Says it in the member `error` too, where the admin servers of the other SDKs do.
    #[cfg(feature = "admin")]
    pub(crate) fn with_error_text(self) -> Self {
        let text = self.repr.detail.as_ref().unwrap_or(&self.repr.title).clone().into_owned();
        self.with_member("error", text)
    }

    /// Says which request it was, unless that is said already.
    pub(crate) fn within(mut self, seen: &Seen) -> Self {
        if self.repr.instance.is_none() {
            self.repr.instance = seen.path().map(ToOwned::to_owned);
        }
        if let Some(id) = seen.request_id() {
            self.repr.members.entry("request_id").or_insert_with(|| id.into());
        }
        self
    }

    /// The body alone, for what has no status line any more.
    pub(crate) fn into_json(self) -> Value {
        self.body().2
    }

    fn body(self) -> (StatusCode, HeaderMap, Value) {
        let repr = *self.repr;
        let mut body = Map::new();
        body.insert("type".to_owned(), repr.kind.into());
        body.insert("title".to_owned(), repr.title.into());
        body.insert("status".to_owned(), repr.status.as_u16().into());
        if let Some(detail) = repr.detail {
            body.insert("detail".to_owned(), detail.into());
        }
        if let Some(instance) = repr.instance {
            body.insert("instance".to_owned(), instance.into());
        }
        for (name, value) in repr.members {
            body.entry(name).or_insert(value);
        }
        body.entry("source").or_insert_with(|| Value::from("http"));
        (repr.status, repr.headers, Value::Object(body))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A type of the application's own may be anything.
        match self.slug() {
            Some(slug) => meter::problem(slug),
            None => meter::problem(self.status().as_str()),
        }
        let (status, headers, body) = self.body();
        (status, [(CONTENT_TYPE, "application/problem+json")], headers, body.to_string()).into_response()
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repr.fmt(f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.repr.status.as_u16(), self.repr.title)?;
        match &self.repr.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_the_standard_are_not_replaced() {
        let problem = Problem::of(KEY_REUSED).with_member("status", 200).with_member("hint", "another key");
        let (status, _, body) = problem.body();
        assert_eq!(
            (status.as_u16(), &body["status"], &body["hint"]),
            (422, &422.into(), &"another key".into())
        );
        assert_eq!(body["type"], format!("{CATALOGUE}#idempotency-key-reused"));
        assert_eq!(body["source"], "http");
    }
}
