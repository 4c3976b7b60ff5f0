//! Messages to workflows, and the answer that one was sent.

use axum::response::{IntoResponse, Response};
use dbos_runtime::{SendMessage, WorkflowId};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use tracing::Span;

use crate::access::Action;
use crate::ctx::DbosCtx;
use crate::json::Json;
use crate::problem::Problem;
use crate::reply::{self, REPLAYED};
use crate::trace;

impl DbosCtx {
    /// Sends a message to a workflow. With an idempotency key in the request it arrives once, however often the
    /// request comes. The topic is a name, or `None` for messages without one.
    ///
    /// # Errors
    ///
    /// 404 when there is no such workflow or it belongs to somebody else, 400 for a key that is missing or not valid,
    /// 503 when the database is away, 500 for a second message to the same topic of the same workflow under one key
    /// without a [`sub_key`](Self::sub_key).
    ///
    /// # Cancel safety
    ///
    /// Dropping it may or may not have sent the message.
    pub async fn send<T: Serialize + ?Sized>(
        &self,
        to: &WorkflowId,
        topic: impl Into<Option<&str>>,
        message: &T,
    ) -> Result<Sent, Problem> {
        let topic = topic.into();
        let mut message = self.dbos().send(to, message);
        if let Some(topic) = topic {
            message = message.topic(topic);
        }
        let topic = topic.unwrap_or_default();
        let mapping = self.scope.settings.mapping;
        let key =
            self.keyed().and_then(|keyed| keyed.map(|keyed| mapping.message_key(topic, keyed)).transpose());
        let span = self.trace.send(to);
        match key {
            Ok(Some(key)) => {
                let claim = format!("send!{topic}!{key}::{to}");
                let delivery = self.deliver(to, message.idempotency_key(&key), &span);
                trace::within(&span, self.once(&claim, delivery)).await
            }
            Ok(None) => {
                let delivered = trace::within(&span, self.deliver(to, message, &span)).await;
                delivered.map_err(|problem| problem.within(&self.seen))
            }
            Err(problem) => Err(problem.within(&self.seen)),
        }
    }

    async fn deliver(&self, to: &WorkflowId, message: SendMessage, span: &Span) -> Result<Sent, Problem> {
        trace::link(span, &self.look(to, Action::Send).await?);
        let new = message.await?;
        Ok(Sent { to: to.clone(), duplicate: !new })
    }
}

/// A message that was sent. As a response it is 202 with `{"duplicate": …}`; a duplicate is marked
/// `Idempotent-Replayed: true`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    to: WorkflowId,
    duplicate: bool,
}

impl Sent {
    /// Whether a message with the same key had been sent before; this one was dropped.
    pub fn duplicate(&self) -> bool {
        self.duplicate
    }
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        reply::name(&mut headers, &self.to);
        if self.duplicate {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        (StatusCode::ACCEPTED, headers, Json(json!({"duplicate": self.duplicate}))).into_response()
    }
}
