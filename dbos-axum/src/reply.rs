//! The answers about a workflow: 202 while it is at work, 200 once it has ended, and headers that say which it is.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{DurableError, Error, ErrorKind, WorkflowHandle, WorkflowId, WorkflowStatus};
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::ctx::DbosCtx;
use crate::json::Json;
use crate::layer::Settings;
use crate::prefer::{self, PreferWait};
use crate::problem::{Problem, Seen};

const WORKFLOW_ID: HeaderName = HeaderName::from_static("dbos-workflow-id");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A workflow that was started, or found under the request's key.
///
/// As a response it is 202 with the workflow's id, its status and where to ask for more, in the body and in
/// `dbos-workflow-id` and `Location`. A workflow that was found is marked `Idempotent-Replayed: true`.
///
/// To answer with the result instead, [`wait`](Self::wait) for it.
#[derive(Debug)]
pub struct Started<O> {
    handle: WorkflowHandle<O>,
    status: Option<WorkflowStatus>,
    settings: Arc<Settings>,
    draining: CancellationToken,
    seen: Arc<Seen>,
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
    /// The wait ends early when the server drains its requests, or when too many wait already
    /// ([`DbosLayer::long_polls`](crate::DbosLayer::long_polls)); the answer is 202 then.
    ///
    /// # Errors
    ///
    /// 404 when somebody deletes the workflow meanwhile, 500 when its result is of another type.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it only stops the waiting.
    pub async fn wait(self, wait: PreferWait) -> Result<Reply<O>, Problem> {
        let outcome = match self.patience(&wait) {
            Some((limit, _permit)) => tokio::select! {
                outcome = outcome(&self.handle) => outcome,
                () = tokio::time::sleep(limit) => Ok(None),
                () = self.draining.cancelled() => Ok(None),
            },
            None if self.status.is_some_and(WorkflowStatus::is_terminal) => outcome(&self.handle).await,
            None => Ok(None),
        };
        let outcome = outcome.map_err(|problem| problem.within(&self.seen))?;
        // A wait that was cut short is not what the client preferred.
        let waited = outcome.is_some() || !self.draining.is_cancelled();
        let applied = prefer::applied(&wait, waited, outcome.is_none());
        Ok(Reply { started: self, outcome, applied })
    }

    fn patience(&self, wait: &PreferWait) -> Option<(std::time::Duration, tokio::sync::OwnedSemaphorePermit)> {
        let limit = Some(wait.duration()).filter(|limit| !limit.is_zero())?;
        Some((limit, Arc::clone(&self.settings.long_polls).try_acquire_owned().ok()?))
    }
}
