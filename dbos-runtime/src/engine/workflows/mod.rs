//! Management of workflows from outside: what is there, and what is to become of it.

mod recorded;

use std::fmt;
use std::sync::Arc;

use super::runtime::Dbos;
use super::shared::Shared;

pub use self::recorded::RecordedWorkflows;

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

impl fmt::Debug for Workflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflows").finish_non_exhaustive()
    }
}
