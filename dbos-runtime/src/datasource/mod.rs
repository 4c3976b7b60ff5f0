//! The application's own tables, written by steps exactly once.
//!
//! When the datasource is the system database, the application's rows and the step's record are one commit. When it is
//! another one, a witness row in it tells a later execution that the commit happened.

mod again;
mod backend;
mod guard;
mod options;
mod transaction;
mod witness;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Pool;
use tokio::sync::OwnedMutexGuard;

use self::again::{in_time, patiently};
pub use self::backend::Backend;
use self::backend::{Bind, Dialect};
pub use self::guard::{Begun, OpenTransaction};
pub use self::options::{IsolationLevel, TransactionOptions};
pub use self::transaction::Placed;
pub(crate) use self::witness::Witnesses;
use crate::engine::Execution;
use crate::error::Result;
use crate::store::writer::Writer;

/// A pool of connections to the application's tables, for [`Ctx::transaction`](crate::Ctx::transaction).
///
/// `DB` is `sqlx::Postgres`, `sqlx::Sqlite`, or, with the feature `any`, `sqlx::Any`, for code that runs on both. Cheap
/// to clone.
///
/// It finds out by itself whether it is the system database: it looks there for the row of the workflow that uses it.
pub struct Datasource<DB: Backend> {
    inner: Arc<Inner<DB>>,
}

struct Inner<DB: Backend> {
    pool: Pool<DB>,
    dialect: Dialect,
    schema: String,
    writer: Option<Writer>,
    /// Per runtime that has used it: is it that runtime's system database?
    home: Mutex<HashMap<u64, bool>>,
}

impl<DB: Backend> Clone for Datasource<DB> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<DB: Backend> fmt::Debug for Datasource<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datasource").field("dialect", &self.inner.dialect).finish_non_exhaustive()
    }
}

impl<DB: Backend> Datasource<DB> {
    /// Opens a pool on a database. A SQLite file is created if it is missing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a URL that cannot be used, [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when nothing answers.
    pub async fn connect(url: &str) -> Result<Self> {
        let pool = DB::open(url).await?;
        Self::from_pool(pool)
    }

    /// Takes a pool that is there already.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a database of an unknown kind.
    pub fn from_pool(pool: Pool<DB>) -> Result<Self> {
        let dialect = DB::dialect(&pool)?;
        let writer = DB::file(&pool).map(|file| Writer::of(&file));
        let inner = Inner { pool, dialect, schema: "dbos".to_owned(), writer, home: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The schema that holds the system tables, or the witness table, on Postgres; `dbos` by default.
    #[must_use]
    pub fn schema(self, schema: &str) -> Self {
        let inner = Inner {
            pool: self.inner.pool.clone(),
            dialect: self.inner.dialect,
            schema: schema.to_owned(),
            writer: self.inner.writer.clone(),
            home: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The pool, for reads and for writes outside of workflows.
    pub fn pool(&self) -> &Pool<DB> {
        &self.inner.pool
    }

    /// Waits for this process's turn to write, where the database has one writer.
    async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.inner.writer {
            Some(writer) => Some(writer.turn().await),
            None => None,
        }
    }

    /// Whether this is the database that holds the execution's own row.
    async fn is_home(&self, execution: &Execution) -> Result<bool> {
        if let Some(home) = self.known(execution) {
            return Ok(home);
        }
        let home = patiently(execution, || in_time(self.holds(execution))).await?;
        if !home {
            // The row may be missing because this execution has lost it; that proves nothing about the database.
            execution.still_owner().await?;
            patiently(execution, || witness::migrate(&execution.shared, self)).await?;
        }
        self.homes().insert(execution.shared.serial, home);
        Ok(home)
    }

    /// What this process has found out about that already.
    fn known(&self, execution: &Execution) -> Option<bool> {
        self.homes().get(&execution.shared.serial).copied()
    }

    async fn holds(&self, execution: &Execution) -> sqlx::Result<bool> {
        let mut connection = self.inner.pool.acquire().await?;
        if !self.has(&mut connection, "workflow_status").await? {
            return Ok(false);
        }
        let status = self.table("workflow_status");
        let sql = format!("SELECT workflow_uuid FROM {status} WHERE workflow_uuid = $1 AND owner_xid = $2");
        let row = vec![Bind::text(execution.fence.id.as_str()), Bind::text(execution.token().as_str())];
        Ok(DB::first(&mut connection, sql, row).await?.is_some())
    }

    /// Whether a table of that name is there.
    async fn has(&self, connection: &mut DB::Connection, table: &str) -> sqlx::Result<bool> {
        let sql = match self.inner.dialect {
            Dialect::Postgres => "SELECT to_regclass($1)::text",
            Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE name = $1",
        };
        let name = vec![Bind::text(&self.table(table))];
        let row = DB::first(connection, sql.to_owned(), name).await?;
        Ok(row.is_some_and(|row| row.into_iter().any(|name| name.is_some())))
    }

    /// A table's full name in this dialect.
    fn table(&self, name: &str) -> String {
        match self.inner.dialect {
            Dialect::Postgres => format!("\"{}\".{name}", self.inner.schema.replace('"', "\"\"")),
            Dialect::Sqlite => name.to_owned(),
        }
    }

    fn homes(&self) -> std::sync::MutexGuard<'_, HashMap<u64, bool>> {
        self.inner.home.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
