//! A step's row.

use crate::ids::WorkflowId;
use crate::payload::PORTABLE;
use crate::time::Timestamp;

/// What is recorded of one step. Both payloads empty is legal: a marker, or an effect without a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StepRow {
    pub(crate) number: i32,
    pub(crate) name: String,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) child: Option<String>,
    pub(crate) started: Option<i64>,
    pub(crate) completed: Option<i64>,
    pub(crate) serialization: Option<String>,
}

impl StepRow {
    /// A row without payload.
    pub(crate) fn marker(
        number: i32,
        name: impl Into<String>,
        started: Timestamp,
        completed: Timestamp,
    ) -> Self {
        Self {
            number,
            name: name.into(),
            started: Some(started.as_millis()),
            completed: Some(completed.as_millis()),
            ..Self::default()
        }
    }

    pub(crate) fn with_output(self, output: String) -> Self {
        Self { output: Some(output), serialization: Some(PORTABLE.to_owned()), ..self }
    }

    pub(crate) fn with_error(self, error: String) -> Self {
        Self { error: Some(error), serialization: Some(PORTABLE.to_owned()), ..self }
    }

    pub(crate) fn with_child(self, child: &WorkflowId) -> Self {
        Self { child: Some(child.as_str().to_owned()), ..self }
    }
}
