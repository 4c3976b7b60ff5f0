//! An event of a workflow as an answer: there, not yet, or never.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{Error, WorkflowHandle, WorkflowId, WorkflowStatus};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

use crate::access::Action;
use crate::ctx::DbosCtx;
use crate::json::Json;
use crate::prefer::{self, PreferWait};
use crate::problem::{self, Problem};
use crate::reply;

impl DbosCtx {
    /// Reads an event of a workflow, and waits for it as long as the client prefers, at most 25 seconds.
    ///
    /// The wait ends early when the workflow ends, and when the server drains its requests.
    ///
    /// # Errors
    ///
    /// 404 when there is no such workflow, when it belongs to somebody else, and when it has ended without publishing
    /// the event; 503 when the database is away; 500 when the event is of another type.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn event<T: DeserializeOwned>(
        &self,
        id: &WorkflowId,
        key: &str,
        wait: PreferWait,
    ) -> Result<EventReply<T>, Problem> {
        self.read(id, key, wait).await.map_err(|problem| problem.within(&self.seen))
    }

    async fn read<T: DeserializeOwned>(
        &self,
        id: &WorkflowId,
        key: &str,
        wait: PreferWait,
    ) -> Result<EventReply<T>, Problem> {
        let now = std::time::Duration::ZERO;
        // Before the event: a workflow that had ended by then publishes no more.
        let mut ended = self.look(id, Action::Read).await?.status.is_some_and(WorkflowStatus::is_terminal);
        let mut value = self.dbos().get_event(id, key, now).await?;
        let mut honoured = true;
        if value.is_none() && !ended && !wait.duration().is_zero() {
            let permit = Arc::clone(&self.scope.settings.long_polls).try_acquire_owned();
            match permit {
                Err(_) => honoured = false,
                Ok(_permit) => tokio::select! {
                    found = self.dbos().get_event(id, key, wait.duration()) => value = found?,
                    () = self.end_of(id) => ended = true,
                    () = self.draining.cancelled() => honoured = false,
                },
            }
            if ended && value.is_none() {
                value = self.dbos().get_event(id, key, now).await?;
            }
        }
        if value.is_none() && ended {
            return Err(Problem::of(problem::EVENT_NEVER_SET).about(id));
        }
        let applied = wait.applied(honoured, value.is_none());
        Ok(EventReply { id: id.clone(), key: key.to_owned(), value, applied })
    }

    /// Waits until the workflow has ended; for ever when that cannot be known.
    async fn end_of(&self, id: &WorkflowId) {
        let handle: Result<WorkflowHandle<IgnoredAny, Error>, Error> = self.dbos().retrieve(id).await;
        if let Ok(handle) = handle {
            let _ = handle.result().await;
            if handle.status().await.is_ok_and(|info| info.status.is_some_and(WorkflowStatus::is_terminal)) {
                return;
            }
        }
        std::future::pending().await
    }
}

/// What a workflow has published under a key, or that it has not done so yet.
///
/// As a response it is 200 with `{"key": …, "value": …}`, or 202 with `{"key": …}` while there is no value. A published
/// `null` is a value.
#[derive(Clone, PartialEq, Debug)]
pub struct EventReply<T> {
    id: WorkflowId,
    key: String,
    value: Option<T>,
    applied: Option<HeaderValue>,
}

impl<T> EventReply<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value, if there is one.
    pub fn into_value(self) -> Option<T> {
        self.value
    }
}

impl<T: Serialize> IntoResponse for EventReply<T> {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        reply::name(&mut headers, &self.id);
        if let Some(applied) = self.applied {
            headers.insert(prefer::APPLIED, applied);
        }
        match &self.value {
            Some(value) => (headers, Json(Published { key: &self.key, value })).into_response(),
            None => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                (StatusCode::ACCEPTED, headers, Json(json!({"key": self.key}))).into_response()
            }
        }
    }
}

#[derive(Serialize)]
struct Published<'a, T> {
    key: &'a str,
    value: &'a T,
}
