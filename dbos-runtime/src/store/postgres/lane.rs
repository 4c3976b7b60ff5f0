//! One connection that commits batches, each as a single statement.
//!
//! A batch is one statement with a part for each kind of write in it, so it costs one round trip and is atomic without
//! BEGIN and COMMIT. Ownership is locked first, in the order of ids, so two processes cannot deadlock; every insert
//! joins the locked rows, so a write without ownership inserts nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};

use super::columns::{Columns, Parts};
use super::statements::Statements;
use super::{classify::classify, lone, parts, verify};
use crate::model::mailbox::Stored;
use crate::model::workflow::Identity;
use crate::model::write::{Receipt, Write};
use crate::store::error::StoreError;
use crate::store::journal::Lane;

/// A journal lane on Postgres.
pub(crate) struct PostgresLane {
    options: PgConnectOptions,
    statements: Arc<Statements>,
    identity: Arc<Identity>,
    connection: Option<PgConnection>,
    /// The statement of each combination of parts that has come up.
    texts: HashMap<Parts, Arc<str>>,
}

/// The plans of a batch are made once, from no knowledge of its size or of a table that may be empty now and large in
/// a minute. Only an index may be used to find rows, which is right at any size. The server gives a statement up when
/// the journal does: one that went on would hold its locks against the next try.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
     SET enable_mergejoin = off; SET jit = off; SET default_transaction_isolation = 'read committed'; \
     SELECT set_config('statement_timeout', '10000', false) FROM pg_settings \
     WHERE name = 'statement_timeout' AND setting::int NOT BETWEEN 1 AND 10000";

impl PostgresLane {
    pub(crate) fn new(
        options: PgConnectOptions,
        statements: Arc<Statements>,
        identity: Arc<Identity>,
    ) -> Self {
        Self { options, statements, identity, connection: None, texts: HashMap::new() }
    }

    async fn apply_together(&mut self, batch: &[Write]) -> Result<Vec<Option<Receipt>>, StoreError> {
        let columns = Columns::of(batch);
        let row = self.send(&columns).await?;
        let mut answer = Answer::read(&row).map_err(classify)?;
        Ok(batch.iter().map(|write| answer.receipt(write, &columns)).collect())
    }

    async fn send(&mut self, columns: &Columns<'_>) -> Result<PgRow, StoreError> {
        let statements = &self.statements;
        let text = self.texts.entry(columns.parts).or_insert_with(|| {
            let template = parts::statement(columns.parts);
            statements.fill(&template).into()
        });
        let query = columns.bind(sqlx::query(AssertSqlSafe(Arc::clone(text))), &self.identity);
        let connection = self.connection.as_mut().ok_or(StoreError::Lost(sqlx::Error::PoolClosed))?;
        query.fetch_one(connection).await.map_err(classify)
    }
}

impl Lane for PostgresLane {
    async fn ready(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() {
            let mut connection = self.options.connect().await.map_err(classify)?;
            connection.execute(SETTINGS).await.map_err(classify)?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    async fn apply(&mut self, batch: &[Write]) -> Result<Vec<Receipt>, StoreError> {
        let connection = self.connection.as_mut().ok_or(StoreError::Lost(sqlx::Error::PoolClosed))?;
        let lone =
            lone::apply(connection, &self.statements, &self.identity, batch).await.map_err(classify)?;
        let mut receipts = match lone {
            Some(applied) => vec![applied.then_some(Receipt::Done)],
            None => self.apply_together(batch).await?,
        };
        if receipts.iter().any(Option::is_none) {
            let connection = self.connection.as_mut().ok_or(StoreError::Lost(sqlx::Error::PoolClosed))?;
            verify::fill(connection, &self.statements, batch, &mut receipts).await.map_err(classify)?;
        }
        Ok(receipts.into_iter().map(|receipt| receipt.unwrap_or(Receipt::Lost(None))).collect())
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

/// What a batch's statement says: enough to know at once that all went well, which is nearly always.
pub(super) struct Answer {
    steps: i64,
    created: i64,
    finished: Vec<String>,
    /// The new messages that no write has been told of yet: of two with one identity the first one was new.
    delivered: HashSet<String>,
    owned: Vec<String>,
    received: HashMap<(String, i32), Option<Stored>>,
}

impl Answer {
    pub(super) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let ids: Vec<String> = row.try_get("received_ids")?;
        let numbers: Vec<i32> = row.try_get("received_numbers")?;
        let values: Vec<Option<String>> = row.try_get("received_values")?;
        let formats: Vec<Option<String>> = row.try_get("received_formats")?;
        let stored = values
            .into_iter()
            .zip(formats)
            .map(|(value, serialization)| value.map(|value| Stored { value, serialization }));
        Ok(Self {
            steps: row.try_get("steps")?,
            created: row.try_get("created")?,
            finished: row.try_get("finished")?,
            delivered: row.try_get::<Vec<String>, _>("delivered")?.into_iter().collect(),
            owned: row.try_get("owned")?,
            received: ids.into_iter().zip(numbers).zip(stored).collect(),
        })
    }

    /// The write's receipt; `None` where only a second look can tell.
    pub(super) fn receipt(&mut self, write: &Write, columns: &Columns<'_>) -> Option<Receipt> {
        match write {
            Write::Record(record) => {
                for message in &record.effects.messages {
                    self.delivered.remove(&message.id);
                }
                let applied = if record.steps.is_empty() {
                    self.owned.iter().any(|owned| owned == record.fence.id.as_str())
                } else {
                    columns.steps() == self.steps
                };
                applied.then_some(Receipt::Done)
            }
            Write::Start(_) => (columns.starts() == self.created).then_some(Receipt::Done),
            Write::Outcome(outcome) => {
                self.finished.iter().any(|id| id == outcome.fence.id.as_str()).then_some(Receipt::Done)
            }
            Write::Send(messages) => {
                let new = messages.iter().filter(|message| self.delivered.remove(&message.id)).count();
                Some(Receipt::Sent(new))
            }
            Write::Receive(receive) => {
                let id = receive.fence.id.as_str();
                match self.received.get(&(id.to_owned(), receive.number)) {
                    Some(Some(message)) => Some(Receipt::Received(message.clone())),
                    Some(None) => Some(Receipt::TimedOut),
                    None if self.owned.iter().any(|owned| owned == id) && !receive.expired => {
                        Some(Receipt::Nothing)
                    }
                    None => None,
                }
            }
        }
    }
}
