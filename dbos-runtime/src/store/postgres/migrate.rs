//! Brings the system schema of a Postgres database to the newest number.
//!
//! Every step commits with its number, so a migrator may die anywhere and the next one goes on from there. Migrators
//! take turns by an advisory lock; a peer that knows no lock is recognised by what it has done already.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockKey};
use sqlx::{AssertSqlSafe, Either, PgConnection};
use tokio::time::sleep;

use crate::store::migrate::{LATEST, MigrateError, State};

mod database;
mod files;
mod schema;

pub(crate) use database::create_database_if_missing;
use files::{Kind, MIGRATIONS, Migration};
use schema::Schema;

/// The key under which the migrators of every SDK take turns.
const LOCK: i64 = 1_234_567_890;
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
/// A dropped future leaves a schema that the next call continues, but the connection may still hold the lock: close it.
pub(crate) async fn migrate(
    connection: &mut PgConnection,
    schema: &str,
    use_listen_notify: bool,
) -> Result<(), MigrateError> {
    let migrator = Migrator {
        schema: Schema::new(schema, use_listen_notify)?,
    };
    let lock = PgAdvisoryLock::with_key(PgAdvisoryLockKey::BigInt(LOCK));
    let mut connection = connection;
    for _ in 0..LOCK_LOOKS {
        if migrator.state(connection).await?.is_current() {
            return Ok(());
        }
        match lock
            .try_acquire(connection)
            .await
            .map_err(|source| MigrateError::Lock { source })?
        {
            Either::Left(mut held) => {
                let done = migrator.catch_up(held.as_mut()).await;
                // A failure to unlock is a lost connection, and that unlocks as well.
                drop(held.release_now().await);
                return done;
            }
            Either::Right(waiting) => connection = waiting,
        }
        sleep(POLL).await;
    }
    tracing::warn!("another process has held the migration lock for 30 seconds; migrating without it");
    migrator.catch_up(connection).await
}

/// Checks, without changing anything, that `schema` is as new as this build.
pub(crate) async fn verify(connection: &mut PgConnection, schema: &str) -> Result<(), MigrateError> {
    Migrator {
        schema: Schema::new(schema, true)?,
    }
    .state(connection)
    .await?
    .refuse_behind()
}

struct Migrator {
    schema: Schema,
}

impl Migrator {
    /// Reads what is there and what is recorded. An absent schema, table or row is version 0.
    async fn state(&self, connection: &mut PgConnection) -> Result<State, MigrateError> {
        let found = sqlx::query_scalar(CATALOGUE)
            .bind(&self.schema.name)
            .fetch_all(&mut *connection)
            .await;
        let found = HashSet::from_iter(found.map_err(MigrateError::read)?);
        let version = if State::is_versioned(&found) {
            let select = format!("SELECT max(version) FROM {}.dbos_migrations", self.schema.quoted);
            let version = sqlx::query_scalar::<_, Option<i64>>(AssertSqlSafe(select)).persistent(false);
            version
                .fetch_one(connection)
                .await
                .map_err(MigrateError::read)?
                .unwrap_or(0)
        } else {
            0
        };
        let state = State { version, found };
        state.refuse_sharded()?;
        Ok(state)
    }

    /// Applies what is missing; what a peer does meanwhile is its work and not our failure.
    async fn catch_up(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        let mut clashes = 0;
        let mut clashed = false;
        loop {
            let version = self.known_state(connection).await?.version;
            if version >= LATEST {
                break;
            }
            match self.advance(connection, version).await {
                Ok(()) => break,
                Err(failure) if clashes < CLASHES && is_clash(&failure) => clashed = true,
                Err(failure) => return Err(failure),
            }
            let moved = self.wait_for_peer(connection).await? > version;
            clashes = if moved { 0 } else { clashes + 1 };
        }
        if clashed {
            self.finish_builds(connection).await
        } else {
            Ok(())
        }
    }

    /// Reads the state, and refuses a history that is not ours and stands still.
    async fn known_state(&self, connection: &mut PgConnection) -> Result<State, MigrateError> {
        let mut state = self.state(connection).await?;
        let mut looks = 0;
        while let Some(reason) = state.mismatch(|(postgres, _)| postgres) {
            if looks == STRANGE_LOOKS {
                return Err(MigrateError::Foreign {
                    version: state.version,
                    reason,
                });
            }
            sleep(POLL).await;
            let next = self.state(connection).await?;
            looks = if next.version == state.version {
                looks + 1
            } else {
                0
            };
            state = next;
        }
        Ok(state)
    }

    /// Waits until nobody has recorded a version for a while, and returns the last one.
    async fn wait_for_peer(&self, connection: &mut PgConnection) -> Result<i64, MigrateError> {
        let mut version = self.state(connection).await?.version;
        let mut looks = 0;
        while version < LATEST && looks < STILL_LOOKS {
            sleep(POLL).await;
            let next = self.state(connection).await?.version;
            looks = if next == version { looks + 1 } else { 0 };
            version = next;
        }
        Ok(version)
    }

    /// Runs everything above `version`.
    async fn advance(&self, connection: &mut PgConnection, version: i64) -> Result<(), MigrateError> {
        tracing::info!(from = version, to = LATEST, "migrating the system schema");
        if version == 0 {
            return self
                .create(connection)
                .await
                .map_err(|source| MigrateError::Create { source });
        }
        for migration in MIGRATIONS.iter().filter(|migration| migration.number > version) {
            self.step(connection, migration).await?;
        }
        Ok(())
    }

    /// Builds again what a clash has left unfinished though its number is recorded.
    async fn finish_builds(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        for migration in MIGRATIONS {
            if let Kind::Build(index) = migration.kind
                && self
                    .is_unfinished(connection, index)
                    .await
                    .map_err(MigrateError::read)?
                    .is_some()
            {
                self.step(connection, migration).await?;
            }
        }
        Ok(())
    }

    /// Makes a whole new schema in one round trip. Its tables are empty, so no index has to be built online.
    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let exists =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)");
        let mut sql = String::new();
        // Even IF NOT EXISTS asks for the privilege to create one.
        if !exists.bind(&self.schema.name).fetch_one(&mut *connection).await? {
            sql += &self.schema.fill("CREATE SCHEMA {schema};\n");
        }
        sql += &self
            .schema
            .fill("CREATE TABLE IF NOT EXISTS {schema}.dbos_migrations (version BIGINT PRIMARY KEY);\n");
        for migration in MIGRATIONS {
            sql += &self.schema.fill(&migration.sql.replace(" CONCURRENTLY", ""));
        }
        sql += &self.schema.record(LATEST);
        run(connection, sql).await
    }

    /// Applies one migration and records its number.
    async fn step(&self, connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
        let apply = async {
            let sql = self.schema.fill(migration.sql);
            let record = self.schema.record(migration.number);
            if migration.kind == Kind::Ordinary {
                return run(connection, sql + &record).await;
            }
            if let Kind::Build(index) = migration.kind {
                self.drop_unfinished(connection, index).await?;
            }
            run(connection, sql).await?;
            run(connection, record).await
        };
        apply.await.map_err(|source| MigrateError::Statement {
            number: migration.number,
            source,
        })
    }

    /// Drops what an interrupted build has left of `index`, which would otherwise pass for the finished one.
    async fn drop_unfinished(&self, connection: &mut PgConnection, index: &str) -> sqlx::Result<()> {
        while let Some(is_being_built) = self.is_unfinished(connection, index).await? {
            if is_being_built {
                sleep(POLL).await;
                continue;
            }
            tracing::warn!(
                index,
                "dropping an index that an interrupted migration has left unfinished"
            );
            run(
                connection,
                format!("DROP INDEX CONCURRENTLY IF EXISTS {}.{index}", self.schema.quoted),
            )
            .await?;
        }
        Ok(())
    }

    /// Returns nothing for a finished or missing index; otherwise says whether a peer is building it.
    async fn is_unfinished(&self, connection: &mut PgConnection, index: &str) -> sqlx::Result<Option<bool>> {
        sqlx::query_scalar(UNFINISHED)
            .bind(&self.schema.name)
            .bind(index)
            .fetch_optional(connection)
            .await
    }
}

/// Sends the text as it is. Several statements in one text are one transaction, without a BEGIN.
async fn run(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(drop)
}

/// Says whether the failure may be a peer that is making, or has made, the same object.
fn is_clash(failure: &MigrateError) -> bool {
    let Some(error) = failure.database() else {
        return false;
    };
    match error.code().as_deref() {
        Some("42701" | "42710" | "42723" | "42P06" | "42P07") => true,
        Some("40001" | "40P01" | "55P03") => true,
        Some("23505") => error.constraint().is_some_and(is_catalogues),
        Some("XX000") => error.message().contains("concurrently"),
        _ => false,
    }
}

/// Says whether a unique index guards the catalogue or the version, and not the rows of a workflow.
fn is_catalogues(index: &str) -> bool {
    index.starts_with("pg_") || index.starts_with("dbos_migrations_")
}

/// Every column as `table.column`, and every index that queries can use.
const CATALOGUE: &str = "
    SELECT t.relname || '.' || c.attname
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class t ON t.relnamespace = n.oid AND t.relkind IN ('r', 'p')
      JOIN pg_catalog.pg_attribute c ON c.attrelid = t.oid AND c.attnum > 0 AND NOT c.attisdropped
     WHERE n.nspname = $1
     UNION ALL
    SELECT i.relname
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class i ON i.relnamespace = n.oid
      JOIN pg_catalog.pg_index x ON x.indexrelid = i.oid AND x.indisvalid
     WHERE n.nspname = $1";

/// Whether an unfinished index is being built. What the view hides from our role may be that build.
const UNFINISHED: &str = "
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_stat_progress_create_index p
         WHERE p.datname = current_database() AND coalesce(p.index_relid, i.oid) = i.oid)
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class i ON i.relnamespace = n.oid
      JOIN pg_catalog.pg_index x ON x.indexrelid = i.oid AND NOT x.indisvalid
     WHERE n.nspname = $1 AND i.relname = $2";
