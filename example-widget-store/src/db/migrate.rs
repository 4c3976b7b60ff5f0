//! Makes the shop's tables, before anything uses them.

use std::io;
use std::time::Duration;

use sqlx::migrate::{MigrateDatabase, MigrateError, Migrator};
use sqlx::{Any, AnyConnection, Connection};
use tokio::time::timeout;

use super::Db;

static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// A database that has not answered by then is taken to be away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the migrations that have not run yet.
pub(crate) async fn run(db: &Db) -> Result<(), MigrateError> {
    let pool = db.pool();
    match pool.connect_options().database_url.scheme() {
        "sqlite" => SQLITE.run(pool).await,
        _ => POSTGRES.run(pool).await,
    }
}

/// Creates the database if it is not there.
pub(crate) async fn create_database(url: &str) -> sqlx::Result<()> {
    let silence = |_| Err(io::Error::from(io::ErrorKind::TimedOut).into());
    match timeout(PATIENCE, AnyConnection::connect(url)).await.unwrap_or_else(silence) {
        Ok(connection) => return connection.close().await,
        // Postgres has no such database, SQLite no such file.
        Err(error) if has_code(&error, &["3D000", "14"]) => {}
        Err(error) => return Err(error),
    }
    match Any::create_database(url).await {
        // Another process was quicker.
        Err(error) if has_code(&error, &["42P04", "23505"]) => Ok(()),
        created => created,
    }
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| codes.contains(&&*code))
}
