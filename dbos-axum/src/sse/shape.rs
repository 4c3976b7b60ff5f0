//! The form in which a stream's values leave.

use std::sync::Arc;

use dbos_runtime::EncodedValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Problem;
use crate::redact::{Field, Redactor};

/// What is done to each value on its way out.
pub(super) enum Shape {
    Stored,
    Typed(fn(&str) -> serde_json::Result<String>),
    /// For the layer's redactor, once the workflow is known.
    Redacted(Option<Redaction>),
}

pub(super) struct Redaction {
    redactor: Arc<dyn Redactor>,
    workflow: String,
    key: String,
}

impl Redaction {
    pub(super) fn new(redactor: Arc<dyn Redactor>, workflow: String, key: String) -> Self {
        Self { redactor, workflow, key }
    }
}

pub(super) fn retyped<T: DeserializeOwned + Serialize>(text: &str) -> serde_json::Result<String> {
    serde_json::to_string(&serde_json::from_str::<T>(text)?)
}

impl Shape {
    /// The value's text in place of the one that is stored; nothing when that is given out as it stands.
    pub(super) fn apply(&self, value: &EncodedValue) -> Option<Result<String, Problem>> {
        match self {
            Self::Stored | Self::Redacted(None) => None,
            Self::Typed(retyped) => Some(retyped(value.json()).map_err(|error| {
                tracing::error!(%error, "a stream's value is of another type");
                Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR)
            })),
            Self::Redacted(Some(redaction)) => {
                // What only another language reads cannot be redacted, so none of it may be seen.
                let json = value.is_readable().then(|| serde_json::from_str(value.json()).ok()).flatten();
                let mut shown: Value = json.unwrap_or_default();
                let field = Field::Stream(&redaction.key);
                redaction.redactor.redact(&redaction.workflow, field, &mut shown);
                Some(Ok(shown.to_string()))
            }
        }
    }
}
