//! Changes to workflows from outside of them, as plain values, and what they met.

use std::collections::HashSet;

use crate::ids::WorkflowId;
use crate::model::step::StepRow;
use crate::model::workflow::Fence;

/// A workflow's row as a change found it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: WorkflowId,
    pub(crate) status: String,
    /// The token of the execution that owned it.
    pub(crate) owner: Option<String>,
    /// When it had ended.
    pub(crate) completed_at: Option<i64>,
    /// Whether the change changed it.
    pub(crate) changed: bool,
}

/// Workflows that would have been needed and are not there. Nothing was changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Missing(pub(crate) Vec<String>);

impl Missing {
    /// Those of the wanted ones that were not found, if there are any.
    pub(crate) fn among(wanted: &[WorkflowId], found: &[Found]) -> Option<Self> {
        let here: HashSet<&WorkflowId> = found.iter().map(|found| &found.id).collect();
        let missing: Vec<String> =
            wanted.iter().filter(|id| !here.contains(id)).map(|id| id.as_str().to_owned()).collect();
        (!missing.is_empty()).then_some(Self(missing))
    }
}

/// A workflow that is to run again, in place, from a step on.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) id: WorkflowId,
    /// The first step whose record goes.
    pub(crate) step: i32,
    /// Another version, instead of the row's.
    pub(crate) version: Option<String>,
    pub(crate) queue: String,
    pub(crate) partition: Option<String>,
    /// The row as it was seen; any other row is left alone.
    pub(crate) seen: Seen,
    /// The step of the workflow that asks for it, recorded with it or not at all.
    pub(crate) by: Option<(Fence, StepRow)>,
}

/// What tells one state of a row from the next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) status: String,
    pub(crate) updated_at: i64,
}

impl Seen {
    /// Whether the row is still in that state.
    pub(crate) fn is(&self, status: Option<&str>, updated_at: i64) -> bool {
        status == Some(self.status.as_str()) && updated_at == self.updated_at
    }
}

/// What became of a [`Cut`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rewound {
    Done,
    /// The row is not the one that was seen.
    Changed,
    /// The asking workflow no longer owns its row; its status.
    Lost(Option<String>),
}
