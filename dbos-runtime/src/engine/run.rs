//! Drive one body to one recorded outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tracing::Instrument;
use tracing::field::Empty;

use super::execution::{Ended, Execution};
use super::guard::{Place, Scoped};
use super::registry::{Body, End};
use crate::error::{Error, ErrorKind};
use crate::model::write::{Outcome, Receipt, Write};
use crate::payload;
use crate::payload::Format;
use crate::trace;

/// Runs the body and records how it ended, unless a control signal took that right away.
pub(crate) async fn drive(execution: Arc<Execution>, body: Body, input: String) {
    let span = tracing::info_span!(
        "workflow",
        otel.name = %execution.name,
        dbos.operation.r#type = "workflow",
        dbos.operation.name = %execution.name,
        dbos.operation.workflow_id = %execution.fence.id,
        dbos.application.version = execution.shared.identity.version(),
        dbos.executor.id = execution.shared.identity.executor(),
        dbos.application.id = execution.shared.identity.application_id.as_deref().filter(|id| !id.is_empty()),
        dbos.queue.name = execution.queue.as_deref(),
        dbos.user.name = execution.user.as_deref(),
        dbos.user.roles = execution.roles.as_deref(),
        otel.status_code = Empty,
    );
    if let Some(trace) = &execution.trace {
        trace.adopt(&span);
    }
    let ended = async {
        let end = tokio::select! {
            end = run(&execution, &body, input) => Some(end),
            () = execution.abandoned.cancelled() => {
                tracing::warn!(workflow.id = %execution.fence.id, "a workflow that ignores its control signal was dropped");
                None
            }
            () = execution.shared.tasks.stopped.cancelled() => None,
        };
        // Boxed: it is not needed while the body runs, which may be for days.
        Box::pin(conclude(&execution, end)).await
    }
    .instrument(span.clone())
    .await;
    if let Ended::Outcome { error, .. } = &ended {
        trace::ended(&span, error.is_none());
    }
    // Before anybody hears of the end, who may look for the span.
    drop(span);
    execution.shared.running.remove(&execution);
    execution.completion.set(ended);
}

async fn run(execution: &Arc<Execution>, body: &Body, input: String) -> End {
    // Built inside the scope, so that code before the body's first await counts as the body too.
    let running = async { body(Arc::clone(execution), input).await };
    let running = Scoped::new(execution.serial, Place::Body, AssertUnwindSafe(running).catch_unwind());
    running.await.unwrap_or_else(|panic| {
        let error = payload::panicked(&*panic, &format!("workflow {:?}", execution.name));
        tracing::error!(workflow.id = %execution.fence.id, %error, "a workflow panicked");
        Err(payload::encode_error(&error))
    })
}

async fn conclude(execution: &Arc<Execution>, end: Option<End>) -> Ended {
    let Some(end) = end else { return Ended::Elsewhere };
    if let Some(signal) = execution.latched() {
        tracing::info!(workflow.id = %execution.fence.id, reason = %signal, "an execution stopped without an outcome");
        return Ended::Elsewhere;
    }
    execution.witnesses.clean(execution).await;
    let (output, error) = match end {
        Ok(output) => (Some(output), None),
        Err(error) => (None, Some(error)),
    };
    let outcome = Outcome {
        fence: execution.fence.clone(),
        output: output.clone(),
        error: error.clone(),
        format: execution.format.clone(),
    };
    match execution.shared.journal.write(Write::Outcome(outcome)).await {
        Some(Receipt::Done) => {
            Ended::Outcome { output: output.map(Into::into), error: error.map(Into::into) }
        }
        Some(Receipt::Lost(status)) => {
            // Perhaps our own commit, whose acknowledgement was lost. Either way the row has the truth.
            execution.lost(status.as_deref());
            Ended::Elsewhere
        }
        Some(other) => refuse(execution, &other).await,
        None => {
            execution.latch(ErrorKind::ShuttingDown);
            Ended::Elsewhere
        }
    }
}

/// The database will not take this outcome. A workflow must not stay pending for that, so its error is recorded.
async fn refuse(execution: &Arc<Execution>, receipt: &Receipt) -> Ended {
    let error = match receipt {
        Receipt::Unstorable(error) => error.clone(),
        _ => Error::new(ErrorKind::Database, "the workflow's outcome could not be stored"),
    };
    tracing::error!(workflow.id = %execution.fence.id, ?receipt, "an outcome was refused by the database");
    let error = payload::encode_error(&error);
    // Plain in the end, if even that has no stored form.
    for format in [execution.format.clone(), Format::Portable] {
        let fence = execution.fence.clone();
        let outcome = Outcome { fence, output: None, error: Some(error.clone()), format };
        match execution.shared.journal.write(Write::Outcome(outcome)).await {
            Some(Receipt::Done) => return Ended::Outcome { output: None, error: Some(error.into()) },
            Some(Receipt::Unstorable(_)) => {}
            _ => break,
        }
    }
    Ended::Elsewhere
}
