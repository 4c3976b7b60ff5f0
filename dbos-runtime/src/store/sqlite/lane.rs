//! The one connection that commits batches.

use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::batch::Work;
use super::classify::classify;
use super::values::Values;
use crate::model::workflow::Identity;
use crate::model::write::{Receipt, Write};
use crate::store::error::StoreError;
use crate::store::journal::Lane;
use crate::store::writer::Writer;

/// The journal's lane on SQLite.
pub(crate) struct SqliteLane {
    options: SqliteConnectOptions,
    writer: Writer,
    identity: Arc<Identity>,
    connection: Option<SqliteConnection>,
    values: Values,
}

impl SqliteLane {
    pub(crate) fn new(options: SqliteConnectOptions, writer: Writer, identity: Arc<Identity>) -> Self {
        Self { options, writer, identity, connection: None, values: Values::default() }
    }
}

impl Lane for SqliteLane {
    async fn ready(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await.map_err(classify)?);
        }
        Ok(())
    }

    async fn apply(&mut self, batch: &[Write]) -> Result<Vec<Receipt>, StoreError> {
        let connection = self.connection.as_mut().ok_or(StoreError::Lost(sqlx::Error::PoolClosed))?;
        let _turn = self.writer.turn().await;
        connection.execute("BEGIN IMMEDIATE").await.map_err(classify)?;
        let mut work = Work { connection, values: &mut self.values, identity: &self.identity };
        let result = match work.apply(batch).await {
            Ok(receipts) => work.connection.execute("COMMIT").await.map(|_| receipts),
            Err(error) => Err(error),
        };
        if result.is_err() {
            // A transaction that cannot be rolled back ends with its connection.
            if connection.execute("ROLLBACK").await.is_err() {
                self.connection = None;
            }
        }
        result.map_err(classify)
    }

    fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn close(self) {
        if let Some(connection) = self.connection {
            // One that does not close cleanly is gone all the same.
            let _ = connection.close().await;
        }
    }
}
