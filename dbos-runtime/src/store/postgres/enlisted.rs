//! Writes outside of the journal: on a connection of the caller's own, inside the caller's transaction, or many starts
//! as one statement.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::columns::Columns;
use super::lane::Answer;
use super::{Postgres, classify, parts, verify};
use crate::model::write::{Receipt, Touched, Write};
use crate::store::error::StoreError;

/// Delivered when the caller commits.
const RING: &str = "SELECT pg_notify('dbos_queues_channel', queue) FROM unnest($1::text[]) AS q(queue)";

const LAST_PLACE: &str =
    "SELECT max(created_at) FROM {s}.workflow_status WHERE created_at > $1 AND created_at <= $2";

impl Postgres {
    /// Applies a batch; it counts when the caller commits.
    pub(crate) async fn apply_on(
        &self,
        connection: &mut PgConnection,
        batch: &[Write],
    ) -> Result<Vec<Receipt>, StoreError> {
        let receipts = self.apply(connection, batch).await.map_err(classify)?;
        let done = batch.iter().zip(&receipts).filter(|(_, receipt)| **receipt == Receipt::Done);
        let queues: BTreeSet<String> = done
            .flat_map(|(write, _)| write.touches())
            .filter_map(|touched| if let Touched::Queue(queue) = touched { Some(queue) } else { None })
            .collect();
        if self.listen && !queues.is_empty() {
            let queues: Vec<String> = queues.into_iter().collect();
            sqlx::query(RING).bind(queues).execute(connection).await.map_err(classify)?;
        }
        Ok(receipts)
    }

    pub(crate) async fn last_place(&self, after: i64, until: i64) -> Result<Option<i64>, StoreError> {
        let query = sqlx::query_scalar(self.statements.get(LAST_PLACE)).bind(after).bind(until);
        self.ask(async |c| query.fetch_one(c).await).await
    }

    /// Commits many starts as one statement.
    pub(crate) async fn start_all(&self, batch: &[Write]) -> Result<Vec<Receipt>, StoreError> {
        self.ask(async |c| self.apply(c, batch).await).await
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[Write],
    ) -> Result<Vec<Receipt>, sqlx::Error> {
        let columns = Columns::of(batch);
        let text = self.statements.fill(&parts::statement(columns.parts));
        let query = columns.bind(sqlx::query(AssertSqlSafe(text)), &self.identity);
        let row = query.fetch_one(&mut *connection).await?;
        let mut answer = Answer::read(&row)?;
        let mut receipts: Vec<_> = batch.iter().map(|write| answer.receipt(write, &columns)).collect();
        if receipts.iter().any(Option::is_none) {
            verify::fill(connection, &self.statements, batch, &mut receipts).await?;
        }
        Ok(receipts.into_iter().map(|receipt| receipt.unwrap_or(Receipt::Lost(None))).collect())
    }
}
