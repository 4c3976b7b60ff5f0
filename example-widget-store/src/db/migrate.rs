//! Makes the shop's tables, before anything uses them.

use sqlx::migrate::{MigrateDatabase, MigrateError, Migrator};
use sqlx::{Any, AnyConnection, Connection};

use super::Db;

static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// Runs the migrations that have not run yet.
pub(crate) async fn run(db: &Db) -> Result<(), MigrateError> {
    let pool = db.pool();
    match pool.connect_options().database_url.scheme() {
        "sqlite" => SQLITE.run(pool).await,
        _ => POSTGRES.run(pool).await,
    }
}

/// Creates the database if its server does not have it.
pub(crate) async fn create_database(url: &str) -> sqlx::Result<()> {
    match AnyConnection::connect(url).await {
        Ok(connection) => connection.close().await,
        Err(error) if is_missing(&error) => Any::create_database(url).await,
        Err(error) => Err(error),
    }
}

/// Postgres knows no such database, or SQLite cannot open such a file.
fn is_missing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["3D000", "14"].contains(&&*code))
}
