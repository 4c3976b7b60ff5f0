//! A schedule as a program describes it.

use std::fmt;

use serde::Serialize;

use crate::engine::cron::Cron;
use crate::engine::registry::Target;
use crate::error::{Error, Result};
use crate::ids;
use crate::limits;
use crate::model::queue;
use crate::model::schedule::NewSchedule;
use crate::payload;

/// A workflow that is to be started again and again, at the times of a cron expression.
///
/// Each run is given two arguments: the time at which it was due, a [`Timestamp`](crate::Timestamp), and the schedule's
/// context. All processes of an application fire its schedules, and each time runs once.
///
/// ```
/// use dbos_runtime::{Ctx, Error, Schedule, Timestamp, workflow};
///
/// #[workflow]
/// async fn report(ctx: Ctx, (at, region): (Timestamp, String)) -> Result<(), Error> {
///     ctx.step("mail", || async { Ok(println!("the report of {region} at {at}")) }).await
/// }
///
/// let schedule = Schedule::new("report-emea", "30 7 * * MON-FRI")
///     .workflow(report)
///     .context("emea")
///     .time_zone("Europe/Berlin");
/// ```
///
/// # The expression
///
/// Five fields, `minute hour day-of-month month day-of-week`, or six with the second first. A field is `*`, a value, a
/// range `a-b` (which may wrap around: `22-2`), a step `*/n`, `a/n` or `a-b/n`, or a list of these. Months and weekdays
/// have names, `JAN` and `MON`; Sunday is 0 or 7. `L` is the last day of the month, `15W` the weekday nearest to the
/// 15th, `5#2` the second Friday, `L5` the last one. Where both days are restricted, either will do. `@hourly`,
/// `@daily`, `@weekly`, `@monthly` and `@yearly` stand for themselves.
///
/// # Time zones
///
/// Times are UTC, or those of the [zone](Self::time_zone). A schedule is due at every instant whose local time it names:
/// in the hour that is repeated in autumn, twice. What falls into the hour that is skipped in spring is due once, right
/// after it; a schedule for every hour just goes on.
#[must_use = "a schedule does nothing until it is created or applied"]
pub struct Schedule {
    name: String,
    cron: String,
    workflow: Option<(String, bool)>,
    class_name: Option<String>,
    context: Result<String>,
    time_zone: Option<String>,
    queue: Option<String>,
    automatic_backfill: bool,
    portable: bool,
}

impl Schedule {
    /// A schedule of this name, which is unique on the database, and this cron expression.
    pub fn new(name: impl Into<String>, cron: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            cron: cron.into(),
            workflow: None,
            class_name: None,
            context: Ok("null".to_owned()),
            time_zone: None,
            queue: None,
            automatic_backfill: false,
            portable: false,
        }
    }

    /// The workflow that is run. It has to be registered in this program.
    #[expect(clippy::needless_pass_by_value, reason = "a workflow is a unit that reads as its function")]
    pub fn workflow<W: Target>(mut self, workflow: W) -> Self {
        self.workflow = Some((workflow.name().to_owned(), true));
        self
    }

    /// The workflow that is run, by its name. Processes that do not know it leave the schedule to those that do.
    pub fn workflow_named(mut self, name: impl Into<String>) -> Self {
        self.workflow = Some((name.into(), false));
        self
    }

    /// The class of the workflow, where its language has classes.
    pub fn class_name(mut self, name: impl Into<String>) -> Self {
        self.class_name = Some(name.into());
        self
    }

    /// What every run is given as its second argument; `null` by default.
    pub fn context<T: Serialize + ?Sized>(mut self, context: &T) -> Self {
        self.context = payload::encode(context);
        self
    }

    /// The IANA time zone of the expression; UTC by default.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.time_zone = Some(name.into());
        self
    }

    /// The queue on which the runs wait; without one they are run as soon as possible.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = Some(name.into());
        self
    }

    /// Whether times that nobody was there for, because no process ran or the schedule was paused, are made up for when
    /// the schedule is taken up again. Unless said, they are not.
    pub fn automatic_backfill(mut self, backfill: bool) -> Self {
        self.automatic_backfill = backfill;
        self
    }

    /// Stores the context, and what its runs are given and return, as portable JSON whatever
    /// [serializer](crate::Builder::serializer) is configured: for programs in other languages.
    pub fn portable(mut self) -> Self {
        self.portable = true;
        self
    }

    /// The schedule, checked.
    pub(crate) fn define(self) -> Result<NewSchedule> {
        limits::name("schedule name", &self.name)?;
        let about = |error: Error| Error::invalid(format!("schedule {:?}: {error}", self.name));
        let Some((workflow, own)) = self.workflow else {
            return Err(about(Error::invalid("it has no workflow")));
        };
        limits::name("workflow name", &workflow).map_err(about)?;
        if let Some(class_name) = &self.class_name {
            limits::name("class name", class_name).map_err(about)?;
        }
        if let Some(name) = &self.queue {
            queue::name("queue name", name).map_err(about)?;
        }
        limits::text("cron expression", &self.cron).map_err(about)?;
        Cron::parse(&self.cron, self.time_zone.as_deref()).map_err(about)?;
        Ok(NewSchedule {
            row_id: ids::random().to_string(),
            name: self.name,
            workflow,
            class_name: self.class_name,
            cron: self.cron,
            context: self.context?,
            time_zone: self.time_zone,
            queue: self.queue,
            automatic_backfill: self.automatic_backfill,
            portable: self.portable,
            own,
        })
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("name", &self.name).field("cron", &self.cron).finish_non_exhaustive()
    }
}
