//! Schedules as they are found on the database.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::schedule::{ScheduleRow, ScheduleScope};
use crate::time::Timestamp;

/// Whether a schedule fires.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ScheduleStatus {
    /// It fires.
    Active,
    /// It does not.
    Paused,
}

/// The facts of a schedule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Tells this schedule from earlier and later ones of the same name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The workflow that it runs.
    pub workflow_name: String,
    /// The class of the workflow, where its language has classes.
    pub class_name: Option<String>,
    /// The cron expression, as it was given.
    pub cron: String,
    /// Whether it fires.
    pub status: ScheduleStatus,
    /// What its runs are given. One that another language stored in its own format is its raw text.
    pub context: Value,
    /// The last time at which it fired.
    pub last_fired_at: Option<Timestamp>,
    /// Whether missed times are made up for.
    pub automatic_backfill: bool,
    /// The time zone of the expression; UTC if there is none.
    pub time_zone: Option<String>,
    /// The queue on which its runs wait.
    pub queue_name: Option<String>,
    /// The application that it belongs to; any, if there is none.
    pub application_name: Option<String>,
}

impl ScheduleInfo {
    /// The context as a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialization`] when it is of another type.
    pub fn context_as<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.context.clone()).map_err(|error| {
            let message =
                format!("the context of schedule {:?} is not of the asked type: {error}", self.name);
            Error::new(ErrorKind::Serialization, message)
        })
    }
}

impl From<ScheduleRow> for ScheduleInfo {
    fn from(row: ScheduleRow) -> Self {
        let active = row.status == ScheduleRow::ACTIVE;
        Self {
            id: row.row_id,
            name: row.name,
            workflow_name: row.workflow,
            class_name: row.class_name,
            cron: row.cron,
            status: if active { ScheduleStatus::Active } else { ScheduleStatus::Paused },
            context: serde_json::from_str(&row.context).unwrap_or(Value::String(row.context)),
            last_fired_at: row.last_fired_at.and_then(|text| text.parse().ok()),
            automatic_backfill: row.automatic_backfill,
            time_zone: row.time_zone,
            queue_name: row.queue,
            application_name: row.application,
        }
    }
}

/// Which schedules to list: all of this application and those that belong to none, unless restricted.
///
/// ```
/// use dbos_runtime::{ScheduleFilter, ScheduleStatus};
///
/// let paused_reports = ScheduleFilter::new().status(ScheduleStatus::Paused).name_prefix("report-");
/// ```
#[derive(Clone, Default, Debug)]
#[must_use = "a filter does nothing until a list is asked for with it"]
pub struct ScheduleFilter {
    scope: ScheduleScope,
}

impl ScheduleFilter {
    /// No restriction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Schedules of this status. Given more than once, of any of them; so with the other restrictions.
    pub fn status(mut self, status: ScheduleStatus) -> Self {
        self.scope.statuses.push(match status {
            ScheduleStatus::Active => ScheduleRow::ACTIVE,
            ScheduleStatus::Paused => ScheduleRow::PAUSED,
        });
        self
    }

    /// Schedules of this workflow.
    pub fn workflow_name(mut self, name: impl Into<String>) -> Self {
        self.scope.workflows.push(name.into());
        self
    }

    /// Schedules whose name starts so.
    pub fn name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.scope.name_prefix = prefix.into();
        self
    }

    /// Schedules of this application, instead of one's own.
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.scope.applications.push(name.into());
        self
    }

    pub(crate) fn check(&self) -> Result<&ScheduleScope> {
        let scope = &self.scope;
        scope.workflows.iter().try_for_each(|name| limits::name("workflow name", name))?;
        scope.applications.iter().try_for_each(|name| limits::application(name))?;
        if !scope.name_prefix.is_empty() {
            limits::name("prefix of schedule names", &scope.name_prefix)?;
        }
        Ok(scope)
    }
}
