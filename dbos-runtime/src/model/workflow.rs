//! A workflow's row, as it is written and as it is read.

use crate::ids::{OwnerToken, WorkflowId};
use crate::model::status::WorkflowStatus;
use crate::model::step::StepRow;
use crate::payload::Format;
use crate::time::Timestamp;

/// What identifies this process and its application on every row that it writes. A client may have none of it: then the
/// row belongs to whoever takes it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) application: Option<String>,
    pub(crate) executor: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) application_id: Option<String>,
}

impl Identity {
    /// The application's name; empty for a client that has none.
    pub(crate) fn application(&self) -> &str {
        self.application.as_deref().unwrap_or_default()
    }

    pub(crate) fn executor(&self) -> &str {
        self.executor.as_deref().unwrap_or_default()
    }

    pub(crate) fn version(&self) -> &str {
        self.version.as_deref().unwrap_or_default()
    }
}

/// A workflow to be inserted.
#[derive(Clone, Debug)]
pub(crate) struct NewWorkflow {
    pub(crate) id: WorkflowId,
    pub(crate) name: String,
    pub(crate) class_name: Option<String>,
    pub(crate) config_name: Option<String>,
    pub(crate) input: String,
    /// Of the input, and of the outcome later.
    pub(crate) format: Format,
    /// Who created the row; of a direct start also who owns it, until another takes it over.
    pub(crate) token: OwnerToken,
    pub(crate) entry: Entry,
    /// Milliseconds from the start of the run to its end.
    pub(crate) timeout: Option<i64>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) user: Option<String>,
    /// A JSON array of strings.
    pub(crate) roles: Option<String>,
    /// The role in which the user runs it, as far as that is known here.
    pub(crate) assumed: Option<String>,
    /// A JSON object.
    pub(crate) attributes: Option<String>,
    pub(crate) parent: Option<Parent>,
}

/// How a new workflow comes to run.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// By this process, at once.
    Direct,
    /// From a queue, by whoever claims it.
    Queued(Box<Queued>),
}

/// A new workflow's place on a queue.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) queue: String,
    pub(crate) deduplication_id: Option<String>,
    /// Lower first; 0 is none, and before all others.
    pub(crate) priority: i32,
    pub(crate) partition_key: Option<String>,
    /// Not before this instant.
    pub(crate) delay_until: Option<Timestamp>,
    /// Which code may run it; whatever is latest, if none is named.
    pub(crate) version: Option<String>,
    /// Which application may run it; any, if none is named.
    pub(crate) application: Option<String>,
    /// Set apart from those that this process enqueued before, for the order of the queue.
    pub(crate) created_at: Timestamp,
    pub(crate) debounce: Option<Debounce>,
}

/// That later calls may still move this row's delay and replace its input.
#[derive(Clone, Debug)]
pub(crate) struct Debounce {
    /// Not later than this, however often it is moved.
    pub(crate) deadline: Option<Timestamp>,
}

impl NewWorkflow {
    pub(crate) fn queued(&self) -> Option<&Queued> {
        match &self.entry {
            Entry::Direct => None,
            Entry::Queued(queued) => Some(queued),
        }
    }

    /// The row's first status.
    pub(crate) fn status(&self) -> WorkflowStatus {
        match self.queued() {
            None => WorkflowStatus::Pending,
            Some(Queued { delay_until: Some(_), .. }) => WorkflowStatus::Delayed,
            Some(_) => WorkflowStatus::Enqueued,
        }
    }
}

/// The step of another workflow that starts this one; recorded with it or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) fence: Fence,
    pub(crate) step: StepRow,
}

/// Proof of ownership that a write presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) id: WorkflowId,
    pub(crate) token: OwnerToken,
}

/// What an insert found in its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Existing {
    pub(crate) status: String,
    pub(crate) name: Option<String>,
    pub(crate) class_name: Option<String>,
    pub(crate) config_name: Option<String>,
    pub(crate) creator: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) input: Option<String>,
    pub(crate) serialization: Option<String>,
}

/// A workflow that this process has claimed from a queue, with all that is needed to run it.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) class_name: Option<String>,
    pub(crate) config_name: Option<String>,
    pub(crate) partition_key: Option<String>,
    pub(crate) deadline: Option<i64>,
    pub(crate) input: Option<String>,
    pub(crate) serialization: Option<String>,
    /// Of the outcome.
    pub(crate) format: Format,
    pub(crate) attempts: i64,
    pub(crate) user: Option<String>,
    /// A JSON array of strings.
    pub(crate) roles: Option<String>,
    /// What is stored of the user's tenant: JSON, of whatever shape.
    pub(crate) tenant: Option<String>,
    /// What is stored of the trace in which it was started: JSON, of whatever shape.
    pub(crate) trace: Option<String>,
    pub(crate) history: Vec<StepRow>,
}

/// How a workflow ended; or, not terminal, where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) serialization: Option<String>,
}
