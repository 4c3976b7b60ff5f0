//! A workflow on its way to another database.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// A workflow with its steps, events and streams, as they lie in the database. Made by
/// [`Workflows::export`](crate::Workflows::export); its JSON is the form in which the TypeScript and Go SDKs export.
///
/// Who owns it stays behind, and so do messages.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExportedWorkflow {
    workflow_status: Status,
    #[serde(default)]
    operation_outputs: Vec<Operation>,
    #[serde(default)]
    workflow_events: Vec<Event>,
    #[serde(default)]
    workflow_events_history: Vec<Event>,
    #[serde(default)]
    streams: Vec<Entry>,
}

impl ExportedWorkflow {
    /// The workflow's id.
    pub fn id(&self) -> &str {
        &self.workflow_status.workflow_uuid
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Status {
    workflow_uuid: String,
    status: Option<String>,
    name: Option<String>,
    authenticated_user: Option<String>,
    assumed_role: Option<String>,
    authenticated_roles: Option<String>,
    request: Option<String>,
    executor_id: Option<String>,
    created_at: i64,
    updated_at: i64,
    application_version: Option<String>,
    application_id: Option<String>,
    class_name: Option<String>,
    config_name: Option<String>,
    recovery_attempts: Option<i64>,
    queue_name: Option<String>,
    workflow_timeout_ms: Option<i64>,
    workflow_deadline_epoch_ms: Option<i64>,
    started_at_epoch_ms: Option<i64>,
    deduplication_id: Option<String>,
    #[serde(default)]
    priority: i32,
    queue_partition_key: Option<String>,
    forked_from: Option<String>,
    parent_workflow_id: Option<String>,
    serialization: Option<String>,
    delay_until_epoch_ms: Option<i64>,
    #[serde(default)]
    was_forked_from: bool,
    #[serde(default)]
    rate_limited: bool,
    completed_at: Option<i64>,
    #[serde(default)]
    attributes: Value,
    schedule_name: Option<String>,
    debounce_deadline_epoch_ms: Option<i64>,
    #[serde(default)]
    is_debounced: bool,
    application_name: Option<String>,
    inputs: Option<String>,
    output: Option<String>,
    error: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Operation {
    workflow_uuid: String,
    function_id: i32,
    #[serde(default)]
    function_name: String,
    output: Option<String>,
    error: Option<String>,
    child_workflow_id: Option<String>,
    started_at_epoch_ms: Option<i64>,
    completed_at_epoch_ms: Option<i64>,
    serialization: Option<String>,
    application_name: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Event {
    workflow_uuid: String,
    /// Of the history only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    function_id: Option<i32>,
    key: String,
    value: String,
    serialization: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Entry {
    workflow_uuid: String,
    key: String,
    value: String,
    offset: i32,
    #[serde(default)]
    function_id: i32,
    serialization: Option<String>,
}

/// Refuses what no database could have exported.
pub(crate) fn check(workflows: &[ExportedWorkflow]) -> Result<()> {
    let mut ids = HashSet::new();
    for workflow in workflows {
        let id = workflow.id();
        if id.trim().is_empty() {
            return Err(Error::invalid("an exported workflow has no id"));
        }
        if !ids.insert(id) {
            return Err(Error::invalid(format!("workflow {id} is in the export twice")));
        }
        let belongs = workflow.operation_outputs.iter().all(|row| row.workflow_uuid == id)
            && workflow.workflow_events.iter().all(|row| row.workflow_uuid == id)
            && workflow.streams.iter().all(|row| row.workflow_uuid == id)
            && workflow
                .workflow_events_history
                .iter()
                .all(|row| row.workflow_uuid == id && row.function_id.is_some());
        if !belongs {
            return Err(Error::invalid(format!("the export of workflow {id} has rows that are not its own")));
        }
    }
    Ok(())
}

/// The rows of an export, table by table, each a JSON array of objects.
pub(crate) struct Tables {
    pub(crate) statuses: String,
    pub(crate) operations: String,
    pub(crate) events: String,
    pub(crate) history: String,
    pub(crate) streams: String,
}

/// Takes workflows apart by table.
pub(crate) fn tables(workflows: &[ExportedWorkflow]) -> Tables {
    Tables {
        statuses: array(workflows.iter().map(|workflow| &workflow.workflow_status)),
        operations: array(workflows.iter().flat_map(|workflow| &workflow.operation_outputs)),
        events: array(workflows.iter().flat_map(|workflow| &workflow.workflow_events)),
        history: array(workflows.iter().flat_map(|workflow| &workflow.workflow_events_history)),
        streams: array(workflows.iter().flat_map(|workflow| &workflow.streams)),
    }
}

/// Those of the workflows that are not among the inserted.
pub(crate) fn missing(workflows: &[ExportedWorkflow], inserted: &[String]) -> Vec<String> {
    let inserted: HashSet<&str> = inserted.iter().map(String::as_str).collect();
    let missing = workflows.iter().map(ExportedWorkflow::id).filter(|id| !inserted.contains(id));
    missing.map(ToOwned::to_owned).collect()
}

/// Structs of texts and numbers always encode.
fn array<T: Serialize>(rows: impl Iterator<Item = T>) -> String {
    serde_json::to_string(&rows.collect::<Vec<_>>()).unwrap_or_default()
}
