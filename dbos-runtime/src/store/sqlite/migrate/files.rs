//! The numbered files under `migrations/sqlite`, in order.

use crate::store::migrate::number_of;

/// One numbered file.
#[derive(Debug)]
pub(super) struct Migration {
    pub(super) number: i64,
    pub(super) sql: &'static str,
}

macro_rules! migrations {
    ($($file:literal,)*) => {
        &[$(Migration {
            number: number_of($file),
            sql: include_str!(concat!("../../../../migrations/sqlite/", $file, ".sql")),
        }),*]
    };
}

/// Every migration that does something. 1 to 40 pack what Postgres counts to 47; 105 and 113 are about
/// functions alone.
pub(super) const MIGRATIONS: &[Migration] = migrations![
    "001_system_tables",
    "002_queue_partition_key",
    "003_queue_status_started_index",
    "004_forked_from",
    "005_step_times",
    "006_event_history",
    "007_owner",
    "008_parent",
    "009_schedules",
    "010_serialization",
    "011_consumed",
    "012_application_versions",
    "013_schedule_backfill",
    "014_delay",
    "015_schedule_queue",
    "016_was_forked_from",
    "017_step_completion_index",
    "018_queues",
    "019_drop_forked_from_index",
    "020_forked_from_partial_index",
    "021_drop_parent_index",
    "022_parent_partial_index",
    "023_drop_executor_index",
    "024_deduplication_index",
    "025_drop_deduplication_constraint",
    "026_pending_index",
    "027_failed_index",
    "028_drop_status_index",
    "029_in_flight_index",
    "030_rate_limited",
    "031_rate_limited_index",
    "032_drop_queue_status_started_index",
    "033_completed_at",
    "034_started_at_index",
    "035_attributes",
    "036_schedule_name",
    "037_debounce",
    "038_partition_dequeue_index",
    "039_partition_dequeue_index_v2",
    "040_drop_partition_dequeue_index",
    "100_workflow_application_name",
    "101_queue_application_name",
    "102_schedule_application_name",
    "103_version_application_name",
    "104_step_application_name",
    "106_owner_version_index",
    "107_unclaimed_version_index",
    "108_partition_limits",
    "109_payload_tables",
    "110_step_retention",
    "111_step_retention_index",
    "112_drop_step_foreign_key",
    "114_drop_notifications_index",
    "115_in_flight_index_v2",
    "116_drop_in_flight_index",
    "117_partition_dequeue_index_v3",
    "118_drop_partition_dequeue_index_v2",
    "119_step_completion_index_v2",
    "120_drop_step_completion_index",
    "121_consumed_by",
    "122_deadline_index",
    "123_creator",
    "124_version_timestamp_index",
    "125_owner_version_timestamp_index",
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
        assert!(MIGRATIONS.iter().all(|migration| !(41..100).contains(&migration.number)));
    }

    #[test]
    fn every_file_is_in_the_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
        assert_eq!(folder.read_dir().unwrap().count(), MIGRATIONS.len());
    }
}
