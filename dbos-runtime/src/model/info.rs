//! Workflows and steps as they are listed.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::ids::WorkflowId;
use crate::model::status::WorkflowStatus;
use crate::model::tenant;
use crate::payload::PORTABLE;
use crate::time::Timestamp;

/// A stored value whose type is not known here: its text as it lies in the database, and its format. What the
/// configured [`Serializer`](crate::Serializer) has stored is given as the JSON that it stands for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payload {
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
}

impl Payload {
    pub(crate) fn new(text: String, format: Option<String>) -> Self {
        Self { text, format }
    }

    /// The text and its format, to be opened.
    pub(crate) fn parts(&mut self) -> (&mut String, &mut Option<String>) {
        (&mut self.text, &mut self.format)
    }

    /// The stored text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the format, such as `portable_json` or `py_pickle`; `None` for that of the program which wrote it.
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// The value, when it is stored as JSON; `None` when only another language can read it.
    pub fn json(&self) -> Option<Value> {
        match self.format() {
            None | Some(PORTABLE) => serde_json::from_str(&self.text).ok(),
            Some(_) => None,
        }
    }

    /// The value, when its text is JSON, whatever the format; else the text.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| Value::String(self.text.clone()))
    }
}

/// The facts of a workflow that do not depend on its types.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkflowInfo {
    /// The workflow's id.
    #[serde(deserialize_with = "as_stored")]
    pub id: WorkflowId,
    /// Where it stands; `None` for a status that no SDK writes.
    pub status: Option<WorkflowStatus>,
    /// Where it stands, as it is stored.
    pub status_text: String,
    /// The name under which it is registered.
    pub name: Option<String>,
    /// The class that its function belongs to, in languages that have them.
    pub class_name: Option<String>,
    /// The configured instance of that class.
    pub config_name: Option<String>,
    /// The application that owns it; `None` as long as none has claimed it.
    pub application_name: Option<String>,
    /// The version of the code that runs it.
    pub application_version: Option<String>,
    /// The application's id in DBOS Cloud.
    pub application_id: Option<String>,
    /// The process that runs it, or ran it last.
    pub executor_id: Option<String>,
    /// On whose behalf it was started.
    pub authenticated_user: Option<String>,
    /// The role in which that user started it.
    pub assumed_role: Option<String>,
    /// The roles of that user.
    pub authenticated_roles: Vec<String>,
    /// What is attached to it, an object; null when nothing is.
    pub attributes: Value,
    /// The queue that it is or was on.
    pub queue_name: Option<String>,
    /// The partition of that queue.
    pub queue_partition_key: Option<String>,
    /// The id that no other workflow on the queue may have as long as this one has not ended.
    pub deduplication_id: Option<String>,
    /// Its place on the queue: the lower, the sooner.
    pub priority: i64,
    /// How often it was dispatched.
    pub recovery_attempts: i64,
    /// The workflow that started it.
    pub parent_workflow_id: Option<String>,
    /// The workflow that it is a fork of.
    pub forked_from: Option<String>,
    /// Whether there are forks of it.
    pub was_forked_from: bool,
    /// The schedule that started it.
    pub schedule_name: Option<String>,
    /// How long it may run, in milliseconds.
    pub timeout_ms: Option<i64>,
    /// When it is cancelled unless it has ended.
    pub deadline: Option<Timestamp>,
    /// Until when it is not eligible on its queue.
    pub delay_until: Option<Timestamp>,
    /// When it was inserted. Of what one process enqueues in a burst it is the place on the queue, ahead of the clock.
    pub created_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
    /// When it was last taken from its queue.
    pub dequeued_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// What it was started with, where that was asked for.
    pub input: Option<Payload>,
    /// Its result, where that was asked for.
    pub output: Option<Payload>,
    /// Its error, where the output was asked for.
    pub error: Option<Payload>,
}

impl WorkflowInfo {
    /// The tenant to whom its user belongs, if there is one: the attribute `dbos.tenant`. Empty where it is nobody's.
    pub fn authenticated_tenant(&self) -> Option<&str> {
        self.attributes.get(tenant::ATTRIBUTE).map(|tenant| tenant.as_str().unwrap_or_default())
    }

    /// Where the workflow was started, if that was in a trace; with the feature `otel`. Spans that have to do with it
    /// can link to it.
    #[cfg(feature = "otel")]
    pub fn trace_context(&self) -> Option<opentelemetry::trace::SpanContext> {
        crate::trace::in_attributes(&self.attributes)
    }
}

/// One recorded step of a workflow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepInfo {
    /// Its number, from 1.
    pub number: i32,
    /// Its name.
    pub name: String,
    /// Its result, where that was asked for.
    pub output: Option<Payload>,
    /// Its error, where the output was asked for.
    pub error: Option<Payload>,
    /// The workflow that it started, or waited for.
    pub child_workflow_id: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// An id that the database holds, whatever other programs let pass for one.
fn as_stored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WorkflowId, D::Error> {
    String::deserialize(deserializer).map(WorkflowId::trusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_read_and_the_text_is_kept() {
        let cases = [
            ("[1]", None, Some(serde_json::json!([1]))),
            ("[1]", Some(PORTABLE), Some(serde_json::json!([1]))),
            ("not json {{{", Some(PORTABLE), None),
            ("1", Some("py_pickle"), None),
        ];
        for (text, format, json) in cases {
            let payload = Payload::new(text.to_owned(), format.map(ToOwned::to_owned));
            assert_eq!((payload.text(), payload.format(), payload.json()), (text, format, json));
        }
    }
}
