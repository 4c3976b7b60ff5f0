//! Debouncing: a call moves the delayed workflow of the call before, instead of starting another one.

use serde::{Deserialize, Serialize};

use crate::model::workflow::Fence;
use crate::payload::Format;
use crate::time::Timestamp;

/// Moves the delayed workflow that holds a key, and gives it this input.
#[derive(Clone, Debug)]
pub(crate) struct Bounce {
    pub(crate) name: String,
    pub(crate) class_name: Option<String>,
    pub(crate) config_name: Option<String>,
    pub(crate) queue: String,
    pub(crate) deduplication_id: String,
    pub(crate) application: Option<String>,
    pub(crate) input: String,
    pub(crate) format: Format,
    /// Not before this, unless its deadline is earlier.
    pub(crate) delay_until: Timestamp,
    /// The step of the calling workflow, recorded with it or not at all.
    pub(crate) step: Option<BounceStep>,
}

#[derive(Clone, Debug)]
pub(crate) struct BounceStep {
    pub(crate) fence: Fence,
    pub(crate) number: i32,
    pub(crate) at: Timestamp,
}

/// The name of that step.
pub(crate) const STEP: &str = "DBOS.debounce_delayed_workflow";

/// What a bounce found; recorded in these words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bounced {
    /// The workflow that was moved.
    pub(crate) bounced_workflow_id: Option<String>,
    /// Who holds the key if nothing was moved.
    pub(crate) holder_workflow_id: Option<String>,
    /// And of the same class and instance: one that is not could never be moved.
    pub(crate) holder_is_debounced: Option<bool>,
    pub(crate) holder_workflow_name: Option<String>,
    pub(crate) holder_application_name: Option<String>,
}
