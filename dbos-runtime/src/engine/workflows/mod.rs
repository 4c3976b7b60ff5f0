//! Management of workflows from outside: what is there, and what is to become of it.

mod cancel;
mod delay;
mod delete;
mod fork;
mod recorded;
mod resume;
mod rewind;
mod unit;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::client::Client;
use super::handle::WorkflowHandle;
use super::runtime::Dbos;
use super::shared::Shared;
use crate::ids::WorkflowId;

pub use self::cancel::{CancelReport, CancelWorkflows, TreeOptions};
pub use self::delay::Delay;
pub use self::delete::DeleteWorkflows;
pub use self::fork::Fork;
pub use self::recorded::RecordedWorkflows;
pub use self::resume::{ResumeOptions, ResumeWorkflows};
pub use self::rewind::Rewind;

/// The workflows of the database, seen from outside. Made by [`Dbos::workflows`].
pub struct Workflows {
    pub(crate) shared: Arc<Shared>,
}

impl Dbos {
    /// The workflows of the database: listed, looked into, managed.
    pub fn workflows(&self) -> Workflows {
        Workflows { shared: Arc::clone(&self.shared) }
    }
}

impl Client {
    /// The workflows of the database: listed, looked into, managed.
    pub fn workflows(&self) -> Workflows {
        Workflows { shared: Arc::clone(self.shared()) }
    }
}

impl fmt::Debug for Workflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflows").finish_non_exhaustive()
    }
}

/// A handle to a workflow that is there.
fn found(shared: &Arc<Shared>, id: WorkflowId) -> WorkflowHandle<Value> {
    WorkflowHandle::new(shared, id, None, Some(String::new()))
}
