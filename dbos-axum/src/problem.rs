//! Every error as `application/problem+json` (RFC 9457). Nothing internal leaves: a database's text, a panic's
//! message or a type's name go to the log, and the client gets a stable type with a sentence of ours.
//!
//! The `type` of a problem is the address of its heading below; a plain status has `about:blank`. Where a problem is
//! one of DBOS's own failures, `dbos_error` and `dbos_error_code` name it as the other SDKs do, and `workflow_id` says
//! which workflow it is about. `source` tells a failure of the request (`http`) from one of the workflow behind it.
//!
//! # idempotency-key-missing
//!
//! 400. The operation takes an idempotency key and the request has none.
//!
//! # idempotency-key-invalid
//!
//! 400. The key breaks the [rule for keys](crate::IdempotencyKey), or two headers disagree.
//!
//! # idempotency-key-reused
//!
//! 422. The key was used before, with another input.
//!
//! # idempotency-key-in-use
//!
//! 409. The request that used the key first is still at work. Only where a layer
//! [asks for it](crate::Concurrent::Conflict).
//!
//! # workflow-id-conflict
//!
//! 409. The id belongs to another workflow.
//!
//! # workflow-not-found
//!
//! 404. There is no such workflow, or it belongs to somebody else.
//!
//! # workflow-cancelled
//!
//! 409. The workflow was cancelled.
//!
//! # workflow-failed
//!
//! 500. The workflow behind the request ended with an error that the handler did not expect.
//!
//! # event-never-set
//!
//! 404. The workflow has ended without publishing the event.
//!
//! # invalid-argument
//!
//! 400. A part of the request breaks a documented limit; `detail` says which.
//!
//! # unauthenticated
//!
//! 401. The operation needs to know who is asking.
//!
//! # malformed-json
//!
//! 400. The body is no JSON; `line` and `column` say where it stops to be.
//!
//! # invalid-body
//!
//! 422. The body is JSON of another shape than the operation takes; `path` says where, if that is known.
//!
//! # unavailable
//!
//! 503. The database is away, or this process is shutting down. The same request may succeed soon.

use std::borrow::Cow;
use std::fmt;

use axum::extract::OriginalUri;
use axum::response::{IntoResponse, Response};
use dbos_runtime::{Error, ErrorKind, WorkflowId};
use http::header::{CONTENT_TYPE, LINK, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::{Map, Value};

/// Where the headings above are published.
const CATALOGUE: &str = "https://docs.rs/dbos-axum/latest/dbos_axum/problem/";

/// Paths longer than this are not repeated in an answer.
const INSTANCE_BYTES: usize = 2048;

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

/// A heading of the catalogue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    slug: &'static str,
    status: StatusCode,
    title: &'static str,
}

macro_rules! catalogue {
    ($($name:ident $slug:literal $status:ident $title:literal)*) => {
        $(pub(crate) const $name: Kind = Kind { slug: $slug, status: StatusCode::$status, title: $title };)*

        #[cfg(test)]
        const CATALOGUED: &[Kind] = &[$($name),*];
    };
}

catalogue! {
    KEY_MISSING "idempotency-key-missing" BAD_REQUEST "An idempotency key is needed"
    KEY_INVALID "idempotency-key-invalid" BAD_REQUEST "The idempotency key is not valid"
    KEY_REUSED "idempotency-key-reused" UNPROCESSABLE_ENTITY "The idempotency key was used with another input"
    KEY_IN_USE "idempotency-key-in-use" CONFLICT "The first request with this idempotency key is still at work"
    ID_CONFLICT "workflow-id-conflict" CONFLICT "The id belongs to another workflow"
    NOT_FOUND "workflow-not-found" NOT_FOUND "There is no such workflow"
    CANCELLED "workflow-cancelled" CONFLICT "The workflow was cancelled"
    FAILED "workflow-failed" INTERNAL_SERVER_ERROR "The workflow failed"
    EVENT_NEVER_SET "event-never-set" NOT_FOUND "The workflow ended without publishing the event"
    INVALID_ARGUMENT "invalid-argument" BAD_REQUEST "A part of the request is not valid"
    UNAUTHENTICATED "unauthenticated" UNAUTHORIZED "The operation needs to know who is asking"
    MALFORMED_JSON "malformed-json" BAD_REQUEST "The body is no JSON"
    INVALID_BODY "invalid-body" UNPROCESSABLE_ENTITY "The body has another shape than the operation takes"
    UNAVAILABLE "unavailable" SERVICE_UNAVAILABLE "The service cannot answer now"
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

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.type_uri().strip_prefix(CATALOGUE).and_then(|rest| rest.strip_prefix('#')) == Some(kind.slug)
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

    /// Says which request it was, unless that is said already.
    pub(crate) fn within(mut self, seen: &Seen) -> Self {
        if self.repr.instance.is_none() && seen.uri.path().len() <= INSTANCE_BYTES {
            self.repr.instance = Some(seen.uri.path().to_owned());
        }
        if let Some(id) = &seen.request_id {
            self.repr.members.entry("request_id").or_insert_with(|| Value::from(id.as_str()));
        }
        self
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

/// A failure of the runtime as what a client may know of it. What the client may not know is logged here.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        let problem = match kind {
            // The messages of these name a field and its limit, and nothing else.
            ErrorKind::InvalidArgument => Self::of(INVALID_ARGUMENT).with_detail(error.to_string()),
            ErrorKind::NonExistentWorkflow => Self::of(NOT_FOUND),
            ErrorKind::ConflictingWorkflow => Self::of(ID_CONFLICT),
            ErrorKind::InputMismatch => Self::of(KEY_REUSED),
            ErrorKind::Cancelled | ErrorKind::AwaitedWorkflowCancelled => Self::of(CANCELLED),
            ErrorKind::Unavailable | ErrorKind::ShuttingDown | ErrorKind::Initialization => {
                tracing::warn!(%error, "a request was turned away");
                Self::of(UNAVAILABLE).with_header(RETRY_AFTER, HeaderValue::from_static("2"))
            }
            ErrorKind::Foreign | ErrorKind::MaxStepRetriesExceeded | ErrorKind::MaxRecoveryAttemptsExceeded => {
                tracing::error!(%error, workflow.id = error.workflow_id().map(WorkflowId::as_str), "a workflow failed");
                Self::of(FAILED).with_member("source", "workflow")
            }
            _ => {
                tracing::error!(%error, ?kind, "a request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        let problem = match (kind.code(), problem.status()) {
            (Some(code), status) if status != StatusCode::INTERNAL_SERVER_ERROR => {
                problem.with_member("dbos_error", kind.name()).with_member("dbos_error_code", code)
            }
            _ => problem,
        };
        match error.workflow_id() {
            Some(id) => problem.about(id),
            None => problem,
        }
    }
}

/// What an answer repeats of its request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    uri: Uri,
    request_id: Option<String>,
}

impl Seen {
    pub(crate) fn of(parts: &Parts) -> Self {
        let original = parts.extensions.get::<OriginalUri>();
        let request_id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        Self {
            uri: original.map_or_else(|| parts.uri.clone(), |original| original.0.clone()),
            request_id: request_id.filter(|id| (1..=128).contains(&id.len())).map(ToOwned::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_heading() {
        let page = include_str!("problem.rs");
        for kind in CATALOGUED {
            assert!(page.contains(&format!("\n//! # {}\n//!\n//! {}", kind.slug, kind.status.as_u16())), "{kind:?}");
        }
    }

    #[test]
    fn the_members_of_the_standard_are_not_replaced() {
        let problem = Problem::of(KEY_REUSED).with_member("status", 200).with_member("hint", "another key");
        let (status, _, body) = problem.body();
        assert_eq!((status.as_u16(), &body["status"], &body["hint"]), (422, &422.into(), &"another key".into()));
        assert_eq!(body["type"], format!("{CATALOGUE}#idempotency-key-reused"));
        assert_eq!(body["source"], "http");
    }

    #[test]
    fn a_broken_limit_is_named_and_nothing_else_is() {
        let error = WorkflowId::parse("x".repeat(513)).unwrap_err();
        let problem = Problem::from(error);
        assert!(problem.is(INVALID_ARGUMENT));
        assert_eq!(problem.detail(), Some("workflow id has 513 bytes; the limit is 512"));
    }

    #[test]
    fn each_kind_of_failure_has_its_status_and_keeps_its_message() {
        let cases = [
            ("NonExistentWorkflow", 404, Some(5)),
            ("ConflictingWorkflow", 409, Some(9)),
            ("InputMismatch", 422, None),
            ("Cancelled", 409, Some(10)),
            ("AwaitedWorkflowCancelled", 409, Some(13)),
            ("Unavailable", 503, None),
            ("ShuttingDown", 503, None),
            ("Initialization", 503, Some(3)),
            ("NotRegistered", 500, None),
            ("Database", 500, None),
            ("Transaction", 500, None),
            ("Panicked", 500, None),
            ("Serialization", 500, None),
            ("Foreign", 500, None),
        ];
        for (kind, status, code) in cases {
            // An error of the runtime is made by the runtime alone, but it can be read back.
            let stored = serde_json::json!({"kind": kind, "message": "secret", "workflow_id": "w-1"});
            let error: Error = serde_json::from_value(stored).unwrap();
            let (answered, headers, body) = Problem::from(error).body();
            assert_eq!(answered.as_u16(), status, "{kind}");
            assert_eq!(body.get("dbos_error_code").and_then(Value::as_u64), code, "{kind}");
            assert_eq!(headers.contains_key(RETRY_AFTER), status == 503, "{kind}");
            assert!(!body.to_string().contains("secret"), "{kind}: {body}");
            assert_eq!(body["workflow_id"], "w-1");
        }
    }
}
