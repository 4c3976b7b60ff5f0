//! A start on behalf of a request, and what can be said about it.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use dbos_runtime::{Error, Start};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ctx::DbosCtx;
use crate::problem::{self, Problem};
use crate::reply::Started;

/// Attributes that belong to the runtimes, the tenant of a workflow's owner among them.
const INTERNAL: &str = "dbos.";

/// A start under the request's idempotency key, which can be configured before it is awaited: what
/// [`DbosCtx::start`] returns.
///
/// The key, the caller and the trace are the context's. A start that comes again under the key is compared by its input
/// alone, so what is said here counts for the first one. Two verbs of a [`Start`](dbos_runtime::Start) are missing on
/// purpose: the id comes from the key, and a debounced start replaces the input of the one before, whose key it was.
///
/// # Errors
///
/// As [`DbosCtx::start`] has them; and 400 for what does not go together or breaks a rule, 409 when a deduplication id is
/// taken.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have started the workflow; the same request again tells.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use dbos_axum::{DbosCtx, Json, Principal, Problem, Started};
/// # use dbos_runtime::{Ctx, Error, workflow};
/// # #[workflow] async fn report(_: Ctx, month: String) -> Result<u32, Error> { Ok(month.len() as u32) }
///
/// async fn order(ctx: DbosCtx, user: Principal, Json(month): Json<String>) -> Result<Started<u32>, Problem> {
///     let ctx = ctx.on_behalf_of(&user);
///     ctx.start(report, month).queue("reports").priority(3).timeout(Duration::from_secs(600)).await
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::post(order));
/// ```
#[must_use = "a start does nothing until it is awaited"]
pub struct KeyedStart<T> {
    ctx: DbosCtx,
    workflow: String,
    start: Result<Start<T, Error>, Problem>,
}

impl<T> KeyedStart<T> {
    pub(crate) fn new(ctx: DbosCtx, workflow: &str, start: Start<T, Error>) -> Self {
        Self { ctx, workflow: workflow.to_owned(), start: Ok(start) }
    }

    /// Puts the workflow on a queue, for whichever process claims it. A queue that is not registered keeps it until it
    /// is.
    pub fn queue(self, queue: &str) -> Self {
        self.with(|start| start.queue(queue))
    }

    /// Its place on the queue: 1 and up, lower first. One without a priority goes before all that have one.
    pub fn priority(self, priority: u32) -> Self {
        self.with(|start| start.priority(priority))
    }

    /// Its part of a partitioned queue.
    pub fn partition_key(self, key: &str) -> Self {
        self.with(|start| start.partition_key(key))
    }

    /// At most one workflow on the queue has this id at a time, from here until it has ended. Another one is refused with
    /// 409, which names the one that is there to its owner.
    pub fn deduplication_id(self, id: &str) -> Self {
        self.with(|start| start.deduplication_id(id))
    }

    /// Attaches to the workflow that holds the deduplication id, if that is the caller's, instead of being refused. The
    /// key has started nothing then: when it comes again after that workflow has ended, it starts one.
    pub fn attach_to_duplicate(self) -> Self {
        self.with(Start::attach_to_duplicate)
    }

    /// Not claimed before this time has passed. It needs a queue.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|start| start.delay(delay))
    }

    /// How long the workflow may take, from its start or from its claim, through restarts. Past that it is cancelled.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|start| start.timeout(timeout))
    }

    /// The version of the code that may claim it, instead of this one. It needs a queue.
    pub fn application_version(self, version: &str) -> Self {
        self.with(|start| start.application_version(version))
    }

    /// The application that may claim it, instead of this one. It needs a queue.
    pub fn application(self, name: &str) -> Self {
        self.with(|start| start.application(name))
    }

    /// Stores the input and the outcome as portable JSON whatever serializer is configured: for workflows of other
    /// languages.
    pub fn portable(self) -> Self {
        self.with(Start::portable)
    }

    /// Attributes to find the workflow by, in place of any set before: a JSON object of at most 64 KiB, without NUL in its
    /// texts. Names that begin with `dbos.` belong to the runtimes and are refused.
    pub fn attributes(self, attributes: &Map<String, Value>) -> Self {
        self.unreserved(attributes.keys()).with(|start| start.attributes(attributes))
    }

    /// One attribute more; see [`attributes`](Self::attributes).
    pub fn attribute(self, key: &str, value: impl Into<Value>) -> Self {
        self.unreserved([key]).with(|start| start.attribute(key, value))
    }

    fn with(self, change: impl FnOnce(Start<T, Error>) -> Start<T, Error>) -> Self {
        Self { start: self.start.map(change), ..self }
    }

    fn unreserved(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        if names.into_iter().any(|name| name.as_ref().starts_with(INTERNAL)) {
            let detail = "An attribute's name must not begin with `dbos.`.";
            return Self { start: Err(Problem::of(problem::INVALID_ARGUMENT).with_detail(detail)), ..self };
        }
        self
    }
}

impl<T> fmt::Debug for KeyedStart<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedStart").field("workflow", &self.workflow).finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> IntoFuture for KeyedStart<T> {
    type Output = Result<Started<T>, Problem>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { ctx, workflow, start } = self;
        Box::pin(async move { ctx.perform(&workflow, start).await })
    }
}
