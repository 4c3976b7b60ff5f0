//! The answers about a workflow: 202 while it is at work, 200 once it has ended, and headers that say which it is.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{DurableError, WorkflowHandle, WorkflowId, WorkflowStatus};
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::ctx::DbosCtx;
use crate::json::Json;
use crate::layer::Settings;
use crate::outcome::{self, Outcome};
use crate::prefer::{self, PreferWait};
use crate::problem::Problem;
use crate::seen::Seen;

const WORKFLOW_ID: HeaderName = HeaderName::from_static("dbos-workflow-id");
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A workflow that was started, or found under the request's key.
///
/// As a response it is 202 with the workflow's id, its status and where to ask for more, in the body and in
/// `dbos-workflow-id` and `Location`. A workflow that was found is marked `Idempotent-Replayed: true`.
///
/// To answer with the result instead, [`wait`](Self::wait) for it.
#[derive(Debug)]
pub struct Started<O> {
    handle: WorkflowHandle<O>,
    pub(crate) status: Option<WorkflowStatus>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) draining: CancellationToken,
    pub(crate) seen: Arc<Seen>,
}

impl<O> Started<O> {
    pub(crate) fn new(ctx: &DbosCtx, handle: WorkflowHandle<O>, status: Option<WorkflowStatus>) -> Self {
        let (settings, draining) = (Arc::clone(&ctx.scope.settings), ctx.draining.clone());
        Self { handle, status, settings, draining, seen: Arc::clone(&ctx.seen) }
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

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        name(&mut headers, self.id());
        if self.replayed() {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
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
        let ended = self.status.is_some_and(WorkflowStatus::is_terminal);
        let permit = if wait.duration().is_zero() { None } else { self.settings.permit() };
        let waited = match permit {
            _ if ended => Outcome::now(&self.handle).await.map(|outcome| (outcome, true)),
            None => Ok((None, false)),
            Some(_permit) => tokio::select! {
                outcome = Outcome::of(&self.handle) => outcome.map(|outcome| (outcome, true)),
                () = tokio::time::sleep(wait.duration()) => Ok((None, true)),
                () = self.draining.cancelled() => Ok((None, false)),
            },
        };
        let (outcome, honoured) = waited.map_err(|problem| problem.within(&self.seen))?;
        let applied = wait.applied(honoured, outcome.is_none());
        Ok(Reply { started: self, outcome, applied })
    }
}

impl<O> IntoResponse for Started<O> {
    fn into_response(self) -> Response {
        let link = self.settings.link(self.id());
        let mut headers = self.headers();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        if let Ok(location) = HeaderValue::try_from(&link) {
            headers.insert(LOCATION, location);
        }
        let body = json!({
            "workflow_id": self.id(),
            "status": self.status,
            "replayed": self.replayed(),
            "links": {"self": link, "result": format!("{link}/result")},
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
                Err(problem.within(&self.started.seen))
            }
            _ => Ok(self),
        }
    }
}

impl<O: Serialize> IntoResponse for Reply<O> {
    fn into_response(self) -> Response {
        let mut response = match self.outcome {
            Some(outcome) => {
                let body = outcome.body(self.started.id());
                (self.started.headers(), Json(body)).into_response()
            }
            None => self.started.into_response(),
        };
        if let Some(applied) = self.applied {
            response.headers_mut().insert(prefer::APPLIED, applied);
        }
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
