//! Writes on a connection of the caller's own, inside the caller's transaction.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::columns::Columns;
use super::lane::Answer;
use super::{Postgres, classify, parts, verify};
use crate::model::write::{Receipt, Write};
use crate::store::error::StoreError;

/// Delivered when the caller commits.
const RING: &str = "SELECT pg_notify('dbos_queues_channel', $1)";

impl Postgres {
    /// Applies one write; it counts when the caller commits.
    pub(crate) async fn apply_on(
        &self,
        connection: &mut PgConnection,
        write: &Write,
    ) -> Result<Receipt, StoreError> {
        let batch = std::slice::from_ref(write);
        let columns = Columns::of(batch);
        let text = self.statements.fill(&parts::statement(columns.parts));
        let query = columns.bind(sqlx::query(AssertSqlSafe(text)), &self.identity);
        let row = query.fetch_one(&mut *connection).await.map_err(classify)?;
        let mut receipts = [Answer::read(&row).map_err(classify)?.receipt(write, &columns)];
        if receipts[0].is_none() {
            verify::fill(connection, &self.statements, batch, &mut receipts).await?;
        }
        let [receipt] = receipts;
        let receipt = receipt.unwrap_or(Receipt::Lost(None));
        if let (true, Receipt::Done, Write::Start(new)) = (self.listen, &receipt, write)
            && let Some(queued) = new.queued()
        {
            sqlx::query(RING).bind(&queued.queue).execute(connection).await.map_err(classify)?;
        }
        Ok(receipt)
    }
}
