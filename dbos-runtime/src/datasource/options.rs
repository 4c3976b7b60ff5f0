//! The name of a transaction step, and how isolated it runs.

use super::backend::Dialect;

/// How much concurrent transactions may see of each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// Postgres' own default.
    ReadCommitted,
    /// One snapshot for the whole transaction.
    RepeatableRead,
    /// As if one after the other. The default, and the only one of SQLite.
    #[default]
    Serializable,
}

/// The name of a transaction step, and how it runs. A plain text is a name.
///
/// ```
/// use dbos_runtime::{IsolationLevel, TransactionOptions};
///
/// let options = TransactionOptions::named("reserve").isolation(IsolationLevel::ReadCommitted);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct TransactionOptions {
    pub(super) name: String,
    isolation: IsolationLevel,
}

impl TransactionOptions {
    /// A transaction step of that name.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), isolation: IsolationLevel::default() }
    }

    /// How much it may see of others.
    #[must_use]
    pub fn isolation(self, isolation: IsolationLevel) -> Self {
        Self { isolation, ..self }
    }

    pub(super) fn begin(&self, dialect: Dialect) -> String {
        match (dialect, self.isolation) {
            (Dialect::Sqlite, _) => "BEGIN IMMEDIATE",
            (Dialect::Postgres, IsolationLevel::ReadCommitted) => "BEGIN ISOLATION LEVEL READ COMMITTED",
            (Dialect::Postgres, IsolationLevel::RepeatableRead) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            (Dialect::Postgres, IsolationLevel::Serializable) => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
        .to_owned()
    }
}

impl From<&str> for TransactionOptions {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}
