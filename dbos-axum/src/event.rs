//! An event of a workflow as an answer: there, not yet, or never.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{Dbos, Error, WorkflowHandle, WorkflowId, WorkflowStatus};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::access::Action;
use crate::ctx::DbosCtx;
use crate::json::Json;
use crate::layer::Settings;
use crate::prefer::{self, PreferWait};
use crate::problem::{self, Problem};
use crate::reply::{self, REPLAYED, Started};

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
            // Before the event: a workflow that had ended by then publishes no more.
            let ended = self.look(id, Action::Read).await?.status.is_some_and(WorkflowStatus::is_terminal);
            let read = Read { settings: &self.scope.settings, draining: &self.draining, id, key, wait };
            read.event(ended).await
        };
        read.await.map_err(|problem| problem.within(&self.seen))
    }
}

impl<O> Started<O> {
    /// Reads an event of the workflow, and waits for it as long as the client prefers, at most 25 seconds: for a
    /// handler that answers with what its workflow publishes first.
    ///
    /// # Errors
    ///
    /// As [`DbosCtx::event`] has them.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_axum::{DbosCtx, EventReply, PreferWait, Problem};
    /// # use dbos_runtime::{Ctx, Error, workflow};
    /// # #[workflow] async fn checkout(_: Ctx, cart: u32) -> Result<u32, Error> { Ok(cart) }
    /// async fn buy(ctx: DbosCtx, wait: PreferWait) -> Result<EventReply<String>, Problem> {
    ///     ctx.start(checkout, 7).await?.event("payment_url", wait).await
    /// }
    /// # let _ = axum::Router::<()>::new().route("/", axum::routing::post(buy));
    /// ```
    pub async fn event<T: DeserializeOwned>(
        &self,
        key: &str,
        wait: PreferWait,
    ) -> Result<EventReply<T>, Problem> {
        let read = Read { settings: &self.settings, draining: &self.draining, id: self.id(), key, wait };
        let ended = self.status.is_some_and(WorkflowStatus::is_terminal);
        let mut reply = read.event(ended).await.map_err(|problem| problem.within(&self.seen))?;
        reply.replayed = self.replayed();
        Ok(reply)
    }
}

/// A look at an event on behalf of somebody who may see it.
struct Read<'a> {
    settings: &'a Settings,
    draining: &'a CancellationToken,
    id: &'a WorkflowId,
    key: &'a str,
    wait: PreferWait,
}

impl Read<'_> {
    async fn event<T: DeserializeOwned>(self, mut ended: bool) -> Result<EventReply<T>, Problem> {
        let Self { settings, draining, id, key, wait } = self;
        let patience = wait.duration();
        // Without the right to wait it is a look.
        let permit = if ended || patience.is_zero() { None } else { settings.permit() };
        let mut honoured = ended || patience.is_zero() || permit.is_some();
        let event = |patience| settings.dbos.get_event::<T>(id, key, patience);
        let mut value = None;
        if let Some(_permit) = &permit {
            tokio::select! {
                found = event(patience) => value = found?,
                () = end_of(&settings.dbos, id) => ended = true,
                () = draining.cancelled() => honoured = false,
            }
        }
        if value.is_none() && (ended || permit.is_none() || !honoured) {
            value = event(Duration::ZERO).await?;
        }
        if value.is_none() && ended {
            return Err(Problem::of(problem::EVENT_NEVER_SET).about(id));
        }
        let applied = wait.applied(honoured || value.is_some(), value.is_none());
        Ok(EventReply { id: id.clone(), key: key.to_owned(), value, replayed: false, applied })
    }
}

/// Waits until the workflow has ended; for ever when that cannot be known.
async fn end_of(dbos: &Dbos, id: &WorkflowId) {
    let handle: Result<WorkflowHandle<IgnoredAny, Error>, Error> = dbos.retrieve(id).await;
    if let Ok(handle) = handle {
        let _ = handle.result().await;
        if handle.status().await.is_ok_and(|info| info.status.is_some_and(WorkflowStatus::is_terminal)) {
            return;
        }
    }
    std::future::pending().await
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
    replayed: bool,
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
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
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
