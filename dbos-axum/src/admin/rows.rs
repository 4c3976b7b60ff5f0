//! Workflows and steps as the official servers write them: texts, and null for what is not there.

use dbos_runtime::{Payload, StepInfo, Timestamp, WorkflowInfo};
use serde::Serialize;
use serde_json::Value;

use crate::layer::Settings;
use crate::redact::Field;

/// A workflow.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "PascalCase")]
pub(super) struct Workflow {
    #[serde(rename = "WorkflowUUID")]
    workflow_uuid: String,
    status: String,
    workflow_name: Option<String>,
    workflow_class_name: Option<String>,
    workflow_config_name: Option<String>,
    authenticated_user: Option<String>,
    assumed_role: Option<String>,
    authenticated_roles: Option<String>,
    input: Option<String>,
    output: Option<String>,
    error: Option<String>,
    created_at: String,
    updated_at: String,
    queue_name: Option<String>,
    application_version: Option<String>,
    #[serde(rename = "ExecutorID")]
    executor_id: Option<String>,
    #[serde(rename = "WorkflowTimeoutMS")]
    workflow_timeout_ms: Option<String>,
    #[serde(rename = "WorkflowDeadlineEpochMS")]
    workflow_deadline_epoch_ms: Option<String>,
    #[serde(rename = "DeduplicationID")]
    deduplication_id: Option<String>,
    priority: String,
    queue_partition_key: Option<String>,
    forked_from: Option<String>,
    was_forked_from: bool,
    #[serde(rename = "ParentWorkflowID")]
    parent_workflow_id: Option<String>,
    dequeued_at: Option<String>,
    #[serde(rename = "DelayUntilEpochMS")]
    delay_until_epoch_ms: Option<String>,
    completed_at: Option<String>,
    attributes: Option<String>,
    schedule_name: Option<String>,
    application_name: Option<String>,
}

impl Workflow {
    pub(super) fn of(info: WorkflowInfo, settings: &Settings) -> Self {
        let name = info.name.unwrap_or_default();
        let shown = Shown { settings, workflow: &name };
        let roles = Some(info.authenticated_roles).filter(|roles| !roles.is_empty());
        Self {
            workflow_uuid: info.id.into(),
            status: info.status_text,
            input: shown.value(Field::Input, info.input),
            output: shown.value(Field::Output, info.output),
            error: shown.error(Field::Error, info.error),
            workflow_name: Some(name).filter(|name| !name.is_empty()),
            workflow_class_name: info.class_name,
            workflow_config_name: info.config_name,
            authenticated_user: info.authenticated_user,
            assumed_role: info.assumed_role,
            authenticated_roles: roles.map(|roles| Value::from(roles).to_string()),
            created_at: millis(info.created_at),
            updated_at: millis(info.updated_at),
            queue_name: info.queue_name,
            application_version: info.application_version,
            executor_id: info.executor_id,
            workflow_timeout_ms: info.timeout_ms.map(|millis| millis.to_string()),
            workflow_deadline_epoch_ms: info.deadline.map(millis),
            deduplication_id: info.deduplication_id,
            priority: info.priority.to_string(),
            queue_partition_key: info.queue_partition_key,
            forked_from: info.forked_from,
            was_forked_from: info.was_forked_from,
            parent_workflow_id: info.parent_workflow_id,
            dequeued_at: info.dequeued_at.map(millis),
            delay_until_epoch_ms: info.delay_until.map(millis),
            completed_at: info.completed_at.map(millis),
            attributes: Some(info.attributes).filter(|value| !value.is_null()).map(|value| value.to_string()),
            schedule_name: info.schedule_name,
            application_name: info.application_name,
        }
    }
}

/// A step.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct Step {
    function_id: i32,
    function_name: String,
    output: Option<String>,
    error: Option<String>,
    child_workflow_id: Option<String>,
    started_at_epoch_ms: Option<String>,
    completed_at_epoch_ms: Option<String>,
}

impl Step {
    /// A step of a workflow of that name.
    pub(super) fn of(info: StepInfo, workflow: &str, settings: &Settings) -> Self {
        let (shown, field) = (Shown { settings, workflow }, Field::Step(&info.name));
        Self {
            function_id: info.number,
            output: shown.value(field, info.output),
            error: shown.error(field, info.error),
            function_name: info.name,
            child_workflow_id: info.child_workflow_id,
            started_at_epoch_ms: info.started_at.map(millis),
            completed_at_epoch_ms: info.completed_at.map(millis),
        }
    }
}

fn millis(at: Timestamp) -> String {
    at.as_millis().to_string()
}

/// The payloads of a workflow of that name, as the redactor leaves them.
struct Shown<'a> {
    settings: &'a Settings,
    workflow: &'a str,
}

impl Shown<'_> {
    /// Compact JSON.
    fn value(&self, field: Field<'_>, payload: Option<Payload>) -> Option<String> {
        match self.read(field, &payload?) {
            Ok(Value::Null) => None,
            Ok(value) => Some(value.to_string()),
            Err(unread) => Some(unread),
        }
    }

    /// The message of an error.
    fn error(&self, field: Field<'_>, payload: Option<Payload>) -> Option<String> {
        match self.read(field, &payload?) {
            Ok(Value::Null) => None,
            Ok(value) => match value.get("message").and_then(Value::as_str) {
                Some(message) => Some(message.to_owned()),
                None => Some(value.to_string()),
            },
            Err(unread) => Some(unread),
        }
    }

    /// What only another language reads is nothing that could be redacted: only its format is told.
    fn read(&self, field: Field<'_>, payload: &Payload) -> Result<Value, String> {
        let unread = || format!("<{}>", payload.format().unwrap_or("not JSON"));
        let mut value = payload.json().ok_or_else(unread)?;
        if let Some(redactor) = &self.settings.redactor {
            redactor.redact(self.workflow, field, &mut value);
        }
        Ok(value)
    }
}
