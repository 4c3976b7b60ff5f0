//! The store on Postgres. This folder and its twin are the only rooms with SQL.

mod claims;
mod classify;
mod columns;
mod debounce;
mod enlisted;
mod forks;
mod lane;
mod listing;
mod lone;
mod mailbox;
mod management;
mod migrate;
mod parts;
pub(crate) mod presence;
mod queues;
mod rename;
mod retention;
mod rewinds;
mod rows;
mod schedules;
mod statements;
mod steps;
mod streams;
mod tick;
mod transfer;
mod verify;
mod versions;
mod wakeups;
mod workflows;

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor};

use self::lane::PostgresLane;
use self::statements::Statements;
use self::wakeups::Echoes;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::model::workflow::Identity;
use crate::payload::Codec;
use crate::store::error::StoreError;

pub(crate) use self::classify::{classify, ends_session};

/// How long one question may take before its connection is given up.
const DEADLINE: Duration = Duration::from_secs(10);

/// The pool for questions, and what a connection of its own needs.
#[derive(Debug)]
pub(crate) struct Postgres {
    pool: PgPool,
    /// For claims against limits that processes share.
    serializable: PgPool,
    options: PgConnectOptions,
    statements: Arc<Statements>,
    identity: Arc<Identity>,
    listen: bool,
    echoes: Echoes,
    lost: LastLoss,
    listing_timeout: Option<Duration>,
    schema: String,
    codec: Codec,
}

/// A claim reads by index only: a scan of the table would conflict with every other claim.
const SERIALIZABLE: &str =
    "SET default_transaction_isolation = 'serializable'; SET enable_seqscan = off; SET jit = off";

/// A session whose process is gone is ended by the server, and its locks with it: where the host has vanished after some
/// twenty seconds, in the middle of a transaction after five, since none here waits for anything but the server. Not among
/// the parameters of the connection's beginning, which poolers refuse.
const STRANDED: &str = "\
SELECT set_config(name, wanted.value, false)
FROM (VALUES ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '3'), ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '20000'), ('idle_in_transaction_session_timeout', '5000')) AS wanted(name, value)
JOIN pg_settings USING (name)
WHERE name <> 'idle_in_transaction_session_timeout' OR setting::int NOT BETWEEN 1 AND 5000";

/// When a connection of the pool was last found broken. What was opened before then is not used again: the server that
/// it led to is gone, and finding each of its connections broken one by one would cost a failed question each.
type LastLoss = Arc<Mutex<Option<Instant>>>;

/// The pool for questions. Connections are not tested before use, which would be a round trip for each.
fn pool(size: u32, options: PgConnectOptions, lost: &LastLoss) -> PgPool {
    let lost = Arc::clone(lost);
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(DEADLINE)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(STRANDED).await.map(drop) }))
        .before_acquire(move |_, connection| {
            let lost = *lost.lock().unwrap_or_else(PoisonError::into_inner);
            let opened = Instant::now().checked_sub(connection.age);
            Box::pin(async move { Ok(lost.is_none_or(|lost| opened.is_some_and(|opened| opened > lost))) })
        })
        .connect_lazy_with(options)
}

/// How every connection is made.
fn options(config: &Config) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(&config.database_url)
        .map_err(|error| Error::invalid(format!("the database URL cannot be used: {error}")))?;
    Ok(options.application_name("dbos_transact").log_statements(tracing::log::LevelFilter::Off))
}

impl Postgres {
    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Creates the database if it is missing, brings its schema up to date, and opens the pool.
    pub(crate) async fn open(config: &Config, identity: Arc<Identity>) -> Result<Self> {
        let options = options(config)?;
        let opening = async {
            if config.migrate {
                migrate::create_database_if_missing(&options).await.map_err(|error| cannot_open(&error))?;
            }
            let mut connection = options.connect().await.map_err(|error| cannot_open(&error))?;
            let migrated = if config.migrate {
                migrate::migrate(&mut connection, &config.schema, config.listen_notify).await
            } else {
                migrate::verify(&mut connection, &config.schema).await
            };
            migrated.map_err(|error| cannot_open(&error))?;
            // A connection that does not close cleanly is closed by the server.
            let _ = connection.close().await;
            Ok::<_, Error>(())
        };
        tokio::time::timeout(config.startup_timeout, opening)
            .await
            .map_err(|_| Error::new(ErrorKind::Initialization, "the database did not answer in time"))??;
        let lost = Arc::new(Mutex::new(None));
        let serializable = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(DEADLINE)
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SERIALIZABLE).await.map(|_| ()) })
            })
            .connect_lazy_with(options.clone());
        let pool = pool(config.pool_size, options.clone(), &lost);
        Ok(Self {
            codec: config.serializer.clone(),
            pool,
            serializable,
            options,
            statements: Arc::new(Statements::new(&config.schema)),
            identity,
            listen: config.listen_notify,
            echoes: Echoes::default(),
            lost,
            listing_timeout: config.listing_timeout,
            schema: config.schema.clone(),
        })
    }

    pub(crate) fn lanes(&self, count: usize) -> Vec<PostgresLane> {
        let lane = || {
            PostgresLane::new(self.options.clone(), Arc::clone(&self.statements), Arc::clone(&self.identity))
        };
        (0..count).map(|_| lane()).collect()
    }

    pub(crate) fn connections(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle())
    }

    pub(crate) async fn close(&self) {
        self.serializable.close().await;
        self.pool.close().await;
    }

    /// Puts one question on a connection of the pool. The connection is closed, not reused, when it failed or when no
    /// answer came in time: sqlx has no read timeout, and the answer may still arrive.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut PgConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> std::result::Result<T, StoreError> {
        self.ask_within(&self.pool, Some(DEADLINE), question).await
    }

    /// The same on another pool.
    async fn ask_on<T>(
        &self,
        pool: &PgPool,
        question: impl AsyncFnOnce(&mut PgConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> std::result::Result<T, StoreError> {
        self.ask_within(pool, Some(DEADLINE), question).await
    }

    /// The same with a deadline of its own, or with none.
    async fn ask_within<T>(
        &self,
        pool: &PgPool,
        deadline: Option<Duration>,
        question: impl AsyncFnOnce(&mut PgConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> std::result::Result<T, StoreError> {
        let mut asked = Asked(Some(pool.acquire().await.map_err(|error| classify(error).unreached())?));
        let connection = asked.0.as_mut().ok_or(StoreError::Lost(sqlx::Error::PoolClosed))?;
        let answer = match deadline {
            Some(deadline) => {
                let answer = tokio::time::timeout(deadline, question(connection)).await;
                answer.map_err(|_| StoreError::Deadline(deadline))
            }
            None => Ok(question(connection).await),
        };
        let error = match answer {
            Ok(Ok(answer)) => {
                asked.0 = None;
                return Ok(answer);
            }
            Ok(Err(error)) => classify(error),
            Err(error) => error,
        };
        if error.breaks_connection() {
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        } else {
            asked.0 = None;
        }
        Err(error)
    }
}

/// A connection on which an answer is due. Dropped with it, it is closed: the pool would wait for the answer, perhaps
/// for ever, before it used the connection again.
struct Asked(Option<PoolConnection<sqlx::Postgres>>);

impl Drop for Asked {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

fn cannot_open(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut message = format!("the Postgres database cannot be opened: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    Error::new(ErrorKind::Initialization, message)
}
