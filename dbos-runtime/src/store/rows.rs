//! Rows of a driver as rows of the model. Every column that another SDK may leave empty is optional.
//!
//! SQLite keeps values of any type in a column. Read unchecked they are converted, as SQL does it: one value that another
//! program got wrong does not fail a whole listing or claim.

/// The readers for one driver's row. The text is the same for both; only the type is not.
macro_rules! rows {
    ($row:ty) => {
        pub(super) fn step(row: &$row) -> Result<StepRow, sqlx::Error> {
            Ok(StepRow {
                number: row.try_get_unchecked("function_id")?,
                name: row.try_get_unchecked("function_name")?,
                output: row.try_get_unchecked("output")?,
                error: row.try_get_unchecked("error")?,
                child: row.try_get_unchecked("child_workflow_id")?,
                started: row.try_get_unchecked("started_at_epoch_ms")?,
                completed: row.try_get_unchecked("completed_at_epoch_ms")?,
                serialization: row.try_get_unchecked("serialization")?,
            })
        }

        pub(super) fn existing(row: &$row) -> Result<Existing, sqlx::Error> {
            Ok(Existing {
                status: row.try_get_unchecked::<Option<String>, _>("status")?.unwrap_or_default(),
                name: row.try_get_unchecked("name")?,
                class_name: row.try_get_unchecked("class_name")?,
                config_name: row.try_get_unchecked("config_name")?,
                creator: row.try_get_unchecked("creator_xid")?,
                owner: row.try_get_unchecked("owner_xid")?,
                input: row.try_get_unchecked("input")?,
                serialization: row.try_get_unchecked("serialization")?,
            })
        }

        pub(super) fn found(row: &$row) -> Result<Found, sqlx::Error> {
            Ok(Found {
                id: WorkflowId::trusted(row.try_get_unchecked::<String, _>("workflow_uuid")?),
                status: row.try_get_unchecked::<Option<String>, _>("status")?.unwrap_or_default(),
                owner: row.try_get_unchecked("owner_xid")?,
                completed_at: row.try_get_unchecked("completed_at")?,
                changed: row.try_get_unchecked("changed")?,
            })
        }

        pub(super) fn schedule(row: &$row) -> Result<ScheduleRow, sqlx::Error> {
            Ok(ScheduleRow {
                row_id: row.try_get_unchecked("schedule_id")?,
                name: row.try_get_unchecked("schedule_name")?,
                workflow: row.try_get_unchecked("workflow_name")?,
                class_name: row.try_get_unchecked("workflow_class_name")?,
                cron: row.try_get_unchecked("schedule")?,
                status: row.try_get_unchecked("status")?,
                context: row.try_get_unchecked("context")?,
                sealed: None,
                time_zone: row.try_get_unchecked("cron_timezone")?,
                queue: row.try_get_unchecked("queue_name")?,
                automatic_backfill: row.try_get_unchecked("automatic_backfill")?,
                last_fired_at: row.try_get_unchecked("last_fired_at")?,
                application: row.try_get_unchecked("application_name")?,
            })
        }

        pub(super) fn version(row: &$row) -> Result<VersionRow, sqlx::Error> {
            Ok(VersionRow {
                name: row.try_get_unchecked("version_name")?,
                timestamp: row.try_get_unchecked("version_timestamp")?,
                created_at: row.try_get_unchecked("created_at")?,
                application: row.try_get_unchecked("application_name")?,
            })
        }

        pub(super) fn ending(row: &$row) -> Result<Ending, sqlx::Error> {
            Ok(Ending {
                id: row.try_get_unchecked("workflow_uuid")?,
                status: row.try_get_unchecked::<Option<String>, _>("status")?.unwrap_or_default(),
                output: row.try_get_unchecked("output")?,
                // Go leaves an empty text where there was no error.
                error: row.try_get_unchecked::<Option<String>, _>("error")?.filter(|error| !error.is_empty()),
                serialization: row.try_get_unchecked("serialization")?,
            })
        }

        pub(super) fn workflow(row: &$row) -> Result<WorkflowInfo, sqlx::Error> {
            let status_text = row.try_get_unchecked::<Option<String>, _>("status")?.unwrap_or_default();
            let instant = |column| {
                Ok::<_, sqlx::Error>(
                    row.try_get_unchecked::<Option<i64>, _>(column)?.map(Timestamp::from_millis),
                )
            };
            let format: Option<String> = row.try_get_unchecked("serialization")?;
            let payload = |column| -> Result<_, sqlx::Error> {
                let text: Option<String> = row.try_get_unchecked(column)?;
                Ok(text.map(|text| Payload::new(text, format.clone())))
            };
            let json = |column| -> Result<_, sqlx::Error> {
                let text: Option<String> = row.try_get_unchecked(column)?;
                Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
            };
            Ok(WorkflowInfo {
                id: WorkflowId::trusted(row.try_get_unchecked::<String, _>("workflow_uuid")?),
                status: WorkflowStatus::from_text(&status_text),
                status_text,
                name: row.try_get_unchecked("name")?,
                class_name: row.try_get_unchecked("class_name")?,
                config_name: row.try_get_unchecked("config_name")?,
                application_name: row.try_get_unchecked("application_name")?,
                application_version: row.try_get_unchecked("application_version")?,
                application_id: row.try_get_unchecked("application_id")?,
                executor_id: row.try_get_unchecked("executor_id")?,
                authenticated_user: row.try_get_unchecked("authenticated_user")?,
                assumed_role: row.try_get_unchecked("assumed_role")?,
                authenticated_roles: serde_json::from_value(json("authenticated_roles")?.unwrap_or_default())
                    .unwrap_or_default(),
                attributes: json("attributes")?.unwrap_or_default(),
                queue_name: row
                    .try_get_unchecked::<Option<String>, _>("queue_name")?
                    .filter(|name| !name.is_empty()),
                queue_partition_key: row.try_get_unchecked("queue_partition_key")?,
                deduplication_id: row.try_get_unchecked("deduplication_id")?,
                priority: row.try_get_unchecked("priority")?,
                recovery_attempts: row
                    .try_get_unchecked::<Option<i64>, _>("recovery_attempts")?
                    .unwrap_or_default(),
                parent_workflow_id: row.try_get_unchecked("parent_workflow_id")?,
                forked_from: row.try_get_unchecked("forked_from")?,
                was_forked_from: row.try_get_unchecked("was_forked_from")?,
                schedule_name: row.try_get_unchecked("schedule_name")?,
                timeout_ms: row.try_get_unchecked("workflow_timeout_ms")?,
                deadline: instant("workflow_deadline_epoch_ms")?,
                delay_until: instant("delay_until_epoch_ms")?,
                created_at: Timestamp::from_millis(row.try_get_unchecked("created_at")?),
                updated_at: Timestamp::from_millis(row.try_get_unchecked("updated_at")?),
                dequeued_at: instant("started_at_epoch_ms")?,
                completed_at: instant("completed_at")?,
                input: payload("input")?,
                output: payload("output")?,
                error: payload("error")?,
            })
        }

        pub(super) fn step_info(row: &$row) -> Result<StepInfo, sqlx::Error> {
            let row = step(row)?;
            let format = row.serialization;
            let payload = |text: Option<String>| text.map(|text| Payload::new(text, format.clone()));
            Ok(StepInfo {
                number: row.number,
                name: row.name,
                output: payload(row.output),
                error: payload(row.error),
                child_workflow_id: row.child,
                started_at: row.started.map(Timestamp::from_millis),
                completed_at: row.completed.map(Timestamp::from_millis),
            })
        }

        pub(super) fn workflow_group(row: &$row) -> Result<WorkflowAggregate, sqlx::Error> {
            let instant = |column| {
                Ok::<_, sqlx::Error>(
                    row.try_get_unchecked::<Option<i64>, _>(column)?.map(Timestamp::from_millis),
                )
            };
            Ok(WorkflowAggregate {
                status: row.try_get_unchecked("status")?,
                name: row.try_get_unchecked("name")?,
                queue_name: row.try_get_unchecked("queue_name")?,
                executor_id: row.try_get_unchecked("executor_id")?,
                application_version: row.try_get_unchecked("application_version")?,
                application_name: row.try_get_unchecked("application_name")?,
                time_bucket: instant("time_bucket")?,
                count: u64::try_from(row.try_get_unchecked::<i64, _>("count")?).unwrap_or_default(),
                min_created_at: instant("min_created_at")?,
                max_queue_wait_ms: row.try_get_unchecked("max_queue_wait")?,
                max_latency_ms: row.try_get_unchecked("max_latency")?,
            })
        }

        pub(super) fn step_group(row: &$row) -> Result<StepAggregate, sqlx::Error> {
            Ok(StepAggregate {
                name: row.try_get_unchecked("name")?,
                status: row.try_get_unchecked("status")?,
                time_bucket: row
                    .try_get_unchecked::<Option<i64>, _>("time_bucket")?
                    .map(Timestamp::from_millis),
                count: u64::try_from(row.try_get_unchecked::<i64, _>("count")?).unwrap_or_default(),
                max_duration_ms: row.try_get_unchecked("max_duration")?,
            })
        }
    };
}

pub(crate) use rows;
