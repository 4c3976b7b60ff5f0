//! Questions about the versions of applications.

use super::{Answer, Store};
use crate::failpoint::{self, Boundary, Side};
use crate::model::version::VersionRow;

impl Store {
    /// Registers the running version; the name of the application that has it.
    pub(crate) async fn register_version(&self, row_id: &str) -> Answer<Option<String>> {
        failpoint::pass(Boundary::Register, Side::Before);
        let owner = ask!(self, backend => backend.register_version(row_id).await)?;
        failpoint::pass(Boundary::Register, Side::After);
        Ok(owner)
    }

    /// The versions of this application and those that no application has claimed, the latest first; at most so many.
    pub(crate) async fn versions(&self, most: i64) -> Answer<Vec<VersionRow>> {
        ask!(self, backend => backend.versions(most).await)
    }

    /// Makes a version the latest; without a row there is none of that name that this application may promote.
    pub(crate) async fn promote_version(&self, name: &str) -> Answer<u64> {
        failpoint::pass(Boundary::Promote, Side::Before);
        let promoted = ask!(self, backend => backend.promote_version(name).await)?;
        failpoint::pass(Boundary::Promote, Side::After);
        Ok(promoted)
    }

    /// The application of a version, if there is one of that name.
    pub(crate) async fn version_owner(&self, name: &str) -> Answer<Option<Option<String>>> {
        ask!(self, backend => backend.version_owner(name).await)
    }
}
