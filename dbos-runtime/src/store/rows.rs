//! Rows of a driver as rows of the model. Every column that another SDK may leave empty is optional.

/// The readers for one driver's row. The text is the same for both; only the type is not.
macro_rules! rows {
    ($row:ty) => {
        pub(super) fn step(row: &$row) -> Result<StepRow, sqlx::Error> {
            Ok(StepRow {
                number: row.try_get("function_id")?,
                name: row.try_get("function_name")?,
                output: row.try_get("output")?,
                error: row.try_get("error")?,
                child: row.try_get("child_workflow_id")?,
                started: row.try_get("started_at_epoch_ms")?,
                completed: row.try_get("completed_at_epoch_ms")?,
                serialization: row.try_get("serialization")?,
            })
        }

        pub(super) fn existing(row: &$row) -> Result<Existing, sqlx::Error> {
            Ok(Existing {
                status: row.try_get::<Option<String>, _>("status")?.unwrap_or_default(),
                name: row.try_get("name")?,
                class_name: row.try_get("class_name")?,
                config_name: row.try_get("config_name")?,
                creator: row.try_get("creator_xid")?,
                input: row.try_get("input")?,
            })
        }

        pub(super) fn schedule(row: &$row) -> Result<ScheduleRow, sqlx::Error> {
            Ok(ScheduleRow {
                row_id: row.try_get("schedule_id")?,
                name: row.try_get("schedule_name")?,
                workflow: row.try_get("workflow_name")?,
                class_name: row.try_get("workflow_class_name")?,
                cron: row.try_get("schedule")?,
                status: row.try_get("status")?,
                context: row.try_get("context")?,
                time_zone: row.try_get("cron_timezone")?,
                queue: row.try_get("queue_name")?,
                automatic_backfill: row.try_get("automatic_backfill")?,
                last_fired_at: row.try_get("last_fired_at")?,
                application: row.try_get("application_name")?,
            })
        }

        pub(super) fn version(row: &$row) -> Result<VersionRow, sqlx::Error> {
            Ok(VersionRow {
                name: row.try_get("version_name")?,
                timestamp: row.try_get("version_timestamp")?,
                created_at: row.try_get("created_at")?,
                application: row.try_get("application_name")?,
            })
        }

        pub(super) fn ending(row: &$row) -> Result<Ending, sqlx::Error> {
            Ok(Ending {
                id: row.try_get("workflow_uuid")?,
                status: row.try_get::<Option<String>, _>("status")?.unwrap_or_default(),
                output: row.try_get("output")?,
                error: row.try_get("error")?,
                serialization: row.try_get("serialization")?,
            })
        }

        pub(super) fn workflow(row: &$row) -> Result<WorkflowRow, sqlx::Error> {
            Ok(WorkflowRow {
                id: row.try_get("workflow_uuid")?,
                status: row.try_get::<Option<String>, _>("status")?.unwrap_or_default(),
                name: row.try_get("name")?,
                executor: row.try_get("executor_id")?,
                version: row.try_get("application_version")?,
                user: row.try_get("authenticated_user")?,
                roles: row.try_get("authenticated_roles")?,
                attributes: row.try_get("attributes")?,
                queue: row.try_get("queue_name")?,
                parent: row.try_get("parent_workflow_id")?,
                attempts: row.try_get("recovery_attempts")?,
                created_at: row.try_get("created_at")?,
                updated_at: row.try_get("updated_at")?,
                completed_at: row.try_get("completed_at")?,
            })
        }
    };
}

pub(crate) use rows;
