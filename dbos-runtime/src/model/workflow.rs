//! A workflow's row, as it is written and as it is read.

use crate::ids::{OwnerToken, WorkflowId};
use crate::model::step::StepRow;

/// What identifies this process and its application on every row that it writes.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) application: String,
    pub(crate) executor: String,
    pub(crate) version: String,
    pub(crate) application_id: String,
}

/// A workflow to be inserted and run by this process.
#[derive(Clone, Debug)]
pub(crate) struct NewWorkflow {
    pub(crate) id: WorkflowId,
    pub(crate) name: String,
    pub(crate) input: String,
    /// Who created the row, and who owns it until another takes it over.
    pub(crate) token: OwnerToken,
    pub(crate) user: Option<String>,
    /// A JSON array of strings.
    pub(crate) roles: Option<String>,
    /// A JSON object.
    pub(crate) attributes: Option<String>,
    pub(crate) parent: Option<Parent>,
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
    pub(crate) input: Option<String>,
}

/// A workflow that this process has claimed from a queue, with all that is needed to run it.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) class_name: Option<String>,
    pub(crate) config_name: Option<String>,
    pub(crate) input: Option<String>,
    pub(crate) serialization: Option<String>,
    pub(crate) attempts: i64,
    pub(crate) user: Option<String>,
    /// A JSON array of strings.
    pub(crate) roles: Option<String>,
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

/// The facts of a workflow's row that do not depend on its types.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkflowRow {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) name: Option<String>,
    pub(crate) executor: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) roles: Option<String>,
    pub(crate) attributes: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) parent: Option<String>,
    pub(crate) attempts: Option<i64>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) completed_at: Option<i64>,
}
