//! Writes that join a transaction of the application, and many starts at once.

use super::error::StoreError;
use super::{Answer, Store};
use crate::failpoint::{self, Boundary, Side};
use crate::model::write::{Receipt, Write};
use crate::time::Timestamp;

/// A connection to the system database whose transaction a start or a send can join.
///
/// Implemented for the connections of sqlx's drivers; a transaction gives its connection with `&mut *transaction`.
pub trait SystemConnection: Send {
    /// The driver's connection.
    #[doc(hidden)]
    fn enlist(&mut self) -> Enlisted<'_>;
}

/// A connection of one of the drivers.
#[doc(hidden)]
#[derive(Debug)]
pub enum Enlisted<'a> {
    /// To Postgres.
    #[cfg(feature = "postgres")]
    Postgres(&'a mut sqlx::PgConnection),
    /// To SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(&'a mut sqlx::SqliteConnection),
}

#[cfg(feature = "postgres")]
impl SystemConnection for sqlx::PgConnection {
    fn enlist(&mut self) -> Enlisted<'_> {
        Enlisted::Postgres(self)
    }
}

#[cfg(feature = "sqlite")]
impl SystemConnection for sqlx::SqliteConnection {
    fn enlist(&mut self) -> Enlisted<'_> {
        Enlisted::Sqlite(self)
    }
}

impl Store {
    /// Applies one write on the caller's connection; nothing of it stays unless the caller commits. `None` when the
    /// connection is to the other kind of database.
    pub(crate) async fn apply_on(&self, connection: Enlisted<'_>, write: &Write) -> Answer<Option<Receipt>> {
        let receipts = self.apply_all_on(connection, std::slice::from_ref(write)).await?;
        Ok(receipts.map(|mut receipts| receipts.pop().unwrap_or(Receipt::Lost(None))))
    }

    /// The same with several writes: all of them or none.
    pub(crate) async fn apply_all_on(
        &self,
        connection: Enlisted<'_>,
        batch: &[Write],
    ) -> Answer<Option<Vec<Receipt>>> {
        match (self, connection) {
            #[cfg(feature = "postgres")]
            (Self::Postgres(store), Enlisted::Postgres(connection)) => {
                store.apply_on(connection, batch).await.map(Some)
            }
            #[cfg(feature = "sqlite")]
            (Self::Sqlite(store), Enlisted::Sqlite(connection)) => {
                store.apply_on(connection, batch).await.map(Some)
            }
            #[cfg(all(feature = "postgres", feature = "sqlite"))]
            _ => Ok(None),
        }
    }

    /// The last place on any queue between two instants.
    pub(crate) async fn last_place(&self, after: Timestamp, until: Timestamp) -> Answer<Option<Timestamp>> {
        let last = ask!(self, backend => backend.last_place(after.as_millis(), until.as_millis()).await)?;
        Ok(last.map(Timestamp::from_millis))
    }

    /// Commits many starts of queued workflows, all that are not there yet or none.
    pub(crate) async fn start_all(&self, batch: &[Write]) -> Answer<Vec<Receipt>> {
        failpoint::pass(Boundary::Start, Side::Before);
        let receipts = ask!(self, backend => backend.start_all(batch).await)?;
        failpoint::pass(Boundary::Start, Side::After);
        Ok(receipts)
    }
}

/// A refusal of a write that joined a transaction: which rule of the database it broke.
pub(crate) fn is_missing_destination(error: &StoreError) -> bool {
    matches!(error, StoreError::Rejected(sqlx::Error::Database(error)) if error.is_foreign_key_violation())
}
