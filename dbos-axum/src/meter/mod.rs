//! What is counted. Without the feature `metrics` nothing is.
//!
//! No label is a workflow's id, a key or a path: their number has no bound.

#[cfg(feature = "metrics")]
mod engine;
#[cfg(feature = "metrics")]
mod look;
#[cfg(feature = "metrics")]
mod names;
#[cfg(feature = "metrics")]
mod page;
#[cfg(feature = "metrics")]
mod recorder;
#[cfg(feature = "metrics")]
mod route;
#[cfg(feature = "metrics")]
mod timed;

#[cfg(all(feature = "metrics", feature = "admin"))]
pub(crate) use self::route::page;
#[cfg(feature = "metrics")]
pub(crate) use self::timed::Timed;
#[cfg(feature = "metrics")]
pub use self::{
    page::{Metrics, RecorderTaken},
    route::MetricsPage,
};

/// A workflow was started, or found under its key.
pub(crate) fn started(workflow: &str, replayed: bool) {
    #[cfg(feature = "metrics")]
    {
        let replayed = if replayed { "true" } else { "false" };
        metrics::counter!(names::STARTS, "workflow" => workflow.to_owned(), "replayed" => replayed)
            .increment(1);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (workflow, replayed);
}

/// A delivery came in; the outcome is one of a few words.
#[cfg(feature = "webhooks")]
pub(crate) fn delivered(source: &str, outcome: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(names::DELIVERIES, "source" => source.to_owned(), "outcome" => outcome).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = (source, outcome);
}

/// A problem was answered; the kind is the heading of its type, or its status.
pub(crate) fn problem(kind: &str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(names::PROBLEMS, "type" => kind.to_owned()).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = kind;
}

/// Something is open as long as this lives.
#[derive(Debug)]
pub(crate) struct Open {
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Stream,
    LongPoll,
}

impl Open {
    /// A stream of events to a client.
    pub(crate) fn stream() -> Self {
        Self::up(What::Stream)
    }

    /// A request that waits for a workflow.
    pub(crate) fn long_poll() -> Self {
        Self::up(What::LongPoll)
    }

    fn up(what: What) -> Self {
        what.adds(1.0);
        Self { what }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.what.adds(-1.0);
    }
}

impl What {
    fn adds(self, number: f64) {
        #[cfg(feature = "metrics")]
        {
            let name = match self {
                Self::Stream => names::STREAMS_OPEN,
                Self::LongPoll => names::LONG_POLLS_OPEN,
            };
            metrics::gauge!(name).increment(number);
        }
        #[cfg(not(feature = "metrics"))]
        let _ = number;
    }
}
