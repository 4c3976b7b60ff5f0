//! What is counted. Without the feature `metrics` nothing is.
//!
//! No label is a workflow's id, a key or a path: their number has no bound.

/// A workflow was started, or found under its key.
pub(crate) fn started(workflow: &str, replayed: bool) {
    #[cfg(feature = "metrics")]
    {
        let replayed = if replayed { "true" } else { "false" };
        metrics::counter!("dbos_http_starts_total", "workflow" => workflow.to_owned(), "replayed" => replayed)
            .increment(1);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (workflow, replayed);
}

/// A delivery came in; the outcome is one of a few words.
#[cfg(feature = "webhooks")]
pub(crate) fn delivered(source: &str, outcome: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("dbos_webhook_deliveries_total", "source" => source.to_owned(), "outcome" => outcome)
        .increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = (source, outcome);
}

/// A problem was answered; the kind is the heading of its type, or its status.
pub(crate) fn problem(kind: &str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("dbos_http_problems_total", "type" => kind.to_owned()).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = kind;
}

/// Something is open as long as this lives.
#[derive(Debug)]
pub(crate) struct Open(&'static str);

impl Open {
    /// A stream of events to a client.
    pub(crate) fn stream() -> Self {
        Self::up("dbos_http_sse_open")
    }

    /// A request that waits for a workflow.
    pub(crate) fn long_poll() -> Self {
        Self::up("dbos_http_long_polls_open")
    }

    fn up(name: &'static str) -> Self {
        #[cfg(feature = "metrics")]
        metrics::gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        #[cfg(feature = "metrics")]
        metrics::gauge!(self.0).decrement(1.0);
        #[cfg(not(feature = "metrics"))]
        let _ = self.0;
    }
}
