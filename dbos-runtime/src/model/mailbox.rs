//! Messages and events.

use crate::model::step::StepRow;
use crate::payload::Format;

/// The stored topic of a message without one.
pub(crate) const NO_TOPIC: &str = "__null__topic__";

/// A message on its way; its identity was made by the sender, so that delivering it twice is delivering it once.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    pub(crate) id: String,
    pub(crate) destination: String,
    pub(crate) topic: String,
    pub(crate) value: String,
    pub(crate) format: Format,
}

/// An event's new value.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) format: Format,
}

/// A stored value with the name of its format.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) value: String,
    pub(crate) serialization: Option<String>,
}

impl Stored {
    /// The step that returned this.
    pub(crate) fn into_output_of(self, row: StepRow) -> StepRow {
        StepRow { output: Some(self.value), serialization: self.serialization, ..row }
    }
}
