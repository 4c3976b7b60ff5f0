//! Brings the system schema of a SQLite file to the newest number.
//!
//! The file is locked for writing before the version is read, and everything commits at once: there is no
//! half-migrated file, and of several migrators the first one does the work.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use tokio::time::{Instant, sleep};

use crate::store::migrate::{LATEST, MigrateError, State};

mod files;
use files::{MIGRATIONS, Migration};

/// How long other writers may keep us out, on top of the connection's own busy timeout.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Migrates the file; a newer one is left alone, without a lock.
///
/// # Cancel safety
///
/// A dropped future rolls everything back.
pub(crate) async fn migrate(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match attempt(connection).await {
            Err(MigrateError::Read { source } | MigrateError::Statement { source, .. })
                if is_busy(&source) =>
            {
                if Instant::now() >= give_up {
                    return Err(MigrateError::Busy { source });
                }
                sleep(POLL).await;
            }
            done => return done,
        }
    }
}

/// Checks, without changing anything, that the file is as new as this build.
pub(crate) async fn verify(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    state(connection).await?.refuse_behind()
}

async fn attempt(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    if state(connection).await?.is_current() {
        return Ok(());
    }
    let begun = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(MigrateError::read)?;
    // Another process may have migrated the file while we waited for it.
    let now = state(&mut transaction).await?;
    if now.is_current() {
        return Ok(());
    }
    let version = now.version;
    if let Some(reason) = now.mismatch(|(_, sqlite)| sqlite) {
        return Err(MigrateError::Foreign { version, reason });
    }
    tracing::info!(from = version, to = LATEST, "migrating the system schema");
    for Migration { number, sql } in MIGRATIONS.iter().filter(|migration| migration.number > version) {
        let applied = sqlx::raw_sql(*sql).execute(&mut *transaction).await;
        applied.map_err(MigrateError::statement(*number))?;
    }
    let recorded = record(&mut transaction, LATEST).await;
    recorded.map_err(MigrateError::statement(LATEST))?;
    transaction.commit().await.map_err(MigrateError::statement(LATEST))
}

const VERSIONS: &str = "
    CREATE TABLE IF NOT EXISTS dbos_migrations (version INTEGER NOT NULL PRIMARY KEY);
    DELETE FROM dbos_migrations";

/// Leaves `number` as the only row.
async fn record(connection: &mut SqliteConnection, number: i64) -> sqlx::Result<()> {
    sqlx::raw_sql(VERSIONS).execute(&mut *connection).await?;
    let insert = sqlx::query("INSERT INTO dbos_migrations (version) VALUES ($1)").bind(number);
    insert.execute(connection).await.map(drop)
}

/// Every column as `table.column`, and every index. A virtual table may need a module that is not there.
const CONTENT: &str = "
    SELECT t.name || '.' || c.name
      FROM sqlite_master t
      JOIN pragma_table_info(t.name) c
     WHERE t.type = 'table' AND t.rootpage > 0
     UNION ALL
    SELECT name FROM sqlite_master WHERE type = 'index'";

/// Reads what is there and what is recorded. An absent table or row is version 0.
async fn state(connection: &mut SqliteConnection) -> Result<State, MigrateError> {
    let content = sqlx::query_scalar(CONTENT).fetch_all(&mut *connection).await;
    let content: HashSet<String> = HashSet::from_iter(content.map_err(MigrateError::read)?);
    let mut version = None;
    if State::is_versioned(&content) {
        let recorded = sqlx::query_scalar("SELECT max(version) FROM dbos_migrations");
        version = recorded.fetch_one(connection).await.map_err(MigrateError::read)?;
    }
    State::new(version, content)
}

/// Says whether another connection's lock was in the way: SQLITE_BUSY or SQLITE_LOCKED, of any extension.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6))
}
