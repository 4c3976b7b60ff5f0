//! An event of a workflow as an answer: there, not yet, or never.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{WorkflowId, WorkflowInfo, WorkflowStatus};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::access::Action;
use crate::ctx::DbosCtx;
use crate::json::Json;
use crate::patience::{Looked, Waited};
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
        let read = async {
            let info = self.look(id, Action::Read).await?;
            self.event_of(&info, key, wait).await
        };
        read.await.map_err(|problem| problem.within(&self.seen))
    }

    /// Reads an event of a workflow whose facts were asked for just now.
    pub(crate) async fn event_of<T: DeserializeOwned>(
        &self,
        info: &WorkflowInfo,
        key: &str,
        prefer: PreferWait,
    ) -> Result<EventReply<T>, Problem> {
        let (id, now) = (&info.id, Duration::ZERO);
        // Known before the event is read: a workflow that had ended by then publishes no more.
        let mut ended = info.status.is_some_and(WorkflowStatus::is_terminal);
        let mut value = self.dbos().get_event(id, key, now).await?;
        let mut honoured = true;
        if value.is_none() && !ended {
            let either = async {
                tokio::select! {
                    found = self.dbos().get_event(id, key, prefer.duration()) => found.map(Some),
                    () = self.end_of(id) => Ok(None),
                }
            };
            match self.asked().patience.wait(prefer, either).await {
                Waited::Came(Ok(Some(found))) => value = found,
                Waited::Came(Ok(None)) => {
                    ended = true;
                    value = self.dbos().get_event(id, key, now).await?;
                }
                Waited::Came(Err(error)) => return Err(error.into()),
                Waited::TimeIsUp => {}
                Waited::NoWait => honoured = prefer.duration().is_zero(),
            }
        }
        if value.is_none() && ended {
            return Err(Problem::of(problem::EVENT_NEVER_SET).about(id));
        }
        let Looked { found, applied } = Looked::new(value, prefer, honoured);
        Ok(EventReply { id: id.clone(), key: key.to_owned(), value: found, applied })
    }

    /// Waits until the workflow has ended; for ever when that cannot be known.
    async fn end_of(&self, id: &WorkflowId) {
        if self.dbos().wait_first([id]).await.is_err() {
            std::future::pending().await
        }
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

impl EventReply<Value> {
    /// The value, to be changed before it is given out.
    pub(crate) fn value_mut(&mut self) -> Option<&mut Value> {
        self.value.as_mut()
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
