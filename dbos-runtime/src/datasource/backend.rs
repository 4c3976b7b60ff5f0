//! The three drivers behind one small door, so that the protocol is written once.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
#[cfg(feature = "postgres")]
use sqlx::Executor as _;
use sqlx::{AssertSqlSafe, Pool, Transaction};

use crate::error::{Error, ErrorKind, Result};

/// A value for a placeholder.
#[derive(Clone, Debug)]
pub enum Bind {
    /// Text, or null.
    Text(Option<String>),
    /// A 32-bit number.
    Int(i32),
    /// A 64-bit number, or null.
    Big(Option<i64>),
}

impl Bind {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

/// How the database at the other end speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// A driver that a [`Datasource`](super::Datasource) can use: `sqlx::Postgres`, `sqlx::Sqlite` or `sqlx::Any`.
///
/// Sealed: the methods are for this crate alone.
pub trait Backend: sqlx::Database + sealed::Sealed {
    #[doc(hidden)]
    fn open(url: &str) -> BoxFuture<'_, Result<Pool<Self>>>;
    #[doc(hidden)]
    fn dialect(pool: &Pool<Self>) -> Result<Dialect>;
    /// The file behind the pool, for a database that has one writer.
    #[doc(hidden)]
    fn file(pool: &Pool<Self>) -> Option<PathBuf>;
    #[doc(hidden)]
    fn begin(
        pool: Pool<Self>,
        statement: String,
    ) -> BoxFuture<'static, sqlx::Result<Transaction<'static, Self>>>;
    #[doc(hidden)]
    fn execute(
        connection: &mut Self::Connection,
        sql: String,
        binds: Vec<Bind>,
    ) -> BoxFuture<'_, sqlx::Result<u64>>;
    /// The first row, each column as text.
    #[doc(hidden)]
    fn first(
        connection: &mut Self::Connection,
        sql: String,
        binds: Vec<Bind>,
    ) -> BoxFuture<'_, sqlx::Result<Option<Row>>>;
}

/// A row of texts.
pub(crate) type Row = Vec<Option<String>>;

mod sealed {
    /// Keeps the set of backends closed.
    pub trait Sealed {}
    #[cfg(feature = "postgres")]
    impl Sealed for sqlx::Postgres {}
    #[cfg(feature = "sqlite")]
    impl Sealed for sqlx::Sqlite {}
    #[cfg(feature = "any")]
    impl Sealed for sqlx::Any {}
}

/// Connections of a datasource's own pool.
const POOL: u32 = 10;
const ACQUIRE: Duration = Duration::from_secs(10);

/// What a session of a datasource's own pool is told: where its host has vanished the server ends it, and its locks with
/// it, after some twenty seconds, or a minute while an answer is on its way. A transaction may wait for its body as long
/// as it likes.
#[cfg(feature = "postgres")]
const STRANDED: &str = "\
SELECT set_config(name, wanted.value, false)
FROM (VALUES ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '3'), ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '60000')) AS wanted(name, value)
JOIN pg_settings USING (name)";

/// A query with its values bound.
macro_rules! bound {
    ($sql:ident, $binds:ident) => {
        $binds.into_iter().fold(sqlx::query::<Self>(AssertSqlSafe($sql)), |query, bind| match bind {
            Bind::Text(text) => query.bind(text),
            Bind::Int(number) => query.bind(number),
            Bind::Big(number) => query.bind(number),
        })
    };
}

/// What is the same text for every driver, but another type.
macro_rules! door {
    () => {
        fn begin(
            pool: Pool<Self>,
            statement: String,
        ) -> BoxFuture<'static, sqlx::Result<Transaction<'static, Self>>> {
            Box::pin(async move { pool.begin_with(AssertSqlSafe(statement)).await })
        }

        fn execute(
            connection: &mut Self::Connection,
            sql: String,
            binds: Vec<Bind>,
        ) -> BoxFuture<'_, sqlx::Result<u64>> {
            Box::pin(async move {
                let query = bound!(sql, binds);
                Ok(query.execute(connection).await?.rows_affected())
            })
        }

        fn first(
            connection: &mut Self::Connection,
            sql: String,
            binds: Vec<Bind>,
        ) -> BoxFuture<'_, sqlx::Result<Option<Row>>> {
            use sqlx::Row as _;
            Box::pin(async move {
                let query = bound!(sql, binds);
                let Some(row) = query.fetch_optional(connection).await? else {
                    return Ok(None);
                };
                (0..row.len()).map(|column| row.try_get(column)).collect::<sqlx::Result<_>>().map(Some)
            })
        }
    };
}

#[cfg(feature = "postgres")]
impl Backend for sqlx::Postgres {
    fn open(url: &str) -> BoxFuture<'_, Result<Pool<Self>>> {
        Box::pin(async move {
            let options = sqlx::postgres::PgPoolOptions::new().max_connections(POOL).acquire_timeout(ACQUIRE);
            let options = options.after_connect(|connection, _| {
                Box::pin(async move { connection.execute(STRANDED).await.map(drop) })
            });
            options.test_before_acquire(false).connect(url).await.map_err(|error| cannot_open(&error))
        })
    }

    fn dialect(_: &Pool<Self>) -> Result<Dialect> {
        Ok(Dialect::Postgres)
    }

    fn file(_: &Pool<Self>) -> Option<PathBuf> {
        None
    }

    door!();
}

#[cfg(feature = "sqlite")]
impl Backend for sqlx::Sqlite {
    fn open(url: &str) -> BoxFuture<'_, Result<Pool<Self>>> {
        Box::pin(async move {
            let connect = crate::store::sqlite::connect_options(url)?;
            let options =
                sqlx::sqlite::SqlitePoolOptions::new().max_connections(POOL).acquire_timeout(ACQUIRE);
            options.connect_with(connect).await.map_err(|error| cannot_open(&error))
        })
    }

    fn dialect(_: &Pool<Self>) -> Result<Dialect> {
        Ok(Dialect::Sqlite)
    }

    fn file(pool: &Pool<Self>) -> Option<PathBuf> {
        Some(pool.connect_options().get_filename().to_owned())
    }

    door!();
}

#[cfg(feature = "any")]
impl Backend for sqlx::Any {
    fn open(url: &str) -> BoxFuture<'_, Result<Pool<Self>>> {
        Box::pin(async move {
            sqlx::any::install_default_drivers();
            #[cfg(feature = "sqlite")]
            let url = if url.starts_with("sqlite:") {
                // Creates the file with the settings that a later connection keeps.
                <sqlx::Sqlite as Backend>::open(url).await?.close().await;
                url.split('?').next().unwrap_or(url)
            } else {
                url
            };
            let options = sqlx::any::AnyPoolOptions::new().max_connections(POOL).acquire_timeout(ACQUIRE);
            #[cfg(feature = "postgres")]
            let options = options.after_connect(|connection, _| {
                Box::pin(async move {
                    if connection.backend_name() == <sqlx::Postgres as sqlx::Database>::NAME {
                        connection.execute(STRANDED).await?;
                    }
                    Ok(())
                })
            });
            options.connect(url).await.map_err(|error| cannot_open(&error))
        })
    }

    fn dialect(pool: &Pool<Self>) -> Result<Dialect> {
        match pool.connect_options().database_url.scheme() {
            "postgres" | "postgresql" => Ok(Dialect::Postgres),
            "sqlite" => Ok(Dialect::Sqlite),
            other => Err(Error::invalid(format!("a datasource cannot be a {other:?} database"))),
        }
    }

    fn file(pool: &Pool<Self>) -> Option<PathBuf> {
        let url = &pool.connect_options().database_url;
        #[cfg(feature = "sqlite")]
        if url.scheme() == "sqlite" {
            return crate::store::sqlite::connect_options(url.as_str())
                .ok()
                .map(|options| options.get_filename().to_owned());
        }
        let _ = url;
        None
    }

    door!();
}

fn cannot_open(error: &sqlx::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the datasource cannot be opened: {error}"))
}
