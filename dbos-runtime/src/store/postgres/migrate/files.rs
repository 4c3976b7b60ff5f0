//! The numbered files under `migrations/postgres`, in order, and how each has to be run.
//!
//! A file holds `{schema}` where the quoted name of the schema goes. What stands below the line
//! `-- listen/notify` is left out when notifications are off.

use crate::store::migrate::number_of;

/// One numbered file.
#[derive(Debug)]
pub(super) struct Migration {
    pub(super) number: i64,
    pub(super) sql: &'static str,
    pub(super) kind: Kind,
}

/// How a file has to be run.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// In one transaction with its number.
    Ordinary,
    /// Builds this index while others write, which no transaction can do; the number is recorded after.
    Build(&'static str),
    /// Drops an index while others use it, likewise.
    Drop,
}

use Kind::{Build, Drop, Ordinary};

macro_rules! migrations {
    ($($file:literal: $kind:expr,)*) => {
        &[$(Migration {
            number: number_of($file),
            sql: include_str!(concat!("../../../../migrations/postgres/", $file, ".sql")),
            kind: $kind,
        }),*]
    };
}

/// Every migration that does something. A number without a file (48 to 99) is recorded by the next one.
pub(super) const MIGRATIONS: &[Migration] = migrations![
    "001_system_tables": Ordinary,
    "002_queue_partition_key": Ordinary,
    "003_queue_status_started_index": Ordinary,
    "004_forked_from": Ordinary,
    "005_step_times": Ordinary,
    "006_event_history": Ordinary,
    "007_owner": Ordinary,
    "008_parent": Ordinary,
    "009_schedules": Ordinary,
    "010_notifications_primary_key": Ordinary,
    "011_serialization": Ordinary,
    "012_consumed": Ordinary,
    "013_application_versions": Ordinary,
    "014_sql_functions": Ordinary,
    "015_schedule_backfill": Ordinary,
    "016_delay": Ordinary,
    "017_schedule_queue": Ordinary,
    "018_was_forked_from": Ordinary,
    "019_step_completion_index": Ordinary,
    "020_function_search_path": Ordinary,
    "021_queues": Ordinary,
    "022_drop_forked_from_index": Drop,
    "023_forked_from_partial_index": Build("idx_workflow_status_forked_from"),
    "024_drop_parent_index": Drop,
    "025_parent_partial_index": Build("idx_workflow_status_parent_workflow_id"),
    "026_drop_executor_index": Drop,
    "027_deduplication_index": Build("uq_workflow_status_dedup_id"),
    "028_drop_deduplication_constraint": Ordinary,
    "029_pending_index": Build("idx_workflow_status_pending"),
    "030_failed_index": Build("idx_workflow_status_failed"),
    "031_drop_status_index": Drop,
    "032_in_flight_index": Build("idx_workflow_status_in_flight"),
    "033_rate_limited": Ordinary,
    "034_rate_limited_index": Build("idx_workflow_status_rate_limited"),
    "035_drop_queue_status_started_index": Drop,
    "036_completed_at": Ordinary,
    "037_started_at_index": Build("idx_workflow_status_started_at"),
    "038_enqueue_identity_and_delay": Ordinary,
    "039_streams_trigger": Ordinary,
    "040_attributes": Ordinary,
    "041_schedule_name": Ordinary,
    "042_debounce": Ordinary,
    "043_drop_streams_trigger": Ordinary,
    "044_drop_events_trigger": Ordinary,
    "045_partition_dequeue_index": Build("idx_workflow_status_partition_dequeue"),
    "046_partition_dequeue_index_v2": Build("idx_workflow_status_partition_dequeue_v2"),
    "047_drop_partition_dequeue_index": Drop,
    "100_workflow_application_name": Ordinary,
    "101_queue_application_name": Ordinary,
    "102_schedule_application_name": Ordinary,
    "103_version_application_name": Ordinary,
    "104_step_application_name": Ordinary,
    "105_enqueue_application_name": Ordinary,
    "106_owner_version_index": Ordinary,
    "107_unclaimed_version_index": Build("uq_application_versions_unclaimed_version"),
    "108_partition_limits": Ordinary,
    "109_payload_tables": Ordinary,
    "110_step_retention": Ordinary,
    "111_step_retention_index": Build("idx_operation_outputs_retention"),
    "112_drop_step_foreign_key": Ordinary,
    "113_enqueue_payload": Ordinary,
    "114_drop_notifications_index": Drop,
    "115_in_flight_index_v2": Build("idx_workflow_status_in_flight_v2"),
    "116_drop_in_flight_index": Drop,
    "117_partition_dequeue_index_v3": Build("idx_workflow_status_partition_dequeue_v3"),
    "118_drop_partition_dequeue_index_v2": Drop,
    "119_step_completion_index_v2": Build("idx_operation_outputs_completed_at_function_name_v2"),
    "120_drop_step_completion_index": Drop,
    "121_consumed_by": Ordinary,
    "122_deadline_index": Build("idx_workflow_status_deadline"),
    "123_creator": Ordinary,
    "124_version_timestamp_index": Build("idx_application_versions_timestamp"),
    "125_owner_version_timestamp_index": Build("idx_application_versions_owner_timestamp"),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::migrate::LATEST;

    #[test]
    fn the_numbers_ascend_to_the_latest() {
        assert!(MIGRATIONS.is_sorted_by(|a, b| a.number < b.number));
        assert_eq!(MIGRATIONS.last().unwrap().number, LATEST);
        assert!(MIGRATIONS.iter().all(|migration| !(48..100).contains(&migration.number)));
    }

    #[test]
    fn every_file_is_in_the_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
        assert_eq!(folder.read_dir().unwrap().count(), MIGRATIONS.len());
    }

    #[test]
    fn what_is_concurrent_stands_alone_and_can_be_repeated() {
        for Migration { number, sql, kind } in MIGRATIONS {
            let repeatable = match kind {
                Ordinary => {
                    assert!(!sql.contains("CONCURRENTLY"), "{number}");
                    continue;
                }
                Build(index) => format!("INDEX CONCURRENTLY IF NOT EXISTS {index}\n"),
                Drop => "DROP INDEX CONCURRENTLY IF EXISTS ".to_owned(),
            };
            assert!(sql.contains(&repeatable), "{number}");
            assert_eq!(sql.matches(';').count(), 1, "{number}");
        }
    }

    #[test]
    fn every_object_is_named_with_its_schema() {
        for Migration { number, sql, .. } in MIGRATIONS {
            let bare = ["TABLE ", "FUNCTION ", "REFERENCES ", "INTO ", " ON "].iter().any(|word| {
                let mut names = sql.split(word).skip(1);
                names.any(|name| name.starts_with(|first: char| first.is_ascii_lowercase()))
            });
            assert!(!bare, "{number}");
        }
    }
}
