//! Schedules and their ticks, as they are written and as they are read.

use crate::model::queue::INTERNAL_QUEUE;
use crate::payload::Format;
use crate::time::Timestamp;

/// A schedule to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewSchedule {
    /// Tells this schedule from an earlier or later one of the same name.
    pub(crate) row_id: String,
    pub(crate) name: String,
    pub(crate) workflow: String,
    pub(crate) class_name: Option<String>,
    pub(crate) cron: String,
    /// JSON.
    pub(crate) context: String,
    pub(crate) time_zone: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) automatic_backfill: bool,
    /// Whether the context, and what its runs store, stays portable whatever serializer is configured.
    pub(crate) portable: bool,
    /// Whether the workflow is one of this program.
    pub(crate) own: bool,
}

/// A stored schedule, perhaps one of another SDK.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScheduleRow {
    pub(crate) row_id: String,
    pub(crate) name: String,
    pub(crate) workflow: String,
    pub(crate) class_name: Option<String>,
    pub(crate) cron: String,
    pub(crate) status: String,
    /// In the format of the SDK that made it, which the row does not name.
    pub(crate) context: String,
    /// The context as it is stored, where that is the configured serializer's form.
    pub(crate) sealed: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) automatic_backfill: bool,
    pub(crate) last_fired_at: Option<String>,
    pub(crate) application: Option<String>,
}

impl ScheduleRow {
    pub(crate) const ACTIVE: &str = "ACTIVE";
    pub(crate) const PAUSED: &str = "PAUSED";

    pub(crate) fn stored_context(&self) -> &str {
        self.sealed.as_deref().unwrap_or(&self.context)
    }

    /// Whether this is the same schedule, with the same definition.
    pub(crate) fn fires_like(&self, other: &Self) -> bool {
        let definition = |row: &Self| {
            let plain = (row.row_id.clone(), row.workflow.clone(), row.cron.clone(), row.context.clone());
            (plain, row.class_name.clone(), row.time_zone.clone(), row.queue.clone())
        };
        definition(self) == definition(other)
    }
}

/// Which schedules to list. Empty lists restrict nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScheduleScope {
    pub(crate) statuses: Vec<&'static str>,
    pub(crate) workflows: Vec<String>,
    pub(crate) name_prefix: String,
    /// Instead of this application.
    pub(crate) applications: Vec<String>,
}

/// One run that a schedule asks for.
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    /// The workflow's id.
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    /// The instant as `last_fired_at` spells it.
    pub(crate) text: String,
    pub(crate) input: String,
    /// Of the input, and of the outcome later.
    pub(crate) format: Format,
}

/// Ticks of one schedule, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) schedule: ScheduleRow,
    pub(crate) ticks: Vec<Tick>,
}

impl Due {
    /// The queue on which the runs wait.
    pub(crate) fn queue(&self) -> &str {
        self.schedule.queue.as_deref().unwrap_or(INTERNAL_QUEUE)
    }
}

/// Why ticks are fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Firing {
    /// Their time has come, if the schedule is still the active one that it was.
    Live,
    /// Somebody asks for them.
    Asked,
}

/// What became of ticks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fired {
    /// The row ids of the schedules whose ticks are there now.
    pub(crate) schedules: Vec<String>,
    /// How many of the runs were not there before.
    pub(crate) created: u64,
}
