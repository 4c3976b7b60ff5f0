//! A database of its own for every test, on both backends.
//!
//! Postgres databases are made on the server that `DBOS_TEST_POSTGRES_URL` names, SQLite ones in a temporary folder. A
//! migrated database is a copy of a template, which the first test of a run makes for all the others, in other
//! processes too.
#![expect(clippy::panic, reason = "the harness reports trouble by failing the test")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, io, thread};

use serde_json::{Map, Value};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection, Row as _, TypeInfo as _, ValueRef as _,
};
use tempfile::TempDir;
use uuid::Uuid;

/// The databases that everything has to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A file.
    Sqlite,
    /// A database on the server of the run.
    Postgres,
}

impl Backend {
    /// Every backend.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

/// A database that belongs to one test, and goes when the test drops it.
#[derive(Debug)]
pub struct Fresh {
    backend: Backend,
    url: String,
    _storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Sqlite { _folder: TempDir },
    Postgres { _database: Database },
}

impl Fresh {
    /// A database without a single table.
    pub async fn new(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::sqlite(|path| File::create(path).map(drop)),
            Backend::Postgres => {
                Self::postgres(Database::create(&mut connect(&server()).await, "template0").await)
            }
        }
    }

    /// A database on which `migrate` has run, given its URL.
    ///
    /// What `migrate` does is done once for each `template` in a run and copied from then on, so one name has to stand
    /// for one migration.
    pub async fn migrated(backend: Backend, template: &str, migrate: impl AsyncFn(&str)) -> Self {
        let key = key_of(template);
        match backend {
            Backend::Sqlite => {
                let template = sqlite_template(&key, migrate).await;
                Self::sqlite(|path| fs::copy(template, path).map(drop))
            }
            Backend::Postgres => {
                let mut admin = connect(&server()).await;
                let template = postgres_template(&mut admin, &key, migrate).await;
                Self::postgres(Database::create(&mut admin, &template).await)
            }
        }
    }

    fn sqlite(make: impl FnOnce(&Path) -> io::Result<()>) -> Self {
        let folder = must("a temporary folder", TempDir::with_prefix(FOLDER_PREFIX));
        let path = folder.path().join("db.sqlite");
        must("the file of a test", make(&path));
        Self {
            backend: Backend::Sqlite,
            url: sqlite_url(&path),
            _storage: Storage::Sqlite { _folder: folder },
        }
    }

    fn postgres(database: Database) -> Self {
        Self {
            backend: Backend::Postgres,
            url: with_database(&server(), &database.name),
            _storage: Storage::Postgres { _database: database },
        }
    }

    /// Which kind of database this is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Where it is: `sqlite:///…` or `postgres://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs one or more statements, and looks at no result.
    pub async fn execute(&self, sql: &str) {
        match self.backend {
            Backend::Sqlite => drop(sqlite_rows(&self.url, sql).await),
            Backend::Postgres => run(&mut connect(&self.url).await, sql).await,
        }
    }

    /// The rows of one `SELECT`, each an object with a member for every column.
    ///
    /// Bytes are shown as Postgres shows them, `\x00ff`; SQLite's booleans are the numbers that they are stored as.
    pub async fn rows(&self, sql: &str) -> Vec<Value> {
        match self.backend {
            Backend::Sqlite => sqlite_rows(&self.url, sql).await,
            Backend::Postgres => postgres_rows(&self.url, sql).await,
        }
    }

    /// The rows of one `SELECT` as text, column by column.
    pub async fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let columns = |row: &Value| row.as_object().into_iter().flat_map(Map::values).map(text).collect();
        self.rows(sql).await.iter().map(columns).collect()
    }

    /// The only number that a `SELECT` returns.
    pub async fn scalar(&self, sql: &str) -> i64 {
        match self.query(sql).await.as_slice() {
            [row] => match row.as_slice() {
                [Some(number)] => must(sql, number.parse()),
                _ => panic!("{sql}: not one number but {row:?}"),
            },
            rows => panic!("{sql}: not one row but {}", rows.len()),
        }
    }
}

// ---- names --------------------------------------------------------------------------------------------------------

const DATABASE_PREFIX: &str = "dbos_test_";
const FOLDER_PREFIX: &str = "dbos-test-";

/// After this long a database or folder is the leftover of a test that was killed.
const LEFTOVER: Duration = Duration::from_secs(24 * 60 * 60);

/// An id that begins with the time at which it was made.
#[expect(clippy::disallowed_methods, reason = "it names databases of tests, which no workflow ever sees")]
fn fresh_id() -> Uuid {
    Uuid::now_v7()
}

fn is_leftover(database: &str) -> bool {
    let made = |id: Uuid| Some(id.get_timestamp()?.to_unix().0);
    let id = database.strip_prefix(DATABASE_PREFIX).and_then(|rest| Uuid::parse_str(rest.get(..32)?).ok());
    id.and_then(made).zip(made(fresh_id())).is_some_and(|(made, now)| made + LEFTOVER.as_secs() < now)
}

/// Tells the templates of this run from those of any other. The processes of one nextest run share theirs.
fn key_of(template: &str) -> String {
    static RUN: OnceLock<String> = OnceLock::new();
    let run = RUN.get_or_init(|| env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| fresh_id().to_string()));
    let mut hasher = DefaultHasher::new();
    (run, template).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

// ---- SQLite -------------------------------------------------------------------------------------------------------

fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

async fn sqlite_rows(url: &str, sql: &str) -> Vec<Value> {
    let mut connection = must(url, SqliteConnection::connect(url).await);
    let rows = must(sql, sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await);
    let rows = rows.iter().map(sqlite_object).collect();
    must(sql, connection.close().await);
    rows
}

fn sqlite_object(row: &SqliteRow) -> Value {
    let member = |column: &sqlx::sqlite::SqliteColumn| {
        (column.name().to_owned(), must(column.name(), sqlite_value(row, column.ordinal())))
    };
    Value::Object(row.columns().iter().map(member).collect())
}

/// SQLite gives a type to each value, and none to speak of to a column.
fn sqlite_value(row: &SqliteRow, column: usize) -> Result<Value, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    Ok(match value.type_info().name() {
        "INTEGER" => row.try_get_unchecked::<i64, _>(column)?.into(),
        "REAL" => row.try_get_unchecked::<f64, _>(column)?.into(),
        "BLOB" => {
            let bytes: Vec<u8> = row.try_get_unchecked(column)?;
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{digits}").into()
        }
        _ => row.try_get_unchecked::<String, _>(column)?.into(),
    })
}

async fn sqlite_template(key: &str, migrate: impl AsyncFn(&str)) -> PathBuf {
    let folder = env::temp_dir().join(format!("{FOLDER_PREFIX}{key}"));
    let template = folder.join("template.sqlite");
    if template.exists() {
        return template;
    }
    must("the folder of a template", fs::create_dir_all(&folder));
    let _lock = locked(folder.join("lock")).await;
    if template.exists() {
        return template;
    }
    drop_old_folders();
    let scratch = must("the folder of a template", TempDir::new_in(&folder));
    let draft = scratch.path().join("draft.sqlite");
    must("the file of a template", File::create(&draft));
    let url = sqlite_url(&draft);
    migrate(&url).await;
    // Whatever the migration has left in the journal has to be in the one file that is copied.
    let checkpoint = sqlite_rows(&url, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert_eq!(
        checkpoint.first().map(|row| &row["busy"]),
        Some(&0.into()),
        "the migration still uses its database"
    );
    must("the file of a template", fs::rename(&draft, &template));
    template
}

/// Holds the lock until the file is dropped.
async fn locked(path: PathBuf) -> File {
    let lock = tokio::task::spawn_blocking(move || {
        let file = File::create(path)?;
        file.lock()?;
        io::Result::Ok(file)
    });
    must("the lock of a template", lock.await.map_err(io::Error::other).flatten())
}

/// Best effort: another run may be doing the same.
fn drop_old_folders() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX)
            && age.is_some_and(|age| age > LEFTOVER)
        {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

// ---- Postgres -----------------------------------------------------------------------------------------------------

/// A database that is dropped with this value.
#[derive(Debug)]
struct Database {
    name: String,
}

impl Database {
    async fn create(admin: &mut PgConnection, template: &str) -> Self {
        let name = format!("{DATABASE_PREFIX}{}", fresh_id().simple());
        run(admin, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // This thread may be driving a runtime, hence another one. It is waited for, since the process may end next.
        let dropping = thread::spawn(move || {
            let drop_database = async {
                let mut admin = PgConnection::connect(&server()).await?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await
            };
            let bounded = async { tokio::time::timeout(crate::PATIENCE, drop_database).await };
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map(|runtime| runtime.block_on(bounded))
        });
        // Best effort: a server that is down, or has gone, must not fail a test that is over.
        drop(dropping.join());
    }
}

fn server() -> String {
    env::var("DBOS_TEST_POSTGRES_URL")
        .unwrap_or_else(|_| panic!("DBOS_TEST_POSTGRES_URL is not set: start the tests with scripts/test"))
}

/// The same URL with another database in it.
fn with_database(url: &str, name: &str) -> String {
    let (address, options) = url.split_once('?').map_or((url, None), |(address, rest)| (address, Some(rest)));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{}/{name}{options}", &address[..end])
}

async fn connect(url: &str) -> PgConnection {
    // The harness alone looks at the system tables by their bare names, so that one query serves both backends.
    let options: PgConnectOptions = must("the URL", url.parse());
    let options = options.options([("search_path", "dbos,public")]);
    must("a connection with Postgres", options.connect().await)
}

async fn run(connection: &mut PgConnection, sql: &str) {
    must(sql, sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await);
}

async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    must(sql, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(connection).await)
}

async fn postgres_rows(url: &str, sql: &str) -> Vec<Value> {
    let sql = format!("SELECT row_to_json(q)::text FROM ({}) q", sql.trim().trim_end_matches(';'));
    let mut connection = connect(url).await;
    let rows = texts(&mut connection, &sql).await;
    must(&sql, connection.close().await);
    rows.iter().map(|row| must(&sql, serde_json::from_str(row))).collect()
}

async fn postgres_template(admin: &mut PgConnection, key: &str, migrate: impl AsyncFn(&str)) -> String {
    // A template takes connections for as long as it is being made.
    let ready = format!(
        "SELECT datname::text FROM pg_database WHERE NOT datallowconn AND datname LIKE '{DATABASE_PREFIX}%\\_{key}'"
    );
    if let Some(name) = texts(admin, &ready).await.pop() {
        return name;
    }
    run(admin, "SELECT pg_advisory_lock(hashtext('dbos test templates'))").await;
    let name = match texts(admin, &ready).await.pop() {
        Some(name) => name,
        None => {
            drop_old_databases(admin).await;
            make_postgres_template(admin, key, migrate).await
        }
    };
    run(admin, "SELECT pg_advisory_unlock(hashtext('dbos test templates'))").await;
    name
}

async fn make_postgres_template(admin: &mut PgConnection, key: &str, migrate: impl AsyncFn(&str)) -> String {
    let name = format!("{DATABASE_PREFIX}{}_{key}", fresh_id().simple());
    run(admin, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
    migrate(&with_database(&server(), &name)).await;
    run(admin, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    // A database that somebody uses cannot be copied.
    run(admin, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        .await;
    name
}

/// What tests and runs that were killed have left on a server that outlives them.
async fn drop_old_databases(admin: &mut PgConnection) {
    let ours = format!("SELECT datname::text FROM pg_database WHERE datname LIKE '{DATABASE_PREFIX}%'");
    for name in texts(admin, &ours).await.iter().filter(|name| is_leftover(name)) {
        run(admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    }
}

fn must<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_fresh_database_is_empty_and_answers_alike_on_both_backends() {
        for backend in Backend::ALL {
            let fresh = Fresh::new(backend).await;
            let bytes = if backend == Backend::Sqlite { "BLOB" } else { "BYTEA" };
            let literal = if backend == Backend::Sqlite { "x'00ff'" } else { "'\\x00ff'" };
            fresh
                .execute(&format!(
                    "CREATE TABLE t (n BIGINT, x DOUBLE PRECISION, s TEXT, b {bytes});
                     INSERT INTO t VALUES (9007199254740993, 0.5, 'é', {literal}), (2, NULL, NULL, NULL)"
                ))
                .await;
            assert_eq!(
                fresh.rows("SELECT * FROM t ORDER BY n DESC;").await,
                [
                    json!({"n": 9_007_199_254_740_993_i64, "x": 0.5, "s": "é", "b": "\\x00ff"}),
                    json!({"n": 2, "x": null, "s": null, "b": null}),
                ],
                "{backend:?}"
            );
            assert_eq!(fresh.query("SELECT s, n FROM t WHERE n = 2").await, [[None, Some("2".to_owned())]]);
            assert_eq!(fresh.scalar("SELECT count(*) FROM t").await, 2);
        }
    }

    #[tokio::test]
    async fn a_dropped_database_is_gone_even_while_somebody_is_connected() {
        let watching = Fresh::new(Backend::Postgres).await;
        let fresh = Fresh::new(Backend::Postgres).await;
        let name = fresh.query("SELECT current_database()").await.remove(0).remove(0).unwrap();
        let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        let _open = connect(fresh.url()).await;
        assert_eq!(watching.scalar(&count).await, 1);
        drop(fresh);
        assert_eq!(watching.scalar(&count).await, 0);

        let fresh = Fresh::new(Backend::Sqlite).await;
        let path = PathBuf::from(fresh.url().strip_prefix("sqlite://").unwrap());
        assert!(path.is_absolute() && path.exists());
        drop(fresh);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_template_is_migrated_once_and_its_copies_are_independent() {
        for backend in Backend::ALL {
            let migrations = AtomicUsize::new(0);
            // A connection stays open, as that of a pool which nobody has closed.
            let forgotten = std::sync::Mutex::new(Vec::new());
            let migrate = async |url: &str| {
                migrations.fetch_add(1, Ordering::Relaxed);
                if backend == Backend::Postgres {
                    let mut connection = connect(url).await;
                    run(&mut connection, "CREATE TABLE t (n BIGINT)").await;
                    forgotten.lock().unwrap().push(connection);
                } else {
                    sqlite_rows(url, "PRAGMA journal_mode = WAL").await;
                    sqlite_rows(url, "CREATE TABLE t (n BIGINT)").await;
                }
            };
            let template = format!("copies {}", fresh_id());
            let make = || Fresh::migrated(backend, &template, &migrate);
            let (a, b, c) = tokio::join!(make(), make(), make());
            a.execute("INSERT INTO t VALUES (1)").await;
            assert_eq!(migrations.load(Ordering::Relaxed), 1, "{backend:?}");
            for (fresh, rows) in [(&a, 1), (&b, 0), (&c, 0)] {
                assert_eq!(fresh.scalar("SELECT count(*) FROM t").await, rows, "{backend:?}");
            }
        }
    }

    #[test]
    fn a_database_name_replaces_the_one_in_a_url() {
        for (url, expected) in [
            ("postgres://u:p@h:1/old?sslmode=disable", "postgres://u:p@h:1/new?sslmode=disable"),
            ("postgres://u@h/old", "postgres://u@h/new"),
            ("postgres://h?host=/run/x", "postgres://h/new?host=/run/x"),
            ("postgres://h", "postgres://h/new"),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }

    #[test]
    fn only_old_names_of_ours_are_leftovers() {
        let old = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000, 0)).simple();
        let name_of = |id: &dyn std::fmt::Display| format!("{DATABASE_PREFIX}{id}");
        assert!(is_leftover(&name_of(&old)));
        assert!(is_leftover(&format!("{}_0123456789abcdef", name_of(&old))));
        assert!(!is_leftover(&name_of(&fresh_id().simple())));
        assert!(!is_leftover("dbos_test_mine"));
        assert!(!is_leftover("postgres"));
    }
}
