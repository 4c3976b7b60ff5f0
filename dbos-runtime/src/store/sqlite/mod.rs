//! The store on SQLite: one file, one writer, nothing to install.

mod batch;
mod claims;
mod classify;
mod debounce;
mod enlisted;
mod forks;
mod lane;
mod listing;
mod mailbox;
mod management;
mod migrate;
mod presence;
mod queues;
mod rename;
mod retention;
mod rewinds;
mod rows;
mod schedules;
mod starts;
mod steps;
mod streams;
mod tick;
mod transfer;
mod values;
mod verify;
mod versions;
mod workflows;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use self::lane::SqliteLane;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::model::workflow::Identity;
use crate::payload::Codec;
use crate::store::error::StoreError;
use crate::store::writer::Writer;

pub(crate) use self::classify::classify;

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long another process may hold the file before a statement fails (and is tried again).
const BUSY: Duration = Duration::from_secs(5);

/// The pool for questions, and the place in the queue of writers.
#[derive(Debug)]
pub(crate) struct Sqlite {
    pool: SqlitePool,
    options: SqliteConnectOptions,
    writer: Writer,
    identity: Arc<Identity>,
    listing_timeout: Option<Duration>,
    codec: Codec,
}

impl Sqlite {
    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Creates the file if it is missing, brings its schema up to date, and opens the pool.
    pub(crate) async fn open(config: &Config, identity: Arc<Identity>) -> Result<Self> {
        let options = connect_options(&config.database_url)?;
        let opening = prepare(config, &options);
        let writer = tokio::time::timeout(config.startup_timeout, opening).await.map_err(|_| {
            let file = options.get_filename().display();
            Error::new(
                ErrorKind::Initialization,
                format!("the SQLite database {file} is in use by another process"),
            )
        })??;
        let pool = SqlitePoolOptions::new()
            .max_connections(config.pool_size.min(8))
            .acquire_timeout(DEADLINE)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone());
        Ok(Self {
            pool,
            options,
            writer,
            identity,
            listing_timeout: config.listing_timeout,
            codec: config.serializer.clone(),
        })
    }

    pub(crate) fn lane(&self) -> SqliteLane {
        SqliteLane::new(self.options.clone(), self.writer.clone(), Arc::clone(&self.identity))
    }

    pub(crate) fn connections(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle())
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Puts one question on a connection of the pool.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> std::result::Result<T, StoreError> {
        self.ask_within(Some(DEADLINE), question).await
    }

    /// The same with a deadline of its own, or with none.
    async fn ask_within<T>(
        &self,
        deadline: Option<Duration>,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> std::result::Result<T, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(classify)?;
        let Some(deadline) = deadline else {
            return question(&mut connection).await.map_err(classify);
        };
        match tokio::time::timeout(deadline, question(&mut connection)).await {
            Ok(answer) => answer.map_err(classify),
            Err(_) => {
                drop(connection.detach());
                Err(StoreError::Deadline(deadline))
            }
        }
    }

    /// A change that is one statement: it takes its turn among the writers of this process.
    async fn change<T>(
        &self,
        change: impl AsyncFnOnce(&mut SqliteConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> std::result::Result<T, StoreError> {
        self.change_within(Some(DEADLINE), change).await
    }

    /// The same with a deadline of its own, or with none.
    async fn change_within<T>(
        &self,
        deadline: Option<Duration>,
        change: impl AsyncFnOnce(&mut SqliteConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> std::result::Result<T, StoreError> {
        let _turn = self.writer.turn().await;
        self.ask_within(deadline, change).await
    }
}

/// The settings under which a committed write survives the loss of power.
pub(crate) fn connect_options(url: &str) -> Result<SqliteConnectOptions> {
    let path = url.strip_prefix("sqlite:").map_or(url, |rest| rest.strip_prefix("//").unwrap_or(rest));
    if path.is_empty() || path.contains(":memory:") || path.contains("mode=memory") {
        return Err(Error::invalid("a SQLite database must be a file: memory does not survive the process"));
    }
    let options = SqliteConnectOptions::from_str(&format!("sqlite:{path}"))
        .map_err(|error| Error::invalid(format!("the database URL cannot be used: {error}")))?;
    Ok(options
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .statement_cache_capacity(256)
        .log_statements(tracing::log::LevelFilter::Off))
}

/// Creates the file and brings its schema up to date, in this process's turn to write; only checks it where nothing is to
/// be migrated.
async fn prepare(config: &Config, options: &SqliteConnectOptions) -> Result<Writer> {
    let opening = options.clone().create_if_missing(config.migrate);
    let mut connection = opening.connect().await.map_err(|error| cannot_open(options, &error))?;
    // After connecting: a file's queue goes by its full path, which there is none of before the file exists.
    let writer = Writer::of(options.get_filename());
    let turn = writer.turn().await;
    let migrated = if config.migrate {
        migrate::migrate(&mut connection).await
    } else {
        migrate::verify(&mut connection).await
    };
    migrated.map_err(|error| cannot_open(options, &error))?;
    drop(turn);
    // A connection that does not close cleanly leaves nothing behind: it has no transaction.
    let _ = connection.close().await;
    Ok(writer)
}

fn cannot_open(options: &SqliteConnectOptions, error: &(dyn std::error::Error + 'static)) -> Error {
    let file = options.get_filename().display();
    let mut message = format!("the SQLite database {file} cannot be opened: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    Error::new(ErrorKind::Initialization, message)
}
