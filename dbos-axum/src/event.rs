//! An event of a workflow as an answer: there, not yet, or never.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{Dbos, Error, WorkflowId, WorkflowInfo, WorkflowStatus};
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
use crate::redact::Field;
use crate::reply::{self, Asked, REPLAYED, Started};

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
            let get = |patience| self.dbos().get_event(id, key, patience);
            event(&self.asked(), (id, key), ended(&info), wait, get).await
        };
        read.await.map_err(|problem| problem.within(&self.seen))
    }

    /// Reads an event, whatever it is, of a workflow whose facts were asked for just now, as it is given out.
    pub(crate) async fn event_of(
        &self,
        info: &WorkflowInfo,
        key: &str,
        prefer: PreferWait,
    ) -> Result<EventReply<Value>, Problem> {
        let workflow = info.name.as_deref().unwrap_or_default();
        let shown = |payload| self.scope.settings.shown(workflow, Field::Event(key), &payload);
        let get = async |patience| Ok(self.dbos().event_payload(&info.id, key, patience).await?.map(shown));
        event(&self.asked(), (&info.id, key), ended(info), prefer, get).await
    }
}

fn ended(info: &WorkflowInfo) -> bool {
    info.status.is_some_and(WorkflowStatus::is_terminal)
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
        prefer: PreferWait,
    ) -> Result<EventReply<T>, Problem> {
        let get = |patience| self.asked.dbos.get_event(self.id(), key, patience);
        let reply = event(&self.asked, (self.id(), key), self.ended(), prefer, get).await;
        let mut reply = reply.map_err(|problem| problem.within(&self.asked.seen))?;
        reply.replayed = self.replayed();
        Ok(reply)
    }
}

/// Reads an event; `ended` was known before: a workflow that had ended by then publishes no more.
async fn event<T, F>(
    asked: &Asked,
    (id, key): (&WorkflowId, &str),
    mut ended: bool,
    prefer: PreferWait,
    get: impl Fn(Duration) -> F,
) -> Result<EventReply<T>, Problem>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    let (mut value, mut honoured) = (None, true);
    // Who may not wait, looks; and so does who was told meanwhile that no more will come.
    let mut look = ended;
    if !ended {
        let either = async {
            tokio::select! {
                found = get(prefer.duration()) => found.map(Some),
                () = end_of(&asked.dbos, id) => Ok(None),
            }
        };
        match asked.patience.wait(prefer, either).await {
            Waited::Came(Ok(Some(found))) => value = found,
            Waited::Came(Ok(None)) => (ended, look) = (true, true),
            Waited::Came(Err(error)) => return Err(error.into()),
            Waited::TimeIsUp => {}
            Waited::NoWait => (honoured, look) = (prefer.duration().is_zero(), true),
        }
    }
    if look {
        value = get(Duration::ZERO).await?;
    }
    if value.is_none() && ended {
        return Err(Problem::of(problem::EVENT_NEVER_SET).about(id));
    }
    let Looked { found, applied } = Looked::new(value, prefer, honoured);
    Ok(EventReply { id: id.clone(), key: key.to_owned(), value: found, replayed: false, applied })
}

/// Waits until the workflow has ended; for ever when that cannot be known.
async fn end_of(dbos: &Dbos, id: &WorkflowId) {
    if dbos.wait_first([id]).await.is_err() {
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
