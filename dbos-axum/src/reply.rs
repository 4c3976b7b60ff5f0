//! The answers about a workflow: 202 while it is at work, 200 once it has ended, and headers that say which it is.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{
    Dbos, DurableError, Outcome, Timestamp, WorkflowHandle, WorkflowId, WorkflowInfo, WorkflowStatus,
};
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::json::Json;
use crate::links::Links;
use crate::outcome;
use crate::patience::{Looked, Patience};
use crate::prefer::{self, PreferWait};
use crate::problem::Problem;
use crate::seen::Seen;

const WORKFLOW_ID: HeaderName = HeaderName::from_static("dbos-workflow-id");
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");

/// What the answer about a workflow takes from its request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) dbos: Dbos,
    pub(crate) patience: Patience,
    pub(crate) links: Links,
    pub(crate) seen: Arc<Seen>,
}

/// A workflow that was started, or found under the request's key.
///
/// As a response it is 202 with the workflow's id, its status and where to ask for more, in the body and in
/// `dbos-workflow-id` and `Location`, which leads to the [`WorkflowApi`](crate::WorkflowApi): mount one, at `/dbos` or
/// where [`api_at`](crate::DbosLayer::api_at) says. A workflow that was found is marked `Idempotent-Replayed: true`.
///
/// To answer with the result instead, [`wait`](Self::wait) for it.
#[derive(Debug)]
pub struct Started<O> {
    handle: WorkflowHandle<O>,
    status: Option<WorkflowStatus>,
    /// When its key may be forgotten, if that is known.
    expires: Option<Timestamp>,
    pub(crate) asked: Asked,
}

impl<O> Started<O> {
    pub(crate) fn new(handle: WorkflowHandle<O>, status: Option<WorkflowStatus>, asked: Asked) -> Self {
        Self { handle, status, expires: None, asked }
    }

    /// One that was found, with its facts.
    pub(crate) fn found(handle: WorkflowHandle<O>, info: &WorkflowInfo, asked: Asked) -> Self {
        let expires = info.completed_at.zip(asked.dbos.kept_for()).map(|(end, stay)| end.after(stay));
        Self { handle, status: info.status, expires, asked }
    }

    /// The workflow's id.
    pub fn id(&self) -> &WorkflowId {
        self.handle.id()
    }

    /// Whether the workflow was there before this request.
    pub fn replayed(&self) -> bool {
        !self.handle.created()
    }

    /// The workflow itself.
    pub fn handle(&self) -> &WorkflowHandle<O> {
        &self.handle
    }

    /// Whether it had ended when it was found.
    pub(crate) fn ended(&self) -> bool {
        self.status.is_some_and(WorkflowStatus::is_terminal)
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        name(&mut headers, self.id());
        if self.replayed() {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(expires) = self.expires.and_then(|at| HeaderValue::try_from(at.to_string()).ok()) {
            headers.insert(EXPIRES, expires);
        }
        headers
    }
}

impl<O: DeserializeOwned> Started<O> {
    /// Waits for the workflow as long as the client prefers, at most 25 seconds, and not at all if it did not say.
    ///
    /// The wait ends early when the server drains its requests, and there is none when too many wait already
    /// ([`DbosLayer::long_polls`](crate::DbosLayer::long_polls)); the answer is 202 then.
    ///
    /// # Errors
    ///
    /// 404 when somebody deletes the workflow meanwhile, 500 when its result is of another type, 503 when the database
    /// is away.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it only stops the waiting.
    pub async fn wait(self, wait: PreferWait) -> Result<Reply<O>, Problem> {
        let looked = self.asked.patience.outcome(&self.handle, self.ended(), wait).await;
        let Looked { found, applied } =
            looked.map_err(|error| Problem::from(error).within(&self.asked.seen))?;
        Ok(Reply { started: self, outcome: found, applied })
    }
}

impl<O> IntoResponse for Started<O> {
    fn into_response(self) -> Response {
        let links = &self.asked.links;
        let link = links.workflow(self.id());
        let mut headers = self.headers();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        if let Ok(location) = HeaderValue::try_from(&link) {
            headers.insert(LOCATION, location);
        }
        let body = json!({
            "workflow_id": self.id(),
            "status": self.status,
            "replayed": self.replayed(),
            "links": {"self": link, "result": links.result(self.id())},
        });
        (StatusCode::ACCEPTED, headers, Json(body)).into_response()
    }
}

/// The answer of a handler that waited for its workflow.
///
/// As a response it is 200 with the outcome once the workflow has ended, however it ended: the request was answered.
/// While the workflow is at work it is 202, as [`Started`]. `Preference-Applied` says what was done for the client's
/// `Prefer`.
#[derive(Debug)]
pub struct Reply<O> {
    started: Started<O>,
    outcome: Option<Outcome<O>>,
    applied: Option<HeaderValue>,
}

impl<O> Reply<O> {
    /// The workflow's id.
    pub fn id(&self) -> &WorkflowId {
        self.started.id()
    }

    /// Whether the workflow was there before this request.
    pub fn replayed(&self) -> bool {
        self.started.replayed()
    }

    /// How the workflow ended; nothing while it is at work.
    pub fn outcome(&self) -> Option<&Outcome<O>> {
        self.outcome.as_ref()
    }

    /// The workflow's result; nothing while it is at work or when it ended otherwise.
    pub fn into_output(self) -> Option<O> {
        match self.outcome {
            Some(Outcome::Success(output)) => Some(output),
            _ => None,
        }
    }

    /// The same, but an error of the workflow becomes the response that the application has for it.
    ///
    /// # Errors
    ///
    /// The workflow's own error, as a problem.
    ///
    /// # Examples
    ///
    /// ```
    /// # use axum::http::StatusCode;
    /// # use dbos_axum::{DbosCtx, PreferWait, Problem, Reply};
    /// # use dbos_runtime::{Ctx, Error, workflow};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Debug, Serialize, Deserialize, thiserror::Error)]
    /// enum SaleError {
    ///     #[error("sold out")]
    ///     SoldOut,
    ///     #[error(transparent)]
    ///     Runtime(#[from] Error),
    /// }
    ///
    /// impl From<SaleError> for Problem {
    ///     fn from(error: SaleError) -> Self {
    ///         match error {
    ///             SaleError::SoldOut => Problem::new(StatusCode::CONFLICT).with_detail("Sold out."),
    ///             SaleError::Runtime(error) => error.into(),
    ///         }
    ///     }
    /// }
    /// # #[workflow]
    /// # async fn sell(_: Ctx<(), SaleError>, _: u32) -> Result<u32, SaleError> { Err(SaleError::SoldOut) }
    ///
    /// async fn handler(ctx: DbosCtx, wait: PreferWait) -> Result<Reply<u32>, Problem> {
    ///     ctx.start(sell, 7).await?.wait(wait).await?.or_problem::<SaleError>()
    /// }
    /// # let _ = axum::Router::<()>::new().route("/", axum::routing::post(handler));
    /// ```
    pub fn or_problem<E: DurableError + Into<Problem>>(self) -> Result<Self, Problem> {
        match self.outcome {
            Some(Outcome::Failed(error)) => {
                let problem: Problem = outcome::typed::<E>(error).into();
                Err(problem.within(&self.started.asked.seen))
            }
            _ => Ok(self),
        }
    }
}

impl<O: Serialize> IntoResponse for Reply<O> {
    fn into_response(self) -> Response {
        let mut response = match self.outcome {
            Some(outcome) => {
                let body = outcome::body(&outcome, self.started.id());
                (self.started.headers(), Json(body)).into_response()
            }
            None => self.started.into_response(),
        };
        prefer::applied(&mut response, self.applied);
        response
    }
}

/// Says which workflow a response is about.
pub(crate) fn name(headers: &mut HeaderMap, id: &WorkflowId) {
    // An id has no control characters, so it is a header's value; were it none, the body has it.
    if let Ok(id) = HeaderValue::from_bytes(id.as_str().as_bytes()) {
        headers.insert(WORKFLOW_ID, id);
    }
}
