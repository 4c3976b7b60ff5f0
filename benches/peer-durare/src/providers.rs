//! The databases durare runs on, with pools of our own.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bench_common::{Args, BoxError};
use durare::{PostgresProvider, SqliteProvider, StateProvider};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// The connections of the pool on Postgres, unless `--pool` says otherwise; durare's default is 8.
const POSTGRES_POOL: u32 = 20;

/// The same on `SQLite`, where it is the default.
const SQLITE_POOL: u32 = 5;

/// What `PRAGMA synchronous` answers for FULL.
const FULL: i64 = 2;

/// As `PostgresProvider::connect`, but for the size of the pool.
pub async fn postgres(args: &Args) -> Result<Arc<dyn StateProvider>, BoxError> {
    let options = PgConnectOptions::from_str(&args.url)?.options([("search_path", "dbos")]);
    let pool = PgPoolOptions::new()
        .max_connections(args.pool.unwrap_or(POSTGRES_POOL))
        .connect_with(options)
        .await?;
    let provider = PostgresProvider::from_pool_with_schema(pool, "dbos")?;
    Ok(Arc::new(provider))
}

/// As `SqliteProvider::connect`, but for `synchronous`, which there is NORMAL: a commit is then
/// lost with the power. FULL syncs the write-ahead log at every commit, as Postgres does. The
/// setting is a connection's, so every one is asked for it before its first use.
pub async fn sqlite(args: &Args) -> Result<Arc<dyn StateProvider>, BoxError> {
    let options = SqliteConnectOptions::from_str(&args.url)?
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new()
        .max_connections(args.pool.unwrap_or(SQLITE_POOL))
        .after_connect(|connection, _| {
            Box::pin(async move {
                let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
                    .fetch_one(connection)
                    .await?;
                match synchronous {
                    FULL => Ok(()),
                    other => Err(sqlx::Error::Configuration(
                        format!("`PRAGMA synchronous` is {other}, not {FULL}").into(),
                    )),
                }
            })
        })
        .connect_with(options)
        .await?;
    Ok(Arc::new(SqliteProvider::from_pool(pool)))
}
