//! Which workflows, and in which order.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::limits;
use crate::model::status::WorkflowStatus;
use crate::payload;
use crate::time::Timestamp;

/// The most rows that one listing can be limited to.
const MOST: u32 = 1_000_000;

/// Selects workflows. Every condition narrows; a list means one of its members, and an empty one means none at all.
///
/// Without conditions: all workflows of this application, and those that no application has claimed, oldest first.
///
/// ```
/// use dbos_runtime::{Filter, WorkflowStatus};
///
/// let failed = Filter::new().names(["checkout"]).statuses([WorkflowStatus::Error]).newest_first().limit(20);
/// # let _ = failed;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a filter does nothing until something is listed with it"]
pub struct Filter {
    pub(crate) texts: Vec<(TextColumn, Vec<String>)>,
    pub(crate) bounds: Vec<(TimeColumn, Bound, Timestamp)>,
    pub(crate) id_prefixes: Option<Vec<String>>,
    pub(crate) queued: bool,
    pub(crate) was_forked_from: Option<bool>,
    pub(crate) is_fork: Option<bool>,
    pub(crate) has_parent: Option<bool>,
    pub(crate) attributes: Option<Map<String, Value>>,
    pub(crate) applications: Applications,
    pub(crate) after: Option<(Timestamp, String)>,
    pub(crate) limit: Option<u32>,
    pub(crate) offset: u64,
    pub(crate) newest_first: bool,
    pub(crate) input: bool,
    pub(crate) output: bool,
}

/// Columns that are compared with a list of texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TextColumn {
    Id,
    Status,
    Name,
    Version,
    ForkedFrom,
    Parent,
    User,
    Queue,
    Executor,
    Schedule,
}

/// Columns that are compared with an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeColumn {
    Created,
    Completed,
    Dequeued,
}

/// Both include the instant itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    From,
    Until,
}

/// Whose workflows. Unclaimed ones belong to every application.
#[derive(Clone, Debug, Default)]
pub(crate) enum Applications {
    /// This one's, unless workflows are asked for by their ids.
    #[default]
    Own,
    Named(Vec<String>),
    Every,
}

macro_rules! text_conditions {
    ($($(#[$doc:meta])* $method:ident => $column:ident,)*) => {
        $(
            $(#[$doc])*
            pub fn $method(self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
                self.one_of(TextColumn::$column, values.into_iter().map(Into::into).collect())
            }
        )*
    };
}

macro_rules! time_conditions {
    ($($(#[$doc:meta])* $method:ident => $column:ident $bound:ident,)*) => {
        $(
            $(#[$doc])*
            pub fn $method(mut self, instant: Timestamp) -> Self {
                self.bounds.push((TimeColumn::$column, Bound::$bound, instant));
                self
            }
        )*
    };
}

impl Filter {
    /// All workflows of this application.
    pub fn new() -> Self {
        Self::default()
    }

    text_conditions! {
        /// These ids, whichever application they belong to unless [applications](Self::applications) says otherwise.
        ids => Id,
        /// Registered under one of these names.
        names => Name,
        /// Run, or to be run, by one of these versions of the code.
        versions => Version,
        /// Forks of one of these workflows.
        forked_from => ForkedFrom,
        /// Started by one of these workflows.
        parents => Parent,
        /// Started on behalf of one of these users.
        users => User,
        /// On one of these queues.
        queues => Queue,
        /// Run by one of these processes.
        executors => Executor,
        /// Started by one of these schedules.
        schedules => Schedule,
    }

    time_conditions! {
        /// Inserted at this instant or later.
        created_after => Created From,
        /// Inserted at this instant or earlier. What one process enqueues in a burst has an instant ahead of the clock.
        created_before => Created Until,
        /// Ended at this instant or later.
        completed_after => Completed From,
        /// Ended at this instant or earlier.
        completed_before => Completed Until,
        /// Last taken from a queue at this instant or later.
        dequeued_after => Dequeued From,
        /// Last taken from a queue at this instant or earlier.
        dequeued_before => Dequeued Until,
    }

    /// In one of these states.
    pub fn statuses(self, statuses: impl IntoIterator<Item = WorkflowStatus>) -> Self {
        self.one_of(
            TextColumn::Status,
            statuses.into_iter().map(|status| status.as_str().to_owned()).collect(),
        )
    }

    /// Ids that begin with one of these texts, taken literally.
    pub fn id_prefixes(mut self, prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.id_prefixes = Some(prefixes.into_iter().map(Into::into).collect());
        self
    }

    /// On any queue; unless [statuses](Self::statuses) are named, delayed, enqueued or pending there.
    pub fn queued(mut self) -> Self {
        self.queued = true;
        self
    }

    /// Whether there are forks of it.
    pub fn was_forked_from(mut self, was: bool) -> Self {
        self.was_forked_from = Some(was);
        self
    }

    /// Whether it is a fork.
    pub fn is_fork(mut self, is: bool) -> Self {
        self.is_fork = Some(is);
        self
    }

    /// Whether another workflow started it.
    pub fn has_parent(mut self, has: bool) -> Self {
        self.has_parent = Some(has);
        self
    }

    /// Whose attributes contain these: each member is there with an equal value. Objects and arrays in it are contained
    /// in the same sense.
    pub fn attributes(mut self, attributes: &Map<String, Value>) -> Self {
        self.attributes = Some(attributes.clone());
        self
    }

    /// Workflows of these applications instead of this one's, and unclaimed ones.
    pub fn applications(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.applications = Applications::Named(names.into_iter().map(Into::into).collect());
        self
    }

    /// Workflows of every application on the database.
    pub fn every_application(mut self) -> Self {
        self.applications = Applications::Every;
        self
    }

    /// Those that come after this one in the order of the listing: the last of the page before. Unlike an
    /// [offset](Self::offset) it costs the same on every page, and no row is seen twice or missed when others come or go.
    pub fn after(mut self, created_at: Timestamp, id: impl Into<String>) -> Self {
        self.after = Some((created_at, id.into()));
        self
    }

    /// At most so many, 1 to 1 000 000.
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Leaves out so many at the beginning.
    pub fn offset(mut self, rows: u64) -> Self {
        self.offset = rows;
        self
    }

    /// The youngest first; the oldest first by default. Workflows inserted in the same millisecond are ordered by id.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// With what the workflows were started with.
    pub fn with_input(mut self) -> Self {
        self.input = true;
        self
    }

    /// With the workflows' results and errors.
    pub fn with_output(mut self) -> Self {
        self.output = true;
        self
    }

    fn one_of(mut self, column: TextColumn, values: Vec<String>) -> Self {
        self.texts.retain(|(other, _)| *other != column);
        self.texts.push((column, values));
        self
    }

    /// Whether a list of this column was named.
    pub(crate) fn names_any(&self, column: TextColumn) -> bool {
        self.texts.iter().any(|(other, _)| *other == column)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let texts = self.texts.iter().flat_map(|(_, values)| values).chain(self.id_prefixes.iter().flatten());
        let applications =
            if let Applications::Named(names) = &self.applications { names.as_slice() } else { &[] };
        for text in texts.chain(applications).chain(self.after.as_ref().map(|(_, id)| id)) {
            limits::searched(text)?;
        }
        if let Some(attributes) = &self.attributes {
            payload::attributes(attributes)?;
        }
        limit(self.limit)?;
        offset(self.offset)?;
        for (column, _, from) in self.bounds.iter().filter(|(_, bound, _)| *bound == Bound::From) {
            let reached = |(other, bound, until): &&(TimeColumn, Bound, Timestamp)| {
                other == column && *bound == Bound::Until && until < from
            };
            if self.bounds.iter().any(|bound| reached(&bound)) {
                return Err(Error::invalid("a time range ends before it begins"));
            }
        }
        Ok(())
    }
}

/// Which steps of a workflow, and whether with what they returned. All of them with everything, by default.
#[derive(Clone, Copy, Debug)]
#[must_use = "a filter does nothing until something is listed with it"]
pub struct StepFilter {
    limit: Option<u32>,
    offset: u64,
    pub(crate) output: bool,
}

impl Default for StepFilter {
    fn default() -> Self {
        Self { limit: None, offset: 0, output: true }
    }
}

impl StepFilter {
    /// All steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many, 1 to 1 000 000.
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Leaves out so many at the beginning.
    pub fn offset(mut self, rows: u64) -> Self {
        self.offset = rows;
        self
    }

    /// Without results and errors.
    pub fn without_output(mut self) -> Self {
        self.output = false;
        self
    }

    /// The limit and the offset, checked.
    pub(crate) fn page(&self) -> Result<(i64, i64)> {
        Ok((limit(self.limit)?.unwrap_or(i64::MAX), offset(self.offset)?))
    }
}

fn limit(rows: Option<u32>) -> Result<Option<i64>> {
    if rows.is_some_and(|rows| rows == 0 || rows > MOST) {
        return Err(Error::invalid(format!("the limit of a listing must be 1 to {MOST}")));
    }
    Ok(rows.map(i64::from))
}

fn offset(rows: u64) -> Result<i64> {
    i64::try_from(rows).map_err(|_| Error::invalid("the offset of a listing is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_before_anything_is_asked() {
        let at = Timestamp::from_millis;
        let nested = Map::from_iter([("a".to_owned(), serde_json::json!([{"b": "\0"}]))]);
        let bad = [
            Filter::new().limit(0),
            Filter::new().limit(1_000_000_000),
            Filter::new().offset(u64::MAX),
            Filter::new().created_after(at(2)).created_before(at(1)),
            Filter::new().ids(["a\0b"]),
            Filter::new().id_prefixes(["x".repeat(600)]),
            Filter::new().applications(["\0"]),
            Filter::new().attributes(&nested),
        ];
        for filter in bad {
            assert!(filter.check().is_err(), "{filter:?}");
        }
        let good = [
            Filter::new(),
            Filter::new().created_after(at(1)).created_before(at(1)).completed_before(at(0)),
            Filter::new().id_prefixes(["%_\\"]).ids(Vec::<String>::new()),
        ];
        for filter in good {
            assert!(filter.check().is_ok(), "{filter:?}");
        }
    }
}
