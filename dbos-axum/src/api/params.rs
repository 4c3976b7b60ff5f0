//! The parameters of the paths. They are taken by name, since a router around this one may have some of its own.

use serde::Deserialize;

use crate::ids::{Label, WorkflowId};

/// Below `/start/{name}`.
#[derive(Debug, Deserialize)]
pub(super) struct ByName {
    pub(super) name: String,
}

/// Below `/workflows/{id}`.
#[derive(Debug, Deserialize)]
pub(super) struct ById {
    pub(super) id: WorkflowId,
}

/// An event or a stream of a workflow.
#[derive(Debug, Deserialize)]
pub(super) struct ByKey {
    pub(super) id: WorkflowId,
    pub(super) key: Label,
}

/// A mailbox of a workflow.
#[derive(Debug, Deserialize)]
pub(super) struct ByTopic {
    pub(super) id: WorkflowId,
    pub(super) topic: Label,
}
