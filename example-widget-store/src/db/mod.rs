//! The shop's tables. Every query takes a connection, so that it can be part of a transaction.

pub mod inventory;
pub(crate) mod migrate;
pub mod orders;

/// The database: the same code on SQLite and on Postgres.
pub type Db = dbos_runtime::Datasource<sqlx::Any>;
