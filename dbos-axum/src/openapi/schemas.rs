//! Shapes of bodies that no one type of the house has.
#![expect(dead_code, reason = "only the schemas of these types are wanted")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// An error, as RFC 9457 has it. There may be further members, according to the type.
#[derive(ToSchema)]
pub(crate) struct Problem {
    /// The address that identifies this kind of problem, where it is explained; `about:blank` for a plain status.
    r#type: String,
    /// A few words that are the same for every problem of the type.
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// A sentence about this occurrence.
    #[schema(nullable = false)]
    detail: Option<String>,
    /// The path of the request.
    #[schema(nullable = false)]
    instance: Option<String>,
    /// Whether the request failed, or the workflow behind it.
    source: Source,
    /// The name that the DBOS SDKs have for it.
    #[schema(nullable = false)]
    dbos_error: Option<String>,
    /// The number that the DBOS SDKs have for it.
    #[schema(nullable = false)]
    dbos_error_code: Option<u16>,
    /// The workflow that it is about.
    #[schema(nullable = false)]
    workflow_id: Option<String>,
    /// What a proxy or a middleware called the request, in `X-Request-Id`.
    #[schema(nullable = false)]
    request_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Source {
    Http,
    Workflow,
}

/// A workflow that was started, or found under the request's key.
#[derive(ToSchema)]
pub(crate) struct Started {
    workflow_id: String,
    status: Option<String>,
    /// Whether it was there before.
    replayed: bool,
    links: Links,
}

/// A workflow that has not ended.
#[derive(ToSchema)]
pub(crate) struct Pending {
    workflow_id: String,
    status: String,
    links: Links,
}

/// Where to ask for more.
#[derive(ToSchema)]
struct Links {
    #[schema(rename = "self")]
    this: String,
    result: String,
}

/// How a workflow ended.
#[derive(ToSchema)]
pub(crate) struct Outcome {
    workflow_id: String,
    status: Ending,
    /// Its result, when it ended well.
    #[schema(required = false)]
    output: Value,
    /// Its error, when it failed.
    #[schema(nullable = false)]
    error: Option<Failure>,
    /// That of a result or an error which only another language can read, in their place.
    #[schema(nullable = false)]
    format: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
enum Ending {
    Success,
    Error,
    Cancelled,
    MaxRecoveryAttemptsExceeded,
}

/// A workflow's error.
#[derive(ToSchema)]
struct Failure {
    name: String,
    message: String,
}

/// All that a workflow has published.
#[derive(ToSchema)]
pub(crate) struct Events {
    events: BTreeMap<String, Value>,
}

/// What a workflow has published under a key.
#[derive(ToSchema)]
pub(crate) struct Event {
    key: String,
    value: Value,
}

/// A key under which a workflow has published nothing yet.
#[derive(ToSchema)]
pub(crate) struct Unpublished {
    key: String,
}

/// Whether a process takes work. Operators are told why not, and which process it is.
#[derive(ToSchema)]
pub(crate) struct Readiness {
    status: Ready,
    #[schema(nullable = false)]
    database: Option<bool>,
    #[schema(nullable = false)]
    active: Option<bool>,
    #[schema(nullable = false)]
    draining: Option<bool>,
    #[schema(nullable = false)]
    application: Option<String>,
    #[schema(nullable = false)]
    application_version: Option<String>,
    #[schema(nullable = false)]
    executor_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Ready {
    Ready,
    Unready,
}

/// That the routes are there.
#[derive(ToSchema)]
pub(crate) struct Present {
    status: bool,
}

/// A delivery that was taken.
#[derive(ToSchema)]
pub(crate) struct Delivered {
    /// The source's name for it.
    delivery: String,
    /// Whether it had come before.
    duplicate: bool,
}

/// Each event of a stream; its data are JSON.
#[derive(ToSchema)]
pub(crate) struct ServerSentEvent {
    #[schema(nullable = false)]
    event: Option<String>,
    #[schema(nullable = false)]
    id: Option<String>,
    #[schema(nullable = false)]
    data: Option<String>,
}

/// A message that was sent.
#[derive(ToSchema)]
pub(crate) struct Sent {
    /// Whether one with the same key had been sent before; this one was dropped.
    duplicate: bool,
}

/// A part of a stream.
#[derive(ToSchema)]
pub(crate) struct Page {
    values: Vec<PageValue>,
    /// The offset to go on at.
    #[schema(minimum = 0)]
    next: i64,
    /// Whether there is nothing after these values, for good.
    closed: bool,
}

/// A value of a stream.
#[derive(ToSchema)]
struct PageValue {
    #[schema(minimum = 0)]
    offset: i64,
    value: Value,
}
