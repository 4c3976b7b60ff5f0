//! Workflows on their way out of a database and into another.

use super::{Answer, Store};
use crate::failpoint::{self, Boundary, Side};
use crate::model::export::ExportedWorkflow;

impl Store {
    /// A workflow, and with `children` all that descend from it; nothing when it does not exist.
    pub(crate) async fn export(&self, id: &str, children: bool) -> Answer<Vec<ExportedWorkflow>> {
        ask!(self, backend => backend.export(id, children).await)
    }

    /// Inserts workflows as they were exported: all, or none when there are ids in use, which are returned.
    pub(crate) async fn import(&self, workflows: &[ExportedWorkflow]) -> Answer<Vec<String>> {
        failpoint::pass(Boundary::Import, Side::Before);
        let in_use = ask!(self, backend => backend.import(workflows).await)?;
        failpoint::pass(Boundary::Import, Side::After);
        Ok(in_use)
    }
}
