//! From a request to a durable delivery: bytes, signature, meaning, commit, answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use dbos_runtime::{Dbos, Target as _, Timestamp, WorkflowId};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

use super::callback::Callbacks;
use super::deliver::{Launch, Order, Owner};
use super::delivery_id::DeliveryId;
use super::inbox::{INBOX, Parcel, Task};
use super::reading::{Readers, throttled};
use super::scheme::Refused;
use super::source::{Incoming, Source};
use crate::json::{self, Json};
use crate::meter;
use crate::problem::{self, Problem};
use crate::seen::Seen;

/// The body of a callback may be that long by default.
const CALLBACK_BYTES: usize = 1024 * 1024;

pub(super) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the routes share.
pub(super) struct Receiver {
    pub(super) dbos: Dbos,
    pub(super) sources: Vec<Source>,
    pub(super) callbacks: Option<Callbacks>,
    pub(super) way: Way,
    pub(super) limits: BodyLimits,
    pub(super) readers: Readers,
    pub(super) at_once: Semaphore,
    pub(super) clock: Clock,
}

/// How long a body may be: as was said for all, or as long as is usual.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits(pub(super) Option<usize>);

impl BodyLimits {
    pub(super) fn of(self, source: &Source) -> usize {
        self.0.unwrap_or_else(|| source.scheme.body_limit())
    }

    pub(super) fn of_callbacks(self) -> usize {
        self.0.unwrap_or(CALLBACK_BYTES)
    }
}

/// How a delivery goes to its workflow.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// By a workflow of its own, which waits that long for its destination.
    Inbox(Duration),
    Direct,
}

/// What became of an authentic delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Accepted,
    Duplicate,
    Ignored,
}

impl Receiver {
    /// Takes a delivery of a source.
    pub(super) async fn hook(
        &self,
        source: &str,
        tail: String,
        request: Request,
    ) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let seen = Seen::of(&parts);
        let Some(source) = self.sources.iter().find(|known| known.name == source) else {
            return Err(Problem::new(StatusCode::NOT_FOUND).within(&seen));
        };
        let span = tracing::info_span!(
            "webhook",
            webhook.source = source.name,
            webhook.delivery = tracing::field::Empty
        );
        let taken = self.take(source, tail, Request::from_parts(parts, body)).instrument(span).await;
        meter::delivered(&source.name, outcome(taken.as_ref().map(|(_, fate)| *fate)));
        let (delivery, fate) = taken.map_err(|problem| problem.within(&seen))?;
        let body = json!({"delivery": delivery.as_str(), "duplicate": fate == Fate::Duplicate});
        Ok((StatusCode::ACCEPTED, Json(body)).into_response())
    }

    async fn take(
        &self,
        source: &Source,
        tail: String,
        request: Request,
    ) -> Result<(DeliveryId, Fate), Problem> {
        let (parts, body) = request.into_parts();
        let body = self.readers.read(body, self.limits.of(source)).await?;
        let headers = parts.headers;
        // Only now: who sends slowly must not keep others out.
        let _permit = self.permit()?;
        let verified = source.scheme.verify(&headers, &body, (self.clock)());
        let delivery = verified.map_err(|why| refused(&source.name, why))?.delivery;
        tracing::Span::current().record("webhook.delivery", delivery.as_str());
        let order =
            source.meaning_of(Incoming { id: &delivery, headers, tail, body }).inspect_err(|problem| {
                // An authentic delivery that cannot be used is a mistake on one of the two sides.
                tracing::error!(
                    webhook.source = source.name,
                    status = problem.status().as_u16(),
                    "a delivery cannot be used"
                );
            })?;
        let fate = self.forward(&source.name, &delivery, order).await?;
        Ok((delivery, fate))
    }

    /// Makes it durable. Only then is it acknowledged.
    async fn forward(&self, source: &str, delivery: &DeliveryId, order: Order) -> Result<Fate, Problem> {
        let id = WorkflowId::parse(format!("wh:{source}:{delivery}"))?;
        let new = match (order, self.way) {
            (Order::Ignore, _) => return Ok(Fate::Ignored),
            (Order::Send(message), Way::Inbox(patience)) => {
                let until = self.dbos.now().after(patience);
                self.file(id, Owner::nobody(), Task::Send { message, until }).await?
            }
            (Order::Send(message), Way::Direct) => {
                let send = self.dbos.send(&message.to, &message.body).idempotency_key(id.as_str());
                match &message.topic {
                    Some(topic) => send.topic(topic).await?,
                    None => send.await?,
                }
            }
            (Order::Start(launch), way) => {
                if !self.can_run(&launch) {
                    // Found out here, while the sender still comes again.
                    let workflow = launch.workflow.name();
                    tracing::error!(
                        workflow.name = workflow,
                        "a delivery starts a workflow that is not registered"
                    );
                    return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR));
                }
                if let Way::Inbox(_) = way {
                    self.file(id, launch.owner.clone(), Task::Start(launch)).await?
                } else {
                    self.start(&id, launch).await?
                }
            }
        };
        Ok(if new { Fate::Accepted } else { Fate::Duplicate })
    }

    /// A queue may be another process's, and so may be what waits there. A configured instance shows when it is started.
    fn can_run(&self, launch: &Launch) -> bool {
        let workflow = &launch.workflow;
        launch.queue.is_some() || workflow.config_name().is_some() || self.dbos.has_workflow(workflow.name())
    }

    /// Hands a delivery to a workflow of its own.
    async fn file(&self, id: WorkflowId, owner: Owner, task: Task) -> Result<bool, Problem> {
        Ok(owner.own(self.dbos.start(INBOX, Parcel(task)).id(id)).await?.created())
    }

    async fn start(&self, delivery: &WorkflowId, launch: Launch) -> Result<bool, Problem> {
        let (id, Launch { workflow, input, queue, owner, .. }) = (launch.id(delivery)?, launch);
        let start = owner.own(self.dbos.start(workflow, input).id(id));
        Ok(match &queue {
            Some(queue) => start.queue(queue).await?.created(),
            None => start.await?.created(),
        })
    }

    /// Takes the answer of somebody who was given a callback's address.
    pub(super) async fn callback(&self, token: &str, request: Request) -> Result<Response, Problem> {
        // The path holds the token, so no answer repeats it.
        let Some(callbacks) = &self.callbacks else { return Err(Problem::new(StatusCode::NOT_FOUND)) };
        let Some(capability) = callbacks.open(token, (self.clock)()) else {
            return Err(Problem::of(problem::DELIVERY_UNVERIFIED));
        };
        let (parts, body) = request.into_parts();
        let body = self.readers.read(body, self.limits.of_callbacks()).await?;
        json::content(&parts.headers)?;
        let _permit = self.permit()?;
        let message: Value = json::parse(&body)?;
        let send = self.dbos.send(&capability.workflow, &message).idempotency_key(&capability.key);
        let new = match &capability.topic {
            Some(topic) => send.topic(topic).await?,
            None => send.await?,
        };
        Ok((StatusCode::ACCEPTED, Json(json!({"duplicate": !new}))).into_response())
    }

    fn permit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.at_once.try_acquire().map_err(|_| throttled())
    }
}

/// The sender learns nothing of which check has failed; the log does.
fn refused(source: &str, why: Refused) -> Problem {
    match why {
        Refused::Unverified(reason) => {
            tracing::warn!(webhook.source = source, reason, "a delivery is not authentic");
            Problem::of(problem::DELIVERY_UNVERIFIED)
        }
        Refused::Malformed(detail) => {
            tracing::warn!(webhook.source = source, reason = detail, "a delivery is malformed");
            Problem::of(problem::DELIVERY_INVALID).with_detail(detail)
        }
    }
}

/// A word for what became of a delivery.
fn outcome(taken: Result<Fate, &Problem>) -> &'static str {
    match taken {
        Ok(Fate::Accepted) => "accepted",
        Ok(Fate::Duplicate) => "duplicate",
        Ok(Fate::Ignored) => "ignored",
        Err(problem) => match problem.status() {
            StatusCode::UNAUTHORIZED => "unverified",
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::TOO_MANY_REQUESTS => "throttled",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            StatusCode::REQUEST_TIMEOUT => "timeout",
            status if status.is_client_error() => "refused",
            _ => "failed",
        },
    }
}
