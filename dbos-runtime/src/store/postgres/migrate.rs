//! Brings the system schema of a Postgres database to the newest number.
//!
//! Every step commits with its number, so a migrator may die anywhere and the next one goes on from there.
//! Migrators take turns by an advisory lock; a peer that knows no lock is recognised by what it has done.

use std::error::Error as _;
use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockKey};
use sqlx::{AssertSqlSafe, Either, PgConnection};
use tokio::time::sleep;

use crate::store::migrate::{LATEST, MigrateError, State};

mod catalogue;
mod database;
mod files;
mod schema;

use catalogue::{exists, state, unfinished};
pub(crate) use database::create_database_if_missing;
use files::{Kind, MIGRATIONS, Migration};
use schema::Schema;

/// The key under which the migrators of every SDK take turns.
const LOCK: PgAdvisoryLockKey = PgAdvisoryLockKey::BigInt(1_234_567_890);
const POLL: Duration = Duration::from_millis(100);
/// Looks at the lock before going on without it: 30 seconds.
const LOCK_LOOKS: u32 = 300;
/// Looks at a version that does not move before a peer is thought to be gone: 2 seconds.
const STILL_LOOKS: u32 = 20;
/// Clashes in a row, with no peer to be seen, before one is an error.
const CLASHES: u32 = 3;
/// Looks at a strange history before it is refused: another SDK may be making it just now.
const STRANGE_LOOKS: u32 = 10;

/// Migrates `schema`, which is created when it is missing. A newer database is left alone.
///
/// # Cancel safety
///
/// A dropped future leaves a schema that the next call continues, but the connection may still hold the lock:
/// close it.
pub(crate) async fn migrate(
    connection: &mut PgConnection,
    schema: &str,
    use_listen_notify: bool,
) -> Result<(), MigrateError> {
    let schema = Schema::new(schema, use_listen_notify)?;
    let lock = PgAdvisoryLock::with_key(LOCK);
    let mut connection = connection;
    for _ in 0..LOCK_LOOKS {
        if state(connection, &schema).await?.is_current() {
            return Ok(());
        }
        let attempt = lock.try_acquire(connection).await;
        match attempt.map_err(|source| MigrateError::Lock { source })? {
            Either::Left(mut held) => {
                let done = catch_up(held.as_mut(), &schema).await;
                // A failure to unlock is a lost connection, and that unlocks as well.
                drop(held.release_now().await);
                return done;
            }
            Either::Right(waiting) => connection = waiting,
        }
        sleep(POLL).await;
    }
    tracing::warn!("another process has held the migration lock for 30 seconds; migrating without it");
    catch_up(connection, &schema).await
}

/// Checks, without changing anything, that `schema` is as new as this build.
pub(crate) async fn verify(connection: &mut PgConnection, schema: &str) -> Result<(), MigrateError> {
    let schema = Schema::new(schema, true)?;
    state(connection, &schema).await?.refuse_behind()
}

/// Applies what is missing; what a peer does meanwhile is its work and not our failure.
async fn catch_up(connection: &mut PgConnection, schema: &Schema) -> Result<(), MigrateError> {
    let mut clashes = 0;
    let mut clashed = false;
    loop {
        let version = known_state(connection, schema).await?.version;
        if version >= LATEST {
            break;
        }
        match advance(connection, schema, version).await {
            Ok(()) => break,
            Err(failure) if clashes < CLASHES && is_clash(&failure) => clashed = true,
            Err(failure) => return Err(failure),
        }
        let moved = wait_for_peer(connection, schema).await? > version;
        clashes = if moved { 0 } else { clashes + 1 };
    }
    if clashed {
        finish_builds(connection, schema).await?;
    }
    Ok(())
}

/// Reads the state, and refuses a history that is not ours and stands still.
async fn known_state(connection: &mut PgConnection, schema: &Schema) -> Result<State, MigrateError> {
    let mut now = state(connection, schema).await?;
    let mut looks = 0;
    while let Some(reason) = now.mismatch(|(postgres, _)| postgres) {
        let version = now.version;
        if looks == STRANGE_LOOKS {
            return Err(MigrateError::Foreign { version, reason });
        }
        sleep(POLL).await;
        now = state(connection, schema).await?;
        looks = if now.version == version { looks + 1 } else { 0 };
    }
    Ok(now)
}

/// Waits until nobody has recorded a version for a while, and returns the last one.
async fn wait_for_peer(connection: &mut PgConnection, schema: &Schema) -> Result<i64, MigrateError> {
    let mut version = state(connection, schema).await?.version;
    let mut looks = 0;
    while version < LATEST && looks < STILL_LOOKS {
        sleep(POLL).await;
        let now = state(connection, schema).await?.version;
        looks = if now == version { looks + 1 } else { 0 };
        version = now;
    }
    Ok(version)
}

/// Runs everything above `version`.
async fn advance(connection: &mut PgConnection, schema: &Schema, version: i64) -> Result<(), MigrateError> {
    tracing::info!(from = version, to = LATEST, "migrating the system schema");
    if version == 0 {
        let created = create(connection, schema).await;
        return created.map_err(|source| MigrateError::Create { source });
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.number > version) {
        step(connection, schema, migration).await?;
    }
    Ok(())
}

/// Makes a whole new schema in one round trip. Its tables are empty, so no index has to be built online.
async fn create(connection: &mut PgConnection, schema: &Schema) -> sqlx::Result<()> {
    let mut sql = String::new();
    // Even IF NOT EXISTS asks for the privilege to create one.
    if !exists(connection, schema).await? {
        sql += &schema.fill("CREATE SCHEMA {schema};\n");
    }
    sql +=
        &schema.fill("CREATE TABLE IF NOT EXISTS {schema}.dbos_migrations (version BIGINT PRIMARY KEY);\n");
    for migration in MIGRATIONS {
        sql += &schema.fill(&migration.sql.replace(" CONCURRENTLY", ""));
    }
    sql += &schema.record(LATEST);
    run(connection, sql).await
}

/// Applies one migration and records its number.
async fn step(
    connection: &mut PgConnection,
    schema: &Schema,
    migration: &Migration,
) -> Result<(), MigrateError> {
    let number = migration.number;
    let sql = schema.fill(migration.sql);
    let record = schema.record(number);
    let apply = async {
        match migration.kind {
            Kind::Ordinary => return run(connection, sql + &record).await,
            Kind::Build(index) => drop_unfinished(connection, schema, index).await?,
            Kind::Drop => {}
        }
        run(connection, sql).await?;
        run(connection, record).await
    };
    apply.await.map_err(MigrateError::statement(number))
}

/// Drops what an interrupted build has left of `index`, which would otherwise pass for the finished one.
async fn drop_unfinished(connection: &mut PgConnection, schema: &Schema, index: &str) -> sqlx::Result<()> {
    while let Some(is_being_built) = unfinished(connection, schema, index).await? {
        if is_being_built {
            sleep(POLL).await;
        } else {
            tracing::warn!(index, "dropping an index that an interrupted migration has left");
            let drop = schema.fill("DROP INDEX CONCURRENTLY IF EXISTS {schema}.") + index;
            run(connection, drop).await?;
        }
    }
    Ok(())
}

/// Builds again what a clash has left unfinished though its number is recorded.
async fn finish_builds(connection: &mut PgConnection, schema: &Schema) -> Result<(), MigrateError> {
    for migration in MIGRATIONS {
        if let Kind::Build(index) = migration.kind {
            let unfinished = unfinished(connection, schema, index).await;
            if unfinished.map_err(MigrateError::read)?.is_some() {
                step(connection, schema, migration).await?;
            }
        }
    }
    Ok(())
}

/// Sends the text as it is. Several statements in one text are one transaction, without a BEGIN.
async fn run(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    let run = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection);
    run.await.map(drop)
}

/// Says whether the failure may be a peer that is making, or has made, the same object.
fn is_clash(failure: &MigrateError) -> bool {
    let source = failure.source().and_then(|source| source.downcast_ref());
    let Some(error) = source.and_then(sqlx::Error::as_database_error) else {
        return false;
    };
    match error.code().as_deref() {
        // Duplicate column, object, function, schema, table or index.
        Some("42701" | "42710" | "42723" | "42P06" | "42P07") => true,
        // Serialization failure, deadlock, lock timeout.
        Some("40001" | "40P01" | "55P03") => true,
        // A row of the catalogue or of the versions; any other is the application's own duplicate.
        Some("23505") => error
            .constraint()
            .is_some_and(|name| name.starts_with("pg_") || name.starts_with("dbos_migrations_")),
        Some("XX000") => error.message().contains("concurrently"),
        _ => false,
    }
}
