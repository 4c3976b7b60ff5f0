//! Questions about names of applications.

use super::{Answer, Store};
use crate::failpoint::{self, Boundary, Side};
use crate::model::rename::{Portion, Rename, Renamed};

impl Store {
    /// Moves definitions and active workflows, all of them or none.
    pub(crate) async fn rename_active(&self, rename: &Rename) -> Answer<Renamed> {
        failpoint::pass(Boundary::Rename, Side::Before);
        let renamed = ask!(self, backend => backend.rename_active(rename).await)?;
        failpoint::pass(Boundary::Rename, Side::After);
        Ok(renamed)
    }

    /// Moves a portion of the ended workflows, after the last one of the portion before.
    pub(crate) async fn rename_ended(&self, rename: &Rename, after: &Portion) -> Answer<Portion> {
        failpoint::pass(Boundary::Rename, Side::Before);
        let portion = ask!(self, backend => backend.rename_ended(rename, after).await)?;
        failpoint::pass(Boundary::Rename, Side::After);
        Ok(portion)
    }

    /// Moves a portion of the recorded steps, after the last one of the portion before.
    pub(crate) async fn rename_steps(&self, rename: &Rename, after: &Portion) -> Answer<Portion> {
        failpoint::pass(Boundary::Rename, Side::Before);
        let portion = ask!(self, backend => backend.rename_steps(rename, after).await)?;
        failpoint::pass(Boundary::Rename, Side::After);
        Ok(portion)
    }
}
