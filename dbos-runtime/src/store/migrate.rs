//! What the two migrators share: the newest number, the landmarks of its history and the error.
//!
//! The schema is one integer. From 100 on a number means the same in every SDK. Below it each language counts
//! for itself, so a schema found there is compared with what our history (Python's) has at its number.

use std::collections::HashSet;

/// The newest schema number that this build knows.
pub(crate) const LATEST: i64 = 125;

/// At this number every SDK's own history has ended in the same schema.
const SHARED: i64 = 99;

/// The number in front of a file's name, at compile time.
pub(crate) const fn number_of(file: &str) -> i64 {
    let digits = file.as_bytes();
    let mut number = 0;
    let mut at = 0;
    while digits[at].is_ascii_digit() {
        number = number * 10 + (digits[at] - b'0') as i64;
        at += 1;
    }
    number
}

/// Why the system database could not be brought to, or found at, the schema of this build.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// The schema cannot be named in a statement.
    #[cfg(feature = "postgres")]
    #[error("{name:?} cannot be the name of the system schema: {reason}")]
    SchemaName { name: String, reason: &'static str },
    /// The server could not be asked for the database.
    #[cfg(feature = "postgres")]
    #[error("cannot connect to see whether the database {database:?} exists")]
    Connect {
        database: String,
        #[source]
        source: sqlx::Error,
    },
    /// The database is missing and stayed so.
    #[cfg(feature = "postgres")]
    #[error("cannot create the database {database:?}")]
    CreateDatabase {
        database: String,
        #[source]
        source: sqlx::Error,
    },
    /// The lock that keeps migrators apart could not be asked for.
    #[cfg(feature = "postgres")]
    #[error("cannot ask for the migration lock")]
    Lock {
        #[source]
        source: sqlx::Error,
    },
    /// The catalogue or the version could not be read.
    #[error("cannot read the version of the system schema")]
    Read {
        #[source]
        source: sqlx::Error,
    },
    /// Migrations are disabled, and some are due.
    #[error("the system schema is at version {found}, this build needs {wanted}: run the migrations first")]
    Behind { found: i64, wanted: i64 },
    /// The content is not what our history has at this number.
    #[error(
        "the system schema says version {version}, but {reason}: it is half-migrated, \
         or the work of another SDK, which has to bring it to 100 before this build can go on"
    )]
    Foreign { version: i64, reason: String },
    /// Rows of several tenants lie in this schema, and our statements would cross them.
    #[error("the system schema is sharded (workflow_status has a shard_key), which is not supported")]
    Sharded,
    /// The tables of a new schema could not be made; nothing of them is left.
    #[cfg(feature = "postgres")]
    #[error("cannot create the system schema")]
    Create {
        #[source]
        source: sqlx::Error,
    },
    /// One migration failed; the version still names the one before it.
    #[error("migration {number} of the system schema failed")]
    Statement {
        number: i64,
        #[source]
        source: sqlx::Error,
    },
    /// The file stayed locked by another writer.
    #[cfg(feature = "sqlite")]
    #[error("cannot migrate the system schema, because the database stayed locked by another writer")]
    Busy {
        #[source]
        source: sqlx::Error,
    },
}

impl MigrateError {
    pub(crate) fn read(source: sqlx::Error) -> Self {
        Self::Read { source }
    }

    pub(crate) fn statement(number: i64) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Statement { number, source }
    }
}

/// What is recorded in a database, and what is really there.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) version: i64,
    /// `table.column` of each column, and the name of each usable index.
    pub(crate) found: HashSet<String>,
}

impl State {
    /// Refuses a schema that several tenants share. No recorded version is version 0.
    pub(crate) fn new(version: Option<i64>, found: HashSet<String>) -> Result<Self, MigrateError> {
        if found.contains("workflow_status.shard_key") {
            return Err(MigrateError::Sharded);
        }
        Ok(Self { version: version.unwrap_or(0), found })
    }

    /// Says whether somebody has created the table of versions.
    pub(crate) fn is_versioned(found: &HashSet<String>) -> bool {
        found.contains("dbos_migrations.version")
    }

    /// Refuses a schema that is older than this build.
    pub(crate) fn refuse_behind(&self) -> Result<(), MigrateError> {
        if self.version < LATEST {
            return Err(MigrateError::Behind { found: self.version, wanted: LATEST });
        }
        Ok(())
    }

    /// Returns true when nothing is left to do, which a database of a newer build also is.
    pub(crate) fn is_current(&self) -> bool {
        if self.version > LATEST {
            tracing::info!(
                found = self.version,
                known = LATEST,
                "the system schema is newer than this build"
            );
        }
        self.version >= LATEST
    }

    /// Names the first thing that our history would not show at this version. `number` picks a backend's
    /// number from a landmark's two.
    pub(crate) fn mismatch(&self, number: fn(Numbers) -> i64) -> Option<String> {
        if self.version >= SHARED {
            return None;
        }
        let tables = self.found.iter().filter_map(|name| name.split_once('.'));
        for (table, _) in tables {
            if TYPESCRIPT_TABLES.contains(&table) {
                return Some(format!("the table {table} of another history is there"));
            }
        }
        for (numbers, landmark) in LANDMARKS {
            let since = number(*numbers);
            let found = self.found.contains(*landmark);
            if since <= self.version && !found {
                return Some(format!("{landmark} of migration {since} is missing"));
            }
            // An index is built before its number is recorded, a column never is.
            if since > self.version && found && landmark.contains('.') {
                return Some(format!("{landmark} of migration {since} is there already"));
            }
        }
        None
    }
}

/// Tables that only the older TypeScript history has.
const TYPESCRIPT_TABLES: [&str; 3] = ["workflow_inputs", "workflow_queue", "scheduler_state"];

/// A migration's number on Postgres and on SQLite.
pub(crate) type Numbers = (i64, i64);

/// Columns and lasting indexes, with the migration that brings them.
const LANDMARKS: &[(Numbers, &str)] = &[
    ((1, 1), "workflow_status.workflow_uuid"),
    ((1, 1), "workflow_status.priority"),
    ((1, 1), "operation_outputs.child_workflow_id"),
    ((1, 1), "notifications.message_uuid"),
    ((1, 1), "workflow_events.value"),
    ((1, 1), "streams.offset"),
    ((2, 2), "workflow_status.queue_partition_key"),
    ((4, 4), "workflow_status.forked_from"),
    ((5, 5), "operation_outputs.completed_at_epoch_ms"),
    ((6, 6), "workflow_events_history.function_id"),
    ((6, 6), "streams.function_id"),
    ((7, 7), "workflow_status.owner_xid"),
    ((8, 8), "workflow_status.parent_workflow_id"),
    ((9, 9), "workflow_schedules.context"),
    ((11, 10), "workflow_status.serialization"),
    ((11, 10), "operation_outputs.serialization"),
    ((12, 11), "notifications.consumed"),
    ((13, 12), "application_versions.version_timestamp"),
    ((15, 13), "workflow_schedules.cron_timezone"),
    ((16, 14), "workflow_status.delay_until_epoch_ms"),
    ((17, 15), "workflow_schedules.queue_name"),
    ((18, 16), "workflow_status.was_forked_from"),
    ((19, 17), "idx_operation_outputs_completed_at_function_name"),
    ((21, 18), "queues.polling_interval_sec"),
    ((27, 24), "uq_workflow_status_dedup_id"),
    ((29, 26), "idx_workflow_status_pending"),
    ((30, 27), "idx_workflow_status_failed"),
    ((32, 29), "idx_workflow_status_in_flight"),
    ((33, 30), "workflow_status.rate_limited"),
    ((34, 31), "idx_workflow_status_rate_limited"),
    ((36, 33), "workflow_status.completed_at"),
    ((37, 34), "idx_workflow_status_started_at"),
    ((40, 35), "workflow_status.attributes"),
    ((41, 36), "workflow_status.schedule_name"),
    ((42, 37), "workflow_status.is_debounced"),
    ((46, 39), "idx_workflow_status_partition_dequeue_v2"),
    ((100, 100), "workflow_status.application_name"),
    ((109, 109), "workflow_input.inputs"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: fn(Numbers) -> i64 = |(postgres, _)| postgres;
    const SQLITE: fn(Numbers) -> i64 = |(_, sqlite)| sqlite;

    fn ours(number: fn(Numbers) -> i64, version: i64) -> State {
        let present = LANDMARKS.iter().filter(|(numbers, _)| number(*numbers) <= version);
        let found = present.map(|(_, name)| (*name).to_owned()).collect();
        State { version, found }
    }

    #[test]
    fn every_version_of_our_own_history_is_accepted() {
        for number in [POSTGRES, SQLITE] {
            for version in 0..SHARED {
                assert_eq!(ours(number, version).mismatch(number), None);
            }
        }
    }

    #[test]
    fn a_missing_or_early_object_is_named() {
        let mut state = ours(POSTGRES, 30);
        state.found.remove("streams.function_id");
        let reason = state.mismatch(POSTGRES).unwrap();
        assert_eq!(reason, "streams.function_id of migration 6 is missing");

        let mut state = ours(POSTGRES, 30);
        state.found.insert("workflow_status.attributes".to_owned());
        let reason = state.mismatch(POSTGRES).unwrap();
        assert_eq!(reason, "workflow_status.attributes of migration 40 is there already");
    }

    #[test]
    fn an_index_may_be_ahead_of_its_number() {
        let mut state = ours(POSTGRES, 28);
        state.found.insert("idx_workflow_status_pending".to_owned());
        assert_eq!(state.mismatch(POSTGRES), None);
    }

    #[test]
    fn tables_of_another_history_are_refused() {
        for table in TYPESCRIPT_TABLES {
            let mut state = ours(POSTGRES, 47);
            state.found.insert(format!("{table}.id"));
            assert!(state.mismatch(POSTGRES).unwrap().contains(table));
        }
    }

    #[test]
    fn shared_numbers_are_taken_at_their_word() {
        for version in [99, 100, 124, 125, 500] {
            let state = State { version, found: HashSet::new() };
            assert_eq!(state.mismatch(POSTGRES), None);
        }
    }
}
