//! Counts and extremes over many workflows or steps.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits;
use crate::model::filter::{Applications, Filter};
use crate::time::Timestamp;

/// What workflows are counted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GroupBy {
    /// Where they stand.
    Status,
    /// The name under which they are registered.
    Name,
    /// The queue that they are or were on.
    Queue,
    /// The process that runs them, or ran them last.
    Executor,
    /// The version of the code.
    Version,
    /// The application that owns them.
    Application,
}

/// How to group workflows; without a group, everything is one.
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until it is asked"]
pub struct WorkflowAggregates {
    pub(crate) groups: Vec<GroupBy>,
    pub(crate) bucket: Option<Duration>,
    pub(crate) filter: Filter,
}

impl WorkflowAggregates {
    /// Groups by all of these.
    pub fn by(groups: impl IntoIterator<Item = GroupBy>) -> Self {
        Self { groups: groups.into_iter().collect(), ..Self::default() }
    }

    /// Groups by the time of insertion as well, in spans of this length.
    pub fn bucket(mut self, span: Duration) -> Self {
        self.bucket = Some(span);
        self
    }

    /// Counts only these; the filter's order, limit and offset do not matter.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        span(self.bucket)?;
        self.filter.check()
    }
}

/// One group of workflows. What was not grouped by is `None`, as is what the group's workflows do not have.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct WorkflowAggregate {
    /// Where they stand, as it is stored.
    pub status: Option<String>,
    /// The name under which they are registered.
    pub name: Option<String>,
    /// Their queue.
    pub queue_name: Option<String>,
    /// Their process.
    pub executor_id: Option<String>,
    /// Their version of the code.
    pub application_version: Option<String>,
    /// Their application.
    pub application_name: Option<String>,
    /// The beginning of the span in which they were inserted.
    pub time_bucket: Option<Timestamp>,
    /// How many there are.
    pub count: u64,
    /// When the oldest was inserted.
    pub min_created_at: Option<Timestamp>,
    /// The longest time from insertion until taken from the queue, in milliseconds.
    pub max_queue_wait_ms: Option<i64>,
    /// The longest time from insertion to the end, in milliseconds.
    pub max_latency_ms: Option<i64>,
}

/// How to group recorded steps; without a group, everything is one.
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until it is asked"]
pub struct StepAggregates {
    pub(crate) by_name: bool,
    pub(crate) by_status: bool,
    pub(crate) bucket: Option<Duration>,
    pub(crate) names: Option<Vec<String>>,
    pub(crate) failed: Option<bool>,
    pub(crate) id_prefixes: Option<Vec<String>>,
    pub(crate) completed_after: Option<Timestamp>,
    pub(crate) completed_before: Option<Timestamp>,
    pub(crate) applications: Applications,
}

impl StepAggregates {
    /// All steps that this application's processes have recorded, and unclaimed ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// Groups by the step's name.
    pub fn by_name(mut self) -> Self {
        self.by_name = true;
        self
    }

    /// Groups by `SUCCESS` and `ERROR`.
    pub fn by_status(mut self) -> Self {
        self.by_status = true;
        self
    }

    /// Groups by the time of completion as well, in spans of this length.
    pub fn bucket(mut self, span: Duration) -> Self {
        self.bucket = Some(span);
        self
    }

    /// Only steps of these names.
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only steps that failed, or only those that did not.
    pub fn failed(mut self, failed: bool) -> Self {
        self.failed = Some(failed);
        self
    }

    /// Only steps of workflows whose ids begin with one of these texts.
    pub fn id_prefixes(mut self, prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.id_prefixes = Some(prefixes.into_iter().map(Into::into).collect());
        self
    }

    /// Completed at this instant or later.
    pub fn completed_after(mut self, instant: Timestamp) -> Self {
        self.completed_after = Some(instant);
        self
    }

    /// Completed at this instant or earlier.
    pub fn completed_before(mut self, instant: Timestamp) -> Self {
        self.completed_before = Some(instant);
        self
    }

    /// Steps recorded by these applications instead of this one, and unclaimed ones.
    pub fn applications(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.applications = Applications::Named(names.into_iter().map(Into::into).collect());
        self
    }

    /// Steps of every application on the database.
    pub fn every_application(mut self) -> Self {
        self.applications = Applications::Every;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        span(self.bucket)?;
        self.names.iter().chain(&self.id_prefixes).flatten().try_for_each(|text| limits::searched(text))
    }
}

/// One group of steps. What was not grouped by is `None`.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct StepAggregate {
    /// Their name.
    pub name: Option<String>,
    /// `SUCCESS` or `ERROR`.
    pub status: Option<String>,
    /// The beginning of the span in which they were completed.
    pub time_bucket: Option<Timestamp>,
    /// How many there are.
    pub count: u64,
    /// The longest, in milliseconds.
    pub max_duration_ms: Option<i64>,
}

/// How many workflows were inserted and steps completed in a time, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Workflows by the name under which they are registered.
    pub workflows: BTreeMap<String, u64>,
    /// Steps by name.
    pub steps: BTreeMap<String, u64>,
}

fn span(bucket: Option<Duration>) -> Result<()> {
    match bucket {
        Some(span) if span.as_millis() == 0 => Err(Error::invalid("a time bucket must be at least 1 ms")),
        Some(span) => limits::duration("the time bucket", span),
        None => Ok(()),
    }
}
