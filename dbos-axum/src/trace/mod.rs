//! The spans of what a request does with workflows. They name routes, workflows and ids: no payload, no query, no
//! header. The id of a workflow that was started under a key holds the key.

#[cfg(feature = "otel")]
mod place;

use std::future::Future;
use std::sync::Arc;

use axum::extract::MatchedPath;
#[cfg(feature = "admin")]
use dbos_runtime::Dbos;
use dbos_runtime::{WorkflowId, WorkflowInfo};
use http::Method;
use http::request::Parts;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

use crate::layer::Settings;
use crate::problem::Problem;
use crate::seen::Seen;

const ID: &str = "dbos.operation.workflow_id";
const STATUS: &str = "otel.status_code";

/// What the spans of a request have in common.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    route: Option<MatchedPath>,
    method: Method,
    seen: Arc<Seen>,
    #[cfg(feature = "otel")]
    incoming: place::Incoming,
}

/// A span of one kind of operation: its name has to be known when the program is compiled.
macro_rules! operation {
    ($self:ident, $kind:literal, $name:expr, $id:expr) => {
        $self.placed(tracing::info_span!(
            $kind,
            dbos.operation.name = $name,
            dbos.operation.workflow_id = $id,
            dbos.request.id = $self.seen.request_id(),
            http.request.method = %$self.method,
            http.route = $self.route.as_ref().map(MatchedPath::as_str),
            otel.status_code = Empty,
        ))
    };
}

impl Trace {
    pub(crate) fn of(parts: &Parts, seen: &Arc<Seen>, settings: &Settings) -> Self {
        #[cfg(not(feature = "otel"))]
        let _ = settings;
        Self {
            route: parts.extensions.get::<MatchedPath>().cloned(),
            method: parts.method.clone(),
            seen: Arc::clone(seen),
            #[cfg(feature = "otel")]
            incoming: place::Incoming::of(&parts.headers, settings.trust_incoming_trace),
        }
    }

    /// The start of a workflow of that name.
    pub(crate) fn start(&self, workflow: &str) -> Span {
        operation!(self, "dbos.start", workflow, Empty)
    }

    /// A message to a workflow.
    pub(crate) fn send(&self, to: &WorkflowId) -> Span {
        operation!(self, "dbos.send", Empty, to.as_str())
    }

    /// The cancelling of a workflow.
    pub(crate) fn cancel(&self, id: &WorkflowId) -> Span {
        operation!(self, "dbos.cancel", Empty, id.as_str())
    }

    /// The resuming of a workflow.
    #[cfg(feature = "admin")]
    pub(crate) fn resume(&self, id: &WorkflowId) -> Span {
        operation!(self, "dbos.resume", Empty, id.as_str())
    }

    /// The making of a new workflow out of this one.
    #[cfg(feature = "admin")]
    pub(crate) fn fork(&self, id: &WorkflowId) -> Span {
        operation!(self, "dbos.fork", Empty, id.as_str())
    }

    #[cfg(feature = "otel")]
    fn placed(&self, span: Span) -> Span {
        self.incoming.place(&span);
        span
    }

    #[cfg(not(feature = "otel"))]
    #[expect(clippy::unused_self, reason = "nothing comes in without the feature")]
    fn placed(&self, span: Span) -> Span {
        span
    }
}

/// Says which workflow a start has led to.
pub(crate) fn led_to(span: &Span, id: &WorkflowId) {
    span.record(ID, display(id));
}

/// Links a span to the trace of a workflow that was there before.
pub(crate) fn link(span: &Span, to: &WorkflowInfo) {
    #[cfg(feature = "otel")]
    place::link(span, to.trace_context());
    #[cfg(not(feature = "otel"))]
    let _ = (span, to);
}

/// The same for a workflow of which only the id is known: it is looked up where the span is followed.
#[cfg(feature = "admin")]
pub(crate) async fn link_to(span: &Span, dbos: &Dbos, id: &WorkflowId) {
    #[cfg(feature = "otel")]
    if place::is_followed(span)
        && let Ok(info) = dbos.info(id).await
    {
        link(span, &info);
    }
    #[cfg(not(feature = "otel"))]
    let _ = (span, dbos, id);
}

/// Does something inside of its span. A refusal is no failure of the server's.
pub(crate) async fn within<T>(
    span: &Span,
    doing: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let done = doing.instrument(span.clone()).await;
    if done.as_ref().is_err_and(|problem| problem.status().is_server_error()) {
        span.record(STATUS, "ERROR");
    }
    done
}
