//! Writes outside of the journal: on a connection of the caller's own, inside the caller's transaction, or many starts
//! as one transaction.

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::batch::Work;
use super::values::Values;
use super::{Sqlite, classify};
use crate::model::write::{Receipt, Write};
use crate::store::error::StoreError;

const LAST_PLACE: &str =
    "SELECT max(created_at) FROM workflow_status WHERE created_at > ?1 AND created_at <= ?2";

impl Sqlite {
    /// Applies a batch; it counts when the caller commits.
    pub(crate) async fn apply_on(
        &self,
        connection: &mut SqliteConnection,
        batch: &[Write],
    ) -> Result<Vec<Receipt>, StoreError> {
        let mut work = Work { connection, values: &mut Values::default(), identity: &self.identity };
        work.apply(batch).await.map_err(classify)
    }

    pub(crate) async fn last_place(&self, after: i64, until: i64) -> Result<Option<i64>, StoreError> {
        let query = sqlx::query_scalar(LAST_PLACE).bind(after).bind(until);
        self.ask(async |c| query.fetch_one(c).await).await
    }

    /// Commits many starts as one transaction.
    pub(crate) async fn start_all(&self, batch: &[Write]) -> Result<Vec<Receipt>, StoreError> {
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let values = &mut Values::default();
            let mut work = Work { connection: &mut transaction, values, identity: &self.identity };
            let receipts = work.apply(batch).await?;
            transaction.commit().await?;
            Ok(receipts)
        })
        .await
    }
}
