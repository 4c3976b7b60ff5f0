//! Brings the shop's tables up to date, before anything uses them.

use sqlx::Any;
use sqlx::migrate::{MigrateDatabase, MigrateError, Migrator};

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

/// Creates the database if the server does not have it.
pub(crate) async fn create_database(url: &str) -> sqlx::Result<()> {
    // Not every user may ask the server; then connecting tells what is wrong.
    if Any::database_exists(url).await.unwrap_or(true) {
        return Ok(());
    }
    match Any::create_database(url).await {
        // Another process was quicker.
        Err(_) if Any::database_exists(url).await? => Ok(()),
        created => created,
    }
}
