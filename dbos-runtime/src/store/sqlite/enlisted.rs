//! Writes on a connection of the caller's own, inside the caller's transaction.

use sqlx::sqlite::SqliteConnection;

use super::batch::Work;
use super::values::Values;
use super::{Sqlite, classify};
use crate::model::write::{Receipt, Write};
use crate::store::error::StoreError;

impl Sqlite {
    /// Applies one write; it counts when the caller commits.
    pub(crate) async fn apply_on(
        &self,
        connection: &mut SqliteConnection,
        write: &Write,
    ) -> Result<Receipt, StoreError> {
        let mut work = Work { connection, values: &mut Values::default(), identity: &self.identity };
        let receipts = work.apply(std::slice::from_ref(write)).await.map_err(classify)?;
        Ok(receipts.into_iter().next().unwrap_or(Receipt::Lost(None)))
    }
}
